//! Connections to the file, each set up for its part.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::checkpoint::PAGE_BYTES;

/// Page cache of the connection that writes: the newest rows and the upper parts of the trees. More would not
/// hold the tree of identity keys either, and SQLite walks all of it after many a commit.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
/// Page cache of every other connection.
const READER_CACHE_KIB: i64 = 1024;
/// How long a write waits for another program that writes to the file, such as an operator's shell.
pub(super) const WRITE_WAIT_MAX: Duration = Duration::from_secs(1);
/// What the log's file is cut back to when it starts over.
pub(super) const LOG_KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// The one connection that writes.
pub(super) fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    common(&conn)?;
    // So that what is pruned can be given back in small steps. Only a new file takes it on; in any other, saying
    // it again would be a write, which a full disk refuses.
    if conn.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0 {
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // The writer says with each transaction whether it is synced at once; until then, it is.
    sync_each_commit(&conn, true)?;
    conn.pragma_update(None, "foreign_keys", true)?;
    // What is deleted is overwritten with zeros, in pages that stay and in pages that fall free.
    conn.pragma_update(None, "secure_delete", true)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES)?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    Ok(conn)
}

/// Whether each commit is synced before it returns. Where not, the log is synced by another thread, and until then
/// the journal keeps what the commits hold.
pub(super) fn sync_each_commit(conn: &Connection, sync: bool) -> rusqlite::Result<()> {
    conn.pragma_update(None, "synchronous", if sync { "FULL" } else { "NORMAL" })
}

/// A connection that folds the log into the file.
pub(super) fn checkpointer(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    common(&conn)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    common(&conn)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(conn)
}

/// A connection to a file that is being written as a copy.
pub(super) fn plain(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn common(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(WRITE_WAIT_MAX)?;
    // The file is only data: nothing in its schema may run.
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")
}
