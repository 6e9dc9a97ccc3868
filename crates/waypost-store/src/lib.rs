//! Where what was acknowledged is kept.
//!
//! **The promise:** when [`Store::keep`] returns, the request with its events and all that is owed for them is on
//! disk and synced, whole; when it fails, nothing of it is. A moment later it has its place in the ledger, exactly once
//! and in the order in which it was kept, whatever crashes in between. What [`Store::settle`] returned for is settled: a
//! crash of the process loses nothing of it. If the machine loses power, outcomes of the last moments, normally a tenth
//! of a second, may be forgotten, and those deliveries are made again; nothing that was kept is lost, and no operator's
//! word is.
//!
//! The seam is this one enum. Its methods are the domain's transitions, each one transaction, each
//! with a parameter struct and with time passed in; no SQL, row or connection is seen through it. A
//! meaning exists only if the [`conformance`] suite tests it, on every engine alike.

pub mod conformance;
mod error;
mod following;
mod keeping;
mod operating;
mod params;
mod sqlite;

use waypost_domain::{Clock, DeliveryId, EventId, RequestId, UnixMillis};

pub use error::{OpenError, StoreError};
pub use following::{
    AfterPage, ContactFilter, ContactList, ContactRecord, Ends, EventsAfter, MESSAGE_EVENTS_MAX,
    MessageCursor, MessageEvents, MessageFilter, MessageList, MessagePage, MessageRecord,
    PERSON_NAME_BYTES_MAX, PersonFact,
};
pub use keeping::{Prune, Pruned, Retention};
pub use operating::{
    ActId, ActKind, ActOn, ActOutcome, ActPage, ActRecord, ActSubject, CoveredEvent, DeliveryDetail,
    DeliveryFilter, DeliveryList, DeliveryPage, DiscardQuarantined, Pause, PausedDestination, Release,
    ReleaseTo, Released, Selection,
};
pub use params::{
    Accept, Accepted, Applied, AttemptRecord, Covers, DELIVERIES_PER_REQUEST_MAX, DeliveryRecord, DuePage,
    EntryKind, EntryRecord, EventFilter, EventList, EventRecord, FREE_BYTES_MIN, JOURNAL_BYTES_MAX,
    NewContact, NewDelivery, NewEvent, OwedDelivery, OwedPage, Page, RELEASED_PER_EVENT_MAX, RequestBody,
    RequestRecord, Settled, Settlement, StoreOptions, StoreStats, Turn, WhenApplied, WriterStats,
};
pub use sqlite::SqliteStore;

/// A store of one of the known engines. Cheap to clone; all clones are the same store.
///
/// The methods need a tokio runtime only in that they are async; the work is done by the store's own
/// threads. A caller that stops waiting (drops the future) for a write does not know whether the
/// write happened; what was not yet begun is left undone.
#[derive(Clone)]
pub enum Store {
    /// One file, in the process.
    Sqlite(SqliteStore),
}

/// Hands a call to the engine at hand.
macro_rules! engine {
    ($store:expr, $engine:ident => $call:expr) => {
        match $store {
            Store::Sqlite($engine) => $call,
        }
    };
}

impl Store {
    /// Opens the store, making what is missing: directories and files that only the owner can read. Brings
    /// an older schema up to date, after copying the file.
    pub fn open(options: StoreOptions, clock: Clock) -> Result<Self, OpenError> {
        SqliteStore::open(options, clock).map(Self::Sqlite)
    }

