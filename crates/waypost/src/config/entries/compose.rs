//! The rules between sources, destinations and routes: each name once, nothing that leads nowhere or back here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use waypost_domain::{ROUTE_VALUES_MAX, ROUTES_MAX};

use super::super::allow_list;
use super::super::finding::Place;
use super::super::loading::Loading;
use super::super::own::Own;
use super::super::section::Read;
use super::super::{Secret, Upstream};
use super::doubts;
use super::read::{self, Drafts, MATCH_REMEDY};
use super::{
    Batches, DESTINATIONS_MAX, Destination, Entries, Format, ROUTE_TO_MAX, ROUTES_TO_MAX, Route, SOURCES_MAX,
    SignWith, Source,
};

/// What the sections are judged against.
pub(crate) struct Around<'a> {
    /// Where this gateway itself is called.
    pub(crate) own: &'a Own,
    /// The allow-list, whose hosts are names of sources and destinations too.
    pub(crate) upstreams: &'a [Upstream],
}

/// All of them, unless one is faulty.
pub(crate) fn compose(drafts: Drafts, around: &Around<'_>, loading: &mut Loading<'_>) -> Option<Entries> {
    let Drafts { sources, destinations, routes } = drafts;
    let mut stands = true;
    let counts = [
        ("source", sources.len(), SOURCES_MAX),
        ("destination", destinations.len(), DESTINATIONS_MAX),
        ("route", routes.len(), ROUTES_MAX),
    ];
    for (key, count, most) in counts {
        if count > most {
            stands = false;
            loading.fault(
                Place::outside(key),
                format!("there are {count} of them"),
                format!("Give at most {most}"),
            );
        }
    }
    if !stands {
        return None;
    }
    let hosts: HashSet<&str> = around.upstreams.iter().map(|upstream| upstream.host.as_str()).collect();
    let source_names = names(sources.iter().map(|draft| (&draft.name, &draft.place)), &hosts, loading);
    let destination_names =
        names(destinations.iter().map(|draft| (&draft.name, &draft.place)), &hosts, loading);
    names(routes.iter().map(|draft| (&draft.name, &draft.place)), &HashSet::new(), loading);
    unlike(&sources, loading);
    let routed: HashSet<String> =
        routes.iter().filter_map(|route| route.source.given()).map(|(name, _)| name.clone()).collect();
    let sources: Vec<Option<Source>> = sources
        .into_iter()
        .map(|draft| {
            let place = draft.place.clone();
            let source = source(draft, loading);
            if let Some(source) = &source
                && !routed.contains(&source.name)
            {
                let what = format!("no route takes events of {}: all of them are quarantined", source.name);
                loading.warn(place, what, "Add a [[route]] with this source");
            }
            source
        })
        .collect();
    let destinations: Vec<Option<Destination>> =
        destinations.into_iter().map(|draft| destination(draft, around.own, loading)).collect();
    let places: Vec<Place> = routes.iter().map(|draft| draft.place.clone()).collect();
    let routes: Vec<Option<Route>> = routes
        .into_iter()
        .map(|draft| {
            leads_somewhere(&draft, source_names.as_ref(), destination_names.as_ref(), &hosts, loading);
            route(draft, loading)
        })
        .collect();
    let entries = Entries { sources: all(sources)?, destinations: all(destinations)?, routes: all(routes)? };
    doubts::of_routes(&entries.routes, &places, loading);
    bounded(&entries.routes, loading).then_some(entries)
}

/// Each of them to be shared, unless one is faulty.
fn all<T>(entries: Vec<Option<T>>) -> Option<Vec<Arc<T>>> {
    // Into room of their own: collected in place, the pointers would keep the room of all the drafts for good.
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries {
        all.push(Arc::new(entry?));
    }
    Some(all)
}

/// One source by itself.
pub(crate) fn one_source(draft: read::Source, loading: &mut Loading<'_>) -> Option<Source> {
    source(draft, loading)
}

/// One destination by itself.
pub(crate) fn one_destination(
    draft: read::Destination,
    own: &Own,
    loading: &mut Loading<'_>,
) -> Option<Destination> {
    destination(draft, own, loading)
}

/// One route by itself, without a look at where it leads.
pub(crate) fn one_route(draft: read::Route, loading: &mut Loading<'_>) -> Option<Route> {
    route(draft, loading)
}

