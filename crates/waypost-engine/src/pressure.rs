//! Pressure: acceptance outranks delivery.
//!
//! Meta's patience is short and what is owed can wait, safely on disk. So while more requests wait to be
//! made durable than one quiet moment brings, each destination keeps only a few attempts under way; when
//! the rush is over, what was held back follows at full speed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use waypost_domain::limits::{ATTEMPTS_UNDER_PRESSURE, WAITING_HIGH};

/// How many requests wait to be made durable just now. Cheap to clone; all clones count together.
#[derive(Clone, Default, Debug)]
pub struct Pressure(Arc<AtomicUsize>);

/// One waiting request, for as long as it lives.
#[derive(Debug)]
pub struct Waiting(Arc<AtomicUsize>);

impl Pressure {
    /// One more request waits, until what is returned is dropped.
    pub fn wait(&self) -> Waiting {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiting(self.0.clone())
    }

    /// How many attempts a destination may have under way that may otherwise have `limit`.
    pub fn ease(&self, limit: usize) -> usize {
        if self.is_high() { limit.min(ATTEMPTS_UNDER_PRESSURE) } else { limit }
    }

    /// Whether there is a rush.
    pub fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= WAITING_HIGH
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rush_leaves_each_destination_a_few_attempts_and_passes() {
        let pressure = Pressure::default();
        assert_eq!(pressure.ease(64), 64);
        let rush: Vec<_> = (0..WAITING_HIGH).map(|_| pressure.wait()).collect();
        assert_eq!(pressure.ease(64), ATTEMPTS_UNDER_PRESSURE);
        assert_eq!(pressure.ease(1), 1);
        drop(rush);
        assert_eq!(pressure.ease(64), 64);
    }
}
