//! What goes in and out of the store: one struct for each thing that is asked or told.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use waypost_domain::{
    AttemptTiming, DeliveryId, DeliveryState, EventId, HeaderBlock, Lanes, Priority, RequestId, UnixMillis,
};

use crate::PersonFact;

/// One request to be kept, with what happened in it and who is owed it.
#[derive(Debug)]
pub struct Accept {
    /// The name of the source (or upstream) it came to.
    pub source: Arc<str>,
    /// Within which identity keys are compared: the callback address. Never shared by two sources.
    pub scope: Arc<str>,
    /// When it came.
    pub received_at: UnixMillis,
    /// The path and query for the receiver, byte for byte.
    pub target: String,
    /// The headers that go along with every attempt.
    pub headers: HeaderBlock,
    /// The body, byte for byte.
    pub body: Bytes,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// The label of the app secret that proved it, where one did.
    pub proved_by: Option<Arc<str>>,
    /// What happened in it, in order. A request without any is kept with its body and owed to nobody.
    pub events: Vec<NewEvent>,
    /// Who is owed it. An entry counts only if something that it covers is new.
    pub deliveries: Vec<NewDelivery>,
}

/// One event of a request that is being accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The word for its kind: `message`, `status`, …
    pub kind: Cow<'static, str>,
    /// `message` or `operational`.
    pub class: Cow<'static, str>,
    /// Meta's field name.
    pub field: Box<str>,
    /// `text`, `delivered`, `connect`, …
    pub r#type: Box<str>,
    /// The number's id at Meta.
    pub phone_number_id: Option<Box<str>>,
    /// The number as people write it.
    pub display_phone_number: Option<Box<str>>,
    /// The WhatsApp Business Account.
    pub waba_id: Option<Box<str>>,
    /// The conversation as this payload alone tells it: phone number id, a colon, and the strongest identity
    /// of the contact (or the group). An event that was read back has the name of the conversation that it was
    /// found to belong to.
    pub conversation: Option<Box<str>>,
    /// Everything by which the payload knows the person whom the conversation is with. `None` where it is not
    /// with one person, and in events that were read back.
    pub contact: Option<NewContact>,
    /// The message's id at Meta.
    pub wamid: Option<Box<str>>,
    /// The readable identity key. Events with equal keys have equal `wamid`s.
    pub key: Box<str>,
    /// Meta's own time.
    pub occurred_at: Option<UnixMillis>,
    /// Whether a second event with the same key in the same scope is a duplicate. False for
    /// Meta's dashboard tests, whose ids never change, and for events without an identity.
    pub once: bool,
    /// Whether it is held until an operator says to whom it goes, since no route takes it. A repeat never is.
    pub quarantined: bool,
}

/// The identities of one person at one of our numbers, each as the payload gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewContact {
    /// Our number's id, or where it is missing the number as people write it. A person is known to each of our
    /// numbers apart.
    pub number: Box<str>,
    /// The user id of the parent business.
    pub parent: Option<Box<str>>,
    /// The user id of this business.
    pub user: Option<Box<str>>,
    /// The person's phone number in digits.
    pub phone: Option<Box<str>>,
    /// What the person calls themselves. None says nothing of it.
    pub name: Option<Box<str>>,
    /// The person's username; none says nothing of it either.
    pub username: Option<Box<str>>,
    /// Identities that, as this very payload says, were the same person's before. A phone number among them is
    /// the person's no longer.
    pub former: Vec<Box<str>>,
}

/// Most deliveries that one request gives rise to. The events that come after are quarantined instead, so that
/// none is refused, lost or sent to anybody else: an operator releases them in steps.
pub const DELIVERIES_PER_REQUEST_MAX: usize = 65_536;

/// Deliveries that may later be made of one quarantined event.
pub const RELEASED_PER_EVENT_MAX: usize = 1_024;

/// What a new delivery carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// The whole request, owed if any of its events is new.
    Request,
    /// One event, by its place in [`Accept::events`], owed if it is new.
    Event(u32),
}

