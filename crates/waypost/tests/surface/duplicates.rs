//! Accepted once: a repeat is answered 200, counted, and not delivered.

use waypost_whatsapp::{Compose, compose};

use crate::harness::*;

async fn house() -> (Gateway, Receiver) {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new()
        .upstream(HOST, &receiver.origin(), "")
        .upstream("other.example.com", &receiver.origin(), "")
        .start()
        .await;
    (gateway, receiver)
}

/// Sends something new after all else and waits for it, so that what was to come has come.
async fn all_settled(gateway: &Gateway, receiver: &Receiver) -> Vec<Heard> {
    let last = text_to(9_999_999, "4915999999999");
    assert_eq!(ask(gateway.http(), &post("/chatwoot.example.com/last", &[], &last)).await.status, 200);
    receiver.until("the last one", |heard| heard.iter().any(|heard| heard.body == last)).await;
    let waiting = async || gateway.events(&["--state", "owed"]).await.is_empty().then_some(());
    eventually(10, "nothing is owed", waiting).await;
    receiver.heard().into_iter().filter(|heard| heard.body != last).collect()
}

#[tokio::test]
async fn the_same_body_again_is_taken_and_not_delivered_again() {
    let (gateway, receiver) = house().await;
    let body = text(1);
    for _ in 0..3 {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &body)).await.status, 200);
    }
    assert_eq!(all_settled(&gateway, &receiver).await.len(), 1);
    let events = gateway.events(&["--wamid", &wamids(&body)[0]]).await;
    let duplicates = events.iter().filter(|event| event["duplicate"] == true).count();
    assert_eq!((events.len(), duplicates), (3, 2), "{events:?}");
    assert_eq!(gateway.metric("waypost_events_accepted_total{novelty=\"duplicate\"}").await, 2.0);
}

#[tokio::test]
async fn the_same_event_in_other_bytes_is_the_same_event() {
    let (gateway, receiver) = house().await;
    let body = String::from_utf8(text(1)).unwrap();
    let other = body.replacen("{\"object\"", "{ \"object\"", 1);
    assert_ne!(body, other);
    for body in [&body, &other] {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], body.as_bytes())).await.status, 200);
    }
    assert_eq!(all_settled(&gateway, &receiver).await.len(), 1);
}

#[tokio::test]
async fn of_many_at_once_one_is_delivered() {
    let (gateway, receiver) = house().await;
    let body = text(1);
    let mut wires = Vec::new();
    for _ in 0..32 {
        wires.push(Wire::plain(gateway.http()).await);
    }
    let request = post(CALLBACK, &[], &body);
    for wire in &mut wires {
        wire.say(&request).await;
    }
    for wire in &mut wires {
        assert_eq!(wire.answer().await.status, 200);
    }
    assert_eq!(all_settled(&gateway, &receiver).await.len(), 1);
    let events = gateway.events(&["--wamid", &wamids(&body)[0]]).await;
    assert_eq!(events.iter().filter(|event| event["duplicate"] == false).count(), 1);
}

#[tokio::test]
async fn a_partly_new_batch_is_delivered_and_a_known_one_is_not() {
    let (gateway, receiver) = house().await;
    let batch =
        |size| compose("batch", &Compose { batch_size: size, sequence: 7, ..Compose::default() }).unwrap();
    let (small, large) = (batch(3), batch(5));
    assert!(wamids(large.as_bytes()).starts_with(&wamids(small.as_bytes())));
    for body in [&small, &large, &small, &large] {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], body.as_bytes())).await.status, 200);
    }
    let heard = all_settled(&gateway, &receiver).await;
    assert_eq!(heard.iter().map(|heard| heard.wamids().len()).collect::<Vec<_>>(), [3, 5]);
    let events =
        gateway.events(&["--kind", "message", "--conversation", &conversation(&gateway, &small).await]).await;
    assert_eq!(events.iter().filter(|event| event["duplicate"] == false).count(), 5);
}

async fn conversation(gateway: &Gateway, body: &str) -> String {
    let events = gateway.events(&["--wamid", &wamids(body.as_bytes())[0]]).await;
    events[0]["conversation"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_callback_address_does_not_know_what_another_has_seen() {
    let (gateway, receiver) = house().await;
    let body = text(1);
    let targets = [
        "/chatwoot.example.com/webhooks/whatsapp/%2B1",
        "/chatwoot.example.com/webhooks/whatsapp/%2B2",
        "/other.example.com/webhooks/whatsapp/%2B1",
    ];
    for target in targets.iter().chain(&targets) {
        assert_eq!(ask(gateway.http(), &post(target, &[], &body)).await.status, 200);
    }
    // Written another way it is the same address.
    assert_eq!(
        ask(gateway.http(), &post("/CHATWOOT.example%2Ecom/webhooks/whatsapp/%2B1", &[], &body)).await.status,
        200
    );
    assert_eq!(all_settled(&gateway, &receiver).await.len(), targets.len());
}

#[tokio::test]
async fn a_duplicate_is_known_after_a_crash() {
    let (mut gateway, receiver) = house().await;
    let body = text(1);
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &body)).await.status, 200);
    receiver.hears(1).await;
    gateway.until_events(&["--state", "delivered"], 1).await;
    gateway.kill().await;
    let gateway = gateway.setup.start().await;
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &body)).await.status, 200);
    assert_eq!(all_settled(&gateway, &receiver).await.len(), 1);
}

#[tokio::test]
async fn the_dashboards_test_payload_is_delivered_every_time() {
    let (gateway, receiver) = house().await;
    let body = compose("test", &Compose::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], body.as_bytes())).await.status, 200);
    }
    assert_eq!(all_settled(&gateway, &receiver).await.len(), 3, "{body}");
}

#[tokio::test]
async fn statuses_of_one_message_are_events_of_their_own() {
    let (gateway, receiver) = house().await;
    for kind in ["text", "status.read", "status.delivered", "status.sent", "status.read"] {
        let body = compose(kind, &Compose { sequence: 4, ..Compose::default() }).unwrap();
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], body.as_bytes())).await.status, 200);
    }
    assert_eq!(all_settled(&gateway, &receiver).await.len(), 4);
}
