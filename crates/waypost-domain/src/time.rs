//! Time as an argument.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A moment of wall-clock time: milliseconds since 1970-01-01T00:00:00Z.
///
/// Records carry these. Durations are never measured with them, since the wall clock may step.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// This moment moved later by `duration`, saturating at the end of time.
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// This moment moved earlier by `duration`, saturating at the beginning of time.
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this moment is; zero if it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where time comes from: the machine, or a test.
///
/// Cheap to clone; all clones of a manual clock move together.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System { started: std::time::Instant },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl Clock {
    /// The machine's own clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the machine's clocks")]
    pub fn system() -> Self {
        Self(Kind::System { started: std::time::Instant::now() })
    }

    /// A clock that stands still until told to move, for tests.
    pub fn manual(wall: UnixMillis) -> Self {
        Self(Kind::Manual(Arc::new(Manual {
            wall_ms: AtomicI64::new(wall.0),
            monotonic_ms: AtomicU64::new(0),
        })))
    }

    /// The wall clock, for records. It may step in either direction.
    #[expect(clippy::disallowed_methods, reason = "this is the one door to the machine's clocks")]
    pub fn wall(&self) -> UnixMillis {
        match &self.0 {
            Kind::System { .. } => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                UnixMillis::default().plus(since.unwrap_or(Duration::ZERO))
            }
            Kind::Manual(manual) => UnixMillis(manual.wall_ms.load(Ordering::SeqCst)),
        }
    }

    /// Time since this clock was made, for durations. It never goes back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Kind::System { started } => started.elapsed(),
            Kind::Manual(manual) => Duration::from_millis(manual.monotonic_ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock forward, wall and monotonic alike. The machine's clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            manual.monotonic_ms.fetch_add(by_ms, Ordering::SeqCst);
            manual.wall_ms.fetch_add(i64::try_from(by_ms).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Steps a manual clock's wall time, in either direction, as an operator or NTP would.
    pub fn step_wall(&self, to: UnixMillis) {
        if let Kind::Manual(manual) = &self.0 {
            manual.wall_ms.store(to.0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(UnixMillis(1_000));
        let twin = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(twin.wall(), UnixMillis(3_000));
        assert_eq!(twin.monotonic(), Duration::from_secs(2));
        twin.step_wall(UnixMillis(10));
        assert_eq!(clock.wall(), UnixMillis(10));
        assert_eq!(clock.monotonic(), Duration::from_secs(2));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixMillis(i64::MAX).plus(Duration::MAX), UnixMillis(i64::MAX));
        assert_eq!(UnixMillis(5).since(UnixMillis(9)), Duration::ZERO);
        assert_eq!(UnixMillis(i64::MAX).since(UnixMillis(i64::MIN)), Duration::from_millis(i64::MAX as u64));
    }
}
