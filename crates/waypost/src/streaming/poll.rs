//! The stream by polling: one page of frames an answer, and the cursor to ask with next.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use waypost_engine::stream::{Batch, StreamError};

use super::access::Caller;
use super::ask::Ask;
use super::{NoStream, Streaming};
use crate::admin::Problem;

/// Frames of a page where nobody says how many.
const LIMIT: usize = 100;
/// Frames of a page at most.
const LIMIT_MAX: usize = 1_000;
/// How long an answer waits for something to tell, at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Answers with what follows a cursor; where that is nothing yet, after a while.
///
/// # Errors
///
/// When the caller asks for what there is not, or names a place from which the stream cannot be had.
pub(super) async fn answer(
    streaming: &Arc<Streaming>,
    caller: &Caller,
    ask: &Ask,
) -> Result<Response, Problem> {
    let Some(since) = ask.since else {
        return Err(Problem::wrong(
            "say from where on: since=now, since=oldest, or the `next` of the last answer",
        ));
    };
    let view = ask.view(caller)?;
    let limit = ask.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let _seat = streaming.readers.seat()?;
    let mut subscription = streaming.subscribe(since, ask, caller).await?;
    let ended = |error| match error {
        StreamError::TooOld { oldest } => NoStream::TooOld(oldest),
        StreamError::Ended => NoStream::Failing,
    };
    let mut batch = subscription.poll_now(limit).await.map_err(ended)?;
    let wait = ask.wait.unwrap_or_default().min(WAIT_MAX);
    if batch.frames.is_empty() && !wait.is_zero() {
        tokio::select! {
            next = subscription.next(limit) => batch = next.map_err(ended)?,
            () = tokio::time::sleep(wait) => {}
            () = streaming.stopping().cancelled() => {}
        }
    }
    // How far it was looked, also where nothing was found.
    let next = subscription.cursor();
    let Batch { frames, behind, .. } = batch;
    let frames = frames.iter().filter_map(|frame| frame.encoded(view));
    let mut body = Vec::with_capacity(4 * 1024);
    body.extend_from_slice(b"{\"items\":[");
    for (place, frame) in frames.enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&frame);
    }
    body.extend_from_slice(format!("],\"next\":\"{next}\",\"behind\":{behind}}}").as_bytes());
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((headers, body).into_response())
}
