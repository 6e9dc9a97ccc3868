//! `waypost ping`: sends a destination one test event and says what came of it.

use clap::Args;
use serde_json::{Value, json};

use super::query::escaped;
use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::exit::Exit;
use crate::terminal;

#[derive(Args, Debug)]
pub(crate) struct PingArguments {
    /// Its name
    pub(crate) destination: String,
    /// The path to call, for an upstream, which has none of its own
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Pings; fails where it is not answered with a 2xx.
pub(crate) async fn run(server: &ServerArguments, arguments: PingArguments) -> anyhow::Result<Exit> {
    let PingArguments { destination, path, json: as_json } = arguments;
    let api = ApiClient::new(server)?;
    let address = format!("/api/v1/destinations/{}/ping", escaped(&destination));
    let mut asked = json!({});
    if let Some(path) = path {
        asked["path"] = json!(path);
    }
    let pinged: Value = api.post(&address, &asked).await?;
    if as_json {
        terminal::say(&pinged.to_string());
    } else {
        told(&pinged);
    }
    Ok(if pinged["ok"] == true { Exit::Done } else { Exit::Failed })
}

fn told(pinged: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let came = match (pinged["status"].as_u64(), pinged["code"].as_str()) {
        (Some(status), _) => format!("answered {status}"),
        (None, code) => format!("no answer: {}", code.unwrap_or("-")),
    };
    terminal::say(&format!("{}  {came} in {} ms", text(&pinged["destination"]), pinged["took_ms"]));
    terminal::say(&format!("called       {}", text(&pinged["url"])));
    if let Some(address) = pinged["address"].as_str() {
        terminal::say(&format!("address      {address}"));
    }
    for (name, key) in [
        ("resolve", "resolve_ms"),
        ("connect", "connect_ms"),
        ("tls", "tls_ms"),
        ("first byte", "first_byte_ms"),
    ] {
        if let Some(millis) = pinged[key].as_f64() {
            terminal::say(&format!("{name:<12} {millis} ms"));
        }
    }
    terminal::say(&format!("signed with  {}", pinged["signed_with"].as_str().unwrap_or("nothing")));
    if let Some(certificate) = pinged["certificate"].as_object() {
        terminal::say(&format!(
            "certificate  {}, by {}, until {}",
            text(&certificate["subject"]),
            text(&certificate["issuer"]),
            text(&certificate["not_after"]),
        ));
    }
    if let Some(answer) = pinged["answer"].as_str().filter(|answer| !answer.is_empty()) {
        terminal::say(&format!("answer       {answer}"));
    }
    for probe in pinged["probes"].as_array().into_iter().flatten() {
        let status =
            probe["status"].as_u64().map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        terminal::say(&format!(
            "probe        {}  {status}  {}",
            text(&probe["path"]),
            text(&probe["answer"])
        ));
    }
    for note in pinged["notes"].as_array().into_iter().flatten() {
        terminal::say(&format!("note: {}", text(note)));
    }
}
