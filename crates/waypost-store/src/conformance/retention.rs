//! What is kept for how long, and what never goes; budgets.

use std::time::Duration;

use waypost_domain::{Clock, DeliveryId, DeliveryState, UnixMillis};

use super::samples::{
    account_change, all, dead, delivered, deliveries_of, message, owed, request, retry, settle_all, single,
    status, whole,
};
use super::{NOON, Opening, Subject};
use crate::{
    Accept, Accepted, ActOn, EventFilter, Prune, Pruned, Retention, Selection, Settlement, Store, StoreError,
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn days(days: u32) -> UnixMillis {
    NOON.plus(DAY * days)
}

/// Prunes to the end of a pass that begins now, and sums up.
async fn prune_with(store: &Store, now: UnixMillis, retention: Retention, steps: usize) -> Pruned {
    let mut sum = Pruned::default();
    // What an earlier pass had left over is finished first.
    for pass in 0..2 {
        for call in 0.. {
            assert!(call < 10_000, "pass {pass} never ends");
            let pruned = store.prune(Prune { now, retention, steps }).await.unwrap();
            sum.bodies += pruned.bodies;
            sum.records += pruned.records;
            sum.keys += pruned.keys;
            sum.bytes_given_back += pruned.bytes_given_back;
            if !pruned.more {
                break;
            }
        }
    }
    sum
}

async fn prune(store: &Store, now: UnixMillis) -> Pruned {
    prune_with(store, now, Retention::default(), 100).await
}

async fn accept(store: &Store, wamid: &str) -> Accepted {
    store.accept(request([message(wamid)])).await.unwrap()
}

fn act_on(delivery: DeliveryId, at: UnixMillis) -> ActOn {
    ActOn { selection: Selection::One(delivery), who: "ada".into(), at, note: None, plan: false }
}

/// An attempt whose outcome comes in at `at`.
fn at(at: UnixMillis, mut settlement: Settlement) -> Settlement {
    settlement.attempt.at = at.minus(settlement.attempt.timing.total);
    settlement
}

async fn body_is_kept(store: &Store, accepted: &Accepted) -> bool {
    let kept = store.request_body(accepted.request).await.unwrap().is_some();
    if let Some(request) = store.request(accepted.request).await.unwrap() {
        assert_eq!(request.body_kept, kept);
    }
    kept
}

/// Whether all of it is kept, or nothing of it.
async fn record_is_kept(store: &Store, accepted: &Accepted) -> bool {
    let kept = store.request(accepted.request).await.unwrap().is_some();
    for (event, _) in &accepted.events {
        assert_eq!(store.event(*event).await.unwrap().is_some(), kept);
    }
    let deliveries = deliveries_of(store, accepted.request).await;
    assert_eq!(deliveries.len(), if kept { accepted.owed.len() } else { 0 });
    for owed in accepted.owed.iter().filter(|_| !kept) {
        assert!(store.attempts(owed.id).await.unwrap().is_empty());
    }
    kept
}

pub async fn nothing_owed_is_ever_pruned(subject: &Subject) {
    let store = subject.open();
    let untouched = accept(&store, "wamid.A").await;
    let mut half = request([message("wamid.B")]);
    half.deliveries.push(whole("crm"));
    let half = store.accept(half).await.unwrap();
    store.settle(delivered(half.owed[0].id)).await.unwrap();
    let failing = accept(&store, "wamid.C").await;
    store.settle(retry(failing.owed[0].id, days(1))).await.unwrap();
    let nothing = Duration::ZERO;
    let at_once = Retention {
        delivered_bodies: nothing,
        records: nothing,
        dead: nothing,
        quarantined: nothing,
        keys: nothing,
    };
    for now in [NOON, days(1), days(366), UnixMillis(i64::MAX), UnixMillis(i64::MIN), UnixMillis(0)] {
        for retention in [at_once, Retention::default()] {
            assert_eq!(prune_with(&store, now, retention, 2).await, Pruned::default());
        }
    }
    for accepted in [&untouched, &half, &failing] {
        assert!(record_is_kept(&store, accepted).await && body_is_kept(&store, accepted).await);
    }
    assert_eq!(owed(&store, "inbox").await.len(), 2);
    assert_eq!(owed(&store, "crm").await.len(), 1);
    assert_eq!(store.attempts(failing.owed[0].id).await.unwrap().len(), 1);
    for wamid in ["wamid.A", "wamid.B", "wamid.C"] {
        assert!(accept(&store, wamid).await.is_duplicate(), "its key was pruned");
    }
}

pub async fn a_delivered_body_goes_after_its_time_and_its_record_later(subject: &Subject) {
    let store = subject.open();
    let accepted = accept(&store, "wamid.A").await;
    store.settle(at(days(1), delivered(accepted.owed[0].id))).await.unwrap();
    assert_eq!(prune(&store, UnixMillis(days(4).0 - 1)).await, Pruned::default());
    assert!(body_is_kept(&store, &accepted).await);
    assert_eq!(prune(&store, days(4)).await, Pruned { bodies: 1, ..Pruned::default() });
    assert!(!body_is_kept(&store, &accepted).await && record_is_kept(&store, &accepted).await);
    assert_eq!(prune(&store, days(31).minus(HOUR * 7)).await, Pruned::default());
    assert!(record_is_kept(&store, &accepted).await);
    assert_eq!(prune(&store, days(31)).await, Pruned { records: 1, keys: 1, ..Pruned::default() });
    assert!(!record_is_kept(&store, &accepted).await);
    assert!(all(&store, EventFilter::default()).await.is_empty());
}

pub async fn a_body_goes_at_once_where_that_is_asked_for(subject: &Subject) {
    let store = subject.open();
    let at_once = Retention { delivered_bodies: Duration::ZERO, ..Retention::default() };
    let mut two = request([message("wamid.A")]);
    two.deliveries.push(whole("crm"));
    let two = store.accept(two).await.unwrap();
    let others: Vec<_> = (0..40).map(|n| format!("wamid.{n}")).collect();
    let mut waiting = Vec::new();
    for wamid in &others {
        waiting.push(accept(&store, wamid).await);
    }
    let last = waiting.pop().unwrap();
    let now = NOON.plus(HOUR);
    // A pass is under way, and gets nowhere near the last one.
    assert!(store.prune(Prune { now, retention: at_once, steps: 1 }).await.unwrap().more);
    store.settle(delivered(two.owed[0].id)).await.unwrap();
    store.settle(delivered(last.owed[0].id)).await.unwrap();
    assert_eq!(store.prune(Prune { now, retention: at_once, steps: 1 }).await.unwrap().bodies, 1);
    assert!(!body_is_kept(&store, &last).await && record_is_kept(&store, &last).await);
    assert!(body_is_kept(&store, &two).await, "the other receiver does not have it yet");
    store.settle(delivered(two.owed[1].id)).await.unwrap();
    assert_eq!(store.prune(Prune { now, retention: at_once, steps: 1 }).await.unwrap().bodies, 1);
    assert!(!body_is_kept(&store, &two).await);
    // What an operator discarded is done with as well.
    store.discard(act_on(waiting[30].owed[0].id, now)).await.unwrap();
    assert_eq!(store.prune(Prune { now, retention: at_once, steps: 1 }).await.unwrap().bodies, 1);
    assert!(!body_is_kept(&store, &waiting[30]).await);
    // After a restart nobody remembers what was just settled; a pass finds it.
    store.settle(delivered(waiting[20].owed[0].id)).await.unwrap();
    drop(store);
    let store = subject.open();
    assert_eq!(prune_with(&store, now, at_once, 3).await.bodies, 1);
    assert!(!body_is_kept(&store, &waiting[20]).await && body_is_kept(&store, &waiting[21]).await);
}

pub async fn bodies_that_go_at_once_hold_nothing_else_up(subject: &Subject) {
    let store = subject.open();
    let retention = Retention { delivered_bodies: Duration::ZERO, ..Retention::default() };
    let settled = |moment, wamid: String| {
        let store = &store;
        async move {
            let accept = Accept { received_at: moment, ..request([message(&wamid)]) };
            let accepted = store.accept(accept).await.unwrap();
            store.settle(at(moment, delivered(accepted.owed[0].id))).await.unwrap();
            accepted
        }
    };
    // There is always a body just settled, while records come of age one after the other.
    for day in 0..40 {
        for n in 0..3 {
            let accepted = settled(days(day), format!("wamid.{day}.{n}")).await;
            store.prune(Prune { now: days(day), retention, steps: 10 }).await.unwrap();
            assert!(!body_is_kept(&store, &accepted).await);
        }
    }
    let kept = all(&store, EventFilter::default()).await.len();
    assert!((90..100).contains(&kept), "{kept} of the last 30 days");
}

pub async fn a_dead_delivery_keeps_all_of_its_request_for_its_time(subject: &Subject) {
    let store = subject.open();
    let retention = Retention { records: DAY * 2, dead: DAY * 10, ..Retention::default() };
    let mut two = request([message("wamid.A")]);
    two.deliveries.push(whole("crm"));
    let two = store.accept(two).await.unwrap();
    store.settle(delivered(two.owed[0].id)).await.unwrap();
    store.settle(at(days(1), dead(two.owed[1].id))).await.unwrap();
    assert_eq!(prune_with(&store, days(11).minus(HOUR * 7), retention, 1).await, Pruned::default());
    assert!(body_is_kept(&store, &two).await && record_is_kept(&store, &two).await);
    assert_eq!(store.stats().await.unwrap().dead, [("crm".into(), 1)]);
    let pruned = prune_with(&store, days(11), retention, 1).await;
    assert_eq!((pruned.bodies + pruned.records, pruned.keys), (2, 1));
    assert!(!record_is_kept(&store, &two).await && !body_is_kept(&store, &two).await);
    assert!(store.stats().await.unwrap().dead.is_empty(), "the count follows");
    let filter = EventFilter { state: Some(DeliveryState::Dead), ..EventFilter::default() };
    assert!(all(&store, filter).await.is_empty());

    // Dead ones go in their time where other records stay.
    let retention = Retention { dead: DAY, ..Retention::default() };
    let one = accept(&store, "wamid.B").await;
    store.settle(dead(one.owed[0].id)).await.unwrap();
    assert_eq!(prune_with(&store, days(2), retention, 1).await.records, 1);
    assert!(!record_is_kept(&store, &one).await);
}

pub async fn what_was_replayed_is_owed_and_stays(subject: &Subject) {
    let store = subject.open();
    let (done, buried) = (accept(&store, "wamid.A").await, accept(&store, "wamid.B").await);
    store.settle(delivered(done.owed[0].id)).await.unwrap();
    store.settle(dead(buried.owed[0].id)).await.unwrap();
    for accepted in [&done, &buried] {
        store.replay(act_on(accepted.owed[0].id, days(2))).await.unwrap();
    }
    assert_eq!(prune(&store, days(400)).await, Pruned::default());
    for accepted in [&done, &buried] {
        assert!(record_is_kept(&store, accepted).await && body_is_kept(&store, accepted).await);
    }
    assert_eq!(owed(&store, "inbox").await.len(), 2);
    // Ages count from the second end, not the first.
    let turn = store.delivery(done.owed[0].id).await.unwrap().unwrap().delivery.owed.turn;
    store.settle(at(days(400), Settlement { turn, ..delivered(done.owed[0].id) })).await.unwrap();
    assert_eq!(prune(&store, days(402)).await, Pruned::default());
    assert_eq!(prune(&store, days(403)).await.bodies, 1);
}

pub async fn what_nobody_was_owed_goes_with_the_records(subject: &Subject) {
    let store = subject.open();
    let first = accept(&store, "wamid.A").await;
    let duplicate = accept(&store, "wamid.A").await;
    let empty = store.accept(request([])).await.unwrap();
    let nobodys =
        store.accept(Accept { deliveries: vec![], ..request([account_change("x")]) }).await.unwrap();
    assert_eq!(prune(&store, UnixMillis(days(30).0 - 1)).await, Pruned::default());
    assert!(body_is_kept(&store, &empty).await && body_is_kept(&store, &nobodys).await);
    assert_eq!(prune(&store, days(30)).await.records, 3);
    for accepted in [&duplicate, &empty, &nobodys] {
        assert!(!record_is_kept(&store, accepted).await && !body_is_kept(&store, accepted).await);
    }
    assert!(record_is_kept(&store, &first).await && body_is_kept(&store, &first).await);
}

pub async fn keys_outlive_their_window_and_their_events(subject: &Subject) {
    let store = subject.open();
    // Records that go earlier than the window ends leave their keys behind.
    let retention = Retention { records: DAY, dead: DAY, ..Retention::default() };
    let accept = |received_at| Accept {
        received_at,
        deliveries: vec![single("inbox", 0)],
        ..request([message("wamid.A"), account_change("x"), status("wamid.A", "read")])
    };
    let first = store.accept(accept(NOON)).await.unwrap();
    store.settle(delivered(first.owed[0].id)).await.unwrap();
    let pruned = prune_with(&store, days(2), retention, 1).await;
    assert_eq!((pruned.records, pruned.keys), (1, 0));
    let again = store.accept(accept(days(7))).await.unwrap();
    assert!(again.is_duplicate(), "{again:?}");
    assert_eq!(again.events[0].1, Some(first.events[0].0));
    assert_eq!(prune_with(&store, days(7).plus(HOUR * 12), retention, 1).await, Pruned::default());
    let pruned = prune_with(&store, days(9), retention, 1).await;
    assert_eq!((pruned.records, pruned.keys), (1, 3));
    let anew = store.accept(accept(days(9))).await.unwrap();
    assert!(anew.events.iter().all(|(_, repeats)| repeats.is_none()));

    // A key whose event is still there stays, however old it is.
    let kept = Retention { records: DAY * 400, dead: DAY * 400, ..Retention::default() };
    assert_eq!(prune_with(&store, days(100), kept, 1).await.keys, 0);
    let filter = EventFilter { wamid: Some("wamid.A".to_owned()), ..EventFilter::default() };
    assert_eq!(all(&store, filter).await.len(), 2);
}

pub async fn a_step_is_small_and_a_pass_gets_through(subject: &Subject) {
    let store = subject.open();
    for n in 0..60 {
        let accepted = accept(&store, &format!("wamid.{n}")).await;
        if n % 3 != 0 {
            store.settle(delivered(accepted.owed[0].id)).await.unwrap();
        }
    }
    let mut calls = 0;
    let mut sum = 0;
    loop {
        let prune = Prune { now: days(4), retention: Retention::default(), steps: 7 };
        let pruned = store.prune(prune).await.unwrap();
        assert!(pruned.bodies <= 7);
        sum += pruned.bodies;
        calls += 1;
        if !pruned.more {
            break;
        }
    }
    assert_eq!(sum, 40);
    assert!((6..40).contains(&calls), "{calls}");
    assert_eq!(owed(&store, "inbox").await.len(), 20);
    // With nothing to do, nothing is written.
    let before = store.writer_stats().commits;
    assert_eq!(prune(&store, days(4)).await, Pruned::default());
    assert_eq!(store.writer_stats().commits, before);
}

pub async fn clocks_that_step_neither_lose_nor_keep_for_ever(subject: &Subject) {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let clock = Clock::manual(NOON);
    let store = subject.open_with(Opening { clock: clock.clone(), ..Opening::default() });
    let at_moment =
        |moment: UnixMillis, wamid: &str| Accept { received_at: moment, ..request([message(wamid)]) };
    // The clock goes a year ahead for a while: identifiers follow it and cannot go back.
    let ahead = store.accept(at_moment(NOON.plus(YEAR), "wamid.A")).await.unwrap();
    let owed_ahead = store.accept(at_moment(NOON.plus(YEAR), "wamid.B")).await.unwrap();
    let back = store.accept(at_moment(NOON, "wamid.C")).await.unwrap();
    let owed_back = store.accept(at_moment(NOON.minus(HOUR), "wamid.D")).await.unwrap();
    assert!(back.request > ahead.request);
    store.settle(at(NOON.plus(YEAR), delivered(ahead.owed[0].id))).await.unwrap();
    store.settle(at(NOON, delivered(back.owed[0].id))).await.unwrap();
    assert_eq!(prune(&store, days(2)).await, Pruned::default());
    // What was accepted after it came back goes in its time, although its identifiers are a year ahead.
    assert_eq!(prune(&store, days(3)).await.bodies, 1);
    assert_eq!(prune(&store, days(30)).await.records, 1);
    assert!(!record_is_kept(&store, &back).await && record_is_kept(&store, &ahead).await);
    assert_eq!(prune(&store, NOON.plus(YEAR).plus(DAY * 30)).await.records, 1);
    for accepted in [&owed_ahead, &owed_back] {
        assert!(record_is_kept(&store, accepted).await && body_is_kept(&store, accepted).await);
    }
}

pub async fn identifiers_of_what_was_pruned_are_not_used_again(subject: &Subject) {
    let store = subject.open();
    let accepted = accept(&store, "wamid.A").await;
    let delivery = accepted.owed[0].id;
    store.settle(delivered(delivery)).await.unwrap();
    assert_eq!(prune(&store, days(40)).await.records, 1);
    drop(store);
    let store = subject.open();
    let next = accept(&store, "wamid.B").await;
    assert!(DeliveryId(next.request.0) > delivery, "{next:?} after {accepted:?}");
}

pub async fn what_is_pruned_makes_room(subject: &Subject) {
    let store = subject.open_with(Opening { bytes_max: Some(2 * 1024 * 1024), ..Opening::default() });
    let large =
        |n: usize| Accept { body: vec![b'x'; 50_000].into(), ..request([message(&format!("wamid.{n}"))]) };
    let mut deliveries = Vec::new();
    let refused = 'refused: {
        for n in 0..2_000 {
            match store.accept(large(n)).await {
                Ok(accepted) => deliveries.push(accepted.owed[0].id),
                Err(error) => break 'refused Some(error),
            }
            // The budget is looked at every so often: let a moment pass once it is reached.
            if store.stats().await.unwrap().used_bytes > 2 * 1024 * 1024 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        None
    };
    assert!(matches!(refused, Some(StoreError::OverBudget)), "{refused:?}");
    assert!(store.writer_stats().over_budget && store.writer_stats().healthy);
    // Everything else goes on: settlements, probes, upstreams, reading, pruning.
    settle_all(&store, deliveries.iter().map(|id| delivered(*id)).collect()).await;
    store.probe_write().await.unwrap();
    assert!(matches!(store.accept(large(9_999)).await, Err(StoreError::OverBudget)));
    assert_eq!(prune(&store, days(4)).await.bodies, deliveries.len() as u64);
    for _ in 0..500 {
        match store.accept(large(9_999)).await {
            Ok(accepted) => {
                assert!(!accepted.is_duplicate());
                assert!(!store.writer_stats().over_budget);
                return;
            }
            Err(error) => assert!(matches!(error, StoreError::OverBudget), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never accepts again");
}

pub async fn too_little_free_space_refuses_accepts_alone(subject: &Subject) {
    let store = subject.open();
    let delivery = accept(&store, "wamid.A").await.owed[0].id;
    drop(store);
    let store = subject.open_with(Opening { free_bytes_min: u64::MAX, ..Opening::default() });
    let refused = store.accept(request([message("wamid.B")])).await.unwrap_err();
    assert_eq!(refused.code(), "store_over_budget");
    assert!(store.writer_stats().over_budget);
    store.settle(delivered(delivery)).await.unwrap();
    assert_eq!(prune(&store, days(40)).await.records, 1);
    drop(store);
    let store = subject.open();
    assert!(!store.writer_stats().over_budget);
    assert!(!accept(&store, "wamid.B").await.is_duplicate());
}
