//! The process that is to go on in our place, seen from here.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::timeout;
use waypost_edge::handover;

use super::channel::{Channel, ToPredecessor, ToSuccessor};
use super::doors::OpenDoors;
use super::program::{Edition, Program};
use super::{OPEN_TIME_MAX, PREPARE_TIME_MAX, Prepared, UpgradeError};

/// A successor. Dropped before it is let go, it is killed.
pub(crate) struct Successor {
    process: Mortal,
    /// What it is called.
    pub(crate) prepared: Prepared,
    channel: Channel,
}

/// A process that dies with this, unless it is spared.
struct Mortal {
    child: Child,
    is_spared: bool,
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if !self.is_spared {
            let _ = self.child.start_kill();
        }
    }
}

impl Successor {
    /// Starts what stands on disk, hands it the sockets, and waits until it is prepared.
    ///
    /// # Errors
    ///
    /// When it is not. Then nothing of it is left.
    pub(crate) async fn prepare(program: &Program, doors: &OpenDoors) -> Result<Self, UpgradeError> {
        Self::prepare_edition(program, Edition::OnDisk, doors).await
    }

    /// The same with what this process runs.
    pub(super) async fn prepare_former(program: &Program, doors: &OpenDoors) -> Result<Self, UpgradeError> {
        Self::prepare_edition(program, Edition::Running, doors).await
    }

    async fn prepare_edition(
        program: &Program,
        edition: Edition,
        doors: &OpenDoors,
    ) -> Result<Self, UpgradeError> {
        let broken = |error: std::io::Error| UpgradeError::Broken(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(broken)?;
        let child = program.start(edition, theirs.into()).map_err(|error| UpgradeError::NotStarted {
            path: program.path(edition).display().to_string(),
            reason: error.to_string(),
        })?;
        let process = child.id().unwrap_or_default();
        let channel = Channel::new(ours.try_clone().map_err(broken)?).map_err(broken)?;
        let prepared = Prepared { process, version: String::new() };
        let mut successor = Self { process: Mortal { child, is_spared: false }, prepared, channel };
        // A socket pair's buffer is far larger than this.
        let handed = handover::give(&ours, &doors.sockets()).map_err(broken);
        drop(ours);
        let said = match handed {
            Ok(()) => successor.channel.say(&ToSuccessor::Doors(doors.purposes())).await.map_err(broken),
            Err(error) => Err(error),
        };
        match (said, successor.hears(PREPARE_TIME_MAX).await?) {
            (Ok(()), ToPredecessor::Prepared { version }) => successor.prepared.version = version,
            (Err(error), _) => return Err(error),
            _ => return Err(UpgradeError::Broken("it said something out of turn".to_owned())),
        }
        Ok(successor)
    }

    /// Waits until it ends or says why it does not go on: neither is to be expected of one that is prepared.
    pub(super) async fn failed(&mut self) -> UpgradeError {
        match self.heard().await {
            Ok(_) => UpgradeError::Broken("it said something out of turn".to_owned()),
            Err(error) => error,
        }
    }

    /// Tells it that the store is closed, and waits until it serves.
    pub(super) async fn open(&mut self) -> Result<(), UpgradeError> {
        // Where it is no longer there, it is not heard of either.
        let _ = self.channel.say(&ToSuccessor::Open).await;
        match self.hears(OPEN_TIME_MAX).await? {
            ToPredecessor::Ready => Ok(()),
            _ => Err(UpgradeError::Broken("it said something out of turn".to_owned())),
        }
    }

    /// Lets it go on by itself; what leads to it.
    pub(super) fn let_go(mut self) -> Channel {
        self.process.is_spared = true;
        self.channel
    }

    /// Makes an end of it, and waits for that: nothing of it may hold the store any more.
    pub(super) async fn kill(mut self) {
        let _ = self.process.child.kill().await;
    }

    async fn hears(&mut self, time_max: Duration) -> Result<ToPredecessor, UpgradeError> {
        timeout(time_max, self.heard()).await.unwrap_or(Err(UpgradeError::TooSlow(time_max)))
    }

    async fn heard(&mut self) -> Result<ToPredecessor, UpgradeError> {
        match self.channel.hear().await {
            Ok(Some(ToPredecessor::Refused(why))) => Err(UpgradeError::Refused(why)),
            Ok(Some(said)) => Ok(said),
            Ok(None) | Err(_) => {
                let ended = timeout(Duration::from_secs(1), self.process.child.wait()).await;
                let how = ended.ok().and_then(Result::ok).map(|status| status.to_string());
                Err(UpgradeError::Ended(how.unwrap_or_else(|| "it hung up".to_owned())))
            }
        }
    }
}
