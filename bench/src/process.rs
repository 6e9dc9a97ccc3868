//! Servers under test: started as children, read through `/proc`, ended by their id.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use crate::interrupt;
use crate::stopwatch::{nanos, now_ns};

/// How a server shows that it accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    /// It prints a line that starts so; the rest of the line is handed back.
    Line(&'static str),
    /// Its address can be connected to.
    Connects(SocketAddr),
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
}

/// The processes of a server, its children included, as they were when it was ready. Reading them
/// takes some ten microseconds each, so that a reading does not disturb the run it belongs to.
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

/// Memory that processes hold, summed: pages that they share count once for each.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resident {
    /// Now.
    pub(crate) now_bytes: u64,
    /// At most, so far.
    pub(crate) peak_bytes: u64,
}

/// How long a server may take to accept.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a server may take to end once asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Lines of a failed server's output that are shown.
const LOG_LINES_SHOWN: usize = 15;
/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, 100 on every Linux that Rust's std runs on.
const TICKS_PER_SECOND: u64 = 100;

impl Server {
    /// Starts a server, its output going to `log`, and waits until it accepts. Returns what it
    /// printed after the ready word.
    pub(crate) fn start(mut command: Command, log: &Path, ready: Ready) -> anyhow::Result<(Self, String)> {
        let program = command.get_program().to_string_lossy().into_owned();
        let errors = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut output = errors.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let mut server = Self { child, log: log.to_owned() };
        let (tell, lines) = mpsc::channel();
        if let Some(stdout) = server.child.stdout.take() {
            let word = match ready {
                Ready::Line(word) => Some(word),
                Ready::Connects(_) => None,
            };
            // Reads to the end, so that a server never waits for its output to be taken.
            thread::Builder::new().name("output".into()).spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if let Some(rest) = word.and_then(|word| line.strip_prefix(word)) {
                        let _ = tell.send(rest.trim().to_owned());
                    }
                    let _ = writeln!(output, "{line}");
                }
            })?;
        }
        let rest = server.wait_ready(ready, &lines).with_context(|| server.failure(&program))?;
        Ok((server, rest))
    }

    fn wait_ready(&mut self, ready: Ready, lines: &mpsc::Receiver<String>) -> anyhow::Result<String> {
        let deadline = now_ns() + nanos(START_TIME_MAX);
        while now_ns() < deadline {
            interrupt::check()?;
            match ready {
                Ready::Line(_) => {
                    if let Ok(rest) = lines.recv_timeout(POLL) {
                        return Ok(rest);
                    }
                }
                Ready::Connects(address) => match TcpStream::connect(address) {
                    Ok(_) => return Ok(String::new()),
                    Err(_) => thread::sleep(POLL),
                },
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended: {status}");
            }
        }
        bail!("it was not ready within {} s", START_TIME_MAX.as_secs())
    }

    fn failure(&self, program: &str) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n");
        format!("{program} did not start; the end of its output:\n{tail}\n")
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Processes {
        Processes(tree(self.child.id()))
    }

    /// Asks it to end, and ends it if it will not.
    pub(crate) fn stop(mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.end()?)
    }

    fn end(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let pid = Pid::from_child(&self.child);
        let tree = tree(self.child.id());
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let deadline = now_ns() + nanos(STOP_TIME_MAX);
        while now_ns() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        // Its children first: nothing else would end them.
        for id in tree.into_iter().rev() {
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// A port of loopback that was free a moment ago, for servers that cannot choose one themselves.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

impl Processes {
    /// This program alone.
    pub(crate) fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// What they have used.
    pub(crate) fn usage(&self) -> Usage {
        let mut total = Usage::default();
        for id in &self.0 {
            total.cpu += Stat::parse(&text(*id, "stat")).map_or(Duration::ZERO, |stat| stat.cpu);
            total.written_bytes += field(&text(*id, "io"), "write_bytes:").unwrap_or(0);
        }
        total
    }

    /// What they hold.
    pub(crate) fn resident(&self) -> Resident {
        let mut total = Resident::default();
        for id in &self.0 {
            let status = text(*id, "status");
            total.now_bytes += field(&status, "VmRSS:").unwrap_or(0) * 1024;
            total.peak_bytes += field(&status, "VmHWM:").unwrap_or(0) * 1024;
        }
        total
    }
}

/// A file of `/proc/PID`; empty if the process has ended.
fn text(id: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default()
}

/// A process and all that descend from it, parents first.
fn tree(root: u32) -> Vec<u32> {
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
    fn what_children_use_is_counted_and_all_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "(while :; do :; done) & echo ready now; wait"]);
        let (server, rest) =
            Server::start(command, &folder.path().join("log"), Ready::Line("ready")).unwrap();
        assert_eq!(rest, "now");
        let children = tree(server.child.id());
        assert_eq!(children.len(), 2, "the shell and its busy child");
        let deadline = now_ns() + 10_000_000_000;
        let processes = server.processes();
        while processes.usage().cpu.is_zero() {
            assert!(now_ns() < deadline, "the busy child's time is not counted");
            thread::yield_now();
        }
        assert!(processes.resident().now_bytes > 0);
        let child = i32::try_from(children[1]).ok().and_then(Pid::from_raw).unwrap();
        rustix::process::kill_process(child, Signal::KILL).unwrap();
        server.stop().unwrap();
    }

    #[test]
    fn a_server_that_ends_at_once_is_reported_with_its_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such option >&2; exit 3"]);
        let error = Server::start(command, &folder.path().join("log"), Ready::Line("ready")).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("no such option") && text.contains("exit status: 3"), "{text}");
    }
}
