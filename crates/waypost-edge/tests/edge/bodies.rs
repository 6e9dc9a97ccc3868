//! Reading request bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use waypost_edge::body::{BodyReader, Budget};
use waypost_edge::{Body, ConnectionInfo, ConnectionLimits};

use crate::face::{Face, answer, ask, end, soon, status};

const TICK: Duration = Duration::from_millis(200);

/// A face that reads bodies and answers with their length; and how many came whole.
fn reading(reader: BodyReader) -> (Face, Arc<AtomicUsize>) {
    let whole: Arc<AtomicUsize> = Arc::default();
    let count = whole.clone();
    let service = move |request: Request<Incoming>, _: ConnectionInfo| {
        let (reader, count) = (reader.clone(), count.clone());
        async move {
            let (head, body) = request.into_parts();
            match reader.read(&head.headers, body).await {
                Ok(body) => {
                    count.fetch_add(1, Relaxed);
                    Response::new(Body::full(body.bytes().len().to_string()))
                }
                Err(refusal) => refusal.response(),
            }
        }
    };
    (Face::open(ConnectionLimits::default(), None, service), whole)
}

fn reader(bytes_max: usize) -> BodyReader {
    BodyReader::new(bytes_max, TICK, Budget::new(1024 * 1024))
}

fn post(length: usize, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn bodies_come_whole_with_a_length_or_in_chunks() {
    let (face, _) = reading(reader(100_000));
    let mut stream = face.connect().await;
    for length in [0, 1, 570, 99_999, 100_000] {
        stream.write_all(post(length, &"x".repeat(length)).as_bytes()).await.unwrap();
        let (_, body) = answer(&mut stream).await.unwrap();
        assert_eq!(String::from_utf8(body).unwrap(), length.to_string());
    }
    let chunked =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    stream.write_all(chunked.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.unwrap().1, b"5");
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_unread() {
    let (face, whole) = reading(reader(1000));
    let mut stream = face.connect().await;
    stream.write_all(post(1001, "").as_bytes()).await.unwrap();
    let (head, body) = answer(&mut stream).await.unwrap();
    assert!(head.contains("413") && head.contains("waypost-error: body_too_large"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("too large"));
    stream.shutdown().await.unwrap();
    end(&mut stream).await;
    assert_eq!(whole.load(Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_sends_everything_before_it_reads_still_sees_the_413() {
    let (face, _) = reading(reader(1000));
    for _ in 0..20 {
        let mut stream = face.connect().await;
        stream.write_all(post(4_000_000, "").as_bytes()).await.unwrap();
        for _ in 0..4 {
            stream.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        assert_eq!(status(answer(&mut stream).await), 413);
    }
}

#[tokio::test]
async fn a_body_in_chunks_is_refused_once_it_grows_too_large() {
    let (face, whole) = reading(reader(1000));
    let mut stream = face.connect().await;
    let chunk = format!("100\r\n{}\r\n", "x".repeat(256));
    let request =
        format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(4));
    assert_eq!(ask(&mut stream, &request).await, 413);
    assert_eq!(whole.load(Relaxed), 0);
}

#[tokio::test]
async fn a_slow_body_is_refused_in_time_and_the_connection_closed() {
    let (face, whole) = reading(reader(1000));
    let mut stream = face.connect().await;
    let began = Instant::now();
    stream.write_all(post(100, "only the beginning").as_bytes()).await.unwrap();
    let (head, _) = answer(&mut stream).await.unwrap();
    assert!(head.contains("408") && head.contains("connection: close"), "{head}");
    assert!(began.elapsed() >= TICK && began.elapsed() < TICK * 10);
    stream.shutdown().await.unwrap();
    end(&mut stream).await;
    assert_eq!(whole.load(Relaxed), 0);
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_accepted() {
    let (face, whole) = reading(BodyReader::new(1000, Duration::from_secs(60), Budget::new(1000)));
    let mut stream = face.connect().await;
    stream.write_all(post(100, "only the beginning").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let _ = soon(answer(&mut stream)).await;
    soon(async {
        while face.counters().open.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(whole.load(Relaxed), 0);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_or_refused() {
    let (face, _) = reading(reader(1000));
    let expect = |length| {
        format!("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, &expect(3)).await, 100);
    assert_eq!(ask(&mut stream, "abc").await, 200);
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, &expect(1001)).await, 413);
}

#[tokio::test]
async fn bodies_share_a_budget_that_is_given_back() {
    let reader = BodyReader::new(1000, Duration::from_secs(60), Budget::new(1500));
    let (face, _) = reading(reader.clone());
    let mut slow = face.connect().await;
    slow.write_all(post(1000, &"x".repeat(999)).as_bytes()).await.unwrap();
    soon(async {
        while reader.budget().bytes_taken() < 999 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut other = face.connect().await;
    other.write_all(post(600, &"x".repeat(600)).as_bytes()).await.unwrap();
    let (head, _) = answer(&mut other).await.unwrap();
    assert!(head.contains("503") && head.contains("retry-after: 1"), "{head}");
    assert_eq!(ask(&mut slow, "x").await, 200);
    assert_eq!(reader.budget().bytes_taken(), 0);
    assert_eq!(ask(&mut face.connect().await, &post(600, &"x".repeat(600))).await, 200);
}