/// One delivery that a request gives rise to.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The destination's name.
    pub destination: Arc<str>,
    /// What it carries. It waits for the lanes of all conversations that this touches.
    pub covers: Covers,
    /// How urgent it is.
    pub priority: Priority,
}

/// What became of an [`Accept`].
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The request's identifier.
    pub request: RequestId,
    /// For each event in order: its identifier, and the earlier event it repeats, if any.
    pub events: Vec<(EventId, Option<EventId>)>,
    /// The deliveries that are now owed, in order of acceptance.
    pub owed: Vec<OwedDelivery>,
    /// How many events are quarantined.
    pub quarantined: usize,
}

impl Accepted {
    /// Whether every event had been accepted before.
    pub fn is_duplicate(&self) -> bool {
        !self.events.is_empty() && self.events.iter().all(|(_, repeats)| repeats.is_some())
    }
}

/// A request that was kept and now has its place in the ledger.
#[derive(Debug)]
pub struct Applied {
    /// The request, as it was given.
    pub accept: Accept,
    /// What became of it.
    pub accepted: Accepted,
}

/// What is to be done with requests that were just applied: see [`crate::Store::when_applied`].
pub type WhenApplied = dyn Fn(Vec<Applied>) + Send + Sync;

/// A delivery's place in the order of its destination: greater goes later. At acceptance it is the number of
/// the delivery itself; a replay gives it a new one, after all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn(pub i64);

/// A delivery that is owed: all that the scheduler needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedDelivery {
    /// Its identifier; order of identifiers is order of acceptance.
    pub id: DeliveryId,
    /// Its place in the order of what is owed.
    pub turn: Turn,
    /// The request it belongs to.
    pub request: RequestId,
    /// The event it carries, or `None` for the whole request.
    pub event: Option<EventId>,
    /// The name of its destination.
    pub destination: Arc<str>,
    /// What it waits for.
    pub lanes: Lanes,
    /// How urgent it is.
    pub priority: Priority,
    /// Failed attempts so far, since acceptance or the last replay.
    pub attempts: u32,
    /// Not to be attempted before.
    pub due_at: UnixMillis,
    /// When its request was accepted, or it was last replayed: the schedule counts from here.
    pub accepted_at: UnixMillis,
    /// Whether later deliveries of its lanes have gone before it.
    pub overtaken: bool,
}

/// Which owed deliveries to read.
#[derive(Debug, Clone)]
pub struct OwedPage {
    /// Of this destination.
    pub destination: Arc<str>,
    /// Only those after this turn.
    pub after: Option<Turn>,
    /// At most so many; the store reads no more than [`waypost_domain::limits::LANE_WINDOW_MAX`].
    pub limit: usize,
}

/// Which owed deliveries that failed before are due.
#[derive(Debug, Clone)]
pub struct DuePage {
    /// Of this destination.
    pub destination: Arc<str>,
    /// Due at this moment or earlier.
    pub until: UnixMillis,
    /// Only those after this one: the due time and identifier of the last one of the page before.
    pub after: Option<(UnixMillis, DeliveryId)>,
    /// At most so many; the store reads no more than [`waypost_domain::limits::LANE_WINDOW_MAX`].
    pub limit: usize,
}

/// What an attempt needs of a request: the bytes as they came.
#[derive(Debug, Clone)]
pub struct RequestBody {
    /// The name of the source (or upstream) it came to.
    pub source: Arc<str>,
    /// The path and query for the receiver.
    pub target: String,
    /// The headers that go along.
    pub headers: HeaderBlock,
    /// The body.
    pub body: Bytes,
}

/// What became of a delivery in an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The receiver has it.
    Delivered,
    /// It is due again.
    Retry {
        /// Not before.
        due_at: UnixMillis,
    },
    /// It will not be tried again by itself.
    Dead,
}

/// An attempt and what follows from it, written in one transaction.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The delivery that was attempted.
    pub delivery: DeliveryId,
    /// The turn that it had then. If it has another one now, it was replayed meanwhile, and this attempt decides
    /// nothing.
    pub turn: Turn,
    /// What follows.
    pub settled: Settled,
    /// Whether its lanes have stepped over it. Never unset once set.
    pub overtaken: bool,
    /// The attempt itself.
    pub attempt: AttemptRecord,
}

