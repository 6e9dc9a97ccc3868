//! What waits for the writer: bounded by count and bytes, and refused rather than blocked on.
//!
//! Accepts wait in one line and everything else in another, so that a flood of accepts refuses accepts
//! and never a settlement. Whoever adds to the other line holds a permit, which bounds it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use waypost_domain::limits::{COMMIT_BYTES_MAX, COMMIT_OPERATIONS_MAX};
use waypost_domain::{DeliveryId, EventId};

use super::acts::{Step, Stepped};
use super::identity::Identity;
use super::prune::Pruning;
use crate::{
    Accept, Accepted, ActKind, DiscardQuarantined, EntryKind, EntryRecord, Pause, Release, Released,
    Settlement, StoreError,
};

/// Something to be written.
pub(super) enum Operation {
    Accept(Box<Accept>, Vec<Identity>),
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
    Accepted(Accepted),
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

pub(super) struct Queue {
    lines: Mutex<Lines>,
    arrived: Condvar,
    waiting: AtomicUsize,
    accepts_max: usize,
    accept_bytes_max: usize,
}

#[derive(Default)]
struct Lines {
    accepts: VecDeque<Waiting>,
    accept_bytes: usize,
    others: VecDeque<Waiting>,
    shut: bool,
    writer_sleeps: bool,
}

impl Queue {
    pub(super) fn new(accepts_max: usize, accept_bytes_max: usize) -> Self {
        Self {
            lines: Mutex::default(),
            arrived: Condvar::new(),
            waiting: AtomicUsize::new(0),
            accepts_max,
            accept_bytes_max,
        }
    }

    /// Adds an accept, or refuses it at once. One that alone is over the limit is let in when nothing waits.
    pub(super) fn add_accept(&self, waiting: Waiting) -> Result<(), StoreError> {
        let bytes = waiting.operation.bytes();
        let mut lines = self.lock();
        if lines.shut {
            return Err(StoreError::Closed);
        }
        let full = lines.accepts.len() >= self.accepts_max
            || (lines.accept_bytes > 0 && lines.accept_bytes + bytes > self.accept_bytes_max);
        if full {
            return Err(StoreError::Busy);
        }
        lines.accept_bytes += bytes;
        lines.accepts.push_back(waiting);
        self.wake(lines);
        Ok(())
    }

    /// Adds anything else; its permit is its place.
    pub(super) fn add_other(&self, waiting: Waiting) -> Result<(), StoreError> {
        let mut lines = self.lock();
        if lines.shut {
            return Err(StoreError::Closed);
        }
        lines.others.push_back(waiting);
        self.wake(lines);
        Ok(())
    }

    fn wake(&self, mut lines: MutexGuard<'_, Lines>) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut lines.writer_sleeps) {
            drop(lines);
            self.arrived.notify_one();
        }
    }

    /// Waits until something is there and moves a commit's worth of it to `group`, in order of arrival within
    /// each line. What nobody waits for any more is passed over. False once the queue is shut and empty.
    pub(super) fn take(&self, group: &mut Vec<Waiting>) -> bool {
        let mut lines = self.lock();
        loop {
            let mut passed_over = 0;
            lines.take_others(group, &mut passed_over);
            lines.take_accepts(group, &mut passed_over);
            self.waiting.fetch_sub(group.len() + passed_over, Ordering::Relaxed);
            if !group.is_empty() {
                return true;
            }
            if passed_over > 0 {
                continue;
            }
            if lines.shut {
                return false;
            }
            lines.writer_sleeps = true;
            lines = self.arrived.wait(lines).unwrap_or_else(PoisonError::into_inner);
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
        let abandoned = (std::mem::take(&mut lines.accepts), std::mem::take(&mut lines.others));
        lines.accept_bytes = 0;
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
    /// At most half a commit while accepts wait, so that neither line starves the other.
    fn take_others(&mut self, group: &mut Vec<Waiting>, passed_over: &mut usize) {
        let most = if self.accepts.is_empty() { COMMIT_OPERATIONS_MAX } else { COMMIT_OPERATIONS_MAX / 2 };
        let mut weight = 0;
        while let Some(next) = self.others.front() {
            weight += next.operation.weight();
            if weight > most && !group.is_empty() {
                break;
            }
            let Some(next) = self.others.pop_front() else { break };
            if next.answer.is_closed() && !next.operation.is_a_fact() {
                *passed_over += 1;
            } else {
                group.push(next);
            }
        }
    }

    fn take_accepts(&mut self, group: &mut Vec<Waiting>, passed_over: &mut usize) {
        let mut weight: usize = group.iter().map(|waiting| waiting.operation.weight()).sum();
        let mut bytes_taken = 0;
        while let Some(next) = self.accepts.front() {
            let bytes = next.operation.bytes();
            weight += 1;
            bytes_taken += bytes;
            if (weight > COMMIT_OPERATIONS_MAX || bytes_taken > COMMIT_BYTES_MAX) && !group.is_empty() {
                break;
            }
            let Some(next) = self.accepts.pop_front() else { break };
            self.accept_bytes -= bytes;
            if next.answer.is_closed() {
                *passed_over += 1;
                bytes_taken -= bytes;
            } else {
                group.push(next);
            }
        }
    }
}

impl Operation {
    fn bytes(&self) -> usize {
        match self {
            Self::Accept(accept, _) => {
                accept.body.len() + accept.headers.as_bytes().len() + accept.target.len()
            }
            _ => 0,
        }
    }

    /// Whether it tells what happened, so that it is written even if nobody waits any more to hear that it is.
    fn is_a_fact(&self) -> bool {
        matches!(self, Self::Settle(_) | Self::MarkOvertaken(_))
    }

    fn weight(&self) -> usize {
        match self {
            // A body of thousands of events is as much work as thousands of requests.
            Self::Accept(accept, _) => accept.events.len().max(accept.deliveries.len()).max(1),
            Self::MarkOvertaken(deliveries) => deliveries.len(),
            Self::Act(step) => step.deliveries.len(),
            Self::Release(release) => release.events.iter().map(|(_, to)| to.len().max(1)).sum(),
            Self::DiscardQuarantined(discard) => discard.events.len(),
            Self::Prune(pruning) => pruning.steps.len().max(1),
            _ => 1,
        }
    }
}
