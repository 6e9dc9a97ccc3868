//! What waits for the writer: operations in a line, and the news that the journal has more to be applied.
//!
//! Accepts wait in the journal, so that a flood of them never refuses a settlement. Whoever adds to the line holds a
//! permit, which bounds it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use waypost_domain::limits::COMMIT_OPERATIONS_MAX;
use waypost_domain::{DeliveryId, EventId};

use super::acts::{Step, Stepped};
use super::prune::Pruning;
use crate::{
    ActKind, DiscardQuarantined, EntryKind, EntryRecord, Pause, Release, Released, Settlement, StoreError,
};

/// Something to be written.
pub(super) enum Operation {
    Settle(Settlement),
    MarkOvertaken(Vec<DeliveryId>),
    Act(Step),
    /// Pause or resume.
    Pause(ActKind, Pause),
    Prune(Box<Pruning>),
    Release(Release),
    DiscardQuarantined(DiscardQuarantined),
    EntryPut(EntryRecord),
    EntryDelete(EntryKind, String),
    /// Has identity keys put where pruning finds them.
    MoveKeys,
    Probe,
}

/// What came of it.
pub(super) enum Outcome {
    Acted(Stepped),
    Changed(bool),
    Released(Released),
    Discarded(Vec<EventId>),
    Pruned(super::prune::Stepped),
    Deleted(bool),
    Done,
}

/// What is sent back. The operation goes along so that whoever asked frees it, and not the one writer.
pub(super) type Answered = (Result<Outcome, StoreError>, Operation);

/// An operation and who waits for it.
pub(super) struct Waiting {
    pub(super) operation: Operation,
    pub(super) answer: oneshot::Sender<Answered>,
    /// Held until the operation is answered.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl Waiting {
    pub(super) fn answer(self, result: Result<Outcome, StoreError>) {
        // Whoever stopped waiting will find in the store what was done.
        let _ = self.answer.send((result, self.operation));
    }
}

/// How many marks one operation may bring: half a commit, so that accepts are not kept out.
pub(super) const MARKS_MAX: usize = COMMIT_OPERATIONS_MAX / 2;

/// Records that come while one group is written: as many or more are a rush.
const RUSH_RECORDS: u64 = 16;
/// How often it is looked, while records gather, whether there are enough.
const GATHER_STEPS: u32 = 4;

#[derive(Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    arrived: Condvar,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Lines {
    operations: VecDeque<Waiting>,
    /// The last record that the journal has synced.
    journalled: u64,
    shut: bool,
    writer: Writer,
}

/// What the writer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Works,
    WaitsForAll,
    /// Records are held back: more of them are no news.
    WaitsForOperations,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Operations were taken, or the journal has more, or both.
    Work {
        /// Whether the journal is to be read.
        records: bool,
    },
    /// The queue is shut, and all is done that can be.
    Shut,
}

impl Queue {
    pub(super) fn new(journalled: u64) -> Self {
        Self { lines: Mutex::new(Lines { journalled, ..Lines::default() }), ..Self::default() }
    }

