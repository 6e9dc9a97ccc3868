//! The composition: from a configuration to a gateway that runs.
//!
//! [`Gateway::build`] does everything that can fail: it opens the store, sets the upstreams up and binds
//! every address, serving none. [`Gateway::spawn`] then serves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use prometheus_client::registry::Registry as Counters;
use tokio::net::{TcpListener, UnixListener};
use waypost_domain::{Clock, limits};
use waypost_edge::body::{BodyReader, Budget};
use waypost_edge::{
    ClientCertificates, ConnectionInfo, ConnectionLimits, Edge, Listener, META_CLIENT_NAME, ServerTls,
};
use waypost_engine::dispatch::Dispatcher;
use waypost_engine::intake::Intake;
use waypost_engine::metrics::Metrics;
use waypost_store::{FREE_BYTES_MIN, JOURNAL_BYTES_MAX, OpenError, Retention, Store, StoreOptions};

use crate::admin::{self, Admin, AdminToken, MetricsPage};
use crate::config::{Config, Fingerprint, Inputs, Own, Tls, TlsFiles};
use crate::lifecycle::Lifecycle;
use crate::meta_gate::MetaGate;
use crate::public::Public;
use crate::registry::Registry;
use crate::reload::{Reload, Watch};
use crate::streaming::Streaming;
use crate::upgrade::{self, Doors, LEFT_BEHIND_TIME_MAX, OpenDoors, Predecessor};
use crate::{certifying, config, redirect, retention, socket, terminal};

/// A gateway, ready to serve.
pub(crate) struct Gateway {
    /// What it was built from; reloads replace it.
    config: Config,
    inputs: Inputs,
    fingerprint: Fingerprint,
    store: Store,
    dispatcher: Dispatcher,
    registry: Arc<Registry>,
    public: Arc<Public>,
    admin: Arc<Admin>,
    edge: Edge,
    listeners: Vec<(Listener, Scheme)>,
    admin_listener: TcpListener,
    admin_socket: UnixListener,
    addresses: Addresses,
}

/// The addresses, bound.
struct Bound {
    public: Vec<(Listener, Scheme)>,
    admin: TcpListener,
    open: OpenDoors,
}

/// What a listener does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Http,
    Https,
    /// Plain HTTP beside HTTPS on a domain: sends everything there.
    Redirect,
}

/// Where the gateway can be reached.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// Base addresses of the public listeners, such as `http://127.0.0.1:8080`.
    pub(crate) public: Vec<String>,
    /// Plain addresses that only send callers to HTTPS.
    pub(crate) redirect: Vec<String>,
    /// The admin address.
    pub(crate) admin: SocketAddr,
    /// The data directory.
    pub(crate) data: PathBuf,
}

