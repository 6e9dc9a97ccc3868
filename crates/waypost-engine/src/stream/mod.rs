//! The stream: events as they come, for all who want to follow them.
//!
//! **The promise:** a reader gets the frames of every event once, in order of acceptance, from wherever it left
//! off, whatever became of the connection or the gateway meanwhile; and where that is not possible any more, it is
//! told so.
//!
//! Nothing is written for it. A [`Frame`] is made from an event's record and its evidence, and can be made again
//! from both; a [`Cursor`] is the identifier of an event, and identifiers ascend in the order in which events become
//! visible. So who went away is served from the store ([`catching`]), and who keeps up from a bounded ring of the
//! frames that came last ([`ring`]), which one task feeds while anybody listens ([`feed`]). A reader that is stuck holds a cursor,
//! and the few frames that it was given; nobody keeps any for it.
//!
//! Repeats of an event give no frame. Quarantined events do; what an upstream in relay mode passes on without storing it
//! does not.

mod catching;
mod compat;
mod cursor;
mod feed;
mod filter;
mod frame;
mod making;
mod message;
mod ring;
mod subscription;
mod view;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{Notify, broadcast, mpsc, watch};
use waypost_domain::{Clock, EventId, RequestId, UnixMillis};
use waypost_store::{Store, StoreError};

use self::catching::Catching;
use self::ring::Ring;
use self::view::VIEWS;
use crate::bodies::{Bodies, Content};
use crate::metrics::Metrics;

pub use cursor::{Cursor, CursorError};
pub use filter::{Filter, TypePattern, UnknownType};
pub use frame::Frame;
pub(crate) use making::Normal;
pub use message::{MessageView, ParticipantView, Reached};
pub use subscription::{BATCH_BYTES_MAX, Batch, StreamError, Subscription};
pub use view::{Dialect, View};

/// Frames kept in memory for readers who keep up.
pub const RING_FRAMES_MAX: usize = 8_192;
/// Bytes that these may weigh.
pub const RING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes of requests that have just come and are kept until their frames are made.
const FRESH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Events whose deliveries were replayed that may wait to be shown again; of more, some are not.
pub const REPLAYS_WAITING_MAX: usize = 1_024;
/// By how much a cursor may be ahead of our clock: identifiers go on from where they were when the clock is set back.
const AHEAD_MAX: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// Follows the ledger for all who listen. Cheap to clone; all clones are the same stream.
#[derive(Clone)]
pub struct Stream(Arc<Shared>);

struct Shared {
    store: Store,
    bodies: Arc<Bodies>,
    clock: Clock,
    metrics: Metrics,
    ring: RwLock<Ring>,
    /// Counts the changes of the ring.
    version: watch::Sender<u64>,
    /// Something was accepted, or somebody has begun to listen.
    hint: Arc<Notify>,
    readers: Arc<AtomicUsize>,
    /// Requests that have just come, while anybody listens.
    fresh: Arc<Bodies>,
    /// Readers of each view.
    views: [AtomicUsize; VIEWS],
    catching: Catching,
    replays: broadcast::Sender<Arc<Frame>>,
    replayed: mpsc::Sender<EventId>,
    to_replay: tokio::sync::Mutex<mpsc::Receiver<EventId>>,
    ended: AtomicBool,
}

/// What a reader wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// From where on.
    pub since: Since,
    /// What it asks for.
    pub filter: Filter,
    /// What it may see at all; both must fit.
    pub scope: Filter,
    /// How its frames look, so that they are written before it needs them.
    pub view: View,
    /// Whether it also wants frames of events whose deliveries are replayed ([`Frame::is_replay`]). They come as
    /// they are replayed, do not move the cursor, and are not kept for who is not there or does not keep up.
    pub replays: bool,
}

/// From where on a reader wants the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Since {
    /// From what comes next.
    Now,
    /// From the oldest event after which none is missing.
    Oldest,
    /// From what follows this frame.
    After(Cursor),
}

/// Why there is nothing to read from there on.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// Some of what followed is kept no more.
    #[error(
        "what followed this cursor is not all kept any more; the oldest cursor to go on from is `{oldest}`"
    )]
    TooOld {
        /// The oldest cursor after which nothing is missing.
        oldest: Cursor,
    },
    /// It is ahead of everything: it is of another gateway, or of one that was set up anew.
    #[error("this cursor is not one of this gateway")]
    Unknown,
    /// The store cannot say.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Tells a stream that something was accepted.
#[derive(Clone)]
pub(crate) struct Waker {
    hint: Arc<Notify>,
    readers: Arc<AtomicUsize>,
    fresh: Arc<Bodies>,
}

impl Waker {
    /// Whether anybody listens.
    pub(crate) fn is_followed(&self) -> bool {
        self.readers.load(Ordering::SeqCst) > 0
    }

    /// Leaves a request for the frames that are about to be made of it, so that it need not be read back.
    pub(crate) fn bring(&self, request: RequestId, content: Arc<Content>) {
        self.fresh.put(request, content, 1);
    }

