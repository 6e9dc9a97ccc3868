//! The end of the process: asked to, it finishes what is under way; asked twice, it ends at once; wrong
//! configurations and taken places end it before it began.

use std::time::Duration;

use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::*;

#[tokio::test]
async fn asked_to_stop_it_finishes_what_is_under_way_and_takes_no_more() {
    let receiver = Receiver::start(|_| Reply::Status(200).after(Duration::from_millis(1_500))).await;
    let mut gateway = Setup::new()
        .upstream("relay.example.com", &receiver.origin(), "mode = \"relay\"")
        .upstream(HOST, &receiver.origin(), "")
        .start()
        .await;
    let idle = &mut Wire::plain(gateway.http()).await;
    let mut relayed = Wire::plain(gateway.http()).await;
    relayed.say(&post("/relay.example.com/x", &[], b"{}")).await;
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(1))).await.status, 200);
    // A body that is half said when the stop comes.
    let mut half = Wire::plain(gateway.http()).await;
    let whole = post(CALLBACK, &[], &text(2));
    half.say(&whole[..whole.len() - 10]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    gateway.signal(Signal::TERM);
    gateway.logs("stopping").await;
    let ready = ask(gateway.admin(), &get("/readyz")).await;
    assert_eq!(ready.status, 503, "{ready:?}");
    assert!(ready.text().contains("draining"));
    assert_eq!(ask(gateway.admin(), &get("/healthz")).await.status, 200);
    assert!(idle.ends_within(2).await, "an idle connection is closed");
    let refused = async || TcpStream::connect(gateway.http()).await.is_err().then_some(());
    eventually(2, "no more connections", refused).await;
    half.say(&whole[whole.len() - 10..]).await;
    assert_eq!(half.answer().await.status, 200);
    assert_eq!(relayed.answer().await.status, 200);
    let status = gateway.ended(10).await;
    assert_eq!(status.code(), Some(0), "{status:?}");
    // What was being delivered got its answer and is not delivered again.
    let _gateway = gateway.setup.start().await;
    let heard =
        receiver.until("the second one", |heard| heard.iter().any(|heard| heard.body == text(2))).await;
    assert_eq!(heard.iter().filter(|heard| heard.body == text(1)).count(), 1);
}

#[tokio::test]
async fn asked_twice_it_ends_at_once_and_owes_what_it_owed() {
    let receiver = Receiver::start(|_| Reply::Hang).await;
    let mut gateway = Setup::new()
        .upstream("relay.example.com", &receiver.origin(), "mode = \"relay\"")
        .upstream(HOST, &receiver.origin(), "")
        .start()
        .await;
    let mut relayed = Wire::plain(gateway.http()).await;
    relayed.say(&post("/relay.example.com/x", &[], b"{}")).await;
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(1))).await.status, 200);
    receiver.hears(2).await;
    gateway.signal(Signal::INT);
    gateway.logs("stopping").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(gateway.runs());
    let started = Instant::now();
    gateway.signal(Signal::INT);
    gateway.ended(5).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    receiver.behave(|_| Reply::Status(200));
    let gateway = gateway.setup.start().await;
    let heard = receiver.until("it is taken", |heard| heard.last().is_some_and(|heard| heard.taken)).await;
    assert_eq!(heard.last().unwrap().all("waypost-attempt"), ["1"], "a shutdown is no attempt");
    let event = &gateway.until_events(&["--state", "delivered"], 1).await[0];
    assert_eq!(event["deliveries"][0]["state"], "delivered");
}

#[tokio::test]
async fn signals_are_heard_from_the_moment_it_says_ready() {
    for _ in 0..8 {
        let mut gateway = Setup::new().start().await;
        gateway.signal(Signal::HUP);
        gateway.signal(Signal::TERM);
        let status = gateway.ended(10).await;
        assert_eq!(status.code(), Some(0), "{status:?}");
    }
}

#[tokio::test]
async fn with_nothing_to_do_it_stops_quickly_and_leaves_no_socket_that_lies() {
    let receiver = Receiver::start(|_| Reply::Status(500)).await;
    let mut gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(1))).await.status, 200);
    receiver.hears(1).await;
    let started = Instant::now();
    gateway.stop().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let ended = gateway.run(&["events", "list"]).await;
    assert_eq!(ended.code, Some(69), "{ended:?}");
    assert!(ended.err.contains("waypost serve"), "{ended:?}");
}

#[tokio::test]
async fn a_wrong_configuration_is_64_before_anything_is_touched() {
    let setup = Setup::new().section("[limits]\nbody_bytes_max = \"4 elephants\"\ncolour = 1\n").upstream(
        "https://a.example",
        "http://127.0.0.1:9",
        "mode = \"strore\"",
    );
    let Err(ended) = setup.try_start().await else { panic!("it started") };
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for key in ["limits.body_bytes_max", "limits.colour", "upstream[0].host", "upstream[0].mode"] {
        assert!(ended.err.contains(key), "{key} in {}", ended.err);
    }
    assert!(!setup.home.path().join("data").exists(), "it made a data directory");
}

#[tokio::test]
async fn a_place_that_is_taken_is_refused_with_what_to_do() {
    let gateway = Setup::new().start().await;
    // The data directory.
    let Err(ended) = Setup::new().data(gateway.data()).try_start().await else { panic!("it started") };
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let process = gateway.process().to_string();
    assert!(ended.err.contains("another waypost") && ended.err.contains(&process), "{ended:?}");
    // The first one goes on, its socket too.
    assert_eq!(ask(gateway.admin(), &get("/readyz")).await.status, 200);
    gateway.run(&["upstream", "list"]).await.done();
    // The address.
    for flag in ["--listen", "--admin"] {
        let taken = gateway.http().to_string();
        let Err(ended) = Setup::new().argument(flag).argument(&taken).try_start().await else {
            panic!("it started")
        };
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains(&taken) && ended.err.contains("another program"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_one_is_refused_with_a_sentence() {
    let setup = Setup::new();
    let file = setup.home.write("a-file", "not a folder");
    let Err(ended) = setup.clone().data(file).try_start().await else { panic!("it started") };
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("a-file"), "{ended:?}");
    let Err(ended) = setup.data("/proc/nowhere").try_start().await else { panic!("it started") };
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[tokio::test]
async fn a_data_directory_deep_down_is_as_good_as_any() {
    // Sockets' paths are limited to some hundred bytes; folders' are not.
    let setup = Setup::new();
    let deep = setup.home.path().join("a-rather-long-name-of-a-folder/".repeat(5)).join("data");
    let gateway = setup.data(deep).upstream(HOST, "http://127.0.0.1:9", "").start().await;
    assert_eq!(gateway.run(&["upstream", "list", "--json"]).await.done().json()[0]["host"], HOST);
}
