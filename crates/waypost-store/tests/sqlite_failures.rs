//! Disks fail, and come back: callers are told at once, nothing is half done, and it works again by itself.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, DeliveryId, EventId, UnixMillis};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{all, delivered, message, owed, request, together};
use waypost_store::{Accept, EventFilter, Store, StoreError, StoreOptions};

/// Tells a child where to write. A test that finds it is the child.
const CHILD_DIRECTORY: &str = "WAYPOST_STORE_FAILURES_DIRECTORY";

/// What the journal may hold, so that it is full before the tests' patience is.
const JOURNAL_BYTES: u64 = 1024 * 1024;

fn open(directory: &Path) -> Store {
    open_with(directory, JOURNAL_BYTES)
}

fn open_with(directory: &Path, journal_bytes_max: u64) -> Store {
    let options = StoreOptions {
        path: directory.join("waypost.db"),
        readers: 1,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max,
        free_bytes_min: 0,
    };
    Store::open(options, Clock::system()).unwrap()
}

fn large(wamid: &str) -> Accept {
    Accept { body: vec![b'x'; 100_000].into(), ..request([message(wamid)]) }
}

fn child_directory() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIRECTORY).map(PathBuf::from)
}

/// Runs one test of this file in a child, by way of a shell that prepares its world.
fn run_child(mut shell: Command, prepare: &str, test: &str, directory: &Path) -> Output {
    shell.arg("-c").arg(format!("{prepare} exec \"$0\" --exact {test} --ignored --nocapture"));
    shell.arg(std::env::current_exe().unwrap()).env(CHILD_DIRECTORY, directory).output().unwrap()
}

