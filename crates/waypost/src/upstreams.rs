//! The upstreams at work: those of the configuration and those made at run time, as one table.
//!
//! A change builds everything new before it shows anything of it, then swaps the table in one step;
//! what did not change keeps its connections. Reading the table takes no lock.

use std::sync::Arc;

use anyhow::Context;
use arc_swap::{ArcSwap, Guard};
use tokio::sync::Mutex;
use waypost_domain::Clock;
use waypost_edge::admission::Table;
use waypost_engine::dispatch::{Destination, DestinationHandle, Dispatcher, Patience};
use waypost_engine::gate::Rate;
use waypost_engine::sender::HttpSender;
use waypost_outbound::{Endpoint, EndpointConfig, Outbound, OutboundConfig};
use waypost_store::{Store, UpstreamRecord};
use waypost_whatsapp::{AppSecret, AppSecrets, VerifyToken};

use crate::config::{self, Finding};

/// One upstream at work.
pub(crate) struct Upstream {
    /// What was asked for.
    pub(crate) settings: config::Upstream,
    /// Who asked for it.
    pub(crate) provision: Provision,
    /// Its name as source and as destination: the host.
    pub(crate) name: Arc<str>,
    /// Calls to it.
    pub(crate) endpoint: Endpoint,
    /// What proves its callers; none where they need not prove anything.
    pub(crate) secrets: Option<AppSecrets>,
    /// What answers the handshake here; none where it is relayed.
    pub(crate) verify_tokens: Vec<VerifyToken>,
    /// What it is owed.
    pub(crate) destination: DestinationHandle,
}

/// Where an upstream comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Provision {
    /// The configuration: read-only at run time.
    Configuration,
    /// Made at run time: it lives in the store.
    Store,
}

impl Provision {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Store => "store",
        }
    }
}

/// All upstreams, and how they change.
pub(crate) struct Upstreams {
    table: ArcSwap<Table<Upstream>>,
    outbound: Outbound,
    dispatcher: Dispatcher,
    store: Store,
    clock: Clock,
    /// What the configuration asks for. Held while a change is made, so that changes follow one another.
    configured: Mutex<Vec<config::Upstream>>,
}

