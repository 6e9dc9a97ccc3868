//! The part of the API that tries things out: where a payload's events would go, and whether a destination answers.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::uri::PathAndQuery;
use serde::Deserialize;
use serde_json::{Value, json};
use waypost_domain::limits;

use super::Admin;
use super::problem::Problem;
use crate::explaining::{Rules, explain};
use crate::pinging::{self, Pinged};

type Shown = State<Arc<Admin>>;

/// The addresses of this part.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/routes/test", post(test))
        .layer(DefaultBodyLimit::max(limits::COMMIT_BYTES_MAX))
        .route("/api/v1/destinations/{name}/ping", post(ping))
        .method_not_allowed_fallback(super::api::method_not_allowed)
        .with_state(admin)
}

/// Whose routes are tried.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Tested {
    source: Option<String>,
}

async fn test(
    State(admin): Shown,
    tested: Result<Query<Tested>, axum::extract::rejection::QueryRejection>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let Query(Tested { source }) = tested.map_err(|error| Problem::wrong(error.body_text()))?;
    let table = admin.registry.table_full();
    // A large payload is read on a thread of its own.
    let explained = tokio::task::spawn_blocking(move || {
        let rules = Rules::of_table(&table, source.as_deref())?;
        Ok(explain(&body, &rules))
    });
    let explained: Result<Vec<Value>, String> = explained.await.map_err(|_| {
        Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR, "test_failed", "it could not be tried")
    })?;
    Ok(Json(json!({ "items": explained.map_err(Problem::unknown)? })))
}

/// What a ping is to be like.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct AskedPing {
    /// For an upstream, which has no path of its own.
    path: Option<String>,
}

async fn ping(
    State(admin): Shown,
    Path(name): Path<String>,
    asked: Result<Json<AskedPing>, axum::extract::rejection::JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::wrong(error.body_text()))?;
    let path = asked.path.map(|path| path.parse::<PathAndQuery>()).transpose();
    let path = path
        .map_err(|_| Problem::wrong("`path` is no path; write it like /webhooks/whatsapp/%2B15551234567"))?;
    let table = admin.registry.table_full();
    let pinged: Option<Pinged> = pinging::ping(&admin.registry, &table, &name, path).await;
    let pinged = pinged.ok_or_else(|| Problem::unknown(format!("there is no destination `{name}`")))?;
    Ok(Json(json!(pinged)))
}
