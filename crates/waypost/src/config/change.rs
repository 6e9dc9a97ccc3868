//! What a reload cannot change.

use super::Config;

/// The keys that differ and only take effect after a restart: addresses that are bound, the store
/// that is open, the limits that were built in. Everything else may be swapped in while running.
pub(crate) fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    let differences = [
        ("server.http", old.server.http != new.server.http),
        ("server.https", old.server.https != new.server.https),
        ("server.admin", old.server.admin != new.server.admin),
        ("storage.url", old.storage != new.storage),
        ("--data", old.data_dir != new.data_dir),
        ("limits.connections_max", old.limits.connections_max != new.limits.connections_max),
        (
            "limits.connections_per_address_max",
            old.limits.connections_per_address_max != new.limits.connections_per_address_max,
        ),
        (
            "limits.bodies_in_flight_bytes_max",
            old.limits.bodies_in_flight_bytes_max != new.limits.bodies_in_flight_bytes_max,
        ),
        ("limits.body_bytes_max", old.limits.body_bytes_max != new.limits.body_bytes_max),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
