//! Retention: finding what may go, and taking it away in small steps.
//!
//! A pass walks over requests with a body, requests with a dead delivery and requests, each up to the
//! identifiers that are too young, and now and then over the identity keys. It goes on where the last call
//! ended, so that nothing is looked at twice in a pass. What is found is found by a reading thread; the
//! writer looks again at each before it takes it away, so that what was replayed meanwhile stays.
//!
//! Ages are counted from what is written in the rows. Identifiers are never behind the time of acceptance and
//! only narrow the search; where the clock stepped back, the search is wider by as much.

use std::time::Duration;

use rusqlite::{Connection, Statement, params};
use waypost_domain::{EventId, UnixMillis};

use super::ledger::{Ledger, Refusal};
use super::numbers::Sequence;
use super::passes::{Pass, Rest, Step, Walk};
use super::reading::Reading;
use crate::{Prune, Retention, StoreError};

/// How long the writer may take over one call, but that one step is always done.
const STEP_TIME_MAX: Duration = Duration::from_millis(2);
/// Most rows that one call takes away, but that a request goes as a whole.
const STEPS_MAX: usize = 4_096;
/// Rows that are looked at for each that may go.
const LOOKS_PER_STEP: usize = 8;
/// How long the outcome of an attempt that is under way may still come in for a delivery that is no longer
/// owed: records are kept at least so long.
const RECORDS_KEPT_MIN: Duration = Duration::from_secs(60 * 60);
/// Pages that stay in the file for what comes next, and what part of the file may.
const FREE_PAGES_KEPT: i64 = 1_024;
const FREE_PART_KEPT: i64 = 8;
/// Most pages that one call gives back.
const PAGES_GIVEN_BACK_MAX: usize = 256;
/// What the writer is to do.
pub(super) struct Pruning {
    pub(super) now: UnixMillis,
    pub(super) retention: Retention,
    pub(super) steps: Vec<Step>,
    /// Pages to give back.
    pub(super) pages: usize,
}

/// What the writer did.
#[derive(Default)]
pub(super) struct Stepped {
    /// Steps done, or found not to be done any more.
    pub(super) done: usize,
    pub(super) bodies: u64,
    pub(super) records: u64,
    pub(super) keys: u64,
    pub(super) others: u64,
    pub(super) pages: u64,
}

/// One look's result.
pub(super) struct Found {
    pub(super) pruning: Pruning,
    /// Where the walks stand once all of it is done; `None` once the pass is over.
    pub(super) next: Option<Pass>,
    /// Those that it did not come to.
    pub(super) just_settled: Vec<i64>,
}

/// How a request stands: when it came, and the last moment of what became of its deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    received_at: UnixMillis,
    owed: bool,
    done_at: Option<UnixMillis>,
    dead_at: Option<UnixMillis>,
    quarantined: bool,
    rows: usize,
}

const STANDING: &str =
    "SELECT r.received_at, r.events, count(d.id), coalesce(sum(d.attempts), 0), coalesce(sum(d.state NOT IN (1, 2, 3)), 0),
            max(CASE WHEN d.state IN (1, 3) THEN max(d.accepted_at, coalesce(d.settled_at, 0)) END),
            max(CASE WHEN d.state = 2 THEN max(d.accepted_at, coalesce(d.settled_at, 0)) END),
            EXISTS (SELECT 1 FROM event e INDEXED BY event_quarantined WHERE e.quarantined = 1 AND e.request = ?1)
     FROM request r LEFT JOIN delivery d ON d.request = r.id WHERE r.id = ?1";

