//! What is measured: each peer knows how to start itself in front of the bench's receivers.
//!
//! To add one: implement [`Peer`], and name it in the scenarios it belongs to.

mod bare;
mod caddy;
mod haproxy;
mod layout;
mod nginx;
mod node;
mod waypost;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpSocket;

pub(crate) use bare::{Bare, FLOOR, NO_STORE};
pub(crate) use caddy::{CADDY, Caddy};
pub(crate) use haproxy::{HAPROXY, HaProxy};
pub(crate) use nginx::{NginxRecipe, NginxTuned, RECIPE, TUNED};
pub(crate) use node::{BULLMQ, Node, Queue, STREAM};
pub(crate) use waypost::{Mode, ONE_SOURCE, WAYPOST, Waypost};

use crate::certificates::{Certificates, RECEIVER_HOST};
use crate::names::Names;
use crate::process::Servers;
use crate::readers::Stream;
use crate::sender::Target;
use crate::sink::Sink;

/// The app secret of every run.
pub(crate) const SECRET: &str = "bench-app-secret-0123456789abcdef";
/// What follows the receiver's host in the callback address.
pub(crate) const CALLBACK_PATH: &str = "/webhooks/whatsapp/%2B15550172244";

/// A server that can be measured.
pub(crate) trait Peer {
    /// Its name in the table, unique within a scenario.
    fn name(&self) -> &'static str;

    /// What is not installed, in words that say how to mend it.
    fn missing(&self, ground: &Ground) -> Option<String>;

    /// For how long it must be under load before its figures are its own: a program that is compiled while it runs
    /// is slower before.
    fn run_in(&self) -> Duration {
        Duration::ZERO
    }

    /// Starts it, its files in `folder`.
    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running>;
}

/// A started peer.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its processes.
    pub(crate) servers: Servers,
    /// Where it takes webhooks.
    pub(crate) target: Target,
    /// A path that it must refuse with 403, for those that keep an allow-list.
    pub(crate) forbidden_path: Option<String>,
    /// Where its stream is read, if it has one.
    pub(crate) stream: Option<Stream>,
}

/// What stands ready around every peer.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The working folder.
    pub(crate) work: PathBuf,
    /// The gateway's binary.
    pub(crate) waypost: PathBuf,
    /// The folder of the peers on Node, with what they need installed.
    pub(crate) node_peers: PathBuf,
    /// This program, which is also the floor.
    pub(crate) bench: PathBuf,
    /// Certificates for both ends.
    pub(crate) certificates: Certificates,
    /// The resolver.
    pub(crate) names: Names,
    /// The receiver with TLS.
    pub(crate) sink_https: Sink,
    /// The receiver without TLS.
    pub(crate) sink_http: Sink,
    refusing: TcpSocket,
}

impl Ground {
    /// Makes certificates and starts resolver and receivers.
    pub(crate) fn prepare(work: &Path, waypost: PathBuf, node_peers: PathBuf) -> anyhow::Result<Self> {
        // Servers that drop their rights must still reach their own folders.
        fs::set_permissions(work, fs::Permissions::from_mode(0o755))?;
        let certificates = Certificates::make(work)?;
        // Bound but not listening: connections are refused, and nobody else can take the port.
        let refusing = TcpSocket::new_v4()?;
        refusing.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            work: work.to_owned(),
            waypost,
            node_peers,
            bench: std::env::current_exe().context("this program's path")?,
            names: Names::start(RECEIVER_HOST)?,
            sink_https: Sink::start(Some(certificates.server()?))?,
            sink_http: Sink::start(None)?,
            certificates,
            refusing,
        })
    }

    /// An address that refuses connections.
    pub(crate) fn refusing_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.refusing.local_addr()?)
    }
}

/// What is compared, in the versions that are installed, in words.
pub(crate) fn versions(ground: &Ground) -> String {
    let programs = [
        ("nginx", "-v"),
        ("haproxy", "-v"),
        ("caddy", "version"),
        ("redis-server", "--version"),
        ("node", "-v"),
    ];
    let found = programs.into_iter().filter_map(|(program, argument)| {
        let number = version(program, argument)?;
        Some(format!("{program} {number}"))
    });
    found.chain(node::packages(ground)).collect::<Vec<_>>().join(", ")
}

/// The version that a program gives of itself; `None` if it cannot be run.
fn version(program: &str, argument: &str) -> Option<String> {
    let output =
        Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Some(version_in(&text).unwrap_or_default().to_owned())
}

/// The first word with a number and a dot, from its first digit on, up to what is only the packager's.
fn version_in(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().find_map(|word| {
        let from = word.find(|letter: char| letter.is_ascii_digit())?;
        let number = &word[from..];
        let end =
            number.find(|letter: char| letter != '.' && !letter.is_ascii_digit()).unwrap_or(number.len());
        number[..end].contains('.').then_some(&number[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_programs_say() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", "7.0.15"),
            ("v20.20.2", "20.20.2"),
            ("2.6.2", "2.6.2"),
        ] {
            assert_eq!(version_in(text), Some(version));
        }
        assert_eq!(version_in("unknown"), None);
    }
}
