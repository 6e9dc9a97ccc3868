//! The public page: what is answered to whom. A call walks down [`Public::answer`] once.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, request};
use hyper::body::Incoming;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry as Counters;
use tower_service::Service;
use waypost_domain::Clock;
use waypost_domain::limits::TARGET_BYTES_MAX;
use waypost_edge::admission::{admit, target};
use waypost_edge::body::BodyReader;
use waypost_edge::forwarded::{relayed_headers, stored_headers};
use waypost_edge::limits::FAREWELL_TIME;
use waypost_edge::relay::{Relayed, relay};
use waypost_edge::{Body, ConnectionInfo, Refusal, Stop};
use waypost_engine::intake::{Arrival, Intake, Proved, prove};
use waypost_engine::routing::Routing;
use waypost_outbound::Call;
use waypost_whatsapp::{AppSecrets, HandshakeAnswer, SignatureError, VerifyToken};

use crate::config::{Fallback, Mode};
use crate::lifecycle::Lifecycle;
use crate::meta_gate::MetaGate;
use crate::registry::{Quiet, Registry, Source, Upstream};
use crate::streaming::{self, Door, Served, Streaming};
use crate::upgrade::{self, Late, Turnstile};

const SIGNATURE: &str = "x-hub-signature-256";

/// Answers the public listeners' calls.
pub(crate) struct Public {
    registry: Arc<Registry>,
    intake: Intake,
    /// What is to be kept passes here.
    turnstile: Turnstile,
    bodies: BodyReader,
    clock: Clock,
    answers: Family<AnswerLabels, Counter>,
    unproved: Family<UnprovedLabels, Counter>,
    gate: MetaGate,
    streaming: Arc<Streaming>,
    stream_pages: axum::Router,
}

/// Where a call leads.
enum Way {
    /// To an upstream, with the receiver's path and query.
    Upstream(Arc<Upstream>, PathAndQuery),
    /// To a source, with its query.
    Source(Arc<Source>, String),
}

/// How a call was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    /// What was done: `store`, `relay`, `handshake`, `stream`, or `refuse`.
    way: &'static str,
    /// The HTTP status.
    status: u16,
}

/// Whose callers did not prove themselves, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnprovedLabels {
    /// The source or upstream.
    source: String,
    /// What was wrong with the signature.
    reason: &'static str,
}

impl Public {
    /// Answers for what is configured.
    pub(crate) fn new(
        registry: Arc<Registry>,
        intake: Intake,
        bodies: BodyReader,
        gate: MetaGate,
        clock: Clock,
        streaming: Arc<Streaming>,
    ) -> Self {
        let (answers, unproved) = (Family::default(), Family::default());
        let stream_pages = streaming::pages(Served { streaming: streaming.clone(), door: Door::Public });
        Self {
            registry,
            intake,
            turnstile: Turnstile::new(),
            bodies,
            clock,
            answers,
            unproved,
            gate,
            streaming,
            stream_pages,
        }
    }

    /// What is demanded of callers besides a signature.
    pub(crate) fn gate(&self) -> &MetaGate {
        &self.gate
    }

    /// Puts its counters on the metrics page.
    pub(crate) fn register(&self, registry: &mut Counters) {
        registry.register("answers", "Public calls answered, by way and status", self.answers.clone());
        registry.register(
            "signatures_refused",
            "Calls refused because their signature proved nothing, by source",
            self.unproved.clone(),
        );
        self.gate.register(registry);
    }

    /// What stands between a call and the store.
    pub(crate) fn turnstile(&self) -> &Turnstile {
        &self.turnstile
    }

    /// The bodies being read, for the metrics page.
    pub(crate) fn bodies(&self) -> &BodyReader {
        &self.bodies
    }

    /// Answers one call.
    pub(crate) async fn answer(&self, request: Request<Incoming>, caller: ConnectionInfo) -> Response<Body> {
        let (way, response) = match self.walk(request, &caller).await {
            Ok(answered) => answered,
            Err(refusal) => {
                tracing::debug!(caller = %caller.peer.ip(), code = refusal.code(), "refused");
                ("refuse", refusal.response())
            }
        };
        let status = response.status().as_u16();
        self.answers.get_or_create(&AnswerLabels { way, status }).inc();
        response
    }

