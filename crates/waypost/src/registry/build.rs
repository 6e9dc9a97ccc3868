//! From what is asked for to a table: first everything that can fail, then everything that cannot.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context;
use waypost_domain::{Match, Origin};
use waypost_edge::admission;
use waypost_engine::dispatch::{self, DestinationHandle};
use waypost_engine::routing::{Batches, Recipient, Routing};
use waypost_engine::sender::{HttpSender, HttpSenderConfig, Signing, StandardSecret};
use waypost_outbound::{Endpoint, EndpointConfig};
use waypost_whatsapp::{AppSecret, AppSecrets, VerifyToken};

use super::table::{Address, Destination, Proof, Provision, Route, Source, Table, Upstream, hash_of_token};
use super::wanted::Wanted;
use super::{Quiet, Registry};
use crate::config::{self, Secret, SignWith};

/// Everything for a table, none of it at work yet.
pub(super) struct Prepared {
    upstreams: Vec<Step<Upstream, NewUpstream>>,
    sources: Vec<(Arc<Proof>, Provision)>,
    destinations: Vec<Step<Destination, NewDestination>>,
    routes: Vec<(Arc<str>, Arc<config::Route>, Provision)>,
}

/// What goes on as it is, or what begins.
enum Step<T, N> {
    Same(Arc<T>),
    New(Box<N>),
}

struct NewUpstream {
    settings: Arc<config::Upstream>,
    provision: Provision,
    name: Arc<str>,
    endpoint: Endpoint,
    secrets: Option<AppSecrets>,
    verify_tokens: Vec<VerifyToken>,
    sender: Arc<HttpSender>,
}

struct NewDestination {
    settings: Arc<config::Destination>,
    provision: Provision,
    name: Arc<str>,
    endpoint: Endpoint,
    sender: Arc<HttpSender>,
}

