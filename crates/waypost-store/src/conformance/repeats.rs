//! Accepted once: identity keys and what they suppress.

use std::time::Duration;

use waypost_domain::{Clock, UnixMillis};

use super::samples::{account_change, all, message, owed, request, single, status, together, whole};
use super::{NOON, Opening, Subject};
use crate::{Accept, EventFilter};

const WINDOW: Duration = Duration::from_secs(60);

pub async fn a_repeat_is_owed_to_nobody(subject: &Subject) {
    let store = subject.open();
    let first = store.accept(request([message("wamid.A")])).await.unwrap();
    let second = store.accept(request([message("wamid.A")])).await.unwrap();
    assert!(second.is_duplicate());
    assert_eq!(second.events[0].1, Some(first.events[0].0));
    assert!(second.owed.is_empty());
    assert_eq!(owed(&store, "inbox").await, first.owed);

    // It is kept as evidence all the same, without the body that the first copy has.
    let record = store.request(second.request).await.unwrap().unwrap();
    assert!(!record.body_kept && record.body_bytes > 0);
    assert!(store.request_body(second.request).await.unwrap().is_none());
    let event = store.event(second.events[0].0).await.unwrap().unwrap();
    assert_eq!((event.repeats, event.deliveries.len()), (Some(first.events[0].0), 0));
    assert_eq!(event.event, message("wamid.A"));

    // A third one repeats the first, not the second.
    let third = store.accept(request([message("wamid.A")])).await.unwrap();
    assert_eq!(third.events[0].1, Some(first.events[0].0));
}

pub async fn of_many_at_once_exactly_one_is_new(subject: &Subject) {
    let store = subject.open();
    for round in 0..10 {
        let copies = (0..40).map(|_| {
            let store = store.clone();
            async move { store.accept(request([message(&format!("wamid.{round}"))])).await.unwrap() }
        });
        let accepted = together(copies).await;
        let new: Vec<_> = accepted.iter().filter(|accepted| !accepted.is_duplicate()).collect();
        assert_eq!(new.len(), 1);
        let first = new[0].events[0].0;
        assert!(accepted.iter().all(|accepted| accepted.events[0].1.unwrap_or(first) == first));
        assert_eq!(accepted.iter().map(|accepted| accepted.owed.len()).sum::<usize>(), 1);
    }
    assert_eq!(owed(&store, "inbox").await.len(), 10);
}

pub async fn a_key_twice_in_one_request_is_new_once(subject: &Subject) {
    let store = subject.open();
    let mut accept = request([message("wamid.A"), message("wamid.A")]);
    accept.deliveries = vec![single("crm", 0), single("crm", 1), whole("inbox")];
    let accepted = store.accept(accept).await.unwrap();
    assert!(!accepted.is_duplicate());
    let [(first, None), (_, Some(repeated))] = accepted.events[..] else { panic!("{accepted:?}") };
    assert_eq!(first, repeated);
    assert_eq!(accepted.owed.len(), 2);
    assert_eq!((accepted.owed[0].event, accepted.owed[1].event), (Some(first), None));
}

pub async fn a_partly_new_request_is_owed_whole(subject: &Subject) {
    let store = subject.open();
    let first = store.accept(request([message("wamid.A")])).await.unwrap();
    let second = store.accept(request([message("wamid.A"), message("wamid.B")])).await.unwrap();
    assert!(!second.is_duplicate());
    assert_eq!(second.events[0].1, Some(first.events[0].0));
    assert_eq!(second.events[1].1, None);
    assert_eq!(second.owed.len(), 1);
    assert!(store.request_body(second.request).await.unwrap().is_some());
}

pub async fn only_new_events_are_owed_by_themselves(subject: &Subject) {
    let store = subject.open();
    store.accept(request([message("wamid.A")])).await.unwrap();
    let mut accept = request([message("wamid.A"), message("wamid.B"), status("wamid.A", "read")]);
    accept.deliveries = vec![single("crm", 2), single("crm", 0), single("crm", 1)];
    let accepted = store.accept(accept).await.unwrap();
    let owed: Vec<_> = accepted.owed.iter().map(|owed| owed.event.unwrap()).collect();
    assert_eq!(owed, [accepted.events[2].0, accepted.events[1].0]);
}

