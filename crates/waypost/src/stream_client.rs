//! Following a running gateway's stream, for as long as it takes: a connection that is lost or dead is told, and made anew
//! from where it was.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::api_client::{ApiClient, Connection, refusal};

/// Frames that wait for whoever follows; then the gateway waits.
const WAITING_MAX: usize = 64;
/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How often the gateway is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long it may say nothing before the connection is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// Waits before another try: the first, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Largest frame: one event's evidence, and what is around it.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is wanted of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Following {
    /// Parts of the query, encoded.
    pub(crate) query: Vec<String>,
    /// Where to begin: a cursor, `now` or `oldest`.
    pub(crate) since: String,
}

/// What whoever follows is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Something happened.
    Frame(Box<Frame>),
    /// It cannot keep up.
    Behind(u64),
    /// The connection is lost; why.
    Lost(String),
    /// It is there again.
    Back,
}

/// A frame of the stream.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its cursor.
    pub(crate) id: String,
    pub(crate) r#type: String,
    pub(crate) is_replay: bool,
    pub(crate) payload: Value,
    /// As it came.
    pub(crate) text: String,
}

impl Frame {
    /// Its payload as it came, digit for digit.
    ///
    /// # Errors
    ///
    /// When it is not what a frame is.
    pub(crate) fn payload_text(&self) -> serde_json::Result<&str> {
        #[derive(Deserialize)]
        struct Whole<'a> {
            #[serde(borrow)]
            payload: &'a RawValue,
        }
        Ok(serde_json::from_str::<Whole<'_>>(&self.text)?.payload.get())
    }
}

/// Follows in the background, until the receiver is dropped. The first connection is made before this answers; the cursor is
/// the one that it begins after.
///
/// # Errors
///
/// When the gateway cannot be reached, or does not let us read.
pub(crate) async fn follow(
    api: ApiClient,
    following: Following,
) -> anyhow::Result<(String, mpsc::Receiver<anyhow::Result<Told>>)> {
    let mut follower = Follower { api, following };
    let (socket, cursor) = follower.connect().await.map_err(|failure| match failure {
        Failure::Lasting(error) | Failure::Passing(error) => error,
    })?;
    follower.following.since.clone_from(&cursor);
    let (tell, told) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        if let Err(error) = follower.follow(socket, &tell).await {
            let _ = tell.send(Err(error)).await;
        }
    });
    Ok((cursor, told))
}

struct Follower {
    api: ApiClient,
    following: Following,
}

type Socket = WebSocketStream<Box<dyn Connection>>;

/// Why there is no connection.
enum Failure {
    /// Another try may do better.
    Passing(anyhow::Error),
    /// None will.
    Lasting(anyhow::Error),
}

