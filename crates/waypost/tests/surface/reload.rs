//! Reload: whole or not at all, at SIGHUP and when the file changes, without dropping a connection.

use rustix::process::Signal;

use crate::harness::*;

async fn status(gateway: &Gateway, host: &str) -> u16 {
    ask(gateway.http(), &get(&format!("/{host}/x"))).await.status
}

async fn until_status(gateway: &Gateway, host: &str, wanted: u16) {
    let what = format!("{wanted} for {host}");
    eventually(6, &what, async || (status(gateway, host).await == wanted).then_some(())).await;
}

#[tokio::test]
async fn at_sighup_the_file_is_taken_over_and_connections_stay_open() {
    let receiver = Receiver::willing().await;
    let relay = "mode = \"relay\"";
    let setup = Setup::new().upstream(HOST, &receiver.origin(), relay);
    let gateway = setup.start().await;
    let mut kept = Wire::plain(gateway.http()).await;
    kept.say(&get(&format!("/{HOST}/kept"))).await;
    assert_eq!(kept.answer().await.status, 200);
    assert_eq!(status(&gateway, "added.example").await, 403);
    // A call that is under way while the upstream it goes to is taken off the list.
    receiver.behave(|_| Reply::Status(200).after(std::time::Duration::from_millis(1_000)));
    let mut under_way = Wire::plain(gateway.http()).await;
    under_way.say(&get(&format!("/{HOST}/under-way"))).await;

    let changed = setup.clone().without_upstreams().upstream("added.example", &receiver.origin(), relay);
    changed.write();
    gateway.signal(Signal::HUP);
    gateway.logs("in force").await;
    kept.say(&get(&format!("/{HOST}/kept"))).await;
    assert_eq!(kept.answer().await.status, 403, "the same connection, the new list");
    assert_eq!(under_way.answer().await.status, 200);
    receiver.behave(|_| Reply::Status(200));
    assert_eq!(status(&gateway, "added.example").await, 200);
    let connections = receiver.heard().iter().map(|heard| heard.connection).max();
    setup.clone().upstream("added.example", &receiver.origin(), relay).write();
    gateway.signal(Signal::HUP);
    until_status(&gateway, HOST, 200).await;
    assert_eq!(status(&gateway, "added.example").await, 200);
    assert!(
        receiver.heard().last().unwrap().connection <= connections.unwrap(),
        "what did not change keeps its connections"
    );
}

#[tokio::test]
async fn a_changed_file_is_taken_over_by_itself() {
    let receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "mode = \"relay\"");
    let gateway = setup.start().await;
    setup.clone().upstream("added.example", &receiver.origin(), "mode = \"relay\"").write();
    until_status(&gateway, "added.example", 200).await;
    // A file that is replaced rather than written, as editors and configuration tools do.
    let next = setup.clone().upstream("renamed.example", &receiver.origin(), "mode = \"relay\"").toml();
    let path = setup.home.write("next.toml", next);
    std::fs::rename(path, setup.home.config()).unwrap();
    until_status(&gateway, "renamed.example", 200).await;
    assert_eq!(status(&gateway, "added.example").await, 403);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_a_mended_one_all() {
    let receiver = Receiver::willing().await;
    let relay = "mode = \"relay\"";
    let setup = Setup::new().upstream(HOST, &receiver.origin(), relay);
    let mut gateway = setup.start().await;
    let added = setup.clone().upstream("added.example", &receiver.origin(), relay);
    let broken = [
        added.clone().section("[limits]\ncolour = 1").toml(),
        format!("{}\n[[upstream]]\nhost = ", added.toml()),
        added.clone().upstream("faulty.example", &receiver.origin(), "app_secrets = [\"\"]").toml(),
        added.clone().upstream("faulty.example", &receiver.origin(), "ca_file = \"missing.pem\"").toml(),
        added.clone().upstream(HOST, &receiver.origin(), "").toml(),
        String::from("\u{0}"),
    ];
    for (number, text) in broken.iter().enumerate() {
        setup.home.write("waypost.toml", text);
        gateway.signal(Signal::HUP);
        let refusals = async || {
            let log = gateway.log();
            let times = log.matches("former one goes on").count();
            (times > number).then_some(())
        };
        eventually(6, &format!("a refusal of {text}"), refusals).await;
        assert_eq!(
            (status(&gateway, "added.example").await, status(&gateway, HOST).await),
            (403, 200),
            "{text}"
        );
    }
    std::fs::remove_file(setup.home.config()).unwrap();
    gateway.signal(Signal::HUP);
    assert_eq!(status(&gateway, HOST).await, 200);
    // What only a restart can change is not half taken over.
    let moved = added.toml().replace("admin = \"127.0.0.1:0\"", "admin = \"127.0.0.1:1\"");
    setup.home.write("waypost.toml", moved);
    gateway.signal(Signal::HUP);
    gateway.logs("restart").await;
    assert_eq!(status(&gateway, "added.example").await, 403);
    added.write();
    gateway.signal(Signal::HUP);
    until_status(&gateway, "added.example", 200).await;
    assert!(gateway.runs());
}

