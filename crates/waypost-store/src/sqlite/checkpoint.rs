//! Folding the log into the file, on a thread of its own so that no commit waits for it.
//!
//! SQLite's log grows until all of it is in the file at a moment when nobody writes; under load there is no
//! such moment. So, once the log is long, this thread folds until hardly anything is left and asks the
//! writer to do the rest between two commits, after which the log starts over.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::budget::Budget;
use super::connection;
use super::fault::store_error;
use super::gauges::Gauges;
use super::journal::Journal;
use crate::StoreError;

/// The file's page size. With each commit a page of every tree is written anew, however little was added to it: with
/// pages of 4 KiB that is a third more to write for small groups, and no less of anything else.
pub(super) const PAGE_BYTES: u32 = 2_048;
/// Log that is not yet in the file before folding begins under load. Measured: with less, pages that change
/// again and again are folded too often; with more, syncing the file holds up syncing the log.
pub(super) const FOLD_PAGES: u32 = 16 * 1024 * 1024 / PAGE_BYTES;
/// Log that is long enough to start over.
const RESTART_PAGES: u32 = 48 * 1024 * 1024 / PAGE_BYTES;
/// Log that is long enough for the writer to stop and fold it by itself: what it can never exceed by more
/// than one commit, unless a reader stands in the way.
pub(super) const LOG_PAGES_MAX: u32 = 128 * 1024 * 1024 / PAGE_BYTES;
/// What may be left to fold for the writer, which stands still meanwhile.
const LEFT_TO_WRITER_PAGES: u32 = 1024 * 1024 / PAGE_BYTES;
/// How often to fold again in the hope that less is left, before leaving the writer whatever there is.
const ROUNDS_MAX: usize = 6;
/// After so long without a write, what is left is folded.
const IDLE: Duration = Duration::from_secs(1);

/// The database file, to be synced. It is let go of only when no connection is left: when a process closes
/// any handle of a file, it loses every lock that it has on it (fcntl(2)), SQLite's among them.
pub(super) struct DatabaseFile(File);

impl DatabaseFile {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        File::options().read(true).write(true).open(path).map(Self)
    }
}

pub(super) struct Checkpointer {
    pub(super) path: PathBuf,
    pub(super) file: Arc<DatabaseFile>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) shut: Arc<AtomicBool>,
    pub(super) budget: Budget,
    pub(super) journal: Arc<Journal>,
}

impl Checkpointer {
    pub(super) fn run(self) {
        self.gauges.checkpointer_is(std::thread::current());
        let mut conn = None;
        let mut pages_before = 0;
        let mut failing = false;
        while !self.shut.load(Ordering::Acquire) {
            self.look_at_budget(&mut conn);
            let pages = self.gauges.log_pages();
            let unfolded = self.gauges.unfolded();
            let idle = unfolded > 0 && pages == pages_before;
            pages_before = pages;
            if self.gauges.restart_is_wanted() || !(idle || unfolded >= FOLD_PAGES) {
                std::thread::park_timeout(IDLE);
                continue;
            }
            match self.fold_on(&mut conn) {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the database's log is being folded into its file again");
                    }
                    // Where a reader stands in the way, trying at once would only burn time.
                    if self.gauges.unfolded() >= unfolded.min(FOLD_PAGES) {
                        std::thread::park_timeout(IDLE);
                    }
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(%error, "the database's log cannot be folded into its file, and grows");
                        failing = true;
                    }
                    conn = None;
                    std::thread::park_timeout(IDLE);
                }
            }
        }
    }

    /// Sees whether the store takes up more than it may. Where it cannot be seen, it is as before.
    fn look_at_budget(&self, conn: &mut Option<Connection>) {
        let Ok(conn) = self.connection(conn) else { return };
        let Ok(exceeded) = self.budget.is_exceeded(conn, &self.path, &self.journal) else { return };
        if exceeded != self.gauges.is_over_budget() {
            self.gauges.over_budget_is(exceeded);
            if exceeded {
                tracing::error!("the store takes up more than it may: nothing new is accepted");
            } else {
                tracing::info!("the store is within its budget again");
            }
        }
    }

    /// The connection at hand or a new one.
    fn connection<'c>(&self, conn: &'c mut Option<Connection>) -> Result<&'c Connection, StoreError> {
        match conn {
            Some(conn) => Ok(conn),
            None => {
                let opened = connection::checkpointer(&self.path);
                Ok(conn.insert(opened.map_err(|error| store_error(&error, &self.path))?))
            }
        }
    }

    /// Folds on the connection at hand or a new one.
    fn fold_on(&self, conn: &mut Option<Connection>) -> Result<(), StoreError> {
        let fault = |error: rusqlite::Error| store_error(&error, &self.path);
        let conn = self.connection(conn)?;
        for round in 1..=ROUNDS_MAX {
            let (pages, folded) = {
                let _folding = self.gauges.folding();
                conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE).map_err(fault)?
            };
            // SQLite syncs the file only once all of the log is in it, which would leave that to the writer.
            self.file.0.sync_data().map_err(|error| StoreError::Disk(error.to_string()))?;
            let (pages, folded) = (u32::try_from(pages).unwrap_or(0), u32::try_from(folded).unwrap_or(0));
            self.gauges.folded_is(folded);
            if pages < RESTART_PAGES || self.shut.load(Ordering::Acquire) {
                return Ok(());
            }
            if self.gauges.unfolded() <= LEFT_TO_WRITER_PAGES || round == ROUNDS_MAX {
                self.gauges.want_restart();
                return Ok(());
            }
        }
        Ok(())
    }
}

// The stages follow each other.
const _: () = assert!(FOLD_PAGES < RESTART_PAGES && RESTART_PAGES < LOG_PAGES_MAX);
const _: () = assert!(LEFT_TO_WRITER_PAGES < FOLD_PAGES);
