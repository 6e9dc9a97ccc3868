//! What operators do to deliveries and destinations.

use std::time::Duration;

use waypost_domain::{DeliveryId, DeliveryState, UnixMillis};

use super::samples::{
    act_on, acts, dead, delivered, due, message, name, owed, request, retry, settle_all, single, together,
    whole,
};
use super::{NOON, Subject};
use crate::{
    ActKind, ActOn, ActOutcome, ActPage, ActSubject, DeliveryFilter, OwedDelivery, OwedPage, Pause,
    PausedDestination, Prune, Retention, Selection, Settlement, Store,
};

async fn accept_one(store: &Store, wamid: &str) -> OwedDelivery {
    store.accept(request([message(wamid)])).await.unwrap().owed.remove(0)
}

async fn state(store: &Store, id: DeliveryId) -> DeliveryState {
    store.delivery(id).await.unwrap().unwrap().delivery.state
}

/// One delivery in each state.
async fn one_of_each(store: &Store) -> [(DeliveryState, DeliveryId); 4] {
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(accept_one(store, &format!("each.{n}")).await.id);
    }
    store.settle(delivered(ids[1])).await.unwrap();
    store.settle(dead(ids[2])).await.unwrap();
    store.discard(act_on(ids[3])).await.unwrap();
    use DeliveryState::{Dead, Delivered, Discarded, Owed};
    [(Owed, ids[0]), (Delivered, ids[1]), (Dead, ids[2]), (Discarded, ids[3])]
}

fn matching(filter: DeliveryFilter, at_most: u64) -> ActOn {
    ActOn { selection: Selection::Matching { filter, after: None, at_most }, ..act_on(DeliveryId(0)) }
}

fn one(id: DeliveryId) -> ActOutcome {
    ActOutcome { changed: vec![id], count: 1, ..ActOutcome::default() }
}

pub async fn only_owed_and_dead_ones_are_discarded(subject: &Subject) {
    let store = subject.open();
    for (before, id) in one_of_each(&store).await {
        let may = matches!(before, DeliveryState::Owed | DeliveryState::Dead);
        let earlier = acts(&store).await.len();
        let outcome = store.discard(act_on(id)).await.unwrap();
        assert_eq!(outcome, if may { one(id) } else { ActOutcome::default() }, "{before}");
        assert_eq!(acts(&store).await.len() - earlier, usize::from(may));
        let after = if may { DeliveryState::Discarded } else { before };
        assert_eq!(state(&store, id).await, after);
        if may {
            let detail = store.delivery(id).await.unwrap().unwrap();
            assert_eq!(detail.delivery.settled_at, Some(act_on(id).at));
        }
    }
    assert!(owed(&store, "inbox").await.is_empty());
    let stats = store.stats().await.unwrap();
    assert!(stats.owed.is_empty() && stats.dead.is_empty());
    assert_eq!(store.discard(act_on(DeliveryId(5))).await.unwrap(), ActOutcome::default());
}

pub async fn only_what_has_ended_is_replayed(subject: &Subject) {
    let store = subject.open();
    for (before, id) in one_of_each(&store).await {
        let may = before != DeliveryState::Owed;
        let outcome = store.replay(act_on(id)).await.unwrap();
        assert_eq!(outcome, if may { one(id) } else { ActOutcome::default() }, "{before}");
        assert_eq!(state(&store, id).await, DeliveryState::Owed);
    }
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.owed[0].1, stats.dead.len()), (4, 0));
}

