//! The task that follows the ledger and fills the ring, while anybody listens.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waypost_store::{AfterPage, EventRecord, StoreError};

use super::cursor::Cursor;
use super::making::Maker;
use super::{Shared, Stream};

/// Events read at a time, and shown at once.
const PAGE: usize = 64;
/// Replays shown before it is looked for what is new.
const REPLAYS_AT_ONCE: usize = 64;
/// How often the store is asked though nobody has said that something was accepted.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// What waking a reader costs, writing to it included, more or less. For as long as it takes to wake all of them, what
/// comes is gathered: each then has more to write at once, and the same work serves more readers.
const GATHERED_PER_READER: Duration = Duration::from_micros(8);
/// Shorter than that it is not worth a pause.
const GATHERED_MIN: Duration = Duration::from_millis(1);
/// For how long it is gathered at most.
const GATHERED_MAX: Duration = Duration::from_millis(40);
/// How long to wait before the store is asked again for what it could not do.
const STORE_RETRY: Duration = Duration::from_millis(250);

impl Stream {
    /// Follows the ledger until it is to stop; then readers are told that the stream has ended. Ends early only where
    /// the store is closed.
    pub async fn run(&self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow_for_ever()).await;
        self.0.ended.store(true, Ordering::SeqCst);
        self.ring_mut().rest();
        self.announce();
    }

    async fn follow_for_ever(&self) {
        loop {
            while self.readers() == 0 {
                self.0.hint.notified().await;
            }
            if let Err(error) = self.follow().await {
                if matches!(error, StoreError::Closed) {
                    return;
                }
                tracing::warn!(%error, code = error.code(), "cannot read the events that the stream shows; trying again");
                tokio::time::sleep(STORE_RETRY).await;
            }
            if self.readers() == 0 {
                self.ring_mut().rest();
                self.0.catching.forget();
                self.0.fresh.clear();
            }
        }
    }

    /// Fills the ring, until nobody listens any more. After an error it goes on where it was.
    async fn follow(&self) -> Result<(), StoreError> {
        let Shared { store, bodies, fresh, .. } = &*self.0;
        let mut maker = Maker::of_everything(store.clone(), bodies.clone(), fresh.clone());
        let known = self.ring().head();
        let mut head = match known {
            Some(head) => head,
            None => self.begin_ring().await?,
        };
        while self.readers() > 0 {
            let after = Some(head.event()).filter(|_| head != Cursor::START);
            let page = self.0.store.events_after(AfterPage { after, limit: PAGE }).await?;
            let is_empty = page.events.is_empty();
            for record in page.events {
                self.push(record, &mut maker).await?;
            }
            if let Some(last) = page.last {
                head = head.max(Cursor::of(last));
                self.ring_mut().reach(head);
            }
            if !is_empty {
                self.announce();
            }
            self.show_replays().await?;
            if page.more {
                continue;
            }
            if !is_empty {
                self.gather().await;
            }
            // Nothing depends on the hint.
            let _ = tokio::time::timeout(ASKED_EVERY, self.0.hint.notified()).await;
        }
        Ok(())
    }

    /// Begins the ring with what comes next.
    async fn begin_ring(&self) -> Result<Cursor, StoreError> {
        let ends = self.0.store.ends().await?;
        let newest = ends.newest.max(ends.gone).map_or(Cursor::START, Cursor::of);
        self.ring_mut().begin(newest);
        self.announce();
        Ok(newest)
    }

    async fn push(&self, record: EventRecord, maker: &mut Maker) -> Result<(), StoreError> {
        let received_at = record.received_at;
        let frames = maker.frames(record, self.views(), false).await?;
        self.0.metrics.stream_frames.inc_by(frames.len() as u64);
        self.ring_mut().push(frames);
        let late = self.0.clock.wall().since(received_at);
        self.0.metrics.stream_lag.observe(late.as_secs_f64());
        Ok(())
    }

    /// Shows again what was replayed.
    async fn show_replays(&self) -> Result<(), StoreError> {
        let mut waiting = self.0.to_replay.lock().await;
        for _ in 0..REPLAYS_AT_ONCE {
            let Ok(event) = waiting.try_recv() else { return Ok(()) };
            let Some(record) = self.0.store.event(event).await? else { continue };
            // One of its own: it remembers states as they were at the event that was made last.
            let mut maker = Maker::new(self.0.store.clone(), self.0.bodies.clone());
            for frame in maker.frames(record, self.views(), true).await? {
                // That nobody wants it any more is no failure.
                let _ = self.0.replays.send(frame);
            }
            self.announce();
        }
        // The rest is shown after what came meanwhile.
        self.0.hint.notify_one();
        Ok(())
    }

    /// Lets readers write what they have, where there are many.
    async fn gather(&self) {
        let readers = u32::try_from(self.readers()).unwrap_or(u32::MAX);
        let pause = GATHERED_PER_READER.saturating_mul(readers).min(GATHERED_MAX);
        if pause >= GATHERED_MIN {
            tokio::time::sleep(pause).await;
        }
    }

    /// Wakes the readers.
    fn announce(&self) {
        self.0.version.send_modify(|version| *version = version.wrapping_add(1));
    }
}
