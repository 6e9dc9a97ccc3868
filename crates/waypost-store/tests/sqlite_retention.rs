//! Retention on SQLite: against a naive model, and what becomes of the file.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, DeliveryId, EventId, RequestId, UnixMillis};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{
    dead, delivered, deliveries_of, message, owed, request, retry, settle_all, single, together, whole,
};
use waypost_store::{Accept, Prune, Pruned, Retention, Settlement, Store, StoreOptions};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn open(place: &Path) -> Store {
    open_at(place, Clock::manual(NOON))
}

fn open_at(place: &Path, clock: Clock) -> Store {
    let options = StoreOptions {
        path: place.join("waypost.db"),
        readers: 1,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    Store::open(options, clock).unwrap()
}

/// Goes on to the end of a pass.
async fn finish(store: &Store, prune: Prune) -> Pruned {
    let mut sum = Pruned::default();
    for _ in 0..100_000 {
        let pruned = store.prune(prune).await.unwrap();
        sum.bodies += pruned.bodies;
        sum.records += pruned.records;
        sum.keys += pruned.keys;
        sum.bytes_given_back += pruned.bytes_given_back;
        if !pruned.more {
            return sum;
        }
    }
    panic!("a pass that never ends");
}

#[derive(Clone, Debug)]
enum Step {
    /// Events by their keys, how many are owed it whole and which events singly, and when.
    Accept {
        keys: Vec<u8>,
        whole: u8,
        single: Vec<u8>,
        at_hours: i64,
    },
    /// Any delivery ever made, what becomes of it, and when.
    Settle {
        which: prop::sample::Index,
        outcome: u8,
        at_hours: i64,
    },
    /// One call, or calls to the end of a pass.
    Prune {
        at_hours: i64,
        retention: u8,
        steps: usize,
        to_the_end: bool,
    },
    Reopen,
}

/// Hours from noon: mostly within some weeks, sometimes a year away in either direction.
fn hours() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 0..1_000_i64, 1 => Just(-8_760_i64), 1 => Just(8_760_i64), 1 => Just(20_000_i64)]
}

fn step() -> impl Strategy<Value = Step> {
    let accept =
        (prop::collection::vec(0..6_u8, 0..4), 0..3_u8, prop::collection::vec(0..4_u8, 0..3), hours());
    prop_oneof![
        6 => accept.prop_map(|(keys, whole, mut single, at_hours)| {
            single.retain(|place| usize::from(*place) < keys.len());
            Step::Accept { keys, whole, single, at_hours }
        }),
        6 => (any::<prop::sample::Index>(), 0..4_u8, hours())
            .prop_map(|(which, outcome, at_hours)| Step::Settle { which, outcome, at_hours }),
        5 => (hours(), 0..4_u8, 1..40_usize, any::<bool>()).prop_map(
            |(at_hours, retention, steps, to_the_end)| Step::Prune { at_hours, retention, steps, to_the_end }
        ),
        1 => Just(Step::Reopen),
    ]
}

fn moment(hours: i64) -> UnixMillis {
    UnixMillis(NOON.0 + hours * 3_600_000)
}

fn retention(which: u8) -> Retention {
    let days = |days| HOUR * 24 * days;
    match which {
        0 => Retention::default(),
        1 => Retention { delivered_bodies: Duration::ZERO, ..Retention::default() },
        2 => Retention {
            delivered_bodies: days(9),
            records: days(4),
            dead: days(20),
            quarantined: days(6),
            keys: days(15),
        },
        _ => Retention {
            delivered_bodies: HOUR,
            records: days(12),
            dead: days(2),
            quarantined: days(30),
            keys: days(1),
        },
    }
}

/// A request as the model has it.
#[derive(Debug)]
struct Kept {
    received_at: UnixMillis,
    events: Vec<EventId>,
    body: bool,
    /// Owed (`None`), done (`false`) or dead (`true`), since when.
    deliveries: BTreeMap<DeliveryId, Option<(bool, UnixMillis)>>,
}

impl Kept {
    /// From when on nothing keeps it; `None` while it is owed. Told as naively as can be.
    fn until(&self, done: Duration, retention: &Retention) -> Option<UnixMillis> {
        let mut until = self.received_at;
        if self.deliveries.is_empty() {
            until = until.plus(retention.records);
        }
        for state in self.deliveries.values() {
            let (is_dead, since) = (*state)?;
            let kept = if is_dead { retention.dead } else { done };
            until = until.max(since.max(self.received_at).plus(kept));
        }
        Some(until)
    }

    fn body_until(&self, retention: &Retention) -> Option<UnixMillis> {
        self.until(retention.delivered_bodies, retention)
    }

    fn record_until(&self, retention: &Retention) -> Option<UnixMillis> {
        self.until(retention.records, retention)
    }
}

#[derive(Default)]
struct Model {
    requests: BTreeMap<RequestId, Kept>,
    gone: BTreeSet<RequestId>,
}

