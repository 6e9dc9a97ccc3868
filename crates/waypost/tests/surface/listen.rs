//! `waypost listen` and `waypost tail`: what comes in, on a developer's machine.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::harness::*;

fn setup() -> Setup {
    Setup::new().section(&source(&[SECRET])).section("[stream]\npublic = true\n")
}

async fn accept(gateway: &Gateway, body: &[u8]) {
    assert_eq!(ask(gateway.http(), &signed_with(SECRET, W, body)).await.status, 200);
}

/// A command that runs until it is dropped, and what it says on both its outputs.
struct Running {
    child: Child,
    out: Lines<BufReader<Box<dyn AsyncRead + Unpin + Send>>>,
    err: Lines<BufReader<Box<dyn AsyncRead + Unpin + Send>>>,
}

impl Running {
    fn start(gateway: &Gateway, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
        command.env_clear().current_dir(gateway.setup.home.path()).kill_on_drop(true);
        command.arg("--data").arg(gateway.data()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out: Box<dyn AsyncRead + Unpin + Send> = Box::new(child.stdout.take().unwrap());
        let err: Box<dyn AsyncRead + Unpin + Send> = Box::new(child.stderr.take().unwrap());
        Self { child, out: BufReader::new(out).lines(), err: BufReader::new(err).lines() }
    }

    /// The next line of results.
    async fn line(&mut self) -> String {
        within(15, "a line", self.out.next_line()).await.unwrap().expect("it ended")
    }

    /// Waits for a complaint that says this.
    async fn complains(&mut self, text: &str) {
        within(20, &format!("a complaint of {text:?}"), async {
            while let Some(line) = self.err.next_line().await.unwrap() {
                if line.contains(text) {
                    return;
                }
            }
            panic!("it ended without a complaint of {text:?}");
        })
        .await;
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

#[tokio::test]
async fn requests_reach_a_program_as_they_came_and_go_on_where_they_stopped() {
    let gateway = setup().start().await;
    let program = Receiver::willing().await;
    let url = format!("{}/webhook?x=1", program.origin());
    let mut listen = Running::start(&gateway, &["listen", "--forward-to", &url]);
    listen.complains("listening at").await;
    accept(&gateway, &text(1)).await;
    let (first, second) = (listen.line().await, listen.line().await);
    assert!(first.starts_with("-->  ") && first.contains("message:new text  evt_"), "{first}");
    assert!(second.starts_with("<--  [200] POST ") && second.ends_with(" ms"), "{second}");
    let heard = &program.hears(1).await[0];
    assert_eq!((heard.request_line(), &heard.body), ("POST /webhook?x=1 HTTP/1.1", &text(1)));
    assert_eq!(heard.all("x-hub-signature-256"), [signature(SECRET, &text(1))]);
    assert_eq!(heard.all("content-type"), ["application/json"]);
    // A batch goes once, whole.
    let both = batch(&[message("111", "A"), message("222", "B")]);
    accept(&gateway, &both).await;
    for start in ["-->", "<--  [200]", "-->", "<--  [sent]"] {
        let line = listen.line().await;
        assert!(line.starts_with(start), "{line} instead of {start}");
    }
    listen.kill().await;
    // What came while nobody listened comes first, and nothing comes twice.
    accept(&gateway, &text(2)).await;
    accept(&gateway, &text(3)).await;
    let mut listen =
        Running::start(&gateway, &["listen", "--forward-to", &url, "--secret", "another secret", "--json"]);
    let told: Value = serde_json::from_str(&listen.line().await).unwrap();
    assert_eq!((told["status"].as_u64(), told["type"].as_str()), (Some(200), Some("message:new")));
    let heard = program.hears(4).await;
    let bodies: Vec<&Vec<u8>> = heard.iter().map(|heard| &heard.body).collect();
    assert_eq!(bodies, [&text(1), &both, &text(2), &text(3)]);
    assert_eq!(heard[3].all("x-hub-signature-256"), [signature("another secret", &text(3))]);
}

#[tokio::test]
async fn a_program_that_is_away_gets_everything_once_it_is_back() {
    let gateway = setup().start().await;
    let mut program = Receiver::willing().await;
    let url = program.origin();
    let arguments = ["listen", "--forward-to", &url, "--normalised", "--type", "message:*"];
    let mut listen = Running::start(&gateway, &arguments);
    listen.complains("listening at").await;
    program.leave().await;
    for sequence in 0..3 {
        accept(&gateway, &text(sequence)).await;
    }
    assert!(listen.line().await.starts_with("-->"));
    assert!(listen.line().await.starts_with("<--  [no answer]"));
    program.come_back().await;
    let heard = program.hears(3).await;
    let payloads: Vec<Value> =
        heard.iter().map(|heard| serde_json::from_slice(&heard.body).unwrap()).collect();
    let came: Vec<&str> = payloads.iter().map(|payload| payload["data"]["id"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..3).flat_map(|sequence| wamids(&text(sequence))).collect();
    assert_eq!(came, expected);
    assert_eq!(heard[0].all("waypost-event"), ["message:new"]);
}

#[tokio::test]
async fn a_connection_that_is_lost_or_dead_is_told_and_made_anew() {
    let mut gateway = setup().start().await;
    let program = Receiver::willing().await;
    let mut listen = Running::start(&gateway, &["listen", "--forward-to", &program.origin()]);
    listen.complains("listening at").await;
    gateway.kill().await;
    listen.complains("-x-").await;
    let gateway = gateway.setup.clone().start().await;
    accept(&gateway, &text(1)).await;
    listen.complains("---  connected again").await;
    assert_eq!(program.hears(1).await[0].body, text(1));
    // It is there, and says nothing any more.
    gateway.signal(Signal::STOP);
    listen.complains("dead").await;
    gateway.signal(Signal::CONT);
    listen.complains("connected again").await;
    accept(&gateway, &text(2)).await;
    let heard = program.hears(2).await;
    assert_eq!((heard.len(), &heard[1].body), (2, &text(2)));
}

#[tokio::test]
async fn what_an_operator_replays_comes_too() {
    let receiver = Receiver::willing().await;
    let gateway = setup()
        .section(&destination("support", &format!("{}/hook", receiver.origin()), ""))
        .section(&route("\"all\"", "support"))
        .start()
        .await;
    let program = Receiver::willing().await;
    accept(&gateway, &text(1)).await;
    receiver.hears(1).await;
    gateway.until_events(&["--state", "delivered"], 1).await;
    let mut listen = Running::start(&gateway, &["listen", "--forward-to", &program.origin()]);
    listen.complains("listening at").await;
    let mut tail = Running::start(&gateway, &["tail", "--type", "message:*", "--json"]);
    let readers = async || (gateway.metric("waypost_stream_readers").await == 2.0).then_some(());
    eventually(10, "both listen", readers).await;
    gateway.run(&["replay", "--since", "1h", "--destination", "support"]).await.done();
    receiver.hears(2).await;
    let line = listen.line().await;
    assert!(line.ends_with("replay"), "{line}");
    assert_eq!(program.hears(1).await[0].body, text(1));
    let frame: Value = serde_json::from_str(&tail.line().await).unwrap();
    assert_eq!((frame["type"].as_str(), frame["replay"].as_bool()), (Some("message:new"), Some(true)));
}

#[tokio::test]
async fn tail_masks_what_people_write_unless_it_is_asked_for() {
    let gateway = setup().start().await;
    accept(&gateway, &batch(&[message("111", "A")])).await;
    let tail = ["tail", "--since", "oldest", "--count", "2"];
    let masked = gateway.run(&tail).await.done().out;
    assert!(masked.contains("contact:new") && masked.contains("message:new text"), "{masked}");
    assert!(!masked.contains("Zo") && !masked.contains("for /111"), "{masked}");
    let shown = gateway.run(&[&tail[..], &["--content"]].concat()).await.done().out;
    assert!(shown.contains("Zoë") && shown.contains("for /111"), "{shown}");
    let frames =
        gateway.run(&["tail", "--since", "oldest", "--count", "1", "--type", "message:*", "--json"]).await;
    assert_eq!(frames.done().json()[0]["type"], "message:new");
    // With a token, at an address.
    let token = gateway.token(&["--metadata-only"]).await;
    let api = format!("http://{}", gateway.admin());
    let arguments = [&["--api", &api, "--token", &token], &tail[..]].concat();
    let with_token = waypost(gateway.setup.home.path(), &arguments).await.done().out;
    assert_eq!(with_token, masked);
    let refused = waypost(gateway.setup.home.path(), &["--api", &api, "--token", "x", "tail"]).await;
    assert_eq!((refused.code, refused.err.contains("not signed with a key")), (Some(1), true), "{refused:?}");
    let nobody = waypost(gateway.setup.home.path(), &["tail"]).await;
    assert_eq!(nobody.code, Some(69), "{nobody:?}");
}

#[tokio::test]
async fn what_a_program_never_answered_waits_for_the_next_run() {
    let gateway = setup().start().await;
    let mut program = Receiver::willing().await;
    let url = program.origin();
    program.leave().await;
    let mut listen = Running::start(&gateway, &["listen", "--forward-to", &url]);
    listen.complains("listening at").await;
    accept(&gateway, &text(1)).await;
    assert!(listen.line().await.starts_with("-->"));
    assert!(listen.line().await.starts_with("<--  [no answer]"));
    listen.kill().await;
    program.come_back().await;
    let _listen = Running::start(&gateway, &["listen", "--forward-to", &url]);
    assert_eq!(program.hears(1).await[0].body, text(1));
}

#[tokio::test]
async fn tail_ends_when_nobody_reads_it_any_more() {
    let gateway = setup().start().await;
    accept(&gateway, &text(1)).await;
    let mut tail = Running::start(&gateway, &["tail", "--since", "oldest"]);
    tail.line().await;
    tail.out = BufReader::new(Box::new(tokio::io::empty()) as Box<dyn AsyncRead + Unpin + Send>).lines();
    accept(&gateway, &text(2)).await;
    let status = within(15, "its end", tail.child.wait()).await.unwrap();
    assert!(status.success(), "{status}");
}
