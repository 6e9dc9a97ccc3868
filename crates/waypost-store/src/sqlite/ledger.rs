//! Writing: what each operation does to the tables, within the transaction at hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use waypost_domain::limits::RESPONSE_EXCERPT_BYTES_MAX;
use waypost_domain::{Clock, DeliveryEvent, DeliveryId, DeliveryState, EventId, RequestId, UnixMillis};

use super::acts::Acts;
use super::identity::Identity;
use super::names::Numbers;
use super::numbers::{Sequence, number_of_state, state_of_number};
use super::passes::JustSettled;
use super::prune::Pruner;
use super::queue::{Operation, Outcome};
use crate::{Accept, Accepted, AttemptRecord, Covers, NewDelivery, OwedDelivery, Settled, Settlement, Turn};

/// Why an operation cannot be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error("{0}")]
    Nonsense(String),
}

/// The writer's statements, prepared once for a connection.
pub(super) struct Ledger<'c> {
    pub(super) names: Numbers<'c>,
    dedupe_window: Duration,
    pub(super) clock: Clock,
    pub(super) pruner: Pruner<'c>,
    just_settled: Arc<JustSettled>,
    /// Requests of which a delivery was settled in the transaction at hand.
    settled: Vec<i64>,
    pub(super) tally: Tally<'c>,
    pub(super) acts: Acts<'c>,
    skew: Skew<'c>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    add_identity: Statement<'c>,
    find_identity: Statement<'c>,
    renew_identity: Statement<'c>,
    add_request: Statement<'c>,
    add_body: Statement<'c>,
    add_event: Statement<'c>,
    add_delivery: Statement<'c>,
    find_delivery: Statement<'c>,
    settle_delivery: Statement<'c>,
    add_attempt: Statement<'c>,
    put_upstream: Statement<'c>,
    delete_upstream: Statement<'c>,
    probe: Statement<'c>,
}

