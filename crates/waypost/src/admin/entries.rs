//! The part of the API that shows and changes what is configured: upstreams, sources, destinations and routes.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waypost_domain::Match;
use waypost_engine::dispatch::DestinationStatus;
use waypost_store::EntryKind;

use super::Admin;
use super::problem::Problem;
use super::who::Who;
use crate::config::{self, CaFile, Fallback, Mode, SignWith};
use crate::pinging;
use crate::registry::{Added, ChangeError, Destination, Rotation, Route, Source, Table, Upstream};
use crate::rendering::time;

/// Settings that a call may bring.
const SETTINGS_BYTES_MAX: usize = 256 * 1024;

type Shown = State<Arc<Admin>>;
type Asked<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

/// The addresses of this part.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/upstreams", get(upstreams).post(add_upstream))
        .route("/api/v1/upstreams/{host}", get(upstream).delete(remove_upstream))
        .route("/api/v1/sources", get(sources).post(add_source))
        .route("/api/v1/sources/{name}", get(source).delete(remove_source))
        .route("/api/v1/sources/{name}/rotate", post(rotate))
        .route("/api/v1/destinations", get(destinations).post(add_destination))
        .route("/api/v1/destinations/{name}", get(destination).delete(remove_destination))
        .route("/api/v1/routes", get(all_routes).post(add_route))
        .route("/api/v1/routes/{name}", get(route).delete(remove_route))
        .layer(DefaultBodyLimit::max(SETTINGS_BYTES_MAX))
        .method_not_allowed_fallback(super::api::method_not_allowed)
        .with_state(admin)
}

async fn upstreams(State(admin): Shown) -> Json<Value> {
    let table = admin.registry.table_full();
    items(table.upstreams().map(|upstream| upstream_view(upstream)))
}

async fn upstream(State(admin): Shown, Path(host): Path<String>) -> Result<Json<Value>, Problem> {
    let host = host.to_ascii_lowercase();
    let table = admin.registry.table_full();
    let upstream = table.upstream(&host).ok_or(ChangeError::Unknown(EntryKind::Upstream, host))?;
    Ok(Json(upstream_view(upstream)))
}

async fn add_upstream(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    settings: String,
) -> Result<Response, Problem> {
    let added = add(&admin, EntryKind::Upstream, settings, &who).await?;
    let view = added.table.upstream(&added.name).map(|upstream| upstream_view(upstream));
    Ok(created(view, &added))
}

async fn remove_upstream(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    Path(host): Path<String>,
) -> Result<Json<Value>, Problem> {
    remove(&admin, EntryKind::Upstream, &host, false, &who).await?;
    Ok(Json(json!({ "host": host.to_ascii_lowercase(), "removed": true })))
}

async fn sources(State(admin): Shown) -> Json<Value> {
    let table = admin.registry.table_full();
    items(table.sources().map(|source| source_view(source)))
}

async fn source(State(admin): Shown, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let table = admin.registry.table_full();
    let source = table.source(&name).ok_or(ChangeError::Unknown(EntryKind::Source, name))?;
    Ok(Json(source_view(source)))
}

async fn add_source(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    settings: String,
) -> Result<Response, Problem> {
    let added = add(&admin, EntryKind::Source, settings, &who).await?;
    let view = added.table.source(&added.name).map(|source| with_secrets(&admin, source));
    Ok(created(view, &added))
}

/// Which routes go with a source.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Removal {
    #[serde(default)]
    with_routes: bool,
}

async fn remove_source(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
    removal: Result<Query<Removal>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(removal) = removal.map_err(|error| Problem::wrong(error.body_text()))?;
    let routes = remove(&admin, EntryKind::Source, &name, removal.with_routes, &who).await?;
    Ok(Json(json!({ "name": name, "removed": true, "routes": routes })))
}

/// What is to be changed of a source's secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedRotation {
    app_secret: Option<String>,
    /// The verify token, or true for one to be made.
    verify_token: Option<Value>,
    #[serde(default)]
    token: bool,
    #[serde(default)]
    finish: bool,
}

async fn rotate(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
    asked: Asked<AskedRotation>,
) -> Result<Json<Value>, Problem> {
    let Json(asked) = asked.map_err(|error| Problem::wrong(error.body_text()))?;
    let (verify_token, make_verify_token) = match asked.verify_token {
        None | Some(Value::Null | Value::Bool(false)) => (None, false),
        Some(Value::Bool(true)) => (None, true),
        Some(Value::String(token)) => (Some(token), false),
        Some(_) => return Err(Problem::wrong("`verify_token` is a text, or true for one to be made")),
    };
    let (make_token, finish) = (asked.token, asked.finish);
    if asked.app_secret.is_none() && verify_token.is_none() && !make_verify_token && !make_token && !finish {
        return Err(Problem::wrong("say what to rotate: app_secret, verify_token, token, or finish"));
    }
    let rotation =
        Rotation { app_secret: asked.app_secret, verify_token, make_verify_token, make_token, finish };
    let added = admin.registry.rotate(&name, rotation).await?;
    tracing::info!(source = %added.name, who = %who.0, finish, "secrets rotated");
    let source = added.table.source(&added.name).ok_or(ChangeError::Unknown(EntryKind::Source, name))?;
    let mut view = with_secrets(&admin, source);
    view["warnings"] = json!(added.warnings);
    Ok(Json(view))
}

