//! Balancers that say on whose behalf they connect.

use std::sync::atomic::Ordering::Relaxed;

use http::Response;
use tokio::io::AsyncWriteExt;
use waypost_edge::{Body, ConnectionInfo, ConnectionLimits, Listener, Prefixes};

use crate::face::{Face, GET, answer, ask, end, status};

fn behind(proxies: &[&str], limits: ConnectionLimits) -> Face {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = listener.behind(Prefixes::of(proxies).unwrap());
    Face::at(listener, limits, None, |_, info: ConnectionInfo| async move {
        Response::new(Body::full(info.peer.to_string()))
    })
}

async fn peer_seen(face: &Face, header: &[u8]) -> String {
    let mut stream = face.connect().await;
    stream.write_all(header).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let (head, body) = answer(&mut stream).await.unwrap();
    assert_eq!(status(Some((head, Vec::new()))), 200);
    String::from_utf8(body).unwrap()
}

const FIRST: &[u8] = b"PROXY TCP6 2001:db8::9 2001:db8::1 56324 443\r\n";
const SECOND: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\xc6\x33\x64\x01\xdc\x04\x01\xbb";

#[tokio::test]
async fn a_named_peer_says_who_calls() {
    let face = behind(&["127.0.0.0/8"], ConnectionLimits::default());
    assert_eq!(peer_seen(&face, FIRST).await, "[2001:db8::9]:56324");
    assert_eq!(peer_seen(&face, SECOND).await, "203.0.113.9:56324");
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert!(peer_seen(&face, local).await.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn a_named_peer_that_does_not_say_it_is_refused() {
    let face = behind(&["127.0.0.1"], ConnectionLimits::default());
    assert_eq!(ask(&mut face.connect().await, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, 400);
    assert_eq!(face.counters().proxy_refused.load(Relaxed), 1);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    for proxies in [&[][..], &["203.0.113.0/24"][..]] {
        let face = behind(proxies, ConnectionLimits::default());
        assert_eq!(ask(&mut face.connect().await, std::str::from_utf8(FIRST).unwrap()).await, 400);
        let mut stream = face.connect().await;
        stream.write_all(SECOND).await.unwrap();
        assert_eq!(status(answer(&mut stream).await), 400);
    }
}

#[tokio::test]
async fn connections_are_counted_for_the_caller_not_for_the_balancer() {
    let limits = ConnectionLimits { connections_per_address_max: 1, ..ConnectionLimits::default() };
    let face = behind(&["127.0.0.1"], limits);
    let mut kept = Vec::new();
    for caller in 1..=5 {
        let mut stream = face.connect().await;
        let header = format!("PROXY TCP4 203.0.113.{caller} 198.51.100.1 1024 443\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        assert_eq!(ask(&mut stream, GET).await, 200);
        kept.push(stream);
    }
    let mut again = face.connect().await;
    again.write_all(b"PROXY TCP4 203.0.113.5 198.51.100.1 1025 443\r\n").await.unwrap();
    end(&mut again).await;
    assert_eq!(face.counters().refused_address.load(Relaxed), 1);
}
