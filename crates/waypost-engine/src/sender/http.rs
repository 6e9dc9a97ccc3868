//! The HTTP sender: a request or one event of it, POSTed to the receiver.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use waypost_domain::{AttemptReport, AttemptTiming, Clock, Failure, Reply, UnixMillis, limits, retry_after};
use waypost_outbound::{Answer, Call, CallError, Endpoint, header_map};
use waypost_store::Store;

use super::signing::{Keyring, Signing};
use super::standard::{StandardSecret, signatures};
use super::{Attempt, Parcel, Sender};

/// Longest webhook field that is told in `Waypost-Event`; Meta's are of some thirty bytes.
const FIELD_BYTES_MAX: usize = 128;
/// What is told where the field is missing, or is none that a header could hold.
const FIELD_UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// What says something about the bytes of a body that was not cut.
const OF_THE_BYTES: [HeaderName; 5] = [
    CONTENT_ENCODING,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// Where and how a sender delivers.
pub struct HttpSenderConfig {
    /// The receiver.
    pub endpoint: Endpoint,
    /// How long each attempt may take, the receiver's whole answer included.
    pub deadline: Duration,
    /// The path and query of a destination; none for an upstream, which gets each request at the request's own.
    pub target: Option<PathAndQuery>,
    /// The signature that goes along.
    pub signing: Signing,
    /// Secrets for signatures by the Standard Webhooks specification besides; none, no such signature.
    pub standard: Vec<StandardSecret>,
    /// The sources' secrets.
    pub keyring: Keyring,
    /// What tells the time of a signature.
    pub clock: Clock,
}

/// POSTs to one endpoint, with the headers and body that Meta's request had, or of a piece, with its own.
pub struct HttpSender {
    pub(super) config: HttpSenderConfig,
    /// Whether it was said that pieces go unsigned.
    told: AtomicBool,
    /// Where the records of events are, if it sends events in their normalised form.
    records: Option<Store>,
}

impl HttpSender {
    /// A sender for one destination.
    pub fn new(config: HttpSenderConfig) -> Self {
        Self { config, told: AtomicBool::new(false), records: None }
    }

    /// A sender for a destination that takes normalised events: each delivery's body is the event's
    /// [`waypost_whatsapp::normal::NormalEvent`], made from its evidence and its record in `store`. To be given
    /// deliveries of single events only: a batch that came whole is a failure of ours.
    pub fn of_events(config: HttpSenderConfig, store: Store) -> Self {
        Self { records: Some(store), ..Self::new(config) }
    }

    /// Whether it sends events in their normalised form.
    pub fn sends_events(&self) -> bool {
        self.records.is_some()
    }

    /// Where a delivery goes. `None` where what was kept is no path.
    pub(super) fn target_of(&self, parcel: &Parcel) -> Option<PathAndQuery> {
        match &self.config.target {
            Some(target) => Some(target.clone()),
            None => PathAndQuery::try_from(parcel.content.target.as_str()).ok(),
        }
    }

    async fn send(&self, parcel: Parcel) -> AttemptReport {
        if let Some(records) = &self.records {
            return self.send_event(parcel, records).await;
        }
        let Some(target) = self.target_of(&parcel) else {
            return failed(Failure::Ours, AttemptTiming::default(), None, "the kept path is not one");
        };
        let headers = self.headers(&parcel);
        self.post(target, headers, parcel.content.body.clone()).await
    }

    fn headers(&self, parcel: &Parcel) -> HeaderMap {
        let mut headers = header_map(&parcel.content.headers);
        let is_destination = self.config.target.is_some();
        drop_forged(&mut headers, is_destination);
        if parcel.piece_of.is_some() {
            for name in OF_THE_BYTES {
                headers.remove(name);
            }
            headers.entry(CONTENT_TYPE).or_insert(JSON);
        }
        self.config.signing.apply(&mut headers, parcel, &self.config.keyring);
        self.tell_of_unsigned(&headers, parcel);
        mark(&mut headers, parcel);
        if is_destination {
            if let Some(field) = &parcel.field {
                headers.insert(HeaderName::from_static("waypost-event"), field_value(field));
            }
            self.sign_by_standard(&mut headers, &parcel.delivery.to_string(), &parcel.content.body);
        }
        headers
    }

    /// Says, once, that a batch had to be split and its pieces have no signature, though the operator has not asked for
    /// none: a receiver that wants one refuses them.
    fn tell_of_unsigned(&self, headers: &HeaderMap, parcel: &Parcel) {
        let is_meant = matches!(self.config.signing, Signing::Nothing);
        if parcel.piece_of.is_none() || is_meant || headers.contains_key("x-hub-signature-256") {
            return;
        }
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(source = %parcel.content.source, delivery = %parcel.delivery, "a batch was split and its pieces go without a signature, since the source has no app secret; give it one, or the destination its own");
        }
    }

    /// Adds the three lines of the Standard Webhooks specification. The id is the same in every attempt; the time is the
    /// attempt's, since receivers refuse what was signed long ago.
    pub(super) fn sign_by_standard(&self, headers: &mut HeaderMap, id: &str, body: &[u8]) {
        if self.config.standard.is_empty() {
            return;
        }
        let seconds = self.config.clock.wall().0.div_euclid(1_000).to_string();
        let signature = signatures(&self.config.standard, id, &seconds, body);
        let lines = [("webhook-id", id), ("webhook-timestamp", &seconds), ("webhook-signature", &signature)];
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    pub(super) async fn post(&self, target: PathAndQuery, headers: HeaderMap, body: Bytes) -> AttemptReport {
        let HttpSenderConfig { endpoint, deadline, .. } = &self.config;
        let call = Call { method: Method::POST, path_and_query: target, headers, body, deadline: *deadline };
        match endpoint.call(call).await {
            Ok(answer) => read(answer, self.config.clock.wall()).await,
            Err(error) => of_error(*error),
        }
    }
}

impl Sender for HttpSender {
    fn attempt(&self, parcel: Parcel) -> Attempt<'_> {
        Box::pin(self.send(parcel))
    }

    fn names_events(&self) -> bool {
        self.config.target.is_some() && self.records.is_none()
    }
}

