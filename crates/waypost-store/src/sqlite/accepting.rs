//! Taking a request in: its rows, its events' identities, what is owed for them, in the transaction at hand.

use std::sync::Arc;

use rusqlite::{Connection, Statement, params};
use waypost_domain::{DeliveryId, DeliveryState, EventId, Lane, Lanes, RequestId};

use super::identity::Identity;
use super::ledger::{Ledger, Refusal};
use super::numbers::{Sequence, number_of_fact};
use crate::{
    Accept, Accepted, Covers, DELIVERIES_PER_REQUEST_MAX, NewDelivery, OwedDelivery, RELEASED_PER_EVENT_MAX,
    Turn,
};

/// Most numbers that are kept free for the quarantined events of one request: a millisecond's.
const ROOM_MAX: usize = 1 << 20;

/// The statements of accepts.
pub(super) struct Accepting<'c> {
    add_request: Statement<'c>,
    add_body: Statement<'c>,
    add_event: Statement<'c>,
    add_delivery: Statement<'c>,
}

impl<'c> Accepting<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            add_request: conn.prepare(
                "INSERT INTO request (id, source, received_at, proved_by, events, room, target, body_sha256, body_bytes, headers)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
            add_body: conn.prepare("INSERT INTO body (request, bytes) VALUES (?1, ?2)")?,
            add_event: conn.prepare(
                "INSERT INTO event (id, request, received_at, source, repeats, once, kind, class, field, type,
                                    phone_number_id, display_phone_number, waba_id, occurred_at, conversation,
                                    quarantined, wamid, key, person)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            )?,
            add_delivery: conn.prepare(
                "INSERT INTO delivery (id, request, event, destination, state, priority, attempts, overtaken, accepted_at, due_at, turn, lanes)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, 0, 0, ?6, ?6, ?7, ?8)",
            )?,
        })
    }
}

impl Ledger<'_> {
    pub(super) fn accept(
        &mut self,
        accept: &Accept,
        identities: &[Identity],
        sequence: &mut Sequence,
    ) -> Result<Accepted, Refusal> {
        let request = RequestId(sequence.first(accept.received_at));
        self.skew.saw(sequence.skew_ms(accept.received_at));
        let oldest = EventId::floor(accept.received_at.minus(self.dedupe_window));
        let source = self.names.of(&accept.source)?;
        let owable = owable(accept);

        let mut events = Vec::with_capacity(accept.events.len());
        let mut lanes = Vec::with_capacity(accept.events.len());
        let mut quarantined = 0;
        for (place, (event, identity)) in accept.events.iter().zip(identities).enumerate() {
            let id = EventId(sequence.next());
            let repeats = if event.once {
                self.identify(*identity, id, oldest, event.wamid.is_some())?
            } else {
                if event.wamid.is_some() {
                    self.make_findable(identity.subject, id)?;
                }
                None
            };
            let belongs =
                self.contacts.belongs(&accept.source, event, id, repeats.is_some(), &mut self.names)?;
            let held = repeats.is_none() && (event.quarantined || place >= owable);
            quarantined += usize::from(held);
            self.accepting.add_event.execute(params![
                id.0,
                request.0,
                accept.received_at.0,
                source,
                repeats.map(|event| event.0),
                event.once,
                self.names.of(&event.kind)?,
                self.names.of(&event.class)?,
                self.names.of(&event.field)?,
                self.names.of(&event.r#type)?,
                self.names.of_some(event.phone_number_id.as_deref())?,
                self.names.of_some(event.display_phone_number.as_deref())?,
                self.names.of_some(event.waba_id.as_deref())?,
                event.occurred_at.map(|at| at.0),
                belongs.conversation,
                held,
                event.wamid.as_deref(),
                &*event.key,
                number_of_fact(belongs.person),
            ])?;
            events.push((id, repeats));
            lanes.push(belongs.lanes);
        }

        let mut accepted =
            Accepted { request, events, owed: Vec::with_capacity(accept.deliveries.len()), quarantined };
        if !accepted.is_duplicate() {
            self.accepting.add_body.execute(params![request.0, &accept.body[..]])?;
        }
        for delivery in &accept.deliveries {
            let Some(event) = covered_if_new(delivery, &accepted.events, owable)? else { continue };
            let id = DeliveryId(sequence.next());
            let owed = OwedDelivery {
                id,
                turn: Turn(id.0),
                request,
                event,
                destination: Arc::clone(&delivery.destination),
                lanes: lanes_of(delivery.covers, &lanes),
                priority: delivery.priority,
                attempts: 0,
                due_at: accept.received_at,
                accepted_at: accept.received_at,
                overtaken: false,
            };
            self.owe(&owed)?;
            accepted.owed.push(owed);
        }
        let mut room = None;
        if quarantined > 0 {
            self.tally.quarantined(source, quarantined as i64);
            room = Some(sequence.keep_free((quarantined * RELEASED_PER_EVENT_MAX).min(ROOM_MAX) as i64));
            self.reserved = room;
        }
        self.accepting.add_request.execute(params![
            request.0,
            source,
            accept.received_at.0,
            self.names.of_some(accept.proved_by.as_deref())?,
            accept.events.len() as i64,
            room,
            accept.target,
            &accept.body_sha256[..],
            accept.body.len() as i64,
            accept.headers.as_bytes(),
        ])?;
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
        let Some(earlier) = self.recent.find(identity)? else {
            self.recent.put(identity, event)?;
            return Ok(None);
        };
        let repeats = earlier >= oldest;
        if !repeats {
            self.recent.put(identity, event)?;
        }
        if findable {
            // Whichever of the two does not hold the identity is found by message id all the same.
            self.make_findable(identity.subject, if repeats { event } else { earlier })?;
        }
        Ok(repeats.then_some(earlier))
    }

    fn make_findable(&mut self, subject: i64, event: EventId) -> Result<(), Refusal> {
        Ok(self.recent.put(Identity { subject, key: event.0 }, event)?)
    }

    /// Writes a new delivery down and counts it.
    pub(super) fn owe(&mut self, owed: &OwedDelivery) -> Result<(), Refusal> {
        let destination = self.names.of(&owed.destination)?;
        self.accepting.add_delivery.execute(params![
            owed.id.0,
            owed.request.0,
            owed.event.map_or(0, |event| event.0),
            destination,
            owed.priority as u8,
            owed.accepted_at.0,
            owed.turn.0,
            owed.lanes.to_bytes(),
        ])?;
        self.tally.moved(destination, None, DeliveryState::Owed);
        Ok(())
    }
}

