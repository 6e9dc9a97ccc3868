//! What operators do meanwhile, and destinations that come and go.

use std::time::Duration;

use waypost_domain::{DeliveryId, DeliveryState, Patience};
use waypost_store::{ActOn, Selection};

use crate::house::{House, NAME, SECOND};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_put_again_waits_for_the_attempts_of_its_former_self() {
    let house = House::new();
    house.script.take_its_time(Duration::from_millis(100));
    house.start(Patience::default());
    house.accept("once", &["a"]).await;
    house.until("the attempt", || house.script.count() == 1).await;
    house.dispatcher.remove(NAME);
    house.start(Patience::default());
    house.until_owed(0).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(house.script.count(), 1);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_discards_and_replays_and_the_lane_keeps_its_order() {
    let house = House::new();
    let handle = house.start(Patience::Forever);
    house.script.answer("stuck", 500);
    let stuck = house.accept("stuck", &["a"]).await.owed[0].id;
    house.accept("behind", &["a"]).await;
    house.until("the first attempt", || house.script.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let act = |plan| ActOn {
        selection: Selection::One(stuck),
        who: "test".into(),
        at: house.clock.wall(),
        note: None,
        plan,
    };
    assert_eq!(house.store.discard(act(false)).await.unwrap().count, 1);
    handle.reread();
    house.until_owed(0).await;
    assert_eq!(house.script.seen(), ["stuck", "behind"]);
    house.script.answer("stuck", 200);
    assert_eq!(house.store.replay(act(true)).await.unwrap().count, 1, "a plan only counts");
    assert_eq!(house.owed().await, 0);
    assert_eq!(house.store.replay(act(false)).await.unwrap().count, 1);
    handle.reread();
    house.until_owed(0).await;
    assert_eq!(house.script.seen(), ["stuck", "behind", "stuck"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_is_owed_something_from_acceptance_until_the_last_delivery() {
    let house = House::new();
    let handle = house.start(Patience::default());
    house.until("the first look", || !handle.is_owed()).await;
    house.script.answer("late", 500);
    house.accept("late", &["a"]).await;
    assert!(handle.is_owed());
    house.until("the attempt", || house.script.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(handle.is_owed(), "it failed, and is owed still");
    house.script.answer("late", 200);
    house.advance(6 * SECOND);
    house.until("the end", || !handle.is_owed()).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_destination_keeps_what_it_is_owed() {
    let house = House::new();
    house.start(Patience::default());
    house.dispatcher.pause(NAME, true);
    house.accept("kept", &["a"]).await;
    house.dispatcher.remove(NAME);
    assert_eq!(house.owed().await, 1);
    house.start(Patience::default());
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(house.owed().await, 1, "it is held still");
    house.dispatcher.pause(NAME, false);
    house.until_owed(0).await;
    house.hard.cancel();
    house.stop().await;
}

fn one(house: &House, delivery: DeliveryId) -> ActOn {
    let (who, at) = ("test".into(), house.clock.wall());
    ActOn { selection: Selection::One(delivery), who, at, note: None, plan: false }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replayed_while_it_is_being_tried_is_sent_again_afterwards_and_not_at_once() {
    for conversation in ["a", ""] {
        let house = House::new();
        let handle = house.start(Patience::Forever);
        house.script.hang();
        let twice = house.accept("twice", &[conversation]).await.owed[0].id;
        house.accept("behind", &["a"]).await;
        house.until("the attempt", || house.script.has_seen("twice")).await;
        house.store.discard(one(&house, twice)).await.unwrap();
        handle.reread();
        house.settle_down().await;
        assert_eq!(house.store.replay(one(&house, twice)).await.unwrap().count, 1);
        handle.reread();
        house.settle_down().await;
        let under_way = house.script.seen().iter().filter(|body| *body == "twice").count();
        assert_eq!(under_way, 1, "one attempt at a time");
        house.script.let_go(100);
        house.until_owed(0).await;
        let sent = house.script.seen().iter().filter(|body| *body == "twice").count();
        assert_eq!(sent, 2, "once for each round");
        assert_eq!(house.delivery(twice).await.state, DeliveryState::Delivered);
        assert_eq!(house.script.seen().len(), 3);
        house.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_discarded_while_it_is_being_tried_is_not_tried_again() {
    let house = House::new();
    let handle = house.start(Patience::Forever);
    house.script.hang();
    house.script.answer("unwanted", 500);
    let unwanted = house.accept("unwanted", &["a"]).await.owed[0].id;
    house.accept("behind", &["a"]).await;
    house.until("the attempt", || house.script.count() == 1).await;
    house.store.discard(one(&house, unwanted)).await.unwrap();
    handle.reread();
    house.settle_down().await;
    house.script.let_go(100);
    house.until_owed(0).await;
    house.advance_in_steps(3, 10 * SECOND).await;
    assert_eq!(house.script.seen(), ["unwanted", "behind"]);
    assert_eq!(house.delivery(unwanted).await.state, DeliveryState::Discarded);
    house.stop().await;
}
