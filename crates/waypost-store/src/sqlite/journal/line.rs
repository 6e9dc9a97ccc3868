//! Accepts that wait for the journal: bounded by count and bytes, and refused rather than blocked on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use waypost_domain::limits::COMMIT_BYTES_MAX;

use super::record::Draft;
use crate::{Accepted, StoreError};

/// What became of an accept that somebody waits for to the end.
pub(in super::super) type Told = oneshot::Sender<Result<Accepted, StoreError>>;

/// An accept, written down, and who waits for it.
pub(in super::super) struct Waiting {
    pub(in super::super) draft: Draft,
    /// Told once it is on disk, or refused.
    pub(in super::super) kept: oneshot::Sender<Result<(), StoreError>>,
    /// Told once it has its place in the ledger.
    pub(in super::super) applied: Option<Told>,
}

pub(super) struct Line {
    held: Mutex<Held>,
    arrived: Condvar,
    waiting: AtomicUsize,
    count_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Held {
    accepts: VecDeque<Waiting>,
    bytes: usize,
    shut: bool,
    appender_sleeps: bool,
}

impl Line {
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        let waiting = AtomicUsize::new(0);
        Self { held: Mutex::default(), arrived: Condvar::new(), waiting, count_max, bytes_max }
    }

    /// Adds an accept, or refuses it at once. One that alone is over the limit is let in when nothing waits.
    pub(super) fn add(&self, accept: Waiting) -> Result<(), StoreError> {
        let bytes = accept.draft.size();
        let mut held = self.lock();
        if held.shut {
            return Err(StoreError::Closed);
        }
        let full =
            held.accepts.len() >= self.count_max || (held.bytes > 0 && held.bytes + bytes > self.bytes_max);
        if full {
            return Err(StoreError::Busy);
        }
        held.bytes += bytes;
        held.accepts.push_back(accept);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if std::mem::take(&mut held.appender_sleeps) {
            drop(held);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until something is there and moves what one sync may take along to `group`, in order. What nobody
    /// waits for any more is passed over. False once the line is shut and empty.
    pub(super) fn take(&self, group: &mut Vec<Waiting>) -> bool {
        let mut held = self.lock();
        loop {
            let mut bytes = 0;
            let mut taken = 0;
            while let Some(next) = held.accepts.front() {
                let size = next.draft.size();
                if bytes + size > COMMIT_BYTES_MAX && !group.is_empty() {
                    break;
                }
                let Some(next) = held.accepts.pop_front() else { break };
                taken += 1;
                held.bytes -= size;
                if !next.kept.is_closed() {
                    bytes += size;
                    group.push(next);
                }
            }
            self.waiting.fetch_sub(taken, Ordering::Relaxed);
            if !group.is_empty() {
                return true;
            }
            if held.shut && held.accepts.is_empty() {
                return false;
            }
            held.appender_sleeps = true;
            held = self.arrived.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses what comes from now on. What is there already is still taken.
    pub(super) fn shut(&self) {
        self.lock().shut = true;
        self.arrived.notify_one();
    }

    /// Refuses what comes and forgets what is there; its callers learn that the store is shut.
    pub(super) fn abandon(&self) {
        let mut held = self.lock();
        held.shut = true;
        held.bytes = 0;
        let abandoned = std::mem::take(&mut held.accepts);
        drop(held);
        self.waiting.store(0, Ordering::Relaxed);
        self.arrived.notify_one();
        drop(abandoned);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
