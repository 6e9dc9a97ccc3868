//! `waypost listen`: brings what comes in to a program on this machine, as it came or normalised.
//!
//! **The promise:** everything that is asked for reaches the program once, in order, and what came while nobody listened
//! comes first: it goes on after the last one that the program answered. While the program gives no answer, the same
//! event is tried again and nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use aws_lc_rs::digest;
use bytes::Bytes;
use clap::Args;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;
use waypost_domain::Clock;
use waypost_whatsapp::{AppSecret, sign};

use super::following::{StreamFilters, text, word};
use super::query::escaped;
use crate::api_client::ApiClient;
use crate::cli::ServerArguments;
use crate::config::{Env, secret};
use crate::exit::Exit;
use crate::stream_client::{Following, Frame, Told, follow};
use crate::streaming::evidence::{HEADER_PREFIX, REQUEST_ID};
use crate::synthetic::{Caller, Heard};
use crate::{installed, terminal};

/// Waits between tries at a program that gives no answer: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

#[derive(Args, Debug)]
pub(crate) struct ListenArguments {
    /// The program's address, such as http://localhost:3000/webhook
    #[arg(long, value_name = "URL")]
    pub(crate) forward_to: String,
    #[command(flatten)]
    pub(crate) filters: StreamFilters,
    /// Normalised events, instead of requests as Meta sent them
    #[arg(long)]
    pub(crate) normalised: bool,
    /// Sign anew with this app secret: the secret itself, env:NAME or file:PATH [default: the signature as it came]
    #[arg(long, value_name = "S")]
    pub(crate) secret: Option<String>,
    /// Print one delivery a line, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// How far a program has got, kept from one run to the next.
#[derive(Serialize, Deserialize, Default)]
struct Progress {
    /// The last frame that is done.
    cursor: String,
    /// The request that was forwarded last: its further events are done with it.
    request: Option<String>,
}

/// Forwards until it is stopped.
pub(crate) async fn run(server: &ServerArguments, arguments: ListenArguments) -> anyhow::Result<Exit> {
    let clock = Clock::system();
    let api = ApiClient::new(server)?;
    let file = progress_file(server, &arguments.forward_to);
    let progress: Progress = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => Progress::default(),
    };
    let kept = Some(progress.cursor.clone()).filter(|cursor| !cursor.is_empty());
    let since = arguments.filters.since.clone().or(kept).unwrap_or_else(|| "now".to_owned());
    let mut query = arguments.filters.query();
    query.push("replays=1".to_owned());
    let mut forwarder = Forwarder {
        caller: Caller::new(&arguments.forward_to, None, &clock)?,
        secret: arguments.secret.as_deref().map(app_secret).transpose()?,
        url: arguments.forward_to.clone(),
        normalised: arguments.normalised,
        as_json: arguments.json,
        api: ApiClient::new(server)?,
        file,
        progress,
    };
    let place = api.place();
    let (cursor, mut told) = follow(api, Following { query, since: since.clone() }).await?;
    // Kept from the start: what comes while the program gives no answer is not passed over by the next run.
    forwarder.begin(cursor)?;
    terminal::complain(&format!("listening at {place} from {since}; forwarding to {}", arguments.forward_to));
    let mut left = arguments.filters.count.unwrap_or(u64::MAX);
    let mut stop = std::pin::pin!(tokio::signal::ctrl_c());
    while left > 0 {
        let next = tokio::select! {
            next = told.recv() => next,
            stopped = &mut stop => {
                stopped?;
                return Ok(Exit::Done);
            }
        };
        match next.transpose()? {
            Some(Told::Frame(frame)) => {
                tokio::select! {
                    was_forwarded = forwarder.take(&frame) => left -= u64::from(was_forwarded?),
                    stopped = &mut stop => {
                        stopped?;
                        return Ok(Exit::Done);
                    }
                }
            }
            Some(Told::Behind(behind)) => terminal::complain(&format!("{behind} frames behind")),
            Some(Told::Lost(why)) => terminal::complain(&format!("-x-  {why}; trying again")),
            Some(Told::Back) => terminal::complain("---  connected again, from where it was"),
            None => break,
        }
    }
    Ok(Exit::Done)
}

struct Forwarder {
    api: ApiClient,
    caller: Caller,
    secret: Option<AppSecret>,
    url: String,
    normalised: bool,
    as_json: bool,
    file: PathBuf,
    progress: Progress,
}

