//! The journal: what is acknowledged is on disk here first, and in the database's file a moment later.
//!
//! ```text
//!   accept ──► line ──► appender thread ──► segment, synced ──► answers
//!                                              │
//!                       writer thread ◄── reader (in order, exactly once) ──► the ledger
//! ```
//!
//! A database that inserts a request's rows and indexes them before it answers makes every caller wait for that. The
//! journal takes the request as it is, with one write and one sync for all that wait; the writer applies it behind, in
//! groups. Up to which record it has is written in the transaction that applies it, so that a crash
//! applies each exactly once. A record is forgotten only when what it became is synced in the database.
//!
//! Records are numbered without a gap. What was refused (its write or sync failed) gives its numbers to what comes
//! next, in another segment: where two segments hold a number, the later one counts.

mod appender;
mod content;
mod crc;
mod line;
mod reader;
mod record;
mod recovery;
mod shelf;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub(super) use self::appender::Appender;
pub(super) use self::content::{encode, nothing};
use self::line::Line;
pub(super) use self::line::{Told, Waiting};
pub(super) use self::reader::{Content, Measure, Reader, Record};
use self::shelf::{Bounds, Shelf};
use crate::StoreError;

/// How long a read waits for what was acknowledged before it to be applied.
const APPLIED_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long an accept waits for a segment to be let go of when the journal is full.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

/// The journal of one database. The threads share it.
pub(super) struct Journal {
    stamp: u64,
    line: Line,
    shelf: Mutex<Shelf>,
    /// Something was let go of, or will not be for now.
    changed: Condvar,
    /// The last record that is synced in the journal.
    synced: AtomicU64,
    /// The last record that is applied, for those who wait for it.
    applied: watch::Sender<u64>,
    /// The last record that is applied and synced in the database.
    durable: AtomicU64,
    /// Why nothing can be applied just now.
    stuck: Mutex<Option<StoreError>>,
    /// Who waits for a record to be applied, by its number.
    told: Mutex<BTreeMap<u64, Told>>,
    #[cfg(test)]
    faults: tests::Faults,
}

/// How the journal is set up.
pub(super) struct Setup<'p> {
    /// The database's file.
    pub(super) path: &'p Path,
    /// The number that marks this database's records.
    pub(super) stamp: u64,
    /// The last record that the database has, synced.
    pub(super) applied: u64,
    /// What the journal may hold.
    pub(super) bytes_max: u64,
    /// Accepts that may wait, and their bytes.
    pub(super) queue_max: usize,
    pub(super) queue_bytes_max: usize,
}

impl Journal {
    /// Opens the journal beside a database: finds what is there and not applied yet.
    pub(super) fn open(setup: &Setup<'_>) -> std::io::Result<Self> {
        Self::open_bounded(setup, Bounds::of(setup.bytes_max))
    }

    fn open_bounded(setup: &Setup<'_>, bounds: Bounds) -> std::io::Result<Self> {
        let Setup { path, stamp, applied, queue_max, queue_bytes_max, .. } = *setup;
        let mut shelf = Shelf::new(path, bounds);
        let last = recovery::find(&mut shelf, path, stamp, applied)?;
        remove(shelf.let_go(applied));
        Ok(Self {
            stamp,
            line: Line::new(queue_max, queue_bytes_max),
            shelf: Mutex::new(shelf),
            changed: Condvar::new(),
            synced: AtomicU64::new(last.max(applied)),
            applied: watch::Sender::new(applied),
            durable: AtomicU64::new(applied),
            stuck: Mutex::default(),
            told: Mutex::default(),
            #[cfg(test)]
            faults: tests::Faults::default(),
        })
    }

    /// Has an accept wait for the disk, or refuses it at once.
    pub(super) fn add(&self, accept: Waiting) -> Result<(), StoreError> {
        self.line.add(accept)
    }

    /// Accepts that wait for the disk.
    pub(super) fn waiting(&self) -> usize {
        self.line.waiting()
    }

    /// Refuses accepts from now on; those that wait are still kept.
    pub(super) fn shut(&self) {
        self.line.shut();
    }

    /// Refuses accepts and forgets those that wait, and who waits for the others to be applied.
    pub(super) fn abandon(&self) {
        self.line.abandon();
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        drop(told);
    }

    /// The last record that is synced.
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Records that are synced and not applied yet.
    pub(super) fn behind(&self) -> u64 {
        self.synced().saturating_sub(*self.applied.borrow())
    }

    /// The writer tells up to where it has applied.
    pub(super) fn applied_is(&self, sequence: u64) {
        self.applied.send_if_modified(|applied| {
            let more = sequence > *applied;
            *applied = sequence.max(*applied);
            more
        });
    }

    /// Up to where the writer has applied.
    pub(super) fn applied(&self) -> u64 {
        *self.applied.borrow()
    }

    /// What is applied up to here is synced in the database: segments that hold nothing else are let go of.
    pub(super) fn durable_is(&self, sequence: u64) {
        if self.durable.fetch_max(sequence, Ordering::AcqRel) < sequence {
            let removed = self.shelf().let_go(sequence);
            self.changed.notify_all();
            remove(removed);
        }
    }

    /// The writer tells that it cannot apply for now, and why; or that it can.
    pub(super) fn stuck_is(&self, why: Option<StoreError>) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.changed.notify_all();
    }

    fn stuck(&self) -> Option<StoreError> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until what was synced when this was called is applied; not for long, and not at all while nothing can be.
    pub(super) async fn caught_up(&self) {
        let wanted = self.synced();
        if self.applied() >= wanted || self.stuck().is_some() {
            return;
        }
        let mut applied = self.applied.subscribe();
        let _ = tokio::time::timeout(APPLIED_WAIT_MAX, applied.wait_for(|applied| *applied >= wanted)).await;
    }

    /// Who waits for this record to be applied, if anybody does.
    pub(super) fn told(&self, sequence: u64) -> Option<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(&sequence)
    }

    fn tell(&self, sequence: u64, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(sequence, told);
    }

    /// What its files take up.
    pub(super) fn file_bytes(&self) -> u64 {
        self.shelf().file_bytes()
    }

    /// What of that is taken up by what the database does not have yet.
    pub(super) fn held_bytes(&self) -> u64 {
        if self.behind() == 0 { 0 } else { self.shelf().held_bytes() }
    }

    /// Removes the files, if all that was in them is applied. To be called once the threads have ended and the
    /// database is synced.
    pub(super) fn clear(&self) {
        if self.behind() == 0 {
            let removed = self.shelf().clear();
            remove(removed);
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What cannot be removed is found again when the store is next opened.
fn remove(files: Vec<std::path::PathBuf>) {
    for file in files {
        let _ = std::fs::remove_file(file);
    }
}
