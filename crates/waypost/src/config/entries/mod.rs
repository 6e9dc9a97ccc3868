//! Sources, destinations and routes: what may be said of them, in the file and at run time alike.

mod compose;
mod doubts;
mod read;

use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;
use waypost_domain::{Match, Origin, UpstreamHost};

pub(super) use compose::{Around, compose, one_destination, one_route, one_source};
pub(super) use read::{Drafts, destination, read, route, sign_with, source};

use super::{CaFile, Delivery, Secret};

/// Sources that there may be.
pub(crate) const SOURCES_MAX: usize = 10_000;
/// Destinations that there may be.
pub(crate) const DESTINATIONS_MAX: usize = 10_000;
/// Destinations that one route may lead to.
pub(crate) const ROUTE_TO_MAX: usize = 100;
/// Destinations that all routes together may name, one that is named twice counted twice.
pub(crate) const ROUTES_TO_MAX: usize = 100_000;

/// `[[source]]`: an inbound address, `/w/TOKEN`, and what proves its callers.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Source {
    /// Its name; never an upstream's host.
    pub(crate) name: String,
    /// What its address ends with; the newest first, more than one while it changes. At least one.
    pub(crate) tokens: Vec<Secret>,
    /// Any of these answers the handshake; without one every handshake is refused.
    pub(crate) verify_tokens: Vec<Secret>,
    /// Any of these proves a caller; the newest first. At least one.
    pub(crate) app_secrets: Vec<Secret>,
}

/// `[[destination]]`: where deliveries go.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Destination {
    /// Its name; never an upstream's host.
    pub(crate) name: String,
    /// Its address.
    pub(crate) url: ReceiverUrl,
    /// In what shape it takes events.
    pub(crate) format: Format,
    /// In what form it takes requests of several events.
    pub(crate) batches: Batches,
    /// What its deliveries are signed with.
    pub(crate) sign_with: SignWith,
    /// What deliveries of single events are signed with besides, as Standard Webhooks has it.
    pub(crate) webhook_secrets: Vec<Secret>,
    /// Whether its address may be private, loopback or link-local.
    pub(crate) allow_private: bool,
    /// Extra trust for its certificate.
    pub(crate) ca_file: Option<CaFile>,
    /// How it is delivered to.
    pub(crate) delivery: Delivery,
}

/// `[[route]]`: which events of a source go where.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Route {
    /// Its name, where somebody gave it one.
    pub(crate) name: Option<String>,
    /// The source whose events it takes.
    pub(crate) source: String,
    /// Which of them.
    pub(crate) wanted: Match,
    /// Where they go: at least one name, each once.
    pub(crate) to: Vec<String>,
}

/// In what form a destination takes requests of several events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Batches {
    /// As they came, where all their events are for it.
    Whole,
    /// One event at a time.
    Split,
}

/// In what shape a destination takes events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// As Meta wrote them.
    Meta,
    /// Normalised, one at a time.
    Event,
}

impl Format {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Event => "event",
        }
    }
}

/// What deliveries are signed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SignWith {
    /// The source's newest app secret.
    Source,
    /// This one.
    Secret(Secret),
    /// Nothing: they bear no signature.
    Nothing,
}

/// A receiver's whole address, its path and query byte for byte as written.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ReceiverUrl {
    /// As written.
    pub(super) text: String,
    /// Where it is.
    pub(crate) origin: Origin,
    /// Who is meant: for the `Host` header and the certificate.
    pub(crate) host: UpstreamHost,
    /// What is called there.
    pub(crate) path_and_query: PathAndQuery,
}

impl ReceiverUrl {
    /// The address without its query, which may hold a secret.
    pub(crate) fn without_query(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }
}

impl fmt::Debug for ReceiverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.without_query(), f)
    }
}

/// Sources, destinations and routes that fit together.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) sources: Vec<Arc<Source>>,
    pub(super) destinations: Vec<Arc<Destination>>,
    pub(super) routes: Vec<Arc<Route>>,
}

impl Source {
    /// The address's path for one of its tokens.
    pub(crate) fn path(token: &Secret) -> String {
        format!("/w/{}", token.expose())
    }
}

impl Batches {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Split => "split",
        }
    }
}