impl Gateway {
    /// Builds a gateway from a configuration that stands. What is among `doors` is not bound again. Its long-lived parts will
    /// end with `lifecycle`. Where it goes on in the place of another process, the store is opened last, once that one has
    /// closed it.
    ///
    /// # Errors
    ///
    /// When the store cannot be opened, an upstream set up, or an address bound.
    pub(crate) async fn build(
        loaded: config::Loaded,
        inputs: Inputs,
        mut doors: Doors,
        predecessor: Option<&mut Predecessor>,
        clock: Clock,
        lifecycle: &mut Lifecycle,
    ) -> anyhow::Result<Self> {
        let config::Loaded { config, warnings, fingerprint } = loaded;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        // Where nobody goes before us, a place that is taken is said as that, and not as an address that is taken.
        let store = match predecessor {
            None => Some(open_store(&config, &clock).await?),
            Some(_) => None,
        };
        let bound = bind(&config, &mut doors)?;
        let tls_files = match &config.tls {
            Some(Tls::Files(files)) => Some(tls_of_files(files, &clock)?),
            _ => None,
        };
        let clients = match &config.server.clients {
            Some(clients) => {
                let file = &clients.ca_file.path;
                Some(ClientCertificates::from_file(file, META_CLIENT_NAME, clock.clone())?)
            }
            None => None,
        };
        let store = match (store, predecessor) {
            (Some(store), _) => store,
            (None, Some(predecessor)) => succeed(predecessor, &config, &clock).await?,
            (None, None) => open_store(&config, &clock).await?,
        };
        let mut registry = Counters::with_prefix("waypost");
        let metrics = Metrics::new();
        metrics.register(&mut registry);
        let dispatcher = Dispatcher::new(
            store.clone(),
            clock.clone(),
            metrics.clone(),
            lifecycle.soft(),
            lifecycle.hard(),
        );
        let intake = Intake::new(store.clone(), &dispatcher, clock.clone(), metrics.clone());
        // Known before anything is put, lest it begin.
        for paused in store.paused().await.context("cannot read which destinations are paused")? {
            tracing::warn!(destination = %paused.destination, who = %paused.who, "destination is paused");
            dispatcher.pause(&paused.destination, true);
        }
        // Bound, and not yet served: what leads back to these addresses is refused.
        let Bound { public: listeners, admin: admin_listener, mut open } = bound;
        let edge = Edge::new(connection_limits(&config));
        let own = own(&config, &listeners)?;
        let entries =
            Arc::new(Registry::new(&config, own, dispatcher.clone(), store.clone(), clock.clone()).await?);
        let stream = dispatcher.stream();
        let admin_token = Arc::new(AdminToken::of(&config.data_dir)?);
        let streaming = Streaming::new(
            stream,
            store.clone(),
            clock.clone(),
            admin_token.clone(),
            &config.stream,
            lifecycle.soft(),
        )
        .await?;
        let streaming = Arc::new(streaming);
        let gate = MetaGate::of(&config.server);
        let public = Arc::new(Public::new(
            entries.clone(),
            intake,
            body_reader(&config),
            gate,
            clock.clone(),
            streaming.clone(),
        ));
        public.register(&mut registry);
        let (tls, acme) = match &config.tls {
            None | Some(Tls::Files(_)) => (tls_files, None),
            Some(Tls::Acme(acme)) => {
                let names = &config.server.domains;
                let (acme, tls) = certifying::set_up(acme, names, store.clone(), clock.clone()).await?;
                (Some(tls), Some(acme))
            }
        };
        let tls = match (tls, clients) {
            (Some(tls), Some(clients)) => Some(tls.asking_clients(clients)?),
            (tls, _) => tls,
        };
        let admin_socket = match doors.socket(&config.data_dir)? {
            Some(socket) => socket,
            None => socket::bind(&config.data_dir)
                .with_context(|| format!("cannot make the socket in {}", config.data_dir.display()))?,
        };
        open.socket(&config.data_dir, &admin_socket)?;
        lifecycle.hold(open);
        let addresses = addresses(&config, &listeners, &admin_listener)?;
        let admin = Arc::new(Admin {
            store: store.clone(),
            clock,
            registry: entries.clone(),
            base: addresses.public.last().cloned().unwrap_or_default(),
            dispatcher: dispatcher.clone(),
            public: public.clone(),
            edge: edge.counters().clone(),
            tls,
            acme,
            engine: metrics,
            metrics: MetricsPage::new(registry),
            token: admin_token,
            streaming,
            draining: lifecycle.doors().soft,
            upgrades: lifecycle.upgrades(),
            last_probe: admin::LastProbe::default(),
        });
        Ok(Self {
            config,
            inputs,
            fingerprint,
            store,
            dispatcher,
            registry: entries,
            public,
            admin,
            edge,
            listeners,
            admin_listener,
            admin_socket,
            addresses,
        })
    }

    /// Where it can be reached.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its store.
    pub(crate) fn store(&self) -> Store {
        self.store.clone()
    }

    /// What answers its callers.
    pub(crate) fn public(&self) -> Arc<Public> {
        self.public.clone()
    }

    /// Its dispatcher.
    pub(crate) fn dispatcher(&self) -> Dispatcher {
        self.dispatcher.clone()
    }

