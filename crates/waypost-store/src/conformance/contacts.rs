//! Which conversation an event belongs to: one person's is one, two persons' are never one.

use std::time::Duration;

use waypost_domain::{Lane, UnixMillis};

use super::samples::{all, delivered, group_event, message, owed, person, request, single, whole};
use super::{NOON, Subject};
use crate::{
    Accept, DeliveryFilter, DeliveryPage, EventFilter, NewContact, NewEvent, Prune, Retention, Store,
};

/// The conversation of a new message from this person, who has these identities.
async fn conversation(store: &Store, wamid: &str, contact: NewContact) -> String {
    let event = NewEvent { ..person(message(wamid), contact) };
    let accepted = store.accept(request([event])).await.unwrap();
    let kept = store.event(accepted.events[0].0).await.unwrap().unwrap();
    let name = kept.event.conversation.unwrap();
    let lanes = accepted.owed[0].lanes.as_slice();
    assert!(lanes.contains(&Lane::of(&name)), "{name}: {lanes:?}");
    name.into()
}

fn phone(phone: &str) -> NewContact {
    NewContact { number: "204".into(), phone: Some(phone.into()), ..NewContact::default() }
}

fn user(user: &str) -> NewContact {
    NewContact { number: "204".into(), user: Some(user.into()), ..NewContact::default() }
}

fn both(given: &str, number: &str) -> NewContact {
    NewContact { phone: Some(number.into()), ..user(given) }
}

fn was(contact: NewContact, former: &[&str]) -> NewContact {
    NewContact { former: former.iter().map(|former| (*former).into()).collect(), ..contact }
}

pub async fn what_one_source_says_of_people_binds_no_other(subject: &Subject) {
    let store = subject.open();
    let said = async |source: &str, wamid: &str, contact: NewContact| {
        let event = person(message(wamid), contact);
        let accept = Accept { source: source.into(), scope: source.into(), ..request([event]) };
        let accepted = store.accept(accept).await.unwrap();
        store.event(accepted.events[0].0).await.unwrap().unwrap().event.conversation.unwrap()
    };
    assert_eq!(&*said("acme", "wamid.1", phone("4911")).await, "204:4911");
    assert_eq!(&*said("acme", "wamid.2", phone("4922")).await, "204:4922");
    // Another tenant names the same number, and calls two people one.
    said("other", "wamid.3", both("US.evil", "4911")).await;
    said("other", "wamid.4", both("US.evil", "4922")).await;
    assert_eq!(&*said("acme", "wamid.5", phone("4911")).await, "204:4911");
    assert_eq!(&*said("acme", "wamid.6", phone("4922")).await, "204:4922");
    let filter = EventFilter {
        conversation: Some("204:4922".into()),
        source: Some("acme".into()),
        ..EventFilter::default()
    };
    let found = store.events(filter, crate::Page { before: None, limit: 10 }).await.unwrap();
    assert_eq!(found.events.len(), 2, "{found:?}");
}

