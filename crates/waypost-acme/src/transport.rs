//! The protocol's calls, over the house's own way out: addresses checked, time and size bounded.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use waypost_domain::{Clock, UnixMillis, UpstreamHost};
use waypost_outbound::{Call, Endpoint, EndpointConfig, Outbound};

use crate::limits::{ANSWER_BYTES_MAX, CALL_TIME_MAX, ORIGINS_MAX, RETRY_AFTER_MAX};

/// The way to one authority. Cheap to clone; all clones share its connections.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Way>);

struct Way {
    outbound: Outbound,
    extra_roots: Vec<CertificateDer<'static>>,
    allow_private: bool,
    clock: Clock,
    endpoints: Mutex<HashMap<String, Endpoint>>,
    /// How long the authority asked to be left alone, when it last refused for lack of room.
    retry_after: Mutex<Option<Duration>>,
}

impl Transport {
    pub(crate) fn new(
        outbound: Outbound,
        extra_roots: Vec<CertificateDer<'static>>,
        allow_private: bool,
        clock: Clock,
    ) -> Self {
        let (endpoints, retry_after) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Way { outbound, extra_roots, allow_private, clock, endpoints, retry_after }))
    }

    /// How long the authority asked to be left alone since this was last asked.
    pub(crate) fn take_retry_after(&self) -> Option<Duration> {
        self.0.retry_after().take()
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let way = self.0.clone();
        Box::pin(async move { way.exchange(request).await })
    }
}

impl Way {
    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (head, body) = request.into_parts();
        let endpoint = self.endpoint(&head.uri)?;
        let body = body.collect().await.map_or_else(|never| match never {}, |body| body.to_bytes());
        let call = Call {
            method: head.method,
            path_and_query: head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
            headers: head.headers,
            body,
            deadline: CALL_TIME_MAX,
        };
        let answer = endpoint.call(call).await.map_err(|error| Error::Other(error))?;
        let (status, headers) = (answer.status, answer.headers.clone());
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            *self.retry_after() = retry_after(&headers, self.clock.wall());
        }
        let excerpt = answer.read_excerpt(ANSWER_BYTES_MAX).await.map_err(|error| Error::Other(error))?;
        if excerpt.truncated {
            return Err(Error::Other("the authority's answer is too large".into()));
        }
        let mut response = Response::new(Full::new(Bytes::from(excerpt.bytes)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(BytesResponse::from(response))
    }

    fn endpoint(&self, uri: &Uri) -> Result<Endpoint, Error> {
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(Error::Other("the authority named an address that is not https".into()));
        };
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(authority.as_str()) {
            return Ok(endpoint.clone());
        }
        if endpoints.len() >= ORIGINS_MAX {
            return Err(Error::Other("the authority's addresses are at too many hosts".into()));
        }
        let host =
            UpstreamHost::from_str(authority.as_str()).map_err(|error| Error::Other(Box::new(error)))?;
        let config = EndpointConfig {
            allow_private: self.allow_private,
            extra_roots: self.extra_roots.clone(),
            ..EndpointConfig::of(&host)
        };
        let endpoint = self.outbound.endpoint(config).map_err(|error| Error::Other(Box::new(error)))?;
        endpoints.insert(authority.as_str().to_owned(), endpoint.clone());
        Ok(endpoint)
    }

    fn retry_after(&self) -> MutexGuard<'_, Option<Duration>> {
        self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3), within bounds.
fn retry_after(headers: &HeaderMap, now: UnixMillis) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            UnixMillis::default().plus(date).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_seconds_or_as_a_date_and_bounded() {
        let now = UnixMillis(784_111_777_000);
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, http::HeaderValue::from_static(text));
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999"), Some(RETRY_AFTER_MAX));
        assert_eq!(read("soon"), None);
    }
}
