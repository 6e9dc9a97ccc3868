//! `waypost route`: which events of a source go where, live, and what would become of a payload.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use waypost_domain::{MatchKey, limits};

use super::query::escaped;
use crate::api_client::ApiClient;
use crate::cli::{ServeArguments, ServerArguments};
use crate::config;
use crate::exit::{Ended, Exit, wrong_usage};
use crate::explaining::{Rules, explain};
use crate::terminal;

#[derive(Subcommand, Debug)]
pub(crate) enum RouteCommand {
    /// Lead events of a source to destinations, live; what is owed already stays where it is
    #[command(
        after_help = "Example:\n  waypost route add acme support --match phone_number_id=106540352242922\n  waypost route add acme support --match field=messages,smb_message_echoes --match class=message\n  waypost route add acme archive --all"
    )]
    Add(RouteAddArguments),
    /// Take a route away, live; what is owed already stays where it is
    #[command(after_help = "Example:\n  waypost route remove acme-support")]
    Remove {
        /// Its name
        name: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the routes
    #[command(after_help = "Example:\n  waypost route list --json")]
    List {
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
    /// Say which events a payload splits into, where each would go, and why
    #[command(
        after_help = "Example:\n  waypost route test payload.json --source acme\n  waypost route test payload.json --config waypost.toml --json   # without a server\n  waypost trigger batch --print | waypost route test -"
    )]
    Test(RouteTestArguments),
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["matches", "all"]))]
pub(crate) struct RouteAddArguments {
    /// The source whose events it takes
    pub(crate) source: String,
    /// Where they go
    #[arg(required = true)]
    pub(crate) to: Vec<String>,
    /// What an event must have: phone_number_id, display_phone_number, waba_id, field, kind, type or class; repeatable, all must hold
    #[arg(long = "match", value_name = "KEY=VALUE[,VALUE]…")]
    pub(crate) matches: Vec<String>,
    /// Take every event
    #[arg(long)]
    pub(crate) all: bool,
    /// Its name [default: SOURCE-DESTINATION]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RouteTestArguments {
    /// A file with the payload as Meta would send it; - for standard input
    pub(crate) file: PathBuf,
    /// The source (or upstream) that it would come to [default: each of them]
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Ask this configuration instead of the running server
    #[arg(long, value_name = "F")]
    pub(crate) config: Option<PathBuf>,
    /// Print one object a line, for each event
    #[arg(long)]
    pub(crate) json: bool,
}

/// Adds, removes, lists or tests.
pub(crate) async fn run(server: &ServerArguments, command: RouteCommand) -> anyhow::Result<Exit> {
    match command {
        RouteCommand::Add(arguments) => add(&ApiClient::new(server)?, arguments).await,
        RouteCommand::Remove { name, json } => remove(&ApiClient::new(server)?, &name, json).await,
        RouteCommand::List { json } => list(&ApiClient::new(server)?, json).await,
        RouteCommand::Test(arguments) => test(server, arguments).await,
    }
}

async fn add(api: &ApiClient, arguments: RouteAddArguments) -> anyhow::Result<Exit> {
    let RouteAddArguments { source, to, matches, all, name, json: as_json } = arguments;
    let wanted = if all { json!("all") } else { wanted(&matches)? };
    let mut settings = json!({ "source": source, "to": to, "match": wanted });
    if let Some(name) = name {
        settings["name"] = json!(name);
    }
    let made: Value = api.post("/api/v1/routes", &settings).await?;
    if as_json {
        terminal::say(&made.to_string());
        return Ok(Exit::Done);
    }
    terminal::say(&format!("added {}", line(&made)));
    super::say_warnings(&made);
    Ok(Exit::Done)
}

/// The match that `KEY=VALUE[,VALUE]` arguments make together.
fn wanted(matches: &[String]) -> anyhow::Result<Value> {
    let mut wanted = Map::new();
    for text in matches {
        let (key, values) = text
            .split_once('=')
            .ok_or_else(|| wrong_usage(format!("--match {text}: write it as KEY=VALUE")))?;
        if MatchKey::parse(key).is_none() {
            let known = MatchKey::ALL.map(MatchKey::as_str).join(", ");
            return Err(wrong_usage(format!(
                "--match {text}: there is no `{key}` to match; known are {known}"
            )));
        }
        let values = values.split(',').filter(|value| !value.is_empty()).map(|value| json!(value));
        match wanted.entry(key).or_insert_with(|| json!([])) {
            Value::Array(all) => all.extend(values),
            _ => return Err(wrong_usage(format!("--match {text}: write it as KEY=VALUE"))),
        }
    }
    Ok(Value::Object(wanted))
}

