//! The place the file lives in: owner-only, local, and held by one process at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::OpenError;

/// The lock file's name in the data directory.
const LOCK_FILE: &str = "waypost.lock";

/// The data directory, held: while this lives no other process can hold it. The kernel lets go when the
/// process ends, however it ends.
#[derive(Debug)]
pub(super) struct Held {
    _lock: File,
}

/// Makes the directory and an empty file where they are missing, and holds the directory.
pub(super) fn hold(path: &Path) -> Result<Held, OpenError> {
    let failed = |error: std::io::Error| failed(path, &error);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed)?;
    refuse_network(&directory)?;

    let lock_path = directory.join(LOCK_FILE);
    let options = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options
    };
    let mut lock = options().open(&lock_path).map_err(failed)?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = lock.take(20).read_to_string(&mut pid);
            let pid = if pid.trim().is_empty() { "unknown" } else { pid.trim() };
            return Err(OpenError::InUse { directory: directory.display().to_string(), pid: pid.to_owned() });
        }
        Err(errno) => return Err(failed(errno.into())),
    }
    // The number is for people; the lock does not depend on it.
    let _ = lock.set_len(0).and_then(|()| lock.rewind());
    let _ = writeln!(lock, "{}", std::process::id());

    // SQLite gives its log and index the file's own permissions.
    options().open(path).map_err(failed)?;
    Ok(Held { _lock: lock })
}

pub(super) fn failed(path: &Path, reason: &dyn std::fmt::Display) -> OpenError {
    OpenError::Failed { path: path.display().to_string(), reason: reason.to_string() }
}

/// SQLite's locks and its shared index do not hold on network file systems (sqlite.org/wal.html).
/// Numbers from the Linux manual page statfs(2). Others, FUSE among them, cannot be told apart from
/// local ones and are let through.
#[cfg(target_os = "linux")]
fn refuse_network(directory: &Path) -> Result<(), OpenError> {
    const NETWORK: [u32; 6] = [
        0x6969,      /* NFS */
        0x517b,      /* SMB */
        0xff53_4d42, /* CIFS */
        0xfe53_4d42, /* SMB2 */
        0x5346_414f, /* AFS */
        0x7375_7245, /* Coda */
    ];
    let found = rustix::fs::statfs(directory).map_err(|errno| failed(directory, &errno))?;
    // The field's width and sign differ between machines; the numbers are 32 bits.
    #[expect(clippy::cast_possible_truncation, reason = "file system numbers are 32 bits wide")]
    let kind = found.f_type as u32;
    if NETWORK.contains(&kind) {
        return Err(OpenError::NetworkFileSystem { directory: directory.display().to_string() });
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_: &Path) -> Result<(), OpenError> {
    Ok(())
}