impl Standing {
    fn of(find: &mut Statement<'_>, request: i64) -> rusqlite::Result<Option<Self>> {
        find.query_row([request], |row| {
            let Some(received_at) = row.get::<_, Option<i64>>(0)? else { return Ok(None) };
            let (events, deliveries, attempts): (i64, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            let moment = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(UnixMillis));
            let rows = 1_i64.saturating_add(events).saturating_add(deliveries.saturating_mul(2));
            Ok(Some(Self {
                received_at: UnixMillis(received_at),
                owed: row.get::<_, i64>(4)? > 0,
                done_at: moment(5)?,
                dead_at: moment(6)?,
                quarantined: row.get(7)?,
                rows: usize::try_from(rows.saturating_add(attempts)).unwrap_or(usize::MAX),
            }))
        })
    }

    fn body_may_go(&self, now: UnixMillis, retention: &Retention) -> bool {
        self.may_go(now, retention.delivered_bodies, retention)
    }

    fn record_may_go(&self, now: UnixMillis, retention: &Retention) -> bool {
        self.may_go(now, records(retention), retention)
    }

    /// Whether every reason to keep it has passed. `done` is how long one lasts that was delivered or
    /// discarded.
    fn may_go(&self, now: UnixMillis, done: Duration, retention: &Retention) -> bool {
        let passed = |at: Option<UnixMillis>, kept: Duration| {
            at.is_none_or(|at| at.max(self.received_at).plus(kept) <= now)
        };
        let nobody = self.done_at.is_none() && self.dead_at.is_none() && !self.quarantined;
        let unowed = nobody.then_some(self.received_at);
        !self.owed
            && passed(self.done_at, done)
            && passed(self.dead_at, dead(retention))
            && passed(unowed, records(retention))
            && passed(self.quarantined.then_some(self.received_at), quarantined(retention))
    }
}

pub(super) fn records(retention: &Retention) -> Duration {
    retention.records.max(RECORDS_KEPT_MIN)
}

pub(super) fn quarantined(retention: &Retention) -> Duration {
    retention.quarantined.max(RECORDS_KEPT_MIN)
}

pub(super) fn dead(retention: &Retention) -> Duration {
    retention.dead.max(RECORDS_KEPT_MIN)
}

/// The three walks over requests: what each looks at, and from what age on.
const BODIES: &str = "SELECT request FROM body WHERE request > ?1 AND request < ?2 ORDER BY request LIMIT ?3";
const DEAD: &str = "SELECT DISTINCT request FROM delivery INDEXED BY delivery_dead
     WHERE state = 2 AND request > ?1 AND request < ?2 ORDER BY request LIMIT ?3";
const RECORDS: &str = "SELECT id FROM request WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3";

impl Reading<'_> {
    /// Looks for what may go, from where the pass stands.
    pub(super) fn prunable(
        &mut self,
        prune: &Prune,
        pass: Pass,
        just_settled: Vec<i64>,
        keys_kept: Option<Duration>,
    ) -> Result<Found, StoreError> {
        let found = Look::new(self.conn, prune).and_then(|look| look.over(pass, just_settled, keys_kept));
        self.fault(found)
    }
}

/// One call's search, and what is left of its measure.
pub(super) struct Look<'c> {
    pub(super) conn: &'c Connection,
    pub(super) now: UnixMillis,
    pub(super) retention: Retention,
    skew: Duration,
    find: Statement<'c>,
    pub(super) looks_left: usize,
    steps_left: usize,
    steps: Vec<Step>,
}

impl<'c> Look<'c> {
    fn new(conn: &'c Connection, prune: &Prune) -> rusqlite::Result<Self> {
        let skew_ms: i64 = conn.query_row("SELECT skew_ms FROM ledger", [], |row| row.get(0))?;
        let steps_max = prune.steps.clamp(1, STEPS_MAX);
        Ok(Self {
            conn,
            now: prune.now,
            retention: prune.retention,
            skew: Duration::from_millis(u64::try_from(skew_ms).unwrap_or(0).saturating_add(2)),
            find: conn.prepare(STANDING)?,
            looks_left: steps_max * LOOKS_PER_STEP,
            steps_left: steps_max,
            steps: Vec::new(),
        })
    }

