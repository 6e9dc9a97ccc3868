//! Opening a store in one SQLite file: what is made, what is refused and how it is said.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rusqlite::Connection;
use waypost_domain::Clock;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_store::conformance::samples::{message, request};
use waypost_store::{OpenError, Store, StoreOptions};

fn open(path: &Path) -> Result<Store, OpenError> {
    let options = StoreOptions {
        path: path.to_owned(),
        readers: 1,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    Store::open(options, Clock::system())
}

fn refusal(path: &Path) -> OpenError {
    match open(path) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn only_the_owner_can_read_what_is_made() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b/waypost.db");
    let store = open(&path).unwrap();
    store.accept(request([message("wamid.A")])).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path().join("a")), 0o700);
    assert_eq!(mode(&place.path().join("a/b")), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(place.path().join("a/b")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["waypost.db", "waypost.db-shm", "waypost.db-wal", "waypost.db.journal-1", "waypost.lock"]
    );
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_its_lock() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("waypost.db")).unwrap();
    store.accept(request([message("wamid.A")])).await.unwrap();
    store.close().await;
    let mut names: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["waypost.db", "waypost.lock"]);
    // Closed is closed, although a handle is still there.
    open(&place.path().join("waypost.db")).unwrap();
}

#[tokio::test]
async fn a_second_opening_is_refused_and_names_the_first() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    let store = open(&path).unwrap();
    match refusal(&path) {
        OpenError::InUse { directory, pid } => {
            assert_eq!(directory, place.path().display().to_string());
            assert_eq!(pid, std::process::id().to_string());
        }
        other => panic!("{other}"),
    }
    // Another file in the same directory is as much in use; the first is none the worse.
    assert!(matches!(refusal(&place.path().join("other.db")), OpenError::InUse { .. }));
    store.accept(request([message("wamid.A")])).await.unwrap();
    let clone = store.clone();
    drop(store);
    assert!(matches!(refusal(&path), OpenError::InUse { .. }));
    drop(clone);
    open(&path).unwrap();
}

#[test]
fn what_is_no_database_is_refused_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    let text = b"# my notes\n".repeat(500);
    std::fs::write(&path, &text).unwrap();
    let error = refusal(&path).to_string();
    assert!(error.contains("waypost.db") && error.contains("not a database"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), text);
}

#[test]
fn another_programs_database_is_refused_and_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE migration (x); CREATE TABLE bills (y);")
        .unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let error = refusal(&path).to_string();
    assert!(error.contains("another program"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_damaged_database_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    drop(open(&path).unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    // Past the header, all of the first page: the schema's tree.
    bytes[100..4_096].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("malformed"), "{error}");
}

#[test]
fn a_newer_schema_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    drop(open(&path).unwrap());
    Connection::open(&path).unwrap().execute("INSERT INTO migration VALUES (99, 'x', 0)", []).unwrap();
    match refusal(&path) {
        OpenError::SchemaTooNew { found: 99, known } => assert!(known < 99),
        other => panic!("{other}"),
    }
}

#[test]
fn a_changed_schema_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    drop(open(&path).unwrap());
    Connection::open(&path).unwrap().execute("UPDATE migration SET checksum = 'x'", []).unwrap();
    assert!(matches!(refusal(&path), OpenError::SchemaDiffers { version: 1 }));
}

#[test]
fn a_place_that_cannot_be_is_refused_in_one_sentence() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("file"), "").unwrap();
    let error = refusal(&place.path().join("file/waypost.db")).to_string();
    assert!(error.contains("waypost.db") && !error.contains('\n'), "{error}");
    // A directory where the file should be.
    std::fs::create_dir(place.path().join("waypost.db")).unwrap();
    assert!(matches!(refusal(&place.path().join("waypost.db")), OpenError::Failed { .. }));
}
