//! Finding deliveries: in either order, with any filter, in a bounded amount of work.
//!
//! Where an index knows which deliveries can match (named ones, by message id, dead, owed) just those are
//! looked at; else all there are, window by window. Every window is a read of its own, so that no search holds
//! the log back.

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row, Statement, params_from_iter};
use waypost_domain::{DeliveryId, DeliveryState, UnixMillis};

use super::listing::{Conditions, ENTRIES_MAX, PAGE_MAX, Window};
use super::numbers::number_of_state;
use super::reading::Reading;
use crate::{
    CoveredEvent, DeliveryDetail, DeliveryFilter, DeliveryList, DeliveryPage, DeliveryRecord, StoreError,
};

/// Deliveries that one read looks at.
const WINDOW_DELIVERIES: i64 = 2_000;
/// Reads that one page may take.
const WINDOWS_MAX: usize = 5;
/// Entries of an index that are looked at for each destination, however many there are.
const ENTRIES_PER_DESTINATION_MIN: usize = 8;
/// Times that one page may ask an index while nothing of what it names is admitted: looking at one delivery after the
/// other is dearer than reading a window.
const ROUNDS_MAX: usize = 2;
/// Events of a delivery that are listed.
const EVENTS_LISTED_MAX: usize = 1_000;

/// Which end to begin at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    NewestFirst,
    OldestFirst,
}

/// What to look for.
pub(super) struct Sought<'f> {
    pub(super) filter: &'f DeliveryFilter,
    /// In one of these states.
    pub(super) states: &'f [DeliveryState],
    pub(super) order: Order,
    /// Only beyond this one, in that order.
    pub(super) beyond: Option<DeliveryId>,
    pub(super) limit: usize,
}

/// What was found, in order, and from where to go on.
#[derive(Default)]
pub(super) struct Found {
    pub(super) ids: Vec<i64>,
    pub(super) next: Option<i64>,
}

/// What an index says: all that can match up to `cut`, or to the end.
struct Candidates {
    ids: Vec<i64>,
    cut: Option<i64>,
}

