//! Events in the order in which they were accepted, and all that is told of one message.

use std::time::Duration;

use waypost_domain::{EventId, UnixMillis};

use super::samples::{
    delivered, group_event, message, owed, person, release, request, settle_all, status, together, whole,
};
use super::{NOON, Subject};
use crate::{
    Accept, AfterPage, Ends, EventRecord, MESSAGE_EVENTS_MAX, MessageFilter, MessageList, MessagePage,
    NewContact, NewEvent, Prune, ReleaseTo, Retention, Store,
};

/// All events after one, read by small pages.
async fn follow(store: &Store, mut after: Option<EventId>, limit: usize) -> Vec<EventRecord> {
    let mut events = Vec::new();
    for page in 0.. {
        assert!(page < 10_000, "it never ends");
        let found = store.events_after(AfterPage { after, limit }).await.unwrap();
        assert!(found.last >= after);
        events.extend(found.events);
        after = found.last;
        if !found.more {
            break;
        }
    }
    events
}

fn ids(events: &[EventRecord]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// All messages that a filter admits, read by small pages.
async fn listed(store: &Store, filter: &MessageFilter, limit: usize) -> Vec<(String, String)> {
    let (mut found, mut from) = (Vec::new(), None);
    for page in 0.. {
        assert!(page < 10_000, "it never ends");
        let list = store.messages(filter.clone(), MessagePage { from, limit }).await.unwrap();
        assert!(list.messages.len() <= limit);
        found.extend(names(&list));
        from = list.next;
        if from.is_none() {
            break;
        }
    }
    found
}

fn names(list: &MessageList) -> impl Iterator<Item = (String, String)> {
    list.messages.iter().map(|message| (message.source.to_string(), message.wamid.to_string()))
}

fn of(source: &str, wamids: &[&str]) -> Vec<(String, String)> {
    wamids.iter().map(|wamid| (source.to_owned(), (*wamid).to_owned())).collect()
}

pub async fn events_follow_in_the_order_of_acceptance(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for number in 0..30 {
        let wamid = |of: u32| format!("wamid.{of}");
        // Every third one is a repeat; it is passed over.
        let events =
            [message(&wamid(number)), message(&wamid(number / 3 * 3)), status(&wamid(number), "sent")];
        let accepted = store.accept(request(events)).await.unwrap();
        let new = accepted.events.iter().filter(|(_, repeats)| repeats.is_none());
        expected.extend(new.map(|(event, _)| (*event, accepted.request)));
    }
    let expected_ids: Vec<_> = expected.iter().map(|(event, _)| *event).collect();
    for limit in [1, 2, 7, 1_000] {
        let found = follow(&store, None, limit).await;
        let found: Vec<_> = found.iter().map(|event| (event.id, event.request)).collect();
        assert_eq!(found, expected, "pages of {limit}");
    }
    for (place, after) in expected_ids.iter().enumerate() {
        assert_eq!(ids(&follow(&store, Some(*after), 10).await), expected_ids[place + 1..]);
    }
    // Beyond the last one there is nothing, and nothing changes.
    let last = expected_ids.last().copied();
    let nothing = store.events_after(AfterPage { after: last, limit: 10 }).await.unwrap();
    assert_eq!((nothing.events.len(), nothing.last, nothing.more), (0, last, false));
    drop(store);
    assert_eq!(ids(&follow(&subject.open(), None, 9).await), expected_ids);
}

pub async fn an_event_knows_its_place_in_its_request(subject: &Subject) {
    let store = subject.open();
    let events = [message("a"), message("a"), group_event("b", "204:group"), status("c", "read")];
    store.accept(request(events.clone())).await.unwrap();
    let found = follow(&store, None, 100).await;
    assert_eq!(found.iter().map(EventRecord::place).collect::<Vec<_>>(), [0, 2, 3]);
    for event in found {
        assert_eq!(event.event.key, events[event.place()].key);
        assert_eq!(store.event(event.id).await.unwrap().unwrap().place(), event.place());
    }
}

pub async fn whoever_follows_while_others_write_sees_each_event_once(subject: &Subject) {
    const WRITERS: usize = 8;
    const EACH: usize = 40;
    let store = subject.open();
    let follower = {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut seen, mut after) = (Vec::new(), None);
            while seen.len() < WRITERS * EACH * 2 {
                let found = store.events_after(AfterPage { after, limit: 16 }).await.unwrap();
                seen.extend(ids(&found.events));
                after = found.last;
                tokio::task::yield_now().await;
            }
            seen
        })
    };
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        async move {
            let mut written = Vec::new();
            for number in 0..EACH {
                let events =
                    [message(&format!("{writer}.{number}")), status(&format!("{writer}.{number}"), "sent")];
                let accepted = store.accept(request(events)).await.unwrap();
                written.extend(accepted.events.iter().map(|(event, _)| *event));
            }
            written
        }
    });
    let mut written = together(writers).await.concat();
    written.sort_unstable();
    let waited = tokio::time::timeout(Duration::from_secs(30), follower).await;
    assert_eq!(waited.unwrap().unwrap(), written);
}

