//! The data directory's socket, however deep down the directory lies.
//!
//! The system takes socket paths of 107 bytes at most. A longer one is reached through an open handle on its
//! directory.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// The socket's name within the data directory.
pub(crate) const NAME: &str = "waypost.sock";
/// Longest path that is given to the system as it is.
const PATH_BYTES_MAX: usize = 100;

/// Binds the socket of a data directory, for its owner only. What stands in its place is left over from a process
/// that died: the store's lock has shown that none is alive.
///
/// # Errors
///
/// When it cannot be bound.
pub(crate) fn bind(directory: &Path) -> io::Result<UnixListener> {
    let path = directory.join(NAME);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(Short::of(directory)?.path())?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the socket of a data directory.
///
/// # Errors
///
/// When nobody serves it.
pub(crate) async fn connect(directory: &Path) -> io::Result<UnixStream> {
    let short = Short::of(directory)?;
    UnixStream::connect(short.path()).await
}

/// A path to the socket that is short enough for as long as this lives.
struct Short {
    path: PathBuf,
    /// What a path through the process's own handles leads through.
    _directory: Option<File>,
}

impl Short {
    fn of(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path, _directory: None });
        }
        let handle = File::open(directory)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", handle.as_raw_fd()));
        Ok(Self { path, _directory: Some(handle) })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
