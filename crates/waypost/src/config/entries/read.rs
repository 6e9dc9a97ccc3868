//! The keys of `[[source]]`, `[[destination]]` and `[[route]]`.

use std::cell::Cell;

use waypost_domain::{Match, MatchKey};
use waypost_whatsapp::{Class, Kind};

use super::super::CaFile;
use super::super::file::{self, Delivery};
use super::super::finding::{Place, shown};
use super::super::forms::{self, Wrong};
use super::super::loading::Loading;
use super::super::pem;
use super::super::section::{Item, Read, Section, boolean, just, one_or_list, private, text};
use super::super::{Secret, secret};
use super::{Batches, Format, ReceiverUrl, SignWith};

/// What the file says of them, section by section.
#[derive(Default)]
pub(crate) struct Drafts {
    pub(super) sources: Vec<Source>,
    pub(super) destinations: Vec<Destination>,
    pub(super) routes: Vec<Route>,
}

impl Drafts {
    /// Whether there is any source.
    pub(crate) fn has_sources(&self) -> bool {
        !self.sources.is_empty()
    }
}

pub(crate) struct Source {
    pub(super) place: Place,
    pub(super) name: Read<String>,
    pub(super) tokens: Read<Vec<Secret>>,
    pub(super) verify_tokens: Read<Vec<Secret>>,
    pub(super) app_secrets: Read<Vec<Secret>>,
}

pub(crate) struct Destination {
    pub(super) place: Place,
    pub(super) name: Read<String>,
    pub(super) url: Read<ReceiverUrl>,
    pub(super) format: Read<Format>,
    pub(super) batches: Read<Batches>,
    pub(super) sign_with: Read<SignWith>,
    pub(super) webhook_secrets: Read<Vec<Secret>>,
    pub(super) allow_private: Read<bool>,
    pub(super) ca_file: Read<CaFile>,
    pub(super) delivery: Delivery,
}

pub(crate) struct Route {
    pub(super) place: Place,
    pub(super) name: Read<String>,
    pub(super) source: Read<String>,
    pub(super) wanted: Read<Match>,
    /// Whether the match is a table, rather than a word.
    pub(super) is_table: bool,
    pub(super) to: Read<Vec<String>>,
}

/// Reads all of them.
pub(crate) fn read(whole: &mut Section<'_>, loading: &mut Loading<'_>) -> Drafts {
    let mut drafts = Drafts::default();
    for section in whole.sections("source", loading) {
        drafts.sources.push(source(section, loading));
    }
    for section in whole.sections("destination", loading) {
        drafts.destinations.push(destination(section, loading));
    }
    for section in whole.sections("route", loading) {
        drafts.routes.push(route(section, loading));
    }
    drafts
}

/// Reads one source.
pub(crate) fn source(mut section: Section<'_>, loading: &mut Loading<'_>) -> Source {
    let secret = || private(secret::of_key);
    let token = || private(token);
    let source = Source {
        place: section.place().clone(),
        name: section.read("name", loading, text(forms::name)),
        tokens: section.read("token", loading, one_or_list(just(token()), token())),
        verify_tokens: section.read("verify_token", loading, one_or_list(just(secret()), secret())),
        app_secrets: section.read("app_secrets", loading, one_or_list(just(secret()), secret())),
    };
    section.finish(loading);
    source
}

/// Reads one destination.
pub(crate) fn destination(mut section: Section<'_>, loading: &mut Loading<'_>) -> Destination {
    let webhook_secret = || private(webhook_secret);
    let destination = Destination {
        place: section.place().clone(),
        name: section.read("name", loading, text(forms::name)),
        url: section.read("url", loading, text(forms::url)),
        format: section.read("format", loading, text(forms::format)),
        batches: section.read("batches", loading, text(forms::batches)),
        sign_with: section.read("sign_with", loading, private(sign_with)),
        webhook_secrets: section.read(
            "webhook_secrets",
            loading,
            one_or_list(just(webhook_secret()), webhook_secret()),
        ),
        allow_private: section.read("allow_private", loading, boolean),
        ca_file: section.read("ca_file", loading, private(|text, _, loading| pem::roots(text, loading))),
        delivery: file::delivery(&mut section, loading),
    };
    section.finish(loading);
    destination
}

