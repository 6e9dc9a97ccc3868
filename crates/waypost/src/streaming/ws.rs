//! The stream over a WebSocket (RFC 6455): one JSON frame a message.
//!
//! **The promises:** every frame that was asked for comes once and in order, however slowly it is read; a reader that is
//! slow is told how far behind it is, and one that takes nothing, or falls too far behind
//! ([`super::pace`]), is let go with the cursor to come back with. What a reader costs does not grow with what waits for it:
//! it is a place in the stream, and what the socket holds.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::SinkExt;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout};
use waypost_engine::stream::{Batch, Cursor, Since, StreamError, Subscription, View};

use super::access::{Caller, Door};
use super::ask::Ask;
use super::pace::{Pace, Verdict};
use super::readers::Seat;
use super::tokens::Grant;
use super::{FRAMES_MAX, NoStream, Streaming};

/// How long a caller without a token in the address may take to show one in its first message.
const AUTH_TIME_MAX: Duration = Duration::from_secs(5);
/// How often the other side is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the other side may say nothing at all.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long one batch may take to be written: a reader that takes nothing for so long is too slow.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a farewell may take.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
/// What a client's ping is answered.
const PONG: &str = r#"{"type":"pong","payload":null}"#;
/// Largest message of a client's: a token fits.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Room for what a client says: little, since it says little.
const READ_BUFFER_BYTES: usize = 1024;
/// What is written at once.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Longest reason of a close (RFC 6455, section 5.5).
const REASON_BYTES_MAX: usize = 123;

/// Why a connection is ended, as its close code says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The other side is gone: nothing more is said.
    Gone,
    /// The other side said goodbye, and is answered.
    Left,
    /// The other side does not keep to the protocol, or says more than it may.
    Broken,
    /// The gateway stops.
    Stopping,
    /// No token was shown, or one that is not believed.
    Unproved(&'static str),
    /// What was asked for cannot be had.
    Refused(String),
    /// The token has run out.
    Expired,
    /// The token was revoked.
    Revoked,
    /// It is read too slowly; it goes on from there.
    Slow(Cursor),
    /// What comes after the cursor is kept no more.
    TooOld,
    /// The store cannot be read just now.
    Failing,
    /// As many read already as may.
    Full,
}

impl End {
    /// Why nothing more is heard.
    fn of(said: &Option<Result<Message, axum::Error>>) -> Self {
        match said {
            Some(Ok(_)) => Self::Left,
            Some(Err(_)) => Self::Broken,
            None => Self::Gone,
        }
    }

    /// The close code and the reason; documented in docs/stream.md.
    fn close(&self) -> Option<CloseFrame> {
        let (code, mut reason) = match self {
            Self::Gone | Self::Left => return None,
            Self::Broken => (1002, "a message of yours is broken or too long".to_owned()),
            Self::Stopping => (1001, "the gateway stops; come back in a moment".to_owned()),
            Self::Unproved(code) => (1008, format!("authentication failed: {code}")),
            Self::Refused(why) => (1008, why.clone()),
            Self::Failing | Self::Full => (1013, "try again later".to_owned()),
            Self::Expired => (4001, "token_expired".to_owned()),
            Self::Revoked => (4003, "token_revoked".to_owned()),
            Self::Slow(cursor) => (4008, format!("too slow; go on with since={cursor}")),
            Self::TooOld => (4010, "the cursor is older than what is kept".to_owned()),
        };
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        Some(CloseFrame { code, reason: reason.into() })
    }
}

/// Goes on with a caller as a WebSocket. Who shows no token before may do so in the first message.
pub(super) fn upgrade(
    upgrade: WebSocketUpgrade,
    streaming: Arc<Streaming>,
    door: Door,
    caller: Option<Caller>,
    ask: Ask,
    seat: Seat,
) -> Response {
    let upgrade = upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES);
    upgrade.on_upgrade(move |socket| async move {
        let mut connection = Connection { socket, streaming, last_heard: Instant::now() };
        let end = connection.serve(door, caller, ask, seat).await;
        connection.farewell(&end).await;
    })
}

struct Connection {
    socket: WebSocket,
    streaming: Arc<Streaming>,
    last_heard: Instant,
}

