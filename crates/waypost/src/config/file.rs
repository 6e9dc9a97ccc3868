//! The file: every key it may have, each on one line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use waypost_domain::{Origin, UpstreamHost, limits};
use waypost_edge::Prefixes;

use super::callers;
use super::entries;
use super::finding::Place;
use super::forms::{self, LONGEST, between};
use super::inputs::Inputs;
use super::loading::Loading;
use super::page::Page;
use super::pem::{self, Chain, Key};
use super::secret;
use super::section::{Read, Section, boolean, count, just, list, mapped, number, one_or_list, private, text};
use super::stream;
use super::units;
use super::{Batches, CaFile, Fallback, Kind, Mode, Patience, Rate, Secret, SignWith};

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the file says, key by key, before defaults and before keys are compared with each other.
pub(super) struct Draft {
    pub(super) server: Server,
    pub(super) tls: Tls,
    pub(super) storage: Storage,
    pub(super) retention: Retention,
    pub(super) limits: Limits,
    pub(super) stream: stream::Draft,
    /// `None` where they could not be read.
    pub(super) upstreams: Option<Vec<Upstream>>,
    /// Sources, destinations and routes; `None` in the same way.
    pub(super) entries: Option<entries::Drafts>,
}

#[derive(Default)]
pub(super) struct Server {
    pub(super) domains: Read<Vec<String>>,
    pub(super) http: Read<Vec<SocketAddr>>,
    pub(super) https: Read<Vec<SocketAddr>>,
    pub(super) admin: Read<SocketAddr>,
    pub(super) callers: callers::Draft,
}

#[derive(Default)]
pub(super) struct Tls {
    pub(super) certificate: Read<Chain>,
    pub(super) private_key: Read<Key>,
    pub(super) acme: Acme,
}

#[derive(Default)]
pub(super) struct Acme {
    pub(super) email: Read<String>,
    pub(super) directory: Read<String>,
    pub(super) staging: Read<bool>,
    pub(super) ca_file: Read<CaFile>,
    pub(super) eab_kid: Read<String>,
    pub(super) eab_key: Read<Secret>,
}

#[derive(Default)]
pub(super) struct Storage {
    pub(super) path: Read<PathBuf>,
    pub(super) bytes_max: Read<u64>,
    pub(super) free_bytes_min: Read<u64>,
}

#[derive(Default)]
pub(super) struct Retention {
    pub(super) delivered_bodies: Read<Duration>,
    pub(super) records: Read<Duration>,
    pub(super) dead: Read<Duration>,
    pub(super) quarantined: Read<Duration>,
}

#[derive(Default)]
pub(super) struct Limits {
    pub(super) body_bytes_max: Read<usize>,
    pub(super) connections_max: Read<usize>,
    pub(super) connections_per_address_max: Read<usize>,
    pub(super) bodies_in_flight_bytes_max: Read<usize>,
}

pub(super) struct Upstream {
    pub(super) place: Place,
    pub(super) host: Read<UpstreamHost>,
    pub(super) mode: Read<Mode>,
    pub(super) fallback: Read<Fallback>,
    pub(super) origin: Read<Origin>,
    pub(super) ca_file: Read<CaFile>,
    pub(super) paths: Read<Vec<String>>,
    pub(super) app_secrets: Read<Vec<Secret>>,
    pub(super) verify_tokens: Read<Vec<Secret>>,
    pub(super) allow_private: Read<bool>,
    pub(super) batches: Read<Batches>,
    pub(super) sign_with: Read<SignWith>,
    pub(super) delivery: Delivery,
}

#[derive(Default)]
pub(super) struct Delivery {
    pub(super) timeout: Read<Duration>,
    pub(super) connect_timeout: Read<Duration>,
    pub(super) lane_patience: Read<Patience>,
    pub(super) concurrency_max: Read<usize>,
    pub(super) rate_max: Read<Option<Rate>>,
    pub(super) steps: Read<Vec<Duration>>,
    pub(super) give_up_after: Read<Duration>,
    pub(super) kind: Read<Kind>,
    pub(super) retry_statuses: Read<Vec<u16>>,
    pub(super) dead_statuses: Read<Vec<u16>>,
}

