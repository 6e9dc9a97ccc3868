//! The relay from socket to socket.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use waypost_domain::Clock;
use waypost_domain::limits::RELAY_RESPONSE_BYTES_MAX;
use waypost_edge::admission::{Table, admit};
use waypost_edge::body::BodyReader;
use waypost_edge::forwarded::relayed_headers;
use waypost_edge::relay::relay;
use waypost_edge::{Body, ConnectionInfo, ConnectionLimits};
use waypost_outbound::{Call, Endpoint, EndpointConfig, Outbound, OutboundConfig};

use crate::face::{Face, answer, ask, status};

/// A receiver that hears one request on each connection, says something, and closes.
pub(crate) struct Receiver {
    pub(crate) origin: String,
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(crate) async fn saying(said: impl Into<Vec<u8>>, keep_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, said) = (heard.clone(), said.into());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (log, said) = (log.clone(), said.clone());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"}") {
                        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                            return;
                        }
                    }
                    log.lock().unwrap().push(String::from_utf8(bytes).unwrap());
                    let _ = stream.write_all(&said).await;
                    if keep_open {
                        let _ = stream.read_u8().await;
                    }
                });
            }
        });
        Self { origin, heard }
    }
}

fn endpoint(origin: &str) -> Endpoint {
    let config = EndpointConfig {
        origin: origin.parse().unwrap(),
        allow_private: true,
        ..EndpointConfig::of(&"up.test:18544".parse().unwrap())
    };
    Outbound::new(OutboundConfig::new(Clock::system())).endpoint(config).unwrap()
}

/// The whole way: admission, body, headers, relay.
pub(crate) fn gateway(origin: &str, deadline: Duration) -> Face {
    let upstream = ("up.test:18544".parse().unwrap(), Vec::new(), Arc::new(endpoint(origin)));
    let table = Arc::new(Table::new([upstream]).unwrap());
    let reader = BodyReader::default();
    let service = move |request: Request<Incoming>, caller: ConnectionInfo| {
        let (table, reader) = (table.clone(), reader.clone());
        async move { serve(request, caller, &table, &reader, deadline).await }
    };
    Face::open(ConnectionLimits::default(), None, service)
}

async fn serve(
    request: Request<Incoming>,
    caller: ConnectionInfo,
    table: &Table<Endpoint>,
    reader: &BodyReader,
    deadline: Duration,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let admitted = match admit(&head, table) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.response(),
    };
    let body = match reader.read(&head.headers, body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.response(),
    };
    let headers = relayed_headers(head.headers, &caller);
    let endpoint = admitted.upstream().clone();
    let path_and_query = admitted.into_path_and_query();
    let body = body.bytes().clone();
    relay(&endpoint, Call { method: head.method, path_and_query, headers, body, deadline }).await.response
}

const LONG: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_request_reaches_the_receiver_as_it_came_and_the_answer_comes_back() {
    let said = "HTTP/1.1 401 No\r\nX-Request-Id: 7\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnope";
    let receiver = Receiver::saying(said, false).await;
    let face = gateway(&receiver.origin, LONG);
    let mut stream = face.connect().await;
    let request = "POST /UP.test:18544/webhooks/whatsapp/%2B1?a=b%20c& HTTP/1.1\r\nhost: proxy.test\r\n\
                   X-Hub-Signature-256: sha256=bb\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                   Proxy-Authorization: Basic eA==\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(request.as_bytes()).await.unwrap();
    let (head, body) = answer(&mut stream).await.unwrap();
    assert_eq!(
        receiver.heard.lock().unwrap().as_slice(),
        [
            "POST /webhooks/whatsapp/%2B1?a=b%20c& HTTP/1.1\r\nHost: up.test:18544\r\nX-Hub-Signature-256: sha256=bb\r\n\
          Content-Type: application/json\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
          X-Real-Ip: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}"
        ]
    );
    assert_eq!(body, b"nope");
    assert!(head.starts_with("http/1.1 401"), "{head}");
    for line in ["x-request-id: 7", "set-cookie: a=1", "set-cookie: b=2", "content-length: 4"] {
        assert!(head.contains(line), "{line} is missing from {head}");
    }
    assert!(!head.contains("connection: close"));
    assert_eq!(ask(&mut stream, request).await, 401, "the caller's connection is kept");
}