impl<'c> Ledger<'c> {
    pub(super) fn new(
        conn: &'c Connection,
        dedupe_window: Duration,
        clock: Clock,
        just_settled: Arc<JustSettled>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            names: Numbers::new(conn)?,
            dedupe_window,
            clock,
            pruner: Pruner::new(conn)?,
            just_settled,
            settled: Vec::new(),
            tally: Tally::new(conn)?,
            acts: Acts::new(conn)?,
            skew: Skew::new(conn)?,
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            add_identity: conn.prepare(
                "INSERT INTO identity (subject, key, event) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?,
            find_identity: conn.prepare("SELECT event FROM identity WHERE subject = ?1 AND key = ?2")?,
            renew_identity: conn
                .prepare("UPDATE identity SET event = ?3 WHERE subject = ?1 AND key = ?2")?,
            add_request: conn.prepare(
                "INSERT INTO request (id, source, received_at, proved_by, events, target, body_sha256, body_bytes, headers)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            add_body: conn.prepare("INSERT INTO body (request, bytes) VALUES (?1, ?2)")?,
            add_event: conn.prepare(
                "INSERT INTO event (id, request, received_at, source, repeats, once, kind, class, field, type,
                                    phone_number_id, display_phone_number, waba_id, occurred_at, conversation, wamid, key)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?,
            add_delivery: conn.prepare(
                "INSERT INTO delivery (id, request, event, destination, state, priority, attempts, overtaken, accepted_at, due_at, turn, lanes)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 0, ?6, ?6, ?1, ?7)",
            )?,
            find_delivery: conn.prepare("SELECT state, destination, request FROM delivery WHERE id = ?1")?,
            settle_delivery: conn.prepare(
                "UPDATE delivery SET state = ?2, attempts = attempts + ?3, overtaken = overtaken OR ?4,
                                     due_at = coalesce(?5, due_at), settled_at = ?6 WHERE id = ?1",
            )?,
            add_attempt: conn.prepare(
                "INSERT INTO attempt (delivery, number, at, total_us, resolve_us, connect_us, tls_us, first_byte_us, address, status, code, excerpt)
                 VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE delivery = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            put_upstream: conn.prepare(
                "INSERT INTO upstream (host, settings, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (host) DO UPDATE SET settings = excluded.settings, created_at = excluded.created_at",
            )?,
            delete_upstream: conn.prepare("DELETE FROM upstream WHERE host = ?1")?,
            probe: conn.prepare("UPDATE ledger SET probes = probes + 1")?,
        })
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    /// Commits and syncs.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.tally.write()?;
        self.skew.write()?;
        self.commit.execute([])?;
        self.names.committed();
        if !self.settled.is_empty() {
            self.just_settled.add(self.settled.drain(..));
        }
        Ok(())
    }

    /// To be called after a rollback: forgets what was only true within the transaction.
    pub(super) fn undone(&mut self) {
        self.names.undone();
        self.tally.changes.clear();
        self.settled.clear();
        self.skew.undone();
    }

    pub(super) fn perform(
        &mut self,
        operation: &Operation,
        sequence: &mut Sequence,
    ) -> Result<Outcome, Refusal> {
        match operation {
            Operation::Accept(accept, identities) => {
                self.accept(accept, identities, sequence).map(Outcome::Accepted)
            }
            Operation::Settle(settlements) => {
                settlements.iter().try_for_each(|settlement| self.settle(settlement))?;
                Ok(Outcome::Done)
            }
            Operation::MarkOvertaken(deliveries) => {
                self.mark_overtaken(deliveries)?;
                Ok(Outcome::Done)
            }
            Operation::Act(step) => self.act(step, sequence).map(Outcome::Acted),
            Operation::Pause(what, pause) => self.pause(*what, pause, sequence).map(Outcome::Changed),
            Operation::Prune(pruning) => self.prune(pruning, sequence).map(Outcome::Pruned),
            Operation::UpstreamPut(upstream) => {
                let created_at = upstream.created_at.0;
                self.put_upstream.execute(params![upstream.host, upstream.settings, created_at])?;
                Ok(Outcome::Done)
            }
            Operation::UpstreamDelete(host) => {
                Ok(Outcome::Deleted(self.delete_upstream.execute([host])? > 0))
            }
            Operation::Probe => {
                self.probe.execute([])?;
                Ok(Outcome::Done)
            }
        }
    }

    fn accept(
        &mut self,
        accept: &Accept,
        identities: &[Identity],
        sequence: &mut Sequence,
    ) -> Result<Accepted, Refusal> {
        let request = RequestId(sequence.first(accept.received_at));
        self.skew.saw(sequence.skew_ms(accept.received_at));
        let oldest = EventId::floor(accept.received_at.minus(self.dedupe_window));
        let source = self.names.of(&accept.source)?;

        let mut events = Vec::with_capacity(accept.events.len());
        for (event, identity) in accept.events.iter().zip(identities) {
            let id = EventId(sequence.next());
            let repeats = if event.once {
                self.identify(*identity, id, oldest, event.wamid.is_some())?
            } else {
                if event.wamid.is_some() {
                    self.make_findable(identity.subject, id)?;
                }
                None
            };
            self.add_event.execute(params![
                id.0,
                request.0,
                accept.received_at.0,
                source,
                repeats.map(|event| event.0),
                event.once,
                self.names.of(event.kind)?,
                self.names.of(event.class)?,
                self.names.of(&event.field)?,
                self.names.of(&event.r#type)?,
                self.names.of_some(event.phone_number_id.as_deref())?,
                self.names.of_some(event.display_phone_number.as_deref())?,
                self.names.of_some(event.waba_id.as_deref())?,
                event.occurred_at.map(|at| at.0),
                event.conversation.as_deref(),
                event.wamid.as_deref(),
                &*event.key,
            ])?;
            events.push((id, repeats));
        }

        let mut accepted = Accepted { request, events, owed: Vec::with_capacity(accept.deliveries.len()) };
        self.add_request.execute(params![
            request.0,
            source,
            accept.received_at.0,
            self.names.of_some(accept.proved_by.as_deref())?,
            accept.events.len() as i64,
            accept.target,
            &accept.body_sha256[..],
            accept.body.len() as i64,
            accept.headers.as_bytes(),
        ])?;
        if !accepted.is_duplicate() {
            self.add_body.execute(params![request.0, &accept.body[..]])?;
        }
        for delivery in &accept.deliveries {
            let Some(event) = covered_if_new(delivery, &accepted.events)? else { continue };
            let owed = self.owe(accept, delivery, request, event, DeliveryId(sequence.next()))?;
            accepted.owed.push(owed);
        }
        Ok(accepted)
    }

    /// Claims the identity for the event, or says which event has it.
    fn identify(
        &mut self,
        identity: Identity,
        event: EventId,
        oldest: EventId,
        findable: bool,
    ) -> Result<Option<EventId>, Refusal> {
        let Identity { subject, key } = identity;
        if self.add_identity.execute(params![subject, key, event.0])? > 0 {
            return Ok(None);
        }
        let earlier = EventId(self.find_identity.query_row([subject, key], |row| row.get(0))?);
        let repeats = earlier >= oldest;
        if !repeats {
            self.renew_identity.execute(params![subject, key, event.0])?;
        }
        if findable {
            // Whichever of the two does not hold the identity is found by message id all the same.
            self.make_findable(subject, if repeats { event } else { earlier })?;
        }
        Ok(repeats.then_some(earlier))
    }

    fn make_findable(&mut self, subject: i64, event: EventId) -> Result<(), Refusal> {
        self.add_identity.execute([subject, event.0, event.0])?;
        Ok(())
    }

    fn owe(
        &mut self,
        accept: &Accept,
        delivery: &NewDelivery,
        request: RequestId,
        event: Option<EventId>,
        id: DeliveryId,
    ) -> Result<OwedDelivery, Refusal> {
        let destination = self.names.of(&delivery.destination)?;
        self.add_delivery.execute(params![
            id.0,
            request.0,
            event.map_or(0, |event| event.0),
            destination,
            delivery.priority as u8,
            accept.received_at.0,
            delivery.lanes.to_bytes(),
        ])?;
        self.tally.moved(destination, None, DeliveryState::Owed);
        Ok(OwedDelivery {
            id,
            turn: Turn(id.0),
            request,
            event,
            destination: Arc::clone(&delivery.destination),
            lanes: delivery.lanes.clone(),
            priority: delivery.priority,
            attempts: 0,
            due_at: accept.received_at,
            accepted_at: accept.received_at,
            overtaken: false,
        })
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<(), Refusal> {
        let id = settlement.delivery;
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?));
        let Some((state, destination, request)) = self.find_delivery.query_row([id.0], read).optional()?
        else {
            return Err(Refusal::Nonsense(format!("table delivery has no row {id}")));
        };
        let state = state_of_number(state)
            .ok_or_else(|| Refusal::Nonsense(format!("table delivery, column state, row {id}: {state}")))?;
        self.record(id, &settlement.attempt, settlement.settled == Settled::Delivered)?;

        let (happened, failed, due_at) = match settlement.settled {
            Settled::Delivered => (DeliveryEvent::Succeed, 0, None),
            Settled::Retry { due_at } => (DeliveryEvent::RetryLater, 1, Some(due_at.0)),
            Settled::Dead => (DeliveryEvent::GiveUp, 1, None),
        };
        // No longer owed: the attempt was under way when somebody decided otherwise, and that stands.
        let Ok(after) = state.after(happened) else { return Ok(()) };
        let settled_at = (after != DeliveryState::Owed)
            .then(|| settlement.attempt.at.plus(settlement.attempt.timing.total).0);
        self.settle_delivery.execute(params![
            id.0,
            number_of_state(after),
            failed,
            settlement.overtaken,
            due_at,
            settled_at
        ])?;
        self.tally.moved(destination, Some(state), after);
        self.left(request, after);
        Ok(())
    }

    /// To be told of each delivery that changed: its request's body may be one that goes at once.
    pub(super) fn left(&mut self, request: i64, after: DeliveryState) {
        if after != DeliveryState::Owed && self.just_settled.is_wanted() {
            self.settled.push(request);
        }
    }

    /// Ends a delivery otherwise than by an attempt.
    pub(super) fn end(
        &mut self,
        id: DeliveryId,
        after: DeliveryState,
        at: UnixMillis,
    ) -> rusqlite::Result<()> {
        let state = number_of_state(after);
        self.settle_delivery.execute(params![id.0, state, 0, false, None::<i64>, at.0]).map(drop)
    }

    fn record(&mut self, id: DeliveryId, attempt: &AttemptRecord, success: bool) -> Result<(), Refusal> {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let excerpt = &attempt.excerpt[..attempt.excerpt.len().min(RESPONSE_EXCERPT_BYTES_MAX)];
        let code = (!attempt.code.is_empty()).then_some(&*attempt.code);
        self.add_attempt.execute(params![
            id.0,
            attempt.at.0,
            micros(attempt.timing.total),
            attempt.timing.resolve.map(micros),
            attempt.timing.connect.map(micros),
            attempt.timing.tls.map(micros),
            attempt.timing.first_byte.map(micros),
            match attempt.address {
                Some(address) => Some(self.names.of(&address.to_string())?),
                None => None,
            },
            attempt.status,
            self.names.of_some(code)?,
            (!success && !excerpt.is_empty()).then_some(excerpt),
        ])?;
        Ok(())
    }
}

/// `None` if nothing that the delivery covers is new; else the event it carries, if it carries one.
fn covered_if_new(
    delivery: &NewDelivery,
    events: &[(EventId, Option<EventId>)],
) -> Result<Option<Option<EventId>>, Refusal> {
    match delivery.covers {
        Covers::Request => Ok(events.iter().any(|(_, repeats)| repeats.is_none()).then_some(None)),
        Covers::Event(place) => {
            let event = events.get(place as usize).ok_or_else(|| {
                Refusal::Nonsense(format!("a delivery covers event {place} of {}", events.len()))
            })?;
            Ok(event.1.is_none().then_some(Some(event.0)))
        }
    }
}

/// Counts of owed and dead deliveries: gathered in memory, written once before each commit.
pub(super) struct Tally<'c> {
    add: Statement<'c>,
    changes: BTreeMap<i64, (i64, i64)>,
}

