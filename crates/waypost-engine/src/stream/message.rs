//! What has become of a message, told from all events that bear its id.

use serde::Serialize;
use waypost_domain::{EventId, UnixMillis};
use waypost_store::{EventRecord, MessageRecord};
use waypost_whatsapp::{Kind, MessageState, Progress};

use super::making::status_of;

/// A message and its state. Nothing of this is kept: it is found anew from the message's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageView {
    /// Its id at Meta.
    pub message_id: Box<str>,
    /// The source it belongs to.
    pub source: Box<str>,
    /// The number it was sent from or to: its id at Meta, or as people write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<Box<str>>,
    /// The conversation it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Box<str>>,
    /// `inbound` or `outbound`, where an event tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// Meta's word for what it is, such as `text`, where it was seen itself and not only what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word: Option<Box<str>>,
    /// The furthest status of a message that the business sent; in groups, of what was said of no participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// Since when, by Meta's clock, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<UnixMillis>,
    /// Every status that was reported, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<Reached>,
    /// In groups: how far it has come at each participant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<ParticipantView>,
    /// Its events, in order of acceptance.
    pub events: Vec<EventId>,
    /// Whether these are all events that are kept of it.
    pub whole: bool,
}

/// A status that was reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Which.
    pub status: &'static str,
    /// When, by Meta's clock, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<UnixMillis>,
}

/// How far a message has come at one participant of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParticipantView {
    /// Their id, as the statuses have it.
    pub id: Box<str>,
    /// The furthest status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// Every status that was reported, in order.
    pub reached: Vec<Reached>,
}

impl MessageView {
    /// A message with what its events tell.
    pub fn of(message: &MessageRecord) -> Self {
        let events = &message.events.events;
        let mut state = MessageState::default();
        for event in events {
            status_of(event).map(|update| state.apply(&update));
        }
        let last = |fact: fn(&EventRecord) -> Option<&Box<str>>| events.iter().rev().find_map(fact).cloned();
        let itself = events.iter().find(|event| [Kind::Message, Kind::Echo].contains(&kind(event)));
        let participants = state.participants().map(|(id, progress)| ParticipantView {
            id: id.into(),
            status: progress.status().map(|status| status.as_str()),
            reached: reached(progress),
        });
        Self {
            message_id: message.wamid.clone(),
            source: (&*message.source).into(),
            number: last(|event| {
                event.event.phone_number_id.as_ref().or(event.event.display_phone_number.as_ref())
            }),
            conversation: last(|event| event.event.conversation.as_ref()),
            direction: events.iter().find_map(|event| match kind(event) {
                Kind::Message => Some("inbound"),
                Kind::Echo | Kind::Status => Some("outbound"),
                _ => None,
            }),
            word: itself.map(|event| event.event.r#type.clone()),
            status: state.progress().status().map(|status| status.as_str()),
            since: state.progress().since_ms().map(UnixMillis),
            reached: reached(state.progress()),
            participants: participants.collect(),
            events: events.iter().map(|event| event.id).collect(),
            whole: message.events.whole,
        }
    }
}

fn kind(event: &EventRecord) -> Kind {
    Kind::parse(&event.event.kind).unwrap_or(Kind::Unknown)
}

fn reached(progress: &Progress) -> Vec<Reached> {
    let reached = progress.reached();
    reached.map(|(status, at)| Reached { status: status.as_str(), at: at.map(UnixMillis) }).collect()
}