async fn destinations(State(admin): Shown) -> Result<Json<Value>, Problem> {
    let stats = admin.store.stats().await?;
    let owed: HashMap<&str, _> =
        stats.owed.iter().map(|(name, owed, oldest)| (&**name, (*owed, *oldest))).collect();
    let dead: HashMap<&str, u64> = stats.dead.iter().map(|(name, dead)| (&**name, *dead)).collect();
    let table = admin.registry.table_full();
    let all = admin.dispatcher.destinations();
    let views = all.iter().map(|handle| {
        let name = &**handle.name();
        let mut view = standing(&handle.status());
        view.insert("name".to_owned(), json!(name));
        view.insert("owed".to_owned(), json!(owed.get(name).map_or(0, |(owed, _)| *owed)));
        view.insert("oldest_owed_at".to_owned(), json!(owed.get(name).map(|(_, at)| time(*at))));
        view.insert("dead".to_owned(), json!(dead.get(name).copied().unwrap_or(0)));
        view.extend(settings_of(&table, name));
        Value::Object(view)
    });
    Ok(items(views))
}

async fn destination(State(admin): Shown, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let table = admin.registry.table_full();
    let handle = admin.dispatcher.destination(&name);
    let handle = handle.ok_or(ChangeError::Unknown(EntryKind::Destination, name))?;
    let mut view = standing(&handle.status());
    view.insert("name".to_owned(), json!(&**handle.name()));
    view.extend(settings_of(&table, handle.name()));
    Ok(Json(Value::Object(view)))
}

async fn add_destination(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    settings: String,
) -> Result<Response, Problem> {
    let mut added = add(&admin, EntryKind::Destination, settings, &who).await?;
    if let Some(destination) = added.table.destination(&added.name).cloned() {
        let settings = &destination.settings;
        if let Some(why) = pinging::unreachable(&settings.url.origin, settings.allow_private).await {
            let name = &added.name;
            added
                .warnings
                .push(format!("{name} cannot be reached now: {why}; `waypost ping {name}` says more"));
        }
    }
    let view = added.table.destination(&added.name).map(|destination| destination_view(destination));
    Ok(created(view, &added))
}

async fn remove_destination(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    remove(&admin, EntryKind::Destination, &name, false, &who).await?;
    Ok(Json(json!({ "name": name, "removed": true })))
}

async fn all_routes(State(admin): Shown) -> Json<Value> {
    items(admin.registry.table_full().routes().iter().map(route_view))
}

async fn route(State(admin): Shown, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let table = admin.registry.table_full();
    let route = table.routes().iter().find(|route| *route.name == *name);
    let route = route.ok_or(ChangeError::Unknown(EntryKind::Route, name))?;
    Ok(Json(route_view(route)))
}

async fn add_route(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    settings: String,
) -> Result<Response, Problem> {
    let added = add(&admin, EntryKind::Route, settings, &who).await?;
    let view = added.table.routes().iter().find(|route| *route.name == *added.name).map(route_view);
    Ok(created(view, &added))
}

async fn remove_route(
    State(admin): Shown,
    Extension(who): Extension<Who>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    remove(&admin, EntryKind::Route, &name, false, &who).await?;
    Ok(Json(json!({ "name": name, "removed": true })))
}

async fn add(admin: &Admin, kind: EntryKind, settings: String, who: &Who) -> Result<Added, ChangeError> {
    let added = admin.registry.add(kind, settings).await?;
    tracing::info!(kind = kind.as_str(), name = %added.name, who = %who.0, "added");
    for warning in &added.warnings {
        tracing::warn!(kind = kind.as_str(), name = %added.name, "{warning}");
    }
    Ok(added)
}

async fn remove(
    admin: &Admin,
    kind: EntryKind,
    name: &str,
    with_routes: bool,
    who: &Who,
) -> Result<Vec<String>, ChangeError> {
    let routes = admin.registry.remove(kind, name, with_routes).await?;
    tracing::info!(kind = kind.as_str(), name, who = %who.0, "removed");
    Ok(routes)
}

fn items(items: impl Iterator<Item = Value>) -> Json<Value> {
    Json(json!({ "items": items.collect::<Vec<_>>() }))
}

fn created(view: Option<Value>, added: &Added) -> Response {
    let mut view = view.unwrap_or_else(|| json!({ "name": added.name }));
    view["warnings"] = json!(added.warnings);
    (StatusCode::CREATED, Json(view)).into_response()
}

