//! Caddy as a relay.

use std::path::Path;
use std::process::Command;

use super::layout::Layout;
use super::{Ground, Peer, Running, version};
use crate::process::{Ready, Server};

/// Caddy with a block for each host that is allowed.
#[derive(Debug)]
pub(crate) struct Caddy;

/// The name of [`Caddy`] in the table.
pub(crate) const CADDY: &str = "Caddy";

impl Peer for Caddy {
    fn name(&self) -> &'static str {
        CADDY
    }

    fn missing(&self, _ground: &Ground) -> Option<String> {
        let there = version("caddy", "version").is_some();
        (!there).then(|| "Caddy is not installed: apt-get install -y caddy".to_owned())
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        let layout = Layout::new(ground, folder)?;
        let configuration = folder.join("Caddyfile");
        layout.write(include_str!("../../Caddyfile"), &configuration)?;
        let mut command = Command::new("caddy");
        command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&configuration);
        // What it keeps by itself stays in the folder.
        for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(variable, folder);
        }
        let (server, _) = Server::start(command, &folder.join("output.log"), Ready::Connects(layout.https))?;
        Ok(layout.running(server))
    }
}
