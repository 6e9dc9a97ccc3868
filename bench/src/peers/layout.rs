//! What the configurations of all relays have in common: where they listen, whom they let through, where that is.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::{CALLBACK_PATH, Ground, Running};
use crate::certificates::{PROXY_HOST, RECEIVER_HOST};
use crate::process::{Server, free_port};
use crate::sender::Target;

/// One relay's place: HTTPS in, HTTPS to the receiver.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where it listens.
    pub(super) https: SocketAddr,
    /// The receiver's host and port, as they stand in the path and on the allow-list.
    pub(super) receiver: String,
    values: Vec<(&'static str, String)>,
}

impl Layout {
    /// On a free port, its files in `folder`.
    pub(super) fn new(ground: &Ground, folder: &Path) -> anyhow::Result<Self> {
        let sink = ground.sink_https.address();
        let receiver = format!("{RECEIVER_HOST}:{}", sink.port());
        let https = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let values = vec![
            ("@WORK@", folder.display().to_string()),
            ("@RECEIVER@", receiver.clone()),
            ("@RECEIVER_ADDRESS@", sink.to_string()),
            ("@HTTP_PORT@", free_port()?.to_string()),
            ("@HTTPS_PORT@", https.port().to_string()),
            ("@RESOLVER@", ground.names.address().to_string()),
            ("@CERTIFICATE@", ground.certificates.certificate.display().to_string()),
            ("@KEY@", ground.certificates.key.display().to_string()),
        ];
        Ok(Self { https, receiver, values })
    }

    /// Writes a configuration whose slots stand between at signs.
    pub(super) fn write(&self, template: &str, path: &Path) -> anyhow::Result<()> {
        let text =
            self.values.iter().fold(template.to_owned(), |text, (slot, value)| text.replace(slot, value));
        Ok(fs::write(path, text)?)
    }

    /// The relay, started.
    pub(super) fn running(&self, server: Server) -> Running {
        Running {
            servers: [server].into(),
            target: Target {
                address: self.https,
                tls: true,
                host: PROXY_HOST.into(),
                path: format!("/{}{CALLBACK_PATH}", self.receiver),
                sources: None,
            },
            forbidden_path: Some(format!("/other.test{CALLBACK_PATH}")),
            stream: None,
        }
    }
}
