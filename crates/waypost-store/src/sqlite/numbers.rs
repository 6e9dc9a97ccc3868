//! The numbers that stand for things on disk: identifiers in their order, states.

use waypost_domain::{DeliveryState, EventId, UnixMillis};

use crate::PersonFact;

/// How far a millisecond's identifiers are apart: the width of the counter in an identifier.
fn per_millisecond() -> i64 {
    EventId::floor(UnixMillis(EPOCH_PROBE_MS + 1)).0 - EventId::floor(UnixMillis(EPOCH_PROBE_MS)).0
}

/// The millisecond in which an identifier was handed out; later than it was where the clock had stepped back.
pub(super) fn moment_of(id: i64) -> UnixMillis {
    let epoch_ms = EPOCH_PROBE_MS - EventId::floor(UnixMillis(EPOCH_PROBE_MS)).0 / per_millisecond();
    UnixMillis(epoch_ms + id / per_millisecond())
}

/// Any moment after the identifiers' epoch.
const EPOCH_PROBE_MS: i64 = 1_700_000_000_000;

/// The one sequence that identifiers come from. It never goes back, whatever the clock does.
#[derive(Debug)]
pub(super) struct Sequence {
    last: i64,
}

impl Sequence {
    /// Goes on after `last`.
    pub(super) fn after(last: i64) -> Self {
        Self { last }
    }

    /// The next identifier, at least that of the moment.
    pub(super) fn first(&mut self, at: UnixMillis) -> i64 {
        self.last = self.last.saturating_add(1).max(EventId::floor(at).0);
        self.last
    }

    /// The one right after it.
    pub(super) fn next(&mut self) -> i64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// Passes over so many identifiers. They are not handed out, and the last of them is given back.
    pub(super) fn keep_free(&mut self, count: i64) -> i64 {
        self.last = self.last.saturating_add(count);
        self.last
    }

    /// The greatest identifier handed out.
    pub(super) fn last(&self) -> i64 {
        self.last
    }

    /// By how many milliseconds the moment is behind the identifiers.
    pub(super) fn skew_ms(&self, at: UnixMillis) -> i64 {
        (self.last - EventId::floor(at).0).max(0) / per_millisecond()
    }
}

pub(super) fn number_of_state(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Owed => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::Dead => 2,
        DeliveryState::Discarded => 3,
    }
}

pub(super) fn state_of_number(number: i64) -> Option<DeliveryState> {
    DeliveryState::ALL.into_iter().find(|state| number_of_state(*state) == number)
}

pub(super) fn number_of_fact(fact: PersonFact) -> i64 {
    match fact {
        PersonFact::Nothing => 0,
        PersonFact::New => 1,
        PersonFact::Changed => 2,
    }
}

pub(super) fn fact_of_number(number: i64) -> Option<PersonFact> {
    PersonFact::ALL.into_iter().find(|fact| number_of_fact(*fact) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_read_back_from_their_numbers() {
        for state in DeliveryState::ALL {
            assert_eq!(state_of_number(number_of_state(state)), Some(state));
        }
        assert_eq!(state_of_number(4), None);
    }

    #[test]
    fn the_sequence_follows_the_clock_forward_and_never_back() {
        let mut sequence = Sequence::after(0);
        let noon = UnixMillis(EPOCH_PROBE_MS);
        assert_eq!(sequence.first(noon), EventId::floor(noon).0);
        assert_eq!(sequence.next(), EventId::floor(noon).0 + 1);
        assert_eq!(sequence.skew_ms(noon), 0);
        assert_eq!(sequence.first(UnixMillis(noon.0 - 5_000)), EventId::floor(noon).0 + 2);
        assert_eq!(sequence.skew_ms(UnixMillis(noon.0 - 5_000)), 5_000);
        assert_eq!(sequence.first(UnixMillis(noon.0 + 1)), EventId::floor(UnixMillis(noon.0 + 1)).0);
    }
}
