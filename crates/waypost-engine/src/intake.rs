//! Intake: proved, read, made durable, owed.
//!
//! **The promise:** a [`Receipt`] means that the request, its events and all that is owed for them are on
//! disk and synced; what follows from them is done a moment later, once they have their place. Content never causes refusal: whatever the body holds, a proved request is
//! accepted. A request that proved nothing gets no further than [`prove`].

use std::mem::size_of;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waypost_domain::{Clock, HeaderBlock, Priority, UnixMillis, limits};
use waypost_store::{Accept, Covers, NewContact, NewDelivery, NewEvent, Store, StoreError};
use waypost_whatsapp::{AppSecrets, Contact, Event, SignatureError, split};

use crate::aftermath::Aftermath;
use crate::bodies::LARGE_BODY_BYTES;
use crate::dispatch::Dispatcher;
use crate::metrics::{Metrics, ReasonLabel};
use crate::pressure::Pressure;
use crate::routing::{Routing, facts, priority};

/// Large bodies that are read at once.
const LARGE_READS_MAX: usize = 2;
/// What the events of all requests on their way to the disk may weigh together. A body of the largest size can hold as
/// many events as weigh ten times as much; others wait while such a one passes.
const EVENTS_IN_FLIGHT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The measure in which that weight is shared out.
const SHARE_BYTES: usize = 4 * 1024;

/// Accepts requests. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    store: Store,
    pressure: Pressure,
    large: Arc<Semaphore>,
    shares: Arc<Semaphore>,
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
    /// How many events it has. Which of them are new is found out a moment later.
    pub events: usize,
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
        let aftermath = Aftermath {
            destinations: dispatcher.finder(),
            bodies: dispatcher.bodies(),
            stream: dispatcher.stream().waker(),
            metrics: metrics.clone(),
        };
        store.when_applied(Box::new(move |group| aftermath.of(group)));
        let pressure = dispatcher.pressure();
        let large = Arc::new(Semaphore::new(LARGE_READS_MAX));
        let shares = Arc::new(Semaphore::new(SHARES as usize));
        Self { store, pressure, large, shares, clock, metrics }
    }

    /// Makes a request durable, and owes its events to whom `routing` leads them. What nobody takes is
    /// quarantined.
    ///
    /// # Errors
    ///
    /// When the store could not keep it, or not in time: then the caller must not be told 200.
    pub async fn accept(&self, arrival: Arrival, routing: &Routing) -> Result<Receipt, StoreError> {
        let started = self.clock.monotonic();
        let waiting = self.pressure.wait();
        let kept = tokio::time::timeout(limits::ACCEPT_TIME_MAX, self.keep(arrival, routing)).await;
        drop(waiting);
        let events = kept.unwrap_or(Err(StoreError::Busy)).inspect_err(|error| {
            self.metrics.refused.get_or_create(&ReasonLabel { reason: error.code() }).inc();
        })?;
        self.metrics.acknowledged.inc();
        self.metrics.accept_time.observe(self.clock.monotonic().saturating_sub(started).as_secs_f64());
        Ok(Receipt { events })
    }

    /// Says how many events it kept.
    async fn keep(&self, arrival: Arrival, routing: &Routing) -> Result<usize, StoreError> {
        let accept = self.read(arrival, routing).await?;
        let events = accept.events.len();
        let share = self.share(weight(&accept)).await?;
        let kept = self.store.keep(accept).await;
        drop(share);
        kept.map(|()| events)
    }

    /// Reads the body: a large one on a thread of its own, and few of those at once.
    async fn read(&self, arrival: Arrival, routing: &Routing) -> Result<Accept, StoreError> {
        let received_at = self.clock.wall();
        if arrival.proved.body.len() < LARGE_BODY_BYTES {
            return Ok(describe(arrival, routing, received_at));
        }
        let turn = self.large.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let routing = routing.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let accept = describe(arrival, &routing, received_at);
            drop(turn);
            accept
        });
        reading.await.map_err(|died| match died.try_into_panic() {
            // A defect, told where all others are.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => StoreError::Closed,
        })
    }

    /// A share of the memory for events on their way, for as long as it is held.
    async fn share(&self, weight: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let shares = u32::try_from(weight / SHARE_BYTES).map_or(SHARES, |shares| shares.min(SHARES));
        self.shares.clone().acquire_many_owned(shares).await.map_err(|_| StoreError::Closed)
    }
}

