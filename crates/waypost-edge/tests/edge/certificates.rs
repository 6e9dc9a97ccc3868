//! TLS on the public listener, and certificates that change.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{Request, Response, Version};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waypost_domain::{Clock, UnixMillis};
use waypost_edge::{
    Body, CertificateFacts, Certificates, ClientCertificates, ConnectionInfo, ConnectionLimits,
    META_CLIENT_NAME, ServerTls,
};

use crate::face::{Face, GET, answer, ask, end, greet};

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
    let new = Pair::write(&pair.folder, false);
    tls.reload().unwrap();
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
    let sentence = tls.reload().unwrap_err().to_string();
    assert!(sentence.contains("key.pem") && sentence.contains("does not belong"), "{sentence}");
    assert_eq!(tls.facts(), facts);
    assert_eq!(ask(&mut connect(&face, &client(&pair.der, &[])).await.unwrap(), GET).await, 200);
    std::fs::remove_file(pair.key()).unwrap();
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
    let facts = pair.load().unwrap().facts().unwrap();
    assert_eq!((facts.warning(now), facts.chain_length), (None, 1));
    Pair::write(&pair.folder, true);
    let facts = pair.load().unwrap().facts().unwrap();
    assert_eq!(facts.not_after.0, 1_580_515_200_000);
    assert!(facts.warning(now).unwrap().contains("expired"));
    assert!(facts.warning(UnixMillis(0)).unwrap().contains("not valid yet"));
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
    let _ = plain.read_to_end(&mut Vec::new()).await;
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

/// What a client without a name, or with this one, is told: the alert, if there is one.
async fn alert_for(face: &Face, name: Option<&str>) -> Option<rustls::AlertDescription> {
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
    config.enable_sni = name.is_some();
    let name = ServerName::try_from(name.unwrap_or("proxy.test").to_owned()).unwrap();
    let outcome = TlsConnector::from(Arc::new(config)).connect(name, face.connect().await).await;
    match outcome.unwrap_err().get_ref().unwrap().downcast_ref::<rustls::Error>() {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    }
}

#[tokio::test]
async fn a_name_that_is_not_ours_or_none_is_refused_with_an_alert() {
    use rustls::AlertDescription::UnrecognisedName;
    let pair = Pair::new();
    let face = Face::open(ConnectionLimits::default(), Some(pair.load().unwrap()), greet);
    assert_eq!(alert_for(&face, Some("other.test")).await, Some(UnrecognisedName));
    assert_eq!(alert_for(&face, Some("sub.proxy.test")).await, Some(UnrecognisedName));
    assert_eq!(alert_for(&face, None).await, Some(UnrecognisedName));
    assert_eq!(
        alert_for(&face, Some("PROXY.test")).await,
        None,
        "the certificate is shown, and not believed here"
    );
    assert_eq!(face.counters().names_refused.load(Relaxed), 3);
}

#[tokio::test]
async fn until_its_certificate_comes_a_name_of_ours_gets_an_alert_and_then_it_is_served() {
    use rustls::AlertDescription::{InternalError, UnrecognisedName};
    let certificates = Certificates::awaiting(["proxy.test", "other.test"]);
    let tls = ServerTls::new(certificates.clone()).unwrap();
    assert_eq!(tls.facts(), None);
    let face = Face::open(ConnectionLimits::default(), Some(tls.clone()), greet);
    assert_eq!(alert_for(&face, Some("proxy.test")).await, Some(InternalError));
    assert_eq!(alert_for(&face, Some("foreign.test")).await, Some(UnrecognisedName));
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["proxy.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    certificates.install(["proxy.test"], certified(&own, &key), facts(own.der()));
    assert_eq!(certificates.awaited(), ["other.test"]);
    let mut stream = connect(&face, &client(own.der(), &[])).await.unwrap();
    assert_eq!(ask(&mut stream, GET).await, 200);
    assert_eq!(alert_for(&face, Some("other.test")).await, Some(InternalError));
}

fn certified(certificate: &rcgen::Certificate, key: &KeyPair) -> Arc<CertifiedKey> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(key).unwrap();
    Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key))
}

fn facts(_: &CertificateDer<'_>) -> CertificateFacts {
    CertificateFacts { not_before: UnixMillis(0), not_after: UnixMillis(i64::MAX), chain_length: 1 }
}

