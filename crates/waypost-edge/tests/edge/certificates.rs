//! TLS on the public listener, and certificates that change.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Version};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waypost_domain::Clock;
use waypost_edge::{ConnectionLimits, ServerTls};

use crate::face::{Face, GET, ask, end, greet};

/// A folder with a certificate for `proxy.test` and its key.
struct Pair {
    folder: TempDir,
    der: CertificateDer<'static>,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let der = Self::write(&folder, false);
        Self { folder, der }
    }

    fn write(folder: &TempDir, expired: bool) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["proxy.test".to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        certificate.der().clone()
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn load(&self) -> Result<ServerTls, waypost_edge::ServerTlsError> {
        ServerTls::from_files(&self.certificate(), &self.key())
    }
}

fn client(root: &CertificateDer<'static>, alpn: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn connect(face: &Face, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    client.connect(ServerName::try_from("proxy.test").unwrap(), face.connect().await).await
}

#[tokio::test]
async fn http_1_and_http_2_are_served_over_tls() {
    let pair = Pair::new();
    let face =
        Face::open(ConnectionLimits::default(), Some(pair.load().unwrap()), |request, info| async move {
            assert!(info.tls);
            assert_eq!(info.ip(), std::net::IpAddr::from([127, 0, 0, 1]));
            let mut response = greet(request, info).await;
            response.headers_mut().insert("x-seen", "1".parse().unwrap());
            response
        });
    let mut one = connect(&face, &client(&pair.der, &["http/1.1"])).await.unwrap();
    assert_eq!(one.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    assert_eq!((ask(&mut one, GET).await, ask(&mut one, GET).await), (200, 200));

    let two = connect(&face, &client(&pair.der, &["h2", "http/1.1"])).await.unwrap();
    assert_eq!(two.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(two)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("https://proxy.test/").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    }
    assert_eq!(face.counters().accepted.load(Relaxed), 2);
}

#[tokio::test]
async fn sessions_are_resumed() {
    let pair = Pair::new();
    let face = Face::open(ConnectionLimits::default(), Some(pair.load().unwrap()), greet);
    let client = client(&pair.der, &["http/1.1"]);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = connect(&face, &client).await.unwrap();
        assert_eq!(ask(&mut stream, GET).await, 200);
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
    }
}

#[tokio::test]
async fn a_new_certificate_reaches_new_connections_and_leaves_open_ones_alone() {
    let pair = Pair::new();
    let tls = pair.load().unwrap();
    let face = Face::open(ConnectionLimits::default(), Some(tls.clone()), greet);
    let mut old = connect(&face, &client(&pair.der, &[])).await.unwrap();
    assert_eq!(ask(&mut old, GET).await, 200);
    assert!(!tls.changed());
    let new = Pair::write(&pair.folder, false);
    assert!(tls.changed());
    tls.reload().unwrap();
    assert!(!tls.changed());
    assert_eq!(ask(&mut old, GET).await, 200);
    let mut fresh = connect(&face, &client(&new, &[])).await.unwrap();
    assert_eq!(ask(&mut fresh, GET).await, 200);
    assert!(connect(&face, &client(&pair.der, &[])).await.is_err(), "the old certificate is still served");
}

#[tokio::test]
async fn a_bad_pair_leaves_the_old_one_serving() {
    let pair = Pair::new();
    let tls = pair.load().unwrap();
    let face = Face::open(ConnectionLimits::default(), Some(tls.clone()), greet);
    let facts = tls.facts();
    std::fs::write(pair.key(), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(tls.changed());
    let sentence = tls.reload().unwrap_err().to_string();
    assert!(sentence.contains("key.pem") && sentence.contains("does not belong"), "{sentence}");
    assert!(!tls.changed(), "a fault that was told is not told again");
    assert_eq!(tls.facts(), facts);
    assert_eq!(ask(&mut connect(&face, &client(&pair.der, &[])).await.unwrap(), GET).await, 200);
    std::fs::remove_file(pair.key()).unwrap();
    assert!(tls.changed());
    assert!(tls.reload().unwrap_err().to_string().contains("key.pem"));
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    let pair = Pair::new();
    let (certificate, key) = (std::fs::read(pair.certificate()).unwrap(), std::fs::read(pair.key()).unwrap());
    let fault = |certificate: &[u8], key: &[u8]| {
        std::fs::write(pair.certificate(), certificate).unwrap();
        std::fs::write(pair.key(), key).unwrap();
        pair.load().unwrap_err().to_string()
    };
    assert!(fault(b"", &key).contains("cert.pem: no certificate in this file"));
    assert!(fault(&key, &certificate).contains("cert.pem: no certificate in this file"));
    assert!(fault(&certificate, b"nothing").contains("key.pem: no private key in this file"));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(fault(broken, &key).contains("cert.pem: the first certificate is not"));
    let broken = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert!(fault(&certificate, broken).contains("key.pem: "));
    std::fs::remove_file(pair.certificate()).unwrap();
    assert!(pair.load().unwrap_err().to_string().contains("cert.pem: No such file"));
}

#[test]
fn an_expired_certificate_is_a_warning() {
    let pair = Pair::new();
    let now = Clock::system().wall();
    let facts = pair.load().unwrap().facts();
    assert_eq!((facts.warning(now), facts.chain_length), (None, 1));
    Pair::write(&pair.folder, true);
    let facts = pair.load().unwrap().facts();
    assert_eq!(facts.not_after.0, 1_580_515_200_000);
    assert!(facts.warning(now).unwrap().contains("expired"));
    assert!(facts.warning(waypost_domain::UnixMillis(0)).unwrap().contains("not valid yet"));
}

#[tokio::test]
async fn handshakes_that_stall_end_in_time_and_stand_in_nobodys_way() {
    let pair = Pair::new();
    let limit = Duration::from_secs(2);
    let limits = ConnectionLimits { handshake_time_max: limit, ..ConnectionLimits::default() };
    let face = Face::open(limits, Some(pair.load().unwrap()), greet);
    let mut stalled = Vec::new();
    for number in 0..200 {
        let mut stream = face.connect().await;
        if number % 4 == 0 {
            stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
        }
        stalled.push(stream);
    }
    let mut stream = connect(&face, &client(&pair.der, &[])).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await, 200);
    assert_eq!(face.counters().handshakes_timed_out.load(Relaxed), 0, "it had to wait for the others");
    for stream in &mut stalled {
        end(stream).await;
    }
    assert_eq!(face.counters().handshakes_timed_out.load(Relaxed), 200);
    assert_eq!(face.counters().handshakes_open.load(Relaxed), 0);
    let mut plain = face.connect().await;
    plain.write_all(GET.as_bytes()).await.unwrap();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut Vec::new()).await;
    assert_eq!(face.counters().handshakes_failed.load(Relaxed), 1);
}

#[tokio::test]
async fn a_soft_stop_ends_handshakes_and_connections_over_tls() {
    let pair = Pair::new();
    let face = Face::open(ConnectionLimits::default(), Some(pair.load().unwrap()), greet);
    let mut stream = connect(&face, &client(&pair.der, &[])).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await, 200);
    let mut silent = face.connect().await;
    while face.counters().handshakes_open.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    face.stop.soft.cancel();
    end(&mut stream).await;
    end(&mut silent).await;
    crate::face::soon(face.served).await.unwrap();
}
