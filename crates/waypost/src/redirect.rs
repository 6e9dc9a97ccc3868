//! Plain HTTP beside HTTPS: everything is sent to HTTPS, nothing is taken in the clear. Only a certificate authority is told
//! what it asks for.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION};
use http::uri::Authority;
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

/// The names of ours that plain callers are sent to.
pub(crate) struct Names {
    domains: Box<[String]>,
    /// What follows the name in an address: a port, where it is not the usual one.
    suffix: String,
}

impl Names {
    /// These names, at the port of `base`, an address such as `https://proxy.example.com:8443` of the first of them.
    pub(crate) fn new(domains: &[String], base: &str) -> Self {
        let first = domains.first().map_or("", String::as_str);
        let suffix =
            base.strip_prefix("https://").and_then(|rest| rest.strip_prefix(first)).unwrap_or_default();
        Self { domains: domains.into(), suffix: suffix.to_owned() }
    }

    /// The one that a request names; the first, if it names none of ours.
    fn of<B>(&self, request: &Request<B>) -> Option<&str> {
        let host = request.uri().authority().map(Authority::as_str);
        let host = host.or_else(|| request.headers().get(HOST)?.to_str().ok());
        let name = host.and_then(|host| host.split(':').next()).unwrap_or_default();
        let name = name.strip_suffix('.').unwrap_or(name);
        let named = self.domains.iter().find(|domain| domain.eq_ignore_ascii_case(name));
        named.or(self.domains.first()).map(String::as_str)
    }
}

/// Sends callers to the same path over HTTPS, at the name of ours that they called.
///
/// 301 for GET and HEAD, as browsers and probes expect; 308 for the rest, so that a client that follows repeats
/// method and body (RFC 9110, section 15.4). Meta follows no redirect of a POST: its callback must be HTTPS.
pub(crate) fn to_https<B>(names: &Names, request: &Request<B>) -> Response<Body> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    // `CONNECT host:port` and `OPTIONS *` have no path to go on with.
    let name = names.of(request).filter(|_| target.starts_with('/'));
    let suffix = &names.suffix;
    let location =
        name.and_then(|name| HeaderValue::try_from(format!("https://{name}{suffix}{target}")).ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn location(domains: &[&str], base: &str, request: http::request::Builder) -> Option<String> {
        let domains: Vec<_> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        let response = to_https(&Names::new(&domains, base), &request.body(()).unwrap());
        Some(response.headers().get(LOCATION)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn callers_stay_at_the_name_of_ours_that_they_called() {
        let ours = ["one.example.com", "two.example.com"];
        for (host, expected) in [
            ("one.example.com", "https://one.example.com/x?y"),
            ("two.example.com", "https://two.example.com/x?y"),
            ("Two.Example.COM:80", "https://two.example.com/x?y"),
            ("two.example.com.", "https://two.example.com/x?y"),
            ("three.example.com", "https://one.example.com/x?y"),
            ("two.example.com.evil.example", "https://one.example.com/x?y"),
            ("203.0.113.1", "https://one.example.com/x?y"),
            ("[::1]:80", "https://one.example.com/x?y"),
            ("", "https://one.example.com/x?y"),
        ] {
            let request = Request::get("/x?y").header(HOST, host);
            assert_eq!(location(&ours, "https://one.example.com", request).unwrap(), expected, "{host}");
        }
        let request = Request::get("http://two.example.com/x").version(http::Version::HTTP_2);
        let secure = location(&ours, "https://one.example.com:8443", request);
        assert_eq!(
            secure.unwrap(),
            "https://two.example.com:8443/x",
            "the port of HTTPS goes with every name"
        );
        assert_eq!(location(&ours, "https://one.example.com", Request::options("*")), None);
    }
}
