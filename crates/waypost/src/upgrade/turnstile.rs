//! The way to the store, through which whatever is to be kept passes: open, held for a moment, or leading to a successor.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, Semaphore, watch};
use waypost_engine::intake::Arrival;

use super::channel::Channel;
use super::late::{Late, Passage};
use super::{OPEN_TIME_MAX, PREPARE_TIME_MAX};

/// What may wait to be passed on, or be under way to a successor, in bytes.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The measure in which that is shared out.
const SHARE_BYTES: usize = 1024;
/// How long it may wait: a successor may fail, and another be started.
const HELD_TIME_MAX: Duration = Duration::from_secs(2 * OPEN_TIME_MAX.as_secs() + PREPARE_TIME_MAX.as_secs());

/// Lets pass, holds, or leads on.
pub(crate) struct Turnstile {
    passing: Arc<RwLock<()>>,
    onward: watch::Sender<Onward>,
    shares: Semaphore,
}

/// Where what does not pass goes.
#[derive(Clone, Default)]
enum Onward {
    /// Nobody knows yet.
    #[default]
    Unknown,
    /// To a successor.
    To(Passage),
    /// There will be none.
    Nowhere,
}

/// What kept an arrival from being kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPassed {
    /// Too much waits already.
    #[error("too much waits for an upgrade to end")]
    TooMuch,
    /// The successor did not keep it, or there is none.
    #[error("this process no longer keeps anything, and its successor did not take it")]
    NotTaken,
}

impl Turnstile {
    /// Open.
    pub(crate) fn new() -> Self {
        Self {
            passing: Arc::default(),
            onward: watch::Sender::default(),
            shares: Semaphore::new(HELD_BYTES_MAX / SHARE_BYTES),
        }
    }

    /// A pass, for as long as it is held; none once the way is closed.
    pub(crate) fn pass(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.passing.try_read().ok()
    }

    /// Closes the way, and waits until whoever passed is through.
    pub(super) async fn close(&self) -> Closed {
        Closed { _nobody_passes: self.passing.clone().write_owned().await }
    }

    /// From here on everything goes to this successor.
    pub(super) fn lead_to(&self, channel: Channel) {
        self.onward.send_replace(Onward::To(Passage::open(channel)));
    }

    /// There is no successor, and will be none.
    pub(super) fn lead_nowhere(&self) {
        self.onward.send_replace(Onward::Nowhere);
    }

    /// Waits until the successor that everything went to is gone.
    pub(super) async fn successor_gone(&self) {
        let passage = match &*self.onward.borrow() {
            Onward::To(passage) => passage.clone(),
            _ => return,
        };
        passage.ended().await;
    }

    /// Keeps what did not pass, where there is somebody to keep it.
    ///
    /// # Errors
    ///
    /// When it was not kept.
    pub(crate) async fn pass_on(&self, arrival: &Arrival) -> Result<(), NotPassed> {
        let late = Late::of(arrival);
        let shares = u32::try_from(late.len() / SHARE_BYTES + 1).map_err(|_| NotPassed::TooMuch)?;
        let _share = self.shares.try_acquire_many(shares).map_err(|_| NotPassed::TooMuch)?;
        let mut onward = self.onward.subscribe();
        let known =
            tokio::time::timeout(HELD_TIME_MAX, onward.wait_for(|onward| !matches!(onward, Onward::Unknown)));
        let passage = match known.await {
            Ok(Ok(onward)) => match &*onward {
                Onward::To(passage) => passage.clone(),
                _ => return Err(NotPassed::NotTaken),
            },
            _ => return Err(NotPassed::NotTaken),
        };
        if passage.take(late).await { Ok(()) } else { Err(NotPassed::NotTaken) }
    }
}

impl NotPassed {
    /// Its stable code: those of a store that cannot keep it either.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::TooMuch => "store_busy",
            Self::NotTaken => "store_closed",
        }
    }
}

/// The way is closed for as long as this is held.
pub(super) struct Closed {
    _nobody_passes: OwnedRwLockWriteGuard<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_closes_once_whoever_passed_is_through_and_nobody_passes_meanwhile() {
        let turnstile = Turnstile::new();
        let pass = turnstile.pass().expect("it is open");
        let mut closing = std::pin::pin!(turnstile.close());
        let early = tokio::time::timeout(Duration::from_millis(20), closing.as_mut()).await;
        assert!(early.is_err(), "it closed in somebody's face");
        assert!(turnstile.pass().is_none());
        drop(pass);
        let _closed = closing.await;
        assert!(turnstile.pass().is_none());
    }
}
