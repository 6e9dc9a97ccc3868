//! The part of the API that shows how the certificates are doing that come by themselves.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use waypost_acme::CertificateStatus;

use super::Admin;
use crate::rendering::time;

/// The addresses of this part.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/certificates", get(certificates))
        .method_not_allowed_fallback(super::api::method_not_allowed)
        .with_state(admin)
}

/// Empty where no certificate comes by itself.
async fn certificates(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let statuses = admin.acme.as_ref().map(waypost_acme::Acme::status).unwrap_or_default();
    Json(json!({ "items": statuses.iter().map(view).collect::<Vec<_>>() }))
}

fn view(status: &CertificateStatus) -> Value {
    let last = status.last_error.as_ref();
    json!({
        "names": status.names,
        "not_before": status.not_before.map(time),
        "not_after": status.not_after.map(time),
        "next_attempt_at": time(status.next_attempt_at),
        "busy": status.busy,
        "failures": status.failures,
        "last_failure": last.map(|error| json!({ "at": time(error.at), "what": error.sentence })),
    })
}
