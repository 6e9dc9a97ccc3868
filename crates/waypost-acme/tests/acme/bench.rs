//! One server under test: its listeners, what it keeps, its clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use waypost_acme::{Acme, Certificate, CertificateStatus, Challenges, Keep, KeepError, KeepFuture, Settings};
use waypost_domain::{Clock, UnixMillis};
use waypost_outbound::{Outbound, OutboundConfig};

/// What is kept, and whether the disk is full.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) values: Mutex<BTreeMap<String, Vec<u8>>>,
    pub(crate) full: AtomicBool,
    pub(crate) full_for_certificates: AtomicBool,
}

impl Keep for Shelf {
    fn get<'k>(&'k self, key: &'k str) -> KeepFuture<'k, Option<Vec<u8>>> {
        Box::pin(async move { Ok(self.values.lock().unwrap().get(key).cloned()) })
    }

    fn put<'k>(&'k self, key: &'k str, value: Vec<u8>) -> KeepFuture<'k, ()> {
        Box::pin(async move {
            let too_large = key.contains("certificate") && self.full_for_certificates.load(Ordering::SeqCst);
            if too_large || self.full.load(Ordering::SeqCst) {
                return Err(KeepError("the disk is full".to_owned()));
            }
            self.values.lock().unwrap().insert(key.to_owned(), value);
            Ok(())
        })
    }

    fn list<'k>(&'k self, prefix: &'k str) -> KeepFuture<'k, Vec<String>> {
        Box::pin(async move {
            let values = self.values.lock().unwrap();
            Ok(values.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
        })
    }
}

/// A running server, until it is dropped.
pub(crate) struct Server {
    pub(crate) acme: Acme,
    pub(crate) clock: Clock,
    pub(crate) installed: Arc<Mutex<Vec<Certificate>>>,
    running: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Server {
    pub(crate) async fn start(settings: Settings, shelf: &Arc<Shelf>, clock: &Clock, doors: &Doors) -> Self {
        let installed: Arc<Mutex<Vec<Certificate>>> = Arc::default();
        let (list, chance) = (installed.clone(), AtomicU64::new(1));
        let acme = Acme::new(
            settings,
            shelf.clone(),
            clock.clone(),
            Outbound::new(OutboundConfig::new(Clock::system())),
            move || chance.fetch_add(7_919, Ordering::SeqCst),
            move |certificate| list.lock().unwrap().push(certificate.clone()),
        )
        .unwrap();
        acme.restore().await.unwrap();
        *doors.challenges.lock().unwrap() = acme.challenges().clone();
        let run = acme.clone();
        let running = tokio::spawn(async move { run.run().await });
        Self { acme, clock: clock.clone(), installed, running }
    }

    pub(crate) fn status(&self) -> CertificateStatus {
        self.acme.status().remove(0)
    }

    pub(crate) fn issued(&self) -> u64 {
        self.acme.counters().issued.load(Ordering::SeqCst)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.acme.counters().failures.load(Ordering::SeqCst)
    }

    /// Moves time to a moment, and looks.
    pub(crate) fn advance_to(&self, moment: UnixMillis) {
        self.clock.advance(moment.since(self.clock.wall()) + Duration::from_millis(1));
        self.acme.look();
    }
}

pub(crate) async fn until(what: &str, mut happened: impl FnMut() -> bool) {
    soon(what, async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(40), future)
        .await
        .unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

/// The listeners at which the authority looks.
pub(crate) struct Doors {
    pub(crate) http: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) challenges: Arc<Mutex<Challenges>>,
}

#[derive(Debug)]
struct Proofs(Arc<Mutex<Challenges>>);

impl ResolvesServerCert for Proofs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().certificate(hello.server_name()?)
    }
}

impl Doors {
    pub(crate) async fn open() -> Self {
        let challenges: Arc<Mutex<Challenges>> = Arc::default();
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let secure = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (http, tls) = (plain.local_addr().unwrap(), secure.local_addr().unwrap());
        let files = challenges.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = plain.accept().await.unwrap();
                let mut line = String::new();
                if BufReader::new(&mut stream).read_line(&mut line).await.is_err() {
                    continue;
                }
                let path = line.split(' ').nth(1).unwrap_or_default();
                let answer = files.lock().unwrap().file_at(path);
                let (status, body) = answer.map_or((404, String::new()), |body| (200, body));
                let head = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Proofs(challenges.clone())));
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = secure.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move { acceptor.accept(stream).await.map(drop) });
            }
        });
        Self { http, tls, challenges }
    }
}
