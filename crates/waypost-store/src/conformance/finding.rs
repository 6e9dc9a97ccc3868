//! Finding what was received, and its outcome.

use waypost_domain::{DeliveryId, DeliveryState, EventId, RequestId, UnixMillis};

use super::samples::{
    account_change, all, dead, delivered, deliveries_of, message, request, retry, single, status, whole,
};
use super::{NOON, Subject};
use crate::{Accept, EventFilter, NewEvent, Page, Store};

async fn ids(store: &Store, filter: EventFilter) -> Vec<EventId> {
    all(store, filter).await.into_iter().map(|event| event.id).collect()
}

/// Everything a filter admits, page by page.
async fn walk(store: &Store, filter: &EventFilter, limit: usize) -> Vec<EventId> {
    let (mut found, mut before) = (Vec::new(), None);
    for _ in 0..10_000 {
        let list = store.events(filter.clone(), Page { before, limit }).await.unwrap();
        assert!(list.events.len() <= limit);
        found.extend(list.events.iter().map(|event| event.id));
        before = list.next;
        if before.is_none() {
            return found;
        }
    }
    panic!("pages without end");
}

pub async fn an_event_is_found_by_its_message_id(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for n in 0..200 {
        let accepted = store.accept(request([message(&format!("wamid.{n}"))])).await.unwrap();
        if n == 77 {
            expected.push(accepted.events[0].0);
        }
    }
    for word in ["sent", "delivered", "read", "sent"] {
        let accepted = store.accept(request([status("wamid.77", word)])).await.unwrap();
        expected.push(accepted.events[0].0);
    }
    expected.reverse();
    let filter = EventFilter { wamid: Some("wamid.77".to_owned()), ..EventFilter::default() };
    assert_eq!(ids(&store, filter.clone()).await, expected);
    assert_eq!(walk(&store, &filter, 2).await, expected);
    let only = EventFilter { kind: Some("message".to_owned()), ..filter };
    assert_eq!(ids(&store, only).await, expected[4..]);
}

pub async fn every_filter_admits_what_it_names_and_no_more(subject: &Subject) {
    let store = subject.open();
    let other_number = NewEvent {
        phone_number_id: Some("999000111".into()),
        display_phone_number: Some("15555010".into()),
        conversation: Some("999000111:4915555017".into()),
        ..message("wamid.B")
    };
    let accept = |event, source: &str, destination| {
        let mut accept = Accept { source: source.into(), ..request([event]) };
        accept.deliveries = vec![whole(destination)];
        accept
    };
    let a = store.accept(accept(message("wamid.A"), "acme", "inbox")).await.unwrap();
    let b = store.accept(accept(other_number, "globex", "crm")).await.unwrap();
    let c = store.accept(accept(account_change("acct:1"), "acme", "crm")).await.unwrap();
    let d = store.accept(Accept { deliveries: vec![], ..request([message("wamid.D")]) }).await.unwrap();
    store.settle(delivered(a.owed[0].id)).await.unwrap();
    store.settle(retry(b.owed[0].id, NOON)).await.unwrap();
    store.settle(dead(c.owed[0].id)).await.unwrap();
    let [a, b, c, d] = [a, b, c, d].map(|accepted| accepted.events[0].0);

    let none = EventFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let expectations: Vec<(EventFilter, Vec<EventId>)> = vec![
        (none(), vec![d, c, b, a]),
        (EventFilter { source: text("acme"), ..none() }, vec![d, c, a]),
        (EventFilter { source: text("initech"), ..none() }, vec![]),
        (EventFilter { destination: text("crm"), ..none() }, vec![c, b]),
        (EventFilter { destination: text("acme"), ..none() }, vec![]),
        (EventFilter { state: Some(DeliveryState::Owed), ..none() }, vec![b]),
        (EventFilter { state: Some(DeliveryState::Delivered), ..none() }, vec![a]),
        (EventFilter { state: Some(DeliveryState::Dead), ..none() }, vec![c]),
        (EventFilter { state: Some(DeliveryState::Discarded), ..none() }, vec![]),
        (EventFilter { conversation: text("999000111:4915555017"), ..none() }, vec![b]),
        (EventFilter { wamid: text("wamid.A"), ..none() }, vec![a]),
        (EventFilter { wamid: text("wamid.Z"), ..none() }, vec![]),
        (EventFilter { number: text("999000111"), ..none() }, vec![b]),
        (EventFilter { number: text("4930555010"), ..none() }, vec![d, a]),
        (EventFilter { kind: text("account"), ..none() }, vec![c]),
        (EventFilter { code: text("connect_refused"), ..none() }, vec![b]),
        (EventFilter { code: text("410"), ..none() }, vec![c]),
        (EventFilter { code: text("200"), ..none() }, vec![a]),
        (EventFilter { code: text("timed_out"), ..none() }, vec![]),
        (EventFilter { source: text("acme"), kind: text("message"), ..none() }, vec![d, a]),
        (EventFilter { wamid: text("wamid.A"), state: Some(DeliveryState::Owed), ..none() }, vec![]),
        (EventFilter { state: Some(DeliveryState::Dead), source: text("globex"), ..none() }, vec![]),
    ];
    for (filter, expected) in expectations {
        assert_eq!(ids(&store, filter.clone()).await, expected, "{filter:?}");
        assert_eq!(walk(&store, &filter, 1).await, expected, "{filter:?}");
    }
}

