//! Identifiers: what `req_…`, `evt_…` and `dlv_…` mean.
//!
//! An identifier is one 64-bit number: milliseconds since 2020 in the upper bits, a counter in the
//! lower twenty. The store hands them out in order of acceptance, so that sorting by identifier is
//! sorting by acceptance, a range of time is a range of identifiers, and a new database never
//! repeats an old one's. Printed, it is a prefix and thirteen characters of Crockford's base 32.

use std::fmt;
use std::str::FromStr;

use crate::UnixMillis;

/// 2020-01-01T00:00:00Z, the identifiers' epoch.
const EPOCH_MS: i64 = 1_577_836_800_000;
/// How many low bits count within a millisecond.
const COUNTER_BITS: u32 = 20;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 13;

/// The smallest identifier number that can have been handed out at `at` or later.
fn floor(at: UnixMillis) -> i64 {
    at.0.saturating_sub(EPOCH_MS).clamp(0, i64::MAX >> COUNTER_BITS) << COUNTER_BITS
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl $name {
            /// The smallest identifier that can have been handed out at `at` or later.
            pub fn floor(at: UnixMillis) -> Self {
                Self(floor(at))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                let mut digits = [b'0'; DIGITS];
                let mut rest = self.0 as u64;
                for digit in digits.iter_mut().rev() {
                    *digit = ALPHABET[(rest & 31) as usize];
                    rest >>= 5;
                }
                f.write_str(std::str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = || IdError { text: text.to_owned(), prefix: $prefix };
                let digits = text.strip_prefix(concat!($prefix, "_")).ok_or_else(error)?;
                parse(digits).map(Self).ok_or_else(error)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier!(
    /// One HTTP POST from Meta, as kept.
    RequestId, "req"
);
identifier!(
    /// One thing that happened inside a request.
    EventId, "evt"
);
identifier!(
    /// One event, or one whole request, owed to one destination.
    DeliveryId, "dlv"
);

impl RequestId {
    /// The identifier of the event at `index` within this request: events bear the numbers that follow
    /// their request's own.
    pub fn event(self, index: usize) -> EventId {
        EventId(self.0.saturating_add(1).saturating_add(i64::try_from(index).unwrap_or(i64::MAX)))
    }
}

fn parse(digits: &str) -> Option<i64> {
    if digits.len() != DIGITS {
        return None;
    }
    let mut number: u128 = 0;
    for byte in digits.bytes() {
        let digit = ALPHABET.iter().position(|&known| known == byte.to_ascii_lowercase())?;
        number = (number << 5) | digit as u128;
    }
    i64::try_from(number).ok()
}

/// A text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an identifier: expected `{prefix}_` and thirteen letters or digits")]
pub struct IdError {
    text: String,
    prefix: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_identifier_reads_back_and_sorts_as_its_number(a in 0..=i64::MAX, b in 0..=i64::MAX) {
            prop_assert_eq!(EventId(a).to_string().parse::<EventId>(), Ok(EventId(a)));
            prop_assert_eq!(a.cmp(&b), EventId(a).to_string().cmp(&EventId(b).to_string()));
        }
    }

    #[test]
    fn foreign_texts_are_refused() {
        for text in
            ["", "evt_", "req_0000000000000", "evt_zzzzzzzzzzzzz", "evt_000000000000u", "evt_00000000000000"]
        {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_floor_of_a_moment_is_below_all_that_came_after() {
        assert_eq!(EventId::floor(UnixMillis(EPOCH_MS)), EventId(0));
        assert_eq!(EventId::floor(UnixMillis(EPOCH_MS + 1)), EventId(1 << 20));
        assert_eq!(EventId::floor(UnixMillis(0)), EventId(0));
        assert!(EventId::floor(UnixMillis(i64::MAX)).0 > 0);
    }
}