pub async fn a_replay_starts_anew_and_keeps_what_was(subject: &Subject) {
    let store = subject.open();
    let delivery = accept_one(&store, "wamid.A").await;
    let due_at = UnixMillis(NOON.0 + 5_000);
    store.settle(Settlement { overtaken: true, ..retry(delivery.id, due_at) }).await.unwrap();
    store.settle(dead(delivery.id)).await.unwrap();
    let earlier = store.attempts(delivery.id).await.unwrap();
    let body = store.request_body(delivery.request).await.unwrap().unwrap();

    let at = UnixMillis(NOON.0 + 86_400_000);
    store.replay(ActOn { at, ..act_on(delivery.id) }).await.unwrap();
    let found = owed(&store, "inbox").await.remove(0);
    let turn = found.turn;
    assert!(turn > delivery.turn);
    assert_eq!(found, OwedDelivery { turn, due_at: at, accepted_at: at, ..delivery.clone() });
    let detail = store.delivery(delivery.id).await.unwrap().unwrap();
    assert_eq!((detail.received_at, detail.delivery.settled_at), (NOON, None));
    assert_eq!(store.request_body(delivery.request).await.unwrap().unwrap().body, body.body);
    // It has not failed yet, so that it is not among what is due again.
    assert!(due(&store, "inbox", UnixMillis(i64::MAX)).await.is_empty());
    assert_eq!(store.attempts(delivery.id).await.unwrap(), earlier);

    let failed = Settlement { turn, ..retry(delivery.id, UnixMillis(at.0 + 1)) };
    store.settle(failed).await.unwrap();
    assert_eq!(owed(&store, "inbox").await[0].attempts, 1);
    assert_eq!(store.attempts(delivery.id).await.unwrap().len(), 3);
}

pub async fn a_replay_takes_its_turn_after_all_that_is_owed(subject: &Subject) {
    let store = subject.open();
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(accept_one(&store, &format!("wamid.{n}")).await.id);
    }
    settle_all(&store, vec![delivered(ids[0]), dead(ids[1]), dead(ids[3])]).await;
    let dead_ones = DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
    store.replay(act_on(ids[0])).await.unwrap();
    let outcome = store.replay(matching(dead_ones, 10)).await.unwrap();
    assert_eq!(outcome.changed, [ids[1], ids[3]]);
    ids.push(accept_one(&store, "wamid.6").await.id);
    let expected: Vec<_> = [2, 4, 5, 0, 1, 3, 6].map(|place: usize| ids[place]).into();
    drop(store);

    let store = subject.open();
    ids.push(accept_one(&store, "wamid.7").await.id);
    let expected = [expected, vec![ids[7]]].concat();
    let (mut found, mut after) = (Vec::new(), None);
    while found.len() < expected.len() {
        let page = store.owed(OwedPage { destination: name("inbox"), after, limit: 2 }).await.unwrap();
        assert!(!page.is_empty());
        assert!(page.iter().all(|owed| after.is_none_or(|after| owed.turn > after)));
        after = page.last().map(|owed| owed.turn);
        found.extend(page.into_iter().map(|owed| owed.id));
    }
    assert_eq!(found, expected);
    // And once more.
    let turn = store.delivery(ids[0]).await.unwrap().unwrap().delivery.owed.turn;
    store.settle(Settlement { turn, ..delivered(ids[0]) }).await.unwrap();
    store.replay(act_on(ids[0])).await.unwrap();
    assert_eq!(owed(&store, "inbox").await.last().unwrap().id, ids[0]);
}

pub async fn turns_are_never_used_again(subject: &Subject) {
    let mut last = 0;
    for _ in 0..3 {
        let store = subject.open();
        let wamid = format!("wamid.{last}");
        let accepted = store.accept(request([message(&wamid)])).await.unwrap();
        assert!(accepted.request.0 > last);
        store.settle(delivered(accepted.owed[0].id)).await.unwrap();
        store.replay(act_on(accepted.owed[0].id)).await.unwrap();
        last = owed(&store, "inbox").await.last().unwrap().turn.0;
        assert!(last > accepted.owed[0].id.0);
    }
}

