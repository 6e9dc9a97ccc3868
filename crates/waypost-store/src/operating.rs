//! What operators ask about deliveries and do to them: one struct for each thing that is asked or told.

use std::sync::Arc;

use waypost_domain::{DeliveryEvent, DeliveryId, DeliveryState, EventId, Priority, UnixMillis};

use crate::{DeliveryRecord, OwedDelivery};

/// Which deliveries are meant. Conditions that are set must all hold; those on events (source, conversation,
/// message id, number and time), of one and the same event that the delivery covers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// One of these; none at all if there are none.
    pub ids: Option<Vec<DeliveryId>>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// To this destination.
    pub destination: Option<String>,
    /// Of this source.
    pub source: Option<String>,
    /// Of this conversation, by its name or by any identity of the person: number, a colon, identity. A phone
    /// number that changed hands finds the conversations of all who had it.
    pub conversation: Option<String>,
    /// With this message id.
    pub wamid: Option<String>,
    /// Of this number: its id at Meta or as people write it.
    pub number: Option<String>,
    /// Whose last attempt was answered with this HTTP status.
    pub last_status: Option<u16>,
    /// Whose last attempt ended with this error code.
    pub last_code: Option<String>,
    /// Whether later deliveries of its lanes have gone before it.
    pub overtaken: Option<bool>,
    /// Its request was accepted at this moment or later. A replay does not change that.
    pub since: Option<UnixMillis>,
    /// Its request was accepted before this moment.
    pub until: Option<UnixMillis>,
}

/// A page of deliveries: the newest first, at most `limit`, only those before `before`.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryPage {
    /// Only what is older than this delivery.
    pub before: Option<DeliveryId>,
    /// At most so many; the store reads one at least and no more than 1,000.
    pub limit: usize,
}

/// A page's worth of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryList {
    /// The deliveries, the newest first.
    pub deliveries: Vec<DeliveryDetail>,
    /// What to set as [`DeliveryPage::before`] to go on; `None` at the end. It need not be a delivery's.
    pub next: Option<DeliveryId>,
}

/// A delivery as kept, with what it carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: DeliveryRecord,
    /// The source that its request came to.
    pub source: Arc<str>,
    /// When its request was received, however often it was replayed since.
    pub received_at: UnixMillis,
    /// Whether its request's body is still kept, so that it can be delivered again.
    pub body_kept: bool,
    /// The events it covers, in order; the first 1,000.
    pub events: Vec<EventId>,
    /// The first of them.
    pub first: CoveredEvent,
}

/// What tells a reader what a delivery is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoveredEvent {
    /// The word for its kind: `message`, `status`, …
    pub kind: Arc<str>,
    /// `text`, `delivered`, `connect`, …
    pub r#type: Arc<str>,
    /// The message's id at Meta.
    pub wamid: Option<Box<str>>,
    /// The name of its conversation.
    pub conversation: Option<Box<str>>,
    /// The readable identity key.
    pub key: Box<str>,
}

/// On what an operator acts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one is made for an act, and none is kept")]
pub enum Selection {
    /// One delivery.
    One(DeliveryId),
    /// Deliveries that a filter admits, the oldest first.
    Matching {
        /// Which.
        filter: DeliveryFilter,
        /// Only those after this one: where an earlier act left off.
        after: Option<DeliveryId>,
        /// Change at most so many.
        at_most: u64,
    },
}

/// An operator's act on deliveries.
#[derive(Debug, Clone)]
pub struct ActOn {
    /// On which.
    pub selection: Selection,
    /// Who acts: the socket's user or the token's name.
    pub who: Arc<str>,
    /// When.
    pub at: UnixMillis,
    /// The operator's own words.
    pub note: Option<Arc<str>>,
    /// Only count what would be changed.
    pub plan: bool,
}

/// What came of an act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActOutcome {
    /// What was changed, the oldest first; the first 1,000. Empty for a plan.
    pub changed: Vec<DeliveryId>,
    /// How many were changed, or would be.
    pub count: u64,
    /// How many were left alone since their request's body is kept no more.
    pub without_body: u64,
    /// If there may be more: what to set as [`Selection::Matching`]'s `after` to go on.
    pub next: Option<DeliveryId>,
}

