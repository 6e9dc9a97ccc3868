//! How the store fails.

/// The store could not do what was asked. Nothing of it was kept.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Too much is waiting for the writer already.
    #[error("too many writes are waiting for the disk")]
    Busy,
    /// No space left on the disk, or the database is at its size limit.
    #[error("the disk is full")]
    Full,
    /// The store takes up as much as it may, or too little space is left on the disk. Only accepts are
    /// refused so.
    #[error("the store takes up as much disk as it may")]
    OverBudget,
    /// The file or its file system admits no writes.
    #[error("the data directory is read-only")]
    ReadOnly,
    /// Reading or writing failed below us.
    #[error("the disk failed: {0}")]
    Disk(String),
    /// What was read makes no sense: table, column and row are named.
    #[error("the database is inconsistent: {0}")]
    Corrupt(String),
    /// The store is shut.
    #[error("the store is shut")]
    Closed,
}

impl StoreError {
    /// The stable code an operator sees.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy => "store_busy",
            Self::Full => "store_full",
            Self::OverBudget => "store_over_budget",
            Self::ReadOnly => "store_read_only",
            Self::Disk(_) => "store_disk_failed",
            Self::Corrupt(_) => "store_inconsistent",
            Self::Closed => "store_closed",
        }
    }
}

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds it.
    #[error(
        "another waypost uses the data directory {directory} (process {pid}); stop it first, or give this one its own with --data"
    )]
    InUse {
        /// The directory.
        directory: String,
        /// The other process's id, where it could be read.
        pid: String,
    },
    /// The SQLite linked in can lose committed writes.
    #[error(
        "SQLite {found} can lose committed writes when a checkpoint races a write; 3.51.3 or later is needed"
    )]
    EngineTooOld {
        /// The version found.
        found: String,
    },
    /// The file was written by a newer waypost.
    #[error(
        "the database has schema {found}, newer than this waypost knows ({known}); use the newer waypost"
    )]
    SchemaTooNew {
        /// The file's schema version.
        found: i64,
        /// The newest this binary knows.
        known: i64,
    },
    /// A migration that was applied is not the one this binary has.
    #[error(
        "migration {version} of the database differs from this waypost's own; the file was changed by something else"
    )]
    SchemaDiffers {
        /// The migration's number.
        version: i64,
    },
    /// The file is on a network file system, where SQLite's locks do not hold.
    #[error(
        "{directory} is on a network file system, where the database would not be safe; use a local disk"
    )]
    NetworkFileSystem {
        /// The directory.
        directory: String,
    },
    /// Anything the disk or SQLite said.
    #[error("cannot open the database {path}: {reason}")]
    Failed {
        /// The file.
        path: String,
        /// What was said.
        reason: String,
    },
}
