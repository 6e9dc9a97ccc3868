//! How long connections are kept.

use std::time::Duration;

use tokio::sync::mpsc;
use waypost_outbound::Names;

use crate::receiver::{HERE, NEXT, RawReceiver, answer_to, config, get, outbound_with};

const SOON: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(600);

/// A receiver that answers with `name` and reports each connection's end.
async fn reporting(
    address: std::net::SocketAddr,
    name: &'static str,
) -> (RawReceiver, mpsc::Receiver<usize>) {
    let (ended, ends) = mpsc::channel(16);
    let receiver = RawReceiver::start_at(address, move |mut talk| {
        let ended = ended.clone();
        async move {
            while talk.hear().await.is_some() {
                talk.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())).await;
            }
            ended.send(talk.number).await.unwrap();
        }
    })
    .await;
    (receiver, ends)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future).await.expect("it did not happen")
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_address_and_calls_do_not_wait() {
    let (old, mut old_ends) = reporting((HERE, 0).into(), "old").await;
    let port = old.address.port();
    let (new, _) = reporting((NEXT, port).into(), "new").await;
    let names = Names::new();
    names.set("up.test", [HERE]);
    let outbound = outbound_with(&names, SOON, LATE);
    let endpoint = outbound.endpoint(config(&format!("http://up.test:{port}"), "up.test")).unwrap();
    assert_eq!(answer_to(&endpoint, get("/")).await, "old");
    names.set("up.test", [NEXT]);
    assert_eq!(soon(old_ends.recv()).await, Some(0));
    assert_eq!(answer_to(&endpoint, get("/")).await, "new");
    assert_eq!((old.seen().len(), new.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_call_under_way_when_the_address_changes_ends_on_its_connection() {
    let (release, released) = tokio::sync::watch::channel(false);
    let (heard, mut hears) = mpsc::channel(1);
    let receiver = RawReceiver::start(move |mut talk| {
        let (mut released, heard) = (released.clone(), heard.clone());
        async move {
            talk.hear().await.unwrap();
            heard.send(()).await.unwrap();
            released.wait_for(|released| *released).await.unwrap();
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await;
            assert_eq!(talk.hear().await, None, "a retired connection was used again");
        }
    })
    .await;
    let names = Names::new();
    names.set("up.test", [HERE]);
    let outbound = outbound_with(&names, SOON, LATE);
    let origin = format!("http://up.test:{}", receiver.address.port());
    let endpoint = outbound.endpoint(config(&origin, "up.test")).unwrap();
    let caller = endpoint.clone();
    let call = tokio::spawn(async move { answer_to(&caller, get("/")).await });
    hears.recv().await.unwrap();
    names.set("up.test", [NEXT]);
    let before = names.lookups();
    while names.lookups() < before + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    release.send(true).unwrap();
    assert_eq!(call.await.unwrap(), "done");
    assert_eq!(endpoint.call(get("/")).await.err().unwrap().failure, waypost_domain::Failure::ConnectRefused);
}

#[tokio::test]
async fn what_works_is_kept_while_the_resolver_fails() {
    let (receiver, _ends) = reporting((HERE, 0).into(), "ok").await;
    let names = Names::new();
    names.set("up.test", [HERE]);
    let outbound = outbound_with(&names, SOON, LATE);
    let origin = format!("http://up.test:{}", receiver.address.port());
    let endpoint = outbound.endpoint(config(&origin, "up.test")).unwrap();
    answer_to(&endpoint, get("/")).await;
    names.set("up.test", []);
    let before = names.lookups();
    while names.lookups() < before + 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answer_to(&endpoint, get("/")).await, "ok");
    // Also for a new connection, since the last known address is still young.
    let held = endpoint.call(get("/")).await.unwrap();
    assert_eq!(answer_to(&endpoint, get("/")).await, "ok");
    drop(held);
    assert_eq!(receiver.seen().len(), 4);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_lookups_end_with_it() {
    let (receiver, mut ends) = reporting((HERE, 0).into(), "ok").await;
    let names = Names::new();
    names.set("up.test", [HERE]);
    let outbound = outbound_with(&names, SOON, SOON * 2);
    let origin = format!("http://up.test:{}", receiver.address.port());
    let endpoint = outbound.endpoint(config(&origin, "up.test")).unwrap();
    answer_to(&endpoint, get("/")).await;
    assert_eq!(soon(ends.recv()).await, Some(0));
    tokio::time::sleep(SOON * 3).await;
    let lookups = names.lookups();
    tokio::time::sleep(SOON * 4).await;
    assert_eq!(names.lookups(), lookups, "nobody calls, and yet the name is looked up");
    assert_eq!(answer_to(&endpoint, get("/")).await, "ok");
}

#[tokio::test]
async fn connections_end_with_their_endpoint() {
    let (receiver, mut ends) = reporting((HERE, 0).into(), "ok").await;
    let outbound = outbound_with(&Names::new(), LATE, LATE);
    let endpoint = outbound.endpoint(config(&receiver.origin(), "up.test")).unwrap();
    answer_to(&endpoint, get("/")).await;
    drop(endpoint);
    assert_eq!(soon(ends.recv()).await, Some(0));
}
