//! Bytes are evidence: path, query, headers and body as a receiver's raw socket sees them, relayed or
//! delivered, first try or tenth.

use std::time::Duration;

use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use waypost_whatsapp::{Compose, compose};

use crate::harness::*;

/// What a careless proxy would decode, encode, merge, sort or drop.
const TARGETS: &[&str] = &[
    "/webhooks/whatsapp/%2B5511999999999",
    "/webhooks/whatsapp/%2b5511999999999",
    "/webhooks/whatsapp/+5511999999999",
    "/webhooks/whatsapp/%2B5511999999999?hub.mode=subscribe&hub.challenge=1&hub.verify_token=a%2Bb%20c",
    "/",
    "/?",
    "/a?",
    "/a??b?c",
    "/a?b=/../%2F%5C..;&&c=%zz&=&d=%00",
    "/a?q=http://b/c%23d&e=\\",
    "//a//b///",
    "/%41%42/a%3Ab/a%3Db",
    "/a%20b/a%25b/a%3Fq=1/a%23f/caf%C3%A9",
    "/a&b+c",
    "/a;p=1/b;q",
    "/-._~!$&'()*+,;=:@",
    "/...",
    "/..a/b..",
    "/a|b^c`d\"e{f}",
    "/[x]<y>",
    "/café",
    "/a?ü=ß",
];

async fn house() -> (Gateway, Receiver) {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new()
        .upstream(HOST, &receiver.origin(), "")
        .upstream("relay.example.com", &receiver.origin(), "mode = \"relay\"")
        .start()
        .await;
    (gateway, receiver)
}

#[tokio::test]
async fn a_target_goes_on_as_it_came() {
    let (gateway, receiver) = house().await;
    let mut heard_before = 0;
    let mut refused = Vec::new();
    for target in TARGETS {
        for (host, method) in [("relay.example.com", "GET"), ("relay.example.com", "POST"), (HOST, "POST")] {
            // Another body each time: repeats are not delivered.
            let body = if method == "GET" { String::new() } else { format!("{{\"n\":{heard_before}}}") };
            let length = body.len();
            let request = format!(
                "{method} /{host}{target} HTTP/1.1\r\nHost: p\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let answer = ask(gateway.http(), request.as_bytes()).await;
            if answer.status == 400 {
                refused.push(*target);
                continue;
            }
            assert_eq!(answer.status, 200, "{target}");
            let heard = receiver.hears(heard_before + 1).await;
            assert_eq!(heard[heard_before].request_line(), format!("{method} {target} HTTP/1.1"));
            heard_before += 1;
        }
    }
    refused.dedup();
    // These are no targets (RFC 9112, section 3.2); to refuse one is right, to change it would not be.
    let no_targets = |target: &&str| target.contains(['|', '^', '<', '[', 'é', 'ü', '\\']);
    assert!(refused.iter().all(no_targets), "{refused:?}");
}

/// A caller's lines: what must go on, what must not, what is forged.
const LINES: &[&str] = &[
    "X-Hub-Signature: sha1=aaaa",
    "X-Hub-Signature-256: sha256=BBBB",
    "X-Dup: 1",
    "X-Other: between",
    "X-Dup: 2",
    "X-Empty:",
    "X-Space:    inner  spaces stay   ",
    "X-Latin: caf\u{e9}",
    "Cookie: a=b; c=d",
    "Authorization: Bearer t",
    "Content-Encoding: identity",
    "Connection: keep-alive, X-Named , x-also-named",
    "X-Named: 1",
    "X-Also-Named: 1",
    "Keep-Alive: timeout=5",
    "TE: trailers",
    "Upgrade: h2c",
    "Proxy-Authorization: Basic eA==",
    "Proxy-Connection: keep-alive",
    "Proxy-Anything: 1",
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-For: 7.7.7.7",
    "X-Forwarded-Proto: ftp",
    "X-Forwarded-Host: evil.test",
    "X-Real-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
    "Waypost-Event-Id: evt_forged",
    "Waypost-Attempt: 99",
];

fn check_lines(heard: &Heard, host: &str) {
    for (name, values) in [
        ("host", vec![host]),
        ("user-agent", vec!["facebookexternalua"]),
        ("accept", vec!["*/*"]),
        ("content-type", vec!["application/json"]),
        ("content-encoding", vec!["identity"]),
        ("x-hub-signature", vec!["sha1=aaaa"]),
        ("x-hub-signature-256", vec!["sha256=BBBB"]),
        ("x-dup", vec!["1", "2"]),
        ("x-empty", vec![""]),
        ("x-space", vec!["inner  spaces stay"]),
        ("x-latin", vec!["caf\u{e9}"]),
        ("cookie", vec!["a=b; c=d"]),
        ("authorization", vec!["Bearer t"]),
        ("content-length", vec!["12"]),
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["http"]),
        ("x-real-ip", vec!["127.0.0.1"]),
    ] {
        assert_eq!(heard.all(name), values, "{name} in {}", heard.head);
    }
    for name in [
        "connection",
        "x-named",
        "x-also-named",
        "keep-alive",
        "te",
        "upgrade",
        "proxy-authorization",
        "proxy-connection",
        "proxy-anything",
        "x-forwarded-host",
        "forwarded",
        "transfer-encoding",
        "expect",
    ] {
        assert!(heard.all(name).is_empty(), "{name} in {}", heard.head);
    }
    assert_eq!(heard.body, b"{\"a\": \"\\/\"}\n");
}

