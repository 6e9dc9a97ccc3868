//! What the public face has seen, for the metrics page.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of all public listeners together. All but `open` and `handshakes_open` only grow.
#[derive(Debug, Default)]
pub struct EdgeCounters {
    /// Connections open now.
    pub open: AtomicU64,
    /// Connections accepted and served.
    pub accepted: AtomicU64,
    /// Connections closed at once because too many were open.
    pub refused_total: AtomicU64,
    /// Connections closed at once because too many were open from their address.
    pub refused_address: AtomicU64,
    /// Connections of named peers that did not say properly on whose behalf they come.
    pub proxy_refused: AtomicU64,
    /// Times the system refused to accept a connection.
    pub accept_errors: AtomicU64,
    /// TLS handshakes under way now.
    pub handshakes_open: AtomicU64,
    /// TLS handshakes that failed.
    pub handshakes_failed: AtomicU64,
    /// TLS handshakes that named nobody of ours, nobody, or somebody whose certificate has not come yet.
    pub names_refused: AtomicU64,
    /// TLS handshakes in which a certificate authority was shown a proof.
    pub proofs_shown: AtomicU64,
    /// TLS handshakes that took too long.
    pub handshakes_timed_out: AtomicU64,
    /// Connections closed because a request's head did not come in time.
    pub heads_timed_out: AtomicU64,
    /// Connections closed because they idled.
    pub idled_out: AtomicU64,
    /// Connections closed because nothing moved while an answer was under way.
    pub stalled: AtomicU64,
    /// Requests handed to the service.
    pub requests: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Takes one away.
pub(crate) fn discount(gauge: &AtomicU64) {
    gauge.fetch_sub(1, Ordering::Relaxed);
}
