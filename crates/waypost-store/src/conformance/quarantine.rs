//! Events that no route takes: held, released, given up.

use std::time::Duration;

use waypost_domain::{DeliveryState, EventId, Priority, UnixMillis};

use super::samples::{
    account_change, acts, all, delivered, message, name, owed, release, request, single, status,
};
use super::{NOON, Subject};
use crate::{
    Accept, Accepted, ActKind, ActPage, ActSubject, DELIVERIES_PER_REQUEST_MAX, DeliveryFilter, DeliveryPage,
    DiscardQuarantined, EventFilter, NewEvent, Prune, RELEASED_PER_EVENT_MAX, Release, ReleaseTo, Retention,
    Store,
};

fn held(event: NewEvent) -> NewEvent {
    NewEvent { quarantined: true, ..event }
}

fn to(destination: &str) -> ReleaseTo {
    ReleaseTo { destination: destination.into(), priority: Priority::Call }
}

/// A message for `crm`, and two events for nobody.
async fn mixed(store: &Store, round: u32) -> Accepted {
    let wamid = format!("wamid.{round}");
    let mut accept = request([message(&wamid), held(status(&wamid, "read")), held(account_change(&wamid))]);
    accept.deliveries = vec![single("crm", 0)];
    store.accept(accept).await.unwrap()
}

async fn quarantined(store: &Store) -> Vec<EventId> {
    let filter = EventFilter { quarantined: Some(true), ..EventFilter::default() };
    all(store, filter).await.into_iter().map(|event| event.id).collect()
}

pub async fn what_is_quarantined_is_kept_counted_and_owed_to_nobody(subject: &Subject) {
    let store = subject.open();
    let accepted = mixed(&store, 0).await;
    assert_eq!((accepted.owed.len(), accepted.quarantined), (1, 2));
    let [message, status, change] = [0, 1, 2].map(|place: usize| accepted.events[place].0);
    drop(store);
    let store = subject.open();
    assert_eq!(quarantined(&store).await, [change, status]);
    let free = EventFilter { quarantined: Some(false), ..EventFilter::default() };
    assert_eq!(all(&store, free).await.len(), 1);
    let of_status = store.event(status).await.unwrap().unwrap();
    assert!(of_status.quarantined && of_status.event.quarantined && of_status.deliveries.is_empty());
    assert!(!store.event(message).await.unwrap().unwrap().quarantined);
    assert_eq!(store.stats().await.unwrap().quarantined, [(name("acme"), 2)]);
    // Its copy is a repeat, and nothing else.
    let again = mixed(&store, 0).await;
    assert_eq!((again.is_duplicate(), again.quarantined), (true, 0));
    assert_eq!(quarantined(&store).await.len(), 2);
    // Filters hold together.
    let narrow = |kind: &str, source: &str| EventFilter {
        quarantined: Some(true),
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        ..EventFilter::default()
    };
    assert_eq!(all(&store, narrow("status", "acme")).await.len(), 1);
    assert!(all(&store, narrow("message", "acme")).await.is_empty());
    assert!(all(&store, narrow("status", "globex")).await.is_empty());
}