#[tokio::test]
async fn headers_go_on_but_for_those_of_the_connection_and_those_that_only_we_may_set() {
    let (gateway, receiver) = house().await;
    let body = b"{\"a\": \"\\/\"}\n";
    assert_eq!(ask(gateway.http(), &post("/relay.example.com/x", LINES, body)).await.status, 200);
    let relayed = receiver.hears(1).await[0].clone();
    check_lines(&relayed, "relay.example.com");
    assert!(relayed.lines().iter().all(|(name, _)| !name.to_ascii_lowercase().starts_with("waypost-")));

    assert_eq!(ask(gateway.http(), &post(CALLBACK, LINES, body)).await.status, 200);
    let delivered = receiver.hears(2).await[1].clone();
    check_lines(&delivered, HOST);
    assert_eq!(delivered.all("waypost-attempt"), ["1"]);
    let event = &gateway.until_events(&[], 1).await[0];
    assert_eq!(delivered.all("waypost-event-id"), [event["id"].as_str().unwrap()]);
    assert_eq!(delivered.all("waypost-delivery-id"), [event["deliveries"][0]["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn every_retry_is_the_first_try_again_also_after_a_restart() {
    let receiver = Receiver::start(|_| Reply::Status(503)).await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    let mut gateway = setup.start().await;
    let body = br#" {"text":{"body":"\u00e4\/ "},  "big":1e400}  "#;
    let target = format!("{CALLBACK}?b=2&a=%2B1");
    assert_eq!(ask(gateway.http(), &post(&target, LINES, body)).await.status, 200);
    receiver.hears(2).await;
    gateway.kill().await;
    let before = receiver.heard().len();
    let _gateway = setup.start().await;
    receiver.hears(before + 1).await;
    receiver.behave(|_| Reply::Status(200));
    let heard = receiver.until("it is taken", |heard| heard.last().is_some_and(|last| last.taken)).await;
    let without_attempt = |heard: &Heard| {
        let lines =
            heard.lines().into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("waypost-attempt"));
        (heard.request_line().to_owned(), format!("{:?}", lines.collect::<Vec<_>>()), heard.body.clone())
    };
    for again in &heard[1..] {
        assert_eq!(without_attempt(again), without_attempt(&heard[0]));
    }
    assert_eq!(heard[0].body, body);
    let attempts: Vec<u32> =
        heard.iter().map(|heard| heard.all("waypost-attempt")[0].parse().unwrap()).collect();
    assert!(attempts.is_sorted() && attempts[0] == 1, "{attempts:?}");
}

#[tokio::test]
async fn a_chunked_body_arrives_whole_with_its_length() {
    let (gateway, receiver) = house().await;
    for (number, host) in ["relay.example.com", HOST].into_iter().enumerate() {
        let head = format!(
            "POST /{host}/x HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
        );
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(head.as_bytes()).await;
        for part in ["1\r\n{\r\n", "4;ext=1\r\n\"a\":\r\n", "5\r\n\"b\"}\n\r\n", "0\r\nX-T: 1\r\n\r\n"] {
            wire.say(part.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(wire.answer().await.status, 200);
        let heard = &receiver.hears(number + 1).await[number];
        assert_eq!(String::from_utf8_lossy(&heard.body), "{\"a\":\"b\"}\n", "{}", heard.head);
        assert!(heard.all("x-t").is_empty() && heard.all("trailer").is_empty());
    }
}

#[tokio::test]
async fn a_caller_that_waits_for_100_continue_gets_it() {
    let (gateway, receiver) = house().await;
    let mut wire = Wire::plain(gateway.http()).await;
    wire.say(
        format!("POST {CALLBACK} HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            .as_bytes(),
    )
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    wire.say(b"{}").await;
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.interim), (200, vec![100]));
    assert_eq!(receiver.hears(1).await[0].body, b"{}");
}

#[tokio::test]
async fn three_megabytes_arrive_byte_for_byte() {
    let (gateway, receiver) = house().await;
    let filler: String = (0..3_000_000_u32).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
    let body = compose("text", &Compose { text: Some(&filler), ..Compose::default() }).unwrap().into_bytes();
    assert!(body.len() > 3_000_000);
    for (number, host) in ["relay.example.com", HOST].into_iter().enumerate() {
        assert_eq!(ask(gateway.http(), &post(&format!("/{host}/x"), &[], &body)).await.status, 200);
        assert!(receiver.hears(number + 1).await[number].body == body, "another body at {host}");
    }
    let events = gateway.until_events(&[], 1).await;
    assert_eq!(
        (events[0]["kind"].as_str(), events[0]["wamid"].as_str()),
        (Some("message"), Some(&*wamids(&body)[0]))
    );
}

#[tokio::test]
async fn half_a_body_is_no_body() {
    let (gateway, receiver) = house().await;
    for host in ["relay.example.com", HOST] {
        let whole = post(&format!("/{host}/x"), &[], &text(1));
        for part in [whole.len() - 1, whole.len() - 100] {
            let mut wire = Wire::plain(gateway.http()).await;
            wire.say(&whole[..part]).await;
            wire.hang_up().await;
            let answer = within(5, "the end", wire.try_answer()).await;
            assert!(answer.is_none_or(|answer| answer.status == 400));
        }
        let chunks =
            format!("POST /{host}/x HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n");
        let mut wire = Wire::plain(gateway.http()).await;
        wire.say(chunks.as_bytes()).await;
        wire.hang_up().await;
        let answer = within(5, "the end", wire.try_answer()).await;
        assert!(answer.is_none_or(|answer| answer.status == 400));
    }
    assert!(gateway.events(&[]).await.is_empty() && receiver.heard().is_empty());
}

#[tokio::test]
async fn a_compressed_body_is_kept_compressed() {
    let (gateway, receiver) = house().await;
    let body = [0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &["Content-Encoding: gzip"], &body)).await.status, 200);
    let heard = &receiver.hears(1).await[0];
    assert_eq!((heard.body.as_slice(), heard.all("content-encoding")), (body.as_slice(), vec!["gzip"]));
}

#[tokio::test]
async fn a_connection_serves_request_after_request_and_pipelined_ones_in_order() {
    let (gateway, receiver) = house().await;
    let mut wire = Wire::plain(gateway.http()).await;
    let all: Vec<u8> = (0..5)
        .flat_map(|n| post(&format!("/relay.example.com/{n}"), &[], format!("[{n}]").as_bytes()))
        .collect();
    wire.say(&all).await;
    for _ in 0..5 {
        assert_eq!(wire.answer().await.status, 200);
    }
    let heard = receiver.hears(5).await;
    let lines: Vec<_> = heard.iter().map(|heard| heard.request_line()).collect();
    assert_eq!(lines, (0..5).map(|n| format!("POST /{n} HTTP/1.1")).collect::<Vec<_>>());
    assert!(heard.iter().all(|heard| heard.connection == 0), "the connection to the receiver is kept");
}

#[tokio::test]
async fn https_in_by_http_1_and_2_and_https_out_with_the_receivers_name() {
    let authority = Authority::new();
    let receiver = Receiver::tls(authority.server("receiver.example"), |_| Reply::Status(200)).await;
    let setup = Setup::new().https();
    let (certificate, key) = authority.pair("proxy.example.com");
    setup.home.write("certificate.pem", certificate);
    setup.home.write("private_key.pem", key);
    setup.home.write("ca.pem", authority.pem());
    let trust = "mode = \"relay\"\nca_file = \"ca.pem\"";
    let gateway = setup
        .upstream("receiver.example", &receiver.origin(), trust)
        .upstream("receiver.example:8443", &receiver.origin(), "ca_file = \"ca.pem\"")
        .start()
        .await;

    let config = authority.client(&["http/1.1"]);
    let mut wire = Wire::tls(gateway.https(), config, "proxy.example.com").await;
    for host in ["receiver.example", "receiver.example:8443"] {
        wire.say(&post(&format!("/{host}/webhooks/%2B1?x=%2b"), &["X-Forwarded-Proto: ftp"], b"{\"v\":1}"))
            .await;
        assert_eq!(wire.answer().await.status, 200);
    }

    let stream = TcpStream::connect(gateway.https()).await.unwrap();
    let name = ServerName::try_from("proxy.example.com").unwrap();
    let stream = TlsConnector::from(authority.client(&["h2"])).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    for host in ["receiver.example", "receiver.example:8443"] {
        let request = Request::post(format!("https://proxy.example.com/{host}/webhooks/%2B1?x=%2b"))
            .version(Version::HTTP_2)
            .header("content-type", "application/json")
            .header("x-dup", "1")
            .header("x-dup", "2")
            .body(Full::new(Bytes::from_static(b"{\"v\":2}")))
            .unwrap();
        let answer = within(10, "an answer", sender.send_request(request)).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
    driver.abort();

    let heard = receiver.hears(4).await;
    assert_eq!(heard.iter().filter(|heard| heard.body == b"{\"v\":2}").count(), 2);
    for heard in &heard {
        assert_eq!(heard.request_line(), "POST /webhooks/%2B1?x=%2b HTTP/1.1");
        assert_eq!(heard.sni.as_deref(), Some("receiver.example"), "the name without a port");
        assert!(
            matches!(heard.all("host")[..], ["receiver.example" | "receiver.example:8443"]),
            "{}",
            heard.head
        );
        assert_eq!(heard.all("x-forwarded-proto"), ["https"]);
        if heard.body == b"{\"v\":2}" {
            assert_eq!(heard.all("x-dup"), ["1", "2"]);
        }
    }
}
