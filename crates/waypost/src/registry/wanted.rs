//! What is asked for: by the configuration, and at run time.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use waypost_store::{EntryKind, EntryRecord};

use super::table::Provision;
use crate::config::{self, Config, Fingerprint, Made, Own};

/// Everything that is asked for.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    pub(super) configured: Configured,
    /// By kind and name in lower case.
    made: BTreeMap<(EntryKind, String), Arc<Entry>>,
}

/// What the configuration asks for.
#[derive(Clone, Default)]
pub(super) struct Configured {
    upstreams: Vec<Arc<config::Upstream>>,
    sources: Vec<Arc<config::Source>>,
    destinations: Vec<Arc<config::Destination>>,
    routes: Vec<Arc<config::Route>>,
}

impl Configured {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            upstreams: config.upstreams.iter().cloned().map(Arc::new).collect(),
            sources: config.sources.clone(),
            destinations: config.destinations.clone(),
            routes: config.routes.clone(),
        }
    }
}

/// An entry made at run time.
pub(super) struct Entry {
    pub(super) record: EntryRecord,
    /// `None` if it cannot be read any more, and was not since the start.
    pub(super) read: Option<Read>,
    fingerprint: Fingerprint,
}

/// What an entry asks for.
#[derive(Clone)]
pub(super) enum Read {
    Upstream(Arc<config::Upstream>),
    Source(Arc<config::Source>),
    Destination(Arc<config::Destination>),
    Route(Arc<config::Route>),
}

impl Read {
    /// What a record's settings ask for.
    pub(super) fn of(kind: EntryKind, settings: &str, own: &Own) -> Result<Made<Self>, String> {
        fn made<T>(made: Made<T>, wrap: impl FnOnce(Arc<T>) -> Read) -> Made<Read> {
            let Made { entry, warnings, fingerprint } = made;
            Made { entry: wrap(Arc::new(entry)), warnings, fingerprint }
        }
        Ok(match kind {
            EntryKind::Upstream => made(config::upstream_of_settings(settings, own)?, Self::Upstream),
            EntryKind::Source => made(config::source_of_settings(settings)?, Self::Source),
            EntryKind::Destination => {
                made(config::destination_of_settings(settings, own)?, Self::Destination)
            }
            EntryKind::Route => made(config::route_of_settings(settings)?, Self::Route),
            EntryKind::Certificate | EntryKind::TokenKey | EntryKind::Token => {
                return Err(format!("a {} is not made by hand", kind.as_str()));
            }
        })
    }
}

/// What is to be at work, each name once.
#[derive(Default)]
pub(super) struct Resolved {
    pub(super) upstreams: Vec<(Arc<config::Upstream>, Provision)>,
    pub(super) sources: Vec<(Arc<config::Source>, Provision)>,
    pub(super) destinations: Vec<(Arc<config::Destination>, Provision)>,
    pub(super) routes: Vec<(Arc<str>, Arc<config::Route>, Provision)>,
}

impl Wanted {
    /// The entry of that name made at run time.
    pub(super) fn made(&self, kind: EntryKind, name: &str) -> Option<&Arc<Entry>> {
        self.made.get(&(kind, name.to_ascii_lowercase()))
    }

    /// How many of a kind there are.
    pub(super) fn count(&self, kind: EntryKind) -> usize {
        let configured = match kind {
            EntryKind::Upstream => self.configured.upstreams.len(),
            EntryKind::Source => self.configured.sources.len(),
            EntryKind::Destination => self.configured.destinations.len(),
            EntryKind::Route => self.configured.routes.len(),
            EntryKind::Certificate | EntryKind::TokenKey | EntryKind::Token => 0,
        };
        let made = self.made.keys().filter(|(made, _)| *made == kind).count();
        configured + made
    }

    /// Whether the configuration has it.
    pub(super) fn is_configured(&self, kind: EntryKind, name: &str) -> bool {
        let configured = &self.configured;
        let is = |other: &str| other.eq_ignore_ascii_case(name);
        match kind {
            EntryKind::Upstream => configured.upstreams.iter().any(|upstream| is(upstream.host.as_str())),
            EntryKind::Source => configured.sources.iter().any(|source| is(&source.name)),
            EntryKind::Destination => configured.destinations.iter().any(|other| is(&other.name)),
            EntryKind::Route => (0..)
                .zip(&configured.routes)
                .any(|(place, route)| route.name.as_deref().map_or_else(|| is(&unnamed(place)), is)),
            EntryKind::Certificate | EntryKind::TokenKey | EntryKind::Token => false,
        }
    }

    /// Adds or replaces an entry that was read.
    pub(super) fn put(&mut self, record: EntryRecord, read: Read, fingerprint: Fingerprint) {
        let key = (record.kind, record.name.to_ascii_lowercase());
        self.made.insert(key, Arc::new(Entry { record, read: Some(read), fingerprint }));
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, kind: EntryKind, name: &str) -> Option<Arc<Entry>> {
        self.made.remove(&(kind, name.to_ascii_lowercase()))
    }

