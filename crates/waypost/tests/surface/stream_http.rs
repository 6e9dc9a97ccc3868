//! The stream by server-sent events, by polling and as webhooks; messages and contacts: one schema, one cursor.

use aws_lc_rs::hmac;
use serde_json::Value;
use waypost_whatsapp::{Compose, compose};

use crate::harness::*;

fn setup() -> Setup {
    Setup::new().section(&source(&[SECRET])).section("[stream]\npublic = true\n")
}

async fn accept(gateway: &Gateway, body: &[u8]) {
    assert_eq!(ask(gateway.http(), &signed_with(SECRET, W, body)).await.status, 200);
}

async fn json_of(gateway: &Gateway, target: &str) -> Value {
    let answer = ask(gateway.http(), &get(target)).await;
    assert_eq!(answer.status, 200, "{target}: {answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

/// A status of a message, or any kind that can be composed.
fn composed(kind: &str, sequence: u64) -> Vec<u8> {
    let parts = Compose { sequence, contact: "14155550183", ..Compose::default() };
    compose(kind, &parts).unwrap().into_bytes()
}

#[tokio::test]
async fn server_sent_events_go_on_after_the_last_event_id() {
    let gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    for sequence in 0..4 {
        accept(&gateway, &text_to(sequence, "14155550183")).await;
    }
    let read = async |lines: &str, query: &str, until: &str| -> Vec<(String, String, Value)> {
        let request = format!("GET /events?token={token}{query} HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let mut stream = tokio::net::TcpStream::connect(gateway.http()).await.unwrap();
        let mut text = String::new();
        within(10, "events", async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut bytes = [0; 16 * 1024];
            while !text.contains(until) || !text.ends_with("\n\n\r\n") {
                let read = stream.read(&mut bytes).await.unwrap();
                assert!(read > 0, "it ended: {text}");
                text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            }
        })
        .await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.contains("content-type: text/event-stream"),
            "{text}"
        );
        // A browser that the gateway goes away from comes back by itself.
        assert!(text.contains("retry: 2000"), "{text}");
        let lines = text.lines().collect::<Vec<_>>();
        let value = |line: &str, key: &str| line.strip_prefix(key).map(str::to_owned);
        // The first one says where it begins.
        let ids = lines.iter().filter_map(|line| value(line, "id: ")).skip(1);
        let names = lines.iter().filter_map(|line| value(line, "event: "));
        let data = lines.iter().filter_map(|line| value(line, "data: "));
        ids.zip(names)
            .zip(data)
            .map(|((id, name), data)| (id, name, serde_json::from_str(&data).unwrap()))
            .collect()
    };
    let polled = json_of(&gateway, &format!("/api/v1/events?since=oldest&token={token}")).await;
    let polled = polled["items"].as_array().unwrap();
    let last = polled[4]["id"].as_str().unwrap();
    let all = read("", "&since=oldest", last).await;
    assert_eq!(all.len(), 5);
    for ((id, name, frame), polled) in all.iter().zip(polled) {
        assert_eq!(
            (frame, Some(id.as_str()), Some(name.as_str())),
            (polled, polled["id"].as_str(), polled["type"].as_str())
        );
    }
    // What the browser comes back with counts, and not what stood in the address.
    let rest = read(&format!("Last-Event-ID: {}\r\n", all[1].0), "&since=oldest", last).await;
    assert_eq!(rest, all[2..]);
    let wrong = ask(gateway.http(), &get(&format!("/events?token={token}&since=evt_nonsense"))).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
}

#[tokio::test]
async fn polling_pages_through_and_waits_for_what_comes() {
    let gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    for sequence in 0..25 {
        accept(&gateway, &text_to(sequence, "14155550183")).await;
    }
    let (mut since, mut seen) = ("oldest".to_owned(), Vec::new());
    loop {
        let page = json_of(&gateway, &format!("/api/v1/events?since={since}&limit=7&token={token}")).await;
        since = page["next"].as_str().unwrap().to_owned();
        let items = page["items"].as_array().unwrap();
        if items.is_empty() {
            assert_eq!(page["behind"], 0);
            break;
        }
        seen.extend(items.iter().map(|frame| frame["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(seen.len(), 26);
    assert!(seen.is_sorted_by(|a, b| cursor(a) < cursor(b)));
    let waiting = format!("/api/v1/events?since={since}&wait=20s&types=message:new&token={token}");
    let (page, ()) = tokio::join!(json_of(&gateway, &waiting), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        accept(&gateway, &text_to(99, "14155550183")).await;
    });
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    // Operators have the list at the same address.
    assert_eq!(gateway.events(&["--since", "1h"]).await.len(), 26);
    let others = ask(gateway.http(), &get(&format!("/api/v1/events?token={token}"))).await;
    assert_eq!(others.status, 400, "{others:?}");
}

/// A cursor in a form that sorts as cursors do.
fn cursor(text: &str) -> (String, bool) {
    match text.strip_suffix(".1") {
        Some(event) => (event.to_owned(), false),
        None => (text.to_owned(), true),
    }
}

#[tokio::test]
async fn a_messages_state_and_its_people_are_found_by_those_who_may() {
    let gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    // The last one first: the state only moves forward.
    for kind in ["status.read", "status.sent", "status.delivered"] {
        accept(&gateway, &composed(kind, 5)).await;
    }
    accept(&gateway, &batch(&[message("111", "A"), message("222", "B")])).await;
    let statuses =
        json_of(&gateway, &format!("/api/v1/events?since=oldest&types=message:status&token={token}")).await;
    let states: Vec<(Value, Value)> = statuses["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|frame| frame["payload"]["data"]["state"].clone())
        .map(|state| (state["status"].clone(), state["changed"].clone()))
        .collect();
    let read = |changed: bool| (Value::from("read"), Value::from(changed));
    assert_eq!(states, [read(true), read(false), read(false)]);
    let wamid = statuses["items"][0]["payload"]["data"]["message_id"].as_str().unwrap();
    let one = json_of(&gateway, &format!("/api/v1/messages/{wamid}?token={token}")).await;
    assert_eq!((one["status"].as_str(), one["events"].as_array().unwrap().len()), (Some("read"), 3));
    let list = json_of(&gateway, &format!("/api/v1/messages?token={token}")).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    let contacts = json_of(&gateway, &format!("/api/v1/contacts?number=222&token={token}")).await;
    let contact = &contacts["items"][0];
    assert_eq!((contact["name"].as_str(), contacts["items"].as_array().unwrap().len()), (Some("Zoë 👋"), 1));
    let conversation = contact["conversation"].as_str().unwrap().replace(':', "%3A");
    let same = json_of(&gateway, &format!("/api/v1/contacts/{conversation}?token={token}")).await;
    assert_eq!(same, *contact);
    // Of another number, a token for one learns nothing.
    let narrow = gateway.token(&["--number", "111"]).await;
    let list = json_of(&gateway, &format!("/api/v1/messages?token={narrow}")).await;
    assert_eq!(
        (list["items"].as_array().unwrap().len(), list["items"][0]["wamid"].as_str()),
        (1, Some("wamid.A"))
    );
    for path in ["/api/v1/messages/wamid.B".to_owned(), format!("/api/v1/contacts/{conversation}")] {
        let answer = ask(gateway.http(), &get(&format!("{path}?token={narrow}"))).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    let other = gateway.token(&["--type", "call:*"]).await;
    let answer = ask(gateway.http(), &get(&format!("/api/v1/messages?token={other}"))).await;
    assert_eq!((answer.status, answer.text().contains("token_scope")), (403, true), "{answer:?}");
    // The schema is for all.
    let schema = json_of(&gateway, "/api/v1/schema/event.json").await;
    assert_eq!(schema["title"], "NormalEvent");
    assert!(ask(gateway.http(), &get("/api/v1/schema/event.d.ts")).await.text().contains("message:new"));
}

#[tokio::test]
async fn a_destination_takes_normalised_events_signed_with_every_secret() {
    let mut count = 0;
    let receiver = Receiver::start(move |_| {
        count += 1;
        Reply::Status(if count == 1 { 500 } else { 200 })
    })
    .await;
    const SECRETS: [&[u8]; 2] = [b"0123456789abcdef0123456789abcdef", b"fedcba9876543210fedcba9876543210"];
    let keys = "format = \"event\"\nwebhook_secrets = [\"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\", \"whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=\"]";
    let gateway = setup()
        .section(&destination("inbox", &format!("{}/events", receiver.origin()), keys))
        .section(&route("\"all\"", "inbox"))
        .start()
        .await;
    let token = gateway.token(&[]).await;
    accept(&gateway, &batch(&[message("111", "A"), message("111", "B")])).await;
    let heard = receiver.hears(3).await;
    assert_eq!(heard[0].body, heard[1].body, "the retry has the same bytes");
    assert_eq!(heard[0].all("webhook-id"), heard[1].all("webhook-id"));
    let polled =
        json_of(&gateway, &format!("/api/v1/events?since=oldest&types=message:new&token={token}")).await;
    for (heard, frame) in heard[1..].iter().zip(polled["items"].as_array().unwrap()) {
        let payload: Value = serde_json::from_slice(&heard.body).unwrap();
        assert_eq!(payload, frame["payload"]);
        assert_eq!(heard.all("content-type"), ["application/json"]);
        assert!(heard.all("x-hub-signature-256").is_empty(), "Meta did not write this");
        let (id, at) = (heard.all("webhook-id")[0], heard.all("webhook-timestamp")[0]);
        let signatures = heard.all("webhook-signature")[0].to_owned();
        assert_eq!(signatures.split(' ').count(), 2);
        for (secret, signature) in SECRETS.iter().zip(signatures.split(' ')) {
            let signed = [id.as_bytes(), b".", at.as_bytes(), b".", &heard.body].concat();
            let tag = unbase64(signature.strip_prefix("v1,").unwrap());
            hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed, &tag).unwrap();
        }
    }
    let listed = gateway.run(&["destination", "list", "--json"]).await.done().json();
    assert_eq!(listed[0]["format"], "event");
}

/// The bytes of a base 64 text.
fn unbase64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | u32::from(digit(byte));
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 255) as u8);
        }
    }
    bytes
}

