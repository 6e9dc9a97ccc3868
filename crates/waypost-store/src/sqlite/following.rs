//! Events in order of acceptance, and all that is told of one message: what the stream is made of.
//!
//! Of a message's state nothing is kept: it follows from the message's events, which are found by its id.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Statement, params, params_from_iter};
use waypost_domain::EventId;

use super::SqliteStore;
use super::deliveries::Order;
use super::listing::{Conditions, PAGE_MAX, Search, Window};
use super::reading::{EVENT_COLUMNS, Reading, event_of};
use crate::{
    AfterPage, Ends, EventFilter, EventsAfter, MESSAGE_EVENTS_MAX, MessageCursor, MessageEvents,
    MessageFilter, MessageList, MessagePage, MessageRecord, StoreError,
};

/// Most messages of a page.
const MESSAGES_PAGE_MAX: usize = 200;
/// Events of which one page may ask whether they are the latest of their message.
const JUDGED_MAX: usize = 2_000;

const EVERYTHING: Window = Window { above: 0, below: i64::MAX };

impl SqliteStore {
    pub(crate) async fn events_after(&self, page: AfterPage) -> Result<EventsAfter, StoreError> {
        self.read(move |reading| reading.events_after(page)).await
    }

    pub(crate) async fn ends(&self) -> Result<Ends, StoreError> {
        self.read(|reading| reading.ends()).await
    }

    pub(crate) async fn message(
        &self,
        source: Option<&str>,
        wamid: &str,
    ) -> Result<MessageEvents, StoreError> {
        let (source, wamid) = (source.map(str::to_owned), wamid.to_owned());
        // Asked for every status that is followed, with all before it already read: it waits for nothing.
        self.read(move |reading| reading.message(source.as_deref(), &wamid)).await
    }

    pub(crate) async fn messages(
        &self,
        filter: MessageFilter,
        page: MessagePage,
    ) -> Result<MessageList, StoreError> {
        self.read_latest(move |reading| reading.messages(filter, page)).await
    }
}

/// A reader's statements.
pub(super) struct Following<'c> {
    after: Statement<'c>,
    ends: Statement<'c>,
    of_message: Statement<'c>,
    is_of_message: Statement<'c>,
}

impl<'c> Following<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            after: conn.prepare(&format!(
                "SELECT {EVENT_COLUMNS} FROM event e WHERE e.id > ?1 ORDER BY e.id LIMIT ?2"
            ))?,
            ends: conn.prepare(
                "SELECT (SELECT min(id) FROM event), (SELECT max(id) FROM event), gone FROM ledger",
            )?,
            of_message: conn.prepare(&format!(
                "SELECT {EVENT_COLUMNS} FROM event e
                 WHERE e.id = ?1 AND e.wamid = ?2 AND e.repeats IS NULL AND (?3 IS NULL OR e.source = ?3)"
            ))?,
            is_of_message: conn.prepare(
                "SELECT 1 FROM event WHERE id = ?1 AND wamid = ?2 AND repeats IS NULL AND source = ?3",
            )?,
        })
    }
}

/// An event that may be the latest of its message.
struct Candidate {
    event: i64,
    source: i64,
    wamid: Arc<str>,
}

