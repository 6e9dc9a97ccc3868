//! What became of a message, from status webhooks in any order.
//!
//! Webhooks arrive concurrently, again and in no promised order, and `delivered` may be missing where a
//! message was read at once (Meta, "Message status webhooks"). So a state is what is known so far, and
//! only grows: any permutation of the same updates, with any repeats, ends in the same state.
//!
//! ```
//! use waypost_whatsapp::{Advance, MessageState, MessageStatus, StatusUpdate};
//!
//! let update = |status, at_ms| StatusUpdate { wamid: "wamid.A", status, at_ms: Some(at_ms), participant: None };
//! let mut state = MessageState::default();
//! assert_eq!(state.apply(&update("read", 3_000)), Advance::Forward);
//! assert_eq!(state.apply(&update("sent", 1_000)), Advance::Noted);
//! assert_eq!(state.apply(&update("sent", 1_000)), Advance::Nothing);
//! assert_eq!(state.progress().status(), Some(MessageStatus::Read));
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::event::{Event, Kind};
use crate::json::{Members, Value};

/// Most participants of one message that are told apart; of more, those whose ids sort first. Meta's
/// groups are far smaller.
pub const PARTICIPANTS_MAX: usize = 1_024;

/// A status of a message, in the order in which a message goes through them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MessageStatus {
    /// WhatsApp has it.
    Sent,
    /// It could not be delivered. Beaten by what comes only after delivery: on accounts with several
    /// devices, one may have failed and another have it.
    Failed,
    /// It is on a device.
    Delivered,
    /// It was seen.
    Read,
    /// It was listened to: a voice note.
    Played,
}

impl MessageStatus {
    /// Every status, in order.
    pub const ALL: [Self; 5] = [Self::Sent, Self::Failed, Self::Delivered, Self::Read, Self::Played];

    /// Meta's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
        }
    }

    /// The status a word stands for, in lower or upper case (as in chat history).
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| word.eq_ignore_ascii_case(status.as_str()))
    }
}

impl fmt::Display for MessageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one status webhook says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusUpdate<'a> {
    /// The message it is about.
    pub wamid: &'a str,
    /// Meta's word: one of [`MessageStatus`], or one that is not known here and changes no state.
    pub status: &'a str,
    /// When, in milliseconds since 1970, by Meta's clock.
    pub at_ms: Option<i64>,
    /// In groups, at whom: the participant's phone number, else their BSUID.
    pub participant: Option<Cow<'a, str>>,
}

impl<'a> StatusUpdate<'a> {
    /// What an event says. `None` if it is not the status of a message.
    pub fn of(event: &'a Event<'_>) -> Option<Self> {
        let wamid = event.wamid.as_deref().filter(|_| event.kind == Kind::Status)?;
        let mut members = Members::default();
        members.read(&mut Value::of(event.raw).cursor());
        let participant = participant(&members);
        Some(Self { wamid, status: &event.r#type, at_ms: event.occurred_at_ms, participant })
    }

    /// What an event says whose body is not at hand: the participant stands in its identity key. `number` is the
    /// id of the business number, or else the number itself. `None` if the key is not that of such a status.
    pub fn of_key(
        key: &'a str,
        number: &str,
        wamid: &'a str,
        status: &'a str,
        at_ms: Option<i64>,
    ) -> Option<Self> {
        let key = key.strip_prefix("standby:").unwrap_or(key);
        let participant = [":", number, ":", wamid, ":", status, ":"]
            .into_iter()
            .try_fold(key.strip_prefix("st")?, |rest, part| rest.strip_prefix(part))?;
        let participant = Some(participant).filter(|id| !id.is_empty()).map(Cow::Borrowed);
        Some(Self { wamid, status, at_ms, participant })
    }
}

/// The participant of a group whom a status is about.
pub(crate) fn participant<'a>(status: &Members<'a>) -> Option<Cow<'a, str>> {
    status
        .text("recipient_participant_id")
        // One of Meta's samples spells it so.
        .or_else(|| status.text("participant_recipient_id"))
        .or_else(|| status.text("recipient_participant_user_id"))
}

/// What an update did to a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Advance {
    /// It said nothing new.
    Nothing,
    /// The status is as before; an earlier one is now known, or since when.
    Noted,
    /// The status has moved forward.
    Forward,
}

/// How far a message has come: altogether, or at one participant.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// For each status whether it was reported, and the earliest time it was reported for.
    reached: [Option<Option<i64>>; MessageStatus::ALL.len()],
}

impl Progress {
    /// The furthest status reported. `None` if there was none.
    pub fn status(&self) -> Option<MessageStatus> {
        self.reached().next_back().map(|(status, _)| status)
    }

    /// Since when that is the status, in milliseconds since 1970, where Meta said.
    pub fn since_ms(&self) -> Option<i64> {
        self.reached().next_back().and_then(|(_, at_ms)| at_ms)
    }

    /// Every status that was reported, in order, with the earliest time it was reported for. A status
    /// that was skipped is not made up.
    pub fn reached(&self) -> impl DoubleEndedIterator<Item = (MessageStatus, Option<i64>)> {
        MessageStatus::ALL.into_iter().zip(self.reached).filter_map(|(status, at)| Some((status, at?)))
    }

    /// Takes in a status.
    pub fn apply(&mut self, status: MessageStatus, at_ms: Option<i64>) -> Advance {
        let before = self.status();
        let Some(reached) = self.reached.get_mut(status as usize) else { return Advance::Nothing };
        // A repeat has a later time than what it repeats: webhooks bear the time they were made.
        let earliest = match (reached.flatten(), at_ms) {
            (Some(known), Some(at_ms)) => Some(known.min(at_ms)),
            (known, at_ms) => known.or(at_ms),
        };
        if reached.replace(earliest) == Some(earliest) {
            Advance::Nothing
        } else if Some(status) > before {
            Advance::Forward
        } else {
            Advance::Noted
        }
    }
}

/// The state of one message. Its size is bounded by [`PARTICIPANTS_MAX`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct MessageState {
    progress: Progress,
    participants: BTreeMap<Box<str>, Progress>,
}

impl MessageState {
    /// How far it has come; in groups, what was said of no participant, which is whether it was sent.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How far it has come at each participant of a group, by their id as the webhooks have it.
    pub fn participants(&self) -> impl Iterator<Item = (&str, &Progress)> {
        self.participants.iter().map(|(id, progress)| (&**id, progress))
    }

    /// Takes in an update of this message; whose it is, the caller has seen to.
    pub fn apply(&mut self, update: &StatusUpdate<'_>) -> Advance {
        let Some(status) = MessageStatus::parse(update.status) else { return Advance::Nothing };
        let Some(id) = update.participant.as_deref() else {
            return self.progress.apply(status, update.at_ms);
        };
        if let Some(progress) = self.participants.get_mut(id) {
            return progress.apply(status, update.at_ms);
        }
        if self.participants.len() >= PARTICIPANTS_MAX {
            // By id and not by arrival, so that the order of arrival makes no difference.
            if self.participants.last_key_value().is_some_and(|(last, _)| &**last < id) {
                return Advance::Nothing;
            }
            self.participants.pop_last();
        }
        let mut progress = Progress::default();
        let advance = progress.apply(status, update.at_ms);
        self.participants.insert(id.into(), progress);
        advance
    }
}
