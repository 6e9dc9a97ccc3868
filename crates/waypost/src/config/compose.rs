//! One value from all that was said: the layers laid over each other, defaults, and the rules between keys.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use waypost_domain::limits;

use super::allow_list;
use super::callers;
use super::entries::{self, Around};
use super::file::{self, Draft};
use super::finding::Place;
use super::forms;
use super::inputs::Inputs;
use super::loading::Loading;
use super::own::Own;
use super::section::Read;
use super::stream;
use super::tls::{self, Shown};
use super::units::written;
use super::{Config, Limits, Retention, Server, Storage};

/// Public plain HTTP where no domain is named.
const HTTP_LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Public plain HTTP for a domain.
const HTTP_PUBLIC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 80);
/// Public HTTPS for a domain.
const HTTPS_PUBLIC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 443);
/// The admin listener.
const ADMIN_LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// Where data goes.
const DATA_DIR: &str = crate::installed::DATA_BY_HAND;
/// The store's file in it.
const STORE_FILE: &str = "waypost.db";

/// The configuration, unless a part of it is faulty. Every fault between keys is reported either way.
pub(super) fn compose(inputs: &Inputs, draft: Draft, loading: &mut Loading<'_>) -> Option<Config> {
    let domains = loading.variable("WAYPOST_DOMAIN", forms::domains).over(draft.server.domains);
    let domains = each_once(domains, loading);
    let named = Named {
        http: loading
            .outside("--listen", inputs.listen.as_deref(), forms::addresses)
            .over(loading.variable("WAYPOST_LISTEN", forms::addresses))
            .over(loading.variable("WAYPOST_HTTP", forms::addresses))
            .over(draft.server.http),
        https: loading.variable("WAYPOST_HTTPS", forms::addresses).over(draft.server.https),
        admin: loading
            .outside("--admin", inputs.admin.as_deref(), forms::address)
            .over(loading.variable("WAYPOST_ADMIN", forms::address))
            .over(draft.server.admin),
    };
    let listeners = listeners(&domains, named, loading);
    let shown = listeners.as_ref().map(|listeners| Shown {
        https: &listeners.https.addresses,
        https_place: &listeners.https.place,
        with_http: !listeners.http.addresses.is_empty(),
    });
    let tls = tls::compose(draft.tls, &domains, shown, loading);
    let asked = listeners.as_ref().map(|listeners| &*listeners.https.addresses);
    let callers = callers::compose(draft.server.callers, asked, loading);
    let storage = storage(inputs, draft.storage, loading);
    let retention = retention(draft.retention, loading);
    let limits = bounds(draft.limits, loading);
    let stream = stream::compose(draft.stream, loading);
    let listening = listeners.iter().flat_map(|l| [&l.http, &l.https]).flat_map(|placed| &placed.addresses);
    let admin = listeners.as_ref().map(|listeners| listeners.admin);
    let own = Own::new(names(&domains), listening.copied().chain(admin));
    let is_only_way = draft.entries.as_ref().is_some_and(|drafts| !drafts.has_sources());
    let upstreams = allow_list::compose(inputs, draft.upstreams, &own, is_only_way, loading);
    let around = Around { own: &own, upstreams: upstreams.as_deref().unwrap_or_default() };
    let entries = draft.entries.and_then(|drafts| entries::compose(drafts, &around, loading));

    let (listeners, (data_dir, storage), callers) = (listeners?, storage?, callers?);
    let server = Server {
        domains: domains.or(Vec::new())?,
        http: listeners.http.addresses,
        https: listeners.https.addresses,
        admin: listeners.admin,
        proxies: callers.proxies,
        clients: callers.clients,
        addresses: callers.addresses,
    };
    let entries = entries?;
    Some(Config {
        server,
        tls: tls?,
        storage,
        retention: retention?,
        data_dir,
        limits: limits?,
        stream: stream?,
        upstreams: upstreams?,
        sources: entries.sources,
        destinations: entries.destinations,
        routes: entries.routes,
    })
}

/// The gateway's names, without repetitions.
fn each_once(domains: Read<Vec<String>>, loading: &mut Loading<'_>) -> Read<Vec<String>> {
    match domains {
        Read::Given(names, place) if names.is_empty() => {
            loading.fault(place, "the list is empty", "Name the gateway's domain, or remove the key");
            Read::Faulty
        }
        Read::Given(names, place) => {
            let mut once: Vec<String> = Vec::with_capacity(names.len());
            for name in names {
                if !once.contains(&name) {
                    once.push(name);
                }
            }
            Read::Given(once, place)
        }
        nothing => nothing,
    }
}

