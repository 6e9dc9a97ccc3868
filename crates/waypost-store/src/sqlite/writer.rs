//! The one thread that writes the database: it applies what the journal has, and does what operations ask for, as much
//! of both in each transaction as waits; then the operations are answered.
//!
//! Nothing that fails ends the thread. What the disk refuses is undone: operations are told, records of the journal
//! stay there and are tried again. What one operation alone gets wrong is told to it, and the others are done without
//! it; a record that cannot be applied, whatever else goes with it, is put aside, loudly, so that those behind it are
//! not held up for ever.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use waypost_domain::Clock;
use waypost_domain::limits::{COMMIT_BYTES_MAX, COMMIT_OPERATIONS_MAX};

use super::connection;
use super::fault::{io_error, is_the_contents, is_the_disks, store_error};
use super::gauges::Gauges;
use super::hook::Hook;
use super::journal::{Content, Journal, Measure, Reader, Record, encode};
use super::ledger::{self, Ledger, Refusal};
use super::numbers::Sequence;
use super::passes::JustSettled;
use super::queue::{Outcome, Queue, Taken, Waiting};
use super::recent::RecentKeys;
use crate::{Accepted, Applied, StoreError};

/// After so many operations of a group had to be left out, the rest are written one by one.
const LEFT_OUT_MAX: usize = 4;
/// How often a record that fails alone is tried before it is put aside.
const TRIES_MAX: u32 = 3;
/// How long records may gather in a rush, so that a commit takes many.
const GATHER_MAX: Duration = Duration::from_millis(10);
/// After a failure, when what the journal has is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// How long the log's restart may hold up writing while it waits for a reader.
const RESTART_WAIT_MAX: Duration = Duration::from_millis(50);

pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) queue: Arc<Queue>,
    pub(super) journal: Arc<Journal>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) clock: Clock,
    pub(super) dedupe_window: Duration,
    pub(super) sequence: Sequence,
    pub(super) just_settled: Arc<JustSettled>,
    pub(super) recent: Arc<RecentKeys>,
    pub(super) hook: Arc<Hook>,
    pub(super) applying: Applying,
}

/// What was read from the journal, and how far it is applied.
pub(super) struct Applying {
    reader: Reader,
    /// Read and not applied yet: a commit's worth.
    records: Vec<Record>,
    /// Set while records cannot be applied: how long to wait before the next try.
    hold: Option<Duration>,
    /// Whether accepts were told that nothing can be applied.
    stuck: bool,
    /// Let go of once all that was found when the store was opened is applied, or cannot be for now.
    replaying: Option<(u64, mpsc::Sender<()>)>,
}

impl Applying {
    /// Goes on after what is applied. `replayed` is let go of once all that the journal has now is applied, or cannot
    /// be for now.
    pub(super) fn new(journal: &Arc<Journal>, replayed: mpsc::Sender<()>) -> Self {
        let wanted = journal.synced();
        let replaying = (journal.applied() < wanted).then_some((wanted, replayed));
        Self {
            reader: Reader::new(Arc::clone(journal)),
            records: Vec::new(),
            hold: None,
            stuck: false,
            replaying,
        }
    }

    /// The last record that is applied.
    fn position(&self) -> u64 {
        self.records.first().map_or(self.reader.position(), |first| first.sequence - 1)
    }

    /// The database has all up to this record. A commit that failed, as far as it said, may be there all the same.
    fn has(&mut self, applied: u64) {
        self.records.retain(|record| record.sequence > applied);
    }

    /// Reads a commit's worth, as far as operations of so much weight leave room, unless there is some already.
    fn read(&mut self, weight: usize) -> std::io::Result<()> {
        if !self.records.is_empty() {
            return Ok(());
        }
        let weight = COMMIT_OPERATIONS_MAX.saturating_sub(weight);
        self.reader.read(&mut self.records, Measure { weight, bytes: COMMIT_BYTES_MAX })
    }
}

/// Why a connection is done with.
enum Ended {
    /// The queue is shut and empty.
    Shut,
    /// It may be in a bad way after a failure; those concerned were told.
    Suspect,
    /// It could not be used at all; nobody was told.
    Unusable(StoreError),
}

