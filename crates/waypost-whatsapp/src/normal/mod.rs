//! Normalised events: one documented shape for whatever Meta sends, so that receivers need not know
//! Meta's.
//!
//! Promised, within [`NORMAL_VERSION`]:
//!
//! - **every event becomes exactly one**, and none is refused: what is not understood is `unknown`;
//! - **members are only added**: types, members and the values of open words (Meta's statuses, roles,
//!   reasons) may come, and receivers pass over those they do not know;
//! - **nothing is made up**: a member that Meta left out, or wrote as `null`, as `""` or as something
//!   of another type, is absent. Ids and prices are in Meta's own digits;
//! - **records stay readable**: of an event whose evidence is kept no more, or is not for the receiver, its record is
//!   told in the same shape ([`NormalEvent::of_record`]), without `data`;
//! - **nothing is lost**: the event as Meta wrote it travels along where asked for
//!   ([`NormalEvent::with_raw`]).
//!
//! The shape as JSON Schema is [`NORMAL_SCHEMA`], as TypeScript [`NORMAL_TYPES`]; both are made from the
//! types here, and a test keeps them so.

mod account;
mod bare;
mod content;
mod conversation;
mod message;
mod person;
mod reading;
#[cfg(test)]
mod schema;

use std::borrow::Cow;

use serde::Serialize;

pub use account::{AccountChange, Template};
pub use bare::{Record, StatusState, Summary};
pub use content::{Content, Media, OrderItem};
pub use conversation::{
    Call, Detection, GroupChange, Handover, HistoryChunk, HistoryMessage, HistoryThread, Pricing,
    StatusReport, Tick,
};
pub use message::{Context, Message, Problem, Reaction, Referral};
pub use person::{Action, ContactUpdate, PersonView, Preference};
pub use reading::{Fragment, LIST_MAX, Number};

use crate::contact::renaming;
use crate::envelope;
use crate::event::{Event, Kind, Part};
use crate::json::Value;
use reading::Object;

/// The version of the shape; it changes only where a receiver of the old one could break.
pub const NORMAL_VERSION: u32 = 1;

/// The shape of [`NormalEvent`] as JSON Schema (draft 2020-12).
pub const NORMAL_SCHEMA: &str = include_str!("../../schema/event.schema.json");

/// The shape of [`NormalEvent`] as TypeScript types.
pub const NORMAL_TYPES: &str = include_str!("../../schema/event.d.ts");

/// Every type of event.
pub const TYPES: [&str; 31] = [
    "message:new",
    "message:edited",
    "message:revoked",
    "message:reaction",
    "message:echo",
    "message:status",
    "message:history",
    "history:chunk",
    "contact:new",
    "contact:updated",
    "contact:preference",
    "contact:action",
    "call:connect",
    "call:terminate",
    "call:status",
    "call:other",
    "conversation:handover",
    "conversation:detection",
    "group:updated",
    "tracking:tick",
    "error",
    "account:template",
    "account:quality",
    "account:limits",
    "account:review",
    "account:restriction",
    "account:alert",
    "account:security",
    "account:flow",
    "account:updated",
    "unknown",
];

/// What the gateway knows of an event, and Meta does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin<'a> {
    /// Its id here.
    pub id: &'a str,
    /// The address it came in by.
    pub source: &'a str,
    /// When it was accepted, in milliseconds since 1970.
    pub received_at_ms: i64,
    /// The conversation it was found to belong to, where that is known better than by
    /// [`Event::conversation`].
    pub conversation: Option<&'a str>,
    /// Where the request it came in can be looked at.
    pub evidence: &'a str,
}

