//! Logs: one line a fact, on standard error; for people on a terminal, as JSON otherwise.
//!
//! `WAYPOST_LOG` chooses what is logged, in the form `info,waypost_engine=debug`. At `debug` every event
//! received and every delivery is a line; below, they are found with `waypost events`. Neither secrets
//! nor message contents are logged at any level.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins logging. `otherwise` is the filter where `WAYPOST_LOG` says nothing.
pub(crate) fn start(otherwise: &str) {
    let chosen = std::env::var("WAYPOST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = chosen.as_deref().unwrap_or(otherwise);
    let (filter, fault) = match EnvFilter::try_new(filter) {
        Ok(filter) => (filter, None),
        Err(fault) => (EnvFilter::new(otherwise), Some(fault)),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in one process is refused; the first one then goes on.
    let _ = if std::io::stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    if let Some(fault) = fault {
        tracing::warn!(%fault, "WAYPOST_LOG is not a filter; it is not used");
    }
}