    /// Keeps a request with its events and what is owed for them, whole, synced on return.
    ///
    /// It is applied a moment later, in the order in which requests were kept: then its events have their identifiers
    /// and its deliveries are owed. Whoever asks for events, deliveries or counts after this returned finds it there;
    /// what is owed is told to [`Store::when_applied`].
    ///
    /// Refused with [`StoreError::Busy`] at once while too much waits for the disk, and with
    /// [`StoreError::OverBudget`] while the store takes up more than it may. An event whose key was
    /// accepted in the same scope within the dedupe window, in an earlier request or earlier in this one, is
    /// kept as a repeat and owed to nobody; a request of repeats alone is kept without its body.
    ///
    /// Each event is found its conversation: a person's, under whichever identity the payload knows the person. Its
    /// deliveries wait for that conversation's lane; one person is one conversation, and two are never one.
    /// What is new of the person is written down with it, and the event bears the fact ([`EventRecord::person`]).
    ///
    /// Events that nobody is to have are quarantined, and so are those beyond what one request may give rise to
    /// ([`DELIVERIES_PER_REQUEST_MAX`]): no content is ever a reason to refuse.
    pub async fn keep(&self, accept: Accept) -> Result<(), StoreError> {
        engine!(self, engine => engine.keep(accept).await)
    }

    /// Keeps a request as [`Store::keep`] does, and waits until it is applied. An error after it was kept says that the
    /// store was shut before, or that the request had to be put aside.
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, StoreError> {
        engine!(self, engine => engine.accept(accept).await)
    }

    /// Has `told` be called with requests that were just applied, in order. It is called on the thread that
    /// writes, and must neither wait nor take long. One is told at a time: the one set last. What
    /// was kept by an earlier process may have been applied before this is called; it is found by [`Store::owed`].
    pub fn when_applied(&self, told: Box<WhenApplied>) {
        engine!(self, engine => engine.when_applied(told));
    }

    /// Records an attempt and what follows from it: written on return, and synced a moment later. Concurrent calls
    /// share a commit.
    ///
    /// Never refused for load: it waits its turn. Where the delivery is no longer owed (an operator
    /// discarded it while the attempt was in flight), the attempt is recorded and nothing else changes.
    pub async fn settle(&self, settlement: Settlement) -> Result<(), StoreError> {
        engine!(self, engine => engine.settle(settlement).await)
    }

    /// Marks deliveries whose lanes have stepped over them, as lastingly as [`Store::settle`]. Unknown ones are passed over.
    ///
    /// Never refused for load: it waits its turn. On an error some may be marked.
    pub async fn mark_overtaken(&self, deliveries: Vec<DeliveryId>) -> Result<(), StoreError> {
        engine!(self, engine => engine.mark_overtaken(deliveries).await)
    }

    /// A page of what is owed to a destination, in order of turns, due or not: in order of acceptance, what was
    /// replayed after everything that was owed then.
    pub async fn owed(&self, page: OwedPage) -> Result<Vec<OwedDelivery>, StoreError> {
        engine!(self, engine => engine.owed(page).await)
    }

    /// What is owed to a destination, failed before and is due, by due time and identifier. Its cost does not
    /// grow with what is owed or due later.
    pub async fn due(&self, page: DuePage) -> Result<Vec<OwedDelivery>, StoreError> {
        engine!(self, engine => engine.due(page).await)
    }

    /// The earliest due time later than `after` of what is owed to a destination and failed before.
    pub async fn next_due(
        &self,
        destination: &str,
        after: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        engine!(self, engine => engine.next_due(destination, after).await)
    }

    /// What an attempt needs of a request; `None` if it is unknown or its body is not kept.
    pub async fn request_body(&self, request: RequestId) -> Result<Option<RequestBody>, StoreError> {
        engine!(self, engine => engine.request_body(request).await)
    }

    /// A request as kept.
    pub async fn request(&self, request: RequestId) -> Result<Option<RequestRecord>, StoreError> {
        engine!(self, engine => engine.request(request).await)
    }

    /// An event as kept.
    pub async fn event(&self, event: EventId) -> Result<Option<EventRecord>, StoreError> {
        engine!(self, engine => engine.event(event).await)
    }

    /// The events that a filter admits, the newest first. One call does a bounded amount of work, so that a
    /// page may end short of its limit, even empty, with more to come: go on until [`EventList::next`] is `None`.
    pub async fn events(&self, filter: EventFilter, page: Page) -> Result<EventList, StoreError> {
        engine!(self, engine => engine.events(filter, page).await)
    }

