//! Requests to accept and attempts to settle, composed for the cases.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use waypost_domain::{AttemptTiming, DeliveryId, EventId, HeaderBlock, Priority, RequestId, UnixMillis};

use super::NOON;
use crate::{
    Accept, ActOn, ActPage, ActRecord, AttemptRecord, Covers, DeliveryFilter, DeliveryPage, DeliveryRecord,
    DuePage, EventFilter, EventRecord, NewContact, NewDelivery, NewEvent, OwedDelivery, OwedPage, Page,
    Release, ReleaseTo, Selection, Settled, Settlement, Store, Turn,
};

/// A text message.
pub fn message(wamid: &str) -> NewEvent {
    NewEvent {
        kind: "message".into(),
        class: "message".into(),
        field: "messages".into(),
        r#type: "text".into(),
        phone_number_id: Some("204817163050918".into()),
        display_phone_number: Some("4930555010".into()),
        waba_id: Some("310298874421907".into()),
        conversation: Some("204817163050918:4915555017".into()),
        contact: None,
        wamid: Some(wamid.into()),
        key: format!("msg:204817163050918:{wamid}").into(),
        occurred_at: Some(UnixMillis(NOON.0 - 2_000)),
        once: true,
        quarantined: false,
    }
}

/// A status of a message.
pub fn status(wamid: &str, status: &str) -> NewEvent {
    NewEvent {
        kind: "status".into(),
        r#type: status.into(),
        key: format!("st:204817163050918:{wamid}:{status}:").into(),
        ..message(wamid)
    }
}

/// An account-level change: no message, no conversation.
pub fn account_change(key: &str) -> NewEvent {
    NewEvent {
        kind: "account".into(),
        class: "operational".into(),
        field: "account_update".into(),
        r#type: "".into(),
        phone_number_id: None,
        display_phone_number: None,
        conversation: None,
        wamid: None,
        occurred_at: None,
        key: key.into(),
        ..message("")
    }
}

/// An event of a conversation with this person: told by the strongest identity.
pub fn person(event: NewEvent, contact: NewContact) -> NewEvent {
    let strongest = contact.parent.as_deref().or(contact.user.as_deref()).or(contact.phone.as_deref());
    let conversation = strongest.map(|strongest| format!("{}:{strongest}", contact.number).into());
    NewEvent { conversation, contact: Some(contact), ..event }
}

/// An event of a conversation that is with no single person.
pub fn group_event(wamid: &str, conversation: &str) -> NewEvent {
    NewEvent { conversation: Some(conversation.into()), ..message(wamid) }
}

/// A release a minute after noon.
pub fn release(events: Vec<(EventId, Vec<ReleaseTo>)>) -> Release {
    Release { by: "a test".into(), at: UnixMillis(NOON.0 + 60_000), note: None, events }
}

/// The whole request, owed to a destination.
pub fn whole(destination: &str) -> NewDelivery {
    NewDelivery { destination: destination.into(), covers: Covers::Request, priority: Priority::Message }
}

/// One event, owed to a destination.
pub fn single(destination: &str, place: u32) -> NewDelivery {
    NewDelivery { covers: Covers::Event(place), ..whole(destination) }
}

/// A request with these events, owed whole to `inbox`.
pub fn request(events: impl Into<Vec<NewEvent>>) -> Accept {
    let mut headers = HeaderBlock::new();
    headers.push("content-type", b"application/json");
    headers.push("x-hub-signature-256", b"sha256=5f\xff");
    Accept {
        source: "acme".into(),
        scope: "acme".into(),
        received_at: NOON,
        target: "/webhooks/whatsapp/%2B4930555010?a=b%20c".to_owned(),
        headers,
        body: b"{\"object\":\"whatsapp_business_account\"}\0\xff"[..].into(),
        body_sha256: [7; 32],
        proved_by: Some("current".into()),
        events: events.into(),
        deliveries: vec![whole("inbox")],
    }
}