    /// The callback addresses to paste, one for each upstream and source. A source's is not shown, since its token is
    /// as good as a key.
    pub(crate) fn callbacks(&self) -> Vec<String> {
        let Some(base) = self.addresses.public.last() else { return Vec::new() };
        let table = self.registry.table();
        let upstreams = table
            .upstreams()
            .map(|upstream| format!("{base}/{}/webhooks/whatsapp/%2B<phone>", upstream.name));
        let sources = table.sources().map(|source| format!("{base}/w/<token of {}>", source.name));
        let shown = upstreams.chain(sources).take(CALLBACKS_SHOWN_MAX);
        let mut shown: Vec<String> = shown.collect();
        let more = (table.upstreams().count() + table.sources().count()).saturating_sub(shown.len());
        if more > 0 {
            shown.push(format!("and {more} more: see `waypost source list` and `waypost upstream list`"));
        }
        shown
    }

    /// Serves, until the lifecycle ends. Says where on standard output, and `ready` last. Returns what
    /// reloads the configuration when it is called.
    pub(crate) fn spawn(self, lifecycle: &mut Lifecycle) -> Reload {
        let reload = Reload::default();
        let stop = lifecycle.doors();
        for (listener, scheme) in self.listeners {
            let tls = if scheme == Scheme::Https { self.admin.tls.clone() } else { None };
            let (edge, public, stop) = (self.edge.clone(), self.public.clone(), stop.clone());
            if scheme == Scheme::Redirect {
                let names = redirect::Names::new(&self.config.server.domains, self.addresses.https_base());
                let names = Arc::new(names);
                let challenges = self.admin.acme.as_ref().map(|acme| acme.challenges().clone());
                let answer = move |request, _caller| {
                    let proof = challenges.as_ref().and_then(|them| redirect::proof(them, &request));
                    let response = proof.unwrap_or_else(|| redirect::to_https(&names, &request));
                    std::future::ready(response)
                };
                lifecycle
                    .open("redirect to https", async move { edge.serve(listener, None, answer, stop).await });
                continue;
            }
            let answer = move |request, caller: ConnectionInfo| {
                let public = public.clone();
                async move { public.answer(request, caller).await }
            };
            lifecycle.open("public listener", async move { edge.serve(listener, tls, answer, stop).await });
        }
        if let Some(acme) = self.admin.acme.clone() {
            let soft = lifecycle.soft();
            lifecycle.spawn("certificates", async move {
                tokio::select! {
                    () = soft.cancelled() => {}
                    () = acme.run() => {}
                }
            });
        }
        let (stream, soft) = (self.admin.streaming.stream().clone(), lifecycle.soft());
        lifecycle.spawn("stream", async move { stream.run(soft).await });
        let (end, admin) = (lifecycle.last(), self.admin);
        lifecycle.attend(
            "admin address",
            admin::serve_address(self.admin_listener, admin::guarded(admin.clone()), end.clone()),
        );
        lifecycle.attend(
            "admin socket",
            admin::serve_socket(self.admin_socket, admin::trusted(admin.clone()), end),
        );
        let (dispatcher, soft, hard) = (self.dispatcher, lifecycle.soft(), lifecycle.hard());
        lifecycle.spawn("dispatcher", async move {
            tokio::select! {
                () = soft.cancelled() => {}
                () = hard.cancelled() => {}
                () = dispatcher.died() => return,
            }
            dispatcher.stopped().await;
        });
        let (soft, pruning) = (
            lifecycle.soft(),
            retention::prune(admin.store.clone(), admin.clock.clone(), retention_of(&self.config)),
        );
        lifecycle.spawn("retention", async move {
            tokio::select! {
                () = soft.cancelled() => {}
                () = pruning => {}
            }
        });
        let watch = Watch {
            config: self.config,
            inputs: self.inputs,
            fingerprint: self.fingerprint,
            registry: self.registry,
            admin,
            supervisor: lifecycle.supervisor(),
        };
        let (soft, asked) = (lifecycle.soft(), reload.clone());
        lifecycle.spawn("configuration watch", async move {
            tokio::select! {
                () = soft.cancelled() => {}
                () = watch.run(asked) => {}
            }
        });
        reload
    }
}

