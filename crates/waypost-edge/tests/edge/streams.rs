//! Connections that are kept for hours: other protocols, and answers that come as things happen.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;
use waypost_edge::{Body, ConnectionInfo, ConnectionLimits};

use crate::face::{Face, GET, answer, ask, greet, soon};
use crate::relaying::{Receiver, gateway};

const TICK: Duration = Duration::from_millis(200);
const OFFER: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// What answers at once.
trait Service:
    Fn(Request<Incoming>, ConnectionInfo) -> Ready<Response<Body>> + Clone + Send + Sync + 'static
{
}

impl<S> Service for S where
    S: Fn(Request<Incoming>, ConnectionInfo) -> Ready<Response<Body>> + Clone + Send + Sync + 'static
{
}

fn limits() -> ConnectionLimits {
    ConnectionLimits { stall_time_max: TICK, ..ConnectionLimits::default() }
}

fn switching() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response
}

/// Takes whatever is offered and says back what it hears; how that ended comes over the channel.
fn echo() -> (impl Service, UnboundedReceiver<io::Result<u64>>) {
    let (ended, ends) = mpsc::unbounded_channel();
    let service = move |mut request: Request<Incoming>, _| {
        let ended = ended.clone();
        if let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() {
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrade.await.unwrap());
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = ended.send(tokio::io::copy(&mut reader, &mut writer).await);
            });
        }
        ready(switching())
    };
    (service, ends)
}

#[tokio::test]
async fn a_websocket_has_the_connection_as_it_is_and_keeps_its_place() {
    let (service, mut ends) = echo();
    let one = ConnectionLimits { connections_max: 1, ..limits() };
    let face = Face::open(one, None, service);
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, OFFER).await, 101);
    // Nothing that would be malformed in HTTP is, and silence is no stall.
    for said in ["GET / HTTP/1.1\nbare\r\0\n\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "\u{81}\u{5}hello"] {
        tokio::time::sleep(TICK).await;
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut heard = vec![0; said.len()];
        soon(stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, said.as_bytes());
    }
    assert_eq!(face.counters().open.load(Relaxed), 1);
    assert_eq!(ask(&mut face.connect().await, GET).await, 0, "its seat was given to another");
    drop(stream);
    assert!(soon(ends.recv()).await.unwrap().is_ok());
    soon(async {
        while face.counters().open.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ask(&mut face.connect().await, OFFER).await, 101);
}

#[tokio::test]
async fn a_soft_stop_waits_for_a_websocket_and_a_hard_stop_ends_it() {
    let (service, mut ends) = echo();
    let face = Face::open(limits(), None, service);
    let (mut first, mut second) = (face.connect().await, face.connect().await);
    assert_eq!(ask(&mut first, OFFER).await, 101);
    assert_eq!(ask(&mut second, OFFER).await, 101);
    face.stop.soft.cancel();
    first.write_all(b"still here").await.unwrap();
    soon(first.read_exact(&mut [0; 10])).await.unwrap();
    drop(first);
    assert!(soon(ends.recv()).await.unwrap().is_ok());
    assert!(!face.served.is_finished());
    face.stop.hard.cancel();
    assert_eq!(
        soon(ends.recv()).await.unwrap().map_err(|error| error.kind()),
        Err(io::ErrorKind::ConnectionAborted)
    );
    soon(face.served).await.unwrap();
}

#[tokio::test]
async fn a_websocket_client_that_does_not_read_is_given_up() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let service = move |mut request: Request<Incoming>, _| {
        let (upgrade, ended) = (request.extensions_mut().remove::<OnUpgrade>().unwrap(), ended.clone());
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let _ = ended.send(tokio::io::copy(&mut tokio::io::repeat(7), &mut stream).await);
        });
        ready(switching())
    };
    let face = Face::open(limits(), None, service);
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, OFFER).await, 101);
    let error = soon(ends.recv()).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(face.counters().stalled.load(Relaxed), 1);
}

#[tokio::test]
async fn nothing_is_switched_that_was_not_offered_to_the_letter() {
    let face = Face::open(limits(), None, |_, _| ready(switching()));
    for request in [
        GET.to_owned(),
        OFFER.replace("websocket", "h2c"),
        OFFER.replace("GET", "POST"),
        OFFER.replace("HTTP/1.1", "HTTP/1.0"),
        OFFER.replace("Connection: Upgrade\r\n", ""),
        OFFER.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
        "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
    ] {
        assert_eq!(ask(&mut face.connect().await, &request).await, 502, "{request}");
    }
}

#[tokio::test]
async fn an_offer_that_is_not_taken_changes_nothing() {
    let face = Face::open(limits(), None, greet);
    let mut stream = face.connect().await;
    for request in [OFFER, &OFFER.replace("websocket", "h2c"), GET] {
        assert_eq!(ask(&mut stream, request).await, 200, "{request}");
    }
    // And the end is that of any other connection: said first, and only then the socket is closed.
    let refused = |_, _| ready(waypost_edge::Refusal::BodyTooLarge.response());
    let face = Face::open(limits(), None, refused);
    let mut stream = face.connect().await;
    let large = vec![b'x'; 4 * 1024 * 1024];
    let head = OFFER.replace("\r\n\r\n", &format!("\r\nContent-Length: {}\r\n\r\n", large.len()));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&large).await.unwrap();
    let (head, _) = soon(answer(&mut stream)).await.unwrap();
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert_eq!(soon(stream.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_receiver_cannot_switch_protocols() {
    let said = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let receiver = Receiver::saying(said, true).await;
    let face = gateway(&receiver.origin, Duration::from_secs(5));
    let offer = OFFER.replace("/ws", "/up.test:18544/ws");
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, &offer).await, 502);
    assert_eq!(ask(&mut stream, GET).await, 404, "the connection is HTTP still");
    assert!(!receiver.heard.lock().unwrap()[0].to_ascii_lowercase().contains("upgrade"));
}

