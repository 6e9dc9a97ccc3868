//! Intake: proved, read, made durable, owed.
//!
//! **The promise:** a [`Receipt`] means that the request, its events and all that is owed for them are on
//! disk and synced. Content never causes refusal: whatever the body holds, a proved request is
//! accepted. A request that proved nothing gets no further than [`prove`].

use std::sync::Arc;

use bytes::Bytes;
use tracing::Level;
use waypost_domain::{Clock, HeaderBlock, Lane, Lanes, Priority, RequestId, UnixMillis, limits};
use waypost_store::{Accept, Accepted, Covers, NewDelivery, NewEvent, RequestBody, Store, StoreError};
use waypost_whatsapp::{AppSecrets, Event, Kind, SignatureError, split};

use crate::bodies::Bodies;
use crate::dispatch::{DestinationHandle, Dispatcher};
use crate::metrics::{Metrics, NoveltyLabel, ReasonLabel};
use crate::pressure::Pressure;

/// Accepts requests. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    bodies: Arc<Bodies>,
    pressure: Pressure,
    clock: Clock,
    metrics: Metrics,
}

/// A request that has been proved, or needs no proof: only [`prove`] makes one.
#[derive(Debug)]
pub struct Proved {
    body: Bytes,
    by: Option<Arc<str>>,
}

impl Proved {
    /// The body, byte for byte.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body, byte for byte, given away.
    pub fn into_body(self) -> Bytes {
        self.body
    }
}

/// A proved request, with where it came to and who is to get it.
pub struct Arrival {
    /// The source's name.
    pub source: Arc<str>,
    /// The callback address: identity keys are compared within it.
    pub scope: Arc<str>,
    /// The path and query for the receivers.
    pub target: String,
    /// The headers for the receivers.
    pub headers: HeaderBlock,
    /// The body.
    pub proved: Proved,
}

/// Proof that a request is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its identifier.
    pub request: RequestId,
    /// How many events it had.
    pub events: usize,
    /// Whether all of them had been accepted before.
    pub duplicate: bool,
}

/// Proves that a body is Meta's by the signature headers that came with it (every value of
/// `X-Hub-Signature-256`, as received). Without secrets there is nothing to prove by.
///
/// # Errors
///
/// When there are secrets and none of them signed these bytes.
pub fn prove<'h>(
    secrets: Option<&AppSecrets>,
    signatures: impl Iterator<Item = &'h [u8]>,
    body: Bytes,
) -> Result<Proved, SignatureError> {
    let by = match secrets {
        Some(secrets) => Some(Arc::from(secrets.verify(signatures, &body)?)),
        None => None,
    };
    Ok(Proved { body, by })
}

impl Intake {
    /// An intake into `store`, for what `dispatcher` then delivers.
    pub fn new(store: Store, dispatcher: &Dispatcher, clock: Clock, metrics: Metrics) -> Self {
        Self { store, bodies: dispatcher.bodies(), pressure: dispatcher.pressure(), clock, metrics }
    }

    /// Makes a request durable and owes it, whole, to `destination`.
    ///
    /// # Errors
    ///
    /// When the store could not keep it, or not in time: then the caller must not be told 200.
    pub async fn accept(
        &self,
        arrival: Arrival,
        destination: &DestinationHandle,
    ) -> Result<Receipt, StoreError> {
        let started = self.clock.monotonic();
        let received_at = self.clock.wall();
        let content = RequestBody {
            target: arrival.target.clone(),
            headers: arrival.headers.clone(),
            body: arrival.proved.body.clone(),
        };
        let source = arrival.source.clone();
        let accept = describe(arrival, destination.name().clone(), received_at);
        let waiting = self.pressure.wait();
        let accepted = tokio::time::timeout(limits::ACCEPT_TIME_MAX, self.store.accept(accept)).await;
        drop(waiting);
        let accepted = accepted.unwrap_or(Err(StoreError::Busy)).inspect_err(|error| {
            self.metrics.refused.get_or_create(&ReasonLabel { reason: error.code() }).inc();
        })?;
        if !accepted.owed.is_empty() {
            if destination.is_live() {
                self.bodies.put(accepted.request, Arc::new(content));
            }
            destination.owe();
        }
        self.count(&accepted);
        if tracing::enabled!(Level::DEBUG) {
            for (event, repeats) in &accepted.events {
                // By its identifier alone: a key may hold a phone number.
                tracing::debug!(source = %source, %event, duplicate = repeats.is_some(), "event received");
            }
        }
        self.metrics.accept_time.observe(self.clock.monotonic().saturating_sub(started).as_secs_f64());
        Ok(Receipt {
            request: accepted.request,
            events: accepted.events.len(),
            duplicate: accepted.is_duplicate(),
        })
    }

    fn count(&self, accepted: &Accepted) {
        self.metrics.acknowledged.inc();
        let repeats = accepted.events.iter().filter(|(_, repeats)| repeats.is_some()).count() as u64;
        let new = accepted.events.len() as u64 - repeats;
        for (novelty, number) in [("new", new), ("duplicate", repeats)] {
            if number > 0 {
                self.metrics.events.get_or_create(&NoveltyLabel { novelty }).inc_by(number);
            }
        }
    }
}

/// What the store is to keep of an arrival that is owed whole to one destination.
fn describe(arrival: Arrival, destination: Arc<str>, received_at: UnixMillis) -> Accept {
    let Proved { body, by } = arrival.proved;
    // Evidence first: the hash is of the bytes as they came, before anybody reads them.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let mut body_sha256 = [0; 32];
    body_sha256.copy_from_slice(digest.as_ref());
    let split = split(&body);
    let lanes: Lanes = split.events.iter().filter_map(|e| e.conversation.as_deref().map(Lane::of)).collect();
    let priority = split.events.iter().map(|event| priority(event.kind)).min().unwrap_or(Priority::Message);
    let events: Vec<NewEvent> = split.events.iter().map(event).collect();
    let deliveries = vec![NewDelivery { destination, covers: Covers::Request, lanes, priority }];
    Accept {
        source: arrival.source,
        scope: arrival.scope,
        received_at,
        target: arrival.target,
        headers: arrival.headers,
        body_sha256,
        proved_by: by,
        events,
        deliveries,
        body,
    }
}

/// An event of Meta's world in the words of ours.
fn event(event: &Event<'_>) -> NewEvent {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Box::from);
    NewEvent {
        kind: event.kind.as_str(),
        class: event.class.as_str(),
        field: Box::from(&*event.field),
        r#type: Box::from(&*event.r#type),
        phone_number_id: text(&event.phone_number_id),
        display_phone_number: text(&event.display_phone_number),
        waba_id: text(&event.waba_id),
        conversation: event.conversation.as_deref().map(Box::from),
        wamid: text(&event.wamid),
        key: Box::from(event.key.as_str()),
        occurred_at: event.occurred_at_ms.map(UnixMillis),
        once: event.once,
    }
}

/// How urgent an event is when its destination is behind.
fn priority(kind: Kind) -> Priority {
    match kind {
        Kind::Call | Kind::CallStatus => Priority::Call,
        Kind::Message | Kind::Echo | Kind::Handover | Kind::Group | Kind::Unknown => Priority::Message,
        Kind::History | Kind::ContactSync | Kind::Tracking => Priority::History,
        _ => Priority::Status,
    }
}
