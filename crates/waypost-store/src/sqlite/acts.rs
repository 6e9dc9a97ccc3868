//! Operators' acts: what they change, and their record, in one transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use waypost_domain::{DeliveryId, DeliveryState, EventId, UnixMillis};

use super::SqliteStore;
use super::deliveries::{Order, Sought};
use super::ledger::{Ledger, Refusal};
use super::listing::PAGE_MAX;
use super::numbers::{Sequence, number_of_state, state_of_number};
use super::queue::{Operation, Outcome};
use super::reading::Reading;
use crate::{
    ActId, ActKind, ActOn, ActOutcome, ActPage, ActRecord, ActSubject, DeliveryFilter, Pause,
    PausedDestination, Selection, StoreError,
};

/// Deliveries that one transaction changes: little enough that accepts hardly wait for it.
pub(super) const STEP_DELIVERIES_MAX: usize = 128;
/// Paused destinations that are read.
const PAUSED_READ_MAX: i64 = 10_000;

/// Steps that one call takes at most.
const STEPS_MAX: usize = 100;
/// Changed deliveries that are named to the caller.
const CHANGED_LISTED_MAX: usize = 1_000;

impl SqliteStore {
    /// Reads which deliveries are meant, the oldest first, and changes them, step by step.
    pub(crate) async fn act(&self, what: ActKind, on: ActOn) -> Result<ActOutcome, StoreError> {
        let (filter, after, at_most) = match on.selection {
            Selection::One(id) => {
                (DeliveryFilter { ids: Some(vec![id]), ..DeliveryFilter::default() }, None, 1)
            }
            Selection::Matching { filter, after, at_most } => (filter, after, at_most),
        };
        let filter = Arc::new(filter);
        let step_max = if on.plan { PAGE_MAX } else { STEP_DELIVERIES_MAX };
        let mut outcome = ActOutcome { next: after, ..ActOutcome::default() };
        for _ in 0..STEPS_MAX {
            let wanted = usize::try_from(at_most - outcome.count).unwrap_or(usize::MAX).min(step_max);
            if wanted == 0 {
                return Ok(outcome);
            }
            let (beyond, filter_read, plan) = (outcome.next, Arc::clone(&filter), on.plan);
            let meant = self
                .read_latest(move |reading| reading.meant(what, &filter_read, beyond, wanted, plan))
                .await?;
            outcome.next = meant.next;
            if on.plan {
                outcome.without_body += meant.without_body;
                outcome.count += meant.deliveries.len() as u64 - meant.without_body;
            } else if !meant.deliveries.is_empty() {
                let (who, note) = (Arc::clone(&on.who), on.note.clone());
                let deliveries = meant.deliveries;
                let step = Step { what, deliveries, only: filter.state, who, at: on.at, note };
                let Outcome::Acted(stepped) = self.write(Operation::Act(step)).await? else {
                    return Err(StoreError::Corrupt("an act was answered as something else".to_owned()));
                };
                outcome.without_body += stepped.without_body;
                outcome.count += stepped.changed.len() as u64;
                let room = CHANGED_LISTED_MAX - outcome.changed.len();
                outcome.changed.extend(stepped.changed.into_iter().take(room));
            }
            if outcome.next.is_none() {
                return Ok(outcome);
            }
        }
        Ok(outcome)
    }
}

/// The next deliveries that an act is meant for.
struct Meant {
    deliveries: Vec<DeliveryId>,
    /// How many of them have no body; counted for the plan of a replay.
    without_body: u64,
    next: Option<DeliveryId>,
}

/// A step of an act: these deliveries, in this order.
pub(super) struct Step {
    pub(super) what: ActKind,
    pub(super) deliveries: Vec<DeliveryId>,
    /// Leave alone what is not in this state any more.
    pub(super) only: Option<DeliveryState>,
    pub(super) who: Arc<str>,
    pub(super) at: UnixMillis,
    pub(super) note: Option<Arc<str>>,
}

/// What came of a step.
pub(super) struct Stepped {
    pub(super) changed: Vec<DeliveryId>,
    pub(super) without_body: u64,
}

