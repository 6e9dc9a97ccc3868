//! What SQLite says, in the store's words.

use std::path::Path;

use rusqlite::ErrorCode;

use crate::StoreError;

/// Below this much free space a failure to write is taken for a full disk: SQLite's shared index reports
/// a lack of space as a general failure.
const NEARLY_FULL_BYTES: u64 = 1024 * 1024;

/// The store's error for SQLite's. `path` is where free space is looked at.
pub(super) fn store_error(error: &rusqlite::Error, path: &Path) -> StoreError {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        return StoreError::Corrupt(error.to_string());
    };
    match failure.code {
        ErrorCode::DiskFull => StoreError::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly,
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen if nearly_full(path) => StoreError::Full,
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::DatabaseBusy
        | ErrorCode::DatabaseLocked
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::OutOfMemory
        | ErrorCode::OperationInterrupted => StoreError::Disk(error.to_string()),
        _ => StoreError::Corrupt(error.to_string()),
    }
}

/// The store's error for what the operating system said of a file of our own.
pub(super) fn io_error(error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => StoreError::ReadOnly,
        _ => StoreError::Disk(error.to_string()),
    }
}

/// Whether what was to be written is at fault, and not the database that it was to be written to.
pub(super) fn is_the_contents(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return false };
    matches!(failure.code, ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
}

/// Whether the fault lies with the disk, so that every operation would meet it, and not with one operation.
pub(super) fn is_the_disks(error: &StoreError) -> bool {
    matches!(error, StoreError::Full | StoreError::ReadOnly | StoreError::Disk(_))
}

pub(super) fn nearly_full(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < NEARLY_FULL_BYTES)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_sqlite_says_has_one_word_each() {
        let said =
            |code| store_error(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None), Path::new("/"));
        assert!(matches!(said(ffi::SQLITE_FULL), StoreError::Full));
        for code in [ffi::SQLITE_READONLY, ffi::SQLITE_READONLY_DBMOVED, ffi::SQLITE_PERM] {
            assert!(matches!(said(code), StoreError::ReadOnly), "{code}");
        }
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_CANTOPEN, ffi::SQLITE_BUSY]
        {
            assert!(matches!(said(code), StoreError::Disk(_)), "{code}");
            assert!(is_the_disks(&said(code)));
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_CONSTRAINT_PRIMARYKEY] {
            assert!(matches!(said(code), StoreError::Corrupt(_)), "{code}");
            assert!(!is_the_disks(&said(code)));
        }
    }
}