#[tokio::test]
async fn a_certificate_for_a_wildcard_serves_one_step_below_it() {
    let certificates = Certificates::default();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["*.example.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    certificates.install(["*.example.test"], certified(&own, &key), facts(own.der()));
    let face = Face::open(ConnectionLimits::default(), Some(ServerTls::new(certificates).unwrap()), greet);
    assert_eq!(alert_for(&face, Some("a.example.test")).await, None);
    for foreign in ["example.test", "a.b.example.test"] {
        assert!(alert_for(&face, Some(foreign)).await.is_some(), "{foreign}");
    }
}

#[tokio::test]
async fn a_certificate_authority_is_shown_its_proof_and_nothing_else() {
    let pair = Pair::new();
    let key = KeyPair::generate().unwrap();
    let proof = CertificateParams::new(["proxy.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let shown = certified(&proof, &key);
    let tls = pair.load().unwrap().showing_proofs(move |name| (name == "proxy.test").then(|| shown.clone()));
    let face = Face::open(ConnectionLimits::default(), Some(tls), greet);
    let mut stream = connect(&face, &client(proof.der(), &["acme-tls/1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"acme-tls/1".as_slice()));
    end(&mut stream).await;
    assert_eq!(face.counters().proofs_shown.load(Relaxed), 1);
    // Everybody else sees the certificate.
    let mut stream = connect(&face, &client(&pair.der, &["h2", "http/1.1"])).await.unwrap();
    stream.shutdown().await.unwrap();
    let other = client(proof.der(), &["acme-tls/1"]);
    let name = ServerName::try_from("other.test").unwrap();
    assert!(other.connect(name, face.connect().await).await.is_err(), "a proof for a name that has none");
}

#[tokio::test]
async fn tls_1_2_is_served_and_nothing_older_is_offered() {
    let pair = Pair::new();
    let face = Face::open(ConnectionLimits::default(), Some(pair.load().unwrap()), greet);
    let mut roots = RootCertStore::empty();
    roots.add(pair.der.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = connect(&face, &connector).await.unwrap();
        assert_eq!(ask(&mut stream, GET).await, 200);
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
    }
    // A TLS 1.1 ClientHello: one suite, no extensions.
    let mut body = vec![0x03, 0x02];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&[0, 0, 2, 0xc0, 0x13, 1, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut hello = vec![0x16, 0x03, 0x01, 0, length + 4, 1, 0, 0, length];
    hello.extend_from_slice(&body);
    let mut stream = face.connect().await;
    stream.write_all(&hello).await.unwrap();
    let mut said = Vec::new();
    crate::face::soon(stream.read_to_end(&mut said)).await.unwrap();
    assert_eq!((said[0], said[5]), (0x15, 2), "no fatal alert: {said:?}");
}

#[tokio::test]
async fn where_many_are_served_http_2_is_not_offered() {
    let pair = Pair::new();
    let limits = ConnectionLimits { easily_served_max: 1, ..ConnectionLimits::default() };
    let face = Face::open(limits, Some(pair.load().unwrap()), greet);
    let mut kept = Vec::new();
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let mut stream = connect(&face, &client(&pair.der, &["h2", "http/1.1"])).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        if protocol == b"h2" {
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
            crate::face::soon(stream.read_u8()).await.unwrap();
        } else {
            assert_eq!(ask(&mut stream, GET).await, 200);
        }
        kept.push(stream);
    }
}

#[tokio::test]
async fn what_is_agreed_on_is_our_choice_whatever_the_client_names_first() {
    let pair = Pair::new();
    let face = Face::open(ConnectionLimits::default(), Some(pair.load().unwrap()), greet);
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.reverse();
    for (version, chosen) in [
        (&rustls::version::TLS13, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256),
        (&rustls::version::TLS12, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ] {
        let mut roots = RootCertStore::empty();
        roots.add(pair.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = connect(&face, &TlsConnector::from(Arc::new(config))).await.unwrap();
        let agreed = stream.get_ref().1.negotiated_cipher_suite().unwrap();
        assert_eq!(agreed.suite(), chosen);
    }
}

/// An authority's certificate file, and clients with certificates from it.
struct Clients {
    folder: TempDir,
    authority: rcgen::CertifiedIssuer<'static, KeyPair>,
}

impl Clients {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        Self { folder, authority }
    }

    fn expected(&self) -> ClientCertificates {
        let file = self.folder.path().join("ca.pem");
        ClientCertificates::from_file(&file, META_CLIENT_NAME, Clock::system()).unwrap()
    }

    fn connector(
        &self,
        root: &CertificateDer<'static>,
        shape: impl FnOnce(&mut CertificateParams),
    ) -> TlsConnector {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        shape(&mut params);
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &self.authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(
                    vec![own.der().clone()],
                    PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
                )
                .unwrap();
        TlsConnector::from(Arc::new(config))
    }
}

#[tokio::test]
async fn what_a_client_certificate_proves_reaches_the_service_and_no_handshake_fails_for_it() {
    let (pair, clients, strangers) = (Pair::new(), Clients::new(), Clients::new());
    let tls = pair.load().unwrap().asking_clients(clients.expected()).unwrap();
    let face = Face::open(ConnectionLimits::default(), Some(tls), |_, info: ConnectionInfo| async move {
        Response::new(Body::full(info.client.code()))
    });
    let name = |params: &mut CertificateParams, name: &str| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name.to_owned().try_into().unwrap())];
    };
    let common = |params: &mut CertificateParams, name: &str| {
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
    };
    let proved = clients.connector(&pair.der, |params| common(params, META_CLIENT_NAME));
    let cases = [
        (client(&pair.der, &[]), "not_shown"),
        (clients.connector(&pair.der, |params| name(params, META_CLIENT_NAME)), "proved"),
        (proved.clone(), "proved"),
        // Resumed: nothing is shown again, and what was shown still counts.
        (proved, "proved"),
        (
            clients.connector(&pair.der, |params| {
                common(params, META_CLIENT_NAME);
                name(params, "other.example.com");
            }),
            "other_name",
        ),
        (strangers.connector(&pair.der, |params| common(params, META_CLIENT_NAME)), "unknown_authority"),
        (
            clients.connector(&pair.der, |params| {
                common(params, META_CLIENT_NAME);
                (params.not_before, params.not_after) =
                    (date_time_ymd(2020, 1, 1), date_time_ymd(2020, 2, 1));
            }),
            "outside_dates",
        ),
        (
            clients.connector(&pair.der, |params| {
                common(params, META_CLIENT_NAME);
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
            }),
            "unusable",
        ),
    ];
    for (connector, expected) in cases {
        let mut stream = connect(&face, &connector).await.unwrap();
        stream.write_all(GET.as_bytes()).await.unwrap();
        let (_, said) = answer(&mut stream).await.unwrap();
        assert_eq!(String::from_utf8(said).unwrap(), expected);
    }
}