pub async fn one_person_under_several_identities_is_one_conversation(subject: &Subject) {
    let store = subject.open();
    let everything = NewContact { parent: Some("US.ENT.1".into()), ..both("US.1", "4915") };
    for (n, contact) in [
        phone("4915"),
        both("US.1", "4915"),
        user("US.1"),
        everything.clone(),
        NewContact { user: None, phone: None, ..everything },
        phone("4915"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(conversation(&store, &format!("wamid.{n}"), contact).await, "204:4915", "{n}");
    }
    drop(store);
    let store = subject.open();
    assert_eq!(conversation(&store, "wamid.later", user("US.1")).await, "204:4915");
    // At another number the person is another one's contact.
    let elsewhere = NewContact { number: "999".into(), ..user("US.1") };
    assert_eq!(conversation(&store, "wamid.elsewhere", elsewhere).await, "999:US.1");
}

pub async fn a_number_that_was_given_to_somebody_else_is_another_conversation(subject: &Subject) {
    let store = subject.open();
    assert_eq!(conversation(&store, "a", phone("4915")).await, "204:4915");
    assert_eq!(conversation(&store, "b", both("US.1", "4915")).await, "204:4915");
    assert_eq!(conversation(&store, "c", both("US.2", "4915")).await, "204:US.2");
    // It points to who has it now, and the other is still who it was.
    assert_eq!(conversation(&store, "d", phone("4915")).await, "204:US.2");
    assert_eq!(conversation(&store, "e", user("US.1")).await, "204:4915");
    drop(store);
    let store = subject.open();
    assert_eq!(conversation(&store, "f", phone("4915")).await, "204:US.2");
    assert_eq!(conversation(&store, "g", both("US.1", "4916")).await, "204:4915");
    // Who asks by the number finds both.
    let filter = EventFilter { conversation: Some("204:4915".to_owned()), ..EventFilter::default() };
    assert_eq!(all(&store, filter).await.len(), 7);
    let filter = EventFilter { conversation: Some("204:US.2".to_owned()), ..EventFilter::default() };
    assert_eq!(all(&store, filter).await.len(), 3);
}

pub async fn a_number_that_its_person_left_begins_a_conversation_of_its_own(subject: &Subject) {
    let store = subject.open();
    assert_eq!(conversation(&store, "a", phone("4915")).await, "204:4915");
    assert_eq!(conversation(&store, "b", was(phone("4916"), &["4915"])).await, "204:4915");
    assert_eq!(conversation(&store, "c", phone("4916")).await, "204:4915");
    let newcomer = conversation(&store, "d", phone("4915")).await;
    assert!(newcomer.starts_with("204:4915~"), "{newcomer}");
    assert_eq!(conversation(&store, "e", phone("4915")).await, newcomer);
    // Its own name finds it alone.
    for (told, count) in [(&*newcomer, 2), ("204:4916", 3), ("204:4915", 5)] {
        let filter = EventFilter { conversation: Some(told.to_owned()), ..EventFilter::default() };
        assert_eq!(all(&store, filter).await.len(), count, "{told}");
    }
}

pub async fn what_was_the_same_before_is_the_same(subject: &Subject) {
    let store = subject.open();
    assert_eq!(conversation(&store, "a", both("US.1", "4915")).await, "204:US.1");
    assert_eq!(conversation(&store, "b", was(both("US.9", "4916"), &["US.1", "4915"])).await, "204:US.1");
    assert_eq!(conversation(&store, "c", user("US.9")).await, "204:US.1");
    assert_eq!(conversation(&store, "d", user("US.1")).await, "204:US.1");
    assert_eq!(conversation(&store, "e", phone("4916")).await, "204:US.1");
    assert_ne!(conversation(&store, "f", phone("4915")).await, "204:US.1");
    // What is said again changes nothing.
    assert_eq!(conversation(&store, "g", was(both("US.9", "4916"), &["US.1"])).await, "204:US.1");
}

pub async fn two_conversations_that_turn_out_to_be_one_go_on_as_one_in_order(subject: &Subject) {
    let store = subject.open();
    assert_eq!(conversation(&store, "a", phone("4915")).await, "204:4915");
    assert_eq!(conversation(&store, "b", user("US.1")).await, "204:US.1");
    // This one waits for both, and what follows waits for it.
    let event = person(message("c"), both("US.1", "4915"));
    let accepted = store.accept(request([event])).await.unwrap();
    let mut both_lanes = [Lane::of("204:4915"), Lane::of("204:US.1")];
    both_lanes.sort_unstable();
    assert_eq!(accepted.owed[0].lanes.as_slice(), both_lanes);
    drop(store);
    let store = subject.open();
    for (wamid, contact) in [("d", user("US.1")), ("e", phone("4915"))] {
        let accepted = store.accept(request([person(message(wamid), contact)])).await.unwrap();
        assert_eq!(accepted.owed[0].lanes.as_slice(), [Lane::of("204:4915")], "{wamid}");
    }
    for told in ["204:4915", "204:US.1"] {
        let filter = EventFilter { conversation: Some(told.to_owned()), ..EventFilter::default() };
        let found = all(&store, filter).await;
        assert_eq!(found.len(), 5, "{told}");
        assert!(found.iter().all(|event| event.event.conversation.as_deref() == Some("204:4915")));
        let filter = DeliveryFilter { conversation: Some(told.to_owned()), ..DeliveryFilter::default() };
        let list = store.deliveries(filter, DeliveryPage { before: None, limit: 10 }).await.unwrap();
        assert_eq!(list.deliveries.len(), 5, "{told}");
    }
    let filter = EventFilter { conversation: Some("204:4999".to_owned()), ..EventFilter::default() };
    assert!(all(&store, filter).await.is_empty());
}

pub async fn a_repeat_teaches_nothing(subject: &Subject) {
    let store = subject.open();
    assert_eq!(conversation(&store, "a", both("US.1", "4915")).await, "204:US.1");
    assert_eq!(conversation(&store, "b", both("US.2", "4915")).await, "204:US.2");
    // An old copy, from when the number was the other's.
    let repeat = store.accept(request([person(message("a"), both("US.1", "4915"))])).await.unwrap();
    assert!(repeat.is_duplicate());
    let kept = store.event(repeat.events[0].0).await.unwrap().unwrap();
    assert_eq!(kept.event.conversation.as_deref(), Some("204:US.1"));
    assert_eq!(conversation(&store, "c", phone("4915")).await, "204:US.2");
}

pub async fn nothing_is_learnt_from_a_request_that_failed(subject: &Subject) {
    let store = subject.open();
    let mut accept = request([person(message("a"), both("US.1", "4915"))]);
    accept.deliveries.push(single("inbox", 7));
    store.accept(accept).await.unwrap_err();
    assert_eq!(conversation(&store, "b", phone("4915")).await, "204:4915");
    assert_eq!(conversation(&store, "c", user("US.1")).await, "204:US.1");
}

pub async fn a_delivery_waits_for_all_that_it_covers(subject: &Subject) {
    let store = subject.open();
    let events = [
        person(message("a"), phone("1")),
        group_event("b", "204:group"),
        person(message("c"), phone("2")),
        person(message("d"), phone("1")),
    ];
    let mut accept = request(events);
    accept.deliveries = vec![whole("inbox"), single("crm", 3), single("crm", 1)];
    let accepted = store.accept(accept).await.unwrap();
    let lanes = |names: &[&str]| {
        let mut lanes: Vec<_> = names.iter().map(|name| Lane::of(name)).collect();
        lanes.sort_unstable();
        lanes
    };
    assert_eq!(accepted.owed[0].lanes.as_slice(), lanes(&["204:1", "204:2", "204:group"]));
    assert_eq!(accepted.owed[1].lanes.as_slice(), lanes(&["204:1"]));
    assert_eq!(accepted.owed[2].lanes.as_slice(), lanes(&["204:group"]));
    assert_eq!([owed(&store, "inbox").await, owed(&store, "crm").await].concat(), accepted.owed);
}

pub async fn people_are_forgotten_with_the_last_record_of_them(subject: &Subject) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let store = subject.open();
    let accept = |wamid: &str, contact, days: u32| Accept {
        received_at: NOON.plus(DAY * days),
        ..request([person(message(wamid), contact)])
    };
    let left = store.accept(accept("a", both("US.1", "4915"), 0)).await.unwrap();
    let held = store.accept(accept("b", both("US.2", "4916"), 0)).await.unwrap();
    let pass = async |now: UnixMillis| {
        let mut others = 0;
        for call in 0.. {
            assert!(call < 1_000, "a pass that never ends");
            let prune = Prune { now, retention: Retention::default(), steps: 50 };
            let pruned = store.prune(prune).await.unwrap();
            others += pruned.others;
            if !pruned.more {
                break;
            }
        }
        others
    };
    store.settle(delivered(left.owed[0].id)).await.unwrap();
    // The other is still owed, and nobody is forgotten before anything else.
    pass(NOON.plus(DAY * 40)).await;
    assert_eq!(pass(NOON.plus(DAY * 41)).await, 0);
    let late = store.accept(accept("c", phone("4916"), 41)).await.unwrap();
    assert_eq!(late.owed[0].lanes, held.owed[0].lanes);
    store.settle(delivered(held.owed[0].id)).await.unwrap();
    store.settle(delivered(late.owed[0].id)).await.unwrap();
    // Both conversations with their two identities each.
    let forgotten = pass(NOON.plus(DAY * 100)).await + pass(NOON.plus(DAY * 101)).await;
    assert_eq!(forgotten, 6);
    let again = store.accept(accept("d", phone("4916"), 101)).await.unwrap();
    assert_eq!(again.owed[0].lanes.as_slice(), [Lane::of("204:4916")]);
}