#[tokio::test]
async fn a_changed_secret_counts_from_the_reload_on() {
    let receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "app_secrets = [\"file:secret\"]");
    setup.home.write("secret", "the old secret\n");
    let gateway = setup.start().await;
    let call = async |secret: &str, number: u64| {
        let body = text(number);
        let line = format!("X-Hub-Signature-256: {}", signature(secret, &body));
        ask(gateway.http(), &post(CALLBACK, &[&line], &body)).await.status
    };
    assert_eq!((call("the old secret", 1).await, call("the new secret", 2).await), (200, 401));
    setup.home.write("secret", "the new secret\n");
    let taken_over = async || (call("the new secret", 2).await == 200).then_some(());
    eventually(6, "the new secret counts", taken_over).await;
    assert_eq!(call("the old secret", 3).await, 401);
}

#[tokio::test]
async fn swapped_certificate_files_are_shown_to_new_connections_and_old_ones_go_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let receiver = Receiver::willing().await;
    let setup = Setup::new().https().upstream(HOST, &receiver.origin(), "mode = \"relay\"");
    let put = |authority: &Authority| {
        let (certificate, key) = authority.pair("proxy.example.com");
        setup.home.write("certificate.pem", certificate);
        setup.home.write("private_key.pem", key);
    };
    put(&old);
    let gateway = setup.start().await;
    let mut kept = Wire::tls(gateway.https(), old.client(&["http/1.1"]), "proxy.example.com").await;
    assert!(Wire::try_tls(gateway.https(), new.client(&[]), "proxy.example.com").await.is_err());
    // A certificate without its key, for a moment: the former pair goes on.
    let (certificate, key) = new.pair("proxy.example.com");
    setup.home.write("certificate.pem", certificate);
    gateway.signal(Signal::HUP);
    gateway.logs("former one goes on").await;
    assert!(Wire::try_tls(gateway.https(), old.client(&[]), "proxy.example.com").await.is_ok());
    setup.home.write("private_key.pem", key);
    eventually(8, "the new certificate", async || {
        Wire::try_tls(gateway.https(), new.client(&[]), "proxy.example.com").await.ok()
    })
    .await;
    kept.say(&get(&format!("/{HOST}/x"))).await;
    assert_eq!(kept.answer().await.status, 200);
}

#[tokio::test]
async fn an_upstream_taken_off_the_list_keeps_what_it_is_owed() {
    let mut receiver = Receiver::willing().await;
    receiver.leave().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    let gateway = setup.start().await;
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[], &text(1))).await.status, 200);
    setup.clone().without_upstreams().write();
    gateway.signal(Signal::HUP);
    until_status(&gateway, HOST, 403).await;
    receiver.come_back().await;
    assert_eq!(gateway.until_events(&["--state", "owed"], 1).await.len(), 1);
    setup.write();
    gateway.signal(Signal::HUP);
    assert_eq!(receiver.hears(1).await[0].body, text(1));
}

#[tokio::test]
async fn a_renewed_ca_file_is_believed_from_the_reload_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let receiver = Receiver::tls(new.server("receiver.example"), |_| Reply::Status(200)).await;
    let keys = "mode = \"relay\"\nca_file = \"ca.pem\"";
    let setup = Setup::new().upstream("receiver.example", &receiver.origin(), keys);
    setup.home.write("ca.pem", old.pem());
    let gateway = setup.start().await;
    assert_eq!(status(&gateway, "receiver.example").await, 502, "signed by nobody who is believed");
    // Nothing but the content of the file changes.
    setup.home.write("ca.pem", new.pem());
    gateway.signal(Signal::HUP);
    gateway.logs("in force").await;
    assert_eq!(status(&gateway, "receiver.example").await, 200);
    setup.home.write("ca.pem", old.pem());
    gateway.signal(Signal::HUP);
    until_status(&gateway, "receiver.example", 502).await;
}
