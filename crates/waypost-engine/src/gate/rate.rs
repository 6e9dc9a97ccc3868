//! A ceiling on attempts per time.

use std::time::Duration;

use waypost_domain::Rate;

use crate::dispatch::Moment;

/// The generic cell rate algorithm: attempts are spaced evenly, and after a quiet time as many as a
/// tenth of a second's worth may go together.
#[derive(Debug)]
pub struct RateLimit {
    rate: Rate,
    spacing: Duration,
    burst: Duration,
    /// When the next attempt would be due, were all spaced evenly.
    next_at: Moment,
}

impl RateLimit {
    pub(super) fn new(rate: Rate) -> Self {
        let spacing = (rate.per / rate.attempts.max(1)).max(Duration::from_nanos(1));
        Self {
            rate,
            spacing,
            burst: Duration::from_millis(100).saturating_sub(spacing),
            next_at: Moment::ZERO,
        }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// When an attempt may go: `now` or later.
    pub(super) fn ready_at(&self, now: Moment) -> Moment {
        self.next_at.saturating_sub(self.burst).max(now)
    }

    pub(super) fn take(&mut self, now: Moment) {
        self.next_at = self.next_at.max(now) + self.spacing;
    }
}
