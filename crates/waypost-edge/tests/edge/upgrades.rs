//! One process goes, the next comes, and no call is lost between them.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use waypost_edge::{ConnectionLimits, Edge, Inherited, Listener, Stop, handover};

use crate::face::{Face, GET, answer, ask, end, greet, soon, status};

#[tokio::test]
async fn ipv6_and_ipv4_are_bound_beside_each_other() {
    let port = Listener::bind("0.0.0.0:0".parse().unwrap()).unwrap().local_addr().unwrap().port();
    let both = [format!("[::]:{port}").parse().unwrap(), format!("0.0.0.0:{port}").parse().unwrap()];
    let listeners = Listener::bind_all(&both).unwrap();
    assert_eq!(listeners.iter().map(|it| it.local_addr().unwrap()).collect::<Vec<_>>(), both);
    let error = Listener::bind_all(&both[1..]).unwrap_err();
    assert_eq!(error.address, both[1]);
}

/// Clients that hold no failure good: each request must be answered 200, on a kept connection until the server says
/// `close`, and then on a new one.
async fn strict_client(address: std::net::SocketAddr, over: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect(address).await.expect("a connection is refused");
        loop {
            stream.write_all(GET.as_bytes()).await.expect("a request cannot be sent");
            let (head, body) = answer(&mut stream).await.expect("a request is not answered");
            assert_eq!((status(Some((head.clone(), Vec::new()))), body), (200, b"hello".to_vec()));
            answered.fetch_add(1, Ordering::Relaxed);
            if head.contains("connection: close") || over.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_upgrades_under_load_fail_no_request() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut handed = listener.duplicate().unwrap();
    let serve = |listener: Listener| {
        let (edge, stop) = (Edge::new(ConnectionLimits::default()), Stop::default());
        let ending = stop.clone();
        (stop, tokio::spawn(async move { edge.serve(listener, None, greet, ending).await }))
    };
    let mut current = serve(listener);
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> =
        (0..20).map(|_| tokio::spawn(strict_client(address, over.clone(), answered.clone()))).collect();
    for round in 0..5 {
        soon(async {
            while answered.load(Ordering::Relaxed) < round * 500 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        let (giver, taker) = UnixStream::pair().unwrap();
        handover::give(&giver, &[handed.as_fd()]).unwrap();
        let taken = handover::take(&taker).unwrap().into_iter().map(std::net::TcpListener::from);
        let next = Inherited::of(taken.collect()).unwrap().listener(address).unwrap().unwrap();
        handed = next.duplicate().unwrap();
        let (stop, served) = std::mem::replace(&mut current, serve(next));
        // By turns as a stop, and as an upgrade.
        if round % 2 == 0 {
            stop.succession.cancel();
        }
        stop.soft.cancel();
        soon(served).await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        soon(client).await.unwrap();
    }
    assert!(answered.load(Ordering::Relaxed) > 1_000);
}

#[tokio::test]
async fn what_waits_to_be_accepted_when_the_stop_begins_is_served() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let stop = Stop::default();
    stop.soft.cancel();
    let served = tokio::spawn({
        let stop = stop.clone();
        async move { Edge::new(ConnectionLimits::default()).serve(listener, None, greet, stop).await }
    });
    for stream in &mut waiting {
        assert_eq!(status(soon(answer(stream)).await), 200);
    }
    soon(served).await.unwrap();
}

#[tokio::test]
async fn a_request_that_comes_just_after_the_stop_is_the_connections_last() {
    let face = Face::open(ConnectionLimits::default(), None, greet);
    let mut stream = face.connect().await;
    assert_eq!(ask(&mut stream, GET).await, 200);
    face.stop.soft.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    let (head, _) = answer(&mut stream).await.expect("the request was on its way");
    assert!(head.contains("connection: close"), "{head}");
    end(&mut stream).await;
    soon(face.served).await.unwrap();
}

#[tokio::test]
async fn heads_that_do_not_come_hold_a_stop_up_for_a_moment_only() {
    let face = Face::open(ConnectionLimits::default(), None, greet);
    let (mut silent, mut slow, mut second) =
        (face.connect().await, face.connect().await, face.connect().await);
    slow.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(ask(&mut second, GET).await, 200);
    second.write_all(b"GET / HT").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = tokio::time::Instant::now();
    face.stop.soft.cancel();
    for stream in [&mut silent, &mut slow, &mut second] {
        end(stream).await;
    }
    soon(face.served).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// Run by the next test in a process of its own.
#[tokio::test]
#[ignore = "the child of the next test"]
async fn child_of_a_supervisor() {
    let mut inherited = Inherited::take().unwrap();
    let address = std::env::var("EXPECTED_ADDRESS").unwrap().parse().unwrap();
    let listener = inherited.listener(address).unwrap().expect("the socket was not handed over");
    assert!(inherited.is_empty());
    let stop = Stop::default();
    let ending = stop.clone();
    let service = move |request, info| {
        ending.soft.cancel();
        greet(request, info)
    };
    soon(Edge::new(ConnectionLimits::default()).serve(listener, None, service, stop)).await;
}

#[tokio::test]
async fn sockets_that_a_supervisor_opened_are_served() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // The call comes before there is anybody to take it.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).unwrap();
    let script = format!("exec 3<&{}; export LISTEN_PID=$$; exec \"$0\" \"$@\"", socket.as_raw_fd());
    let mut child = std::process::Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "upgrades::child_of_a_supervisor", "--ignored"])
        .env("LISTEN_FDS", "1")
        .env("EXPECTED_ADDRESS", address.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(socket);
    assert_eq!(status(soon(answer(&mut stream)).await), 200);
    drop(stream);
    let ended = tokio::task::spawn_blocking(move || child.wait());
    assert!(soon(ended).await.unwrap().unwrap().success());
}