pub async fn what_is_quarantined_follows_once(subject: &Subject) {
    let store = subject.open();
    let held = NewEvent { quarantined: true, ..message("a") };
    let accepted = store.accept(Accept { deliveries: Vec::new(), ..request([held]) }).await.unwrap();
    let event = accepted.events[0].0;
    let found = follow(&store, None, 10).await;
    assert_eq!((ids(&found), found[0].quarantined), (vec![event], true));
    let to = vec![ReleaseTo { destination: "inbox".into(), priority: waypost_domain::Priority::Message }];
    store.release(release(vec![(event, to)])).await.unwrap();
    assert_eq!(owed(&store, "inbox").await.len(), 1);
    let found = follow(&store, None, 10).await;
    assert_eq!((ids(&found), found[0].quarantined), (vec![event], false));
    assert!(follow(&store, Some(event), 10).await.is_empty());
}

pub async fn the_ends_tell_what_is_kept_and_what_is_gone(subject: &Subject) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let store = subject.open();
    assert_eq!(store.ends().await.unwrap(), Ends::default());
    let mut accepted = Vec::new();
    for day in 0..3 {
        let received_at = NOON.plus(DAY * day);
        let events = [message(&format!("a{day}")), message(&format!("b{day}"))];
        accepted.push(store.accept(Accept { received_at, ..request(events) }).await.unwrap());
    }
    let event = |day: usize, place: usize| Some(accepted[day].events[place].0);
    let all = Ends { oldest: event(0, 0), newest: event(2, 1), gone: None };
    assert_eq!(store.ends().await.unwrap(), all);
    // The first stays, since it is owed; the second goes.
    settle_all(&store, accepted[1..].iter().map(|accepted| delivered(accepted.owed[0].id)).collect()).await;
    let prune = async |now: UnixMillis| {
        let retention = Retention { records: DAY * 10, delivered_bodies: DAY * 10, ..Retention::default() };
        for call in 0.. {
            assert!(call < 1_000, "a pass that never ends");
            if !store.prune(Prune { now, retention, steps: 10 }).await.unwrap().more {
                break;
            }
        }
    };
    prune(NOON.plus(DAY * 11 + DAY / 2)).await;
    assert_eq!(store.ends().await.unwrap(), Ends { gone: event(1, 1), ..all });
    settle_all(&store, vec![delivered(accepted[0].owed[0].id)]).await;
    // What goes later does not make it less.
    prune(NOON.plus(DAY * 11 + DAY / 2)).await;
    assert_eq!(store.ends().await.unwrap(), Ends { oldest: event(2, 0), gone: event(1, 1), ..all });
    drop(store);
    let store = subject.open();
    assert_eq!(store.ends().await.unwrap(), Ends { oldest: event(2, 0), gone: event(1, 1), ..all });
    // Whoever had come as far goes on without a gap.
    assert_eq!(
        ids(&follow(&store, event(1, 1), 10).await),
        [accepted[2].events[0].0, accepted[2].events[1].0]
    );
}

