//! The stream as server-sent events (HTML Standard, section 9.2): one frame an event, its cursor as the event's id.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use waypost_engine::stream::{Batch, Dialect, Frame, Since, StreamError, Subscription, View};

use super::access::{Caller, Door};
use super::ask::{self, Ask};
use super::pace::{Pace, Verdict};
use super::readers::Seat;
use super::{FRAMES_MAX, Streaming};
use crate::admin::Problem;

/// How often something is said where nothing happens, so that whoever stands between does not take it for dead.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// How long browsers wait before they come back.
const RETRY: Duration = Duration::from_secs(2);

/// What is said where the gateway stops: the other side comes back by itself.
const STOPPING: &[u8] = b": the gateway stops\n\n";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Answers with the stream, for as long as the other side listens.
///
/// # Errors
///
/// When the caller may not read, asks for what there is not, or names a place from which the stream cannot be had.
pub(super) async fn answer(
    streaming: Arc<Streaming>,
    door: Door,
    headers: &HeaderMap,
    ask: Ask,
) -> Result<Response, Problem> {
    let caller = streaming.must_be_somebody(door, headers, ask.token.as_deref())?;
    let seat = streaming.readers.seat()?;
    // What a browser comes back with is newer than what stood in the address.
    let last = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
    let since = match last.map(|id| id.to_str().unwrap_or("?")) {
        Some(id) => ask::since(id)?,
        None => ask.since.unwrap_or(Since::Now),
    };
    let view = ask.view(&caller)?;
    let subscription = streaming.subscribe(since, &ask, &caller).await?;
    let writing = Writing {
        revocations: streaming.tokens().changes(),
        ends_at: caller
            .grant()
            .map(|grant| Instant::now() + grant.expires_at.since(streaming.clock().wall())),
        streaming,
        caller,
        subscription,
        view,
        // The names are the gateway's own.
        is_named: ask.named.unwrap_or(view.dialect == Dialect::Waypost),
        has_begun: false,
        pace: Pace::default(),
        _seat: seat,
    };
    let pieces = futures_util::stream::unfold(Some(writing), |writing| async {
        let mut writing = writing?;
        let (piece, goes_on) = writing.next().await;
        Some((Ok::<Bytes, std::convert::Infallible>(piece), goes_on.then_some(writing)))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx gathers answers otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One reader.
struct Writing {
    streaming: Arc<Streaming>,
    caller: Caller,
    subscription: Subscription,
    revocations: watch::Receiver<u64>,
    ends_at: Option<Instant>,
    view: View,
    /// Whether events bear their type as name.
    is_named: bool,
    has_begun: bool,
    pace: Pace,
    _seat: Seat,
}

impl Writing {
    /// The next piece, and whether another follows.
    async fn next(&mut self) -> (Bytes, bool) {
        if !self.has_begun {
            self.has_begun = true;
            // Something at once, so that the other side knows that it is connected; and the place, so that a browser
            // that loses the connection before the first event comes back to it.
            let (retry, place) = (RETRY.as_millis(), self.subscription.cursor());
            return (format!("retry: {retry}\nid: {place}\n: waypost\n\n").into(), true);
        }
        // Perhaps before we listened for that.
        if self.is_revoked() {
            return (last_word("token_revoked"), false);
        }
        loop {
            let heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
            let alarm = self.ends_at.map_or(heartbeat_at, |ends_at| ends_at.min(heartbeat_at));
            tokio::select! {
                batch = self.subscription.next(FRAMES_MAX) => match batch {
                    Ok(batch) => {
                        let (piece, goes_on) = self.written(&batch);
                        if !piece.is_empty() {
                            return (piece, goes_on);
                        }
                    }
                    Err(error) => return (farewell(&error), false),
                },
                () = sleep_until(alarm) => {
                    let is_over = self.ends_at.is_some_and(|ends_at| ends_at <= Instant::now());
                    return if is_over {
                        (last_word("token_expired"), false)
                    } else {
                        (Bytes::from_static(b":\n\n"), true)
                    };
                }
                Ok(()) = self.revocations.changed() => {
                    if self.is_revoked() {
                        return (last_word("token_revoked"), false);
                    }
                }
                () = self.streaming.stopping().cancelled() => return (Bytes::from_static(STOPPING), false),
            }
        }
    }

    fn is_revoked(&self) -> bool {
        self.caller.grant().is_some_and(|grant| self.streaming.tokens().is_revoked(grant))
    }

    fn written(&mut self, batch: &Batch) -> (Bytes, bool) {
        let mut piece = BytesMut::new();
        match self.pace.judge(batch, self.streaming.clock().wall()) {
            Verdict::Fine => {}
            Verdict::Behind(behind) => {
                let told = behind.told(self.subscription.cursor());
                piece.extend_from_slice(format!("event: stream:behind\ndata: {told}\n\n").as_bytes());
            }
            // It comes back with the last id that it has, and goes on from there.
            Verdict::TooSlow => return (last_word("too_slow"), false),
        }
        for frame in &batch.frames {
            self.write(frame, &mut piece);
        }
        (piece.freeze(), true)
    }

    fn write(&self, frame: &Frame, piece: &mut BytesMut) {
        let Some(json) = frame.encoded(self.view) else { return };
        let mut head = String::with_capacity(64);
        // A replay is behind: it must not become the place to come back to.
        if !frame.is_replay() {
            let _ = writeln!(head, "id: {}", frame.cursor());
        }
        if self.is_named {
            let _ = writeln!(head, "event: {}", frame.event_type());
        }
        head.push_str("data: ");
        piece.reserve(head.len() + json.len() + 2);
        piece.put_slice(head.as_bytes());
        piece.put_slice(&json);
        piece.put_slice(b"\n\n");
    }
}

/// What ends a stream that cannot go on.
fn farewell(error: &StreamError) -> Bytes {
    match error {
        StreamError::TooOld { .. } => last_word("cursor_too_old"),
        StreamError::Ended => Bytes::from_static(STOPPING),
    }
}

fn last_word(code: &str) -> Bytes {
    format!("event: stream:end\ndata: {{\"code\":\"{code}\"}}\n\n").into()
}
