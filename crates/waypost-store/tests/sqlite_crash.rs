//! A crash is ordinary: whatever was answered is there afterwards, and nothing is there by half.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, DeliveryId, DeliveryState};
use waypost_store::conformance::samples::{delivered, message, owed, request, status, whole};
use waypost_store::{Accept, EventFilter, Page, Store, StoreOptions};

/// Tells a child where to write. A test that finds it is the child.
const CHILD_DIRECTORY: &str = "WAYPOST_STORE_CRASH_DIRECTORY";

fn open(directory: &Path) -> Store {
    let options = StoreOptions {
        path: directory.join("waypost.db"),
        readers: 1,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    Store::open(options, Clock::system()).unwrap()
}

fn numbered(number: u64) -> Accept {
    let wamid = format!("wamid.{number}");
    let mut accept = request([message(&wamid), status(&wamid, "sent")]);
    accept.received_at = Clock::system().wall();
    accept.body = format!("{number} {}", "x".repeat(600)).into();
    accept
}

/// The child: writes until it is killed, and says what was answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only as a child of another test"]
async fn child_that_writes_until_killed() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let store = open(Path::new(&directory));
    let numbers = Arc::new(AtomicU64::new(u64::from(std::process::id()) << 32));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let (store, numbers) = (store.clone(), numbers.clone());
        tasks.spawn(async move {
            loop {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let accepted = store.accept(numbered(number)).await.unwrap();
                let delivery = accepted.owed[0].id;
                say(&format!("accepted {number} {}", delivery.0));
                if task % 2 == 0 {
                    store.settle(delivered(delivery)).await.unwrap();
                    say(&format!("settled {number} {}", delivery.0));
                }
            }
        });
    }
    // None ever ends but by failing.
    tasks.join_next().await.unwrap().unwrap();
}

/// A whole line in one write, so that a kill does not tear it from what it belongs to.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9_again_and_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut accepted: BTreeMap<u64, DeliveryId> = BTreeMap::new();
    let mut settled: BTreeSet<DeliveryId> = BTreeSet::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_killed", "--ignored", "--nocapture"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        for line in lines {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be cut off; the harness has lines of its own.
            let [what @ ("accepted" | "settled"), number, delivery] = words[..] else { continue };
            let (Ok(number), Ok(delivery)) = (number.parse(), delivery.parse()) else { continue };
            match what {
                "accepted" => drop(accepted.insert(number, DeliveryId(delivery))),
                _ => drop(settled.insert(DeliveryId(delivery))),
            }
            heard += 1;
            if heard == 400 * round {
                child.kill().unwrap();
            }
        }
        assert!(heard >= 400 * round, "the child ended by itself");
        child.wait().unwrap();

        let store = open(directory.path());
        let owed: BTreeSet<_> = owed(&store, "inbox").await.into_iter().map(|owed| owed.id).collect();
        for (number, delivery) in &accepted {
            let filter = EventFilter { wamid: Some(format!("wamid.{number}")), ..EventFilter::default() };
            let mut found = store.events(filter, Page { before: None, limit: 10 }).await.unwrap().events;
            found.retain(|event| event.repeats.is_none());
            assert_eq!(found.len(), 2, "round {round}: {number} was answered and is not there");
            let record = &found[0].deliveries[0];
            assert_eq!(record.owed.id, *delivery);
            assert_eq!(record.state == DeliveryState::Owed, owed.contains(delivery));
            if settled.contains(delivery) {
                assert_eq!(record.state, DeliveryState::Delivered, "{number} was settled");
            }
            let body = store.request_body(found[0].request).await.unwrap().unwrap().body;
            assert!(body.starts_with(format!("{number} ").as_bytes()));
        }
        // Their keys are known: what Meta sends again is a repeat.
        let (&number, _) = accepted.last_key_value().unwrap();
        assert!(store.accept(numbered(number)).await.unwrap().is_duplicate());
        drop(store);
        assert_whole(&directory.path().join("waypost.db"));
    }
}

