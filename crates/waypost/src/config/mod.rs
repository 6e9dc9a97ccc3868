//! Configuration: flags, environment and `waypost.toml` become one validated value, or all faults at once.
//!
//! What is said closest to the command wins: flags over `WAYPOST_*` variables over the file over the
//! defaults. A file is read only where `--config` or `WAYPOST_CONFIG` names one: a `waypost.toml` that
//! merely lies in the working directory is not. An empty variable counts as unset.
//!
//! Paths of certificates, keys and `file:` secrets are relative to the configuration file's folder;
//! the store's path is relative to the working directory, as `--data` is.
//!
//! [`load`] is the only door, for the start, a reload and `waypost check` alike. It reads files and
//! writes none, and touches the disk through [`fingerprint::Disk`] alone, so that the fingerprint in
//! its answer covers every file that mattered, missing ones too. It blocks; asynchronous callers give
//! it a thread.

mod allow_list;
mod callers;
mod compose;
mod entries;
mod file;
mod finding;
mod fingerprint;
mod forms;
mod inputs;
mod loading;
mod own;
mod page;
mod pem;
mod restart;
pub(crate) mod secret;
mod section;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod units;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use waypost_domain::{Origin, RetrySchedule, Rulings, UpstreamHost};
use waypost_edge::Prefixes;

pub(crate) use callers::{AddressDemand, ClientDemand, Demand};
pub(crate) use entries::{
    Batches, DESTINATIONS_MAX, Destination, Format, ROUTES_TO_MAX, ReceiverUrl, Route, SOURCES_MAX, SignWith,
    Source,
};
pub(crate) use finding::Finding;
pub(crate) use fingerprint::Fingerprint;
pub(crate) use inputs::{Env, Inputs};
pub(crate) use own::Own;
pub(crate) use restart::restart_needed;
pub(crate) use secret::Secret;
pub(crate) use stream::Stream;
pub(crate) use tls::{Acme, Tls, TlsFiles};
pub(crate) use units::parse_duration;
pub(crate) use waypost_domain::{Patience, Rate};

/// Everything the gateway was told, validated and resolved. Never changed: a reload makes another.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Config {
    /// Where it listens.
    pub(crate) server: Server,
    /// The certificates it shows; present wherever `server.https` is not empty.
    pub(crate) tls: Option<Tls>,
    /// Where events are kept.
    pub(crate) storage: Storage,
    /// How long is kept what is no longer owed.
    pub(crate) retention: Retention,
    /// The folder of the socket and the store: `--data`, else the folder of the store's file, else
    /// `waypost-data`.
    pub(crate) data_dir: PathBuf,
    /// Limits an operator may set.
    pub(crate) limits: Limits,
    /// Who may read the stream.
    pub(crate) stream: Stream,
    /// The allow-list, each host once: those of the file, then of the environment, then of the flags.
    pub(crate) upstreams: Vec<Upstream>,
    /// The file's sources.
    pub(crate) sources: Vec<Arc<Source>>,
    /// The file's destinations.
    pub(crate) destinations: Vec<Arc<Destination>>,
    /// The file's routes: each from one of the sources to some of the destinations.
    pub(crate) routes: Vec<Arc<Route>>,
}

/// `[server]`: addresses, each different from the others; port 0 asks the system for one.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Server {
    /// Its names, each once; the first is the one in callback addresses.
    pub(crate) domains: Vec<String>,
    /// Public plain HTTP. Empty only where `https` is not.
    pub(crate) http: Vec<SocketAddr>,
    /// Public HTTPS.
    pub(crate) https: Vec<SocketAddr>,
    /// Dashboard, API and metrics.
    pub(crate) admin: SocketAddr,
    /// Whose word is taken, by the PROXY protocol, about on whose behalf they connect.
    pub(crate) proxies: Prefixes,
    /// Whether callers are asked for Meta's certificate. Only where `https` is not empty.
    pub(crate) clients: Option<ClientDemand>,
    /// Whether callers' addresses are to be Meta's.
    pub(crate) addresses: Option<AddressDemand>,
}

impl Server {
    /// The name in callback addresses.
    pub(crate) fn domain(&self) -> Option<&str> {
        self.domains.first().map(String::as_str)
    }
}

