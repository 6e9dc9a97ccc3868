//! Writing: what each operation does to the tables, within the transaction at hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use waypost_domain::limits::RESPONSE_EXCERPT_BYTES_MAX;
use waypost_domain::{Clock, DeliveryEvent, DeliveryId, DeliveryState, UnixMillis};

use super::accepting::Accepting;
use super::acts::Acts;
use super::contacts::Contacts;
use super::names::Numbers;
use super::numbers::{Sequence, number_of_state, state_of_number};
use super::passes::JustSettled;
use super::prune::Pruner;
use super::quarantine::Quarantine;
use super::queue::{Operation, Outcome};
use super::recent::{Recent, RecentKeys};
use crate::{AttemptRecord, Settled, Settlement, Turn};

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
    pub(super) dedupe_window: Duration,
    pub(super) clock: Clock,
    pub(super) pruner: Pruner<'c>,
    just_settled: Arc<JustSettled>,
    /// Requests of which a delivery was settled in the transaction at hand.
    settled: Vec<i64>,
    /// The greatest number kept free in the transaction at hand.
    pub(super) reserved: Option<i64>,
    pub(super) tally: Tally<'c>,
    pub(super) acts: Acts<'c>,
    pub(super) skew: Skew<'c>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    pub(super) contacts: Contacts<'c>,
    pub(super) recent: Recent<'c>,
    pub(super) accepting: Accepting<'c>,
    pub(super) quarantine: Quarantine<'c>,
    find_delivery: Statement<'c>,
    settle_delivery: Statement<'c>,
    add_attempt: Statement<'c>,
    put_entry: Statement<'c>,
    delete_entry: Statement<'c>,
    probe: Statement<'c>,
    applied: Statement<'c>,
    set_aside: Statement<'c>,
}

