//! Plain HTTP beside HTTPS: everything is sent to HTTPS, nothing is taken in the clear. Only a certificate authority is told
//! what it asks for.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use waypost_acme::Challenges;
use waypost_edge::Body;

/// The answer to an authority that looks whether a name is ours (RFC 8555, section 8.3); none where nobody expects it.
pub(crate) fn proof(challenges: &Challenges, request: &Request<Incoming>) -> Option<Response<Body>> {
    if *request.method() != Method::GET {
        return None;
    }
    let answer = challenges.file_at(request.uri().path())?;
    let mut response = Response::new(Body::full(answer));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(response)
}

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