async fn remove(api: &ApiClient, name: &str, as_json: bool) -> anyhow::Result<Exit> {
    let removed: Value = api.delete(&format!("/api/v1/routes/{}", escaped(name))).await?;
    terminal::say(&if as_json {
        removed.to_string()
    } else {
        format!("removed {name}; what is owed already stays where it is")
    });
    Ok(Exit::Done)
}

async fn list(api: &ApiClient, as_json: bool) -> anyhow::Result<Exit> {
    let items = api.items("/api/v1/routes").await?;
    if items.is_empty() && !as_json {
        terminal::say(
            "there is no route yet; add one with `waypost route add SOURCE DESTINATION --match KEY=VALUE`",
        );
    }
    for item in items {
        terminal::say(&if as_json { item.to_string() } else { line(&item) });
    }
    Ok(Exit::Done)
}

/// One route on one line.
fn line(route: &Value) -> String {
    let text = |key: &str| route[key].as_str().unwrap_or("-").to_owned();
    let wanted = match &route["match"] {
        Value::Object(keys) => {
            let keys = keys.iter().map(|(key, values)| format!("{key}={}", listed(values)));
            keys.collect::<Vec<_>>().join(" ")
        }
        _ => "everything".to_owned(),
    };
    let lost = if route["lost"].is_array() {
        format!("  LEADS NOWHERE: {}", listed(&route["lost"]))
    } else {
        String::new()
    };
    format!(
        "{:<24} {} → {}  {wanted}  ({}){lost}",
        text("name"),
        text("source"),
        listed(&route["to"]),
        text("provision"),
    )
}

fn listed(values: &Value) -> String {
    let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
    values.collect::<Vec<_>>().join(",")
}

async fn test(server: &ServerArguments, arguments: RouteTestArguments) -> anyhow::Result<Exit> {
    let RouteTestArguments { file, source, config, json: as_json } = arguments;
    let payload = payload(&file)?;
    let events = match config {
        Some(config) => {
            let serve = ServeArguments { config: Some(config), ..ServeArguments::default() };
            let loaded = config::load(&super::inputs(server, serve)).map_err(|refused| {
                Ended::new(Exit::WrongConfiguration, format!("wrong configuration:\n{refused}"))
            })?;
            let rules =
                Rules::of_config(&loaded.config, source.as_deref()).map_err(|what| anyhow!("{what}"))?;
            explain(&payload, &rules)
        }
        None => {
            let query = source.map(|source| format!("?source={}", escaped(&source))).unwrap_or_default();
            let api = ApiClient::new(server)?;
            let answer: Value = api.post_bytes(&format!("/api/v1/routes/test{query}"), payload).await?;
            answer["items"].as_array().cloned().unwrap_or_default()
        }
    };
    for event in &events {
        if as_json {
            terminal::say(&event.to_string());
        } else {
            told(event);
        }
    }
    if !as_json {
        terminal::say(&summary(&events));
    }
    Ok(Exit::Done)
}

/// The payload's bytes, as many as a webhook may have.
fn payload(file: &Path) -> anyhow::Result<Bytes> {
    let most = limits::COMMIT_BYTES_MAX;
    let mut bytes = Vec::new();
    let bounded = most as u64 + 1;
    if file == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(bounded)
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        opened
            .take(bounded)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    if bytes.len() > most {
        bail!("{} is larger than any webhook: more than {most} bytes", file.display());
    }
    Ok(bytes.into())
}

/// One event and each decision on it.
fn told(event: &Value) {
    let text = |key: &str| event[key].as_str().unwrap_or("-");
    let subject = event["wamid"].as_str().unwrap_or_else(|| text("key"));
    terminal::say(&format!(
        "{} {} {} ({}, {})  at {}",
        text("kind"),
        text("type"),
        subject,
        text("field"),
        text("class"),
        text("source"),
    ));
    for key in ["phone_number_id", "display_phone_number", "waba_id", "conversation"] {
        if let Some(value) = event[key].as_str() {
            terminal::say(&format!("    {key} {value}"));
        }
    }
    for route in event["routes"].as_array().into_iter().flatten() {
        let (name, to) = (route["route"].as_str().unwrap_or("-"), listed(&route["to"]));
        terminal::say(&match route["refused_by"].as_str() {
            Some(key) => format!("    route {name} does not take it: its {key} is another → {to}"),
            None => format!("    route {name} takes it → {to}"),
        });
    }
    for delivery in event["deliveries"].as_array().into_iter().flatten() {
        let form = match delivery["form"].as_str() {
            Some("whole") => "the request as it came",
            _ => "by itself",
        };
        terminal::say(&format!("    → {}, {form}", delivery["destination"].as_str().unwrap_or("-")));
    }
    if event["quarantined"] == true {
        terminal::say("    → quarantine: no route takes it");
    }
}

fn summary(events: &[Value]) -> String {
    let quarantined = events.iter().filter(|event| event["quarantined"] == true).count();
    format!("{} events, {quarantined} of them quarantined", events.len())
}