/// An attempt that the receiver answered with 200.
pub fn success() -> AttemptRecord {
    AttemptRecord {
        at: UnixMillis(NOON.0 + 30),
        timing: AttemptTiming {
            resolve: Some(Duration::from_micros(310)),
            connect: Some(Duration::from_micros(1_207)),
            tls: None,
            first_byte: Some(Duration::from_micros(15_003)),
            total: Duration::from_millis(20),
        },
        address: Some(SocketAddr::from(([192, 0, 2, 41], 443))),
        status: Some(200),
        code: "".into(),
        excerpt: Vec::new(),
    }
}

/// An attempt that failed.
pub fn failure(code: &str, status: Option<u16>) -> AttemptRecord {
    AttemptRecord { status, code: code.into(), excerpt: b"<h1>no\xff".to_vec(), ..success() }
}

pub fn delivered(delivery: DeliveryId) -> Settlement {
    Settlement {
        delivery,
        turn: Turn(delivery.0),
        settled: Settled::Delivered,
        overtaken: false,
        attempt: success(),
    }
}

pub fn retry(delivery: DeliveryId, due_at: UnixMillis) -> Settlement {
    let attempt = failure("connect_refused", None);
    Settlement {
        delivery,
        turn: Turn(delivery.0),
        settled: Settled::Retry { due_at },
        overtaken: false,
        attempt,
    }
}

pub fn dead(delivery: DeliveryId) -> Settlement {
    let attempt = failure("receiver_refused", Some(410));
    Settlement { delivery, turn: Turn(delivery.0), settled: Settled::Dead, overtaken: false, attempt }
}

/// Settles all, at once.
pub async fn settle_all(store: &Store, settlements: Vec<Settlement>) {
    let settle = settlements.into_iter().map(|settlement| {
        let store = store.clone();
        async move { store.settle(settlement).await.unwrap() }
    });
    together(settle).await;
}

/// The deliveries that a request gave rise to, in order of acceptance.
pub async fn deliveries_of(store: &Store, request: RequestId) -> Vec<DeliveryRecord> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let list =
            store.deliveries(DeliveryFilter::default(), DeliveryPage { before, limit: 1_000 }).await.unwrap();
        let all = list.deliveries.into_iter().map(|detail| detail.delivery);
        found.extend(all.filter(|delivery| delivery.owed.request == request));
        before = list.next;
        if before.is_none() {
            found.reverse();
            return found;
        }
    }
}

/// An operator's act on one delivery, a minute after noon.
pub fn act_on(delivery: DeliveryId) -> ActOn {
    let at = UnixMillis(NOON.0 + 60_000);
    ActOn { selection: Selection::One(delivery), who: "a test".into(), at, note: None, plan: false }
}

/// The latest acts.
pub async fn acts(store: &Store) -> Vec<ActRecord> {
    store.acts(ActPage { delivery: None, event: None, before: None, limit: 1_000 }).await.unwrap()
}

/// What failed before and is due at a destination.
pub async fn due(store: &Store, destination: &str, until: UnixMillis) -> Vec<OwedDelivery> {
    store.due(DuePage { destination: destination.into(), until, after: None, limit: 10_000 }).await.unwrap()
}

/// Everything owed to a destination.
pub async fn owed(store: &Store, destination: &str) -> Vec<OwedDelivery> {
    let page = OwedPage { destination: destination.into(), after: None, limit: 10_000 };
    store.owed(page).await.unwrap()
}

/// The first page of what a filter admits; fails if it does not hold all.
pub async fn all(store: &Store, filter: EventFilter) -> Vec<EventRecord> {
    let list = store.events(filter, Page { before: None, limit: 1_000 }).await.unwrap();
    assert_eq!(list.next, None);
    list.events
}

/// Runs many futures on tasks of their own and awaits them all, in order.
pub async fn together<T: Send + 'static>(
    futures: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

pub fn name(text: &str) -> Arc<str> {
    text.into()
}