    /// Adds an entry as the store has it, also one that can no longer be read.
    pub(super) fn remember(&mut self, record: EntryRecord, own: &Own) {
        let read = Read::of(record.kind, &record.settings, own);
        let key = (record.kind, record.name.to_ascii_lowercase());
        let (read, fingerprint) = match read {
            Ok(made) => (Some(made.entry), made.fingerprint),
            Err(error) => {
                tracing::error!(kind = record.kind.as_str(), name = %record.name, %error, "what was made at run time can no longer be set up; it is left out");
                (None, Fingerprint::default())
            }
        };
        self.made.insert(key, Arc::new(Entry { record, read, fingerprint }));
    }

    /// Reads those anew whose files have changed, and those that could not be read. One that was good when it was made
    /// (its secret's file is gone, say) goes on as it is: it must neither keep the others from being served nor be
    /// taken down by their change.
    ///
    /// Answers whether anything is other than before. Blocks on the disk.
    pub(super) fn renew(&mut self, own: &Own) -> bool {
        let mut changed = false;
        for entry in self.made.values_mut() {
            let now = entry.fingerprint.renewed();
            if entry.read.is_some() && now == entry.fingerprint {
                continue;
            }
            changed |= entry.read.is_some();
            let EntryRecord { kind, name, settings, .. } = &entry.record;
            match Read::of(*kind, settings, own) {
                Ok(made) => {
                    let (record, fingerprint) = (entry.record.clone(), made.fingerprint);
                    changed = true;
                    *entry = Arc::new(Entry { record, read: Some(made.entry), fingerprint });
                }
                Err(error) if entry.read.is_some() => {
                    tracing::error!(kind = kind.as_str(), %name, %error, "what was made at run time can no longer be set up; it goes on as it is");
                    let (record, read) = (entry.record.clone(), entry.read.clone());
                    *entry = Arc::new(Entry { record, read, fingerprint: now });
                }
                Err(_) => {}
            }
        }
        changed
    }

    /// The files that entries made at run time name.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.made.values().fold(Fingerprint::default(), |all, entry| all.joined(entry.fingerprint.clone()))
    }

    /// What is to be at work. The configuration goes before what was made at run time: what contradicts it is left
    /// out, and told.
    pub(super) fn resolved(&self) -> Resolved {
        let Configured { upstreams, sources, destinations, routes } = &self.configured;
        let configured = Provision::Configuration;
        let mut resolved = Resolved {
            upstreams: upstreams.iter().map(|upstream| (upstream.clone(), configured)).collect(),
            sources: sources.iter().map(|source| (source.clone(), configured)).collect(),
            destinations: destinations.iter().map(|other| (other.clone(), configured)).collect(),
            routes: (0..)
                .zip(routes)
                .map(|(place, route)| {
                    let name = route.name.clone().unwrap_or_else(|| unnamed(place));
                    (name.into(), route.clone(), configured)
                })
                .collect(),
        };
        let mut taken = Taken::of(&self.configured);
        for entry in self.made.values() {
            let (Some(read), EntryRecord { kind, name, .. }) = (&entry.read, &entry.record) else { continue };
            if !taken.admits(read, name) {
                tracing::warn!(kind = kind.as_str(), %name, "what was made at run time is left out: the configuration has its name, host or token");
                continue;
            }
            match read {
                Read::Upstream(upstream) => resolved.upstreams.push((upstream.clone(), Provision::Store)),
                Read::Source(source) => resolved.sources.push((source.clone(), Provision::Store)),
                Read::Destination(other) => resolved.destinations.push((other.clone(), Provision::Store)),
                Read::Route(route) => {
                    resolved.routes.push((name.as_str().into(), route.clone(), Provision::Store));
                }
            }
        }
        resolved
    }
}

/// A route of the configuration without a name, by its place there.
fn unnamed(place: usize) -> String {
    format!("route[{place}]")
}

/// Names, hosts and tokens that are somebody's.
struct Taken {
    sources: HashSet<String>,
    destinations: HashSet<String>,
    routes: HashSet<String>,
    tokens: HashSet<String>,
}

impl Taken {
    fn of(configured: &Configured) -> Self {
        let hosts = configured.upstreams.iter().map(|upstream| upstream.host.as_str());
        let lower = |name: &str| name.to_ascii_lowercase();
        let sources = configured.sources.iter().map(|source| source.name.as_str());
        let destinations = configured.destinations.iter().map(|destination| destination.name.as_str());
        let tokens = configured.sources.iter().flat_map(|source| &source.tokens);
        Self {
            sources: hosts.clone().chain(sources).map(lower).collect(),
            destinations: hosts.chain(destinations).map(lower).collect(),
            routes: configured.routes.iter().filter_map(|route| route.name.as_deref()).map(lower).collect(),
            tokens: tokens.map(|token| token.expose().to_owned()).collect(),
        }
    }

    /// Whether an entry takes nothing that is another's; then it is taken.
    fn admits(&mut self, read: &Read, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        match read {
            Read::Upstream(_) => self.sources.insert(name.clone()) & self.destinations.insert(name),
            Read::Source(source) => {
                let tokens = || source.tokens.iter().map(|token| token.expose().to_owned());
                let is_free = !tokens().any(|token| self.tokens.contains(&token));
                if is_free && self.sources.insert(name) {
                    self.tokens.extend(tokens());
                    return true;
                }
                false
            }
            Read::Destination(_) => self.destinations.insert(name),
            Read::Route(_) => self.routes.insert(name),
        }
    }
}
