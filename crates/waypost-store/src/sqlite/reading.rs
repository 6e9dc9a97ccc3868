//! Reading: rows into records, on one connection. Each method is one or a few short reads.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params_from_iter};
use waypost_domain::limits::LANE_WINDOW_MAX;
use waypost_domain::{
    AttemptTiming, DeliveryId, EventId, HeaderBlock, Lanes, Priority, RequestId, UnixMillis,
};

use super::budget;
use super::fault::{is_the_disks, store_error};
use super::following::Following;
use super::listing::ByMessage;
use super::names::Texts;
use super::numbers::{fact_of_number, state_of_number};
use super::people::PeopleRead;
use super::recent::RecentKeys;
use crate::{
    AttemptRecord, DeliveryRecord, DuePage, EntryKind, EntryRecord, EventRecord, NewEvent, OwedDelivery,
    OwedPage, RequestBody, RequestRecord, StoreError, StoreStats, Turn,
};

/// Attempts of one delivery that are read: twice what a schedule of eight days makes.
const ATTEMPTS_READ_MAX: i64 = 128;
/// Deliveries of one request that are read.
const DELIVERIES_READ_MAX: i64 = 4_096;

const DELIVERY_COLUMNS: &str = "id, request, event, destination, state, priority, attempts, overtaken, accepted_at, due_at, settled_at, turn, lanes";

/// The columns of an event, in the order in which `event_of` reads them.
pub(super) const EVENT_COLUMNS: &str =
    "e.id, e.request, e.received_at, e.source, e.repeats, e.once, e.kind, e.class, e.field, e.type,
     e.phone_number_id, e.display_phone_number, e.waba_id, e.occurred_at,
     (SELECT coalesce((SELECT name FROM conversation w WHERE w.id = v.merged), v.name)
      FROM conversation v WHERE v.id = e.conversation), e.wamid, e.key, e.quarantined, e.person";

/// A connection that reads, with what it remembers.
pub(super) struct Reading<'c> {
    pub(super) conn: &'c Connection,
    path: PathBuf,
    pub(super) recent: Arc<RecentKeys>,
    pub(super) texts: Texts<'c>,
    pub(super) by_message: ByMessage<'c>,
    pub(super) following: Following<'c>,
    pub(super) people: PeopleRead<'c>,
    request_body: Statement<'c>,
    owed: Statement<'c>,
    due: Statement<'c>,
    delivery: Statement<'c>,
    last_attempt: Statement<'c>,
    pub(super) about_request: Statement<'c>,
    pub(super) about_event: Statement<'c>,
    next_due: Statement<'c>,
    failed: bool,
}

