//! The program that this process runs: where it stands on disk, and with what it was started.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::process::{Child, Command};

/// Tells a process that its standard input leads to the one it is to succeed, whose number it is.
pub(super) const VARIABLE: &str = "WAYPOST_SUCCEEDS";
/// This very program, whatever has become of its file since.
const ITSELF: &str = "/proc/self/exe";

/// A program to start once more, as it was started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// Which of its states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edition {
    /// What stands on disk now.
    OnDisk,
    /// What this process runs.
    Running,
}

impl Program {
    /// The one that this process runs. To be asked at the start, while the file is still the one that was started.
    pub(crate) fn of_this_process() -> Self {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        let path = place(&name).unwrap_or_else(|| std::env::current_exe().unwrap_or_else(|_| ITSELF.into()));
        Self { path, arguments: arguments.collect() }
    }

    /// Where it stands.
    pub(super) fn path(&self, edition: Edition) -> &Path {
        match edition {
            Edition::OnDisk => &self.path,
            Edition::Running => Path::new(ITSELF),
        }
    }

    /// Starts it with the same arguments, variables and folder, and this as its standard input.
    pub(super) fn start(&self, edition: Edition, channel: OwnedFd) -> io::Result<Child> {
        Command::new(self.path(edition))
            .args(&self.arguments)
            .env(VARIABLE, std::process::id().to_string())
            // It would say that somebody else's life is watched.
            .env_remove("WATCHDOG_PID")
            .stdin(channel)
            .spawn()
    }
}

/// The path by which a program was called: it stays the same where a link is turned to another version, which the system's
/// own idea of it does not. None where that path does not lead to what runs.
fn place(name: &OsStr) -> Option<PathBuf> {
    let candidates: Vec<PathBuf> = if Path::new(name).components().count() > 1 {
        vec![std::path::absolute(name).ok()?]
    } else {
        std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).collect()
    };
    let running = fs::metadata(ITSELF).ok()?;
    let is_it = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|it| (it.dev(), it.ino()) == (running.dev(), running.ino()))
    };
    candidates.into_iter().find(is_it)
}
