//! `waypost events`: what came in, and what became of it.

use std::fmt::Write as _;

use serde::Deserialize;

use super::query::escaped;
use crate::api_client::ApiClient;
use crate::cli::{EventsCommand, EventsListArguments, ServerArguments};
use crate::exit::Exit;
use crate::rendering::{DeliveryView, EventView};
use crate::terminal;

#[derive(Deserialize)]
struct List {
    items: Vec<EventView>,
    next: Option<String>,
}

/// Lists or shows.
pub(crate) async fn run(server: &ServerArguments, command: EventsCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        EventsCommand::List(arguments) => list(&api, "/api/v1/events", &arguments).await,
        EventsCommand::Show { id, json } => show(&api, &id, json).await,
    }
}

/// Lists what an address of the API holds.
pub(super) async fn list(
    api: &ApiClient,
    address: &str,
    arguments: &EventsListArguments,
) -> anyhow::Result<Exit> {
    let (mut left, mut after) = (arguments.limit, arguments.after.clone());
    while left > 0 {
        let list: List = api.get(&query(address, arguments, left, after.as_deref())).await?;
        left = left.saturating_sub(list.items.len());
        for event in &list.items {
            terminal::say(&if arguments.json { serde_json::to_string(event)? } else { line(event) });
        }
        // A page may end short of its limit with more to come.
        match list.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(Exit::Done)
}

fn query(address: &str, arguments: &EventsListArguments, limit: usize, after: Option<&str>) -> String {
    let mut path = format!("{address}?limit={}", limit.min(1_000));
    let filters = [
        ("source", arguments.source.as_deref()),
        ("destination", arguments.destination.as_deref()),
        ("state", arguments.state.as_deref()),
        ("conversation", arguments.conversation.as_deref()),
        ("wamid", arguments.wamid.as_deref()),
        ("number", arguments.number.as_deref()),
        ("kind", arguments.kind.as_deref()),
        ("code", arguments.code.as_deref()),
        ("since", arguments.since.as_deref()),
        ("until", arguments.until.as_deref()),
        ("after", after),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            let _ = write!(path, "&{name}={}", escaped(value));
        }
    }
    path
}

/// Shows one with all that belongs to it.
pub(super) async fn show(api: &ApiClient, id: &str, as_json: bool) -> anyhow::Result<Exit> {
    let event: EventView = api.get(&format!("/api/v1/events/{}", escaped(id))).await?;
    if as_json {
        terminal::say(&serde_json::to_string(&event)?);
        return Ok(Exit::Done);
    }
    let shown = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            terminal::say(&format!("{name:<14}{value}"));
        }
    };
    shown("event", Some(&event.id));
    shown("kind", Some(&format!("{} {} ({}, {})", event.kind, event.r#type, event.field, event.class)));
    shown("received", Some(&event.received_at));
    shown("occurred", event.occurred_at.as_deref());
    shown("source", Some(&event.source));
    shown("number", event.display_phone_number.as_deref().or(event.phone_number_id.as_deref()));
    shown("account", event.waba_id.as_deref());
    shown("conversation", event.conversation.as_deref());
    shown("message", event.wamid.as_deref());
    shown("key", Some(&event.key));
    shown("duplicate of", event.duplicate_of.as_deref());
    shown(
        "quarantined",
        event.quarantined.then_some("no route takes it; `waypost quarantine replay` sends it once one does"),
    );
    if let Some(request) = &event.request {
        let kept = if request.body_kept { "kept" } else { "not kept" };
        shown("request", Some(&format!("{} ({} bytes, body {kept})", request.id, request.body_bytes)));
        shown("proved by", request.proved_by.as_deref());
    }
    for delivery in &event.deliveries {
        terminal::say("");
        terminal::say(&format!(
            "delivery      {} to {}: {}",
            delivery.id,
            delivery.destination,
            standing(delivery)
        ));
        if let Some(waits_for) = &delivery.waits_for {
            terminal::say(&format!("  waits for   {}", waits_for.what));
        }
        for attempt in delivery.log.iter().flatten() {
            let status = attempt.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
            let code = attempt.code.as_deref().unwrap_or("delivered");
            terminal::say(&format!("  {}  {status:>3}  {code}  {} ms", attempt.at, attempt.duration_ms));
        }
    }
    Ok(Exit::Done)
}

/// One event on one line.
fn line(event: &EventView) -> String {
    let what =
        if event.r#type.is_empty() { event.kind.clone() } else { format!("{} {}", event.kind, event.r#type) };
    let standing = match event.deliveries.as_slice() {
        _ if event.duplicate => "duplicate".to_owned(),
        _ if event.quarantined => "quarantined: no route takes it".to_owned(),
        [] => "owed to nobody".to_owned(),
        deliveries => deliveries
            .iter()
            .map(|d| format!("{}: {}", d.destination, standing(d)))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let subject = event.wamid.as_deref().unwrap_or(&event.key);
    format!("{}  {}  {what:<24} {subject}  {standing}", event.received_at, event.id)
}

fn standing(delivery: &DeliveryView) -> String {
    let mut standing = delivery.state.clone();
    if delivery.overtaken {
        standing.push_str(", overtaken");
    }
    if let Some(code) = &delivery.last_code {
        let _ = write!(standing, " ({code}");
        if let Some(status) = delivery.last_status {
            let _ = write!(standing, " {status}");
        }
        standing.push(')');
    }
    if let Some(due_at) = &delivery.due_at {
        let _ = write!(standing, ", {} attempts, due {due_at}", delivery.attempts);
    }
    standing
}