impl ActOutcome {
    /// Whether there may be more that match.
    pub fn more(&self) -> bool {
        self.next.is_some()
    }
}

/// What operators do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActKind {
    /// Give a delivery up, or a quarantined event.
    Discard,
    /// Have one that had ended delivered again.
    Replay,
    /// Have an owed one attempted now.
    Retry,
    /// Owe a quarantined event.
    Release,
    /// Hold a destination's deliveries.
    Pause,
    /// Hold them no more.
    Resume,
}

impl ActKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Discard, Self::Replay, Self::Retry, Self::Release, Self::Pause, Self::Resume];

    /// The word for it in the API, the command line and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Replay => "replay",
            Self::Retry => "retry",
            Self::Release => "release",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// The state of a delivery after such an act, or `None` if it cannot be done to it.
    pub(crate) fn after(self, state: DeliveryState) -> Option<DeliveryState> {
        match self {
            Self::Discard => state.after(DeliveryEvent::Discard).ok(),
            Self::Replay => state.after(DeliveryEvent::Replay).ok(),
            Self::Retry => (state == DeliveryState::Owed).then_some(state),
            Self::Release | Self::Pause | Self::Resume => None,
        }
    }
}

/// The number of an act: acts and deliveries share one ascending sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActId(pub i64);

/// To what an act was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActSubject {
    /// A delivery.
    Delivery(DeliveryId),
    /// An event that was quarantined.
    Event(EventId),
    /// A destination, by its name.
    Destination(Arc<str>),
}

/// An act as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActRecord {
    /// Its number.
    pub id: ActId,
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub who: Arc<str>,
    /// What.
    pub what: ActKind,
    /// To what.
    pub subject: ActSubject,
    /// The operator's own words.
    pub note: Option<Box<str>>,
}

/// A page of acts, the newest first.
#[derive(Debug, Clone, Copy)]
pub struct ActPage {
    /// Only those on this delivery.
    pub delivery: Option<DeliveryId>,
    /// Only those on this event.
    pub event: Option<EventId>,
    /// Only those before this one.
    pub before: Option<ActId>,
    /// At most so many; the store reads one at least and no more than 1,000.
    pub limit: usize,
}

/// To whom a quarantined event goes, and how urgent it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseTo {
    /// The destination's name.
    pub destination: Arc<str>,
    /// How urgent it is.
    pub priority: Priority,
}

/// Quarantined events that are to be owed.
#[derive(Debug, Clone)]
pub struct Release {
    /// Who acts.
    pub by: Arc<str>,
    /// When.
    pub at: UnixMillis,
    /// The operator's own words.
    pub note: Option<Arc<str>>,
    /// Which, and to whom each goes: a destination at most once per event. One that goes to nobody is left alone.
    pub events: Vec<(EventId, Vec<ReleaseTo>)>,
}

/// Quarantined events that are to be given up.
#[derive(Debug, Clone)]
pub struct DiscardQuarantined {
    /// Who acts.
    pub by: Arc<str>,
    /// When.
    pub at: UnixMillis,
    /// The operator's own words.
    pub note: Option<Arc<str>>,
    /// Which.
    pub events: Vec<EventId>,
}

/// What came of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Released {
    /// The events that are quarantined no more, in the order given.
    pub events: Vec<EventId>,
    /// What is owed for them, in that order.
    pub owed: Vec<OwedDelivery>,
    /// How many were left alone since they would make more than [`crate::RELEASED_PER_EVENT_MAX`] deliveries.
    pub too_many: u64,
}

/// A destination that is to be paused or resumed.
#[derive(Debug, Clone)]
pub struct Pause {
    /// Its name.
    pub destination: Arc<str>,
    /// Who acts.
    pub who: Arc<str>,
    /// When.
    pub at: UnixMillis,
    /// The operator's own words.
    pub note: Option<Arc<str>>,
}

/// A destination that is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedDestination {
    /// Its name.
    pub destination: Arc<str>,
    /// Since when.
    pub since: UnixMillis,
    /// By whom.
    pub who: Arc<str>,
}
