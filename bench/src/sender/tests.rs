//! What the sender promises, with real servers on loopback.

use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::certificates::Certificates;
use crate::floor;
use crate::sink::Sink;
use crate::webhook::BODY_BYTES;

fn plan(address: SocketAddr, tls: bool) -> Plan {
    Plan {
        target: Target {
            address,
            tls,
            host: "proxy.test".into(),
            path: "/up.test/hook".into(),
            sources: None,
        },
        connections: 8,
        pace: Pace::Closed,
        warmup: Duration::ZERO,
        measure: Duration::from_secs(10),
        count_max: Some(500),
        reconnect: false,
        resume: false,
        body_bytes: BODY_BYTES,
        secret: "right".into(),
        contacts: 100,
    }
}

/// A floor on a thread of its own for the rest of the test's process.
fn start_floor(log: Option<std::path::PathBuf>) -> SocketAddr {
    let (tell, address) = mpsc::channel();
    let setup = floor::Setup { listen: (Ipv4Addr::LOCALHOST, 0).into(), secret: "right".into(), log };
    thread::spawn(move || floor::serve(&setup, |address| tell.send(address).unwrap()));
    address.recv().unwrap()
}

fn send_to_sink(sink: &Sink, plan: &Plan) -> Outcome {
    let base = new_id_base();
    sink.open_book(base);
    let mut moments = Vec::new();
    let outcome = run(plan, base, |moment| moments.push(moment)).unwrap();
    assert_eq!(moments, [Moment::Begin, Moment::End]);
    let book = sink.close_book();
    assert_eq!((outcome.failed(), book.repeated, book.unmarked), (0, 0, 0), "{outcome:?}");
    assert_eq!(outcome.acknowledged.len(), outcome.sent);
    assert_eq!(outcome.acknowledged.missing_from(&book.arrived), 0);
    outcome
}

#[test]
fn every_webhook_sent_is_unique_and_arrives_whichever_way_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    for tls in [false, true] {
        let sink = Sink::start(tls.then(|| certificates.server().unwrap())).unwrap();
        for reconnect in [false, true] {
            for body_bytes in [BODY_BYTES, 300_000] {
                let count_max = Some(if body_bytes > BODY_BYTES || reconnect { 40 } else { 500 });
                let plan = Plan { reconnect, body_bytes, count_max, ..plan(sink.address(), tls) };
                let outcome = send_to_sink(&sink, &plan);
                assert_eq!(Some(outcome.completed), plan.count_max);
                assert_eq!(outcome.latency.len(), outcome.completed);
            }
        }
    }
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let sink = Sink::start(None).unwrap();
    let plan = Plan {
        pace: Pace::Open(500.0),
        warmup: Duration::from_millis(100),
        measure: Duration::from_millis(400),
        count_max: None,
        ..plan(sink.address(), false)
    };
    let outcome = send_to_sink(&sink, &plan);
    assert_eq!(outcome.sent, 250);
    assert_eq!(outcome.latency.len(), 200, "warm-up is not measured");
}

#[test]
fn a_stall_is_charged_to_every_webhook_that_was_due_during_it() {
    // A server that answers its first request late, on the one connection there is.
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut socket, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let mut first = true;
        while socket.read(&mut bytes).unwrap() > 0 {
            if std::mem::take(&mut first) {
                thread::sleep(Duration::from_millis(200));
            }
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    let plan = Plan {
        connections: 1,
        pace: Pace::Open(100.0),
        measure: Duration::from_millis(400),
        count_max: None,
        ..plan(address, false)
    };
    let outcome = run(&plan, new_id_base(), |_| ()).unwrap();
    server.join().unwrap();
    assert_eq!(outcome.latency.len(), 40);
    // Due at 0, 10, … 190 ms and answered after 200: half of all waited, on average, 100 ms.
    let median_of_the_stalled = outcome.latency.quantile(0.75);
    assert!(median_of_the_stalled > 80_000_000, "{median_of_the_stalled} ns: the stall was omitted");
}

#[test]
fn the_floor_takes_what_is_signed_and_has_it_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("bodies");
    let address = start_floor(Some(log.clone()));
    let outcome = run(&plan(address, false), new_id_base(), |_| ()).unwrap();
    assert_eq!((outcome.acknowledged.len(), outcome.failed()), (500, 0));
    let bytes = std::fs::read(log).unwrap();
    assert_eq!(bytes.len(), 500 * BODY_BYTES);
    let ids: Vec<u64> = bytes.chunks(BODY_BYTES).map(|body| webhook::mark(body).unwrap().id).collect();
    let mut stored = IdSet::from_base(*ids.iter().min().unwrap());
    assert!(ids.iter().all(|id| stored.insert(*id)), "each once");
    assert!(ids.iter().all(|id| !outcome.acknowledged.clone().insert(*id)), "only what was acknowledged");
}

#[test]
fn a_wrong_signature_is_refused_and_counted() {
    let address = start_floor(None);
    let plan = Plan { secret: "wrong".into(), ..plan(address, false) };
    let outcome = run(&plan, new_id_base(), |_| ()).unwrap();
    assert_eq!(outcome.refused, BTreeMap::from([(401, 500)]));
    assert_eq!((outcome.completed, outcome.latency.len()), (0, 0));
}

#[test]
fn a_server_that_is_not_there_ends_the_run_with_a_reason() {
    let refusing = tokio::net::TcpSocket::new_v4().unwrap();
    refusing.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let plan = Plan { count_max: None, ..plan(refusing.local_addr().unwrap(), false) };
    let error = run(&plan, new_id_base(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}