/// One event, in the shape that receivers get.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct NormalEvent<'a> {
    /// The version of this shape.
    pub version: u32,
    /// The gateway's id of the event. Ids ascend in order of acceptance.
    pub id: Cow<'a, str>,
    /// What happened, and what is said of it.
    #[serde(flatten)]
    pub data: Told<'a>,
    /// What stands in place of `data` where only the event's record is there: where the evidence is kept no more,
    /// or the receiver may not see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary<'a>>,
    /// Whether the evidence is kept no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub evidence_gone: bool,
    /// What this event, besides what it says, told of the person: where a stream carries an event of its own for
    /// that, it goes before this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_change: Option<ContactChange>,
    /// The address it came in by.
    pub source: Cow<'a, str>,
    /// The business number it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<BusinessNumber<'a>>,
    /// The WhatsApp Business Account it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waba_id: Option<Cow<'a, str>>,
    /// The conversation it belongs to. One person stays one conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Cow<'a, str>>,
    /// When it happened, by Meta's clock (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<String>,
    /// When it was accepted, by the gateway's clock (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<String>,
    /// Who wrote or called; of a status, who wrote what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// Whom it is from, to or about; in groups the one participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<PersonView<'a>>,
    /// The group it happened in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Cow<'a, str>>,
    /// The webhook field it came under.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub field: Cow<'a, str>,
    /// Whether it is a copy, while another role has control of the conversation: not to be answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_copy: bool,
    /// Where the request it came in can be looked at.
    pub evidence: Cow<'a, str>,
    /// The event as Meta wrote it, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Fragment<'a>>,
}

/// A business number.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct BusinessNumber<'a> {
    /// Meta's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// The number, as Meta writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<Cow<'a, str>>,
}

/// Who wrote or called.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A person.
    Inbound,
    /// The business.
    Outbound,
}

/// What an event told of its person.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum ContactChange {
    /// It is the first that was heard of them.
    New,
    /// A name, username or identity of theirs is new.
    Updated,
}

/// What happened, with all that is said of it or by its type alone.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "nearly all events have data")]
pub enum Told<'a> {
    /// What happened, and what is said of it.
    Data(Data<'a>),
    /// Only the record is there; `summary` says what that tells.
    Bare {
        /// What happened.
        r#type: Word,
    },
}

impl Told<'_> {
    /// The word for what happened.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Data(data) => data.event_type(),
            Self::Bare { r#type } => r#type.0,
        }
    }
}

impl From<Word> for Told<'_> {
    fn from(r#type: Word) -> Self {
        Self::Bare { r#type }
    }
}

impl<'a> From<Data<'a>> for Told<'a> {
    fn from(data: Data<'a>) -> Self {
        Self::Data(data)
    }
}