impl Follower {
    async fn follow(
        &mut self,
        mut socket: Socket,
        tell: &mpsc::Sender<anyhow::Result<Told>>,
    ) -> anyhow::Result<()> {
        loop {
            let Some(why) = self.read(&mut socket, tell).await? else { return Ok(()) };
            if tell.send(Ok(Told::Lost(why))).await.is_err() {
                return Ok(());
            }
            let mut wait = WAITS.0;
            let (again, cursor) = loop {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = tell.closed() => return Ok(()),
                }
                wait = WAITS.1.min(wait * 2);
                match self.connect().await {
                    Ok(connected) => break connected,
                    Err(Failure::Passing(_)) => {}
                    Err(Failure::Lasting(error)) => return Err(error),
                }
            };
            (socket, self.following.since) = (again, cursor);
            if tell.send(Ok(Told::Back)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// A connection, and where it begins.
    async fn connect(&self) -> Result<(Socket, String), Failure> {
        let connecting = async {
            let stream = self.api.connect().await.map_err(Failure::Passing)?;
            let mut query = self.following.query.clone();
            query.push("hello=1".to_owned());
            query.push(format!("since={}", self.following.since));
            let request = format!("ws://waypost/ws?{}", query.join("&")).into_client_request();
            let mut request = request.map_err(|error| Failure::Lasting(error.into()))?;
            if let Some(token) = self.api.token() {
                let shown = HeaderValue::try_from(format!("Bearer {token}"));
                let shown = shown.map_err(|_| Failure::Lasting(anyhow!("the token is none")))?;
                request.headers_mut().insert(AUTHORIZATION, shown);
            }
            let config = WebSocketConfig::default()
                .max_message_size(Some(FRAME_BYTES_MAX))
                .max_frame_size(Some(FRAME_BYTES_MAX));
            match client_async_with_config(request, stream, Some(config)).await {
                Ok((socket, _)) => self.greeted(socket).await,
                Err(tungstenite::Error::Http(response)) => {
                    let body = response.body().as_deref().unwrap_or_default();
                    let error = anyhow!(refusal(response.status(), body));
                    let is_lasting = response.status().is_client_error()
                        && response.status() != StatusCode::TOO_MANY_REQUESTS;
                    Err(if is_lasting { Failure::Lasting(error) } else { Failure::Passing(error) })
                }
                Err(error) => Err(Failure::Passing(error.into())),
            }
        };
        let late = || Failure::Passing(anyhow!("the gateway takes too long to answer"));
        timeout(CONNECT_TIME_MAX, connecting).await.map_err(|_| late())?
    }

    /// Waits to be told where the stream begins: now is another moment when it is asked for again.
    async fn greeted(&self, mut socket: Socket) -> Result<(Socket, String), Failure> {
        loop {
            let said = socket.next().await.unwrap_or(Err(tungstenite::Error::ConnectionClosed));
            match said.map_err(|error| Failure::Passing(error.into()))? {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                    match (frame["type"].as_str(), frame["payload"]["cursor"].as_str()) {
                        (Some("stream:hello"), Some(cursor)) => return Ok((socket, cursor.to_owned())),
                        (Some("stream:too_old"), _) => return Err(Failure::Lasting(self.too_old(&frame))),
                        _ => {}
                    }
                }
                Message::Close(close) => {
                    let (code, reason) = close_of(close);
                    return Err(match ended(code, &reason) {
                        Ok(why) => Failure::Passing(anyhow!(why)),
                        Err(error) => Failure::Lasting(error),
                    });
                }
                _ => {}
            }
        }
    }

    fn too_old(&self, frame: &Value) -> anyhow::Error {
        let oldest = frame["payload"]["oldest"].as_str().unwrap_or("oldest");
        let since = &self.following.since;
        anyhow!("some of what followed {since} is kept no more; go on with --since {oldest}")
    }

    /// Reads until the connection is lost, and says why; `None` once nobody follows any more.
    async fn read(
        &mut self,
        socket: &mut Socket,
        tell: &mpsc::Sender<anyhow::Result<Told>>,
    ) -> anyhow::Result<Option<String>> {
        let mut last_heard = Instant::now();
        let mut ping_at = last_heard + PING_EVERY;
        loop {
            let said = tokio::select! {
                said = socket.next() => said,
                () = sleep_until(ping_at) => {
                    if last_heard.elapsed() >= SILENCE_MAX {
                        let silence = last_heard.elapsed().as_secs();
                        return Ok(Some(format!("the connection is dead: nothing was heard for {silence} s")));
                    }
                    ping_at = Instant::now() + PING_EVERY;
                    if let Err(error) = socket.send(Message::Ping(Bytes::new())).await {
                        return Ok(Some(lost(&error)));
                    }
                    continue;
                }
                () = tell.closed() => return Ok(None),
            };
            last_heard = Instant::now();
            match said {
                None => return Ok(Some("the gateway hung up".to_owned())),
                Some(Err(error)) => return Ok(Some(lost(&error))),
                Some(Ok(Message::Close(close))) => {
                    let (code, reason) = close_of(close);
                    return ended(code, &reason).map(Some);
                }
                Some(Ok(Message::Text(text))) => {
                    let told = self.told(text.to_string())?;
                    if let Some(told) = told
                        && tell.send(Ok(told)).await.is_err()
                    {
                        return Ok(None);
                    }
                    // Whoever follows may have taken long.
                    last_heard = Instant::now();
                }
                Some(Ok(_)) => {}
            }
        }
    }

    /// What a frame tells; where to go on is noted.
    fn told(&mut self, text: String) -> anyhow::Result<Option<Told>> {
        let mut frame: Value = serde_json::from_str(&text)
            .context("the gateway says what makes no sense; is it another version?")?;
        let r#type = frame["type"].as_str().unwrap_or_default().to_owned();
        match r#type.as_str() {
            "stream:behind" => {
                Ok(Some(Told::Behind(frame["payload"]["behind"].as_u64().unwrap_or_default())))
            }
            "stream:too_old" => Err(self.too_old(&frame)),
            "pong" => Ok(None),
            _ => {
                let id = frame["id"].as_str().unwrap_or_default().to_owned();
                let is_replay = frame["replay"] == true;
                if !is_replay && !id.is_empty() {
                    self.following.since.clone_from(&id);
                }
                let payload = frame["payload"].take();
                Ok(Some(Told::Frame(Box::new(Frame { id, r#type, is_replay, payload, text }))))
            }
        }
    }
}

/// The code and the reason of a close.
fn close_of(close: Option<CloseFrame>) -> (u16, String) {
    close.map_or((1005, String::new()), |close| (close.code.into(), close.reason.to_string()))
}

/// What a close says: why the connection is lost, or why no other can be had.
fn ended(code: u16, reason: &str) -> anyhow::Result<String> {
    match code {
        // What no other try would change; docs/stream.md has the codes.
        1008 | 4001 | 4003 | 4010 => bail!("the gateway ended the stream: {reason} ({code})"),
        1001 => Ok("the gateway stops".to_owned()),
        _ => Ok(format!("the gateway ended the connection: {reason} ({code})")),
    }
}

fn lost(error: &tungstenite::Error) -> String {
    format!("the connection is lost: {error}")
}
