//! The request that an event came in, byte for byte, for those who may read everything.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use axum::{Router, extract::Query};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use waypost_domain::EventId;

use super::access::Caller;
use super::pages::{Pairs, Served};
use crate::admin::Problem;

/// What stands before the name of each header of the request, in the answer.
pub(crate) const HEADER_PREFIX: &str = "waypost-header-";
/// The answer's header that names the request.
pub(crate) const REQUEST_ID: &str = "waypost-request-id";

/// The address of this part.
pub(super) fn routes() -> Router<Served> {
    Router::new().route("/api/v1/events/{id}/request", get(request))
}

/// Whether a path is that.
pub(super) fn is_page(path: &str) -> bool {
    path.starts_with("/api/v1/events/") && path.ends_with("/request")
}

async fn request(
    State(Served { streaming, door }): State<Served>,
    headers: HeaderMap,
    Path(id): Path<String>,
    pairs: Pairs,
) -> Result<Response, Problem> {
    let Query(pairs) = pairs.map_err(|error| Problem::wrong(error.body_text()))?;
    let token = pairs.iter().find(|(key, _)| key == "token").map(|(_, token)| token.as_str());
    let caller = streaming.must_be_somebody(door, &headers, token)?;
    // A request may hold events of any number and type.
    if !may_read_everything(&caller) {
        let detail = "a whole request is for tokens whose scope is not limited; the raw event is in its frame, with raw=1";
        return Err(Problem::new(StatusCode::FORBIDDEN, "token_scope", detail));
    }
    let id: EventId =
        id.parse().map_err(|error: waypost_domain::IdError| Problem::wrong(error.to_string()))?;
    let record = streaming.store.event(id).await?;
    let record = record.ok_or_else(|| Problem::unknown(format!("there is no event `{id}`")))?;
    let Some(kept) = streaming.store.request_body(record.request).await? else {
        let detail =
            "the request of this event is kept no more; how long it is, [retention] delivered_bodies says";
        return Err(Problem::new(StatusCode::GONE, "evidence_gone", detail));
    };
    let mut response = Response::new(Body::from(kept.body));
    let answered = response.headers_mut();
    answered.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answered.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answered.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(request) = HeaderValue::try_from(record.request.to_string()) {
        answered.insert(REQUEST_ID, request);
    }
    for (name, value) in kept.headers.iter() {
        let name = HeaderName::try_from(format!("{HEADER_PREFIX}{name}"));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            answered.append(name, value);
        }
    }
    Ok(response)
}

fn may_read_everything(caller: &Caller) -> bool {
    caller.grant().is_none_or(|grant| {
        let scope = &grant.scope;
        scope.content && scope.sources.is_none() && scope.numbers.is_none() && scope.types.is_none()
    })
}
