//! Identity keys that came lately: held in memory and in a short table in order of arrival, and put in their tree
//! many at a time, in the tree's own order.
//!
//! Keys are hashes: each goes to a page of the tree that no other of its commit goes to, and a page is written whole,
//! twice. In order of arrival hundreds share a page; and of many thousands that are put in the tree together, many
//! share a page there.
//!
//! A key is written to the short table in the transaction of its event, so that it is known as soon as the event is;
//! what is in memory is read back from there. Keys move on by generations: while one gathers, the one before it is
//! put in the tree, a slice with each commit, and then taken from the short table. A crash on the way does no
//! harm: to put a key in the tree again changes nothing.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Statement};
use waypost_domain::{EventId, UnixMillis};

use super::identity::Identity;

/// Keys of a generation: some four megabytes of memory. More would be fewer pages of a large tree for each key.
const GENERATION_KEYS_MAX: usize = 1 << 17;
/// How old a generation may get before pruning has it put in the tree, where keys are pruned.
const GENERATION_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Least keys that are moved with a commit, while there are any to move; twice as many as it adds, if that is more.
const MOVED_MIN: usize = 64;
/// Keys that are moved at once where pruning asks for it.
const MOVED_FOR_PRUNING: usize = 2_048;

/// What the writer and readers share.
#[derive(Debug, Default)]
pub(super) struct RecentKeys(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    gathering: Generation,
    /// The one that is being put in the tree.
    moving: Option<Generation>,
    /// Whether it was just read back.
    as_on_disk: bool,
}

/// Subject and key, and the event.
type Entry = ((i64, i64), i64);

#[derive(Debug, Default)]
struct Generation {
    /// Subject and key, to the event.
    keys: BTreeMap<(i64, i64), i64>,
    /// The first event in it.
    since: i64,
    /// Its last number in the short table.
    last: i64,
}

impl RecentKeys {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads back what was gathered by an earlier process.
    pub(super) fn read_back(&self, conn: &Connection) -> rusqlite::Result<()> {
        let mut rows = conn.prepare("SELECT id, subject, key, event FROM fresh_identity ORDER BY id")?;
        let read = |row: &Row<'_>| Ok((row.get(0)?, ((row.get(1)?, row.get(2)?), row.get(3)?)));
        let rows: Vec<(i64, Entry)> = rows.query_map([], read)?.collect::<Result<_, _>>()?;
        let last = rows.last().map_or(0, |(id, _)| *id);
        let since = rows.first().map_or(0, |(_, (_, event))| *event);
        // Made of all at once, which is much quicker than one by one; of equal keys the last one stays.
        let keys = rows.into_iter().map(|(_, entry)| entry).collect();
        let gathering = Generation { keys, since, last };
        *self.lock() = Generations { gathering, moving: None, as_on_disk: true };
        Ok(())
    }

    /// The last number in the short table, for a writer that begins. What an earlier one left here may never have
    /// been committed.
    fn begin(&self, conn: &Connection) -> rusqlite::Result<i64> {
        if !self.lock().as_on_disk {
            self.read_back(conn)?;
        }
        let mut held = self.lock();
        held.as_on_disk = false;
        Ok(held.gathering.last)
    }

    fn find(&self, place: (i64, i64)) -> Option<i64> {
        let held = self.lock();
        let moving = || held.moving.as_ref().and_then(|moving| moving.keys.get(&place));
        held.gathering.keys.get(&place).or_else(moving).copied()
    }

    /// The events of a subject, some of which may never have been committed. To be asked before the tree is: what is
    /// here no more is there.
    pub(super) fn events_of(&self, subject: i64) -> Vec<i64> {
        let held = self.lock();
        let generations = std::iter::once(&held.gathering).chain(&held.moving);
        let of_subject = |generation: &Generation| {
            let range = generation.keys.range((subject, i64::MIN)..=(subject, i64::MAX));
            range.map(|(_, event)| *event).collect::<Vec<_>>()
        };
        generations.flat_map(of_subject).collect()
    }

    /// Whether there are keys here that pruning should find in the tree.
    pub(super) fn are_old(&self, now: UnixMillis) -> bool {
        let old = EventId::floor(now.minus(GENERATION_AGE_MAX)).0;
        let held = self.lock();
        let is_old = |generation: &Generation| !generation.keys.is_empty() && generation.since < old;
        is_old(&held.gathering) || held.moving.as_ref().is_some_and(is_old)
    }
}

