//! What is known of people: what an event tells of them that is new, and what is read back.

use std::time::Duration;

use waypost_domain::{EventId, UnixMillis};

use super::samples::{delivered, group_event, message, person, request, single, status};
use super::{NOON, Subject};
use crate::{
    Accept, ContactFilter, ContactRecord, NewContact, NewEvent, PERSON_NAME_BYTES_MAX, Page, PersonFact,
    Prune, Retention, Store,
};

use PersonFact::{Changed, New, Nothing};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn phone(phone: &str) -> NewContact {
    NewContact { number: "204".into(), phone: Some(phone.into()), ..NewContact::default() }
}

fn user(user: &str) -> NewContact {
    NewContact { number: "204".into(), user: Some(user.into()), ..NewContact::default() }
}

fn both(given: &str, number: &str) -> NewContact {
    NewContact { phone: Some(number.into()), ..user(given) }
}

fn called(contact: NewContact, name: &str, username: &str) -> NewContact {
    let some = |text: &str| (!text.is_empty()).then(|| text.into());
    NewContact { name: some(name), username: some(username), ..contact }
}

/// What an event with this contact tells.
async fn tells(store: &Store, wamid: &str, contact: NewContact) -> PersonFact {
    told(store, request([person(message(wamid), contact)])).await
}

async fn told(store: &Store, accept: Accept) -> PersonFact {
    let accepted = store.accept(accept).await.unwrap();
    store.event(accepted.events[0].0).await.unwrap().unwrap().person
}

/// All people whom a filter admits, read by small pages.
async fn people(store: &Store, filter: &ContactFilter, limit: usize) -> Vec<ContactRecord> {
    let (mut found, mut before) = (Vec::new(), None);
    for page in 0.. {
        assert!(page < 10_000, "it never ends");
        let list = store.contacts(filter.clone(), Page { before, limit }).await.unwrap();
        assert!(list.contacts.len() <= limit);
        found.extend(list.contacts);
        before = list.next;
        if before.is_none() {
            break;
        }
    }
    found
}

async fn known(store: &Store, conversation: &str) -> ContactRecord {
    store.contact(None, conversation).await.unwrap().unwrap()
}

pub async fn the_first_that_is_heard_of_a_person_says_so_and_no_other(subject: &Subject) {
    let store = subject.open();
    assert_eq!(tells(&store, "a", phone("1")).await, New);
    assert_eq!(tells(&store, "b", phone("1")).await, Nothing);
    assert_eq!(tells(&store, "c", phone("2")).await, New);
    // Two in one request, and those that follow the events.
    let events = [person(message("d"), phone("3")), person(status("e", "sent"), phone("3"))];
    let accepted = store.accept(request(events)).await.unwrap();
    let mut facts = Vec::new();
    for (event, _) in accepted.events {
        let page = crate::AfterPage { after: Some(EventId(event.0 - 1)), limit: 1 };
        facts.push(store.events_after(page).await.unwrap().events[0].person);
    }
    assert_eq!(facts, [New, Nothing]);
    // At another number of ours and at another source it is the first again.
    assert_eq!(tells(&store, "f", NewContact { number: "999".into(), ..phone("1") }).await, New);
    let elsewhere = request([person(message("g"), phone("1"))]);
    let elsewhere = Accept { source: "globex".into(), scope: "globex".into(), ..elsewhere };
    assert_eq!(told(&store, elsewhere).await, New);
    drop(store);
    let store = subject.open();
    assert_eq!(tells(&store, "h", phone("1")).await, Nothing);
    // A group is nobody, and neither is an account.
    assert_eq!(told(&store, request([group_event("i", "204:group")])).await, Nothing);
    assert_eq!(told(&store, request([super::samples::account_change("j")])).await, Nothing);
}