pub async fn all_that_is_told_of_a_message_is_found_in_order(subject: &Subject) {
    let store = subject.open();
    let mut expected = Vec::new();
    for (number, word) in ["sent", "delivered", "read", "delivered"].into_iter().enumerate() {
        // The last is a repeat; others are of other messages.
        let events = [status("w", word), status(&format!("other {number}"), word)];
        let accepted = store.accept(request(events)).await.unwrap();
        expected.extend(
            accepted.events.first().filter(|(_, repeats)| repeats.is_none()).map(|(event, _)| *event),
        );
    }
    // One that may come again and again is found as well.
    let always = NewEvent { once: false, ..status("w", "failed") };
    for _ in 0..2 {
        expected.push(store.accept(request([always.clone()])).await.unwrap().events[0].0);
    }
    let elsewhere =
        Accept { source: "globex".into(), scope: "globex".into(), ..request([status("w", "sent")]) };
    let elsewhere = store.accept(elsewhere).await.unwrap().events[0].0;
    for _ in 0..2 {
        let found = store.message(Some("acme"), "w").await.unwrap();
        assert_eq!((ids(&found.events), found.whole), (expected.clone(), true));
        assert_eq!(*found.events[0].event.key, *status("w", "sent").key);
        assert_eq!(ids(&store.message(Some("globex"), "w").await.unwrap().events), [elsewhere]);
        let everywhere = store.message(None, "w").await.unwrap();
        assert_eq!(ids(&everywhere.events), [&expected[..], &[elsewhere]].concat());
        // So it is once keys have moved on.
        let now = NOON.plus(Duration::from_secs(2 * 24 * 60 * 60));
        store.prune(Prune { now, retention: Retention::default(), steps: 10 }).await.unwrap();
    }
    for (source, wamid) in [(Some("initech"), "w"), (Some("acme"), "nothing"), (None, "")] {
        let found = store.message(source, wamid).await.unwrap();
        assert_eq!((found.events.len(), found.whole), (0, true));
    }
}

pub async fn of_a_message_with_too_many_events_the_latest_are_told(subject: &Subject) {
    let store = subject.open();
    let many = MESSAGE_EVENTS_MAX + 100;
    let participant = |number: usize| {
        let key = format!("st:204817163050918:w:read:{number}").into();
        NewEvent { key, ..status("w", "read") }
    };
    let mut accepted = Vec::new();
    for first in (0..many).step_by(300) {
        let events: Vec<_> = (first..many.min(first + 300)).map(participant).collect();
        let events = store.accept(request(events)).await.unwrap().events;
        accepted.extend(events.into_iter().map(|(event, _)| event));
    }
    let found = store.message(Some("acme"), "w").await.unwrap();
    assert!(!found.whole);
    assert_eq!(ids(&found.events), accepted[100..]);
    assert_eq!(listed(&store, &MessageFilter::default(), 10).await, of("acme", &["w"]));
}