pub async fn conditions_on_deliveries_hold_of_one_delivery(subject: &Subject) {
    let store = subject.open();
    let mut accept = request([message("wamid.A"), message("wamid.B")]);
    accept.deliveries = vec![whole("inbox"), single("crm", 1)];
    let accepted = store.accept(accept).await.unwrap();
    store.settle(dead(accepted.owed[1].id)).await.unwrap();
    let [(a, _), (b, _)] = accepted.events[..] else { panic!() };

    let with = |destination: &str, state| EventFilter {
        destination: Some(destination.to_owned()),
        state: Some(state),
        ..EventFilter::default()
    };
    assert_eq!(ids(&store, with("inbox", DeliveryState::Owed)).await, [b, a]);
    assert_eq!(ids(&store, with("crm", DeliveryState::Dead)).await, [b]);
    assert!(ids(&store, with("inbox", DeliveryState::Dead)).await.is_empty());
    assert!(ids(&store, with("crm", DeliveryState::Owed)).await.is_empty());
    // An event bears its own deliveries and those of its request, not its neighbour's.
    assert_eq!(store.event(a).await.unwrap().unwrap().deliveries.len(), 1);
    assert_eq!(store.event(b).await.unwrap().unwrap().deliveries.len(), 2);
    assert_eq!(deliveries_of(&store, accepted.request).await.len(), 2);
}

pub async fn pages_cover_everything_once_the_newest_first(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for n in 0..40 {
        let events = [message(&format!("a{n}")), status(&format!("b{n}"), "sent"), message(&format!("c{n}"))];
        let accepted = store.accept(request(events)).await.unwrap();
        expected.extend(accepted.events.iter().map(|(event, _)| *event));
    }
    expected.reverse();
    for limit in [1, 7, 119, 120, 121, 5_000] {
        assert_eq!(walk(&store, &EventFilter::default(), limit.min(1_000)).await, expected);
    }
    let statuses = EventFilter { kind: Some("status".to_owned()), ..EventFilter::default() };
    assert_eq!(walk(&store, &statuses, 7).await.len(), 40);
}