/// Names, each once; `None` where one of them cannot be read, so that it may be any. Names are compared without regard
/// to case, as people remember them.
fn names<'d>(
    drafts: impl Iterator<Item = (&'d Read<String>, &'d Place)>,
    hosts: &HashSet<&str>,
    loading: &mut Loading<'_>,
) -> Option<HashSet<String>> {
    let mut first_of: HashMap<String, &Place> = HashMap::new();
    let (mut names, mut all_are_known) = (HashSet::new(), true);
    for (name, section) in drafts {
        let Some((name, place)) = name.given() else {
            all_are_known = false;
            continue;
        };
        names.insert(name.clone());
        let compared = name.to_ascii_lowercase();
        if hosts.contains(compared.as_str()) {
            let what = format!("{name} is an upstream's host, and an upstream bears its host as its name");
            loading.fault(place.clone(), what, "Choose another name");
        }
        match first_of.get(&compared) {
            Some(first) => {
                let what = format!("{name} is already {}", first.key);
                loading.fault(place.clone(), what, "Give each a name of its own");
            }
            None => {
                first_of.insert(compared, section);
            }
        }
    }
    all_are_known.then_some(names)
}

/// A token is one source's alone.
fn unlike(sources: &[read::Source], loading: &mut Loading<'_>) {
    let mut first_of: HashMap<&str, &str> = HashMap::new();
    for source in sources {
        let Some((tokens, place)) = source.tokens.given() else { continue };
        for token in tokens {
            if let Some(first) = first_of.insert(token.expose(), &source.place.key) {
                let what = format!("the token is {first}'s already");
                loading.fault(place.clone(), what, "Give each source a token of its own");
            }
        }
    }
}

fn source(draft: read::Source, loading: &mut Loading<'_>) -> Option<Source> {
    let name = required(
        draft.name,
        &draft.place,
        "name",
        "the source has no name",
        "Write name = \"acme\"",
        loading,
    );
    let tokens = required(
        draft.tokens,
        &draft.place,
        "token",
        "the source has no token, which its address ends with",
        "Write token = \"…\", made with `openssl rand -hex 16`; `waypost source add` makes one by itself",
        loading,
    );
    let app_secrets = required(
        draft.app_secrets,
        &draft.place,
        "app_secrets",
        "the source has no app secret, so nothing would prove its callers",
        "Write app_secrets = [\"env:META_APP_SECRET\"], from the app's Basic settings in Meta's App Dashboard",
        loading,
    );
    let some = |list: &Option<(Vec<Secret>, Place)>, what: &str, loading: &mut Loading<'_>| match list {
        Some((secrets, place)) if secrets.is_empty() => {
            loading.fault(place.clone(), what, "Write at least one into the list");
            false
        }
        list => list.is_some(),
    };
    let has_token = some(&tokens, "an empty list leaves the source without an address", loading);
    let has_secret = some(&app_secrets, "an empty list proves no caller", loading);
    let verify_tokens = draft.verify_tokens.or(Vec::new())?;
    if verify_tokens.is_empty() {
        loading.warn(
            draft.place,
            "the source has no verify_token: every handshake is refused, so Meta cannot be given this address",
            "Write verify_token = \"env:META_VERIFY_TOKEN\"",
        );
    }
    let ((name, _), (tokens, _), (app_secrets, _)) = (name?, tokens?, app_secrets?);
    (has_token && has_secret).then_some(Source { name, tokens, verify_tokens, app_secrets })
}

fn destination(draft: read::Destination, own: &Own, loading: &mut Loading<'_>) -> Option<Destination> {
    let takes_events = draft.format.given().is_some_and(|(format, _)| *format == Format::Event);
    if takes_events {
        takes_events_well(&draft, loading);
    }
    let place = draft.place;
    let name = required(
        draft.name,
        &place,
        "name",
        "the destination has no name",
        "Write name = \"support\"",
        loading,
    );
    let url = required(
        draft.url,
        &place,
        "url",
        "the destination has no url",
        "Write url = \"https://support.example.com/webhooks/whatsapp/%2B15551234567\"",
        loading,
    );
    let mut is_elsewhere = true;
    if let Some((url, place)) = &url
        && let Some(why) = own.is(&url.origin)
    {
        is_elsewhere = false;
        let what = format!("{why}: events would come back here for ever");
        loading.fault(place.clone(), what, "Write where the receiver really is");
    }
    let delivery = allow_list::delivery(draft.delivery, loading);
    let ((name, _), (url, url_place)) = (name?, url?);
    let destination = Destination {
        name,
        url,
        batches: draft.batches.or(Batches::Split)?,
        format: draft.format.or(Format::Meta)?,
        // What Meta did not write is not signed as if it had, unless somebody says so.
        sign_with: draft.sign_with.or(if takes_events { SignWith::Nothing } else { SignWith::Source })?,
        webhook_secrets: draft.webhook_secrets.or(Vec::new())?,
        allow_private: draft.allow_private.or(false)?,
        ca_file: draft.ca_file.optional()?,
        delivery: delivery?,
    };
    if !destination.allow_private && allow_list::is_private(&destination.url.origin) {
        let what = format!(
            "{} is not a public address: every delivery to it would be refused",
            destination.url.origin
        );
        loading.fault(url_place, what, "Write allow_private = true if it is meant");
        return None;
    }
    is_elsewhere.then_some(destination)
}

