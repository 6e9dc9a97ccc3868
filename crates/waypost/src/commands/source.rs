//! `waypost source`: the inbound addresses of a running gateway, and what proves their callers.

use std::io::Read as _;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::query::escaped;
use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::exit::Exit;
use crate::terminal;

/// Longest callback address that Meta is known to take without trouble.
const CALLBACK_CHARACTERS_MAX: usize = 200;
/// Longest secret that is read from standard input.
const SECRET_BYTES_MAX: u64 = 4 * 1024;

#[derive(Subcommand, Debug)]
pub(crate) enum SourceCommand {
    /// Make an inbound address, live: says once what to paste at Meta
    #[command(
        after_help = "Example:\n  waypost source add acme --app-secret env:ACME_APP_SECRET\n  pass show meta/acme | waypost source add acme --app-secret -"
    )]
    Add(SourceAddArguments),
    /// Take an inbound address away, live; what came through it is kept and delivered
    #[command(after_help = "Example:\n  waypost source remove acme --with-routes")]
    Remove {
        /// Its name
        name: String,
        /// Take away its routes too
        #[arg(long)]
        with_routes: bool,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the inbound addresses
    #[command(after_help = "Example:\n  waypost source list --json")]
    List {
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
    /// Give a source new secrets beside the former ones, which hold until --finish
    #[command(
        after_help = "Example:\n  waypost source rotate acme --app-secret file:/run/secrets/new   # both hold\n  waypost source rotate acme --finish                            # only the new one does\n  waypost source rotate acme --new-address --verify-token        # both to paste at Meta anew"
    )]
    Rotate(SourceRotateArguments),
}