fn names(domains: &Read<Vec<String>>) -> impl Iterator<Item = &str> {
    domains.given().into_iter().flat_map(|(names, _)| names).map(String::as_str)
}

/// Addresses as somebody named them.
struct Named {
    http: Read<Vec<SocketAddr>>,
    https: Read<Vec<SocketAddr>>,
    admin: Read<SocketAddr>,
}

/// Addresses with their defaults.
struct Listeners {
    http: Placed,
    https: Placed,
    admin: SocketAddr,
}

/// Addresses and where they come from.
struct Placed {
    addresses: Vec<SocketAddr>,
    place: Place,
}

impl Placed {
    /// What was named, else the default, said where its cause was said.
    fn of(named: Read<Vec<SocketAddr>>, default: Option<SocketAddr>, cause: Place) -> Option<Self> {
        match named {
            Read::Faulty => None,
            Read::Given(addresses, place) => Some(Self { addresses, place }),
            Read::Absent => Some(Self { addresses: default.into_iter().collect(), place: cause }),
        }
    }
}

fn listeners(domains: &Read<Vec<String>>, named: Named, loading: &mut Loading<'_>) -> Option<Listeners> {
    // What follows from a domain that cannot be read is not known.
    let unknown = |named| match (domains, named) {
        (Read::Faulty, Read::Absent) => Read::Faulty,
        (_, named) => named,
    };
    let (named_http, named_https) = (unknown(named.http), unknown(named.https));
    // A domain is served on its usual ports; without one, the local default stands in unless HTTPS
    // addresses were named, which then are all that is meant.
    let has_domain = !domains.is_absent();
    let (http, https) = match (has_domain, &named_https) {
        (true, _) => (Some(HTTP_PUBLIC), Some(HTTPS_PUBLIC)),
        (false, Read::Given(addresses, _)) if !addresses.is_empty() => (None, None),
        (false, _) => (Some(HTTP_LOCAL), None),
    };
    let cause = |key: &str| match domains.given() {
        Some((_, place)) => place.clone(),
        None => Place::outside(key),
    };
    let http = Placed::of(named_http, http, cause("server.http"));
    let https = Placed::of(named_https, https, cause("server.https"));
    let admin = match named.admin {
        Read::Faulty => None,
        Read::Given(address, place) => Some((address, place)),
        Read::Absent => Some((ADMIN_LOCAL, Place::outside("server.admin"))),
    };
    if let (Some(http), Some(https)) = (&http, &https)
        && http.addresses.is_empty()
        && https.addresses.is_empty()
    {
        let what = "there is no public address to listen on";
        loading.fault(http.place.clone(), what, "Give server.http or server.https an address");
    }
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    let public =
        http.iter().map(|http| ("server.http", http)).chain(https.iter().map(|it| ("server.https", it)));
    for (key, placed) in public {
        for address in &placed.addresses {
            claim(*address, key, &placed.place, &mut taken, loading);
        }
    }
    if let Some((address, place)) = &admin {
        claim(*address, "server.admin", place, &mut taken, loading);
        if !address.ip().is_loopback() {
            loading.warn(
                place.clone(),
                format!("the admin listener is open to other machines on {address}"),
                "Bind it to 127.0.0.1, or see that only operators reach it",
            );
        }
    }
    Some(Listeners { http: http?, https: https?, admin: admin?.0 })
}