/// What goes to the program.
struct Parcel {
    request: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Forwarder {
    /// Forwards what a frame is about, and answers whether there was anything to forward.
    async fn take(&mut self, frame: &Frame) -> anyhow::Result<bool> {
        // What is told of a person goes before the event that tells it, and comes with it.
        if text(&frame.payload, "id") != frame.id || frame.id.ends_with(".1") {
            return Ok(false);
        }
        self.say(&format!(
            "-->  {}  {} {}  {}{}",
            text(&frame.payload, "received_at"),
            frame.r#type,
            word(frame),
            frame.id,
            if frame.is_replay { "  replay" } else { "" },
        ));
        let parcel = if self.normalised { Ok(self.normalised(frame)?) } else { self.raw(frame).await? };
        let parcel = match parcel {
            Ok(parcel) => parcel,
            Err(why) => {
                self.say(&format!("<--  [not sent] {why}"));
                self.done(frame, None)?;
                return Ok(false);
            }
        };
        let same = parcel.request.is_some() && parcel.request == self.progress.request;
        if same && !frame.is_replay {
            self.say("<--  [sent] with the request of the event before it");
            self.done(frame, parcel.request)?;
            return Ok(false);
        }
        self.forward(frame, &parcel).await;
        self.done(frame, parcel.request)?;
        Ok(true)
    }

    /// Posts it until there is an answer, whatever that is.
    async fn forward(&self, frame: &Frame, parcel: &Parcel) {
        let mut wait = WAITS.0;
        loop {
            match self.caller.post_with(parcel.headers.clone(), parcel.body.clone()).await {
                Ok(Heard { status, took, .. }) => {
                    let took_ms = (took.as_secs_f64() * 1e3).round();
                    self.say(&format!("<--  [{status}] POST {} {took_ms} ms", self.url));
                    if self.as_json {
                        let told = json!({
                            "event": frame.id, "type": frame.r#type, "request_id": parcel.request,
                            "replay": frame.is_replay, "url": self.url, "status": status, "took_ms": took_ms,
                        });
                        terminal::say(&told.to_string());
                    }
                    return;
                }
                Err(why) => {
                    let wait_s = wait.as_secs_f64();
                    let told =
                        format!("<--  [no answer] POST {}: {why}; trying again in {wait_s} s", self.url);
                    if self.as_json {
                        terminal::complain(&told)
                    } else {
                        terminal::say(&told)
                    }
                    sleep(wait).await;
                    wait = WAITS.1.min(wait * 2);
                }
            }
        }
    }

    fn normalised(&self, frame: &Frame) -> anyhow::Result<Parcel> {
        let body = Bytes::copy_from_slice(frame.payload_text()?.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("waypost-listen"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("waypost-event", HeaderValue::try_from(frame.r#type.as_str())?);
        headers.insert("waypost-event-id", HeaderValue::try_from(frame.id.as_str())?);
        self.sign(&mut headers, &body)?;
        Ok(Parcel { request: None, headers, body })
    }

    /// The request as it came; why there is none.
    async fn raw(&self, frame: &Frame) -> anyhow::Result<Result<Parcel, String>> {
        let path = format!("/api/v1/events/{}/request", escaped(&frame.id));
        let mut wait = WAITS.0;
        let (told, body) = loop {
            match self.api.get_bytes(&path).await {
                Ok(got) => break got,
                Err(error) if crate::exit::of(&error) == Exit::Unreachable => {
                    terminal::complain(&format!("-x-  {error:#}; trying again"));
                    sleep(wait).await;
                    wait = WAITS.1.min(wait * 2);
                }
                Err(error) => return Ok(Err(format!("{error:#}"))),
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("waypost-listen"));
        for (name, value) in &told {
            let own =
                name.as_str().strip_prefix(HEADER_PREFIX).and_then(|name| HeaderName::try_from(name).ok());
            if let Some(name) = own.filter(|name| is_metas(name.as_str())) {
                headers.insert(name, value.clone());
            }
        }
        headers.insert("waypost-event-id", HeaderValue::try_from(frame.id.as_str())?);
        self.sign(&mut headers, &body)?;
        let request = told.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Ok(Parcel { request, headers, body }))
    }

    fn sign(&self, headers: &mut HeaderMap, body: &[u8]) -> anyhow::Result<()> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let signed = sign(secret, body);
        for (name, value) in [("x-hub-signature", signed.sha1), ("x-hub-signature-256", signed.sha256)] {
            headers.insert(name, HeaderValue::try_from(value)?);
        }
        Ok(())
    }

    /// Notes how far it has got.
    fn done(&mut self, frame: &Frame, request: Option<String>) -> anyhow::Result<()> {
        if frame.is_replay {
            return Ok(());
        }
        self.progress.cursor.clone_from(&frame.id);
        self.progress.request = request;
        self.keep()
    }

    /// Notes where it begins.
    fn begin(&mut self, cursor: String) -> anyhow::Result<()> {
        if self.progress.cursor == cursor {
            return Ok(());
        }
        self.progress = Progress { cursor, request: None };
        self.keep()
    }

    fn keep(&self) -> anyhow::Result<()> {
        keep(&self.file, &self.progress)
            .with_context(|| format!("cannot note how far it has got in {}", self.file.display()))
    }

    /// A line for people.
    fn say(&self, line: &str) {
        if !self.as_json {
            terminal::say(line);
        }
    }
}

/// Headers of Meta's that a program may look at.
fn is_metas(name: &str) -> bool {
    matches!(name, "content-type" | "user-agent" | "x-hub-signature" | "x-hub-signature-256")
}

fn app_secret(text: &str) -> anyhow::Result<AppSecret> {
    let value = secret::resolve(text, &Env::Process).map_err(|what| anyhow!("--secret: {what}"))?;
    AppSecret::new("--secret", value).context("--secret")
}

/// Where is kept how far a program has got: among what the user's programs keep (XDG Base Directory Specification), else
/// beside the data.
fn progress_file(server: &ServerArguments, url: &str) -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = server.data.clone().unwrap_or_else(installed::data_dir);
    let folder = variable("XDG_STATE_HOME")
        .or_else(|| Some(variable("HOME")?.join(".local/state")))
        .map_or_else(|| data.join("listen"), |state| state.join("waypost/listen"));
    // One gateway's place is not another's.
    let gateway = server
        .api
        .clone()
        .unwrap_or_else(|| std::fs::canonicalize(&data).unwrap_or(data).to_string_lossy().into_owned());
    let hash = digest::digest(&digest::SHA256, format!("{gateway}\n{url}").as_bytes());
    let name: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{name}.json"))
}

/// Writes it whole or not at all.
fn keep(file: &Path, progress: &Progress) -> anyhow::Result<()> {
    let folder = file.parent().context("it has no folder")?;
    std::fs::create_dir_all(folder)?;
    let beside = file.with_extension("new");
    std::fs::write(&beside, serde_json::to_vec(progress)?)?;
    Ok(std::fs::rename(&beside, file)?)
}
