//! A store that webhooks come into, and the stream of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use waypost_domain::{Clock, EventId, HeaderBlock, Match, UnixMillis};
use waypost_engine::dispatch::Dispatcher;
use waypost_engine::intake::{Arrival, Intake, prove};
use waypost_engine::metrics::Metrics;
use waypost_engine::routing::{Recipient, Routing};
use waypost_engine::stream::{
    Batch, Filter, Frame, RING_BYTES_MAX, Since, Stream, Subscription, View, Wanted,
};
use waypost_store::{AfterPage, EventFilter, Page, Prune, Retention, Store, StoreOptions};
use waypost_whatsapp::{Compose, compose};

pub(crate) const NOON: i64 = 1_790_000_000_000;
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) stream: Stream,
    intake: Intake,
    dispatcher: Dispatcher,
    stop: CancellationToken,
    _folder: Option<tempfile::TempDir>,
}

impl House {
    /// With the stream that what is accepted is handed to.
    pub(crate) fn new() -> Self {
        Self::of(None)
    }

    /// With a stream of its own, which finds everything in the store.
    pub(crate) fn with_ring(frames: usize, bytes: usize) -> Self {
        Self::of(Some((frames, bytes)))
    }

    fn of(ring: Option<(usize, usize)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let house = Self::at(folder.path().join("waypost.db"), ring);
        Self { _folder: Some(folder), ..house }
    }

    fn at(path: PathBuf, ring: Option<(usize, usize)>) -> Self {
        let clock = Clock::manual(UnixMillis(NOON));
        let options = StoreOptions {
            path,
            readers: 2,
            queue_max: 1_000,
            queue_bytes_max: 1 << 26,
            dedupe_window: 8 * DAY,
            bytes_max: None,
            journal_bytes_max: 1 << 28,
            free_bytes_min: 0,
        };
        let store = Store::open(options, clock.clone()).unwrap();
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let dispatcher =
            Dispatcher::new(store.clone(), clock.clone(), metrics.clone(), stop.clone(), stop.clone());
        let stream = match ring {
            Some(ring) => {
                let (clock, metrics) = (clock.clone(), metrics.clone());
                Stream::with_ring(store.clone(), dispatcher.bodies(), clock, metrics, ring)
            }
            None => dispatcher.stream(),
        };
        let intake = Intake::new(store.clone(), &dispatcher, clock.clone(), metrics.clone());
        let running = (stream.clone(), stop.clone());
        tokio::spawn(async move { running.0.run(running.1).await });
        Self { store, clock, metrics, stream, intake, dispatcher, stop, _folder: None }
    }

    /// The same stream begun anew, as after a restart, with a ring of another size.
    pub(crate) fn restarted(&mut self, frames: usize) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        self.stream = Stream::with_ring(
            self.store.clone(),
            self.dispatcher.bodies(),
            self.clock.clone(),
            self.metrics.clone(),
            (frames, RING_BYTES_MAX),
        );
        let running = (self.stream.clone(), self.stop.clone());
        tokio::spawn(async move { running.0.run(running.1).await });
    }

    /// A webhook; its last event.
    pub(crate) async fn post(&self, body: &str) -> EventId {
        self.post_from("acme", body).await
    }

    pub(crate) async fn post_from(&self, source: &str, body: &str) -> EventId {
        let proved = prove(None, std::iter::empty(), Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let source: Arc<str> = source.into();
        let arrival = Arrival {
            scope: source.clone(),
            source,
            target: "/".to_owned(),
            headers: HeaderBlock::new(),
            proved,
        };
        let nobody: [(Match, Vec<Arc<Recipient>>); 0] = [];
        self.intake.accept(arrival, &Routing::new(nobody)).await.unwrap();
        let page = Page { before: None, limit: 1 };
        let newest = self.store.events(EventFilter::default(), page).await.unwrap().events.remove(0);
        self.stream.wake();
        newest.id
    }

    /// A composed webhook.
    pub(crate) async fn compose(&self, kind: &str, parts: &Compose<'_>) -> EventId {
        self.post(&compose(kind, parts).unwrap()).await
    }

    /// A text.
    pub(crate) async fn text(&self, sequence: u64) -> EventId {
        self.compose("text", &Compose { sequence, ..Compose::default() }).await
    }

    /// A reader of everything.
    pub(crate) async fn reader(&self, since: Since) -> Subscription {
        self.stream.subscribe(all(since)).await.unwrap()
    }

    /// All frames that there are, from the store alone.
    pub(crate) async fn everything(&self) -> Vec<Arc<Frame>> {
        let newest = self.store.ends().await.unwrap().newest;
        let mut reader = self.reader(Since::Oldest).await;
        let mut frames = Vec::new();
        while newest.is_some_and(|newest| reader.cursor().event() < newest) {
            frames.extend(next(&mut reader, 100).await.frames);
        }
        frames
    }

    /// Takes away what is older than the retention.
    pub(crate) async fn prune(&self, retention: Retention) {
        loop {
            let prune = Prune { now: self.clock.wall(), retention, steps: 4_096 };
            if !self.store.prune(prune).await.unwrap().more {
                return;
            }
        }
    }

    /// How many events there are, repeats left out.
    pub(crate) async fn count(&self) -> usize {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.store.events_after(AfterPage { after, limit: 1_000 }).await.unwrap();
            count += page.events.len();
            after = page.last;
            if !page.more {
                return count;
            }
        }
    }
}

/// Keeps nothing but for an hour.
pub(crate) fn an_hour() -> Retention {
    let hour = Duration::from_secs(3_600);
    Retention {
        delivered_bodies: Duration::ZERO,
        records: hour,
        dead: hour,
        quarantined: hour,
        keys: 8 * DAY,
    }
}

pub(crate) fn all(since: Since) -> Wanted {
    Wanted { since, filter: Filter::default(), scope: Filter::default(), view: View::WHOLE, replays: false }
}

/// The next batch, which must come soon.
pub(crate) async fn next(reader: &mut Subscription, max: usize) -> Batch {
    tokio::time::timeout(Duration::from_secs(20), reader.next(max)).await.unwrap().unwrap()
}

/// So many frames.
pub(crate) async fn read(reader: &mut Subscription, count: usize) -> Vec<Arc<Frame>> {
    let mut frames = Vec::new();
    while frames.len() < count {
        frames.extend(next(reader, count - frames.len()).await.frames);
    }
    frames
}

/// A frame as its reader sees it.
pub(crate) fn seen(frame: &Frame, view: View) -> Value {
    serde_json::from_slice(&frame.encoded(view).unwrap()).unwrap()
}

pub(crate) fn ids(frames: &[Arc<Frame>]) -> Vec<String> {
    frames.iter().map(|frame| frame.cursor().to_string()).collect()
}
