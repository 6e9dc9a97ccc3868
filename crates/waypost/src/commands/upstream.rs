//! `waypost upstream`: the allow-list of a running gateway.

use serde_json::{Map, Value, json};

use crate::api_client::ApiClient;
use crate::cli::{ModeArgument, ServerArguments, UpstreamAddArguments, UpstreamCommand};
use crate::exit::Exit;
use crate::terminal;

/// Lists, adds or removes.
pub(crate) async fn run(server: &ServerArguments, command: UpstreamCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        UpstreamCommand::Add(arguments) => add(&api, arguments).await,
        UpstreamCommand::Remove { host, json } => remove(&api, &host, json).await,
        UpstreamCommand::List { json } => list(&api, json).await,
    }
}

async fn add(api: &ApiClient, arguments: UpstreamAddArguments) -> anyhow::Result<Exit> {
    let as_json = arguments.json;
    let added: Value = api.post("/api/v1/upstreams", &settings(arguments)).await?;
    if as_json {
        terminal::say(&added.to_string());
    } else {
        terminal::say(&format!(
            "added {} ({}, {})",
            text(&added, "host"),
            text(&added, "mode"),
            text(&added, "origin")
        ));
        super::say_warnings(&added);
    }
    Ok(Exit::Done)
}

/// The keys of an `[[upstream]]`, those that were given.
fn settings(arguments: UpstreamAddArguments) -> Value {
    let mut settings = Map::new();
    settings.insert("host".to_owned(), json!(arguments.host));
    let mut put = |key: &str, value: Value| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            settings.insert(key.to_owned(), value);
        }
    };
    put("origin", json!(arguments.origin));
    put(
        "mode",
        arguments.mode.map_or(Value::Null, |mode| match mode {
            ModeArgument::Store => json!("store"),
            ModeArgument::Relay => json!("relay"),
        }),
    );
    put("paths", json!(arguments.paths));
    put("ca_file", json!(arguments.ca_file));
    put("app_secrets", json!(arguments.app_secrets));
    put("verify_token", json!(arguments.verify_token));
    put("batches", json!(arguments.batches.map(|batches| batches.as_str())));
    put("sign_with", json!(arguments.sign_with));
    if arguments.allow_private {
        put("allow_private", json!(true));
    }
    Value::Object(settings)
}

async fn remove(api: &ApiClient, host: &str, as_json: bool) -> anyhow::Result<Exit> {
    let removed: Value = api.delete(&format!("/api/v1/upstreams/{host}")).await?;
    if as_json {
        terminal::say(&removed.to_string());
    } else {
        terminal::say(&format!("removed {host}; what it is owed is kept"));
    }
    Ok(Exit::Done)
}

async fn list(api: &ApiClient, as_json: bool) -> anyhow::Result<Exit> {
    let answer: Value = api.get("/api/v1/upstreams").await?;
    let items = answer["items"].as_array().cloned().unwrap_or_default();
    if items.is_empty() && !as_json {
        terminal::say("no receiver is allowed yet; allow one with `waypost upstream add HOST`");
    }
    for item in items {
        if as_json {
            terminal::say(&item.to_string());
            continue;
        }
        let state = match (item["paused"] == true, item["down"] == true) {
            (true, _) => "paused",
            (_, true) => "down",
            _ => "up",
        };
        terminal::say(&format!(
            "{:<40} {:<6} {:<7} {}",
            text(&item, "host"),
            text(&item, "mode"),
            state,
            text(&item, "origin")
        ));
    }
    Ok(Exit::Done)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}
