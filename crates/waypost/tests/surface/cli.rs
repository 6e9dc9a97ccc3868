//! The command line: what each command prints, in words and in JSON, and how it ends.

use std::collections::HashSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use waypost_whatsapp::{Compose, KINDS, compose};

use crate::harness::*;

#[tokio::test]
async fn every_command_explains_itself_with_an_example() {
    let home = Home::new();
    let commands: &[&[&str]] = &[
        &["serve"],
        &["demo"],
        &["check"],
        &["upstream", "add"],
        &["upstream", "remove"],
        &["upstream", "list"],
        &["events", "list"],
        &["events", "show"],
        &["trigger"],
        &["completions"],
    ];
    for command in commands {
        let ended = waypost(home.path(), &[command, &["--help"][..]].concat()).await.done();
        assert!(
            ended.out.contains("Example") && ended.out.contains("waypost "),
            "{command:?}: {}",
            ended.out
        );
    }
    let listed = waypost(home.path(), &["--help"]).await.done();
    for command in ["serve", "demo", "check", "upstream", "events", "trigger", "completions"] {
        assert!(listed.out.contains(command), "{command} is not in {}", listed.out);
    }
    assert!(waypost(home.path(), &["--version"]).await.done().out.starts_with("waypost "));
}

#[tokio::test]
async fn wrong_usage_is_2_and_an_unreachable_server_69() {
    let home = Home::new();
    let wrong: &[&[&str]] = &[
        &[],
        &["serv"],
        &["serve", "--colour"],
        &["events"],
        &["events", "show"],
        &["upstream", "add"],
        &["upstream", "add", "a.example", "--mode", "strore"],
        &["completions"],
        &["completions", "cmd"],
        &["trigger"],
        &["demo", "--for", "soon"],
        &["demo", "--rate", "0"],
        &["events", "list", "--limit", "many"],
    ];
    for arguments in wrong {
        let ended = waypost(home.path(), arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.out.is_empty() && !ended.err.is_empty(), "{ended:?}");
    }
    let away: &[&[&str]] = &[
        &["upstream", "list"],
        &["upstream", "list", "--data", "nowhere"],
        &["upstream", "add", "a.example"],
        &["upstream", "remove", "a.example"],
        &["events", "list", "--json"],
        &["events", "show", "evt_1"],
        &["events", "list", "--api", "http://127.0.0.1:1", "--token", "t"],
    ];
    for arguments in away {
        let ended = waypost(home.path(), arguments).await;
        assert_eq!(ended.code, Some(69), "{arguments:?}: {ended:?}");
        assert!(ended.out.is_empty() && ended.err.lines().count() == 1, "{ended:?}");
    }
}

