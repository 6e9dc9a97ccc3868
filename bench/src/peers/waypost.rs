//! The gateway itself.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::{CALLBACK_PATH, Ground, Peer, Running, SECRET};
use crate::certificates::{PROXY_HOST, RECEIVER_HOST};
use crate::process::{Ready, Server, free_port};
use crate::readers::Stream;
use crate::sender::Target;
use crate::webhook::of_source;

/// The gateway in one of its modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Waypost(pub Mode);

/// What the gateway is set up to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// HTTPS in, HTTPS to the receiver, its answer back.
    Relay,
    /// Plain HTTP in, stored, answered, delivered to a receiver that takes everything.
    Store,
    /// The same with a receiver that refuses connections.
    StoreReceiverDown,
    /// As [`Mode::Store`], at the callback addresses of so many sources, each with its own secret, all of which are
    /// routed to one destination.
    Sources(NonZeroU32),
}

/// How its names in the table begin.
pub(crate) const WAYPOST: &str = "waypost";
/// The name in the table of the gateway with one source.
pub(crate) const ONE_SOURCE: &str = "waypost, 1 source";
/// What the callback addresses of all sources have in common.
const SOURCE_PATH: &str = "/w/bench-source-token-";

impl Peer for Waypost {
    fn name(&self) -> &'static str {
        match self.0 {
            Mode::Relay => "waypost, relay",
            Mode::Store => "waypost, receiver up",
            Mode::StoreReceiverDown => "waypost, receiver down",
            Mode::Sources(count) if count == NonZeroU32::MIN => ONE_SOURCE,
            Mode::Sources(_) => "waypost, many sources",
        }
    }

    fn missing(&self, ground: &Ground) -> Option<String> {
        let path = ground.waypost.display();
        if !ground.waypost.is_file() {
            return Some(format!(
                "no gateway at {path}: cargo build --release -p waypost, or name it with --waypost"
            ));
        }
        matches!(self.0, Mode::Sources(_)).then(|| self.refusal(ground)).flatten()
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        let tls = self.0 == Mode::Relay;
        let (ports, data) = (Ports::free()?, folder.join("data"));
        let listen = ports.public;
        let configuration = folder.join("waypost.toml");
        fs::write(&configuration, self.configuration(ground, ports, &data)?)?;
        let mut command = command(ground);
        command.arg("serve").arg("--config").arg(&configuration).arg("--data").arg(&data);
        let (server, _) = Server::start(command, &folder.join("output.log"), Ready::Line("ready"))?;
        let (path, sources, forbidden_path) = match self.0 {
            Mode::Sources(count) => (SOURCE_PATH.to_owned(), Some(count), None),
            _ => (
                format!("/{}{CALLBACK_PATH}", self.host(ground)),
                None,
                Some(format!("/other.test{CALLBACK_PATH}")),
            ),
        };
        Ok(Running {
            servers: [server].into(),
            target: Target { address: listen, tls, host: PROXY_HOST.into(), path, sources },
            forbidden_path,
            stream: Some(Stream { address: ports.admin, token: admin_token(&data)? }),
        })
    }
}

/// Where a gateway listens.
#[derive(Clone, Copy)]
struct Ports {
    public: SocketAddr,
    admin: SocketAddr,
}

impl Ports {
    fn free() -> anyhow::Result<Self> {
        let free = || anyhow::Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)));
        Ok(Self { public: free()?, admin: free()? })
    }
}

/// The token of a gateway's API.
fn admin_token(data: &Path) -> anyhow::Result<String> {
    let token = fs::read_to_string(data.join("admin-token")).context("the gateway's admin token")?;
    Ok(token.trim().to_owned())
}

/// The gateway's program. The configuration alone decides; variables of whoever runs the bench would override it.
fn command(ground: &Ground) -> Command {
    let mut command = Command::new(&ground.waypost);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("WAYPOST_") {
            command.env_remove(name);
        }
    }
    command
}

impl Waypost {
    /// What this build says against the configuration, if anything.
    fn refusal(self, ground: &Ground) -> Option<String> {
        let check = || {
            let folder = tempfile::tempdir_in(&ground.work)?;
            let configuration = folder.path().join("waypost.toml");
            let data = folder.path().join("data");
            fs::write(&configuration, self.configuration(ground, Ports::free()?, &data)?)?;
            let output = command(ground).arg("check").arg("--config").arg(&configuration).output()?;
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).replace(&*folder.path().to_string_lossy(), "");
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("without a word");
            anyhow::Ok((!output.status.success()).then(|| first.trim().to_owned()))
        };
        match check() {
            Ok(None) => None,
            Ok(Some(words)) => Some(format!("{}: refused by this build: {words}", self.name())),
            Err(error) => Some(format!("{}: {error:#}", self.name())),
        }
    }

    /// The receiver's host as the path names it.
    fn host(self, ground: &Ground) -> String {
        match self.0 {
            // As the other relays have it.
            Mode::Relay => format!("{RECEIVER_HOST}:{}", ground.sink_https.address().port()),
            _ => RECEIVER_HOST.to_owned(),
        }
    }

    fn configuration(self, ground: &Ground, ports: Ports, data: &Path) -> anyhow::Result<String> {
        let Ports { public: listen, admin } = ports;
        let host = self.host(ground);
        let storage = format!("[storage]\nurl = \"sqlite:{}/waypost.db\"\n", data.display());
        let server = format!("[server]\nhttp = \"{listen}\"\nadmin = \"{admin}\"\n\n{storage}\n");
        let store = |receiver: SocketAddr| {
            format!(
                "{server}[[upstream]]\nhost = \"{host}\"\norigin = \"http://{receiver}\"\nmode = \"store\"\n\
                 app_secrets = [\"{SECRET}\"]\n"
            )
        };
        Ok(match self.0 {
            Mode::Relay => format!(
                "[server]\nhttps = \"{listen}\"\nadmin = \"{admin}\"\n\n\
                 [tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n\n{storage}\n\
                 [[upstream]]\nhost = \"{host}\"\norigin = \"https://{receiver}\"\n\
                 ca_file = \"{authority}\"\nmode = \"relay\"\n",
                certificate = ground.certificates.certificate.display(),
                key = ground.certificates.key.display(),
                authority = ground.certificates.authority.display(),
                receiver = ground.sink_https.address(),
            ),
            Mode::Store => store(ground.sink_http.address()),
            Mode::StoreReceiverDown => store(ground.refusing_address()?),
            Mode::Sources(count) => server + &sources(count, ground.sink_http.address()),
        })
    }
}

/// One destination, and sources that are all routed to it.
fn sources(count: NonZeroU32, receiver: SocketAddr) -> String {
    let destination = format!(
        "[[destination]]\nname = \"bench\"\nurl = \"http://{receiver}{CALLBACK_PATH}\"\nkind = \"http\"\n\
         allow_private = true\n"
    );
    let one = |source| {
        format!(
            "\n[[source]]\nname = \"{name}\"\ntoken = \"{token}\"\nverify_token = \"bench\"\n\
             app_secrets = [\"{secret}\"]\n\n[[route]]\nsource = \"{name}\"\nmatch = \"all\"\nto = [\"bench\"]\n",
            name = of_source("s", source),
            token = of_source(SOURCE_PATH.trim_start_matches("/w/"), source),
            secret = of_source(SECRET, source),
        )
    };
    (0..count.get()).map(one).fold(destination, |text, source| text + &source)
}