impl Draft {
    /// Of a file without keys, or no file.
    fn empty() -> Self {
        Self {
            server: Server::default(),
            tls: Tls::default(),
            storage: Storage::default(),
            retention: Retention::default(),
            limits: Limits::default(),
            stream: stream::Draft::default(),
            upstreams: Some(Vec::new()),
            entries: Some(entries::Drafts::default()),
        }
    }

    /// Of a file that could not be read: nothing can be concluded from it.
    fn faulty() -> Self {
        Self {
            server: Server {
                domains: Read::Faulty,
                http: Read::Faulty,
                https: Read::Faulty,
                admin: Read::Faulty,
                callers: callers::Draft::default(),
            },
            tls: Tls { certificate: Read::Faulty, private_key: Read::Faulty, acme: Acme::default() },
            storage: Storage { path: Read::Faulty, ..Storage::default() },
            retention: Retention::default(),
            limits: Limits { body_bytes_max: Read::Faulty, ..Limits::default() },
            stream: stream::Draft::default(),
            upstreams: None,
            entries: None,
        }
    }
}

impl Upstream {
    /// An upstream of which nothing is said yet.
    pub(super) fn only(place: Place) -> Self {
        Self {
            place,
            host: Read::Absent,
            mode: Read::Absent,
            fallback: Read::Absent,
            origin: Read::Absent,
            ca_file: Read::Absent,
            paths: Read::Absent,
            app_secrets: Read::Absent,
            verify_tokens: Read::Absent,
            allow_private: Read::Absent,
            batches: Read::Absent,
            sign_with: Read::Absent,
            delivery: Delivery::default(),
        }
    }
}

/// Reads the file that the inputs name. Without one, the same as an empty file. Faults of single keys
/// are reported; where the file could not be read to its end, the draft says nothing more.
pub(super) fn read(inputs: &Inputs, loading: &mut Loading<'_>) -> Draft {
    let (path, key) = match (&inputs.config_path, loading.env.look_up("WAYPOST_CONFIG")) {
        (Some(path), _) => (path.clone(), "--config"),
        (None, Some(path)) => (PathBuf::from(path), "WAYPOST_CONFIG"),
        (None, None) => return Draft::empty(),
    };
    loading.within(&path);
    let content = match loading.disk.read(&path, FILE_BYTES_MAX) {
        Ok(content) => content,
        Err(why) => {
            let place = Place { file: Some(path), at: None, key: key.to_owned() };
            loading.fault(place, format!("the configuration cannot be read: {why}"), "Name a file in TOML");
            return Draft::faulty();
        }
    };
    let world_readable = content.world_readable;
    let Some(page) = Page::of(&path, content.bytes, loading) else { return Draft::faulty() };
    let draft = page.judge(loading, |tree, is_whole, loading| {
        let draft = draft(Section::whole(&page, tree), loading);
        // What is missing from half a file means nothing.
        if is_whole { draft } else { Draft::faulty() }
    });
    if world_readable && loading.has_literal_secrets() {
        loading.world_readable_seen(&path);
    }
    draft.unwrap_or_else(Draft::faulty)
}

/// Reads the keys of one section, written on their own.
pub(super) fn read_one<T>(
    settings: String,
    loading: &mut Loading<'_>,
    read: impl FnOnce(Section<'_>, &mut Loading<'_>) -> T,
) -> Option<T> {
    let page = Page::without_file(settings);
    page.judge(loading, |tree, _, loading| read(Section::whole(&page, tree), loading))
}

