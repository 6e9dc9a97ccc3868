//! Cursors: where in the stream a reader is.

use std::fmt;
use std::str::FromStr;

use waypost_domain::EventId;

/// What follows an event's identifier in the cursor of the frame that goes before it.
const COMPANION: &str = ".1";

/// A place in the stream: the frame that was read last. Written as the identifier of its event (`evt_…`), or of
/// the frame that tells of the event's person and goes before the event, with `.1` behind it.
///
/// Order of cursors is order of frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    event: EventId,
    is_own: bool,
}

impl Cursor {
    /// The cursor before all others.
    pub const START: Self = Self { event: EventId(0), is_own: true };

    /// That of an event's own frame, behind which nothing of the event is left.
    pub const fn of(event: EventId) -> Self {
        Self { event, is_own: true }
    }

    /// That of the frame about the event's person.
    pub const fn companion_of(event: EventId) -> Self {
        Self { event, is_own: false }
    }

    /// The event it belongs to.
    pub const fn event(self) -> EventId {
        self.event
    }

    /// Whether it is that of a frame about the event's person.
    pub const fn is_companion(self) -> bool {
        !self.is_own
    }

    /// The last event of which nothing is left after this cursor.
    pub(super) fn read_through(self) -> EventId {
        if self.is_own { self.event } else { EventId(self.event.0.saturating_sub(1)) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)?;
        f.write_str(if self.is_own { "" } else { COMPANION })
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (event, is_own) = match text.strip_suffix(COMPANION) {
            Some(event) => (event, false),
            None => (text, true),
        };
        let event = event.parse().map_err(|_| CursorError)?;
        Ok(Self { event, is_own })
    }
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cursor is the `id` of a frame: `evt_` and thirteen letters or digits, perhaps with `.1` behind them"
)]
pub struct CursorError;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_cursor_reads_back_and_the_person_goes_before_the_event(a in 0..i64::MAX, b in 0..i64::MAX) {
            let (low, high) = (EventId(a.min(b)), EventId(a.max(b).max(a.min(b) + 1)));
            let ordered =
                [Cursor::companion_of(low), Cursor::of(low), Cursor::companion_of(high), Cursor::of(high)];
            prop_assert!(ordered.is_sorted_by(|a, b| a < b));
            for cursor in ordered {
                prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
            }
            prop_assert!(Cursor::companion_of(high).read_through() < high);
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in ["", "now", "evt_", "evt_0000000000001.2", "evt_0000000000001.1.1", "req_0000000000001"] {
            assert_eq!(text.parse::<Cursor>(), Err(CursorError), "{text}");
        }
    }
}