pub async fn a_new_name_or_identity_is_a_change_and_silence_is_none(subject: &Subject) {
    let store = subject.open();
    let steps = [
        ("a", called(phone("1"), "Ada", ""), New),
        ("b", called(phone("1"), "Ada", ""), Nothing),
        ("c", phone("1"), Nothing),
        ("d", called(phone("1"), "", "ada"), Changed),
        ("e", called(phone("1"), "Ada", "ada"), Nothing),
        ("f", called(both("US.1", "1"), "Ada", "ada"), Changed),
        ("g", called(both("US.1", "1"), "Ada", "ada"), Nothing),
        ("h", user("US.1"), Nothing),
        ("i", called(user("US.1"), "Ada L.", ""), Changed),
        // By whichever identity: it is one person.
        ("j", called(phone("1"), "Ada L.", ""), Nothing),
        ("k", called(phone("1"), "Ada", "ada"), Changed),
        ("l", called(user("US.1"), "Ada", "countess"), Changed),
        ("m", NewContact { former: vec!["1".into()], ..both("US.1", "2") }, Changed),
        ("n", NewContact { former: vec!["1".into()], ..both("US.1", "2") }, Nothing),
        ("o", both("US.1", "2"), Nothing),
        // A number that is left, and an id of before.
        ("p", NewContact { former: vec!["2".into()], ..user("US.1") }, Changed),
        ("q", NewContact { former: vec!["2".into()], ..user("US.1") }, Nothing),
        ("r", NewContact { former: vec!["US.0".into()], ..user("US.1") }, Changed),
        ("s", NewContact { former: vec!["US.0".into()], ..user("US.1") }, Nothing),
    ];
    for (wamid, contact, expected) in steps {
        assert_eq!(tells(&store, wamid, contact).await, expected, "{wamid}");
    }
    let found = known(&store, "204:US.1").await;
    assert_eq!((found.name.as_deref(), found.username.as_deref()), (Some("Ada"), Some("countess")));
    assert_eq!(found.identities, ["US.0".into(), "US.1".into()]);
    drop(store);
    let store = subject.open();
    assert_eq!(known(&store, "204:US.1").await, found);
    assert_eq!(tells(&store, "t", called(user("US.1"), "Ada", "countess")).await, Nothing);
}

pub async fn a_repeat_and_a_request_that_failed_tell_nothing_of_people(subject: &Subject) {
    let store = subject.open();
    assert_eq!(tells(&store, "a", called(phone("1"), "Ada", "")).await, New);
    assert_eq!(tells(&store, "a", called(phone("1"), "Eve", "eve")).await, Nothing);
    assert_eq!(known(&store, "204:1").await.name.as_deref(), Some("Ada"));
    let mut accept = request([
        person(message("b"), called(phone("1"), "Eve", "")),
        person(message("c"), called(phone("2"), "Bob", "")),
    ]);
    accept.deliveries.push(single("inbox", 7));
    store.accept(accept).await.unwrap_err();
    assert_eq!(store.contact(None, "204:2").await.unwrap(), None);
    assert_eq!(tells(&store, "d", called(phone("1"), "Ada", "")).await, Nothing);
    assert_eq!(tells(&store, "e", called(phone("1"), "Eve", "")).await, Changed);
    assert_eq!(tells(&store, "f", called(phone("2"), "Bob", "")).await, New);
}

pub async fn two_who_turn_out_to_be_one_are_one_with_both_names(subject: &Subject) {
    let store = subject.open();
    assert_eq!(tells(&store, "a", called(phone("1"), "", "ada")).await, New);
    assert_eq!(tells(&store, "b", called(user("US.1"), "Ada", "other")).await, New);
    assert_eq!(people(&store, &ContactFilter::default(), 10).await.len(), 2);
    assert_eq!(tells(&store, "c", both("US.1", "1")).await, Changed);
    let found = people(&store, &ContactFilter::default(), 10).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].name.as_deref(), found[0].username.as_deref()), (Some("Ada"), Some("ada")));
    assert_eq!(found[0].identities, ["1".into(), "US.1".into()]);
    for told in ["204:1", "204:US.1"] {
        assert_eq!(known(&store, told).await, found[0]);
    }
    assert_eq!(tells(&store, "d", called(user("US.1"), "Ada", "ada")).await, Nothing);
    assert_eq!(tells(&store, "e", called(phone("1"), "Ada", "other")).await, Changed);
}

