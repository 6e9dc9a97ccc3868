//! The part of the API that issues and revokes the tokens of the stream's readers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::problem::Problem;
use super::who::Who;
use crate::config::parse_duration;
use crate::rendering::time;
use crate::streaming::tokens::{KeyView, Record, Scope, Signing, Wanted};

type Shown = State<Arc<Admin>>;
type Asked<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

/// How long a token is good where nobody says.
const TTL: &str = "30d";

/// The addresses of this part.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/tokens", get(list).post(issue))
        .route("/api/v1/tokens/revoke", post(revoke))
        .route("/api/v1/tokens/rotate", post(rotate))
        .method_not_allowed_fallback(super::api::method_not_allowed)
        .with_state(admin)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedToken {
    ttl: Option<String>,
    sources: Option<Vec<String>>,
    numbers: Option<Vec<String>>,
    types: Option<Vec<String>>,
    #[serde(default = "yes")]
    content: bool,
    alg: Option<Signing>,
    note: Option<String>,
}

fn yes() -> bool {
    true
}

async fn issue(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    asked: Asked<AskedToken>,
) -> Result<Response, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::wrong(error.body_text()))?;
    let ttl = parse_duration(asked.ttl.as_deref().unwrap_or(TTL));
    let ttl = ttl.map_err(|error| Problem::wrong(format!("ttl: {error}")))?;
    let AskedToken { sources, numbers, types, content, note, .. } = asked;
    let scope = Scope { sources, numbers, types, content };
    let wanted = Wanted { signing: asked.alg.unwrap_or(Signing::Hs256), ttl, scope: scope.clone(), note };
    let issued = admin.streaming.tokens().issue(wanted, &who.0).await?;
    tracing::info!(token = %issued.id, who = %who.0, "a token of the stream was issued");
    let shown = json!({
        "id": issued.id,
        "token": issued.token,
        "expires_at": time(issued.expires_at),
        "scope": scope,
    });
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRevocation {
    /// The token's id, or the token itself.
    token: String,
}

async fn revoke(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    asked: Asked<AskedRevocation>,
) -> Result<Json<Value>, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::wrong(error.body_text()))?;
    let (id, known) = admin.streaming.tokens().revoke(asked.token.trim(), &who.0).await?;
    tracing::info!(token = %id, who = %who.0, "a token of the stream was revoked");
    Ok(Json(json!({ "id": id, "revoked": true, "issued_here": known })))
}

async fn rotate(State(admin): Shown, Extension(who): Extension<Who>) -> Result<Json<Value>, Problem> {
    let made = admin.streaming.tokens().rotate().await?;
    tracing::info!(keys = made.len(), who = %who.0, "the keys of the stream's tokens were changed");
    let (_, keys) = admin.streaming.tokens().list();
    Ok(Json(json!({ "made": made.len(), "keys": keys.iter().map(key_view).collect::<Vec<_>>() })))
}

async fn list(State(admin): Shown) -> Json<Value> {
    let (tokens, keys) = admin.streaming.tokens().list();
    let items: Vec<Value> = tokens.iter().map(|(id, record)| token_view(id, record)).collect();
    Json(json!({ "items": items, "keys": keys.iter().map(key_view).collect::<Vec<_>>() }))
}

fn token_view(id: &str, record: &Record) -> Value {
    json!({
        "id": id,
        "issued_here": record.issued_at.is_some(),
        "issued_at": record.issued_at.map(time),
        "issued_by": record.issued_by,
        "expires_at": time(record.expires_at),
        "scope": record.scope,
        "key": record.key,
        "note": record.note,
        "revoked_at": record.revoked_at.map(time),
        "revoked_by": record.revoked_by,
    })
}

/// A key as shown, without the key.
fn key_view(key: &KeyView) -> Value {
    json!({
        "id": key.id,
        "alg": key.signing,
        "made_at": time(key.made_at),
        "signs": key.signs,
        "believed_until": if key.signs { Value::Null } else { json!(time(key.until)) },
    })
}