pub async fn messages_are_listed_by_their_latest_event_each_once(subject: &Subject) {
    let store = subject.open();
    let told = async |event: NewEvent| store.accept(request([event])).await.unwrap();
    for number in 0..12 {
        told(message(&format!("{number:02}"))).await;
    }
    for number in [3, 1, 7, 1] {
        told(status(&format!("{number:02}"), ["sent", "read"][number % 2])).await;
    }
    // What has no message id is no message, and a repeat is no news.
    told(super::samples::account_change("x")).await;
    told(message("00")).await;
    let expected = of("acme", &["07", "01", "03", "11", "10", "09", "08", "06", "05", "04", "02", "00"]);
    for limit in [1, 2, 5, 200] {
        assert_eq!(listed(&store, &MessageFilter::default(), limit).await, expected, "pages of {limit}");
    }
    // What happens while the list is read moves nothing in it.
    let first = store.messages(MessageFilter::default(), MessagePage { from: None, limit: 5 }).await.unwrap();
    for wamid in ["00", "07", "new"] {
        told(status(wamid, "failed")).await;
    }
    let rest = MessagePage { from: first.next, limit: 200 };
    let rest = store.messages(MessageFilter::default(), rest).await.unwrap();
    assert_eq!(names(&first).chain(names(&rest)).collect::<Vec<_>>(), expected);
    let renewed = listed(&store, &MessageFilter::default(), 3).await;
    assert_eq!(renewed[..4], of("acme", &["new", "07", "00", "01"]));
    // Each comes with all that is told of it.
    let found = &rest.messages.last().unwrap().events;
    assert_eq!(found.events.iter().map(|event| &*event.event.r#type).collect::<Vec<_>>(), ["text", "failed"]);
    // An id that two sources have is two messages.
    let elsewhere = Accept { source: "globex".into(), scope: "globex".into(), ..request([message("07")]) };
    store.accept(elsewhere).await.unwrap();
    let filter = MessageFilter { wamid: Some("07".to_owned()), ..MessageFilter::default() };
    assert_eq!(listed(&store, &filter, 1).await, [of("globex", &["07"]), of("acme", &["07"])].concat());
}

pub async fn every_message_filter_admits_what_it_names(subject: &Subject) {
    let store = subject.open();
    let from =
        |phone: &str| NewContact { number: "204".into(), phone: Some(phone.into()), ..NewContact::default() };
    let later = NOON.plus(Duration::from_secs(60));
    for (source, wamid, phone, at) in [
        ("acme", "a", "1", NOON),
        ("acme", "b", "2", NOON),
        ("globex", "c", "1", NOON),
        ("acme", "b", "2", later),
    ] {
        let event = person(if at == NOON { message(wamid) } else { status(wamid, "read") }, from(phone));
        let event = NewEvent { phone_number_id: Some(format!("n{phone}").into()), ..event };
        let accept =
            Accept { source: source.into(), scope: source.into(), received_at: at, ..request([event]) };
        store.accept(accept).await.unwrap();
    }
    let admits = async |filter: MessageFilter, expected: &[&str]| {
        let found = listed(&store, &filter, 10).await;
        assert_eq!(found.iter().map(|(_, wamid)| &**wamid).collect::<Vec<_>>(), expected, "{filter:?}");
    };
    let text = |text: &str| Some(text.to_owned());
    admits(MessageFilter::default(), &["b", "c", "a"]).await;
    admits(MessageFilter { source: text("acme"), ..MessageFilter::default() }, &["b", "a"]).await;
    admits(MessageFilter { source: text("nobody"), ..MessageFilter::default() }, &[]).await;
    admits(MessageFilter { number: text("n1"), ..MessageFilter::default() }, &["c", "a"]).await;
    admits(MessageFilter { conversation: text("204:2"), ..MessageFilter::default() }, &["b"]).await;
    admits(MessageFilter { conversation: text("204:3"), ..MessageFilter::default() }, &[]).await;
    admits(MessageFilter { wamid: text("c"), ..MessageFilter::default() }, &["c"]).await;
    admits(MessageFilter { since: Some(later), ..MessageFilter::default() }, &["b"]).await;
    admits(MessageFilter { until: Some(later), ..MessageFilter::default() }, &["c", "a"]).await;
    let both = MessageFilter { source: text("acme"), number: text("n1"), ..MessageFilter::default() };
    admits(both, &["a"]).await;
}

pub async fn few_messages_are_reached_among_many(subject: &Subject) {
    let store = subject.open();
    let wanted = NewEvent { phone_number_id: Some("rare".into()), ..message("wanted") };
    let accept = |events: Vec<NewEvent>| Accept { deliveries: vec![whole("inbox")], ..request(events) };
    store.accept(accept(vec![wanted])).await.unwrap();
    // A great many events of few messages, and of others.
    for round in 0..24 {
        let events = (0..500).map(|number| {
            let key = format!("{round}:{number}").into();
            NewEvent { key, ..status(&format!("m{}", number % 40 + round / 8 * 40), "read") }
        });
        store.accept(accept(events.collect())).await.unwrap();
    }
    let filter = MessageFilter { number: Some("rare".to_owned()), ..MessageFilter::default() };
    assert_eq!(listed(&store, &filter, 10).await, of("acme", &["wanted"]));
    let mut found = listed(&store, &MessageFilter::default(), 50).await;
    assert_eq!(found.len(), 121);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 121);
}