    /// The events after another one, in order of acceptance. Identifiers ascend in the order in which events become
    /// visible, so that whoever goes on from [`EventsAfter::last`] sees each once and misses none but what was pruned.
    pub async fn events_after(&self, page: AfterPage) -> Result<EventsAfter, StoreError> {
        engine!(self, engine => engine.events_after(page).await)
    }

    /// Where what is kept of events begins and ends. Its cost does not grow with what is kept.
    pub async fn ends(&self) -> Result<Ends, StoreError> {
        engine!(self, engine => engine.ends().await)
    }

    /// The events that bear a message id: those of a source, or of all.
    pub async fn message(&self, source: Option<&str>, wamid: &str) -> Result<MessageEvents, StoreError> {
        engine!(self, engine => engine.message(source, wamid).await)
    }

    /// The messages that a filter admits, the one with the latest event first, each once over all pages. One call does
    /// a bounded amount of work, so that a page may end short of its limit, even empty, with more to come: go on until
    /// [`MessageList::next`] is `None`.
    pub async fn messages(
        &self,
        filter: MessageFilter,
        page: MessagePage,
    ) -> Result<MessageList, StoreError> {
        engine!(self, engine => engine.messages(filter, page).await)
    }

    /// The people that a filter admits, those first whose conversations began last. One call does a bounded amount of
    /// work, as [`Store::messages`] does: go on until [`ContactList::next`] is `None`.
    pub async fn contacts(&self, filter: ContactFilter, page: Page) -> Result<ContactList, StoreError> {
        engine!(self, engine => engine.contacts(filter, page).await)
    }

    /// The person whom a conversation is with, told by its name or by any identity of the person. Where that may be
    /// several (of more than one source, or of a phone number that changed hands), the one whose conversation is named
    /// so, else the one whose conversation began last.
    pub async fn contact(
        &self,
        source: Option<&str>,
        conversation: &str,
    ) -> Result<Option<ContactRecord>, StoreError> {
        engine!(self, engine => engine.contact(source, conversation).await)
    }

    /// The attempts at a delivery, in order; the latest 128.
    pub async fn attempts(&self, delivery: DeliveryId) -> Result<Vec<AttemptRecord>, StoreError> {
        engine!(self, engine => engine.attempts(delivery).await)
    }

    /// A delivery as kept, with what it carries.
    pub async fn delivery(&self, delivery: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        engine!(self, engine => engine.delivery(delivery).await)
    }

    /// The deliveries that a filter admits, the newest first. One call does a bounded amount of work, so that a
    /// page may end short of its limit, even empty, with more to come: go on until [`DeliveryList::next`] is `None`.
    pub async fn deliveries(
        &self,
        filter: DeliveryFilter,
        page: DeliveryPage,
    ) -> Result<DeliveryList, StoreError> {
        engine!(self, engine => engine.deliveries(filter, page).await)
    }

    /// Gives deliveries up that are owed or dead; others are left alone. Each is recorded as an act, in the
    /// transaction that changes it, synced on return.
    ///
    /// An act on many takes small steps, a transaction each, so that it holds nothing else up; on an error, and
    /// when the caller stops waiting, those before it are done. One call does a bounded amount of work: go on
    /// from [`ActOutcome::next`]. So do [`Store::replay`] and [`Store::retry`].
    pub async fn discard(&self, on: ActOn) -> Result<ActOutcome, StoreError> {
        engine!(self, engine => engine.act(ActKind::Discard, on).await)
    }

    /// Owes deliveries again that were delivered, dead or discarded; others are left alone, and so are those
    /// whose request's body is kept no more. Each starts anew: due now, without failed attempts, not overtaken, its
    /// schedule counted from now, its turn after all that is owed, the oldest delivery first. Its earlier attempts
    /// stay.
    pub async fn replay(&self, on: ActOn) -> Result<ActOutcome, StoreError> {
        engine!(self, engine => engine.act(ActKind::Replay, on).await)
    }

