//! What all destinations draw on together, so that none can take it all.
//!
//! **The promise:** whatever the others do, each has its minimum; all of them together have little more than the
//! total. Beyond its minimum each may have half of what nobody has. So the first takes a third at most and many
//! share evenly, and however many have taken what they may, something is left for who comes next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So much of something, for all together.
#[derive(Debug)]
pub(super) struct Common {
    total: usize,
    minimum: usize,
    taken: AtomicUsize,
}

/// One party's part of it. What it has is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    common: Arc<Common>,
    taken: usize,
}

impl Common {
    pub(super) fn new(total: usize, minimum: usize) -> Arc<Self> {
        Arc::new(Self { total, minimum, taken: AtomicUsize::new(0) })
    }

    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { common: self.clone(), taken: 0 }
    }
}

impl Share {
    /// How much it may have now, all that it has already included.
    pub(super) fn limit(&self) -> usize {
        let free = self.common.total.saturating_sub(self.common.taken.load(Ordering::Relaxed));
        (free / 2).max(self.common.minimum)
    }

    /// Says how much it has.
    pub(super) fn take(&mut self, taken: usize) {
        if taken > self.taken {
            self.common.taken.fetch_add(taken - self.taken, Ordering::Relaxed);
        } else {
            self.common.taken.fetch_sub(self.taken - taken, Ordering::Relaxed);
        }
        self.taken = taken;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.take(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes one more if that is allowed.
    fn grow(share: &mut Share) -> bool {
        let may = share.taken < share.limit();
        if may {
            share.take(share.taken + 1);
        }
        may
    }

    #[test]
    fn one_alone_has_much_and_many_have_the_same() {
        let common = Common::new(1_024, 4);
        let mut alone = common.share();
        while grow(&mut alone) {}
        assert!(alone.taken > 300, "{}", alone.taken);
        drop(alone);
        let mut many: Vec<Share> = (0..50).map(|_| common.share()).collect();
        while many.iter_mut().map(grow).filter(|grown| *grown).count() > 0 {}
        assert!(many.iter().all(|share| (18..=22).contains(&share.taken)), "{many:?}");
    }

    #[test]
    fn whoever_comes_last_has_its_minimum_and_all_together_little_more_than_the_total() {
        let common = Common::new(100, 4);
        let mut early: Vec<Share> = (0..20).map(|_| common.share()).collect();
        for share in &mut early {
            while grow(share) {}
        }
        let mut late = common.share();
        while grow(&mut late) {}
        assert_eq!(late.taken, 4);
        let taken = common.taken.load(Ordering::Relaxed);
        assert!(taken <= 100 + 21 * 4, "{taken}");
        drop((early, late));
        assert_eq!(common.taken.load(Ordering::Relaxed), 0);
    }
}