/// What comes over a channel.
struct Happening(UnboundedReceiver<&'static str>);

impl http_body::Body for Happening {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|said| said.map(|said| Ok(Frame::data(Bytes::from_static(said.as_bytes())))))
    }
}

/// Answers with what is said over the channels that come out here.
fn telling() -> (impl Service, UnboundedReceiver<UnboundedSender<&'static str>>) {
    let (tellers, asked) = mpsc::unbounded_channel();
    let service = move |_, _| {
        let (teller, told) = mpsc::unbounded_channel();
        tellers.send(teller).unwrap();
        ready(Response::new(Body::streaming(Happening(told))))
    };
    (service, asked)
}

#[tokio::test]
async fn an_answer_may_wait_for_things_to_happen() {
    let (service, mut asked) = telling();
    let face = Face::open(limits(), None, service);
    let mut stream = face.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let teller = soon(asked.recv()).await.unwrap();
    let (head, _) = soon(answer(&mut stream)).await.unwrap();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    for _ in 0..3 {
        tokio::time::sleep(TICK * 2).await;
        teller.send("news").unwrap();
        let mut chunk = [0; 9];
        soon(stream.read_exact(&mut chunk)).await.unwrap();
        assert_eq!(&chunk, b"4\r\nnews\r\n");
    }
    drop(teller);
    soon(stream.read_exact(&mut [0; 5])).await.unwrap();
    assert_eq!(face.counters().stalled.load(Relaxed), 0);
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert!(soon(asked.recv()).await.is_some(), "the connection serves on");
}

#[tokio::test]
async fn answers_on_one_http_2_connection_wait_for_things_each() {
    let (service, mut asked) = telling();
    let face = Face::open(limits(), None, service);
    let io = TokioIo::new(face.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let request = Request::get("http://x/").body(Empty::new()).unwrap();
        answers.push(soon(client.send_request(request)).await.unwrap());
    }
    let mut tellers = Vec::new();
    for _ in 0..3 {
        tellers.push(soon(asked.recv()).await.unwrap());
    }
    tokio::time::sleep(TICK * 3).await;
    for (teller, answer) in tellers.iter().zip(&mut answers) {
        teller.send("news").unwrap();
        let frame = soon(answer.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "news");
    }
    assert_eq!(face.counters().stalled.load(Relaxed), 0);
}

/// Always has something to say, and counts how often it was asked.
struct Torrent(Arc<AtomicUsize>);

impl http_body::Body for Torrent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.fetch_add(1, Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[7; 16 * 1024])))))
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_what_happens_is_given_up_and_one_that_reads_again_is_not() {
    let asked: Arc<AtomicUsize> = Arc::default();
    let count = asked.clone();
    let service = move |_, _| ready(Response::new(Body::streaming(Torrent(count.clone()))));
    let patient = ConnectionLimits { stall_time_max: TICK * 8, ..limits() };
    let face = Face::open(patient, None, service);
    let mut stream = face.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    // What fits on the way is on the way once the answer is not asked for more.
    soon(async {
        loop {
            let before = asked.load(Relaxed);
            tokio::time::sleep(TICK / 4).await;
            if before > 0 && before == asked.load(Relaxed) {
                return;
            }
        }
    })
    .await;
    let mut taken = 0;
    while taken < 32 * 1024 * 1024 {
        taken += soon(stream.read(&mut [0; 64 * 1024])).await.unwrap();
    }
    assert!(asked.load(Relaxed) > 31 * 64, "a client that reads again is told on");
    soon(async {
        while face.counters().open.load(Relaxed) > 0 {
            tokio::time::sleep(TICK / 10).await;
        }
    })
    .await;
    assert_eq!(face.counters().stalled.load(Relaxed), 1);
}

#[tokio::test]
async fn a_soft_stop_waits_for_an_answer_to_end_by_itself() {
    let stop = CancellationToken::new();
    let seen = stop.clone();
    let service = move |_, _| {
        let (teller, told) = mpsc::unbounded_channel();
        let seen = seen.clone();
        tokio::spawn(async move {
            teller.send("hello").unwrap();
            seen.cancelled().await;
            teller.send("bye").unwrap();
        });
        ready(Response::new(Body::streaming(Happening(told))))
    };
    let face = Face::open(limits(), None, service);
    let mut stream = face.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let (_, said) = soon(answer(&mut stream)).await.unwrap();
    face.stop.soft.cancel();
    tokio::time::sleep(TICK).await;
    assert!(!face.served.is_finished());
    stop.cancel();
    let mut rest = said;
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"3\r\nbye\r\n0\r\n\r\n"));
    soon(face.served).await.unwrap();
}