/// Reads one route.
pub(crate) fn route(mut section: Section<'_>, loading: &mut Loading<'_>) -> Route {
    let is_table = Cell::new(false);
    let route = Route {
        place: section.place().clone(),
        name: section.read("name", loading, text(forms::name)),
        source: section.read("source", loading, text(forms::name)),
        wanted: section.read("match", loading, |item, loading| {
            is_table.set(item.section().is_some());
            wanted(item, loading)
        }),
        is_table: is_table.get(),
        to: section.read("to", loading, one_or_list(just(text(forms::name)), text(forms::name))),
    };
    section.finish(loading);
    route
}

/// Reads a match: `"all"`, or a table of keys that must all hold. An empty table takes everything.
fn wanted(item: &Item<'_>, loading: &mut Loading<'_>) -> Option<Match> {
    let Some(mut section) = item.section() else {
        let all = |text: &str| match text {
            "all" => Ok(Match::everything()),
            _ => Err(Wrong::new(format!("{} is not a match", shown(text)), MATCH_REMEDY)),
        };
        return text(all)(item, loading);
    };
    let mut stands = true;
    let mut keys = Vec::new();
    for key in MatchKey::ALL {
        let value = || text(move |text: &str| value(key, text));
        match section.read(key.as_str(), loading, one_or_list(just(value()), value())) {
            Read::Absent => {}
            Read::Faulty => stands = false,
            Read::Given(values, place) => match Match::new([(key, &values)]) {
                Ok(_) => keys.push((key, values)),
                Err(error) => {
                    stands = false;
                    loading.fault(place, error.to_string(), "List what it may be, like [\"a\", \"b\"]");
                }
            },
        }
    }
    let strangers = section.finish(loading);
    // Every key was tried alone, and none occurs twice.
    Match::new(keys).ok().filter(|_| stands && !strangers)
}

/// How a match is written.
pub(super) const MATCH_REMEDY: &str = "Write match = { phone_number_id = \"…\" }, or match = \"all\" for every event; the keys are phone_number_id, display_phone_number, waba_id, field, kind, type and class";

/// One value of a key of a match. Of what is ours to name, only the names there are.
fn value(key: MatchKey, text: &str) -> Result<String, Wrong> {
    let known: Option<Vec<&str>> = match key {
        MatchKey::Kind if Kind::parse(text).is_none() => Some(Kind::ALL.map(Kind::as_str).to_vec()),
        MatchKey::Class if Class::parse(text).is_none() => {
            Some([Class::Message, Class::Operational].map(Class::as_str).to_vec())
        }
        _ => None,
    };
    match known {
        Some(known) => Err(Wrong::new(
            format!("{} is not a {key}", shown(text)),
            format!("Known are {}", known.join(", ")),
        )),
        None => Ok(text.to_owned()),
    }
}

/// A source's token, which is as good as a key: no fault repeats it.
fn token(text: &str, key: &str, loading: &mut Loading<'_>) -> Result<Secret, Wrong> {
    let secret = secret::of_key(text, key, loading)?;
    forms::token(secret.expose())?;
    Ok(secret)
}

/// What deliveries are signed with: `none`, or a secret.
pub(crate) fn sign_with(text: &str, key: &str, loading: &mut Loading<'_>) -> Result<SignWith, Wrong> {
    match text {
        "none" => Ok(SignWith::Nothing),
        _ => secret::of_key(text, key, loading).map(SignWith::Secret),
    }
}

fn webhook_secret(text: &str, key: &str, loading: &mut Loading<'_>) -> Result<Secret, Wrong> {
    let secret = secret::of_key(text, key, loading)?;
    forms::webhook_secret(secret.expose())?;
    Ok(secret)
}