/// The statements of acts.
pub(super) struct Acts<'c> {
    find: Statement<'c>,
    body_kept: Statement<'c>,
    replay: Statement<'c>,
    retry: Statement<'c>,
    mark_overtaken: Statement<'c>,
    pause: Statement<'c>,
    resume: Statement<'c>,
    record: Statement<'c>,
}

impl<'c> Acts<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare("SELECT state, destination, request FROM delivery WHERE id = ?1")?,
            body_kept: conn.prepare("SELECT EXISTS (SELECT 1 FROM body WHERE request = ?1)")?,
            replay: conn.prepare(
                "UPDATE delivery SET state = ?2, attempts = 0, overtaken = 0, accepted_at = ?3, due_at = ?3,
                                     settled_at = NULL, turn = ?4 WHERE id = ?1",
            )?,
            retry: conn.prepare("UPDATE delivery SET due_at = min(due_at, ?2) WHERE id = ?1")?,
            mark_overtaken: conn
                .prepare("UPDATE delivery SET overtaken = 1 WHERE id = ?1 AND overtaken = 0")?,
            pause: conn.prepare(
                "INSERT INTO paused (destination, since, who) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?,
            resume: conn.prepare("DELETE FROM paused WHERE destination = ?1")?,
            record: conn.prepare(
                "INSERT INTO act (id, at, who, what, delivery, event, destination, note)
                 VALUES (?1, ?2, ?3, ?4, ?5, NULL, ?6, ?7)",
            )?,
        })
    }
}

impl Ledger<'_> {
    /// Does the act to each delivery that it can be done to.
    pub(super) fn act(&mut self, step: &Step, sequence: &mut Sequence) -> Result<Stepped, Refusal> {
        let mut stepped = Stepped { changed: Vec::with_capacity(step.deliveries.len()), without_body: 0 };
        for &id in &step.deliveries {
            let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?));
            let found = self.acts.find.query_row([id.0], read).optional()?;
            let Some((state, destination, request)) = found else { continue };
            let state = known_state(id, state)?;
            let meant = step.only.is_none_or(|only| state == only);
            let Some(after) = step.what.after(state).filter(|_| meant) else { continue };
            if step.what == ActKind::Replay && !self.body_is_kept(request)? {
                stepped.without_body += 1;
                continue;
            }
            self.change(step, id, after, sequence)?;
            self.tally.moved(destination, Some(state), after);
            self.left(request, after);
            let number = sequence.first(step.at);
            let (who, note) = (&*step.who, step.note.as_deref());
            let nothing = None::<i64>;
            self.acts.record.execute(params![
                number,
                step.at.0,
                who,
                step.what.as_str(),
                id.0,
                nothing,
                note
            ])?;
            stepped.changed.push(id);
        }
        Ok(stepped)
    }

    fn change(
        &mut self,
        step: &Step,
        id: DeliveryId,
        after: DeliveryState,
        sequence: &mut Sequence,
    ) -> Result<(), Refusal> {
        match step.what {
            ActKind::Discard => self.end(id, after, step.at)?,
            ActKind::Replay => {
                let turn = sequence.first(step.at);
                self.acts.replay.execute([id.0, number_of_state(after), step.at.0, turn])?;
            }
            ActKind::Retry => {
                self.acts.retry.execute([id.0, step.at.0])?;
            }
            ActKind::Release | ActKind::Pause | ActKind::Resume => {}
        }
        Ok(())
    }

    fn body_is_kept(&mut self, request: i64) -> rusqlite::Result<bool> {
        let kept = self.acts.body_kept.query_row([request], |row| row.get(0)).optional()?;
        Ok(kept.unwrap_or(false))
    }

    /// Pauses or resumes. False if there was nothing to change.
    pub(super) fn pause(
        &mut self,
        what: ActKind,
        pause: &Pause,
        sequence: &mut Sequence,
    ) -> Result<bool, Refusal> {
        let destination = self.names.of(&pause.destination)?;
        let changed = match what {
            ActKind::Pause => self.acts.pause.execute(params![destination, pause.at.0, &*pause.who])?,
            _ => self.acts.resume.execute([destination])?,
        };
        if changed > 0 {
            let (number, nothing) = (sequence.first(pause.at), None::<i64>);
            let (at, who, note) = (pause.at.0, &*pause.who, pause.note.as_deref());
            self.acts.record.execute(params![number, at, who, what.as_str(), nothing, destination, note])?;
        }
        Ok(changed > 0)
    }

    pub(super) fn mark_overtaken(&mut self, deliveries: &[DeliveryId]) -> Result<(), Refusal> {
        for delivery in deliveries {
            self.acts.mark_overtaken.execute([delivery.0])?;
        }
        Ok(())
    }
}

