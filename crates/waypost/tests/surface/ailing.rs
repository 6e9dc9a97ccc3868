//! `waypost doctor` on a running gateway: whatever holds messages up is named, with why and what to type.

use crate::doctor::Examined;
use crate::harness::*;

async fn examine(gateway: &Gateway) -> Examined {
    let config = gateway.setup.home.config();
    Examined::of(&gateway.run(&["doctor", "--config", config.to_str().unwrap(), "--json"]).await)
}

#[tokio::test]
async fn sources_that_cannot_be_saved_at_meta_prove_nothing_or_hear_nothing_are_told() {
    let receiver = Receiver::willing().await;
    let sections = [
        source(&[SECRET]),
        "[[source]]\nname = \"bare\"\ntoken = \"another-token-of-forty-three-characters-001\"\napp_secrets = [\"x\"]\n".to_owned(),
        destination("support", &receiver.origin(), ""),
        route("\"all\"", "support"),
    ];
    let setup = Setup::new().section(&sections.concat()).upstream(HOST, &receiver.origin(), "");
    let at_rest = {
        setup.write();
        let config = setup.home.config();
        let here = ["doctor", "--config", config.to_str().unwrap(), "--data", "data", "--json"];
        Examined::of(&waypost(setup.home.path(), &here).await)
    };
    let secret = setup.home.write("secret", "of the later source");
    let gateway = setup.start().await;
    let fresh = examine(&gateway).await;
    for examined in [&at_rest, &fresh] {
        examined.tells("warning", "config", "the source has no verify_token");
        examined.tells("warning", "config", "no route takes events of bare");
        examined.tells("warning", "config", "not authenticated");
        assert_eq!(examined.tells("ok", "source", "2 verify tokens, 1 app secret")["subject"], "acme");
    }
    fresh.tells("note", "source", "nothing has come yet");
    // What was made at run time is judged too.
    gateway
        .run(&["source", "add", "late", "--app-secret", &format!("file:{}", secret.display())])
        .await
        .done();
    gateway.run(&["upstream", "add", "late.example", "--origin", &receiver.origin()]).await.done();
    let examined = examine(&gateway).await;
    let late = examined.tells("warning", "source", "no route");
    assert_eq!(late["subject"], "late");
    assert!(late["remedy"].as_str().unwrap().contains("waypost route add late "), "{late}");
    assert_eq!(examined.tells("warning", "source", "no app secret")["subject"], "late.example");

    // A caller that signs with another secret, and never with the right one.
    let body = batch(&[message("100", "A")]);
    assert_eq!(ask(gateway.http(), &signed_with("of another app", W, &body)).await.status, 401);
    let refused = examine(&gateway).await;
    assert_eq!(refused.tells("fault", "source", "1 call refused")["subject"], "acme");
    assert_eq!(refused.code, Some(1));
    assert_eq!(ask(gateway.http(), &signed(W, &body)).await.status, 200);
    examine(&gateway).await.tells("warning", "source", "1 call refused");
    assert_eq!(ask(gateway.http(), &signed(CALLBACK, &text(1))).await.status, 200);
    assert_eq!(examine(&gateway).await.tells("ok", "source", "the newest event came")["subject"], HOST);
}

#[tokio::test]
async fn what_waits_is_counted_with_what_to_type() {
    let receiver = Receiver::start(|_| Reply::Status(422)).await;
    let sections = [
        source(&[SECRET]),
        destination("support", &receiver.origin(), ""),
        route("{ phone_number_id = \"100\" }", "support"),
    ];
    let gateway = Setup::new().section(&sections.concat()).start().await;
    examine(&gateway).await.tells("ok", "quarantine", "empty");
    let send = async |number: &str, wamid: &str| {
        let body = batch(&[message(number, wamid)]);
        assert_eq!(ask(gateway.http(), &signed(W, &body)).await.status, 200);
    };
    send("200", "A").await;
    send("200", "B").await;
    send("100", "C").await;
    gateway.until_events(&["--destination", "support", "--state", "dead"], 1).await;
    gateway.run(&["pause", "support"]).await.done();
    send("100", "D").await;
    let examined = examine(&gateway).await;
    let waits = examined.tells("warning", "quarantine", "2 events wait, the oldest for ");
    assert_eq!(waits["subject"], "acme");
    assert!(waits["remedy"].as_str().unwrap().contains("waypost quarantine replay --source acme"), "{waits}");
    let held =
        examined.tells("warning", "delivery", "paused by an operator: 1 delivery waits, the oldest for ");
    assert!(held["remedy"].as_str().unwrap().contains("waypost resume support"), "{held}");
    let dead = examined.tells("warning", "delivery", "1 delivery given up");
    assert!(dead["remedy"].as_str().unwrap().contains("waypost dead replay --destination support"), "{dead}");
}

#[tokio::test]
async fn a_destination_that_is_down_is_a_fault_with_its_last_failure() {
    let mut receiver = Receiver::willing().await;
    receiver.leave().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    let gateway = setup.start().await;
    for sequence in 1..=10 {
        assert_eq!(ask(gateway.http(), &signed(CALLBACK, &text(sequence))).await.status, 200);
    }
    eventually(20, "it is down", async || {
        let rows = gateway.run(&["upstream", "list", "--json"]).await.done().json();
        (rows[0]["down"] == true).then_some(())
    })
    .await;
    let examined = examine(&gateway).await;
    let fault = examined.tells("fault", "delivery", "it is down, and only probed: ");
    assert!(fault["what"].as_str().unwrap().ends_with("ago ended with connect_refused"), "{fault}");
    assert_eq!(examined.code, Some(1));
}

#[tokio::test]
async fn a_destination_made_at_run_time_is_believed_by_its_own_authority() {
    let authority = Authority::new();
    let receiver = Receiver::tls(authority.server("127.0.0.1"), |_| Reply::Status(200)).await;
    let gateway = Setup::new().start().await;
    let file = gateway.setup.home.write("own.pem", authority.pem());
    let url = format!("https://127.0.0.1:{}/hook", receiver.address.port());
    let add = ["destination", "add", "crm", &url, "--allow-private", "--ca-file"];
    gateway.run(&[add.as_slice(), &[file.to_str().unwrap()]].concat()).await.done();
    let examined = examine(&gateway).await;
    assert_eq!(examined.tells("ok", "receiver", "can be connected to")["subject"], "crm");
    assert_eq!(examined.code, Some(0), "{examined:?}");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(examine(&gateway).await.tells("warning", "receiver", "ca_file")["subject"], "crm");
}
