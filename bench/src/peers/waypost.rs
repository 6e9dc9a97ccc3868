//! The gateway itself.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::{CALLBACK_PATH, Ground, Peer, Running, SECRET};
use crate::certificates::{PROXY_HOST, RECEIVER_HOST};
use crate::process::{Ready, Server, free_port};
use crate::sender::Target;

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
}

impl Peer for Waypost {
    fn name(&self) -> &'static str {
        match self.0 {
            Mode::Relay => "waypost, relay",
            Mode::Store => "waypost, receiver up",
            Mode::StoreReceiverDown => "waypost, receiver down",
        }
    }

    fn missing(&self, ground: &Ground) -> Option<String> {
        let path = ground.waypost.display();
        (!ground.waypost.is_file()).then(|| {
            format!("no gateway at {path}: cargo build --release -p waypost, or name it with --waypost")
        })
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        let tls = self.0 == Mode::Relay;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let receiver = match self.0 {
            Mode::Relay => ground.sink_https.address(),
            Mode::Store => ground.sink_http.address(),
            Mode::StoreReceiverDown => ground.refusing_address()?,
        };
        let host = format!("{RECEIVER_HOST}:{}", receiver.port());
        let data = folder.join("data");
        let configuration = folder.join("waypost.toml");
        fs::write(&configuration, self.configuration(ground, &host, listen, receiver, &data)?)?;
        let mut command = Command::new(&ground.waypost);
        // The configuration alone decides; variables of whoever runs the bench would override it.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WAYPOST_") {
                command.env_remove(name);
            }
        }
        command.arg("serve").arg("--config").arg(&configuration).arg("--data").arg(&data);
        let (server, _) = Server::start(command, &folder.join("output.log"), Ready::Line("ready"))?;
        Ok(Running {
            server,
            target: Target {
                address: listen,
                tls,
                host: PROXY_HOST.into(),
                path: format!("/{host}{CALLBACK_PATH}"),
            },
            forbidden_path: Some(format!("/other.test{CALLBACK_PATH}")),
        })
    }
}

impl Waypost {
    fn configuration(
        self,
        ground: &Ground,
        host: &str,
        listen: SocketAddr,
        receiver: SocketAddr,
        data: &Path,
    ) -> anyhow::Result<String> {
        let admin = free_port()?;
        let storage = format!("[storage]\nurl = \"sqlite:{}/waypost.db\"\n", data.display());
        Ok(match self.0 {
            Mode::Relay => format!(
                "[server]\nhttps = \"{listen}\"\nadmin = \"127.0.0.1:{admin}\"\n\n\
                 [tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n\n{storage}\n\
                 [[upstream]]\nhost = \"{host}\"\norigin = \"https://127.0.0.1:{port}\"\n\
                 ca_file = \"{authority}\"\nmode = \"relay\"\n",
                certificate = ground.certificates.certificate.display(),
                key = ground.certificates.key.display(),
                authority = ground.certificates.authority.display(),
                port = receiver.port(),
            ),
            Mode::Store | Mode::StoreReceiverDown => format!(
                "[server]\nhttp = \"{listen}\"\nadmin = \"127.0.0.1:{admin}\"\n\n{storage}\n\
                 [[upstream]]\nhost = \"{host}\"\norigin = \"http://{receiver}\"\nmode = \"store\"\n\
                 app_secrets = [\"{SECRET}\"]\n",
            ),
        })
    }
}
