//! What is asked and told of what happened, by those who follow it: events as they come, messages with all that is
//! told of them, people.

use std::sync::Arc;

use waypost_domain::{EventId, UnixMillis};

use crate::EventRecord;

/// Most events that are read of one message: the latest. One to one it has a handful; in a group each participant
/// adds some.
pub const MESSAGE_EVENTS_MAX: usize = 2_000;

/// Longest name or username of a person that is kept, in bytes; what is longer is cut.
pub const PERSON_NAME_BYTES_MAX: usize = 1_024;

/// What an event told of the person whom its conversation is with, at its acceptance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PersonFact {
    /// Nothing new, or the conversation is not with one person. So it is of every repeat, and of every event that was
    /// accepted before such facts were kept.
    #[default]
    Nothing,
    /// It is the first that was ever heard of the person, or the first since they were forgotten with the last record
    /// of them.
    New,
    /// A name, a username or an identity of theirs is new; or two who were known turned out to be one.
    Changed,
}

impl PersonFact {
    /// All facts.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::New, Self::Changed];
}

/// Which events to read, in order of acceptance.
#[derive(Debug, Clone, Copy)]
pub struct AfterPage {
    /// Only those after this one, whether or not it is still kept; `None` for all there are.
    pub after: Option<EventId>,
    /// So many are looked at, one at least and no more than 1,000. Repeats among them are left out.
    pub limit: usize,
}

/// Events in order of acceptance.
#[derive(Debug, Clone)]
pub struct EventsAfter {
    /// The events, repeats left out. Their deliveries are not read.
    pub events: Vec<EventRecord>,
    /// The last one that was looked at: what to set as [`AfterPage::after`] to go on. Where there was none, what
    /// was asked for.
    pub last: Option<EventId>,
    /// Whether there may be more by now.
    pub more: bool,
}

/// Where what is kept of events begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    /// The oldest event there is.
    pub oldest: Option<EventId>,
    /// The newest event there is.
    pub newest: Option<EventId>,
    /// The newest one that is gone. Whoever has come as far misses nothing of what followed; whoever has not may.
    pub gone: Option<EventId>,
}

/// All that is kept of one message of one source.
#[derive(Debug, Clone)]
pub struct MessageEvents {
    /// Its events in order of acceptance, repeats left out; the latest [`MESSAGE_EVENTS_MAX`]. Their deliveries are not
    /// read.
    pub events: Vec<EventRecord>,
    /// Whether these are all that are kept.
    pub whole: bool,
}

/// Which messages to list, by the latest event of each. Conditions that are set must all hold.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Of this source.
    pub source: Option<String>,
    /// Of this number: its id at Meta or as people write it.
    pub number: Option<String>,
    /// Of this conversation, by its name or by any identity of the person: number, a colon, identity.
    pub conversation: Option<String>,
    /// With this message id.
    pub wamid: Option<String>,
    /// Its latest event received at this moment or later.
    pub since: Option<UnixMillis>,
    /// Its latest event received before this moment.
    pub until: Option<UnixMillis>,
}

/// Where a list of messages goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageCursor {
    /// Only messages whose latest event is older than this one,
    pub before: EventId,
    /// what was latest when this one was the newest of all: what happens while a list is read moves nothing in it.
    pub as_of: EventId,
}

/// A page of messages.
#[derive(Debug, Clone, Copy)]
pub struct MessagePage {
    /// From where to go on; `None` for the first page.
    pub from: Option<MessageCursor>,
    /// At most so many; the store reads one at least and no more than 200.
    pub limit: usize,
}

/// A message, with all that is kept of it.
#[derive(Debug, Clone)]
pub struct MessageRecord {
    /// The source it belongs to. What bears the same id at another source is another message.
    pub source: Arc<str>,
    /// Its id at Meta.
    pub wamid: Box<str>,
    /// What happened to it.
    pub events: MessageEvents,
}

/// A page of messages.
#[derive(Debug, Clone)]
pub struct MessageList {
    /// The messages, the one with the latest event first.
    pub messages: Vec<MessageRecord>,
    /// What to set as [`MessagePage::from`] to go on; `None` at the end.
    pub next: Option<MessageCursor>,
}

/// Which people to list. Conditions that are set must all hold.
#[derive(Debug, Clone, Default)]
pub struct ContactFilter {
    /// Known to this source.
    pub source: Option<String>,
    /// At this number of ours: its id at Meta, or as people write it where Meta gave none.
    pub number: Option<String>,
    /// Whose conversation it is, by its name or by any identity of the person: number, a colon, identity.
    pub conversation: Option<String>,
    /// Known by this identity: a phone number in digits or a user id.
    pub identity: Option<String>,
}

/// A person at one of our numbers: whom a conversation is with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactRecord {
    /// The event with which their conversation began; it need not be kept any more.
    pub began: EventId,
    /// The name of their conversation.
    pub conversation: Box<str>,
    /// The source that knows them. What another source knows of the same person is a record of its own.
    pub source: Arc<str>,
    /// Our number: its id at Meta, or as people write it where Meta gave none.
    pub number: Box<str>,
    /// Every identity that leads to them: phone numbers in digits and user ids, in order of their texts.
    pub identities: Vec<Box<str>>,
    /// What they call themselves, as last told.
    pub name: Option<Box<str>>,
    /// Their username, as last told.
    pub username: Option<Box<str>>,
    /// When they were first seen.
    pub first_seen_at: UnixMillis,
    /// When they were last seen: at this moment, or less than a day after it.
    pub last_seen_at: UnixMillis,
}

/// A page of people.
#[derive(Debug, Clone)]
pub struct ContactList {
    /// The people, those first whose conversations began last.
    pub contacts: Vec<ContactRecord>,
    /// What to set as [`crate::Page::before`] to go on; `None` at the end.
    pub next: Option<EventId>,
}
