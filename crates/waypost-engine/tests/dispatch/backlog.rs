//! More owed than is held in memory.

use waypost_domain::{Patience, limits};

use crate::house::{House, SECOND, assert_in_order};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_is_blocked_for_ever_keeps_no_other_from_being_delivered() {
    const FOLLOWERS: usize = 3_000;
    let house = House::new();
    house.script.answer("blocked-0", 500);
    let blocked = (0..FOLLOWERS).map(|number| (format!("blocked-{number}"), "blocked".to_owned()));
    house.accept_all(blocked).await;
    let others =
        (0..300).map(|number| (format!("{}-{}", number % 30, number / 30), format!("{}", number % 30)));
    house.accept_all(others).await;
    let handle = house.start(Patience::Forever);
    house.until("the others", || house.script.taken.load(std::sync::atomic::Ordering::SeqCst) == 300).await;
    assert!(!house.script.has_seen("blocked-1"));
    house.until("a window of few", || handle.status().window <= limits::LANE_WINDOW_MAX / 8).await;
    // What comes later finds its way too.
    house.accept("late-0", &["late"]).await;
    house.until("what came later", || house.script.has_seen("late-0")).await;
    house.script.answer("blocked-0", 200);
    house.advance_in_steps(2, 61 * SECOND).await;
    house.until_owed(0).await;
    let seen = house.script.seen();
    assert_in_order(&seen, "blocked");
    (0..30).for_each(|conversation| assert_in_order(&seen, &conversation.to_string()));
    assert!(!handle.is_owed() || handle.status().window == 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_amid_a_backlog_loses_nothing_and_keeps_every_order() {
    let house = House::new();
    house.script.take_its_time(std::time::Duration::from_millis(1));
    house.start(Patience::default());
    let all = |round: usize| {
        (0..2_000).map(move |number| {
            let conversation = number % 7;
            (format!("{conversation}-{}", round * 286 + number / 7), conversation.to_string())
        })
    };
    house.accept_all(all(0).take(1_995)).await;
    house.until("some", || house.script.count() > 100).await;
    let (folder, clock, script) = house.stop().await;
    let house = House::over(folder, clock, script);
    house.start(Patience::default());
    house.until_owed(0).await;
    let seen = house.script.seen();
    (0..7).for_each(|conversation| assert_in_order(&seen, &conversation.to_string()));
    assert!(seen.len() <= 1_995 + 8, "{} attempts", seen.len());
    house.stop().await;
}
