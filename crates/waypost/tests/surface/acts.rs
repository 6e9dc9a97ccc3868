//! What operators do: hold, let go, replay, hurry, give up; each on record.

use serde_json::Value;

use crate::harness::*;

const HOST: &str = "receiver.example";
const TARGET: &str = "/receiver.example/webhooks/whatsapp/%2B1";

async fn rows(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let ended = gateway.run(&[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_paused_destination_is_sent_nothing_until_it_is_let_go_restarts_included() {
    let receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    let mut gateway = setup.start().await;
    assert_eq!(rows(&gateway, &["pause", HOST]).await[0]["paused"], true);
    assert_eq!(ask(gateway.http(), &signed(TARGET, &text(1))).await.status, 200);
    gateway.kill().await;
    let gateway = setup.start().await;
    assert_eq!(ask(gateway.http(), &signed(TARGET, &text(2))).await.status, 200);
    let owed = rows(&gateway, &["deliveries", "list", "--state", "owed"]).await;
    assert_eq!(owed.len(), 2, "{owed:?}");
    assert!(receiver.heard().is_empty());
    assert_eq!(rows(&gateway, &["resume", HOST]).await[0]["changed"], true);
    let heard = receiver.hears(2).await;
    assert_eq!([&heard[0].body, &heard[1].body], [&text(1), &text(2)]);
    assert_eq!(gateway.run(&["pause", "nobody.example"]).await.code, Some(1));
}

#[tokio::test]
async fn the_dead_are_listed_replayed_byte_for_byte_and_given_up_on_record() {
    let receiver = Receiver::start(|_| Reply::Status(422)).await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    for sequence in 1..=2 {
        assert_eq!(ask(gateway.http(), &signed(TARGET, &text(sequence))).await.status, 200);
    }
    receiver.hears(2).await;
    let dead = eventually(10, "two dead", async || {
        let dead = rows(&gateway, &["dead", "list", "--code", "422"]).await;
        (dead.len() == 2).then_some(dead)
    })
    .await;
    assert_eq!(dead[0]["last_code"], "receiver_refused_content");
    let (first, second) = (dead[1]["id"].as_str().unwrap(), dead[0]["id"].as_str().unwrap());

    let refused = gateway.run(&["dead", "replay"]).await;
    assert_eq!(refused.code, Some(2), "not everything by accident: {refused:?}");
    let plan = rows(&gateway, &["dead", "replay", "--all", "--plan"]).await;
    assert_eq!((plan[0]["count"].as_u64(), plan[0]["plan"].as_bool()), (Some(2), Some(true)));
    receiver.behave(|_| Reply::Status(200));
    assert_eq!(rows(&gateway, &["dead", "replay", first]).await[0]["count"], 1);
    let delivered = async || {
        let delivered = rows(&gateway, &["deliveries", "list", "--state", "delivered"]).await;
        (delivered.len() == 1).then_some(())
    };
    eventually(10, "the replayed one delivered", delivered).await;
    for act in [["dead", "discard", first], ["dead", "replay", first], ["deliveries", "retry", first]] {
        let refused = gateway.run(&act).await;
        assert!(refused.code == Some(1) && refused.err.contains("is delivered"), "{act:?}: {refused:?}");
    }
    let refused = gateway.run(&["dead", "discard", second, "--destination", HOST]).await;
    assert_eq!(refused.code, Some(2), "an id and filters: {refused:?}");
    let heard = receiver.hears(3).await;
    assert_eq!(heard[2].body, heard[0].body);
    assert_eq!(heard[2].all("x-hub-signature-256"), heard[0].all("x-hub-signature-256"));

    let discarded = gateway.run(&["dead", "discard", second, "--note", "spam"]).await;
    assert_eq!(discarded.code, Some(0), "{discarded:?}");
    let shown = rows(&gateway, &["deliveries", "show", second]).await;
    assert_eq!(
        (shown[0]["state"].as_str(), shown[0]["acts"][0]["what"].as_str()),
        (Some("discarded"), Some("discard"))
    );
    assert_eq!(shown[0]["acts"][0]["note"], "spam");
    assert!(shown[0]["acts"][0]["who"].as_str().unwrap().starts_with("uid "), "{shown:?}");

    let replay = rows(&gateway, &["replay", "--since", "1h", "--plan"]).await;
    assert_eq!(replay[0]["count"], 2, "the delivered one and the discarded one");
    assert_eq!(gateway.run(&["replay"]).await.code, Some(2), "a replay needs a bound");
}

#[tokio::test]
async fn what_waits_for_its_time_can_be_hurried() {
    let receiver = Receiver::start(|_| Reply::Status(500)).await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "schedule = [\"6h\"]").start().await;
    assert_eq!(ask(gateway.http(), &signed(TARGET, &text(1))).await.status, 200);
    receiver.hears(1).await;
    eventually(10, "a failed attempt", async || {
        let owed = rows(&gateway, &["deliveries", "list", "--code", "receiver_failed"]).await;
        (!owed.is_empty()).then_some(())
    })
    .await;
    receiver.behave(|_| Reply::Status(200));
    assert_eq!(rows(&gateway, &["deliveries", "retry", "--destination", HOST]).await[0]["count"], 1);
    let heard = receiver.hears(2).await;
    assert_eq!(heard[1].all("waypost-attempt"), ["2"]);
}

#[tokio::test]
async fn a_relay_with_a_fallback_keeps_what_a_dead_receiver_cannot_take_and_nothing_passes_it() {
    let mut receiver = Receiver::willing().await;
    let keys = "mode = \"relay\"\nfallback = \"store\"\nschedule = [\"1s\"]";
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), keys).start().await;
    let send = async |sequence| ask(gateway.http(), &signed(TARGET, &text(sequence))).await.status;
    // It relays once it has found that it owes nothing.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(send(1).await, 200);
    assert_eq!(receiver.hears(1).await[0].all("waypost-attempt"), [""; 0], "passed on as it came");
    assert!(gateway.events(&[]).await.is_empty(), "nothing is kept while all is well");
    receiver.leave().await;
    assert_eq!([send(2).await, send(3).await], [200, 200]);
    assert_eq!(gateway.events(&[]).await.len(), 2);
    receiver.come_back().await;
    assert_eq!(send(4).await, 200);
    let heard =
        receiver.until("all four", |heard| heard.iter().filter(|heard| heard.taken).count() >= 4).await;
    let bodies: Vec<_> = heard.iter().filter(|heard| heard.taken).map(|heard| heard.body.clone()).collect();
    assert_eq!(bodies[..4], [text(1), text(2), text(3), text(4)]);
}

