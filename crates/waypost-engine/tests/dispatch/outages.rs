//! Receivers that are down, or seem so.

use std::time::Duration;

use waypost_domain::{Failure, Patience, Reply};
use waypost_store::OwedPage;

use crate::house::{House, NAME, SECOND};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_probes_not_attempts_and_drains_in_order() {
    let house = House::new();
    house.script.go_down(Some(Reply::Failed(Failure::ConnectRefused)));
    let handle = house.start(Patience::For(120 * SECOND));
    house.accept("00", &["a"]).await;
    house.accept("01", &["b"]).await;
    house.until("the breaker", || handle.status().down).await;
    for number in 2..50 {
        house.accept(&format!("{number:02}"), &["a"]).await;
    }
    let before = house.script.count();
    for _ in 0..10 {
        house.advance(60 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let probes = house.script.count() - before;
    assert!((3..=12).contains(&probes), "{probes} probes in ten minutes");
    assert_eq!(house.owed().await, 50);
    let page = OwedPage { destination: NAME.into(), after: None, limit: 100 };
    let owed = house.store.owed(page).await.unwrap();
    assert!(owed.iter().all(|delivery| delivery.attempts <= 1 && !delivery.overtaken), "{owed:?}");
    house.script.go_down(None);
    house.advance(61 * SECOND);
    house.until_owed(0).await;
    let seen = house.script.seen();
    let of_a: Vec<_> = seen[before + probes..].iter().filter(|body| *body != "01").collect();
    assert!(of_a.is_sorted(), "{of_a:?}");
    assert!(!handle.status().down);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_poison_events_cannot_keep_a_gate_shut() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..40 {
        let body = format!("poison {number}");
        house.script.answer(&body, 500);
        house.accept(&body, &[body.as_str()]).await;
    }
    house.until("the breaker", || handle.status().down).await;
    house.accept("good", &["good"]).await;
    for _ in 0..20 {
        house.advance(2 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.until("the good one", || house.script.has_seen("good")).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dead_path_keeps_nothing_else_from_its_receiver() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..20 {
        let body = format!("gone {number}");
        house.script.answer(&body, 404);
        house.accept(&body, &[body.as_str()]).await;
    }
    for number in 0..20 {
        house.accept(&format!("good {number}"), &["good"]).await;
    }
    house.until_owed(20).await;
    assert!(!handle.status().down);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_flaps_gets_everything_in_order_at_a_bounded_price() {
    let house = House::new();
    house.start(Patience::Forever);
    for number in 0..120 {
        let conversation = ["a", "b", "c"][number % 3];
        house.accept(&format!("{conversation}-{}", number / 3), &[conversation]).await;
    }
    for minute in 0..40 {
        let up = minute % 2 == 1;
        house.script.go_down((!up).then_some(Reply::Failed(
            [Failure::ConnectRefused, Failure::ConnectionLost, Failure::TimedOut][minute % 3],
        )));
        house.script.take_its_time(Duration::from_millis(if up { 3 } else { 0 }));
        house.advance_in_steps(6, 10 * SECOND).await;
    }
    house.script.go_down(None);
    house.advance_in_steps(20, 10 * SECOND).await;
    house.until_owed(0).await;
    let seen = house.script.seen();
    for conversation in ["a", "b", "c"] {
        crate::house::assert_in_order(&seen, conversation);
    }
    assert!(seen.len() < 120 + 40 * 12, "{} attempts at 120 deliveries in 40 minutes", seen.len());
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_no_delivery_and_keeps_the_order() {
    let house = House::new();
    house.start(Patience::Forever);
    let broken = || Reply::Failed(Failure::ConnectionLost);
    house.script.answer_next(vec![broken(), broken()]);
    for number in 0..10 {
        house.accept(&format!("a-{number}"), &["a"]).await;
    }
    house.until("the first attempt", || house.script.count() == 1).await;
    house.advance_in_steps(2, 6 * SECOND).await;
    house.advance_in_steps(7, 10 * SECOND).await;
    house.until_owed(0).await;
    assert_eq!(house.script.seen()[..4], ["a-0", "a-0", "a-0", "a-1"]);
    crate::house::assert_in_order(&house.script.seen(), "a");
    house.stop().await;
}
