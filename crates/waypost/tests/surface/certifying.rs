//! A certificate comes by itself, from Let's Encrypt's own test authority (Debian package `pebble`), and stays.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};

use crate::harness::*;

const NAMES: [&str; 2] = ["a.example.com", "b.example.com"];

/// An authority that looks for proofs at these ports of the loopback.
struct Pebble(Child);

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Pebble {
    async fn start(home: &Home, at: [SocketAddr; 2], http: u16, https: u16, own: (String, String)) -> Self {
        let config = json!({ "pebble": {
            "listenAddress": at[0], "managementListenAddress": at[1],
            "certificate": home.write("pebble.pem", own.0), "privateKey": home.write("pebble.key", own.1),
            "httpPort": http, "tlsPort": https,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let config = home.write("pebble.json", config.to_string());
        let child = Command::new("/usr/bin/pebble")
            .args(["-strict", "-dnsserver", &resolver().await.to_string(), "-config"])
            .arg(config)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pebble = Self(child);
        eventually(10, "pebble listens", async || TcpStream::connect(at[0]).await.ok()).await;
        pebble
    }
}

/// A name server that knows one address, 127.0.0.1, for every name, and no IPv6 address.
async fn resolver() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((bytes, from)) = socket.recv_from(&mut query).await {
            let Some(end) = query[12..bytes].iter().position(|byte| *byte == 0) else { continue };
            let question = &query[12..12 + end + 5];
            let is_for_ipv4 = question[end + 1..end + 3] == [0, 1];
            let mut answer = Vec::from(&query[..2]);
            answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_for_ipv4), 0, 0, 0, 0]);
            answer.extend_from_slice(question);
            if is_for_ipv4 {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

fn port_after(gateway: &Gateway, prefix: &str) -> u16 {
    let line = gateway.said.iter().find_map(|line| line.strip_prefix(prefix));
    line.and_then(|rest| rest.rsplit_once(':')?.1.parse().ok()).unwrap()
}

fn https(gateway: &Gateway) -> SocketAddr {
    ([127, 0, 0, 1], port_after(gateway, "public    https://a.example.com")).into()
}

async fn readiness(gateway: &Gateway) -> (u16, Value) {
    let answer = ask(gateway.admin(), &get("/readyz")).await;
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[tokio::test]
async fn a_certificate_comes_by_itself_over_either_port_and_outlives_a_restart() {
    comes_and_stays("127.0.0.1:0").await;
}

#[tokio::test]
async fn a_certificate_comes_by_itself_over_https_alone_and_outlives_a_restart() {
    comes_and_stays("none").await;
}

async fn comes_and_stays(http: &str) {
    if !Path::new("/usr/bin/pebble").exists() {
        eprintln!("pebble is not installed: nothing is tested here");
        return;
    }
    // Pebble cannot be given port 0: ports that were free a moment ago.
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let at = held.map(|held| held.local_addr().unwrap());
    let own = Authority::new();
    let receiver = Receiver::willing().await;
    let setup = Setup::new()
        .variable("WAYPOST_DOMAIN", "a.example.com,b.example.com")
        .variable("WAYPOST_HTTP", http)
        .variable("WAYPOST_HTTPS", "127.0.0.1:0")
        .section(&format!(
            "[tls]\nacme_email = \"ops@example.com\"\nacme_directory = \"https://{}/dir\"\nacme_ca_file = \"ca.pem\"",
            at[0]
        ))
        .upstream(HOST, &receiver.origin(), "");
    setup.home.write("ca.pem", own.pem());
    let mut gateway = setup.start().await;

    // The authority is down: callers are told nothing false, and the operator why.
    let (status, body) = eventually(20, "the first attempt to fail", async || {
        let (status, body) = readiness(&gateway).await;
        body["reason"].as_str()?.contains(": ").then_some((status, body))
    })
    .await;
    assert_eq!((status, body["code"].as_str()), (503, Some("certificate_awaited")), "{body}");
    assert!(
        body["reason"].as_str().unwrap().contains("there is no certificate for a.example.com yet"),
        "{body}"
    );
    assert!(body["next_attempt"].as_str().is_some_and(|at| at.contains('T')), "{body}");
    let nobody = own.client(&[]);
    let error = Wire::try_tls(https(&gateway), nobody.clone(), NAMES[0]).await.err().unwrap().to_string();
    assert!(error.contains("InternalError"), "{error}");
    let error =
        Wire::try_tls(https(&gateway), nobody.clone(), "c.example.com").await.err().unwrap().to_string();
    assert!(error.contains("UnrecognisedName"), "{error}");

    // It is back, and the operator says so.
    let plain = (http != "none").then(|| port_after(&gateway, "redirect  http://"));
    let pebble =
        Pebble::start(&setup.home, at, plain.unwrap_or(1), https(&gateway).port(), own.pair("127.0.0.1"))
            .await;
    gateway.signal(Signal::HUP);
    eventually(30, "certificates", async || (readiness(&gateway).await.0 == 200).then_some(())).await;
    let mut management = Wire::tls(at[1], nobody, "127.0.0.1").await;
    management.say(&get("/roots/0")).await;
    let root = CertificateDer::from_pem_slice(&management.answer().await.body).unwrap();
    let believing = client_of(&root, &["http/1.1"]);
    for name in NAMES {
        let mut wire = Wire::tls(https(&gateway), believing.clone(), name).await;
        wire.say(&signed(CALLBACK, &text(1))).await;
        assert_eq!(wire.answer().await.status, 200, "{name}");
    }
    assert_eq!(gateway.metric("waypost_certificates_issued_total").await, 2.0);
    assert!(gateway.metric("waypost_certificate_failures_total").await >= 1.0);
    assert_eq!(gateway.metric("waypost_tls_names_refused_total").await, 2.0);
    assert!(gateway.metric("waypost_certificate_expires_timestamp_seconds").await > 1_700_000_000.0);
    match plain {
        Some(port) => {
            let plain: SocketAddr = ([127, 0, 0, 1], port).into();
            assert_eq!(ask(plain, &get("/.well-known/acme-challenge/unknown")).await.status, 301);
        }
        None => assert!(gateway.metric("waypost_tls_proofs_shown_total").await >= 2.0),
    }

    // The keys are in no list and no log.
    for what in ["upstream", "source", "destination", "route"] {
        let listed = gateway.run(&[what, "list", "--json"]).await.done().out;
        assert!(!listed.contains("acme/"), "{listed}");
    }
    assert!(!gateway.log().contains("PRIVATE KEY"), "{}", gateway.log());

    // Without the authority, after a restart, on other ports.
    drop(pebble);
    gateway.stop().await;
    let gateway = setup.start().await;
    assert_eq!(readiness(&gateway).await.0, 200);
    for name in NAMES {
        Wire::tls(https(&gateway), believing.clone(), name).await;
    }
    assert_eq!(gateway.metric("waypost_certificate_attempts_total").await, 0.0);
}
