//! `waypost token`: who may read the real-time stream of a running gateway.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::source::given;
use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::exit::Exit;
use crate::terminal;

#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// Issue a token; it is shown once
    #[command(
        after_help = "Example:\n  waypost token issue --ttl 30d --note dashboard\n  waypost token issue --number 15551234567 --type 'message:*' --metadata-only"
    )]
    Issue(Box<TokenIssueArguments>),
    /// Take a token back: whoever reads with it is cut off at once
    #[command(
        after_help = "Example:\n  waypost token revoke tok_Q2m9xWc8v1LrT0aZbY7k\n  pass show waypost | waypost token revoke -"
    )]
    Revoke {
        /// Its id, the token itself, or - to read either from standard input
        token: String,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tokens that were issued or revoked here, and the keys
    #[command(after_help = "Example:\n  waypost token list --json")]
    List {
        /// Print one object a line
        #[arg(long)]
        json: bool,
    },
    /// Sign with new keys from now on; tokens of the former ones stay good until they run out
    #[command(after_help = "Example:\n  waypost token rotate")]
    Rotate {
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct TokenIssueArguments {
    /// For how long it is good
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub(crate) ttl: String,
    /// Only events of this source; repeatable
    #[arg(long = "source", value_name = "NAME")]
    pub(crate) sources: Vec<String>,
    /// Only events of this number: its id at Meta, or as people write it; repeatable
    #[arg(long = "number", value_name = "NUMBER")]
    pub(crate) numbers: Vec<String>,
    /// Only frames of this type, such as message:new or message:*; repeatable
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Neither what people write nor what they are called
    #[arg(long)]
    pub(crate) metadata_only: bool,
    /// What it is signed with
    #[arg(long, value_enum, default_value = "hs256")]
    pub(crate) alg: AlgArgument,
    /// A word for the list
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy)]
pub(crate) enum AlgArgument {
    /// A secret of the server's
    Hs256,
    /// A key pair of the server's, Ed25519
    Eddsa,
}

/// Issues, revokes, lists or rotates.
pub(crate) async fn run(server: &ServerArguments, command: TokenCommand) -> anyhow::Result<Exit> {
    let api = ApiClient::new(server)?;
    match command {
        TokenCommand::Issue(arguments) => issue(&api, *arguments).await,
        TokenCommand::Revoke { token, json } => revoke(&api, &token, json).await,
        TokenCommand::List { json } => list(&api, json).await,
        TokenCommand::Rotate { json } => rotate(&api, json).await,
    }
}

async fn issue(api: &ApiClient, arguments: TokenIssueArguments) -> anyhow::Result<Exit> {
    let mut asked = Map::new();
    asked.insert("ttl".to_owned(), json!(arguments.ttl));
    for (key, values) in
        [("sources", &arguments.sources), ("numbers", &arguments.numbers), ("types", &arguments.types)]
    {
        if !values.is_empty() {
            asked.insert(key.to_owned(), json!(values));
        }
    }
    asked.insert("content".to_owned(), json!(!arguments.metadata_only));
    let alg = match arguments.alg {
        AlgArgument::Hs256 => "HS256",
        AlgArgument::Eddsa => "EdDSA",
    };
    asked.insert("alg".to_owned(), json!(alg));
    asked.insert("note".to_owned(), json!(arguments.note));
    let issued: Value = api.post("/api/v1/tokens", &Value::Object(asked)).await?;
    if arguments.json {
        terminal::say(&issued.to_string());
        return Ok(Exit::Done);
    }
    terminal::say(text(&issued, "token"));
    terminal::complain(&format!(
        "this is {}, good until {}; it is not shown again",
        text(&issued, "id"),
        text(&issued, "expires_at")
    ));
    Ok(Exit::Done)
}

async fn revoke(api: &ApiClient, token: &str, as_json: bool) -> anyhow::Result<Exit> {
    // In the body, since addresses are logged on the way.
    let revoked: Value = api.post("/api/v1/tokens/revoke", &json!({ "token": given(token)? })).await?;
    if as_json {
        terminal::say(&revoked.to_string());
        return Ok(Exit::Done);
    }
    let id = text(&revoked, "id");
    terminal::say(&if revoked["issued_here"] == true {
        format!("revoked {id}")
    } else {
        format!("revoked {id}, which was not issued here: tokens of others that bear this id are refused")
    });
    Ok(Exit::Done)
}

async fn list(api: &ApiClient, as_json: bool) -> anyhow::Result<Exit> {
    let all: Value = api.get("/api/v1/tokens").await?;
    let (tokens, keys) = (array(&all, "items"), array(&all, "keys"));
    if as_json {
        for token in tokens {
            terminal::say(&token.to_string());
        }
        return Ok(Exit::Done);
    }
    if tokens.is_empty() {
        terminal::say("no token was issued yet; issue one with `waypost token issue`");
    }
    for token in tokens {
        let state = if token["revoked_at"].is_null() { "good until" } else { "revoked, was until" };
        terminal::say(&format!(
            "{:<26} {state} {}  {}  {}",
            text(token, "id"),
            text(token, "expires_at"),
            scope(&token["scope"]),
            text(token, "note"),
        ));
    }
    for key in keys {
        let state = match key["believed_until"].as_str() {
            None => "signs".to_owned(),
            Some(until) => format!("believed until {until}"),
        };
        terminal::say(&format!(
            "{:<26} {} made {}, {state}",
            text(key, "id"),
            text(key, "alg"),
            text(key, "made_at")
        ));
    }
    Ok(Exit::Done)
}

async fn rotate(api: &ApiClient, as_json: bool) -> anyhow::Result<Exit> {
    let rotated: Value = api.post("/api/v1/tokens/rotate", &json!({})).await?;
    terminal::say(&if as_json {
        rotated.to_string()
    } else if rotated["made"] == 0 {
        "no key was made yet: the first token makes one".to_owned()
    } else {
        "new tokens are signed with new keys; those of the former keys stay good until they run out"
            .to_owned()
    });
    Ok(Exit::Done)
}

/// What a token admits to, in words.
fn scope(scope: &Value) -> String {
    let lists = ["sources", "numbers", "types"].into_iter().filter_map(|key| {
        let values: Vec<&str> = scope[key].as_array()?.iter().filter_map(Value::as_str).collect();
        Some(format!("{key} {}", values.join(",")))
    });
    let content = match &scope["content"] {
        Value::Bool(false) => "metadata only",
        Value::Bool(true) => "with content",
        _ => "of others",
    };
    lists.chain([content.to_owned()]).collect::<Vec<_>>().join("; ")
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}
