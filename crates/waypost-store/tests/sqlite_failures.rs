//! Disks fail, and come back: callers are told at once, nothing is half done, and it works again by itself.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, EventId, UnixMillis};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{all, delivered, message, owed, request, together};
use waypost_store::{Accept, EventFilter, Store, StoreError, StoreOptions};

/// Tells a child where to write. A test that finds it is the child.
const CHILD_DIRECTORY: &str = "WAYPOST_STORE_FAILURES_DIRECTORY";

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

/// Writes until it fails, and checks that failure costs nothing but what failed.
async fn fill(store: &Store, expected: fn(&StoreError) -> bool) -> Vec<EventId> {
    let mut kept = Vec::new();
    for n in 0..1_000 {
        match store.accept(large(&format!("wamid.{n}"))).await {
            Ok(accepted) => kept.push(accepted.events[0].0),
            Err(error) => {
                assert!(expected(&error), "{error}");
                assert!(!kept.is_empty(), "nothing fitted at all");
                assert!(!store.writer_stats().healthy);
                assert!(store.writer_stats().failures > 0);
                return kept;
            }
        }
    }
    panic!("it never failed");
}

async fn assert_kept(store: &Store, kept: &[EventId]) {
    let found: Vec<_> =
        all(store, EventFilter::default()).await.into_iter().rev().map(|event| event.id).collect();
    assert_eq!(found, kept);
    assert_eq!(owed(store, "inbox").await.len(), kept.len());
    assert_eq!(store.stats().await.unwrap().owed[0].1, kept.len() as u64);
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
    // It goes on failing, for many at once too, and goes on answering.
    let more = (0..50).map(|n| {
        let store = store.clone();
        async move { store.accept(large(&format!("more.{n}"))).await }
    });
    assert!(together(more).await.iter().all(Result::is_err));
    assert_kept(&store, &kept).await;

    setrlimit(Resource::Fsize, limits).unwrap();
    store.probe_write().await.unwrap();
    for n in 0..50 {
        let accepted = store.accept(large(&format!("more.{n}"))).await.unwrap();
        assert!(!accepted.is_duplicate(), "what failed had left its key behind");
        kept.push(accepted.events[0].0);
    }
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
    assert_kept(&store, &kept).await;
    for _ in 0..20 {
        assert!(matches!(store.accept(large("again")).await, Err(StoreError::Full)));
    }

    std::fs::remove_file(&ballast).unwrap();
    kept.push(store.accept(large("again")).await.unwrap().events[0].0);
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
    let (kept, failed): (Vec<_>, Vec<_>) = together(accepts).await.into_iter().partition(Result::is_ok);
    assert_eq!(failed.len(), 1);
    assert!(matches!(failed[0], Err(StoreError::Corrupt(_))), "{failed:?}");
    assert!(store.writer_stats().healthy && store.writer_stats().failures > 0);
    let mut kept: Vec<_> = kept.into_iter().map(Result::unwrap).collect();
    kept.sort_unstable();
    let newcomers = EventFilter { source: Some("newcomer".to_owned()), ..EventFilter::default() };
    let found: Vec<_> = all(&store, newcomers).await.into_iter().rev().map(|event| event.id).collect();
    assert_eq!(found, kept);
    kept.insert(0, first.events[0].0);
    assert_kept(&store, &kept).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_that_writes_is_waited_for_and_then_reported() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let other = Connection::open(directory.path().join("waypost.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Clock::system();
    assert!(matches!(store.accept(request([message("wamid.A")])).await, Err(StoreError::Disk(_))));
    assert!(begun.monotonic() < Duration::from_secs(4), "told before Meta's patience ends");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(!store.accept(request([message("wamid.A")])).await.unwrap().is_duplicate());
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