#[tokio::test]
async fn check_names_every_fault_with_file_line_key_and_remedy_and_touches_nothing() {
    let home = Home::new();
    let text = [
        "[server]",
        "http = \"localhost:8080\"",
        "adnim = \"127.0.0.1:9090\"",
        "[limits]",
        "body_bytes_max = \"4 elephants\"",
        "[[upstream]]",
        "host = \"https://chatwoot.example.com/\"",
        "mode = \"strore\"",
        "timeout = 15",
        "app_secrets = [\"hunter2hunter2\", \"\"]",
        "[[upstream]]",
        "origin = \"10.0.0.7\"",
        "schedule = [\"1ms\"]",
        "[storage]",
        "url = \"postgres://user:hunter2hunter2@db/waypost\"",
    ];
    let path = home.write("faulty.toml", text.join("\n"));
    let path = path.to_str().unwrap();
    let faults = [
        (2, "server.http"),
        (3, "server.adnim"),
        (5, "limits.body_bytes_max"),
        (7, "upstream[0].host"),
        (8, "upstream[0].mode"),
        (9, "upstream[0].timeout"),
        (10, "upstream[0].app_secrets[1]"),
        (11, "upstream[1].host"),
        (12, "upstream[1].origin"),
        (13, "upstream[1].schedule"),
        (15, "storage.url"),
    ];
    let ended = waypost(home.path(), &["check", "--config", path]).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for (line, key) in faults {
        let named = ended
            .out
            .lines()
            .any(|said| said.contains(&format!("{path}:{line}:")) && said.contains(&format!(" {key}")));
        assert!(named, "{line} {key} in\n{}", ended.out);
    }
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    let ended = waypost(home.path(), &["check", "--config", path, "--json"]).await;
    assert_eq!(ended.code, Some(64));
    let found = ended.json();
    for (line, key) in faults {
        let fault = found.iter().find(|found| found["line"] == line && found["level"] == "fault");
        let fault = fault.unwrap_or_else(|| panic!("{line} {key} in {found:?}"));
        assert_eq!(fault["file"], path);
        assert!(fault["key"].as_str().unwrap().starts_with(key), "{fault}");
        for member in ["what", "remedy"] {
            assert!(!fault[member].as_str().unwrap().is_empty(), "{fault}");
        }
    }
    assert!(!home.path().join("waypost-data").exists());

    for text in ["[server\n", "a = \n", "\u{feff}[server]\nx = 1", "[[upstream]]\nhost = \"a\"\nhost = \"b\""]
    {
        let path = home.write("broken.toml", text);
        let ended = waypost(home.path(), &["check", "--config", path.to_str().unwrap()]).await;
        assert_eq!(ended.code, Some(64), "{text:?}: {ended:?}");
        assert!(ended.out.contains("broken.toml:"), "{ended:?}");
    }
    let ended = waypost(home.path(), &["check", "--config", "missing.toml"]).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    assert!(ended.out.contains("missing.toml"), "{ended:?}");
    let flags = ["check", "--allow", "a b", "--listen", "here", "--admin", ":1"];
    let ended = waypost(home.path(), &flags).await;
    assert_eq!(ended.code, Some(64), "{ended:?}");
    for flag in ["--allow", "--listen", "--admin"] {
        assert!(ended.out.contains(flag), "{ended:?}");
    }
}

