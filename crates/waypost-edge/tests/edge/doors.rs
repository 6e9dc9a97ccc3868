//! Connections: how many, how long, how they end.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use waypost_edge::{Body, ConnectionInfo, ConnectionLimits};

use crate::face::{Face, GET, answer, ask, end, greet, soon, status};

const TICK: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);

fn limits(head: Duration, idle: Duration) -> ConnectionLimits {
    ConnectionLimits { head_time_max: head, idle_time_max: idle, ..ConnectionLimits::default() }
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let face = Face::open(limits(TICK, LONG), None, greet);
    let began = Instant::now();
    let (mut silent, mut slow) = (face.connect().await, face.connect().await);
    slow.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    end(&mut silent).await;
    end(&mut slow).await;
    assert!(began.elapsed() >= TICK && began.elapsed() < TICK * 10);
    assert_eq!(face.counters().heads_timed_out.load(Relaxed), 2);
}

#[tokio::test]
async fn a_head_in_drops_gets_no_more_time_than_another() {
    let face = Face::open(limits(TICK, LONG), None, greet);
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, GET).await, 200);
    let began = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let dripping = async {
        loop {
            writer.write_all(b"G").await.unwrap();
            tokio::time::sleep(TICK / 10).await;
        }
    };
    tokio::select! {
        () = end(&mut reader) => {}
        () = dripping => {}
    }
    assert!(began.elapsed() >= TICK && began.elapsed() < TICK * 10);
    assert_eq!(face.counters().heads_timed_out.load(Relaxed), 1);
}

#[tokio::test]
async fn a_kept_connection_idles_to_its_limit_and_no_longer() {
    let face = Face::open(limits(TICK / 4, TICK * 3), None, greet);
    let mut stream = face.connect().await;
    for _ in 0..3 {
        assert_eq!(ask(&mut stream, GET).await, 200);
        tokio::time::sleep(TICK).await;
    }
    assert_eq!(ask(&mut stream, GET).await, 200);
    let began = Instant::now();
    end(&mut stream).await;
    assert!(began.elapsed() >= TICK * 29 / 10 && began.elapsed() < TICK * 10, "{:?}", began.elapsed());
    assert_eq!(face.counters().idled_out.load(Relaxed), 1);
}

#[tokio::test]
async fn a_slow_answer_is_neither_idle_nor_late() {
    let face = Face::open(limits(TICK / 4, TICK / 4), None, |_, _| async {
        tokio::time::sleep(TICK * 3).await;
        Response::new(Body::full("at last"))
    });
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, GET).await, 200);
}

#[tokio::test]
async fn a_request_that_does_not_move_is_given_up() {
    let limits = ConnectionLimits { stall_time_max: TICK, ..limits(LONG, LONG) };
    let face = Face::open(limits, None, |_, _| std::future::pending::<Response<Body>>());
    let mut stream = face.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    end(&mut stream).await;
    assert_eq!(face.counters().stalled.load(Relaxed), 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let face = Face::open(limits(TICK, TICK), None, |_, _| async {
        Response::new(Body::full(vec![b'x'; 64 * 1024 * 1024]))
    });
    let mut stream = face.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    soon(async {
        while face.counters().idled_out.load(Relaxed) == 0 || face.counters().open.load(Relaxed) > 0 {
            tokio::time::sleep(TICK / 10).await;
        }
    })
    .await;
}

#[tokio::test]
async fn http_2_connections_idle_to_the_same_limit() {
    let face = Face::open(limits(TICK / 4, TICK * 2), None, greet);
    let io = TokioIo::new(face.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get(format!("http://{}/", face.address)).body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        tokio::time::sleep(TICK).await;
    }
    let began = Instant::now();
    let _ = soon(connection).await.unwrap();
    assert!(began.elapsed() >= TICK / 2 && began.elapsed() < TICK * 10);
    assert_eq!(face.counters().idled_out.load(Relaxed), 1);
}

#[tokio::test]
async fn one_address_gets_only_so_many_connections() {
    let limits = ConnectionLimits { connections_per_address_max: 2, ..limits(LONG, LONG) };
    let face = Face::open(limits, None, greet);
    let (mut one, mut two) = (face.connect().await, face.connect().await);
    assert_eq!((ask(&mut one, GET).await, ask(&mut two, GET).await), (200, 200));
    end(&mut face.connect().await).await;
    assert_eq!(face.counters().refused_address.load(Relaxed), 1);
    drop(one);
    soon(async {
        while face.counters().open.load(Relaxed) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ask(&mut face.connect().await, GET).await, 200);
}

#[tokio::test]
async fn the_house_holds_only_so_many_connections() {
    let limits = ConnectionLimits { connections_max: 1, ..limits(LONG, LONG) };
    let face = Face::open(limits, None, greet);
    let mut one = face.connect().await;
    assert_eq!(ask(&mut one, GET).await, 200);
    end(&mut face.connect().await).await;
    assert_eq!(face.counters().refused_total.load(Relaxed), 1);
    assert_eq!(ask(&mut one, GET).await, 200);
}

#[tokio::test]
async fn heads_beyond_their_limits_are_answered_431() {
    let face = Face::open(ConnectionLimits { headers_max: 20, ..limits(LONG, LONG) }, None, greet);
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(20));
    assert_eq!(ask(&mut face.connect().await, &many).await, 431);
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(17 * 1024));
    assert_eq!(ask(&mut face.connect().await, &large).await, 431);
    let fine = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(15 * 1024));
    assert_eq!(ask(&mut face.connect().await, &fine).await, 200);
    assert_eq!(ask(&mut face.connect().await, "nonsense\r\n\r\n").await, 400);
}

