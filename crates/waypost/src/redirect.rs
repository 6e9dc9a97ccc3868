//! Plain HTTP beside HTTPS: everything is sent to HTTPS, nothing is taken in the clear.

use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use waypost_edge::Body;

/// Sends callers to the same path at `base`, such as `https://proxy.example.com`.
///
/// 301 for GET and HEAD, as browsers and probes expect; 308 for the rest, so that a client that follows repeats
/// method and body (RFC 9110, section 15.4). Meta follows no redirect of a POST: its callback must be HTTPS.
pub(crate) fn to_https(base: &str, request: &Request<Incoming>) -> Response<Body> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    // `CONNECT host:port` and `OPTIONS *` have no path to go on with.
    let location =
        target.starts_with('/').then(|| HeaderValue::try_from(format!("{base}{target}")).ok()).flatten();
    let mut response = Response::new(Body::empty());
    let Some(location) = location else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let status = match *request.method() {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
