//! Folding the log into the file, on a thread of its own so that no commit waits for it.
//!
//! SQLite's log grows until all of it is in the file at a moment when nobody writes; under load there is no
//! such moment. So, once the log is long, this thread folds until hardly anything is left and asks the
//! writer to do the rest between two commits, after which the log starts over.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::connection;
use super::gauges::Gauges;

/// SQLite's page size, which the file keeps.
pub(super) const PAGE_BYTES: u32 = 4_096;
/// Log that is not yet in the file before folding begins under load.
pub(super) const FOLD_PAGES: u32 = 16 * 1024 * 1024 / PAGE_BYTES;
/// Log that is long enough to start over.
const RESTART_PAGES: u32 = 32 * 1024 * 1024 / PAGE_BYTES;
/// What may be left to fold for the writer, which stands still meanwhile.
const LEFT_TO_WRITER_PAGES: u32 = 1024 * 1024 / PAGE_BYTES;
/// How often to fold again in the hope that less is left, before leaving the writer whatever there is.
const ROUNDS_MAX: usize = 6;
/// After so long without a write, what is left is folded.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Checkpointer {
    pub(super) path: PathBuf,
    pub(super) gauges: Arc<Gauges>,
    pub(super) shut: Arc<AtomicBool>,
}

impl Checkpointer {
    pub(super) fn run(self) {
        self.gauges.checkpointer_is(std::thread::current());
        let mut conn = None;
        let mut pages_before = 0;
        while !self.shut.load(Ordering::Acquire) {
            let pages = self.gauges.log_pages();
            let unfolded = self.gauges.unfolded();
            let idle = unfolded > 0 && pages == pages_before;
            pages_before = pages;
            if self.gauges.restart_is_wanted() || !(idle || unfolded >= FOLD_PAGES) {
                std::thread::park_timeout(IDLE);
                continue;
            }
            if conn.is_none() {
                conn = connection::checkpointer(&self.path).ok();
            }
            let folded = conn.as_ref().is_some_and(|conn| self.fold(conn));
            if !folded {
                // The disk fails; the writer says so to those it concerns.
                conn = None;
                std::thread::park_timeout(IDLE);
            }
        }
    }

    /// Folds what is there, and asks for a new start if the log is long. False if it failed.
    fn fold(&self, conn: &Connection) -> bool {
        for round in 1..=ROUNDS_MAX {
            let Ok((pages, folded)) = conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) else {
                return false;
            };
            let (pages, folded) = (u32::try_from(pages).unwrap_or(0), u32::try_from(folded).unwrap_or(0));
            self.gauges.folded_is(folded);
            if pages < RESTART_PAGES || self.shut.load(Ordering::Acquire) {
                return true;
            }
            if self.gauges.unfolded() <= LEFT_TO_WRITER_PAGES || round == ROUNDS_MAX {
                self.gauges.want_restart();
            }
            if self.gauges.restart_is_wanted() {
                return true;
            }
        }
        true
    }
}