#[tokio::test]
async fn a_cursor_older_than_what_is_kept_is_told_so_with_the_oldest_there_is() {
    use std::time::Duration;
    use waypost_domain::{Clock, limits};
    use waypost_store::conformance::samples::{message, request};
    use waypost_store::{Accept, Store, StoreOptions};

    let setup = setup();
    // What came forty days ago, of which the gateway keeps thirty.
    let data = setup.home.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let options = StoreOptions {
        path: data.join("waypost.db"),
        readers: 1,
        queue_max: limits::WRITER_QUEUE_MAX,
        queue_bytes_max: limits::WRITER_QUEUE_BYTES_MAX,
        dedupe_window: limits::DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    let long_ago = Clock::system().wall().minus(Duration::from_secs(40 * 24 * 60 * 60));
    let store = Store::open(options, Clock::manual(long_ago)).unwrap();
    let mut old = Vec::new();
    for wamid in ["wamid.1", "wamid.2", "wamid.3"] {
        let accept = Accept { received_at: long_ago, deliveries: Vec::new(), ..request([message(wamid)]) };
        old.push(store.accept(accept).await.unwrap().events[0].0.to_string());
    }
    store.close().await;
    drop(store);

    let gateway = setup.start().await;
    let token = gateway.token(&[]).await;
    accept(&gateway, &text(1)).await;
    let target = format!("/api/v1/events?since={}&token={token}", old[0]);
    let pruned =
        async || Some(ask(gateway.http(), &get(&target)).await).filter(|answer| answer.status == 410);
    let told: Value =
        serde_json::from_slice(&eventually(20, "what is old is gone", pruned).await.body).unwrap();
    assert_eq!((told["code"].as_str(), told["oldest"].as_str()), (Some("cursor_too_old"), Some(&*old[2])));
    let events = ask(gateway.http(), &get(&format!("/events?since={}&token={token}", old[1]))).await;
    assert_eq!((events.status, events.text().contains(&old[2])), (410, true), "{events:?}");
    let mut reader = Reader::open(gateway.http(), &format!("?since={}&token={token}", old[0])).await;
    let last = reader.frame().await;
    assert_eq!(
        (last["type"].as_str(), last["payload"]["oldest"].as_str()),
        (Some("stream:too_old"), Some(&*old[2]))
    );
    assert_eq!(reader.closed().await.0, 4010);
    // From the oldest there is, everything.
    for since in ["oldest", &*old[2]] {
        let page = json_of(&gateway, &format!("/api/v1/events?since={since}&token={token}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
    }
    let refused = ask(gateway.http(), &get(&format!("/events?since=evt_7zzzzzzzzzzzz&token={token}"))).await;
    assert_eq!((refused.status, refused.text().contains("cursor_unknown")), (400, true), "{refused:?}");
    let tail = gateway.run(&["tail", "--since", &old[0]]).await;
    assert_eq!((tail.code, tail.err.contains("--since evt_")), (Some(1), true), "{tail:?}");
}
