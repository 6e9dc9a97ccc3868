//! Readers who are behind the ring: served from the store, a page at a time, few at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use waypost_domain::EventId;
use waypost_store::{AfterPage, EventRecord, StoreError};

use super::cursor::Cursor;
use super::making::Maker;
use super::subscription::StreamError;
use super::view::View;
use super::{Filter, Frame, Stream};

/// Readers that are served from the store at once. The others wait their turn: acceptance and delivery use it too.
const AT_ONCE: usize = 4;
/// Events looked at for one page.
const PAGE: usize = 256;
/// Events whose frames are remembered for the next reader who comes by.
const REMEMBERED_MAX: usize = 4_096;
/// Bytes that these may weigh.
const REMEMBERED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What all readers who are behind draw on together.
pub(super) struct Catching {
    turns: Semaphore,
    made: Mutex<Made>,
}

/// Frames made of late, so that many who come back at once do not have each made for each of them.
#[derive(Default)]
struct Made {
    by_event: HashMap<EventId, Vec<Arc<Frame>>>,
    order: VecDeque<EventId>,
    weight: usize,
}

/// A page for one reader.
pub(super) struct Page {
    pub(super) frames: Vec<Arc<Frame>>,
    /// Everything up to here was looked at.
    pub(super) through: Cursor,
}

/// What one reader wants of a page.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) after: Cursor,
    /// From here on it is served from the ring.
    pub(super) floor: Cursor,
    pub(super) wants: [&'a Filter; 2],
    pub(super) view: View,
    pub(super) max: usize,
    pub(super) bytes_max: usize,
}

impl Default for Catching {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), made: Mutex::default() }
    }
}

impl Catching {
    /// Forgets what was made.
    pub(super) fn forget(&self) {
        *self.made() = Made::default();
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        // Nothing in here can panic half-way and leave it wrong.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    /// What comes after a cursor, from the store: up to a page, or to where the ring begins.
    pub(super) async fn catch_up(&self, asked: Asked<'_>) -> Result<Page, CatchError> {
        let Asked { after, floor, wants, .. } = asked;
        let _turn = self.0.catching.turns.acquire().await.map_err(|_| StoreError::Closed)?;
        let position = Some(after.read_through()).filter(|position| position.0 > 0);
        let page = self.0.store.events_after(AfterPage { after: position, limit: PAGE }).await?;
        // Asked afterwards: what is gone by now may have been missing from the page.
        let gone = self.0.store.ends().await?.gone;
        if let Some(gone) = gone.filter(|gone| after.read_through() < *gone) {
            return Err(CatchError::Stream(StreamError::TooOld { oldest: Cursor::of(gone) }));
        }
        self.0.metrics.stream_catch_ups.inc();
        let mut maker = Maker::new(self.0.store.clone(), self.0.bodies.clone());
        let (mut found, mut bytes, mut through) = (Vec::new(), 0, after);
        for record in page.events {
            // Where the ring begins between the frames of an event, both are taken from here.
            if record.id > floor.event() {
                return Ok(Page { frames: found, through: floor.max(through) });
            }
            let cursor = Cursor::of(record.id);
            if wants.iter().all(|filter| filter.may_admit(&record)) {
                for frame in self.made(record, asked.view, &mut maker).await? {
                    let is_wanted = wants.iter().all(|filter| frame.is_admitted_by(filter));
                    if !is_wanted || frame.cursor() <= after {
                        continue;
                    }
                    bytes += frame.weight();
                    if found.len() >= asked.max || bytes > asked.bytes_max && !found.is_empty() {
                        return Ok(Page { frames: found, through });
                    }
                    through = frame.cursor();
                    found.push(frame);
                }
            }
            through = cursor;
        }
        let looked_at = page.last.map_or(through, Cursor::of).max(through);
        let looked_at = if page.more { looked_at.min(floor) } else { floor };
        Ok(Page { frames: found, through: looked_at.max(through) })
    }

    /// The frames of an event, from memory or made now.
    async fn made(
        &self,
        record: EventRecord,
        view: View,
        maker: &mut Maker,
    ) -> Result<Vec<Arc<Frame>>, StoreError> {
        let event = record.id;
        if let Some(frames) = self.0.catching.made().by_event.get(&event) {
            return Ok(frames.clone());
        }
        let frames = maker.frames(record, std::iter::once(view), false).await?;
        self.0.catching.made().remember(event, &frames);
        Ok(frames)
    }
}

impl Made {
    fn remember(&mut self, event: EventId, frames: &[Arc<Frame>]) {
        let weigh = |frames: &[Arc<Frame>]| frames.iter().map(|frame| frame.weight()).sum::<usize>();
        if self.by_event.insert(event, frames.to_vec()).is_none() {
            self.weight += weigh(frames);
            self.order.push_back(event);
        }
        while self.order.len() > REMEMBERED_MAX || self.weight > REMEMBERED_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            let forgotten = self.by_event.remove(&oldest).unwrap_or_default();
            self.weight -= weigh(&forgotten);
        }
    }
}

/// Why there is no page.
pub(super) enum CatchError {
    /// The reader is to know.
    Stream(StreamError),
    /// The store could not say.
    Store(StoreError),
}

impl From<StoreError> for CatchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