#[tokio::test]
async fn check_lets_a_sound_configuration_stand() {
    let home = Home::new();
    let text = "[server]\nhttp = \"127.0.0.1:0\"\n[[upstream]]\nhost = \"chatwoot.example.com\"\napp_secrets = [\"file:secret\"]\n";
    home.write("waypost.toml", text);
    home.write("secret", "s3cret\n");
    for arguments in [
        vec!["check", "--config", "waypost.toml"],
        vec!["check"],
        vec!["check", "--allow", "a.example=http://127.0.0.1:3000"],
    ] {
        let ended = waypost(home.path(), &arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    }
    // What the product ships as an example stands as it is.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/waypost.example.toml");
    waypost(home.path(), &["check", "--config", example]).await.done();
    assert!(!home.path().join("waypost-data").exists());
}

#[tokio::test]
async fn flags_come_before_variables_and_variables_before_the_file() {
    let (by_file, by_variable, by_flag) =
        (Receiver::willing().await, Receiver::willing().await, Receiver::willing().await);
    let setup = Setup::new()
        .upstream("file.example", &by_file.origin(), "mode = \"relay\"")
        .upstream("both.example", &by_file.origin(), "mode = \"relay\"")
        .variable(
            "WAYPOST_ALLOW",
            &format!("variable.example={},both.example={}", by_variable.origin(), by_variable.origin()),
        )
        .variable("WAYPOST_ADMIN", "127.0.0.1:1")
        .argument("--admin=127.0.0.1:0")
        .argument(&format!("--allow=flag.example={}", by_flag.origin()))
        .argument(&format!("--allow=both.example={}", by_flag.origin()));
    let gateway = setup.start().await;
    for host in ["file.example", "variable.example", "flag.example", "both.example"] {
        assert_eq!(ask(gateway.http(), &get(&format!("/{host}/x"))).await.status, 200, "{host}");
    }
    let lengths = [&by_file, &by_variable, &by_flag].map(|receiver| receiver.heard().len());
    assert_eq!(lengths, [1, 1, 2]);
    for (host, callback) in
        [("flag.example", "/flag.example/webhooks/whatsapp/%2B"), ("file.example", "/file.example/")]
    {
        assert!(
            gateway.said.iter().any(|line| line.contains("http://") && line.contains(callback)),
            "{host}: {:?}",
            gateway.said
        );
    }
}

#[tokio::test]
async fn upstreams_are_added_listed_and_removed_live() {
    let receiver = Receiver::willing().await;
    let mut gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    let status = async |gateway: &Gateway, host: &str| {
        ask(gateway.http(), &post(&format!("/{host}/webhooks/x"), &[], &text(1))).await.status
    };
    assert_eq!(status(&gateway, "new.example").await, 403);
    let add = [
        "upstream",
        "add",
        "New.example",
        "--origin",
        &receiver.origin(),
        "--mode",
        "store",
        "--path",
        "/webhooks/",
        "--app-secret",
        SECRET,
        "--verify-token",
        "vibecoding",
        "--json",
    ];
    let added = gateway.run(&add).await.done();
    assert_eq!(
        (&added.json()[0]["host"], &added.json()[0]["provision"]),
        (&"new.example".into(), &"store".into())
    );
    assert_eq!(status(&gateway, "new.example").await, 401, "its secret counts");
    assert_eq!(ask(gateway.http(), &signed("/new.example/webhooks/x", &text(1))).await.status, 200);
    assert_eq!(ask(gateway.http(), &signed("/new.example/other", &text(2))).await.status, 403);
    let handshake = "/new.example/webhooks/x?hub.mode=subscribe&hub.challenge=7&hub.verify_token=vibecoding";
    assert_eq!(ask(gateway.http(), &get(handshake)).await.text(), "7");
    receiver.hears(1).await;

    gateway.stop().await;
    let gateway = gateway.setup.start().await;
    assert_eq!(ask(gateway.http(), &get(handshake)).await.text(), "7", "it is kept over a restart");
    let listed = gateway.run(&["upstream", "list", "--json"]).await.done();
    let hosts: Vec<_> =
        listed.json().iter().map(|one| (one["host"].clone(), one["provision"].clone())).collect();
    assert_eq!(
        hosts,
        [(HOST.into(), "configuration".into()), ("new.example".into(), "store".into())]
            as [(Value, Value); 2]
    );
    assert!(!listed.out.contains(SECRET) && !listed.out.contains("vibecoding"), "{listed:?}");
    let words = gateway.run(&["upstream", "list"]).await.done();
    assert!(words.out.contains(HOST) && words.out.contains("new.example"), "{words:?}");

    let refused: &[&[&str]] = &[
        &["upstream", "add", "new.example"],
        &["upstream", "add", HOST],
        &["upstream", "add", "https://a.example"],
        &["upstream", "add", "a.example/x"],
        &["upstream", "add", "w"],
        &["upstream", "add", ".well-known"],
        &["upstream", "add", "a.example", "--origin", "10.0.0.7"],
        &["upstream", "add", "a.example", "--path", "webhooks"],
        &["upstream", "add", "a.example", "--app-secret", ""],
        &["upstream", "add", "a.example", "--app-secret", "env:NOT_SET_ANYWHERE"],
        &["upstream", "add", "a.example", "--ca-file", "/missing.pem"],
        &["upstream", "remove", HOST],
        &["upstream", "remove", "never.example"],
    ];
    for arguments in refused {
        let ended = gateway.run(arguments).await;
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert!(ended.out.is_empty() && ended.err.starts_with("waypost: "), "{ended:?}");
    }
    assert_eq!(gateway.run(&["upstream", "list", "--json"]).await.done().json().len(), 2);

    gateway.run(&["upstream", "remove", "NEW.example"]).await.done();
    assert_eq!(ask(gateway.http(), &signed("/new.example/webhooks/x", &text(3))).await.status, 403);
    assert_eq!(status(&gateway, HOST).await, 200, "the others go on");
    assert_eq!(ask(gateway.admin(), &get("/readyz")).await.status, 200);
    receiver.hears(2).await;
}

#[tokio::test]
async fn an_upstream_named_by_an_ipv6_address_can_be_removed() {
    let gateway = Setup::new().start().await;
    gateway.run(&["upstream", "add", "[2001:db8::1]:8443"]).await.done();
    gateway.run(&["upstream", "remove", "[2001:db8::1]:8443"]).await.done();
    assert!(gateway.run(&["upstream", "list", "--json"]).await.done().json().is_empty());
}

#[tokio::test]
async fn an_event_is_found_by_every_filter_and_shown_whole() {
    let receiver =
        Receiver::start(|heard| Reply::Status(if heard.request_line().contains("fail") { 503 } else { 200 }))
            .await;
    let gateway = Setup::new()
        .upstream(HOST, &receiver.origin(), "")
        .upstream("fail.example", &receiver.origin(), "schedule = [\"1h\"]")
        .start()
        .await;
    let (first, second) = (text_to(1, "4915110000001"), text_to(2, "4915110000002"));
    let status = compose("status.read", &Compose { sequence: 3, ..Compose::default() }).unwrap();
    let callback = "/fail.example/fail";
    for (target, body) in [(CALLBACK, &first), (callback, &second), (CALLBACK, &status.into_bytes())] {
        assert_eq!(ask(gateway.http(), &post(target, &[], body)).await.status, 200);
    }
    receiver.hears(3).await;
    gateway.until_events(&["--state", "delivered"], 2).await;
    let wamid = wamids(&second)[0].clone();
    eventually(5, "the failure is written down", async || {
        Some(()).filter(|()| true).and(if gateway.events(&["--code", "receiver_failed"]).await.len() == 1 {
            Some(())
        } else {
            None
        })
    })
    .await;
    let all = gateway.events(&[]).await;
    assert_eq!(all.len(), 3);
    let event = all.iter().find(|event| event["wamid"] == wamid.as_str()).unwrap();
    for member in [
        "id",
        "request_id",
        "source",
        "kind",
        "field",
        "type",
        "class",
        "phone_number_id",
        "display_phone_number",
        "waba_id",
        "conversation",
        "wamid",
        "key",
        "occurred_at",
        "received_at",
    ] {
        assert!(event[member].is_string(), "{member} of {event}");
    }
    assert_eq!(
        (&event["kind"], &event["field"], &event["type"]),
        (&"message".into(), &"messages".into(), &"text".into())
    );
    assert_eq!((&event["source"], &event["duplicate"]), (&"fail.example".into(), &false.into()));
    assert_eq!(event["key"], format!("msg:301944726605112:{wamid}"));
    let delivery = &event["deliveries"][0];
    assert_eq!(
        (&delivery["destination"], &delivery["state"], &delivery["attempts"]),
        (&"fail.example".into(), &"owed".into(), &1.into())
    );
    assert!(delivery["id"].is_string() && delivery["due_at"].is_string(), "{delivery}");

    let conversation = event["conversation"].as_str().unwrap();
    for filter in [
        ["--wamid", &wamid],
        ["--destination", "fail.example"],
        ["--source", "fail.example"],
        ["--state", "owed"],
        ["--conversation", conversation],
        ["--code", "503"],
        ["--code", "receiver_failed"],
    ] {
        let found = gateway.events(&filter).await;
        assert_eq!((found.len(), &found[0]["id"]), (1, &event["id"]), "{filter:?}");
    }
    for (filter, number) in [
        (vec!["--kind", "status"], 1),
        (vec!["--kind", "message"], 2),
        (vec!["--number", "301944726605112"], 3),
        (vec!["--number", "15550147720"], 3),
        (vec!["--number", "1"], 0),
        (vec!["--since", "1h"], 3),
        (vec!["--until", "1h"], 0),
        (vec!["--since", "2020-01-01T00:00:00Z", "--until", "2021-01-01T00:00:00Z"], 0),
        (vec!["--source", HOST, "--state", "delivered", "--kind", "message"], 1),
        (vec!["--state", "dead"], 0),
        (vec!["--state", "discarded"], 0),
        (vec!["--wamid", "'; drop table events; --"], 0),
    ] {
        assert_eq!(gateway.events(&filter).await.len(), number, "{filter:?}");
    }
    for filter in [["--state", "lost"], ["--since", "yesterday"], ["--after", "not-an-id"]] {
        let ended = gateway.run(&[&["events", "list"], &filter[..]].concat()).await;
        assert_eq!(ended.code, Some(2), "{filter:?}: {ended:?}");
    }
    // Page by page, the newest first, none twice.
    let ids: Vec<&str> = all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    let page = gateway.run(&["events", "list", "--json", "--limit", "2"]).await.done().json();
    assert_eq!(page.iter().map(|event| &event["id"]).collect::<Vec<_>>(), ids[..2]);
    let rest = gateway.run(&["events", "list", "--json", "--after", ids[1]]).await.done().json();
    assert_eq!(rest.iter().map(|event| &event["id"]).collect::<Vec<_>>(), ids[2..]);

    for id in [event["id"].as_str().unwrap(), &wamid] {
        let shown = gateway.run(&["events", "show", id, "--json"]).await.done().json();
        assert_eq!((shown.len(), &shown[0]["id"]), (1, &event["id"]));
        let attempt = &shown[0]["deliveries"][0]["log"][0];
        assert_eq!((&attempt["status"], &attempt["code"]), (&503.into(), &"receiver_failed".into()));
        assert_eq!(shown[0]["request"]["target"], "/fail");
        assert_eq!(shown[0]["request"]["body_bytes"], second.len());
        let words = gateway.run(&["events", "show", id]).await.done();
        assert!(words.out.contains(&wamid) && words.out.contains("503"), "{words:?}");
    }
    for id in ["evt_0000000000000", "wamid.unknown", "../../etc/passwd", ""] {
        let ended = gateway.run(&["events", "show", id]).await;
        assert_eq!(ended.code, Some(1), "{id}: {ended:?}");
    }
    let words = gateway.run(&["events", "list"]).await.done();
    assert_eq!(words.out.lines().count(), 3, "{words:?}");
}

#[tokio::test]
async fn through_the_admin_address_commands_need_the_token() {
    let gateway = Setup::new().upstream(HOST, "http://127.0.0.1:9", "").start().await;
    let home = gateway.setup.home.path();
    let api = format!("http://{}", gateway.admin());
    let token = std::fs::read_to_string(gateway.data().join("admin-token")).unwrap();
    let list = ["upstream", "list", "--json", "--api", &api];
    assert_eq!(waypost(home, &[&list[..], &["--token", token.trim()]].concat()).await.done().json().len(), 1);
    for arguments in [&[][..], &["--token", ""], &["--token", "wrong"], &["--token", &token.trim()[1..]]] {
        let ended = waypost(home, &[&list[..], arguments].concat()).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.err.contains("admin-token"), "{ended:?}");
    }
}