impl Reading<'_> {
    fn events_after(&mut self, page: AfterPage) -> Result<EventsAfter, StoreError> {
        let limit = page.limit.clamp(1, PAGE_MAX);
        let after = page.after.map_or(0, |after| after.0);
        let texts = &mut self.texts;
        let read = self.following.after.query_map([after, limit as i64], |row| event_of(row, texts));
        let read = read.and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>);
        let mut events = self.fault(read)?;
        let last = events.last().map(|event| event.id).or(page.after);
        let more = events.len() >= limit;
        events.retain(|event| event.repeats.is_none());
        Ok(EventsAfter { events, last, more })
    }

    fn ends(&mut self) -> Result<Ends, StoreError> {
        let read = self.following.ends.query_row([], |row| {
            let event = |number: Option<i64>| number.map(EventId);
            let gone = Some(row.get(2)?).filter(|gone| *gone > 0);
            Ok(Ends { oldest: event(row.get(0)?), newest: event(row.get(1)?), gone: event(gone) })
        });
        self.fault(read)
    }

    fn message(&mut self, source: Option<&str>, wamid: &str) -> Result<MessageEvents, StoreError> {
        let source = match source {
            Some(name) => match self.number_of(name)? {
                Some(number) => Some(number),
                None => return Ok(MessageEvents { events: Vec::new(), whole: true }),
            },
            None => None,
        };
        self.message_events(source, wamid)
    }

    fn message_events(&mut self, source: Option<i64>, wamid: &str) -> Result<MessageEvents, StoreError> {
        let (found, cut) = self.events_of_message(wamid, EVERYTHING, Order::NewestFirst)?;
        let mut whole = cut.is_none();
        let mut events = Vec::new();
        for (looked_at, event) in found.into_iter().enumerate() {
            if looked_at >= MESSAGE_EVENTS_MAX {
                whole = false;
                break;
            }
            let texts = &mut self.texts;
            let read = self
                .following
                .of_message
                .query_row(params![event, wamid, source], |row| event_of(row, texts));
            events.extend(self.fault(read.optional())?);
        }
        events.reverse();
        Ok(MessageEvents { events, whole })
    }

    fn messages(&mut self, filter: MessageFilter, page: MessagePage) -> Result<MessageList, StoreError> {
        let limit = page.limit.clamp(1, MESSAGES_PAGE_MAX);
        let mut list = MessageList { messages: Vec::new(), next: None };
        let as_of = match page.from {
            Some(from) => from.as_of,
            None => match self.ends()?.newest {
                Some(newest) => newest,
                None => return Ok(list),
            },
        };
        let before = page.from.map_or(as_of.0.saturating_add(1), |from| from.before.0);
        let MessageFilter { source, number, conversation, wamid, since, until } = filter;
        let filter =
            EventFilter { source, number, conversation, wamid, since, until, ..EventFilter::default() };
        let Some(conditions) = self.conditions(&filter)? else { return Ok(list) };
        let Some(range) = self.range(since, until, None, Some(before))? else { return Ok(list) };
        let sql = format!(
            "SELECT e.id, e.source, e.wamid FROM event e
             WHERE e.id > ? AND e.id < ? AND e.wamid IS NOT NULL AND e.repeats IS NULL {}
             ORDER BY e.id DESC LIMIT ?",
            conditions.sql
        );
        let prepared = self.conn.prepare(&sql);
        let mut statement = self.fault(prepared)?;
        let go_on = |below: i64| Some(MessageCursor { before: EventId(below), as_of });
        let (mut search, cut) = self.search(&filter, range)?;
        list.next = cut.and_then(go_on);
        let mut judged = HashSet::new();
        let mut looked_at = 0;
        while let Some(window) = self.next_window(&mut search, range)? {
            // One more than may be looked at, so that it is known whether there are more.
            let room = JUDGED_MAX + 1 - looked_at;
            for candidate in self.events_of_messages(&mut statement, &conditions, window, room)? {
                let Candidate { event, source, wamid } = candidate;
                if list.messages.len() >= limit || looked_at >= JUDGED_MAX {
                    list.next = go_on(event + 1);
                    return Ok(list);
                }
                looked_at += 1;
                if judged.insert((source, Arc::clone(&wamid)))
                    && self.is_latest(event, source, &wamid, as_of)?
                {
                    let events = self.message_events(Some(source), &wamid)?;
                    let source = self.text_of(source)?;
                    list.messages.push(MessageRecord { source, wamid: Box::from(&*wamid), events });
                }
            }
            if let Search::Everything { below, windows: 0 } = search {
                list.next = go_on(below);
            }
        }
        Ok(list)
    }

    fn events_of_messages(
        &mut self,
        statement: &mut Statement<'_>,
        conditions: &Conditions,
        window: Window,
        limit: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        let bounds = [window.above, window.below].map(Value::Integer);
        let limit = Value::Integer(limit as i64);
        let values = bounds.iter().chain(&conditions.values).chain([&limit]);
        let read = statement.query_map(params_from_iter(values), |row| {
            Ok(Candidate { event: row.get(0)?, source: row.get(1)?, wamid: row.get(2)? })
        });
        let read = read.and_then(Iterator::collect);
        self.fault(read)
    }

    /// Whether a message of a source had no later event when another one was the newest of all.
    fn is_latest(
        &mut self,
        event: i64,
        source: i64,
        wamid: &str,
        as_of: EventId,
    ) -> Result<bool, StoreError> {
        let later = Window { above: event, below: as_of.0.saturating_add(1) };
        let (found, _) = self.events_of_message(wamid, later, Order::NewestFirst)?;
        for other in found {
            let is = self.following.is_of_message.exists(params![other, wamid, source]);
            if self.fault(is)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
