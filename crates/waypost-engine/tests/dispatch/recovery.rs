//! Receivers that have just risen, or are asking for rest.

use std::time::Duration;

use waypost_domain::{Failure, Patience, Reply};
use waypost_engine::dispatch::Destination;

use crate::house::{House, SECOND};

/// How many attempts at once the ramp allows after so many have been taken since the receiver was back: one more
/// for each up to four, then one more for as many as there may be.
fn ramp(taken: usize) -> usize {
    let (mut limit, mut successes) = (1, 0);
    for _ in 0..taken {
        successes += 1;
        if limit < 4 || successes >= limit {
            (limit, successes) = (limit + 1, 0);
        }
    }
    limit
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_back_never_sees_more_than_the_ramp_allows() {
    let house = House::new();
    let handle = house.dispatcher.put(Destination { concurrency_max: 64, ..house.destination() });
    house.script.go_down(Some(Reply::Failed(Failure::ConnectRefused)));
    let all = (0..400).map(|number| (format!("{number}-0"), format!("conversation {number}")));
    house.accept_all(all).await;
    house.until("the breaker", || handle.status().down).await;
    house.settle_down().await;
    let before = house.script.count();
    house.script.go_down(None);
    house.script.take_its_time(Duration::from_millis(2));
    house.advance_in_steps(10, SECOND).await;
    house.until_owed(0).await;
    let log = &house.script.log()[before..];
    for seen in log {
        assert!(seen.under_way <= ramp(seen.taken), "{seen:?}, where {} were allowed", ramp(seen.taken));
    }
    let most = log.iter().map(|seen| seen.under_way).max().unwrap();
    assert!(most > 8, "it grows: {most} at once in the end");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_says_when_to_come_back_is_sent_nothing_until_then() {
    let house = House::new();
    house.start(Patience::Forever);
    house.script.take_its_time(Duration::from_millis(5));
    let throttled = Reply::Answered { status: 429, retry_after: Some(30 * SECOND) };
    house.script.go_down(Some(throttled));
    let all = (0..100).map(|number| (format!("{number}-0"), format!("conversation {number}")));
    house.accept_all(all).await;
    house.until("the first answers", || house.script.count() >= 4).await;
    house.settle_down().await;
    let before = house.script.count();
    assert!(before <= 8, "{before} sent before it was heard");
    house.script.go_down(None);
    house.advance_in_steps(9, 3 * SECOND).await;
    assert_eq!(house.script.count(), before, "not before it said");
    house.advance_in_steps(10, 4 * SECOND).await;
    house.until_owed(0).await;
    let after = &house.script.log()[before..];
    assert!(after.iter().all(|seen| seen.under_way <= ramp(seen.taken)), "and gently then");
    house.stop().await;
}