/// One attempt, as kept. Durations are kept to the microsecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// When it began.
    pub at: UnixMillis,
    /// Where its time went.
    pub timing: AttemptTiming,
    /// The address spoken to.
    pub address: Option<SocketAddr>,
    /// The receiver's HTTP status, where it answered.
    pub status: Option<u16>,
    /// The stable error code; empty for a success.
    pub code: Box<str>,
    /// The first bytes of the receiver's answer, at most
    /// [`waypost_domain::limits::RESPONSE_EXCERPT_BYTES_MAX`]; none are kept for a success.
    pub excerpt: Vec<u8>,
}

/// A page of a list: the newest first, at most `limit`, only those before `before`.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Only what is older than this event.
    pub before: Option<EventId>,
    /// At most so many; the store reads one at least and no more than 1,000.
    pub limit: usize,
}

/// Which events to list. Conditions that are set must all hold; those on destination, state and code, of one
/// and the same delivery.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this source.
    pub source: Option<String>,
    /// With a delivery to this destination.
    pub destination: Option<String>,
    /// With a delivery in this state.
    pub state: Option<DeliveryState>,
    /// Of this conversation, by its name or by any identity of the person: number, a colon, identity. A phone
    /// number that changed hands finds the conversations of all who had it.
    pub conversation: Option<String>,
    /// With this message id.
    pub wamid: Option<String>,
    /// Of this number: its id at Meta or as people write it.
    pub number: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With an attempt that ended with this error code or HTTP status.
    pub code: Option<String>,
    /// Whether it is quarantined.
    pub quarantined: Option<bool>,
    /// Received at this moment or later.
    pub since: Option<UnixMillis>,
    /// Received before this moment.
    pub until: Option<UnixMillis>,
}

/// A page of events.
#[derive(Debug, Clone)]
pub struct EventList {
    /// The events, the newest first.
    pub events: Vec<EventRecord>,
    /// What to set as [`Page::before`] to go on; `None` at the end.
    pub next: Option<EventId>,
}

/// An event as kept, with where its deliveries stand.
#[derive(Debug, Clone)]
pub struct EventRecord {
    /// Its identifier.
    pub id: EventId,
    /// The request it came in.
    pub request: RequestId,
    /// The source it came to.
    pub source: Arc<str>,
    /// When its request was received.
    pub received_at: UnixMillis,
    /// The earlier event it repeats, if it is a duplicate.
    pub repeats: Option<EventId>,
    /// Whether it is quarantined: held until an operator says to whom it goes.
    pub quarantined: bool,
    /// What it told of the person whom its conversation is with.
    pub person: PersonFact,
    /// What was read from the payload.
    pub event: NewEvent,
    /// What is owed, or was, for it (deliveries of its whole request included).
    pub deliveries: Vec<DeliveryRecord>,
}

impl EventRecord {
    /// Its place among the events of its request, which bear the numbers that follow the request's own.
    pub fn place(&self) -> usize {
        usize::try_from(self.id.0.saturating_sub(self.request.0).saturating_sub(1)).unwrap_or(0)
    }
}

/// A delivery as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// What the scheduler knows of it; `due_at` matters only while it is owed.
    pub owed: OwedDelivery,
    /// Where it stands.
    pub state: DeliveryState,
    /// When it left the owed state.
    pub settled_at: Option<UnixMillis>,
    /// The error code of its last attempt, empty for a success or none.
    pub last_code: Box<str>,
    /// The HTTP status of its last attempt.
    pub last_status: Option<u16>,
}

/// A request as kept, without its body.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// Its identifier.
    pub id: RequestId,
    /// The source it came to.
    pub source: Arc<str>,
    /// When it came.
    pub received_at: UnixMillis,
    /// The path and query for the receiver.
    pub target: String,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// Length of the body in bytes.
    pub body_bytes: u64,
    /// Whether the body is still kept. A complete duplicate's body is not: the first copy's is.
    pub body_kept: bool,
    /// The label of the app secret that proved it.
    pub proved_by: Option<String>,
}

