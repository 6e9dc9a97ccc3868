//! The addresses at which the stream is served.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use waypost_whatsapp::normal::{NORMAL_SCHEMA, NORMAL_TYPES};

use super::access::{Caller, Door};
use super::ask::Ask;
use super::{Streaming, evidence, origins, poll, queries, sse, ws};
use crate::admin::Problem;

/// The stream, as one door shows it.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) streaming: Arc<Streaming>,
    pub(crate) door: Door,
}

pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The pages of a door. Each of them asks for a token by itself.
pub(crate) fn pages(served: Served) -> Router {
    let router = Router::new()
        .route("/ws", get(websocket))
        .route("/events", get(events))
        .route("/api/v1/schema/event.json", get(schema))
        .route("/api/v1/schema/event.d.ts", get(types))
        .merge(queries::routes())
        .merge(evidence::routes());
    // Elsewhere the list of events has this address, and hands over what is meant for the stream.
    let router = match served.door {
        Door::Public => router.route("/api/v1/events", get(polled)),
        Door::Socket | Door::Admin => router,
    };
    with_origins(router.with_state(served.clone()), served)
}

/// Pages whose origins are judged.
pub(crate) fn with_origins(router: Router, served: Served) -> Router {
    router
        .method_not_allowed_fallback(crate::admin::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(served, origins::judge))
}

/// Whether a path is one of the stream's, so that the public listeners know whom to ask.
pub(crate) fn is_page(path: &str) -> bool {
    matches!(path, "/ws" | "/events" | "/api/v1/events")
        || path.starts_with("/api/v1/schema/event.")
        || queries::is_page(path)
        || evidence::is_page(path)
}

async fn websocket(
    State(Served { streaming, door }): State<Served>,
    headers: HeaderMap,
    pairs: Pairs,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let ask = asked(pairs)?;
    let caller = streaming.caller(door, &headers, ask.token.as_deref())?;
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("this address speaks WebSocket: {}", rejection.body_text());
        Problem::new(rejection.status(), "websocket_wanted", detail)
    })?;
    let seat = match &caller {
        Some(caller) => {
            // What is wrong is told while it can be told as a problem.
            ask.filter(caller)?;
            ask.view(caller)?;
            super::ask::scope(caller)?;
            streaming.readers.seat()?
        }
        None => streaming.readers.waiting_room()?,
    };
    Ok(ws::upgrade(upgrade, streaming, door, caller, ask, seat))
}

async fn events(
    State(Served { streaming, door }): State<Served>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Response, Problem> {
    sse::answer(streaming, door, &headers, asked(pairs)?).await
}

async fn polled(
    State(Served { streaming, door }): State<Served>,
    headers: HeaderMap,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let ask = asked(pairs)?;
    let caller = streaming.must_be_somebody(door, &headers, ask.token.as_deref())?;
    poll::answer(&streaming, &caller, &ask).await
}

/// A page of the stream where that is what is meant; `None` where an operator asks for the list of events.
///
/// # Errors
///
/// When the caller may not read, or asks for what there is not.
pub(crate) async fn events_or_else(
    served: &Served,
    headers: &HeaderMap,
    pairs: &[(String, String)],
) -> Result<Option<Response>, Problem> {
    let Served { streaming, door } = served;
    let value = |wanted: &str| pairs.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    let caller = streaming.must_be_somebody(*door, headers, value("token"))?;
    let is_operator = matches!(caller, Caller::Operator);
    if is_operator && !value("since").is_some_and(Ask::is_since) {
        return Ok(None);
    }
    poll::answer(streaming, &caller, &Ask::read(pairs)?).await.map(Some)
}

async fn schema() -> Response {
    ([(CONTENT_TYPE, "application/schema+json")], NORMAL_SCHEMA).into_response()
}

async fn types() -> Response {
    (StatusCode::OK, [(CONTENT_TYPE, "text/plain; charset=utf-8")], NORMAL_TYPES).into_response()
}

fn asked(pairs: Pairs) -> Result<Ask, Problem> {
    let Query(pairs) = pairs.map_err(|error| Problem::wrong(error.body_text()))?;
    Ask::read(&pairs)
}
