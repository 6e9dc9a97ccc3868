//! Pages that browsers may read the stream from.
//!
//! On the public listeners a page of another origin than those that the configuration names is refused. The token in its
//! hands is what a reader proves itself with, and never anything that a browser adds by itself; this keeps pages that got
//! hold of one from using it.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::{HeaderValue, Method, StatusCode};

use super::Served;
use super::access::Door;
use crate::admin::Problem;

/// Judges the origin that a browser names, and tells browsers what a page may read (Fetch Standard, CORS protocol).
pub(super) async fn judge(
    axum::extract::State(served): axum::extract::State<Served>,
    request: Request,
    next: Next,
) -> Response {
    let Some(origin) = request.headers().get(ORIGIN).cloned() else { return next.run(request).await };
    let is_allowed = {
        let settings = served.streaming.settings();
        let named = origin.as_bytes();
        settings.allowed_origins.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(named))
    };
    if !is_allowed {
        return match served.door {
            Door::Public => refused().into_response(),
            // Told nothing, a browser keeps the answer from the page.
            Door::Socket | Door::Admin => next.run(request).await,
        };
    }
    let is_question = request.method() == Method::OPTIONS;
    let mut response =
        if is_question { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(VARY, HeaderValue::from_static("origin"));
    if is_question {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
        let sent = HeaderValue::from_static("authorization, last-event-id");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, sent);
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

fn refused() -> Problem {
    let detail =
        "pages of this origin may not read the stream; [stream] allowed_origins names those that may";
    Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail)
}
