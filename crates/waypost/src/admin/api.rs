//! The API under `/api/v1/`.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use waypost_domain::EventId;
use waypost_store::{DeliveryRecord, EventFilter, EventRecord, Page};

use super::Admin;
use super::problem::Problem;
use crate::config::{Fallback, Finding, Mode};
use crate::rendering::{AttemptView, EventView, RequestView, digits, moment, time};
use crate::upstreams::{ChangeError, Upstream};

/// Events listed where nobody says how many.
const LIMIT: usize = 50;
/// Events listed at most.
const LIMIT_MAX: usize = 1_000;

type Shown = State<Arc<Admin>>;

/// The API's addresses.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/upstreams", get(upstreams).post(add_upstream))
        .route("/api/v1/upstreams/{host}", get(upstream).delete(remove_upstream))
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/{id}", get(event))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(admin)
}

async fn upstreams(State(admin): Shown) -> Json<Value> {
    let items: Vec<Value> = admin.upstreams.all().iter().map(|upstream| upstream_view(upstream)).collect();
    Json(json!({ "items": items }))
}

async fn upstream(State(admin): Shown, Path(host): Path<String>) -> Result<Json<Value>, Problem> {
    let host = host.to_ascii_lowercase();
    let upstream = admin.upstreams.find(&host).ok_or(ChangeError::Unknown(host))?;
    Ok(Json(upstream_view(&upstream)))
}

async fn add_upstream(State(admin): Shown, settings: String) -> Result<Response, Problem> {
    let (upstream, warnings) = admin.upstreams.add(settings).await?;
    tracing::info!(upstream = %upstream.name, "upstream added");
    for warning in &warnings {
        tracing::warn!(upstream = %upstream.name, "{warning}");
    }
    let mut view = upstream_view(&upstream);
    view["warnings"] = warnings.iter().map(Finding::to_string).collect();
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

async fn remove_upstream(State(admin): Shown, Path(host): Path<String>) -> Result<Json<Value>, Problem> {
    admin.upstreams.remove(&host).await?;
    Ok(Json(json!({ "host": host.to_ascii_lowercase(), "removed": true })))
}

/// An upstream as shown: secrets by number only.
fn upstream_view(upstream: &Upstream) -> Value {
    let settings = &upstream.settings;
    let status = upstream.destination.status();
    json!({
        "host": settings.host.as_str(),
        "mode": mode(settings.mode),
        "fallback": fallback(settings.fallback),
        "origin": settings.origin.to_string(),
        "paths": settings.paths,
        "app_secrets": settings.app_secrets.len(),
        "verify_tokens": settings.verify_tokens.len(),
        "allow_private": settings.allow_private,
        "provision": upstream.provision.as_str(),
        "down": status.down,
        "paused": status.paused,
        "in_flight": status.in_flight,
        "concurrency": status.concurrency,
        "last_failure": status.last_failure.map(|(code, at)| json!({ "code": code, "at": time(at) })),
    })
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

/// The answer to a method that an address does not know; the `Allow` header names those it does.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this address does not take that method; the Allow header names those it takes",
    )
}

/// The filters of a list, as they stand in a query.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    source: Option<String>,
    destination: Option<String>,
    state: Option<String>,
    conversation: Option<String>,
    wamid: Option<String>,
    number: Option<String>,
    kind: Option<String>,
    code: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

async fn events(
    State(admin): Shown,
    query: Result<Query<EventsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|error| Problem::wrong(error.body_text()))?;
    let now = admin.clock.wall();
    let at = |text: Option<String>| text.map(|text| moment(&text, now)).transpose().map_err(Problem::wrong);
    let limit = query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let before: Option<EventId> = query
        .after
        .map(|id| id.parse())
        .transpose()
        .map_err(|error: waypost_domain::IdError| Problem::wrong(error.to_string()))?;
    // What is being sent is owed, too; only the dispatcher knows which it is.
    let only_sending = query.state.as_deref() == Some("sending");
    let state = if only_sending { Some("owed") } else { query.state.as_deref() };
    let filter = EventFilter {
        source: query.source,
        destination: query.destination,
        state: state.map(str::parse).transpose().map_err(Problem::wrong)?,
        conversation: query.conversation,
        wamid: query.wamid,
        number: query.number.map(digits),
        kind: query.kind,
        code: query.code,
        since: at(query.since)?,
        until: at(query.until)?,
    };
    let list = admin.store.events(filter, Page { before, limit }).await?;
    let items = list.events.iter().map(|record| view(&admin, record));
    let wanted = |event: &EventView| !only_sending || event.deliveries.iter().any(|d| d.state == "sending");
    let items: Vec<EventView> = items.filter(wanted).collect();
    Ok(Json(json!({ "items": items, "next": list.next.map(|id| id.to_string()) })))
}

async fn event(State(admin): Shown, Path(id): Path<String>) -> Result<Json<EventView>, Problem> {
    let record =
        find(&admin, &id).await?.ok_or_else(|| Problem::unknown(format!("there is no event `{id}`")))?;
    let mut shown = view(&admin, &record);
    for (delivery, shown) in record.deliveries.iter().zip(&mut shown.deliveries) {
        let attempts = admin.store.attempts(delivery.owed.id).await?;
        shown.log = Some(attempts.iter().map(AttemptView::of).collect());
    }
    shown.request = admin.store.request(record.request).await?.as_ref().map(RequestView::of);
    Ok(Json(shown))
}

/// An event by its identifier, or the first one of a message id.
async fn find(admin: &Admin, id: &str) -> Result<Option<EventRecord>, Problem> {
    if let Ok(id) = id.parse::<EventId>() {
        return Ok(admin.store.event(id).await?);
    }
    let filter = EventFilter { wamid: Some(id.to_owned()), ..EventFilter::default() };
    let list = admin.store.events(filter, Page { before: None, limit: LIMIT_MAX }).await?;
    Ok(list.events.into_iter().next_back())
}

fn view(admin: &Admin, record: &EventRecord) -> EventView {
    let is_sending = |delivery: &DeliveryRecord| {
        let handle = admin.dispatcher.destination(&delivery.owed.destination);
        handle.is_some_and(|handle| handle.is_sending(delivery.owed.id))
    };
    EventView::of(record, is_sending)
}
