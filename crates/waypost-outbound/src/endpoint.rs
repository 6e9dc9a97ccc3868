//! One receiver, and calls to it.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::time::{Instant, timeout_at};
use waypost_domain::limits::{ADDRESS_TIME_MAX, CONNECT_TIME_MAX, POOL_IDLE_TIME_MAX};
use waypost_domain::{Clock, Failure, Origin, Scheme, UpstreamHost};

use crate::answer::{Answer, AnswerBody, Lease};
use crate::connect::{Progress, Stage, Target, open};
use crate::failure::{CallError, Fault};
use crate::limits::CALLS_MAX;
use crate::pool::{CallSlot, Line, Payload, Pool};
use crate::resolve::{Addresses, Resolver};
use crate::tls::{ClientTls, SystemTrust, client_config};

/// What all endpoints share.
#[derive(Clone)]
pub struct OutboundConfig {
    /// Measures durations.
    pub clock: Clock,
    /// Finds addresses.
    pub resolver: Resolver,
    /// How long addresses are used before they are looked up again.
    pub address_time_max: Duration,
    /// How long a kept connection may idle.
    pub pool_idle_time_max: Duration,
}

impl OutboundConfig {
    /// The machine's resolver and the house's limits.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            resolver: Resolver::system(),
            address_time_max: ADDRESS_TIME_MAX,
            pool_idle_time_max: POOL_IDLE_TIME_MAX,
        }
    }
}

/// Makes endpoints. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    config: OutboundConfig,
    system_trust: Arc<SystemTrust>,
}

impl Outbound {
    /// With this configuration.
    pub fn new(config: OutboundConfig) -> Self {
        Self { config, system_trust: Arc::default() }
    }

    /// A receiver to call. Nothing is resolved or connected yet.
    ///
    /// # Errors
    ///
    /// When the host or an extra root is not one.
    pub fn endpoint(&self, config: EndpointConfig) -> Result<Endpoint, EndpointError> {
        let host: UpstreamHost = config.host.parse()?;
        let authority = Authority::from_str(host.as_str())
            .map_err(|_| EndpointError::Name { name: config.host.clone() })?;
        let host_value = HeaderValue::from_str(host.as_str())
            .map_err(|_| EndpointError::Name { name: config.host.clone() })?;
        let tls = match config.origin.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(self.tls(&host, &config.extra_roots)?),
        };
        let OutboundConfig { clock, resolver, address_time_max, pool_idle_time_max } = self.config.clone();
        let Origin { host: origin_host, port, .. } = config.origin;
        let addresses =
            Addresses::new(&origin_host, config.allow_private, resolver, clock.clone(), address_time_max);
        Ok(Endpoint(Arc::new(Inner {
            target: Target { port, tls, name: host.as_str().to_owned(), timeout: config.connect_timeout },
            addresses,
            pool: Arc::new(Pool::new(pool_idle_time_max)),
            clock,
            authority,
            host_value,
            round: address_time_max.min(pool_idle_time_max),
        })))
    }

    fn tls(
        &self,
        host: &UpstreamHost,
        roots: &[CertificateDer<'static>],
    ) -> Result<ClientTls, EndpointError> {
        let bare = host.name().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| EndpointError::Name { name: bare.to_owned() })?;
        let config = if roots.is_empty() {
            self.system_trust.config()
        } else {
            Ok(client_config(roots).map_err(EndpointError::Roots)?)
        };
        Ok(ClientTls { config, name })
    }
}

/// A receiver and how it is to be called.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Where connections go.
    pub origin: Origin,
    /// Who is meant: the `Host` header, and without its port the name for SNI and in the certificate.
    pub host: String,
    /// Whether addresses that are not public may be called.
    pub allow_private: bool,
    /// Roots believed besides the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// How long connecting may take, TLS included, all addresses together.
    pub connect_timeout: Duration,
}

impl EndpointConfig {
    /// The receiver at its default origin, `https://HOST`.
    pub fn of(host: &UpstreamHost) -> Self {
        Self {
            origin: Origin::of(host),
            host: host.as_str().to_owned(),
            allow_private: false,
            extra_roots: Vec::new(),
            connect_timeout: CONNECT_TIME_MAX,
        }
    }
}