#[tokio::test]
async fn the_api_tells_what_is_wrong_and_what_is_doubtful_by_one_rule() {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    let token = std::fs::read_to_string(gateway.data().join("admin-token")).unwrap();
    let call = async |method: &str, path: &str, body: &str| {
        let head =
            format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}", token.trim());
        let request = format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let answer = ask(gateway.admin(), request.as_bytes()).await;
        let document: Value =
            serde_json::from_str(&answer.text()).unwrap_or_else(|_| panic!("{}", answer.text()));
        (answer.status, document)
    };
    for method in ["GET", "DELETE"] {
        let (status, problem) = call(method, "upstreams/nope", "").await;
        assert_eq!((status, &problem["code"]), (404, &"upstream_unknown".into()), "{method}");
    }
    for (method, path) in
        [("PUT", "upstreams"), ("POST", "upstreams/nope"), ("DELETE", "events"), ("PATCH", "events/1")]
    {
        let (status, problem) = call(method, path, "").await;
        assert_eq!((status, &problem["code"]), (405, &"method_not_allowed".into()), "{method} {path}");
    }
    // What is refused only once the whole list is put together leaves nothing behind.
    assert_eq!(call("POST", "upstreams", "host = \".well-known\"").await.0, 422);
    let (_, destinations) = call("GET", "destinations", "").await;
    let names: Vec<_> = destinations["items"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [HOST]);
    let (status, added) = call("POST", "upstreams", "host = \"10.0.0.7\"").await;
    let warnings = added["warnings"].as_array().unwrap();
    assert_eq!((status, warnings.len()), (201, 2), "{added}");
    assert!(warnings[1].as_str().unwrap().contains("is not a public address"), "{added}");
    let settings = "host = \"b.example\"\nmode = \"relay\"\nfallback = \"store\"\napp_secrets = [\"s\"]";
    let (_, added) = call("POST", "upstreams", settings).await;
    assert_eq!((&added["warnings"], &added["fallback"]), (&serde_json::json!([]), &"store".into()));
}