/// How many of the events, the first ones, may be owed to those whom the request names: all, nearly always.
fn owable(accept: &Accept) -> usize {
    if accept.deliveries.len() <= DELIVERIES_PER_REQUEST_MAX {
        return usize::MAX;
    }
    let mut room = DELIVERIES_PER_REQUEST_MAX;
    let mut wanted = vec![0_usize; accept.events.len()];
    for delivery in &accept.deliveries {
        match delivery.covers {
            Covers::Request => room = room.saturating_sub(1),
            Covers::Event(place) => wanted.get_mut(place as usize).into_iter().for_each(|count| *count += 1),
        }
    }
    let fits = |count: &&usize| {
        let left = room.checked_sub(**count);
        room = left.unwrap_or(0);
        left.is_some()
    };
    wanted.iter().take_while(fits).count()
}

/// `None` if nothing that the delivery covers is new; else the event it carries, if it carries one.
fn covered_if_new(
    delivery: &NewDelivery,
    events: &[(EventId, Option<EventId>)],
    owable: usize,
) -> Result<Option<Option<EventId>>, Refusal> {
    match delivery.covers {
        Covers::Request => Ok(events.iter().any(|(_, repeats)| repeats.is_none()).then_some(None)),
        Covers::Event(place) => {
            let place = place as usize;
            let event = events.get(place).ok_or_else(|| {
                Refusal::Nonsense(format!("a delivery covers event {place} of {}", events.len()))
            })?;
            Ok((event.1.is_none() && place < owable).then_some(Some(event.0)))
        }
    }
}

/// What a delivery waits for: the lanes of all that it covers.
fn lanes_of(covers: Covers, lanes: &[Vec<Lane>]) -> Lanes {
    match covers {
        Covers::Request => lanes.iter().flatten().copied().collect(),
        Covers::Event(place) => lanes.get(place as usize).into_iter().flatten().copied().collect(),
    }
}
