//! Finding deliveries.

use waypost_domain::{DeliveryId, DeliveryState, UnixMillis};

use super::samples::{
    account_change, act_on, dead, delivered, message, request, retry, settle_all, single, status, whole,
};
use super::{NOON, Subject};
use crate::{
    Accept, ActOn, CoveredEvent, DeliveryFilter, DeliveryPage, NewEvent, Selection, Settlement, Store,
};

/// Everything a filter admits, page by page.
async fn walk(store: &Store, filter: &DeliveryFilter, limit: usize) -> Vec<DeliveryId> {
    let (mut found, mut before) = (Vec::new(), None);
    for _ in 0..10_000 {
        let list = store.deliveries(filter.clone(), DeliveryPage { before, limit }).await.unwrap();
        assert!(list.deliveries.len() <= limit);
        found.extend(list.deliveries.iter().map(|detail| detail.delivery.owed.id));
        before = list.next;
        if before.is_none() {
            return found;
        }
    }
    panic!("pages without end");
}

/// What an act would be done to, counted in steps of its own order.
async fn discardable(store: &Store, filter: &DeliveryFilter) -> u64 {
    let (mut count, mut after) = (0, None);
    for _ in 0..10_000 {
        let selection = Selection::Matching { filter: filter.clone(), after, at_most: 3 };
        let outcome = store.discard(ActOn { selection, plan: true, ..act_on(DeliveryId(0)) }).await.unwrap();
        count += outcome.count;
        after = outcome.next;
        if after.is_none() {
            return count;
        }
    }
    panic!("steps without end");
}

