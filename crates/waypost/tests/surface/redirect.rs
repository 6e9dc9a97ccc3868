//! Plain HTTP beside HTTPS on a domain takes nothing in the clear.

use std::net::SocketAddr;

use crate::harness::*;

#[tokio::test]
async fn plain_http_beside_https_sends_callers_there_and_takes_nothing() {
    let receiver = Receiver::willing().await;
    let setup = Setup::new().https().variable("WAYPOST_DOMAIN", "proxy.example.com");
    let (certificate, key) = Authority::new().pair("proxy.example.com");
    setup.home.write("certificate.pem", certificate);
    setup.home.write("private_key.pem", key);
    let gateway = setup.upstream("receiver.example", &receiver.origin(), "").start().await;
    let line =
        |prefix: &str| gateway.said.iter().find_map(|line| line.strip_prefix(prefix)).unwrap().to_owned();
    let plain: SocketAddr = line("redirect  http://").parse().unwrap();
    let secure = line("public    ");
    assert!(secure.starts_with("https://proxy.example.com:"), "{secure}");

    let target = "/receiver.example/webhooks/whatsapp/%2B1?hub.mode=subscribe";
    let answer = ask(plain, &get(target)).await;
    assert_eq!((answer.status, answer.header("location")), (301, Some(&*format!("{secure}{target}"))));
    let answer = ask(plain, &post(target, &[], &text(1))).await;
    assert_eq!((answer.status, answer.header("location")), (308, Some(&*format!("{secure}{target}"))));
    assert_eq!(ask(plain, &get("/")).await.status, 301);
    assert!(receiver.heard().is_empty());
    assert!(gateway.events(&[]).await.is_empty());
}