#[tokio::test]
async fn a_name_that_nobody_has_is_said_to_be_nobodys() {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    for (arguments, words) in [
        (["events", "list", "--source", "reciever.example"], "there is no source `reciever.example`"),
        (["events", "list", "--destination", "x"], "there is no destination `x`"),
        (["deliveries", "list", "--destination", "x"], "there is no destination `x`"),
        (["dead", "replay", "--destination", "x"], "there is no destination `x`"),
        (["deliveries", "discard", "--source", "y"], "there is no source `y`"),
        (["quarantine", "list", "--source", "y"], "there is no source `y`"),
        (["quarantine", "replay", "--source", "y"], "there is no source `y`"),
    ] {
        let refused = gateway.run(&arguments).await;
        assert!(refused.code == Some(1) && refused.err.contains(words), "{arguments:?}: {refused:?}");
    }
    assert!(rows(&gateway, &["deliveries", "list", "--destination", HOST]).await.is_empty());
    // What is gone and has left something behind is still somebody.
    gateway.run(&["upstream", "add", "gone.example", "--origin", &receiver.origin()]).await.done();
    let target = TARGET.replace(HOST, "gone.example");
    assert_eq!(ask(gateway.http(), &signed(&target, &text(1))).await.status, 200);
    receiver.hears(1).await;
    gateway.run(&["upstream", "remove", "gone.example"]).await.done();
    assert_eq!(rows(&gateway, &["events", "list", "--source", "gone.example"]).await.len(), 1);
    assert_eq!(rows(&gateway, &["deliveries", "list", "--destination", "gone.example"]).await.len(), 1);
    let wrong = gateway.run(&["events", "list", "--since", "yesterday"]).await;
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
}

#[tokio::test]
async fn what_is_owed_says_what_it_waits_for() {
    let receiver = Receiver::start(|_| Reply::Status(500)).await;
    let keys = "schedule = [\"1h\"]\nlane_patience = \"forever\"";
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), keys).start().await;
    let waits_for = async |id: &str| {
        let shown = rows(&gateway, &["deliveries", "show", id]).await.remove(0);
        let event = shown["events"][0].as_str().unwrap().to_owned();
        let of_event = rows(&gateway, &["events", "show", &event]).await.remove(0);
        assert_eq!(of_event["deliveries"][0]["waits_for"], shown["waits_for"]);
        shown["waits_for"].clone()
    };
    assert_eq!(ask(gateway.http(), &signed(TARGET, &text(1))).await.status, 200);
    receiver.hears(1).await;
    assert_eq!(ask(gateway.http(), &signed(TARGET, &text(2))).await.status, 200);
    let owed = eventually(10, "the first attempt is on record", async || {
        let owed = rows(&gateway, &["deliveries", "list", "--state", "owed"]).await;
        (owed.len() == 2 && owed[1]["attempts"] == 1).then_some(owed)
    })
    .await;
    let (first, second) = (owed[1]["id"].as_str().unwrap(), owed[0]["id"].as_str().unwrap());
    let first_waits = waits_for(first).await;
    assert_eq!((&first_waits["code"], &first_waits["until"]), (&"next_attempt".into(), &owed[1]["due_at"]));
    let second_waits = waits_for(second).await;
    assert_eq!((&second_waits["code"], &second_waits["delivery"]), (&"conversation".into(), &first.into()));
    let told = gateway.run(&["deliveries", "show", second]).await.done().out;
    assert!(told.contains(&format!("waits     {first} of the same conversation goes first")), "{told}");
    gateway.run(&["pause", HOST]).await.done();
    eventually(10, "it is held", async || (waits_for(first).await["code"] == "paused").then_some(())).await;
    gateway.run(&["resume", HOST]).await.done();
    receiver.behave(|_| Reply::Status(200));
    gateway.run(&["deliveries", "retry", "--all"]).await.done();
    receiver.hears(3).await;
    eventually(10, "both are delivered", async || {
        let delivered = rows(&gateway, &["deliveries", "list", "--state", "delivered"]).await;
        (delivered.len() == 2).then_some(())
    })
    .await;
    assert!(waits_for(first).await.is_null());
}