pub async fn a_delivery_is_shown_with_what_it_carries(subject: &Subject) {
    let store = subject.open();
    let events = vec![message("wamid.A"), status("wamid.B", "read"), account_change("acct:1")];
    let mut accept = request(events);
    accept.deliveries = vec![whole("inbox"), single("crm", 1)];
    let accepted = store.accept(accept).await.unwrap();
    store.settle(retry(accepted.owed[1].id, NOON)).await.unwrap();
    let events: Vec<_> = accepted.events.iter().map(|(event, _)| *event).collect();

    let whole = store.delivery(accepted.owed[0].id).await.unwrap().unwrap();
    assert_eq!(whole.delivery.owed, accepted.owed[0]);
    assert_eq!((&*whole.source, whole.received_at, whole.body_kept), ("acme", NOON, true));
    assert_eq!(whole.events, events);
    let first = CoveredEvent {
        kind: "message".into(),
        r#type: "text".into(),
        wamid: Some("wamid.A".into()),
        conversation: Some("204817163050918:4915555017".into()),
        key: "msg:204817163050918:wamid.A".into(),
    };
    assert_eq!(whole.first, first);

    let one = store.delivery(accepted.owed[1].id).await.unwrap().unwrap();
    assert_eq!((one.delivery.owed.attempts, &*one.delivery.last_code), (1, "connect_refused"));
    assert_eq!(one.events, events[1..2]);
    assert_eq!((&*one.first.kind, &*one.first.r#type), ("status", "read"));
    assert_eq!(one.first.wamid.as_deref(), Some("wamid.B"));

    let list = store.deliveries(DeliveryFilter::default(), DeliveryPage { before: None, limit: 9 }).await;
    assert_eq!(list.unwrap().deliveries, [one, whole]);
    assert_eq!(store.delivery(DeliveryId(events[0].0)).await.unwrap(), None);
}

pub async fn every_filter_admits_the_deliveries_it_names_and_no_more(subject: &Subject) {
    let store = subject.open();
    let other_number = NewEvent {
        phone_number_id: Some("999000111".into()),
        display_phone_number: Some("15555010".into()),
        conversation: Some("999000111:4915555017".into()),
        ..message("wamid.B")
    };
    let accept = |events: Vec<NewEvent>, source: &str, destination, minutes: i64| {
        let received_at = UnixMillis(NOON.0 + minutes * 60_000);
        let mut accept = Accept { source: source.into(), received_at, ..request(events) };
        accept.deliveries = vec![whole(destination)];
        accept
    };
    let a = accept(vec![message("wamid.A")], "acme", "inbox", 0);
    let b = accept(vec![account_change("acct:0"), other_number], "globex", "crm", 1);
    let c = accept(vec![account_change("acct:1")], "acme", "crm", 2);
    let mut d = accept(vec![message("wamid.D"), status("wamid.A", "read")], "acme", "inbox", 3);
    d.deliveries = vec![single("inbox", 0), single("inbox", 1)];
    let mut ids = Vec::new();
    for accept in [a, b, c, d] {
        ids.extend(store.accept(accept).await.unwrap().owed.into_iter().map(|owed| owed.id));
    }
    let [a, b, c, d, e] = ids[..] else { panic!("{ids:?}") };
    store.settle(delivered(a)).await.unwrap();
    store.settle(dead(b)).await.unwrap();
    store.discard(act_on(b)).await.unwrap();
    store.settle(Settlement { overtaken: true, ..retry(c, NOON) }).await.unwrap();
    store.settle(dead(d)).await.unwrap();

    let none = DeliveryFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let at = |minutes: i64| Some(UnixMillis(NOON.0 + minutes * 60_000));
    let state = |state| DeliveryFilter { state: Some(state), ..none() };
    let expectations: Vec<(DeliveryFilter, Vec<DeliveryId>)> = vec![
        (none(), vec![e, d, c, b, a]),
        (DeliveryFilter { ids: Some(vec![b, DeliveryId(1), e, b]), ..none() }, vec![e, b]),
        (DeliveryFilter { ids: Some(vec![]), ..none() }, vec![]),
        (DeliveryFilter { ids: Some(vec![a, d]), ..state(DeliveryState::Dead) }, vec![d]),
        (state(DeliveryState::Owed), vec![e, c]),
        (state(DeliveryState::Delivered), vec![a]),
        (state(DeliveryState::Dead), vec![d]),
        (state(DeliveryState::Discarded), vec![b]),
        (DeliveryFilter { destination: text("crm"), ..none() }, vec![c, b]),
        (DeliveryFilter { destination: text("crm"), ..state(DeliveryState::Owed) }, vec![c]),
        (DeliveryFilter { destination: text("crm"), ..state(DeliveryState::Dead) }, vec![]),
        (DeliveryFilter { destination: text("acme"), ..none() }, vec![]),
        (DeliveryFilter { source: text("acme"), ..none() }, vec![e, d, c, a]),
        (DeliveryFilter { source: text("globex"), ..none() }, vec![b]),
        (DeliveryFilter { source: text("initech"), ..none() }, vec![]),
        (DeliveryFilter { conversation: text("999000111:4915555017"), ..none() }, vec![b]),
        (DeliveryFilter { wamid: text("wamid.A"), ..none() }, vec![e, a]),
        (DeliveryFilter { wamid: text("wamid.B"), ..none() }, vec![b]),
        (DeliveryFilter { wamid: text("wamid.Z"), ..none() }, vec![]),
        (DeliveryFilter { wamid: text("wamid.A"), ..state(DeliveryState::Owed) }, vec![e]),
        (DeliveryFilter { wamid: text("wamid.A"), source: text("globex"), ..none() }, vec![]),
        (DeliveryFilter { number: text("999000111"), ..none() }, vec![b]),
        (DeliveryFilter { number: text("4930555010"), ..none() }, vec![e, d, a]),
        (DeliveryFilter { last_status: Some(200), ..none() }, vec![a]),
        (DeliveryFilter { last_status: Some(410), ..none() }, vec![d, b]),
        (DeliveryFilter { last_code: text("connect_refused"), ..none() }, vec![c]),
        (DeliveryFilter { last_code: text("timed_out"), ..none() }, vec![]),
        (DeliveryFilter { overtaken: Some(true), ..none() }, vec![c]),
        (DeliveryFilter { overtaken: Some(false), ..state(DeliveryState::Owed) }, vec![e]),
        (DeliveryFilter { since: at(1), until: at(3), ..none() }, vec![c, b]),
        (DeliveryFilter { since: at(3), ..none() }, vec![e, d]),
        (DeliveryFilter { until: at(1), ..none() }, vec![a]),
        (DeliveryFilter { since: at(2), wamid: text("wamid.A"), ..none() }, vec![e]),
    ];
    for (filter, expected) in expectations {
        for limit in [1, 2, 100] {
            assert_eq!(walk(&store, &filter, limit).await, expected, "{filter:?}");
        }
        let discardable_ones = expected.iter().filter(|id| [c, d, e].contains(id)).count();
        assert_eq!(discardable(&store, &filter).await, discardable_ones as u64, "{filter:?}");
    }
}

pub async fn only_the_last_attempt_counts_for_a_status_or_code(subject: &Subject) {
    let store = subject.open();
    let id = store.accept(request([message("wamid.A")])).await.unwrap().owed[0].id;
    store.settle(retry(id, NOON)).await.unwrap();
    store.settle(delivered(id)).await.unwrap();
    let code = DeliveryFilter { last_code: Some("connect_refused".to_owned()), ..DeliveryFilter::default() };
    assert!(walk(&store, &code, 5).await.is_empty());
    let status = DeliveryFilter { last_status: Some(200), ..DeliveryFilter::default() };
    assert_eq!(walk(&store, &status, 5).await, [id]);
}

/// Requests with many deliveries that nobody looks for, all delivered but of one destination.
async fn haystack(store: &Store, count: u32, name: &str) {
    for chunk in 0..count.div_ceil(500) {
        let events: Vec<_> = (0..500).map(|n| account_change(&format!("{name}:{chunk}:{n}"))).collect();
        let mut accept = request(events);
        accept.deliveries = (0..500).map(|place| single("archive", place)).collect();
        let accepted = store.accept(accept).await.unwrap();
        settle_all(store, accepted.owed.iter().map(|owed| delivered(owed.id)).collect()).await;
    }
}

pub async fn few_deliveries_are_found_among_many(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for (n, hay) in [9_000, 2_500, 2_000, 500].into_iter().enumerate() {
        let mut accept = request([message("wamid.A"), message(&format!("wamid.{n}"))]);
        accept.deliveries = vec![single("crm", 1), whole("inbox")];
        let accepted = store.accept(accept).await.unwrap();
        expected.insert(0, accepted.owed[1].id);
        haystack(&store, hay, &format!("hay{n}")).await;
    }
    let inbox = DeliveryFilter { destination: Some("inbox".to_owned()), ..DeliveryFilter::default() };
    let owed = DeliveryFilter { state: Some(DeliveryState::Owed), ..inbox.clone() };
    let wamid = DeliveryFilter { wamid: Some("wamid.2".to_owned()), ..inbox.clone() };
    for limit in [1, 2, 3, 4, 1_000] {
        assert_eq!(walk(&store, &inbox, limit).await, expected);
        assert_eq!(walk(&store, &owed, limit).await, expected);
        assert_eq!(walk(&store, &wamid, limit).await, expected[1..2]);
    }
    assert_eq!(discardable(&store, &inbox).await, 4);
    // An index leads to what is owed or dead, and to a message, at once.
    for (filter, count) in [(owed.clone(), 4), (wamid, 1)] {
        let list = store.deliveries(filter, DeliveryPage { before: None, limit: 1_000 }).await.unwrap();
        assert_eq!((list.deliveries.len(), list.next), (count, None));
    }
    settle_all(&store, expected.iter().map(|id| dead(*id)).collect()).await;
    let filter = DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
    let list = store.deliveries(filter, DeliveryPage { before: None, limit: 1_000 }).await.unwrap();
    assert_eq!((list.deliveries.len(), list.next), (4, None));
}

pub async fn many_deliveries_are_paged_once_each(subject: &Subject) {
    let store = subject.open();
    let mut all = Vec::new();
    for round in 0..3_u32 {
        let events: Vec<_> = (0..700).map(|n| status("wamid.A", &format!("{round}.{n}"))).collect();
        let mut accept = request(events);
        accept.deliveries =
            (0..700).map(|place| single(["inbox", "crm"][place as usize % 2], place)).collect();
        all.extend(store.accept(accept).await.unwrap().owed);
    }
    all.reverse();
    let of = |destination: &str| {
        let to = all.iter().filter(|owed| destination.is_empty() || &*owed.destination == destination);
        to.map(|owed| owed.id).collect::<Vec<_>>()
    };
    let none = DeliveryFilter::default;
    let wamid = Some("wamid.A".to_owned());
    let check = async |state: DeliveryState| {
        for filter in [
            none(),
            DeliveryFilter { state: Some(state), ..none() },
            DeliveryFilter { wamid: wamid.clone(), ..none() },
        ] {
            for (destination, limit) in [("", 1_000), ("inbox", 701)] {
                let named = (!destination.is_empty()).then(|| destination.to_owned());
                let filter = DeliveryFilter { destination: named, ..filter.clone() };
                assert_eq!(walk(&store, &filter, limit).await, of(destination), "{filter:?}");
            }
        }
    };
    check(DeliveryState::Owed).await;
    settle_all(&store, all.iter().map(|owed| dead(owed.id)).collect()).await;
    check(DeliveryState::Dead).await;
    // Half of them owed again, with turns that are not their numbers.
    let filter = DeliveryFilter { destination: Some("crm".to_owned()), ..none() };
    let selection = Selection::Matching { filter: filter.clone(), after: None, at_most: 10_000 };
    let outcome = store.replay(ActOn { selection, ..act_on(DeliveryId(0)) }).await.unwrap();
    assert_eq!((outcome.count, outcome.more()), (1_050, false));
    let filter = DeliveryFilter { state: Some(DeliveryState::Owed), ..none() };
    assert_eq!(walk(&store, &filter, 1_000).await, of("crm"));
    assert_eq!(discardable_in_large_steps(&store, &filter).await, 1_050);
}

async fn discardable_in_large_steps(store: &Store, filter: &DeliveryFilter) -> u64 {
    let selection = Selection::Matching { filter: filter.clone(), after: None, at_most: u64::MAX };
    store.discard(ActOn { selection, plan: true, ..act_on(DeliveryId(0)) }).await.unwrap().count
}