pub async fn people_are_read_back_with_all_that_is_known_of_them(subject: &Subject) {
    let store = subject.open();
    let everything = called(
        NewContact { parent: Some("US.ENT.1".into()), ..both("US.1", "4915") },
        "Ada Lovelace",
        "ada.l",
    );
    let late = NOON.plus(DAY * 3);
    let first = store.accept(request([person(message("a"), everything.clone())])).await.unwrap();
    let again = Accept { received_at: late, ..request([person(message("b"), everything)]) };
    store.accept(again).await.unwrap();
    let found = known(&store, "204:4915").await;
    let expected = ContactRecord {
        began: first.events[0].0,
        conversation: "204:US.ENT.1".into(),
        source: "acme".into(),
        number: "204".into(),
        identities: vec!["4915".into(), "US.1".into(), "US.ENT.1".into()],
        name: Some("Ada Lovelace".into()),
        username: Some("ada.l".into()),
        first_seen_at: NOON,
        last_seen_at: late,
    };
    assert_eq!(found, expected);
    // Less than a day later need not show.
    let almost = UnixMillis(late.0 + 23 * 3_600_000);
    let event = person(message("c"), user("US.1"));
    store.accept(Accept { received_at: almost, ..request([event]) }).await.unwrap();
    let seen_at = known(&store, "204:US.1").await.last_seen_at;
    assert!(seen_at >= late && almost.0 - seen_at.0 < 86_400_000, "{seen_at:?}");
    for unknown in ["204:4916", "999:4915", "", "4915"] {
        assert_eq!(store.contact(None, unknown).await.unwrap(), None, "{unknown}");
    }
    assert_eq!(
        store.contact(Some("acme"), "204:4915").await.unwrap().map(|found| found.began),
        Some(expected.began)
    );
    assert_eq!(store.contact(Some("globex"), "204:4915").await.unwrap(), None);
}

pub async fn a_number_that_changed_hands_leads_to_whom_it_is_with_now(subject: &Subject) {
    let store = subject.open();
    tells(&store, "a", called(both("US.1", "1"), "Ada", "")).await;
    tells(&store, "b", called(phone("2"), "Cy", "")).await;
    assert_eq!(tells(&store, "c", called(both("US.2", "1"), "Bob", "")).await, New);
    assert_eq!(known(&store, "204:1").await.name.as_deref(), Some("Bob"));
    assert_eq!(known(&store, "204:US.1").await.identities, ["US.1".into()]);
    let filter = ContactFilter { identity: Some("1".to_owned()), ..ContactFilter::default() };
    let found = people(&store, &filter, 10).await;
    assert_eq!(found.iter().map(|contact| &*contact.conversation).collect::<Vec<_>>(), ["204:US.2"]);
    // A conversation of that very name goes before.
    tells(&store, "d", called(both("US.3", "2"), "Cy", "")).await;
    tells(&store, "e", called(both("US.4", "2"), "Dan", "")).await;
    assert_eq!(known(&store, "204:2").await.name.as_deref(), Some("Cy"));
    assert_eq!(known(&store, "204:US.4").await.name.as_deref(), Some("Dan"));
}

pub async fn every_contact_filter_admits_whom_it_names(subject: &Subject) {
    let store = subject.open();
    for (wamid, source, number, who) in [
        ("a", "acme", "204", "1"),
        ("b", "acme", "999", "1"),
        ("c", "globex", "204", "1"),
        ("d", "acme", "204", "2"),
    ] {
        let contact = NewContact { number: number.into(), ..phone(who) };
        let accept =
            request([person(message(wamid), contact), group_event(&format!("g{wamid}"), "204:group")]);
        store.accept(Accept { source: source.into(), scope: source.into(), ..accept }).await.unwrap();
    }
    let admits = async |filter: ContactFilter, expected: &[&str]| {
        for limit in [1, 3, 100] {
            let found = people(&store, &filter, limit).await;
            let found: Vec<_> =
                found.iter().map(|one| format!("{} {}", one.source, one.conversation)).collect();
            assert_eq!(found, expected, "{filter:?}");
        }
    };
    let text = |text: &str| Some(text.to_owned());
    let [a, b, c, d] = ["acme 204:1", "acme 999:1", "globex 204:1", "acme 204:2"];
    admits(ContactFilter::default(), &[d, c, b, a]).await;
    admits(ContactFilter { source: text("acme"), ..ContactFilter::default() }, &[d, b, a]).await;
    admits(ContactFilter { number: text("204"), ..ContactFilter::default() }, &[d, c, a]).await;
    admits(ContactFilter { number: text("20"), ..ContactFilter::default() }, &[]).await;
    admits(ContactFilter { identity: text("1"), ..ContactFilter::default() }, &[c, b, a]).await;
    admits(ContactFilter { identity: text("3"), ..ContactFilter::default() }, &[]).await;
    admits(ContactFilter { identity: text("group"), ..ContactFilter::default() }, &[]).await;
    admits(ContactFilter { conversation: text("204:1"), ..ContactFilter::default() }, &[c, a]).await;
    admits(ContactFilter { conversation: text("204:group"), ..ContactFilter::default() }, &[]).await;
    let here = ContactFilter { source: text("globex"), identity: text("1"), ..ContactFilter::default() };
    admits(here, &[c]).await;
    let neither =
        ContactFilter { conversation: text("204:1"), identity: text("2"), ..ContactFilter::default() };
    admits(neither, &[]).await;
}