pub async fn what_is_released_is_owed_in_its_turn(subject: &Subject) {
    let store = subject.open();
    let accepted = mixed(&store, 0).await;
    let status = accepted.events[1].0;
    let later = store.accept(request([message("later")])).await.unwrap();
    let to = vec![to("inbox"), to("crm"), to("inbox")];
    let released = store.release(release(vec![(status, to), (accepted.events[2].0, vec![])])).await.unwrap();
    assert_eq!((released.events, released.too_many), (vec![status], 0));
    assert_eq!(released.owed.len(), 2, "a destination is owed an event once");
    for owed in &released.owed {
        assert_eq!((owed.request, owed.event), (accepted.request, Some(status)));
        assert_eq!((owed.priority, owed.attempts), (Priority::Call, 0));
        assert_eq!((owed.due_at, owed.accepted_at), (release(vec![]).at, release(vec![]).at));
        assert_eq!(owed.lanes, accepted.owed[0].lanes);
        // In order of acceptance it comes with its request; its turn is after all others'.
        assert!(owed.id > accepted.owed[0].id && owed.id < later.owed[0].id);
        assert!(owed.turn > later.owed[0].turn);
    }
    assert_eq!(store.request_body(accepted.request).await.unwrap().unwrap().source, name("acme"));
    drop(store);
    let store = subject.open();
    let inbox: Vec<_> = owed(&store, "inbox").await.into_iter().map(|owed| owed.id).collect();
    let of_inbox = released.owed.iter().find(|owed| &*owed.destination == "inbox").unwrap();
    assert_eq!(inbox, [later.owed[0].id, of_inbox.id]);
    let kept = store.event(status).await.unwrap().unwrap();
    assert_eq!((kept.quarantined, kept.deliveries.len()), (false, 2));
    assert_eq!(store.stats().await.unwrap().quarantined, [(name("acme"), 1)]);
    // Listed as any other, newest first.
    let list = store.deliveries(DeliveryFilter::default(), DeliveryPage { before: None, limit: 10 }).await;
    let listed: Vec<_> = list.unwrap().deliveries.iter().map(|found| found.delivery.owed.id).collect();
    let mut expected: Vec<_> = released.owed.iter().map(|owed| owed.id).collect();
    expected.extend([accepted.owed[0].id, later.owed[0].id]);
    expected.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(listed, expected);
    // A second time there is nothing to release.
    let again = store.release(release(vec![(status, vec![self::to("inbox")])])).await.unwrap();
    assert_eq!(again, crate::Released::default());
    for owed in released.owed {
        store.settle(crate::Settlement { turn: owed.turn, ..delivered(owed.id) }).await.unwrap();
        let found = store.delivery(owed.id).await.unwrap().unwrap();
        assert_eq!(found.delivery.state, DeliveryState::Delivered);
    }
}

pub async fn what_is_given_up_is_a_record(subject: &Subject) {
    let store = subject.open();
    let accepted = mixed(&store, 0).await;
    let ids: Vec<_> = accepted.events.iter().map(|(event, _)| *event).collect();
    let discard = DiscardQuarantined { by: name("ops"), at: NOON, note: None, events: ids.clone() };
    assert_eq!(store.discard_quarantined(discard.clone()).await.unwrap(), ids[1..]);
    assert!(store.discard_quarantined(discard).await.unwrap().is_empty());
    assert!(quarantined(&store).await.is_empty());
    assert!(store.stats().await.unwrap().quarantined.is_empty());
    let released = store.release(release(vec![(ids[1], vec![to("inbox")])])).await.unwrap();
    assert!(released.owed.is_empty());
    assert!(store.event(ids[1]).await.unwrap().unwrap().deliveries.is_empty());
}

pub async fn releases_are_recorded_with_who_and_when(subject: &Subject) {
    let store = subject.open();
    let accepted = mixed(&store, 0).await;
    let (status, change) = (accepted.events[1].0, accepted.events[2].0);
    let note = Some(name("a route exists now"));
    let released = Release { note, ..release(vec![(status, vec![to("inbox")])]) };
    store.release(released).await.unwrap();
    let at = UnixMillis(NOON.0 + 9);
    let discard = DiscardQuarantined { by: name("ops"), at, note: None, events: vec![change] };
    store.discard_quarantined(discard).await.unwrap();
    let found: Vec<_> = acts(&store).await.into_iter().map(|act| (act.what, act.subject, act.who)).collect();
    let expected = [
        (ActKind::Discard, ActSubject::Event(change), name("ops")),
        (ActKind::Release, ActSubject::Event(status), release(vec![]).by),
    ];
    assert_eq!(found, expected);
    let page = ActPage { delivery: None, event: Some(status), before: None, limit: 10 };
    let of_status = store.acts(page).await.unwrap();
    assert_eq!(of_status.len(), 1);
    assert_eq!(of_status[0].note.as_deref(), Some("a route exists now"));
}

pub async fn many_are_released_in_steps_and_paged(subject: &Subject) {
    let store = subject.open();
    let mut ids = Vec::new();
    for round in 0..3 {
        let events: Vec<_> = (0..400).map(|n| held(message(&format!("wamid.{round}.{n}")))).collect();
        let mut accept = request(events);
        accept.deliveries.clear();
        ids.extend(store.accept(accept).await.unwrap().events.into_iter().map(|(event, _)| event));
    }
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let filter = EventFilter { quarantined: Some(true), ..EventFilter::default() };
        let list = store.events(filter, crate::Page { before, limit: 500 }).await.unwrap();
        found.extend(list.events.iter().map(|event| event.id));
        before = list.next;
        if before.is_none() {
            break;
        }
    }
    found.reverse();
    assert_eq!(found, ids);
    let events = ids.iter().map(|id| (*id, vec![to("inbox"), to("crm")])).collect();
    let released = store.release(release(events)).await.unwrap();
    assert_eq!((released.events, released.owed.len()), (ids, 2_400));
    let mut numbers: Vec<_> = released.owed.iter().map(|owed| owed.id).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 2_400);
    let turns: Vec<_> = owed(&store, "inbox").await.into_iter().map(|owed| owed.event).collect();
    assert_eq!(turns, released_events(&released.owed, "inbox"));
    assert!(quarantined(&store).await.is_empty());
}

