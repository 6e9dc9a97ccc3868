//! Clients that mean harm, byte by byte. Nothing of theirs reaches a receiver, and honest clients notice nothing.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use waypost_edge::{Body, ConnectionLimits};

use crate::face::{Face, GET, answer, ask, greet, soon, status};
use crate::relaying::{Receiver, gateway};

const LONG: Duration = Duration::from_secs(15);

/// Sends bytes after which the connection ends and gives every status that comes back, and all that was said.
async fn statuses(face: &Face, bytes: &[u8]) -> (Vec<u16>, String) {
    let mut stream = face.connect().await;
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    let _ = soon(stream.read_to_end(&mut said)).await;
    let said = String::from_utf8_lossy(&said).into_owned();
    let found = said.split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].parse().unwrap()).collect();
    (found, said)
}

const TARGET: &str = "/up.test:18544/x";
const SMUGGLED: &str = "GET /up.test:18544/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn shapes_that_smuggle_are_refused_and_what_follows_them_is_not_read() {
    let receiver = Receiver::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
    let face = gateway(&receiver.origin, LONG);
    let post = format!("POST {TARGET} HTTP/1.1\r\nHost: x\r\n");
    let cases: Vec<(String, u16, &str)> = vec![
        (
            format!("{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
            "length_ambiguous",
        ),
        (
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
            400,
            "length_ambiguous",
        ),
        (format!("{post}Content-Length: 0\r\nContent-Length: 44\r\n\r\n"), 400, "length_ambiguous"),
        (format!("{post}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"), 400, "length_ambiguous"),
        (format!("{post}Content-Length: 0, 0\r\n\r\n"), 400, "length_ambiguous"),
        (format!("{post}Content-Length: 0x10\r\n\r\n"), 400, "length_ambiguous"),
        (format!("{post}Content-Length: -5\r\n\r\n"), 400, "length_ambiguous"),
        (
            format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
            400,
            "length_ambiguous",
        ),
        (format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501, "coding_unknown"),
        (format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 501, "coding_unknown"),
        (format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 501, "coding_unknown"),
        (format!("{post}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400, "head_malformed"),
        (format!("{post}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"), 400, "head_malformed"),
        (format!("{post}X: a\r\n Transfer-Encoding: chunked\r\n\r\n"), 400, "head_malformed"),
        (format!("{post}X: a\nContent-Length: 0\r\n\r\n"), 400, "head_malformed"),
        (format!("{post}X: a\rContent-Length: 0\r\n\r\n"), 400, "head_malformed"),
        (format!("{post}X: a\r\n\n"), 400, "head_malformed"),
        (format!("{post}X: \0\r\n\r\n"), 400, "head_malformed"),
        (format!("{post}: a\r\n\r\n"), 400, "head_malformed"),
        (format!("POST {TARGET} HTTP/1.1\nHost: x\n\n"), 400, "head_malformed"),
        (format!("POST {TARGET} HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"), 400, "host_malformed"),
        (format!("POST {TARGET} HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), 400, "host_malformed"),
        (format!("POST {TARGET} HTTP/1.1\r\n\r\n"), 400, "host_malformed"),
        (format!("POST {TARGET} HTTP/1.1\r\nHost: user@x\r\n\r\n"), 400, "host_malformed"),
        (format!("POST {TARGET} HTTP/1.1\r\nHost: x/y\r\n\r\n"), 400, "host_malformed"),
        (format!("POST {TARGET} HTTP/1.1\r\nHost: x, y\r\n\r\n"), 400, "host_malformed"),
        (
            format!("POST {TARGET} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            400,
            "length_ambiguous",
        ),
        (format!("POST {TARGET} HTTP/3.0\r\nHost: x\r\n\r\n"), 400, "head_malformed"),
        (format!("POST  {TARGET} HTTP/1.1\r\nHost: x\r\n\r\n"), 400, "head_malformed"),
        (format!("POST {TARGET}\r\nHost: x\r\n\r\n"), 400, "head_malformed"),
        ("POST\r\n\r\n".to_owned(), 400, "head_malformed"),
        ("\0\0\0\r\n\r\n".to_owned(), 400, "head_malformed"),
    ];
    for (bytes, expected, code) in cases {
        let (found, said) = statuses(&face, format!("{bytes}{SMUGGLED}").as_bytes()).await;
        assert_eq!(found, [expected], "{bytes:?} {said}");
        assert!(said.contains(&format!("waypost-error: {code}\r\n")), "{bytes:?} {said}");
        assert!(said.contains("connection: close"), "{said}");
    }
    assert_eq!(*receiver.heard.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn odd_chunks_are_refused() {
    let receiver = Receiver::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
    let face = gateway(&receiver.origin, LONG);
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for chunks in [
        "3 \r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3;\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff0\r\nabc\r\n0\r\n\r\n",
        "\r\n\r\n",
        "-1\r\nabc\r\n",
        "g\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: y\n\r\n",
    ] {
        let (found, said) = statuses(&face, format!("{head}{chunks}{SMUGGLED}").as_bytes()).await;
        assert_eq!(found, [400], "{chunks:?} {said}");
        assert!(said.contains("waypost-error: body_broken"), "{chunks:?} {said}");
    }
    let endless = format!("{head}3;{}\r\nabc\r\n0\r\n\r\n", "e".repeat(20_000));
    assert_eq!(statuses(&face, endless.as_bytes()).await.0, [400]);
    assert_eq!(*receiver.heard.lock().unwrap(), [""; 0]);
    let fine = format!("{head}2;name=value\r\n{{}}\r\n0\r\nX-Trailer: y\r\n\r\n");
    assert_eq!(statuses(&face, fine.as_bytes()).await.0, [200]);
    assert!(receiver.heard.lock().unwrap()[0].ends_with("Content-Length: 2\r\n\r\n{}"));
}

#[tokio::test]
async fn targets_with_tricks_are_refused() {
    let receiver = Receiver::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
    let face = gateway(&receiver.origin, LONG);
    for (line, expected) in [
        ("GET http://up.test:18544/x HTTP/1.1", 400),
        ("GET https://proxy.test/up.test:18544/x HTTP/1.1", 400),
        ("GET //up.test:18544/x HTTP/1.1", 404),
        ("GET /up.test:18544//../x HTTP/1.1", 400),
        ("GET /up.test:18544/%2e%2e/x HTTP/1.1", 400),
        ("GET /up.test:18544/.%2e/x HTTP/1.1", 400),
        ("GET /up.test:18544/..;/x HTTP/1.1", 400),
        ("GET /up.test:18544/a%2fb HTTP/1.1", 400),
        ("GET /up.test:18544/a%5cb HTTP/1.1", 400),
        ("GET /up.test:18544/a%00b HTTP/1.1", 400),
        ("GET /up.test:18544/a%0d%0ab HTTP/1.1", 400),
        ("GET /up.test:18544/a%zz HTTP/1.1", 400),
        ("GET /up.test:18544%2fx HTTP/1.1", 404),
        ("GET /up.test%3a18544%2e/x HTTP/1.1", 403),
        ("GET /user@up.test:18544/x HTTP/1.1", 403),
        ("GET /up.test:18544./x HTTP/1.1", 403),
        ("GET /up.test.:18544/x HTTP/1.1", 403),
        ("GET /up.test:18544@evil.test/x HTTP/1.1", 403),
        ("GET /up.test:018544/x HTTP/1.1", 403),
        ("GET /up.test/x HTTP/1.1", 403),
        ("GET /%C3%BCp.test:18544/x HTTP/1.1", 403),
        ("GET /xn--p-xka.test:18544/x HTTP/1.1", 403),
        ("GET /[::1]:18544/x HTTP/1.1", 403),
        ("GET /127.0.0.1:18544/x HTTP/1.1", 403),
        ("GET /0x7f000001/x HTTP/1.1", 403),
        ("GET /up.test%2500:18544/x HTTP/1.1", 403),
        ("CONNECT up.test:18544 HTTP/1.1", 405),
        ("CONNECT /up.test:18544/x HTTP/1.1", 405),
        ("TRACE /up.test:18544/x HTTP/1.1", 405),
        ("PUT /up.test:18544/x HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 400),
        ("PRI * HTTP/2.0", 400),
        ("get /up.test:18544/x HTTP/1.1", 405),
        ("GET up.test:18544/x HTTP/1.1", 400),
    ] {
        let (found, said) =
            statuses(&face, format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(found, [expected], "{line} {said}");
        assert!(said.contains("waypost-error: "), "{line} {said}");
    }
    assert_eq!(*receiver.heard.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_is_oversized_is_refused_by_its_name() {
    let receiver = Receiver::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
    let face = gateway(&receiver.origin, LONG);
    let long = "a".repeat(9_000);
    let huge = "a".repeat(70_000);
    for (request, expected, code) in [
        (
            format!("GET {TARGET}/{long} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            414,
            "target_too_long",
        ),
        (
            format!("GET {TARGET}/{huge} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            414,
            "target_too_long",
        ),
        (format!("GET {TARGET} HTTP/1.1\r\nHost: x\r\nX: {huge}\r\n\r\n"), 431, "head_too_large"),
        (
            format!("GET {TARGET} HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(101)),
            431,
            "head_too_large",
        ),
        (
            format!("POST {TARGET} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"),
            413,
            "body_too_large",
        ),
        (format!("{huge} / HTTP/1.1\r\n\r\n"), 431, "head_too_large"),
    ] {
        let (found, said) = statuses(&face, request.as_bytes()).await;
        let shape = &request[..request.len().min(40)];
        assert!(found == [expected] && said.contains(&format!("waypost-error: {code}")), "{shape} {said}");
    }
    assert_eq!(*receiver.heard.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_of_hypers_own_after_an_honest_request_is_named_too() {
    let face = Face::open(ConnectionLimits::default(), None, greet);
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, GET).await, 200);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: \x01\r\n\r\n").await.unwrap();
    let (head, body) = answer(&mut stream).await.unwrap();
    assert!(head.contains("http/1.1 400") && head.contains("waypost-error: head_malformed"), "{head}");
    assert_eq!(body, b"head_malformed: the request head is malformed\n");
}

#[tokio::test]
async fn an_answer_of_the_services_is_never_taken_for_one_of_hypers() {
    let face = Face::open(ConnectionLimits::default(), None, |_, _| async {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        response
    });
    let mut stream = face.connect().await;
    for _ in 0..50 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        let (head, _) = answer(&mut stream).await.unwrap();
        assert!(!head.contains("waypost-error"), "{head}");
    }
    // In one piece, too, so that answers leave together.
    let last = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all((GET.repeat(19) + last).as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said.matches("HTTP/1.1 400").count(), 20);
    assert!(!said.contains("waypost-error"), "{said}");
}

/// An honest request, while others do what they do.
async fn honest(face: &Face) -> Duration {
    let began = Instant::now();
    assert_eq!(soon(async { ask(&mut face.connect().await, GET).await }).await, 200);
    began.elapsed()
}

#[tokio::test]
async fn slow_heads_slow_bodies_and_slow_readers_are_given_up_and_harm_nobody() {
    let tick = Duration::from_millis(400);
    let limits = ConnectionLimits {
        head_time_max: tick,
        idle_time_max: tick,
        stall_time_max: tick,
        ..ConnectionLimits::default()
    };
    let face = Face::open(limits, None, |request, _| async move {
        if request.method() == http::Method::POST {
            let _ = request.into_body().collect().await;
        }
        Response::new(Body::full(vec![b'x'; 8 * 1024 * 1024]))
    });
    let mut streams = Vec::new();
    for number in 0..300 {
        let mut stream = face.connect().await;
        let bytes: &[u8] = match number % 3 {
            0 => b"GET / HTTP/1.1\r\nHo",
            1 => b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nslow",
            _ => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(bytes).await.unwrap();
        streams.push(stream);
    }
    let mut stream = face.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(status(soon(answer(&mut stream)).await), 200);
    drop(stream);
    soon(async {
        while face.counters().open.load(Relaxed) > 0 {
            tokio::time::sleep(tick / 10).await;
        }
    })
    .await;
    assert_eq!(face.counters().heads_timed_out.load(Relaxed), 100);
}

#[tokio::test]
async fn a_flood_of_connections_leaves_the_honest_served() {
    let limits = ConnectionLimits { connections_per_address_max: 3_000, ..ConnectionLimits::default() };
    let face = Face::open(limits, None, greet);
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        idle.push(TcpStream::connect(face.address).await.unwrap());
    }
    for _ in 0..20 {
        assert!(honest(&face).await < Duration::from_secs(2));
    }
    assert!(face.counters().open.load(Relaxed) >= 2_000);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `:method GET`, `:scheme http`, `:path /`, `:authority x`, in HPACK's static table.
const HEADERS: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'x'];

#[tokio::test]
async fn a_client_that_resets_streams_as_fast_as_it_opens_them_is_cut_off() {
    let face = Face::open(ConnectionLimits::default(), None, |_, _| std::future::pending::<Response<Body>>());
    let mut stream = face.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let flood = async {
        for number in 0..20_000u32 {
            let id = number * 2 + 1;
            let mut bytes = frame(1, 5, id, HEADERS);
            bytes.extend_from_slice(&frame(3, 0, id, &[0, 0, 0, 8]));
            if stream.write_all(&bytes).await.is_err() {
                return number;
            }
            tokio::task::yield_now().await;
        }
        20_000
    };
    let opened = soon(flood).await;
    assert!(opened < 20_000, "the client was let go on");
    assert!(face.counters().requests.load(Relaxed) < 20_000);
    soon(async {
        while face.counters().open.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn heads_that_never_end_in_http_2_are_cut_off() {
    let face = Face::open(ConnectionLimits::default(), None, greet);
    let mut stream = face.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream.write_all(&frame(1, 0, 1, HEADERS)).await.unwrap();
    // A literal header line, again and again, and never END_HEADERS.
    let mut line = vec![0x00, 0x01, b'a', 0x7f, 0x80, 0x01];
    line.extend_from_slice(&[b'b'; 255]);
    let more = frame(9, 0, 1, &line.repeat(50));
    let flood = async {
        let mut frames = 0;
        while frames < 10_000 && stream.write_all(&more).await.is_ok() {
            frames += 1;
        }
        frames
    };
    assert!(soon(flood).await < 10_000, "the client was let go on");
}

#[tokio::test]
async fn an_http_2_request_that_names_two_hosts_is_refused() {
    let face = Face::open(ConnectionLimits::default(), None, greet);
    let stream = TokioIo::new(face.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    for (host, expected) in [(None, 200), (Some("proxy.test"), 200), (Some("other.test"), 400)] {
        let mut request = Request::get("http://proxy.test/").body(Empty::<Bytes>::new()).unwrap();
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{host:?}");
    }
}

#[tokio::test]
async fn http_1_in_the_middle_of_a_connection_does_not_become_http_2() {
    let face = Face::open(ConnectionLimits::default(), None, greet);
    let (found, said) = statuses(&face, format!("{GET}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").as_bytes()).await;
    assert_eq!(found[0], 200);
    assert!(found.len() == 1 || found[1] == 400, "{said}");
}

#[tokio::test]
async fn frames_that_ask_for_nothing_are_not_read_for_ever() {
    for flood in [frame(6, 0, 0, &[7; 8]), frame(8, 0, 0, &[0, 0, 0, 1]), frame(4, 0, 0, &[0, 3, 0, 0, 0, 9])]
    {
        let face = Face::open(ConnectionLimits::default(), None, greet);
        let (mut reader, mut writer) = face.connect().await.into_split();
        writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        writer.write_all(&frame(4, 0, 0, &[])).await.unwrap();
        writer.write_all(&frame(1, 5, 1, HEADERS)).await.unwrap();
        tokio::spawn(async move { while reader.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {} });
        let more = flood.repeat(1_000);
        let mut sent = 0;
        while sent < 64 * 1024 * 1024 && soon(writer.write_all(&more)).await.is_ok() {
            sent += more.len();
        }
        assert!(sent < 64 * 1024 * 1024, "{flood:?} may go on");
        assert_eq!(face.counters().stalled.load(Relaxed), 1);
    }
}

#[tokio::test]
async fn answers_that_nobody_takes_fill_a_limited_room_and_others_are_served() {
    const CONNECTIONS: usize = 280;
    const STREAMS: u32 = waypost_domain::limits::STREAMS_PER_CONNECTION_MAX;
    let face = Face::open(ConnectionLimits::default(), None, greet);
    // A window of nothing: every answer with a body waits.
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend_from_slice(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..STREAMS {
        opening.extend_from_slice(&frame(1, 5, number * 2 + 1, HEADERS));
    }
    let (mut stuck, mut refused) = (Vec::new(), 0);
    for _ in 0..CONNECTIONS {
        let mut stream = face.connect().await;
        stream.write_all(&opening).await.unwrap();
        let mut answers = 0;
        while answers < STREAMS {
            let mut head = [0; 9];
            soon(stream.read_exact(&mut head)).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            soon(stream.read_exact(&mut payload)).await.unwrap();
            // HEADERS, and the end of the stream with them where it is refused.
            if head[3] == 1 {
                answers += 1;
                refused += usize::from(head[4] & 1 == 1);
            }
        }
        stuck.push(stream);
    }
    let all = CONNECTIONS * STREAMS as usize;
    let room = waypost_edge::limits::STREAMS_MAX + CONNECTIONS * waypost_edge::limits::STREAMS_MIN as usize;
    assert!(all - refused <= room + 1, "{} of {all} answers wait", all - refused);
    let stream = TokioIo::new(face.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://proxy.test/").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(soon(sender.send_request(request)).await.unwrap().status(), 200);
    drop(stuck);
}