#[tokio::test]
async fn every_kind_that_can_be_triggered_is_taken_and_known() {
    let receiver = Receiver::willing().await;
    let keys = format!("app_secrets = [\"{SECRET}\"]");
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), &keys).start().await;
    let home = gateway.setup.home.path();
    let listed = waypost(home, &["trigger", "--list", "--json"]).await.done().json();
    let kinds: HashSet<&str> = listed.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    for kind in [
        "text",
        "image",
        "status.read",
        "template.approved",
        "bsuid",
        "batch",
        "duplicate",
        "out-of-order",
        "bad-signature",
    ] {
        assert!(kinds.contains(kind), "{kind} is not in {kinds:?}");
    }
    assert!(KINDS.iter().all(|(kind, _)| kinds.contains(kind)));

    let to = format!("http://{}{CALLBACK}", gateway.http());
    let send = async |kind: &str, more: &[&str]| {
        waypost(home, &[&["trigger", kind, "--to", &to, "--secret", SECRET, "--json"], more].concat()).await
    };
    let sent = send("mixed", &[]).await.done().json();
    assert_eq!(sent.len(), KINDS.len());
    assert!(sent.iter().all(|one| one["status"] == 200), "{sent:?}");
    let events = gateway.events(&[]).await;
    let seen: HashSet<&str> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    for kind in [
        "message",
        "status",
        "echo",
        "call",
        "call_status",
        "group",
        "handover",
        "history",
        "contact_sync",
        "preference",
        "identity",
        "automatic",
        "tracking",
        "error",
        "account",
    ] {
        assert!(seen.contains(kind), "{kind} is not among {seen:?}");
    }
    let conversational = ["message", "status", "echo"];
    for event in events.iter().filter(|event| conversational.contains(&event["kind"].as_str().unwrap())) {
        assert!(event["conversation"].is_string() && event["phone_number_id"].is_string(), "{event}");
    }

    let before = gateway.events(&[]).await.len();
    let twice = send("duplicate", &[]).await.done().json();
    assert_eq!(twice.len(), 2);
    let events = gateway.events(&[]).await;
    let new = &events[..events.len() - before];
    assert_eq!((new.len(), &new[0]["duplicate"], &new[1]["duplicate"]), (2, &true.into(), &false.into()));

    let bad = send("bad-signature", &[]).await;
    assert_eq!((bad.code, &bad.json()[0]["status"]), (Some(1), &401.into()));
    let unsigned = waypost(home, &["trigger", "text", "--to", &to]).await;
    assert_eq!(unsigned.code, Some(1), "{unsigned:?}");
    let by_variable =
        gateway.run(&["trigger", "text", "--to", &to, "--secret", "env:NOT_SET_ANYWHERE"]).await;
    assert_eq!(by_variable.code, Some(1), "{by_variable:?}");

    let started = tokio::time::Instant::now();
    let at_a_rate =
        send("text", &["--count", "6", "--rate", "10", "--contact", "4917000000000", "--text", "Grüße"])
            .await
            .done()
            .json();
    assert_eq!(at_a_rate.len(), 6);
    assert!((450..3_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    send("batch", &["--batch-size", "37"]).await.done();
    let newest = gateway.events(&["--kind", "message"]).await;
    let of_one_request = newest.iter().filter(|event| event["request_id"] == newest[0]["request_id"]);
    assert_eq!(of_one_request.count(), 37);

    let printed = waypost(home, &["trigger", "text", "--print", "--text", "Grüße"]).await.done();
    assert!(printed.json()[0]["entry"].is_array());
    for arguments in [
        ["trigger", "nonsense", "--to", &to],
        ["trigger", "text", "--to", "not an address"],
        ["trigger", "text", "--to", "/relative"],
    ] {
        assert_eq!(waypost(home, &arguments).await.code, Some(2), "{arguments:?}");
    }
    assert_eq!(waypost(home, &["trigger", "text", "--to", "http://127.0.0.1:1/x"]).await.code, Some(1));
}

#[tokio::test]
async fn a_mixed_row_is_an_event_of_every_kind_and_none_repeats_another() {
    let receiver = Receiver::willing().await;
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), "").start().await;
    let to = format!("http://{}{CALLBACK}", gateway.http());
    gateway.run(&["trigger", "mixed", "--to", &to]).await.done();
    let events = gateway.events(&[]).await;
    let repeats = events.iter().filter(|event| event["duplicate"] == true);
    let repeats: Vec<_> = repeats.map(|event| (&event["kind"], &event["type"])).collect();
    assert!(repeats.is_empty(), "{} of {}: {repeats:?}", repeats.len(), events.len());
    assert_eq!(receiver.hears(KINDS.len()).await.len(), KINDS.len());
}