    pub(crate) fn wake(&self) {
        if self.is_followed() {
            self.hint.notify_one();
        }
    }
}

impl Stream {
    /// A stream of what `store` accepts. It needs [`Stream::run`] to be at work.
    pub fn new(store: Store, bodies: Arc<Bodies>, clock: Clock, metrics: Metrics) -> Self {
        Self::with_ring(store, bodies, clock, metrics, (RING_FRAMES_MAX, RING_BYTES_MAX))
    }

    /// The same with another ring: so many frames, and of so many bytes.
    pub fn with_ring(
        store: Store,
        bodies: Arc<Bodies>,
        clock: Clock,
        metrics: Metrics,
        (frames, bytes): (usize, usize),
    ) -> Self {
        let (replayed, to_replay) = mpsc::channel(REPLAYS_WAITING_MAX);
        Self(Arc::new(Shared {
            store,
            bodies,
            clock,
            metrics,
            ring: RwLock::new(Ring::new(frames, bytes)),
            version: watch::Sender::new(0),
            hint: Arc::default(),
            readers: Arc::default(),
            fresh: Arc::new(Bodies::new(FRESH_BYTES_MAX)),
            views: Default::default(),
            catching: Catching::default(),
            replays: broadcast::Sender::new(REPLAYS_WAITING_MAX),
            replayed,
            to_replay: tokio::sync::Mutex::new(to_replay),
            ended: AtomicBool::new(false),
        }))
    }

    /// Tells it that something was accepted. A hint, and next to free: while nobody listens it does nothing, and
    /// while somebody does the store is asked from time to time all the same.
    pub fn wake(&self) {
        self.waker().wake();
    }

    /// What tells it so without keeping it, or its store, alive.
    pub(crate) fn waker(&self) -> Waker {
        let Shared { hint, readers, fresh, .. } = &*self.0;
        Waker { hint: hint.clone(), readers: readers.clone(), fresh: fresh.clone() }
    }

    /// Shows events again to the readers that want to see replays. Best effort: no more than
    /// [`REPLAYS_WAITING_MAX`] wait for it.
    pub fn replayed(&self, events: impl IntoIterator<Item = EventId>) {
        if self.0.replays.receiver_count() == 0 {
            return;
        }
        for event in events {
            if self.0.replayed.try_send(event).is_err() {
                break;
            }
        }
        self.0.hint.notify_one();
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.0.readers.load(Ordering::SeqCst)
    }

    /// Begins to read.
    ///
    /// # Errors
    ///
    /// When the stream cannot be read from there on without a gap, or the store cannot be asked.
    pub async fn subscribe(&self, wanted: Wanted) -> Result<Subscription, SubscribeError> {
        // First it counts as a reader, then it looks: what is accepted from here on is shown to it.
        let place = subscription::Place::new(self.clone(), wanted.view);
        let cursor = self.begin(wanted.since).await?;
        Ok(Subscription::new(place, cursor, wanted))
    }

    async fn begin(&self, since: Since) -> Result<Cursor, SubscribeError> {
        let head = match since {
            Since::Now => self.ring().head(),
            Since::After(cursor) => Some(cursor).filter(|cursor| self.is_at_hand(*cursor)),
            Since::Oldest => None,
        };
        if let Some(cursor) = head {
            return Ok(cursor);
        }
        let ends = self.0.store.ends().await?;
        let gone = ends.gone.map_or(Cursor::START, Cursor::of);
        let newest = ends.newest.map_or(gone, |newest| gone.max(Cursor::of(newest)));
        match since {
            Since::Now => Ok(newest),
            Since::Oldest => Ok(gone),
            Since::After(cursor) if cursor.read_through() < gone.read_through() => {
                Err(SubscribeError::TooOld { oldest: gone })
            }
            Since::After(cursor) if cursor > newest && cursor.event() > self.latest() => {
                Err(SubscribeError::Unknown)
            }
            Since::After(cursor) => Ok(cursor),
        }
    }

    /// Whether what follows a cursor is in the ring, and the cursor not ahead of it.
    fn is_at_hand(&self, cursor: Cursor) -> bool {
        let ring = self.ring();
        ring.holds_after(cursor) && ring.head().is_some_and(|head| cursor <= head)
    }

    /// The latest identifier that can have been handed out by now.
    fn latest(&self) -> EventId {
        let UnixMillis(now) = self.0.clock.wall().plus(AHEAD_MAX);
        EventId::floor(UnixMillis(now))
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        // Changed in single steps; a panic elsewhere cannot leave it half-way.
        self.0.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.0.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The views that are read at present.
    fn views(&self) -> impl Iterator<Item = View> + Send + 'static {
        let read: [bool; VIEWS] = std::array::from_fn(|slot| self.0.views[slot].load(Ordering::Relaxed) > 0);
        (0..VIEWS).filter(move |slot| read[*slot]).map(View::of_slot)
    }
}
