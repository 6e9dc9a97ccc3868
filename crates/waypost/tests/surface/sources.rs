//! Sources: one address for whole apps, its handshake, and what proves its callers.

use crate::harness::*;

const HANDSHAKE: &str = "hub.mode=subscribe&hub.challenge=%3Cb%3E0042+%2B&hub.verify_token=";

async fn acme(secrets: &[&str]) -> (Receiver, Gateway) {
    let receiver = Receiver::willing().await;
    let sections = [
        source(secrets),
        destination("support", &format!("{}/hook", receiver.origin()), ""),
        route("\"all\"", "support"),
    ];
    let gateway = Setup::new().section(&sections.concat()).start().await;
    (receiver, gateway)
}

#[tokio::test]
async fn the_handshake_is_answered_here_for_every_verify_token_and_nobody_else() {
    let (receiver, gateway) = acme(&[SECRET]).await;
    for token in ["first%20v", "first+v", "second"] {
        let answer = ask(gateway.http(), &get(&format!("{W}?x=1&{HANDSHAKE}{token}"))).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "<b>0042++"), "{token}");
        assert!(answer.header("content-type").unwrap().starts_with("text/plain"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    for (target, status) in [
        (format!("{W}?{HANDSHAKE}wrong"), 403),
        (format!("{W}?{HANDSHAKE}"), 403),
        (format!("{W}?{HANDSHAKE}second%00"), 403),
        (format!("{W}?{}second", HANDSHAKE.replace("subscribe", "unsubscribe")), 403),
        (W.to_owned(), 400),
        (format!("{W}?hub.mode=subscribe&hub.verify_token=second"), 400),
        (format!("{W}?{HANDSHAKE}second&hub.challenge=2"), 400),
        (format!("/w/{}?{HANDSHAKE}second", TOKEN.replace('0', "1")), 404),
        (format!("{W}/?{HANDSHAKE}second"), 404),
    ] {
        let answer = ask(gateway.http(), &get(&target)).await;
        assert_eq!(answer.status, status, "{target}");
        assert!(!answer.text().contains("0042"), "{target}");
    }
    assert!(receiver.heard().is_empty(), "nothing of it reaches a receiver");
}

#[tokio::test]
async fn only_what_a_secret_signed_is_taken_and_which_one_is_on_record() {
    let (receiver, gateway) = acme(&["the newer secret", SECRET]).await;
    for (secret, label, wamid) in
        [(SECRET, "app_secrets[1]", "A"), ("the newer secret", "app_secrets[0]", "B")]
    {
        let body = batch(&[message("100", wamid)]);
        let answer = ask(gateway.http(), &signed_with(secret, W, &body)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        let shown = gateway.run(&["events", "show", &format!("wamid.{wamid}"), "--json"]).await.done().json();
        let proved_by = shown[0]["request"]["proved_by"].as_str().unwrap();
        assert!(proved_by.ends_with(label), "{proved_by}");
    }
    receiver.hears(2).await;
    let body = batch(&[message("100", "C")]);
    let good = signature(SECRET, &body);
    let line = |value: &str| format!("X-Hub-Signature-256: {value}");
    let mut other = body.clone();
    *other.last_mut().unwrap() = b' ';
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("no signature", post(W, &[], &body)),
        ("another secret", signed_with("another", W, &body)),
        ("another body", post(W, &[&line(&good)], &other)),
        ("an empty signature", post(W, &[&line("")], &body)),
        ("two signatures", post(W, &[&line(&good), &line(&good)], &body)),
        ("a list of signatures", post(W, &[&line(&format!("{good}, {good}"))], &body)),
        ("without its prefix", post(W, &[&line(&good["sha256=".len()..])], &body)),
        ("cut short", post(W, &[&line(&good[..good.len() - 2])], &body)),
        ("only the legacy one", post(W, &[&good.replace("sha256=", "X-Hub-Signature: sha1=")], &body)),
        ("under another name", post(W, &[&format!("X-Hub-Signature_256: {good}")], &body)),
        ("in ours", post(W, &[&format!("Waypost-Original-Signature-256: {good}")], &body)),
    ];
    for (what, request) in cases {
        assert_eq!(ask(gateway.http(), &request).await.status, 401, "{what}");
    }
    gateway.until_events(&[], 2).await;
}

#[tokio::test]
async fn nothing_lives_beside_a_sources_address() {
    let (receiver, gateway) = acme(&[SECRET]).await;
    let body = batch(&[message("100", "A")]);
    for (target, status) in [
        ("/w".to_owned(), 404),
        ("/w/".to_owned(), 404),
        ("/w/x".to_owned(), 404),
        (format!("{W}/"), 404),
        (format!("{W}/webhooks"), 404),
        (format!("{W}/../{TOKEN}"), 404),
        (format!("{W}%2F"), 404),
        (format!("{W}%00"), 404),
        (format!("{W};a"), 404),
        (format!("/{W}"), 404),
        (format!("/w//{TOKEN}"), 404),
        (format!("/W/{TOKEN}"), 403),
        (format!("/%77/{TOKEN}"), 403),
        (format!("/w/{}", TOKEN.to_ascii_uppercase()), 404),
        (format!("/w/{}", &TOKEN[..TOKEN.len() - 1]), 404),
        (format!("/w/{}", TOKEN.replacen('q', "%71", 1)), 404),
    ] {
        let answer = ask(gateway.http(), &signed(&target, &body)).await;
        assert_eq!(answer.status, status, "{target}");
    }
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH"] {
        let request = format!("{method} {W} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        let answer = ask(gateway.http(), request.as_bytes()).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    let large = vec![b' '; 4 * 1024 * 1024 + 1];
    assert_eq!(ask(gateway.http(), &signed(W, &large)).await.status, 413);
    assert!(receiver.heard().is_empty());
    assert_eq!(ask(gateway.http(), &signed(&format!("{W}?with=query"), &body)).await.status, 200);
    receiver.hears(1).await;
    let events = gateway.run(&["events", "show", "wamid.A", "--json"]).await.done();
    assert!(events.out.contains("/w/acme?with=query"), "{}", events.out);
    let log = gateway.log();
    for shown in [log.as_str(), events.out.as_str(), &gateway.said.join("\n")] {
        assert!(!shown.contains(TOKEN), "the token is as good as a key, and it is shown: {shown}");
    }
}

#[tokio::test]
async fn a_flood_of_unsigned_calls_is_counted_and_does_not_flood_the_log() {
    let (_receiver, gateway) = acme(&[SECRET]).await;
    let mut wire = Wire::plain(gateway.http()).await;
    for _ in 0..200 {
        wire.say(&post(W, &[], b"{}")).await;
        assert_eq!(wire.answer().await.status, 401);
    }
    let counted =
        gateway.metric("waypost_signatures_refused_total{source=\"acme\",reason=\"missing\"}").await;
    assert_eq!(counted, 200.0);
    let told = gateway.log().matches("signature refused").count();
    assert!((1..=3).contains(&told), "{told} lines");
}

#[tokio::test]
async fn a_source_is_made_live_shown_once_rotated_and_kept_over_a_restart() {
    let receiver = Receiver::willing().await;
    let setup = Setup::new().variable("ACME_SECRET", SECRET);
    let mut gateway = setup.start().await;
    let made =
        gateway.run(&["source", "add", "acme", "--app-secret", "env:ACME_SECRET", "--json"]).await.done();
    let made = &made.json()[0];
    let url = made["callback_url"].as_str().unwrap().to_owned();
    let verify = made["verify_token"].as_str().unwrap().to_owned();
    let base = format!("http://{}", gateway.http());
    let path = url.strip_prefix(&base).unwrap_or_else(|| panic!("{url} begins with {base}")).to_owned();
    assert!(path.len() >= "/w/".len() + 22 && verify.len() >= 22);
    assert!(made["warnings"][0].as_str().unwrap().contains("quarantined"), "{made}");
    let handshake = format!("{path}?hub.mode=subscribe&hub.challenge=7&hub.verify_token={verify}");
    assert_eq!(ask(gateway.http(), &get(&handshake)).await.text(), "7");
    let again = gateway.run(&["source", "add", "acme", "--app-secret", "x"]).await;
    assert_eq!(again.code, Some(1));
    assert!(again.err.contains("there is a source `acme` already"), "{}", again.err);
    let listed = gateway.run(&["source", "list", "--json"]).await.done();
    assert!(!listed.out.contains(&path[3..]) && !listed.out.contains(&verify), "{}", listed.out);

    let hook = format!("{}/hook", receiver.origin());
    gateway.run(&["destination", "add", "support", &hook, "--allow-private"]).await.done();
    gateway.run(&["route", "add", "acme", "support", "--all"]).await.done();
    let send = async |gateway: &Gateway, path: &str, secret: &str, wamid: &str| {
        let body = batch(&[message("100", wamid)]);
        ask(gateway.http(), &signed_with(secret, path, &body)).await.status
    };
    assert_eq!(send(&gateway, &path, SECRET, "A").await, 200);
    receiver.hears(1).await;

    // Both hold while it rotates; then only the new one does.
    gateway.setup.home.write("next", "the next secret\n");
    let next = format!("file:{}", gateway.setup.home.path().join("next").display());
    gateway.run(&["source", "rotate", "acme", "--app-secret", &next]).await.done();
    assert_eq!(send(&gateway, &path, SECRET, "B").await, 200);
    assert_eq!(send(&gateway, &path, "the next secret", "C").await, 200);
    let rotated =
        gateway.run(&["source", "rotate", "acme", "--new-address", "--verify-token", "--json"]).await.done();
    let new_path =
        rotated.json()[0]["callback_url"].as_str().unwrap().strip_prefix(&base).unwrap().to_owned();
    assert_ne!(new_path, path);
    assert_eq!(send(&gateway, &path, SECRET, "D").await, 200);
    assert_eq!(send(&gateway, &new_path, SECRET, "E").await, 200);
    gateway.run(&["source", "rotate", "acme", "--finish"]).await.done();
    assert_eq!(send(&gateway, &path, "the next secret", "F").await, 404);
    assert_eq!(send(&gateway, &new_path, SECRET, "F").await, 401);
    assert_eq!(send(&gateway, &new_path, "the next secret", "F").await, 200);
    receiver.hears(6).await;

    // The file that a run-time entry names is followed, too.
    gateway.setup.home.write("next", "the third secret\n");
    eventually(10, "the third secret holds", async || {
        (send(&gateway, &new_path, "the third secret", "G").await == 200).then_some(())
    })
    .await;

    gateway.stop().await;
    let gateway = gateway.setup.start().await;
    assert_eq!(send(&gateway, &new_path, "the third secret", "H").await, 200);
    receiver.hears(8).await;
    let refused = gateway.run(&["source", "remove", "acme"]).await;
    assert!(refused.err.contains("named by the routes acme-support"), "{}", refused.err);
    gateway.run(&["source", "remove", "acme", "--with-routes"]).await.done();
    assert_eq!(send(&gateway, &new_path, "the third secret", "I").await, 404);
    assert!(gateway.run(&["route", "list", "--json"]).await.done().out.is_empty());
}

#[tokio::test]
async fn a_source_without_proof_is_refused() {
    let gateway = Setup::new().start().await;
    for (arguments, what) in [
        (&["source", "add", "acme"][..], "--app-secret"),
        (&["source", "add", "acme", "--app-secret", ""], "the secret is empty"),
        (&["source", "add", "acme", "--app-secret", "env:NOT_THERE"], "NOT_THERE"),
        (
            &["source", "add", "acme", "--app-secret", "s", "--address-token", "short"],
            "the token has 5 characters",
        ),
        (&["source", "add", "a/b", "--app-secret", "s"], "is not a name"),
    ] {
        let refused = gateway.run(arguments).await;
        assert_ne!(refused.code, Some(0), "{arguments:?}");
        assert!(refused.err.contains(what), "{arguments:?}: {}", refused.err);
    }
    assert!(gateway.run(&["source", "list", "--json"]).await.done().out.is_empty());
}
