//! What is due when, and what was stepped over.

use waypost_domain::{DeliveryId, UnixMillis};

use super::samples::{dead, delivered, due, message, name, owed, request, retry, single, whole};
use super::{NOON, Subject};
use crate::{DuePage, OwedDelivery, Store};

fn later(seconds: i64) -> UnixMillis {
    UnixMillis(NOON.0 + seconds * 1_000)
}

/// So many deliveries to `inbox`, in order.
async fn accept(store: &Store, count: usize) -> Vec<OwedDelivery> {
    let events: Vec<_> = (0..count).map(|n| message(&format!("wamid.{n}"))).collect();
    let mut accept = request(events);
    accept.deliveries = (0..count).map(|place| single("inbox", u32::try_from(place).unwrap())).collect();
    store.accept(accept).await.unwrap().owed
}

pub async fn what_failed_before_comes_back_by_due_time_and_then_in_order(subject: &Subject) {
    let store = subject.open();
    let all = accept(&store, 8).await;
    // The last two have not failed: they are due, but not again.
    for (delivery, seconds) in all.iter().zip([50, 10, 30, 10, 20, 40]) {
        store.settle(retry(delivery.id, later(seconds))).await.unwrap();
    }
    let in_order: Vec<_> = [1, 3, 4, 2, 5, 0].map(|place: usize| all[place].id).into();
    let ids = |found: Vec<OwedDelivery>| found.into_iter().map(|owed| owed.id).collect::<Vec<_>>();
    for (until, count) in [(9, 0), (10, 2), (19, 2), (20, 3), (40, 5), (50, 6), (1_000_000, 6)] {
        assert_eq!(ids(due(&store, "inbox", later(until)).await), in_order[..count], "{until}");
    }
    let page = DuePage { destination: name("inbox"), until: later(60), after: None, limit: 3 };
    assert_eq!(ids(store.due(page).await.unwrap()), in_order[..3]);
    // It is the same delivery in every way as among what is owed.
    let owed = owed(&store, "inbox").await;
    for found in due(&store, "inbox", later(60)).await {
        assert!(owed.contains(&found));
    }
    assert!(due(&store, "crm", later(60)).await.is_empty());
    assert!(due(&store, "nobody", later(60)).await.is_empty());
}

pub async fn what_is_due_is_paged(subject: &Subject) {
    let store = subject.open();
    let all = accept(&store, 40).await;
    for (place, delivery) in all.iter().enumerate() {
        store.settle(retry(delivery.id, later(place as i64 % 3))).await.unwrap();
    }
    let everything = due(&store, "inbox", later(9)).await;
    assert_eq!(everything.len(), 40);
    for limit in [1, 7, 13, 40, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = DuePage { destination: name("inbox"), until: later(9), after, limit };
            let page = store.due(page).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.due_at, last.id));
            found.extend(page);
        }
        assert_eq!(found, everything, "{limit}");
    }
    let after = Some((later(1), DeliveryId(0)));
    let page = DuePage { destination: name("inbox"), until: later(1), after, limit: 100 };
    assert!(store.due(page).await.unwrap().iter().all(|owed| owed.due_at == later(1)));
}

pub async fn the_next_due_time_is_the_earliest_after_a_moment(subject: &Subject) {
    let store = subject.open();
    let all = accept(&store, 5).await;
    assert_eq!(store.next_due("inbox", UnixMillis(0)).await.unwrap(), None);
    for (delivery, seconds) in all.iter().zip([30, 10, 10, 20]) {
        store.settle(retry(delivery.id, later(seconds))).await.unwrap();
    }
    for (after, next) in [(0, Some(10)), (9, Some(10)), (10, Some(20)), (20, Some(30)), (30, None)] {
        assert_eq!(store.next_due("inbox", later(after)).await.unwrap(), next.map(later), "{after}");
    }
    assert_eq!(store.next_due("crm", later(0)).await.unwrap(), None);
}

pub async fn what_is_settled_or_moved_is_due_no_more(subject: &Subject) {
    let store = subject.open();
    let all = accept(&store, 4).await;
    for delivery in &all {
        store.settle(retry(delivery.id, later(10))).await.unwrap();
    }
    store.settle(delivered(all[0].id)).await.unwrap();
    store.settle(dead(all[1].id)).await.unwrap();
    store.settle(retry(all[2].id, later(90))).await.unwrap();
    let check = async |store: &Store| {
        let ids = |found: Vec<OwedDelivery>| found.into_iter().map(|owed| owed.id).collect::<Vec<_>>();
        assert_eq!(ids(due(store, "inbox", later(10)).await), [all[3].id]);
        assert_eq!(ids(due(store, "inbox", later(90)).await), [all[3].id, all[2].id]);
        assert_eq!(store.next_due("inbox", later(10)).await.unwrap(), Some(later(90)));
    };
    check(&store).await;
    drop(store);
    check(&subject.open()).await;
}

pub async fn what_was_stepped_over_is_marked_at_once(subject: &Subject) {
    let store = subject.open();
    let all = accept(&store, 700).await;
    let mut marked: Vec<DeliveryId> = all.iter().step_by(2).map(|owed| owed.id).collect();
    marked.push(DeliveryId(all[699].id.0 + 1));
    store.mark_overtaken(marked.clone()).await.unwrap();
    store.mark_overtaken(marked[..3].to_vec()).await.unwrap();
    store.mark_overtaken(Vec::new()).await.unwrap();
    drop(store);
    let store = subject.open();
    let expected = all.into_iter().map(|owed| OwedDelivery { overtaken: marked.contains(&owed.id), ..owed });
    assert_eq!(owed(&store, "inbox").await, expected.collect::<Vec<_>>());
    // A settlement that knows nothing of it does not unmark it.
    store.settle(retry(marked[0], NOON)).await.unwrap();
    assert!(due(&store, "inbox", NOON).await[0].overtaken);
}

pub async fn a_turn_is_the_deliverys_own_number_at_first(subject: &Subject) {
    let store = subject.open();
    let mut accept = request([message("wamid.A")]);
    accept.deliveries = vec![whole("inbox"), single("crm", 0)];
    for delivery in store.accept(accept).await.unwrap().owed {
        assert_eq!(delivery.turn.0, delivery.id.0);
        assert_eq!(owed(&store, &delivery.destination).await, [delivery]);
    }
}
