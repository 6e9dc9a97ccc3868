//! `waypost destination`: where a running gateway delivers to.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::query::escaped;
use super::source::given;
use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::exit::{Exit, wrong_usage};
use crate::terminal;

#[derive(Subcommand, Debug)]
pub(crate) enum DestinationCommand {
    /// Add a receiver, live; a route then leads events to it
    #[command(
        after_help = "Example:\n  waypost destination add support https://support.example.com/webhooks/whatsapp/%2B15551234567 --kind chatwoot\n  waypost destination add ops https://ops.example.com/hook --sign-with none --webhook-secret file:/run/secrets/ops\n  waypost destination add inbox https://inbox.example.com/events --format event --webhook-secret file:/run/secrets/inbox"
    )]
    Add(Box<DestinationAddArguments>),
    /// Take a receiver away, live; what it is owed is kept
    #[command(after_help = "Example:\n  waypost destination remove support")]
    Remove {
        /// Its name
        name: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the receivers, upstreams too, and how they are doing
    #[command(after_help = "Example:\n  waypost destination list --json")]
    List {
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct DestinationAddArguments {
    /// Its name
    pub(crate) name: String,
    /// Its whole address; path and query are called byte for byte as written
    pub(crate) url: String,
    /// What it is
    #[arg(long, value_enum)]
    pub(crate) kind: Option<KindArgument>,
    /// As Meta wrote events, or normalised [default: meta]
    #[arg(long, value_enum)]
    pub(crate) format: Option<FormatArgument>,
    /// One event at a time, or requests as they came where all is for it [default: split]
    #[arg(long, value_enum)]
    pub(crate) batches: Option<BatchesArgument>,
    /// Sign with this: env:NAME or file:PATH on the server, - to read it here, or none [default: the source's app secret]
    #[arg(long, value_name = "SECRET")]
    pub(crate) sign_with: Option<String>,
    /// Sign by Standard Webhooks too, with a whsec_ secret: env:NAME or file:PATH on the server, or itself; repeatable
    #[arg(long = "webhook-secret", value_name = "SECRET")]
    pub(crate) webhook_secrets: Vec<String>,
    /// A PEM file, on the server, with extra trust for its certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Let it be at a private, loopback or link-local address
    #[arg(long)]
    pub(crate) allow_private: bool,
    /// Any other key that a destination has in the file, such as timeout=30s or concurrency_max=8; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum KindArgument {
    /// Anything that takes HTTP
    Http,
    /// A Chatwoot
    Chatwoot,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum FormatArgument {
    /// As Meta wrote them
    Meta,
    /// Normalised, one at a time
    Event,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum BatchesArgument {
    /// As they came
    Whole,
    /// One event at a time
    Split,
}

impl BatchesArgument {
    /// The word of the configuration.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Split => "split",
        }
    }
}

/// Adds, removes or lists.
pub(crate) async fn run(server: &ServerArguments, command: DestinationCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        DestinationCommand::Add(arguments) => add(&api, *arguments).await,
        DestinationCommand::Remove { name, json } => remove(&api, &name, json).await,
        DestinationCommand::List { json } => list(&api, json).await,
    }
}

async fn add(api: &ApiClient, arguments: DestinationAddArguments) -> anyhow::Result<Exit> {
    let (as_json, name) = (arguments.json, arguments.name.clone());
    let made: Value = api.post("/api/v1/destinations", &settings(arguments)?).await?;
    if as_json {
        terminal::say(&made.to_string());
        return Ok(Exit::Done);
    }
    terminal::say(&format!(
        "added {name}; whether it answers, `waypost ping {name}` says; events reach it by `waypost route add SOURCE {name}`"
    ));
    super::say_warnings(&made);
    Ok(Exit::Done)
}

/// The keys of a `[[destination]]`, those that were given.
fn settings(arguments: DestinationAddArguments) -> anyhow::Result<Value> {
    let mut settings = Map::new();
    for set in &arguments.set {
        let (key, value) = set
            .split_once('=')
            .ok_or_else(|| wrong_usage(format!("--set {set}: write it as KEY=VALUE, like timeout=30s")))?;
        // Numbers, lists and truth values as themselves; everything else is text.
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        settings.insert(key.to_owned(), value);
    }
    let mut put = |key: &str, value: Value| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            settings.insert(key.to_owned(), value);
        }
    };
    put("name", json!(arguments.name));
    put("url", json!(arguments.url));
    put(
        "kind",
        json!(arguments.kind.map(|kind| match kind {
            KindArgument::Http => "http",
            KindArgument::Chatwoot => "chatwoot",
        })),
    );
    put(
        "format",
        json!(arguments.format.map(|format| match format {
            FormatArgument::Meta => "meta",
            FormatArgument::Event => "event",
        })),
    );
    put("batches", json!(arguments.batches.map(BatchesArgument::as_str)));
    put("sign_with", json!(arguments.sign_with.as_deref().map(given).transpose()?));
    let webhook_secrets = arguments.webhook_secrets.iter().map(|secret| given(secret));
    put("webhook_secrets", json!(webhook_secrets.collect::<Result<Vec<_>, _>>()?));
    put("ca_file", json!(arguments.ca_file));
    if arguments.allow_private {
        put("allow_private", json!(true));
    }
    Ok(Value::Object(settings))
}

async fn remove(api: &ApiClient, name: &str, as_json: bool) -> anyhow::Result<Exit> {
    let removed: Value = api.delete(&format!("/api/v1/destinations/{}", escaped(name))).await?;
    terminal::say(&if as_json {
        removed.to_string()
    } else {
        format!("removed {name}; what it is owed is kept, and goes on once it is added again")
    });
    Ok(Exit::Done)
}

async fn list(api: &ApiClient, as_json: bool) -> anyhow::Result<Exit> {
    let items = api.items("/api/v1/destinations").await?;
    if items.is_empty() && !as_json {
        terminal::say("there is no destination yet; add one with `waypost destination add NAME URL`");
    }
    for item in items {
        terminal::say(&if as_json { item.to_string() } else { line(&item) });
    }
    Ok(Exit::Done)
}

fn line(item: &Value) -> String {
    let text = |key: &str| item[key].as_str().unwrap_or("-").to_owned();
    let state = match (item["paused"] == true, item["down"] == true) {
        (true, _) => "paused",
        (_, true) => "down",
        _ => "up",
    };
    let number = |key: &str| item[key].as_u64().unwrap_or(0);
    format!(
        "{:<24} {state:<7} {:>6} owed {:>6} dead  {:<8} {:<6} {}",
        text("name"),
        number("owed"),
        number("dead"),
        text("kind"),
        text("batches"),
        text("url"),
    )
}