type Answering = std::pin::Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// A service that says when it was asked and answers when it is told.
fn patient(
    asked: mpsc::Sender<()>,
    release: watch::Receiver<bool>,
) -> impl Fn(Request<Incoming>, ConnectionInfo) -> Answering + Clone + Send + Sync + 'static {
    move |_, _| {
        let (asked, mut release) = (asked.clone(), release.clone());
        Box::pin(async move {
            asked.send(()).await.unwrap();
            let _ = release.wait_for(|released| *released).await;
            Response::new(Body::full("done"))
        })
    }
}

#[tokio::test]
async fn a_soft_stop_finishes_what_is_under_way_and_takes_nothing_new() {
    let ((asked, mut asks), (release, released)) = (mpsc::channel(8), watch::channel(false));
    let face = Face::open(limits(LONG, LONG), None, patient(asked, released));
    let (mut busy, mut fresh) = (face.connect().await, face.connect().await);
    busy.write_all(GET.as_bytes()).await.unwrap();
    asks.recv().await.unwrap();
    face.stop.soft.cancel();
    end(&mut fresh).await;
    soon(async {
        while TcpStream::connect(face.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!face.served.is_finished());
    release.send(true).unwrap();
    let (head, body) = answer(&mut busy).await.unwrap();
    assert_eq!((status(Some((head.clone(), vec![]))), body.as_slice()), (200, b"done".as_slice()));
    assert!(head.contains("connection: close"));
    end(&mut busy).await;
    soon(face.served).await.unwrap();
}

#[tokio::test]
async fn a_hard_stop_ends_what_is_under_way() {
    let ((asked, mut asks), (_release, released)) = (mpsc::channel(8), watch::channel(false));
    let face = Face::open(limits(LONG, LONG), None, patient(asked, released));
    let mut busy = face.connect().await;
    busy.write_all(GET.as_bytes()).await.unwrap();
    asks.recv().await.unwrap();
    face.stop.soft.cancel();
    face.stop.hard.cancel();
    end(&mut busy).await;
    soon(face.served).await.unwrap();
}

#[tokio::test]
async fn idle_kept_connections_are_closed_by_a_soft_stop() {
    let face = Face::open(limits(LONG, LONG), None, greet);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = face.connect().await;
        assert_eq!(ask(&mut stream, GET).await, 200);
        streams.push(stream);
    }
    face.stop.soft.cancel();
    for stream in &mut streams {
        end(stream).await;
    }
    soon(face.served).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_an_error_at_bind() {
    let face = Face::open(ConnectionLimits::default(), None, greet);
    let error = waypost_edge::Listener::bind(face.address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    waypost_edge::Listener::bind("[::1]:0".parse().unwrap()).unwrap();
}
