//! What no route takes.

use waypost_domain::Match;
use waypost_engine::routing::{Batches, Routing};
use waypost_engine::sender::Signing;
use waypost_store::{EventFilter, Release};

use crate::batches::{body_of, change};
use crate::house::{House, number};
use crate::receiver::Receiver;

fn quarantined() -> EventFilter {
    EventFilter { quarantined: Some(true), ..EventFilter::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_route_takes_waits_in_quarantine_and_a_release_delivers_it() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Whole, Signing::Source);
    let before = Routing::new([(number("11"), [shop.clone()])]);
    let body = body_of(&[change("11", &[("a", "one")]), change("22", &[("b", "two"), ("c", "three")])]);
    house.post(body.as_bytes(), &before).await;
    receiver.hears(1).await;
    let waiting = house.events(quarantined()).await;
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().all(|event| before.release(event).is_empty() && event.deliveries.is_empty()));

    let after = Routing::new([(Match::everything(), [shop.clone()]), (number("22"), [shop])]);
    let release = Release {
        by: "operator".into(),
        at: house.clock.wall(),
        note: None,
        events: waiting.iter().rev().map(|event| (event.id, after.release(event))).collect(),
    };
    assert!(release.events.iter().all(|(_, to)| to.len() == 1), "to a destination once");
    let released = house.store.release(release).await.unwrap();
    assert_eq!(released.owed.len(), 2);
    house.dispatcher.destination("shop").unwrap().owe();
    let seen = receiver.hears(3).await;
    assert!(seen[1].text().contains("wamid.b") && seen[2].text().contains("wamid.c"));
    assert!(!seen[1].text().contains("wamid.c") && !seen[1].text().contains("wamid.a"));
    assert!(house.events(quarantined()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_route_everything_is_accepted_and_nothing_is_sent() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    house.destination("shop", &receiver, Batches::Whole, Signing::Source);
    let nowhere = Routing::new([] as [(Match, [_; 0]); 0]);
    assert!(nowhere.is_empty());
    for body in [&b"not json"[..], b"{}", body_of(&[change("11", &[("a", "one")])]).as_bytes()] {
        house.post(body, &nowhere).await;
    }
    let waiting = house.events(quarantined()).await;
    assert_eq!(waiting.len(), 3);
    assert!(waiting.iter().all(|event| event.deliveries.is_empty()));
    assert_eq!(receiver.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_routes_never_leads_what_was_owed_elsewhere() {
    let (house, old, new) = (House::new(), Receiver::start().await, Receiver::start().await);
    let to_old = house.destination("old", &old, Batches::Split, Signing::Source);
    let to_new = house.destination("new", &new, Batches::Split, Signing::Source);
    house.dispatcher.pause("old", true);
    let body = body_of(&[change("11", &[("a", "one"), ("b", "two")])]);
    house.post(body.as_bytes(), &Routing::new([(Match::everything(), [to_old])])).await;
    let later = body_of(&[change("11", &[("c", "three")])]);
    house.post(later.as_bytes(), &Routing::new([(Match::everything(), [to_new])])).await;
    house.dispatcher.pause("old", false);
    old.hears(2).await;
    let seen = new.hears(1).await;
    assert!(seen[0].text().contains("wamid.c"));
}