fn released_events(owed: &[crate::OwedDelivery], destination: &str) -> Vec<Option<EventId>> {
    owed.iter().filter(|owed| &*owed.destination == destination).map(|owed| owed.event).collect()
}

pub async fn an_event_goes_to_so_many_and_no_more(subject: &Subject) {
    let store = subject.open();
    let mut accept = request([held(message("wamid.A"))]);
    accept.deliveries.clear();
    let accepted = store.accept(accept).await.unwrap();
    drop(store);
    // What is kept free is not handed out, even if the store is opened anew at once.
    let store = subject.open();
    let next = store.accept(request([message("wamid.B")])).await.unwrap();
    let event = accepted.events[0].0;
    let many = |count: usize| (0..count).map(|n| to(&format!("to{n}"))).collect::<Vec<_>>();
    let too_many = store.release(release(vec![(event, many(RELEASED_PER_EVENT_MAX + 1))])).await.unwrap();
    assert_eq!((too_many.events.len(), too_many.too_many), (0, 1));
    assert_eq!(quarantined(&store).await, [event]);
    let released = store.release(release(vec![(event, many(RELEASED_PER_EVENT_MAX))])).await.unwrap();
    assert_eq!(released.owed.len(), RELEASED_PER_EVENT_MAX);
    assert!(released.owed.iter().all(|owed| owed.id.0 < next.request.0));
}

pub async fn what_goes_beyond_a_requests_deliveries_is_quarantined(subject: &Subject) {
    let store = subject.open();
    let events: Vec<_> = (0..70).map(|n| message(&format!("wamid.{n}"))).collect();
    let mut accept = request(events);
    let each = DELIVERIES_PER_REQUEST_MAX / 64;
    accept.deliveries =
        (0..70).flat_map(|place| (0..each).map(move |n| single(&format!("to{n}"), place))).collect();
    let accepted = store.accept(accept).await.unwrap();
    assert_eq!((accepted.owed.len(), accepted.quarantined), (DELIVERIES_PER_REQUEST_MAX, 6));
    let held = quarantined(&store).await;
    assert_eq!(held.first(), accepted.events.last().map(|(event, _)| event));
    assert_eq!(held.len(), 6);
}

pub async fn a_quarantined_event_keeps_its_request_for_its_time(subject: &Subject) {
    let day = Duration::from_secs(24 * 60 * 60);
    let store = subject.open();
    let accept = |wamid: &str| {
        let mut accept: Accept = request([held(message(wamid))]);
        accept.deliveries.clear();
        accept
    };
    let left = store.accept(accept("a")).await.unwrap();
    let released = store.accept(accept("b")).await.unwrap();
    let retention =
        Retention { records: day * 5, dead: day * 5, quarantined: day * 20, ..Retention::default() };
    let pass = async |days: u32| {
        let now = NOON.plus(day * days);
        for call in 0.. {
            assert!(call < 1_000, "a pass that never ends");
            if !store.prune(Prune { now, retention, steps: 100 }).await.unwrap().more {
                break;
            }
        }
    };
    pass(19).await;
    for accepted in [&left, &released] {
        assert!(store.request_body(accepted.request).await.unwrap().is_some());
    }
    let at = NOON.plus(day * 19);
    let owed = store
        .release(Release { at, ..release(vec![(released.events[0].0, vec![to("inbox")])]) })
        .await
        .unwrap()
        .owed;
    pass(300).await;
    assert!(store.request(left.request).await.unwrap().is_none());
    assert!(store.stats().await.unwrap().quarantined.is_empty());
    // What was released is owed, and stays until it is not.
    assert!(store.request_body(released.request).await.unwrap().is_some());
    store.settle(crate::Settlement { turn: owed[0].turn, ..delivered(owed[0].id) }).await.unwrap();
    pass(301).await;
    assert!(store.request(released.request).await.unwrap().is_none());
}
