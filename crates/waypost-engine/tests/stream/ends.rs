//! Where the stream begins and ends, and what remains of what is kept no more.

use std::time::Duration;

use serde_json::json;
use waypost_domain::EventId;
use waypost_engine::stream::{Cursor, Since, StreamError, SubscribeError, View};
use waypost_store::Retention;
use waypost_whatsapp::Compose;

use crate::house::{House, all, an_hour, ids, next, read, seen};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_older_than_what_is_kept_is_told_the_oldest_to_go_on_from() {
    let house = House::new();
    let old = Cursor::of(house.text(0).await);
    house.text(1).await;
    house.clock.advance(2 * HOUR);
    house.text(2).await;
    // A listener who has kept up, and one who is far behind.
    let mut kept_up = house.reader(Since::Now).await;
    let mut behind = house.reader(Since::After(old)).await;
    house.prune(an_hour()).await;
    let refused = house.stream.subscribe(all(Since::After(old))).await;
    let Err(SubscribeError::TooOld { oldest }) = refused else { panic!("it must be refused") };
    assert_eq!(behind.next(10).await.unwrap_err(), StreamError::TooOld { oldest });
    let mut resumed = house.reader(Since::After(oldest)).await;
    assert_eq!(ids(&read(&mut resumed, 1).await), ids(&house.everything().await));
    house.text(3).await;
    assert_eq!(read(&mut kept_up, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_everything_that_is_gone_goes_on() {
    let house = House::new();
    house.text(0).await;
    let last = Cursor::of(house.text(1).await);
    house.clock.advance(2 * HOUR);
    house.prune(an_hour()).await;
    assert_eq!(house.count().await, 0);
    let mut reader = house.reader(Since::After(last)).await;
    let third = house.text(2).await;
    let frames = read(&mut reader, 1).await;
    assert_eq!(frames[0].record().id, third);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_gateway_is_not_taken_for_one_of_ours() {
    let house = House::new();
    house.text(0).await;
    for cursor in [Cursor::of(EventId(i64::MAX)), Cursor::companion_of(EventId(i64::MAX - 1))] {
        let refused = house.stream.subscribe(all(Since::After(cursor))).await;
        assert!(matches!(refused, Err(SubscribeError::Unknown)));
    }
    assert!(house.stream.subscribe(all(Since::After(Cursor::START))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_stream_is_waited_for_and_polled_at_once() {
    let house = House::new();
    for since in [Since::Now, Since::Oldest] {
        let mut reader = house.reader(since).await;
        let batch = tokio::time::timeout(Duration::from_secs(5), reader.poll_now(10)).await.unwrap().unwrap();
        assert!(batch.frames.is_empty());
    }
    let mut reader = house.reader(Since::Oldest).await;
    house.text(0).await;
    assert_eq!(read(&mut reader, 2).await.len(), 2);
    let batch = reader.poll_now(10).await.unwrap();
    assert_eq!((batch.frames.len(), batch.behind), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_served_from_the_store_is_behind_until_its_end() {
    let house = House::new();
    for sequence in 0..10 {
        house.text(sequence).await;
    }
    // Nobody listened, so that nothing of it is in memory.
    for polled in [false, true] {
        let mut reader = house.reader(Since::Oldest).await;
        let mut taken = 0;
        while taken < 11 {
            let batch = if polled { reader.poll_now(2).await } else { reader.next(2).await }.unwrap();
            taken += batch.frames.len();
            assert_eq!(batch.behind > 0, taken < 11, "{taken}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_between_looking_and_listening_is_not_missed() {
    let house = House::new();
    for sequence in 0..30 {
        let mut reader = house.reader(Since::Now).await;
        let event = house.text(sequence).await;
        let frames = next(&mut reader, 1).await.frames;
        assert_eq!(frames[0].record().id, event);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_that_is_gone_leaves_the_record() {
    let house = House::new();
    house.text(0).await;
    house.compose("status.read", &Compose { sequence: 1, ..Compose::default() }).await;
    house.clock.advance(2 * HOUR);
    let bodies_only = Retention { records: 100 * HOUR, dead: 100 * HOUR, ..an_hour() };
    let before = house.everything().await;
    house.prune(bodies_only).await;
    assert_eq!(house.count().await, 2);
    let after = house.everything().await;
    assert_eq!(ids(&before), ids(&after));
    for (before, after) in before.iter().zip(&after) {
        let view = View { content: false, ..View::WHOLE };
        assert_eq!(before.event_type(), after.event_type());
        let (bare, gone) = (seen(before, view), seen(after, View::WHOLE));
        assert_eq!((&gone["payload"]["evidence_gone"], gone["payload"].get("data")), (&json!(true), None));
        let mut told = gone;
        told["payload"].as_object_mut().unwrap().remove("evidence_gone");
        assert_eq!(bare, told, "what is left is what a reader without content sees");
    }
}
