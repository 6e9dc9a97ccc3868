//! Whether a reader keeps up: it is told when it does not, and let go before it costs more than its place.

use std::time::Duration;

use serde_json::{Value, json};
use waypost_domain::UnixMillis;
use waypost_engine::stream::{Batch, Cursor};

/// Frames behind from which on a reader is told so; and again each time it has doubled.
const TOLD_FRAMES: u64 = 1_000;
/// How late what a reader gets may be from which on it is told so; and again each time it has doubled.
const TOLD_LATE: Duration = Duration::from_secs(10);
/// How late it may be at most, once the reader has been at the end of the stream.
pub(super) const LATE_MAX: Duration = Duration::from_secs(60);

/// How a reader has been keeping up.
#[derive(Debug)]
pub(super) struct Pace {
    /// Whether it has been at the end of the stream: what is late before that came before it did.
    has_caught_up: bool,
    told_from: Behind,
}

/// How far behind a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    /// Frames that are waiting, at least.
    frames: u64,
    /// How late the next frame is.
    late: Duration,
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// It is to be told.
    Behind(Behind),
    /// It is to be let go.
    TooSlow,
}

impl Default for Pace {
    fn default() -> Self {
        Self { has_caught_up: false, told_from: Behind { frames: TOLD_FRAMES, late: TOLD_LATE } }
    }
}

impl Behind {
    /// As frames tell it.
    pub(super) fn told(self, through: Cursor) -> Value {
        let late_ms = u64::try_from(self.late.as_millis()).unwrap_or(u64::MAX);
        json!({ "behind": self.frames, "late_ms": late_ms, "cursor": through.to_string() })
    }
}

impl Pace {
    /// Judges a reader by the batch that it is about to get.
    pub(super) fn judge(&mut self, batch: &Batch, now: UnixMillis) -> Verdict {
        // A replay is late by nature.
        let first = batch.frames.iter().find(|frame| !frame.is_replay());
        let late = first.map_or(Duration::ZERO, |frame| now.since(frame.record().received_at));
        self.judged(Behind { frames: batch.behind, late })
    }

    fn judged(&mut self, behind: Behind) -> Verdict {
        if self.has_caught_up && behind.late > LATE_MAX {
            return Verdict::TooSlow;
        }
        if behind.frames == 0 {
            *self = Self { has_caught_up: true, ..Self::default() };
            return Verdict::Fine;
        }
        let is_late = self.has_caught_up && behind.late >= self.told_from.late;
        if behind.frames < self.told_from.frames && !is_late {
            return Verdict::Fine;
        }
        self.told_from = Behind {
            frames: self.told_from.frames.max(behind.frames.saturating_mul(2)),
            late: self.told_from.late.max(behind.late.saturating_mul(2)),
        };
        Verdict::Behind(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(frames: u64, late_s: u64) -> Behind {
        Behind { frames, late: Duration::from_secs(late_s) }
    }

    #[test]
    fn who_comes_late_may_take_its_time_and_who_falls_behind_may_not() {
        let mut pace = Pace::default();
        // Days of backlog: told how much there is, and served.
        assert_eq!(pace.judged(behind(8_000, 90_000)), Verdict::Behind(behind(8_000, 90_000)));
        assert_eq!(pace.judged(behind(8_000, 80_000)), Verdict::Fine, "told once");
        assert_eq!(pace.judged(behind(0, 0)), Verdict::Fine);
        // From here on it is its own fault.
        assert_eq!(pace.judged(behind(1, 1)), Verdict::Fine);
        assert_eq!(pace.judged(behind(1, 10)), Verdict::Behind(behind(1, 10)));
        assert_eq!(pace.judged(behind(1_000, 11)), Verdict::Behind(behind(1_000, 11)));
        assert_eq!(pace.judged(behind(1_500, 15)), Verdict::Fine);
        assert_eq!(pace.judged(behind(1_500, 25)), Verdict::Behind(behind(1_500, 25)));
        assert_eq!(pace.judged(behind(1, 61)), Verdict::TooSlow);
        assert_eq!(pace.judged(behind(0, 5)), Verdict::Fine, "it is back");
        assert_eq!(pace.judged(behind(2_000, 0)), Verdict::Behind(behind(2_000, 0)));
    }
}