impl Model {
    async fn step(&mut self, store: &Store, step: &Step) {
        match step {
            Step::Reopen => {}
            Step::Accept { keys, whole: to_whole, single: to_single, at_hours } => {
                let events: Vec<_> = keys.iter().map(|key| message(&format!("wamid.{key}"))).collect();
                let received_at = moment(*at_hours);
                let mut accept = Accept { received_at, ..request(events) };
                accept.deliveries = (0..*to_whole).map(|to| whole(&format!("to{to}"))).collect();
                accept.deliveries.extend(to_single.iter().map(|place| single("to0", (*place).into())));
                let accepted = store.accept(accept).await.unwrap();
                let kept = Kept {
                    received_at,
                    events: accepted.events.iter().map(|(id, _)| *id).collect(),
                    body: !accepted.is_duplicate(),
                    deliveries: accepted.owed.iter().map(|owed| (owed.id, None)).collect(),
                };
                self.requests.insert(accepted.request, kept);
            }
            Step::Settle { which, outcome, at_hours } => self.settle(store, which, *outcome, *at_hours).await,
            Step::Prune { at_hours, retention: which, steps, to_the_end } => {
                let (now, retention) = (moment(*at_hours), retention(*which));
                let prune = Prune { now, retention, steps: *steps };
                if *to_the_end {
                    // What is left of an earlier pass, and one that begins now.
                    finish(store, prune).await;
                    finish(store, prune).await;
                } else {
                    store.prune(prune).await.unwrap();
                }
                self.pruned(store, now, &retention, *to_the_end).await;
            }
        }
    }

    async fn settle(&mut self, store: &Store, which: &prop::sample::Index, outcome: u8, at_hours: i64) {
        let mut states: Vec<_> = self.requests.values_mut().flat_map(|kept| &mut kept.deliveries).collect();
        if states.is_empty() {
            return;
        }
        let place = which.index(states.len());
        let (id, state) = &mut states[place];
        let at = moment(at_hours);
        let settle = |mut settlement: Settlement| {
            settlement.attempt.at = at.minus(settlement.attempt.timing.total);
            store.settle(settlement)
        };
        let (settled, after) = match outcome {
            0 | 1 => (settle(delivered(**id)).await, Some((false, at))),
            2 => (settle(retry(**id, at)).await, None),
            _ => (settle(dead(**id)).await, Some((true, at))),
        };
        settled.unwrap();
        if state.is_none() {
            **state = after;
        }
    }

    /// Checks what a prune took away, and with `all` that it left nothing that could go.
    async fn pruned(&mut self, store: &Store, now: UnixMillis, retention: &Retention, all: bool) {
        let mut gone = Vec::new();
        for (id, kept) in &mut self.requests {
            let past = |until: Option<UnixMillis>| until.is_some_and(|until| until <= now);
            let (body_may_go, record_may_go) =
                (past(kept.body_until(retention)), past(kept.record_until(retention)));
            let record = store.request(*id).await.unwrap();
            match &record {
                None => assert!(record_may_go, "{id}: {kept:?} was pruned at {now} under {retention:?}"),
                Some(_) => assert!(!(all && record_may_go), "{id}: {kept:?} was left at {now}"),
            }
            let body = store.request_body(*id).await.unwrap().is_some();
            assert!(kept.body || !body);
            if kept.body && !body {
                assert!(body_may_go || record.is_none(), "{id}: the body of {kept:?} was pruned at {now}");
            }
            assert!(!(all && body && body_may_go), "{id}: the body of {kept:?} was left at {now}");
            kept.body = body;
            if record.is_none() {
                gone.push(*id);
            }
            for event in &kept.events {
                assert_eq!(store.event(*event).await.unwrap().is_some(), record.is_some());
            }
            let deliveries = deliveries_of(store, *id).await;
            assert_eq!(deliveries.len(), if record.is_some() { kept.deliveries.len() } else { 0 });
        }
        for id in gone {
            self.requests.remove(&id);
            self.gone.insert(id);
        }
    }

