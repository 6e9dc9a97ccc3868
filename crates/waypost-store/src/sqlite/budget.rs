//! How much the store may take up. Looked at now and then by the thread that folds, and never by an accept.

use std::path::Path;

use rusqlite::Connection;

use super::journal::Journal;

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) bytes_max: Option<u64>,
    pub(super) free_bytes_min: u64,
}

impl Budget {
    pub(super) fn is_exceeded(
        self,
        conn: &Connection,
        path: &Path,
        journal: &Journal,
    ) -> rusqlite::Result<bool> {
        let too_large = match self.bytes_max {
            Some(bytes_max) => used_bytes(conn)?.saturating_add(journal.held_bytes()) > bytes_max,
            None => false,
        };
        Ok(too_large || self.free_bytes_min > free_bytes(path))
    }
}

/// The pages of the file that hold something; the others are used next.
pub(super) fn used_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let number = |what| conn.pragma_query_value(None, what, |row| row.get::<_, i64>(0));
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or(0))
}

/// Where it cannot be told, there is enough: what does not fit will be refused by the disk itself.
pub(super) fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
}
