//! Syncing the log a moment after commits, on a thread of its own so that no commit waits for it.
//!
//! What was accepted is synced in the journal before; what became of it may be unknown for so long as this takes
//! if the power fails, and is then found out again. Only what is synced here is let go of in the journal.
//!
//! After a sync of the log that failed, asking again proves nothing, and a log that is torn in the middle is worth
//! nothing behind that place. Then all of it must be in the file, which is synced as well, and the log start over.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::wal::CheckpointMode;

use super::connection;
use super::fault::{io_error, store_error};
use super::gauges::Gauges;
use super::journal::Journal;
use super::log_path;
use crate::StoreError;

/// How long commits wait to be synced together.
const SYNC_WITHIN: Duration = Duration::from_millis(50);
/// After a failure, when to try again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Syncer {
    pub(super) path: PathBuf,
    pub(super) gauges: Arc<Gauges>,
    pub(super) journal: Arc<Journal>,
    pub(super) shut: Arc<AtomicBool>,
}

impl Syncer {
    pub(super) fn run(self) {
        self.gauges.syncer_is(std::thread::current());
        let mut log = Log::of(&self.path);
        let mut failing = false;
        while !self.shut.load(Ordering::Acquire) {
            if !failing && !self.gauges.take_unsynced() {
                std::thread::park();
                continue;
            }
            std::thread::park_timeout(if failing { TRY_AGAIN } else { SYNC_WITHIN });
            // Both are asked before the sync, which covers at least so much.
            self.gauges.take_unsynced();
            let applied = self.journal.applied();
            let synced = match failing {
                false => log.sync().map_err(|error| io_error(&error)),
                true => self.fold_all(),
            };
            match synced {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the database's log is synced again");
                    }
                    self.journal.durable_is(applied);
                }
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "the database's log cannot be synced; the journal keeps what is in it");
                    }
                    failing = true;
                }
            }
        }
    }

    /// Folds the whole log into the file, which SQLite then syncs, and has it start over.
    fn fold_all(&self) -> Result<(), StoreError> {
        let fault = |error: rusqlite::Error| store_error(&error, &self.path);
        let conn = connection::checkpointer(&self.path).map_err(fault)?;
        let _folding = self.gauges.folding();
        conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::RESTART).map_err(fault)?;
        self.gauges.restarted();
        Ok(())
    }
}

/// SQLite's log, to be synced.
pub(super) struct Log {
    path: PathBuf,
    open: Option<(File, (u64, u64))>,
}

impl Log {
    /// Of a database's file.
    pub(super) fn of(path: &std::path::Path) -> Self {
        Self { path: log_path(path), open: None }
    }

    /// Syncs what is in it. It is kept open, since a fault is told to those who have it open; it is another file
    /// once every connection was closed. (SQLite holds no lock on it that closing it could lose.)
    pub(super) fn sync(&mut self) -> std::io::Result<()> {
        let identity = match std::fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()),
            // All of it is in the file.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let file = match &self.open {
            Some((file, known)) if *known == identity => file,
            _ => &self.open.insert((File::open(&self.path)?, identity)).0,
        };
        file.sync_data()
    }
}