/// What of a group made it fail.
#[derive(Clone, Copy)]
enum Culprit {
    /// The operation at this place.
    Operation(usize),
    /// One of the journal's records.
    Record,
}

/// What came of a group: of each operation, and of each record that is not put aside.
type Done = (Vec<Outcome>, Vec<Option<Accepted>>);

impl Writer {
    pub(super) fn run(mut self, conn: Connection) {
        let _last_words = LastWords {
            queue: Arc::clone(&self.queue),
            journal: Arc::clone(&self.journal),
            gauges: Arc::clone(&self.gauges),
        };
        let (mut opened, mut group) = (Ok(conn), Vec::new());
        loop {
            let ended = match opened {
                Ok(mut conn) => self.use_connection(&mut conn, &mut group),
                Err(error) => Ended::Unusable(store_error(&error, &self.path)),
            };
            match ended {
                Ended::Shut => return,
                Ended::Suspect => {}
                Ended::Unusable(error) => {
                    self.fail(std::mem::take(&mut group), &error);
                    // What comes next finds out how things stand by then.
                    if self.take(&mut group) == Taken::Shut {
                        return;
                    }
                }
            }
            opened = connection::writer(&self.path);
        }
    }

    fn take(&self, group: &mut Vec<Waiting>) -> Taken {
        self.queue.take(group, self.applying.position(), self.applying.hold)
    }

