//! How many attempts at once: more while all goes well, half when it does not.

use std::time::Duration;

use crate::dispatch::Moment;

/// Where a destination starts when nothing is known of it.
const START: usize = 4;
/// Failures closer together than this halve the limit once only: they tell of one moment.
const HALVE_ONCE_WITHIN: Duration = Duration::from_millis(500);

/// Additive increase, multiplicative decrease, between one and a maximum.
///
/// Every success adds one until the limit has once been halved; from then on it takes as many
/// successes as the limit to add one.
#[derive(Debug)]
pub struct Concurrency {
    limit: usize,
    max: usize,
    /// Below this the limit grows with every success.
    swift_below: usize,
    successes: usize,
    halved_at: Option<Moment>,
}

impl Concurrency {
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self { limit: START.min(max), max, swift_below: max, successes: 0, halved_at: None }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
        self.limit = self.limit.min(self.max);
        self.swift_below = self.swift_below.min(self.max);
    }

    pub(super) fn success(&mut self) {
        self.successes += 1;
        if self.limit < self.max && (self.limit < self.swift_below || self.successes >= self.limit) {
            self.limit += 1;
            self.successes = 0;
        }
    }

    pub(super) fn failure(&mut self, now: Moment) {
        if self.halved_at.is_some_and(|at| now < at + HALVE_ONCE_WITHIN) {
            return;
        }
        self.halved_at = Some(now);
        self.limit = (self.limit / 2).max(1);
        self.swift_below = self.limit;
        self.successes = 0;
    }

    /// After an outage: one attempt at a time, growing with every success up to where a new destination
    /// starts, and slowly from there.
    pub(super) fn restart(&mut self) {
        self.limit = 1;
        self.swift_below = START.min(self.max);
        self.successes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_grows_to_its_maximum_and_halves_once_for_one_bad_moment() {
        let mut concurrency = Concurrency::new(64);
        (0..100).for_each(|_| concurrency.success());
        assert_eq!(concurrency.limit(), 64);
        concurrency.failure(Duration::from_secs(1));
        concurrency.failure(Duration::from_millis(1_100));
        assert_eq!(concurrency.limit(), 32);
        concurrency.failure(Duration::from_secs(2));
        assert_eq!(concurrency.limit(), 16);
        (0..16).for_each(|_| concurrency.success());
        assert_eq!(concurrency.limit(), 17);
    }

    proptest! {
        #[test]
        fn it_stays_between_one_and_its_maximum(max in 0usize..100, ends in prop::collection::vec(any::<Option<bool>>(), 0..300)) {
            let mut concurrency = Concurrency::new(max);
            for (second, end) in ends.into_iter().enumerate() {
                match end {
                    Some(true) => concurrency.success(),
                    Some(false) => concurrency.failure(Duration::from_secs(second as u64)),
                    None => concurrency.restart(),
                }
                prop_assert!((1..=max.max(1)).contains(&concurrency.limit()));
            }
        }
    }
}