impl<'c> Tally<'c> {
    fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let add = conn.prepare(
            "INSERT INTO tally (destination, owed, dead) VALUES (?1, ?2, ?3)
             ON CONFLICT (destination) DO UPDATE SET owed = owed + excluded.owed, dead = dead + excluded.dead",
        )?;
        Ok(Self { add, changes: BTreeMap::new() })
    }

    pub(super) fn moved(&mut self, destination: i64, from: Option<DeliveryState>, to: DeliveryState) {
        let (owed, dead) = self.changes.entry(destination).or_default();
        let count = |state: Option<DeliveryState>, counted| i64::from(state == Some(counted));
        *owed += count(Some(to), DeliveryState::Owed) - count(from, DeliveryState::Owed);
        *dead += count(Some(to), DeliveryState::Dead) - count(from, DeliveryState::Dead);
    }

    /// A dead delivery's row is gone.
    pub(super) fn forgot_dead(&mut self, destination: i64) {
        self.changes.entry(destination).or_default().1 -= 1;
    }

    fn write(&mut self) -> rusqlite::Result<()> {
        for (destination, (owed, dead)) in std::mem::take(&mut self.changes) {
            if (owed, dead) != (0, 0) {
                self.add.execute([destination, owed, dead])?;
            }
        }
        Ok(())
    }
}