    async fn walk(
        &self,
        request: Request<Incoming>,
        caller: &ConnectionInfo,
    ) -> Result<(&'static str, Response<Body>), Refusal> {
        if self.streaming.is_public() && streaming::is_page(request.uri().path()) {
            return Ok(("stream", self.stream(request).await));
        }
        let (head, body) = request.into_parts();
        let way = {
            let table = self.registry.table();
            match source_address(&head)? {
                Some((token, query)) => {
                    let source = table.source_of_token(token).ok_or(Refusal::NotFound)?.clone();
                    Way::Source(source, query.to_owned())
                }
                None => {
                    let admitted = admit(&head, table.allow_list())?;
                    Way::Upstream(admitted.upstream().clone(), admitted.into_path_and_query())
                }
            }
        };
        // Only now: whoever calls nothing of ours hears that, and nothing of what is demanded.
        self.gate.judge(caller, self.clock.wall())?;
        let (upstream, target) = match way {
            Way::Upstream(upstream, target) => (upstream, target),
            Way::Source(source, query) => return self.source(&source, &query, &head, body, caller).await,
        };
        if head.method == Method::GET {
            if !upstream.verify_tokens.is_empty() {
                let query = target.query().unwrap_or_default();
                return Ok(("handshake", handshake(&upstream.verify_tokens, query)));
            }
            let call = onward(&upstream, head, target, Bytes::new(), caller);
            return Ok(("relay", answered(&upstream, relay(&upstream.endpoint, call).await)));
        }
        let proved = self
            .proved(&upstream.name, upstream.secrets.as_ref(), &upstream.refused, &head, body, caller)
            .await?;
        match upstream.settings.mode {
            Mode::Store => {
                self.store(&upstream, &head, target, proved, caller).await?;
                Ok(("store", Response::new(Body::empty())))
            }
            Mode::Relay if upstream.settings.fallback == Fallback::Store => {
                self.relay_or_store(&upstream, head, target, proved, caller).await
            }
            Mode::Relay => {
                let call = onward(&upstream, head, target, proved.into_body(), caller);
                Ok(("relay", answered(&upstream, relay(&upstream.endpoint, call).await)))
            }
        }
    }

    /// Answers a call to the stream, which proves its readers by itself.
    async fn stream(&self, request: Request<Incoming>) -> Response<Body> {
        let answer = self.stream_pages.clone().call(request.map(axum::body::Body::new)).await;
        answer.unwrap_or_else(|never| match never {}).map(Body::streaming)
    }

    /// Passes a call on; where the receiver cannot take it, keeps it and answers 200. While the receiver is owed
    /// something, everything is kept, so that nothing passes what waits.
    async fn relay_or_store(
        &self,
        upstream: &Upstream,
        head: request::Parts,
        target: PathAndQuery,
        proved: Proved,
        caller: &ConnectionInfo,
    ) -> Result<(&'static str, Response<Body>), Refusal> {
        // What the receiver is owed is known to whoever has the store.
        if !upstream.destination.is_owed() && self.turnstile.pass().is_some() {
            let call = onward(upstream, head.clone(), target.clone(), proved.body().clone(), caller);
            let relayed = relay(&upstream.endpoint, call).await;
            if relayed.failure.is_none() && !relayed.response.status().is_server_error() {
                return Ok(("relay", relayed.response));
            }
            let code = relayed.failure.map_or("receiver_failed", |(failure, _)| failure.code());
            tracing::warn!(upstream = %upstream.name, code, "not relayed; kept for later");
        }
        self.store(upstream, &head, target, proved, caller).await?;
        Ok(("store", Response::new(Body::empty())))
    }

    /// Keeps what came to an upstream and answers for it.
    async fn store(
        &self,
        upstream: &Upstream,
        head: &request::Parts,
        target: PathAndQuery,
        proved: Proved,
        caller: &ConnectionInfo,
    ) -> Result<(), Refusal> {
        let arrival = Arrival {
            source: upstream.name.clone(),
            scope: format!("{}{}", upstream.name, target.path()).into(),
            target: target.to_string(),
            headers: stored_headers(&head.headers, caller),
            proved,
        };
        self.accept(arrival, &upstream.routing).await
    }

    /// Answers a call to a source. Its token is nowhere in what is kept: the kept path bears its name.
    async fn source(
        &self,
        source: &Source,
        query: &str,
        head: &request::Parts,
        body: Incoming,
        caller: &ConnectionInfo,
    ) -> Result<(&'static str, Response<Body>), Refusal> {
        match head.method {
            Method::GET => return Ok(("handshake", handshake(source.verify_tokens(), query))),
            Method::POST => {}
            _ => return Err(Refusal::MethodNotAllowed),
        }
        let mark = if query.is_empty() { "" } else { "?" };
        let target = format!("/w/{}{mark}{query}", source.name);
        let secrets = Some(source.secrets());
        let proved = self.proved(&source.name, secrets, source.refused(), head, body, caller).await?;
        let arrival = Arrival {
            source: source.name.clone(),
            // The name alone, which no host with a path can be: what is a duplicate does not change with the token.
            scope: source.name.clone(),
            target,
            headers: stored_headers(&head.headers, caller),
            proved,
        };
        self.accept(arrival, &source.routing).await?;
        Ok(("store", Response::new(Body::empty())))
    }

    /// Keeps what a former process still has brought to it, for as long as it lives.
    pub(crate) fn relieve(self: Arc<Self>, from: upgrade::Channel, lifecycle: &mut Lifecycle) {
        let stop = lifecycle.doors();
        let keep = move |late| {
            let public = self.clone();
            async move { public.keep_late(late).await }
        };
        lifecycle.open("former process", async move {
            tokio::select! {
                () = upgrade::receive(from, keep) => stop.soft.cancelled().await,
                () = stop.hard.cancelled() => {}
                () = ended_for_good(&stop) => {}
            }
        });
    }