pub async fn a_replay_needs_the_body(subject: &Subject) {
    let store = subject.open();
    let gone = accept_one(&store, "wamid.A").await.id;
    store.settle(delivered(gone)).await.unwrap();
    let retention = Retention { delivered_bodies: Duration::ZERO, ..Retention::default() };
    let now = UnixMillis(NOON.0 + 60_000);
    for _ in 0..100 {
        if !store.prune(Prune { now, retention, steps: 100 }).await.unwrap().more {
            break;
        }
    }
    let kept = accept_one(&store, "wamid.B").await.id;
    store.settle(delivered(kept)).await.unwrap();
    assert!(!store.delivery(gone).await.unwrap().unwrap().body_kept);
    for plan in [true, false] {
        let on = ActOn { plan, ..matching(DeliveryFilter::default(), 10) };
        let outcome = store.replay(on).await.unwrap();
        assert_eq!((outcome.count, outcome.without_body, outcome.more()), (1, 1, false), "{plan}");
    }
    assert_eq!(state(&store, gone).await, DeliveryState::Delivered);
    assert_eq!(state(&store, kept).await, DeliveryState::Owed);
    assert_eq!(acts(&store).await.len(), 1);
}

pub async fn a_retry_is_due_now_with_its_attempts_kept(subject: &Subject) {
    let store = subject.open();
    let all = one_of_each(&store).await;
    let far = UnixMillis(NOON.0 + 3_600_000);
    store.settle(retry(all[0].1, far)).await.unwrap();
    let before = owed(&store, "inbox").await.remove(0);
    assert!(due(&store, "inbox", act_on(before.id).at).await.is_empty());
    for (found, id) in all {
        let may = found == DeliveryState::Owed;
        let outcome = store.retry(act_on(id)).await.unwrap();
        assert_eq!(outcome, if may { one(id) } else { ActOutcome::default() });
        assert_eq!(state(&store, id).await, found);
    }
    let at = act_on(before.id).at;
    let expected = OwedDelivery { due_at: at, ..before.clone() };
    assert_eq!(expected.attempts, 1);
    assert_eq!(due(&store, "inbox", at).await, std::slice::from_ref(&expected));
    // It is never put off.
    store.retry(ActOn { at: far, ..act_on(before.id) }).await.unwrap();
    assert_eq!(owed(&store, "inbox").await, [expected]);
}

pub async fn a_plan_counts_and_changes_nothing(subject: &Subject) {
    let store = subject.open();
    let all = one_of_each(&store).await;
    let before = acts(&store).await;
    let plan = |at_most| ActOn { plan: true, ..matching(DeliveryFilter::default(), at_most) };
    for (outcome, count) in [
        (store.discard(plan(10)).await.unwrap(), 2),
        (store.replay(plan(10)).await.unwrap(), 3),
        (store.retry(plan(10)).await.unwrap(), 1),
    ] {
        assert_eq!(outcome, ActOutcome { count, ..ActOutcome::default() });
    }
    let outcome = store.replay(plan(2)).await.unwrap();
    assert_eq!((outcome.count, outcome.more()), (2, true));
    assert_eq!(store.replay(ActOn { plan: true, ..act_on(all[0].1) }).await.unwrap().count, 0);
    for (found, id) in all {
        assert_eq!(state(&store, id).await, found);
    }
    assert_eq!(acts(&store).await, before);
}

pub async fn an_act_on_many_goes_so_far_and_can_be_gone_on_with(subject: &Subject) {
    let store = subject.open();
    let mut all = Vec::new();
    for round in 0..2_u32 {
        let events: Vec<_> = (0..700).map(|n| message(&format!("wamid.{round}.{n}"))).collect();
        let mut accept = request(events);
        accept.deliveries = (0..700).map(|place| single("crm", place)).collect();
        all.extend(store.accept(accept).await.unwrap().owed.into_iter().map(|owed| owed.id));
    }
    settle_all(&store, all.iter().map(|id| delivered(*id)).collect()).await;
    // The other destination's, and what is owed already, is left alone.
    let other = accept_one(&store, "wamid.other").await.id;
    let filter = DeliveryFilter { destination: Some("crm".to_owned()), ..DeliveryFilter::default() };
    let (mut changed, mut after) = (Vec::new(), None);
    for (at_most, count, more) in [(0, 0, false), (1, 1, true), (999, 999, true), (400, 400, false)] {
        let selection = Selection::Matching { filter: filter.clone(), after, at_most };
        let outcome = store.replay(ActOn { selection, ..act_on(other) }).await.unwrap();
        assert_eq!((outcome.count, outcome.more(), outcome.without_body), (count, more, 0), "{at_most}");
        changed.extend(outcome.changed);
        after = outcome.next;
    }
    assert_eq!(changed, all);
    let found: Vec<_> = owed(&store, "crm").await.into_iter().map(|owed| owed.id).collect();
    assert_eq!(found, all);
    assert_eq!(state(&store, other).await, DeliveryState::Owed);
    assert_eq!(store.stats().await.unwrap().owed[0].1, 1_400);
    // Beyond a limit they are counted and not named.
    let outcome = store.discard(matching(filter, u64::MAX)).await.unwrap();
    assert_eq!((outcome.count, outcome.changed, outcome.next), (1_400, all[..1_000].to_vec(), None));
}