    /// Makes owed deliveries due now; others are left alone.
    pub async fn retry(&self, on: ActOn) -> Result<ActOutcome, StoreError> {
        engine!(self, engine => engine.act(ActKind::Retry, on).await)
    }

    /// Owes quarantined events, each as a delivery of its own, due now and in its turn after all that is owed;
    /// others are left alone. Each is recorded as an act, in the transaction that changes it, synced on return.
    ///
    /// Many take small steps, a transaction each; on an error, and when the caller stops waiting, those before it
    /// are done.
    pub async fn release(&self, release: Release) -> Result<Released, StoreError> {
        engine!(self, engine => engine.release(release).await)
    }

    /// Gives quarantined events up: they stay as records that nobody was owed. Others are left alone. Answers with
    /// those that were; recorded, and done in steps, as [`Store::release`] does it.
    pub async fn discard_quarantined(&self, discard: DiscardQuarantined) -> Result<Vec<EventId>, StoreError> {
        engine!(self, engine => engine.discard_quarantined(discard).await)
    }

    /// Notes that a destination is paused. False, and nothing is recorded, if it was already.
    pub async fn pause(&self, pause: Pause) -> Result<bool, StoreError> {
        engine!(self, engine => engine.pause(ActKind::Pause, pause).await)
    }

    /// Notes that a destination is paused no more. False, and nothing is recorded, if it was not.
    pub async fn resume(&self, pause: Pause) -> Result<bool, StoreError> {
        engine!(self, engine => engine.pause(ActKind::Resume, pause).await)
    }

    /// The destinations that are paused, by name.
    pub async fn paused(&self) -> Result<Vec<PausedDestination>, StoreError> {
        engine!(self, engine => engine.paused().await)
    }

    /// What operators did, the newest first.
    pub async fn acts(&self, page: ActPage) -> Result<Vec<ActRecord>, StoreError> {
        engine!(self, engine => engine.acts(page).await)
    }

    /// Takes away what need not be kept any more: a small step of a pass over everything. Go on while
    /// [`Pruned::more`] says so, and begin again after a while. Nothing owed is ever touched, whatever the
    /// moment given; free space that is much is given back to the file system.
    ///
    /// What is gone is overwritten in the file once its log is folded; the log itself holds older pages until
    /// it has come round, or the store is closed. Calls wait for each other. On an error nothing of the step
    /// is done.
    pub async fn prune(&self, prune: Prune) -> Result<Pruned, StoreError> {
        engine!(self, engine => engine.prune(prune).await)
    }

    /// Keeps an entry made at run time; one of the same kind and name is replaced.
    pub async fn entry_put(&self, entry: EntryRecord) -> Result<(), StoreError> {
        engine!(self, engine => engine.entry_put(entry).await)
    }

    /// Forgets an entry. False if there was none.
    pub async fn entry_delete(&self, kind: EntryKind, name: &str) -> Result<bool, StoreError> {
        engine!(self, engine => engine.entry_delete(kind, name).await)
    }

    /// The entries of a kind, by name.
    pub async fn entries(&self, kind: EntryKind) -> Result<Vec<EntryRecord>, StoreError> {
        engine!(self, engine => engine.entries(kind).await)
    }

    /// What the store holds. Its cost grows with the number of destinations, not with what is owed.
    pub async fn stats(&self) -> Result<StoreStats, StoreError> {
        engine!(self, engine => engine.stats().await)
    }

    /// How the writer is doing. Costs nothing.
    pub fn writer_stats(&self) -> WriterStats {
        engine!(self, engine => engine.writer_stats())
    }

    /// Whether the store can write now: a small write to the journal and one to the database, both synced.
    pub async fn probe_write(&self) -> Result<(), StoreError> {
        engine!(self, engine => engine.probe_write().await)
    }

    /// Finishes what was taken in, folds the log into the file and closes both. Later calls fail with
    /// [`StoreError::Closed`]. Dropping the last clone instead loses nothing that was answered.
    pub async fn close(&self) {
        engine!(self, engine => engine.close().await)
    }
}