/// That nothing in the file is there by half, and that counts are right.
fn assert_whole(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    let one = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let sound: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let requests = one("SELECT count(*) FROM request");
    assert_eq!(one("SELECT coalesce(sum(events), 0) FROM request"), one("SELECT count(*) FROM event"));
    assert_eq!(one("SELECT count(*) FROM event WHERE request NOT IN (SELECT id FROM request)"), 0);
    // Every request with something new is owed once; its new events hold their keys.
    assert_eq!(
        one("SELECT count(*) FROM delivery"),
        one("SELECT count(DISTINCT request) FROM event WHERE repeats IS NULL")
    );
    assert_eq!(
        one("SELECT count(*) FROM event WHERE repeats IS NULL"),
        one("SELECT count(*) FROM (SELECT key FROM identity WHERE key < 0
             UNION SELECT key FROM fresh_identity WHERE key < 0)")
    );
    assert_eq!(
        one("SELECT count(*) FROM delivery WHERE state = 0"),
        one("SELECT coalesce(sum(owed), 0) FROM tally")
    );
    assert_eq!(one("SELECT count(*) FROM delivery WHERE state = 1"), one("SELECT count(*) FROM attempt"));
    requests
}

/// The child: keeps requests that are never applied, since another program writes to the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only as a child of another test"]
async fn child_that_keeps_and_cannot_apply() {
    let Some(directory) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let store = open(Path::new(&directory));
    let other = Connection::open(Path::new(&directory).join("waypost.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for number in 0.. {
        store.keep(numbered(number)).await.unwrap();
        say(&format!("kept {number}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_kept_and_not_yet_applied_survives_kill_9_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_keeps_and_cannot_apply", "--ignored", "--nocapture"])
        .env(CHILD_DIRECTORY, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut kept = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if line.unwrap() == format!("kept {kept}") {
            kept += 1;
        }
        if kept == 300 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(kept >= 300, "the child ended by itself");
    let store = open(directory.path());
    let owed = owed(&store, "inbox").await;
    // One more may have been on its way.
    assert!(owed.len() == kept || owed.len() == kept + 1, "{} of {kept}", owed.len());
    for (number, owed) in owed.iter().enumerate() {
        let body = store.request_body(owed.request).await.unwrap().unwrap().body;
        assert!(body.starts_with(format!("{number} ").as_bytes()), "in the order of acknowledgement");
    }
    drop(store);
    assert_whole(&directory.path().join("waypost.db"));
}

/// The machine loses power: what the disk has is the file, the journal, and the database's log up to somewhere, since
/// only the journal is synced before an acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_acknowledged_and_no_identifier_changes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    // Opening has synced the log so far.
    let log_path = directory.path().join("waypost.db-wal");
    let synced = std::fs::metadata(&log_path).unwrap().len() as usize;
    let mut expected = Vec::new();
    for number in 0..60 {
        let mut accept = numbered(number);
        accept.deliveries = vec![whole("inbox")];
        if number % 7 == 0 {
            accept.events[0].quarantined = true;
        }
        let accepted = store.accept(accept).await.unwrap();
        if number % 3 == 0 {
            store.settle(delivered(accepted.owed[0].id)).await.unwrap();
        }
        expected.push((accepted.request, number % 3 == 0));
    }
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    let (file, log, journal) = (read("waypost.db"), read("waypost.db-wal"), read("waypost.db.journal-1"));
    let (mut settled_most, mut settled_least) = (0, usize::MAX);
    for cut in 0..=40 {
        let copy = tempfile::tempdir().unwrap();
        let cut = synced + (log.len() - synced) * cut / 40 + if cut == 40 { 0 } else { 13 * cut };
        std::fs::write(copy.path().join("waypost.db"), &file).unwrap();
        std::fs::write(copy.path().join("waypost.db-wal"), &log[..cut.min(log.len())]).unwrap();
        std::fs::write(copy.path().join("waypost.db.journal-1"), &journal).unwrap();
        let recovered = open(copy.path());
        let owed = owed(&recovered, "inbox").await;
        let owed: BTreeSet<_> = owed.iter().map(|owed| owed.request).collect();
        for (request, settled) in &expected {
            assert!(recovered.request(*request).await.unwrap().is_some(), "cut at {cut}");
            // What was not settled is owed; what was, is owed again at most.
            assert!(*settled || owed.contains(request));
        }
        let settled = expected.len() - owed.len();
        settled_most = settled_most.max(settled);
        settled_least = settled_least.min(settled);
        // And it goes on from there.
        let next = recovered.accept(numbered(1_000)).await.unwrap();
        assert!(next.request > expected[expected.len() - 1].0 && !next.is_duplicate());
        drop(recovered);
        assert_eq!(assert_whole(&copy.path().join("waypost.db")), expected.len() as i64 + 1);
    }
    assert_eq!(
        (settled_least, settled_most),
        (0, 20),
        "what the log held is known, what it lost is found out again"
    );
}