/// What can be made at run time, or is kept beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// An entry of the allow-list.
    Upstream,
    /// An inbound address.
    Source,
    /// Where deliveries go.
    Destination,
    /// Which events of a source go to which destination.
    Route,
    /// A certificate, or what getting one needs to remember.
    Certificate,
    /// A key that tokens of the stream are signed with.
    TokenKey,
    /// A token of the stream: one that was issued here, or one that is good no more.
    Token,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Upstream,
        Self::Source,
        Self::Destination,
        Self::Route,
        Self::Certificate,
        Self::TokenKey,
        Self::Token,
    ];
    /// The kinds that operators make.
    pub const MADE: [Self; 4] = [Self::Upstream, Self::Source, Self::Destination, Self::Route];

    /// The word for it, in the database too.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Route => "route",
            Self::Certificate => "certificate",
            Self::TokenKey => "token_key",
            Self::Token => "token",
        }
    }
}

/// An entry made at run time. Kinds have names of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRecord {
    /// What it is.
    pub kind: EntryKind,
    /// Its name; of an upstream its host, as on the allow-list.
    pub name: String,
    /// Everything else about it, in the binary's own form.
    pub settings: String,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file.
    pub path: std::path::PathBuf,
    /// Connections for reading.
    pub readers: usize,
    /// Accepts and settlements that may wait for the writer.
    pub queue_max: usize,
    /// Bytes of bodies that may wait for the writer.
    pub queue_bytes_max: usize,
    /// How long a repeat of an identity key is suppressed.
    pub dedupe_window: Duration,
    /// What the store may hold; beyond it accepts are refused with [`crate::StoreError::OverBudget`]. Free pages
    /// of the file do not count, and the log, at most some 128 MiB, comes on top.
    pub bytes_max: Option<u64>,
    /// What the journal may hold of requests that were acknowledged and are not in the database's file yet. Beyond
    /// it accepts wait, not for long, and are refused then.
    pub journal_bytes_max: u64,
    /// What must be free on the file system for accepts not to be refused in the same way. Both are looked
    /// at about once a second, so that accepts of a second or two may go beyond.
    pub free_bytes_min: u64,
}

/// What should stay free on the file system if nobody says otherwise: room for the log at its longest twice
/// over, so that settlements and pruning go on.
pub const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// What the journal may hold if nobody says otherwise: some 400,000 messages, which take about ten seconds to apply.
pub const JOURNAL_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// What the store holds, for `/metrics` and the scheduler's start.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// Owed deliveries and the oldest one's acceptance, by destination.
    pub owed: Vec<(Arc<str>, u64, UnixMillis)>,
    /// Dead deliveries by destination.
    pub dead: Vec<(Arc<str>, u64)>,
    /// Quarantined events by source.
    pub quarantined: Vec<(Arc<str>, u64)>,
    /// Size of the database file and its log.
    pub file_bytes: u64,
    /// What of the file holds something: it is this that [`StoreOptions::bytes_max`] limits.
    pub used_bytes: u64,
}

/// How the writer is doing.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriterStats {
    /// Operations waiting now, accepts that wait for the disk among them.
    pub queue: usize,
    /// Requests that are acknowledged and not in the database yet.
    pub journal_behind: u64,
    /// What the journal's files take up.
    pub journal_bytes: u64,
    /// Requests that were put aside since the start, since the database would not take them.
    pub set_aside: u64,
    /// Commits so far.
    pub commits: u64,
    /// Operations committed so far.
    pub operations: u64,
    /// Commits that failed and were undone.
    pub failures: u64,
    /// Time spent in commits so far.
    pub commit_time: Duration,
    /// Whether the last commit and the journal's last write succeeded.
    pub healthy: bool,
    /// Whether accepts are refused because the store takes up more than it may, or too little space is left.
    pub over_budget: bool,
}
