//! `waypost serve` as a child: started, addressed, signalled, killed on drop.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::command::{Ended, dress, run};
use super::{ask, eventually, get, within};

/// What of a server's log is kept.
const LOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A folder of its own, with the configuration, the data and whatever a test puts there.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(tempfile::tempdir().unwrap()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("waypost.toml")
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// How a gateway is to be started. The configuration file is written anew at each start.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) home: Arc<Home>,
    data: PathBuf,
    https: bool,
    /// Further keys of the server.
    pub(crate) server: String,
    upstreams: String,
    more: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    /// Words that a shell says before it becomes the server, such as `ulimit`.
    prelude: String,
    /// A socket that the server starts with, as its standard input.
    socket: Option<Arc<TcpListener>>,
}

impl Setup {
    /// A gateway that allows nobody.
    pub(crate) fn new() -> Self {
        let home = Home::new();
        let data = home.path().join("data");
        Self {
            home,
            data,
            https: false,
            server: String::new(),
            upstreams: String::new(),
            more: String::new(),
            arguments: Vec::new(),
            variables: Vec::new(),
            prelude: String::new(),
            socket: None,
        }
    }

    /// One upstream with these further keys, and quick retries unless they say otherwise.
    pub(crate) fn upstream(mut self, host: &str, origin: &str, keys: &str) -> Self {
        let _ = writeln!(self.upstreams, "[[upstream]]\nhost = \"{host}\"\norigin = \"{origin}\"\n{keys}");
        if !keys.contains("schedule") {
            self.upstreams.push_str("schedule = [\"1s\"]\n");
        }
        self
    }

    /// Forgets the upstreams.
    pub(crate) fn without_upstreams(mut self) -> Self {
        self.upstreams.clear();
        self
    }

    /// HTTPS too, with `certificate.pem` and `private_key.pem` from the home.
    pub(crate) fn https(mut self) -> Self {
        self.https = true;
        self
    }

    /// Further sections.
    pub(crate) fn section(mut self, text: &str) -> Self {
        self.more.push_str(text);
        self.more.push('\n');
        self
    }

    pub(crate) fn data(mut self, data: impl Into<PathBuf>) -> Self {
        self.data = data.into();
        self
    }

    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn prelude(mut self, words: &str) -> Self {
        self.prelude = words.to_owned();
        self
    }

    /// Listens for the server before it is there, as systemd does (`sd_listen_fds(3)`).
    pub(crate) fn socket(mut self, socket: TcpListener) -> Self {
        self.socket = Some(Arc::new(socket));
        self.prelude = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$".to_owned();
        self
    }

    /// The configuration file's text.
    pub(crate) fn toml(&self) -> String {
        let https = if self.https { "https = \"127.0.0.1:0\"\n" } else { "" };
        let tls = if self.https {
            "[tls]\ncertificate = \"certificate.pem\"\nprivate_key = \"private_key.pem\"\n"
        } else {
            ""
        };
        let Self { server, upstreams, more, .. } = self;
        format!(
            "[server]\nhttp = \"127.0.0.1:0\"\n{https}admin = \"127.0.0.1:0\"\n{server}{tls}{more}\n{upstreams}"
        )
    }