/// An upstream as shown: secrets by number only.
fn upstream_view(upstream: &Upstream) -> Value {
    let settings = &upstream.settings;
    let mut view = standing(&upstream.destination.status());
    let own = json!({
        "host": settings.host.as_str(),
        "mode": mode(settings.mode),
        "fallback": fallback(settings.fallback),
        "origin": settings.origin.to_string(),
        "ca_file": ca_file(settings.ca_file.as_ref()),
        "paths": settings.paths,
        "app_secrets": settings.app_secrets.len(),
        "verify_tokens": settings.verify_tokens.len(),
        "allow_private": settings.allow_private,
        "batches": settings.batches.as_str(),
        "sign_with": sign_with(&settings.sign_with),
        "provision": upstream.provision.as_str(),
    });
    view.extend(own.as_object().cloned().unwrap_or_default());
    Value::Object(view)
}

/// A source as shown: secrets by label or number only.
fn source_view(source: &Source) -> Value {
    let settings = source.settings();
    let labels: Vec<&str> = settings.app_secrets.iter().map(config::Secret::label).collect();
    json!({
        "name": &*source.name,
        "tokens": settings.tokens.len(),
        "verify_tokens": settings.verify_tokens.len(),
        "app_secrets": labels,
        "routes": source.routing.len(),
        "provision": source.provision.as_str(),
    })
}

/// A source with what is to be pasted at Meta: shown when it is made, and never again.
fn with_secrets(admin: &Admin, source: &Source) -> Value {
    let mut view = source_view(source);
    let settings = source.settings();
    if let Some(token) = settings.tokens.first() {
        view["callback_url"] = json!(format!("{}{}", admin.base, config::Source::path(token)));
    }
    if let Some(token) = settings.verify_tokens.first() {
        view["verify_token"] = json!(token.expose());
    }
    view
}

/// How a destination is doing.
fn standing(status: &DestinationStatus) -> Map<String, Value> {
    let view = json!({
        "down": status.down,
        "paused": status.paused,
        "in_flight": status.in_flight,
        "concurrency": status.concurrency,
        "last_failure": status.last_failure.map(|(code, at)| json!({ "code": code, "at": time(at) })),
    });
    view.as_object().cloned().unwrap_or_default()
}

/// What was asked for of a destination, or of the upstream that it is.
fn settings_of(table: &Table, name: &str) -> Map<String, Value> {
    let of_destination = table.destination(name).map(|destination| settings_view(destination));
    let view = of_destination.or_else(|| {
        let upstream = table.upstream(name)?;
        let settings = &upstream.settings;
        Some(json!({
            "url": settings.origin.to_string(),
            "kind": settings.delivery.kind.as_str(),
            "format": "meta",
            "batches": settings.batches.as_str(),
            "sign_with": sign_with(&settings.sign_with),
            "allow_private": settings.allow_private,
            "ca_file": ca_file(settings.ca_file.as_ref()),
            "upstream": true,
            "provision": upstream.provision.as_str(),
        }))
    });
    view.and_then(|view| view.as_object().cloned()).unwrap_or_default()
}

fn destination_view(destination: &Destination) -> Value {
    let mut view = standing(&destination.handle.status());
    view.insert("name".to_owned(), json!(&*destination.name));
    view.extend(settings_view(destination).as_object().cloned().unwrap_or_default());
    Value::Object(view)
}

/// A destination's settings as shown: secrets by number only, the address without its query.
fn settings_view(destination: &Destination) -> Value {
    let settings = &destination.settings;
    json!({
        "url": settings.url.without_query(),
        "kind": settings.delivery.kind.as_str(),
        "format": settings.format.as_str(),
        "batches": settings.batches.as_str(),
        "sign_with": sign_with(&settings.sign_with),
        "webhook_secrets": settings.webhook_secrets.len(),
        "allow_private": settings.allow_private,
        "ca_file": ca_file(settings.ca_file.as_ref()),
        "upstream": false,
        "provision": destination.provision.as_str(),
    })
}

/// A route as shown.
pub(super) fn route_view(route: &Route) -> Value {
    let mut view = json!({
        "name": &*route.name,
        "source": route.settings.source,
        "match": match_view(&route.settings.wanted),
        "to": route.settings.to,
        "provision": route.provision.as_str(),
    });
    if !route.lost.is_empty() {
        view["lost"] = json!(route.lost);
    }
    view
}

/// A match as it would be written.
fn match_view(wanted: &Match) -> Value {
    if wanted.is_everything() {
        return json!("all");
    }
    let keys = wanted.keys().map(|(key, values)| (key.as_str().to_owned(), values.collect::<Value>()));
    Value::Object(keys.collect())
}

/// The file of further trust; null where there is none.
fn ca_file(file: Option<&CaFile>) -> Value {
    json!(file.map(|file| file.path.display().to_string()))
}

/// What signs, never with what.
fn sign_with(sign_with: &SignWith) -> &'static str {
    match sign_with {
        SignWith::Source => "source",
        SignWith::Secret(_) => "own",
        SignWith::Nothing => "none",
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Store => "store",
        Mode::Relay => "relay",
    }
}

fn fallback(fallback: Fallback) -> &'static str {
    match fallback {
        Fallback::None => "none",
        Fallback::Store => "store",
    }
}
