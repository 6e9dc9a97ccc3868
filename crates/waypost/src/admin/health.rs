//! Health: whether the process lives, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use tokio::sync::Mutex;
use waypost_domain::UnixMillis;

use super::Admin;
use crate::rendering::time;

/// How long an answer of the store is good for.
const PROBE_FOR: Duration = Duration::from_secs(1);
/// How long the store may take to answer.
const PROBE_TIME_MAX: Duration = Duration::from_secs(4);

/// What the store said last, and when: a flood of health checks must not become a flood of writes.
pub(crate) type LastProbe = Mutex<Option<(Duration, Result<(), &'static str>)>>;

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// The listeners are bound (they are before this page is), the store can write, every name has a certificate where they
/// come by themselves, and nobody has asked us to stop.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let why = if admin.draining.is_cancelled() { Err("draining") } else { probe(&admin).await };
    match why {
        Ok(()) => match certificate_awaited(&admin) {
            None => Json(json!({ "ready": true })).into_response(),
            Some((reason, next)) => {
                let body = json!({
                    "ready": false,
                    "code": "certificate_awaited",
                    "reason": reason,
                    "next_attempt": time(next),
                });
                (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
            }
        },
        Err(code) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "code": code }))).into_response()
        }
    }
}

/// Why there is a name without a certificate, and when the next attempt is; none where every name has one.
fn certificate_awaited(admin: &Admin) -> Option<(String, UnixMillis)> {
    let now = admin.clock.wall();
    let statuses = admin.acme.as_ref()?.status();
    statuses.iter().find_map(|status| Some((status.unready(now)?, status.next_attempt_at.max(now))))
}

async fn probe(admin: &Admin) -> Result<(), &'static str> {
    let mut last = admin.last_probe.lock().await;
    let now = admin.clock.monotonic();
    if let Some((at, said)) = *last
        && now.saturating_sub(at) < PROBE_FOR
    {
        return said;
    }
    let said = match tokio::time::timeout(PROBE_TIME_MAX, admin.store.probe_write()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.code()),
        Err(_) => Err("store_slow"),
    };
    *last = Some((admin.clock.monotonic(), said));
    said
}