fn draft(mut whole: Section<'_>, loading: &mut Loading<'_>) -> Draft {
    let server = server(whole.section("server", loading), loading);
    let tls = tls(whole.section("tls", loading), loading);
    let storage = storage(whole.section("storage", loading), loading);
    let retention = retention(whole.section("retention", loading), loading);
    let limits = limits(whole.section("limits", loading), loading);
    let stream = stream::read(whole.section("stream", loading), loading);
    let upstreams = whole.sections("upstream", loading);
    let upstreams = upstreams.into_iter().map(|section| upstream(section, loading)).collect();
    let upstreams = Some(upstreams);
    let entries = Some(entries::read(&mut whole, loading));
    whole.finish(loading);
    Draft { server, tls, storage, retention, limits, stream, upstreams, entries }
}

fn server(mut section: Section<'_>, loading: &mut Loading<'_>) -> Server {
    let addresses = || one_or_list(text(forms::addresses), text(forms::address));
    let server = Server {
        domains: section.read("domain", loading, one_or_list(just(text(forms::domain)), text(forms::domain))),
        http: section.read("http", loading, addresses()),
        https: section.read("https", loading, addresses()),
        admin: section.read("admin", loading, text(forms::address)),
        callers: callers::Draft {
            proxies: section.read(
                "proxy_protocol",
                loading,
                mapped(list(text(callers::network)), |all| Prefixes::of(all).ok()),
            ),
            certificates: section.read("meta_client_certificates", loading, text(callers::demand_or_off)),
            ca_file: section.read(
                "meta_ca_file",
                loading,
                private(|text, _, loading| pem::roots(text, loading)),
            ),
            addresses: section.read("meta_addresses", loading, text(callers::demand)),
            addresses_file: section.read(
                "meta_addresses_file",
                loading,
                private(|text, _, loading| callers::networks(text, loading)),
            ),
        },
    };
    section.finish(loading);
    server
}

fn tls(mut section: Section<'_>, loading: &mut Loading<'_>) -> Tls {
    let tls = Tls {
        certificate: section.read(
            "certificate",
            loading,
            private(|text, _, loading| pem::chain(text, loading)),
        ),
        private_key: section.read(
            "private_key",
            loading,
            private(|text, _, loading| pem::key(text, loading)),
        ),
        acme: Acme {
            email: section.read("acme_email", loading, text(forms::mail)),
            directory: section.read("acme_directory", loading, text(|text| Ok(text.to_owned()))),
            staging: section.read("acme_staging", loading, boolean),
            ca_file: section.read(
                "acme_ca_file",
                loading,
                private(|text, _, loading| pem::roots(text, loading)),
            ),
            eab_kid: section.read("acme_eab_kid", loading, text(|text| Ok(text.to_owned()))),
            eab_key: section.read("acme_eab_key", loading, private(secret::of_key)),
        },
    };
    section.finish(loading);
    tls
}

fn storage(mut section: Section<'_>, loading: &mut Loading<'_>) -> Storage {
    let bytes =
        |least| mapped(number(least, STORE_BYTES_MOST, units::bytes), |bytes| u64::try_from(bytes).ok());
    let storage = Storage {
        path: section.read("url", loading, text(forms::storage)),
        bytes_max: section.read("bytes_max", loading, bytes(STORE_BYTES_LEAST)),
        free_bytes_min: section.read("free_bytes_min", loading, bytes(0)),
    };
    section.finish(loading);
    storage
}

fn retention(mut section: Section<'_>, loading: &mut Loading<'_>) -> Retention {
    let time = |least| text(between(least, RETENTION_LONGEST));
    let retention = Retention {
        delivered_bodies: section.read("delivered_bodies", loading, time(Duration::ZERO)),
        records: section.read("records", loading, time(RETENTION_SHORTEST)),
        dead: section.read("dead", loading, time(RETENTION_SHORTEST)),
        quarantined: section.read("quarantined", loading, time(RETENTION_SHORTEST)),
    };
    section.finish(loading);
    retention
}