/// What a client may say.
#[derive(Deserialize)]
struct Said {
    r#type: String,
    #[serde(default)]
    payload: serde_json::Value,
}

impl Connection {
    async fn serve(&mut self, door: Door, caller: Option<Caller>, ask: Ask, seat: Seat) -> End {
        let (caller, seat) = match caller {
            Some(caller) => (caller, seat),
            None => {
                let caller = match self.introduced(door).await {
                    Ok(caller) => caller,
                    Err(end) => return end,
                };
                let Ok(seat) = self.streaming.readers.seat() else { return End::Full };
                (caller, seat)
            }
        };
        let view = match ask.view(&caller) {
            Ok(view) => view,
            Err(problem) => return End::Refused(problem.detail().to_owned()),
        };
        let since = ask.since.unwrap_or(Since::Now);
        let mut subscription = match self.streaming.subscribe(since, &ask, &caller).await {
            Ok(subscription) => subscription,
            Err(NoStream::TooOld(oldest)) => return self.too_old(oldest).await,
            Err(NoStream::Failing) => return End::Failing,
            Err(NoStream::Refused(problem)) => return End::Refused(problem.detail().to_owned()),
        };
        let reading = Reading {
            view,
            grant: caller.grant().cloned(),
            through: subscription.cursor(),
            pace: Pace::default(),
        };
        if ask.hello {
            let hello = format!(r#"{{"type":"stream:hello","payload":{{"cursor":"{}"}}}}"#, reading.through);
            if let Err(end) = self.write(Message::text(hello), reading.through).await {
                return end;
            }
        }
        let Err(end) = self.read(&mut subscription, reading).await;
        drop(seat);
        end
    }

    /// Waits for the first message, which is to show a token.
    async fn introduced(&mut self, door: Door) -> Result<Caller, End> {
        let streaming = self.streaming.clone();
        let first = async {
            loop {
                match self.socket.recv().await {
                    Some(Ok(Message::Text(text))) => return Ok(text),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Binary(_))) => return Err(End::Unproved("token_wanted")),
                    ended => return Err(End::of(&ended)),
                }
            }
        };
        let first = tokio::select! {
            first = timeout(AUTH_TIME_MAX, first) => first.map_err(|_| End::Unproved("token_wanted"))??,
            () = streaming.stopping().cancelled() => return Err(End::Stopping),
        };
        let said: Option<Said> = serde_json::from_str(&first).ok();
        let token = said.filter(|said| said.r#type == "auth");
        let token = token.and_then(|said| said.payload["token"].as_str().map(str::to_owned));
        let Some(token) = token else { return Err(End::Unproved("token_wanted")) };
        streaming.believed(door, &token).map_err(|error| End::Unproved(error.code()))
    }

    /// Reads the stream out to the other side until something ends it.
    async fn read(
        &mut self,
        subscription: &mut Subscription,
        mut reading: Reading,
    ) -> Result<std::convert::Infallible, End> {
        let streaming = self.streaming.clone();
        let mut revocations = streaming.tokens().changes();
        let expires_at = reading
            .grant
            .as_ref()
            .map(|grant| Instant::now() + grant.expires_at.since(streaming.clock().wall()));
        // It may have been revoked while we were about to listen for that.
        reading.is_still_good(&streaming)?;
        let next_alarm = || {
            let ping_at = Instant::now() + PING_EVERY;
            expires_at.map_or(ping_at, |expires_at| expires_at.min(ping_at))
        };
        // Set once and not for each batch: thousands of readers share the timers.
        let mut alarm = pin!(sleep_until(next_alarm()));
        loop {
            let batch = {
                let mut next = pin!(subscription.next(FRAMES_MAX));
                loop {
                    tokio::select! {
                        batch = &mut next => break batch,
                        said = self.socket.recv() => self.heard(said, reading.through).await?,
                        () = &mut alarm => {
                            let now = Instant::now();
                            if expires_at.is_some_and(|expires_at| expires_at <= now) {
                                return Err(End::Expired);
                            }
                            if now.duration_since(self.last_heard) >= SILENCE_MAX {
                                return Err(End::Gone);
                            }
                            alarm.as_mut().reset(next_alarm());
                            self.write(Message::Ping(bytes::Bytes::new()), reading.through).await?;
                        }
                        Ok(()) = revocations.changed() => reading.is_still_good(&streaming)?,
                    }
                }
            };
            match batch {
                Ok(batch) => self.pass_on(&batch, &mut reading).await?,
                Err(StreamError::TooOld { oldest }) => return Err(self.too_old(oldest).await),
                Err(StreamError::Ended) => return Err(End::Stopping),
            }
        }
    }