/// Takes out what a caller may not say in our name. An upstream gets no `webhook-` lines of ours, and so may have others'.
fn drop_forged(headers: &mut HeaderMap, is_destination: bool) {
    let is_ours = |name: &str| name.starts_with("waypost-") || is_destination && name.starts_with("webhook-");
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

/// Tells the receiver which delivery this is, so that it can recognise a repeat.
pub(super) fn mark(headers: &mut HeaderMap, parcel: &Parcel) {
    let marks = [
        (HeaderName::from_static("waypost-event-id"), parcel.event.to_string()),
        (HeaderName::from_static("waypost-delivery-id"), parcel.delivery.to_string()),
        (HeaderName::from_static("waypost-attempt"), parcel.attempt.to_string()),
    ];
    for (name, value) in marks {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

fn field_value(field: &str) -> HeaderValue {
    let is_plain =
        !field.is_empty() && field.len() <= FIELD_BYTES_MAX && field.bytes().all(|b| b.is_ascii_graphic());
    let value = is_plain.then(|| HeaderValue::try_from(field).ok()).flatten();
    value.unwrap_or(FIELD_UNKNOWN)
}

async fn read(answer: Answer, now: UnixMillis) -> AttemptReport {
    let (status, address) = (answer.status.as_u16(), answer.address);
    let retry_after =
        answer.headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    match answer.read_excerpt(limits::RESPONSE_EXCERPT_BYTES_MAX).await {
        Ok(excerpt) => AttemptReport {
            reply: Reply::Answered { status, retry_after },
            timing: excerpt.timing,
            address,
            excerpt: excerpt.bytes,
        },
        Err(error) => of_error(*error),
    }
}

fn of_error(error: CallError) -> AttemptReport {
    failed(error.failure, error.timing, error.address, &error.detail)
}

pub(super) fn failed(
    failure: Failure,
    timing: AttemptTiming,
    address: Option<std::net::SocketAddr>,
    detail: &str,
) -> AttemptReport {
    AttemptReport { reply: Reply::Failed(failure), timing, address, excerpt: detail.as_bytes().to_vec() }
}
