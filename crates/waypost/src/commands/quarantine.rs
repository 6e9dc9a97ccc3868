//! `waypost quarantine`: what no route took.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::events;
use crate::api_client::ApiClient;
use crate::cli::{EventsListArguments, ServerArguments};
use crate::exit::{Exit, wrong_usage};
use crate::terminal;

#[derive(Subcommand, Debug)]
pub(crate) enum QuarantineCommand {
    /// List quarantined events, the newest first
    #[command(after_help = "Example:\n  waypost quarantine list --source acme --since 1d")]
    List(Box<EventsListArguments>),
    /// Show one with its request
    #[command(after_help = "Example:\n  waypost quarantine show evt_0hq3v8m2k4s7c")]
    Show {
        /// The event's identifier, or a message id (wamid)
        id: String,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Send those that a route takes by now
    #[command(
        after_help = "Example:\n  waypost quarantine replay evt_0hq3v8m2k4s7c\n  waypost quarantine replay --source acme --plan\n  waypost quarantine replay --all"
    )]
    Replay(QuarantineArguments),
    /// Give them up for good, on record
    #[command(
        after_help = "Example:\n  waypost quarantine discard --number 106540352242922 --note 'not ours'"
    )]
    Discard(QuarantineArguments),
}

/// Which quarantined events are meant: one, or all of which everything given holds.
#[derive(Args, Debug)]
pub(crate) struct QuarantineArguments {
    /// One event; without it, all that the filters admit
    pub(crate) id: Option<String>,
    /// Of this source
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Of this conversation
    #[arg(long, value_name = "KEY")]
    pub(crate) conversation: Option<String>,
    /// Of this message
    #[arg(long, value_name = "WAMID")]
    pub(crate) wamid: Option<String>,
    /// Of this number: its id at Meta, or as people write it
    #[arg(long, value_name = "NUMBER")]
    pub(crate) number: Option<String>,
    /// Of this kind: message, status, echo, call, …
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// Received at this time or later: 2026-11-21T08:00:00Z, or as long ago as 2h
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Received before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Every one there is
    #[arg(long)]
    pub(crate) all: bool,
    /// Only count
    #[arg(long)]
    pub(crate) plan: bool,
    /// A word for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Lists, shows, replays or discards.
pub(crate) async fn run(server: &ServerArguments, command: QuarantineCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        QuarantineCommand::List(arguments) => events::list(&api, "/api/v1/quarantine", &arguments).await,
        QuarantineCommand::Show { id, json } => events::show(&api, &id, json).await,
        QuarantineCommand::Replay(arguments) => act(&api, "replay", arguments).await,
        QuarantineCommand::Discard(arguments) => act(&api, "discard", arguments).await,
    }
}

async fn act(api: &ApiClient, what: &str, arguments: QuarantineArguments) -> anyhow::Result<Exit> {
    let QuarantineArguments {
        id,
        source,
        conversation,
        wamid,
        number,
        kind,
        since,
        until,
        all,
        plan,
        note,
        json: as_json,
    } = arguments;
    let filters = [
        ("id", id),
        ("source", source),
        ("conversation", conversation),
        ("wamid", wamid),
        ("number", number),
        ("kind", kind),
        ("since", since),
        ("until", until),
    ];
    let given = filters.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
    let mut asked: Map<String, Value> = given.collect();
    if asked.is_empty() && !all {
        return Err(wrong_usage("name an event, or say which with filters, or --all for every one"));
    }
    asked.insert("plan".to_owned(), json!(plan));
    asked.insert("note".to_owned(), json!(note));
    let done: Value = api.post(&format!("/api/v1/quarantine/{what}"), &Value::Object(asked)).await?;
    if as_json {
        terminal::say(&done.to_string());
        return Ok(Exit::Done);
    }
    let verb = match (what, plan) {
        ("replay", false) => "sent on their way",
        ("replay", true) => "would be sent on their way",
        (_, false) => "given up",
        (_, true) => "would be given up",
    };
    terminal::say(&format!("{} events {verb}", done["count"]));
    if done["without_route"].as_u64().is_some_and(|left| left > 0) {
        terminal::say(&format!(
            "{} stay quarantined: still no route takes them; `waypost quarantine show ID` shows what they are, `waypost route add` makes a route",
            done["without_route"]
        ));
    }
    if done["too_many"].as_u64().is_some_and(|left| left > 0) {
        terminal::say(&format!(
            "{} stay quarantined: the routes lead each to too many destinations",
            done["too_many"]
        ));
    }
    Ok(Exit::Done)
}
