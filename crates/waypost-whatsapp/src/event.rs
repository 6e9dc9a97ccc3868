//! What a body holds once it is split: events, their kinds and their places.

use std::borrow::Cow;
use std::fmt;

use crate::contact::Contact;

/// The events of one body, in the order in which they stand in it; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Split<'a> {
    /// At least one event, whatever the bytes were.
    pub events: Vec<Event<'a>>,
    /// Whether the body is JSON in UTF-8. If not, there is one event, of kind `unknown`.
    pub readable: bool,
}

/// One thing that happened: a message, a status, an echo, a call, one account-level change, or
/// something not understood, which is kept all the same.
///
/// Texts are taken from the body as they are. Missing, `null` and `""` are the same: absent. A text
/// that no store can hold as text (it has half a surrogate pair, or a NUL) stands in its escaped
/// form, as it is in the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// What it is.
    pub kind: Kind,
    /// How careful one must be with it.
    pub class: Class,
    /// The webhook field it came under, such as `messages`; empty where there is none.
    pub field: Cow<'a, str>,
    /// Meta's own word within the kind: a message's type, a status, a call's or template's event,
    /// an error's code; empty where there is none.
    pub r#type: Cow<'a, str>,
    /// The id of the business phone number it belongs to.
    pub phone_number_id: Option<Cow<'a, str>>,
    /// That number in digits, as Meta writes it.
    pub display_phone_number: Option<Cow<'a, str>>,
    /// The WhatsApp Business Account it belongs to.
    pub waba_id: Option<Cow<'a, str>>,
    /// `phone number id:contact`, the contact being the group's id in groups, else the parent
    /// business-scoped user id, else the business-scoped user id, else the phone number.
    pub conversation: Option<String>,
    /// Every identity of the person the conversation is with. `None` in groups, and wherever there is
    /// no conversation.
    pub contact: Option<Contact<'a>>,
    /// Meta's id of the message it is or is about.
    pub wamid: Option<Cow<'a, str>>,
    /// The identity key: the same for every copy of this event, different for any other.
    pub key: String,
    /// When it happened, in milliseconds since 1970, from the element or else its entry.
    pub occurred_at_ms: Option<i64>,
    /// Whether the key may suppress repeats. Not so for the dashboard's test payloads, whose ids
    /// never change, nor for bare errors, which have no id.
    pub once: bool,
    /// Where it stands in the body.
    pub place: Place,
    /// Its own bytes: a slice of the body. Empty only where the body is not UTF-8.
    pub raw: &'a str,
}

/// Where in a body an event stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which entry, counted from 0.
    pub entry: usize,
    /// Which change of the entry, counted from 0.
    pub change: usize,
    /// Which part of the change.
    pub part: Part,
}

/// The part of a body that an event stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The whole body: it holds no change that could be found.
    Body,
    /// A whole entry: it has no changes.
    Entry,
    /// The whole `value` of a change (or the change itself, where it has no value).
    Value,
    /// An element of an array in the value.
    Element {
        /// The array's name: `messages`, or `standby.messages` where it stands in an object.
        array: &'static str,
        /// Which element, counted from 0.
        index: usize,
    },
}

/// What an event is. The words of [`Kind::as_str`] are a contract with operators and receivers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// An inbound message of any type, reactions, edits and system messages included.
    Message,
    /// What became of a message the business sent.
    Status,
    /// A message sent on the business side by another sender.
    Echo,
    /// A call beginning, ending or otherwise happening.
    Call,
    /// What became of a call the business placed.
    CallStatus,
    /// A group created, changed, joined, left or suspended.
    Group,
    /// Control of a conversation passed or taken.
    Handover,
    /// A piece of a number's chat history.
    History,
    /// A contact added to or removed from the business's address book.
    ContactSync,
    /// A person's choice about marketing messages.
    Preference,
    /// A person's business-scoped user id changed.
    Identity,
    /// A lead or purchase that Meta detected in a conversation.
    Automatic,
    /// A tick of marketing delivery tracking.
    Tracking,
    /// Something a person did, such as following a link.
    Action,
    /// An error that belongs to no message.
    Error,
    /// A change at the level of the account, number, template or flow.
    Account,
    /// Anything else.
    Unknown,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Message,
        Self::Status,
        Self::Echo,
        Self::Call,
        Self::CallStatus,
        Self::Group,
        Self::Handover,
        Self::History,
        Self::ContactSync,
        Self::Preference,
        Self::Identity,
        Self::Automatic,
        Self::Tracking,
        Self::Action,
        Self::Error,
        Self::Account,
        Self::Unknown,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Status => "status",
            Self::Echo => "echo",
            Self::Call => "call",
            Self::CallStatus => "call_status",
            Self::Group => "group",
            Self::Handover => "handover",
            Self::History => "history",
            Self::ContactSync => "contact_sync",
            Self::Preference => "preference",
            Self::Identity => "identity",
            Self::Automatic => "automatic",
            Self::Tracking => "tracking",
            Self::Action => "action",
            Self::Error => "error",
            Self::Account => "account",
            Self::Unknown => "unknown",
        }
    }

    /// The kind a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How careful one must be with an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// On the message path: holds what people wrote or who they are. Whatever is not understood
    /// counts as this.
    Message,
    /// Operational: about accounts, numbers and templates.
    Operational,
}

impl Class {
    /// The class of every event of a kind: only what is known to be about accounts is operational.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Account => Self::Operational,
            _ => Self::Message,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Operational => "operational",
        }
    }

    /// The class a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Message, Self::Operational].into_iter().find(|class| class.as_str() == word)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