impl Reading<'_> {
    pub(super) fn delivery(&mut self, id: DeliveryId) -> Result<Option<DeliveryDetail>, StoreError> {
        match self.delivery_record_of(id)? {
            Some(record) => self.detail(record),
            None => Ok(None),
        }
    }

    pub(super) fn deliveries(
        &mut self,
        filter: &DeliveryFilter,
        page: DeliveryPage,
    ) -> Result<DeliveryList, StoreError> {
        let found = self.seek(&Sought {
            filter,
            states: &DeliveryState::ALL,
            order: Order::NewestFirst,
            beyond: page.before,
            limit: page.limit.clamp(1, PAGE_MAX),
        })?;
        let mut deliveries = Vec::with_capacity(found.ids.len());
        for id in found.ids {
            deliveries.extend(self.delivery(DeliveryId(id))?);
        }
        Ok(DeliveryList { deliveries, next: found.next.map(DeliveryId) })
    }

    /// `None` if its request or event was pruned since it was read.
    fn detail(&mut self, delivery: DeliveryRecord) -> Result<Option<DeliveryDetail>, StoreError> {
        let request = delivery.owed.request;
        let about = self.about_request.query_row([request.0], |row| {
            Ok((row.get(0)?, UnixMillis(row.get(1)?), row.get::<_, i64>(2)?, row.get(3)?))
        });
        let about = self.fault(about.optional())?;
        let Some((source, received_at, events, body_kept)) = about else { return Ok(None) };
        let first = delivery.owed.event.unwrap_or(request.event(0));
        let Some(covered) = self.covered(first.0)? else { return Ok(None) };
        let events = match delivery.owed.event {
            Some(event) => vec![event],
            None => (0..usize::try_from(events).unwrap_or(0).min(EVENTS_LISTED_MAX))
                .map(|place| request.event(place))
                .collect(),
        };
        let source = self.text_of(source)?;
        Ok(Some(DeliveryDetail { delivery, source, received_at, body_kept, events, first: covered }))
    }

    fn covered(&mut self, event: i64) -> Result<Option<CoveredEvent>, StoreError> {
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        let found = self.about_event.query_row([event], read);
        let found = self.fault(found.optional())?;
        let Some((kind, r#type, wamid, conversation, key)) = found else { return Ok(None) };
        let (kind, r#type) = (self.text_of(kind)?, self.text_of(r#type)?);
        Ok(Some(CoveredEvent { kind, r#type, wamid, conversation, key }))
    }

    /// How many of the deliveries have a request whose body is not kept.
    pub(super) fn without_body(&mut self, deliveries: &[i64]) -> Result<u64, StoreError> {
        let prepared = self
            .conn
            .prepare("SELECT 1 FROM body WHERE request = (SELECT request FROM delivery WHERE id = ?1)");
        let mut body = self.fault(prepared)?;
        let mut missing = 0;
        for id in deliveries {
            let kept = self.fault(numbers(&mut body, [*id]))?;
            missing += u64::from(kept.is_empty());
        }
        Ok(missing)
    }

    pub(super) fn seek(&mut self, sought: &Sought<'_>) -> Result<Found, StoreError> {
        let filter = sought.filter;
        let states: Vec<_> = sought
            .states
            .iter()
            .copied()
            .filter(|state| filter.state.is_none_or(|one| one == *state))
            .collect();
        let Some(conditions) = self.conditions_of(filter, &states)? else { return Ok(Found::default()) };
        let sql = format!(
            "SELECT d.id FROM delivery d WHERE d.id > ? AND d.id < ? {} ORDER BY d.id {} LIMIT ?",
            conditions.sql,
            sought.order.sql()
        );
        let prepared = self.conn.prepare(&sql);
        let mut look = Look { statement: self.fault(prepared)?, values: conditions.values };
        let (before, after) = match sought.order {
            Order::NewestFirst => (sought.beyond, None),
            Order::OldestFirst => (None, sought.beyond),
        };
        let range = self.range(filter.since, filter.until, after.map(|id| id.0), before.map(|id| id.0))?;
        let Some(range) = range else { return Ok(Found::default()) };
        let mut range = range;
        let mut found = Found::default();
        for _ in 0..ROUNDS_MAX {
            let Some(candidates) = self.candidates(filter, &states, sought.order, range)? else {
                return self.look_everywhere(&mut look, range, sought);
            };
            found = self.look_at(candidates, &mut look, sought)?;
            match found.next {
                Some(next) if found.ids.is_empty() => range = sought.order.beyond(range, next),
                _ => break,
            }
        }
        Ok(found)
    }

    fn look_at(
        &mut self,
        candidates: Candidates,
        look: &mut Look<'_>,
        sought: &Sought<'_>,
    ) -> Result<Found, StoreError> {
        let mut found = Found { ids: Vec::new(), next: candidates.cut };
        for id in candidates.ids {
            let window = Window { above: id - 1, below: id + 1 };
            if self.fault(look.at(window, 1))?.is_empty() {
                continue;
            }
            found.ids.push(id);
            if found.ids.len() >= sought.limit {
                found.next = Some(id);
                break;
            }
        }
        Ok(found)
    }

    fn look_everywhere(
        &mut self,
        look: &mut Look<'_>,
        mut range: Window,
        sought: &Sought<'_>,
    ) -> Result<Found, StoreError> {
        let order = sought.order;
        let edge_of = format!(
            "SELECT id FROM delivery WHERE id > ?1 AND id < ?2 ORDER BY id {} LIMIT 1 OFFSET ?3",
            order.sql()
        );
        let mut found = Found::default();
        for _ in 0..WINDOWS_MAX {
            let edge = self.column(&edge_of, [range.above, range.below, WINDOW_DELIVERIES - 1])?;
            let edge = edge.first().copied();
            let window = edge.map_or(range, |edge| order.up_to(range, edge));
            let wanted = sought.limit - found.ids.len();
            let more = self.fault(look.at(window, wanted))?;
            let full = more.len() >= wanted;
            found.ids.extend(more);
            found.next = if full { found.ids.last().copied() } else { edge };
            let (Some(edge), false) = (edge, full) else { break };
            range = order.beyond(range, edge);
        }
        Ok(found)
    }

    /// What an index knows to be all that can match; `None` if none does.
    fn candidates(
        &mut self,
        filter: &DeliveryFilter,
        states: &[DeliveryState],
        order: Order,
        range: Window,
    ) -> Result<Option<Candidates>, StoreError> {
        if let Some(ids) = &filter.ids {
            return Ok(Some(order.named(ids, range)));
        }
        if let Some(wamid) = &filter.wamid {
            return self.by_message(wamid, order, range).map(Some);
        }
        match states {
            [DeliveryState::Dead] => self.dead(order, range).map(Some),
            [DeliveryState::Owed] => self.owed_among(filter, order, range).map(Some),
            _ => Ok(None),
        }
    }

    /// The deliveries of the requests in which the message occurs.
    fn by_message(&mut self, wamid: &str, order: Order, range: Window) -> Result<Candidates, StoreError> {
        // A request's events come before its deliveries: those of the request at the lower end count as well.
        let lowest = self.request_at(range.above)?;
        let range_of_events = Window { above: lowest, below: range.below };
        let (events, cut) = self.events_of_message(wamid, range_of_events, order)?;

        let mut requests = Vec::new();
        let prepared = self.conn.prepare("SELECT request FROM event WHERE id = ?1");
        let mut request_of = self.fault(prepared)?;
        for event in events {
            requests.extend(self.fault(numbers(&mut request_of, [event]))?);
        }
        requests.dedup();
        if cut.is_some() && requests.len() > 1 {
            // There may be more of its events beyond the cut.
            requests.pop();
        }
        let mut candidates = Candidates { ids: Vec::new(), cut: None };
        let last = requests.last().copied();
        let prepared = self.conn.prepare(&format!(
            "SELECT id FROM delivery INDEXED BY delivery_request
             WHERE request = ?1 AND id > ?2 AND id < ?3 ORDER BY id {} LIMIT ?4",
            order.sql()
        ));
        let mut deliveries_of = self.fault(prepared)?;
        for request in requests {
            let room = ENTRIES_MAX.saturating_sub(candidates.ids.len());
            let parameters = [request, range.above, range.below, room as i64];
            let found = self.fault(numbers(&mut deliveries_of, parameters))?;
            let full = full_at(&found, room);
            candidates.ids.extend(found);
            if full.is_some() {
                candidates.cut = full;
                return Ok(candidates);
            }
        }
        if let (Some(_), Some(last)) = (cut, last) {
            candidates.cut = match order {
                Order::NewestFirst => Some(last),
                Order::OldestFirst => {
                    let next = "SELECT id FROM request WHERE id > ?1 ORDER BY id LIMIT 1";
                    self.column(next, [last])?.first().copied()
                }
            };
        }
        Ok(candidates)
    }

    fn dead(&mut self, order: Order, range: Window) -> Result<Candidates, StoreError> {
        let lowest = self.request_at(range.above)?;
        // By request and then by delivery is by delivery.
        let ids = self.column(
            &format!(
                "SELECT id FROM delivery INDEXED BY delivery_dead
                 WHERE state = 2 AND request >= ?1 AND request < ?3 AND id > ?2 AND id < ?3
                 ORDER BY request {0}, id {0} LIMIT ?4",
                order.sql()
            ),
            [lowest, range.above, range.below, ENTRIES_MAX as i64],
        )?;
        let cut = full_at(&ids, ENTRIES_MAX);
        Ok(Candidates { ids, cut })
    }

    /// Destination by destination, those that keep their first turn and those that were replayed.
    fn owed_among(
        &mut self,
        filter: &DeliveryFilter,
        order: Order,
        range: Window,
    ) -> Result<Candidates, StoreError> {
        let destinations = match &filter.destination {
            Some(name) => self.number_of(name)?.into_iter().collect(),
            None => self.column("SELECT name FROM tally WHERE owed <> 0", [])?,
        };
        let each = (ENTRIES_MAX / destinations.len().max(1)).max(ENTRIES_PER_DESTINATION_MIN);
        let first_turns = format!(
            "SELECT turn FROM delivery INDEXED BY delivery_owed
             WHERE state = 0 AND destination = ?1 AND turn > ?2 AND turn < ?3 ORDER BY turn {} LIMIT ?4",
            order.sql()
        );
        let replayed = format!(
            "SELECT id FROM delivery INDEXED BY delivery_replayed
             WHERE state = 0 AND turn > id AND destination = ?1 AND id > ?2 AND id < ?3 ORDER BY id {} LIMIT ?4",
            order.sql()
        );
        let prepared = self.conn.prepare(&first_turns);
        let mut first_turns = self.fault(prepared)?;
        let prepared = self.conn.prepare(&replayed);
        let mut replayed = self.fault(prepared)?;
        let (mut ids, mut cut) = (Vec::new(), None);
        for destination in destinations {
            // A turn that is no delivery's own number is passed over when it is looked at.
            for statement in [&mut first_turns, &mut replayed] {
                let parameters = [destination, range.above, range.below, each as i64];
                let found = self.fault(numbers(statement, parameters))?;
                cut = order.nearer(cut, full_at(&found, each));
                ids.extend(found);
            }
        }
        order.sort(&mut ids, cut);
        Ok(Candidates { ids, cut })
    }

    /// The request to which a number belongs, or the last before it; 0 if there is none.
    pub(super) fn request_at(&mut self, number: i64) -> Result<i64, StoreError> {
        let found =
            self.column("SELECT id FROM request WHERE id <= ?1 ORDER BY id DESC LIMIT 1", [number])?;
        Ok(found.first().copied().unwrap_or(0))
    }

    /// The filter as SQL; `None` if it names something that no row has.
    fn conditions_of(
        &mut self,
        filter: &DeliveryFilter,
        states: &[DeliveryState],
    ) -> Result<Option<Conditions>, StoreError> {
        let mut conditions = Conditions::default();
        if let Some(destination) = &filter.destination {
            let Some(number) = self.number_of(destination)? else { return Ok(None) };
            conditions.add("d.destination = ?", [Value::Integer(number)]);
        }
        if states.len() < DeliveryState::ALL.len() {
            let numbers: Vec<_> = states.iter().map(|state| number_of_state(*state).to_string()).collect();
            conditions.add(&format!("d.state IN ({})", numbers.join(", ")), []);
        }
        if let Some(overtaken) = filter.overtaken {
            conditions.add("d.overtaken = ?", [Value::Integer(overtaken.into())]);
        }
        let last = |column: &str| {
            format!(
                "(SELECT a.{column} FROM attempt a WHERE a.delivery = d.id ORDER BY a.number DESC LIMIT 1) = ?"
            )
        };
        if let Some(status) = filter.last_status {
            conditions.add(&last("status"), [Value::Integer(status.into())]);
        }
        if let Some(code) = &filter.last_code {
            let Some(number) = self.number_of(code)? else { return Ok(None) };
            conditions.add(&last("code"), [Value::Integer(number)]);
        }
        match self.event_conditions(filter)? {
            None => return Ok(None),
            Some(event) if event.sql.is_empty() => {}
            // The numbers between a request's and its deliveries' are those of its events. Not EXISTS, which SQLite
            // may make a join of that reads all events first.
            Some(event) => conditions.add(
                &format!(
                    "(SELECT 1 FROM event e
                      WHERE e.id >= CASE d.event WHEN 0 THEN d.request ELSE d.event END
                        AND e.id <= CASE d.event WHEN 0 THEN d.id ELSE d.event END {} LIMIT 1) = 1",
                    event.sql
                ),
                event.values,
            ),
        }
        Ok(Some(conditions))
    }

    /// What must hold of one and the same event.
    fn event_conditions(&mut self, filter: &DeliveryFilter) -> Result<Option<Conditions>, StoreError> {
        let mut conditions = Conditions::default();
        if let Some(source) = &filter.source {
            let Some(number) = self.number_of(source)? else { return Ok(None) };
            conditions.add("e.source = ?", [Value::Integer(number)]);
        }
        if let Some(number) = &filter.number {
            let Some(number) = self.number_of(number)? else { return Ok(None) };
            let number = Value::Integer(number);
            conditions.add("(e.phone_number_id = ? OR e.display_phone_number = ?)", [number.clone(), number]);
        }
        if let Some(conversation) = &filter.conversation
            && !self.of_conversation(conversation, &mut conditions)?
        {
            return Ok(None);
        }
        if let Some(wamid) = &filter.wamid {
            conditions.add("e.wamid = ?", [Value::Text(wamid.clone())]);
        }
        if let Some(since) = filter.since {
            conditions.add("e.received_at >= ?", [Value::Integer(since.0)]);
        }
        if let Some(until) = filter.until {
            conditions.add("e.received_at < ?", [Value::Integer(until.0)]);
        }
        Ok(Some(conditions))
    }
}

/// The search of a window.
struct Look<'c> {
    statement: Statement<'c>,
    values: Vec<Value>,
}

impl Look<'_> {
    fn at(&mut self, window: Window, limit: usize) -> rusqlite::Result<Vec<i64>> {
        let bounds = [window.above, window.below].map(Value::Integer);
        let limit = Value::Integer(limit as i64);
        let values = bounds.iter().chain(&self.values).chain([&limit]);
        self.statement.query_map(params_from_iter(values), |row| row.get(0))?.collect()
    }
}

impl Order {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::NewestFirst => "DESC",
            Self::OldestFirst => "ASC",
        }
    }

    /// The part of a range up to `edge`, which is in it.
    fn up_to(self, range: Window, edge: i64) -> Window {
        match self {
            Self::NewestFirst => Window { above: edge - 1, ..range },
            Self::OldestFirst => Window { below: edge + 1, ..range },
        }
    }

    /// What is left of a range after `edge`.
    fn beyond(self, range: Window, edge: i64) -> Window {
        match self {
            Self::NewestFirst => Window { below: edge, ..range },
            Self::OldestFirst => Window { above: edge, ..range },
        }
    }

    /// The cut that comes first.
    pub(super) fn nearer(self, one: Option<i64>, other: Option<i64>) -> Option<i64> {
        match self {
            Self::NewestFirst => one.max(other),
            Self::OldestFirst => one.into_iter().chain(other).min(),
        }
    }

    /// Sorts, each once, up to the cut.
    pub(super) fn sort(self, ids: &mut Vec<i64>, cut: Option<i64>) {
        ids.sort_unstable();
        ids.dedup();
        if self == Self::NewestFirst {
            ids.reverse();
        }
        ids.retain(|id| {
            cut.is_none_or(|cut| match self {
                Self::NewestFirst => *id >= cut,
                Self::OldestFirst => *id <= cut,
            })
        });
    }

    fn named(self, ids: &[DeliveryId], range: Window) -> Candidates {
        let in_range = |id: &i64| *id > range.above && *id < range.below;
        let mut ids: Vec<i64> = ids.iter().map(|id| id.0).filter(in_range).collect();
        self.sort(&mut ids, None);
        let cut = ids.get(ENTRIES_MAX).and(ids.get(ENTRIES_MAX - 1)).copied();
        ids.truncate(ENTRIES_MAX);
        Candidates { ids, cut }
    }
}

fn numbers<const N: usize>(
    statement: &mut Statement<'_>,
    parameters: [i64; N],
) -> rusqlite::Result<Vec<i64>> {
    statement.query_map(params_from_iter(parameters), |row| row.get(0))?.collect()
}

/// The last of them, if there are as many as were asked for.
pub(super) fn full_at(found: &[i64], limit: usize) -> Option<i64> {
    if found.len() >= limit { found.last().copied() } else { None }
}
