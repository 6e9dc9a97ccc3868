//! What waits: deliveries owed, given up or held, and events that no route took.

use serde_json::Value;
use waypost_domain::{Clock, UnixMillis};

use super::finding::Finding;
use super::running::Said;
use super::words::{age, number};
use crate::rendering::moment;

/// Deliveries that wait for longer than this, for no reason that was told, are worth a look.
const WAIT_MS: i64 = 5 * 60 * 1_000;
/// Quarantined events that are looked through for the oldest, in pages of so many.
const PAGES_MAX: usize = 10;
const PAGE: usize = 1_000;

/// Looks at what is owed to each destination, and at the quarantine.
pub(super) async fn examine(said: &Said, clock: &Clock) -> Vec<Finding> {
    let now = clock.wall();
    let mut findings: Vec<Finding> = said.destinations.iter().flat_map(|item| standing(item, now)).collect();
    findings.extend(quarantine(said, now).await);
    findings
}

/// How a destination stands, and what is owed to it.
fn standing(item: &Value, now: UnixMillis) -> Vec<Finding> {
    const CHECK: &str = "delivery";
    let name = item["name"].as_str().unwrap_or_default();
    let at = |value: &Value| value.as_str().and_then(|text| moment(text, now).ok());
    let (owed, dead) = (item["owed"].as_u64().unwrap_or(0), item["dead"].as_u64().unwrap_or(0));
    let oldest = at(&item["oldest_owed_at"]);
    let waits = match oldest {
        Some(oldest) if owed > 0 => {
            let verb = if owed == 1 { "waits" } else { "wait" };
            format!("{} {verb}, the oldest for {}", number(owed, "delivery"), age(now, oldest))
        }
        _ => "nothing waits".to_owned(),
    };
    let (paused, down) = (item["paused"] == true, item["down"] == true);
    let mut findings = Vec::new();
    if paused {
        findings.push(
            Finding::warning(CHECK, name, format!("paused by an operator: {waits}"))
                .why("What is owed to it is held until somebody lets it go")
                .remedy(format!("`waypost resume {name}` when it may go on")),
        );
    }
    if down {
        let failure = &item["last_failure"];
        let code = failure["code"].as_str().unwrap_or("unknown");
        let when = at(&failure["at"]).map(|at| format!(" {} ago", age(now, at))).unwrap_or_default();
        findings.push(
            Finding::fault(
                CHECK,
                name,
                format!("it is down, and only probed: {waits}; the last attempt{when} ended with {code}"),
            )
            .why("What is owed to it is held until a probe succeeds; nothing is lost")
            .remedy(format!("docs/errors.md says what {code} means, `waypost ping {name}` how far one gets")),
        );
    }
    let long = oldest.is_some_and(|oldest| now.0.saturating_sub(oldest.0) > WAIT_MS);
    if owed > 0 && !paused && !down {
        let finding = if long {
            Finding::warning(CHECK, name, waits)
                .why("The customers' messages are not with whoever answers them")
                .remedy(format!("`waypost deliveries list --destination {name} --state owed` lists them; `waypost deliveries show` says of each what it waits for"))
        } else {
            Finding::note(CHECK, name, waits)
        };
        findings.push(finding);
    }
    if dead > 0 {
        let what = format!("{} given up", number(dead, "delivery"));
        findings.push(
            Finding::warning(CHECK, name, what)
                .why("They are not tried again by themselves")
                .remedy(format!("`waypost dead list --destination {name}` says why; once that is mended, `waypost dead replay --destination {name}`")),
        );
    }
    findings
}

/// Events that no route took: how many of each source, and since when.
async fn quarantine(said: &Said, now: UnixMillis) -> Vec<Finding> {
    const CHECK: &str = "quarantine";
    let mut findings = Vec::new();
    for (source, count) in &said.quarantined {
        let since = match oldest(said, source, now).await {
            Ok(Some((at, true))) => format!(", the oldest for {}", age(now, at)),
            Ok(Some((at, false))) => format!(", some for more than {}", age(now, at)),
            Ok(None) | Err(_) => String::new(),
        };
        let verb = if *count == 1 { "waits" } else { "wait" };
        findings.push(
            Finding::warning(CHECK, source, format!("{} {verb}{since}", number(*count, "event")))
                .why("No route takes them, so nobody has them; after retention.quarantined they are removed")
                .remedy(format!("`waypost quarantine list --source {source}` shows them. `waypost route add {source} DESTINATION --all` makes a route, then `waypost quarantine replay --source {source}` sends them; `waypost quarantine discard --source {source}` gives them up")),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "", "empty"));
    }
    findings
}

/// When the oldest quarantined event of a source came, and whether it is really the oldest: there may be too many to tell.
async fn oldest(said: &Said, source: &str, now: UnixMillis) -> anyhow::Result<Option<(UnixMillis, bool)>> {
    let (mut after, mut found) = (None, None);
    for _ in 0..PAGES_MAX {
        let page = said.quarantine(source, after.as_deref(), PAGE).await?;
        let last = page["items"].as_array().and_then(|items| items.last()?["received_at"].as_str());
        found = last.and_then(|at| moment(at, now).ok()).or(found);
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            return Ok(found.map(|at| (at, true)));
        }
    }
    Ok(found.map(|at| (at, false)))
}
