//! Numbers that the threads tell each other and the world, without a lock.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use super::checkpoint::{FOLD_PAGES, LOG_PAGES_MAX};
use super::journal::Journal;
use crate::WriterStats;

#[derive(Default)]
pub(super) struct Gauges {
    commits: AtomicU64,
    operations: AtomicU64,
    failures: AtomicU64,
    commit_time_ns: AtomicU64,
    unhealthy: AtomicBool,
    /// Whether the journal's last write failed.
    journal_failing: AtomicBool,
    set_aside: AtomicU64,
    /// Whether something was committed that the log's sync has not come to.
    unsynced: AtomicBool,
    syncer: OnceLock<Thread>,
    over_budget: AtomicBool,
    /// Pages in the log since it last started over.
    log_pages: AtomicU32,
    /// How many of them are in the file as well.
    folded_pages: AtomicU32,
    restart_wanted: AtomicBool,
    folding: Mutex<()>,
    checkpointer: OnceLock<Thread>,
}

impl Gauges {
    pub(super) fn committed(&self, operations: usize, took: Duration) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.operations.fetch_add(operations as u64, Ordering::Relaxed);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.commit_time_ns.fetch_add(took_ns, Ordering::Relaxed);
        self.unhealthy.store(false, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.unhealthy.store(true, Ordering::Relaxed);
    }

    /// The journal tells whether it could be written. True if that is news.
    pub(super) fn journal_is(&self, well: bool) -> bool {
        if !well {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.journal_failing.load(Ordering::Relaxed) == well
            && self.journal_failing.swap(!well, Ordering::Relaxed) == well
    }

    /// A record was put aside.
    pub(super) fn set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was committed and not synced.
    pub(super) fn is_unsynced(&self) {
        if !self.unsynced.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.syncer.get()
        {
            thread.unpark();
        }
    }

    /// The thread that syncs the log says where to wake it.
    pub(super) fn syncer_is(&self, thread: Thread) {
        let _ = self.syncer.set(thread);
    }

    /// Whether something was committed and not synced since this was last asked.
    pub(super) fn take_unsynced(&self) -> bool {
        self.unsynced.swap(false, Ordering::AcqRel)
    }

    pub(super) fn stats(&self, queue: usize, journal: &Journal) -> WriterStats {
        WriterStats {
            queue,
            journal_behind: journal.behind(),
            journal_bytes: journal.file_bytes(),
            set_aside: self.set_aside.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            commit_time: Duration::from_nanos(self.commit_time_ns.load(Ordering::Relaxed)),
            healthy: !self.unhealthy.load(Ordering::Relaxed) && !self.journal_failing.load(Ordering::Relaxed),
            over_budget: self.is_over_budget(),
        }
    }

    pub(super) fn over_budget_is(&self, exceeded: bool) {
        self.over_budget.store(exceeded, Ordering::Relaxed);
    }

    pub(super) fn is_over_budget(&self) -> bool {
        self.over_budget.load(Ordering::Relaxed)
    }

    /// The checkpointer says where to wake it.
    pub(super) fn checkpointer_is(&self, thread: Thread) {
        let _ = self.checkpointer.set(thread);
    }

    pub(super) fn wake_checkpointer(&self) {
        if let Some(thread) = self.checkpointer.get() {
            thread.unpark();
        }
    }

    /// The writer tells how long the log is, after each commit.
    pub(super) fn log_is(&self, pages: u32) {
        if pages < self.log_pages.swap(pages, Ordering::AcqRel) {
            // It has started over.
            self.folded_pages.store(0, Ordering::Release);
        }
        if self.unfolded() >= FOLD_PAGES {
            self.wake_checkpointer();
        }
    }

    pub(super) fn log_pages(&self) -> u32 {
        self.log_pages.load(Ordering::Acquire)
    }

    pub(super) fn folded_is(&self, pages: u32) {
        self.folded_pages.store(pages, Ordering::Release);
    }

    /// Pages of the log that are not in the file yet.
    pub(super) fn unfolded(&self) -> u32 {
        self.log_pages().saturating_sub(self.folded_pages.load(Ordering::Acquire))
    }

    pub(super) fn want_restart(&self) {
        self.restart_wanted.store(true, Ordering::Release);
    }

    pub(super) fn restart_is_wanted(&self) -> bool {
        self.restart_wanted.load(Ordering::Acquire)
    }

    /// Whether the log is so long that the writer must see to it, whatever it costs.
    pub(super) fn log_is_too_long(&self) -> bool {
        self.log_pages() >= LOG_PAGES_MAX
    }

    /// Whoever folds holds this: SQLite lets one do it at a time and does not let the other wait.
    pub(super) fn folding(&self) -> MutexGuard<'_, ()> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer tells that the log starts over, or that it tried.
    pub(super) fn restarted(&self) {
        self.log_pages.store(0, Ordering::Release);
        self.folded_pages.store(0, Ordering::Release);
        self.restart_wanted.store(false, Ordering::Release);
        self.wake_checkpointer();
    }
}
