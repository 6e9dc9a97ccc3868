//! The thread that writes the journal: everything that waits goes into one write and one sync, then all are answered.
//!
//! After a write or a sync that failed, what the disk has of the segment's end is not known, and asking again would not
//! tell (a second fdatasync may succeed though the first one's pages are lost): the callers are refused, the segment is
//! left for good, and the next one is begun with the same numbers.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::line::Waiting;
use super::{Journal, ROOM_WAIT_MAX};
use crate::StoreError;
use crate::sqlite::budget::free_bytes;
use crate::sqlite::fault::{io_error, nearly_full};
use crate::sqlite::gauges::Gauges;
use crate::sqlite::queue::Queue;

/// What part of the free space one new segment may take, at most: the database needs more of it than the journal.
const FREE_PART: u64 = 8;
/// What the buffer for writing keeps of its room.
const BUFFER_KEPT_BYTES: usize = 1024 * 1024;

pub(in super::super) struct Appender {
    pub(in super::super) journal: Arc<Journal>,
    /// Where the writer waits.
    pub(in super::super) queue: Arc<Queue>,
    pub(in super::super) gauges: Arc<Gauges>,
}

impl Appender {
    pub(in super::super) fn run(self) {
        let _last_words = LastWords(Arc::clone(&self.journal));
        let (mut group, mut buffer) = (Vec::new(), Vec::new());
        while self.journal.line.take(&mut group) {
            self.keep(&mut group, &mut buffer);
        }
    }

    /// Keeps and answers the whole group.
    fn keep(&self, group: &mut Vec<Waiting>, buffer: &mut Vec<u8>) {
        while let Some(first) = group.first() {
            let kept =
                self.room_for(first.draft.size() as u64).and_then(|room| self.append(group, room, buffer));
            match kept {
                Ok(count) => {
                    for waiting in group.drain(..count) {
                        // Whoever stopped waiting will find in the store what was done.
                        let _ = waiting.kept.send(Ok(()));
                    }
                    self.gauges.journal_is(true);
                    self.queue.journalled(self.journal.synced());
                }
                Err(error) => {
                    if !matches!(error, StoreError::Busy) && self.gauges.journal_is(false) {
                        tracing::error!(%error, "the journal cannot be written: nothing new is accepted");
                    }
                    for waiting in group.drain(..) {
                        let _ = waiting.kept.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Finds room for a record in the segment at hand or in a new one, and says how much there is.
    fn room_for(&self, size: u64) -> Result<u64, StoreError> {
        let journal = &*self.journal;
        let mut shelf = journal.shelf();
        if let Some(writing) = shelf.writing() {
            let room = writing.bytes.saturating_sub(writing.end);
            if room >= size {
                return Ok(room);
            }
        }
        shelf.leave(false);
        super::remove(shelf.let_go(journal.durable.load(Ordering::Acquire)));
        let mut waited = Duration::ZERO;
        while !shelf.has_room() {
            if let Some(error) = journal.stuck() {
                return Err(error);
            }
            if waited >= ROOM_WAIT_MAX {
                return Err(StoreError::Busy);
            }
            self.gauges.wake_checkpointer();
            let (held, timeout) =
                journal.changed.wait_timeout(shelf, ROOM_WAIT_STEP).unwrap_or_else(PoisonError::into_inner);
            shelf = held;
            if timeout.timed_out() {
                waited += ROOM_WAIT_STEP;
            }
        }
        let full = journal.stuck().filter(|error| matches!(error, StoreError::Full));
        if let Some(error) = full.filter(|_| !shelf.has_spare_for(size)) {
            // What is free, and what becomes free, is for the database, which makes room here by applying.
            return Err(error);
        }
        let path = shelf.path().to_owned();
        let making = shelf.make(size, free_bytes(&path) / FREE_PART);
        drop(shelf);
        #[cfg(test)]
        journal.faults.make().map_err(|error| io_error(&error))?;
        let made = making.run(journal.synced()).map_err(|error| match io_error(&error) {
            StoreError::Disk(_) if nearly_full(&path) => StoreError::Full,
            error => error,
        })?;
        let room = made.bytes;
        journal.shelf().made(made);
        Ok(room)
    }

    /// Appends as much of the group as there is room for, and syncs it. Says how many that were.
    fn append(&self, group: &mut [Waiting], room: u64, buffer: &mut Vec<u8>) -> Result<usize, StoreError> {
        let journal = &*self.journal;
        let (file, number, end) = {
            let mut shelf = journal.shelf();
            let Some(writing) = shelf.writing() else { return Err(StoreError::Closed) };
            (Arc::clone(&writing.file), writing.number, writing.end)
        };
        let synced = journal.synced();
        let (mut count, mut last) = (0, synced);
        buffer.clear();
        for waiting in &*group {
            if (buffer.len() + waiting.draft.size()) as u64 > room {
                break;
            }
            (count, last) = (count + 1, last + 1);
            waiting.draft.write(buffer, last, number, journal.stamp);
        }
        let written = file.write_all_at(buffer, end);
        #[cfg(test)]
        let written = written.and_then(|()| journal.faults.write());
        let kept = written.and_then(|()| file.sync_data());
        #[cfg(test)]
        let kept = kept.and_then(|()| journal.faults.sync());
        let size = buffer.len() as u64;
        buffer.clear();
        buffer.shrink_to(BUFFER_KEPT_BYTES);
        if let Err(error) = kept {
            journal.shelf().leave(true);
            return Err(io_error(&error));
        }
        for (sequence, waiting) in (synced + 1..).zip(&mut group[..count]) {
            if let Some(told) = waiting.applied.take() {
                journal.tell(sequence, told);
            }
        }
        let mut shelf = journal.shelf();
        if let Some(writing) = shelf.writing() {
            (writing.last, writing.end) = (last, end + size);
        }
        drop(shelf);
        journal.synced.store(last, Ordering::Release);
        Ok(count)
    }
}

/// In which steps the wait for room is cut, so that a word that was missed costs no more.
const ROOM_WAIT_STEP: Duration = Duration::from_millis(100);
const _: () = assert!(ROOM_WAIT_STEP.as_millis() < ROOM_WAIT_MAX.as_millis());

/// However the thread ends, nobody waits for it in vain.
struct LastWords(Arc<Journal>);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.line.abandon();
    }
}