/// The writer's side.
pub(super) struct Recent<'c> {
    shared: Arc<RecentKeys>,
    add: Statement<'c>,
    find: Statement<'c>,
    put: Statement<'c>,
    remove: Statement<'c>,
    /// The last number in the short table.
    last: i64,
    /// What the transaction at hand replaced.
    replaced: Vec<((i64, i64), Option<i64>)>,
    /// Up to which key the moving generation is in the tree; and what that is in the transaction at hand.
    moved: Option<(i64, i64)>,
    moved_now: Option<(i64, i64)>,
    all_moved_now: bool,
    /// Up to which number the short table's rows are to be taken away, and whether they are.
    passed: Option<i64>,
    all_removed_now: bool,
    asked: bool,
}

impl<'c> Recent<'c> {
    pub(super) fn new(conn: &'c Connection, shared: Arc<RecentKeys>) -> rusqlite::Result<Self> {
        let last = shared.begin(conn)?;
        Ok(Self {
            shared,
            add: conn
                .prepare("INSERT INTO fresh_identity (id, subject, key, event) VALUES (?1, ?2, ?3, ?4)")?,
            find: conn.prepare("SELECT event FROM identity WHERE subject = ?1 AND key = ?2")?,
            put: conn.prepare(
                "INSERT INTO identity (subject, key, event) VALUES (?1, ?2, ?3)
                 ON CONFLICT (subject, key) DO UPDATE SET event = excluded.event",
            )?,
            remove: conn.prepare(
                "DELETE FROM fresh_identity
                 WHERE id <= ?1 AND id < (SELECT min(id) FROM fresh_identity) + ?2",
            )?,
            last,
            replaced: Vec::new(),
            moved: None,
            moved_now: None,
            all_moved_now: false,
            passed: None,
            all_removed_now: false,
            asked: false,
        })
    }

    /// The event that bears an identity.
    pub(super) fn find(&mut self, identity: Identity) -> rusqlite::Result<Option<EventId>> {
        let Identity { subject, key } = identity;
        if let Some(event) = self.shared.find((subject, key)) {
            return Ok(Some(EventId(event)));
        }
        self.find.query_row([subject, key], |row| row.get(0).map(EventId)).optional()
    }

    /// Has the event bear the identity.
    pub(super) fn put(&mut self, identity: Identity, event: EventId) -> rusqlite::Result<()> {
        let Identity { subject, key } = identity;
        self.last += 1;
        self.add.execute([self.last, subject, key, event.0])?;
        let former = self.shared.lock().gathering.insert((subject, key), event.0);
        self.replaced.push(((subject, key), former));
        Ok(())
    }

    /// Moves old keys on with this commit, and more of them than usual.
    pub(super) fn move_on(&mut self) {
        self.asked = true;
        if self.replaced.is_empty() && self.moved.is_none() && self.passed.is_none() {
            self.turn();
        }
    }

    /// To be called at the end of each transaction: moves a slice on.
    pub(super) fn move_slice(&mut self) -> rusqlite::Result<()> {
        let least = if std::mem::take(&mut self.asked) { MOVED_FOR_PRUNING } else { MOVED_MIN };
        let count = least.max(self.replaced.len() * 2);
        if let Some(passed) = self.passed {
            let removed = self.remove.execute([passed, count as i64])?;
            self.all_removed_now = removed == 0;
            return Ok(());
        }
        let slice: Vec<_> = match &self.shared.lock().moving {
            Some(moving) => {
                let after = self.moved.map_or(Bound::Unbounded, Bound::Excluded);
                let rest = moving.keys.range((after, Bound::Unbounded));
                rest.take(count).map(|(place, event)| (*place, *event)).collect()
            }
            None => return Ok(()),
        };
        for ((subject, key), event) in &slice {
            self.put.execute([subject, key, event])?;
        }
        self.moved_now = slice.last().map(|(place, _)| *place).or(self.moved);
        self.all_moved_now = slice.len() < count;
        Ok(())
    }

    pub(super) fn committed(&mut self) {
        self.replaced.clear();
        if std::mem::take(&mut self.all_removed_now) {
            self.passed = None;
        }
        self.moved = self.moved_now;
        if std::mem::take(&mut self.all_moved_now) {
            let moved = self.shared.lock().moving.take();
            self.passed = moved.map(|moved| moved.last);
            (self.moved, self.moved_now) = (None, None);
        }
        if self.shared.lock().gathering.keys.len() >= GENERATION_KEYS_MAX && self.passed.is_none() {
            self.turn();
        }
    }