/// An endpoint that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The host is not one.
    #[error(transparent)]
    Host(#[from] waypost_domain::HostError),
    /// The host cannot stand in a `Host` header or a certificate.
    #[error("`{name}` cannot be the name of a receiver")]
    Name {
        /// The host.
        name: String,
    },
    /// An extra root is no root.
    #[error("a root certificate cannot be used: {0}")]
    Roots(rustls::Error),
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// What follows the host, byte for byte.
    pub path_and_query: PathAndQuery,
    /// The header lines, in order. `Host` and `Content-Length` are filled in, in place where they already stand.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How long everything may take, the answer's body included.
    pub deadline: Duration,
}

/// One receiver. Cheap to clone; all clones share its connections.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    target: Target,
    addresses: Addresses,
    pool: Arc<Pool>,
    clock: Clock,
    authority: Authority,
    host_value: HeaderValue,
    /// How often the keeper looks after the pool.
    round: Duration,
}

impl Endpoint {
    /// Makes one call and returns once the head of the answer is there; whatever its status, it is an answer.
    ///
    /// The request is written at most once. Another connection is tried only if hyper hands the request back,
    /// and hyper does that only for a request still waiting in the connection's channel: once the connection's
    /// task has taken it out to write it, it is never handed back, for HTTP/1.1 and HTTP/2 alike. So a kept connection that
    /// the receiver has meanwhile closed costs nothing, and one that breaks later is reported as
    /// [`Failure::ConnectionLost`], for any method.
    ///
    /// Dropping the future abandons the call.
    ///
    /// # Errors
    ///
    /// When there is no head of an answer by the deadline.
    pub async fn call(&self, call: Call) -> Result<Answer, Box<CallError>> {
        let inner = &*self.0;
        let began = inner.clock.monotonic();
        let until = Instant::now() + call.deadline;
        let mut progress = Progress::default();
        let outcome = match CallSlot::take(&inner.pool) {
            Some(slot) => {
                let exchanged = self.exchange(call, began, until, &mut progress).await;
                exchanged.map(|(response, lease)| (response, lease, slot))
            }
            None => Err(Fault::new(Failure::Ours, format!("more than {CALLS_MAX} calls are under way"))),
        };
        let now = inner.clock.monotonic();
        progress.timing.total = now.saturating_sub(began);
        match outcome {
            Ok((response, lease, slot)) => {
                progress.timing.first_byte = Some(now.saturating_sub(progress.sent));
                let (head, incoming) = response.into_parts();
                Ok(Answer {
                    status: head.status,
                    version: head.version,
                    headers: head.headers,
                    body: AnswerBody::new(incoming, lease, slot, until, inner.clock.clone(), now),
                    timing: progress.timing,
                    address: progress.address,
                    began,
                })
            }
            Err(Fault { failure, detail }) => Err(Box::new(CallError {
                failure,
                detail,
                timing: progress.timing,
                address: progress.address,
            })),
        }
    }

    async fn exchange(
        &self,
        call: Call,
        began: Duration,
        until: Instant,
        progress: &mut Progress,
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let inner = &*self.0;
        let path_and_query = call.path_and_query.clone();
        let mut request = inner.request(call);
        progress.sent = began;
        loop {
            let (line, fresh) = match inner.pool.take(progress.sent) {
                Some(line) => (line, false),
                // Boxed, so that the common call, on a kept connection, does not carry a TLS handshake's state around.
                None => match Box::pin(timeout_at(until, self.connected(progress))).await {
                    Ok(connected) => {
                        progress.sent = inner.clock.monotonic();
                        connected?
                    }
                    Err(_) => return Err(cut_off(progress, &inner.target.name)),
                },
            };
            progress.stage = Stage::Sent;
            let (exchanged, lease) = match line {
                Line::One(mut lent) => {
                    progress.address = Some(lent.address);
                    inner.shape_for_one(&mut request, &path_and_query);
                    (lent.exchange(request, until).await, Lease::One(lent))
                }
                Line::Many(mut shared) => {
                    progress.address = Some(shared.address);
                    inner.shape_for_many(&mut request, &path_and_query)?;
                    let exchanged = timeout_at(until, shared.sender.try_send_request(request)).await;
                    (exchanged.ok(), Lease::Many { _in_use: shared.in_use })
                }
            };
            let Some(outcome) = exchanged else { return Err(cut_off(progress, &inner.target.name)) };
            match outcome {
                Ok(response) => {
                    if response.status().is_informational() {
                        let sentence = "the answer switched protocols, which was not asked for";
                        return Err(Fault::new(Failure::AnswerUnreadable, sentence));
                    }
                    return Ok((response, lease));
                }
                Err(mut error) => match error.take_message() {
                    Some(unwritten) if !fresh => {
                        request = unwritten;
                        progress.sent = inner.clock.monotonic();
                    }
                    Some(_) => {
                        let sentence = "the new connection ended before the request could be written";
                        return Err(Fault::new(Failure::ConnectFailed, sentence));
                    }
                    None => return Err(Fault::of_exchange(&error.into_error())),
                },
            }
        }
    }

