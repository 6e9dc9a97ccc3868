//! What a reload cannot change.

use super::{Config, Limits, Server, Storage};

/// The keys that differ and only take effect after a restart: what is bound, opened or started once.
///
/// Both values are taken apart to the last key, so that a new one cannot be forgotten here.
pub(crate) fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    // Whatever stands behind `_` may be swapped in while running.
    let Config {
        server,
        tls,
        storage,
        retention,
        data_dir,
        limits,
        stream: _,
        upstreams: _,
        sources: _,
        destinations: _,
        routes: _,
    } = old;
    // Networks of callers are looked up anew for each call.
    let Server { domains, http, https, admin, proxies, clients, addresses: _ } = server;
    let Storage { path, bytes_max, free_bytes_min } = storage;
    let Limits { body_bytes_max, connections_max, connections_per_address_max, bodies_in_flight_bytes_max } =
        limits;
    let differences = [
        ("server.domain", *domains != new.server.domains),
        ("server.http", *http != new.server.http),
        ("server.https", *https != new.server.https),
        ("server.admin", *admin != new.server.admin),
        ("server.proxy_protocol", *proxies != new.server.proxies),
        ("server.meta_client_certificates", *clients != new.server.clients),
        ("tls", *tls != new.tls),
        ("storage.url", *path != new.storage.path),
        ("storage.bytes_max", *bytes_max != new.storage.bytes_max),
        ("storage.free_bytes_min", *free_bytes_min != new.storage.free_bytes_min),
        ("retention", *retention != new.retention),
        ("--data", *data_dir != new.data_dir),
        ("limits.connections_max", *connections_max != new.limits.connections_max),
        (
            "limits.connections_per_address_max",
            *connections_per_address_max != new.limits.connections_per_address_max,
        ),
        (
            "limits.bodies_in_flight_bytes_max",
            *bodies_in_flight_bytes_max != new.limits.bodies_in_flight_bytes_max,
        ),
        ("limits.body_bytes_max", *body_bytes_max != new.limits.body_bytes_max),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
