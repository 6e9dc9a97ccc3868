//! Under a supervisor: it hears how the server is, and may listen for it.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::harness::*;

/// What the supervisor hears next.
async fn heard(socket: &UnixDatagram) -> String {
    let read = async || {
        let mut buffer = [0; 500];
        let bytes = socket.recv(&mut buffer).ok()?;
        String::from_utf8(buffer[..bytes].to_vec()).ok()
    };
    eventually(10, "a notice", read).await
}

fn supervisor(home: &Home) -> UnixDatagram {
    let socket = UnixDatagram::bind(home.path().join("notify")).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

#[tokio::test]
async fn a_supervisor_hears_of_the_start_a_reload_and_the_end() {
    let setup = Setup::new();
    let socket = supervisor(&setup.home);
    let path = setup.home.path().join("notify");
    let mut gateway = setup.variable("NOTIFY_SOCKET", path.to_str().unwrap()).start().await;
    assert_eq!(heard(&socket).await, "READY=1");
    gateway.signal(Signal::HUP);
    let reloading = heard(&socket).await;
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(heard(&socket).await, "READY=1");
    gateway.stop().await;
    assert_eq!(heard(&socket).await, "STOPPING=1");
}

#[tokio::test]
async fn a_watchdog_hears_that_the_server_lives_twice_as_often_as_it_asks() {
    let setup = Setup::new();
    let socket = supervisor(&setup.home);
    let path = setup.home.path().join("notify");
    let setup = setup.variable("NOTIFY_SOCKET", path.to_str().unwrap()).variable("WATCHDOG_USEC", "400000");
    let _gateway = setup.start().await;
    assert_eq!(heard(&socket).await, "READY=1");
    within(10, "signs of life", async {
        for _ in 0..5 {
            assert_eq!(heard(&socket).await, "WATCHDOG=1");
        }
    })
    .await;
}

#[tokio::test]
async fn what_waits_at_a_socket_that_was_open_before_is_answered_over_restarts() {
    let receiver = Receiver::willing().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "").socket(socket);
    for round in 1..=2 {
        // Nobody is there yet.
        let mut wire = Wire::plain(address).await;
        wire.say(&signed(CALLBACK, &text(round))).await;
        let mut gateway = setup.start().await;
        assert_eq!(gateway.http(), address);
        assert_eq!(wire.answer().await.status, 200);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_socket_that_nobody_asked_for_is_said() {
    let socket = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = socket.local_addr().unwrap();
    let gateway = Setup::new().socket(socket).start().await;
    gateway.logs("the configuration does not ask for").await;
    assert_ne!(gateway.http(), address);
}

#[tokio::test]
async fn every_address_of_both_families_can_be_listened_at_on_one_port() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let _gateway =
        Setup::new().argument("--listen").argument(&format!("[::]:{port},0.0.0.0:{port}")).start().await;
    for address in ["127.0.0.1", "[::1]"] {
        let answer = ask(format!("{address}:{port}").parse().unwrap(), &get("/nowhere")).await;
        assert_eq!(answer.header("waypost-error"), Some("not_found"), "{address}");
    }
}
