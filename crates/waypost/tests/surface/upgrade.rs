//! Upgrades, reloads and restarts under load: nobody who calls notices, whatever becomes of the new process.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::*;

/// Everything that runs on a data directory: what is left of it ends with the test.
struct Family(PathBuf);

impl Family {
    fn of(setup: &Setup) -> Self {
        Self(setup.home.path().to_owned())
    }

    /// Those that run, by what they were started with.
    fn processes(&self) -> Vec<Pid> {
        let home = self.0.to_str().unwrap();
        let numbers = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            command.contains(home).then_some(number)
        });
        numbers.filter_map(Pid::from_raw).collect()
    }

    /// Waits until one is left, or none.
    async fn shrinks_to(&self, number: usize) {
        let shrunk = async || (self.processes().len() == number).then_some(());
        eventually(20, &format!("{number} processes"), shrunk).await;
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

fn process(number: &Value) -> Pid {
    Pid::from_raw(i32::try_from(number.as_u64().unwrap()).unwrap()).unwrap()
}

/// The process that serves now.
async fn serving(gateway: &Gateway) -> Pid {
    process(&current(gateway).await["process"])
}

async fn current(gateway: &Gateway) -> Value {
    let token = std::fs::read_to_string(gateway.data().join("admin-token")).unwrap();
    let request = format!(
        "GET /api/v1/upgrade HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {}\r\n\r\n",
        token.trim()
    );
    serde_json::from_slice(&ask(gateway.admin(), request.as_bytes()).await.body).unwrap()
}

/// Each message whose call was answered is heard once, and those of one contact in their order.
async fn hears_each_once(receiver: &Receiver, result: &strict::Result) {
    assert_eq!(result.failures, Vec::<String>::new(), "of {} calls", result.answered.len());
    let heard = receiver.hears(result.answered.len()).await;
    let mut times: HashMap<String, usize> = HashMap::new();
    let mut last: HashMap<String, usize> = HashMap::new();
    for (place, heard) in heard.iter().enumerate() {
        for wamid in heard.wamids() {
            *times.entry(wamid).or_default() += 1;
        }
        last.insert(String::from_utf8_lossy(&heard.body).into_owned(), place);
    }
    for wamid in &result.answered {
        assert_eq!(times.get(wamid), Some(&1), "{wamid}");
    }
    assert_eq!(times.len(), result.answered.len());
    assert_eq!(last.len(), heard.len(), "a body came twice");
}

/// A program that stands where the gateway's stands, and is replaced by others.
struct Place(PathBuf);

impl Place {
    /// The gateway itself, as a file of its own.
    fn new(home: &Home) -> Self {
        let place = Self(home.path().join("waypost-here"));
        place.put_binary();
        place
    }

    fn put_binary(&self) {
        let beside = self.0.with_extension("new");
        std::fs::copy(env!("CARGO_BIN_EXE_waypost"), &beside).unwrap();
        std::fs::rename(beside, &self.0).unwrap();
    }

    fn put_script(&self, text: &str) {
        let beside = self.0.with_extension("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(beside, &self.0).unwrap();
    }

    /// Words that let a shell become it.
    fn prelude(&self) -> String {
        format!("exec {} \"$@\"", self.0.display())
    }
}

fn secured(receiver: &Receiver) -> Setup {
    Setup::new().upstream(HOST, &receiver.origin(), &format!("app_secrets = [\"{SECRET}\"]"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_in_a_row_under_load_fail_no_call_and_deliver_each_once() {
    let receiver = Receiver::willing().await;
    let authority = Authority::new();
    let setup = secured(&receiver).https();
    let (certificate, key) = authority.pair("localhost");
    setup.home.write("certificate.pem", certificate);
    setup.home.write("private_key.pem", key);
    let family = Family::of(&setup);
    let mut gateway = setup.start().await;
    let load = Load::new()
        .plain(8, gateway.http(), Duration::ZERO)
        .plain(4, gateway.http(), Duration::from_millis(70))
        // Longer than an upgrade takes: what they ask on their connection comes to a process that has none of it any more.
        .plain(4, gateway.http(), Duration::from_millis(900))
        .tls(4, gateway.https(), &authority.client(&["http/1.1"]))
        .multiplexed(3, gateway.https(), &authority.client(&["h2"]));
    for round in 0..5 {
        load.goes_on(300).await;
        if round == 3 {
            // By signal, as by the command.
            let former = serving(&gateway).await;
            kill_process(former, Signal::USR2).unwrap();
            eventually(10, "another process", async || (serving(&gateway).await != former).then_some(()))
                .await;
            continue;
        }
        let said = gateway.run(&["upgrade", "--json"]).await.done().json();
        assert_eq!(process(&said[0]["to"]["process"]), serving(&gateway).await);
    }
    load.goes_on(300).await;
    let status = gateway.ended(20).await;
    assert_eq!(status.code(), Some(0), "the first one ends as asked");
    let result = load.end().await;
    let gaps: Vec<_> = gateway.log().lines().filter_map(gap).collect();
    println!(
        "{} calls on {} connections, {} failed, the longest {:?}; gaps of {gaps:?} ms",
        result.answered.len() + result.failures.len(),
        result.connections,
        result.failures.len(),
        result.longest
    );
    hears_each_once(&receiver, &result).await;
    assert_eq!(gaps.len(), 5);
    family.shrinks_to(1).await;
    kill_process(serving(&gateway).await, Signal::TERM).unwrap();
    family.shrinks_to(0).await;
}

/// How long the store was nobody's, as a line of the log says it.
fn gap(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?["gap_ms"].as_u64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_call() {
    let receiver = Receiver::willing().await;
    let setup = secured(&receiver);
    let gateway = setup.start().await;
    let load = Load::new().plain(8, gateway.http(), Duration::ZERO);
    for round in 0..10 {
        load.goes_on(100).await;
        setup.clone().upstream(&format!("other{round}.example.com"), &receiver.origin(), "").write();
        gateway.signal(Signal::HUP);
    }
    gateway.logs("the new configuration is in force").await;
    let result = load.end().await;
    hears_each_once(&receiver, &result).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_behind_sockets_that_stay_open_fail_no_call() {
    let receiver = Receiver::willing().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = secured(&receiver).socket(socket);
    let mut gateway = setup.start().await;
    let load = Load::new().plain(8, gateway.http(), Duration::ZERO).plain(
        4,
        gateway.http(),
        Duration::from_millis(150),
    );
    for _ in 0..3 {
        load.goes_on(200).await;
        gateway.stop().await;
        gateway = setup.start().await;
    }
    load.goes_on(200).await;
    let result = load.end().await;
    println!("{} calls, the longest {:?}", result.answered.len(), result.longest);
    hears_each_once(&receiver, &result).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_a_supervisor_go_on_to_the_next_process_and_it_hears_which_that_is() {
    let receiver = Receiver::willing().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = secured(&receiver).socket(socket);
    let notices = UnixDatagram::bind(setup.home.path().join("notify")).unwrap();
    notices.set_nonblocking(true).unwrap();
    let path = setup.home.path().join("notify");
    let setup = setup.variable("NOTIFY_SOCKET", path.to_str().unwrap()).variable("WATCHDOG_USEC", "600000");
    let _family = Family::of(&setup);
    let mut gateway = setup.start().await;
    let former = gateway.process();
    let load = Load::new().plain(8, gateway.http(), Duration::ZERO);
    load.goes_on(100).await;
    gateway.run(&["upgrade"]).await.done();
    load.goes_on(100).await;
    let next = serving(&gateway).await;
    gateway.ended(20).await;
    let hear = || {
        let mut buffer = [0; 500];
        let bytes = notices.recv(&mut buffer).ok()?;
        String::from_utf8(buffer[..bytes].to_vec()).ok()
    };
    let named = format!("MAINPID={}", next.as_raw_nonzero());
    let mut heard: Vec<String> = Vec::new();
    within(5, "signs of life of the next one", async {
        loop {
            heard.extend(std::iter::from_fn(hear));
            let since = heard.iter().position(|notice| *notice == named).unwrap_or(heard.len());
            if heard[since..].iter().filter(|notice| *notice == "WATCHDOG=1").count() > 2 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!heard.contains(&"STOPPING=1".to_owned()), "{heard:?}");
    assert_ne!(former, u32::try_from(next.as_raw_nonzero().get()).unwrap());
    let result = load.end().await;
    hears_each_once(&receiver, &result).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_program_that_fails_changes_nothing() {
    let receiver = Receiver::willing().await;
    let setup = secured(&receiver);
    let place = Place::new(&setup.home);
    let setup = setup.prelude(&place.prelude());
    let family = Family::of(&setup);
    let mut gateway = setup.start().await;
    let load = Load::new().plain(6, gateway.http(), Duration::ZERO);
    let former = serving(&gateway).await;
    let fails = async |why: &str| {
        load.goes_on(50).await;
        let ended = gateway.run(&["upgrade"]).await;
        assert_eq!(ended.code, Some(1), "{why}: {ended:?}");
        assert!(ended.err.contains(why), "{why}: {ended:?}");
        assert!(ended.err.contains("goes on"), "{ended:?}");
        assert_eq!(serving(&gateway).await, former);
        load.goes_on(50).await;
    };
    place.put_script("no program at all");
    fails("cannot be started").await;
    place.put_script("#!/bin/sh\necho 'it is broken' >&2\nexit 3\n");
    fails("exit status: 3").await;
    place.put_script("#!/bin/sh\nkill -9 $$\n");
    fails("signal: 9").await;
    std::fs::remove_file(&place.0).unwrap();
    fails("cannot be started").await;
    place.put_binary();
    setup.home.write("waypost.toml", setup.toml().replace("[server]", "[server]\ncolour = \"red\""));
    fails("server.colour").await;
    setup.home.write("waypost.toml", setup.toml().replace("http = ", "https = \"127.0.0.1:0\"\nhttp = "));
    fails("[tls]").await;
    setup.write();
    assert_eq!(family.processes().len(), 1);
    gateway.run(&["upgrade"]).await.done();
    load.goes_on(50).await;
    assert_ne!(serving(&gateway).await, former);
    assert_eq!(gateway.ended(20).await.code(), Some(0));
    hears_each_once(&receiver, &load.end().await).await;
}

/// A gateway with a delivery under way for a while, an upgrade that waits for it, and the process that is prepared to go on.
async fn half_way(setup: &Setup, receiver: &Receiver) -> (Gateway, Load, Pid) {
    let (under_way, mut begun) = tokio::sync::mpsc::unbounded_channel();
    receiver.behave(move |_| {
        let _ = under_way.send(());
        Reply::Status(200).after(Duration::from_millis(1_500))
    });
    let gateway = setup.start().await;
    let load = Load::new().plain(6, gateway.http(), Duration::from_millis(20));
    within(10, "a delivery is under way", begun.recv()).await.unwrap();
    gateway.signal(Signal::USR2);
    gateway.logs("the new process is prepared").await;
    receiver.behave(|_| Reply::Status(200));
    let log = gateway.log();
    let line = log.lines().find(|line| line.contains("the new process is prepared")).unwrap();
    let next = process(&serde_json::from_str::<Value>(line).unwrap()["process"]);
    (gateway, load, next)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_killed_before_the_store_is_its_own_leaves_the_former_program_at_work() {
    let receiver = Receiver::willing().await;
    let setup = secured(&receiver);
    let family = Family::of(&setup);
    let (mut gateway, load, next) = half_way(&setup, &receiver).await;
    let former = gateway.process();
    kill_process(next, Signal::KILL).unwrap();
    gateway.logs("the former version goes on in a process of its own").await;
    gateway.logs("the new process serves").await;
    load.goes_on(100).await;
    let heir = serving(&gateway).await;
    assert!(heir != next && heir.as_raw_nonzero().get() != i32::try_from(former).unwrap());
    assert_eq!(gateway.ended(20).await.code(), Some(0));
    hears_each_once(&receiver, &load.end().await).await;
    family.shrinks_to(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_killed_with_the_store_in_nobodys_hand_fails_no_call() {
    let receiver = Receiver::willing().await;
    let setup = secured(&receiver);
    let family = Family::of(&setup);
    let (mut gateway, load, next) = half_way(&setup, &receiver).await;
    // It stands still, so that it does not open what is closed for it.
    kill_process(next, Signal::STOP).unwrap();
    eventually(20, "the store is closed", async || {
        let lock = std::fs::File::open(gateway.data().join("waypost.lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).ok()
    })
    .await;
    let calls = load.calls();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(load.calls() <= calls + 6, "they are not kept by anybody, and must wait");
    kill_process(next, Signal::KILL).unwrap();
    gateway.logs("the former version goes on in a process of its own").await;
    load.goes_on(100).await;
    assert_eq!(gateway.ended(20).await.code(), Some(0));
    let result = load.end().await;
    println!("{} calls, the longest {:?}", result.answered.len(), result.longest);
    hears_each_once(&receiver, &result).await;
    family.shrinks_to(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_process_that_is_killed_leaves_the_new_one_at_work_with_everything_acknowledged() {
    let receiver = Receiver::willing().await;
    for is_stopped in [false, true] {
        let setup = secured(&receiver);
        let family = Family::of(&setup);
        let (mut gateway, load, next) = half_way(&setup, &receiver).await;
        if is_stopped {
            // Killed between the store's closing and the other one's opening it.
            kill_process(next, Signal::STOP).unwrap();
            eventually(20, "the store is closed", async || {
                let lock = std::fs::File::open(gateway.data().join("waypost.lock")).unwrap();
                rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).ok()
            })
            .await;
        }
        gateway.kill().await;
        kill_process(next, Signal::CONT).unwrap();
        // What the dead one had under way is lost to its callers; nothing else is.
        load.goes_on(60).await;
        assert_eq!(serving(&gateway).await, next);
        let result = load.end().await;
        assert!(result.failures.len() <= 6, "{:?}", result.failures);
        let answered = result.answered;
        receiver
            .until("everything acknowledged", |heard| {
                let heard: std::collections::HashSet<_> = heard.iter().flat_map(Heard::wamids).collect();
                answered.iter().all(|wamid| heard.contains(wamid))
            })
            .await;
        family.shrinks_to(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_to_stop_in_the_middle_of_an_upgrade_all_stop() {
    let receiver = Receiver::willing().await;
    let setup = secured(&receiver);
    let family = Family::of(&setup);
    let (mut gateway, load, _) = half_way(&setup, &receiver).await;
    let answered = load.calls();
    assert!(answered > 0);
    gateway.stop().await;
    drop(load);
    family.shrinks_to(0).await;
}

#[tokio::test]
async fn what_cannot_be_upgraded_says_so() {
    let ended = waypost(Path::new("/"), &["upgrade", "--data", "/nowhere"]).await;
    assert_eq!(ended.code, Some(69), "{ended:?}");
    // A body that is half said when the upgrade comes is kept all the same, by whoever has the store then.
    let receiver = Receiver::willing().await;
    let setup = secured(&receiver);
    let _family = Family::of(&setup);
    let mut gateway = setup.start().await;
    let mut half = Wire::plain(gateway.http()).await;
    let whole = signed(CALLBACK, &text(1));
    half.say(&whole[..whole.len() - 10]).await;
    gateway.run(&["upgrade"]).await.done();
    assert!(gateway.runs());
    half.say(&whole[whole.len() - 10..]).await;
    let answer = half.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    receiver.hears(1).await;
    assert_eq!(gateway.ended(10).await.code(), Some(0));
}