/// `[storage]`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Storage {
    /// The SQLite file.
    pub(crate) path: PathBuf,
    /// What it may hold; `None` sets no bound.
    pub(crate) bytes_max: Option<u64>,
    /// What must stay free on its file system; `None` leaves that to whoever opens it.
    pub(crate) free_bytes_min: Option<u64>,
}

/// `[retention]`: how long is kept what is no longer owed. What is owed is always kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Retention {
    /// Bodies of what was delivered or discarded, from then on; zero: no longer than needed. At most `records`.
    pub(crate) delivered_bodies: Duration,
    /// Everything else of it; at least an hour.
    pub(crate) records: Duration,
    /// Everything of what has died, from then on; at least an hour.
    pub(crate) dead: Duration,
    /// Everything of what no route took; at least an hour.
    pub(crate) quarantined: Duration,
}

/// `[limits]`: those of `waypost_domain::limits` that an operator may change.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Limits {
    /// Largest request body.
    pub(crate) body_bytes_max: usize,
    /// Public connections open at once.
    pub(crate) connections_max: usize,
    /// Public connections open at once from one address; never more than `connections_max`.
    pub(crate) connections_per_address_max: usize,
    /// Memory of all request bodies at once; never less than `body_bytes_max`.
    pub(crate) bodies_in_flight_bytes_max: usize,
}

/// `[[upstream]]` or `--allow`: a host on the allow-list.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Upstream {
    /// The host as callers write it.
    pub(crate) host: UpstreamHost,
    /// Store first, or pass through.
    pub(crate) mode: Mode,
    /// What happens where passing through fails; none with mode store.
    pub(crate) fallback: Fallback,
    /// Where it really is.
    pub(crate) origin: Origin,
    /// Whether an operator wrote the origin, rather than it following from the host.
    pub(crate) origin_explicit: bool,
    /// Extra trust for its certificate.
    pub(crate) ca_file: Option<CaFile>,
    /// Path prefixes that are let through, never empty.
    pub(crate) paths: Vec<String>,
    /// Any of these proves a caller; none means that callers are not asked for proof.
    pub(crate) app_secrets: Vec<Secret>,
    /// Any of these answers the handshake here; none means that it is relayed.
    pub(crate) verify_tokens: Vec<Secret>,
    /// Whether its address may be private, loopback or link-local. An explicit origin implies it,
    /// unless `allow_private = false` is written too.
    pub(crate) allow_private: bool,
    /// In what form it takes requests of several events.
    pub(crate) batches: Batches,
    /// What pieces of such requests are signed with.
    pub(crate) sign_with: SignWith,
    /// How it is delivered to.
    pub(crate) delivery: Delivery,
}

/// The two modes of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Make durable, answer 200, deliver after.
    Store,
    /// Pass the call through and answer what the receiver answers.
    Relay,
}

/// What a relay does where the receiver cannot be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fallback {
    /// Says so to the caller.
    None,
    /// Makes durable, answers 200 and delivers after.
    Store,
}

/// Certificates to trust, as they were when the configuration was loaded: another content is another value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CaFile {
    /// The PEM file.
    pub(crate) path: PathBuf,
    /// What it held: at least one.
    pub(crate) roots: Vec<CertificateDer<'static>>,
}

/// How deliveries to one destination go.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Delivery {
    /// Deadline of one attempt.
    pub(crate) timeout: Duration,
    /// Deadline of its connection, at most `timeout`.
    pub(crate) connect_timeout: Duration,
    /// How long a failing delivery holds its lane.
    pub(crate) lane_patience: Patience,
    /// Attempts in flight at once.
    pub(crate) concurrency_max: usize,
    /// Attempts begun per time; `None` sets no bound.
    pub(crate) rate_max: Option<Rate>,
    /// When to try again.
    pub(crate) schedule: RetrySchedule,
    /// What it is.
    pub(crate) kind: Kind,
    /// Statuses that are judged otherwise than by the rule of the house.
    pub(crate) rulings: Rulings,
}

/// What a destination is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Anything that takes HTTP.
    Http,
    /// A Chatwoot: paced below what its default rate limit admits from one address.
    Chatwoot,
}

impl Kind {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Chatwoot => "chatwoot",
        }
    }

    /// The pace where an operator sets none. Chatwoot's default limit (Rack::Attack's `req/ip`) is 3,000 a
    /// minute from one address, whatever they are for; a little is left to others behind the same one.
    fn rate_max(self) -> Option<Rate> {
        match self {
            Self::Http => None,
            Self::Chatwoot => Some(Rate { attempts: 2_900, per: Duration::from_secs(60) }),
        }
    }
}

