//! HAProxy as a relay.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::layout::Layout;
use super::{Ground, Peer, Running, version};
use crate::process::{Ready, Server};

/// HAProxy with a map file as allow-list and shared connections to the receiver.
#[derive(Debug)]
pub(crate) struct HaProxy;

/// The name of [`HaProxy`] in the table.
pub(crate) const HAPROXY: &str = "HAProxy";

impl Peer for HaProxy {
    fn name(&self) -> &'static str {
        HAPROXY
    }

    fn missing(&self, _ground: &Ground) -> Option<String> {
        let there = version("haproxy", "-v").is_some();
        (!there).then(|| "HAProxy is not installed: apt-get install -y haproxy".to_owned())
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        let layout = Layout::new(ground, folder)?;
        let configuration = folder.join("haproxy.cfg");
        layout.write(include_str!("../../haproxy.cfg"), &configuration)?;
        let chain = fs::read_to_string(&ground.certificates.certificate)?;
        let key = fs::read_to_string(&ground.certificates.key)?;
        fs::write(folder.join("proxy.pem"), chain + &key)?;
        fs::write(folder.join("allowed.map"), format!("{} receiver\n", layout.receiver))?;
        let mut command = Command::new("haproxy");
        // In the foreground, without a master.
        command.arg("-db").arg("-f").arg(&configuration);
        let (server, _) = Server::start(command, &folder.join("output.log"), Ready::Connects(layout.https))?;
        Ok(layout.running(server))
    }
}