/// Why an upstream could not be added or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The settings are wrong.
    #[error("{0}")]
    Wrong(String),
    /// It is there already.
    #[error("`{0}` is on the allow-list already; remove it first")]
    Exists(String),
    /// There is no such upstream.
    #[error("`{0}` is not on the allow-list")]
    Unknown(String),
    /// The configuration asks for it, so it cannot be changed here.
    #[error("`{0}` is in the configuration; change it there, and the change takes effect by itself")]
    Configured(String),
    /// Something below failed.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl Upstreams {
    /// The upstreams that the configuration and the store ask for.
    ///
    /// # Errors
    ///
    /// When one of them cannot be set up, or the store cannot be read.
    pub(crate) async fn new(
        configured: Vec<config::Upstream>,
        dispatcher: Dispatcher,
        store: Store,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let outbound = Outbound::new(OutboundConfig::new(clock.clone()));
        let (table, configured_now) = (ArcSwap::default(), Mutex::new(Vec::new()));
        let this = Self { table, outbound, dispatcher, store, clock, configured: configured_now };
        this.configure(configured).await?;
        Ok(this)
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Guard<Arc<Table<Upstream>>> {
        self.table.load()
    }

    /// All upstreams, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Upstream>> {
        let mut all: Vec<_> = self.table().payloads().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The upstream of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Upstream>> {
        self.table().payloads().find(|upstream| *upstream.name == *name).cloned()
    }

    /// Takes over what the configuration now asks for.
    ///
    /// # Errors
    ///
    /// When something of it cannot be set up: then nothing has changed.
    pub(crate) async fn configure(&self, configured: Vec<config::Upstream>) -> anyhow::Result<()> {
        let mut current = self.configured.lock().await;
        let made = self.store.upstreams().await.context("cannot read the upstreams made at run time")?;
        self.swap(self.build(&configured, made)?)?;
        *current = configured;
        Ok(())
    }

    /// Adds an upstream at run time. `settings` is kept and read as the configuration's `[[upstream]]` is.
    /// Answers with it and with what of it is probably not meant.
    ///
    /// # Errors
    ///
    /// When it is wrong, is there already or cannot be kept: then nothing has changed.
    pub(crate) async fn add(&self, settings: String) -> Result<(Arc<Upstream>, Vec<Finding>), ChangeError> {
        let configured = self.configured.lock().await;
        let (upstream, warnings) = config::upstream_of_settings(&settings).map_err(ChangeError::Wrong)?;
        let host = upstream.host.to_string();
        if self.find(&host).is_some() {
            return Err(ChangeError::Exists(host));
        }
        let record = UpstreamRecord { host: host.clone(), settings, created_at: self.clock.wall() };
        let mut made = self.store.upstreams().await.map_err(failed)?;
        // One that was made before and could not be set up since is replaced.
        made.retain(|other| other.host != host);
        made.push(record.clone());
        // It is built before it is kept, so that what is kept can be built again.
        let next = self.build(&configured, made).map_err(|error| ChangeError::Wrong(format!("{error:#}")))?;
        self.store.upstream_put(record).await.map_err(failed)?;
        self.swap(next).map_err(ChangeError::Failed)?;
        Ok((self.find(&host).ok_or(ChangeError::Unknown(host))?, warnings))
    }

    /// Removes an upstream that was made at run time, one that cannot be set up too. What it is owed is kept.
    ///
    /// # Errors
    ///
    /// When there is no such upstream, it is the configuration's or the store fails: then nothing has changed.
    pub(crate) async fn remove(&self, host: &str) -> Result<(), ChangeError> {
        let configured = self.configured.lock().await;
        let host = host.to_ascii_lowercase();
        if configured.iter().any(|upstream| upstream.host.as_str() == host) {
            return Err(ChangeError::Configured(host));
        }
        let mut made = self.store.upstreams().await.map_err(failed)?;
        if !made.iter().any(|record| record.host == host) {
            return Err(ChangeError::Unknown(host));
        }
        made.retain(|record| record.host != host);
        let next = self.build(&configured, made).map_err(ChangeError::Failed)?;
        self.store.upstream_delete(&host).await.map_err(failed)?;
        self.swap(next).map_err(ChangeError::Failed)
    }

    /// Shows what was built: the destinations first, so that whatever the new table takes has one.
    fn swap(&self, next: Vec<Prepared>) -> anyhow::Result<()> {
        let rows = next.into_iter().map(|prepared| {
            let upstream = prepared.begin(&self.dispatcher);
            (upstream.settings.host.clone(), upstream.settings.paths.clone(), Arc::new(upstream))
        });
        // The same rows made a table once already.
        let next = Table::new(rows).context(INCONSISTENT)?;
        let former = self.table.swap(Arc::new(next));
        for upstream in former.payloads() {
            if self.find(&upstream.name).is_none() {
                self.dispatcher.remove(&upstream.name);
                tracing::info!(upstream = %upstream.name, "upstream removed");
            }
        }
        Ok(())
    }

    /// Everything that these upstreams need, none of it at work yet.
    fn build(
        &self,
        configured: &[config::Upstream],
        made: Vec<UpstreamRecord>,
    ) -> anyhow::Result<Vec<Prepared>> {
        let mut wanted: Vec<(config::Upstream, Provision)> =
            configured.iter().map(|upstream| (upstream.clone(), Provision::Configuration)).collect();
        for record in made {
            if configured.iter().any(|upstream| upstream.host.as_str() == record.host) {
                continue;
            }
            match config::upstream_of_settings(&record.settings) {
                Ok((upstream, _)) => wanted.push((upstream, Provision::Store)),
                // One that was good when it was made (its secret's file is gone, say) must neither keep the
                // others from being served nor, where it is at work, be taken down by their change.
                Err(error) => match self.find(&record.host) {
                    Some(former) => {
                        tracing::error!(upstream = %record.host, %error, "an upstream made at run time can no longer be set up; it goes on as it is");
                        wanted.push((former.settings.clone(), Provision::Store));
                    }
                    None => {
                        tracing::error!(upstream = %record.host, %error, "an upstream made at run time cannot be set up; it is left out");
                    }
                },
            }
        }
        let next: Vec<Prepared> = wanted
            .into_iter()
            .map(|(settings, provision)| {
                let host = settings.host.clone();
                self.prepare(settings, provision).with_context(|| format!("upstream {host}"))
            })
            .collect::<Result<_, _>>()?;
        let rows = next
            .iter()
            .map(|Prepared { settings, .. }| (settings.host.clone(), settings.paths.clone(), Arc::new(())));
        Table::new(rows).context(INCONSISTENT)?;
        Ok(next)
    }

    fn prepare(&self, settings: config::Upstream, provision: Provision) -> anyhow::Result<Prepared> {
        let former = self.find(settings.host.as_str());
        let endpoint = match former.filter(|former| former.settings == settings) {
            Some(same) => same.endpoint.clone(),
            None => self.endpoint(&settings)?,
        };
        let secrets =
            settings.app_secrets.iter().map(|secret| AppSecret::new(secret.label(), secret.expose()));
        let secrets = AppSecrets::new(secrets.collect::<Result<_, _>>()?);
        let verify_tokens =
            settings.verify_tokens.iter().filter_map(|token| VerifyToken::new(token.expose())).collect();
        Ok(Prepared { settings, provision, endpoint, secrets, verify_tokens })
    }

    fn endpoint(&self, settings: &config::Upstream) -> anyhow::Result<Endpoint> {
        let extra_roots = settings.ca_file.as_ref().map(|file| file.roots.clone()).unwrap_or_default();
        Ok(self.outbound.endpoint(EndpointConfig {
            origin: settings.origin.clone(),
            host: settings.host.to_string(),
            allow_private: settings.allow_private,
            extra_roots,
            connect_timeout: settings.delivery.connect_timeout,
        })?)
    }
}

/// An upstream before it is at work.
struct Prepared {
    settings: config::Upstream,
    provision: Provision,
    endpoint: Endpoint,
    secrets: Option<AppSecrets>,
    verify_tokens: Vec<VerifyToken>,
}

impl Prepared {
    /// Puts it to work.
    fn begin(self, dispatcher: &Dispatcher) -> Upstream {
        let Self { settings, provision, endpoint, secrets, verify_tokens } = self;
        let name: Arc<str> = settings.host.as_str().into();
        let delivery = &settings.delivery;
        let destination = dispatcher.put(Destination {
            name: name.clone(),
            sender: Arc::new(HttpSender::new(endpoint.clone(), delivery.timeout)),
            schedule: delivery.schedule.clone(),
            rulings: delivery.rulings.clone(),
            patience: match delivery.lane_patience {
                config::Patience::None => Patience::None,
                config::Patience::Forever => Patience::Forever,
                config::Patience::For(time) => Patience::For(time),
            },
            concurrency_max: delivery.concurrency_max,
            rate_max: delivery.rate_max.map(|rate| Rate { attempts: rate.attempts, per: rate.per }),
        });
        Upstream { settings, provision, name, endpoint, secrets, verify_tokens, destination }
    }
}

const INCONSISTENT: &str = "the allow-list is not consistent";

fn failed(error: waypost_store::StoreError) -> ChangeError {
    ChangeError::Failed(error.into())
}