impl<'c> Reading<'c> {
    pub(super) fn new(conn: &'c Connection, path: &Path, recent: Arc<RecentKeys>) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            path: path.to_owned(),
            recent,
            texts: Texts::new(conn)?,
            by_message: ByMessage::new(conn)?,
            following: Following::new(conn)?,
            people: PeopleRead::new(conn)?,
            request_body: conn.prepare(
                "SELECT r.target, r.headers, b.bytes, r.source FROM request r JOIN body b ON b.request = r.id WHERE r.id = ?1",
            )?,
            owed: conn.prepare(&format!(
                "SELECT {DELIVERY_COLUMNS} FROM delivery INDEXED BY delivery_owed
                 WHERE state = 0 AND destination = ?1 AND turn > ?2 ORDER BY turn LIMIT ?3"
            ))?,
            due: conn.prepare(&format!(
                "SELECT {DELIVERY_COLUMNS} FROM delivery INDEXED BY delivery_due
                 WHERE state = 0 AND attempts > 0 AND destination = ?1 AND due_at <= ?2 AND (due_at, id) > (?4, ?5)
                 ORDER BY due_at, id LIMIT ?3"
            ))?,
            delivery: conn.prepare(&format!("SELECT {DELIVERY_COLUMNS} FROM delivery WHERE id = ?1"))?,
            last_attempt: conn.prepare(
                "SELECT code, status FROM attempt WHERE delivery = ?1 ORDER BY number DESC LIMIT 1",
            )?,
            about_request: conn.prepare(
                "SELECT source, received_at, events, EXISTS (SELECT 1 FROM body WHERE body.request = request.id)
                 FROM request WHERE id = ?1",
            )?,
            about_event: conn
                .prepare(
                    "SELECT kind, type, wamid,
                            (SELECT coalesce((SELECT name FROM conversation w WHERE w.id = v.merged), v.name)
                             FROM conversation v WHERE v.id = event.conversation), key
                     FROM event WHERE id = ?1",
                )?,
            next_due: conn.prepare(
                "SELECT due_at FROM delivery INDEXED BY delivery_due
                 WHERE state = 0 AND attempts > 0 AND destination = ?1 AND due_at > ?2 ORDER BY due_at LIMIT 1",
            )?,
            failed: false,
        })
    }

    /// Whether the connection met a failure that may lie with it.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Turns what SQLite said into the store's error, and remembers it.
    pub(super) fn fault<T>(&mut self, result: rusqlite::Result<T>) -> Result<T, StoreError> {
        result.map_err(|error| {
            let error = store_error(&error, &self.path);
            self.failed |= is_the_disks(&error);
            error
        })
    }

    pub(super) fn text_of(&mut self, number: i64) -> Result<Arc<str>, StoreError> {
        let text = self.texts.of(number);
        self.fault(text)
    }

    pub(super) fn number_of(&mut self, text: &str) -> Result<Option<i64>, StoreError> {
        let found = super::names::number_of(self.conn, text);
        self.fault(found)
    }

    pub(super) fn owed(&mut self, page: &OwedPage) -> Result<Vec<OwedDelivery>, StoreError> {
        let Some(destination) = self.number_of(&page.destination)? else { return Ok(Vec::new()) };
        let after = page.after.map_or(-1, |turn| turn.0);
        let limit = page.limit.min(LANE_WINDOW_MAX) as i64;
        let found = rows_of(&mut self.owed, [destination, after, limit]);
        let found = self.fault(found)?;
        found.into_iter().map(|row| row.owed(Arc::clone(&page.destination))).collect()
    }

    pub(super) fn due(&mut self, page: &DuePage) -> Result<Vec<OwedDelivery>, StoreError> {
        let Some(destination) = self.number_of(&page.destination)? else { return Ok(Vec::new()) };
        let limit = page.limit.min(LANE_WINDOW_MAX) as i64;
        let (due_at, id) = page.after.map_or((i64::MIN, 0), |(due_at, id)| (due_at.0, id.0));
        let found = rows_of(&mut self.due, [destination, page.until.0, limit, due_at, id]);
        let found = self.fault(found)?;
        found.into_iter().map(|row| row.owed(Arc::clone(&page.destination))).collect()
    }

    pub(super) fn next_due(
        &mut self,
        destination: &str,
        after: UnixMillis,
    ) -> Result<Option<UnixMillis>, StoreError> {
        let Some(destination) = self.number_of(destination)? else { return Ok(None) };
        let found = self.next_due.query_row([destination, after.0], |row| row.get(0).map(UnixMillis));
        self.fault(found.optional())
    }

    pub(super) fn stats(&mut self) -> Result<StoreStats, StoreError> {
        let used_bytes = budget::used_bytes(self.conn);
        let used_bytes = self.fault(used_bytes)?;
        let mut stats = StoreStats { file_bytes: self.file_bytes(), used_bytes, ..StoreStats::default() };
        for Tally { name: destination, owed, dead, quarantined } in self.tallies()? {
            if quarantined > 0 {
                stats.quarantined.push((Arc::clone(&destination), quarantined));
            }
            if owed > 0 {
                let number = self.number_of(&destination)?;
                let oldest = self.conn.query_row(
                    "SELECT accepted_at FROM delivery INDEXED BY delivery_owed
                     WHERE state = 0 AND destination = ?1 ORDER BY turn LIMIT 1",
                    [number],
                    |row| row.get(0).map(UnixMillis),
                );
                // The last one may have been settled since the count was read.
                if let Some(oldest) = self.fault(oldest.optional())? {
                    stats.owed.push((Arc::clone(&destination), owed, oldest));
                }
            }
            if dead > 0 {
                stats.dead.push((destination, dead));
            }
        }
        Ok(stats)
    }

    /// All counts that are not zero, by name.
    fn tallies(&mut self) -> Result<Vec<Tally>, StoreError> {
        let read = |conn: &Connection| {
            let mut rows = conn.prepare(
                "SELECT name.text, tally.owed, tally.dead, tally.quarantined FROM tally JOIN name ON name.id = tally.name
                 WHERE tally.owed <> 0 OR tally.dead <> 0 OR tally.quarantined <> 0 ORDER BY name.text",
            )?;
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            rows.collect::<rusqlite::Result<Vec<(Arc<str>, i64, i64, i64)>>>()
        };
        let tallies = self.fault(read(self.conn))?;
        let checked = tallies.into_iter().map(|(name, owed, dead, quarantined)| {
            let count = |count: i64| {
                u64::try_from(count)
                    .map_err(|_| StoreError::Corrupt(format!("table tally, name {name}: {count}")))
            };
            let (owed, dead, quarantined) = (count(owed)?, count(dead)?, count(quarantined)?);
            Ok(Tally { name, owed, dead, quarantined })
        });
        checked.collect()
    }

    fn file_bytes(&self) -> u64 {
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        bytes(&self.path) + bytes(&super::log_path(&self.path))
    }

    pub(super) fn request_body(&mut self, request: RequestId) -> Result<Option<RequestBody>, StoreError> {
        let texts = &mut self.texts;
        let found = self.request_body.query_row([request.0], |row| {
            let source = texts.of(row.get(3)?)?;
            let body: Vec<u8> = row.get(2)?;
            let headers = HeaderBlock::from_bytes(row.get(1)?);
            Ok(RequestBody { source, target: row.get(0)?, headers, body: body.into() })
        });
        self.fault(found.optional())
    }

    pub(super) fn request(&mut self, request: RequestId) -> Result<Option<RequestRecord>, StoreError> {
        let texts = &mut self.texts;
        let found = self.conn.query_row(
            "SELECT source, received_at, proved_by, target, body_sha256, body_bytes, EXISTS (SELECT 1 FROM body WHERE body.request = request.id)
             FROM request WHERE id = ?1",
            [request.0],
            |row| {
                let proved_by = texts.of_some(row.get(2)?)?;
                Ok(RequestRecord {
                    id: request,
                    source: texts.of(row.get(0)?)?,
                    received_at: UnixMillis(row.get(1)?),
                    target: row.get(3)?,
                    body_sha256: row.get(4)?,
                    body_bytes: u64::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
                    body_kept: row.get(6)?,
                    proved_by: proved_by.map(|label| label.as_ref().to_owned()),
                })
            },
        );
        self.fault(found.optional())
    }

    pub(super) fn event(&mut self, event: EventId) -> Result<Option<EventRecord>, StoreError> {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM event e WHERE e.id = ?1");
        let texts = &mut self.texts;
        let found = self.conn.query_row(&sql, [event.0], |row| event_of(row, texts));
        match self.fault(found.optional())? {
            Some(mut event) => {
                event.deliveries = self.deliveries_of_event(event.request, event.id)?;
                Ok(Some(event))
            }
            None => Ok(None),
        }
    }

    /// Runs a statement that selects [`EVENT_COLUMNS`]; deliveries are not read yet.
    pub(super) fn events_by(
        &mut self,
        statement: &mut Statement<'_>,
        parameters: impl rusqlite::Params,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let texts = &mut self.texts;
        let read = statement.query_map(parameters, |row| event_of(row, texts));
        let events = read.and_then(Iterator::collect);
        self.fault(events)
    }

    pub(super) fn deliveries_of_event(
        &mut self,
        request: RequestId,
        event: EventId,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        self.delivery_records("request = ?1 AND event IN (0, ?2)", [request.0, event.0])
    }

    fn delivery_records<const N: usize>(
        &mut self,
        which: &str,
        parameters: [i64; N],
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let read = |conn: &Connection| {
            let mut rows = conn.prepare(&format!(
                "SELECT {DELIVERY_COLUMNS} FROM delivery WHERE {which} ORDER BY id LIMIT {DELIVERIES_READ_MAX}"
            ))?;
            rows.query_map(params_from_iter(parameters), DeliveryRow::of)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = self.fault(read(self.conn))?;
        rows.into_iter().map(|row| self.delivery_record(row)).collect()
    }

    pub(super) fn delivery_record_of(
        &mut self,
        id: DeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        let found = self.delivery.query_row([id.0], DeliveryRow::of);
        self.fault(found.optional())?.map(|row| self.delivery_record(row)).transpose()
    }

    fn delivery_record(&mut self, row: DeliveryRow) -> Result<DeliveryRecord, StoreError> {
        let last = self
            .last_attempt
            .query_row([row.id], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<u16>>(1)?)));
        let (last_code, last_status) = self.fault(last.optional())?.unwrap_or_default();
        let last_code = self.texts.of_some(last_code);
        let last_code = self.fault(last_code)?.map_or_else(Box::default, |code| code.as_ref().into());
        let destination = self.texts.of(row.destination);
        let destination = self.fault(destination)?;
        let state = state_of_number(row.state).ok_or_else(|| row.nonsense("state"))?;
        let settled_at = row.settled_at.map(UnixMillis);
        Ok(DeliveryRecord { owed: row.owed(destination)?, state, settled_at, last_code, last_status })
    }

    pub(super) fn attempts(&mut self, delivery: DeliveryId) -> Result<Vec<AttemptRecord>, StoreError> {
        let texts = &mut self.texts;
        let mut read = |conn: &Connection| {
            let mut rows = conn.prepare(&format!(
                "SELECT at, total_us, resolve_us, connect_us, tls_us, first_byte_us, address, status, code, excerpt
                 FROM attempt WHERE delivery = ?1 ORDER BY number DESC LIMIT {ATTEMPTS_READ_MAX}"
            ))?;
            let rows = rows.query_map([delivery.0], |row| attempt_of(row, texts))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let attempts = read(self.conn);
        let mut attempts = self.fault(attempts)?;
        attempts.reverse();
        Ok(attempts)
    }

    pub(super) fn entries(&mut self, kind: EntryKind) -> Result<Vec<EntryRecord>, StoreError> {
        let read = |conn: &Connection| {
            let mut rows =
                conn.prepare("SELECT name, settings, created_at FROM entry WHERE kind = ?1 ORDER BY name")?;
            let rows = rows.query_map([kind.as_str()], |row| {
                let created_at = UnixMillis(row.get(2)?);
                Ok(EntryRecord { kind, name: row.get(0)?, settings: row.get(1)?, created_at })
            })?;
            rows.collect()
        };
        let entries = read(self.conn);
        self.fault(entries)
    }
}

