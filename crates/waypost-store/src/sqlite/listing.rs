//! Listing events: the newest first, with any filter, in a bounded amount of work.
//!
//! Events are searched window by window, from the newest down. Where an index knows which events can
//! match (by message id, by dead deliveries) the windows are just those; else they are all there is.
//! Every window is a read of its own, so that no search holds the log back.

use rusqlite::types::Value;
use rusqlite::{Connection, Statement, params_from_iter};
use waypost_domain::{DeliveryState, EventId, UnixMillis};

use super::contacts;
use super::deliveries::{Order, full_at};
use super::identity::subject_of_wamid;
use super::numbers::number_of_state;
use super::reading::{EVENT_COLUMNS, Reading};
use crate::{EventFilter, EventList, EventRecord, Page, StoreError};

/// Most events of a page.
pub(super) const PAGE_MAX: usize = 1_000;
/// Events that one read looks at.
const WINDOW_EVENTS: i64 = 2_000;
/// Reads that one page may take.
const WINDOWS_MAX: usize = 4;
/// Entries of an index that one page may look at.
pub(super) const ENTRIES_MAX: usize = 2_000;

/// Identifiers from `above` to `below`, neither included.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) above: i64,
    pub(super) below: i64,
}

/// Where to look, the newest first.
pub(super) enum Search {
    /// At these events.
    Events(std::vec::IntoIter<i64>),
    /// Within these.
    Windows(std::vec::IntoIter<Window>),
    /// Everywhere below, in so many windows.
    Everything { below: i64, windows: usize },
    /// Nowhere further.
    Done,
}

