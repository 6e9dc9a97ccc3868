//! Opening, closing and what survives them.

use waypost_domain::{Clock, EventId, UnixMillis};

use super::samples::{delivered, message, owed, request, retry, together};
use super::{NOON, Opening, Subject};
use crate::{Accept, EntryKind, EntryRecord, EventFilter, OwedPage, Page, StoreError};

pub async fn what_was_answered_is_there_after_reopening(subject: &Subject) {
    let store = subject.open();
    let accepts = (0..100).map(|n| {
        let store = store.clone();
        async move { store.accept(request([message(&format!("wamid.{n}"))])).await.unwrap() }
    });
    let mut accepted = together(accepts).await;
    accepted.sort_by_key(|accepted| accepted.request);
    store.settle(delivered(accepted[0].owed[0].id)).await.unwrap();
    store.settle(retry(accepted[1].owed[0].id, UnixMillis(NOON.0 + 1))).await.unwrap();
    let before = owed(&store, "inbox").await;
    drop(store);

    let store = subject.open();
    assert_eq!(owed(&store, "inbox").await, before);
    assert_eq!(before.len(), 99);
    for accepted in accepted {
        assert!(store.event(accepted.events[0].0).await.unwrap().is_some());
        assert!(store.request_body(accepted.request).await.unwrap().is_some());
    }
}

pub async fn identifiers_never_go_back(subject: &Subject) {
    let mut last = 0;
    for (round, step) in [0, -86_400_000, 5_000, -5_000, 60_000].into_iter().enumerate() {
        let clock = Clock::manual(UnixMillis(NOON.0 + step));
        let store = subject.open_with(Opening { clock: clock.clone(), ..Opening::default() });
        for n in 0..3 {
            let wamid = format!("wamid.{round}.{n}");
            let accept =
                Accept { received_at: UnixMillis(clock.wall().0 - n * 1_000), ..request([message(&wamid)]) };
            let at = accept.received_at;
            let accepted = store.accept(accept).await.unwrap();
            assert!(accepted.request.0 > last && accepted.request.0 >= EventId::floor(at).0);
            assert!(accepted.events[0].0.0 > accepted.request.0);
            last = accepted.owed[0].id.0;
            assert!(last > accepted.events[0].0.0);
        }
    }
}

pub async fn entries_are_kept_replaced_and_forgotten(subject: &Subject) {
    use EntryKind::{Certificate, Route, Upstream};
    let entry = |kind, name: &str, settings: &str| EntryRecord {
        kind,
        name: name.to_owned(),
        settings: settings.to_owned(),
        created_at: NOON,
    };
    let store = subject.open();
    for kind in EntryKind::ALL {
        assert!(store.entries(kind).await.unwrap().is_empty());
    }
    store.entry_put(entry(Upstream, "b.example.com", "{}")).await.unwrap();
    store.entry_put(entry(Upstream, "a.example.com:8443", "{\"mode\":\"relay\"}")).await.unwrap();
    store.entry_put(entry(Upstream, "b.example.com", "{\"x\":1}")).await.unwrap();
    assert!(!store.entry_delete(Upstream, "c.example.com").await.unwrap());
    // Another kind's name is another name.
    store.entry_put(entry(Route, "b.example.com", "{}")).await.unwrap();
    store.entry_put(entry(Certificate, "b.example.com", "{\"key\":1}")).await.unwrap();
    assert!(!store.entry_delete(EntryKind::Source, "b.example.com").await.unwrap());
    drop(store);

    let store = subject.open();
    let expected = [
        entry(Upstream, "a.example.com:8443", "{\"mode\":\"relay\"}"),
        entry(Upstream, "b.example.com", "{\"x\":1}"),
    ];
    assert_eq!(store.entries(Upstream).await.unwrap(), expected);
    assert!(store.entry_delete(Upstream, "b.example.com").await.unwrap());
    assert!(!store.entry_delete(Upstream, "b.example.com").await.unwrap());
    assert_eq!(store.entries(Upstream).await.unwrap(), expected[..1]);
    assert_eq!(store.entries(Route).await.unwrap(), [entry(Route, "b.example.com", "{}")]);
    let certificates = [entry(Certificate, "b.example.com", "{\"key\":1}")];
    assert_eq!(store.entries(Certificate).await.unwrap(), certificates);
}

pub async fn a_probe_is_a_write(subject: &Subject) {
    let store = subject.open();
    let before = store.writer_stats();
    store.probe_write().await.unwrap();
    let after = store.writer_stats();
    assert!(after.commits > before.commits && after.operations > before.operations);
    assert!(after.healthy);
}

pub async fn closing_finishes_what_was_taken_in(subject: &Subject) {
    let store = subject.open();
    let accepts: Vec<_> = (0..300)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.accept(request([message(&format!("wamid.{n}"))])).await })
        })
        .collect();
    store.close().await;
    let (mut kept, mut late) = (0, 0);
    for accept in accepts {
        match accept.await.unwrap() {
            Ok(_) => kept += 1,
            Err(StoreError::Closed) => late += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(kept + late, 300);
    drop(store);
    assert_eq!(owed(&subject.open(), "inbox").await.len(), kept);
}

pub async fn a_closed_store_says_so(subject: &Subject) {
    let store = subject.open();
    let delivery = store.accept(request([message("wamid.A")])).await.unwrap().owed[0].id;
    store.close().await;
    store.close().await;
    let closed = |error: StoreError| assert!(matches!(error, StoreError::Closed), "{error}");
    closed(store.accept(request([message("wamid.B")])).await.unwrap_err());
    closed(store.settle(delivered(delivery)).await.unwrap_err());
    closed(store.probe_write().await.unwrap_err());
    let page = OwedPage { destination: "inbox".into(), after: None, limit: 1 };
    closed(store.owed(page).await.unwrap_err());
    closed(store.events(EventFilter::default(), Page { before: None, limit: 1 }).await.unwrap_err());
}