    /// Goes on with the group that was taken before, if there is one.
    fn use_connection(&mut self, conn: &mut Connection, group: &mut Vec<Waiting>) -> Ended {
        let gauges = Arc::clone(&self.gauges);
        let hook = move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            gauges.log_is(u32::try_from(pages).unwrap_or(0));
            Ok(())
        };
        let hooked = conn.wal_hook(Some(hook));
        let ledger = || {
            let (clock, just_settled) = (self.clock.clone(), Arc::clone(&self.just_settled));
            Ledger::new(conn, self.dedupe_window, clock, just_settled, Arc::clone(&self.recent))
        };
        let mut ledger = match hooked.and_then(|()| ledger()) {
            Ok(ledger) => ledger,
            Err(error) => return Ended::Unusable(store_error(&error, &self.path)),
        };
        match ledger::journal(conn) {
            Ok((_, applied)) => self.applying.has(applied),
            Err(error) => return Ended::Unusable(store_error(&error, &self.path)),
        }
        loop {
            let taken = match group.is_empty() {
                true => self.take(group),
                false => Taken::Work { records: true },
            };
            match taken {
                Taken::Shut => return Ended::Shut,
                Taken::Work { records } => {
                    if !self.write(conn, &mut ledger, group, records) {
                        return Ended::Suspect;
                    }
                    if records && self.applying.hold.is_none() {
                        self.queue.gather(self.applying.position(), COMMIT_OPERATIONS_MAX as u64, GATHER_MAX);
                    }
                }
            }
            if self.gauges.restart_is_wanted() || self.gauges.log_is_too_long() {
                let _folding = self.gauges.folding();
                restart_log(conn);
                self.gauges.restarted();
            }
        }
    }

    /// Writes and answers the whole group, and a commit's worth of the journal's records with it. False if the
    /// connection should not be used again.
    fn write(
        &mut self,
        conn: &Connection,
        ledger: &mut Ledger<'_>,
        group: &mut Vec<Waiting>,
        records: bool,
    ) -> bool {
        if records {
            let weight = group.iter().map(|waiting| waiting.operation.weight()).sum();
            if let Err(error) = self.applying.read(weight) {
                self.fail(Vec::new(), &io_error(&error));
            }
        }
        let (mut left_out, mut one_fails) = (0, false);
        loop {
            let one_by_one = left_out >= LEFT_OUT_MAX && !group.is_empty();
            let size = if one_by_one { 1 } else { group.len() };
            let count = if !records || one_by_one || one_fails { 0 } else { self.applying.records.len() };
            if size + count == 0 {
                break;
            }
            match self.commit(conn, ledger, group.get(..size).unwrap_or_default(), count) {
                Ok(outcomes) => {
                    for (waiting, outcome) in group.drain(..size).zip(outcomes) {
                        waiting.answer(Ok(outcome));
                    }
                }
                Err((Some(Culprit::Operation(place)), error)) if !is_the_disks(&error) => {
                    left_out += 1;
                    group.remove(place).answer(Err(error));
                }
                Err((Some(Culprit::Record), error)) if !is_the_disks(&error) => one_fails = true,
                Err((_, error)) => return self.fail(std::mem::take(group), &error),
            }
        }
        if one_fails {
            return self.apply_one_by_one(conn, ledger);
        }
        if self.applying.records.is_empty() {
            // All that was read is applied, and what is missing from the journal is passed over.
            self.applied_is(self.applying.reader.position());
        }
        true
    }

    /// Applies records each by itself. One that cannot be is put aside.
    fn apply_one_by_one(&mut self, conn: &Connection, ledger: &mut Ledger<'_>) -> bool {
        let mut tries = 0;
        while !self.applying.records.is_empty() {
            match self.commit(conn, ledger, &[], 1) {
                Ok(_) => tries = 0,
                Err((Some(Culprit::Record), error)) if tries < TRIES_MAX => {
                    tries += 1;
                    if tries == TRIES_MAX
                        && let Some(first) = self.applying.records.first_mut()
                        && let Content::Accept(accept, identities) = &first.content
                        && let Ok(draft) = encode(accept, identities)
                    {
                        first.content = Content::Unreadable(draft.into_payload(), error.to_string());
                    }
                }
                Err((_, error)) => return self.fail(Vec::new(), &error),
            }
        }
        true
    }

    /// Does operations and the first so many records in one transaction, and tells what came of the records. On failure
    /// nothing of it is done, and the culprit is given where there is one.
    fn commit(
        &mut self,
        conn: &Connection,
        ledger: &mut Ledger<'_>,
        operations: &[Waiting],
        count: usize,
    ) -> Result<Vec<Outcome>, (Option<Culprit>, StoreError)> {
        let records = self.applying.records.get(..count).unwrap_or_default();
        let synced = operations.iter().any(|waiting| waiting.operation.is_a_word());
        let started = self.clock.monotonic();
        let done = connection::sync_each_commit(conn, synced)
            .map_err(|error| (None, error.into()))
            .and_then(|()| attempt(ledger, operations, records, &mut self.sequence));
        let (outcomes, accepted) = match done {
            Ok(done) => done,
            Err((culprit, refusal)) => {
                // SQLite may have undone it by itself.
                if !conn.is_autocommit() {
                    let _ = conn.execute_batch("ROLLBACK");
                }
                ledger.undone();
                let (contents, error) = match refusal {
                    Refusal::Sqlite(error) => {
                        let contents = is_the_contents(&error);
                        let error = store_error(&error, &self.path);
                        if culprit.is_some() && !is_the_disks(&error) {
                            self.gauges.failed();
                        }
                        (contents, error)
                    }
                    Refusal::Nonsense(what) => (true, StoreError::Corrupt(what)),
                };
                // A database that is damaged is no reason to put aside what was accepted.
                let culprit = culprit.filter(|culprit| contents || !matches!(culprit, Culprit::Record));
                return Err((culprit, error));
            }
        };
        let took = self.clock.monotonic().saturating_sub(started);
        self.gauges.committed(operations.len() + count, took);
        self.tell(accepted);
        if synced {
            self.journal.durable_is(self.journal.applied());
        } else {
            self.gauges.is_unsynced();
        }
        // Operations alone show that the disk is not to blame, and records are tried at once; until some are applied,
        // nobody is let wait for them.
        self.applying.hold = None;
        if self.applying.stuck && (count > 0 || self.applying.records.is_empty()) {
            self.applying.stuck = false;
            self.journal.stuck_is(None);
            tracing::info!("the database can be written again");
        }
        Ok(outcomes)
    }

    /// Tells everybody of the first records, which are applied.
    fn tell(&mut self, accepted: Vec<Option<Accepted>>) {
        let count = accepted.len();
        let hook = self.hook.get();
        let mut applied = Vec::with_capacity(if hook.is_some() { count } else { 0 });
        let mut told = Vec::new();
        for (record, accepted) in self.applying.records.drain(..count).zip(accepted) {
            let Record { sequence, content } = record;
            let waits = self.journal.told(sequence);
            match (content, accepted) {
                (Content::Accept(accept, _), Some(accepted)) => {
                    if let Some(waits) = waits {
                        told.push((waits, Ok(accepted.clone())));
                    }
                    if hook.is_some() {
                        applied.push(Applied { accept: *accept, accepted });
                    }
                }
                (Content::Unreadable(_, reason), _) => {
                    self.gauges.set_aside();
                    tracing::error!(
                        record = sequence,
                        reason,
                        "an accepted request cannot be written to the database; it is kept in the table set_aside"
                    );
                    if let Some(waits) = waits {
                        told.push((waits, Err(StoreError::Corrupt(reason))));
                    }
                }
                (Content::Accept(..), None) | (Content::Nothing, _) => {}
            }
        }
        if let Some(hook) = hook.filter(|_| !applied.is_empty()) {
            hook(applied);
        }
        if count > 0 {
            self.applied_is(self.applying.position());
        }
        for (waits, result) in told {
            // Whoever stopped waiting will find in the store what was done.
            let _ = waits.send(result);
        }
    }

    fn applied_is(&mut self, position: u64) {
        self.journal.applied_is(position);
        if self.applying.replaying.as_ref().is_some_and(|(wanted, _)| position >= *wanted) {
            self.applying.replaying = None;
        }
    }

    /// The disk refused. Operations are told; records are tried again in a while. False if the connection should not
    /// be used again.
    fn fail(&mut self, group: Vec<Waiting>, error: &StoreError) -> bool {
        self.gauges.failed();
        for waiting in group {
            waiting.answer(Err(error.clone()));
        }
        self.applying.hold = Some(TRY_AGAIN);
        if !std::mem::replace(&mut self.applying.stuck, true) {
            tracing::error!(%error, "the database cannot be written; what is accepted waits in the journal");
        }
        self.journal.stuck_is(Some(error.clone()));
        self.applying.replaying = None;
        matches!(error, StoreError::Full)
    }
}

