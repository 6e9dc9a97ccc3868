//! Let's Encrypt's own test authority, where it is installed (Debian package `pebble`). It checks every signature.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;
use waypost_acme::ChallengeKind::{Http01, TlsAlpn01};
use waypost_acme::{ChallengeKind, ExternalAccount, Settings};
use waypost_domain::{Clock, UnixMillis};

use crate::bench::{Doors, Server, Shelf, soon, until};

struct Pebble {
    child: Child,
    address: SocketAddr,
    root: CertificateDer<'static>,
    _folder: TempDir,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pebble {
    /// None where it is not installed. Names resolve to loopback through its own resolver override.
    async fn start(doors: &Doors, seconds: u64, nonces_refused: u8, external: bool) -> Option<Self> {
        if !Path::new("/usr/bin/pebble").exists() {
            eprintln!("pebble is not installed: nothing is tested here");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        // Pebble cannot be given port 0: a port that was free a moment ago.
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, management) = (free(), free());
        let mut config = json!({
            "listenAddress": address, "managementListenAddress": management,
            "certificate": file("cert.pem", own.pem()), "privateKey": file("key.pem", key.serialize_pem()),
            "httpPort": doors.http.port(), "tlsPort": doors.tls.port(),
            "ocspResponderURL": "", "externalAccountBindingRequired": external,
            "certificateValidityPeriod": seconds,
        });
        if external {
            config["externalAccountMACKeys"] =
                json!({"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"});
        }
        let config = file("config.json", json!({"pebble": config}).to_string());
        let dns = resolver().await;
        let child = Command::new("/usr/bin/pebble")
            .args(["-strict", "-dnsserver", &dns.to_string(), "-config"])
            .arg(config)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", nonces_refused.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pebble = Self { child, address, root: own.der().clone(), _folder: folder };
        soon("pebble to listen", async {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        Some(pebble)
    }

    fn settings(&self, kinds: &[ChallengeKind]) -> Settings {
        Settings {
            directory: format!("https://{}/dir", self.address),
            contact: Some("ops@example.com".to_owned()),
            extra_roots: vec![self.root.clone()],
            allow_private: true,
            challenges: kinds.to_vec(),
            ..Settings::new(vec!["a.example.com".to_owned(), "b.example.com".to_owned()])
        }
    }
}

/// A name server that knows one address, 127.0.0.1, for every name, and no IPv6 address.
async fn resolver() -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((bytes, from)) = socket.recv_from(&mut query).await {
            let Some(name) = query[12..bytes].iter().position(|byte| *byte == 0) else { continue };
            let question = &query[12..12 + name + 5];
            let wants_ipv4 = question[name + 1..name + 3] == [0, 1];
            let mut answer = Vec::from(&query[..2]);
            answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(wants_ipv4), 0, 0, 0, 0]);
            answer.extend_from_slice(question);
            if wants_ipv4 {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}

/// Pebble dates its certificates by the machine's clock.
fn clock_of_today() -> Clock {
    Clock::manual(UnixMillis(Clock::system().wall().0))
}

#[tokio::test]
async fn pebble_certifies_names_proved_in_either_way() {
    for kind in [Http01, TlsAlpn01] {
        let doors = Doors::open().await;
        let Some(pebble) = Pebble::start(&doors, 90 * 24 * 3_600, 5, false).await else { return };
        let shelf: Arc<Shelf> = Arc::default();
        let server = Server::start(pebble.settings(&[kind]), &shelf, &clock_of_today(), &doors).await;
        until("a certificate", || server.issued() == 1 || server.failures() > 0).await;
        assert_eq!(server.status().last_error, None);
        assert_eq!(server.installed.lock().unwrap()[0].names, ["a.example.com", "b.example.com"]);
    }
}

#[tokio::test]
async fn pebble_renews_a_short_lived_certificate_several_times_though_it_refuses_nonces() {
    let doors = Doors::open().await;
    let Some(pebble) = Pebble::start(&doors, 7_200, 10, false).await else { return };
    let (shelf, clock) = (Arc::default(), clock_of_today());
    let server = Server::start(pebble.settings(&[TlsAlpn01, Http01]), &shelf, &clock, &doors).await;
    for round in 1..=4 {
        // By our clock a new certificate may have ended already, so that the next one follows by itself.
        until("a certificate", || {
            (server.issued() >= round && !server.status().busy) || server.failures() > 0
        })
        .await;
        assert_eq!(server.status().last_error, None);
        // Pebble's time stands still beside ours: the hours must pass for the budget, too.
        server.clock.advance(Duration::from_secs(7_200));
        server.acme.look();
    }
    let installed = server.installed.lock().unwrap();
    let serials: std::collections::HashSet<_> = installed.iter().map(|one| one.key.cert[0].clone()).collect();
    assert!(serials.len() >= 4, "{}", serials.len());
}

#[tokio::test]
async fn pebble_binds_an_external_account() {
    let doors = Doors::open().await;
    let Some(pebble) = Pebble::start(&doors, 90 * 24 * 3_600, 0, true).await else { return };
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut settings = pebble.settings(&[Http01]);
    settings.external_account = Some(ExternalAccount::new("kid-1", key).unwrap());
    let server = Server::start(settings, &Arc::default(), &clock_of_today(), &doors).await;
    until("a certificate", || server.issued() == 1 || server.failures() > 0).await;
    assert_eq!(server.status().last_error, None);
}

#[tokio::test]
async fn pebble_says_why_it_does_not_believe() {
    let doors = Doors::open().await;
    let elsewhere = Doors::open().await;
    let Some(pebble) = Pebble::start(&elsewhere, 90 * 24 * 3_600, 0, false).await else { return };
    let server = Server::start(pebble.settings(&[Http01]), &Arc::default(), &clock_of_today(), &doors).await;
    until("a failure", || server.failures() == 1 && !server.status().busy).await;
    let error = server.status().last_error.unwrap().sentence;
    assert!(error.contains("a.example.com") && error.contains("404"), "{error}");
}