pub async fn acts_and_settlements_at_once_leave_nothing_by_half(subject: &Subject) {
    let store = subject.open();
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(accept_one(&store, &format!("wamid.{n}")).await.id);
    }
    let work = ids.iter().flat_map(|id| (0..4).map(|what| (*id, what))).map(|(id, what)| {
        let store = store.clone();
        async move {
            match what {
                0 => store.settle(delivered(id)).await.map(|()| 0),
                1 => store.replay(act_on(id)).await.map(|outcome| outcome.count),
                2 => store.discard(act_on(id)).await.map(|outcome| outcome.count),
                _ => store.retry(act_on(id)).await.map(|outcome| outcome.count),
            }
            .unwrap()
        }
    });
    let done: u64 = together(work).await.into_iter().sum();
    assert_eq!(acts(&store).await.len() as u64, done);
    let mut owed_ones = 0;
    for id in ids {
        owed_ones += u64::from(state(&store, id).await == DeliveryState::Owed);
    }
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.owed.first().map_or(0, |owed| owed.1), owed_ones);
    assert_eq!(owed(&store, "inbox").await.len() as u64, owed_ones);
}

pub async fn acts_are_recorded_with_who_and_when(subject: &Subject) {
    let store = subject.open();
    let id = accept_one(&store, "wamid.A").await.id;
    let other = accept_one(&store, "wamid.B").await.id;
    let by = |who: &str, seconds: i64, note: Option<&str>| ActOn {
        who: who.into(),
        at: UnixMillis(NOON.0 + seconds * 1_000),
        note: note.map(Into::into),
        ..act_on(id)
    };
    store.retry(by("uid 0", 1, None)).await.unwrap();
    store.discard(by("token ops", 2, Some("asked for\nby \u{1f9d1}"))).await.unwrap();
    store.discard(by("late", 3, None)).await.unwrap();
    store.replay(by("uid 1000", 4, None)).await.unwrap();
    store.retry(act_on(other)).await.unwrap();
    let pause =
        Pause { destination: name("inbox"), who: "uid 7".into(), at: NOON, note: Some("moving".into()) };
    store.pause(pause).await.unwrap();
    drop(store);

    let store = subject.open();
    let found = acts(&store).await;
    let told: Vec<_> = found.iter().map(|act| (act.what.as_str(), &*act.who, act.note.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("pause", "uid 7", Some("moving")),
            ("retry", "a test", None),
            ("replay", "uid 1000", None),
            ("discard", "token ops", Some("asked for\nby \u{1f9d1}")),
            ("retry", "uid 0", None),
        ]
    );
    assert_eq!(found[0].subject, ActSubject::Destination(name("inbox")));
    assert_eq!(found[2].subject, ActSubject::Delivery(id));
    assert_eq!((found[2].at, found[2].what), (UnixMillis(NOON.0 + 4_000), ActKind::Replay));

    let mut paged = Vec::new();
    while paged.len() < found.len() {
        let before = paged.last().map(|act: &crate::ActRecord| act.id);
        paged.extend(store.acts(ActPage { delivery: None, event: None, before, limit: 2 }).await.unwrap());
    }
    assert_eq!(paged, found);
    let page = ActPage { delivery: Some(id), event: None, before: None, limit: 10 };
    assert_eq!(store.acts(page).await.unwrap(), found[2..]);
    let rest = ActPage { before: Some(found[2].id), ..page };
    assert_eq!(store.acts(rest).await.unwrap(), found[3..]);
}