impl Addresses {
    /// The HTTPS address that plain HTTP sends callers to.
    fn https_base(&self) -> &str {
        self.public.iter().find(|base| base.starts_with("https://")).map_or("", String::as_str)
    }

    /// Says them.
    pub(crate) fn announce(&self) {
        for public in &self.public {
            terminal::say(&format!("public    {public}"));
        }
        for redirect in &self.redirect {
            terminal::say(&format!("redirect  {redirect}"));
        }
        terminal::say(&format!("admin     http://{}", self.admin));
        terminal::say(&format!("data      {}", self.data.display()));
    }
}

impl Scheme {
    /// What it is called between processes.
    fn way(self) -> &'static str {
        match self {
            Self::Http | Self::Redirect => "http",
            Self::Https => "https",
        }
    }
}

/// How often a store is asked for that a dead process held a moment ago.
const LEFT_BEHIND_PAUSE: Duration = Duration::from_millis(20);
/// Callback addresses that are said at the start.
const CALLBACKS_SHOWN_MAX: usize = 20;

async fn open_store(config: &Config, clock: &Clock) -> anyhow::Result<Store> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data directory {}", config.data_dir.display()))?;
    let options = StoreOptions {
        path: config.storage.path.clone(),
        readers: 2,
        queue_max: limits::WRITER_QUEUE_MAX,
        queue_bytes_max: limits::WRITER_QUEUE_BYTES_MAX,
        dedupe_window: limits::DEDUPE_WINDOW,
        bytes_max: config.storage.bytes_max,
        journal_bytes_max: JOURNAL_BYTES_MAX,
        free_bytes_min: config.storage.free_bytes_min.unwrap_or_else(|| free_bytes_min(&config.data_dir)),
    };
    let clock = clock.clone();
    Ok(tokio::task::spawn_blocking(move || Store::open(options, clock)).await??)
}

fn retention_of(config: &Config) -> Retention {
    let config::Retention { delivered_bodies, records, dead, quarantined } = config.retention;
    Retention { delivered_bodies, records, dead, quarantined, ..Retention::default() }
}

/// What is to stay free on the data directory's disk: the store's own wish, but no more than a fiftieth of a small
/// disk.
fn free_bytes_min(directory: &std::path::Path) -> u64 {
    let disk =
        rustix::fs::statvfs(directory).map_or(u64::MAX, |disk| disk.f_blocks.saturating_mul(disk.f_frsize));
    FREE_BYTES_MIN.min(disk / 50)
}

/// Where the gateway itself is called.
fn own(config: &Config, listeners: &[(Listener, Scheme)]) -> anyhow::Result<Own> {
    let addresses = listeners.iter().map(|(listener, _)| listener.local_addr());
    let addresses = addresses.chain([Ok(config.server.admin)]);
    Ok(Own::new(config.server.domains.iter().map(String::as_str), addresses.collect::<Result<Vec<_>, _>>()?))
}

fn body_reader(config: &Config) -> BodyReader {
    let budget = Budget::new(config.limits.bodies_in_flight_bytes_max);
    BodyReader::new(config.limits.body_bytes_max, limits::BODY_TIME_MAX, budget)
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: config.limits.connections_max,
        connections_per_address_max: config.limits.connections_per_address_max,
        ..ConnectionLimits::default()
    }
}

fn tls_of_files(files: &TlsFiles, clock: &Clock) -> anyhow::Result<ServerTls> {
    let tls = ServerTls::from_files(&files.certificate, &files.private_key)?;
    if let Some(warning) = tls.facts().and_then(|facts| facts.warning(clock.wall())) {
        tracing::warn!("{warning}");
    }
    Ok(tls)
}

