//! What is owed, and what becomes of it.

use std::time::Duration;

use waypost_domain::{DeliveryState, Lane, Lanes, Priority, UnixMillis};

use super::samples::{
    account_change, act_on, dead, delivered, deliveries_of, failure, message, name, owed, request, retry,
    settle_all, single, success, together, whole,
};
use super::{NOON, Subject};
use crate::{Covers, NewDelivery, NewEvent, OwedDelivery, OwedPage, Settled, Settlement, Store, StoreError};

async fn accept_one(store: &Store, wamid: &str) -> OwedDelivery {
    store.accept(request([message(wamid)])).await.unwrap().owed.remove(0)
}

pub async fn what_is_owed_is_paged_in_order_of_acceptance(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for n in 0..25 {
        let mut accept = request([message(&format!("wamid.{n}"))]);
        accept.deliveries = vec![whole("inbox"), single("crm", 0), whole("inbox")];
        let accepted = store.accept(accept).await.unwrap();
        expected.extend(accepted.owed.into_iter().filter(|owed| &*owed.destination == "inbox"));
    }
    store.settle(delivered(expected.remove(3).id)).await.unwrap();

    let mut found: Vec<OwedDelivery> = Vec::new();
    loop {
        let after = found.last().map(|owed| owed.turn);
        let page = store.owed(OwedPage { destination: name("inbox"), after, limit: 7 }).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected);
    assert_eq!(owed(&store, "crm").await.len(), 25);
    assert!(owed(&store, "nobody").await.is_empty());
}

pub async fn an_owed_delivery_keeps_all_that_the_scheduler_needs(subject: &Subject) {
    let of = |conversation: &str| NewEvent {
        conversation: Some(conversation.into()),
        ..message(&format!("wamid.{conversation}"))
    };
    let lanes =
        |conversations: &[&str]| conversations.iter().map(|conversation| Lane::of(conversation)).collect();
    let deliveries = [
        (Covers::Event(3), Lanes::NONE, Priority::Call),
        (Covers::Event(1), lanes(&["n:5"]), Priority::Message),
        (Covers::Request, lanes(&["n:7", "n:5", "n:9"]), Priority::Status),
        (Covers::Event(0), lanes(&["n:7"]), Priority::History),
    ];
    let mut accept = request([of("n:7"), of("n:5"), of("n:9"), account_change("account"), of("n:7")]);
    let make = |(covers, _, priority)| NewDelivery { covers, priority, ..whole("inbox") };
    accept.deliveries = deliveries.clone().into_iter().map(make).collect();
    let store = subject.open();
    let accepted = store.accept(accept).await.unwrap();
    drop(store);

    let found = owed(&subject.open(), "inbox").await;
    assert_eq!(found, accepted.owed);
    for (owed, (covers, lanes, priority)) in found.iter().zip(deliveries) {
        assert_eq!((&owed.lanes, owed.priority), (&lanes, priority));
        let event = match covers {
            Covers::Request => None,
            Covers::Event(place) => Some(accepted.request.event(place as usize)),
        };
        assert_eq!((owed.request, owed.event), (accepted.request, event));
        assert_eq!((owed.attempts, owed.overtaken), (0, false));
        assert_eq!((owed.due_at, owed.accepted_at), (NOON, NOON));
    }
}

pub async fn a_delivered_one_is_owed_no_more(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await;
    store.settle(delivered(delivery.id)).await.unwrap();
    assert!(owed(&store, "inbox").await.is_empty());
    let record = deliveries_of(&store, delivery.request).await.remove(0);
    assert_eq!((record.state, record.owed.attempts), (DeliveryState::Delivered, 0));
    assert_eq!(record.settled_at, Some(UnixMillis(NOON.0 + 50)));
    assert_eq!((&*record.last_code, record.last_status), ("", Some(200)));
}

pub async fn a_retry_is_owed_later_and_counted(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await;
    let due_at = UnixMillis(NOON.0 + 5_000);
    for attempts in 1..=3 {
        store.settle(retry(delivery.id, due_at)).await.unwrap();
        let expected = OwedDelivery { attempts, due_at, ..delivery.clone() };
        assert_eq!(owed(&store, "inbox").await, [expected]);
    }
    let record = deliveries_of(&store, delivery.request).await.remove(0);
    assert_eq!((record.state, record.settled_at), (DeliveryState::Owed, None));
    assert_eq!((&*record.last_code, record.last_status), ("connect_refused", None));
}

pub async fn a_dead_one_is_kept_with_its_attempts(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await;
    store.settle(retry(delivery.id, NOON)).await.unwrap();
    store.settle(dead(delivery.id)).await.unwrap();
    assert!(owed(&store, "inbox").await.is_empty());
    let record = deliveries_of(&store, delivery.request).await.remove(0);
    assert_eq!((record.state, record.owed.attempts), (DeliveryState::Dead, 2));
    assert_eq!((&*record.last_code, record.last_status), ("receiver_refused", Some(410)));
    assert!(record.settled_at.is_some());
    assert_eq!(store.attempts(delivery.id).await.unwrap().len(), 2);
    assert!(store.request_body(delivery.request).await.unwrap().is_some());
}

pub async fn once_overtaken_always_overtaken(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await;
    store.settle(Settlement { overtaken: true, ..retry(delivery.id, NOON) }).await.unwrap();
    store.settle(retry(delivery.id, NOON)).await.unwrap();
    assert!(owed(&store, "inbox").await[0].overtaken);
    store.settle(delivered(delivery.id)).await.unwrap();
    assert!(deliveries_of(&store, delivery.request).await[0].owed.overtaken);
}

