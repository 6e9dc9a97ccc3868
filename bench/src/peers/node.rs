//! What teams write themselves: Express + BullMQ, and node:http + one Redis stream, each with a Redis of its own that
//! syncs before it answers.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{CALLBACK_PATH, Ground, Peer, Running, SECRET, version};
use crate::certificates::{PROXY_HOST, RECEIVER_HOST};
use crate::process::{Ready, Server, free_port};
use crate::sender::Target;

/// A receiver of webhooks on Node, with or without the worker that delivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    /// What webhooks wait in.
    pub(crate) queue: Queue,
    /// Whether a worker takes them on to the receiver.
    pub(crate) delivers: bool,
}

/// What webhooks wait in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Queue {
    /// A BullMQ queue, behind Express.
    BullMq,
    /// A Redis stream, behind node:http.
    Stream,
}

/// The name of [`Queue::BullMq`] in the table.
pub(crate) const BULLMQ: &str = "Express + BullMQ";
/// The name of [`Queue::Stream`] in the table.
pub(crate) const STREAM: &str = "node:http + XADD";

impl Peer for Node {
    fn name(&self) -> &'static str {
        match self.queue {
            Queue::BullMq => BULLMQ,
            Queue::Stream => STREAM,
        }
    }

    fn missing(&self, ground: &Ground) -> Option<String> {
        if version("node", "-v").is_none() {
            return Some("Node is not installed: apt-get install -y nodejs npm".to_owned());
        }
        if version("redis-server", "--version").is_none() {
            return Some("Redis is not installed: apt-get install -y redis-server".to_owned());
        }
        let folder = ground.node_peers.display();
        (!ground.node_peers.join("node_modules/bullmq").is_dir())
            .then(|| format!("{folder} has no packages yet: npm ci --prefix {folder}"))
    }

    fn run_in(&self) -> Duration {
        Duration::from_millis(1_500)
    }

    fn start(&self, ground: &Ground, folder: &Path) -> anyhow::Result<Running> {
        let redis_port = free_port()?;
        let redis = start_redis(redis_port, folder)?;
        let name = match self.queue {
            Queue::BullMq => "bullmq",
            Queue::Stream => "stream",
        };
        let script = |part: &str, ready| {
            let mut command = Command::new("node");
            command
                .arg(ground.node_peers.join(format!("{name}-{part}.js")))
                .env_remove("NODE_OPTIONS")
                .env("NODE_ENV", "production")
                .env("APP_SECRET", SECRET)
                .env("REDIS_PORT", redis_port.to_string())
                .env("RECEIVER", format!("http://{}", ground.sink_http.address()));
            Server::start(command, &folder.join(format!("{part}.log")), Ready::Line(ready))
        };
        let (accepts, rest) = script("accept", "listening")?;
        let address: SocketAddr = rest.parse().context("the peer's address")?;
        let servers = match self.delivers {
            true => [redis, accepts, script("deliver", "ready")?.0].into(),
            false => [redis, accepts].into(),
        };
        let path = format!("/{RECEIVER_HOST}{CALLBACK_PATH}");
        let target = Target { address, tls: false, host: PROXY_HOST.into(), path, sources: None };
        Ok(Running { servers, target, forbidden_path: None, stream: None })
    }
}

/// A Redis whose answer means that the disk has it: an append-only file, synced before every answer (all that one
/// turn of its event loop brought together). No snapshots beside it; nothing is evicted.
fn start_redis(port: u16, folder: &Path) -> anyhow::Result<Server> {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    command.args(["--maxmemory-policy", "noeviction"]).arg("--dir").arg(folder);
    let address = (Ipv4Addr::LOCALHOST, port).into();
    Ok(Server::start(command, &folder.join("redis.log"), Ready::Connects(address))?.0)
}

/// The packages that the peers stand on, with their versions.
pub(super) fn packages(ground: &Ground) -> Vec<String> {
    let version = |package: &str| {
        let path = ground.node_peers.join("node_modules").join(package).join("package.json");
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("\"version\":"))?;
        Some(format!("{package} {}", line.trim_matches([' ', '"', ','])))
    };
    ["express", "bullmq", "ioredis", "undici"].into_iter().filter_map(version).collect()
}
