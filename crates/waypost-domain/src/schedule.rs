//! When to try again.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::UnixMillis;

/// The waits between attempts at one delivery, and for how long to go on.
///
/// The first attempt is at once. After the n-th failed attempt the n-th step is waited, the last
/// step over and over, each made up to a tenth longer so that what failed together does not return
/// together. No attempt is planned later than `give_up_after` from acceptance: what fails then is
/// dead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetrySchedule {
    /// Shared: there are thousands of destinations, and nearly all of them keep to the same.
    steps: Arc<[Duration]>,
    give_up_after: Duration,
}

impl RetrySchedule {
    /// A schedule of at least one step, each at least a second.
    pub fn new(steps: Vec<Duration>, give_up_after: Duration) -> Result<Self, ScheduleError> {
        if steps.is_empty() {
            return Err(ScheduleError::NoSteps);
        }
        if steps.iter().any(|step| *step < Duration::from_secs(1)) {
            return Err(ScheduleError::StepTooShort);
        }
        Ok(Self { steps: steps.into(), give_up_after })
    }

    /// The same waits, given up after another time.
    #[must_use]
    pub fn giving_up_after(self, give_up_after: Duration) -> Self {
        Self { give_up_after, ..self }
    }

    /// How long after acceptance the last attempt may be.
    pub fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    /// Whether what was accepted then is to be given up when it fails at `now`, even in a probe.
    pub fn is_used_up(&self, accepted_at: UnixMillis, now: UnixMillis) -> bool {
        now > accepted_at.plus(self.give_up_after)
    }

    /// The longest that it can say to wait after so many failed tries.
    pub fn wait_max(&self, attempts: u32) -> Duration {
        let wait = self.step(attempts).max(crate::limits::RETRY_AFTER_MAX);
        wait.saturating_add(wait / 10).min(self.give_up_after)
    }

    /// When to try again after `attempts` failed tries (at least one), the last of which ended at `now`;
    /// `None` to give up. `not_before` is what the receiver asked for. `seed` spreads deliveries: the same
    /// seed always gives the same answer.
    pub fn next(
        &self,
        accepted_at: UnixMillis,
        attempts: u32,
        now: UnixMillis,
        not_before: Option<Duration>,
        seed: u64,
    ) -> Option<UnixMillis> {
        let wait = self.step(attempts).max(not_before.unwrap_or(Duration::ZERO));
        let due = now.plus(wait).plus(jitter(wait, seed ^ u64::from(attempts)));
        (due <= accepted_at.plus(self.give_up_after)).then_some(due)
    }

    fn step(&self, attempts: u32) -> Duration {
        self.steps[(attempts.max(1) as usize - 1).min(self.steps.len() - 1)]
    }
}

impl Default for RetrySchedule {
    /// 5 s, 15 s, 30 s, 1 min, 2, 5, 10, 30 min, 1 h, 2 h, 4 h, then every 6 h, for 8 days: a day longer
    /// than Meta itself would have tried.
    fn default() -> Self {
        static STEPS: LazyLock<Arc<[Duration]>> = LazyLock::new(|| {
            let steps = [5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 21_600];
            steps.into_iter().map(Duration::from_secs).collect()
        });
        Self { steps: STEPS.clone(), give_up_after: Duration::from_secs(8 * 24 * 60 * 60) }
    }
}

/// Between nothing and a tenth of `wait`.
fn jitter(wait: Duration, seed: u64) -> Duration {
    // SplitMix64's finaliser: every bit of the seed reaches every bit of the result.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    wait / 10 * (mixed % 1_001) as u32 / 1_000
}

/// A schedule that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// An empty list.
    #[error("a schedule needs at least one wait")]
    NoSteps,
    /// A wait under a second.
    #[error("a wait between attempts is at least one second")]
    StepTooShort,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACCEPTED: UnixMillis = UnixMillis(1_700_000_000_000);

    #[test]
    fn the_default_schedule_outlives_metas_seven_days() {
        let schedule = RetrySchedule::default();
        let (mut now, mut attempts) = (ACCEPTED, 1);
        while let Some(due) = schedule.next(ACCEPTED, attempts, now, None, 42) {
            assert!(due > now);
            now = due;
            attempts += 1;
        }
        assert!(now.since(ACCEPTED) > Duration::from_secs(7 * 24 * 60 * 60));
        assert!(attempts > 30, "{attempts}");
    }

    #[test]
    fn the_first_wait_is_five_seconds_and_the_last_repeats() {
        let schedule = RetrySchedule::default();
        let wait = |attempts| {
            schedule.next(ACCEPTED, attempts, ACCEPTED, None, 0).unwrap().since(ACCEPTED).as_secs()
        };
        assert_eq!(wait(1), 5);
        assert!((21_600..=23_760).contains(&wait(12)));
        assert!((21_600..=23_760).contains(&wait(400)));
    }

    #[test]
    fn nothing_shorter_than_a_second_is_a_schedule() {
        assert_eq!(RetrySchedule::new(vec![], Duration::MAX), Err(ScheduleError::NoSteps));
        assert_eq!(
            RetrySchedule::new(vec![Duration::from_millis(999)], Duration::MAX),
            Err(ScheduleError::StepTooShort)
        );
    }

    #[test]
    fn what_is_older_than_the_schedule_is_used_up_whenever_that_is_found() {
        let schedule = RetrySchedule::default();
        let last = ACCEPTED.plus(schedule.give_up_after());
        assert!(!schedule.is_used_up(ACCEPTED, last));
        assert!(schedule.is_used_up(ACCEPTED, UnixMillis(last.0 + 1)));
        assert_eq!(schedule.next(ACCEPTED, 1, UnixMillis(last.0 + 1), None, 7), None);
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        let schedule = RetrySchedule::default();
        for (attempts, seed) in (0..40).flat_map(|attempts| (0..50).map(move |seed| (attempts, seed))) {
            let asked = Some(crate::limits::RETRY_AFTER_MAX);
            let due = schedule.next(ACCEPTED, attempts, ACCEPTED, asked, seed).unwrap();
            assert!(due.since(ACCEPTED) <= schedule.wait_max(attempts) + Duration::from_millis(1));
        }
        let endless = RetrySchedule::new(vec![Duration::MAX], Duration::MAX).unwrap();
        assert_eq!(endless.wait_max(1), Duration::MAX);
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_at_most_a_tenth(attempts in 1u32..1_000, seed: u64, asked in 0u64..3_600) {
            let schedule = RetrySchedule::default();
            let plain = schedule.steps[(attempts as usize - 1).min(11)].max(Duration::from_secs(asked));
            let due = schedule.next(ACCEPTED, attempts, ACCEPTED, Some(Duration::from_secs(asked)), seed).unwrap();
            let wait = due.since(ACCEPTED);
            prop_assert!(wait >= plain && wait <= plain + plain / 10 + Duration::from_millis(1));
        }

        #[test]
        fn no_step_and_no_moment_overflows(steps in prop::collection::vec(1u64..u64::MAX / 1_000_000, 1..5), at: i64, attempts: u32, seed: u64) {
            let steps = steps.into_iter().map(Duration::from_secs).collect();
            let schedule = RetrySchedule::new(steps, Duration::MAX).unwrap();
            let _ = schedule.next(UnixMillis(at), attempts, UnixMillis(at), None, seed);
        }
    }
}
