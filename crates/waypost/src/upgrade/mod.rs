//! Upgrading: another process of ours goes on in our place, and nobody who calls notices.
//!
//! ```text
//!   this process                                     its successor
//!   starts the program on disk ────────────────────► takes the sockets, reads the configuration,
//!   serves on                  ◄──── prepared ──────  checks whatever needs no store
//!   delivers no more; settles what is under way
//!   holds what is to be kept, closes the store ─────► opens it, serves
//!                              ◄──── ready ─────────
//!   passes on what it held, and what its connections
//!   still bring; ends with the last of them
//! ```
//!
//! Both accept from the same sockets in between, so that no connection is refused or reset. Until the store is to be closed a
//! successor that fails changes nothing. From there on somebody must go on: if it fails then, this program itself, as it was
//! started, becomes the successor. If it is this process that dies, the successor does not wait for its word.

mod channel;
mod conduct;
mod doors;
mod late;
mod predecessor;
mod program;
mod successor;
mod turnstile;

use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

pub(crate) use channel::Channel;
pub(crate) use conduct::hand_over;
pub(crate) use doors::{Doors, OpenDoors};
pub(crate) use late::{Late, receive};
pub(crate) use predecessor::{LEFT_BEHIND_TIME_MAX, Predecessor, Store};
pub(crate) use program::Program;
pub(crate) use successor::Successor;
pub(crate) use turnstile::Turnstile;

/// How long a successor may take until it is prepared.
const PREPARE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long it may take from the store's closing until it serves: whoever calls meanwhile waits.
const OPEN_TIME_MAX: Duration = Duration::from_secs(20);
/// Upgrades that are asked for while one is under way.
const ASKED_MAX: usize = 4;

/// Why a successor did not come.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// This process is not one that can be succeeded.
    #[error("this process cannot hand over to another: {0}")]
    NotPossible(&'static str),
    /// An upgrade is under way.
    #[error("an upgrade is under way already")]
    UnderWay,
    /// The program cannot be started.
    #[error("{path} cannot be started: {reason}")]
    NotStarted {
        /// The program.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It said why it does not go on.
    #[error("the new process refused: {0}")]
    Refused(String),
    /// It ended without saying why.
    #[error("the new process ended before it was ready ({0}); what it said is in the log")]
    Ended(String),
    /// It took too long.
    #[error("the new process was not ready within {} s", .0.as_secs())]
    TooSlow(Duration),
    /// It could not be spoken to.
    #[error("the new process could not be spoken to: {0}")]
    Broken(String),
}

/// A successor that is prepared.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Prepared {
    /// Its process id.
    pub(crate) process: u32,
    /// The version of its program.
    pub(crate) version: String,
}

/// Somebody asks for an upgrade, and waits until the successor is prepared or has failed.
pub(crate) type Asked = oneshot::Sender<Result<Prepared, UpgradeError>>;

/// Asks for upgrades. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upgrades(mpsc::Sender<Asked>);

impl Upgrades {
    /// What asks, and where it is heard.
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (asking, asked) = mpsc::channel(ASKED_MAX);
        (Self(asking), asked)
    }

    /// Asks for an upgrade; how it went until the successor is prepared.
    ///
    /// # Errors
    ///
    /// When it is not prepared. Then nothing has changed.
    pub(crate) async fn ask(&self) -> Result<Prepared, UpgradeError> {
        let (answer, answered) = oneshot::channel();
        match self.0.try_send(answer) {
            Ok(()) => answered.await.unwrap_or(Err(UpgradeError::NotPossible("it is stopping"))),
            Err(mpsc::error::TrySendError::Full(_)) => Err(UpgradeError::UnderWay),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(UpgradeError::NotPossible("it is stopping, or was not started by `waypost serve`"))
            }
        }
    }
}
