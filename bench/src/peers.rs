//! What is measured: each peer knows how to start itself in front of the bench's receivers.
//!
//! To add one: implement [`Peer`], and name it in the scenarios it belongs to.

mod bare;
mod nginx;
mod waypost;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::net::TcpSocket;

pub(crate) use bare::{Bare, FLOOR, NO_STORE};
pub(crate) use nginx::{NginxRecipe, NginxTuned, RECIPE, TUNED};
pub(crate) use waypost::{Mode, Waypost};

use crate::certificates::{Certificates, RECEIVER_HOST};
use crate::names::Names;
use crate::process::Server;
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

    /// Starts it, its files in `folder`.
    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running>;
}

/// A started peer.
#[derive(Debug)]
pub(crate) struct Running {
    /// Its processes.
    pub(crate) server: Server,
    /// Where it takes webhooks.
    pub(crate) target: Target,
    /// A path that it must refuse with 403, for those that keep an allow-list.
    pub(crate) forbidden_path: Option<String>,
}

/// What stands ready around every peer.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The working folder.
    pub(crate) work: PathBuf,
    /// The gateway's binary.
    pub(crate) waypost: PathBuf,
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
    pub(crate) fn prepare(work: &Path, waypost: PathBuf) -> anyhow::Result<Self> {
        // Servers that drop their rights must still reach their own folders.
        fs::set_permissions(work, fs::Permissions::from_mode(0o755))?;
        let certificates = Certificates::make(work)?;
        // Bound but not listening: connections are refused, and nobody else can take the port.
        let refusing = TcpSocket::new_v4()?;
        refusing.bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            work: work.to_owned(),
            waypost,
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
