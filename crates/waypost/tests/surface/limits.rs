//! Everything has a limit, and nothing that is sent, however strange, gets past one or brings it down.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use waypost_whatsapp::{Compose, compose};

use crate::harness::*;

async fn house() -> (Gateway, Receiver) {
    let receiver = Receiver::willing().await;
    let keys = format!("app_secrets = [\"{SECRET}\"]");
    let gateway = Setup::new()
        .upstream(HOST, &receiver.origin(), &keys)
        .upstream("relay.example.com", &receiver.origin(), "mode = \"relay\"")
        .start()
        .await;
    (gateway, receiver)
}

/// Says the bytes, then one more every so often; how long until the connection ended, and what came.
async fn dripped(gateway: &Gateway, start: String, every_ms: u64) -> (Duration, Option<Answer>) {
    let mut wire = Wire::plain(gateway.http()).await;
    let started = Instant::now();
    wire.say(start.as_bytes()).await;
    let (mut said, mut answer) = (0, None);
    while started.elapsed() < Duration::from_secs(28) {
        let next = tokio::time::timeout(Duration::from_millis(every_ms), wire.try_answer()).await;
        match next {
            Ok(None) => break,
            Ok(some) => answer = some,
            Err(_) => {
                wire.say(b"x").await;
                said += 1;
            }
        }
    }
    assert!(said > 0, "nothing was dripped");
    (started.elapsed(), answer)
}

#[tokio::test]
async fn clients_that_take_their_time_are_cut_off() {
    let (gateway, receiver) = house().await;
    let silent = async {
        let mut wire = Wire::plain(gateway.http()).await;
        let started = Instant::now();
        assert!(wire.ends_within(20).await, "a silent client is kept for ever");
        started.elapsed()
    };
    let head = dripped(&gateway, "GET /relay.example.com/x HTTP/1.1\r\nX-Slow: ".to_owned(), 500);
    let body = dripped(
        &gateway,
        format!("POST {CALLBACK} HTTP/1.1\r\nHost: p\r\nContent-Length: 100000\r\n\r\n"),
        500,
    );
    let relayed = dripped(
        &gateway,
        "POST /relay.example.com/x HTTP/1.1\r\nHost: p\r\nContent-Length: 100000\r\n\r\n".to_owned(),
        500,
    );
    let (silent, (head, _), (body, answer), (relayed, relayed_answer)) =
        tokio::join!(silent, head, body, relayed);
    for took in [silent, head] {
        assert!((9..13).contains(&took.as_secs()), "a head was waited for {took:?}");
    }
    for took in [body, relayed] {
        assert!((19..28).contains(&took.as_secs()), "a body was waited for {took:?}");
    }
    for answer in [answer, relayed_answer] {
        assert!(answer.is_none_or(|answer| answer.status == 408));
    }
    assert!(receiver.heard().is_empty());
    assert_eq!(ask(gateway.http(), &get("/relay.example.com/x")).await.status, 200);
}

#[tokio::test]
async fn heads_beyond_their_limits_are_refused() {
    let (gateway, receiver) = house().await;
    let head = |lines: usize, bytes: usize| {
        let mut head = "GET /relay.example.com/x HTTP/1.1\r\nHost: p\r\n".to_owned();
        for number in 1..lines {
            head.push_str(&format!("X-{number}: {}\r\n", "v".repeat(bytes)));
        }
        head.push_str("\r\n");
        head.into_bytes()
    };
    for (request, wanted) in [
        (head(90, 10), vec![200]),
        (head(2, 16_000), vec![200]),
        (head(101, 10), vec![431, 400]),
        (head(2_000, 10), vec![431, 400]),
        (head(2, 17_000), vec![431, 400]),
        (head(90, 2_000), vec![431, 400]),
        (get(&format!("/relay.example.com/{}", "a".repeat(8_100))), vec![200]),
        (get(&format!("/relay.example.com/{}", "a".repeat(8_200))), vec![414]),
        (get(&format!("/relay.example.com/{}", "a".repeat(80_000))), vec![414, 431, 400]),
        (get(&format!("/{}/x", "a".repeat(5_000))), vec![403]),
    ] {
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(&request).await;
        let status = within(10, "an answer", wire.try_answer()).await.map(|answer| answer.status);
        let start = String::from_utf8_lossy(&request[..40]).into_owned();
        assert!(
            status.is_some_and(|status| wanted.contains(&status)),
            "{start}… of {}: {status:?}",
            request.len()
        );
    }
    assert_eq!(receiver.heard().len(), 3);
}

