//! `waypost trigger`: sends signed synthetic webhooks.

use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::json;
use waypost_domain::Clock;
use waypost_whatsapp::{AppSecret, Compose, KINDS, compose};

use crate::cli::TriggerArguments;
use crate::config::{Env, secret};
use crate::exit::{Exit, wrong_usage};
use crate::synthetic::{Caller, Heard, Signing};
use crate::{chance, terminal};

/// What can be sent besides single payloads: each a row of them.
const ROWS: &[(&str, &str)] = &[
    ("duplicate", "the same text message twice, as Meta's retries do"),
    ("out-of-order", "the statuses of one message, the last one first"),
    ("bad-signature", "a text message that is signed wrongly"),
    ("mixed", "one after the other, every kind there is"),
];

/// Sends, prints, or lists what can be sent.
pub(crate) async fn run(arguments: &TriggerArguments) -> anyhow::Result<Exit> {
    if arguments.list {
        list(arguments.json);
        return Ok(Exit::Done);
    }
    let kind = arguments.kind.as_deref().unwrap_or_default();
    let clock = Clock::system();
    // Ids differ from one run to the next.
    let first = u64::from_str_radix(&chance::hex::<6>()?, 16)?;
    if arguments.print {
        for number in 0..arguments.count {
            bodies(kind, arguments, first + number, &clock)?
                .into_iter()
                .for_each(|body| terminal::say(&body));
        }
        return Ok(Exit::Done);
    }
    let to = arguments
        .to
        .as_deref()
        .ok_or_else(|| wrong_usage("--to is missing: the callback address to send to (or --print)"))?;
    let caller = Caller::new(to, arguments.ca_file.as_deref(), &clock)?;
    let secret = arguments.secret.as_deref().map(app_secret).transpose()?;
    let signing = if kind == "bad-signature" { Signing::Wrong } else { Signing::Right };
    if signing == Signing::Wrong && secret.is_none() {
        return Err(wrong_usage("--secret is missing: without one there is no signature to spoil"));
    }
    let started = clock.monotonic();
    let mut failed = false;
    for number in 0..arguments.count {
        if let Some(rate) = arguments.rate.filter(|rate| *rate > 0.0) {
            let due = Duration::try_from_secs_f64(number as f64 / rate).unwrap_or(Duration::MAX);
            tokio::time::sleep(due.saturating_sub(clock.monotonic().saturating_sub(started))).await;
        }
        for body in bodies(kind, arguments, first + number, &clock)? {
            let heard = caller.post(body, secret.as_ref().map(|secret| (secret, signing))).await;
            failed |= !matches!(&heard, Ok(heard) if (200..300).contains(&heard.status));
            show(kind, heard, arguments.json);
        }
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn list(as_json: bool) {
    for (kind, about) in KINDS.iter().chain(ROWS) {
        terminal::say(&if as_json {
            json!({ "kind": kind, "about": about }).to_string()
        } else {
            format!("{kind:<28} {about}")
        });
    }
}

/// The bodies that one shot of a kind consists of.
fn bodies(
    kind: &str,
    arguments: &TriggerArguments,
    sequence: u64,
    clock: &Clock,
) -> anyhow::Result<Vec<String>> {
    let parts = Compose {
        phone_number_id: &arguments.phone_number_id,
        display_phone_number: &arguments.number,
        waba_id: &arguments.waba,
        contact: &arguments.contact,
        sequence,
        timestamp_s: clock.wall().0 / 1_000,
        text: arguments.text.as_deref(),
        batch_size: arguments.batch_size,
    };
    let kinds: Vec<&str> = match kind {
        "duplicate" => vec!["text", "text"],
        "out-of-order" => vec!["status.read", "status.delivered", "status.sent"],
        "bad-signature" => vec!["text"],
        "mixed" => KINDS.iter().map(|(kind, _)| *kind).collect(),
        kind => vec![kind],
    };
    // The kinds of a mixed row are about different messages; those of the other rows about one.
    let apart = if kind == "mixed" { 1 << 48 } else { 0 };
    let sequence = |index: usize| parts.sequence.wrapping_add(apart * index as u64);
    let composed = kinds.into_iter().enumerate();
    let composed =
        composed.map(|(index, kind)| compose(kind, &Compose { sequence: sequence(index), ..parts }));
    let composed = composed.collect::<Option<Vec<_>>>();
    composed.ok_or_else(|| {
        wrong_usage(format!("there is no `{kind}`; `waypost trigger --list` lists what can be sent"))
    })
}

fn app_secret(text: &str) -> anyhow::Result<AppSecret> {
    let value = secret::resolve(text, &Env::Process).map_err(|what| anyhow!("--secret: {what}"))?;
    AppSecret::new("--secret", value).context("--secret")
}

fn show(kind: &str, heard: Result<Heard, String>, as_json: bool) {
    let line = match heard {
        Ok(Heard { status, took, excerpt }) => {
            let took_ms = (took.as_secs_f64() * 1e4).round() / 10.0;
            if as_json {
                json!({ "kind": kind, "status": status, "took_ms": took_ms, "answer": excerpt }).to_string()
            } else {
                format!("{kind}: {status} in {took_ms} ms  {excerpt}").trim_end().to_owned()
            }
        }
        Err(what) if as_json => json!({ "kind": kind, "error": what }).to_string(),
        Err(what) => format!("{kind}: no answer: {what}"),
    };
    terminal::say(&line);
}