/// A configuration that stands.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The value.
    pub(crate) config: Config,
    /// What is allowed and yet probably not meant.
    pub(crate) warnings: Vec<Finding>,
    /// Every file it came from.
    pub(crate) fingerprint: Fingerprint,
}

/// A configuration that does not stand. Its `Display` is one line for each fault.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Refused {
    /// What is wrong: at least one, in the order of the file, flags and variables first.
    pub(crate) faults: Vec<Finding>,
    /// Faults beyond those listed.
    pub(crate) faults_more: usize,
    /// What is allowed and yet probably not meant.
    pub(crate) warnings: Vec<Finding>,
    /// Every file it came from or would have come from: a change in one is a reason to try again.
    pub(crate) fingerprint: Fingerprint,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        match self.faults_more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more faults"),
        }
    }
}

/// Reads everything the inputs name and answers with a configuration that stands, or with all that is wrong.
pub(crate) fn load(inputs: &Inputs) -> Result<Loaded, Refused> {
    let mut loading = loading::Loading::of(&inputs.env);
    let draft = file::read(inputs, &mut loading);
    let config = compose::compose(inputs, draft, &mut loading);
    loading.conclude(config)
}

/// An entry that was made at run time, read from its settings.
#[derive(Debug)]
pub(crate) struct Made<T> {
    /// What it asks for.
    pub(crate) entry: T,
    /// What is allowed and yet probably not meant.
    pub(crate) warnings: Vec<Finding>,
    /// The files that it names, and what they held.
    pub(crate) fingerprint: Fingerprint,
}

/// Reads one upstream that was made at run time: the keys of an `[[upstream]]`, in TOML or as a JSON object.
///
/// Its paths are relative to the working directory; its secrets come from this process's environment.
///
/// # Errors
///
/// All that is wrong with it, in one text for people.
pub(crate) fn upstream_of_settings(settings: &str, own: &Own) -> Result<Made<Upstream>, String> {
    upstream_of(settings, own, &Env::Process)
}

fn upstream_of(settings: &str, own: &Own, env: &Env) -> Result<Made<Upstream>, String> {
    made(settings, env, |text, loading| {
        let draft = file::read_one(text, loading, file::upstream)?;
        allow_list::one_upstream(draft, own, loading)
    })
}

/// Reads one source that was made at run time, in the same way.
///
/// # Errors
///
/// All that is wrong with it, in one text for people.
pub(crate) fn source_of_settings(settings: &str) -> Result<Made<Source>, String> {
    made(settings, &Env::Process, |text, loading| {
        let draft = file::read_one(text, loading, entries::source)?;
        entries::one_source(draft, loading)
    })
}

/// Reads one destination that was made at run time, in the same way.
///
/// # Errors
///
/// All that is wrong with it, in one text for people.
pub(crate) fn destination_of_settings(settings: &str, own: &Own) -> Result<Made<Destination>, String> {
    made(settings, &Env::Process, |text, loading| {
        let draft = file::read_one(text, loading, entries::destination)?;
        entries::one_destination(draft, own, loading)
    })
}

/// Reads one route that was made at run time, in the same way. Whether what it names is there, is not asked.
///
/// # Errors
///
/// All that is wrong with it, in one text for people.
pub(crate) fn route_of_settings(settings: &str) -> Result<Made<Route>, String> {
    made(settings, &Env::Process, |text, loading| {
        let draft = file::read_one(text, loading, entries::route)?;
        entries::one_route(draft, loading)
    })
}

fn made<T>(
    settings: &str,
    env: &Env,
    read: impl FnOnce(String, &mut loading::Loading<'_>) -> Option<T>,
) -> Result<Made<T>, String> {
    let toml = if settings.trim_start().starts_with('{') {
        // Where JSON is wrong its text may be a secret's, so only the position is told.
        let table: toml::Table = serde_json::from_str(settings)
            .map_err(|error| format!("not a JSON object of keys and values (column {})", error.column()))?;
        table.to_string()
    } else {
        settings.to_owned()
    };
    let mut loading = loading::Loading::of(env);
    let entry = read(toml, &mut loading);
    loading.conclude_one(entry)
}