#[tokio::test]
async fn connections_of_one_address_are_counted() {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new()
        .section("[limits]\nconnections_max = 100\nconnections_per_address_max = 3")
        .upstream(HOST, &receiver.origin(), "mode = \"relay\"")
        .start()
        .await;
    let request = get(&format!("/{HOST}/x"));
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(&request).await;
        assert_eq!(wire.answer().await.status, 200);
        wires.push(wire);
    }
    let mut beyond = Wire::plain(gateway.http()).await;
    assert!(beyond.ends_within(5).await, "a fourth connection was served");
    wires.pop();
    let again = async || {
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(&request).await;
        wire.try_answer().await.filter(|answer| answer.status == 200)
    };
    eventually(5, "a seat that is given back is given out", again).await;
}

#[tokio::test]
async fn bodies_on_their_way_share_a_budget_and_beyond_it_is_503() {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new()
        .section("[limits]\nbodies_in_flight_bytes_max = \"8MiB\"")
        .upstream(HOST, &receiver.origin(), "")
        .start()
        .await;
    let whole = post(CALLBACK, &[], &vec![b' '; 3 * 1024 * 1024]);
    let mut halves = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(&whole[..whole.len() - 200_000]).await;
        halves.push(wire);
    }
    // Two fit, the third does not.
    let refused = async || {
        let request = post(CALLBACK, &[], &vec![b' '; 3 * 1024 * 1024]);
        Some(ask(gateway.http(), &request).await.status).filter(|status| *status == 503)
    };
    eventually(10, "a refusal", refused).await;
    drop(halves);
    let taken = async || Some(ask(gateway.http(), &whole).await.status).filter(|status| *status == 200);
    eventually(10, "memory is given back", taken).await;
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_relayed() {
    let receiver = Receiver::start(|heard| {
        let length =
            if heard.request_line().contains("/fits") { 8 * 1024 * 1024 } else { 8 * 1024 * 1024 + 1 };
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b'a');
        if heard.request_line().contains("/chunked") {
            answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for _ in 0..9 {
                answer.extend(b"100000\r\n");
                answer.resize(answer.len() + 0x10_0000, b'a');
                answer.extend(b"\r\n");
            }
            answer.extend(b"0\r\n\r\n");
        }
        Reply::SayAndClose(answer)
    })
    .await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "mode = \"relay\"").start().await;
    let asked = async |path: &str| {
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(&post(&format!("/{HOST}{path}"), &[], b"{}")).await;
        within(20, "an answer or the end", wire.try_answer()).await
    };
    assert_eq!(asked("/fits").await.map(|answer| answer.body.len()), Some(8 * 1024 * 1024));
    assert_eq!(asked("/announced").await.map(|answer| answer.status), Some(502));
    let chunked = asked("/chunked").await;
    assert!(
        chunked.is_none(),
        "what is cut must not look whole: {:?}",
        chunked.map(|answer| answer.body.len())
    );
}

#[tokio::test]
async fn a_thousand_events_in_one_request_are_a_thousand_events() {
    let (gateway, receiver) = house().await;
    let body = compose("batch", &Compose { batch_size: 1_000, ..Compose::default() }).unwrap().into_bytes();
    assert_eq!(ask(gateway.http(), &signed(CALLBACK, &body)).await.status, 200);
    assert_eq!(receiver.hears(1).await[0].body, body);
    let events = gateway.until_events(&["--state", "delivered"], 1_000).await;
    let mut listed: Vec<_> = events.iter().map(|event| event["wamid"].as_str().unwrap().to_owned()).collect();
    let mut sent = wamids(&body);
    listed.sort();
    sent.sort();
    assert_eq!(listed, sent);
}

