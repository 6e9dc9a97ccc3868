//! Bringing a file's schema up to date.
//!
//! A migration that was ever released never changes; the file remembers the SHA-256 of each that it has
//! seen. Each is applied whole or not at all, after the file was copied beside itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use rusqlite::{Connection, TransactionBehavior, params};
use waypost_domain::UnixMillis;

use super::connection;
use super::directory::failed;
use crate::OpenError;

/// What the file's header says that it belongs to: "WPST".
const APPLICATION_ID: i64 = 0x5750_5354;

/// Every migration, in order; the first has the number 1.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_ledger.sql"),
    include_str!("migrations/0002_people.sql"),
    include_str!("migrations/0003_journal.sql"),
];

/// Refuses a file that is not a waypost's, or not one that this waypost can use, before anything is written
/// to it.
pub(super) fn refuse_foreign(path: &Path, migrations: &[&str]) -> Result<(), OpenError> {
    let conn = connection::plain(path).map_err(|error| failed(path, &error))?;
    applied_of(&conn, path, migrations).map(drop)
}

/// Brings the file at `path` from whatever it is to the last of `migrations`.
pub(super) fn migrate(
    conn: &mut Connection,
    path: &Path,
    migrations: &[&str],
    now: UnixMillis,
) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| failed(path, &error);
    let applied = applied_of(conn, path, migrations)?;
    if applied == migrations.len() {
        return Ok(());
    }
    if applied > 0 {
        copy(conn, path, applied).map_err(failed)?;
    }
    for (version, sql) in (1_i64..).zip(migrations).skip(applied) {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        if version == 1 {
            transaction
                .execute_batch(
                    "CREATE TABLE migration (version INTEGER PRIMARY KEY, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT;",
                )
                .map_err(failed)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        }
        transaction.execute_batch(sql).map_err(failed)?;
        transaction
            .execute("INSERT INTO migration VALUES (?1, ?2, ?3)", params![version, checksum_of(sql), now.0])
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

/// How many of the migrations the file has seen. Refuses what does not fit them.
fn applied_of(conn: &Connection, path: &Path, migrations: &[&str]) -> Result<usize, OpenError> {
    let applied = applied(conn, path)?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if let Some((version, _)) = applied.iter().find(|(version, _)| *version > known) {
        return Err(OpenError::SchemaTooNew { found: *version, known });
    }
    for (place, (version, checksum)) in applied.iter().enumerate() {
        let same = migrations.get(place).is_some_and(|sql| checksum_of(sql) == *checksum);
        if !same || usize::try_from(*version) != Ok(place + 1) {
            return Err(OpenError::SchemaDiffers { version: *version });
        }
    }
    Ok(applied.len())
}

/// The migrations that the file has seen. Refuses a file that is another program's.
fn applied(conn: &Connection, path: &Path) -> Result<Vec<(i64, String)>, OpenError> {
    let to_open = |error: rusqlite::Error| failed(path, &error);
    let application: i64 =
        conn.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(to_open)?;
    let tables: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(to_open)?;
    if tables == 0 && application == 0 {
        return Ok(Vec::new());
    }
    if application != APPLICATION_ID {
        return Err(failed(path, &"it is the database of another program"));
    }
    let mut rows =
        conn.prepare("SELECT version, checksum FROM migration ORDER BY version").map_err(to_open)?;
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(to_open)?;
    rows.collect::<Result<_, _>>().map_err(to_open)
}

/// Copies the file as it stands to `NAME.before-migration-N`, readable by the owner alone.
fn copy(conn: &Connection, path: &Path, applied: usize) -> rusqlite::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".before-migration-{}", applied + 1));
    let target = PathBuf::from(name);
    let io = |error: std::io::Error| {
        rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(format!("{}: {error}", target.display())),
        )
    };
    // An earlier try may have left half a copy.
    match std::fs::remove_file(&target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target).map_err(io)?;
    }
    let mut to = connection::plain(&target)?;
    let backup = rusqlite::backup::Backup::new(conn, &mut to)?;
    backup.run_to_completion(4_096, Duration::ZERO, None)
}

fn checksum_of(sql: &str) -> String {
    let digest = digest::digest(&digest::SHA256, sql.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FIRST: &str = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y INTEGER; UPDATE a SET y = 2;";

    fn run(path: &Path, migrations: &[&str]) -> Result<(), OpenError> {
        std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        refuse_foreign(path, migrations)?;
        let mut conn = connection::writer(path).unwrap();
        migrate(&mut conn, path, migrations, UnixMillis(5))
    }

    fn sum(path: &Path) -> rusqlite::Result<i64> {
        Connection::open(path)?.query_row("SELECT sum(x + y) FROM a", [], |row| row.get(0))
    }

    #[test]
    fn an_older_file_is_copied_and_brought_up_to_date() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("waypost.db");
        let copy = place.path().join("waypost.db.before-migration-2");
        run(&path, &[FIRST]).unwrap();
        assert!(!copy.exists(), "there was nothing to copy");
        run(&path, &[FIRST, SECOND]).unwrap();
        assert_eq!(sum(&path).unwrap(), 3);
        assert!(sum(&copy).is_err(), "the copy has the older schema");
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        // The copy is a file that the older program opens; the new one is refused by it.
        run(&copy, &[FIRST]).unwrap();
        assert!(matches!(run(&path, &[FIRST]), Err(OpenError::SchemaTooNew { found: 2, known: 1 })));
        // A second time changes nothing.
        run(&path, &[FIRST, SECOND]).unwrap();
        assert_eq!(sum(&path).unwrap(), 3);
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("waypost.db");
        run(&path, &[FIRST]).unwrap();
        let broken = format!("{SECOND} INSERT INTO nothing VALUES (1);");
        assert!(matches!(run(&path, &[FIRST, &broken]), Err(OpenError::Failed { .. })));
        run(&path, &[FIRST]).unwrap();
        assert!(sum(&path).is_err());
        // What an earlier try left behind is no hindrance.
        run(&path, &[FIRST, SECOND]).unwrap();
        assert_eq!(sum(&path).unwrap(), 3);
    }

    #[test]
    fn a_migration_that_is_not_ours_is_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("waypost.db");
        run(&path, &[FIRST, SECOND]).unwrap();
        let other = format!("{SECOND} ");
        assert!(matches!(run(&path, &[FIRST, &other]), Err(OpenError::SchemaDiffers { version: 2 })));
    }
}