pub async fn a_time_range_is_exact_even_where_the_clock_stepped_back(subject: &Subject) {
    let store = subject.open();
    let hour = 3_600_000;
    let moments = [0, hour, 2 * hour, hour, 0, 3 * hour].map(|by| UnixMillis(NOON.0 + by));
    let mut received = Vec::new();
    for (n, at) in moments.into_iter().enumerate() {
        let accept = Accept { received_at: at, ..request([message(&format!("wamid.{n}"))]) };
        received.push((at, store.accept(accept).await.unwrap().events[0].0));
    }
    let bounds: Vec<Option<UnixMillis>> = [-1, 0, 1, hour, 2 * hour, 2 * hour + 1, 3 * hour + 1]
        .into_iter()
        .map(|by| Some(UnixMillis(NOON.0 + by)))
        .chain([None])
        .collect();
    for since in &bounds {
        for until in &bounds {
            let mut expected: Vec<_> = received
                .iter()
                .filter(|(at, _)| since.is_none_or(|since| *at >= since))
                .filter(|(at, _)| until.is_none_or(|until| *at < until))
                .map(|(_, event)| *event)
                .collect();
            expected.reverse();
            let filter = EventFilter { since: *since, until: *until, ..EventFilter::default() };
            assert_eq!(ids(&store, filter).await, expected, "{since:?} {until:?}");
        }
    }
}

/// Accepts `count` events that nobody looks for.
async fn haystack(store: &Store, count: usize, name: &str) {
    for chunk in 0..count.div_ceil(1_000) {
        let events: Vec<_> = (0..1_000).map(|n| account_change(&format!("{name}:{chunk}:{n}"))).collect();
        store.accept(Accept { deliveries: vec![], ..request(events) }).await.unwrap();
    }
}

pub async fn sparse_matches_are_reached_by_going_on(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for (n, hay) in [25_000, 2_000, 0].into_iter().enumerate() {
        expected.push(store.accept(request([message(&format!("wamid.{n}"))])).await.unwrap().events[0].0);
        haystack(&store, hay, &format!("hay{n}")).await;
    }
    expected.reverse();
    let conversation = message("").conversation.map(String::from);
    for filter in [
        EventFilter { conversation, ..EventFilter::default() },
        EventFilter { destination: Some("inbox".to_owned()), ..EventFilter::default() },
        EventFilter { state: Some(DeliveryState::Owed), ..EventFilter::default() },
    ] {
        assert_eq!(walk(&store, &filter, 2).await, expected, "{filter:?}");
    }
}

pub async fn dead_letters_are_found_among_many(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for n in 0..10 {
        let mut accept = request([message(&format!("a{n}")), message(&format!("b{n}"))]);
        accept.deliveries = vec![whole("inbox"), single("crm", 1)];
        let accepted = store.accept(accept).await.unwrap();
        match n % 3 {
            0 => store.settle(dead(accepted.owed[0].id)).await.unwrap(),
            1 => store.settle(dead(accepted.owed[1].id)).await.unwrap(),
            _ => {}
        }
        if n % 3 == 0 {
            expected.push(accepted.events[0].0);
        }
        if n % 3 != 2 {
            expected.push(accepted.events[1].0);
        }
        haystack(&store, 1_000, &format!("hay{n}")).await;
    }
    expected.reverse();
    let filter = EventFilter { state: Some(DeliveryState::Dead), ..EventFilter::default() };
    for limit in [1, 2, 3, 100] {
        assert_eq!(walk(&store, &filter, limit).await, expected);
    }
    // The index leads there at once.
    let list = store.events(filter, Page { before: None, limit: 1_000 }).await.unwrap();
    assert_eq!((list.events.len(), list.next), (expected.len(), None));
}

pub async fn unknown_things_are_absent(subject: &Subject) {
    let store = subject.open();
    let accepted = store.accept(request([message("wamid.A")])).await.unwrap();
    let (event, delivery) = (accepted.events[0].0, accepted.owed[0].id);
    // Identifiers of the other kinds are not mistaken for one's own.
    assert!(store.event(EventId(accepted.request.0)).await.unwrap().is_none());
    assert!(store.request(RequestId(event.0)).await.unwrap().is_none());
    assert!(store.request_body(RequestId(delivery.0)).await.unwrap().is_none());
    assert!(store.attempts(DeliveryId(event.0)).await.unwrap().is_empty());
    assert!(deliveries_of(&store, RequestId(event.0)).await.is_empty());
    assert!(store.attempts(delivery).await.unwrap().is_empty());
}
