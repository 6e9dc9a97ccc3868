//! Destinations that take events in their normalised form.

use serde_json::{Value, json};
use waypost_domain::{DeliveryState, Match};
use waypost_engine::routing::{Batches, Routing};
use waypost_engine::sender::{HttpSender, Ping, Signing, StandardSecret};
use waypost_store::EventFilter;
use waypost_whatsapp::{Compose, compose};

use crate::batches::{body_of, change};
use crate::house::{House, SECOND, SOURCE_SECRET};
use crate::receiver::{Receiver, Seen};
use crate::signatures::{OLDER, STANDARD, believes, standard};

fn of_events(house: &House, receiver: &Receiver, signing: Signing) -> HttpSender {
    let secrets = [STANDARD, OLDER].map(|(_, text)| StandardSecret::parse(text).unwrap());
    house.sender_of_events(receiver, signing, secrets.to_vec())
}

fn event(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_arrives_in_its_normalised_form_under_every_secret() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let sender = of_events(&house, &receiver, Signing::Nothing);
    let routing = Routing::new([(Match::everything(), [house.put("bot", sender, Batches::Split)])]);
    let body = body_of(&[change("11", &[("a", "one"), ("b", "two")]), change("22", &[("c", "three")])]);
    let more = [("x-from-meta", "1"), ("content-encoding", "identity"), ("webhook-id", "forged")];
    house.post_with(body.as_bytes(), &more, &routing).await;
    let mut seen = receiver.hears(3).await;
    seen.sort_by_key(|seen| event(seen)["id"].as_str().unwrap().to_owned());
    let events: Vec<Value> = seen.iter().map(event).collect();
    for ((seen, event), (id, text, change)) in seen.iter().zip(&events).zip([
        ("a", "one", Some("new")),
        ("b", "two", None),
        ("c", "three", Some("new")),
    ]) {
        assert_eq!((&event["version"], &event["type"]), (&json!(1), &json!("message:new")));
        assert_eq!(event["data"]["id"], format!("wamid.{id}"));
        assert_eq!(event["data"]["content"], json!({ "type": "text", "body": text }));
        assert_eq!(event["contact_change"], json!(change), "{id}");
        assert_eq!(seen.one("waypost-event-id"), event["id"].as_str());
        assert_eq!(seen.one("waypost-event"), Some("message:new"));
        assert_eq!(seen.one("content-type"), Some("application/json"));
        let both = format!("{} {}", standard(STANDARD.0, seen), standard(OLDER.0, seen));
        assert_eq!(seen.one("webhook-signature"), Some(&*both));
        assert_eq!(seen.one("webhook-id"), seen.one("waypost-delivery-id"));
        for of_meta in ["x-hub-signature-256", "x-from-meta", "content-encoding"] {
            assert_eq!(seen.one(of_meta), None, "{of_meta} is said of another body");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_retry_has_the_same_bytes_whatever_has_come_since() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let sender = of_events(&house, &receiver, Signing::Nothing);
    let routing = Routing::new([(Match::everything(), [house.put("bot", sender, Batches::Split)])]);
    receiver.answer_next(&[500, 503]);
    let status = |kind: &str| compose(kind, &Compose::default()).unwrap();
    house.post(status("status.delivered").as_bytes(), &routing).await;
    receiver.hears(1).await;
    house.post(status("status.read").as_bytes(), &routing).await;
    house.post(status("status.sent").as_bytes(), &routing).await;
    for _ in 0..400 {
        if receiver.count() == 5 {
            break;
        }
        house.advance(6 * SECOND, "bot");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let seen = receiver.hears(5).await;
    assert!(seen[0].body == seen[1].body && seen[1].body == seen[2].body);
    let numbers: Vec<_> = seen[..3].iter().map(|seen| seen.one("waypost-attempt").unwrap()).collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    let times: Vec<_> = seen[..3].iter().map(|seen| seen.one("webhook-timestamp").unwrap()).collect();
    assert!(times.is_sorted() && times[0] != times[2], "each attempt is signed at its own time");
    let states: Vec<Value> = seen[2..].iter().map(|seen| event(seen)["data"]["state"].clone()).collect();
    for (state, (status, changed)) in
        states.iter().zip([("delivered", true), ("read", true), ("read", false)])
    {
        assert_eq!((&state["status"], &state["changed"]), (&json!(status), &json!(changed)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_checks_metas_signature_finds_one_of_these_bytes() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let sender = of_events(&house, &receiver, Signing::Source);
    assert!(sender.sends_events());
    let ping = sender.ping(Ping { source: Some("acme".into()), target: None }).await;
    assert!(matches!(ping.reply, waypost_domain::Reply::Answered { status: 200, .. }));
    let routing = Routing::new([(Match::everything(), [house.put("bot", sender, Batches::Split)])]);
    house.post(body_of(&[change("11", &[("a", "one"), ("b", "two")])]).as_bytes(), &routing).await;
    for seen in receiver.hears(3).await {
        assert!(believes(SOURCE_SECRET, &seen));
        assert!(event(&seen)["version"] == 1, "a ping has the shape of an event too");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_came_whole_is_never_taken_for_its_first_event() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let sender = of_events(&house, &receiver, Signing::Nothing);
    let routing = Routing::new([(Match::everything(), [house.put("bot", sender, Batches::Whole)])]);
    house.post(body_of(&[change("11", &[("a", "one"), ("b", "two")])]).as_bytes(), &routing).await;
    house.post(body_of(&[change("22", &[("c", "three")])]).as_bytes(), &routing).await;
    let seen = receiver.hears(1).await;
    assert_eq!(event(&seen[0])["data"]["id"], "wamid.c");
    for _ in 0..400 {
        let events = house.events(EventFilter::default()).await;
        let codes: Vec<_> = events.iter().map(|event| &*event.deliveries[0].last_code).collect();
        let states: Vec<_> = events.iter().map(|event| event.deliveries[0].state).collect();
        // The newest first: the one alone, then the two of the batch, which share a delivery.
        if states[0] == DeliveryState::Delivered && !codes[1].is_empty() {
            assert!(states[1] != DeliveryState::Delivered && states[2] != DeliveryState::Delivered);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the batch was never refused");
}
