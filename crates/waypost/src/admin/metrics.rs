//! The metrics page, in Prometheus's text form.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use waypost_edge::ServerTls;
use waypost_engine::metrics::DestinationLabel;

use super::Admin;
use super::problem::Problem;

/// All metrics: what others count, and what is read off them when the page is asked for.
pub(crate) struct MetricsPage {
    registry: Registry,
    gauges: Gauges,
    counters: Counters,
}

/// Whose events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

/// What goes up and down.
#[derive(Default)]
struct Gauges {
    owed: Family<DestinationLabel, Gauge>,
    oldest_owed: Family<DestinationLabel, Gauge<f64, AtomicU64>>,
    dead: Family<DestinationLabel, Gauge>,
    quarantined: Family<SourceLabel, Gauge>,
    store_bytes: Gauge,
    writer_queue: Gauge,
    writer_healthy: Gauge,
    journal_behind: Gauge,
    journal_bytes: Gauge,
    bodies_bytes: Gauge,
    connections: Gauge,
    handshakes: Gauge,
    certificate_expires: Gauge,
}

/// What only grows. Others count it; here it is shown.
#[derive(Default)]
struct Counters {
    writer_commits: Counter,
    writer_operations: Counter,
    writer_failures: Counter,
    journal_set_aside: Counter,
    writer_seconds: Counter<f64, AtomicU64>,
    connections_accepted: Counter,
    connections_refused: Counter,
    accept_errors: Counter,
    handshakes_failed: Counter,
    handshakes_timed_out: Counter,
    names_refused: Counter,
    proofs_shown: Counter,
    proxies_refused: Counter,
    heads_timed_out: Counter,
    idled_out: Counter,
    stalled: Counter,
    requests: Counter,
    certificate_attempts: Counter,
    certificates_issued: Counter,
    certificate_failures: Counter,
}

impl MetricsPage {
    /// The page of a registry that others have put their counters on.
    pub(crate) fn new(mut registry: Registry) -> Self {
        let (gauges, counters) = (Gauges::default(), Counters::default());
        gauges.register(&mut registry);
        counters.register(&mut registry);
        Self { registry, gauges, counters }
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        let mut put = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        put("writer_queue", "Operations waiting for the store's writer", &self.writer_queue);
        put(
            "writer_healthy",
            "1 if the last commit and the journal's last write succeeded",
            &self.writer_healthy,
        );
        put(
            "journal_behind",
            "Acknowledged requests that are in the journal and not in the database yet",
            &self.journal_behind,
        );
        put("journal_bytes", "Size of the journal's files", &self.journal_bytes);
        put("connections_open", "Public connections open", &self.connections);
        put("tls_handshakes_open", "Handshakes with clients under way", &self.handshakes);
        put(
            "certificate_expires_timestamp_seconds",
            "When the first certificate expires; 0 without one",
            &self.certificate_expires,
        );
        registry.register("owed", "Deliveries owed", self.owed.clone());
        registry.register("dead", "Deliveries that are dead and kept", self.dead.clone());
        let quarantined = self.quarantined.clone();
        registry.register("quarantined", "Events that no route took and that are kept", quarantined);
        let (seconds, bytes) = (Unit::Seconds, Unit::Bytes);
        let oldest = self.oldest_owed.clone();
        registry.register_with_unit("oldest_owed_age", "Age of the oldest owed delivery", seconds, oldest);
        registry.register_with_unit(
            "store",
            "Size of the store's files",
            bytes.clone(),
            self.store_bytes.clone(),
        );
        let bodies = self.bodies_bytes.clone();
        registry.register_with_unit(
            "bodies_in_flight",
            "Memory that request bodies take just now",
            bytes,
            bodies,
        );
    }
}

impl Counters {
    fn register(&self, registry: &mut Registry) {
        let mut put =
            |name: &str, help: &str, counter: &Counter| registry.register(name, help, counter.clone());
        put("writer_commits", "Commits of the store's writer", &self.writer_commits);
        put("writer_operations", "Operations committed", &self.writer_operations);
        put("writer_failures", "Commits that failed and were undone", &self.writer_failures);
        put(
            "journal_set_aside",
            "Acknowledged requests that the database would not take and that were put aside",
            &self.journal_set_aside,
        );
        put("connections_accepted", "Public connections accepted", &self.connections_accepted);
        put(
            "connections_refused",
            "Public connections closed at once because too many were open",
            &self.connections_refused,
        );
        put(
            "accept_errors",
            "Times that the system did not hand a public connection over",
            &self.accept_errors,
        );
        put("tls_handshakes_failed", "Handshakes with clients that failed", &self.handshakes_failed);
        put(
            "tls_handshakes_timed_out",
            "Handshakes with clients that took too long",
            &self.handshakes_timed_out,
        );
        put(
            "tls_names_refused",
            "Handshakes with clients that named nobody of ours, or a name whose certificate is awaited",
            &self.names_refused,
        );
        put(
            "tls_proofs_shown",
            "Handshakes in which the certificate authority was shown a proof",
            &self.proofs_shown,
        );
        put(
            "proxies_refused",
            "Connections of proxies that did not say on whose behalf they come",
            &self.proxies_refused,
        );
        put(
            "heads_timed_out",
            "Public connections closed because a request's head did not come in time",
            &self.heads_timed_out,
        );
        put("connections_idled_out", "Public connections closed because they idled", &self.idled_out);
        put(
            "connections_stalled",
            "Public connections closed because nothing moved while an answer was under way",
            &self.stalled,
        );
        put("public_requests", "Requests that came in on public connections", &self.requests);
        put(
            "certificate_attempts",
            "Times that the certificate authority was asked",
            &self.certificate_attempts,
        );
        put(
            "certificates_issued",
            "Certificates that the authority issued to this process",
            &self.certificates_issued,
        );
        put(
            "certificate_failures",
            "Attempts at a certificate that failed or could not begin",
            &self.certificate_failures,
        );
        registry.register_with_unit(
            "writer_time",
            "Time spent in commits",
            Unit::Seconds,
            self.writer_seconds.clone(),
        );
    }
}

