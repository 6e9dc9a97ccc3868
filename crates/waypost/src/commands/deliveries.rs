//! `waypost deliveries`, `dead`, `replay`, `pause` and `resume`: what is owed, and what operators do about it.

use serde_json::{Map, Value, json};

use super::query::escaped;
use crate::api_client::ApiClient;
use crate::cli::{
    ActArguments, DeadCommand, DeliveriesCommand, DeliveryFilters, Paging, ReplayArguments, ServerArguments,
};
use crate::exit::{Exit, wrong_usage};
use crate::terminal;

/// `waypost deliveries`.
pub(crate) async fn run(server: &ServerArguments, command: DeliveriesCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        DeliveriesCommand::List { filters, state, paging, json } => {
            list(&api, &filters, state.as_deref(), paging, json).await
        }
        DeliveriesCommand::Show { id, json } => show(&api, &id, json).await,
        DeliveriesCommand::Retry(arguments) => act(&api, "retry", arguments, Some("owed")).await,
        DeliveriesCommand::Discard(arguments) => act(&api, "discard", arguments, None).await,
    }
}

/// `waypost dead`.
pub(crate) async fn run_dead(server: &ServerArguments, command: DeadCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        DeadCommand::List { filters, paging, json } => list(&api, &filters, Some("dead"), paging, json).await,
        DeadCommand::Show { id, json } => show(&api, &id, json).await,
        DeadCommand::Replay(arguments) => act(&api, "replay", arguments, Some("dead")).await,
        DeadCommand::Discard(arguments) => act(&api, "discard", arguments, Some("dead")).await,
    }
}

/// `waypost replay`.
pub(crate) async fn replay(server: &ServerArguments, arguments: ReplayArguments) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    let to = filter(&arguments.filters, arguments.state.as_deref());
    ask(&api, "replay", to, arguments.plan, arguments.note.as_deref(), arguments.json).await
}

/// `waypost pause` and `resume`.
pub(crate) async fn hold(
    server: &ServerArguments,
    destination: &str,
    paused: bool,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    let (act, done) = if paused { ("pause", "held") } else { ("resume", "let go") };
    let path = format!("/api/v1/destinations/{}/{act}", escaped(destination));
    let held: Value = api.post(&path, &json!({})).await?;
    let unchanged = if held["changed"] == false { " already" } else { "" };
    terminal::say(&if as_json { held.to_string() } else { format!("{destination} is{unchanged} {done}") });
    Ok(Exit::Done)
}

async fn list(
    api: &ApiClient,
    filters: &DeliveryFilters,
    state: Option<&str>,
    Paging { limit: mut left, mut after }: Paging,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let wanted = filter(filters, state);
    while left > 0 {
        let mut path = format!("/api/v1/deliveries?limit={}", left.min(1_000));
        for (name, value) in &wanted {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            path.push_str(&format!("&{name}={}", escaped(&value)));
        }
        if let Some(after) = &after {
            path.push_str(&format!("&after={}", escaped(after)));
        }
        let page: Value = api.get(&path).await?;
        let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        left = left.saturating_sub(items.len());
        for item in items {
            terminal::say(&if as_json { item.to_string() } else { line(item) });
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(Exit::Done)
}

async fn show(api: &ApiClient, id: &str, as_json: bool) -> anyhow::Result<Exit> {
    let delivery: Value = api.get(&format!("/api/v1/deliveries/{}", escaped(id))).await?;
    if as_json {
        terminal::say(&delivery.to_string());
        return Ok(Exit::Done);
    }
    terminal::say(&line(&delivery));
    terminal::say(&format!("due       {}", text(&delivery, "due_at")));
    if let Some(what) = delivery["waits_for"]["what"].as_str() {
        terminal::say(&format!("waits     {what}"));
    }
    terminal::say(&format!(
        "body      {}",
        if delivery["body_kept"] == true { "kept" } else { "not kept: it cannot be replayed" }
    ));
    for attempt in delivery["log"].as_array().into_iter().flatten() {
        let code = attempt["code"].as_str().unwrap_or("delivered");
        terminal::say(&format!(
            "attempt   {}  {}  {code}  {} ms",
            text(attempt, "at"),
            attempt["status"],
            attempt["duration_ms"]
        ));
    }
    for act in delivery["acts"].as_array().into_iter().flatten() {
        terminal::say(&format!(
            "act       {}  {} by {}",
            text(act, "at"),
            text(act, "what"),
            text(act, "who")
        ));
    }
    Ok(Exit::Done)
}

async fn act(
    api: &ApiClient,
    what: &str,
    arguments: ActArguments,
    state: Option<&str>,
) -> anyhow::Result<Exit> {
    let mut to = filter(&arguments.filters, state);
    match &arguments.id {
        Some(id) => {
            to.insert("id".to_owned(), json!(id));
        }
        None if !arguments.all && to.keys().all(|key| key == "state") => {
            let what = "name a delivery, or say which with filters, or --all for every one";
            return Err(wrong_usage(what));
        }
        None => {}
    }
    ask(api, what, to, arguments.plan, arguments.note.as_deref(), arguments.json).await
}

async fn ask(
    api: &ApiClient,
    what: &str,
    to: Map<String, Value>,
    plan: bool,
    note: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let asked = json!({ "what": what, "to": to, "plan": plan, "note": note });
    let done: Value = api.post("/api/v1/acts", &asked).await?;
    if as_json {
        terminal::say(&done.to_string());
        return Ok(Exit::Done);
    }
    let verb = if plan { "would be changed" } else { "changed" };
    terminal::say(&format!("{what}: {} deliveries {verb}", done["count"]));
    if done["without_body"] != 0 {
        terminal::say(&format!("{} left alone: their bodies are no longer kept", done["without_body"]));
    }
    super::say_warnings(&done);
    Ok(Exit::Done)
}

/// The filters that were given.
fn filter(filters: &DeliveryFilters, state: Option<&str>) -> Map<String, Value> {
    let DeliveryFilters { source, destination, conversation, wamid, number, code, since, until, overtaken } =
        filters;
    let texts = [
        ("state", state.map(str::to_owned)),
        ("source", source.clone()),
        ("destination", destination.clone()),
        ("conversation", conversation.clone()),
        ("wamid", wamid.clone()),
        ("number", number.clone()),
        ("code", code.clone()),
        ("since", since.clone()),
        ("until", until.clone()),
    ];
    let texts = texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text?))));
    let overtaken = overtaken.then(|| ("overtaken".to_owned(), json!(true)));
    texts.chain(overtaken).collect()
}

/// One delivery on one line.
fn line(delivery: &Value) -> String {
    let mut standing = text(delivery, "state").to_owned();
    if delivery["overtaken"] == true {
        standing.push_str(", overtaken");
    }
    let subject = delivery["wamid"].as_str().unwrap_or_else(|| text(delivery, "key"));
    format!(
        "{}  {}  {:<24} {} {}  {standing}  {} attempts  {}",
        text(delivery, "received_at"),
        text(delivery, "id"),
        text(delivery, "destination"),
        text(delivery, "kind"),
        subject,
        delivery["attempts"],
        delivery["last_code"].as_str().unwrap_or(""),
    )
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}