impl Registry {
    /// Everything that a table needs. What is as it was is taken from the former one.
    pub(super) fn prepare(&self, wanted: &Wanted, former: &Table) -> anyhow::Result<Prepared> {
        let resolved = wanted.resolved();
        let upstreams: Vec<_> = resolved
            .upstreams
            .into_iter()
            .map(|(settings, provision)| {
                let host = settings.host.clone();
                self.prepare_upstream(settings, provision, former).with_context(|| format!("upstream {host}"))
            })
            .collect::<Result<_, _>>()?;
        let rows = upstreams.iter().map(|step| match step {
            Step::Same(same) => (same.settings.host.clone(), same.settings.paths.clone(), Arc::new(())),
            Step::New(new) => (new.settings.host.clone(), new.settings.paths.clone(), Arc::new(())),
        });
        admission::Table::new(rows).context(INCONSISTENT)?;
        let sources = resolved
            .sources
            .into_iter()
            .map(|(settings, provision)| {
                let name = settings.name.clone();
                let proof = prepare_source(settings, former).with_context(|| format!("source {name}"))?;
                Ok((proof, provision))
            })
            .collect::<anyhow::Result<_>>()?;
        let destinations = resolved
            .destinations
            .into_iter()
            .map(|(settings, provision)| {
                let name = settings.name.clone();
                self.prepare_destination(settings, provision, former)
                    .with_context(|| format!("destination {name}"))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Prepared { upstreams, sources, destinations, routes: resolved.routes })
    }

    fn prepare_upstream(
        &self,
        settings: Arc<config::Upstream>,
        provision: Provision,
        former: &Table,
    ) -> anyhow::Result<Step<Upstream, NewUpstream>> {
        self.is_elsewhere(&settings.origin)?;
        let same = former.upstream(settings.host.as_str()).filter(|former| *former.settings == *settings);
        if let Some(same) = same.filter(|same| same.provision == provision) {
            return Ok(Step::Same(same.clone()));
        }
        let endpoint = match same {
            Some(same) => same.endpoint.clone(),
            None => self.endpoint(
                settings.origin.clone(),
                settings.host.to_string(),
                settings.allow_private,
                settings.ca_file.as_ref(),
                settings.delivery.connect_timeout,
            )?,
        };
        let secrets = AppSecrets::new(app_secrets(&settings.app_secrets)?);
        let signing = match (settings.batches, &settings.sign_with) {
            (config::Batches::Whole, SignWith::Source) => Signing::AsReceived,
            (_, sign_with) => signing(sign_with)?,
        };
        let config = self.sender_config(&endpoint, &settings.delivery, None, signing, Vec::new());
        let sender = Arc::new(HttpSender::new(config));
        Ok(Step::New(Box::new(NewUpstream {
            name: settings.host.as_str().into(),
            verify_tokens: verify_tokens(&settings.verify_tokens),
            settings,
            provision,
            endpoint,
            secrets,
            sender,
        })))
    }

    fn prepare_destination(
        &self,
        settings: Arc<config::Destination>,
        provision: Provision,
        former: &Table,
    ) -> anyhow::Result<Step<Destination, NewDestination>> {
        self.is_elsewhere(&settings.url.origin)?;
        let same = former.destination(&settings.name).filter(|former| *former.settings == *settings);
        if let Some(same) = same.filter(|same| same.provision == provision) {
            return Ok(Step::Same(same.clone()));
        }
        let endpoint = match same {
            Some(same) => same.endpoint.clone(),
            None => self.endpoint(
                settings.url.origin.clone(),
                settings.url.host.to_string(),
                settings.allow_private,
                settings.ca_file.as_ref(),
                settings.delivery.connect_timeout,
            )?,
        };
        let standard = settings.webhook_secrets.iter().map(|secret| StandardSecret::parse(secret.expose()));
        let standard = standard.collect::<Result<_, _>>()?;
        let target = Some(settings.url.path_and_query.clone());
        let signing = signing(&settings.sign_with)?;
        let config = self.sender_config(&endpoint, &settings.delivery, target, signing, standard);
        let sender = Arc::new(match settings.format {
            config::Format::Meta => HttpSender::new(config),
            config::Format::Event => HttpSender::of_events(config, self.store.clone()),
        });
        let name = settings.name.as_str().into();
        Ok(Step::New(Box::new(NewDestination { settings, provision, name, endpoint, sender })))
    }

    /// What pings an upstream: as its deliveries go, but signed, since a ping brings no signature of its own.
    pub(crate) fn pinger(&self, upstream: &Upstream) -> Arc<HttpSender> {
        match upstream.settings.sign_with {
            SignWith::Source => {
                let delivery = &upstream.settings.delivery;
                let config =
                    self.sender_config(&upstream.endpoint, delivery, None, Signing::Source, Vec::new());
                Arc::new(HttpSender::new(config))
            }
            SignWith::Secret(_) | SignWith::Nothing => upstream.sender.clone(),
        }
    }

    /// Nothing is sent to where it came in.
    fn is_elsewhere(&self, origin: &Origin) -> anyhow::Result<()> {
        match self.own.is(origin) {
            Some(why) => Err(anyhow::anyhow!("{why}: events would come back here for ever")),
            None => Ok(()),
        }
    }

    fn endpoint(
        &self,
        origin: Origin,
        host: String,
        allow_private: bool,
        ca_file: Option<&config::CaFile>,
        connect_timeout: std::time::Duration,
    ) -> anyhow::Result<Endpoint> {
        let extra_roots = ca_file.map(|file| file.roots.clone()).unwrap_or_default();
        let config = EndpointConfig { origin, host, allow_private, extra_roots, connect_timeout };
        Ok(self.outbound.endpoint(config)?)
    }

    fn sender_config(
        &self,
        endpoint: &Endpoint,
        delivery: &config::Delivery,
        target: Option<http::uri::PathAndQuery>,
        signing: Signing,
        standard: Vec<StandardSecret>,
    ) -> HttpSenderConfig {
        HttpSenderConfig {
            endpoint: endpoint.clone(),
            deadline: delivery.timeout,
            target,
            signing,
            standard,
            keyring: self.keyring.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Puts everything to work and makes the table of it.
    pub(super) fn begin(&self, prepared: Prepared) -> anyhow::Result<Table> {
        let Prepared { upstreams, sources, destinations, routes } = prepared;
        let upstreams: BTreeMap<Arc<str>, Arc<Upstream>> = upstreams
            .into_iter()
            .map(|step| match step {
                Step::Same(same) => (same.name.clone(), same),
                Step::New(new) => (new.name.clone(), Arc::new(self.begin_upstream(*new))),
            })
            .collect();
        let rows = upstreams.values().map(|upstream| {
            (upstream.settings.host.clone(), upstream.settings.paths.clone(), upstream.clone())
        });
        // The same rows made a table once already.
        let allow_list = admission::Table::new(rows).context(INCONSISTENT)?;
        let destinations: BTreeMap<Arc<str>, Arc<Destination>> = destinations
            .into_iter()
            .map(|step| match step {
                Step::Same(same) => (same.name.clone(), same),
                Step::New(new) => (new.name.clone(), Arc::new(self.begin_destination(*new))),
            })
            .collect();
        let names = sources.iter().map(|(proof, _)| proof.settings.name.as_str()).collect();
        let (routes, mut led) = lead(routes, &names, &destinations);
        let mut table = Table { allow_list, upstreams, destinations, routes, ..Table::default() };
        for (proof, provision) in sources {
            let name: Arc<str> = proof.settings.name.as_str().into();
            let routing = Routing::new(led.remove(&*name).unwrap_or_default());
            let source = Arc::new(Source { name: name.clone(), provision, routing, proof });
            for token in &source.settings().tokens {
                let address = Address { token: token.expose().into(), source: source.clone() };
                table.addresses.insert(hash_of_token(token.expose()), address);
            }
            table.sources.insert(name, source);
        }
        Ok(table)
    }

    fn begin_upstream(&self, new: NewUpstream) -> Upstream {
        let NewUpstream { settings, provision, name, endpoint, secrets, verify_tokens, sender } = new;
        let destination = self.put(&name, &sender, &settings.delivery);
        let recipient = Arc::new(Recipient::new(destination.clone(), batches(settings.batches)));
        let routing = Routing::new([(Match::everything(), [recipient])]);
        let refused = Quiet::default();
        Upstream {
            settings,
            provision,
            name,
            endpoint,
            secrets,
            verify_tokens,
            destination,
            sender,
            routing,
            refused,
        }
    }

    fn begin_destination(&self, new: NewDestination) -> Destination {
        let NewDestination { settings, provision, name, endpoint, sender } = new;
        let handle = self.put(&name, &sender, &settings.delivery);
        let recipient = Arc::new(Recipient::new(handle.clone(), batches(settings.batches)));
        Destination { settings, provision, name, handle, endpoint, sender, recipient }
    }

    fn put(
        &self,
        name: &Arc<str>,
        sender: &Arc<HttpSender>,
        delivery: &config::Delivery,
    ) -> DestinationHandle {
        self.dispatcher.put(dispatch::Destination {
            name: name.clone(),
            sender: sender.clone(),
            schedule: delivery.schedule.clone(),
            rulings: delivery.rulings.clone(),
            patience: delivery.lane_patience,
            concurrency_max: delivery.concurrency_max,
            rate_max: delivery.rate_max,
        })
    }
}

type Led = HashMap<String, Vec<(Match, Vec<Arc<Recipient>>)>>;

/// Where the routes of each source lead. What leads nowhere any more is told, and takes nothing.
fn lead(
    routes: Vec<(Arc<str>, Arc<config::Route>, Provision)>,
    sources: &std::collections::HashSet<&str>,
    destinations: &BTreeMap<Arc<str>, Arc<Destination>>,
) -> (Vec<Route>, Led) {
    let mut led = Led::new();
    let routes = routes.into_iter().map(|(name, settings, provision)| {
        let mut lost = Vec::new();
        let mut to = Vec::with_capacity(settings.to.len());
        for wanted in &settings.to {
            match destinations.get(wanted.as_str()) {
                Some(destination) => to.push(destination.recipient.clone()),
                None => lost.push(format!("destination {wanted}")),
            }
        }
        if !sources.contains(settings.source.as_str()) {
            lost.push(format!("source {}", settings.source));
        }
        for lost in &lost {
            tracing::error!(route = %name, "the route names {lost}, which is not there any more");
        }
        if !to.is_empty() {
            led.entry(settings.source.clone()).or_default().push((settings.wanted.clone(), to));
        }
        Route { settings, provision, name, lost }
    });
    (routes.collect(), led)
}

fn prepare_source(settings: Arc<config::Source>, former: &Table) -> anyhow::Result<Arc<Proof>> {
    let same = former.source(&settings.name).filter(|former| *former.settings() == *settings);
    if let Some(same) = same {
        return Ok(same.proof.clone());
    }
    let secrets = AppSecrets::new(app_secrets(&settings.app_secrets)?).context("it has no app secret")?;
    let verify_tokens = verify_tokens(&settings.verify_tokens);
    Ok(Arc::new(Proof { settings, secrets, verify_tokens, refused: Quiet::default() }))
}

fn app_secrets(secrets: &[Secret]) -> anyhow::Result<Vec<AppSecret>> {
    let secrets = secrets.iter().map(|secret| AppSecret::new(secret.label(), secret.expose()));
    Ok(secrets.collect::<Result<_, _>>()?)
}

fn verify_tokens(tokens: &[Secret]) -> Vec<VerifyToken> {
    tokens.iter().filter_map(|token| VerifyToken::new(token.expose())).collect()
}

fn signing(sign_with: &SignWith) -> anyhow::Result<Signing> {
    Ok(match sign_with {
        SignWith::Source => Signing::Source,
        SignWith::Secret(secret) => Signing::With(AppSecret::new(secret.label(), secret.expose())?),
        SignWith::Nothing => Signing::Nothing,
    })
}

fn batches(batches: config::Batches) -> Batches {
    match batches {
        config::Batches::Whole => Batches::Whole,
        config::Batches::Split => Batches::Split,
    }
}

const INCONSISTENT: &str = "the allow-list is not consistent";
