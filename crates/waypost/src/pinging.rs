//! `waypost ping`: one signed test event to a destination, as its deliveries go, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use serde::Serialize;
use tokio::net::TcpStream;
use waypost_domain::{AttemptReport, Failure, Origin, Reply, Scheme};
use waypost_engine::sender::Ping;
use waypost_outbound::address::is_public;
use waypost_outbound::{Call, Endpoint};

use crate::certificate::{self, Certificate};
use crate::config::{Kind, SignWith};
use crate::registry::{Registry, Table};

/// What of an answer is shown.
const EXCERPT_BYTES_MAX: usize = 400;
/// Addresses of one name that are tried.
const ADDRESSES_TRIED_MAX: usize = 4;
/// How long a probe may take.
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);
/// What Chatwoot answers without a secret: whether its web process lives, and how its queue and database are.
const CHATWOOT_PROBES: [&str; 2] = ["/health", "/api"];

/// What came of a ping.
#[derive(Serialize, Debug)]
pub(crate) struct Pinged {
    destination: Arc<str>,
    url: String,
    /// Whether a delivery that is answered so is delivered.
    ok: bool,
    status: Option<u16>,
    /// Why there was no answer.
    code: Option<&'static str>,
    /// The beginning of the answer, or a sentence on why there was none.
    answer: String,
    address: Option<String>,
    took_ms: f64,
    resolve_ms: Option<f64>,
    connect_ms: Option<f64>,
    tls_ms: Option<f64>,
    first_byte_ms: Option<f64>,
    /// What it was signed with; nothing where it bore no signature.
    signed_with: Option<String>,
    certificate: Option<Certificate>,
    probes: Vec<Probe>,
    /// What the answer means and what to do.
    notes: Vec<String>,
}

/// What one of a product's own health addresses answered.
#[derive(Serialize, Debug)]
pub(crate) struct Probe {
    path: &'static str,
    status: Option<u16>,
    answer: String,
}

/// Pings a destination or upstream; `None` if there is none of that name. An upstream is called at `path`.
pub(crate) async fn ping(
    registry: &Registry,
    table: &Table,
    name: &str,
    path: Option<PathAndQuery>,
) -> Option<Pinged> {
    if let Some(destination) = table.destination(name) {
        let settings = &destination.settings;
        let source = table.routes().iter().find(|route| route.settings.to.iter().any(|to| to == name));
        let source: Option<Arc<str>> = source.map(|route| route.settings.source.as_str().into());
        let signed_with = match (&settings.sign_with, &source) {
            (SignWith::Source, Some(source)) => Some(format!("the app secret of source {source}")),
            (SignWith::Source, None) | (SignWith::Nothing, _) => None,
            (SignWith::Secret(secret), _) => Some(format!("its own secret, {}", secret.label())),
        };
        let report = destination.sender.ping(Ping { source, target: None }).await;
        let origin = &settings.url.origin;
        let mut pinged =
            read(&destination.name, settings.url.without_query().to_owned(), &report, signed_with);
        pinged.look(origin.scheme, settings.url.host.name(), &report).await;
        pinged.probe(settings.delivery.kind, &destination.endpoint).await;
        pinged.conclude(settings.delivery.kind, &report);
        return Some(pinged);
    }
    let upstream = table.upstream(&name.to_ascii_lowercase())?;
    let settings = &upstream.settings;
    let target = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let url = format!("{}{}", settings.origin, target.path());
    let signed_with = match (&settings.sign_with, settings.app_secrets.first()) {
        (SignWith::Secret(secret), _) => Some(format!("its own secret, {}", secret.label())),
        (SignWith::Source, Some(secret)) => Some(format!("its app secret, {}", secret.label())),
        _ => None,
    };
    let source = Some(upstream.name.clone());
    let report = registry.pinger(upstream).ping(Ping { source, target: Some(target) }).await;
    let mut pinged = read(&upstream.name, url, &report, signed_with);
    pinged.look(settings.origin.scheme, settings.host.name(), &report).await;
    pinged.probe(settings.delivery.kind, &upstream.endpoint).await;
    pinged.conclude(settings.delivery.kind, &report);
    Some(pinged)
}

