//! The disk under the data: whether it can be written to, how fast it makes durable, and what is left of it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use waypost_domain::Clock;

use super::finding::Finding;
use super::reach::millis;
use crate::config::Config;
use crate::{chance, terminal};

const CHECK: &str = "disk";
/// What is written and synced, so many times at most, for so long at most.
const BLOCK_BYTES: usize = 4096;
const SYNCS_MAX: usize = 50;
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);
/// A sync that takes longer makes every answer slow.
const SLOW: Duration = Duration::from_millis(50);
/// And one that takes as long as this makes Meta give up.
const TOO_SLOW: Duration = Duration::from_millis(1_000);

/// Looks at the disk of the data directory, leaving nothing behind.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let directory = match config.storage.path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let subject = directory.display().to_string();
    if !directory.exists() {
        return vec![
            Finding::note(CHECK, subject, "the data directory is not there yet")
                .why("It is made at the first start"),
        ];
    }
    let mut findings = vec![match probe(directory, &Clock::system()) {
        Ok((middle, worst)) => speed(&subject, middle, worst),
        Err(error) => Finding::fault(CHECK, &subject, format!("nothing can be written there: {error}"))
            .why("What cannot be made durable is answered 503")
            .remedy(
                "See that the disk is writable, not full, and that this is the user that the server runs as",
            ),
    }];
    match rustix::fs::statvfs(directory) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let whole = disk.f_blocks.saturating_mul(disk.f_frsize);
            let floor =
                config.storage.free_bytes_min.unwrap_or(waypost_store::FREE_BYTES_MIN.min(whole / 50));
            findings.push(space(&subject, free, floor));
        }
        Err(error) => {
            findings.push(Finding::note(CHECK, &subject, format!("its free space is not known: {error}")))
        }
    }
    findings
}

fn speed(subject: &str, middle: Duration, worst: Duration) -> Finding {
    let what = format!("making 4 KiB durable takes {}, at worst {}", millis(middle), millis(worst));
    let why = "Every webhook is answered only once it is on the disk";
    let remedy = "Put the data directory on a local SSD, or ask the provider about the disk";
    if middle > TOO_SLOW {
        Finding::fault(CHECK, subject, what).why(why).remedy(remedy)
    } else if middle > SLOW {
        Finding::warning(CHECK, subject, what).why(why).remedy(remedy)
    } else {
        Finding::ok(CHECK, subject, what)
    }
}

fn space(subject: &str, free: u64, floor: u64) -> Finding {
    let what = format!("{} MiB are free; accepting stops below {} MiB", free >> 20, floor >> 20);
    let remedy = "Make room, keep less ([retention]), or move the data directory to a larger disk";
    if free < floor {
        Finding::fault(CHECK, subject, what)
            .why("Webhooks are answered 503 until there is room")
            .remedy(remedy)
    } else if free < floor.saturating_mul(4) {
        Finding::warning(CHECK, subject, what)
            .why("A receiver that is down for days makes the backlog grow")
            .remedy(remedy)
    } else {
        Finding::ok(CHECK, subject, what)
    }
}

/// How long a small write and a sync of it take: the middle and the worst.
fn probe(directory: &Path, clock: &Clock) -> io::Result<(Duration, Duration)> {
    let mut file = Scratch::make(directory)?;
    let began = clock.monotonic();
    let mut times = Vec::with_capacity(SYNCS_MAX);
    while times.is_empty()
        || (times.len() < SYNCS_MAX && clock.monotonic().saturating_sub(began) < PROBE_TIME_MAX)
    {
        let before = clock.monotonic();
        file.file.write_all(&[0x57; BLOCK_BYTES])?;
        file.file.sync_data()?;
        times.push(clock.monotonic().saturating_sub(before));
    }
    times.sort_unstable();
    let worst = times.last().copied().unwrap_or_default();
    Ok((times.get(times.len() / 2).copied().unwrap_or_default(), worst))
}

/// A file of its own, gone with this value.
struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    fn make(directory: &Path) -> io::Result<Self> {
        let name = chance::hex::<6>().map_err(io::Error::other)?;
        let path = directory.join(format!(".waypost-doctor-{name}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            terminal::complain(&format!("{} could not be removed: {error}", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (middle, worst) = probe(folder.path(), &Clock::system()).unwrap();
        assert!(middle <= worst && worst < Duration::from_secs(10));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(probe(&folder.path().join("nowhere"), &Clock::system()).is_err());
    }

    #[test]
    fn slow_and_full_disks_are_told() {
        let at = Duration::from_millis;
        for (middle, severity) in [(1, Severity::Ok), (60, Severity::Warning), (1_500, Severity::Fault)] {
            assert_eq!(speed("d", at(middle), at(middle)).severity, severity);
        }
        let mib = |number: u64| number << 20;
        for (free, severity) in [(100, Severity::Fault), (300, Severity::Warning), (2_000, Severity::Ok)] {
            assert_eq!(space("d", mib(free), mib(256)).severity, severity);
        }
    }
}
