//! Servers under test: started as children, read through `/proc`, ended by their id.

mod figures;

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

use figures::tree;
pub(crate) use figures::{Held, Processes, Usage};

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

/// How long a server may take to accept.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a server may take to end once asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Lines of a failed server's output that are shown.
const LOG_LINES_SHOWN: usize = 15;

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

    /// The id of the process that was started.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
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

/// Servers that work together, ended in the reverse of the order in which they were started.
#[derive(Debug)]
pub(crate) struct Servers(Vec<Server>);

impl Servers {
    /// Their processes, children included.
    pub(crate) fn processes(&self) -> Processes {
        Processes::of(&self.0)
    }

    /// Asks each to end, the last started first, and ends those that will not.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        while let Some(server) = self.0.pop() {
            server.stop()?;
        }
        Ok(())
    }
}

impl<const N: usize> From<[Server; N]> for Servers {
    fn from(servers: [Server; N]) -> Self {
        Self(servers.into())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        while let Some(server) = self.0.pop() {
            drop(server);
        }
    }
}

/// A port of loopback that was free a moment ago, for servers that cannot choose one themselves.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let processes = Processes::of([&server]);
        while processes.usage().cpu.is_zero() {
            assert!(now_ns() < deadline, "the busy child's time is not counted");
            thread::yield_now();
        }
        assert!(processes.held().now_bytes > 0);
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