/// What goes with normalised events, and what does not.
fn takes_events_well(draft: &read::Destination, loading: &mut Loading<'_>) {
    if let Some((Batches::Whole, place)) = draft.batches.given() {
        let what = "normalised events go one at a time";
        loading.fault(place.clone(), what, "Remove batches, or write format = \"meta\"");
    }
    if let Some((super::super::Kind::Chatwoot, place)) = draft.delivery.kind.given() {
        let what = "Chatwoot understands what Meta writes, and not normalised events";
        loading.fault(place.clone(), what, "Write format = \"meta\", or kind = \"http\"");
    }
    if draft.webhook_secrets.is_absent() && draft.sign_with.is_absent() {
        let what = "deliveries bear no signature, so anybody can send such events there";
        let remedy = "Write webhook_secrets = [\"whsec_…\"], made with whsec_$(openssl rand -base64 32)";
        loading.warn(draft.place.clone(), what, remedy);
    }
}

fn route(draft: read::Route, loading: &mut Loading<'_>) -> Option<Route> {
    let place = draft.place;
    let source = required(
        draft.source,
        &place,
        "source",
        "the route has no source",
        "Write source = \"acme\"",
        loading,
    );
    let wanted = required(
        draft.wanted,
        &place,
        "match",
        "the route does not say what it takes; one that takes everything says so",
        MATCH_REMEDY,
        loading,
    );
    let to = required(draft.to, &place, "to", "the route leads nowhere", "Write to = [\"support\"]", loading);
    let mut leads = true;
    if let Some((to, place)) = &to {
        let mut seen = HashSet::new();
        if let Some(twice) = to.iter().find(|name| !seen.insert(*name)) {
            leads = false;
            loading.fault(place.clone(), format!("{twice} is named twice"), "Name each destination once");
        }
        if to.is_empty() {
            leads = false;
            loading.fault(place.clone(), "the route leads nowhere", "Name a destination");
        }
        if to.len() > ROUTE_TO_MAX {
            leads = false;
            let what = format!("the route leads to more than {ROUTE_TO_MAX} destinations");
            loading.fault(place.clone(), what, "Make several routes of it");
        }
    }
    let name = draft.name.optional()?;
    let ((source, _), (wanted, wanted_place), (to, _)) = (source?, wanted?, to?);
    doubts::of_match(&wanted, &wanted_place, draft.is_table, loading);
    leads.then_some(Route { name, source, wanted, to })
}

/// What a route names is there.
fn leads_somewhere(
    draft: &read::Route,
    sources: Option<&HashSet<String>>,
    destinations: Option<&HashSet<String>>,
    hosts: &HashSet<&str>,
    loading: &mut Loading<'_>,
) {
    let named = [
        (draft.source.given().map(|(name, place)| (std::slice::from_ref(name), place)), sources, "source"),
        (draft.to.given().map(|(names, place)| (names.as_slice(), place)), destinations, "destination"),
    ];
    for (given, known, kind) in named {
        let (Some((names, place)), Some(known)) = (given, known) else { continue };
        for name in names.iter().filter(|name| !known.contains(*name)) {
            let remedy = if hosts.contains(name.to_ascii_lowercase().as_str()) {
                format!(
                    "It is an upstream, which routes have no part in: write a [[{kind}]] with a name of its own"
                )
            } else {
                format!("Write a [[{kind}]] of that name, or name one that is there")
            };
            loading.fault(place.clone(), format!("there is no {kind} {name}"), remedy);
        }
    }
}

/// Bounds on all routes together.
fn bounded(routes: &[Arc<Route>], loading: &mut Loading<'_>) -> bool {
    let values: usize = routes.iter().map(|route| route.wanted.values()).sum();
    let to: usize = routes.iter().map(|route| route.to.len()).sum();
    let place = || Place::outside("route");
    if values > ROUTE_VALUES_MAX {
        let remedy = format!("Give at most {ROUTE_VALUES_MAX}");
        loading.fault(place(), format!("the matches list {values} values"), remedy);
    }
    if to > ROUTES_TO_MAX {
        let remedy = format!("Give at most {ROUTES_TO_MAX}");
        loading.fault(place(), format!("the routes name {to} destinations"), remedy);
    }
    values <= ROUTE_VALUES_MAX && to <= ROUTES_TO_MAX
}

/// A key that must be there.
fn required<T>(
    read: Read<T>,
    section: &Place,
    key: &str,
    what: &str,
    remedy: &str,
    loading: &mut Loading<'_>,
) -> Option<(T, Place)> {
    match read {
        Read::Given(value, place) => Some((value, place)),
        Read::Faulty => None,
        Read::Absent => {
            let key = if section.key.is_empty() { key.to_owned() } else { format!("{}.{key}", section.key) };
            loading.fault(section.about(&key), what, remedy);
            None
        }
    }
}
