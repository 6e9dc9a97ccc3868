//! Who may read the stream: those who show a token that is good, for what it admits to, and nobody else.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::harness::*;

const OTHERS: &str = "a secret of others that is thirty-two bytes long or more";

fn setup() -> Setup {
    Setup::new().section(&source(&[SECRET])).section(&format!(
        "[stream]\npublic = true\nallowed_origins = [\"http://localhost:5173\"]\ntoken_secrets = [\"{OTHERS}\"]\n"
    ))
}

async fn accept(gateway: &Gateway, body: &[u8]) {
    assert_eq!(ask(gateway.http(), &signed_with(SECRET, W, body)).await.status, 200);
}

/// A token of others', good for so many seconds.
fn of_others(seconds: i64, claims: Value) -> String {
    let now = std::process::Command::new("date").arg("+%s").output().unwrap();
    let now: i64 = String::from_utf8_lossy(&now.stdout).trim().parse().unwrap();
    let mut all = json!({ "aud": "waypost", "exp": now + seconds });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let key = EncodingKey::from_secret(OTHERS.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &all, &key).unwrap()
}

#[tokio::test]
async fn who_shows_no_good_token_hears_why() {
    let gateway = setup().variable("WAYPOST_LOG", "trace").start().await;
    let good = of_others(60, json!({}));
    let revoked = gateway.token(&[]).await;
    gateway.run(&["token", "revoke", &revoked]).await.done();
    let admin = std::fs::read_to_string(gateway.data().join("admin-token")).unwrap();
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let refusals = [
        (of_others(-1, json!({})), "token_expired"),
        (of_others(60, json!({ "aud": "other" })), "token_wrong_audience"),
        (of_others(60, json!({ "scope": { "tenants": ["a"] } })), "token_malformed"),
        (of_others(60, json!({ "nbf": 4_000_000_000_u64 })), "token_not_yet"),
        (forged, "token_forged"),
        ("x".to_owned(), "token_forged"),
        (revoked, "token_revoked"),
        // The operators' is for operators.
        (admin.trim().to_owned(), "token_forged"),
    ];
    for (token, code) in &refusals {
        let in_query = Reader::try_open(gateway.http(), &format!("?token={token}"), &[]).await.err().unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let in_header = Reader::try_open(gateway.http(), "", &headers).await.err().unwrap();
        for refused in [in_query, in_header] {
            assert_eq!(refused.status, 401, "{code}: {refused:?}");
            assert!(refused.body.contains(code), "{code}: {refused:?}");
        }
        for path in [
            "/events?since=now",
            "/api/v1/events?since=now",
            "/api/v1/messages?limit=1",
            "/api/v1/contacts?limit=1",
        ] {
            let answer = ask(gateway.http(), &get(&format!("{path}&token={token}"))).await;
            assert_eq!(answer.status, 401, "{path} {code}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert!(answer.text().contains(code), "{path} {code}: {answer:?}");
        }
        // Shown in the first message, it is refused with a close code.
        let mut reader = Reader::open(gateway.http(), "").await;
        reader.say(&json!({ "type": "auth", "payload": { "token": token } }).to_string()).await;
        assert_eq!(reader.closed().await, (1008, format!("authentication failed: {code}")));
    }
    for path in ["/events", "/api/v1/events?since=now", "/api/v1/messages", "/api/v1/contacts/x"] {
        for address in [gateway.http(), gateway.admin()] {
            let answer = ask(address, &get(path)).await;
            assert_eq!(answer.status, 401, "{path}: {answer:?}");
            assert!(answer.text().contains("token_wanted"), "{path}: {answer:?}");
        }
    }
    // One that is good, in an address and in a header.
    Reader::open(gateway.http(), &format!("?token={good}")).await;
    let bearer = format!("Bearer {good}");
    assert!(Reader::try_open(gateway.admin(), "", &[("authorization", &bearer)]).await.is_ok());
    // Something that is logged, so that it is known that much is.
    ask(gateway.http(), &get("/nobody.example.com/x")).await;
    gateway.logs("refused").await;
    // None of them is anywhere in the log, however much is logged.
    let log = gateway.log();
    for (token, _) in &refusals {
        assert!(token.len() < 10 || !log.contains(token.as_str()), "a token is in the log");
    }
    assert!(!log.contains(&good));
}

#[tokio::test]
async fn a_token_may_be_shown_in_the_address_a_header_or_the_first_message() {
    let gateway = setup().start().await;
    let token = of_others(60, json!({}));
    let bearer = format!("bearer {token}");
    let mut readers = [
        Reader::open(gateway.http(), &format!("?token={token}")).await,
        Reader::try_open(gateway.http(), "", &[("authorization", &bearer)]).await.ok().unwrap(),
        Reader::open(gateway.http(), "?types=message:new").await,
    ];
    readers[2].say(&json!({ "type": "auth", "payload": { "token": token } }).to_string()).await;
    readers[2].say(r#"{"type":"ping"}"#).await;
    assert_eq!(readers[2].frame().await["type"], "pong");
    accept(&gateway, &text(1)).await;
    assert_eq!(readers[0].frame().await["type"], "contact:new");
    assert_eq!(readers[1].frame().await["type"], "contact:new");
    assert_eq!(readers[2].frame().await["type"], "message:new");
    // Something else first, or nothing, is no way in.
    let mut other = Reader::open(gateway.http(), "").await;
    other.say(r#"{"type":"ping"}"#).await;
    assert_eq!(other.closed().await, (1008, "authentication failed: token_wanted".to_owned()));
    let started = tokio::time::Instant::now();
    let mut silent = Reader::open(gateway.http(), "").await;
    assert_eq!(silent.closed().await.0, 1008);
    assert!(started.elapsed() >= Duration::from_millis(4_900), "{:?}", started.elapsed());
    // The operators' token admits operators, at their own door.
    let admin = std::fs::read_to_string(gateway.data().join("admin-token")).unwrap();
    let mut operator = Reader::open(gateway.admin(), &format!("?token={}&since=oldest", admin.trim())).await;
    assert_eq!(operator.frame().await["type"], "contact:new");
}

#[tokio::test]
async fn readers_are_cut_off_when_their_token_runs_out_or_is_revoked() {
    let gateway = setup().start().await;
    let mut short = Reader::open(gateway.http(), &format!("?token={}", of_others(3, json!({})))).await;
    let token = gateway.token(&["--note", "to be revoked"]).await;
    let mut reader = Reader::open(gateway.http(), &format!("?token={token}")).await;
    let mut other = Reader::open(gateway.http(), &format!("?token={}", of_others(60, json!({})))).await;
    let mut events = Wire::plain(gateway.http()).await;
    events.say(&get(&format!("/events?token={token}"))).await;
    let listed = gateway.run(&["token", "list", "--json"]).await.done().json();
    assert_eq!(listed[0]["note"], "to be revoked");
    gateway.run(&["token", "revoke", listed[0]["id"].as_str().unwrap()]).await.done();
    assert_eq!(reader.closed().await, (4003, "token_revoked".to_owned()));
    assert!(within(5, "the last event", events.answer()).await.text().contains("token_revoked"));
    assert_eq!(short.closed().await, (4001, "token_expired".to_owned()));
    accept(&gateway, &text(1)).await;
    assert_eq!(other.frame().await["type"], "contact:new");
}

#[tokio::test]
async fn keys_rotate_and_tokens_last_over_a_restart() {
    let mut gateway = setup().start().await;
    let former = gateway.token(&["--alg", "eddsa"]).await;
    let rotated = gateway.run(&["token", "rotate", "--json"]).await.done().json();
    assert_eq!((rotated[0]["made"].as_u64(), rotated[0]["keys"].as_array().unwrap().len()), (Some(1), 2));
    let newer = gateway.token(&["--alg", "eddsa"]).await;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid;
    assert_ne!(kid(&former), kid(&newer));
    gateway.stop().await;
    let gateway = gateway.setup.start().await;
    accept(&gateway, &text(1)).await;
    for token in [&former, &newer] {
        let mut reader = Reader::open(gateway.http(), &format!("?token={token}&since=oldest")).await;
        assert_eq!(reader.frame().await["type"], "contact:new");
    }
    let shown = gateway.run(&["token", "list"]).await.done().out;
    assert!(shown.contains("signs") && shown.contains("believed until"), "{shown}");
}

#[tokio::test]
async fn metadata_only_shows_neither_what_people_write_nor_what_they_are_called() {
    let gateway = setup().start().await;
    let token = gateway.token(&["--metadata-only"]).await;
    accept(&gateway, &batch(&[message("111", "A")])).await;
    let mut reader = Reader::open(gateway.http(), &format!("?token={token}&since=oldest")).await;
    let mut shown = String::new();
    for frame in reader.frames(2).await {
        shown.push_str(&frame.to_string());
    }
    for path in ["/api/v1/events?since=oldest", "/api/v1/contacts?limit=5", "/api/v1/messages?limit=5"] {
        let answer = ask(gateway.http(), &get(&format!("{path}&token={token}"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        shown.push_str(&answer.text());
    }
    assert!(shown.contains("wamid.A") && shown.contains("message:new"), "{shown}");
    assert!(!shown.contains("Zo") && !shown.contains("for /111"), "{shown}");
    for query in ["raw=1", "content=1"] {
        let refused =
            Reader::try_open(gateway.http(), &format!("?token={token}&{query}"), &[]).await.err().unwrap();
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.body.contains("token_scope"), "{refused:?}");
    }
    let event = gateway.events(&[]).await[0]["id"].as_str().unwrap().to_owned();
    let whole = ask(gateway.http(), &get(&format!("/api/v1/events/{event}/request?token={token}"))).await;
    assert_eq!(whole.status, 403, "{whole:?}");
}

#[tokio::test]
async fn messages_and_contacts_show_no_more_than_the_stream_does_and_numbers_go_as_people_write_them() {
    let gateway = setup().start().await;
    accept(&gateway, &batch(&[message("111", "A")])).await;
    let all = gateway.token(&[]).await;
    let read = |answer: Answer| -> Value { serde_json::from_slice(&answer.body).unwrap() };
    let first = ask(gateway.http(), &get(&format!("/api/v1/events?since=oldest&token={all}"))).await;
    let written = read(first)["items"][0]["payload"]["number"]["display"].as_str().unwrap().to_owned();
    let with = async |path: &str, scope: Value| {
        let token = of_others(60, json!({ "scope": scope }));
        ask(gateway.http(), &get(&format!("{path}?token={token}"))).await
    };
    for (path, types, expected) in [
        ("/api/v1/messages", json!(["message:new"]), 403),
        ("/api/v1/messages/wamid.A", json!(["message:new", "message:status"]), 403),
        ("/api/v1/messages/wamid.A", json!(["message:*"]), 200),
        ("/api/v1/contacts", json!(["contact:preference"]), 403),
        ("/api/v1/contacts", json!(["contact:new", "contact:updated"]), 200),
    ] {
        assert_eq!(with(path, json!({ "types": types })).await.status, expected, "{path} {types}");
    }
    for (numbers, expected) in [(written.as_str(), 1), ("15550000000", 0)] {
        let answer = read(with("/api/v1/contacts", json!({ "numbers": [numbers] })).await);
        assert_eq!(answer["items"].as_array().unwrap().len(), expected, "{numbers}: {answer}");
    }
    let found = ask(gateway.http(), &get(&format!("/api/v1/contacts?number={written}&token={all}"))).await;
    assert_eq!(read(found)["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_public_address_has_no_stream_unless_told_and_then_for_allowed_pages_alone() {
    let closed = Setup::new().section(&source(&[SECRET])).start().await;
    let token = closed.token(&[]).await;
    for path in
        ["/ws", "/events", "/api/v1/events?since=now", "/api/v1/messages", "/api/v1/schema/event.json"]
    {
        let mark = if path.contains('?') { '&' } else { '?' };
        let answer = ask(closed.http(), &get(&format!("{path}{mark}token={token}"))).await;
        assert!(matches!(answer.status, 403 | 404), "{path}: {answer:?}");
    }
    Reader::open(closed.admin(), &format!("?token={token}")).await;

    let gateway = setup().start().await;
    let token = gateway.token(&[]).await;
    let query = format!("?token={token}");
    let allowed = [("origin", "http://localhost:5173")];
    assert!(Reader::try_open(gateway.http(), &query, &allowed).await.is_ok());
    for origin in ["https://evil.example", "null", "http://localhost:5174"] {
        let refused = Reader::try_open(gateway.http(), &query, &[("origin", origin)]).await.err().unwrap();
        assert_eq!((refused.status, refused.body.contains("origin_refused")), (403, true), "{refused:?}");
    }
    let with_origin = |origin: &str| {
        let request = String::from_utf8(get(&format!("/api/v1/events?since=now&token={token}"))).unwrap();
        request.replace("Accept: */*", &format!("Origin: {origin}")).into_bytes()
    };
    let answer = ask(gateway.http(), &with_origin("http://localhost:5173")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:5173"));
    assert_eq!(ask(gateway.http(), &with_origin("https://evil.example")).await.status, 403);
    let question = b"OPTIONS /events HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:5173\r\nAccess-Control-Request-Method: GET\r\n\r\n";
    let answer = ask(gateway.http(), question).await;
    assert_eq!((answer.status, answer.header("access-control-allow-methods")), (204, Some("GET")));
}