    /// Keeps what came to a former process; whether that was done.
    async fn keep_late(&self, late: Late) -> bool {
        let Late { source, scope, target, headers, body } = late;
        let (routing, secrets) = {
            let table = self.registry.table();
            let secrets = match table.source(&source) {
                Some(source) => Some(source.secrets().clone()),
                None => table.upstream(&source).and_then(|upstream| upstream.secrets.clone()),
            };
            (table.routing(&source).cloned(), secrets)
        };
        let Some(routing) = routing else {
            tracing::error!(source = %source, "the former process took a call for what is no longer configured");
            return false;
        };
        let signatures = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(SIGNATURE));
        match prove(secrets.as_ref(), signatures.map(|(_, value)| value), body) {
            Ok(proved) => {
                let arrival = Arrival { source, scope, target, headers: headers.clone(), proved };
                self.accept(arrival, &routing).await.is_ok()
            }
            Err(error) => {
                tracing::error!(source = %source, %error, "the former process took a call that proves nothing here");
                false
            }
        }
    }

    async fn accept(&self, arrival: Arrival, routing: &Routing) -> Result<(), Refusal> {
        let source = arrival.source.clone();
        let outcome: Result<(), (String, &'static str)> = match self.turnstile.pass() {
            Some(_pass) => {
                let kept = self.intake.accept(arrival, routing).await;
                kept.map(|_| ()).map_err(|error| (error.to_string(), error.code()))
            }
            None => {
                let taken = self.turnstile.pass_on(&arrival).await;
                taken.map_err(|error| (error.to_string(), error.code()))
            }
        };
        outcome.map_err(|(error, code)| {
            tracing::error!(source = %source, error, code, "not accepted; the caller is told 503 and will repeat it");
            Refusal::NotStored
        })
    }

    /// Reads the body and proves it.
    async fn proved(
        &self,
        name: &Arc<str>,
        secrets: Option<&AppSecrets>,
        refused: &Quiet,
        head: &request::Parts,
        body: Incoming,
        caller: &ConnectionInfo,
    ) -> Result<Proved, Refusal> {
        let body = self.bodies.read(&head.headers, body).await?;
        let (bytes, _share) = body.into_parts();
        let signatures = head.headers.get_all(SIGNATURE).iter().map(HeaderValue::as_bytes);
        prove(secrets, signatures, bytes).map_err(|error| {
            let labels = UnprovedLabels { source: name.to_string(), reason: error.code() };
            self.unproved.get_or_create(&labels).inc();
            if let Some(times) = refused.is_due(self.clock.wall()) {
                tracing::warn!(source = %name, caller = %caller.peer.ip(), %error, times, "signature refused");
            }
            match error {
                SignatureError::Missing => Refusal::SignatureMissing,
                _ => Refusal::SignatureWrong,
            }
        })
    }
}

/// Waits until a stop has begun after which nobody goes on, and what was on its way has come.
async fn ended_for_good(stop: &Stop) {
    stop.soft.cancelled().await;
    if stop.succession.is_cancelled() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(FAREWELL_TIME).await;
}

/// The token and the query of a call to a source's address; `None` if it is to something else. A path that goes on after
/// the token is nobody's.
fn source_address(head: &request::Parts) -> Result<Option<(&str, &str)>, Refusal> {
    let target = target(&head.method, head.version, &head.uri)?;
    let Some(rest) = target.strip_prefix("/w/") else { return Ok(None) };
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    let (token, query) = rest.split_once('?').unwrap_or((rest, ""));
    if token.contains('/') { Err(Refusal::NotFound) } else { Ok(Some((token, query))) }
}

/// The call that a request becomes: the same bytes, to its receiver.
fn onward(
    upstream: &Upstream,
    head: request::Parts,
    target: PathAndQuery,
    body: Bytes,
    caller: &ConnectionInfo,
) -> Call {
    Call {
        method: head.method,
        path_and_query: target,
        headers: relayed_headers(head.headers, caller),
        body,
        deadline: upstream.settings.delivery.timeout,
    }
}

/// What a relayed request was answered; why there was no answer of the receiver's is logged.
fn answered(upstream: &Upstream, relayed: Relayed) -> Response<Body> {
    if let Some((failure, detail)) = relayed.failure {
        tracing::warn!(upstream = %upstream.name, code = failure.code(), detail, "not relayed");
    }
    relayed.response
}

/// The handshake's answer: the challenge as plain text, or why not.
fn handshake(tokens: &[VerifyToken], query: &str) -> Response<Body> {
    let challenge = match waypost_whatsapp::answer(query.as_bytes(), tokens) {
        HandshakeAnswer::Challenge(challenge) => challenge,
        HandshakeAnswer::WrongToken => return Refusal::TokenWrong.response(),
        HandshakeAnswer::Malformed => return Refusal::HandshakeMalformed.response(),
    };
    let mut response = Response::new(Body::full(challenge));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
