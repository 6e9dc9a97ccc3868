//! Order within conversations, and how deliveries end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use waypost_domain::{DeliveryState, Patience};

use crate::house::{House, NAME, SECOND};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_is_delivered_in_order_of_acceptance_one_at_a_time() {
    let house = House::new();
    house.script.take_its_time(Duration::from_millis(2));
    house.start(Patience::default());
    for number in 0..60 {
        house.accept(&format!("{}-{number:02}", number % 3), &[["a", "b", "c"][number % 3]]).await;
    }
    house.until_owed(0).await;
    for conversation in ["0-", "1-", "2-"] {
        let seen: Vec<_> =
            house.script.seen().into_iter().filter(|body| body.starts_with(conversation)).collect();
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!(seen.len(), 20);
    }
    assert!(
        house.script.most_under_way.load(Ordering::SeqCst) <= 3,
        "three conversations, one attempt in each"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_over_two_conversations_keeps_the_order_of_both() {
    let house = House::new();
    house.start(Patience::default());
    house.script.answer("first of a", 503);
    house.accept("first of a", &["a"]).await;
    house.until("the first attempt", || house.script.count() == 1).await;
    house.accept("batch", &["a", "b"]).await;
    house.accept("last of b", &["b"]).await;
    house.accept("c", &["c"]).await;
    house.until("the free conversation", || house.script.has_seen("c")).await;
    assert_eq!(house.script.count(), 2, "batch and what is behind it wait");
    house.script.answer("first of a", 200);
    house.advance(6 * SECOND);
    house.until_owed(0).await;
    assert_eq!(house.script.seen()[2..], ["first of a", "batch", "last of b"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poison_event_holds_its_conversation_for_its_patience_and_no_other() {
    let house = House::new();
    house.start(Patience::For(120 * SECOND));
    house.script.answer("poison", 500);
    let poison = house.accept("poison", &["a"]).await.owed[0].id;
    house.accept("behind", &["a"]).await;
    for number in 0..20 {
        house.accept(&format!("other {number}"), &["b"]).await;
    }
    house.until_owed(2).await;
    assert!(!house.script.has_seen("behind"));
    for _ in 0..13 {
        house.advance(10 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.until("the one behind", || house.script.has_seen("behind")).await;
    house.until_owed(1).await;
    house.script.answer("poison", 200);
    house.advance(70 * SECOND);
    house.until_owed(0).await;
    let record = house.delivery(poison).await;
    assert_eq!(record.state, DeliveryState::Delivered);
    assert!(record.owed.overtaken, "what was stepped over is marked so");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_was_and_charges_nothing_for_the_stop() {
    let house = House::new();
    let handle = house.start(Patience::default());
    house.dispatcher.pause(NAME, true);
    house.until("the pause", || handle.status().paused).await;
    for number in 0..5 {
        house.accept(&format!("{number}"), &["a"]).await;
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(house.script.count(), 0, "a paused destination is sent nothing");
    let (folder, clock, script) = house.stop().await;
    let house = House::over(folder, clock, script);
    house.start(Patience::default());
    house.until_owed(0).await;
    assert_eq!(house.script.seen(), ["0", "1", "2", "3", "4"]);
    assert!(house.script.log().iter().all(|seen| seen.attempt == 1));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_content_is_dead_at_once_and_lets_its_conversation_go_on() {
    let house = House::new();
    house.start(Patience::Forever);
    house.script.answer("bad", 422);
    let bad = house.accept("bad", &["a"]).await.owed[0].id;
    house.accept("good", &["a"]).await;
    house.until_owed(0).await;
    assert_eq!(house.delivery(bad).await.state, DeliveryState::Dead);
    assert_eq!(house.script.seen(), ["bad", "good"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_given_up_only_when_its_schedule_is_used_up() {
    let house = House::new();
    house.start(Patience::Forever);
    house.script.answer("never", 500);
    let never = house.accept("never", &["a"]).await.owed[0].id;
    let mut tries = 0;
    for _ in 0..80 {
        house.advance(67 * SECOND);
        tokio::time::sleep(Duration::from_millis(8)).await;
        tries = house.script.count();
    }
    house.until_owed(0).await;
    assert_eq!(house.delivery(never).await.state, DeliveryState::Dead);
    assert!((40..=62).contains(&tries), "{tries} attempts in an hour");
    house.stop().await;
}