/// The type of an event: one of [`TYPES`].
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub struct Word(&'static str);

/// What happened: `type` is the word for it, `data` what is said of it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Clone, PartialEq, Serialize, Debug)]
#[serde(tag = "type", content = "data")]
pub enum Data<'a> {
    /// A person wrote.
    #[serde(rename = "message:new")]
    MessageNew(Message<'a>),
    /// A message was edited; its content is an `edit`.
    #[serde(rename = "message:edited")]
    MessageEdited(Message<'a>),
    /// A message was deleted for everyone; its content is a `revoke`.
    #[serde(rename = "message:revoked")]
    MessageRevoked(Message<'a>),
    /// Somebody reacted to a message, or took that back.
    #[serde(rename = "message:reaction")]
    MessageReaction(Reaction<'a>),
    /// A message was sent on the business side by another sender.
    #[serde(rename = "message:echo")]
    MessageEcho(Message<'a>),
    /// What became of a message that the business sent.
    #[serde(rename = "message:status")]
    MessageStatus(StatusReport<'a>),
    /// A message of chat history that came by itself.
    #[serde(rename = "message:history")]
    MessageHistory(Message<'a>),
    /// A piece of chat history.
    #[serde(rename = "history:chunk")]
    HistoryChunk(HistoryChunk<'a>),
    /// The gateway saw a person for the first time.
    #[serde(rename = "contact:new")]
    ContactNew {},
    /// Something about a person changed.
    #[serde(rename = "contact:updated")]
    ContactUpdated(ContactUpdate<'a>),
    /// A person chose what to be sent.
    #[serde(rename = "contact:preference")]
    ContactPreference(Preference<'a>),
    /// A person did something, such as following a link.
    #[serde(rename = "contact:action")]
    ContactAction(Action<'a>),
    /// A call begins.
    #[serde(rename = "call:connect")]
    CallConnect(Call<'a>),
    /// A call has ended.
    #[serde(rename = "call:terminate")]
    CallTerminate(Call<'a>),
    /// How a call by the business fares.
    #[serde(rename = "call:status")]
    CallStatus(Call<'a>),
    /// Something else about a call.
    #[serde(rename = "call:other")]
    CallOther(Call<'a>),
    /// Control of a conversation was passed or taken.
    #[serde(rename = "conversation:handover")]
    ConversationHandover(Handover<'a>),
    /// A lead or purchase was detected in a conversation.
    #[serde(rename = "conversation:detection")]
    ConversationDetection(Detection<'a>),
    /// A group was created, changed, joined, left or suspended.
    #[serde(rename = "group:updated")]
    GroupUpdated(GroupChange<'a>),
    /// A tick of marketing delivery tracking.
    #[serde(rename = "tracking:tick")]
    TrackingTick(Tick<'a>),
    /// An error that belongs to no message.
    #[serde(rename = "error")]
    Error(Problem<'a>),
    /// A template was approved, rejected, rated, moved or changed.
    #[serde(rename = "account:template")]
    AccountTemplate(AccountChange<'a>),
    /// A number's quality or throughput changed.
    #[serde(rename = "account:quality")]
    AccountQuality(AccountChange<'a>),
    /// Limits changed.
    #[serde(rename = "account:limits")]
    AccountLimits(AccountChange<'a>),
    /// An account or a display name was reviewed.
    #[serde(rename = "account:review")]
    AccountReview(AccountChange<'a>),
    /// The account was restricted, banned or deleted.
    #[serde(rename = "account:restriction")]
    AccountRestriction(AccountChange<'a>),
    /// An alert was raised.
    #[serde(rename = "account:alert")]
    AccountAlert(AccountChange<'a>),
    /// A two-step PIN was changed or asked for.
    #[serde(rename = "account:security")]
    AccountSecurity(AccountChange<'a>),
    /// A flow's status or health changed.
    #[serde(rename = "account:flow")]
    AccountFlow(AccountChange<'a>),
    /// Anything else about the account: settings, usernames, partners, payments.
    #[serde(rename = "account:updated")]
    AccountUpdated(AccountChange<'a>),
    /// Something that is not understood.
    #[serde(rename = "unknown")]
    Unknown {
        /// As Meta wrote it; absent where the body is no JSON.
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<Fragment<'a>>,
    },
}

impl Data<'_> {
    /// The word for it: one of [`TYPES`].
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::MessageNew { .. } => "message:new",
            Self::MessageEdited { .. } => "message:edited",
            Self::MessageRevoked { .. } => "message:revoked",
            Self::MessageReaction { .. } => "message:reaction",
            Self::MessageEcho { .. } => "message:echo",
            Self::MessageStatus { .. } => "message:status",
            Self::MessageHistory { .. } => "message:history",
            Self::HistoryChunk { .. } => "history:chunk",
            Self::ContactNew { .. } => "contact:new",
            Self::ContactUpdated { .. } => "contact:updated",
            Self::ContactPreference { .. } => "contact:preference",
            Self::ContactAction { .. } => "contact:action",
            Self::CallConnect { .. } => "call:connect",
            Self::CallTerminate { .. } => "call:terminate",
            Self::CallStatus { .. } => "call:status",
            Self::CallOther { .. } => "call:other",
            Self::ConversationHandover { .. } => "conversation:handover",
            Self::ConversationDetection { .. } => "conversation:detection",
            Self::GroupUpdated { .. } => "group:updated",
            Self::TrackingTick { .. } => "tracking:tick",
            Self::Error { .. } => "error",
            Self::AccountTemplate { .. } => "account:template",
            Self::AccountQuality { .. } => "account:quality",
            Self::AccountLimits { .. } => "account:limits",
            Self::AccountReview { .. } => "account:review",
            Self::AccountRestriction { .. } => "account:restriction",
            Self::AccountAlert { .. } => "account:alert",
            Self::AccountSecurity { .. } => "account:security",
            Self::AccountFlow { .. } => "account:flow",
            Self::AccountUpdated { .. } => "account:updated",
            Self::Unknown { .. } => "unknown",
        }
    }
}

impl<'a> NormalEvent<'a> {
    /// The normalised form of an event of a body, in time linear in the body's size: of a batch, pass
    /// each event's own body ([`crate::Cuts`]).
    pub fn of(body: &'a [u8], event: &Event<'a>, origin: Origin<'a>) -> Self {
        let raw = Value::of(event.raw);
        let object = Object::of(raw);
        let value = envelope::value_around(body, event.place);
        let data = data(event, raw, &object, value);
        let mut contact = match &event.contact {
            Some(contact) => PersonView::from(contact),
            None => participant(event, &object),
        };
        contact.complete(value);
        if let Some(hash) = object.id("recipient_identity_key_hash") {
            contact.identity_key_hash.get_or_insert(hash);
        }
        let number =
            BusinessNumber { id: event.phone_number_id.clone(), display: event.display_phone_number.clone() };
        let conversation = origin.conversation.map(Cow::Borrowed);
        Self {
            version: NORMAL_VERSION,
            id: Cow::Borrowed(origin.id),
            source: Cow::Borrowed(origin.source),
            number: (number.id.is_some() || number.display.is_some()).then_some(number),
            waba_id: event.waba_id.clone(),
            conversation: conversation.or_else(|| event.conversation.clone().map(Cow::Owned)),
            occurred_at: event.occurred_at_ms.and_then(reading::time),
            received_at: reading::time(origin.received_at_ms),
            direction: direction(event, &object),
            contact: Some(contact).filter(PersonView::is_somebody),
            group_id: group(event, &object),
            field: event.field.clone(),
            is_copy: event.field == "standby",
            evidence: Cow::Borrowed(origin.evidence),
            raw: None,
            data: data.into(),
            summary: None,
            evidence_gone: false,
            contact_change: None,
        }
    }

    /// The same with the event as Meta wrote it.
    #[must_use]
    pub fn with_raw(self, event: &Event<'a>) -> Self {
        Self { raw: fragment(event), ..self }
    }

    /// The same with what has become of the message that a status is about.
    #[must_use]
    pub fn with_state(mut self, state: StatusState) -> Self {
        if let Told::Data(Data::MessageStatus(report)) = &mut self.data {
            report.state = Some(state);
        } else if let Some(summary) = &mut self.summary {
            summary.state = Some(state);
        }
        self
    }

    /// The same with what it told of its person.
    #[must_use]
    pub fn with_contact_change(self, change: ContactChange) -> Self {
        Self { contact_change: Some(change), ..self }
    }

    /// What says of the event's person that they were seen for the first time, or that something about them changed,
    /// with this very event.
    #[must_use]
    pub fn about_contact(self, change: ContactChange, id: &'a str) -> Self {
        let data = match change {
            ContactChange::New => Data::ContactNew {},
            ContactChange::Updated => Data::ContactUpdated(ContactUpdate::profile()),
        };
        let data = match self.data {
            Told::Data(_) => data.into(),
            Told::Bare { .. } => Word(data.event_type()).into(),
        };
        Self {
            id: Cow::Borrowed(id),
            data,
            summary: None,
            contact_change: None,
            direction: None,
            raw: None,
            ..self
        }
    }
}

fn fragment<'a>(event: &Event<'a>) -> Option<Fragment<'a>> {
    // A body that is not JSON is its own only event, and has no place in JSON.
    Value::parse(event.raw).map(Fragment::new)
}

fn data<'a>(event: &Event<'a>, raw: Value<'a>, object: &Object<'a>, value: Option<Value<'a>>) -> Data<'a> {
    let unknown = || Data::Unknown { details: fragment(event) };
    let is_element = matches!(event.place.part, Part::Element { .. });
    let is_change = matches!(event.kind, Kind::Handover | Kind::Account);
    if !(is_element || is_change && event.place.part == Part::Value) {
        return unknown();
    }
    let whole = || Fragment::new(raw);
    let message = || {
        Message::of(object, value.and_then(|value| value.member("conversation_context")).map(Fragment::new))
    };
    match event.kind {
        Kind::Message | Kind::Echo => match (&*event.r#type, event.kind) {
            ("edit", _) => Data::MessageEdited(message()),
            ("revoke", _) => Data::MessageRevoked(message()),
            ("reaction", _) => Data::MessageReaction(Reaction::of(object)),
            (_, Kind::Echo) => Data::MessageEcho(message()),
            // A system message that tells of new ids is about the contact.
            ("system", _) => {
                let update = ContactUpdate::system(object);
                let update = update.filter(|update| renaming(&update.change).is_some());
                update.map_or_else(|| Data::MessageNew(message()), Data::ContactUpdated)
            }
            _ => Data::MessageNew(message()),
        },
        Kind::Status => Data::MessageStatus(StatusReport::of(object)),
        Kind::History if matches!(event.place.part, Part::Element { array: "history", .. }) => {
            Data::HistoryChunk(HistoryChunk::of(object))
        }
        Kind::History => Data::MessageHistory(message()),
        Kind::Call => match &*event.r#type {
            "connect" => Data::CallConnect(Call::of(object, None)),
            "terminate" => Data::CallTerminate(Call::of(object, None)),
            _ => Data::CallOther(Call::of(object, Some(whole()))),
        },
        Kind::CallStatus => Data::CallStatus(Call::of(object, None)),
        Kind::Group => Data::GroupUpdated(GroupChange::of(object, whole())),
        Kind::Handover => Data::ConversationHandover(Handover::of(object)),
        Kind::ContactSync => Data::ContactUpdated(ContactUpdate::address_book(object)),
        Kind::Preference => Data::ContactPreference(Preference::of(object)),
        Kind::Identity => Data::ContactUpdated(ContactUpdate::user_id(object)),
        Kind::Automatic => Data::ConversationDetection(Detection::of(object)),
        Kind::Tracking => Data::TrackingTick(Tick::of(object)),
        Kind::Action => Data::ContactAction(Action::of(object)),
        Kind::Error => Data::Error(Problem::of(raw)),
        Kind::Account => account(event, AccountChange::of(object, &event.r#type, whole())),
        Kind::Unknown => unknown(),
    }
}

fn account<'a>(event: &Event<'a>, change: AccountChange<'a>) -> Data<'a> {
    match account::event_type(&event.field, &event.r#type) {
        "account:quality" => Data::AccountQuality(change),
        "account:limits" => Data::AccountLimits(change),
        "account:review" => Data::AccountReview(change),
        "account:restriction" => Data::AccountRestriction(change),
        "account:alert" => Data::AccountAlert(change),
        "account:security" => Data::AccountSecurity(change),
        "account:flow" => Data::AccountFlow(change),
        "account:template" => Data::AccountTemplate(change),
        _ => Data::AccountUpdated(change),
    }
}

/// Whom an event in a group is from or about.
fn participant<'a>(event: &Event<'a>, object: &Object<'a>) -> PersonView<'a> {
    match event.kind {
        Kind::Message => PersonView::of(object, "from_parent_user_id", "from_user_id", "from"),
        Kind::Status => {
            let names = ("recipient_participant_parent_user_id", "recipient_participant_user_id");
            let mut person = PersonView::of(object, names.0, names.1, "recipient_participant_id");
            person.wa_id = person.wa_id.or_else(|| object.id("participant_recipient_id"));
            person
        }
        _ => PersonView::default(),
    }
}

fn group<'a>(event: &Event<'a>, object: &Object<'a>) -> Option<Cow<'a, str>> {
    let is_group = || object.id("recipient_type").is_some_and(|kind| kind == "group");
    match event.kind {
        Kind::Status if is_group() => object.id("recipient_id").or_else(|| object.id("group_id")),
        Kind::Message | Kind::Echo | Kind::History | Kind::Group => object.id("group_id"),
        _ => None,
    }
}

fn direction(event: &Event<'_>, object: &Object<'_>) -> Option<Direction> {
    let by_business = || object.id("from").is_some() && object.id("from") == event.display_phone_number;
    let is_by_somebody = || object.id("from").or_else(|| object.id("from_user_id")).is_some();
    let of = |by_business: bool| Some(if by_business { Direction::Outbound } else { Direction::Inbound });
    match event.kind {
        Kind::Message | Kind::Preference | Kind::Action | Kind::Automatic => Some(Direction::Inbound),
        Kind::Status | Kind::Echo | Kind::CallStatus => Some(Direction::Outbound),
        Kind::Call => match object.id("direction").as_deref() {
            Some("BUSINESS_INITIATED") => Some(Direction::Outbound),
            Some("USER_INITIATED") => Some(Direction::Inbound),
            _ if is_by_somebody() => of(by_business()),
            _ => None,
        },
        Kind::History if matches!(event.place.part, Part::Element { array: "history", .. }) => None,
        Kind::History => {
            of(by_business() || matches!(event.place.part, Part::Element { array: "message_echoes", .. }))
        }
        _ => None,
    }
}
