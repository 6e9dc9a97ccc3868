//! The handshake: relayed within Meta's patience, or answered here where a token is set.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::*;

const ASKED: &str = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=vibecoding";

#[tokio::test]
async fn without_a_token_it_is_the_receivers_to_answer() {
    let receiver = Receiver::start(|heard| {
        let (status, body) = if heard.request_line().contains("verify_token=vibecoding") {
            ("200 OK", "1158201444")
        } else {
            ("401 Unauthorized", "{\"error\":\"no\"}")
        };
        Reply::Say(
            format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    })
    .await;
    // In store mode too, and unsigned though secrets are set: Meta does not sign the GET.
    let keys = format!("app_secrets = [\"{SECRET}\"]");
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), &keys).start().await;
    let answer = ask(gateway.http(), &get(&format!("{CALLBACK}?{ASKED}"))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "1158201444"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let wrong = ask(
        gateway.http(),
        &get(&format!("{CALLBACK}?hub.mode=subscribe&hub.challenge=1&hub.verify_token=x")),
    )
    .await;
    assert_eq!((wrong.status, wrong.text().as_str()), (401, "{\"error\":\"no\"}"));
    let line = format!("GET /webhooks/whatsapp/%2B5511999999999?{ASKED} HTTP/1.1");
    assert_eq!(receiver.heard()[0].request_line(), line);
    assert_eq!(receiver.heard()[0].all("x-forwarded-for"), ["127.0.0.1"]);
}