    fn over(
        mut self,
        mut pass: Pass,
        just_settled: Vec<i64>,
        keys_kept: Option<Duration>,
    ) -> rusqlite::Result<Found> {
        let (now, retention) = (self.now, self.retention);
        let mut just_settled = just_settled.into_iter();
        while !self.is_used_up() {
            let Some(request) = just_settled.next() else { break };
            self.looks_left -= 1;
            if Standing::of(&mut self.find, request)?.is_some_and(|found| found.body_may_go(now, &retention))
            {
                self.found(Step::Body { request, walked: false }, 1);
            }
        }
        let not_walked = self.steps.len();
        let requests_ended = pass.bodies.ended && pass.dead.ended && pass.records.ended;
        self.walk(&mut pass.bodies, BODIES, retention.delivered_bodies, |standing, request| {
            standing.body_may_go(now, &retention).then_some((Step::Body { request, walked: true }, 1))
        })?;
        let record = |standing: &Standing, request, dead| {
            let may_go = standing.record_may_go(now, &retention);
            may_go.then_some((Step::Record { request, dead }, standing.rows))
        };
        self.walk(&mut pass.dead, DEAD, dead(&retention), |found, request| record(found, request, true))?;
        self.walk(&mut pass.records, RECORDS, records(&retention), |found, request| {
            record(found, request, false)
        })?;
        // The rest follows what it belongs to, which must be gone first.
        while requests_ended
            && pass.rest != Rest::Ended
            && !self.is_used_up()
            && let Some(keys_kept) = keys_kept
        {
            pass.rest = self.rest(pass.rest, keys_kept)?;
        }
        let ended = requests_ended && pass.rest == Rest::Ended && self.steps.len() == not_walked;
        let pages = if ended { pages_to_give_back(self.conn)? } else { 0 };
        let next = (!ended || pages > 0).then_some(pass);
        Ok(Found {
            pruning: Pruning { now, retention, steps: self.steps, pages },
            next,
            just_settled: just_settled.collect(),
        })
    }

    /// Goes on with a walk, up to the identifiers of what is younger than `age`.
    fn walk(
        &mut self,
        walk: &mut Walk,
        sql: &str,
        age: Duration,
        step: impl Fn(&Standing, i64) -> Option<(Step, usize)>,
    ) -> rusqlite::Result<()> {
        if walk.ended || self.is_used_up() {
            return Ok(());
        }
        let younger = EventId::floor(self.now.minus(age).plus(self.skew)).0;
        let mut rows = self.conn.prepare(sql)?;
        let mut rows = rows.query([walk.after, younger, self.looks_left as i64])?;
        while !self.is_used_up() {
            let Some(row) = rows.next()? else {
                walk.ended = true;
                break;
            };
            self.looks_left -= 1;
            walk.after = row.get(0)?;
            let standing = Standing::of(&mut self.find, walk.after)?;
            if let Some((step, rows)) = standing.and_then(|standing| step(&standing, walk.after)) {
                self.found(step, rows);
            }
        }
        Ok(())
    }

    pub(super) fn found(&mut self, step: Step, rows: usize) {
        self.steps.push(step);
        self.steps_left = self.steps_left.saturating_sub(rows);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.looks_left == 0 || self.steps_left == 0
    }
}

/// How many free pages there are beyond what is kept for what comes next.
fn pages_to_give_back(conn: &Connection) -> rusqlite::Result<usize> {
    let number = |what| conn.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
    // A file that was made before it could be shrunk uses its free pages again, and keeps its size.
    if number("auto_vacuum")? != 2 {
        return Ok(0);
    }
    let (pages, free) = (number("page_count")?, number("freelist_count")?);
    let more = free - FREE_PAGES_KEPT.max(pages / FREE_PART_KEPT);
    Ok(usize::try_from(more).unwrap_or(0).min(PAGES_GIVEN_BACK_MAX))
}