/// Opens the store of the process whose place we take.
async fn succeed(predecessor: &mut Predecessor, config: &Config, clock: &Clock) -> anyhow::Result<Store> {
    let since = match predecessor.store().await {
        upgrade::Store::Closed => None,
        upgrade::Store::LeftBehind => Some(clock.monotonic()),
    };
    loop {
        let opened = open_store(config, clock).await;
        let is_held =
            opened.as_ref().is_err_and(|error| matches!(error.downcast_ref(), Some(OpenError::InUse { .. })));
        let has_time =
            since.is_some_and(|since| clock.monotonic().saturating_sub(since) < LEFT_BEHIND_TIME_MAX);
        if !is_held || !has_time {
            return opened;
        }
        tokio::time::sleep(LEFT_BEHIND_PAUSE).await;
    }
}

/// Takes what was open before us, and binds the rest.
fn bind(config: &Config, doors: &mut Doors) -> anyhow::Result<Bound> {
    let beside_https = !config.server.domains.is_empty() && !config.server.https.is_empty();
    let plain = if beside_https { Scheme::Redirect } else { Scheme::Http };
    let http = config.server.http.iter().map(|address| (*address, plain));
    let https = config.server.https.iter().map(|address| (*address, Scheme::Https));
    let (mut listeners, mut unbound) = (Vec::new(), Vec::new());
    for (address, scheme) in http.chain(https) {
        let found = doors.public(scheme.way(), address);
        match found.with_context(|| format!("cannot take over {address}"))? {
            Some(listener) => listeners.push((address, listener, scheme)),
            None => unbound.push((address, scheme)),
        }
    }
    for address in doors.left() {
        tracing::warn!(%address, "a socket was handed over that the configuration does not ask for; it is not served");
    }
    let addresses: Vec<_> = unbound.iter().map(|(address, _)| *address).collect();
    let bound = Listener::bind_all(&addresses).map_err(|error| cannot_bind(error.address, &error.source))?;
    listeners.extend(
        bound.into_iter().zip(unbound).map(|(listener, (address, scheme))| (address, listener, scheme)),
    );
    let mut open = OpenDoors::default();
    let mut public = Vec::new();
    for (address, listener, scheme) in listeners {
        open.public(scheme.way(), address, &listener)?;
        public.push((listener.behind(config.server.proxies.clone()), scheme));
    }
    // HTTPS last: callback addresses begin with the last.
    public.sort_by_key(|(_, scheme)| *scheme == Scheme::Https);
    let admin = bind_admin(config.server.admin, doors)?;
    open.admin(config.server.admin, &admin)?;
    Ok(Bound { public, admin, open })
}

fn bind_admin(address: SocketAddr, doors: &mut Doors) -> anyhow::Result<TcpListener> {
    if let Some(listener) = doors.admin(address).with_context(|| format!("cannot take over {address}"))? {
        return Ok(listener);
    }
    let bind = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    bind().map_err(|error| cannot_bind(address, &error))
}

fn cannot_bind(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program is there: stop it, or choose another address",
        std::io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege: give the service CAP_NET_BIND_SERVICE, or choose a higher port"
        }
        std::io::ErrorKind::AddrNotAvailable => "; it is not an address of this machine",
        _ => "",
    };
    anyhow!("cannot listen on {address}: {error}{remedy}")
}

fn addresses(
    config: &Config,
    listeners: &[(Listener, Scheme)],
    admin: &TcpListener,
) -> anyhow::Result<Addresses> {
    let (mut public, mut redirect) = (Vec::new(), Vec::new());
    for (listener, scheme) in listeners {
        let bound = listener.local_addr()?;
        let (scheme, default_port) = match scheme {
            Scheme::Redirect => {
                redirect.push(format!("http://{bound}"));
                continue;
            }
            Scheme::Http => ("http", 80),
            Scheme::Https => ("https", 443),
        };
        let host = match config.server.domain() {
            Some(domain) if bound.port() == default_port => domain.to_owned(),
            Some(domain) => format!("{domain}:{}", bound.port()),
            None => bound.to_string(),
        };
        public.push(format!("{scheme}://{host}"));
    }
    Ok(Addresses { public, redirect, admin: admin.local_addr()?, data: config.data_dir.clone() })
}
