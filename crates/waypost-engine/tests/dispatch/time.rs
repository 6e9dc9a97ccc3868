//! Clocks that step, and waits of all lengths.

use std::time::Duration;

use waypost_domain::{Patience, RetrySchedule, UnixMillis};
use waypost_engine::dispatch::Destination;

use crate::house::{House, SECOND};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_wall_clock_neither_stalls_nor_stampedes() {
    let house = House::new();
    house.start(Patience::Forever);
    house.script.answer("slow", 500);
    house.accept("slow", &["a"]).await;
    house.until("the first attempt", || house.script.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    house.clock.step_wall(UnixMillis(house.clock.wall().0 + 3_600_000));
    house.advance(SECOND);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(house.script.count(), 1, "an hour's step forward is no hour of waiting");
    house.clock.step_wall(UnixMillis(house.clock.wall().0 - 7_200_000));
    house.script.answer("slow", 200);
    house.advance(6 * SECOND);
    house.until_owed(0).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_long_and_waits_for_nobody_takes_no_place_and_comes_back_in_time() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..5 {
        house.script.answer(&format!("poison {number}"), 500);
        house.accept(&format!("poison {number}"), &[""]).await;
        house.accept(&format!("good {number}"), &["a"]).await;
    }
    house.until_owed(5).await;
    house.advance(6 * SECOND);
    house.until("the second attempts", || house.script.count() >= 15).await;
    house.until("an empty window", || handle.status().window == 0).await;
    for number in 0..5 {
        house.script.answer(&format!("poison {number}"), 200);
    }
    house.advance(67 * SECOND);
    house.until_owed(0).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_tried_waits_for_no_clock_that_stepped_back() {
    let house = House::new();
    house.dispatcher.pause(crate::house::NAME, true);
    house.accept("before the step", &["a"]).await;
    house.clock.step_wall(UnixMillis(house.clock.wall().0 - 3_600_000));
    house.accept("after the step", &["a"]).await;
    house.start(Patience::Forever);
    house.dispatcher.pause(crate::house::NAME, false);
    house.until_owed(0).await;
    assert_eq!(house.script.seen(), ["before the step", "after the step"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_an_hour_while_much_is_parked_brings_no_stampede() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..40 {
        house.script.answer(&format!("poison {number}"), 404);
        house.accept(&format!("poison {number}"), &[""]).await;
    }
    house.until("the first attempts", || house.script.count() == 40).await;
    house.advance_in_steps(1, 6 * SECOND).await;
    house.until("an empty window", || handle.status().window == 0).await;
    assert_eq!(house.script.count(), 80);
    house.clock.step_wall(UnixMillis(house.clock.wall().0 + 3_600_000));
    house.advance_in_steps(5, 10 * SECOND).await;
    assert_eq!(house.script.count(), 80, "nothing is due a minute after the last attempt");
    house.clock.step_wall(UnixMillis(house.clock.wall().0 - 3_600_000));
    for number in 0..40 {
        house.script.answer(&format!("poison {number}"), 200);
    }
    house.advance_in_steps(3, 10 * SECOND).await;
    house.until_owed(0).await;
    let most = house.script.most_under_way.load(std::sync::atomic::Ordering::SeqCst);
    assert!(most <= 8, "{most} at once");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_years_wait_overflows_no_timer() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let house = House::new();
    let schedule = RetrySchedule::new(vec![YEAR], Duration::MAX).unwrap();
    let handle = house.dispatcher.put(Destination { schedule, ..house.destination() });
    for (body, conversation) in [("free", ""), ("first", "a"), ("second", "a")] {
        house.script.answer(body, 404);
        house.accept(body, &[conversation]).await;
    }
    house.until("the first attempts", || house.script.count() == 2).await;
    house.settle_down().await;
    assert!(handle.is_owed());
    for body in ["free", "first", "second"] {
        house.script.answer(body, 200);
    }
    house.advance_in_steps(2, YEAR).await;
    house.until_owed(0).await;
    house.stop().await;
}
