//! A warning that does not flood the log: said at once, then at most once in a while, with how often it was meant.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use waypost_domain::UnixMillis;

/// How long it stays quiet.
const QUIET_MS: i64 = 10_000;

/// When it was last said, and how often it has been held back since.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    /// 0 for never.
    said_at: AtomicI64,
    held_back: AtomicU64,
}

impl Quiet {
    /// Whether it is to be said now: then how many times it stands for, this one included.
    pub(crate) fn is_due(&self, now: UnixMillis) -> Option<u64> {
        let said_at = self.said_at.load(Ordering::Relaxed);
        let is_quiet = said_at != 0 && (said_at..said_at.saturating_add(QUIET_MS)).contains(&now.0);
        let is_ours =
            || self.said_at.compare_exchange(said_at, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_quiet || !is_ours() {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.held_back.swap(0, Ordering::Relaxed) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_once_and_then_once_in_a_while_with_all_it_stands_for() {
        let quiet = Quiet::default();
        assert_eq!(quiet.is_due(UnixMillis(5_000)), Some(1));
        for at in 5_001..5_100 {
            assert_eq!(quiet.is_due(UnixMillis(at)), None);
        }
        assert_eq!(quiet.is_due(UnixMillis(15_000)), Some(100));
        assert_eq!(quiet.is_due(UnixMillis(15_001)), None);
        assert_eq!(quiet.is_due(UnixMillis(1_000)), Some(2), "a clock that was set back does not silence it");
    }
}
