//! Routes: the right event to the right receiver, signed for it, and to nobody else.

use serde_json::{Value, json};
use waypost_whatsapp::{AppSecret, AppSecrets, sign};

use crate::harness::*;

/// Whether a receiver with this secret believes what it heard.
fn believes(heard: &Heard, secret: &str) -> bool {
    let secret = AppSecret::new("it", secret).unwrap();
    let legacy = heard.all("x-hub-signature") == [sign(&secret, &heard.body).sha1.as_str()];
    let lines: Vec<&[u8]> = heard.all("x-hub-signature-256").into_iter().map(str::as_bytes).collect();
    legacy && AppSecrets::from(secret).verify(lines, &heard.body).is_ok()
}

#[tokio::test]
async fn two_tenants_in_one_batch_never_cross_and_each_can_verify_what_it_gets() {
    let (one, two) = (Receiver::willing().await, Receiver::willing().await);
    let sections = [
        source(&[SECRET]),
        destination("one", &format!("{}/webhooks/whatsapp/%2B1555100", one.origin()), ""),
        destination("two", &format!("{}/two?key=%2B", two.origin()), "sign_with = \"the secret of two\""),
        route("{ phone_number_id = \"100\" }", "one"),
        route("{ phone_number_id = [\"200\", \"201\"] }", "two"),
    ];
    let gateway = Setup::new().section(&sections.concat()).start().await;
    let changes = [
        message("100", "A"),
        message("200", "B"),
        message("100", "C"),
        message("201", "D"),
        message("100", "E"),
    ];
    let whole = batch(&changes);
    assert_eq!(ask(gateway.http(), &signed(W, &whole)).await.status, 200);
    let (at_one, at_two) = (one.hears(3).await, two.hears(2).await);

    let mut got: Vec<String> = at_one.iter().chain(&at_two).flat_map(Heard::wamids).collect();
    got.sort();
    assert_eq!(got, ["wamid.A", "wamid.B", "wamid.C", "wamid.D", "wamid.E"]);
    for (heard, tenant, secret, line) in at_one
        .iter()
        .map(|heard| (heard, "100", SECRET, "POST /webhooks/whatsapp/%2B1555100 HTTP/1.1"))
        .chain(at_two.iter().map(|heard| (heard, "20", "the secret of two", "POST /two?key=%2B HTTP/1.1")))
    {
        assert_eq!(heard.request_line(), line);
        assert!(believes(heard, secret), "{heard:?}");
        assert_eq!(heard.all("waypost-event"), ["messages"]);
        assert_eq!(heard.all("waypost-original-signature-256"), [signature(SECRET, &whole)]);
        let body: Value = serde_json::from_slice(&heard.body).unwrap();
        let text = String::from_utf8(heard.body.clone()).unwrap();
        // The first element is all that some receivers read.
        let value = &body["entry"][0]["changes"][0]["value"];
        assert_eq!(body["entry"].as_array().unwrap().len(), 1);
        assert_eq!(body["entry"][0]["changes"].as_array().unwrap().len(), 1);
        assert_eq!(value["messages"].as_array().unwrap().len(), 1);
        assert!(value["metadata"]["phone_number_id"].as_str().unwrap().starts_with(tenant));
        assert_eq!(
            (&body["entry"][0]["id"], &body["entry"][0]["time"]),
            (&json!("102290129340398"), &json!(1_790_000_001))
        );
        // Byte for byte where it matters: escapes, numbers, what nobody knows.
        for kept in [r#""x_env":"\u00fc""#, r"Zo\u00eb \ud83d\udc4b", r"1.50e2", r"\/", r"[ 1,  2 ]"] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        let other = if tenant == "100" { "for \\/20" } else { "for \\/100" };
        assert!(!text.contains(other), "{text}");
    }
    // Retries and repeats: the whole batch again gives nobody anything.
    assert_eq!(ask(gateway.http(), &signed(W, &whole)).await.status, 200);
    gateway.until_events(&[], 10).await;
    assert_eq!((one.heard().len(), two.heard().len()), (3, 2));
}

#[tokio::test]
async fn a_request_that_is_all_for_one_goes_whole_where_it_is_wanted_so() {
    let (whole, split, none) =
        (Receiver::willing().await, Receiver::willing().await, Receiver::willing().await);
    let sections = [
        source(&["a newer secret", SECRET]),
        destination("whole", &whole.origin(), "batches = \"whole\""),
        destination("split", &split.origin(), ""),
        destination("none", &none.origin(), "sign_with = \"none\""),
        "[[route]]\nsource = \"acme\"\nmatch = {}\nto = [\"whole\", \"split\", \"none\"]\n".to_owned(),
    ];
    let gateway = Setup::new().section(&sections.concat()).start().await;
    let two = batch(&[message("100", "A"), message("100", "B")]);
    assert_eq!(ask(gateway.http(), &signed(W, &two)).await.status, 200);
    let at_whole = whole.hears(1).await;
    assert_eq!(at_whole[0].body, two);
    assert_eq!(at_whole[0].all("x-hub-signature-256"), [signature(SECRET, &two)], "as it came");
    assert!(at_whole[0].all("waypost-original-signature-256").is_empty());
    for heard in split.hears(2).await {
        assert!(believes(&heard, SECRET), "pieces are signed with the secret their request came with");
    }
    for heard in none.hears(2).await {
        assert!(heard.all("x-hub-signature-256").is_empty() && heard.all("x-hub-signature").is_empty());
        assert_eq!(heard.all("waypost-original-signature-256"), [signature(SECRET, &two)]);
    }
    // A single event needs no new signature.
    let single = batch(&[message("100", "C")]);
    assert_eq!(ask(gateway.http(), &signed(W, &single)).await.status, 200);
    let last = split.hears(3).await.pop().unwrap();
    assert_eq!(last.body, single);
    assert_eq!(last.all("x-hub-signature-256"), [signature(SECRET, &single)]);
}

#[tokio::test]
async fn operations_get_what_concerns_the_account_and_never_what_people_wrote() {
    let (people, ops) = (Receiver::willing().await, Receiver::willing().await);
    let webhook_secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=";
    let sections = [
        source(&[SECRET]),
        destination("people", &people.origin(), ""),
        destination(
            "ops",
            &ops.origin(),
            &format!("sign_with = \"none\"\nwebhook_secrets = [\"{webhook_secret}\"]"),
        ),
        route("{ class = \"message\" }", "people"),
        route("{ class = \"operational\" }", "ops"),
    ];
    let gateway = Setup::new().section(&sections.concat()).start().await;
    let unknown = r#"{"field":"a_field_of_tomorrow","value":{"text":"who knows"}}"#.to_owned();
    let body = batch(&[message("100", "A"), name_change("100"), unknown]);
    assert_eq!(ask(gateway.http(), &signed(W, &body)).await.status, 200);
    let at_ops = ops.hears(1).await;
    assert_eq!(people.hears(2).await.len(), 2, "what is not known counts as what people wrote");
    let heard = &at_ops[0];
    assert_eq!(heard.all("waypost-event"), ["phone_number_name_update"]);
    assert_eq!(heard.all("waypost-event-id").len(), 1);
    assert!(!String::from_utf8_lossy(&heard.body).contains("wamid"));
    // Standard Webhooks: id, timestamp and body under the secret.
    let (id, at) = (heard.all("webhook-id")[0], heard.all("webhook-timestamp")[0]);
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"0123456789abcdefghijklmnopqrstuv");
    let mut signed = format!("{id}.{at}.").into_bytes();
    signed.extend_from_slice(&heard.body);
    let tag = aws_lc_rs::hmac::sign(&key, &signed);
    let given = heard.all("webhook-signature")[0].strip_prefix("v1,").unwrap();
    assert_eq!(decoded(given), tag.as_ref());
    assert_eq!(ops.heard().len(), 1);
}

