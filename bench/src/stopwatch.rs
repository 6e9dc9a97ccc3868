//! The one place where the benchmark reads a clock.
//!
//! The gateway takes time as an argument; here time is what is measured, in nanoseconds, and the
//! sender and the sink must read the same clock for their difference to mean anything.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

static START: LazyLock<Instant> = LazyLock::new(|| {
    #[expect(clippy::disallowed_methods, reason = "measuring elapsed time is this program's purpose")]
    Instant::now()
});

/// Nanoseconds since this process first asked. Monotonic, the same for all threads.
pub(crate) fn now_ns() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds of wall-clock time, for ids that no earlier run has used.
pub(crate) fn unix_ns() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a run's ids and date come from the machine")]
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// A duration as the nanoseconds that [`now_ns`] counts.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