/// What is counted of a destination, or of a source.
struct Tally {
    name: Arc<str>,
    owed: u64,
    dead: u64,
    quarantined: u64,
}

/// A row of `delivery`, its destination still a number.
struct DeliveryRow {
    id: i64,
    request: i64,
    event: i64,
    destination: i64,
    state: i64,
    priority: u8,
    attempts: u32,
    overtaken: bool,
    accepted_at: i64,
    due_at: i64,
    settled_at: Option<i64>,
    turn: i64,
    lanes: Option<Lanes>,
}

fn rows_of<const N: usize>(
    statement: &mut Statement<'_>,
    parameters: [i64; N],
) -> rusqlite::Result<Vec<DeliveryRow>> {
    statement.query_map(params_from_iter(parameters), DeliveryRow::of)?.collect()
}

impl DeliveryRow {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            request: row.get(1)?,
            event: row.get(2)?,
            destination: row.get(3)?,
            state: row.get(4)?,
            priority: row.get(5)?,
            attempts: row.get(6)?,
            overtaken: row.get(7)?,
            accepted_at: row.get(8)?,
            due_at: row.get(9)?,
            settled_at: row.get(10)?,
            turn: row.get(11)?,
            lanes: Lanes::from_bytes(row.get_ref(12)?.as_blob()?),
        })
    }

    fn owed(self, destination: Arc<str>) -> Result<OwedDelivery, StoreError> {
        let nonsense = self.nonsense("lanes");
        Ok(OwedDelivery {
            id: DeliveryId(self.id),
            turn: Turn(self.turn),
            request: RequestId(self.request),
            event: (self.event != 0).then_some(EventId(self.event)),
            destination,
            lanes: self.lanes.ok_or(nonsense)?,
            priority: Priority::from_number(self.priority),
            attempts: self.attempts,
            due_at: UnixMillis(self.due_at),
            accepted_at: UnixMillis(self.accepted_at),
            overtaken: self.overtaken,
        })
    }

    fn nonsense(&self, column: &str) -> StoreError {
        StoreError::Corrupt(format!("table delivery, column {column}, row {}", DeliveryId(self.id)))
    }
}