/// The bytes of a base 64 text.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for digit in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}

#[tokio::test]
async fn a_number_in_a_receivers_path_stays_as_it_is_written() {
    let receiver = Receiver::willing().await;
    let paths = [
        "/whatsapp/+15551234567",
        "/whatsapp/%2B15551234567",
        "/whatsapp/%2b15551234567",
        "/whatsapp/%2015551234567",
    ];
    let mut sections = source(&[SECRET]);
    let names: Vec<String> = (0..paths.len()).map(|n| format!("d{n}")).collect();
    for (name, path) in names.iter().zip(paths) {
        sections.push_str(&destination(name, &format!("{}{path}", receiver.origin()), ""));
    }
    sections.push_str(&format!("[[route]]\nsource = \"acme\"\nmatch = \"all\"\nto = {names:?}\n"));
    let gateway = Setup::new().section(&sections).start().await;
    assert_eq!(ask(gateway.http(), &signed(W, &batch(&[message("100", "A")]))).await.status, 200);
    let mut lines: Vec<String> =
        receiver.hears(paths.len()).await.iter().map(|heard| heard.request_line().to_owned()).collect();
    lines.sort();
    let mut expected: Vec<String> = paths.iter().map(|path| format!("POST {path} HTTP/1.1")).collect();
    expected.sort();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_change_of_routes_leaves_what_was_owed_where_it_was_owed() {
    let (before, after) = (Receiver::start(|_| Reply::Status(503)).await, Receiver::willing().await);
    let gateway = Setup::new().section(&source(&[SECRET])).start().await;
    let (first, second) = (before.origin(), after.origin());
    for (name, url) in [("before", &first), ("after", &second)] {
        gateway
            .run(&["destination", "add", name, url, "--allow-private", "--set", "schedule=[\"1s\"]"])
            .await
            .done();
    }
    // The configuration's entries cannot be changed here, and those made here can lead from them.
    gateway.run(&["route", "add", "acme", "before", "--all"]).await.done();
    assert_eq!(ask(gateway.http(), &signed(W, &batch(&[message("100", "A")]))).await.status, 200);
    before.hears(1).await;
    let refused = gateway.run(&["destination", "remove", "before"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("named by the routes acme-before"), "{}", refused.err);
    gateway.run(&["route", "remove", "acme-before"]).await.done();
    gateway.run(&["route", "add", "acme", "after", "--match", "phone_number_id=100"]).await.done();
    assert_eq!(ask(gateway.http(), &signed(W, &batch(&[message("100", "B")]))).await.status, 200);
    assert_eq!(after.hears(1).await[0].wamids(), ["wamid.B"]);
    // Taken away, what it is owed waits; back again, it goes on.
    gateway.run(&["destination", "remove", "before"]).await.done();
    before.behave(|_| Reply::Status(200));
    let tried = before.heard().len();
    gateway
        .run(&["destination", "add", "before", &first, "--allow-private", "--set", "schedule=[\"1s\"]"])
        .await
        .done();
    let heard = before.until("the owed event", |heard| heard.len() > tried).await;
    assert_eq!(heard.last().unwrap().wamids(), ["wamid.A"]);
    assert_eq!(after.heard().len(), 1);
}

#[tokio::test]
async fn what_the_configuration_has_is_read_only_and_what_leads_nowhere_is_refused() {
    let receiver = Receiver::willing().await;
    let sections =
        [source(&[SECRET]), destination("support", &receiver.origin(), ""), route("\"all\"", "support")];
    let gateway =
        Setup::new().section(&sections.concat()).upstream(HOST, &receiver.origin(), "").start().await;
    let here = format!("http://{}/w/x", gateway.http());
    let localhost = format!("http://localhost:{}/w/x", gateway.http().port());
    for (arguments, what) in [
        (&["source", "remove", "acme"][..], "`acme` is in the configuration"),
        (&["source", "rotate", "acme", "--new-address"], "`acme` is in the configuration"),
        (&["destination", "remove", "support"], "`support` is in the configuration"),
        (&["route", "remove", "route[0]"], "`route[0]` is in the configuration"),
        (&["source", "add", "ACME", "--app-secret", "s"], "there is a source `ACME` already"),
        (&["source", "add", HOST, "--app-secret", "s"], "is an upstream's host"),
        (
            &["source", "add", "b", "--app-secret", "s", "--address-token", TOKEN],
            "the token is another source's already",
        ),
        (&["destination", "add", "support", "https://a.example"], "there is a destination `support` already"),
        (&["destination", "add", HOST, "https://a.example"], "is an upstream's host"),
        (&["destination", "add", "d", "http://127.0.0.1:9/"], "is not a public address"),
        (&["destination", "add", "d", &here, "--allow-private"], "come back here for ever"),
        (&["destination", "add", "d", &localhost, "--allow-private"], "come back here for ever"),
        (&["destination", "add", "d", "https://u:p@a.example"], "it names a user"),
        (&["destination", "add", "d", "https://a.example", "--set", "colour=red"], "there is no such key"),
        (&["upstream", "add", "loop.example", "--origin", &here[..here.len() - 4]], "it would call itself"),
        (&["route", "add", "acme", "nowhere", "--all"], "there is no destination `nowhere`"),
        (&["route", "add", "nobody", "support", "--all"], "there is no source `nobody`"),
        (&["route", "add", "acme", HOST, "--all"], "is an upstream, which routes have no part in"),
        (&["route", "add", "acme", "support", "--match", "kind=mesage"], "`mesage` is not a kind"),
    ] {
        let refused = gateway.run(arguments).await;
        assert_eq!(refused.code, Some(1), "{arguments:?}: {refused:?}");
        assert!(refused.err.contains(what), "{arguments:?}: {}", refused.err);
    }
    let unknown = gateway.run(&["route", "add", "acme", "support", "--match", "colour=red"]).await;
    assert!(unknown.code == Some(2) && unknown.err.contains("there is no `colour` to match"), "{unknown:?}");
    let missing = gateway.run(&["route", "add", "acme", "support"]).await;
    assert_eq!(missing.code, Some(2), "a catch-all is said: {missing:?}");
    let answer = ask(gateway.admin(), &get("/api/v1/sources")).await;
    assert_eq!(answer.status, 401, "the API wants its token for these too");
}

#[tokio::test]
async fn route_test_explains_each_decision_with_and_without_a_server() {
    let sections = [
        source(&[SECRET]),
        destination("support", "https://support.example.com/x", "batches = \"whole\""),
        destination("ops", "https://ops.example.com/x", ""),
        route("{ phone_number_id = \"100\", kind = \"message\" }", "support"),
        "[[route]]\nname = \"operations\"\nsource = \"acme\"\nmatch = { class = \"operational\" }\nto = [\"ops\"]\n".to_owned(),
    ];
    let setup = Setup::new().section(&sections.concat());
    let body = batch(&[message("100", "A"), name_change("100"), message("200", "B")]);
    setup.home.write("payload.json", &body);
    setup.write();
    let offline =
        waypost(setup.home.path(), &["route", "test", "payload.json", "--config", "waypost.toml", "--json"])
            .await;
    let offline = offline.done().json();
    let destinations: Vec<&Value> = offline.iter().map(|event| &event["destinations"]).collect();
    assert_eq!(destinations, [&json!(["support"]), &json!(["ops"]), &json!([])]);
    let quarantined: Vec<&Value> = offline.iter().map(|event| &event["quarantined"]).collect();
    assert_eq!(quarantined, [&json!(false), &json!(false), &json!(true)]);
    assert_eq!(offline[0]["wamid"], "wamid.A");
    assert_eq!(
        offline[0]["deliveries"],
        json!([{ "destination": "support", "form": "event" }]),
        "a mixed batch is split"
    );
    assert_eq!(offline[2]["routes"][0]["refused_by"], "phone_number_id");
    assert_eq!(
        offline[2]["routes"][1],
        json!({ "route": "operations", "to": ["ops"], "takes": false, "refused_by": "class" })
    );
    for key in [
        "source",
        "kind",
        "field",
        "type",
        "class",
        "phone_number_id",
        "display_phone_number",
        "waba_id",
        "conversation",
        "wamid",
        "key",
        "occurred_at",
        "duplicate",
    ] {
        assert!(offline[0].get(key).is_some(), "{key}");
    }

    let gateway = setup.start().await;
    let online =
        gateway.run(&["route", "test", "payload.json", "--source", "acme", "--json"]).await.done().json();
    assert_eq!(online, offline);
    let told = gateway.run(&["route", "test", "payload.json"]).await.done().out;
    for line in [
        "route route[0] takes it → support",
        "its phone_number_id is another",
        "quarantine: no route takes it",
        "3 events, 1 of them quarantined",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(gateway.events(&[]).await.is_empty(), "nothing is stored");
    let unknown = gateway.run(&["route", "test", "payload.json", "--source", "nobody"]).await;
    assert_eq!((unknown.code, unknown.err.contains("there is no source `nobody`")), (Some(1), true));
}

#[tokio::test]
async fn a_wrong_configuration_of_routes_exits_64_with_file_line_and_remedy() {
    let setup = Setup::new().section(&format!(
        "{}{}[[route]]\nsource = \"acme\"\nmatch = {{ kind = \"mesage\" }}\nto = [\"nowhere\"]\n",
        source(&[""]),
        destination("support", "ftp://support.example.com", ""),
    ));
    let Err(ended) = setup.try_start().await else { panic!("it started") };
    assert_eq!(ended.code, Some(64));
    for fault in [
        "app_secrets[0]: the secret is empty",
        "url: not an address",
        "`mesage` is not a kind",
        "there is no destination nowhere",
    ] {
        assert!(ended.err.contains(fault), "{fault} in {}", ended.err);
    }
    assert!(ended.err.contains("waypost.toml:"), "{}", ended.err);
}

#[tokio::test]
async fn a_ping_is_signed_and_told_apart_and_says_what_came_of_it() {
    let receiver = Receiver::willing().await;
    let hook = format!("{}/hook?x=1", receiver.origin());
    let sections = [
        source(&[SECRET]),
        destination("support", &hook, "kind = \"chatwoot\""),
        destination("gone", "http://127.0.0.1:1/", ""),
        route("\"all\"", "support"),
    ];
    let keys = format!("app_secrets = [\"{SECRET}\"]");
    let gateway =
        Setup::new().section(&sections.concat()).upstream(HOST, &receiver.origin(), &keys).start().await;
    let pinged = gateway.run(&["ping", "support", "--json"]).await.done().json().remove(0);
    assert_eq!((&pinged["ok"], &pinged["status"]), (&json!(true), &json!(200)));
    assert!(pinged["took_ms"].as_f64().unwrap() > 0.0 && pinged["address"].is_string());
    let probes: Vec<&str> =
        pinged["probes"].as_array().unwrap().iter().map(|probe| probe["path"].as_str().unwrap()).collect();
    assert_eq!(probes, ["/health", "/api"]);
    assert!(pinged["notes"][0].as_str().unwrap().contains("queued, not that it is shown"));
    let heard = receiver.heard();
    assert_eq!(heard[0].request_line(), "POST /hook?x=1 HTTP/1.1");
    assert_eq!(heard[0].all("waypost-event"), ["ping"]);
    assert!(believes(&heard[0], SECRET));
    assert_eq!(heard[1].request_line(), "GET /health HTTP/1.1");
    let upstream =
        gateway.run(&["ping", HOST, "--path", "/webhooks/%2B1", "--json"]).await.done().json().remove(0);
    assert_eq!(upstream["ok"], true);
    let last = receiver.heard().pop().unwrap();
    assert_eq!(last.request_line(), "POST /webhooks/%2B1 HTTP/1.1");
    assert!(believes(&last, SECRET));
    receiver.behave(|_| Reply::Status(401));
    let refused = gateway.run(&["ping", "support"]).await;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.out.contains("answered 401") && refused.out.contains("does not believe the signature"),
        "{}",
        refused.out
    );
    let gone = gateway.run(&["ping", "gone", "--json"]).await;
    assert_eq!(gone.code, Some(1));
    assert_eq!(gone.json()[0]["code"], "connect_refused");
    assert_eq!(gateway.run(&["ping", "nobody"]).await.code, Some(1));
    assert!(gateway.events(&[]).await.is_empty(), "nothing of it is kept");
}

#[tokio::test]
async fn a_batch_to_an_upstream_can_be_split_too() {
    let receiver = Receiver::willing().await;
    let keys = format!("app_secrets = [\"{SECRET}\"]\nbatches = \"split\"");
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), &keys).start().await;
    let body = batch(&[message("100", "A"), message("200", "B")]);
    assert_eq!(ask(gateway.http(), &signed(CALLBACK, &body)).await.status, 200);
    let heard = receiver.hears(2).await;
    for heard in &heard {
        assert!(believes(heard, SECRET), "{heard:?}");
        assert_eq!(heard.request_line(), "POST /webhooks/whatsapp/%2B5511999999999 HTTP/1.1");
    }
    let mut wamids: Vec<String> = heard.iter().flat_map(Heard::wamids).collect();
    wamids.sort();
    assert_eq!(wamids, ["wamid.A", "wamid.B"]);
}