/// Bodies that no sane sender writes.
fn strange() -> Vec<Vec<u8>> {
    let message = |inner: &str| {
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"phone_number_id":"2","display_phone_number":"3"}},{inner}}},"field":"messages"}}]}}]}}"#
        )
    };
    let mut texts: Vec<String> = [
        "",
        " ",
        "null",
        "true",
        "0",
        "-1e999",
        "\"text\"",
        "[]",
        "{}",
        "[[]]",
        "{",
        "}",
        "{\"object\"",
        "nonsense",
        "{\"object\":\"whatsapp_business_account\"}",
        "{\"object\":\"page\",\"entry\":[{\"id\":\"1\",\"messaging\":[]}]}",
        "{\"entry\":null}",
        "{\"entry\":{}}",
        "{\"entry\":[null,1,\"x\",[],{}]}",
        "{\"entry\":[{\"id\":null,\"changes\":null}]}",
        "{\"entry\":[{\"id\":1,\"changes\":[null,{\"field\":null,\"value\":null}]}]}",
        "{\"entry\":[{\"changes\":[{\"field\":\"messages\",\"value\":[]}]}]}",
        "{\"entry\":[{\"changes\":[{\"field\":\"no_such_field_yet\",\"value\":{\"a\":1}}]}]}",
        "{\"entry\":[{\"changes\":[{\"field\":\"\\ud800\",\"value\":{}}]}]}",
        "{\"entry\":[],\"entry\":[{\"changes\":[]}]}",
        "{\"entry\":[]}trailing",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.extend(
        [
            r#""messages":null"#, r#""messages":{}"#, r#""messages":[]"#, r#""messages":[null]"#, r#""messages":[{}]"#,
            r#""messages":[{"id":"wamid.A","timestamp":"1","type":"text","text":{"body":"without from"}}]"#,
            r#""messages":[{"from":null,"id":"wamid.B","timestamp":1,"type":null}]"#,
            r#""messages":[{"from":"","id":"","timestamp":"","type":""}]"#,
            r#""messages":[{"from":4915112345678,"id":99999999999999999999999999999999,"timestamp":99999999999999999999}]"#,
            r#""messages":[{"from":"1","id":"wamid.C","timestamp":"-1","type":"text","text":{"body":"\ud83d"}}]"#,
            r#""messages":[{"from":"1","id":"wamid.\u0000D","timestamp":"1e9","type":"text","text":{"body":"\u0000"}}]"#,
            r#""messages":[{"from":"\ud800\udfff\udc00","id":"wamid.\udfff","type":"\u202e"}]"#,
            r#""messages":[{"from":["1"],"id":{"a":1},"type":["text"]}]"#,
            r#""messages":[{"from":"1","id":"wamid.E","from":"2","id":"wamid.F"}]"#,
            r#""statuses":[{"id":"wamid.G","status":"a status to come","timestamp":"1"}]"#,
            r#""statuses":[{"id":null,"status":null,"recipient_id":null}]"#,
            r#""statuses":"sent""#,
            r#""errors":[{"code":131000}]"#, r#""errors":null"#,
            r#""contacts":null,"messages":[{"id":"wamid.H"}]"#,
            r#""what_is_this":[{"id":"1"}]"#,
        ]
        .map(message),
    );
    let long = "9".repeat(100_000);
    texts.push(message(&format!(
        r#""messages":[{{"from":"{long}","id":"wamid.{long}","timestamp":"{long}","type":"{long}"}}]"#
    )));
    texts.push(message(&format!(r#""messages":[{{"from":"1","id":"wamid.I","timestamp":{long}}}]"#)));
    texts.push(format!("{}{}", "[".repeat(1_500_000), "]".repeat(1_500_000)));
    texts.push("{\"a\":".repeat(700_000));
    texts.push(message(&format!(r#""messages":[{}]"#, vec![r#"{"id":"x"}"#; 200_000].join(","))));
    texts.push(format!("{{\"entry\":[{}]}}", vec!["{}"; 900_000].join(",")));
    texts
        .push(format!("{{{}}}", (0..150_000).map(|at| format!("\"k{at}\":1")).collect::<Vec<_>>().join(",")));
    let mut bodies: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    bodies.push(b"\xff\xfe{\0}\0".to_vec());
    bodies.push(b"\xef\xbb\xbf{\"entry\":[]}".to_vec());
    bodies.push(
        message(r#""messages":[{"from":"1","id":"wamid.J","type":"text","text":{"body":"REPLACED"}}]"#)
            .into_bytes()
            .iter()
            .map(|byte| if *byte == b'R' { 0xff } else { *byte })
            .collect(),
    );
    bodies.push(vec![0; 1_000]);
    bodies
}

#[tokio::test]
async fn whatever_is_in_a_signed_body_it_is_taken_listed_and_delivered() {
    let (gateway, receiver) = house().await;
    let bodies = strange();
    let mut slow = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        let started = Instant::now();
        // An address each, so that none is another's duplicate.
        let answer = ask(gateway.http(), &signed(&format!("/{HOST}/{number}"), body)).await;
        let start = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        assert_eq!(answer.status, 200, "{start}");
        if started.elapsed() > Duration::from_secs(3) {
            slow.push((start, body.len(), started.elapsed()));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
    let heard = receiver.hears(bodies.len()).await;
    for (number, body) in bodies.iter().enumerate() {
        let line = format!("POST /{number} HTTP/1.1");
        let heard = heard.iter().find(|heard| heard.request_line() == line);
        assert!(heard.is_some_and(|heard| heard.body == *body), "body {number} is not what was sent");
    }
    // Each has an event at least, and every event what it is documented to have.
    let events = gateway.run(&["events", "list", "--json", "--limit", "20000"]).await.done().json();
    let requests: std::collections::HashSet<&str> =
        events.iter().map(|event| event["request_id"].as_str().unwrap()).collect();
    println!("{} events in {} requests", events.len(), requests.len());
    for event in &events {
        for member in ["id", "request_id", "source", "kind", "class", "key", "received_at"] {
            assert!(event[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {event}");
        }
        assert_eq!(event["source"], HOST);
        assert!(event.to_string().len() < 20_000, "an event's record is {} bytes", event.to_string().len());
    }
    let delivered = |event: &Value| {
        event["deliveries"].as_array().is_some_and(|all| all.iter().all(|one| one["state"] == "delivered"))
    };
    assert!(events.iter().all(delivered));
    assert!(
        requests.len() == bodies.len() || events.len() == 20_000,
        "{} of {}",
        requests.len(),
        bodies.len()
    );
}

#[tokio::test]
async fn a_log_tells_neither_secrets_nor_people_nor_content() {
    let receiver = Receiver::start(|_| Reply::Status(500)).await;
    let keys = format!("app_secrets = [\"{SECRET}\"]\nverify_token = \"vibecoding\"");
    let gateway =
        Setup::new().variable("WAYPOST_LOG", "debug").upstream(HOST, &receiver.origin(), &keys).start().await;
    let body = compose("text", &Compose { text: Some("a very private word"), ..Compose::default() }).unwrap();
    assert_eq!(ask(gateway.http(), &signed(CALLBACK, body.as_bytes())).await.status, 200);
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], body.as_bytes())).await.status, 401);
    ask(
        gateway.http(),
        &get(&format!("{CALLBACK}?hub.mode=subscribe&hub.challenge=1&hub.verify_token=vibecoding")),
    )
    .await;
    receiver.hears(1).await;
    gateway.logs("attempt failed").await;
    let log = gateway.log();
    for private in [SECRET, "vibecoding", "private word", "14155550183", "5511999999999", "15550147720"] {
        let line = log.lines().find(|line| line.contains(private));
        assert!(line.is_none(), "{private}: {line:?}");
    }
    for line in log.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "not JSON: {line}");
    }
}
