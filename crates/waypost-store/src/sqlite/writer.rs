//! The one thread that writes: everything that arrived while the last commit was syncing goes into the
//! next transaction, then all are answered.
//!
//! Nothing that fails ends the thread. What the disk refuses is undone and everybody in the group is told;
//! what one operation alone gets wrong is told to it, and the others are done without it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use waypost_domain::Clock;

use super::connection;
use super::fault::{is_the_disks, store_error};
use super::gauges::Gauges;
use super::ledger::{Ledger, Refusal};
use super::numbers::Sequence;
use super::passes::JustSettled;
use super::queue::{Outcome, Queue, Waiting};
use super::recent::RecentKeys;
use crate::StoreError;

/// After so many operations of a group had to be left out, the rest are written one by one.
const LEFT_OUT_MAX: usize = 4;
/// How long the log's restart may hold up writing while it waits for a reader.
const RESTART_WAIT_MAX: Duration = Duration::from_millis(50);

pub(super) struct Writer {
    pub(super) path: PathBuf,
    pub(super) queue: Arc<Queue>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) clock: Clock,
    pub(super) dedupe_window: Duration,
    pub(super) sequence: Sequence,
    pub(super) just_settled: Arc<JustSettled>,
    pub(super) recent: Arc<RecentKeys>,
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

impl Writer {
    pub(super) fn run(mut self, conn: Connection) {
        let _last_words = LastWords { queue: Arc::clone(&self.queue), gauges: Arc::clone(&self.gauges) };
        let mut opened = Ok(conn);
        loop {
            let ended = match opened {
                Ok(mut conn) => self.use_connection(&mut conn),
                Err(error) => Ended::Unusable(store_error(&error, &self.path)),
            };
            match ended {
                Ended::Shut => return,
                Ended::Suspect => {}
                Ended::Unusable(error) => {
                    let mut group = Vec::new();
                    if !self.queue.take(&mut group) {
                        return;
                    }
                    self.refuse(group, &error);
                }
            }
            opened = connection::writer(&self.path);
        }
    }

    fn use_connection(&mut self, conn: &mut Connection) -> Ended {
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
        let mut group = Vec::new();
        loop {
            if !self.queue.take(&mut group) {
                return Ended::Shut;
            }
            if !self.write(conn, &mut ledger, &mut group) {
                return Ended::Suspect;
            }
            if self.gauges.restart_is_wanted() || self.gauges.log_is_too_long() {
                let _folding = self.gauges.folding();
                restart_log(conn);
                self.gauges.restarted();
            }
        }
    }

    /// Writes and answers the whole group. False if the connection should not be used again.
    fn write(&mut self, conn: &Connection, ledger: &mut Ledger<'_>, group: &mut Vec<Waiting>) -> bool {
        let mut left_out = 0;
        while !group.is_empty() {
            let size = if left_out < LEFT_OUT_MAX { group.len() } else { 1 };
            let started = self.clock.monotonic();
            match commit(conn, ledger, &group[..size], &mut self.sequence) {
                Ok(outcomes) => {
                    self.gauges.committed(size, self.clock.monotonic().saturating_sub(started));
                    for (waiting, outcome) in group.drain(..size).zip(outcomes) {
                        waiting.answer(Ok(outcome));
                    }
                }
                Err((place, refusal)) => {
                    let refused_by_engine = matches!(refusal, Refusal::Sqlite(_));
                    let error = match refusal {
                        Refusal::Sqlite(error) => store_error(&error, &self.path),
                        Refusal::Nonsense(what) => StoreError::Corrupt(what),
                    };
                    match place {
                        Some(place) if !is_the_disks(&error) => {
                            left_out += 1;
                            if refused_by_engine {
                                self.gauges.failed();
                            }
                            group.remove(place).answer(Err(error));
                        }
                        _ => {
                            self.refuse(std::mem::take(group), &error);
                            return matches!(error, StoreError::Full);
                        }
                    }
                }
            }
        }
        true
    }

    fn refuse(&self, group: Vec<Waiting>, error: &StoreError) {
        self.gauges.failed();
        for waiting in group {
            waiting.answer(Err(error.clone()));
        }
    }
}

/// Does the group in one transaction. On failure nothing of it is done, and the culprit's place is given where
/// there is one.
fn commit(
    conn: &Connection,
    ledger: &mut Ledger<'_>,
    group: &[Waiting],
    sequence: &mut Sequence,
) -> Result<Vec<Outcome>, (Option<usize>, Refusal)> {
    let done = attempt(ledger, group, sequence);
    if done.is_err() {
        // SQLite may have undone it by itself.
        if !conn.is_autocommit() {
            let _ = conn.execute_batch("ROLLBACK");
        }
        ledger.undone();
    }
    done
}

fn attempt(
    ledger: &mut Ledger<'_>,
    group: &[Waiting],
    sequence: &mut Sequence,
) -> Result<Vec<Outcome>, (Option<usize>, Refusal)> {
    ledger.begin().map_err(|error| (None, error.into()))?;
    let mut outcomes = Vec::with_capacity(group.len());
    for (place, waiting) in group.iter().enumerate() {
        let outcome =
            ledger.perform(&waiting.operation, sequence).map_err(|refusal| (Some(place), refusal))?;
        outcomes.push(outcome);
    }
    ledger.commit().map_err(|error| (None, error.into()))?;
    Ok(outcomes)
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
    gauges: Arc<Gauges>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.gauges.failed();
        }
        self.queue.abandon();
    }
}
