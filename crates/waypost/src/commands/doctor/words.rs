//! Numbers and times, for people.

use waypost_domain::UnixMillis;

/// `1 event`, `3 events`.
pub(super) fn number(number: u64, of: &str) -> String {
    match (number, of) {
        (1, of) => format!("1 {of}"),
        (number, "delivery") => format!("{number} deliveries"),
        (number, of) => format!("{number} {of}s"),
    }
}

/// How long ago `at` was.
pub(super) fn age(now: UnixMillis, at: UnixMillis) -> String {
    span(now.0.saturating_sub(at.0))
}

/// So many milliseconds, in the unit that suits them.
pub(super) fn span(millis: i64) -> String {
    match millis.max(0) / 1_000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} minutes", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_the_unit_that_suits_them() {
        for (millis, text) in [
            (-5, "0 s"),
            (119_000, "119 s"),
            (120_000, "2 minutes"),
            (7_200_000, "2 hours"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(span(millis), text);
        }
        assert_eq!(age(UnixMillis(10_000), UnixMillis(4_000)), "6 s");
        assert_eq!(
            (number(1, "event"), number(2, "delivery")),
            ("1 event".to_owned(), "2 deliveries".to_owned())
        );
    }
}