#[tokio::test]
async fn an_answer_in_chunks_comes_back_whole() {
    let said = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n";
    let receiver = Receiver::saying(said, true).await;
    let face = gateway(&receiver.origin, LONG);
    let mut stream = face.connect().await;
    let request = "GET /up.test:18544/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(
        text.ends_with("\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            || text.ends_with("\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"),
        "{text}"
    );
}

#[tokio::test]
async fn failures_are_502_and_504_and_name_themselves() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = Receiver::saying("", true).await;
    let cut = Receiver::saying("", false).await;
    let garbled = Receiver::saying("no http at all\r\n\r\n", false).await;
    let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    let broken = Receiver::saying(broken, true).await;
    let unfinished = Receiver::saying("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", false).await;
    let huge = Receiver::saying("HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n", true).await;
    let cases = [
        (format!("http://{closed}"), 502, "connect_refused"),
        ("https://does-not-exist.invalid".to_owned(), 502, "name_not_resolved"),
        (silent.origin, 504, "timed_out"),
        (cut.origin, 502, "connection_lost"),
        (garbled.origin, 502, "answer_unreadable"),
        (broken.origin, 502, "answer_unreadable"),
        (unfinished.origin, 502, "connection_lost"),
        (huge.origin, 502, "answer_unreadable"),
    ];
    for (origin, expected, code) in cases {
        let face = gateway(&origin, Duration::from_millis(500));
        let mut stream = face.connect().await;
        stream
            .write_all(b"POST /up.test:18544/ HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
            .await
            .unwrap();
        let (head, body) = answer(&mut stream).await.unwrap();
        let text = String::from_utf8(body).unwrap();
        assert_eq!(status(Some((head.clone(), Vec::new()))), expected, "{origin}: {text}");
        assert!(
            text.starts_with(code) && head.contains(&format!("waypost-error: {code}")),
            "{origin}: {text}"
        );
    }
}

#[tokio::test]
async fn an_answer_broken_off_or_endless_is_not_passed_off_as_whole() {
    let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    endless.resize(RELAY_RESPONSE_BYTES_MAX + 100_000, b'x');
    let broken = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    for said in [endless, broken] {
        let receiver = Receiver::saying(said, false).await;
        let face = gateway(&receiver.origin, LONG);
        let mut stream = face.connect().await;
        stream.write_all(b"GET /up.test:18544/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = Vec::new();
        let outcome = crate::face::soon(stream.read_to_end(&mut bytes)).await;
        assert!(bytes.len() < RELAY_RESPONSE_BYTES_MAX + 100_000);
        assert!(outcome.is_err() || !bytes.ends_with(b"\r\n0\r\n\r\n"), "it ended like a whole answer");
    }
}

#[tokio::test]
async fn nothing_that_is_refused_reaches_the_receiver() {
    let receiver = Receiver::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
    let face = gateway(&receiver.origin, LONG);
    let cases = [
        ("GET / HTTP/1.1", 404),
        ("GET /up.test:18544 HTTP/1.1", 404),
        ("GET /w/token HTTP/1.1", 404),
        ("GET /evil.test/x HTTP/1.1", 403),
        ("GET /up.test:18544/../x HTTP/1.1", 400),
        ("GET /up.test:18544/a%2fb HTTP/1.1", 400),
        ("GET http://up.test:18544/x HTTP/1.1", 400),
        ("GET http://proxy.test/up.test:18544/x HTTP/1.1", 400),
        ("DELETE /up.test:18544/x HTTP/1.1", 405),
        ("TRACE /up.test:18544/x HTTP/1.1", 405),
        ("CONNECT up.test:18544 HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 400),
    ];
    for (line, expected) in cases {
        let mut stream: TcpStream = face.connect().await;
        assert_eq!(ask(&mut stream, &format!("{line}\r\nHost: x\r\n\r\n")).await, expected, "{line}");
    }
    let long = format!("GET /up.test:18544/{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(9000));
    assert_eq!(ask(&mut face.connect().await, &long).await, 414);
    assert_eq!(receiver.heard.lock().unwrap().len(), 0);
}
