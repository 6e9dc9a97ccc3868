//! Threads that read, each on its own connection, apart from the writer. Every job is short.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::connection;
use super::fault::store_error;
use super::reading::Reading;
use super::recent::RecentKeys;
use crate::StoreError;

/// Reads that may wait for a thread; further callers wait for a place.
const READS_WAITING_MAX: usize = 1_024;

type Job = Box<dyn FnOnce(Result<&mut Reading<'_>, StoreError>) + Send>;

/// The reading threads and what waits for them.
pub(super) struct Readers {
    jobs: Arc<Jobs>,
    places: Semaphore,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Jobs {
    line: Mutex<Line>,
    arrived: Condvar,
}

#[derive(Default)]
struct Line {
    jobs: VecDeque<Job>,
    shut: bool,
}

impl Readers {
    pub(super) fn start(path: &Path, count: usize, recent: &Arc<RecentKeys>) -> std::io::Result<Self> {
        let jobs = Arc::new(Jobs::default());
        let readers = Self {
            jobs: Arc::clone(&jobs),
            places: Semaphore::new(READS_WAITING_MAX),
            threads: Mutex::default(),
        };
        for _ in 0..count.max(1) {
            let (jobs, path, recent) = (Arc::clone(&jobs), path.to_owned(), Arc::clone(recent));
            let thread = std::thread::Builder::new().name("store-read".into());
            let thread = thread.spawn(move || read(&jobs, &path, &recent))?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Has a thread do `job`. A caller that stops waiting leaves it undone, if it was not begun.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Reading<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _place = self.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reading| {
            if !answer.is_closed() {
                let _ = answer.send(reading.and_then(job));
            }
        });
        {
            let mut line = self.jobs.lock();
            if line.shut {
                return Err(StoreError::Closed);
            }
            line.jobs.push_back(job);
        }
        self.jobs.arrived.notify_one();
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Ends the threads after the jobs at hand; those that wait are told that the store is shut.
    pub(super) fn shut(&self) {
        let waiting = {
            let mut line = self.jobs.lock();
            line.shut = true;
            std::mem::take(&mut line.jobs)
        };
        drop(waiting);
        self.jobs.arrived.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        let mut line = self.lock();
        loop {
            if let Some(job) = line.jobs.pop_front() {
                return Some(job);
            }
            if line.shut {
                return None;
            }
            line = self.arrived.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A thread's life: a connection, and a new one after each failure that may lie with it.
fn read(jobs: &Jobs, path: &Path, recent: &Arc<RecentKeys>) {
    loop {
        let opened = connection::reader(path);
        let reading = opened.as_ref().map_err(|error| store_error(error, path));
        let reading = reading.and_then(|conn: &Connection| {
            Reading::new(conn, path, Arc::clone(recent)).map_err(|error| store_error(&error, path))
        });
        match reading {
            Ok(mut reading) => loop {
                let Some(job) = jobs.next() else { return };
                // A job that panics has told its caller by that; the thread goes on with a new connection.
                let calm = catch_unwind(AssertUnwindSafe(|| job(Ok(&mut reading)))).is_ok();
                if !calm || reading.failed() {
                    break;
                }
            },
            Err(error) => {
                let Some(job) = jobs.next() else { return };
                job(Err(error));
            }
        }
    }
}
