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
use prometheus_client::registry::Registry;
use waypost_edge::admission::admit;
use waypost_edge::body::BodyReader;
use waypost_edge::forwarded::{relayed_headers, stored_headers};
use waypost_edge::relay::{Relayed, relay};
use waypost_edge::{Body, ConnectionInfo, Refusal};
use waypost_engine::intake::{Arrival, Intake, Proved, prove};
use waypost_outbound::Call;
use waypost_whatsapp::{HandshakeAnswer, SignatureError};

use crate::config::{Fallback, Mode};
use crate::upstreams::{Upstream, Upstreams};

const SIGNATURE: &str = "x-hub-signature-256";

/// Answers the public listeners' calls.
pub(crate) struct Public {
    upstreams: Arc<Upstreams>,
    intake: Intake,
    bodies: BodyReader,
    answers: Family<AnswerLabels, Counter>,
}

/// How a call was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    /// What was done: `store`, `relay`, `handshake`, or `refuse`.
    way: &'static str,
    /// The HTTP status.
    status: u16,
}

impl Public {
    /// Answers for these upstreams.
    pub(crate) fn new(upstreams: Arc<Upstreams>, intake: Intake, bodies: BodyReader) -> Self {
        Self { upstreams, intake, bodies, answers: Family::default() }
    }

    /// Puts its counters on the metrics page.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("answers", "Public calls answered, by way and status", self.answers.clone());
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
        let (head, body) = request.into_parts();
        let (upstream, target) = {
            let table = self.upstreams.table();
            let admitted = admit(&head, &table)?;
            (admitted.upstream().clone(), admitted.into_path_and_query())
        };
        if head.method == Method::GET {
            if !upstream.verify_tokens.is_empty() {
                return Ok(("handshake", handshake(&upstream, &target)));
            }
            let call = onward(&upstream, head, target, Bytes::new(), caller);
            return Ok(("relay", answered(&upstream, relay(&upstream.endpoint, call).await)));
        }
        let body = self.bodies.read(&head.headers, body).await?;
        let (bytes, _share) = body.into_parts();
        let signatures = head.headers.get_all(SIGNATURE).iter().map(HeaderValue::as_bytes);
        let proved = prove(upstream.secrets.as_ref(), signatures, bytes).map_err(|error| {
            tracing::warn!(upstream = %upstream.name, caller = %caller.peer.ip(), %error, "signature refused");
            match error {
                SignatureError::Missing => Refusal::SignatureMissing,
                _ => Refusal::SignatureWrong,
            }
        })?;
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
        if !upstream.destination.is_owed() {
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
        self.intake.accept(arrival, &upstream.destination).await.map(|_| ()).map_err(|error| {
            tracing::error!(upstream = %upstream.name, %error, code = error.code(), "not accepted; the caller is told 503 and will repeat it");
            Refusal::NotStored
        })
    }
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
fn handshake(upstream: &Upstream, target: &PathAndQuery) -> Response<Body> {
    let query = target.query().unwrap_or_default();
    let challenge = match waypost_whatsapp::answer(query.as_bytes(), &upstream.verify_tokens) {
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
