//! The store as one SQLite file.
//!
//! ```text
//!   keep ───────────► line ──► journal thread ──► journal, synced ──► answers
//!                                                    │
//!   settle, acts, … ► queue ──► writer thread ◄──────┘
//!                               ▲  restart  └──► log (WAL) ──► answers
//!                               └── checkpointer ──┴──► file
//!   owed, events, … ──────────► reader threads ◄── log and file
//! ```
//!
//! One thread makes accepts durable; one writes the database, in groups: what the journal has and what operations ask
//! for; one syncs its log a moment later, one folds the log into the file; a few read. Callers never touch the disk:
//! they put a request for work in a bounded line and await the answer.

mod accepting;
mod acts;
mod budget;
mod checkpoint;
mod connection;
mod contacts;
mod deliveries;
mod directory;
mod fault;
mod following;
mod gauges;
mod hook;
mod identity;
mod journal;
mod ledger;
mod leftovers;
mod listing;
mod migrate;
mod names;
mod numbers;
mod passes;
mod people;
mod prune;
mod quarantine;
mod queue;
mod readers;
mod reading;
mod recent;
mod syncing;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::wal::CheckpointMode;
use tokio::sync::{Semaphore, oneshot};
use waypost_domain::limits::WRITER_QUEUE_MAX;
use waypost_domain::{Clock, DeliveryId, EventId, RequestId, UnixMillis};

use self::budget::Budget;
use self::checkpoint::{Checkpointer, DatabaseFile};
use self::gauges::Gauges;
use self::hook::Hook;
use self::identity::Identity;
use self::journal::{Appender, Journal, Told};
use self::numbers::Sequence;
use self::passes::{JustSettled, Passes};
use self::queue::{MARKS_MAX, Operation, Outcome, Queue, Waiting};
use self::readers::Readers;
use self::reading::Reading;
use self::recent::RecentKeys;
use self::syncing::{Log, Syncer};
use self::writer::{Applying, Writer};
use crate::{
    Accept, Accepted, ActKind, ActPage, ActRecord, AttemptRecord, Covers, DeliveryDetail, DeliveryFilter,
    DeliveryList, DeliveryPage, DuePage, EntryKind, EntryRecord, EventFilter, EventList, EventRecord,
    OpenError, OwedDelivery, OwedPage, Page, Pause, PausedDestination, Prune, Pruned, RequestBody,
    RequestRecord, Settlement, StoreError, StoreOptions, StoreStats, WhenApplied, WriterStats,
};

/// The oldest SQLite that is believed, as sqlite3_libversion_number says it: before 3.51.3 a checkpoint
/// that raced a write could lose it (sqlite.org/wal.html, "the WAL-reset bug").
const ENGINE_OLDEST: i32 = 3_051_003;

/// How long opening waits for what the journal has to be applied. If there is more, serving begins meanwhile.
const REPLAY_WAIT_MAX: Duration = Duration::from_secs(5);

/// A store in one SQLite file.
#[derive(Clone)]
pub struct SqliteStore(Arc<House>);

/// Everything that belongs to one open file.
struct House {
    path: PathBuf,
    queue: Arc<Queue>,
    journal: Arc<Journal>,
    hook: Arc<Hook>,
    gauges: Arc<Gauges>,
    readers: Readers,
    /// Places in the line for what is not an accept.
    places: Arc<Semaphore>,
    /// Ends the threads that sync and fold the log.
    background_shut: Arc<AtomicBool>,
    just_settled: Arc<JustSettled>,
    recent: Arc<RecentKeys>,
    /// Held while pruning: one call at a time.
    passes: tokio::sync::Mutex<Passes>,
    keys_kept_min: Duration,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    appender: JoinHandle<()>,
    writer: JoinHandle<()>,
    syncer: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
    // Closed in this order, after every connection.
    _file: Arc<DatabaseFile>,
    _directory: directory::Held,
}