pub async fn few_people_are_reached_among_many(subject: &Subject) {
    let store = subject.open();
    let wanted = Accept {
        source: "globex".into(),
        scope: "globex".into(),
        ..request([person(message("a"), phone("1"))])
    };
    store.accept(wanted).await.unwrap();
    for first in (0..10_500).step_by(500) {
        let one = |number: u32| person(message(&format!("w{number}")), phone(&format!("49{number}")));
        store.accept(request((first..first + 500).map(one).collect::<Vec<_>>())).await.unwrap();
    }
    let filter = ContactFilter { source: Some("globex".to_owned()), ..ContactFilter::default() };
    let found = people(&store, &filter, 10).await;
    assert_eq!(found.iter().map(|one| &*one.conversation).collect::<Vec<_>>(), ["204:1"]);
    assert_eq!(people(&store, &ContactFilter::default(), 1_000).await.len(), 10_501);
}

pub async fn a_name_of_any_kind_is_kept_and_one_without_end_is_cut(subject: &Subject) {
    let store = subject.open();
    for (number, name) in ["\u{0}\u{1f}~:", "🦀", " ", "'); DROP TABLE person; --"].into_iter().enumerate()
    {
        let who = number.to_string();
        assert_eq!(tells(&store, &who, called(phone(&who), name, name)).await, New);
        let found = known(&store, &format!("204:{who}")).await;
        assert_eq!((found.name.as_deref(), found.username.as_deref()), (Some(name), Some(name)));
    }
    // Cut between characters; what differs beyond the cut is the same.
    let long = format!("x{}", "ä".repeat(PERSON_NAME_BYTES_MAX));
    assert_eq!(tells(&store, "a", called(phone("9"), &long, "")).await, New);
    assert_eq!(tells(&store, "b", called(phone("9"), &format!("{long}!"), "")).await, Nothing);
    let kept = known(&store, "204:9").await.name.unwrap();
    assert!(long.starts_with(&*kept) && kept.len() == PERSON_NAME_BYTES_MAX - 1, "{}", kept.len());
    // An empty one says nothing.
    let empty = NewContact { name: Some("".into()), username: Some("".into()), ..phone("9") };
    assert_eq!(tells(&store, "c", empty).await, Nothing);
    assert_eq!(known(&store, "204:9").await.name, Some(kept));
}

pub async fn names_go_with_the_last_record_of_the_person(subject: &Subject) {
    let store = subject.open();
    let accept = |wamid: &str, days: u32| Accept {
        received_at: NOON.plus(DAY * days),
        ..request([person(message(wamid), called(phone("1"), "Ada", ""))])
    };
    let pass = async |now: UnixMillis| {
        for call in 0.. {
            assert!(call < 1_000, "a pass that never ends");
            let prune = Prune { now, retention: Retention::default(), steps: 50 };
            if !store.prune(prune).await.unwrap().more {
                break;
            }
        }
    };
    let first = store.accept(accept("a", 0)).await.unwrap();
    store.settle(delivered(first.owed[0].id)).await.unwrap();
    pass(NOON.plus(DAY * 20)).await;
    assert_eq!(known(&store, "204:1").await.name.as_deref(), Some("Ada"));
    assert_eq!(told(&store, accept("b", 20)).await, Nothing);
    let events: Vec<NewEvent> = vec![person(message("c"), called(phone("1"), "Ada", ""))];
    let last = store.accept(Accept { received_at: NOON.plus(DAY * 21), ..request(events) }).await.unwrap();
    for owed in super::samples::owed(&store, "inbox").await {
        store.settle(delivered(owed.id)).await.unwrap();
    }
    pass(NOON.plus(DAY * 120)).await;
    pass(NOON.plus(DAY * 121)).await;
    assert_eq!(store.event(last.events[0].0).await.unwrap().map(|event| event.id), None);
    assert_eq!(store.contact(None, "204:1").await.unwrap(), None);
    assert_eq!(people(&store, &ContactFilter::default(), 10).await, []);
    // Whoever comes back is new.
    assert_eq!(told(&store, accept("d", 121)).await, New);
}