impl Reading<'_> {
    pub(super) fn events(&mut self, filter: &EventFilter, page: Page) -> Result<EventList, StoreError> {
        let limit = page.limit.clamp(1, PAGE_MAX);
        let nothing = EventList { events: Vec::new(), next: None };
        let Some(conditions) = self.conditions(filter)? else { return Ok(nothing) };
        let before = page.before.map(|before| before.0);
        let Some(range) = self.range(filter.since, filter.until, None, before)? else { return Ok(nothing) };
        let sql = format!(
            "SELECT {EVENT_COLUMNS} FROM event e WHERE e.id > ? AND e.id < ? {} ORDER BY e.id DESC LIMIT ?",
            conditions.sql
        );
        let prepared = self.conn.prepare(&sql);
        let mut statement = self.fault(prepared)?;
        let (mut search, next) = self.search(filter, range)?;
        let mut list = EventList { next: next.map(EventId), ..nothing };
        while let Some(window) = self.next_window(&mut search, range)? {
            let wanted = limit - list.events.len();
            let found = self.look_for_events(&mut statement, &conditions, window, wanted)?;
            let full = found.len() >= wanted;
            list.events.extend(found);
            if full {
                list.next = list.events.last().map(|event| event.id);
                break;
            }
            if let Search::Everything { below, windows: 0 } = search {
                list.next = Some(EventId(below));
            }
        }
        for event in &mut list.events {
            event.deliveries = self.deliveries_of_event(event.request, event.id)?;
        }
        Ok(list)
    }

    fn look_for_events(
        &mut self,
        statement: &mut Statement<'_>,
        conditions: &Conditions,
        window: Window,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let bounds = [window.above, window.below].map(Value::Integer);
        let limit = Value::Integer(limit as i64);
        let values = bounds.iter().chain(&conditions.values).chain([&limit]);
        self.events_by(statement, params_from_iter(values))
    }

    /// The identifiers that a page and a filter's times admit.
    pub(super) fn range(
        &mut self,
        since: Option<UnixMillis>,
        until: Option<UnixMillis>,
        after: Option<i64>,
        before: Option<i64>,
    ) -> Result<Option<Window>, StoreError> {
        let earliest = since.map_or(0, |since| EventId::floor(since).0 - 1);
        let above = after.map_or(earliest, |after| after.max(earliest));
        let mut below = before.unwrap_or(i64::MAX);
        if let Some(until) = until {
            // Where the clock once stepped back, identifiers are ahead of the time of day.
            let skew = self.conn.query_row("SELECT skew_ms FROM ledger", [], |row| row.get(0));
            let skew_ms: i64 = self.fault(skew)?;
            let skew_ms = u64::try_from(skew_ms).unwrap_or(0);
            let latest = until.plus(std::time::Duration::from_millis(skew_ms.saturating_add(2)));
            below = below.min(EventId::floor(latest).0);
        }
        Ok((above < below).then_some(Window { above, below }))
    }

    /// Where to look, and below what to go on if the index had more to say.
    pub(super) fn search(
        &mut self,
        filter: &EventFilter,
        range: Window,
    ) -> Result<(Search, Option<i64>), StoreError> {
        match (&filter.wamid, filter.state) {
            (Some(wamid), _) => self.by_wamid(wamid, range),
            (None, Some(DeliveryState::Dead)) => self.by_dead(range),
            (None, _) if filter.quarantined == Some(true) => self.by_quarantine(range),
            _ => Ok((Search::Everything { below: range.below, windows: WINDOWS_MAX }, None)),
        }
    }

    fn by_wamid(&mut self, wamid: &str, range: Window) -> Result<(Search, Option<i64>), StoreError> {
        let (found, cut) = self.events_of_message(wamid, range, Order::NewestFirst)?;
        Ok((Search::Events(found.into_iter()), cut))
    }

    /// The events that bear a message id, in order, up to the cut, if there may be more.
    pub(super) fn events_of_message(
        &mut self,
        wamid: &str,
        range: Window,
        order: Order,
    ) -> Result<(Vec<i64>, Option<i64>), StoreError> {
        let subject = subject_of_wamid(wamid);
        let mut events = self.recent.events_of(subject);
        events.retain(|event| *event > range.above && *event < range.below);
        let parameters = [subject, range.above, range.below, ENTRIES_MAX as i64];
        let mut cut = None;
        let found = self.by_message.find(order, parameters);
        for found in self.fault(found)? {
            cut = order.nearer(cut, full_at(&found, ENTRIES_MAX));
            events.extend(found);
        }
        order.sort(&mut events, cut);
        Ok((events, cut))
    }

    /// The events that dead deliveries carry: one each, or all of a request.
    fn by_dead(&mut self, range: Window) -> Result<(Search, Option<i64>), StoreError> {
        let read = |conn: &Connection| {
            let mut rows = conn.prepare(
                "SELECT d.request, d.event, r.events FROM delivery d INDEXED BY delivery_dead
                 JOIN request r ON r.id = d.request
                 WHERE d.state = 2 AND d.request < ?1 ORDER BY d.request DESC LIMIT ?2",
            )?;
            rows.query_map([range.below, ENTRIES_MAX as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<rusqlite::Result<Vec<(i64, i64, i64)>>>()
        };
        let mut dead = self.fault(read(self.conn))?;
        // All events of a request are above its own number, so that what comes next is below it.
        let mut cut = None;
        if dead.len() >= ENTRIES_MAX
            && let (Some(first), Some(last)) = (dead.first().copied(), dead.last().copied())
        {
            // Of the last one there may be more.
            if first.0 == last.0 {
                dead = vec![(last.0, 0, last.2)];
            } else {
                dead.retain(|(request, ..)| *request != last.0);
            }
            cut = dead.last().map(|(request, ..)| *request);
        }
        let mut windows: Vec<Window> = dead
            .into_iter()
            .map(|(request, event, events)| match event {
                0 => Window { above: request, below: request + events + 1 },
                event => Window { above: event - 1, below: event + 1 },
            })
            .filter_map(|window| {
                let Window { above, below } = window;
                let window = Window { above: above.max(range.above), below: below.min(range.below) };
                (window.above + 1 < window.below).then_some(window)
            })
            .collect();
        // Each event once: of windows that begin alike the widest, and none within another.
        windows.sort_unstable_by_key(|window| (window.above, std::cmp::Reverse(window.below)));
        let mut reached = i64::MIN;
        windows.retain(|window| {
            let new = window.below > reached;
            reached = reached.max(window.below);
            new
        });
        windows.reverse();
        Ok((Search::Windows(windows.into_iter()), cut))
    }

    fn by_quarantine(&mut self, range: Window) -> Result<(Search, Option<i64>), StoreError> {
        // By request and then by event is by event.
        let lowest = self.request_at(range.above)?;
        let events = self.column(
            "SELECT id FROM event INDEXED BY event_quarantined
             WHERE quarantined = 1 AND request >= ?1 AND request < ?3 AND id > ?2 AND id < ?3
             ORDER BY request DESC, id DESC LIMIT ?4",
            [lowest, range.above, range.below, ENTRIES_MAX as i64],
        )?;
        let cut = (events.len() >= ENTRIES_MAX).then(|| events.last().copied()).flatten();
        Ok((Search::Events(events.into_iter()), cut))
    }

    /// Adds that an event is of a conversation, told by its name or by an identity of the person. False if there
    /// is no such conversation.
    pub(super) fn of_conversation(
        &mut self,
        told: &str,
        conditions: &mut Conditions,
    ) -> Result<bool, StoreError> {
        let found = contacts::conversations(self.conn, told);
        let found = self.fault(found)?;
        let marks = vec!["?"; found.len()].join(", ");
        conditions.add(&format!("e.conversation IN ({marks})"), found.iter().copied().map(Value::Integer));
        Ok(!found.is_empty())
    }

    pub(super) fn next_window(
        &mut self,
        search: &mut Search,
        range: Window,
    ) -> Result<Option<Window>, StoreError> {
        let window = match search {
            Search::Events(ids) => ids.next().map(|id| Window { above: id - 1, below: id + 1 }),
            Search::Windows(windows) => windows.next(),
            Search::Everything { windows: 0, .. } | Search::Done => None,
            Search::Everything { below, windows } => {
                let window = *below;
                let lowest = self.column(
                    "SELECT id FROM event WHERE id > ?1 AND id < ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3",
                    [range.above, window, WINDOW_EVENTS - 1],
                )?;
                match lowest.first() {
                    Some(&lowest) => {
                        *below = lowest;
                        *windows -= 1;
                        Some(Window { above: lowest - 1, below: window })
                    }
                    None => {
                        *search = Search::Done;
                        Some(Window { above: range.above, below: window })
                    }
                }
            }
        };
        Ok(window)
    }

    pub(super) fn column<const N: usize>(
        &mut self,
        sql: &str,
        parameters: [i64; N],
    ) -> Result<Vec<i64>, StoreError> {
        let found = self.conn.prepare(sql).and_then(|mut statement| {
            statement.query_map(params_from_iter(parameters), |row| row.get(0)).and_then(Iterator::collect)
        });
        self.fault(found)
    }

    /// The filter as SQL; `None` if it names something that no row has.
    pub(super) fn conditions(&mut self, filter: &EventFilter) -> Result<Option<Conditions>, StoreError> {
        let mut conditions = Conditions::default();
        for (column, name) in [("e.source", &filter.source), ("e.kind", &filter.kind)] {
            if let Some(name) = name {
                let Some(number) = self.number_of(name)? else { return Ok(None) };
                conditions.add(&format!("{column} = ?"), [Value::Integer(number)]);
            }
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
        if let Some(quarantined) = filter.quarantined {
            conditions.add("e.quarantined = ?", [Value::Integer(quarantined.into())]);
        }
        if let Some(since) = filter.since {
            conditions.add("e.received_at >= ?", [Value::Integer(since.0)]);
        }
        if let Some(until) = filter.until {
            conditions.add("e.received_at < ?", [Value::Integer(until.0)]);
        }
        match self.delivery_conditions(filter)? {
            None => return Ok(None),
            Some(delivery) if delivery.sql.is_empty() => {}
            Some(delivery) => conditions.add(
                &format!(
                    "EXISTS (SELECT 1 FROM delivery d WHERE d.request = e.request AND d.event IN (0, e.id) {})",
                    delivery.sql
                ),
                delivery.values,
            ),
        }
        Ok(Some(conditions))
    }

    /// What must hold of one and the same delivery.
    fn delivery_conditions(&mut self, filter: &EventFilter) -> Result<Option<Conditions>, StoreError> {
        let mut conditions = Conditions::default();
        if let Some(destination) = &filter.destination {
            let Some(number) = self.number_of(destination)? else { return Ok(None) };
            conditions.add("d.destination = ?", [Value::Integer(number)]);
        }
        if let Some(state) = filter.state {
            conditions.add("d.state = ?", [Value::Integer(number_of_state(state))]);
        }
        if let Some(code) = &filter.code {
            let name = self.number_of(code)?.map_or(Value::Null, Value::Integer);
            let status = code.parse::<u16>().map_or(Value::Null, |status| Value::Integer(status.into()));
            conditions.add(
                "EXISTS (SELECT 1 FROM attempt a WHERE a.delivery = d.id AND (a.code = ? OR a.status = ?))",
                [name, status],
            );
        }
        Ok(Some(conditions))
    }
}

/// A reader's statements that find events by message id.
pub(super) struct ByMessage<'c> {
    newest_first: [Statement<'c>; 2],
    oldest_first: [Statement<'c>; 2],
}

impl<'c> ByMessage<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        // Those that others would repeat, and those that are to be found alone.
        let find = |order: Order| -> rusqlite::Result<[Statement<'c>; 2]> {
            let find = |column: &str, kind: &str| {
                conn.prepare(&format!(
                    "SELECT {column} FROM identity WHERE subject = ?1 AND {kind} AND {column} < ?3
                     ORDER BY {column} {} LIMIT ?4",
                    order.sql()
                ))
            };
            Ok([find("event", "key < 0 AND event > ?2")?, find("key", "key > max(?2, 0)")?])
        };
        Ok(Self { newest_first: find(Order::NewestFirst)?, oldest_first: find(Order::OldestFirst)? })
    }

    fn find(&mut self, order: Order, parameters: [i64; 4]) -> rusqlite::Result<[Vec<i64>; 2]> {
        let [one, other] = match order {
            Order::NewestFirst => &mut self.newest_first,
            Order::OldestFirst => &mut self.oldest_first,
        };
        let find = |statement: &mut Statement<'_>| -> rusqlite::Result<Vec<i64>> {
            statement.query_map(parameters, |row| row.get(0))?.collect()
        };
        Ok([find(one)?, find(other)?])
    }
}

#[derive(Default)]
pub(super) struct Conditions {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Conditions {
    pub(super) fn add(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.values.extend(values);
    }
}
