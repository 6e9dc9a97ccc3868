//! Sender, sink and floor by themselves, for finding out and for profiling.

use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use hyper::Uri;

use crate::certificates::Certificates;
use crate::process::Processes;
use crate::sender::{self, Pace, Plan, Target};
use crate::webhook::BODY_BYTES;
use crate::{floor, interrupt, sink};

#[derive(Debug, Args)]
pub(super) struct Send {
    /// The callback URL, http or https
    to: Uri,
    /// The app secret that signs
    #[arg(long, default_value = "secret")]
    secret: String,
    /// Connections, each with one request outstanding
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Webhooks a second; without it as fast as they are answered
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 0.5)]
    warmup: f64,
    /// Webhooks at most
    #[arg(long)]
    count: Option<u64>,
    /// Size of each body
    #[arg(long, default_value_t = BODY_BYTES)]
    body_bytes: usize,
    /// Contacts that write, in turn
    #[arg(long, default_value_t = 10_000)]
    contacts: u32,
    /// A new connection for each request
    #[arg(long)]
    reconnect: bool,
    /// Offer to resume TLS sessions
    #[arg(long)]
    resume: bool,
}

impl Send {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let plan = Plan {
            target: target(&self.to)?,
            connections: usize::try_from(self.connections)?,
            pace: match self.rate {
                Some(rate) if rate > 0.0 => Pace::Open(rate),
                Some(_) => bail!("a rate is more than nothing"),
                None => Pace::Closed,
            },
            warmup: Duration::try_from_secs_f64(self.warmup)?,
            measure: Duration::try_from_secs_f64(self.seconds)?,
            count_max: self.count,
            reconnect: self.reconnect,
            resume: self.resume,
            body_bytes: self.body_bytes,
            secret: self.secret,
            contacts: self.contacts,
        };
        let outcome = sender::run(&plan, sender::new_id_base(), |_| ())?;
        let ms = |share| outcome.latency.quantile(share) as f64 / 1e6;
        let own_cpu = Processes::own().usage().cpu.as_secs_f64();
        let mut output = io::stdout().lock();
        writeln!(
            output,
            "acknowledged {:.0}/s over {:.2} s",
            outcome.per_second(),
            outcome.measured.as_secs_f64()
        )?;
        writeln!(
            output,
            "latency ms: p50 {:.3} p90 {:.3} p99 {:.3} p99.9 {:.3} max {:.3}",
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            outcome.latency.max() as f64 / 1e6
        )?;
        writeln!(output, "sent {}, refused {:?}, broken {}", outcome.sent, outcome.refused, outcome.broken)?;
        writeln!(output, "sender's CPU s/10k {:.3}", own_cpu * 10_000.0 / outcome.sent.max(1) as f64)?;
        Ok(if outcome.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn target(uri: &Uri) -> anyhow::Result<Target> {
    let host = uri.host().context("the URL names no host")?;
    let tls = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => bail!("the URL is neither http nor https"),
    };
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let address = (host, port).to_socket_addrs()?.next().with_context(|| format!("{host} has no address"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Target { address, tls, host: host.into(), path: path.into(), sources: None })
}

#[derive(Debug, Args)]
pub(super) struct Sink {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Speak TLS, with a certificate for up.test, localhost and 127.0.0.1 that is written here
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
}

impl Sink {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let tls = self.tls.map(|folder| Certificates::make(&folder)?.server()).transpose()?;
        let sink = sink::Sink::start_at(self.listen, tls)?;
        writeln!(io::stdout(), "listening {}", sink.address())?;
        let mut before = 0;
        while !interrupt::requested() {
            thread::sleep(Duration::from_secs(1));
            let requests = sink.requests();
            if requests > before {
                writeln!(io::stdout(), "{requests} requests, {} in the last second", requests - before)?;
            }
            before = requests;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
pub(super) struct Floor {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The app secret
    #[arg(long, default_value = "secret")]
    secret: String,
    /// The file that bodies are appended to; without it nothing is stored
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

impl Floor {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let setup = floor::Setup { listen: self.listen, secret: self.secret, log: self.log };
        floor::serve(&setup, |address| {
            // Nobody reads it where that fails.
            let _ = writeln!(io::stdout(), "listening {address}");
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
