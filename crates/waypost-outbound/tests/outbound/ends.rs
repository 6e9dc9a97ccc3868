//! How a call ends when it does not go well: always by its deadline, always with the right failure.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;
use waypost_domain::Failure;
use waypost_outbound::limits::DRAIN_BYTES_MAX;
use waypost_outbound::{Call, Names};

use crate::receiver::{HERE, NEXT, RawReceiver, answer_to, config, endpoint, get, outbound, post};

const SHORT: Duration = Duration::from_millis(150);

async fn failure_of_head(answer: &'static str) -> Failure {
    let receiver = RawReceiver::start(move |mut talk| async move {
        talk.hear().await.unwrap();
        talk.say(answer).await;
    })
    .await;
    let error = endpoint(&receiver).call(post("/", "x")).await.err().unwrap();
    assert_eq!(receiver.seen().len(), 1);
    error.failure
}

async fn failure_of_body(answer: &'static str) -> Failure {
    let receiver = RawReceiver::start(move |mut talk| async move {
        talk.hear().await.unwrap();
        talk.say(answer).await;
    })
    .await;
    let answer = endpoint(&receiver).call(post("/", "x")).await.unwrap();
    answer.read_excerpt(100).await.unwrap_err().failure
}

#[tokio::test]
async fn what_is_no_http_is_unreadable() {
    assert_eq!(failure_of_head("garbage and more garbage\r\n\r\n").await, Failure::AnswerUnreadable);
    assert_eq!(failure_of_head("SSH-2.0-OpenSSH_9.2\r\n").await, Failure::AnswerUnreadable);
    assert_eq!(failure_of_head("HTTP/1.1 200 OK\r\nbad header\r\n\r\n").await, Failure::AnswerUnreadable);
    assert_eq!(
        failure_of_head("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
            .await,
        Failure::AnswerUnreadable
    );
    assert_eq!(
        failure_of_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n").await,
        Failure::AnswerUnreadable
    );
}

#[tokio::test]
async fn a_head_without_end_is_unreadable() {
    let receiver = RawReceiver::start(|mut talk| async move {
        talk.hear().await.unwrap();
        talk.say("HTTP/1.1 200 OK\r\n").await;
        let line = format!("X-Long: {}\r\n", "x".repeat(8000));
        for _ in 0..64 {
            talk.say(&line).await;
        }
        talk.hear().await;
    })
    .await;
    let error = endpoint(&receiver).call(get("/")).await.err().unwrap();
    assert_eq!(error.failure, Failure::AnswerUnreadable);
}

#[tokio::test]
async fn an_answer_broken_off_is_a_lost_connection() {
    assert_eq!(failure_of_head("").await, Failure::ConnectionLost);
    assert_eq!(failure_of_head("HTTP/1.1 200 OK\r\nContent-").await, Failure::ConnectionLost);
    assert_eq!(
        failure_of_body("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await,
        Failure::ConnectionLost
    );
    assert_eq!(
        failure_of_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await,
        Failure::ConnectionLost
    );
}

#[tokio::test]
async fn a_slow_head_times_out_at_the_deadline() {
    let receiver = RawReceiver::start(|mut talk| async move {
        talk.hear().await.unwrap();
        talk.say("HTTP/1.1 200 OK\r\n").await;
        talk.hear().await;
    })
    .await;
    let began = Instant::now();
    let call = Call { deadline: SHORT, ..post("/", "x") };
    let error = endpoint(&receiver).call(call).await.err().unwrap();
    assert_eq!(error.failure, Failure::TimedOut);
    assert!(error.timing.connect.is_some());
    assert!(began.elapsed() >= SHORT && began.elapsed() < SHORT * 10);
}

#[tokio::test]
async fn a_body_without_end_times_out_at_the_same_deadline() {
    let receiver = RawReceiver::start(|mut talk| async move {
        talk.hear().await.unwrap();
        talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for _ in 0..10_000 {
            talk.say("1\r\nx\r\n").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let began = Instant::now();
    let answer = endpoint(&receiver).call(Call { deadline: SHORT, ..post("/", "x") }).await.unwrap();
    let error = answer.read_excerpt(100).await.unwrap_err();
    assert_eq!(error.failure, Failure::TimedOut);
    assert!(error.timing.total >= SHORT);
    assert!(began.elapsed() < SHORT * 10);
}

#[tokio::test]
async fn a_modest_remainder_is_drained_and_the_connection_used_again() {
    let receiver = RawReceiver::start(|mut talk| async move {
        while talk.hear().await.is_some() {
            let body = "y".repeat(DRAIN_BYTES_MAX / 2);
            talk.say(&format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        }
    })
    .await;
    let endpoint = endpoint(&receiver);
    for _ in 0..3 {
        let answer = endpoint.call(post("/", "x")).await.unwrap();
        assert_eq!(answer.status, 500);
        let excerpt = answer.read_excerpt(10).await.unwrap();
        assert_eq!((excerpt.bytes.as_slice(), excerpt.truncated), (b"yyyyyyyyyy".as_slice(), true));
    }
    assert!(receiver.seen().iter().all(|(connection, _)| *connection == 0));
}

#[tokio::test]
async fn a_body_far_too_large_counts_as_heard_and_closes_the_connection() {
    let receiver = RawReceiver::start(|mut talk| async move {
        while talk.hear().await.is_some() {
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await;
            let piece = "z".repeat(64 * 1024);
            for _ in 0..1000 {
                talk.say(&piece).await;
            }
        }
    })
    .await;
    let endpoint = endpoint(&receiver);
    for connection in 0..2 {
        let excerpt = endpoint.call(post("/", "x")).await.unwrap().read_excerpt(16).await.unwrap();
        assert_eq!((excerpt.bytes.len(), excerpt.truncated), (16, true));
        assert_eq!(receiver.seen().last().unwrap().0, connection);
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_refuses() {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = outbound(&Names::new()).endpoint(config(&format!("http://{address}"), "up.test")).unwrap();
    let error = endpoint.call(get("/")).await.err().unwrap();
    assert_eq!(error.failure, Failure::ConnectRefused);
    assert!(error.detail.contains(&address.to_string()));
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let receiver = RawReceiver::friendly().await;
    let names = Names::new();
    names.set("up.test", [NEXT, HERE]);
    let origin = format!("http://up.test:{}", receiver.address.port());
    let endpoint = outbound(&names).endpoint(config(&origin, "up.test")).unwrap();
    assert_eq!(endpoint.call(post("/", "x")).await.unwrap().address, Some(receiver.address));
    assert_eq!(receiver.seen().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_not_public_needs_the_explicit_word() {
    let receiver = RawReceiver::friendly().await;
    let names = Names::new();
    names.set("up.test", [HERE]);
    names.set("six.test", ["::ffff:127.0.0.1".parse().unwrap()]);
    let port = receiver.address.port();
    for origin in ["up.test", "six.test", "127.0.0.1", "[::ffff:127.0.0.1]", "[::1]"] {
        let mut config = config(&format!("http://{origin}:{port}"), "up.test");
        config.allow_private = false;
        let error = outbound(&names).endpoint(config).unwrap().call(get("/")).await.err().unwrap();
        assert_eq!(error.failure, Failure::AddressForbidden, "{origin}");
        assert_eq!(error.address, None);
    }
    assert_eq!(receiver.seen().len(), 0);
    let allowed = outbound(&names).endpoint(config(&format!("http://up.test:{port}"), "up.test")).unwrap();
    assert_eq!(answer_to(&allowed, get("/")).await, "0");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_looked_up_once_for_all_who_wait() {
    let names = Names::new();
    let endpoint = outbound(&names).endpoint(config("http://nowhere.test:80", "nowhere.test")).unwrap();
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { endpoint.call(get("/")).await.err().unwrap().failure })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Failure::NameNotResolved);
    }
    assert_eq!(names.lookups(), 1);
}

#[tokio::test]
async fn the_system_resolver_knows_localhost() {
    let receiver = RawReceiver::friendly().await;
    let outbound = waypost_outbound::Outbound::new(waypost_outbound::OutboundConfig::new(
        waypost_domain::Clock::system(),
    ));
    let origin = format!("http://localhost:{}", receiver.address.port());
    let endpoint = outbound.endpoint(config(&origin, "localhost")).unwrap();
    let answer = endpoint.call(get("/")).await.unwrap();
    assert!(answer.timing.resolve.is_some());
}
