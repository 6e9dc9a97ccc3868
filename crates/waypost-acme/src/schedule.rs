//! When to try: the diary of attempts, the waits after failures, the budget, the day of renewal. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use waypost_domain::UnixMillis;

use crate::limits::{ATTEMPTS_MAX, BACKOFF_FIRST, BACKOFF_MAX, BUDGET_TIME, RETRY_AFTER_MAX};

/// What was tried for one certificate, as it is kept over restarts.
///
/// An attempt is written down as a failure before it begins, and as a success only once its certificate is kept: a process
/// that dies in between finds a failure behind it, and waits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Diary {
    /// When the last attempts began, oldest first; no more than the budget has.
    attempts: Vec<UnixMillis>,
    /// Failures since the last success.
    pub(crate) failures: u32,
    /// No attempt before this moment.
    not_before: UnixMillis,
    /// The last failure.
    pub(crate) error: Option<Failed>,
}

/// A failure, as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) at: UnixMillis,
    pub(crate) sentence: String,
}

impl Diary {
    /// As it was read back. A wall clock that ran ahead when it was written must not keep attempts away for long.
    pub(crate) fn read(mut self, now: UnixMillis) -> Self {
        for attempt in &mut self.attempts {
            *attempt = (*attempt).min(now);
        }
        self.not_before = self.not_before.min(now.plus(RETRY_AFTER_MAX));
        self
    }

    /// The first moment at which there may be another attempt.
    pub(crate) fn allowed_at(&self) -> UnixMillis {
        let within = self.attempts.len().checked_sub(ATTEMPTS_MAX).and_then(|at| self.attempts.get(at));
        self.not_before.max(within.map_or(UnixMillis::default(), |oldest| oldest.plus(BUDGET_TIME)))
    }

    /// An attempt begins. The roll is any number.
    pub(crate) fn begin(&mut self, now: UnixMillis, roll: u64) {
        self.attempts.push(now);
        let surplus = self.attempts.len().saturating_sub(ATTEMPTS_MAX);
        self.attempts.drain(..surplus);
        self.fail(now, roll, "the attempt was cut off: the process ended".to_owned(), None);
    }

    /// It failed, after it had begun or before it could.
    pub(crate) fn fail(&mut self, now: UnixMillis, roll: u64, sentence: String, wait: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        self.hold(now, roll, wait);
        self.error = Some(Failed { at: now, sentence });
    }

    /// How the attempt that began last, and is counted as a failure already, failed.
    pub(crate) fn end(&mut self, now: UnixMillis, roll: u64, sentence: String, wait: Option<Duration>) {
        self.hold(now, roll, wait);
        self.error = Some(Failed { at: now, sentence });
    }

    /// It succeeded, and what it brought is kept.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        self.not_before = UnixMillis::default();
        self.error = None;
    }

    /// An operator wants no wait but the budget's.
    pub(crate) fn hurry(&mut self) {
        self.not_before = UnixMillis::default();
    }

    fn hold(&mut self, now: UnixMillis, roll: u64, wait: Option<Duration>) {
        self.not_before = now.plus(backoff(self.failures, roll).max(wait.unwrap_or_default()));
    }
}

/// The wait after so many failures in a row, up to a tenth longer by the roll.
fn backoff(failures: u32, roll: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let wait = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX);
    wait + share(wait / 10, roll)
}

/// When a certificate is to be renewed where the authority says nothing: at two thirds of its lifetime, up to a
/// twentieth of it earlier by the roll. Never later than a certificate ends, however short it lives.
pub(crate) fn renewal(not_before: UnixMillis, not_after: UnixMillis, roll: u64) -> UnixMillis {
    let lifetime = not_after.since(not_before);
    not_before.plus(lifetime / 3 * 2).minus(share(lifetime / 20, roll))
}

/// A moment in the window that the authority suggests (RFC 9773, section 4.2).
pub(crate) fn within(start: UnixMillis, end: UnixMillis, roll: u64) -> UnixMillis {
    start.plus(share(end.since(start), roll))
}

fn share(of: Duration, roll: u64) -> Duration {
    let millis = u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(roll % millis.saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const START: UnixMillis = UnixMillis(1_790_000_000_000);

    #[test]
    fn no_hour_sees_more_attempts_than_the_budget_however_eager_the_caller() {
        let mut diary = Diary::default();
        let mut begun = Vec::new();
        let mut now = START;
        for _ in 0..20_000 {
            if diary.allowed_at() <= now {
                // Every attempt succeeds at once, and the operator hurries; and the process restarts each time.
                diary.begin(now, 7);
                diary.succeed();
                diary.hurry();
                diary =
                    serde_json::from_slice::<Diary>(&serde_json::to_vec(&diary).unwrap()).unwrap().read(now);
                begun.push(now);
            }
            now = now.plus(Duration::from_secs(1));
        }
        assert!(begun.len() >= 20);
        for hour in begun.windows(ATTEMPTS_MAX + 1) {
            assert!(hour[ATTEMPTS_MAX].since(hour[0]) >= BUDGET_TIME);
        }
    }

    #[test]
    fn a_process_that_dies_in_every_attempt_waits_longer_and_longer() {
        let (mut diary, mut now, mut waits) = (Diary::default(), START, Vec::new());
        for _ in 0..12 {
            diary.begin(now, 0);
            diary = serde_json::from_slice::<Diary>(&serde_json::to_vec(&diary).unwrap()).unwrap().read(now);
            waits.push(diary.allowed_at().since(now));
            now = diary.allowed_at();
        }
        assert_eq!(waits[0], BACKOFF_FIRST);
        assert!(waits.windows(2).skip(4).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert_eq!(*waits.last().unwrap(), BACKOFF_MAX);
    }

    #[test]
    fn the_authoritys_own_wait_is_kept_where_it_is_longer() {
        let mut diary = Diary::default();
        diary.begin(START, 0);
        diary.end(START, 0, "rate limited".to_owned(), Some(HOUR * 3));
        assert_eq!(diary.allowed_at(), START.plus(HOUR * 3));
        diary.end(START, 0, "refused".to_owned(), Some(Duration::from_secs(1)));
        assert_eq!(diary.allowed_at(), START.plus(BACKOFF_FIRST));
    }

    #[test]
    fn a_diary_from_a_clock_that_ran_ahead_does_not_hold_for_years() {
        let mut diary = Diary::default();
        diary.begin(START.plus(HOUR * 24 * 365 * 10), 0);
        assert!(diary.read(START).allowed_at() <= START.plus(RETRY_AFTER_MAX));
    }

    #[test]
    fn renewal_is_at_two_thirds_of_any_lifetime() {
        for lifetime in [Duration::from_secs(30), HOUR, HOUR * 24 * 6, HOUR * 24 * 45, HOUR * 24 * 398] {
            for roll in [0, 1, u64::MAX] {
                let at = renewal(START, START.plus(lifetime), roll).since(START);
                assert!(at <= lifetime * 2 / 3 && at >= lifetime * 6 / 10, "{lifetime:?} {at:?}");
            }
        }
    }

    #[test]
    fn a_moment_lies_within_its_window() {
        for roll in [0, 5, u64::MAX] {
            let moment = within(START, START.plus(HOUR), roll);
            assert!(moment >= START && moment <= START.plus(HOUR));
        }
        assert_eq!(within(START, START, 9), START);
    }
}
