//! Health: whether the process lives, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use tokio::sync::Mutex;

use super::Admin;

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

/// The listeners are bound (they are before this page is), the store can write, and nobody has asked
/// us to stop.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let why = if admin.draining.is_cancelled() { Err("draining") } else { probe(&admin).await };
    match why {
        Ok(()) => Json(json!({ "ready": true })).into_response(),
        Err(code) => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "code": code }))).into_response()
        }
    }
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
