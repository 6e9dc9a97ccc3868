//! Taking requests in.

use waypost_domain::{DeliveryId, EventId, Lane, UnixMillis};

use super::samples::{
    account_change, all, delivered, message, name, owed, request, retry, single, status, together, whole,
};
use super::{NOON, Opening, Subject};
use crate::{EventFilter, NewEvent, StoreError};

pub async fn what_was_accepted_is_kept_byte_for_byte(subject: &Subject) {
    let store = subject.open();
    let events = vec![message("wamid.A"), status("wamid.B", "read"), account_change("acct:1")];
    let accept = request(events.clone());
    let (target, headers, body) = (accept.target.clone(), accept.headers.clone(), accept.body.clone());
    let accepted = store.accept(accept).await.unwrap();
    assert!(!accepted.is_duplicate());

    let found = store.request_body(accepted.request).await.unwrap().unwrap();
    assert_eq!((&found.target, &found.headers, &found.body), (&target, &headers, &body));
    let record = store.request(accepted.request).await.unwrap().unwrap();
    assert_eq!(record.id, accepted.request);
    assert_eq!((&*record.source, record.received_at), ("acme", NOON));
    assert_eq!((record.target, record.body_sha256), (target, [7; 32]));
    assert_eq!((record.body_bytes, record.body_kept), (body.len() as u64, true));
    assert_eq!(record.proved_by.as_deref(), Some("current"));

    assert_eq!(accepted.events.len(), 3);
    for ((id, repeats), event) in accepted.events.iter().zip(events) {
        assert_eq!(*repeats, None);
        let record = store.event(*id).await.unwrap().unwrap();
        assert_eq!((record.id, record.request, record.repeats), (*id, accepted.request, None));
        assert_eq!((&*record.source, record.received_at, record.event), ("acme", NOON, event));
        assert_eq!(record.deliveries.len(), 1);
        assert_eq!(record.deliveries[0].owed, accepted.owed[0]);
    }
}

pub async fn identifiers_follow_the_order_of_acceptance(subject: &Subject) {
    let store = subject.open();
    let mut last = EventId::floor(NOON).0 - 1;
    for round in 0..5 {
        let events = vec![message(&format!("a{round}")), message(&format!("b{round}"))];
        let mut accept = request(events);
        accept.deliveries = vec![whole("inbox"), single("crm", 0), single("crm", 1)];
        let accepted = store.accept(accept).await.unwrap();
        let mut numbers = vec![accepted.request.0];
        numbers.extend(accepted.events.iter().map(|(event, _)| event.0));
        numbers.extend(accepted.owed.iter().map(|owed| owed.id.0));
        assert_eq!(numbers.len(), 6);
        for number in numbers {
            assert!(number > last, "{number} after {last}");
            last = number;
        }
    }
    let later = UnixMillis(NOON.0 + 60_000);
    let accept = crate::Accept { received_at: later, ..request([message("later")]) };
    assert!(store.accept(accept).await.unwrap().request.0 >= EventId::floor(later).0);
}

pub async fn any_content_is_kept(subject: &Subject) {
    let store = subject.open();
    let odd = "\0' \u{202e}\u{10ffff}\n".repeat(500);
    let event = NewEvent {
        kind: odd.clone().into(),
        class: "operational".into(),
        field: odd.as_str().into(),
        r#type: odd.as_str().into(),
        phone_number_id: Some(odd.as_str().into()),
        display_phone_number: Some("".into()),
        waba_id: Some(odd.as_str().into()),
        conversation: Some(odd.as_str().into()),
        contact: None,
        wamid: Some(odd.as_str().into()),
        key: odd.as_str().into(),
        occurred_at: Some(UnixMillis(i64::MIN)),
        once: true,
        quarantined: false,
    };
    let mut accept = request([event.clone()]);
    accept.body = vec![0xfe; 3 * 1024 * 1024].into();
    accept.target = odd.clone();
    let body = accept.body.clone();
    let accepted = store.accept(accept).await.unwrap();
    assert_eq!(store.request_body(accepted.request).await.unwrap().unwrap().body, body);
    assert_eq!(store.event(accepted.events[0].0).await.unwrap().unwrap().event, event);
    assert_eq!(owed(&store, "inbox").await[0].lanes.as_slice(), [Lane::of(&odd)]);
    assert_eq!(all(&store, EventFilter { wamid: Some(odd), ..EventFilter::default() }).await.len(), 1);

    let thousand: Vec<_> = (0..1_000).map(|n| message(&format!("wamid.{n}"))).collect();
    let mut accept = request(thousand.clone());
    accept.body = bytes::Bytes::new();
    accept.deliveries = (0..1_000).map(|place| single("crm", place)).collect();
    let accepted = store.accept(accept).await.unwrap();
    assert_eq!(accepted.owed.len(), 1_000);
    assert_eq!(store.request_body(accepted.request).await.unwrap().unwrap().body.len(), 0);
    let list =
        store.events(EventFilter::default(), crate::Page { before: None, limit: 1_000 }).await.unwrap();
    let found: Vec<_> = list.events.into_iter().rev().map(|event| event.event).collect();
    assert_eq!(found, thousand);
}

