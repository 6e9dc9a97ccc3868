//! Who calls: on whose behalf a proxy connects, and how callers are shown to be Meta's besides their signature.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::harness::*;

const META: &str = "client.webhooks.fbclientcerts.com";

/// The setup with these further keys of the server.
fn server(mut setup: Setup, keys: &str) -> Setup {
    setup.server.push_str(keys);
    setup
}

/// Says something in the name of a caller, as a proxy does.
fn on_behalf_of(caller: &str, request: &[u8]) -> Vec<u8> {
    [format!("PROXY TCP4 {caller} 192.0.2.1 40000 443\r\n").as_bytes(), request].concat()
}

#[tokio::test]
async fn a_proxy_says_on_whose_behalf_it_connects_and_must() {
    let receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "mode = \"relay\"\n");
    let gateway = server(setup, "proxy_protocol = [\"127.0.0.0/8\"]\n").start().await;
    let request = signed(CALLBACK, &text(1));
    assert_eq!(ask(gateway.http(), &on_behalf_of("203.0.113.9", &request)).await.status, 200);
    let head = receiver.heard()[0].head.to_ascii_lowercase();
    assert!(head.contains("\r\nx-forwarded-for: 203.0.113.9"), "{head}");
    let mut wire = Wire::plain(gateway.http()).await;
    wire.say(&request).await;
    // The connection may be cut before the answer is read.
    let answer = wire.try_answer().await;
    let refused = answer.as_ref().is_none_or(|it| it.header("waypost-error") == Some("head_malformed"));
    assert_eq!(gateway.metric("waypost_proxies_refused_total").await, 1.0);
    assert!(refused, "a proxy that introduces nobody is not heard: {answer:?}");
    assert_eq!(receiver.heard().len(), 1);
}

#[tokio::test]
async fn addresses_that_are_not_metas_are_refused_on_webhooks_only() {
    let receiver = Receiver::willing().await;
    let setup = Setup::new().upstream(HOST, &receiver.origin(), "");
    setup.home.write("networks", "# a geofeed\n203.0.113.0/24,US,,,\n");
    let keys = "proxy_protocol = [\"127.0.0.0/8\"]\nmeta_addresses_file = \"networks\"\n";
    let gateway = server(setup.clone(), &format!("{keys}meta_addresses = \"require\"\n")).start().await;
    let call = async |gateway: &Gateway, caller: &str, request: &[u8]| {
        let answer = ask(gateway.http(), &on_behalf_of(caller, request)).await;
        (answer.status, answer.header("waypost-error").map(str::to_owned))
    };
    let request = signed(CALLBACK, &text(1));
    assert_eq!(call(&gateway, "203.0.113.9", &request).await, (200, None));
    let refused = (403, Some("address_not_allowed".to_owned()));
    assert_eq!(call(&gateway, "198.51.100.9", &request).await, refused);
    assert_eq!(call(&gateway, "198.51.100.9", &get("/nowhere")).await.0, 404);
    let counter = "waypost_callers_not_shown_to_be_meta_total{reason=\"address\"}";
    assert_eq!(gateway.metric(counter).await, 1.0);
    gateway.logs("a caller is not shown to be Meta's").await;
    // The file is followed while the gateway is at work.
    gateway.setup.home.write("networks", "198.51.100.0/24\n");
    eventually(20, "the new networks", async || {
        (call(&gateway, "198.51.100.9", &request).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(call(&gateway, "203.0.113.9", &request).await, refused);
    drop(gateway);

    let gateway = server(setup.data("data of the other"), keys).start().await;
    assert_eq!(call(&gateway, "192.0.2.200", &request).await, (200, None), "by default it is only said");
    assert_eq!(gateway.metric(counter).await, 1.0);
}

#[tokio::test]
async fn metas_certificate_is_demanded_on_webhooks_only() {
    let (own, meta) = (Authority::new(), Authority::new());
    let receiver = Receiver::willing().await;
    let setup = Setup::new().https().upstream(HOST, &receiver.origin(), "");
    let (certificate, key) = own.pair("localhost");
    setup.home.write("certificate.pem", certificate);
    setup.home.write("private_key.pem", key);
    setup.home.write("meta.pem", meta.pem());
    let request = signed(CALLBACK, &text(1));
    let call = async |gateway: &Gateway, client: Arc<ClientConfig>, request: &[u8]| {
        let mut wire = Wire::tls(gateway.https(), client, "localhost").await;
        wire.say(request).await;
        let answer = wire.answer().await;
        (answer.status, answer.header("waypost-error").map(str::to_owned))
    };
    let strangers = [
        (own.client(&[]), "not_shown"),
        (own.client_showing(&own, META), "unknown_authority"),
        (own.client_showing(&meta, "client.example.com"), "other_name"),
    ];
    let counter = |reason: &str| format!("waypost_callers_not_shown_to_be_meta_total{{reason=\"{reason}\"}}");

    let keys = "meta_ca_file = \"meta.pem\"\nmeta_client_certificates = ";
    let gateway = server(setup.clone(), &format!("{keys}\"require\"\n")).start().await;
    assert_eq!(call(&gateway, own.client_showing(&meta, META), &request).await, (200, None));
    for (client, reason) in &strangers {
        let refused = (403, Some("client_not_proved".to_owned()));
        assert_eq!(call(&gateway, client.clone(), &request).await, refused, "{reason}");
        assert_eq!(gateway.metric(&counter(reason)).await, 1.0);
        assert_eq!(call(&gateway, client.clone(), &get("/nowhere")).await.0, 404);
    }
    let plain = ask(gateway.http(), &request).await;
    assert_eq!(plain.header("waypost-error"), Some("client_not_proved"), "nothing is proved in the clear");
    drop(gateway);

    let gateway = server(setup.data("data of the other"), &format!("{keys}\"report\"\n")).start().await;
    for (client, reason) in &strangers {
        assert_eq!(call(&gateway, client.clone(), &request).await, (200, None), "{reason}");
        assert_eq!(gateway.metric(&counter(reason)).await, 1.0);
    }
}
