//! nginx as a relay: as the recipe that teams follow has it, and tuned.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::{CALLBACK_PATH, Ground, Peer, Running};
use crate::certificates::{PROXY_HOST, RECEIVER_HOST};
use crate::process::{Ready, Server, free_port};
use crate::sender::Target;

/// The name of [`NginxRecipe`] in the table.
pub(crate) const RECIPE: &str = "nginx (recipe)";
/// The name of [`NginxTuned`] in the table.
pub(crate) const TUNED: &str = "nginx (tuned)";

/// The recipe's nginx, to the letter: a new TLS connection to the receiver for every request.
#[derive(Debug)]
pub(crate) struct NginxRecipe;

/// nginx with kept connections to the receiver.
#[derive(Debug)]
pub(crate) struct NginxTuned;

impl Peer for NginxRecipe {
    fn name(&self) -> &'static str {
        RECIPE
    }

    fn missing(&self, _ground: &Ground) -> Option<String> {
        missing()
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        start(include_str!("../../nginx-recipe.conf"), ground, folder)
    }
}

impl Peer for NginxTuned {
    fn name(&self) -> &'static str {
        TUNED
    }

    fn missing(&self, _ground: &Ground) -> Option<String> {
        missing()
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        start(include_str!("../../nginx-tuned.conf"), ground, folder)
    }
}

fn missing() -> Option<String> {
    let runs = Command::new("nginx").arg("-v").output().is_ok_and(|output| output.status.success());
    (!runs).then(|| "nginx is not installed: apt-get install -y nginx-light".to_owned())
}

fn start(template: &str, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
    let sink = ground.sink_https.address();
    let receiver = format!("{RECEIVER_HOST}:{}", sink.port());
    let https = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let values = [
        ("@WORK@", folder.display().to_string()),
        ("@RECEIVER@", receiver.clone()),
        ("@RECEIVER_ADDRESS@", sink.to_string()),
        ("@HTTP_PORT@", free_port()?.to_string()),
        ("@HTTPS_PORT@", https.port().to_string()),
        ("@RESOLVER@", ground.names.address().to_string()),
        ("@CERTIFICATE@", ground.certificates.certificate.display().to_string()),
        ("@KEY@", ground.certificates.key.display().to_string()),
    ];
    let text = values.iter().fold(template.to_owned(), |text, (slot, value)| text.replace(slot, value));
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&configuration).arg("-e").arg(folder.join("error.log"));
    let (server, _) = Server::start(command, &folder.join("output.log"), Ready::Connects(https))?;
    Ok(Running {
        server,
        target: Target {
            address: https,
            tls: true,
            host: PROXY_HOST.into(),
            path: format!("/{receiver}{CALLBACK_PATH}"),
        },
        forbidden_path: Some(format!("/other.test{CALLBACK_PATH}")),
    })
}