    /// A new connection, or one that became free while waiting for the turn to open one. The second value says
    /// which.
    async fn connected(&self, progress: &mut Progress) -> Result<(Line, bool), Fault> {
        let inner = &*self.0;
        let _turn = if inner.pool.speaks_h2() {
            let turn = inner.pool.opening.lock().await;
            if let Some(line) = inner.pool.take(inner.clock.monotonic()) {
                return Ok((line, false));
            }
            Some(turn)
        } else {
            None
        };
        let began = inner.clock.monotonic();
        progress.stage = Stage::Resolving;
        let addresses = inner.addresses.current().await?;
        progress.timing.resolve = Some(inner.clock.monotonic().saturating_sub(began));
        let wire = open(&inner.target, &addresses, &inner.clock, progress).await?;
        let Some(address) = progress.address else {
            return Err(Fault::new(Failure::Ours, "a connection without an address"));
        };
        let (line, keeper_wanted) = inner.pool.begin(wire, address, inner.clock.monotonic()).await?;
        if keeper_wanted {
            tokio::spawn(keep(Arc::downgrade(&self.0), inner.round));
        }
        Ok((line, true))
    }
}

/// Looks after an endpoint's connections while there are any: gives up what idles, and what the receiver's name no
/// longer leads to. Calls never wait for it.
async fn keep(endpoint: std::sync::Weak<Inner>, round: Duration) {
    loop {
        tokio::time::sleep(round).await;
        let Some(inner) = endpoint.upgrade() else { return };
        if !inner.pool.sweep(inner.clock.monotonic()) {
            return;
        }
        match inner.addresses.renewed().await {
            Some(Ok(addresses)) => inner.pool.admit_only(addresses),
            // The name leads only where it must not: nothing may go there any more.
            Some(Err(fault)) if fault.failure == Failure::AddressForbidden => {
                inner.pool.admit_only(Arc::default());
            }
            // What works is kept while the resolver fails.
            Some(Err(_)) | None => {}
        }
    }
}

impl Inner {
    fn request(&self, call: Call) -> Request<Payload> {
        let Call { method, mut headers, body, .. } = call;
        if headers.contains_key(TRANSFER_ENCODING) {
            headers.remove(TRANSFER_ENCODING);
        }
        // RFC 9110, section 8.6: a GET without content sends no length.
        if !body.is_empty() || !matches!(method, Method::GET | Method::HEAD) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        } else if headers.contains_key(CONTENT_LENGTH) {
            headers.remove(CONTENT_LENGTH);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        request
    }

    fn shape_for_one(&self, request: &mut Request<Payload>, path_and_query: &PathAndQuery) {
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::from(path_and_query.clone());
        request.headers_mut().insert(HOST, self.host_value.clone());
    }

    /// RFC 9113, section 8.3.1: the host goes into `:authority`, and no `Host` is sent.
    fn shape_for_many(
        &self,
        request: &mut Request<Payload>,
        path_and_query: &PathAndQuery,
    ) -> Result<(), Fault> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(http::uri::Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path_and_query.clone());
        *request.uri_mut() = Uri::from_parts(parts)
            .map_err(|error| Fault::new(Failure::Ours, format!("no address for the request: {error}")))?;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(HOST);
        Ok(())
    }
}

fn cut_off(progress: &Progress, name: &str) -> Fault {
    match progress.stage {
        Stage::Resolving => {
            Fault::new(Failure::NameNotResolved, format!("{name} was not resolved within the deadline"))
        }
        Stage::Connecting => {
            Fault::new(Failure::ConnectTimedOut, format!("{name} was not connected within the deadline"))
        }
        Stage::Securing => Fault::new(
            Failure::ConnectTimedOut,
            format!("the TLS handshake with {name} did not end within the deadline"),
        ),
        Stage::Sent => Fault::new(Failure::TimedOut, format!("{name} did not answer within the deadline")),
    }
}