/// What the writer needs to look again and take away.
pub(super) struct Pruner<'c> {
    find: Statement<'c>,
    dead: Statement<'c>,
    quarantined: Statement<'c>,
    remove_attempts: Statement<'c>,
    remove_deliveries: Statement<'c>,
    remove_events: Statement<'c>,
    remove_body: Statement<'c>,
    remove_request: Statement<'c>,
    remove_key: Statement<'c>,
    remove_conversation: Statement<'c>,
    remove_person: Statement<'c>,
    remove_contact: Statement<'c>,
    remove_act: Statement<'c>,
    remember: Statement<'c>,
    gone: Statement<'c>,
    give_back: Statement<'c>,
}

/// What became of a step.
pub(super) enum Removed {
    Nothing,
    Body,
    /// With the destinations of its dead deliveries, and how many of its events were quarantined.
    Record {
        dead: Vec<i64>,
        source: i64,
        quarantined: i64,
        /// The last of its events.
        last: i64,
    },
    Key,
    Conversation,
    Other,
}

impl<'c> Pruner<'c> {
    pub(super) fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            find: conn.prepare(STANDING)?,
            dead: conn.prepare("SELECT destination FROM delivery WHERE request = ?1 AND state = 2")?,
            quarantined: conn.prepare(
                "SELECT source, (SELECT count(*) FROM event INDEXED BY event_quarantined WHERE quarantined = 1 AND request = ?1), id + events
                 FROM request WHERE id = ?1",
            )?,
            remove_attempts: conn.prepare(
                "DELETE FROM attempt WHERE delivery IN (SELECT id FROM delivery WHERE request = ?1)",
            )?,
            remove_deliveries: conn.prepare("DELETE FROM delivery WHERE request = ?1")?,
            // A request's events have the numbers after its own.
            remove_events: conn.prepare(
                "DELETE FROM event WHERE id > ?1 AND id <= ?1 + (SELECT events FROM request WHERE id = ?1) AND request = ?1",
            )?,
            remove_body: conn.prepare("DELETE FROM body WHERE request = ?1")?,
            remove_request: conn.prepare("DELETE FROM request WHERE id = ?1")?,
            remove_key: conn.prepare(
                "DELETE FROM identity WHERE subject = ?1 AND key = ?2 AND event = ?3
                 AND NOT EXISTS (SELECT 1 FROM event WHERE id = ?3)",
            )?,
            remove_conversation: conn.prepare("DELETE FROM conversation WHERE id = ?1 AND seen = ?2")?,
            remove_person: conn.prepare("DELETE FROM person WHERE conversation = ?1")?,
            remove_contact: conn.prepare(
                "DELETE FROM contact WHERE number = ?1 AND identity = ?2
                 AND NOT EXISTS (SELECT 1 FROM conversation v WHERE v.id = contact.conversation)
                 AND NOT EXISTS (SELECT 1 FROM conversation v WHERE v.id = contact.names)",
            )?,
            remove_act: conn.prepare("DELETE FROM act WHERE id = ?1")?,
            remember: conn.prepare("UPDATE ledger SET last_id = max(last_id, ?1)")?,
            gone: conn.prepare("UPDATE ledger SET gone = max(gone, ?1)")?,
            give_back: conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK_MAX})"))?,
        })
    }

    /// Takes one away, if it still may go.
    pub(super) fn remove(&mut self, step: &Step, pruning: &Pruning) -> rusqlite::Result<Removed> {
        let Pruning { now, retention, .. } = pruning;
        match *step {
            Step::Body { request, .. } => {
                let standing = Standing::of(&mut self.find, request)?;
                let may_go = standing.is_some_and(|standing| standing.body_may_go(*now, retention));
                let gone = may_go && self.remove_body.execute([request])? > 0;
                Ok(if gone { Removed::Body } else { Removed::Nothing })
            }
            Step::Record { request, .. } => {
                let standing = Standing::of(&mut self.find, request)?;
                if !standing.is_some_and(|standing| standing.record_may_go(*now, retention)) {
                    return Ok(Removed::Nothing);
                }
                let dead = self.dead.query_map([request], |row| row.get(0))?.collect::<Result<_, _>>()?;
                let (source, quarantined, last) = self
                    .quarantined
                    .query_row([request], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                self.remove_attempts.execute([request])?;
                self.remove_deliveries.execute([request])?;
                self.remove_events.execute([request])?;
                self.remove_body.execute([request])?;
                self.remove_request.execute([request])?;
                Ok(Removed::Record { dead, source, quarantined, last })
            }
            Step::Key { subject, key, event } => {
                let gone = self.remove_key.execute([subject, key, event])? > 0;
                Ok(if gone { Removed::Key } else { Removed::Nothing })
            }
            Step::Conversation { id, seen } => {
                let gone = self.remove_conversation.execute([id, seen])? > 0;
                if gone {
                    self.remove_person.execute([id])?;
                }
                Ok(if gone { Removed::Conversation } else { Removed::Nothing })
            }
            Step::Contact { number, ref identity } => {
                let gone = self.remove_contact.execute(params![number, &**identity])? > 0;
                Ok(if gone { Removed::Other } else { Removed::Nothing })
            }
            Step::Act { id } => {
                let gone = self.remove_act.execute([id])? > 0;
                Ok(if gone { Removed::Other } else { Removed::Nothing })
            }
        }
    }

    /// Keeps in mind which identifiers were in use.
    pub(super) fn remember(&mut self, last: i64) -> rusqlite::Result<()> {
        self.remember.execute([last]).map(drop)
    }

    /// Keeps in mind up to which event some are gone.
    pub(super) fn are_gone(&mut self, last: i64) -> rusqlite::Result<()> {
        self.gone.execute([last]).map(drop)
    }

    /// Gives pages back at the file's end while `go_on` says so.
    pub(super) fn give_back(
        &mut self,
        pages: usize,
        mut go_on: impl FnMut() -> bool,
    ) -> rusqlite::Result<u64> {
        let mut given = 0;
        let mut rows = self.give_back.query([])?;
        while given < pages as u64 && rows.next()?.is_some() {
            given += 1;
            if !go_on() {
                break;
            }
        }
        Ok(given)
    }
}

