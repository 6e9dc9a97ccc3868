//! Destinations with nothing to do: there may be thousands of them.

use std::time::Duration;

use waypost_domain::Patience;

use crate::house::{House, NAME, SECOND};

/// Lets so much time pass without anything to do that the destination comes to rest.
async fn come_to_rest(house: &House) {
    for _ in 0..4 {
        house.advance(31 * SECOND);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_at_rest_begins_afresh_with_what_is_next_accepted() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..200 {
        house.accept(&format!("{number:03}"), &[&format!("c{}", number % 20)]).await;
    }
    house.until_owed(0).await;
    let learnt = handle.status().concurrency;
    come_to_rest(&house).await;
    assert!(!handle.is_owed(), "a relay may pass calls through again");
    house.accept("later", &["c1"]).await;
    house.until_owed(0).await;
    house.until("the new desk's word", || handle.status().concurrency < learnt).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_at_rest_is_held_and_changed_like_any_other() {
    let house = House::new();
    let handle = house.start(Patience::default());
    house.accept("first", &["a"]).await;
    house.until_owed(0).await;
    come_to_rest(&house).await;
    house.dispatcher.pause(NAME, true);
    house.until("the pause", || handle.status().paused).await;
    house.accept("held", &["a"]).await;
    house.settle_down().await;
    assert_eq!(house.owed().await, 1);
    house.dispatcher.put(house.destination());
    house.dispatcher.pause(NAME, false);
    house.until_owed(0).await;
    house.stop().await;
}
