//! `waypost tail`: the stream in a terminal. What people write is masked unless it is asked for.

use clap::Args;
use serde_json::Value;

use super::following::{StreamFilters, text, word};
use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::exit::Exit;
use crate::stream_client::{Following, Frame, Told, follow};
use crate::terminal;

/// Characters of a message that are shown.
const SHOWN_CHARS_MAX: usize = 200;

#[derive(Args, Debug)]
pub(crate) struct TailArguments {
    #[command(flatten)]
    pub(crate) filters: StreamFilters,
    /// Show what people write and what they are called
    #[arg(long)]
    pub(crate) content: bool,
    /// Print one frame a line, as the stream has them
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints until it is stopped.
pub(crate) async fn run(server: &ServerArguments, arguments: TailArguments) -> anyhow::Result<Exit> {
    let TailArguments { filters, content, json } = arguments;
    let mut query = filters.query();
    query.push(format!("content={}", u8::from(content)));
    query.push("replays=1".to_owned());
    let since = filters.since.clone().unwrap_or_else(|| "now".to_owned());
    let (_, mut told) = follow(ApiClient::new(server)?, Following { query, since }).await?;
    let mut left = filters.count.unwrap_or(u64::MAX);
    while left > 0 {
        let next = tokio::select! {
            next = told.recv() => next,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                return Ok(Exit::Done);
            }
        };
        match next.transpose()? {
            Some(Told::Frame(frame)) => {
                if !terminal::is_heard(&if json { frame.text } else { line(&frame) }) {
                    return Ok(Exit::Done);
                }
                left -= 1;
            }
            Some(Told::Behind(behind)) => terminal::complain(&format!("{behind} frames behind")),
            Some(Told::Lost(why)) => terminal::complain(&format!("{why}; trying again")),
            Some(Told::Back) => terminal::complain("connected again, from where it was"),
            None => break,
        }
    }
    Ok(Exit::Done)
}

/// One frame on one line.
fn line(frame: &Frame) -> String {
    let payload = &frame.payload;
    let what = format!("{} {}", frame.r#type, word(frame));
    let replay = if frame.is_replay { "  replay" } else { "" };
    let conversation = match text(payload, "conversation") {
        "" => text(payload, "waba_id"),
        conversation => conversation,
    };
    let line = format!(
        "{}  {}  {:<24} {}  {conversation}{replay}",
        text(payload, "received_at"),
        frame.id,
        what.trim_end(),
        text(payload, "source"),
    );
    match written(payload) {
        Some(written) => format!("{line}  {written}"),
        None => line,
    }
}

/// Who wrote what, where that may be shown.
fn written(payload: &Value) -> Option<String> {
    let name = payload["contact"]["name"].as_str();
    let content = &payload["data"]["content"];
    let said = ["body", "caption", "title", "emoji"].into_iter().find_map(|key| content[key].as_str());
    let said = said.map(|said| {
        // One line, whatever is in it.
        let plain = said.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(SHOWN_CHARS_MAX).collect::<String>()
    });
    match (name, said) {
        (Some(name), Some(said)) => Some(format!("{}: {said}", name.escape_debug())),
        (Some(name), None) => Some(name.escape_debug().to_string()),
        (None, said) => said,
    }
}