#[tokio::test]
async fn what_is_under_way_is_sending_and_what_waits_is_not() {
    let receiver = Receiver::start(|heard| match heard.wamids() == wamids(&text(1)) {
        true => Reply::Status(200).after(Duration::from_secs(2)),
        false => Reply::Status(503),
    })
    .await;
    let keys = "schedule = [\"1h\"]";
    let gateway = Setup::new().upstream(HOST, &receiver.origin(), keys).start().await;
    let (under_way, waiting) = (text(1), text_to(2, "4915110000002"));
    for body in [&under_way, &waiting] {
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], body)).await.status, 200);
    }
    gateway.until_events(&["--code", "503"], 1).await;
    let sending = gateway.events(&["--state", "sending"]).await;
    let shown: Vec<_> =
        sending.iter().map(|event| (&event["wamid"], &event["deliveries"][0]["state"])).collect();
    assert_eq!(shown, [(&wamids(&under_way)[0].as_str().into(), &"sending".into())]);
    gateway.until_events(&["--state", "delivered"], 1).await;
    assert!(gateway.events(&["--state", "sending"]).await.is_empty());
}

#[tokio::test]
async fn completions_are_made_for_every_shell() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = waypost(home.path(), &["completions", shell]).await.done();
        assert!(ended.out.contains("upstream") && ended.out.contains("config"), "{shell}: {ended:?}");
        if shell == "bash" {
            let script = home.write("waypost.bash", &ended.out);
            let read = std::process::Command::new("bash").arg("-n").arg(script).output().unwrap();
            assert!(read.status.success(), "{read:?}");
        }
    }
}

