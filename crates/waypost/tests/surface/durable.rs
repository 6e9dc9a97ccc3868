//! Durable before 200: whatever happens to the process or its disk, what was acknowledged arrives.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::time::Instant;
use waypost_whatsapp::{Compose, compose};

use crate::harness::*;

/// Posts new messages on a connection of its own until the connection breaks; notes those acknowledged.
async fn load(mut wire: Wire, first: u64, acknowledged: Arc<Mutex<Vec<String>>>) {
    for number in 0..10_000 {
        let sequence = first + number;
        let body = text_to(sequence, &format!("49151{:08}", sequence % 64));
        wire.say(&signed(CALLBACK, &body)).await;
        match wire.try_answer().await {
            Some(answer) if answer.status == 200 => acknowledged.lock().unwrap().extend(wamids(&body)),
            Some(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
            None => return,
        }
    }
}

fn taken(heard: &[Heard]) -> HashSet<String> {
    heard.iter().filter(|heard| heard.taken).flat_map(Heard::wamids).collect()
}

#[tokio::test]
async fn killed_under_load_again_and_again_nothing_acknowledged_is_lost() {
    // The receiver fails now and then, and takes its time.
    let mut tries = 0;
    let receiver = Receiver::start(move |_| {
        tries += 1;
        let reply = if tries % 50 == 0 { Reply::Status(503) } else { Reply::Status(200) };
        reply.after(Duration::from_millis(tries % 5))
    })
    .await;
    let keys = format!("app_secrets = [\"{SECRET}\"]");
    let setup = Setup::new().upstream(HOST, &receiver.origin(), &keys);
    let acknowledged: Arc<Mutex<Vec<String>>> = Arc::default();
    for round in 0..6_u64 {
        let mut gateway = setup.start().await;
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8 {
            let wire = Wire::plain(gateway.http()).await;
            clients.spawn(load(wire, (round * 8 + client) * 10_000, acknowledged.clone()));
        }
        // At another moment of its work each time.
        tokio::time::sleep(Duration::from_millis(120 + round * 67)).await;
        gateway.kill().await;
        within(10, "the clients see the end", async { while clients.join_next().await.is_some() {} }).await;
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 100, "only {} were acknowledged", acknowledged.len());
    let _gateway = setup.start().await;
    let missing = |heard: &Vec<Heard>| {
        let taken = taken(heard);
        acknowledged.iter().filter(|wamid| !taken.contains(*wamid)).count()
    };
    let heard = receiver.until("everything acknowledged", |heard| missing(heard) == 0).await;
    // A crash repeats at most what was under way: 64 attempts, and what was not yet written down.
    let times = heard.iter().filter(|heard| heard.taken).count();
    let repeated = times - taken(&heard).len();
    println!("{} acknowledged, {times} deliveries, {repeated} of them repeated", acknowledged.len());
    assert!(repeated <= 6 * 128, "{repeated} of {times} were repeated");
}

#[tokio::test]
async fn a_receiver_that_breaks_off_after_its_answer_has_what_it_said_it_has() {
    let receiver = Receiver::start(|_| Reply::OkThenReset).await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    for number in 0..6 {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(number))).await.status, 200);
    }
    gateway.until_events(&["--state", "delivered"], 6).await;
    assert_eq!(receiver.heard().len(), 6, "each once");
}

#[tokio::test]
async fn with_the_receiver_down_it_takes_everything_restarts_and_delivers_when_the_receiver_is_back() {
    let mut receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    receiver.leave().await;
    for round in 0..3 {
        let mut gateway = setup.start().await;
        for number in 0..5 {
            let body = text(round * 5 + number);
            assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &body)).await.status, 200);
        }
        assert_eq!(
            ask(gateway.admin(), &get("/readyz")).await.status,
            200,
            "it is ready without its receiver"
        );
        if round == 1 { gateway.stop().await } else { gateway.kill().await }
    }
    let gateway = setup.start().await;
    gateway.until_events(&["--state", "owed"], 15).await;
    receiver.come_back().await;
    let heard = receiver.hears(15).await;
    assert_eq!(taken(&heard).len(), 15);
    gateway.until_events(&["--state", "delivered"], 15).await;
    assert_eq!(receiver.heard().len(), 15, "each once");
}

/// A request whose body is some 300 KB.
fn large(number: u64) -> Vec<u8> {
    let filler = "x".repeat(300_000);
    let parts = Compose { sequence: number, text: Some(&filler), ..Compose::default() };
    compose("text", &parts).unwrap().into_bytes()
}

/// Posts until the store can take nothing more, large or small; the messages acknowledged, and the next number.
async fn fill(gateway: &Gateway) -> (Vec<String>, u64) {
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 1..2_000 {
        // Large ones until none fits, then small ones into what is left.
        let body = if refused == 0 { large(number) } else { text(number) };
        let started = Instant::now();
        let answer = ask(gateway.http(), &post(CALLBACK, &[], &body)).await;
        assert!(started.elapsed() < Duration::from_secs(1), "an answer took {:?}", started.elapsed());
        match answer.status {
            200 => acknowledged.extend(wamids(&body)),
            503 => {
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                refused += 1;
            }
            other => panic!("{other}: {answer:?}"),
        }
        if refused > 5 {
            return (acknowledged, number + 1);
        }
    }
    panic!("it never filled up");
}

