//! The process that we are to succeed, seen from here.

use std::fs::File;
use std::io::{self, stdin};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, getppid};
use rustix::stdio::dup2_stdin;
use waypost_edge::handover;

use super::channel::{Channel, ToPredecessor, ToSuccessor};
use super::doors::Doors;
use super::{PREPARE_TIME_MAX, program};

/// The process that started us to go on in its place.
pub(crate) struct Predecessor(Channel);

/// Whether a store may be opened that somebody else may still be letting go of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Store {
    /// It was closed.
    Closed,
    /// Whoever had it has died: the system lets go of it in this moment.
    LeftBehind,
}

impl Predecessor {
    /// The one at the other end of the standard input, and the sockets that it hands over; none where this process was started
    /// in the ordinary way.
    ///
    /// # Errors
    ///
    /// When it hands over nothing that can be used.
    pub(crate) async fn at_standard_input() -> anyhow::Result<Option<(Self, Doors)>> {
        let named = std::env::var(program::VARIABLE).ok().and_then(|number| number.parse().ok());
        if named.is_none() || named.and_then(Pid::from_raw) != getppid() {
            return Ok(None);
        }
        let stream = take_standard_input().context("the former process cannot be spoken to")?;
        stream.set_read_timeout(Some(PREPARE_TIME_MAX))?;
        let sockets = handover::take(&stream).context("the former process hands over no sockets")?;
        let mut channel = Channel::new(stream)?;
        let Some(ToSuccessor::Doors(purposes)) = channel.hear().await? else {
            bail!("the former process does not say what its sockets are for");
        };
        if purposes.len() != sockets.len() {
            return Err(anyhow!("the former process hands over other sockets than it says"));
        }
        Ok(Some((Self(channel), Doors::handed(purposes.into_iter().zip(sockets).collect()))))
    }

    /// Says why we do not go on.
    pub(crate) async fn refuse(&mut self, why: &str) {
        let _ = self.0.say(&ToPredecessor::Refused(why.to_owned())).await;
    }

    /// Says that all is in place but the store, and waits until that is ours.
    pub(crate) async fn store(&mut self) -> Store {
        let prepared = ToPredecessor::Prepared { version: env!("CARGO_PKG_VERSION").to_owned() };
        // Whatever goes wrong here, the other process is no longer there.
        let _ = self.0.say(&prepared).await;
        match self.0.hear().await {
            Ok(Some(ToSuccessor::Open)) => Store::Closed,
            _ => {
                tracing::warn!("the former process has died; going on without its word");
                Store::LeftBehind
            }
        }
    }

    /// Says that we serve. What it still has to keep comes over what is returned.
    pub(crate) async fn ready(mut self) -> Channel {
        let _ = self.0.say(&ToPredecessor::Ready).await;
        self.0
    }
}

/// The standard input, which is then empty for everybody else.
fn take_standard_input() -> io::Result<UnixStream> {
    let taken: OwnedFd = stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(UnixStream::from(taken))
}

/// How long the system may take to let go of what a dead process held.
pub(crate) const LEFT_BEHIND_TIME_MAX: Duration = Duration::from_secs(5);
