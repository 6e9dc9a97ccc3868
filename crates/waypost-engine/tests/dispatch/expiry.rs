//! Outages longer than the schedule.

use waypost_domain::{DeliveryState, Failure, Patience, Reply};

use crate::house::{House, NAME, SECOND};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlives_its_schedule_while_its_destination_is_down_is_dead_and_says_so() {
    let house = House::new();
    house.script.go_down(Some(Reply::Failed(Failure::ConnectRefused)));
    let handle = house.start(Patience::default());
    let mut old = Vec::new();
    for number in 0..300 {
        let conversation = format!("{}", number % 20);
        old.push(house.accept(&format!("old {number}"), &[&conversation]).await.owed[0].id);
    }
    house.until("the breaker", || handle.status().down).await;
    house.advance_in_steps(30, 60 * SECOND).await;
    let young = house.accept("young", &["0"]).await.owed[0].id;
    assert_eq!(house.owed().await, 301, "half the schedule is left");
    house.advance_in_steps(40, 60 * SECOND).await;
    for _ in 0..50 {
        house.advance_in_steps(1, 2 * SECOND).await;
    }
    house.until_owed(1).await;
    let records = [house.delivery(old[0]).await, house.delivery(old[299]).await];
    for record in &records {
        assert_eq!(record.state, DeliveryState::Dead);
    }
    assert_eq!(&*records[1].last_code, "expired");
    house.script.go_down(None);
    house.advance_in_steps(2, 61 * SECOND).await;
    house.until_owed(0).await;
    assert_eq!(house.delivery(young).await.state, DeliveryState::Delivered);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_expires_while_an_operator_holds_the_destination() {
    let house = House::new();
    house.script.go_down(Some(Reply::Failed(Failure::ConnectRefused)));
    let handle = house.start(Patience::default());
    house.accept("held 1", &["a"]).await;
    house.accept("held 2", &["b"]).await;
    house.until("the breaker", || handle.status().down).await;
    house.dispatcher.pause(NAME, true);
    house.until("the pause", || handle.status().paused).await;
    house.advance_in_steps(20, 3_600 * SECOND).await;
    assert_eq!(house.owed().await, 2);
    house.script.go_down(None);
    house.dispatcher.pause(NAME, false);
    house.until("what was held", || house.script.has_seen("held 1") && house.script.has_seen("held 2")).await;
    house.stop().await;
}
