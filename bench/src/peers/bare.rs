//! The gateway's HTTP stack with next to nothing behind it: no store, or a bare log.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use super::{CALLBACK_PATH, Ground, Peer, Running, SECRET};
use crate::certificates::{PROXY_HOST, RECEIVER_HOST};
use crate::process::{Ready, Server};
use crate::sender::Target;

/// The name of the stack alone in the table.
pub(crate) const NO_STORE: &str = "no store";
/// The name of the floor in the table.
pub(crate) const FLOOR: &str = "floor";

/// The stack alone, or the floor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bare {
    /// Verify and answer.
    NoStore,
    /// Verify, append, sync, answer.
    Log,
}

impl Peer for Bare {
    fn name(&self) -> &'static str {
        match self {
            Self::NoStore => NO_STORE,
            Self::Log => FLOOR,
        }
    }

    fn missing(&self, _ground: &Ground) -> Option<String> {
        None
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        let mut command = Command::new(&ground.bench);
        command.args(["floor", "--listen", "127.0.0.1:0", "--secret", SECRET]);
        if *self == Self::Log {
            command.arg("--log").arg(folder.join("bodies"));
        }
        let (server, rest) = Server::start(command, &folder.join("output.log"), Ready::Line("listening"))?;
        let address: SocketAddr = rest.parse().context("the floor's address")?;
        let path = format!("/{RECEIVER_HOST}{CALLBACK_PATH}");
        let target = Target { address, tls: false, host: PROXY_HOST.into(), path, sources: None };
        Ok(Running { servers: [server].into(), target, forbidden_path: None, stream: None })
    }
}
