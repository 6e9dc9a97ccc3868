//! How many may read at once, and how many may make up their minds.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admin::Problem;

/// Connections that read the stream at once, over all listeners.
pub(crate) const READERS_MAX: usize = 10_000;
/// Connections at once that have not shown a token yet.
const STRANGERS_MAX: usize = 500;

/// The room for readers.
pub(super) struct Readers {
    proved: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// One reader's place, given back when it is dropped.
pub(super) type Seat = OwnedSemaphorePermit;

impl Default for Readers {
    fn default() -> Self {
        let room = |size| Arc::new(Semaphore::new(size));
        Self { proved: room(READERS_MAX), strangers: room(STRANGERS_MAX) }
    }
}

impl Readers {
    /// A place for one who may read.
    ///
    /// # Errors
    ///
    /// When there is none left.
    pub(super) fn seat(&self) -> Result<Seat, Problem> {
        self.proved.clone().try_acquire_owned().map_err(|_| full())
    }

    /// A place for one who has yet to show a token: they cannot take the places of those who have.
    ///
    /// # Errors
    ///
    /// When there is none left.
    pub(super) fn waiting_room(&self) -> Result<Seat, Problem> {
        self.strangers.clone().try_acquire_owned().map_err(|_| full())
    }
}

fn full() -> Problem {
    let detail = "as many read the stream already as may; come back later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "readers_too_many", detail)
}