    async fn check(&self, store: &Store, path: &Path) {
        let stats = store.stats().await.unwrap();
        let states = || self.requests.values().flat_map(|kept| kept.deliveries.values());
        let owed_count: u64 = stats.owed.iter().map(|(_, count, _)| *count).sum();
        assert_eq!(owed_count, states().filter(|state| state.is_none()).count() as u64);
        let dead_count: u64 = stats.dead.iter().map(|(_, count)| *count).sum();
        assert_eq!(dead_count, states().filter(|state| state.is_some_and(|(dead, _)| dead)).count() as u64);
        // Nothing is there by half, and nothing without its key.
        let conn = Connection::open(path).unwrap();
        let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        let requests = self.requests.len() as i64;
        assert_eq!(one("SELECT count(*) FROM request"), requests);
        assert_eq!(one("SELECT coalesce(sum(events), 0) FROM request"), one("SELECT count(*) FROM event"));
        assert_eq!(one("SELECT count(*) FROM body WHERE request NOT IN (SELECT id FROM request)"), 0);
        assert_eq!(one("SELECT count(*) FROM attempt WHERE delivery NOT IN (SELECT id FROM delivery)"), 0);
        assert_eq!(one("SELECT count(*) FROM event WHERE id NOT IN (SELECT event FROM identity)"), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn exactly_what_the_model_lets_go_is_pruned(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = tempfile::tempdir().unwrap();
            let mut store = Some(open(place.path()));
            let mut model = Model::default();
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    drop(store.take());
                }
                let store = store.get_or_insert_with(|| open(place.path()));
                model.step(store, step).await;
            }
            let store = store.unwrap_or_else(|| open(place.path()));
            // At the end of time everything that is not owed is gone, its keys too.
            let last = Prune { now: UnixMillis(i64::MAX), retention: Retention::default(), steps: 1_000 };
            finish(&store, last).await;
            finish(&store, last).await;
            model.pruned(&store, last.now, &last.retention, true).await;
            model.check(&store, &place.path().join("waypost.db")).await;
            prop_assert!(model.requests.values().all(|kept| kept.deliveries.values().any(Option::is_none)));
            Ok(())
        })?;
    }
}

async fn fill(store: &Store, count: usize, bytes: usize) {
    for round in 0..count.div_ceil(200) {
        let accepts = (0..200).map(|n| {
            let store = store.clone();
            let wamid = format!("wamid.{round}.{n}");
            let accept = Accept { body: vec![b'#'; bytes].into(), ..request([message(&wamid)]) };
            async move { store.accept(accept).await.unwrap().owed[0].id }
        });
        let settlements = together(accepts).await.into_iter().map(delivered).collect();
        settle_all(store, settlements).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_shrinks_once_much_was_pruned() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    let store = open(place.path());
    fill(&store, 8_000, 3_000).await;
    let kept = store.accept(request([message("kept")])).await.unwrap();
    store.close().await;
    drop(store);
    let before = std::fs::metadata(&path).unwrap().len();
    assert!(before > 24 * 1024 * 1024, "{before}");

    let store = open(place.path());
    let prune = Prune { now: NOON.plus(HOUR * 24 * 4), retention: Retention::default(), steps: 200 };
    let pruned = finish(&store, prune).await;
    assert_eq!((pruned.bodies, pruned.records), (8_000, 0));
    assert!(pruned.bytes_given_back > before / 2, "{pruned:?} of {before}");
    let used = store.stats().await.unwrap().used_bytes;
    store.close().await;
    drop(store);
    let after = std::fs::metadata(&path).unwrap().len();
    assert!(after < before / 2 && after < used + used / 4 + 5 * 1024 * 1024, "{before}, {after}, {used}");
    let conn = Connection::open(&path).unwrap();
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    drop(conn);
    let store = open(place.path());
    assert_eq!(owed(&store, "inbox").await, kept.owed);
    assert!(store.request_body(kept.request).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_pruned_body_nothing_is_left_in_the_files() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let secret = b"what only the receiver was to read";
    let holds = |name: &str| {
        let bytes = std::fs::read(place.path().join(name)).unwrap_or_default();
        bytes.windows(secret.len()).any(|window| window == secret)
    };
    // Bodies that share a page, and one that has pages of its own.
    for (n, bytes) in [10, 300, 2_000, 50_000, 10].into_iter().enumerate() {
        let body = [&vec![b'x'; bytes][..], secret].concat();
        let accept = Accept { body: body.into(), ..request([message(&format!("wamid.{n}"))]) };
        let accepted = store.accept(accept).await.unwrap();
        store.settle(delivered(accepted.owed[0].id)).await.unwrap();
    }
    store.close().await;
    drop(store);
    assert!(holds("waypost.db"));
    let store = open(place.path());
    let at_once = Retention { delivered_bodies: Duration::ZERO, ..Retention::default() };
    let pruned = finish(&store, Prune { now: NOON.plus(HOUR), retention: at_once, steps: 100 }).await;
    assert_eq!(pruned.bodies, 5);
    store.close().await;
    assert!(!holds("waypost.db") && !holds("waypost.db-wal"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_would_take_long_ends_early_and_the_next_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let store = open_at(place.path(), Clock::system());
    fill(&store, 4_000, 600).await;
    for (days, expected) in [(4, (4_000, 0)), (40, (0, 4_000))] {
        let now = NOON.plus(HOUR * 24 * days);
        let prune = Prune { now, retention: Retention::default(), steps: 1_000_000 };
        let first = store.prune(prune).await.unwrap();
        assert!(first.more && (1..4_000).contains(&(first.bodies + first.records)), "{first:?}");
        let rest = finish(&store, prune).await;
        assert_eq!((first.bodies + rest.bodies, first.records + rest.records), expected);
    }
    assert_eq!(store.stats().await.unwrap().owed, []);
}
