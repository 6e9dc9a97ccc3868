//! What processes use and hold, as `/proc` has it.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use super::Server;

/// The processes of servers, their children included, as they were when they were ready. Reading what they
/// used takes some ten microseconds a thread, so that it does not disturb the run it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Processes(Vec<u32>);

/// What processes have used since they were started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, that of ended children included.
    pub(crate) cpu: Duration,
    /// Bytes written towards the disk.
    pub(crate) written_bytes: u64,
}

/// Memory that processes hold, summed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// Now; a page that several share counts once, in shares (PSS).
    pub(crate) now_bytes: u64,
    /// At most, so far; a page that several share counts once for each (RSS).
    pub(crate) peak_bytes: u64,
}

/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux that Rust's std runs on.
const TICKS_PER_SECOND: u64 = 100;

impl Processes {
    /// This program alone.
    pub(crate) fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// Those of servers.
    pub(crate) fn of<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Self {
        Self(servers.into_iter().flat_map(|server| tree(server.id())).collect())
    }

    /// What they have used.
    pub(crate) fn usage(&self) -> Usage {
        let mut total = Usage::default();
        for id in &self.0 {
            let ticks = Stat::parse(&text(*id, "stat")).map_or(Duration::ZERO, |stat| stat.cpu);
            total.cpu += finer(ticks, scheduled(*id));
            total.written_bytes += field(&text(*id, "io"), "write_bytes:").unwrap_or(0);
        }
        total
    }

    /// What they hold.
    pub(crate) fn held(&self) -> Held {
        let mut total = Held::default();
        for id in &self.0 {
            let status = text(*id, "status");
            let now_kib = field(&text(*id, "smaps_rollup"), "Pss:").or_else(|| field(&status, "VmRSS:"));
            total.now_bytes += now_kib.unwrap_or(0) * 1024;
            total.peak_bytes += field(&status, "VmHWM:").unwrap_or(0) * 1024;
        }
        total
    }
}

/// How far the time in `/proc/PID/stat` may lie below the true one: its two parts are each cut to a tick.
const TICKS_ERROR: Duration = Duration::from_millis(20);

/// The time of a process: what its threads were scheduled for, to the nanosecond, unless that is not what the
/// ticks say, since threads that have ended, and children, are in the ticks alone.
fn finer(ticks: Duration, scheduled: Duration) -> Duration {
    if scheduled >= ticks && scheduled - ticks <= TICKS_ERROR { scheduled } else { ticks }
}

/// What the threads of a process were scheduled for (the first field of `/proc/PID/task/TID/schedstat`).
fn scheduled(id: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        fs::read_to_string(task.path().join("schedstat"))
            .ok()?
            .split_ascii_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// A file of `/proc/PID`; empty if the process has ended.
fn text(id: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default()
}

/// A process and all that descend from it, parents first.
pub(super) fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(stat) = Stat::parse(&text(id, "stat")) {
            children.entry(stat.parent).or_default().push(id);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        found.extend(children.remove(id).unwrap_or_default());
        next += 1;
    }
    found
}

/// What matters of `/proc/PID/stat` (proc_pid_stat(5)).
struct Stat {
    parent: u32,
    /// Its own time and that of children that have ended and been waited for.
    cpu: Duration,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The command's name, in parentheses, may hold anything.
        let fields: Vec<_> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let ticks = (11..=14).map(number).sum::<Option<u64>>()?;
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            cpu: Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND),
        })
    }
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_command_name() {
        let text = "12 (a) b ( c) S 7 12 12 0 -1 4194304 100 0 0 0 150 50 20 30 20 0 1 0 5 1000 25";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.parent, 7);
        assert_eq!(stat.cpu, Duration::from_millis(2_500));
        assert!(Stat::parse("12 (x) S").is_none());
    }

    #[test]
    fn the_finer_time_counts_where_it_agrees_with_the_ticks() {
        let ms = Duration::from_millis;
        assert_eq!(finer(ms(150), ms(163)), ms(163));
        assert_eq!(finer(ms(150), ms(90)), ms(150), "a thread that used time has ended");
        assert_eq!(finer(ms(150), ms(400)), ms(150), "not the same process any more");
    }

    #[test]
    fn what_this_process_uses_and_holds_is_seen() {
        let own = Processes::own();
        let before = own.usage().cpu;
        let seen = (0..1_000_000).any(|_| own.usage().cpu > before);
        assert!(seen && own.held().now_bytes > 0 && own.held().peak_bytes > 0);
    }
}