impl<'c> Ledger<'c> {
    pub(super) fn new(
        conn: &'c Connection,
        dedupe_window: Duration,
        clock: Clock,
        just_settled: Arc<JustSettled>,
        recent: Arc<RecentKeys>,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            names: Numbers::new(conn)?,
            dedupe_window,
            clock,
            pruner: Pruner::new(conn)?,
            just_settled,
            settled: Vec::new(),
            reserved: None,
            tally: Tally::new(conn)?,
            acts: Acts::new(conn)?,
            skew: Skew::new(conn)?,
            contacts: Contacts::new(conn)?,
            recent: Recent::new(conn, recent)?,
            accepting: Accepting::new(conn)?,
            quarantine: Quarantine::new(conn)?,
            begin: conn.prepare("BEGIN IMMEDIATE")?,
            commit: conn.prepare("COMMIT")?,
            find_delivery: conn
                .prepare("SELECT state, destination, request, turn FROM delivery WHERE id = ?1")?,
            settle_delivery: conn.prepare(
                "UPDATE delivery SET state = ?2, attempts = attempts + ?3, overtaken = overtaken OR ?4,
                                     due_at = coalesce(?5, due_at), settled_at = ?6 WHERE id = ?1",
            )?,
            add_attempt: conn.prepare(
                "INSERT INTO attempt (delivery, number, at, total_us, resolve_us, connect_us, tls_us, first_byte_us, address, status, code, excerpt)
                 VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE delivery = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            put_entry: conn.prepare(
                "INSERT INTO entry (kind, name, settings, created_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (kind, name) DO UPDATE SET settings = excluded.settings, created_at = excluded.created_at",
            )?,
            delete_entry: conn.prepare("DELETE FROM entry WHERE kind = ?1 AND name = ?2")?,
            probe: conn.prepare("UPDATE ledger SET probes = probes + 1")?,
            applied: conn.prepare("UPDATE journal SET applied = ?1")?,
            set_aside: conn
                .prepare("INSERT INTO set_aside (sequence, at, reason, record) VALUES (?1, ?2, ?3, ?4)")?,
        })
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    /// Commits.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.tally.write()?;
        self.skew.write()?;
        if let Some(last) = self.reserved.take() {
            self.pruner.remember(last)?;
        }
        self.recent.move_slice()?;
        self.commit.execute([])?;
        self.recent.committed();
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
        self.contacts.forget();
        self.recent.undone();
        self.reserved = None;
        self.settled.clear();
        self.skew.undone();
    }

    /// Writes down up to which of the journal's records the ledger goes.
    pub(super) fn applied(&mut self, sequence: u64) -> rusqlite::Result<()> {
        self.applied.execute([sequence.cast_signed()]).map(drop)
    }

    /// Keeps a record of the journal that cannot be applied, as it is.
    pub(super) fn set_aside(&mut self, sequence: u64, reason: &str, record: &[u8]) -> rusqlite::Result<()> {
        let at = self.clock.wall().0;
        self.set_aside.execute(params![sequence.cast_signed(), at, reason, record]).map(drop)
    }

    pub(super) fn perform(
        &mut self,
        operation: &Operation,
        sequence: &mut Sequence,
    ) -> Result<Outcome, Refusal> {
        match operation {
            Operation::Settle(settlement) => {
                self.settle(settlement)?;
                Ok(Outcome::Done)
            }
            Operation::MarkOvertaken(deliveries) => {
                self.mark_overtaken(deliveries)?;
                Ok(Outcome::Done)
            }
            Operation::Act(step) => self.act(step, sequence).map(Outcome::Acted),
            Operation::Pause(what, pause) => self.pause(*what, pause, sequence).map(Outcome::Changed),
            Operation::Prune(pruning) => self.prune(pruning, sequence).map(Outcome::Pruned),
            Operation::Release(release) => self.release(release, sequence).map(Outcome::Released),
            Operation::DiscardQuarantined(discard) => {
                self.discard_quarantined(discard, sequence).map(Outcome::Discarded)
            }
            Operation::EntryPut(entry) => {
                let created_at = entry.created_at.0;
                self.put_entry.execute(params![
                    entry.kind.as_str(),
                    entry.name,
                    entry.settings,
                    created_at
                ])?;
                Ok(Outcome::Done)
            }
            Operation::EntryDelete(kind, name) => {
                Ok(Outcome::Deleted(self.delete_entry.execute([kind.as_str(), name])? > 0))
            }
            Operation::MoveKeys => {
                self.recent.move_on();
                Ok(Outcome::Done)
            }
            Operation::Probe => {
                self.probe.execute([])?;
                Ok(Outcome::Done)
            }
        }
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<(), Refusal> {
        let id = settlement.delivery;
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let Some((state, destination, request, turn)) =
            self.find_delivery.query_row([id.0], read).optional()?
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
        // The attempt was under way when somebody decided otherwise, and that stands.
        let (Ok(after), true) = (state.after(happened), settlement.turn == Turn(turn)) else { return Ok(()) };
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

/// Counts of owed and dead deliveries and of quarantined events: gathered in memory, written once before each commit.
pub(super) struct Tally<'c> {
    add: Statement<'c>,
    changes: BTreeMap<i64, (i64, i64, i64)>,
}

impl<'c> Tally<'c> {
    fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let add = conn.prepare(
            "INSERT INTO tally (name, owed, dead, quarantined) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET owed = owed + excluded.owed, dead = dead + excluded.dead,
                                              quarantined = quarantined + excluded.quarantined",
        )?;
        Ok(Self { add, changes: BTreeMap::new() })
    }

    pub(super) fn moved(&mut self, destination: i64, from: Option<DeliveryState>, to: DeliveryState) {
        let (owed, dead, _) = self.changes.entry(destination).or_default();
        let count = |state: Option<DeliveryState>, counted| i64::from(state == Some(counted));
        *owed += count(Some(to), DeliveryState::Owed) - count(from, DeliveryState::Owed);
        *dead += count(Some(to), DeliveryState::Dead) - count(from, DeliveryState::Dead);
    }

    /// A dead delivery's row is gone.
    pub(super) fn forgot_dead(&mut self, destination: i64) {
        self.changes.entry(destination).or_default().1 -= 1;
    }

    /// So many more events of a source are quarantined, or fewer.
    pub(super) fn quarantined(&mut self, source: i64, more: i64) {
        self.changes.entry(source).or_default().2 += more;
    }

    fn write(&mut self) -> rusqlite::Result<()> {
        for (name, (owed, dead, quarantined)) in std::mem::take(&mut self.changes) {
            if (owed, dead, quarantined) != (0, 0, 0) {
                self.add.execute([name, owed, dead, quarantined])?;
            }
        }
        Ok(())
    }
}

/// By how much the wall clock was found behind the identifiers; written when it grows.
pub(super) struct Skew<'c> {
    set: Statement<'c>,
    written_ms: i64,
    seen_ms: i64,
}

impl<'c> Skew<'c> {
    fn new(conn: &'c Connection) -> rusqlite::Result<Self> {
        let written_ms = conn.query_row("SELECT skew_ms FROM ledger", [], |row| row.get(0))?;
        Ok(Self { set: conn.prepare("UPDATE ledger SET skew_ms = ?1")?, written_ms, seen_ms: written_ms })
    }

    pub(super) fn saw(&mut self, skew_ms: i64) {
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

/// The number that marks this database's records in the journal, and the last of them that is applied.
pub(super) fn journal(conn: &Connection) -> rusqlite::Result<(u64, u64)> {
    let read =
        |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned()));
    conn.query_row("SELECT stamp, applied FROM journal", [], read)
}

/// The greatest identifier in use.
pub(super) fn greatest_identifier(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row(
        "SELECT max((SELECT last_id FROM ledger), coalesce((SELECT max(id) FROM request), 0), coalesce((SELECT max(id) FROM event), 0),
                    coalesce((SELECT max(id) FROM delivery), 0), coalesce((SELECT max(id) FROM act), 0),
                    coalesce((SELECT max((SELECT max(turn) FROM delivery INDEXED BY delivery_owed
                                          WHERE state = 0 AND destination = tally.name)) FROM tally), 0))",
        [],
        |row| row.get(0),
    )
}