    /// Adds an operation; its permit is its place.
    pub(super) fn add(&self, waiting: Waiting) -> Result<(), StoreError> {
        let mut lines = self.lock();
        if lines.shut {
            return Err(StoreError::Closed);
        }
        lines.operations.push_back(waiting);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut lines.writer) != Writer::Works {
            drop(lines);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Tells the writer that the journal has synced so far.
    pub(super) fn journalled(&self, sequence: u64) {
        let mut lines = self.lock();
        lines.journalled = lines.journalled.max(sequence);
        if lines.writer == Writer::WaitsForAll {
            lines.writer = Writer::Works;
            drop(lines);
            self.arrived.notify_one();
        }
    }

    /// Waits until there is something to do and moves a commit's worth of operations to `group`, in order of
    /// arrival; half as much while records after `position` wait as well, so that neither starves the other. What
    /// nobody waits for any more is passed over. After a failure records are held back for a while, unless an operation
    /// comes and shows how things stand.
    pub(super) fn take(&self, group: &mut Vec<Waiting>, position: u64, hold: Option<Duration>) -> Taken {
        let mut lines = self.lock();
        loop {
            let records = lines.journalled > position;
            let passed_over = lines.take(group, if records { MARKS_MAX } else { COMMIT_OPERATIONS_MAX });
            self.waiting.fetch_sub(group.len() + passed_over, Ordering::Relaxed);
            if !group.is_empty() || (records && hold.is_none()) {
                return Taken::Work { records: records && hold.is_none() };
            }
            if passed_over > 0 {
                continue;
            }
            if lines.shut {
                // What cannot be applied stays in the journal.
                return Taken::Shut;
            }
            let Some(hold) = hold.filter(|_| records) else {
                lines.writer = Writer::WaitsForAll;
                lines = self.arrived.wait(lines).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            lines.writer = Writer::WaitsForOperations;
            let (held, timeout) =
                self.arrived.wait_timeout(lines, hold).unwrap_or_else(PoisonError::into_inner);
            lines = held;
            if timeout.timed_out() {
                return Taken::Work { records: true };
            }
        }
    }

    /// In a rush, lets records gather: each commit rewrites a page of every tree, however little it adds. Waits, not for
    /// long, until `enough` records wait after `position` or an operation comes; not at all where hardly any wait.
    pub(super) fn gather(&self, position: u64, enough: u64, no_longer_than: Duration) {
        let mut lines = self.lock();
        let waiting = |lines: &Lines| lines.journalled.saturating_sub(position);
        if waiting(&lines) < RUSH_RECORDS {
            return;
        }
        // In a few steps, so that the journal's thread need not wake this one for each of its syncs.
        for _ in 0..GATHER_STEPS {
            if waiting(&lines) >= enough || !lines.operations.is_empty() || lines.shut {
                return;
            }
            lines.writer = Writer::WaitsForOperations;
            let step = no_longer_than / GATHER_STEPS;
            let waited = self.arrived.wait_timeout(lines, step);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
            lines.writer = Writer::Works;
        }
    }

    /// Refuses what comes from now on. What is there already will still be written.
    pub(super) fn shut(&self) {
        self.lock().shut = true;
        self.arrived.notify_one();
    }

    /// Refuses what comes and forgets what is there; its callers learn that the store is shut.
    pub(super) fn abandon(&self) {
        let mut lines = self.lock();
        lines.shut = true;
        let abandoned = std::mem::take(&mut lines.operations);
        drop(lines);
        self.waiting.store(0, Ordering::Relaxed);
        self.arrived.notify_one();
        drop(abandoned);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Moves operations of so much weight, one at least. Says how many were passed over.
    fn take(&mut self, group: &mut Vec<Waiting>, most: usize) -> usize {
        let (mut weight, mut passed_over) = (0, 0);
        while let Some(next) = self.operations.front() {
            weight += next.operation.weight();
            if weight > most && !group.is_empty() {
                break;
            }
            let Some(next) = self.operations.pop_front() else { break };
            if next.answer.is_closed() && !next.operation.is_a_fact() {
                passed_over += 1;
            } else {
                group.push(next);
            }
        }
        passed_over
    }
}

impl Operation {
    /// Whether it tells what happened, so that it is written even if nobody waits any more to hear that it is.
    fn is_a_fact(&self) -> bool {
        matches!(self, Self::Settle(_) | Self::MarkOvertaken(_))
    }

    /// Whether it is somebody's word, or asks whether the disk can be trusted: it is synced before it is answered.
    /// Everything else is synced a moment later, and what the power takes with it is found out again.
    pub(super) fn is_a_word(&self) -> bool {
        match self {
            Self::Act(_)
            | Self::Pause(..)
            | Self::Release(_)
            | Self::DiscardQuarantined(_)
            | Self::EntryPut(_)
            | Self::EntryDelete(..)
            | Self::Probe => true,
            Self::Settle(_) | Self::MarkOvertaken(_) | Self::Prune(_) | Self::MoveKeys => false,
        }
    }

    pub(super) fn weight(&self) -> usize {
        match self {
            Self::MarkOvertaken(deliveries) => deliveries.len(),
            Self::Act(step) => step.deliveries.len(),
            Self::Release(release) => release.events.iter().map(|(_, to)| to.len().max(1)).sum(),
            Self::DiscardQuarantined(discard) => discard.events.len(),
            Self::Prune(pruning) => pruning.steps.len().max(1),
            _ => 1,
        }
    }
}
