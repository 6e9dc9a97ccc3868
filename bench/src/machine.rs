//! The machine that figures were measured on, and who else was using it meanwhile.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::interrupt;
use crate::stopwatch::{nanos, now_ns};

/// Processor time of the whole machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Processor {
    busy_ticks: u64,
    idle_ticks: u64,
}

impl Processor {
    /// As `/proc/stat` has it now.
    pub(crate) fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; guest time is in user already.
        let ticks: Vec<u64> =
            line.split_ascii_whitespace().skip(1).take(8).map(|field| field.parse().unwrap_or(0)).collect();
        let idle_ticks = ticks.iter().skip(3).take(2).sum();
        Self { busy_ticks: ticks.iter().sum::<u64>() - idle_ticks, idle_ticks }
    }

    /// Of all processor time since `earlier`, the share that was busy beyond `ours`: strangers,
    /// interrupts, write-back.
    pub(crate) fn share_of_others(self, earlier: Self, ours: Duration) -> f64 {
        let busy = self.busy_ticks.saturating_sub(earlier.busy_ticks) as f64;
        let all = busy + self.idle_ticks.saturating_sub(earlier.idle_ticks) as f64;
        if all == 0.0 { 0.0 } else { ((busy - ours.as_secs_f64() * 100.0) / all).max(0.0) }
    }
}

/// How long a look at the machine takes.
const LOOK: Duration = Duration::from_millis(200);
/// A machine less busy than this is quiet.
const QUIET_SHARE: f64 = 0.08;

/// Waits until the machine has nothing else to do, but no longer than `patience`.
pub(crate) fn wait_until_quiet(patience: Duration) {
    let deadline = now_ns() + nanos(patience);
    loop {
        let before = Processor::now();
        thread::sleep(LOOK);
        let quiet = Processor::now().share_of_others(before, Duration::ZERO) < QUIET_SHARE;
        if quiet || now_ns() >= deadline || interrupt::requested() {
            return;
        }
    }
}

/// The folder for temporary files, unless that is in memory, where nothing is ever synced.
pub(crate) fn work_folder() -> PathBuf {
    let folder = std::env::temp_dir();
    if filesystem(&folder).is_some_and(|kind| kind == "tmpfs") { PathBuf::from("target") } else { folder }
}

/// The kind of filesystem that a folder is on.
fn filesystem(folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (at, kind) = (PathBuf::from(fields.next()?), fields.next()?.to_owned());
        folder.starts_with(&at).then(|| (at.components().count(), kind))
    };
    // Of two mounts at one place the later one counts.
    mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

/// What a reader must know of the machine, one fact a line.
pub(crate) fn describe(work: &Path) -> Vec<String> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = text("/proc/cpuinfo");
    let value = |name: &str| {
        cpuinfo.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(": ").nth(1))
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let meminfo = text("/proc/meminfo");
    let memory_kib: u64 =
        meminfo.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let sync = sync_times(work).map_or_else(
        |error| format!("Disk: fdatasync could not be timed ({error})"),
        |times| {
            format!(
                "Disk: {}, fdatasync of a 700-byte append p50 {:.2} ms, p99 {:.2} ms",
                filesystem(work).unwrap_or_default(),
                times.quantile(0.5) as f64 / 1e6,
                times.quantile(0.99) as f64 / 1e6
            )
        },
    );
    vec![
        format!(
            "Machine: {cores} processors ({}), {:.1} GiB of memory, Linux {}",
            value("model name").unwrap_or("unknown"),
            memory_kib as f64 / 1024.0 / 1024.0,
            text("/proc/sys/kernel/osrelease").trim(),
        ),
        sync,
    ]
}

const SYNCS: usize = 300;

fn sync_times(work: &Path) -> std::io::Result<Histogram> {
    let path = work.join("sync-probe");
    let mut file = File::create(&path)?;
    let mut times = Histogram::default();
    for _ in 0..SYNCS {
        let start = now_ns();
        file.write_all(&[b'x'; 700])?;
        file.sync_data()?;
        times.record(now_ns() - start);
    }
    fs::remove_file(path)?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_not_ours_belongs_to_others() {
        let before = Processor::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3");
        let after = Processor::parse("cpu  150 0 130 900 10 0 10 0 0 0");
        // 90 ticks busy, 110 idle; 0.5 s of the busy ones are ours.
        let share = after.share_of_others(before, Duration::from_millis(500));
        assert!((share - 0.2).abs() < 1e-9, "{share}");
        assert_eq!(before.share_of_others(before, Duration::ZERO), 0.0);
    }
}