    pub(super) fn undone(&mut self) {
        let mut held = self.shared.lock();
        for (place, former) in self.replaced.drain(..).rev() {
            match former {
                Some(event) => held.gathering.keys.insert(place, event),
                None => held.gathering.keys.remove(&place),
            };
            self.last -= 1;
        }
        held.gathering.last = self.last;
        drop(held);
        self.moved_now = self.moved;
        (self.all_moved_now, self.all_removed_now) = (false, false);
    }

    /// The next generation begins, and the one so far is to be moved, if there is none under way.
    fn turn(&mut self) {
        let mut held = self.shared.lock();
        if held.moving.is_none() && !held.gathering.keys.is_empty() {
            held.gathering.last = self.last;
            held.moving = Some(std::mem::take(&mut held.gathering));
        }
    }
}

impl Generation {
    fn insert(&mut self, place: (i64, i64), event: i64) -> Option<i64> {
        if self.keys.is_empty() {
            self.since = event;
        }
        self.keys.insert(place, event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Put {
            subject: u8,
            key: u8,
        },
        MoveOn,
        Commit,
        Undo,
        /// The connection is done with, and another one goes on; or the process is.
        Reopen {
            process: bool,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0..12_u8, 0..12_u8).prop_map(|(subject, key)| Step::Put { subject, key }),
            3 => Just(Step::MoveOn),
            10 => Just(Step::Commit),
            3 => Just(Step::Undo),
            1 => any::<bool>().prop_map(|process| Step::Reopen { process }),
        ]
    }

    fn identity(subject: u8, key: u8) -> Identity {
        Identity { subject: i64::from(subject), key: i64::from(key) }
    }

    fn make() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(super::super::migrate::MIGRATIONS[0]).unwrap();
        conn.execute_batch("BEGIN").unwrap();
        conn
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        #[test]
        fn what_was_committed_is_known_wherever_it_is_by_now(steps in prop::collection::vec(step(), 0..150)) {
            let conn = make();
            let mut shared = Arc::new(RecentKeys::default());
            let mut recent = Recent::new(&conn, Arc::clone(&shared)).unwrap();
            let mut committed = BTreeMap::new();
            let mut now = committed.clone();
            for (number, step) in (1..).zip(steps) {
                match step {
                    Step::Put { subject, key } => {
                        recent.put(identity(subject, key), EventId(number)).unwrap();
                        now.insert((subject, key), EventId(number));
                    }
                    Step::MoveOn => recent.move_on(),
                    Step::Commit => {
                        recent.move_slice().unwrap();
                        conn.execute_batch("COMMIT; BEGIN").unwrap();
                        recent.committed();
                        committed.clone_from(&now);
                    }
                    Step::Undo => {
                        conn.execute_batch("ROLLBACK; BEGIN").unwrap();
                        recent.undone();
                        now.clone_from(&committed);
                    }
                    Step::Reopen { process } => {
                        conn.execute_batch("ROLLBACK; BEGIN").unwrap();
                        if process {
                            shared = Arc::new(RecentKeys::default());
                            shared.read_back(&conn).unwrap();
                        }
                        recent = Recent::new(&conn, Arc::clone(&shared)).unwrap();
                        now.clone_from(&committed);
                    }
                }
                for (subject, key) in (0..12).flat_map(|subject| (0..12).map(move |key| (subject, key))) {
                    let expected = now.get(&(subject, key)).copied();
                    prop_assert_eq!(recent.find(identity(subject, key)).unwrap(), expected);
                }
            }
            // All of it ends up in the tree, and nothing stays behind.
            recent.move_slice().unwrap();
            conn.execute_batch("COMMIT; BEGIN").unwrap();
            recent.committed();
            for _ in 0..100 {
                recent.move_on();
                recent.move_slice().unwrap();
                conn.execute_batch("COMMIT; BEGIN").unwrap();
                recent.committed();
            }
            let count = |table: &str| {
                conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            };
            prop_assert_eq!(count("identity").unwrap(), now.len() as i64);
            prop_assert_eq!(count("fresh_identity").unwrap(), 0);
            prop_assert!(!shared.are_old(UnixMillis(i64::MAX)));
        }
    }
}