/// By how much the wall clock was found behind the identifiers; written when it grows.
struct Skew<'c> {
    set: Statement<'c>,
    written_ms: i64,
    seen_ms: i64,
}

impl<'c> Skew<'c> {
    fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let written_ms = conn.query_row("SELECT skew_ms FROM ledger", [], |row| row.get(0))?;
        Ok(Self { set: conn.prepare("UPDATE ledger SET skew_ms = ?1")?, written_ms, seen_ms: written_ms })
    }

    fn saw(&mut self, skew_ms: i64) {
        self.seen_ms = self.seen_ms.max(skew_ms);
    }

    fn write(&mut self) -> rusqlite::Result<()> {
        if self.seen_ms > self.written_ms {
            self.set.execute([self.seen_ms])?;
            self.written_ms = self.seen_ms;
        }
        Ok(())
    }

    fn undone(&mut self) {
        // Whether the greater value reached the disk is not known: it is written again when next seen.
        self.written_ms = i64::MIN;
    }
}

/// The greatest identifier in use.
pub(super) fn greatest_identifier(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row(
        "SELECT max((SELECT last_id FROM ledger), coalesce((SELECT max(id) FROM request), 0), coalesce((SELECT max(id) FROM event), 0),
                    coalesce((SELECT max(id) FROM delivery), 0), coalesce((SELECT max(id) FROM act), 0),
                    coalesce((SELECT max((SELECT max(turn) FROM delivery INDEXED BY delivery_owed
                                          WHERE state = 0 AND destination = tally.destination)) FROM tally), 0))",
        [],
        |row| row.get(0),
    )
}