/// The page.
pub(super) async fn page(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    read_off(&admin).await?;
    let mut text = String::new();
    encode(&mut text, &admin.metrics.registry).map_err(|_| {
        Problem::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "metrics_failed",
            "the metrics could not be written",
        )
    })?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response())
}

async fn read_off(admin: &Admin) -> Result<(), Problem> {
    let gauges = &admin.metrics.gauges;
    let stats = admin.store.stats().await?;
    let now = admin.clock.wall();
    let label = |destination: &Arc<str>| DestinationLabel { destination: destination.to_string() };
    // What is removed, or dead no more, must not stay on the page as it last was.
    gauges.owed.clear();
    gauges.oldest_owed.clear();
    gauges.dead.clear();
    for handle in admin.dispatcher.destinations() {
        gauges.dead.get_or_create(&label(handle.name())).set(0);
        gauges.owed.get_or_create(&label(handle.name())).set(0);
        gauges.oldest_owed.get_or_create(&label(handle.name())).set(0.0);
    }
    for (destination, owed, oldest) in &stats.owed {
        gauges.owed.get_or_create(&label(destination)).set(signed(*owed));
        gauges.oldest_owed.get_or_create(&label(destination)).set(now.since(*oldest).as_secs_f64());
    }
    for (destination, dead) in &stats.dead {
        gauges.dead.get_or_create(&label(destination)).set(signed(*dead));
    }
    // What is replayed or given up is none any more, also of a source that is gone.
    gauges.quarantined.clear();
    let source = |name: &str| SourceLabel { source: name.to_owned() };
    for known in admin.registry.table_full().sources() {
        gauges.quarantined.get_or_create(&source(&known.name)).set(0);
    }
    for (name, quarantined) in &stats.quarantined {
        gauges.quarantined.get_or_create(&source(name)).set(signed(*quarantined));
    }
    gauges.store_bytes.set(signed(stats.file_bytes));
    gauges.bodies_bytes.set(signed(admin.public.bodies().budget().bytes_taken() as u64));
    let (writer, counters) = (admin.store.writer_stats(), &admin.metrics.counters);
    gauges.writer_queue.set(signed(writer.queue as u64));
    gauges.writer_healthy.set(i64::from(writer.healthy));
    gauges.journal_behind.set(signed(writer.journal_behind));
    gauges.journal_bytes.set(signed(writer.journal_bytes));
    show(&counters.writer_commits, writer.commits);
    show(&counters.writer_operations, writer.operations);
    show(&counters.writer_failures, writer.failures);
    show(&counters.journal_set_aside, writer.set_aside);
    counters.writer_seconds.inner().store(writer.commit_time.as_secs_f64().to_bits(), Ordering::Relaxed);
    let edge = &admin.edge;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    gauges.connections.set(signed(read(&edge.open)));
    gauges.handshakes.set(signed(read(&edge.handshakes_open)));
    show(&counters.connections_accepted, read(&edge.accepted));
    show(&counters.connections_refused, read(&edge.refused_total) + read(&edge.refused_address));
    show(&counters.accept_errors, read(&edge.accept_errors));
    show(&counters.handshakes_failed, read(&edge.handshakes_failed));
    show(&counters.handshakes_timed_out, read(&edge.handshakes_timed_out));
    show(&counters.names_refused, read(&edge.names_refused));
    show(&counters.proofs_shown, read(&edge.proofs_shown));
    show(&counters.proxies_refused, read(&edge.proxy_refused));
    show(&counters.heads_timed_out, read(&edge.heads_timed_out));
    show(&counters.idled_out, read(&edge.idled_out));
    show(&counters.stalled, read(&edge.stalled));
    show(&counters.requests, read(&edge.requests));
    let facts = admin.tls.as_ref().and_then(ServerTls::facts);
    gauges.certificate_expires.set(facts.map_or(0, |facts| facts.not_after.0 / 1_000));
    if let Some(acme) = &admin.acme {
        show(&counters.certificate_attempts, read(&acme.counters().attempts));
        show(&counters.certificates_issued, read(&acme.counters().issued));
        show(&counters.certificate_failures, read(&acme.counters().failures));
    }
    Ok(())
}

/// Shows what somebody else counts.
fn show(counter: &Counter, counted: u64) {
    counter.inner().store(counted, Ordering::Relaxed);
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
