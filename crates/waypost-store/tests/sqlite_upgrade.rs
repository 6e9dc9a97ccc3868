//! A store that an earlier release wrote: it is brought up to date, and what it held reads as it did.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::path::Path;

use rusqlite::Connection;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, EventId, UnixMillis};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{message, person, request};
use waypost_store::{
    AfterPage, ContactFilter, EventFilter, NewContact, Page, PersonFact, Store, StoreOptions,
};

/// The first release's schema, as its files remember it.
const FIRST: &str = include_str!("../src/sqlite/migrations/0001_ledger.sql");
const FIRST_SHA256: &str = "9d0e402d53f8a87c9a806cf489cdf6e1fa5678de731133eb676a0ce3d4ca8a4a";

/// What the first release kept: a request of five events, with two people, one of whom had been two conversations,
/// and a group.
const KEPT: &str = "
    INSERT INTO name (id, text) VALUES (1, 'acme'), (2, '204' || char(31) || 'acme'), (3, 'message'), (4, 'messages'),
                                       (5, 'text');
    INSERT INTO request (id, source, received_at, events, target, body_sha256, body_bytes, headers)
    VALUES (:at, 1, 1795262400000, 5, '/', zeroblob(32), 2, x'');
    INSERT INTO body (request, bytes) VALUES (:at, x'7b7d');
    INSERT INTO conversation (id, name, merged, seen)
    VALUES (:at + 1, '204:4915', NULL, :at + 1), (:at + 2, '204:US.1', :at + 1, :at + 2),
           (:at + 3, '204:Y2FwaV9ncm91cDox', NULL, :at + 3), (:at + 4, '204:US.ENT.7', NULL, :at + 4);
    INSERT INTO contact (number, identity, conversation, names, bound)
    VALUES (2, '4915', :at + 1, :at + 1, 1), (2, 'US.1', :at + 2, :at + 2, 0),
           (2, 'Y2FwaV9ncm91cDox', :at + 3, :at + 3, 0), (2, 'US.ENT.7', :at + 4, :at + 4, 0), (2, '4916', 0, NULL, 0);
    INSERT INTO event (id, request, received_at, source, repeats, once, kind, class, field, type, conversation,
                       quarantined, wamid, key)
    SELECT :at + number, :at, 1795262400000, 1, CASE number WHEN 5 THEN :at + 1 END, 1, 3, 3, 4, 5,
           :at + min(number, 4), 0, 'w' || number, 'k' || number
    FROM (SELECT 1 AS number UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5);
    UPDATE ledger SET last_id = :at - 7;
";

fn open(path: &Path) -> Store {
    let options = StoreOptions {
        path: path.to_owned(),
        readers: 1,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    Store::open(options, Clock::manual(NOON)).unwrap()
}

/// Writes a file as the first release left it. Gives its request's number.
fn first_release(path: &Path) -> i64 {
    let at = EventId::floor(NOON).0;
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "journal_mode", "wal").unwrap();
    conn.pragma_update(None, "application_id", 0x5750_5354).unwrap();
    let remembers = "CREATE TABLE migration (version INTEGER PRIMARY KEY, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT";
    conn.execute_batch(remembers).unwrap();
    conn.execute("INSERT INTO migration VALUES (1, ?1, 5)", [FIRST_SHA256]).unwrap();
    conn.execute_batch(FIRST).unwrap();
    conn.execute_batch(&KEPT.replace(":at", &at.to_string())).unwrap();
    at
}

#[tokio::test]
async fn what_an_earlier_release_kept_reads_as_it_did() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    let at = first_release(&path);
    let store = open(&path);
    assert!(place.path().join("waypost.db.before-migration-2").exists());

    let list = store.events(EventFilter::default(), Page { before: None, limit: 10 }).await.unwrap();
    assert_eq!(list.events.iter().map(|event| event.id.0 - at).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    assert!(list.events.iter().all(|event| event.person == PersonFact::Nothing));
    assert_eq!(list.events[3].event.conversation.as_deref(), Some("204:4915"), "it was merged");
    let found = store.events_after(AfterPage { after: None, limit: 10 }).await.unwrap();
    assert_eq!(found.events.iter().map(|event| event.place()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    // What had been pruned by then was none of these.
    let ends = store.ends().await.unwrap();
    assert_eq!((ends.oldest, ends.newest), (Some(EventId(at + 1)), Some(EventId(at + 5))));
    assert_eq!(ends.gone, Some(EventId(at - 7)));

    // Its people are known, each once, and its groups are none.
    let people = store.contacts(ContactFilter::default(), Page { before: None, limit: 10 }).await.unwrap();
    let people: Vec<_> =
        people.contacts.iter().map(|one| (&*one.conversation, one.identities.join(" "))).collect();
    assert_eq!(people, [("204:US.ENT.7", "US.ENT.7".to_owned()), ("204:4915", "4915 US.1".to_owned())]);
}

#[tokio::test]
async fn people_known_to_an_earlier_release_are_not_new() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("waypost.db");
    first_release(&path);
    let store = open(&path);
    let tells = async |wamid: &str, contact: NewContact| {
        let accept = request([person(message(wamid), NewContact { number: "204".into(), ..contact })]);
        let accept = waypost_store::Accept { received_at: UnixMillis(NOON.0 + 5_000), ..accept };
        let accepted = store.accept(accept).await.unwrap();
        store.event(accepted.events[0].0).await.unwrap().unwrap().person
    };
    let phone = |phone: &str| NewContact { phone: Some(phone.into()), ..NewContact::default() };
    let user = |user: &str| NewContact { user: Some(user.into()), ..NewContact::default() };
    assert_eq!(tells("a", phone("4915")).await, PersonFact::Nothing);
    assert_eq!(
        tells("b", NewContact { name: Some("Ada".into()), ..user("US.1") }).await,
        PersonFact::Changed
    );
    assert_eq!(
        tells("c", NewContact { name: Some("Ada".into()), ..phone("4915") }).await,
        PersonFact::Nothing
    );
    assert_eq!(tells("d", phone("4916")).await, PersonFact::New);
    assert_eq!(tells("e", user("US.2")).await, PersonFact::New);
}