pub async fn nothing_of_a_refused_request_is_kept(subject: &Subject) {
    let store = subject.open();
    let mut accept = request([message("wamid.A")]);
    accept.deliveries = vec![whole("inbox"), single("inbox", 1)];
    assert!(matches!(store.accept(accept).await, Err(StoreError::Corrupt(_))));
    assert!(all(&store, EventFilter::default()).await.is_empty());
    assert!(owed(&store, "inbox").await.is_empty());
    assert!(store.stats().await.unwrap().owed.is_empty());
    // Its key was not taken either.
    let accepted = store.accept(request([message("wamid.A")])).await.unwrap();
    assert!(!accepted.is_duplicate());
}

pub async fn a_request_without_events_is_kept_and_owed_to_nobody(subject: &Subject) {
    let store = subject.open();
    let accepted = store.accept(request([])).await.unwrap();
    assert!(accepted.owed.is_empty() && !accepted.is_duplicate());
    assert!(store.request(accepted.request).await.unwrap().unwrap().body_kept);
}

pub async fn concurrent_accepts_share_commits(subject: &Subject) {
    const COUNT: usize = 400;
    let store = subject.open();
    let accepts = (0..COUNT).map(|n| {
        let store = store.clone();
        async move { store.accept(request([message(&format!("wamid.{n}"))])).await.unwrap() }
    });
    let accepted = together(accepts).await;
    let mut ids: Vec<_> = accepted.iter().map(|accepted| accepted.owed[0].id).collect();
    ids.sort_unstable();
    let owed: Vec<DeliveryId> = owed(&store, "inbox").await.into_iter().map(|owed| owed.id).collect();
    assert_eq!(owed, ids);
    let stats = store.writer_stats();
    assert_eq!(stats.operations, COUNT as u64);
    assert!(stats.commits < COUNT as u64 / 2, "{} commits for {COUNT} accepts", stats.commits);
    assert!(stats.healthy && stats.queue == 0 && stats.failures == 0);
}

pub async fn a_full_queue_refuses_at_once_and_recovers(subject: &Subject) {
    let store = subject.open_with(Opening { queue_max: 1, ..Opening::default() });
    flood_and_recover(&store, "wamid").await;
}

pub async fn too_many_bytes_waiting_refuse_at_once_and_recover(subject: &Subject) {
    let store = subject.open_with(Opening { queue_bytes_max: 100, ..Opening::default() });
    flood_and_recover(&store, "wamid").await;
    // One that alone is over the limit is not refused for ever.
    let mut accept = request([message("large")]);
    accept.body = vec![b' '; 1_000].into();
    store.accept(accept).await.unwrap();
}

/// Sends more than can wait, again and again until something was refused.
async fn flood_and_recover(store: &crate::Store, wamid: &str) {
    let (mut kept, mut refused) = (0, 0);
    for round in 0..100 {
        let accepts = (0..200).map(|n| {
            let (store, wamid) = (store.clone(), format!("{wamid}.{round}.{n}"));
            async move { store.accept(request([message(&wamid)])).await }
        });
        for accepted in together(accepts).await {
            match accepted {
                Ok(_) => kept += 1,
                Err(StoreError::Busy) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        if refused > 0 {
            break;
        }
    }
    assert!(kept > 0 && refused > 0, "{kept} kept, {refused} refused");
    assert_eq!(owed(store, "inbox").await.len(), kept);
    store.accept(request([message("afterwards")])).await.unwrap();
}

pub async fn settlements_are_not_refused_while_accepts_are(subject: &Subject) {
    let store = subject.open_with(Opening { queue_max: 1, ..Opening::default() });
    let delivery = store.accept(request([message("first")])).await.unwrap().owed[0].id;
    let flood = (0..400).map(|n| {
        let store = store.clone();
        async move {
            if n % 2 == 0 {
                store.accept(request([message(&format!("flood.{n}"))])).await.map(drop)
            } else {
                store.settle(retry(delivery, NOON)).await.map_err(|error| panic!("{error}"))
            }
        }
    });
    together(flood).await;
    assert_eq!(owed(&store, "inbox").await[0].attempts, 200);
    store.settle(delivered(delivery)).await.unwrap();
}

pub async fn an_accept_that_nobody_awaits_does_no_harm(subject: &Subject) {
    let store = subject.open();
    for n in 0..50 {
        let accept = store.accept(request([message(&format!("wamid.{n}"))]));
        let given_up = tokio::time::timeout(std::time::Duration::ZERO, accept);
        let _ = given_up.await;
    }
    let accepted = store.accept(request([message("wamid.last")])).await.unwrap();
    // Each of the others is there whole or not at all.
    let owed = owed(&store, "inbox").await;
    let events = all(&store, EventFilter::default()).await;
    assert_eq!(owed.len(), events.len());
    assert_eq!(owed.last().unwrap(), &accepted.owed[0]);
    assert_eq!(store.writer_stats().queue, 0);
    assert_eq!(owed.last().unwrap().destination, name("inbox"));
}