impl Ledger<'_> {
    /// Takes away as much as fits a step's time, at least one.
    pub(super) fn prune(&mut self, pruning: &Pruning, sequence: &Sequence) -> Result<Stepped, Refusal> {
        let begun = self.clock.monotonic();
        let clock = self.clock.clone();
        let in_time = || clock.monotonic().saturating_sub(begun) < STEP_TIME_MAX;
        let mut stepped = Stepped::default();
        let mut gone = None;
        for step in &pruning.steps {
            match self.pruner.remove(step, pruning)? {
                Removed::Nothing => {}
                Removed::Body => stepped.bodies += 1,
                Removed::Record { dead, source, quarantined, last } => {
                    stepped.records += 1;
                    gone = gone.max(Some(last));
                    self.tally.quarantined(source, -quarantined);
                    dead.into_iter().for_each(|destination| self.tally.forgot_dead(destination));
                }
                Removed::Key => stepped.keys += 1,
                Removed::Conversation => {
                    stepped.others += 1;
                    self.contacts.forget();
                }
                Removed::Other => stepped.others += 1,
            }
            stepped.done += 1;
            if !in_time() {
                break;
            }
        }
        if stepped.records > 0 || stepped.others > 0 {
            self.pruner.remember(sequence.last())?;
        }
        if let Some(last) = gone {
            self.pruner.are_gone(last)?;
        }
        if pruning.pages > 0 {
            stepped.pages = self.pruner.give_back(pruning.pages, in_time)?;
        }
        Ok(stepped)
    }
}
