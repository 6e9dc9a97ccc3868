//! The table: everything that is at work, by what it is looked up by.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use waypost_edge::admission;
use waypost_engine::dispatch::DestinationHandle;
use waypost_engine::routing::{Recipient, Routing};
use waypost_engine::sender::HttpSender;
use waypost_outbound::Endpoint;
use waypost_whatsapp::{AppSecrets, VerifyToken};

use super::Quiet;
use crate::config;

/// Where an entry comes from.
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

/// One upstream at work.
pub(crate) struct Upstream {
    /// What was asked for.
    pub(crate) settings: Arc<config::Upstream>,
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
    /// What delivers to it.
    pub(crate) sender: Arc<HttpSender>,
    /// Everything to the receiver.
    pub(crate) routing: Routing,
    /// Keeps refused callers from flooding the log.
    pub(crate) refused: Quiet,
}

/// What of a source does not change with its routes.
pub(super) struct Proof {
    pub(super) settings: Arc<config::Source>,
    pub(super) secrets: AppSecrets,
    pub(super) verify_tokens: Vec<VerifyToken>,
    pub(super) refused: Quiet,
}

/// One source at work.
pub(crate) struct Source {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Who asked for it.
    pub(crate) provision: Provision,
    /// Where its events go.
    pub(crate) routing: Routing,
    pub(super) proof: Arc<Proof>,
}

impl Source {
    /// What was asked for.
    pub(crate) fn settings(&self) -> &config::Source {
        &self.proof.settings
    }

    /// What proves its callers.
    pub(crate) fn secrets(&self) -> &AppSecrets {
        &self.proof.secrets
    }

    /// What answers the handshake.
    pub(crate) fn verify_tokens(&self) -> &[VerifyToken] {
        &self.proof.verify_tokens
    }

    /// Keeps refused callers from flooding the log.
    pub(crate) fn refused(&self) -> &Quiet {
        &self.proof.refused
    }
}

/// One destination at work.
pub(crate) struct Destination {
    /// What was asked for.
    pub(crate) settings: Arc<config::Destination>,
    /// Who asked for it.
    pub(crate) provision: Provision,
    /// Its name.
    pub(crate) name: Arc<str>,
    /// What it is owed.
    pub(crate) handle: DestinationHandle,
    /// Calls to it.
    pub(crate) endpoint: Endpoint,
    /// What delivers to it.
    pub(crate) sender: Arc<HttpSender>,
    /// What routes lead to.
    pub(crate) recipient: Arc<Recipient>,
}

/// One route at work.
pub(crate) struct Route {
    /// What was asked for.
    pub(crate) settings: Arc<config::Route>,
    /// Who asked for it.
    pub(crate) provision: Provision,
    /// Its name; of one of the configuration without a name, its place there.
    pub(crate) name: Arc<str>,
    /// What of it leads nowhere: a source or destinations that are no longer there.
    pub(crate) lost: Vec<String>,
}

/// A token and the source it is the address of.
pub(super) struct Address {
    pub(super) token: Box<str>,
    pub(super) source: Arc<Source>,
}

/// Everything that is at work.
#[derive(Default)]
pub(crate) struct Table {
    pub(super) allow_list: admission::Table<Upstream>,
    pub(super) upstreams: BTreeMap<Arc<str>, Arc<Upstream>>,
    /// By SHA-256 of the token: where in the map a wrong one ends up tells nothing of a right one.
    pub(super) addresses: HashMap<[u8; 32], Address>,
    pub(super) sources: BTreeMap<Arc<str>, Arc<Source>>,
    pub(super) destinations: BTreeMap<Arc<str>, Arc<Destination>>,
    /// The configuration's in their order, then those made at run time by name.
    pub(super) routes: Vec<Route>,
}

impl Table {
    /// The allow-list.
    pub(crate) fn allow_list(&self) -> &admission::Table<Upstream> {
        &self.allow_list
    }

    /// All upstreams, by name.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// The upstream of that name.
    pub(crate) fn upstream(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.upstreams.get(name)
    }

    /// The source that a token is the address of. Takes the same time however much of a token is right.
    pub(crate) fn source_of_token(&self, token: &str) -> Option<&Arc<Source>> {
        let address = self.addresses.get(&hash_of_token(token))?;
        let is_it = constant_time::verify_slices_are_equal(address.token.as_bytes(), token.as_bytes());
        is_it.is_ok().then_some(&address.source)
    }

    /// The source of that name.
    pub(crate) fn source(&self, name: &str) -> Option<&Arc<Source>> {
        self.sources.get(name)
    }

    /// All sources, by name.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.sources.values()
    }

    /// The destination of that name.
    pub(crate) fn destination(&self, name: &str) -> Option<&Arc<Destination>> {
        self.destinations.get(name)
    }

    /// All destinations, by name.
    pub(crate) fn destinations(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.destinations.values()
    }

    /// All routes: the configuration's in their order, then those made at run time by name.
    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Where the events of a source or upstream go.
    pub(crate) fn routing(&self, source: &str) -> Option<&Routing> {
        let of_source = self.source(source).map(|source| &source.routing);
        of_source.or_else(|| self.upstream(source).map(|upstream| &upstream.routing))
    }

    /// The names of all that is owed anything.
    pub(super) fn owed_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.upstreams.keys().chain(self.destinations.keys())
    }

    pub(super) fn is_owed_name(&self, name: &str) -> bool {
        self.upstreams.contains_key(name) || self.destinations.contains_key(name)
    }

    /// The newest app secret of everything that has any.
    pub(super) fn secrets(&self) -> HashMap<Arc<str>, AppSecrets> {
        let of_sources = self.sources.values().map(|source| (source.name.clone(), source.secrets().clone()));
        let of_upstreams = self
            .upstreams
            .values()
            .filter_map(|upstream| Some((upstream.name.clone(), upstream.secrets.clone()?)));
        of_sources.chain(of_upstreams).collect()
    }
}

pub(super) fn hash_of_token(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}
