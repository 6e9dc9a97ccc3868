//! The stream over a WebSocket: every frame once and in order, whatever becomes of readers and gateway; those who are slow
//! are told and let go.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

/// A gateway with the source `acme`, its stream on the public address too.
fn setup() -> Setup {
    Setup::new()
        .section(&source(&[SECRET]))
        .section("[stream]\npublic = true\nallowed_origins = [\"http://localhost:5173\"]\n")
}

async fn accept(gateway: &Gateway, body: &[u8]) {
    assert_eq!(ask(gateway.http(), &signed_with(SECRET, W, body)).await.status, 200);
}

/// All frames that there are, by polling.
async fn all(gateway: &Gateway, token: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    let mut since = "oldest".to_owned();
    loop {
        let target = format!("/api/v1/events?since={since}&limit=1000&token={token}");
        let page = ask(gateway.http(), &get(&target)).await;
        assert_eq!(page.status, 200, "{page:?}");
        let mut page: Value = serde_json::from_slice(&page.body).unwrap();
        let Value::Array(items) = page["items"].take() else { panic!("{page}") };
        if items.is_empty() {
            return frames;
        }
        frames.extend(items);
        since = page["next"].as_str().unwrap().to_owned();
    }
}

#[tokio::test]
async fn frames_come_as_they_happen_on_every_listener_and_say_what_the_seed_says() {
    let gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    let mut readers = [
        Reader::open(gateway.http(), &format!("?token={token}")).await,
        Reader::open(gateway.admin(), &format!("?token={token}&raw=1")).await,
        Reader::open(gateway.http(), &format!("?token={token}&compat=whatomate")).await,
        Reader::open(gateway.http(), &format!("?token={token}&compat=whatomate&dialect=code")).await,
    ];
    accept(&gateway, &text_to(7, "14155550183")).await;
    for (reader, wanted) in readers.iter_mut().zip([
        ["contact:new", "message:new"],
        ["contact:new", "message:new"],
        ["contact:new", "message:new"],
        ["contact_update", "new_message"],
    ]) {
        let frames = reader.frames(2).await;
        assert_eq!(types(&frames), wanted);
        let (person, message) = (&frames[0], &frames[1]);
        let id = message["id"].as_str().unwrap();
        assert_eq!(person["id"], format!("{id}.1"));
        let members: BTreeSet<&str> = message.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, BTreeSet::from(["type", "id", "payload"]));
    }
    // The gateway's own words, and Whatomate's documented ones.
    accept(&gateway, &text_to(8, "14155550183")).await;
    let own = readers[0].frame().await;
    assert_eq!(
        (own["payload"]["source"].as_str(), own["payload"]["direction"].as_str()),
        (Some("acme"), Some("inbound"))
    );
    assert!(own["payload"]["data"]["content"]["body"].is_string() && own["payload"].get("raw").is_none());
    let with_raw = readers[1].frame().await;
    assert_eq!(with_raw["payload"]["raw"]["type"], "text");
    let documented = readers[2].frame().await;
    assert_eq!(documented["payload"]["content"]["text"], own["payload"]["data"]["content"]["body"]);
    assert_eq!(documented["payload"]["direction"], "incoming");
    let coded = readers[3].frame().await;
    assert_eq!(coded["payload"]["wamid"], own["payload"]["data"]["id"]);
    // People ask whether it is there.
    readers[0].say(r#"{"type":"ping"}"#).await;
    assert_eq!(readers[0].frame().await, json!({ "type": "pong", "payload": null }));
    readers[0].say(r#"{"type":"set_contact","payload":{"contact_id":""}}"#).await;
    readers[0].say("no JSON at all").await;
    accept(&gateway, &text_to(9, "14155550183")).await;
    assert_eq!(readers[0].frame().await["type"], "message:new");
}

#[tokio::test]
async fn filters_and_the_tokens_scope_must_both_fit() {
    let gateway = setup().start().await;
    let open = gateway.token(&[]).await;
    let narrow = gateway.token(&["--number", "222", "--type", "message:*"]).await;
    let by_number = &mut Reader::open(gateway.http(), &format!("?token={open}&numbers=111,333")).await;
    let by_type = &mut Reader::open(gateway.http(), &format!("?token={open}&types=contact:*")).await;
    let by_conversation = &mut Reader::open(
        gateway.http(),
        &format!("?token={open}&conversations=222%3A4915550222&types=message:new"),
    )
    .await;
    let scoped = &mut Reader::open(gateway.http(), &format!("?token={narrow}")).await;
    let both = &mut Reader::open(gateway.http(), &format!("?token={narrow}&numbers=111,222&types=*")).await;
    let changes = [message("111", "A"), message("222", "B"), message("333", "C"), message("111", "D")];
    accept(&gateway, &batch(&changes)).await;
    let numbers = |frames: &[Value]| -> Vec<String> {
        frames.iter().map(|frame| frame["payload"]["number"]["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(numbers(&by_number.frames(5).await), ["111", "111", "333", "333", "111"]);
    assert_eq!(types(&by_type.frames(3).await), ["contact:new"; 3]);
    for reader in [by_conversation, scoped, both] {
        let frames = reader.frames(1).await;
        assert_eq!((types(&frames), numbers(&frames)), (vec!["message:new"], vec!["222".to_owned()]));
        reader.silent(100).await;
    }
}

#[tokio::test]
async fn readers_killed_at_random_see_every_frame_once_and_in_order_also_over_a_crash() {
    let mut gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    const REQUESTS: u64 = 240;
    let address = std::sync::Arc::new(std::sync::Mutex::new(gateway.http()));
    let (done, is_done) = tokio::sync::watch::channel(false);
    let mut readers = Vec::new();
    for seed in 1..=4_u64 {
        let (token, address, is_done) = (token.clone(), address.clone(), is_done.clone());
        readers.push(tokio::spawn(async move {
            let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mut seen: Vec<String> = Vec::new();
            loop {
                let since = seen.last().cloned().unwrap_or_else(|| "oldest".to_owned());
                let at = *address.lock().unwrap();
                let Ok(stream) = tokio::net::TcpStream::connect(at).await else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                drop(stream);
                let query = format!("?token={token}&since={since}");
                let Ok(mut reader) = Reader::try_open(at, &query, &[]).await else { continue };
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Some frames, and then it is gone without a word.
                for _ in 0..(chance >> 33) % 60 {
                    let next = tokio::time::timeout(Duration::from_millis(400), reader.next()).await;
                    match next {
                        Ok(Ok(frame)) => seen.push(frame["id"].as_str().unwrap().to_owned()),
                        Ok(Err(_)) => break,
                        Err(_) if *is_done.borrow() => return seen,
                        Err(_) => break,
                    }
                }
            }
        }));
    }
    for sequence in 0..REQUESTS {
        if sequence == REQUESTS / 2 {
            gateway.kill().await;
            gateway = gateway.setup.clone().start().await;
            *address.lock().unwrap() = gateway.http();
        }
        accept(&gateway, &text_to(sequence, &format!("1415555{:04}", sequence % 40))).await;
    }
    let expected = all(&gateway, &token).await;
    assert_eq!(expected.len(), 240 + 40);
    done.send(true).unwrap();
    for reader in readers {
        assert_eq!(within(20, "a reader has everything", reader).await.unwrap(), ids(&expected));
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_and_misses_nothing_and_a_stuck_one_is_let_go() {
    let gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    let query = format!("?token={token}&raw=1&types=message:*");
    let mut slow = Reader::small(gateway.http(), &query).await;
    let mut stuck = Reader::small(gateway.http(), &query).await;
    let mut quick = Reader::open(gateway.http(), &format!("?token={token}&types=message:*")).await;
    // More than the system holds for somebody who does not read, and then much that is small.
    let large = |number: u64| {
        let body = "x".repeat(8_000);
        message("111", &format!("L{number}")).replace("for \\/111 \\u2028", &body)
    };
    for round in 0..4 {
        let changes: Vec<String> = (0..250).map(|at| large(round * 250 + at)).collect();
        accept(&gateway, &batch(&changes)).await;
    }
    for round in 0..4 {
        let changes: Vec<String> =
            (0..500).map(|at| message("111", &format!("S{}", round * 500 + at))).collect();
        accept(&gateway, &batch(&changes)).await;
    }
    let (expected, _) = through(&mut quick, 3_000).await;
    // Nobody waits for those who do not read; and now the slow one does.
    let (seen, told) = through(&mut slow, 3_000).await;
    assert!(told >= 1, "it was not told");
    assert_eq!(ids(&seen), ids(&expected));
    // The stuck one reads at last: what was under way, and the end, perhaps with its code.
    let readers = async || (gateway.metric("waypost_stream_readers").await < 3.0).then_some(());
    eventually(30, "the stuck one is let go", readers).await;
    let mut last = String::new();
    let close = loop {
        match stuck.next().await {
            Ok(frame) => last = frame["id"].as_str().unwrap_or(&last).to_owned(),
            Err(close) => break close,
        }
    };
    assert!(close.0 == 4008 || close.0 == 1006, "{close:?}");
    let mut again = Reader::open(gateway.http(), &format!("{query}&since={last}")).await;
    let place = expected.iter().position(|frame| frame["id"] == *last).unwrap();
    let (rest, _) = through(&mut again, expected.len() - place - 1).await;
    assert_eq!(ids(&rest), ids(&expected)[place + 1..]);
}

/// So many frames of events, and how often a word about being behind came between them.
async fn through(reader: &mut Reader, number: usize) -> (Vec<Value>, usize) {
    let (mut seen, mut told) = (Vec::new(), 0);
    while seen.len() < number {
        let frame = reader.frame().await;
        if frame["type"] == "stream:behind" {
            told += 1;
            assert!(frame["payload"]["behind"].as_u64().unwrap() >= 1_000, "{frame}");
            assert!(frame["payload"]["cursor"].as_str().unwrap().starts_with("evt_"));
        } else {
            seen.push(frame);
        }
    }
    (seen, told)
}

#[tokio::test]
async fn asked_to_stop_it_says_goodbye_and_ends_at_once() {
    let mut gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    let mut readers = [
        Reader::open(gateway.http(), &format!("?token={token}")).await,
        Reader::open(gateway.admin(), &format!("?token={token}")).await,
    ];
    let mut events = Wire::plain(gateway.http()).await;
    events.say(&get(&format!("/events?token={token}"))).await;
    let started = tokio::time::Instant::now();
    gateway.signal(rustix::process::Signal::TERM);
    for reader in &mut readers {
        assert_eq!(reader.closed().await.0, 1001);
    }
    assert!(events.rest(5).await.contains("text/event-stream"));
    assert_eq!(gateway.ended(10).await.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}