fn left_behind(home: &Home) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn the_demo_shows_an_outage_loses_nothing_and_leaves_nothing() {
    let home = Home::new();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_waypost"));
    command
        .args(["demo", "--for", "8s"])
        .env("TMPDIR", home.path())
        .current_dir(home.path())
        .kill_on_drop(true);
    let output = within(30, "the demo ends", command.output()).await.unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{out} {}", String::from_utf8_lossy(&output.stderr));
    for word in ["sent", "acknowledged", "delivered", "owed", "uplicate"] {
        assert!(out.contains(word), "{word} is not in {out}");
    }
    assert!(!out.contains('\u{1b}'), "control characters where nobody watches: {out:?}");
    assert!(left_behind(&home).is_empty(), "{:?}", left_behind(&home));
}

#[tokio::test]
async fn the_demo_ends_at_ctrl_c_with_its_proof() {
    let home = Home::new();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.arg("demo").env("TMPDIR", home.path()).current_dir(home.path()).kill_on_drop(true);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let process = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    kill_process(process, Signal::INT).unwrap();
    let output = within(25, "the demo ends", child.wait_with_output()).await.unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{out} {}", String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("nothing acknowledged was lost"), "{out}");
    assert!(left_behind(&home).is_empty(), "{:?}", left_behind(&home));
}
