//! Quarantine: what no route takes is kept, told, and sent once one does.

use crate::harness::*;

#[tokio::test]
async fn what_no_route_takes_is_kept_and_sent_once_one_does() {
    let receiver = Receiver::willing().await;
    let sections = [
        source(&[SECRET]),
        destination("one", &receiver.origin(), ""),
        route("{ phone_number_id = \"100\" }", "one"),
    ];
    let mut gateway = Setup::new().section(&sections.concat()).start().await;
    let body = batch(&[message("200", "A"), message("100", "B"), message("200", "C"), message("300", "D")]);
    assert_eq!(ask(gateway.http(), &signed(W, &body)).await.status, 200);
    assert_eq!(receiver.hears(1).await[0].wamids(), ["wamid.B"]);
    gateway.logs("no route takes").await;
    assert_eq!(gateway.metric("waypost_quarantined{source=\"acme\"}").await, 3.0);
    let listed = gateway.run(&["quarantine", "list", "--json"]).await.done().json();
    let wamids: Vec<&str> = listed.iter().map(|event| event["wamid"].as_str().unwrap()).collect();
    assert_eq!(wamids, ["wamid.D", "wamid.C", "wamid.A"]);
    assert!(listed.iter().all(|event| event["quarantined"] == true));
    let shown = gateway.run(&["quarantine", "show", "wamid.A"]).await.done().out;
    assert!(shown.contains("no route takes it"), "{shown}");

    // Nothing goes while there is no route, and all of it is still there after a restart.
    let none = gateway.run(&["quarantine", "replay", "--all", "--json"]).await.done().json().remove(0);
    assert_eq!((none["count"].as_u64(), none["without_route"].as_u64()), (Some(0), Some(3)));
    gateway.stop().await;
    let gateway = gateway.setup.start().await;
    gateway.run(&["route", "add", "acme", "one", "--match", "phone_number_id=200"]).await.done();
    let plan =
        gateway.run(&["quarantine", "replay", "--all", "--plan", "--json"]).await.done().json().remove(0);
    assert_eq!((plan["count"].as_u64(), plan["without_route"].as_u64()), (Some(2), Some(1)));
    assert_eq!(receiver.heard().len(), 1, "a plan sends nothing");
    let done = gateway
        .run(&["quarantine", "replay", "--source", "acme", "--note", "routed now", "--json"])
        .await
        .done();
    assert_eq!(done.json()[0]["count"], 2);
    let heard = receiver.hears(3).await;
    let wamids: Vec<String> = heard[1..].iter().flat_map(Heard::wamids).collect();
    assert_eq!(wamids, ["wamid.A", "wamid.C"], "in the order in which they came");
    for heard in &heard[1..] {
        let line = heard.all("x-hub-signature-256");
        assert_eq!(line, [signature(SECRET, &heard.body)]);
    }
    gateway.until_events(&["--destination", "one", "--state", "delivered"], 3).await;
    let twice =
        gateway.run(&["quarantine", "replay", "--number", "200", "--json"]).await.done().json().remove(0);
    assert_eq!(twice["count"], 0, "what is released once is not quarantined any more");

    let given_up = gateway.run(&["quarantine", "discard", "--all", "--json"]).await.done().json().remove(0);
    assert_eq!(given_up["count"], 1);
    assert!(gateway.run(&["quarantine", "list", "--json"]).await.done().out.is_empty());
    assert_eq!(gateway.metric("waypost_quarantined{source=\"acme\"}").await, 0.0);
    assert_eq!(receiver.heard().len(), 3);
    let nothing_named = gateway.run(&["quarantine", "discard"]).await;
    assert_eq!(nothing_named.code, Some(2));
}

#[tokio::test]
async fn a_source_without_any_route_keeps_everything() {
    let gateway = Setup::new().section(&source(&[SECRET])).start().await;
    gateway.logs("all of them are quarantined").await;
    let body = batch(&[message("100", "A"), name_change("100")]);
    assert_eq!(ask(gateway.http(), &signed(W, &body)).await.status, 200);
    // What cannot be understood is kept as well.
    assert_eq!(ask(gateway.http(), &signed(W, b"no webhook at all")).await.status, 200);
    let listed = gateway.run(&["quarantine", "list", "--json"]).await.done().json();
    assert_eq!(listed.len(), 3);
    let of_one = gateway.run(&["quarantine", "replay", listed[0]["id"].as_str().unwrap()]).await.done();
    assert!(of_one.out.contains("1 stay quarantined"), "{}", of_one.out);
    let unknown = gateway.run(&["quarantine", "replay", "evt_0000000000000"]).await;
    assert_eq!(unknown.code, Some(1));
}