/// Why nothing can be connected to there just now, in a few words; `None` if it can. Nothing is said to it.
pub(crate) async fn unreachable(origin: &Origin, allow_private: bool) -> Option<String> {
    let connecting = async {
        let found = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await;
        let found = found.map_err(|error| format!("its name does not resolve: {error}"))?;
        let mut why = "its name leads only to addresses that are not public".to_owned();
        for address in
            found.filter(|address| allow_private || is_public(address.ip())).take(ADDRESSES_TRIED_MAX)
        {
            match TcpStream::connect(address).await {
                Ok(_) => return Ok(()),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(why)
    };
    let outcome = tokio::time::timeout(PROBE_TIME_MAX, connecting).await;
    outcome.unwrap_or_else(|_| Err("no connection in time".to_owned())).err()
}

fn read(name: &Arc<str>, url: String, report: &AttemptReport, signed_with: Option<String>) -> Pinged {
    let (status, code) = match report.reply {
        Reply::Answered { status, .. } => (Some(status), None),
        Reply::Failed(failure) => (None, Some(failure.code())),
    };
    let timing = &report.timing;
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    Pinged {
        destination: name.clone(),
        url,
        ok: status.is_some_and(|status| (200..300).contains(&status)),
        status,
        code,
        answer: excerpt(&report.excerpt),
        address: report.address.map(|address| address.to_string()),
        took_ms: millis(timing.total),
        resolve_ms: timing.resolve.map(millis),
        connect_ms: timing.connect.map(millis),
        tls_ms: timing.tls.map(millis),
        first_byte_ms: timing.first_byte.map(millis),
        signed_with,
        certificate: None,
        probes: Vec::new(),
        notes: Vec::new(),
    }
}

impl Pinged {
    /// Looks at the certificate that the address shows which was called, and at no other.
    async fn look(&mut self, scheme: Scheme, name: &str, report: &AttemptReport) {
        if let (Scheme::Https, Some(address)) = (scheme, report.address) {
            self.certificate = certificate::shown_by(address, name).await;
        }
    }

    /// Asks what the product says of itself.
    async fn probe(&mut self, kind: Kind, endpoint: &Endpoint) {
        if kind != Kind::Chatwoot {
            return;
        }
        for path in CHATWOOT_PROBES {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            let call = Call {
                method: Method::GET,
                path_and_query: PathAndQuery::from_static(path),
                headers,
                body: Bytes::new(),
                deadline: PROBE_TIME_MAX,
            };
            let probe = match endpoint.call(call).await {
                Ok(answer) => {
                    let status = Some(answer.status.as_u16());
                    match answer.read_excerpt(EXCERPT_BYTES_MAX).await {
                        Ok(read) => Probe { path, status, answer: excerpt(&read.bytes) },
                        Err(error) => Probe { path, status, answer: error.detail },
                    }
                }
                Err(error) => Probe { path, status: None, answer: error.detail },
            };
            self.probes.push(probe);
        }
    }

    /// Says what it means.
    fn conclude(&mut self, kind: Kind, report: &AttemptReport) {
        let mut note = |text: &str| self.notes.push(text.to_owned());
        match (&report.reply, kind) {
            (Reply::Answered { status: 401, .. }, Kind::Chatwoot) => note(
                "Chatwoot does not believe the signature: give it the app secret that signs, or give the destination Chatwoot's as sign_with",
            ),
            (Reply::Answered { status: 401 | 403, .. }, Kind::Http) => note(
                "the receiver does not believe the signature or the caller: compare its app secret with the one that signs (sign_with)",
            ),
            (Reply::Answered { status: 404, .. }, _) => note("nothing is at that path: look at the url"),
            (Reply::Answered { status: 422, .. }, Kind::Chatwoot) => {
                note("Chatwoot has this number among its inactive ones (INACTIVE_WHATSAPP_NUMBERS)")
            }
            (Reply::Answered { status: 429, .. }, _) => {
                note("the receiver wants fewer calls: give it a rate_max")
            }
            (Reply::Answered { status: 300..=399, .. }, _) => {
                note("redirects are not followed: write the address that it leads to")
            }
            (Reply::Failed(Failure::AddressForbidden), _) => {
                note("write allow_private = true if it is meant to be at a private address")
            }
            _ => {}
        }
        if self.ok && kind == Kind::Chatwoot {
            self.notes.push(
                "Chatwoot's 200 means that an event is queued, not that it is shown: an inbox of another number, or one whose authorisation has lapsed, drops it without a word".to_owned(),
            );
        }
    }
}

/// The beginning of an answer as text, on one line.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_BYTES_MAX)]).trim().to_owned();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
