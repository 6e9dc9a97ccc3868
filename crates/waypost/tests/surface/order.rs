//! Order: within a conversation, deliveries begin in the order of acceptance, one at a time, however the
//! receiver fails; a failing conversation holds no other.

use std::collections::HashMap;
use std::time::Duration;

use crate::harness::*;

#[tokio::test]
async fn a_conversation_keeps_its_order_while_the_receiver_fails_at_random() {
    // Every third try fails, in every way there is.
    let mut tries = 0;
    let receiver = Receiver::start(move |_| {
        tries += 1;
        match tries % 12 {
            2 => Reply::Status(503),
            5 => Reply::Reset,
            8 => Reply::Close,
            11 => Reply::Status(429),
            _ => Reply::Status(200),
        }
    })
    .await;
    let keys = "lane_patience = \"forever\"";
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), keys).start().await;
    let contacts = ["4915110000001", "4915110000002", "4915110000003", "4915110000004"];
    let mut sent: HashMap<&str, Vec<String>> = HashMap::new();
    let mut wire = Wire::plain(gateway.http()).await;
    for number in 0..24 {
        let contact = contacts[number % contacts.len()];
        let body = text_to(number as u64, contact);
        wire.say(&post(CALLBACK, &[], &body)).await;
        assert_eq!(wire.answer().await.status, 200);
        sent.entry(contact).or_default().extend(wamids(&body));
    }
    let heard =
        receiver.until("all are taken", |heard| heard.iter().filter(|heard| heard.taken).count() >= 24).await;
    for (contact, sent) in sent {
        let of_contact = heard.iter().flat_map(|heard| {
            heard.wamids().into_iter().filter(|wamid| sent.contains(wamid)).map(|wamid| (wamid, heard.taken))
        });
        let tried: Vec<(String, bool)> = of_contact.collect();
        let taken: Vec<&String> = tried.iter().filter(|(_, taken)| *taken).map(|(wamid, _)| wamid).collect();
        assert_eq!(taken, sent.iter().collect::<Vec<_>>(), "{contact}: each once and in order");
        // Nothing is even tried before what it follows is taken.
        let mut due = sent.iter();
        let mut head = due.next();
        for (wamid, was_taken) in &tried {
            assert_eq!(Some(wamid), head, "{contact}: tried out of turn");
            if *was_taken {
                head = due.next();
            }
        }
    }
}

#[tokio::test]
async fn attempts_of_one_conversation_never_overlap() {
    let receiver = Receiver::start(|_| Reply::Status(200).after(Duration::from_millis(60))).await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    let mut wire = Wire::plain(gateway.http()).await;
    for number in 0..8 {
        wire.say(&post(CALLBACK, &[], &text(number))).await;
        assert_eq!(wire.answer().await.status, 200);
    }
    let heard = receiver.hears(8).await;
    for pair in heard.windows(2) {
        let apart = pair[1].at.duration_since(pair[0].at);
        assert!(apart >= Duration::from_millis(55), "{apart:?} apart");
    }
}

#[tokio::test]
async fn a_failing_conversation_holds_only_itself_and_a_poison_event_is_stepped_over_when_patience_ends() {
    let poison = wamids(&text_to(1, "4915110000001"))[0].clone();
    let key = poison.clone();
    let receiver =
        Receiver::start(move |heard| Reply::Status(if heard.wamids().contains(&key) { 500 } else { 200 }))
            .await;
    let keys = "lane_patience = \"2s\"";
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), keys).start().await;
    let behind = text_to(2, "4915110000001");
    let beside = text_to(3, "4915110000002");
    for body in [&text_to(1, "4915110000001"), &behind, &beside] {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], body)).await.status, 200);
    }
    let took =
        |body: Vec<u8>| move |heard: &Vec<Heard>| heard.iter().any(|heard| heard.body == body && heard.taken);
    let heard = receiver.until("the one beside", took(beside)).await;
    assert!(heard.iter().all(|heard| heard.body != behind), "the one behind has to wait");
    receiver.until("the one behind", took(behind)).await;
    eventually(5, "the poison event is marked", async || {
        let event = &gateway.until_events(&["--wamid", &poison], 1).await[0];
        let delivery = &event["deliveries"][0];
        (delivery["overtaken"] == true && delivery["state"] == "owed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_receiver_refuses_for_good_is_dead_and_holds_nobody() {
    let receiver =
        Receiver::start(|heard| Reply::Status(if heard.wamids() == wamids(&text(1)) { 422 } else { 200 }))
            .await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    for number in [1, 2] {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(number))).await.status, 200);
    }
    let heard = receiver.hears(2).await;
    assert_eq!(heard[1].body, text(2));
    let dead = gateway.until_events(&["--state", "dead"], 1).await;
    assert_eq!(dead[0]["wamid"], wamids(&text(1))[0].as_str());
}

#[tokio::test]
async fn order_holds_across_a_crash_with_the_receiver_down() {
    let mut receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    receiver.leave().await;
    let mut gateway = setup.start().await;
    for number in 0..10 {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(number))).await.status, 200);
    }
    gateway.kill().await;
    let gateway = setup.start().await;
    for number in 10..20 {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(number))).await.status, 200);
    }
    receiver.come_back().await;
    let heard = receiver.hears(20).await;
    let order: Vec<_> = heard.iter().flat_map(Heard::wamids).collect();
    assert_eq!(order, (0..20).flat_map(|number| wamids(&text(number))).collect::<Vec<_>>());
}