pub async fn scopes_do_not_see_each_other(subject: &Subject) {
    let store = subject.open();
    let in_scope = |scope: &str| Accept { scope: scope.into(), ..request([message("wamid.A")]) };
    for scope in ["one", "two", "one/webhooks", ""] {
        assert!(!store.accept(in_scope(scope)).await.unwrap().is_duplicate(), "{scope}");
    }
    for scope in ["one", "two", "one/webhooks", ""] {
        assert!(store.accept(in_scope(scope)).await.unwrap().is_duplicate(), "{scope}");
    }
    // All are found by their message id, wherever they came in.
    let filter = EventFilter { wamid: Some("wamid.A".to_owned()), ..EventFilter::default() };
    assert_eq!(all(&store, filter).await.len(), 8);
}

pub async fn after_the_window_a_key_is_new_again(subject: &Subject) {
    let store = subject.open_with(Opening { dedupe_window: WINDOW, ..Opening::default() });
    let at = |at: UnixMillis| Accept {
        received_at: at,
        ..request([message("wamid.A"), account_change("acct:1")])
    };
    let first = store.accept(at(NOON)).await.unwrap();
    let last_moment = store.accept(at(NOON.plus(WINDOW))).await.unwrap();
    assert!(last_moment.is_duplicate());
    let again = store.accept(at(UnixMillis(NOON.plus(WINDOW).0 + 1))).await.unwrap();
    assert!(again.events.iter().all(|(_, repeats)| repeats.is_none()), "{again:?}");
    assert_eq!(again.owed.len(), 1);
    let after = store.accept(at(NOON.plus(WINDOW * 2))).await.unwrap();
    assert_eq!(after.events[0].1, Some(again.events[0].0));
    assert_eq!(after.events[1].1, Some(again.events[1].0));

    let filter = EventFilter { wamid: Some("wamid.A".to_owned()), ..EventFilter::default() };
    let found: Vec<_> = all(&store, filter).await.into_iter().map(|event| event.id).collect();
    let expected = [&after, &again, &last_moment, &first].map(|accepted| accepted.events[0].0);
    assert_eq!(found, expected);
}

pub async fn events_that_are_not_once_never_repeat(subject: &Subject) {
    let store = subject.open();
    for _ in 0..3 {
        let mut test = message("ABGGFlA5Fpa");
        test.once = false;
        let mut nameless = account_change("");
        nameless.once = false;
        let accepted = store.accept(request([test, nameless])).await.unwrap();
        assert!(accepted.events.iter().all(|(_, repeats)| repeats.is_none()));
        assert_eq!(accepted.owed.len(), 1);
    }
    let filter = EventFilter { wamid: Some("ABGGFlA5Fpa".to_owned()), ..EventFilter::default() };
    let found = all(&store, filter).await;
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|event| !event.event.once));
}

pub async fn keys_without_a_message_id_repeat_as_well(subject: &Subject) {
    let store = subject.open();
    assert!(!store.accept(request([account_change("acct:1")])).await.unwrap().is_duplicate());
    assert!(!store.accept(request([account_change("acct:2")])).await.unwrap().is_duplicate());
    for _ in 0..2 {
        assert!(store.accept(request([account_change("acct:1")])).await.unwrap().is_duplicate());
    }
}

pub async fn repeats_are_known_after_reopening(subject: &Subject) {
    let first = subject.open().accept(request([message("wamid.A")])).await.unwrap();
    // The clock may have stepped back meanwhile.
    let clock = Clock::manual(UnixMillis(NOON.0 - 3_600_000));
    let store = subject.open_with(Opening { clock: clock.clone(), ..Opening::default() });
    let again = Accept { received_at: clock.wall(), ..request([message("wamid.A")]) };
    assert_eq!(store.accept(again).await.unwrap().events[0].1, Some(first.events[0].0));
}