/// Takes an address for a listener; a fault where another has it already.
fn claim(
    address: SocketAddr,
    key: &'static str,
    place: &Place,
    taken: &mut Vec<(SocketAddr, &'static str)>,
    loading: &mut Loading<'_>,
) {
    if let Some((other, other_key)) = taken.iter().find(|(other, _)| collide(*other, address)) {
        let what = format!("{address} and {other} of {other_key} cannot both be listened on");
        loading.fault(place.clone(), what, "Give each listener its own port");
    }
    taken.push((address, key));
}

/// Whether two listeners want the same port of the same address. Port 0 is never the same twice.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip()
        || (one.is_ipv4() == other.is_ipv4() && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    one.port() != 0 && one.port() == other.port() && overlap
}

/// The data folder and the store in it.
fn storage(inputs: &Inputs, draft: file::Storage, loading: &mut Loading<'_>) -> Option<(PathBuf, Storage)> {
    let data = match (&inputs.data, loading.env.look_up("WAYPOST_DATA")) {
        (Some(path), _) => Some((path.clone(), "--data")),
        (None, Some(path)) => Some((PathBuf::from(path), "WAYPOST_DATA")),
        (None, None) => None,
    };
    if let Some((path, key)) = &data
        && path.as_os_str().is_empty()
    {
        loading.fault(Place::outside(key), "no folder is named", "Name the folder to keep data in");
        return None;
    }
    let url = match draft.path {
        Read::Faulty => return None,
        Read::Absent => None,
        Read::Given(path, place) => Some((path, place)),
    };
    let (folder, path) = match (data, url) {
        (None, None) => (PathBuf::from(DATA_DIR), Path::new(DATA_DIR).join(STORE_FILE)),
        (Some((folder, _)), None) => (folder.clone(), folder.join(STORE_FILE)),
        (None, Some((path, _))) => (folder_of(&path), path),
        (Some((folder, key)), Some((path, place))) => {
            if folder_of(&path) != folder {
                let what =
                    format!("the store is not in the folder that {key} names: this key decides where it is");
                loading.warn(place, what, "Remove the key to keep the store in that folder");
            }
            (folder, path)
        }
    };
    let (bytes_max, free_bytes_min) = (draft.bytes_max.optional()?, draft.free_bytes_min.optional()?);
    Some((folder, Storage { path, bytes_max, free_bytes_min }))
}

fn retention(draft: file::Retention, loading: &mut Loading<'_>) -> Option<Retention> {
    let defaults = waypost_store::Retention::default();
    let records = draft.records.or(defaults.records)?;
    if let Some((bodies, place)) = draft.delivered_bodies.given()
        && *bodies > records
    {
        let what =
            format!("longer than records, {}, and a body does not outlive its record", written(records));
        loading.fault(place.clone(), what, "Give at most records, or set records higher");
    }
    Some(Retention {
        delivered_bodies: draft.delivered_bodies.or(defaults.delivered_bodies.min(records))?,
        records,
        dead: draft.dead.or(defaults.dead)?,
        quarantined: draft.quarantined.or(defaults.quarantined)?,
    })
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn bounds(draft: file::Limits, loading: &mut Loading<'_>) -> Option<Limits> {
    if let Some((bytes, place)) = draft.body_bytes_max.given()
        && *bytes < META_BODY_BYTES_MAX
    {
        let what =
            "Meta sends bodies of up to 3 MB: larger ones than this are refused and tried again for days";
        loading.warn(place.clone(), what, "Give at least 3MiB");
    }
    if let (Some((body, _)), Some((all, place))) =
        (draft.body_bytes_max.given(), draft.bodies_in_flight_bytes_max.given())
        && all < body
    {
        let what = "not even one body of body_bytes_max fits";
        loading.fault(place.clone(), what, format!("Give at least {body}"));
    } else if let (Read::Absent, Some((all, place))) =
        (&draft.body_bytes_max, draft.bodies_in_flight_bytes_max.given())
        && *all < limits::BODY_BYTES_MAX
    {
        let what =
            format!("not even one body of body_bytes_max, {} by default, fits", limits::BODY_BYTES_MAX);
        loading.fault(place.clone(), what, "Give more, or set body_bytes_max lower");
    }
    let connections_max = draft.connections_max.or(limits::CONNECTIONS_MAX)?;
    let per_address = draft.connections_per_address_max.or(limits::CONNECTIONS_PER_ADDRESS_MAX)?;
    Some(Limits {
        body_bytes_max: draft.body_bytes_max.or(limits::BODY_BYTES_MAX)?,
        connections_max,
        connections_per_address_max: per_address.min(connections_max),
        bodies_in_flight_bytes_max: draft
            .bodies_in_flight_bytes_max
            .or(limits::BODIES_IN_FLIGHT_BYTES_MAX)?,
    })
}

/// Meta's largest body ("Webhooks", Payload size): 3 MB.
const META_BODY_BYTES_MAX: usize = 3_000_000;