pub(super) fn event_of(row: &Row<'_>, texts: &mut Texts<'_>) -> rusqlite::Result<EventRecord> {
    let boxed = |text: Arc<str>| Box::<str>::from(&*text);
    let owned = |text: Arc<str>| Cow::Owned(String::from(&*text));
    let quarantined = row.get(17)?;
    let told: i64 = row.get(18)?;
    Ok(EventRecord {
        id: EventId(row.get(0)?),
        request: RequestId(row.get(1)?),
        received_at: UnixMillis(row.get(2)?),
        source: texts.of(row.get(3)?)?,
        repeats: row.get::<_, Option<i64>>(4)?.map(EventId),
        quarantined,
        person: fact_of_number(told).ok_or(rusqlite::Error::IntegralValueOutOfRange(18, told))?,
        event: NewEvent {
            once: row.get(5)?,
            quarantined,
            kind: owned(texts.of(row.get(6)?)?),
            class: owned(texts.of(row.get(7)?)?),
            field: boxed(texts.of(row.get(8)?)?),
            r#type: boxed(texts.of(row.get(9)?)?),
            phone_number_id: texts.of_some(row.get(10)?)?.map(boxed),
            display_phone_number: texts.of_some(row.get(11)?)?.map(boxed),
            waba_id: texts.of_some(row.get(12)?)?.map(boxed),
            occurred_at: row.get::<_, Option<i64>>(13)?.map(UnixMillis),
            conversation: row.get(14)?,
            contact: None,
            wamid: row.get(15)?,
            key: row.get(16)?,
        },
        deliveries: Vec::new(),
    })
}

fn attempt_of(row: &Row<'_>, texts: &mut Texts<'_>) -> rusqlite::Result<AttemptRecord> {
    let micros = |column: usize| -> rusqlite::Result<Option<Duration>> {
        let micros: Option<i64> = row.get(column)?;
        Ok(micros.map(|micros| Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
    };
    let address = texts.of_some(row.get(6)?)?;
    let code = texts.of_some(row.get(8)?)?;
    Ok(AttemptRecord {
        at: UnixMillis(row.get(0)?),
        timing: AttemptTiming {
            total: micros(1)?.unwrap_or_default(),
            resolve: micros(2)?,
            connect: micros(3)?,
            tls: micros(4)?,
            first_byte: micros(5)?,
        },
        address: address.and_then(|address| address.parse().ok()),
        status: row.get(7)?,
        code: code.map_or_else(Box::default, |code| Box::from(&*code)),
        excerpt: row.get::<_, Option<Vec<u8>>>(9)?.unwrap_or_default(),
    })
}