fn attempt(
    ledger: &mut Ledger<'_>,
    operations: &[Waiting],
    records: &[Record],
    sequence: &mut Sequence,
) -> Result<Done, (Option<Culprit>, Refusal)> {
    ledger.begin().map_err(|error| (None, error.into()))?;
    let mut outcomes = Vec::with_capacity(operations.len());
    for (place, waiting) in operations.iter().enumerate() {
        let outcome = ledger.perform(&waiting.operation, sequence);
        outcomes.push(outcome.map_err(|refusal| (Some(Culprit::Operation(place)), refusal))?);
    }
    let mut accepted = Vec::with_capacity(records.len());
    for record in records {
        let one = match &record.content {
            Content::Accept(accept, identities) => ledger.accept(accept, identities, sequence).map(Some),
            Content::Nothing => Ok(None),
            Content::Unreadable(bytes, reason) => {
                ledger.set_aside(record.sequence, reason, bytes).map(|()| None).map_err(Into::into)
            }
        };
        accepted.push(one.map_err(|refusal| (Some(Culprit::Record), refusal))?);
    }
    if let Some(last) = records.last() {
        ledger.applied(last.sequence).map_err(|error| (None, error.into()))?;
    }
    ledger.commit().map_err(|error| (None, error.into()))?;
    Ok((outcomes, accepted))
}

/// Folds the little that is left of the log and lets the next write start it over. Nearly all of it was folded
/// by the other thread. A reader in the way costs a wait; next time will do.
fn restart_log(conn: &Connection) {
    let _ = conn.busy_timeout(RESTART_WAIT_MAX);
    let _ = conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::RESTART);
    let _ = conn.busy_timeout(connection::WRITE_WAIT_MAX);
}

/// However the thread ends, nobody waits for it in vain.
struct LastWords {
    queue: Arc<Queue>,
    journal: Arc<Journal>,
    gauges: Arc<Gauges>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.gauges.failed();
        }
        self.queue.abandon();
        self.journal.abandon();
    }
}
