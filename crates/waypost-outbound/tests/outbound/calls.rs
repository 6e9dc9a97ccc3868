//! What a receiver sees.

use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use tokio::sync::mpsc;
use waypost_domain::Failure;
use waypost_outbound::{Call, Names, header_map_with_capacity};

use crate::receiver::{RawReceiver, answer_to, config, endpoint, get, outbound, post};

#[tokio::test]
async fn a_post_arrives_byte_for_byte() {
    let receiver = RawReceiver::friendly().await;
    let mut headers = header_map_with_capacity(4);
    headers.append(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.append(HeaderName::from_static("x-hub-signature-256"), HeaderValue::from_static("sha256=ab"));
    headers.append(HeaderName::from_static("x-dup"), HeaderValue::from_static("1"));
    headers.append(HeaderName::from_static("x-dup"), HeaderValue::from_static("2"));
    headers.append(HeaderName::from_static("x-empty"), HeaderValue::from_static(""));
    let call = Call { headers, ..post("/webhooks/whatsapp/%2B15550001111?a=b%20c&", r#"{"t":"\u00e9 \/"}"#) };
    answer_to(&endpoint(&receiver), call).await;
    assert_eq!(
        receiver.seen()[0].1,
        "POST /webhooks/whatsapp/%2B15550001111?a=b%20c& HTTP/1.1\r\nHost: up.test:18544\r\n\
         Content-Type: application/json\r\nX-Hub-Signature-256: sha256=ab\r\nX-Dup: 1\r\nX-Dup: 2\r\n\
         X-Empty: \r\nContent-Length: 17\r\n\r\n{\"t\":\"\\u00e9 \\/\"}"
    );
}

#[tokio::test]
async fn path_and_query_bytes_are_never_rewritten() {
    let receiver = RawReceiver::friendly().await;
    let endpoint = endpoint(&receiver);
    let targets = [
        "/webhooks/whatsapp/%2B5511?hub.mode=subscribe&hub.verify_token=a%2Bb%20c",
        "/webhooks/whatsapp/%2b5511",
        "/webhooks/whatsapp/+5511",
        "/a?",
        "/a?a=b%20c&",
        "/a?a=/?b",
        "//a//b/",
        "/caf%C3%A9/%25/%41:=&;@!$'()*,~",
        "/a|b[c]^{d}",
        "/?x='[z]",
        "/",
    ];
    for target in targets {
        answer_to(&endpoint, get(target)).await;
        let seen = receiver.seen().pop().unwrap().1;
        assert_eq!(seen, format!("GET {target} HTTP/1.1\r\nHost: up.test:18544\r\n\r\n"));
    }
}

#[tokio::test]
async fn a_post_always_has_a_length_and_is_never_chunked() {
    let receiver = RawReceiver::friendly().await;
    let mut headers = HeaderMap::new();
    headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    let endpoint = endpoint(&receiver);
    answer_to(&endpoint, Call { headers, ..post("/", "abc") }).await;
    answer_to(&endpoint, post("/", "")).await;
    answer_to(&endpoint, Call { method: Method::GET, ..post("/", "with a body") }).await;
    let texts: Vec<String> = receiver.seen().into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        texts,
        [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nHost: up.test:18544\r\n\r\nabc",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\nHost: up.test:18544\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 11\r\nHost: up.test:18544\r\n\r\nwith a body",
        ]
    );
}

#[tokio::test]
async fn a_connection_is_kept_and_only_its_opening_costs_time() {
    let receiver = RawReceiver::friendly().await;
    let endpoint = endpoint(&receiver);
    for call in 0..20 {
        let answer = endpoint.call(post("/", "x")).await.unwrap();
        assert_eq!(answer.timing.connect.is_some(), call == 0);
        assert!(answer.timing.first_byte.is_some());
        assert_eq!(answer.address, Some(receiver.address));
        answer.read_excerpt(10).await.unwrap();
    }
    assert!(receiver.seen().iter().all(|(connection, _)| *connection == 0));
}

#[tokio::test]
async fn calls_at_once_use_as_many_connections_and_then_share_them() {
    let receiver = RawReceiver::friendly().await;
    let endpoint = endpoint(&receiver);
    for _ in 0..5 {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let endpoint = endpoint.clone();
                tokio::spawn(async move { answer_to(&endpoint, post("/", "x")).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    }
    assert!(receiver.seen().iter().all(|(connection, _)| *connection < 8));
}

#[tokio::test]
async fn a_connection_the_receiver_closed_while_idle_costs_nothing() {
    let (closed, mut closes) = mpsc::channel(1);
    let receiver = RawReceiver::start(move |mut talk| {
        let closed = closed.clone();
        async move {
            talk.hear().await.unwrap();
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            drop(talk);
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let endpoint = endpoint(&receiver);
    for number in 0..50 {
        assert_eq!(endpoint.call(post("/", number.to_string())).await.unwrap().status, 200);
        closes.recv().await.unwrap();
    }
    assert_eq!(receiver.seen().len(), 50);
}

#[tokio::test]
async fn a_post_that_may_have_arrived_is_not_sent_again() {
    let receiver = RawReceiver::start(|mut talk| async move {
        talk.hear().await.unwrap();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        talk.hear().await;
    })
    .await;
    let endpoint = endpoint(&receiver);
    endpoint.call(post("/", "first")).await.unwrap().read_excerpt(0).await.unwrap();
    let error = endpoint.call(post("/", "second")).await.err().unwrap();
    assert_eq!(error.failure, Failure::ConnectionLost);
    assert_eq!(error.address, Some(receiver.address));
    assert_eq!(receiver.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_closed_as_the_next_post_is_written_never_sees_it_twice() {
    let receiver = RawReceiver::start(|mut talk| async move {
        // Closes with no regard for what is on its way: sometimes before, sometimes after the next request.
        talk.hear().await.unwrap();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        for _ in 0..talk.number % 40 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let endpoint = endpoint(&receiver);
    let mut answered = Vec::new();
    for number in 0..300 {
        match endpoint.call(post("/", format!("<{number}>"))).await {
            Ok(_) => answered.push(number),
            Err(error) => assert!(error.failure.may_have_arrived(), "{error:?}"),
        }
    }
    let seen = receiver.seen();
    let times = |number: i32| seen.iter().filter(|(_, text)| text.ends_with(&format!("<{number}>"))).count();
    assert!(answered.iter().all(|number| times(*number) == 1));
    assert!((0..300).all(|number| times(number) <= 1));
    assert!(answered.len() > 100, "{} of 300 answered", answered.len());
}

#[tokio::test]
async fn an_abandoned_call_ends_its_connection() {
    let (ended, mut ends) = mpsc::channel(1);
    let receiver = RawReceiver::start(move |mut talk| {
        let ended = ended.clone();
        async move {
            talk.hear().await.unwrap();
            assert_eq!(talk.hear().await, None);
            ended.send(()).await.unwrap();
        }
    })
    .await;
    let endpoint = endpoint(&receiver);
    assert!(tokio::time::timeout(Duration::from_millis(100), endpoint.call(post("/", "x"))).await.is_err());
    ends.recv().await.unwrap();
}

#[tokio::test]
async fn hosts_that_are_none_make_no_endpoint() {
    for host in ["", "a b", "user@host", "https://a", "a."] {
        assert!(outbound(&Names::new()).endpoint(config("http://127.0.0.1:1", host)).is_err(), "{host:?}");
    }
}
