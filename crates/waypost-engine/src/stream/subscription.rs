//! A reader of the stream.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use waypost_store::StoreError;

use super::catching::{Asked, CatchError};
use super::cursor::Cursor;
use super::ring::Look;
use super::{Filter, Frame, Stream, View, Wanted};

/// What the frames of one batch may weigh, but for its first.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;
/// How long to wait before the store is asked again for what it could not do.
const STORE_RETRY: Duration = Duration::from_millis(250);

/// Reads the stream for one reader. It holds a place in it and no frames: a reader that asks for nothing costs
/// nothing.
pub struct Subscription {
    place: Place,
    cursor: Cursor,
    filter: Filter,
    scope: Filter,
    version: watch::Receiver<u64>,
    replays: Option<broadcast::Receiver<Arc<Frame>>>,
}

/// Some frames, in their order.
#[derive(Debug)]
pub struct Batch {
    /// At least one. Replays come in batches of their own.
    pub frames: Vec<Arc<Frame>>,
    /// How many frames at least are waiting after these, wanted or not.
    pub behind: u64,
    /// How far it was looked: the cursor of the last frame, or a later one where what came after it is not wanted.
    pub cursor: Cursor,
}

/// Why a reader gets nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// It is so far behind that some of what comes next is kept no more.
    #[error("what comes next is not all kept any more; the oldest cursor to go on from is `{oldest}`")]
    TooOld {
        /// The oldest cursor after which nothing is missing.
        oldest: Cursor,
    },
    /// The gateway stops.
    #[error("the stream has ended")]
    Ended,
}

/// Counts as a reader for as long as it lives.
pub(super) struct Place {
    stream: Stream,
    view: View,
}

impl Place {
    pub(super) fn new(stream: Stream, view: View) -> Self {
        stream.0.views[view.slot()].fetch_add(1, Ordering::SeqCst);
        if stream.0.readers.fetch_add(1, Ordering::SeqCst) == 0 {
            stream.0.hint.notify_one();
        }
        stream.0.metrics.stream_readers.inc();
        Self { stream, view }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let shared = &self.stream.0;
        shared.views[self.view.slot()].fetch_sub(1, Ordering::SeqCst);
        if shared.readers.fetch_sub(1, Ordering::SeqCst) == 1 {
            shared.hint.notify_one();
        }
        shared.metrics.stream_readers.dec();
    }
}

impl Subscription {
    pub(super) fn new(place: Place, cursor: Cursor, wanted: Wanted) -> Self {
        let shared = &place.stream.0;
        let (version, replays) = (shared.version.subscribe(), shared.replays.subscribe());
        let replays = wanted.replays.then_some(replays);
        Self { cursor, filter: wanted.filter, scope: wanted.scope, version, replays, place }
    }

    /// How far it has read: what to go on from.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// How its frames look.
    pub fn view(&self) -> View {
        self.place.view
    }

    /// How many frames at least are waiting, wanted or not.
    pub fn behind(&self) -> u64 {
        self.place.stream.ring().left_after(self.cursor) as u64
    }

    /// The next frames, so many at most, as soon as there is one. Nothing is lost where it is not waited for to the end.
    ///
    /// # Errors
    ///
    /// When it cannot go on without a gap, or the stream has ended.
    pub async fn next(&mut self, max: usize) -> Result<Batch, StreamError> {
        let max = max.max(1);
        loop {
            if self.place.stream.0.ended.load(Ordering::SeqCst) {
                return Err(StreamError::Ended);
            }
            if let Some(replay) = self.replay() {
                return Ok(self.batch(vec![replay]));
            }
            // Noted before it is looked, so that no change goes unseen.
            self.version.mark_unchanged();
            match self.look(max) {
                Look::Found { frames, through, left } => {
                    self.cursor = through;
                    if !frames.is_empty() {
                        return Ok(Batch { frames, behind: left as u64, cursor: through });
                    }
                    if left > 0 {
                        tokio::task::consume_budget().await;
                        continue;
                    }
                }
                Look::Missed { floor } => {
                    let batch = self.catch_up(floor, max).await?;
                    if !batch.frames.is_empty() {
                        return Ok(batch);
                    }
                    continue;
                }
                Look::Idle => {}
            }
            self.wait().await;
        }
    }

    /// What there is at once, perhaps nothing: never waits for what comes next.
    ///
    /// # Errors
    ///
    /// As [`Subscription::next`].
    pub async fn poll_now(&mut self, max: usize) -> Result<Batch, StreamError> {
        let max = max.max(1);
        loop {
            if self.place.stream.0.ended.load(Ordering::SeqCst) {
                return Err(StreamError::Ended);
            }
            match self.look(max) {
                Look::Found { frames, through, left } => {
                    self.cursor = through;
                    if left == 0 || !frames.is_empty() {
                        return Ok(Batch { frames, behind: left as u64, cursor: through });
                    }
                    tokio::task::consume_budget().await;
                }
                Look::Missed { floor } => {
                    let batch = self.catch_up(floor, max).await?;
                    if !batch.frames.is_empty() {
                        return Ok(batch);
                    }
                }
                // It begins now that there is a reader.
                Look::Idle => self.wait().await,
            }
        }
    }

    /// Waits until the ring changes or something is replayed.
    async fn wait(&mut self) {
        // The sender lives as long as the stream, which this holds.
        let _ = self.version.changed().await;
    }

    /// The next replay that is wanted, of those that have come.
    fn replay(&mut self) -> Option<Arc<Frame>> {
        let replays = self.replays.as_mut()?;
        loop {
            match replays.try_recv() {
                Ok(frame) if frame.is_admitted_by(&self.filter) && frame.is_admitted_by(&self.scope) => {
                    return Some(frame);
                }
                Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }

    /// A page from the store, which is asked until it answers.
    async fn catch_up(&mut self, floor: Cursor, max: usize) -> Result<Batch, StreamError> {
        let stream = self.place.stream.clone();
        loop {
            let asked = Asked {
                after: self.cursor,
                floor,
                wants: [&self.scope, &self.filter],
                view: self.place.view,
                max,
                bytes_max: BATCH_BYTES_MAX,
            };
            match stream.catch_up(asked).await {
                Ok(page) => {
                    self.cursor = page.through;
                    let mut batch = self.batch(page.frames);
                    // What the store has before the ring begins waits too, at least one frame: whoever is there has
                    // not caught up.
                    batch.behind = batch.behind.saturating_add(u64::from(page.through < floor));
                    return Ok(batch);
                }
                Err(CatchError::Stream(error)) => return Err(error),
                Err(CatchError::Store(StoreError::Closed)) => return Err(StreamError::Ended),
                Err(CatchError::Store(error)) => {
                    tracing::warn!(%error, code = error.code(), "cannot read events for a reader of the stream; trying again");
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }

    fn look(&self, max: usize) -> Look {
        self.place.stream.ring().look(self.cursor, [&self.scope, &self.filter], max, BATCH_BYTES_MAX)
    }

    fn batch(&self, frames: Vec<Arc<Frame>>) -> Batch {
        Batch { frames, behind: self.behind(), cursor: self.cursor }
    }
}
