//! nginx as a relay: as the recipe that teams follow has it, and tuned.

use std::path::Path;
use std::process::Command;

use super::layout::Layout;
use super::{Ground, Peer, Running, version};
use crate::process::{Ready, Server};

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
    let there = version("nginx", "-v").is_some();
    (!there).then(|| "nginx is not installed: apt-get install -y nginx-light".to_owned())
}

fn start(template: &str, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
    let layout = Layout::new(ground, folder)?;
    let configuration = folder.join("nginx.conf");
    layout.write(template, &configuration)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(&configuration).arg("-e").arg(folder.join("error.log"));
    let (server, _) = Server::start(command, &folder.join("output.log"), Ready::Connects(layout.https))?;
    Ok(layout.running(server))
}