    /// Writes a batch, and how far behind the reader is where that is far.
    async fn pass_on(&mut self, batch: &Batch, reading: &mut Reading) -> Result<(), End> {
        match reading.pace.judge(batch, self.streaming.clock().wall()) {
            Verdict::Fine => {}
            Verdict::Behind(behind) => {
                let payload = behind.told(reading.through);
                let told = format!(r#"{{"type":"stream:behind","payload":{payload}}}"#);
                self.write(Message::text(told), reading.through).await?;
            }
            Verdict::TooSlow => return Err(End::Slow(reading.through)),
        }
        let (socket, view, streaming) = (&mut self.socket, reading.view, self.streaming.clone());
        let writing = timeout(WRITE_TIME_MAX, async {
            for frame in batch.frames.iter().filter_map(|frame| frame.encoded(view)) {
                // What we wrote as JSON is text.
                let Ok(text) = Utf8Bytes::try_from(frame) else { continue };
                socket.feed(Message::Text(text)).await?;
            }
            socket.flush().await
        });
        let written = tokio::select! {
            // Asked about the end only where it takes long.
            biased;
            written = writing => written,
            () = streaming.stopping().cancelled() => return Err(End::Stopping),
        };
        match written {
            Ok(Ok(())) => reading.through = batch.cursor,
            Ok(Err(_)) => return Err(End::Gone),
            // Nobody knows what of the batch was read.
            Err(_) => return Err(End::Slow(reading.through)),
        }
        Ok(())
    }

    async fn heard(
        &mut self,
        said: Option<Result<Message, axum::Error>>,
        through: Cursor,
    ) -> Result<(), End> {
        self.last_heard = Instant::now();
        match said {
            Some(Ok(Message::Text(text))) => {
                // Other words, such as those that only another product understands, are passed over.
                let is_ping = serde_json::from_str::<Said>(&text).is_ok_and(|said| said.r#type == "ping");
                if is_ping {
                    self.write(Message::text(PONG), through).await?;
                }
                Ok(())
            }
            Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => Ok(()),
            ended => Err(End::of(&ended)),
        }
    }

    async fn write(&mut self, message: Message, through: Cursor) -> Result<(), End> {
        match timeout(WRITE_TIME_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow(through)),
        }
    }

    /// Says that what follows a cursor is gone.
    async fn too_old(&mut self, oldest: Cursor) -> End {
        let told = format!(r#"{{"type":"stream:too_old","payload":{{"oldest":"{oldest}"}}}}"#);
        match self.write(Message::text(told), oldest).await {
            Ok(()) => End::TooOld,
            Err(end) => end,
        }
    }

    async fn farewell(&mut self, end: &End) {
        if *end == End::Gone {
            return;
        }
        let _ = timeout(CLOSE_TIME_MAX, async {
            if let Some(close) = end.close() {
                self.socket.send(Message::Close(Some(close))).await.ok()?;
            }
            // Until the other side has answered it, or gone; and where it spoke first, until the answer is written, which
            // reading on does (RFC 6455, section 5.5.1).
            while let Some(Ok(_)) = self.socket.recv().await {}
            Some(())
        })
        .await;
    }
}

/// How a reader reads.
struct Reading {
    view: View,
    grant: Option<Arc<Grant>>,
    /// What has been written for sure.
    through: Cursor,
    pace: Pace,
}

impl Reading {
    /// Whether the token has not been revoked meanwhile.
    fn is_still_good(&self, streaming: &Streaming) -> Result<(), End> {
        match &self.grant {
            Some(grant) if streaming.tokens().is_revoked(grant) => Err(End::Revoked),
            _ => Ok(()),
        }
    }
}