impl SqliteStore {
    pub(crate) fn open(options: StoreOptions, clock: Clock) -> Result<Self, OpenError> {
        let path = options.path;
        if rusqlite::version_number() < ENGINE_OLDEST {
            return Err(OpenError::EngineTooOld { found: rusqlite::version().to_owned() });
        }
        let held = directory::hold(&path)?;
        let failed = |error: rusqlite::Error| directory::failed(&path, &error);
        migrate::refuse_foreign(&path, migrate::MIGRATIONS)?;
        let mut conn = connection::writer(&path).map_err(failed)?;
        migrate::migrate(&mut conn, &path, migrate::MIGRATIONS, clock.wall())?;
        let last = ledger::greatest_identifier(&conn).map_err(failed)?;

        let (stamp, applied) = ledger::journal(&conn).map_err(failed)?;
        // What was applied before a crash may not be on the disk: until it is, the journal keeps it.
        Log::of(&path).sync().map_err(|error| directory::failed(&path, &error))?;
        let setup = journal::Setup {
            path: &path,
            stamp,
            applied,
            bytes_max: options.journal_bytes_max,
            queue_max: options.queue_max,
            queue_bytes_max: options.queue_bytes_max,
        };
        let journal = Journal::open(&setup).map_err(|error| directory::failed(&path, &error))?;
        let journal = Arc::new(journal);
        let queue = Arc::new(Queue::new(journal.synced()));
        let hook = Arc::new(Hook::default());
        let gauges = Arc::new(Gauges::default());
        let just_settled = Arc::new(JustSettled::default());
        let recent = Arc::new(RecentKeys::default());
        recent.read_back(&conn).map_err(failed)?;
        let budget = Budget { bytes_max: options.bytes_max, free_bytes_min: options.free_bytes_min };
        gauges.over_budget_is(budget.is_exceeded(&conn, &path, &journal).map_err(failed)?);
        let background_shut = Arc::new(AtomicBool::new(false));
        let file = Arc::new(DatabaseFile::open(&path).map_err(|error| directory::failed(&path, &error))?);
        let spawn_failed = |error: std::io::Error| directory::failed(&path, &error);
        let readers = Readers::start(&path, options.readers, &recent).map_err(spawn_failed)?;
        let checkpointer = Checkpointer {
            path: path.clone(),
            file: Arc::clone(&file),
            gauges: Arc::clone(&gauges),
            shut: Arc::clone(&background_shut),
            budget,
            journal: Arc::clone(&journal),
        };
        let syncer = Syncer {
            path: path.clone(),
            gauges: Arc::clone(&gauges),
            journal: Arc::clone(&journal),
            shut: Arc::clone(&background_shut),
        };
        let (replayed, is_replayed) = mpsc::channel();
        let writer = Writer {
            path: path.clone(),
            queue: Arc::clone(&queue),
            journal: Arc::clone(&journal),
            gauges: Arc::clone(&gauges),
            clock,
            dedupe_window: options.dedupe_window,
            sequence: Sequence::after(last),
            just_settled: Arc::clone(&just_settled),
            recent: Arc::clone(&recent),
            hook: Arc::clone(&hook),
            applying: Applying::new(&journal, replayed),
        };
        let appender = Appender {
            journal: Arc::clone(&journal),
            queue: Arc::clone(&queue),
            gauges: Arc::clone(&gauges),
        };
        let writer = spawn("store-write", move || writer.run(conn)).map_err(spawn_failed)?;
        let appender = spawn("store-journal", move || appender.run()).map_err(spawn_failed)?;
        let syncer = spawn("store-sync", move || syncer.run()).map_err(spawn_failed)?;
        let checkpointer = spawn("store-fold", move || checkpointer.run()).map_err(spawn_failed)?;
        let threads = Threads { appender, writer, syncer, checkpointer, _file: file, _directory: held };
        let house = House {
            queue,
            journal,
            hook,
            gauges,
            readers,
            places: Arc::new(Semaphore::new(WRITER_QUEUE_MAX)),
            background_shut,
            just_settled,
            recent,
            passes: tokio::sync::Mutex::default(),
            keys_kept_min: options.dedupe_window,
            threads: Mutex::new(Some(threads)),
            path,
        };
        // It says nothing: it is let go of when it is time.
        let _ = is_replayed.recv_timeout(REPLAY_WAIT_MAX);
        Ok(Self(Arc::new(house)))
    }

    pub(crate) fn when_applied(&self, told: Box<WhenApplied>) {
        self.0.hook.set(told);
    }