fn known_state(id: DeliveryId, number: i64) -> Result<DeliveryState, Refusal> {
    state_of_number(number)
        .ok_or_else(|| Refusal::Nonsense(format!("table delivery, column state, row {id}: {number}")))
}

impl Reading<'_> {
    fn meant(
        &mut self,
        what: ActKind,
        filter: &DeliveryFilter,
        beyond: Option<DeliveryId>,
        limit: usize,
        plan: bool,
    ) -> Result<Meant, StoreError> {
        let possible = |state: &DeliveryState| what.after(*state).is_some();
        let states: Vec<_> = DeliveryState::ALL.into_iter().filter(possible).collect();
        // One more than wanted tells whether there is more.
        let order = Order::OldestFirst;
        let mut found = self.seek(&Sought { filter, states: &states, order, beyond, limit: limit + 1 })?;
        if found.ids.len() > limit {
            found.ids.truncate(limit);
            found.next = found.ids.last().copied();
        }
        let without_body = if plan && what == ActKind::Replay { self.without_body(&found.ids)? } else { 0 };
        let deliveries = found.ids.into_iter().map(DeliveryId).collect();
        Ok(Meant { deliveries, without_body, next: found.next.map(DeliveryId) })
    }

    pub(super) fn acts(&mut self, page: ActPage) -> Result<Vec<ActRecord>, StoreError> {
        let (which, of) = match (page.delivery, page.event) {
            (Some(delivery), None) => ("delivery = ?1", Some(delivery.0)),
            (None, Some(event)) => ("event = ?1", Some(event.0)),
            (None, None) => ("?1 IS NULL", None),
            (Some(_), Some(_)) => return Ok(Vec::new()),
        };
        let sql = format!(
            "SELECT id, at, who, what, delivery, destination, note, event FROM act
             WHERE {which} AND id < ?2 ORDER BY id DESC LIMIT ?3"
        );
        let before = page.before.map_or(i64::MAX, |before| before.0);
        let limit = page.limit.clamp(1, PAGE_MAX) as i64;
        let read = |row: &Row<'_>| {
            let (id, what, subject) =
                (row.get(0)?, row.get::<_, String>(3)?, (row.get(4)?, row.get(5)?, row.get(7)?));
            Ok((ActId(id), UnixMillis(row.get(1)?), row.get(2)?, what, subject, row.get(6)?))
        };
        let rows = self.conn.prepare(&sql).and_then(|mut statement| {
            let rows = statement.query_map(params![of, before, limit], read)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        let mut acts = Vec::new();
        for (id, at, who, what, subject, note) in self.fault(rows)? {
            let nonsense = |column| StoreError::Corrupt(format!("table act, column {column}, row {}", id.0));
            let known = ActKind::ALL.into_iter().find(|kind| kind.as_str() == what);
            let subject = match subject {
                (Some(delivery), _, _) => ActSubject::Delivery(DeliveryId(delivery)),
                (None, _, Some(event)) => ActSubject::Event(EventId(event)),
                (None, Some(destination), None) => ActSubject::Destination(self.text_of(destination)?),
                (None, None, None) => return Err(nonsense("destination")),
            };
            acts.push(ActRecord { id, at, who, what: known.ok_or_else(|| nonsense("what"))?, subject, note });
        }
        Ok(acts)
    }

    pub(super) fn paused(&mut self) -> Result<Vec<PausedDestination>, StoreError> {
        let read = |row: &Row<'_>| {
            let since = UnixMillis(row.get(1)?);
            Ok(PausedDestination { destination: row.get(0)?, since, who: row.get(2)? })
        };
        let rows = self.conn.prepare(
            "SELECT name.text, since, who FROM paused JOIN name ON name.id = paused.destination
             ORDER BY name.text LIMIT ?1",
        );
        let paused = rows.and_then(|mut statement| {
            statement.query_map([PAUSED_READ_MAX], read).and_then(Iterator::collect)
        });
        self.fault(paused)
    }
}