#[derive(Args, Debug)]
pub(crate) struct SourceAddArguments {
    /// Its name
    pub(crate) name: String,
    /// An app secret that proves callers: env:NAME or file:PATH on the server, or - to read it here; the first one signs; repeatable
    #[arg(long = "app-secret", value_name = "SECRET", required = true)]
    pub(crate) app_secrets: Vec<String>,
    /// The verify token: env:NAME, file:PATH, or the token itself [default: one is made]
    #[arg(long = "verify-token", value_name = "TOKEN")]
    pub(crate) verify_tokens: Vec<String>,
    /// What the address ends with [default: one is made]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) address_token: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["app_secret", "verify_token", "new_address", "finish"]))]
pub(crate) struct SourceRotateArguments {
    /// Its name
    pub(crate) name: String,
    /// A new app secret: env:NAME or file:PATH on the server, or - to read it here
    #[arg(long, value_name = "SECRET")]
    pub(crate) app_secret: Option<String>,
    /// A new verify token; without a value one is made
    #[arg(long, value_name = "TOKEN", num_args = 0..=1, default_missing_value = "")]
    pub(crate) verify_token: Option<String>,
    /// Make a new callback address
    #[arg(long)]
    pub(crate) new_address: bool,
    /// Let only the newest of each hold
    #[arg(long)]
    pub(crate) finish: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Adds, removes, lists or rotates.
pub(crate) async fn run(server: &ServerArguments, command: SourceCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        SourceCommand::Add(arguments) => add(&api, arguments).await,
        SourceCommand::Remove { name, with_routes, json } => remove(&api, &name, with_routes, json).await,
        SourceCommand::List { json } => list(&api, json).await,
        SourceCommand::Rotate(arguments) => rotate(&api, arguments).await,
    }
}

async fn add(api: &ApiClient, arguments: SourceAddArguments) -> anyhow::Result<Exit> {
    let mut settings = Map::new();
    settings.insert("name".to_owned(), json!(arguments.name));
    let secrets = arguments.app_secrets.iter().map(|secret| given(secret)).collect::<Result<Vec<_>, _>>()?;
    settings.insert("app_secrets".to_owned(), json!(secrets));
    if !arguments.verify_tokens.is_empty() {
        settings.insert("verify_token".to_owned(), json!(arguments.verify_tokens));
    }
    if let Some(token) = &arguments.address_token {
        settings.insert("token".to_owned(), json!(token));
    }
    let made: Value = api.post("/api/v1/sources", &Value::Object(settings)).await?;
    if arguments.json {
        terminal::say(&made.to_string());
        return Ok(Exit::Done);
    }
    terminal::say(&format!("added {}; paste this at Meta, it is not shown again:", arguments.name));
    show(&made);
    Ok(Exit::Done)
}

async fn rotate(api: &ApiClient, arguments: SourceRotateArguments) -> anyhow::Result<Exit> {
    let SourceRotateArguments { name, app_secret, verify_token, new_address, finish, json: as_json } =
        arguments;
    let mut asked = Map::new();
    if let Some(secret) = app_secret {
        asked.insert("app_secret".to_owned(), json!(given(&secret)?));
    }
    if let Some(verify_token) = verify_token {
        let value = if verify_token.is_empty() { json!(true) } else { json!(verify_token) };
        asked.insert("verify_token".to_owned(), value);
    }
    asked.insert("token".to_owned(), json!(new_address));
    asked.insert("finish".to_owned(), json!(finish));
    let path = format!("/api/v1/sources/{}/rotate", escaped(&name));
    let changed: Value = api.post(&path, &Value::Object(asked)).await?;
    if as_json {
        terminal::say(&changed.to_string());
        return Ok(Exit::Done);
    }
    terminal::say(&if finish {
        format!("{name}: only the newest of each holds now")
    } else {
        format!(
            "{name}: the new ones hold beside the former ones; end with `waypost source rotate {name} --finish`"
        )
    });
    show(&changed);
    Ok(Exit::Done)
}

/// What to paste, and what is doubtful.
fn show(source: &Value) {
    let url = text(source, "callback_url");
    terminal::say(&format!("callback URL   {url}"));
    terminal::say(&format!("verify token   {}", text(source, "verify_token")));
    let characters = url.chars().count();
    if characters > CALLBACK_CHARACTERS_MAX {
        terminal::say(&format!(
            "warning: the URL has {characters} characters, and Meta refuses some that are longer than {CALLBACK_CHARACTERS_MAX}; give a shorter --address-token or domain"
        ));
    }
    super::say_warnings(source);
}

async fn remove(api: &ApiClient, name: &str, with_routes: bool, as_json: bool) -> anyhow::Result<Exit> {
    let query = if with_routes { "?with_routes=true" } else { "" };
    let removed: Value = api.delete(&format!("/api/v1/sources/{}{query}", escaped(name))).await?;
    if as_json {
        terminal::say(&removed.to_string());
        return Ok(Exit::Done);
    }
    let routes = removed["routes"].as_array().map_or(0, Vec::len);
    let along = if routes > 0 { format!(", and {routes} routes with it") } else { String::new() };
    terminal::say(&format!("removed {name}{along}; what came through it is kept"));
    Ok(Exit::Done)
}

async fn list(api: &ApiClient, as_json: bool) -> anyhow::Result<Exit> {
    let items = api.items("/api/v1/sources").await?;
    if items.is_empty() && !as_json {
        terminal::say(
            "there is no source yet; make one with `waypost source add NAME --app-secret env:NAME`",
        );
    }
    for item in items {
        terminal::say(&if as_json {
            item.to_string()
        } else {
            let secrets: Vec<&str> =
                item["app_secrets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!(
                "{:<24} {:>4} routes  proved by {}  ({})",
                text(&item, "name"),
                item["routes"],
                secrets.join(", "),
                text(&item, "provision"),
            )
        });
    }
    Ok(Exit::Done)
}

/// A secret as an argument gives it: `-` stands for standard input. What is a file or variable is the server's to read.
pub(super) fn given(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        let elsewhere = ["env:", "file:"].iter().any(|prefix| argument.starts_with(prefix));
        if !elsewhere && argument != "none" {
            terminal::complain(
                "warning: a secret on the command line stays in the shell's history, and every user of this machine sees it meanwhile; give - and write it there, or env:NAME or file:PATH",
            );
        }
        return Ok(argument.to_owned());
    }
    let mut secret = String::new();
    let mut input = std::io::stdin().lock().take(SECRET_BYTES_MAX);
    input.read_to_string(&mut secret).context("cannot read the secret from standard input")?;
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        bail!("standard input holds no secret");
    }
    Ok(secret.to_owned())
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}