    pub(crate) async fn keep(&self, accept: Accept) -> Result<(), StoreError> {
        self.journal(accept, None)?.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) async fn accept(&self, accept: Accept) -> Result<Accepted, StoreError> {
        let (told, is_told) = oneshot::channel();
        self.journal(accept, Some(told))?.await.unwrap_or(Err(StoreError::Closed))?;
        is_told.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Has the journal keep a request; what comes back is told once it is synced.
    fn journal(
        &self,
        accept: Accept,
        applied: Option<Told>,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        if self.0.gauges.is_over_budget() {
            return Err(StoreError::OverBudget);
        }
        for delivery in &accept.deliveries {
            if let Covers::Event(place) = delivery.covers
                && place as usize >= accept.events.len()
            {
                let count = accept.events.len();
                return Err(StoreError::Corrupt(format!("a delivery covers event {place} of {count}")));
            }
        }
        let identities: Vec<_> =
            accept.events.iter().map(|event| Identity::of(&accept.scope, event)).collect();
        let draft = journal::encode(&accept, &identities)
            .map_err(|_| StoreError::Corrupt("a request is longer than a record can be".to_owned()))?;
        let (kept, is_kept) = oneshot::channel();
        self.0.journal.add(journal::Waiting { draft, kept, applied })?;
        Ok(is_kept)
    }

    pub(crate) async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        self.write(Operation::Settle(settlement)).await.map(drop)
    }

    pub(crate) async fn mark_overtaken(&self, mut deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        while !deliveries.is_empty() {
            let rest = deliveries.split_off(deliveries.len().min(MARKS_MAX));
            self.write(Operation::MarkOvertaken(deliveries)).await?;
            deliveries = rest;
        }
        Ok(())
    }

    pub(crate) async fn pause(&self, what: ActKind, pause: Pause) -> Result<bool, StoreError> {
        let outcome = self.write(Operation::Pause(what, pause)).await?;
        Ok(matches!(outcome, Outcome::Changed(true)))
    }