fn assert_passed(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Has requests kept until one is refused: first the database meets its limit, then the journal. Says which were kept.
async fn fill(store: &Store, expected: fn(&StoreError) -> bool) -> Vec<String> {
    let mut kept = Vec::new();
    for n in 0..1_000 {
        let wamid = format!("wamid.{n}");
        match store.keep(large(&wamid)).await {
            Ok(()) => kept.push(wamid),
            // The disk is slower to fail than the journal to fill.
            Err(StoreError::Busy) => {}
            Err(error) => {
                assert!(expected(&error), "{error}");
                let stats = store.writer_stats();
                assert!(!stats.healthy && stats.failures > 0);
                assert!(stats.journal_behind > 0, "the journal went on when the database could not");
                return kept;
            }
        }
    }
    panic!("it never failed");
}

/// That exactly these are there, in this order, owed once each; those that the journal still has a moment later.
async fn assert_kept(store: &Store, kept: &[String]) {
    let mut found = Vec::new();
    for _ in 0..100 {
        found = all(store, EventFilter::default()).await;
        if found.len() == kept.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let found: Vec<_> =
        found.into_iter().rev().map(|event| event.event.wamid.unwrap().into_string()).collect();
    assert_eq!(found, kept);
    assert_eq!(owed(store, "inbox").await.len(), kept.len());
    assert_eq!(store.stats().await.unwrap().owed[0].1, kept.len() as u64);
    assert_eq!(store.writer_stats().journal_behind, 0);
}

/// The limit on file sizes stands in for a disk that refuses to write: it needs no privilege and can be lifted.
#[test]
fn writes_that_fail_are_undone_and_work_again_once_they_can() {
    let directory = tempfile::tempdir().unwrap();
    // A process that does not ignore the signal would be ended by it.
    let output =
        run_child(Command::new("sh"), "trap '' XFSZ;", "child_whose_files_may_not_grow", directory.path());
    assert_passed(&output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only as a child of another test"]
async fn child_whose_files_may_not_grow() {
    let Some(directory) = child_directory() else { return };
    let store = open(&directory);
    let limits = getrlimit(Resource::Fsize);
    let limit = Some(3 * 1024 * 1024);
    setrlimit(Resource::Fsize, Rlimit { current: limit, maximum: limits.maximum }).unwrap();
    let mut kept = fill(&store, |error| matches!(error, StoreError::Disk(_))).await;
    // It goes on failing, and goes on answering; what the database still finds room for makes room in the journal.
    let mut refused = 0;
    for n in 0..50 {
        let wamid = format!("while failing.{n}");
        match store.keep(large(&wamid)).await {
            Ok(()) => kept.push(wamid),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0);
    let shown = all(&store, EventFilter::default()).await;
    assert!(
        shown.len() < kept.len(),
        "what waits in the journal is not shown, and nobody is kept waiting for it"
    );

    setrlimit(Resource::Fsize, limits).unwrap();
    // What waits in the journal goes first, a moment later, and then there is room.
    assert_kept(&store, &kept).await;
    store.probe_write().await.unwrap();
    for n in 0..50 {
        let wamid = format!("more.{n}");
        let accepted = store.accept(large(&wamid)).await.unwrap();
        assert!(!accepted.is_duplicate(), "what failed had left its key behind");
        kept.push(wamid);
    }
    assert_kept(&store, &kept).await;
    let delivery = owed(&store, "inbox").await[0].id;
    store.settle(delivered(delivery)).await.unwrap();
    assert!(store.writer_stats().healthy);
    drop(store);
    let store = open(&directory);
    assert_eq!(owed(&store, "inbox").await.len(), kept.len() - 1);
    assert_eq!(all(&store, EventFilter::default()).await.len(), kept.len());
}

/// A real file system that is full, where one can be had: in a name space of our own.
#[test]
fn a_full_disk_is_called_full_and_works_again_when_there_is_space() {
    let directory = tempfile::tempdir().unwrap();
    let name_space = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh"]);
        command
    };
    let possible = name_space().args(["-c", "mount -t tmpfs none \"$0\""]).arg(directory.path()).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("passed over: this machine gives no name spaces");
        return;
    }
    let prepare = format!("mount -t tmpfs -o size=6m none \"${CHILD_DIRECTORY}\" &&");
    assert_passed(&run_child(name_space(), &prepare, "child_on_a_small_disk", directory.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs only as a child of another test"]
async fn child_on_a_small_disk() {
    let Some(directory) = child_directory() else { return };
    // Something else takes up space, and gives it back later.
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 2 * 1024 * 1024]).unwrap();
    let store = open(&directory);
    let mut kept = fill(&store, |error| matches!(error, StoreError::Full)).await;
    for _ in 0..20 {
        assert!(matches!(store.keep(large("again")).await, Err(StoreError::Full)));
    }
    // Ended and begun on the full disk, it has what it had.
    drop(store);
    let store = open(&directory);
    assert!(store.writer_stats().journal_behind > 0);

    std::fs::remove_file(&ballast).unwrap();
    // It is found out by itself, a moment later.
    for _ in 0..100 {
        match store.keep(large("again")).await {
            Ok(()) => break,
            Err(error) => assert!(matches!(error, StoreError::Full), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    kept.push("again".to_owned());
    assert_kept(&store, &kept).await;
    drop(store);
    assert_kept(&open(&directory), &kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_cannot_be_done_fails_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = store.accept(request([message("first")])).await.unwrap();
    // A row where the next identifier will want to be: it cannot happen, and does.
    let at = UnixMillis(NOON.0 + 60_000);
    let intruder = Connection::open(directory.path().join("waypost.db")).unwrap();
    intruder
        .execute(
            "INSERT INTO request SELECT ?1, source, received_at, proved_by, events, room, target, body_sha256, body_bytes, headers FROM request",
            [EventId::floor(at).0],
        )
        .unwrap();
    drop(intruder);
    let accepts = (0..100).map(|n| {
        let store = store.clone();
        let accept = request([message(&format!("wamid.{n}"))]);
        // A name that comes up for the first time in the very transaction that is undone.
        let accept = Accept { received_at: at, source: "newcomer".into(), ..accept };
        async move { store.accept(accept).await.map(|accepted| accepted.events[0].0) }
    });
    // It was acknowledged: undone with all that went with it, it is done by itself, under the next number.
    let mut kept: Vec<_> = together(accepts).await.into_iter().map(Result::unwrap).collect();
    assert!(store.writer_stats().healthy && store.writer_stats().failures > 0);
    assert_eq!(store.writer_stats().set_aside, 0);
    kept.sort_unstable();
    let newcomers = EventFilter { source: Some("newcomer".to_owned()), ..EventFilter::default() };
    let found: Vec<_> = all(&store, newcomers).await.into_iter().rev().map(|event| event.id).collect();
    assert_eq!(found, kept);
    kept.insert(0, first.events[0].0);
    let all: Vec<_> =
        all(&store, EventFilter::default()).await.into_iter().rev().map(|event| event.id).collect();
    assert_eq!(all, kept);
    let delivery = owed(&store, "inbox").await[0].id;
    let settlements = (0..40).map(|n| {
        let store = store.clone();
        let delivery = if n == 20 { DeliveryId(17) } else { delivery };
        async move { store.settle(delivered(delivery)).await }
    });
    let failed: Vec<_> = together(settlements).await.into_iter().filter_map(Result::err).collect();
    assert!(matches!(failed[..], [StoreError::Corrupt(_)]), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_will_never_take_is_put_aside_and_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("waypost.db");
    let store = open(directory.path());
    let intruder = Connection::open(&path).unwrap();
    intruder
        .execute_batch(
            "CREATE TRIGGER never BEFORE INSERT ON request WHEN NEW.target = '/poison'
             BEGIN SELECT RAISE(ABORT, 'never'); END",
        )
        .unwrap();
    let accepts = (0..60).map(|n| {
        let store = store.clone();
        let mut accept = request([message(&format!("wamid.{n}"))]);
        if n == 30 {
            accept.target = "/poison".to_owned();
        }
        async move { store.accept(accept).await }
    });
    let (kept, aside): (Vec<_>, Vec<_>) = together(accepts).await.into_iter().partition(Result::is_ok);
    assert!(
        matches!(&aside[..], [Err(StoreError::Corrupt(reason))] if reason.contains("never")),
        "{aside:?}"
    );
    assert_eq!((kept.len(), store.writer_stats().set_aside), (59, 1));
    assert_eq!(owed(&store, "inbox").await.len(), 59);
    drop(store);
    let store = open(directory.path());
    assert_eq!(owed(&store, "inbox").await.len(), 59);
    let (reason, record): (String, Vec<u8>) = intruder
        .query_row("SELECT reason, record FROM set_aside", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert!(reason.contains("never") && record.windows(8).any(|bytes| bytes == b"wamid.30"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_that_writes_holds_up_what_follows_and_no_acknowledgement() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let other = Connection::open(directory.path().join("waypost.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Clock::system();
    store.keep(request([message("wamid.A")])).await.unwrap();
    assert!(begun.monotonic() < Duration::from_secs(1), "acknowledged at once");
    assert!(matches!(store.probe_write().await, Err(StoreError::Disk(_))));
    assert!(all(&store, EventFilter::default()).await.is_empty());
    assert!(begun.monotonic() < Duration::from_secs(6), "and told, and shown what there is");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(!store.accept(request([message("wamid.B")])).await.unwrap().is_duplicate());
    assert_kept(&store, &["wamid.A".to_owned(), "wamid.B".to_owned()]).await;
    assert!(store.accept(request([message("wamid.A")])).await.unwrap().is_duplicate());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_bounded_under_sustained_load() {
    const BYTES: usize = 64 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let log = directory.path().join("waypost.db-wal");
    let mut longest = 0;
    let mut written = 0_usize;
    for round in 0..40 {
        let accepts = (0..160).map(|n| {
            let store = store.clone();
            let accept = Accept {
                body: vec![b'x'; BYTES].into(),
                ..request([message(&format!("wamid.{round}.{n}"))])
            };
            async move { store.accept(accept).await.unwrap() }
        });
        written += together(accepts).await.len() * BYTES;
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
        // Readers come and go meanwhile.
        owed(&store, "inbox").await;
    }
    let written = written as u64;
    let bound = 128 * 1024 * 1024 + 16 * 1024 * 1024;
    assert!(written > 2 * bound && longest < bound, "{longest} bytes of log for {written} written");
}

/// What of this process is in memory.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_far_behind_costs_disk_and_no_memory() {
    const COUNT: usize = 1_600;
    const BYTES: usize = 128 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let store = open_with(directory.path(), 512 * 1024 * 1024);
    let other = Connection::open(directory.path().join("waypost.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let before = resident_bytes();
    for n in 0..COUNT {
        let body = vec![b'x'; BYTES].into();
        store.keep(Accept { body, ..request([message(&format!("wamid.{n}"))]) }).await.unwrap();
    }
    let stats = store.writer_stats();
    assert_eq!(stats.journal_behind, COUNT as u64);
    assert!(stats.journal_bytes >= (COUNT * BYTES) as u64);
    let more = resident_bytes().saturating_sub(before);
    assert!(more < 64 * 1024 * 1024, "{more} bytes for {} kept", COUNT * BYTES);
    other.execute_batch("ROLLBACK").unwrap();
    // All of it follows, and the files that it took are given back.
    for _ in 0..600 {
        let stats = store.writer_stats();
        if stats.journal_behind == 0 && stats.journal_bytes <= 6 * 16 * 1024 * 1024 {
            assert_eq!(owed(&store, "inbox").await.len(), COUNT);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?}", store.writer_stats());
}
