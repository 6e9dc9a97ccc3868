//! The part of the API that shows events.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use waypost_domain::EventId;
use waypost_store::{DeliveryRecord, EventFilter, EventRecord, Page};

use super::Admin;
use super::problem::Problem;
use super::{names, waiting};
use crate::rendering::{AttemptView, EventView, RequestView, digits, moment};
use crate::streaming::{self, Served};

/// Events listed where nobody says how many.
const LIMIT: usize = 50;
/// Events listed at most.
const LIMIT_MAX: usize = 1_000;

type Shown = State<Arc<Admin>>;

/// The API's addresses.
pub(super) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/api/v1/events/{id}", get(event))
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(admin)
}

/// The list of events, at an address that the stream has too.
pub(super) fn listing(admin: Arc<Admin>, served: Served) -> Router {
    let router = Router::new().route("/api/v1/events", get(events));
    streaming::with_origins(router.with_state((admin, served.clone())), served)
}

/// The answer to a method that an address does not know; the `Allow` header names those it does.
pub(crate) async fn method_not_allowed() -> Problem {
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
    quarantined: Option<bool>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl EventsQuery {
    /// The same of what is quarantined alone.
    pub(super) fn only_quarantined(self) -> Self {
        Self { quarantined: Some(true), ..self }
    }
}

async fn events(
    State((admin, served)): State<(Arc<Admin>, Served)>,
    headers: HeaderMap,
    pairs: Result<Query<Vec<(String, String)>>, QueryRejection>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(pairs) = pairs.map_err(|error| Problem::wrong(error.body_text()))?;
    if let Some(page) = streaming::events_or_else(&served, &headers, &pairs).await? {
        return Ok(page);
    }
    let Query(query) = query.map_err(|error| Problem::wrong(error.body_text()))?;
    Ok(list(&admin, query).await?.into_response())
}

/// The events that a query means.
pub(super) async fn list(admin: &Admin, query: EventsQuery) -> Result<Json<Value>, Problem> {
    names::known(admin, query.source.as_deref(), query.destination.as_deref()).await?;
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
        quarantined: query.quarantined,
        since: at(query.since)?,
        until: at(query.until)?,
    };
    let list = admin.store.events(filter, Page { before, limit }).await?;
    let items = list.events.iter().map(|record| view(admin, record));
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
        shown.waits_for = waiting::of(&admin, delivery, record.event.conversation.as_deref()).await?;
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