#[tokio::test]
async fn a_relayed_one_ends_within_five_seconds() {
    // Silent, slow, and dripping: each longer than Meta waits, though the upstream may take 15 s for a POST.
    let silent = Receiver::start(|_| Reply::Hang).await;
    let slow = Receiver::start(|_| Reply::Status(200).after(Duration::from_secs(9))).await;
    let halting =
        Receiver::start(|_| Reply::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n11582".to_vec())).await;
    let black_hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Setup::new()
        .upstream("silent.example", &silent.origin(), "")
        .upstream("slow.example", &slow.origin(), "")
        .upstream("halting.example", &halting.origin(), "")
        .upstream("black.example", &format!("https://{}", black_hole.local_addr().unwrap()), "")
        .start()
        .await;
    let asked = ["silent.example", "slow.example", "halting.example", "black.example"].map(|host| {
        let (http, request) = (gateway.http(), get(&format!("/{host}/x?{ASKED}")));
        async move {
            let started = Instant::now();
            let mut wire = Wire::plain(http).await;
            wire.say(&request).await;
            let answer = within(20, "an answer or the end", wire.try_answer()).await;
            (host, answer, started.elapsed())
        }
    });
    let [silent, slow, halting, black] = asked;
    let (silent, slow, halting, black) = tokio::join!(silent, slow, halting, black);
    for (host, answer, took) in [&silent, &slow, &black] {
        let status = answer.as_ref().map(|answer| answer.status);
        assert_eq!(status, Some(504), "{host}: {answer:?} after {took:?}");
    }
    // Its answer had begun: it can only be broken off.
    assert!(halting.1.is_none(), "{halting:?}");
    for (host, _, took) in [silent, slow, halting, black] {
        assert!(took < Duration::from_millis(5_500), "{host} took {took:?}");
    }
}

#[tokio::test]
async fn with_a_token_it_is_answered_here_and_the_receiver_never_asked() {
    let receiver = Receiver::willing().await;
    let keys = "verify_token = \"vibecoding\"";
    let relaying = format!("mode = \"relay\"\n{keys}");
    let gateway = Setup::new()
        .upstream(HOST, &receiver.origin(), keys)
        .upstream("relay.example.com", &receiver.origin(), &relaying)
        .start()
        .await;
    let long = "7".repeat(200);
    let cases = [
        (ASKED.to_owned(), 200, "1158201444"),
        ("hub.verify_token=vibecoding&hub.challenge=007&hub.mode=subscribe".to_owned(), 200, "007"),
        (
            "tenant=1&hub.mode=subscribe&hub.challenge=aB_c-9&x=hub.mode&hub.verify_token=vibecoding&"
                .to_owned(),
            200,
            "aB_c-9",
        ),
        (
            "hub.mode=subscribe&hub.challenge=%3Cscript%3E%26%3D%2B&hub.verify_token=vibecoding".to_owned(),
            200,
            "<script>&=+",
        ),
        ("hub.mode=subscribe&hub.challenge=a%2520b&hub.verify_token=vibecoding".to_owned(), 200, "a%20b"),
        (
            "hub.mode=subscribe&hub.challenge=a%0D%0AX%3A1&hub.verify_token=vibecoding".to_owned(),
            200,
            "a\r\nX:1",
        ),
        (format!("hub.mode=subscribe&hub.challenge={long}&hub.verify_token=vibecoding"), 200, &long),
        ("hub%2Emode=subscribe&hub%2echallenge=1&hub%2Everify_token=vibe%63oding".to_owned(), 200, "1"),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong".to_owned(), 403, ""),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=".to_owned(), 403, ""),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=vibecodin".to_owned(), 403, ""),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=vibecodingg".to_owned(), 403, ""),
        ("hub.mode=subscribe&hub.challenge=1&hub.verify_token=VIBECODING".to_owned(), 403, ""),
        ("hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=vibecoding".to_owned(), 403, ""),
        ("hub.mode=&hub.challenge=1&hub.verify_token=vibecoding".to_owned(), 403, ""),
        (String::new(), 400, ""),
        ("hub.challenge=1&hub.verify_token=vibecoding".to_owned(), 400, ""),
        ("hub.mode=subscribe&hub.verify_token=vibecoding".to_owned(), 400, ""),
        ("hub.mode=subscribe&hub.challenge=1".to_owned(), 400, ""),
        (format!("{ASKED}&hub.challenge=2"), 400, ""),
        (format!("{ASKED}&hub.mode=subscribe"), 400, ""),
        (format!("{ASKED}&hub.verify_token=vibecoding"), 400, ""),
        ("hub_mode=subscribe&hub_challenge=1&hub_verify_token=vibecoding".to_owned(), 400, ""),
        ("hub.mode=subscribe&hub.challenge=%zz&hub.verify_token=vibecoding".to_owned(), 400, ""),
    ];
    for host in [HOST, "relay.example.com"] {
        for (query, status, challenge) in &cases {
            let answer = ask(gateway.http(), &get(&format!("/{host}/webhooks/whatsapp/%2B1?{query}"))).await;
            assert_eq!(answer.status, *status, "{query}: {answer:?}");
            if *status == 200 {
                assert_eq!(answer.body, challenge.as_bytes(), "{query}");
                assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
                assert_eq!(answer.header("cache-control"), Some("no-store"));
                assert_eq!(answer.header("content-length"), Some(&*challenge.len().to_string()));
            } else {
                let text = answer.text();
                assert!(!text.contains("vibecoding") && !text.contains("1158"), "it echoes: {text}");
            }
        }
    }
    let log = gateway.log();
    assert!(!log.contains("vibecoding"), "the token is in the log");
    assert!(receiver.heard().is_empty());
}

#[tokio::test]
async fn any_of_two_tokens_is_known() {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new().variable("OLD_TOKEN", "old one").upstream(
        HOST,
        &receiver.origin(),
        "verify_token = [\"env:OLD_TOKEN\", \"file:token.txt\"]",
    );
    gateway.home.write("token.txt", "new/one\n");
    let gateway = gateway.start().await;
    for (token, status) in
        [("old%20one", 200), ("old+one", 200), ("new%2Fone", 200), ("new/one", 200), ("old", 403)]
    {
        let query = format!("hub.mode=subscribe&hub.challenge=9&hub.verify_token={token}");
        assert_eq!(ask(gateway.http(), &get(&format!("{CALLBACK}?{query}"))).await.status, status, "{token}");
    }
}
