//! The metrics page, in Prometheus's text form.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use waypost_engine::metrics::DestinationLabel;

use super::Admin;
use super::problem::Problem;

/// All metrics: counters that others count, and gauges that are read off when the page is asked for.
pub(crate) struct MetricsPage {
    registry: Registry,
    gauges: Gauges,
}

#[derive(Default)]
struct Gauges {
    owed: Family<DestinationLabel, Gauge>,
    oldest_owed: Family<DestinationLabel, Gauge<f64, AtomicU64>>,
    dead: Family<DestinationLabel, Gauge>,
    store_bytes: Gauge,
    writer_queue: Gauge,
    writer_commits: Gauge,
    writer_operations: Gauge,
    writer_failures: Gauge,
    writer_seconds: Gauge<f64, AtomicU64>,
    writer_healthy: Gauge,
    bodies_bytes: Gauge,
    connections: Gauge,
    connections_accepted: Gauge,
    connections_refused: Gauge,
    handshakes_failed: Gauge,
    certificate_expires: Gauge,
}

impl MetricsPage {
    /// The page of a registry that others have put their counters on.
    pub(crate) fn new(mut registry: Registry) -> Self {
        let gauges = Gauges::default();
        let mut put = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        put("writer_queue", "Operations waiting for the store's writer", &gauges.writer_queue);
        put("writer_commits", "Commits of the store's writer so far", &gauges.writer_commits);
        put("writer_operations", "Operations committed so far", &gauges.writer_operations);
        put("writer_failures", "Commits that failed and were undone", &gauges.writer_failures);
        put("writer_healthy", "1 if the last commit succeeded", &gauges.writer_healthy);
        put("connections_open", "Public connections open", &gauges.connections);
        put("connections_accepted", "Public connections accepted so far", &gauges.connections_accepted);
        put(
            "connections_refused",
            "Public connections closed at once because too many were open",
            &gauges.connections_refused,
        );
        put(
            "tls_handshakes_failed",
            "Handshakes with clients that failed or took too long",
            &gauges.handshakes_failed,
        );
        registry.register("owed", "Deliveries owed", gauges.owed.clone());
        registry.register("dead", "Deliveries that are dead and kept", gauges.dead.clone());
        registry.register_with_unit(
            "oldest_owed_age",
            "Age of the oldest owed delivery",
            Unit::Seconds,
            gauges.oldest_owed.clone(),
        );
        registry.register_with_unit(
            "store",
            "Size of the store's files",
            Unit::Bytes,
            gauges.store_bytes.clone(),
        );
        registry.register_with_unit(
            "writer_time",
            "Time spent in commits so far",
            Unit::Seconds,
            gauges.writer_seconds.clone(),
        );
        registry.register_with_unit(
            "bodies_in_flight",
            "Memory that request bodies take just now",
            Unit::Bytes,
            gauges.bodies_bytes.clone(),
        );
        registry.register(
            "certificate_expires_timestamp_seconds",
            "When the certificate expires; 0 without one",
            gauges.certificate_expires.clone(),
        );
        Self { registry, gauges }
    }

    /// Says when the certificate expires.
    pub(crate) fn certificate_expires(&self, at_s: i64) {
        self.gauges.certificate_expires.set(at_s);
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
    for handle in admin.dispatcher.destinations() {
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
    gauges.store_bytes.set(signed(stats.file_bytes));
    let writer = admin.store.writer_stats();
    gauges.writer_queue.set(signed(writer.queue as u64));
    gauges.writer_commits.set(signed(writer.commits));
    gauges.writer_operations.set(signed(writer.operations));
    gauges.writer_failures.set(signed(writer.failures));
    gauges.writer_seconds.set(writer.commit_time.as_secs_f64());
    gauges.writer_healthy.set(i64::from(writer.healthy));
    gauges.bodies_bytes.set(signed(admin.public.bodies().budget().bytes_taken() as u64));
    let edge = &admin.edge;
    let read = |counter: &AtomicU64| signed(counter.load(Ordering::Relaxed));
    gauges.connections.set(read(&edge.open));
    gauges.connections_accepted.set(read(&edge.accepted));
    gauges.connections_refused.set(read(&edge.refused_total) + read(&edge.refused_address));
    gauges.handshakes_failed.set(read(&edge.handshakes_failed) + read(&edge.handshakes_timed_out));
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
