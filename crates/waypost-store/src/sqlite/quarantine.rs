//! Events that no route takes: held with their request's body until an operator says to whom they go, or gives
//! them up.
//!
//! The numbers of what a release owes were kept free when the request came, right after its own: so order of
//! identifiers stays order of acceptance, whenever a delivery is made. Its turn, as a replay's, is after all others'.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Statement, params};
use waypost_domain::{DeliveryId, EventId, Lane, RequestId, UnixMillis};

use super::SqliteStore;
use super::ledger::{Ledger, Refusal};
use super::numbers::Sequence;
use super::queue::{Operation, Outcome};
use crate::{ActKind, DiscardQuarantined, OwedDelivery, Release, Released, StoreError, Turn};

/// Deliveries, or events, that one transaction takes on, but that an event goes as a whole.
const STEP_MAX: usize = 128;

impl SqliteStore {
    pub(crate) async fn release(&self, release: Release) -> Result<Released, StoreError> {
        let Release { by, at, note, events } = release;
        let mut released = Released::default();
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let (mut step, mut size) = (Vec::new(), 0);
            while size < STEP_MAX
                && let Some(next) = events.next()
            {
                size += next.1.len().max(1);
                step.push(next);
            }
            let step = Release { by: Arc::clone(&by), at, note: note.clone(), events: step };
            let Outcome::Released(more) = self.write(Operation::Release(step)).await? else {
                return Err(StoreError::Corrupt("a release was answered as something else".to_owned()));
            };
            released.events.extend(more.events);
            released.owed.extend(more.owed);
            released.too_many += more.too_many;
        }
        Ok(released)
    }

    pub(crate) async fn discard_quarantined(
        &self,
        discard: DiscardQuarantined,
    ) -> Result<Vec<EventId>, StoreError> {
        let mut discarded = Vec::new();
        for events in discard.events.chunks(STEP_MAX) {
            let step = DiscardQuarantined { events: events.to_vec(), ..discard.clone() };
            let Outcome::Discarded(more) = self.write(Operation::DiscardQuarantined(step)).await? else {
                return Err(StoreError::Corrupt("a discard was answered as something else".to_owned()));
            };
            discarded.extend(more);
        }
        Ok(discarded)
    }
}

/// The statements of releases.
pub(super) struct Quarantine<'c> {
    find: Statement<'c>,
    last_used: Statement<'c>,
    end: Statement<'c>,
    record: Statement<'c>,
}

/// A quarantined event.
struct Held {
    request: RequestId,
    source: i64,
    lane: Option<Lane>,
    /// The last number that was kept free for its request.
    room: Option<i64>,
    body_kept: bool,
}

impl<'c> Quarantine<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare(
                "SELECT e.request, e.source, coalesce(w.name, v.name), r.room,
                        EXISTS (SELECT 1 FROM body WHERE body.request = e.request)
                 FROM event e JOIN request r ON r.id = e.request
                 LEFT JOIN conversation v ON v.id = e.conversation LEFT JOIN conversation w ON w.id = v.merged
                 WHERE e.id = ?1 AND e.quarantined = 1",
            )?,
            last_used: conn.prepare(
                "SELECT max(r.id + r.events, coalesce((SELECT max(id) FROM delivery WHERE request = r.id), 0))
                 FROM request r WHERE r.id = ?1",
            )?,
            end: conn.prepare("UPDATE event SET quarantined = 0 WHERE id = ?1")?,
            record: conn.prepare(
                "INSERT INTO act (id, at, who, what, delivery, event, destination, note)
                 VALUES (?1, ?2, ?3, ?4, NULL, ?5, NULL, ?6)",
            )?,
        })
    }

    fn held(&mut self, event: EventId) -> rusqlite::Result<Option<Held>> {
        let found = self.find.query_row([event.0], |row| {
            let lane = row.get_ref(2)?.as_str_or_null()?.map(Lane::of);
            Ok(Held {
                request: RequestId(row.get(0)?),
                source: row.get(1)?,
                lane,
                room: row.get(3)?,
                body_kept: row.get(4)?,
            })
        });
        found.optional()
    }
}

impl Ledger<'_> {
    pub(super) fn release(
        &mut self,
        release: &Release,
        sequence: &mut Sequence,
    ) -> Result<Released, Refusal> {
        let mut released = Released::default();
        for (event, to) in &release.events {
            let mut to: Vec<_> = to.iter().collect();
            to.sort_by(|a, b| a.destination.cmp(&b.destination).then(a.priority.cmp(&b.priority)));
            to.dedup_by(|a, b| a.destination == b.destination);
            if to.is_empty() {
                continue;
            }
            let Some(held) = self.quarantine.held(*event)?.filter(|held| held.body_kept) else { continue };
            let Some(first) = self.free_numbers(&held, to.len())? else {
                released.too_many += 1;
                continue;
            };
            for (number, to) in (first..).zip(to) {
                let owed = OwedDelivery {
                    id: DeliveryId(number),
                    turn: Turn(sequence.first(release.at)),
                    request: held.request,
                    event: Some(*event),
                    destination: Arc::clone(&to.destination),
                    lanes: held.lane.into_iter().collect(),
                    priority: to.priority,
                    attempts: 0,
                    due_at: release.at,
                    accepted_at: release.at,
                    overtaken: false,
                };
                self.owe(&owed)?;
                released.owed.push(owed);
            }
            let by = By { who: &release.by, at: release.at, note: release.note.as_deref() };
            self.end_quarantine(ActKind::Release, *event, &held, &by, sequence)?;
            released.events.push(*event);
        }
        Ok(released)
    }

    pub(super) fn discard_quarantined(
        &mut self,
        discard: &DiscardQuarantined,
        sequence: &mut Sequence,
    ) -> Result<Vec<EventId>, Refusal> {
        let mut discarded = Vec::new();
        for &event in &discard.events {
            let Some(held) = self.quarantine.held(event)? else { continue };
            let by = By { who: &discard.by, at: discard.at, note: discard.note.as_deref() };
            self.end_quarantine(ActKind::Discard, event, &held, &by, sequence)?;
            discarded.push(event);
        }
        Ok(discarded)
    }

    /// The first of so many free numbers of a request; `None` if there are not so many.
    fn free_numbers(&mut self, held: &Held, count: usize) -> Result<Option<i64>, Refusal> {
        let last_used: i64 = self.quarantine.last_used.query_row([held.request.0], |row| row.get(0))?;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let fits = held.room.is_some_and(|room| room - last_used >= count);
        Ok(fits.then_some(last_used + 1))
    }

    fn end_quarantine(
        &mut self,
        what: ActKind,
        event: EventId,
        held: &Held,
        by: &By<'_>,
        sequence: &mut Sequence,
    ) -> Result<(), Refusal> {
        self.quarantine.end.execute([event.0])?;
        self.tally.quarantined(held.source, -1);
        let number = sequence.first(by.at);
        self.quarantine.record.execute(params![number, by.at.0, by.who, what.as_str(), event.0, by.note])?;
        Ok(())
    }
}

/// Who does it, when and why.
struct By<'r> {
    who: &'r str,
    at: UnixMillis,
    note: Option<&'r str>,
}
