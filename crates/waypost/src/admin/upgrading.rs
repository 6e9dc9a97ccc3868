//! The part of the API that lets another process go on in our place.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Admin, api};
use crate::upgrade::Prepared;

/// The upgrade's address.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/upgrade", get(current).post(upgrade))
        .method_not_allowed_fallback(api::method_not_allowed)
        .with_state(admin)
}

/// Which process answers, of which version.
async fn current() -> Json<Value> {
    Json(json!({ "process": std::process::id(), "version": env!("CARGO_PKG_VERSION") }))
}

/// Starts the program on disk; answers once it is prepared to go on, which it then does.
async fn upgrade(State(admin): State<Arc<Admin>>) -> Result<Json<Value>, Problem> {
    let Prepared { process, version } = admin.upgrades.ask().await?;
    let from = json!({ "process": std::process::id(), "version": env!("CARGO_PKG_VERSION") });
    Ok(Json(json!({ "from": from, "to": { "process": process, "version": version } })))
}
