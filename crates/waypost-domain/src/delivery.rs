//! The life of a delivery.
//!
//! ```text
//!              accept
//!                │
//!                ▼   RetryLater              Replay
//!        ┌──── Owed ◄──────────── (attempt) ◄───────┐
//!        │       │                                  │
//! Discard│       ├── Succeed ──► Delivered ─────────┤
//!        │       ├── GiveUp ───► Dead ──────────────┤
//!        │       │                 │ Discard        │
//!        └───────┴─────────────────┴──► Discarded ──┘
//! ```
//!
//! *Sending* is an owed delivery with an attempt in flight; it is known to the process alone and
//! never written down, so that a crash leaves the delivery owed and uncharged.

use std::fmt;
use std::str::FromStr;

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DeliveryState {
    /// The receiver does not have it yet.
    Owed,
    /// The receiver answered 2xx.
    Delivered,
    /// Its schedule is used up, or the receiver refused its content for good.
    Dead,
    /// An operator gave it up, on record.
    Discarded,
}

/// What can happen to a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DeliveryEvent {
    /// An attempt was answered 2xx.
    Succeed,
    /// An attempt failed and another is due later.
    RetryLater,
    /// An attempt failed and none will follow by itself.
    GiveUp,
    /// An operator gave it up.
    Discard,
    /// An operator wants it delivered again.
    Replay,
}

impl DeliveryState {
    /// All states, in the order people read them.
    pub const ALL: [Self; 4] = [Self::Owed, Self::Delivered, Self::Dead, Self::Discarded];

    /// The state after `event`, or that such a thing cannot happen here.
    pub fn after(self, event: DeliveryEvent) -> Result<Self, IllegalTransition> {
        use DeliveryEvent::{Discard, GiveUp, Replay, RetryLater, Succeed};
        match (self, event) {
            (Self::Owed, Succeed) => Ok(Self::Delivered),
            (Self::Owed, RetryLater) => Ok(Self::Owed),
            (Self::Owed, GiveUp) => Ok(Self::Dead),
            (Self::Owed | Self::Dead, Discard) => Ok(Self::Discarded),
            (Self::Delivered | Self::Dead | Self::Discarded, Replay) => Ok(Self::Owed),
            _ => Err(IllegalTransition { state: self, event }),
        }
    }

    /// The word for it in the API, the command line and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Discarded => "discarded",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeliveryState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not a state: owed, delivered, dead or discarded"))
    }
}

/// Something that cannot happen to a delivery where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a delivery that is {state} cannot {event:?}")]
pub struct IllegalTransition {
    /// Where it stands.
    pub state: DeliveryState,
    /// What was asked.
    pub event: DeliveryEvent,
}

/// Which deliveries go first when a destination is behind: the smaller the sooner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Priority {
    /// Calls: somebody is waiting for an answer within seconds.
    Call = 0,
    /// Messages and what belongs to them.
    Message = 1,
    /// Statuses and account-level changes.
    Status = 2,
    /// History and contact synchronisation, in bulk.
    History = 3,
}

impl Priority {
    /// Reads the number the store keeps; anything unknown counts as a message.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Call,
            2 => Self::Status,
            3 => Self::History,
            _ => Self::Message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_ends_only_as_delivered_dead_or_discarded_and_comes_back_only_by_replay() {
        use DeliveryEvent::{Discard, GiveUp, Replay, RetryLater, Succeed};
        for state in DeliveryState::ALL {
            for event in [Succeed, RetryLater, GiveUp, Discard, Replay] {
                let after = state.after(event);
                match (state, event) {
                    (DeliveryState::Owed, Replay) => assert!(after.is_err()),
                    (DeliveryState::Owed, _) => assert!(after.is_ok()),
                    (_, Replay) => assert_eq!(after, Ok(DeliveryState::Owed)),
                    (DeliveryState::Dead, Discard) => assert_eq!(after, Ok(DeliveryState::Discarded)),
                    _ => assert!(after.is_err(), "{state} after {event:?}"),
                }
            }
        }
    }

    #[test]
    fn states_read_back() {
        for state in DeliveryState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("sending".parse::<DeliveryState>().is_err());
    }
}