/// While nothing can be written, refusals are quick and the process lives; after, all is as before.
async fn survives(mut gateway: Gateway, mut receiver: Receiver, mend: impl FnOnce(&Gateway)) {
    let (mut acknowledged, next) = fill(&gateway).await;
    assert!(!acknowledged.is_empty());
    for number in next..next + 5 {
        let started = Instant::now();
        let status = ask(gateway.http(), &post(CALLBACK, &[], &large(number))).await.status;
        assert_eq!(status, 503);
        assert!(started.elapsed() < Duration::from_secs(1), "a refusal took {:?}", started.elapsed());
    }
    eventually(5, "not ready", async || {
        (ask(gateway.admin(), &get("/readyz")).await.status == 503).then_some(())
    })
    .await;
    assert_eq!(ask(gateway.admin(), &get("/healthz")).await.status, 200);
    receiver.come_back().await;
    assert!(gateway.runs());

    mend(&gateway);
    let body = large(next + 100);
    eventually(5, "it takes events again", async || {
        (ask(gateway.http(), &post(CALLBACK, &[], &body)).await.status == 200).then_some(())
    })
    .await;
    acknowledged.extend(wamids(&body));
    let everything = |heard: &Vec<Heard>| {
        // Their bodies are large, and many: they are read once there are enough.
        heard.len() >= acknowledged.len() && {
            let taken = taken(heard);
            acknowledged.iter().all(|wamid| taken.contains(wamid))
        }
    };
    receiver.until("everything acknowledged", everything).await;
    eventually(5, "ready again", async || {
        (ask(gateway.admin(), &get("/readyz")).await.status == 200).then_some(())
    })
    .await;
    gateway.until_events(&["--state", "owed"], 0).await;
    gateway.stop().await;
}

/// A small file system of its own, taken away on drop.
struct Island<'p>(&'p Path);

impl<'p> Island<'p> {
    /// None where this user may not mount.
    fn mount(path: &'p Path) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self(path))
    }
}

impl Drop for Island<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_503_and_space_that_returns_is_used() {
    let mut receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    let data = setup.home.path().join("data");
    let Some(_island) = Island::mount(&data) else {
        println!("skipped: this user may not mount a file system to fill");
        return;
    };
    let ballast = data.join("ballast");
    std::fs::write(&ballast, vec![1; 3_000_000]).unwrap();
    receiver.leave().await;
    let gateway = setup.start().await;
    survives(gateway, receiver, |_| std::fs::remove_file(&ballast).unwrap()).await;
}

#[tokio::test]
async fn a_disk_that_fails_to_write_is_503_and_is_used_again_when_it_writes() {
    let mut receiver = Receiver::willing().await;
    // No file may grow beyond 2 MB; what would make it is refused with an error, as a failing disk does.
    let setup =
        Setup::new().upstream(HOST, &receiver.origin(), "").prelude("trap '' XFSZ; ulimit -S -f 4000");
    receiver.leave().await;
    let gateway = setup.start().await;
    survives(gateway, receiver, |gateway| {
        let process = Pid::from_raw(i32::try_from(gateway.process()).unwrap());
        let boundless = Rlimit { current: None, maximum: None };
        prlimit(process, Resource::Fsize, boundless).unwrap();
    })
    .await;
}

#[tokio::test]
async fn killed_on_a_full_disk_it_has_what_it_acknowledged() {
    let mut receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    let data = setup.home.path().join("data");
    let Some(_island) = Island::mount(&data) else {
        println!("skipped: this user may not mount a file system to fill");
        return;
    };
    let ballast = data.join("ballast");
    std::fs::write(&ballast, vec![1; 3_000_000]).unwrap();
    receiver.leave().await;
    let mut gateway = setup.start().await;
    let (acknowledged, _) = fill(&gateway).await;
    gateway.kill().await;
    std::fs::remove_file(&ballast).unwrap();
    receiver.come_back().await;
    let _gateway = setup.start().await;
    let everything = |heard: &Vec<Heard>| {
        // Their bodies are large, and many: they are read once there are enough.
        heard.len() >= acknowledged.len() && {
            let taken = taken(heard);
            acknowledged.iter().all(|wamid| taken.contains(wamid))
        }
    };
    receiver.until("everything acknowledged", everything).await;
}

#[tokio::test]
async fn a_read_only_data_directory_is_refused_at_the_start_with_a_sentence() {
    let setup = Setup::new().upstream(HOST, "http://127.0.0.1:9", "");
    let data = setup.home.path().join("data");
    let Some(_island) = Island::mount(&data) else {
        println!("skipped: this user may not mount a read-only file system");
        return;
    };
    let mut gateway = setup.start().await;
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(1))).await.status, 200);
    gateway.stop().await;
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&data).status().unwrap();
    assert!(remounted.success());
    let Err(ended) = setup.try_start().await else { panic!("it started") };
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("ead-only"), "{ended:?}");
}
