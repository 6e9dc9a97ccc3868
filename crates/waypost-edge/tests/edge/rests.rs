//! Connections between their requests, and requests that come in drops where many are served.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use waypost_edge::body::BodyReader;
use waypost_edge::{Body, ConnectionInfo, ConnectionLimits};

use crate::face::{Face, GET, answer, ask, end, greet, soon, status};

const TICK: Duration = Duration::from_millis(20);

/// Everybody rests at once, and no request is served before it is whole.
fn strict() -> ConnectionLimits {
    ConnectionLimits {
        ready_time: Duration::ZERO,
        easily_served_max: 0,
        head_time_max: TICK * 20,
        body_time_max: TICK * 20,
        ..ConnectionLimits::default()
    }
}

/// Says back what it is sent, and counts how often it was asked.
fn echoing(limits: ConnectionLimits) -> (Face, Arc<AtomicUsize>) {
    let asked: Arc<AtomicUsize> = Arc::default();
    let counted = asked.clone();
    let service = move |request: Request<Incoming>, _: ConnectionInfo| {
        counted.fetch_add(1, Relaxed);
        async move {
            let (head, body) = request.into_parts();
            match BodyReader::default().read(&head.headers, body).await {
                Ok(whole) => Response::new(Body::full(whole.bytes().clone())),
                Err(refusal) => refusal.response(),
            }
        }
    };
    (Face::open(limits, None, service), asked)
}

fn post(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn requests_are_served_in_order_however_their_bytes_come() {
    let mut number = 0_u32;
    // Chance that is the same in each run.
    let mut below = |end: u32| {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (number >> 8) % end
    };
    for round in 0..24 {
        let limits = ConnectionLimits {
            ready_time: if round % 2 == 0 { Duration::ZERO } else { TICK / 10 },
            easily_served_max: if round % 3 == 0 { 1_000 } else { 0 },
            ..ConnectionLimits::default()
        };
        let (face, _) = echoing(limits);
        let (mut sent, mut expected) = (String::new(), Vec::new());
        for request in 0..12 {
            let body = format!("{round}-{request}-\n\r\n").repeat(below(40) as usize);
            match below(3) {
                0 => {
                    sent += GET;
                    expected.push(String::new());
                    continue;
                }
                1 => sent += &post(&body),
                _ => {
                    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
                    let chunk = if body.is_empty() {
                        String::new()
                    } else {
                        format!("{:x}\r\n{body}\r\n", body.len())
                    };
                    sent += &format!("{head}{chunk}0\r\n\r\n");
                }
            }
            expected.push(body);
        }
        let (mut reader, mut writer) = face.connect().await.into_split();
        let reading = tokio::spawn(async move {
            let mut heard = String::new();
            while !heard.ends_with("the end") {
                let mut buf = Vec::with_capacity(4096);
                assert!(reader.read_buf(&mut buf).await.unwrap() > 0, "{heard}");
                heard += std::str::from_utf8(&buf).unwrap();
            }
            heard
        });
        sent += &post("the end");
        expected.push("the end".to_owned());
        let mut rest = sent.as_bytes();
        while !rest.is_empty() {
            let size = if below(4) == 0 { rest.len() } else { 1 + below(200) as usize };
            let (part, left) = rest.split_at(size.min(rest.len()));
            writer.write_all(part).await.unwrap();
            match below(3) {
                0 => sleep(TICK / 4).await,
                1 => tokio::task::yield_now().await,
                _ => {}
            }
            rest = left;
        }
        let heard = soon(reading).await.unwrap();
        let said: Vec<_> = heard
            .split("HTTP/1.1 200 OK\r\n")
            .skip(1)
            .map(|answer| answer.split_once("\r\n\r\n").unwrap().1.to_owned())
            .collect();
        assert_eq!(said, expected, "round {round}");
    }
}

#[tokio::test]
async fn where_many_are_served_a_request_waits_until_it_is_whole() {
    let (face, asked) = echoing(strict());
    let mut stream = face.connect().await;
    for part in ["POST / HTTP/1.1\r\nHost: x\r\n", "Content-Length: 5\r\n\r\n", "he"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        sleep(TICK).await;
        assert_eq!(asked.load(Relaxed), 0, "asked after {part}");
    }
    stream.write_all(b"llo").await.unwrap();
    assert_eq!(soon(answer(&mut stream)).await.unwrap().1, b"hello");
    // What cannot be waited for is given on as it is.
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(status(soon(answer(&mut stream)).await), 100);
    assert_eq!(ask(&mut stream, "hello").await, 200);
    stream.write_all(&post(&"x".repeat(100_000)).as_bytes()[..70_000]).await.unwrap();
    soon(async {
        while asked.load(Relaxed) < 3 {
            sleep(TICK / 4).await;
        }
    })
    .await;
}

#[tokio::test]
async fn where_many_are_served_slow_heads_and_bodies_end_in_time_and_reach_nobody() {
    let (face, asked) = echoing(strict());
    let (mut head, mut body) = (face.connect().await, face.connect().await);
    head.write_all(&GET.as_bytes()[..20]).await.unwrap();
    body.write_all(&post("hello").as_bytes()[..GET.len() + 20]).await.unwrap();
    end(&mut head).await;
    let (said, _) = soon(answer(&mut body)).await.unwrap();
    assert!(said.starts_with("http/1.1 408") && said.contains("waypost-error: body_timed_out"), "{said}");
    end(&mut body).await;
    assert_eq!(asked.load(Relaxed), 0);
    assert_eq!(face.counters().heads_timed_out.load(Relaxed), 1);
    // Malformed, it is refused at once and by its name as ever.
    let mut odd = face.connect().await;
    assert_eq!(ask(&mut odd, "GET / HTTP/1.1\r\nHost: x\r\nX: a\nb").await, 400);
}

#[tokio::test]
async fn what_has_begun_to_come_is_served_although_the_stop_has_begun() {
    let (face, _) = echoing(ConnectionLimits { body_time_max: Duration::from_secs(20), ..strict() });
    let mut stream = face.connect().await;
    let request = post("hello");
    stream.write_all(&request.as_bytes()[..request.len() - 2]).await.unwrap();
    sleep(TICK).await;
    face.stop.soft.cancel();
    sleep(TICK * 3).await;
    stream.write_all(b"lo").await.unwrap();
    let (head, body) = soon(answer(&mut stream)).await.unwrap();
    assert!(head.contains("connection: close") && body == b"hello", "{head}");
    soon(face.served).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_rests_ends_when_its_client_or_its_time_does() {
    let limits = ConnectionLimits { idle_time_max: TICK * 10, ..strict() };
    let face = Face::open(limits, None, greet);
    let (mut left, mut idle) = (face.connect().await, face.connect().await);
    assert_eq!((ask(&mut left, GET).await, ask(&mut idle, GET).await), (200, 200));
    left.shutdown().await.unwrap();
    end(&mut left).await;
    end(&mut idle).await;
    assert_eq!(face.counters().idled_out.load(Relaxed), 1);
}