    /// Writes the configuration file.
    pub(crate) fn write(&self) {
        self.home.write("waypost.toml", self.toml());
    }

    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_waypost");
        let mut command = if self.prelude.is_empty() {
            Command::new(binary)
        } else {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("{}; exec \"$0\" \"$@\"", self.prelude)).arg(binary);
            shell
        };
        dress(&mut command, self.home.path());
        if let Some(socket) = &self.socket {
            command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
        }
        command.arg("serve").arg("--config").arg(self.home.config()).arg("--data").arg(&self.data);
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self) -> Gateway {
        match self.try_start().await {
            Ok(gateway) => gateway,
            Err(ended) => panic!("it did not start: {ended:?}"),
        }
    }

    /// Starts it; how it ended, if it ended before it was ready.
    pub(crate) async fn try_start(&self) -> Result<Gateway, Ended> {
        self.write();
        let mut child = self.command().spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let log: Arc<Mutex<Vec<u8>>> = Arc::default();
        let kept = log.clone();
        let logging = tokio::spawn(async move {
            let mut chunk = [0; 16 * 1024];
            while let Ok(bytes @ 1..) = stderr.read(&mut chunk).await {
                let mut kept = kept.lock().unwrap();
                if kept.len() < LOG_BYTES_MAX {
                    kept.extend_from_slice(&chunk[..bytes]);
                }
            }
        });
        let mut said = Vec::new();
        let is_ready = within(20, "the server says that it is ready", async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line == "ready" {
                    return true;
                }
                said.push(line);
            }
            false
        })
        .await;
        if !is_ready {
            let status = within(10, "it ends", child.wait()).await.unwrap();
            within(10, "its last words", logging).await.unwrap();
            let err = String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
            return Err(Ended { code: status.code(), out: said.join("\n"), err });
        }
        // What it still says must not fill the pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Gateway { setup: self.clone(), child, said, log })
    }
}

/// A running server.
pub(crate) struct Gateway {
    pub(crate) setup: Setup,
    child: Child,
    /// What it said before `ready`.
    pub(crate) said: Vec<String>,
    log: Arc<Mutex<Vec<u8>>>,
}

impl Gateway {
    /// The plain public address.
    pub(crate) fn http(&self) -> SocketAddr {
        self.address("public    http://")
    }

    /// The TLS public address.
    pub(crate) fn https(&self) -> SocketAddr {
        self.address("public    https://")
    }

    /// The admin address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.address("admin     http://")
    }

    fn address(&self, prefix: &str) -> SocketAddr {
        let found = self.said.iter().find_map(|line| line.strip_prefix(prefix)?.parse().ok());
        found.unwrap_or_else(|| panic!("no address after {prefix:?} in {:?}", self.said))
    }

    pub(crate) fn data(&self) -> &Path {
        &self.setup.data
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }

    /// Waits until it has logged that.
    pub(crate) async fn logs(&self, text: &str) {
        eventually(10, &format!("{text:?} in the log"), async || self.log().contains(text).then_some(()))
            .await;
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id().expect("it runs")).unwrap()).unwrap()
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, seconds: u64) -> ExitStatus {
        within(seconds, "the server ends", self.child.wait()).await.unwrap()
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks it to stop; it must end as asked.
    pub(crate) async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended(25).await;
        assert_eq!(status.code(), Some(0), "{status:?} {}", self.log());
    }

    /// Kills it as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let status = self.ended(10).await;
        assert_eq!(status.signal(), Some(9));
    }

    /// Runs a command against it.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = super::command::binary(self.setup.home.path());
        command.arg("--data").arg(self.data()).args(arguments);
        run(&mut command, &format!("waypost {arguments:?}")).await
    }

    /// The events that a list with these filters shows, the newest first.
    pub(crate) async fn events(&self, filters: &[&str]) -> Vec<Value> {
        let arguments = [&["events", "list", "--json", "--limit", "5000"], filters].concat();
        self.run(&arguments).await.done().json()
    }

    /// Waits until as many events match as are wanted, and no more.
    pub(crate) async fn until_events(&self, filters: &[&str], number: usize) -> Vec<Value> {
        let what = format!("{number} events with {filters:?}");
        eventually(20, &what, async || Some(self.events(filters).await).filter(|all| all.len() == number))
            .await
    }

    /// A metric's value, named with its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = ask(self.admin(), &get("/metrics")).await.text();
        let sample = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            eprintln!("--- the server has ended: {:?}", self.child.try_wait());
            let from = log.len().saturating_sub(6_000);
            let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
            eprintln!("--- the server's log, its end ---\n{}", &log[from..]);
        }
    }
}