pub async fn a_late_settlement_is_recorded_and_changes_nothing(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await;
    let record = async || deliveries_of(&store, delivery.request).await.remove(0);
    store.settle(dead(delivery.id)).await.unwrap();
    let before = record().await;
    for late in [delivered(delivery.id), retry(delivery.id, UnixMillis(NOON.0 + 9)), dead(delivery.id)] {
        store.settle(Settlement { overtaken: true, ..late }).await.unwrap();
        let after = record().await;
        assert_eq!(after.owed, before.owed);
        assert_eq!((after.state, after.settled_at), (before.state, before.settled_at));
    }
    assert_eq!(store.attempts(delivery.id).await.unwrap().len(), 4);
    let stats = store.stats().await.unwrap();
    assert!(stats.owed.is_empty());
    assert_eq!(stats.dead, [(name("inbox"), 1)]);
}

pub async fn an_outcome_of_an_earlier_round_is_recorded_and_changes_nothing(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await;
    store.discard(act_on(delivery.id)).await.unwrap();
    store.replay(act_on(delivery.id)).await.unwrap();
    let before = owed(&store, "inbox").await;
    assert_ne!(before[0].turn, delivery.turn);
    // The attempt was under way all the time.
    for settlement in [delivered(delivery.id), retry(delivery.id, NOON), dead(delivery.id)] {
        store.settle(Settlement { overtaken: true, ..settlement }).await.unwrap();
    }
    assert_eq!(owed(&store, "inbox").await, before);
    assert_eq!(store.attempts(delivery.id).await.unwrap().len(), 3);
    store.settle(Settlement { turn: before[0].turn, ..delivered(delivery.id) }).await.unwrap();
    assert!(owed(&store, "inbox").await.is_empty());
}

pub async fn a_settlement_of_nothing_fails_alone(subject: &Subject) {
    let store = subject.open();
    let mut deliveries = Vec::new();
    for n in 0..20 {
        deliveries.push(accept_one(&store, &format!("wamid.{n}")).await.id);
    }
    let unknown = waypost_domain::DeliveryId(deliveries[19].0 + 1);
    deliveries.extend([unknown; 6]);
    let settlements = deliveries.into_iter().map(|delivery| {
        let store = store.clone();
        async move { (delivery, store.settle(delivered(delivery)).await) }
    });
    for (delivery, settled) in together(settlements).await {
        match settled {
            Ok(()) => assert_ne!(delivery, unknown),
            Err(StoreError::Corrupt(_)) => assert_eq!(delivery, unknown),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(owed(&store, "inbox").await.is_empty());
    assert!(store.writer_stats().healthy);
    assert!(store.attempts(unknown).await.unwrap().is_empty());
    // What was undone and done again was counted once.
    assert!(store.stats().await.unwrap().owed.is_empty());
}

pub async fn attempts_read_back(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await.id;
    let mut expected = Vec::new();
    for n in 0..12_u16 {
        let mut attempt = failure("receiver_failed", Some(500 + n));
        attempt.at = UnixMillis(NOON.0 + i64::from(n));
        attempt.timing.resolve = None;
        attempt.timing.tls = Some(Duration::from_secs(3));
        attempt.address = Some(format!("[2001:db8::{n}]:8443").parse().unwrap());
        expected.push(attempt);
    }
    expected[4].address = None;
    for attempt in &expected {
        let settled = Settled::Retry { due_at: NOON };
        let attempt = attempt.clone();
        store.settle(Settlement { settled, attempt, ..delivered(delivery) }).await.unwrap();
    }
    // A success keeps no excerpt, and no excerpt is kept beyond its limit.
    let mut talkative = success();
    talkative.excerpt = b"ok".to_vec();
    store.settle(Settlement { attempt: talkative, ..delivered(delivery) }).await.unwrap();
    let mut endless = failure("receiver_failed", None);
    endless.excerpt = vec![b'x'; waypost_domain::limits::RESPONSE_EXCERPT_BYTES_MAX + 1];
    store.settle(Settlement { attempt: endless.clone(), ..retry(delivery, NOON) }).await.unwrap();
    endless.excerpt.pop();
    expected.extend([success(), endless]);
    assert_eq!(store.attempts(delivery).await.unwrap(), expected);
}

pub async fn destinations_and_counts_follow(subject: &Subject) {
    let store = subject.open();
    let mut owed = Vec::new();
    for n in 0..6 {
        let mut accept = request([message(&format!("wamid.{n}"))]);
        accept.received_at = UnixMillis(NOON.0 + n);
        accept.deliveries = vec![whole("inbox"), whole("crm")];
        owed.extend(store.accept(accept).await.unwrap().owed);
    }
    let of = |destination: &str| {
        let destination = name(destination);
        owed.iter().filter(move |owed| owed.destination == destination).map(|owed| owed.id)
    };
    let inbox: Vec<_> = of("inbox").collect();
    settle_all(&store, vec![delivered(inbox[0]), retry(inbox[1], NOON), dead(inbox[2])]).await;
    settle_all(&store, of("crm").map(dead).collect()).await;

    let check = async |store: &Store| {
        let stats = store.stats().await.unwrap();
        assert_eq!(stats.owed, [(name("inbox"), 4, UnixMillis(NOON.0 + 1))]);
        assert_eq!(stats.dead, [(name("crm"), 6), (name("inbox"), 1)]);
        assert!(stats.file_bytes > 0);
    };
    check(&store).await;
    drop(store);
    check(&subject.open()).await;
}