pub async fn a_pause_lasts_until_it_is_ended(subject: &Subject) {
    let pause = |destination: &str, who: &str, seconds: i64| Pause {
        destination: destination.into(),
        who: who.into(),
        at: UnixMillis(NOON.0 + seconds * 1_000),
        note: None,
    };
    let store = subject.open();
    assert!(store.paused().await.unwrap().is_empty());
    assert!(!store.resume(pause("inbox", "ann", 0)).await.unwrap());
    assert!(store.pause(pause("inbox", "ann", 1)).await.unwrap());
    assert!(store.pause(pause("crm", "bob", 2)).await.unwrap());
    assert!(!store.pause(pause("inbox", "bob", 3)).await.unwrap());
    // It changes no delivery.
    let delivery = accept_one(&store, "wamid.A").await;
    assert_eq!(owed(&store, "inbox").await, [delivery]);
    drop(store);

    let store = subject.open();
    let paused = |destination: &str, who: &str, seconds: i64| PausedDestination {
        destination: destination.into(),
        since: UnixMillis(NOON.0 + seconds * 1_000),
        who: who.into(),
    };
    assert_eq!(store.paused().await.unwrap(), [paused("crm", "bob", 2), paused("inbox", "ann", 1)]);
    assert!(store.resume(pause("inbox", "bob", 4)).await.unwrap());
    assert!(!store.resume(pause("inbox", "bob", 5)).await.unwrap());
    assert_eq!(store.paused().await.unwrap(), [paused("crm", "bob", 2)]);
    assert!(store.pause(pause("inbox", "bob", 6)).await.unwrap());
    assert_eq!(store.paused().await.unwrap()[1], paused("inbox", "bob", 6));
    let kinds: Vec<_> = acts(&store).await.into_iter().map(|act| act.what).collect();
    assert_eq!(kinds, [ActKind::Pause, ActKind::Resume, ActKind::Pause, ActKind::Pause]);
}

pub async fn whole_deliveries_and_single_ones_are_acted_on_alike(subject: &Subject) {
    let store = subject.open();
    let mut accept = request([message("wamid.A"), message("wamid.B")]);
    accept.deliveries = vec![whole("inbox"), single("crm", 0), single("crm", 1)];
    store.accept(accept).await.unwrap();
    let filter = DeliveryFilter { wamid: Some("wamid.B".to_owned()), ..DeliveryFilter::default() };
    assert_eq!(store.discard(matching(filter.clone(), 10)).await.unwrap().count, 2);
    assert_eq!(owed(&store, "crm").await.len(), 1);
    assert_eq!(store.replay(matching(filter, 10)).await.unwrap().count, 2);
    assert_eq!(owed(&store, "crm").await.len(), 2);
}

pub async fn acts_go_with_what_they_were_done_to(subject: &Subject) {
    let store = subject.open();
    let ids = [accept_one(&store, "wamid.A").await.id, accept_one(&store, "wamid.B").await.id];
    store.discard(act_on(ids[0])).await.unwrap();
    store.retry(act_on(ids[1])).await.unwrap();
    let pause = Pause { destination: name("inbox"), who: name("ops"), at: NOON, note: None };
    assert!(store.pause(pause).await.unwrap());
    let day = Duration::from_secs(24 * 60 * 60);
    let pass = async |days: u32| {
        for call in 0.. {
            assert!(call < 1_000, "a pass that never ends");
            let prune = Prune { now: NOON.plus(day * days), retention: Retention::default(), steps: 10 };
            if !store.prune(prune).await.unwrap().more {
                break;
            }
        }
    };
    pass(20).await;
    assert_eq!(acts(&store).await.len(), 3);
    for days in [40, 41] {
        pass(days).await;
    }
    // What is owed keeps its acts; a destination is paused for as long as it is, whatever became of the act.
    let left: Vec<_> = acts(&store).await.into_iter().map(|act| act.subject).collect();
    assert_eq!(left, [ActSubject::Delivery(ids[1])]);
    assert_eq!(store.paused().await.unwrap().len(), 1);
}
