//! Events of which only the record is there: their evidence is kept no more, or is not for the receiver.

use std::borrow::Cow;

use serde::Serialize;

use super::{BusinessNumber, Direction, NORMAL_VERSION, NormalEvent, Origin, Word, reading};
use crate::event::Kind;
use crate::status::{Advance, MessageState, StatusUpdate};

/// What is said of an event in place of `data`, where only its record is there.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Summary<'a> {
    /// Meta's word within the type: a message's type, a status, a call's event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<Cow<'a, str>>,
    /// The message it is or is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Cow<'a, str>>,
    /// Of a status in a group, at whom: the id that tells participants apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<Cow<'a, str>>,
    /// Of a status, what has become of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StatusState>,
}

/// What has become of a message that the business sent, once this status is taken in; in groups, at this one
/// participant. It only moves forward, in whatever order statuses arrive.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct StatusState {
    /// The furthest status: `sent`, `failed`, `delivered`, `read` or `played`, in this order. Absent where none of
    /// these was reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// Since when, by Meta's clock (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Whether it is this status that moved it forward.
    pub changed: bool,
}

/// What a record tells of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Its type, where that was found out from the evidence; else it is what most events of this kind have.
    pub event_type: Option<&'static str>,
    /// Its kind.
    pub kind: Kind,
    /// Meta's word within the kind.
    pub word: &'a str,
    /// The webhook field it came under.
    pub field: &'a str,
    /// The id of the business phone number.
    pub phone_number_id: Option<&'a str>,
    /// That number in digits.
    pub display_phone_number: Option<&'a str>,
    /// The WhatsApp Business Account.
    pub waba_id: Option<&'a str>,
    /// The message it is or is about.
    pub wamid: Option<&'a str>,
    /// Of a status in a group, at whom.
    pub participant: Option<&'a str>,
    /// When it happened, in milliseconds since 1970.
    pub occurred_at_ms: Option<i64>,
    /// Whether the evidence is kept no more.
    pub evidence_gone: bool,
}

impl StatusState {
    /// The state in which an update left its message, and what it did to it.
    pub fn of(state: &MessageState, update: &StatusUpdate<'_>, advance: Advance) -> Self {
        let participant = update.participant.as_deref();
        let progress = match participant {
            None => Some(state.progress()),
            Some(participant) => {
                state.participants().find(|(id, _)| *id == participant).map(|(_, progress)| progress)
            }
        };
        Self {
            status: progress.and_then(|progress| progress.status()).map(|status| status.as_str()),
            since: progress.and_then(|progress| progress.since_ms()).and_then(reading::time),
            changed: advance == Advance::Forward,
        }
    }
}

impl<'a> NormalEvent<'a> {
    /// The form of an event of which there is only a record: without `data`, and with a [`Summary`] in its place.
    pub fn of_record(record: &Record<'a>, origin: Origin<'a>) -> Self {
        let text = |text: Option<&'a str>| text.map(Cow::Borrowed);
        let number =
            BusinessNumber { id: text(record.phone_number_id), display: text(record.display_phone_number) };
        let summary = Summary {
            word: text(Some(record.word).filter(|word| !word.is_empty())),
            message_id: text(record.wamid),
            participant: text(record.participant),
            state: None,
        };
        Self {
            version: NORMAL_VERSION,
            id: Cow::Borrowed(origin.id),
            data: Word(record.event_type.unwrap_or_else(|| usual(record))).into(),
            summary: Some(summary),
            evidence_gone: record.evidence_gone,
            contact_change: None,
            source: Cow::Borrowed(origin.source),
            number: (number.id.is_some() || number.display.is_some()).then_some(number),
            waba_id: text(record.waba_id),
            conversation: text(origin.conversation),
            occurred_at: record.occurred_at_ms.and_then(reading::time),
            received_at: reading::time(origin.received_at_ms),
            direction: match record.kind {
                Kind::Message | Kind::Preference | Kind::Action | Kind::Automatic => Some(Direction::Inbound),
                Kind::Status | Kind::Echo | Kind::CallStatus => Some(Direction::Outbound),
                _ => None,
            },
            contact: None,
            group_id: None,
            field: Cow::Borrowed(record.field),
            is_copy: record.field == "standby",
            evidence: Cow::Borrowed(origin.evidence),
            raw: None,
        }
    }
}

/// The type that most events of such a record have.
fn usual(record: &Record<'_>) -> &'static str {
    match (record.kind, record.word) {
        (Kind::Message | Kind::Echo, "edit") => "message:edited",
        (Kind::Message | Kind::Echo, "revoke") => "message:revoked",
        (Kind::Message | Kind::Echo, "reaction") => "message:reaction",
        // What stands for a whole value has neither a word nor an id.
        (Kind::Message | Kind::Echo, "") if record.wamid.is_none() => "unknown",
        (Kind::Message, _) => "message:new",
        (Kind::Echo, _) => "message:echo",
        (Kind::Status, _) => "message:status",
        (Kind::History, "threads" | "errors") if record.wamid.is_none() => "history:chunk",
        (Kind::History, _) => "message:history",
        (Kind::Call, "connect") => "call:connect",
        (Kind::Call, "terminate") => "call:terminate",
        (Kind::Call, _) => "call:other",
        (Kind::CallStatus, _) => "call:status",
        (Kind::Group, _) => "group:updated",
        (Kind::Handover, _) => "conversation:handover",
        (Kind::ContactSync | Kind::Identity, _) => "contact:updated",
        (Kind::Preference, _) => "contact:preference",
        (Kind::Automatic, _) => "conversation:detection",
        (Kind::Tracking, _) => "tracking:tick",
        (Kind::Action, _) => "contact:action",
        (Kind::Error, _) => "error",
        (Kind::Account, word) => super::account::event_type(record.field, word),
        (Kind::Unknown, _) => "unknown",
    }
}