fn limits(mut section: Section<'_>, loading: &mut Loading<'_>) -> Limits {
    // A body must fit into one commit; the rest is what a machine can hold.
    let body = number(1024, limits::COMMIT_BYTES_MAX, units::bytes);
    let bodies = number(1024, MEMORY_BYTES_MAX, units::bytes);
    let connections = || count(1, CONNECTIONS_MOST);
    let limits = Limits {
        body_bytes_max: section.read("body_bytes_max", loading, body),
        connections_max: section.read("connections_max", loading, connections()),
        connections_per_address_max: section.read("connections_per_address_max", loading, connections()),
        bodies_in_flight_bytes_max: section.read("bodies_in_flight_bytes_max", loading, bodies),
    };
    section.finish(loading);
    limits
}

/// Reads one upstream.
pub(super) fn upstream(mut section: Section<'_>, loading: &mut Loading<'_>) -> Upstream {
    let secret = || private(secret::of_key);
    let upstream = Upstream {
        place: section.place().clone(),
        host: section.read("host", loading, text(forms::host)),
        mode: section.read("mode", loading, text(forms::mode)),
        fallback: section.read("fallback", loading, text(forms::fallback)),
        origin: section.read("origin", loading, text(forms::origin)),
        ca_file: section.read("ca_file", loading, private(|text, _, loading| pem::roots(text, loading))),
        paths: section.read(
            "paths",
            loading,
            one_or_list(just(text(forms::path_prefix)), text(forms::path_prefix)),
        ),
        app_secrets: section.read("app_secrets", loading, one_or_list(just(secret()), secret())),
        verify_tokens: section.read("verify_token", loading, one_or_list(just(secret()), secret())),
        allow_private: section.read("allow_private", loading, boolean),
        batches: section.read("batches", loading, text(forms::batches)),
        sign_with: section.read("sign_with", loading, private(entries::sign_with)),
        delivery: delivery(&mut section, loading),
    };
    section.finish(loading);
    upstream
}

/// The keys that say how to deliver, wherever something is delivered to.
pub(super) fn delivery(section: &mut Section<'_>, loading: &mut Loading<'_>) -> Delivery {
    let deadline = || text(between(Duration::from_millis(100), Duration::from_secs(600)));
    let step = text(between(Duration::from_secs(1), LONGEST));
    let status = || mapped(count(100, 599), |status| u16::try_from(status).ok());
    Delivery {
        timeout: section.read("timeout", loading, deadline()),
        connect_timeout: section.read("connect_timeout", loading, deadline()),
        lane_patience: section.read("lane_patience", loading, text(forms::patience)),
        concurrency_max: section.read("concurrency_max", loading, count(1, CONCURRENCY_MOST)),
        rate_max: section.read("rate_max", loading, text(units::rate)),
        steps: section.read("schedule", loading, list(step)),
        give_up_after: section.read("give_up_after", loading, text(between(Duration::from_secs(1), LONGEST))),
        kind: section.read("kind", loading, text(forms::kind)),
        retry_statuses: section.read("retry_statuses", loading, list(status())),
        dead_statuses: section.read("dead_statuses", loading, list(status())),
    }
}

/// The least that a store may be held to: an empty one with room for a few events.
const STORE_BYTES_LEAST: usize = 1 << 20;
/// What a store can hold at most ("Limits In SQLite", Maximum Database Size: about 281 TB).
const STORE_BYTES_MOST: usize = 1 << 48;
/// The shortest that records are kept: an outcome may still come in for what was discarded.
const RETENTION_SHORTEST: Duration = Duration::from_secs(60 * 60);
/// The longest that anything is kept: ten years.
const RETENTION_LONGEST: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);
/// Connections that a limit may allow.
const CONNECTIONS_MOST: usize = 1_000_000;
/// Memory that a limit may allow for bodies.
const MEMORY_BYTES_MAX: usize = 64 << 30;
/// Attempts at once that a destination may be given.
const CONCURRENCY_MOST: usize = 4_096;