/// All shares of the memory for events on their way.
const SHARES: u32 = (EVENTS_IN_FLIGHT_BYTES_MAX / SHARE_BYTES) as u32;

/// What the store is to keep of an arrival, and who is owed what of it.
fn describe(arrival: Arrival, routing: &Routing, received_at: UnixMillis) -> Accept {
    let Proved { body, by } = arrival.proved;
    // Evidence first: the hash is of the bytes as they came, before anybody reads them.
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let mut body_sha256 = [0; 32];
    body_sha256.copy_from_slice(digest.as_ref());
    let split = split(&body);
    let plan = routing.plan(split.events.iter().map(facts));
    let most_urgent = split.events.iter().map(|event| priority(event.kind)).min();
    let deliveries = plan.owed.iter().map(|(recipient, covers)| {
        let priority = match covers {
            Covers::Request => most_urgent,
            Covers::Event(index) => split.events.get(*index as usize).map(|event| priority(event.kind)),
        };
        let priority = priority.unwrap_or(Priority::Message);
        NewDelivery { destination: recipient.name.clone(), covers: *covers, priority }
    });
    let deliveries = deliveries.collect();
    let kept =
        split.events.iter().zip(&plan.quarantined).map(|(event, quarantined)| kept(event, *quarantined));
    let events = kept.collect();
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
fn kept(event: &Event<'_>, quarantined: bool) -> NewEvent {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Box::from);
    NewEvent {
        kind: event.kind.as_str().into(),
        class: event.class.as_str().into(),
        field: Box::from(&*event.field),
        r#type: Box::from(&*event.r#type),
        phone_number_id: text(&event.phone_number_id),
        display_phone_number: text(&event.display_phone_number),
        waba_id: text(&event.waba_id),
        conversation: event.conversation.as_deref().map(Box::from),
        contact: event.contact.as_ref().map(contact),
        wamid: text(&event.wamid),
        key: Box::from(event.key.as_str()),
        occurred_at: event.occurred_at_ms.map(UnixMillis),
        once: event.once,
        quarantined,
    }
}

fn contact(contact: &Contact<'_>) -> NewContact {
    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Box::from);
    NewContact {
        number: Box::from(&*contact.number),
        parent: text(&contact.parent),
        user: text(&contact.user),
        phone: text(&contact.phone),
        name: text(&contact.name),
        username: text(&contact.username),
        former: contact.former.iter().map(|former| Box::from(&**former)).collect(),
    }
}

/// What the events and deliveries of a request weigh in memory, roughly; its body is counted where it is read.
fn weight(accept: &Accept) -> usize {
    let of_contact = |contact: &NewContact| {
        let names = [&contact.parent, &contact.user, &contact.phone, &contact.name, &contact.username];
        let names = names.into_iter().flatten();
        names.chain(&contact.former).map(|name| name.len() + size_of::<Box<str>>()).sum::<usize>()
    };
    let of_event = |event: &NewEvent| {
        let texts = [&event.phone_number_id, &event.display_phone_number, &event.waba_id]
            .into_iter()
            .chain([&event.conversation, &event.wamid]);
        let texts: usize = texts.flatten().map(|text| text.len()).sum();
        let whole = event.key.len() + event.field.len() + event.r#type.len();
        size_of::<NewEvent>() + texts + whole + event.contact.as_ref().map_or(0, of_contact)
    };
    let events: usize = accept.events.iter().map(of_event).sum();
    events + accept.deliveries.len() * size_of::<NewDelivery>()
}