    pub(crate) async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        let mut passes = self.0.passes.lock().await;
        let keys_to_come = self.0.recent.are_old(prune.now);
        if keys_to_come {
            self.write(Operation::MoveKeys).await?;
        }
        let pass = passes.pass(prune.now);
        let just_settled = self.0.just_settled.take(&prune.retention);
        // Keys are looked through once all that are of age are where they are looked for.
        let keys_kept = (!keys_to_come).then_some(prune.retention.keys.max(self.0.keys_kept_min));
        let found = self.read(move |reading| reading.prunable(&prune, pass, just_settled, keys_kept)).await?;
        let (next, pruning) = (found.next, found.pruning);
        let mut pruned =
            Pruned { more: next.is_some() || !found.just_settled.is_empty(), ..Pruned::default() };
        self.0.just_settled.add(found.just_settled);
        if pruning.steps.is_empty() && pruning.pages == 0 {
            passes.did(next, &[], 0);
            return Ok(pruned);
        }
        let steps = pruning.steps.clone();
        let outcome = self.write(Operation::Prune(Box::new(pruning))).await?;
        let Outcome::Pruned(stepped) = outcome else {
            return Err(StoreError::Corrupt("a prune was answered as something else".to_owned()));
        };
        passes.did(next, &steps, stepped.done);
        let undone = &steps[stepped.done..];
        self.0.just_settled.add(passes::just_settled(undone));
        pruned.more |= !undone.is_empty();
        // There may be room again.
        self.0.gauges.wake_checkpointer();
        pruned.bodies = stepped.bodies;
        pruned.records = stepped.records;
        pruned.keys = stepped.keys;
        pruned.others = stepped.others;
        pruned.bytes_given_back = stepped.pages * u64::from(checkpoint::PAGE_BYTES);
        Ok(pruned)
    }

    pub(crate) async fn entry_put(&self, entry: EntryRecord) -> Result<(), StoreError> {
        self.write(Operation::EntryPut(entry)).await.map(drop)
    }

    pub(crate) async fn entry_delete(&self, kind: EntryKind, name: &str) -> Result<bool, StoreError> {
        let outcome = self.write(Operation::EntryDelete(kind, name.to_owned())).await?;
        Ok(matches!(outcome, Outcome::Deleted(true)))
    }

    pub(crate) async fn probe_write(&self) -> Result<(), StoreError> {
        let draft =
            journal::nothing().map_err(|_| StoreError::Corrupt("no record is so short".to_owned()))?;
        let (kept, is_kept) = oneshot::channel();
        self.0.journal.add(journal::Waiting { draft, kept, applied: None })?;
        is_kept.await.unwrap_or(Err(StoreError::Closed))?;
        self.write(Operation::Probe).await.map(drop)
    }

    /// Writes what is not an accept: waits for a place, then for the answer.
    async fn write(&self, operation: Operation) -> Result<Outcome, StoreError> {
        let place = Arc::clone(&self.0.places).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        self.0.queue.add(Waiting { operation, answer, _permit: Some(place) })?;
        answered.await.map_or(Err(StoreError::Closed), |(result, _)| result)
    }

    pub(crate) async fn owed(&self, page: OwedPage) -> Result<Vec<OwedDelivery>, StoreError> {
        self.read(move |reading| reading.owed(&page)).await
    }

    pub(crate) async fn due(&self, page: DuePage) -> Result<Vec<OwedDelivery>, StoreError> {
        self.read(move |reading| reading.due(&page)).await
    }

    pub(crate) async fn next_due(
        &self,
        destination: &str,
        after: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let destination = destination.to_owned();
        self.read(move |reading| reading.next_due(&destination, after)).await
    }

    pub(crate) async fn request_body(&self, request: RequestId) -> Result<Option<RequestBody>, StoreError> {
        self.read(move |reading| reading.request_body(request)).await
    }

    pub(crate) async fn request(&self, request: RequestId) -> Result<Option<RequestRecord>, StoreError> {
        self.read_latest(move |reading| reading.request(request)).await
    }

    pub(crate) async fn event(&self, event: EventId) -> Result<Option<EventRecord>, StoreError> {
        self.read_latest(move |reading| reading.event(event)).await
    }

    pub(crate) async fn events(&self, filter: EventFilter, page: Page) -> Result<EventList, StoreError> {
        self.read_latest(move |reading| reading.events(&filter, page)).await
    }

    pub(crate) async fn attempts(&self, delivery: DeliveryId) -> Result<Vec<AttemptRecord>, StoreError> {
        self.read_latest(move |reading| reading.attempts(delivery)).await
    }

    pub(crate) async fn delivery(&self, delivery: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        self.read_latest(move |reading| reading.delivery(delivery)).await
    }

    pub(crate) async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: DeliveryPage,
    ) -> Result<DeliveryList, StoreError> {
        self.read_latest(move |reading| reading.deliveries(&filter, page)).await
    }

    pub(crate) async fn acts(&self, page: ActPage) -> Result<Vec<ActRecord>, StoreError> {
        self.read_latest(move |reading| reading.acts(page)).await
    }

    pub(crate) async fn paused(&self) -> Result<Vec<PausedDestination>, StoreError> {
        self.read(|reading| reading.paused()).await
    }

    pub(crate) async fn entries(&self, kind: EntryKind) -> Result<Vec<EntryRecord>, StoreError> {
        self.read(move |reading| reading.entries(kind)).await
    }

    pub(crate) async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.read_latest(|reading| reading.stats()).await
    }

    /// Reads what everybody who was answered before this call must find in it.
    async fn read_latest<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reading<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.journal.caught_up().await;
        self.read(job).await
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reading<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.0.readers.read(job).await
    }

    pub(crate) fn writer_stats(&self) -> WriterStats {
        self.0.gauges.stats(self.0.queue.waiting() + self.0.journal.waiting(), &self.0.journal)
    }

    pub(crate) async fn close(&self) {
        self.0.journal.shut();
        let house = Arc::clone(&self.0);
        // Waiting for threads blocks, so that it is done on one of its own.
        let (done, is_done) = oneshot::channel();
        let closing = spawn("store-close", move || {
            house.end();
            let _ = done.send(());
        });
        match closing {
            Ok(_) => drop(is_done.await),
            Err(_) => self.0.end(),
        }
    }
}

impl House {
    /// Ends the threads after what they have at hand, folds the log and lets go of the directory.
    fn end(&self) {
        // Held to the end: whoever closes a second time waits as well.
        let mut held = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(threads) = held.take() else { return };
        // What was taken in is kept, then applied, with what else was asked for meanwhile.
        self.journal.shut();
        let _ = threads.appender.join();
        self.queue.shut();
        let _ = threads.writer.join();
        self.hook.clear();
        self.readers.shut();
        self.background_shut.store(true, Ordering::Release);
        for thread in [threads.syncer, threads.checkpointer] {
            thread.thread().unpark();
            let _ = thread.join();
        }
        if let Ok(conn) = connection::checkpointer(&self.path)
            && conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE).is_ok()
        {
            self.journal.clear();
        }
    }
}

impl Drop for House {
    /// Nobody waits for an answer any more, since whoever waits holds the store.
    fn drop(&mut self) {
        self.journal.abandon();
        self.queue.abandon();
        self.end();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// SQLite's log of a file.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
