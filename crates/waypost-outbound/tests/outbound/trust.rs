//! Whom calls believe, and what is agreed on in the handshake.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use waypost_domain::Failure;
use waypost_outbound::{Endpoint, Names, read_ca_file};

use crate::receiver::{HERE, RawReceiver, answer_to, config, get, outbound, post};

/// An authority that signs for tests.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Self::called("Test Root")
    }

    fn called(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn root(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    fn sign(&self, name: &str, expired: bool) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// What one TLS connection agreed on.
#[derive(Clone, Debug)]
struct Agreed {
    sni: Option<String>,
    kind: HandshakeKind,
}

struct TlsReceiver {
    address: SocketAddr,
    agreed: Arc<Mutex<Vec<Agreed>>>,
    requests: Arc<Mutex<Vec<(Version, String, bool)>>>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

struct Offer {
    chain: (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: &'static [&'static str],
}

async fn tls_receiver(offer: Offer) -> TlsReceiver {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(offer.versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(offer.chain.0, offer.chain.1)
        .unwrap();
    config.alpn_protocols = offer.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let receiver = TlsReceiver {
        address: listener.local_addr().unwrap(),
        agreed: Arc::default(),
        requests: Arc::default(),
        connections: Arc::default(),
    };
    let connections = receiver.connections.clone();
    let (agreed, requests) = (receiver.agreed.clone(), receiver.requests.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, agreed, requests) = (acceptor.clone(), agreed.clone(), requests.clone());
            let connection = tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let session = stream.get_ref().1;
                agreed.lock().unwrap().push(Agreed {
                    sni: session.server_name().map(str::to_owned),
                    kind: session.handshake_kind().unwrap(),
                });
                let service = service_fn(|request: Request<Incoming>| {
                    let authority = request.uri().authority().map(ToString::to_string);
                    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
                    let has_host = host.is_some();
                    let name = authority.or(host).unwrap_or_default();
                    requests.lock().unwrap().push((request.version(), name, has_host));
                    async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok")))) }
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
            connections.lock().unwrap().push(connection.abort_handle());
        }
    });
    receiver
}

impl TlsReceiver {
    fn endpoint(&self, host: &str, root: &CertificateDer<'static>) -> Endpoint {
        let mut config = config(&format!("https://{}", self.address), host);
        config.extra_roots = vec![root.clone()];
        config.connect_timeout = Duration::from_secs(5);
        outbound(&Names::new()).endpoint(config).unwrap()
    }
}

const BOTH: &[&str] = &["h2", "http/1.1"];
const ONE: &[&str] = &["http/1.1"];

#[tokio::test]
async fn an_extra_root_is_believed_and_http_2_is_shared() {
    let authority = Authority::new();
    let chain = authority.sign("up.test", false);
    let receiver = tls_receiver(Offer { chain, versions: rustls::ALL_VERSIONS, alpn: BOTH }).await;
    let endpoint = receiver.endpoint("up.test:8443", &authority.root());
    answer_to(&endpoint, post("/", "x")).await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { answer_to(&endpoint, post("/", "x")).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), "ok");
    }
    let agreed = receiver.agreed.lock().unwrap().clone();
    assert_eq!(agreed.len(), 1, "HTTP/2 needs one connection");
    assert_eq!(agreed[0].sni.as_deref(), Some("up.test"));
    let requests = receiver.requests.lock().unwrap();
    assert_eq!(requests.len(), 21);
    assert!(requests.iter().all(|request| *request == (Version::HTTP_2, "up.test:8443".to_owned(), false)));
}

#[tokio::test]
async fn a_connection_cut_while_idle_costs_nothing_over_tls_either() {
    let authority = Authority::new();
    for alpn in [BOTH, ONE] {
        let chain = authority.sign("up.test", false);
        let receiver = tls_receiver(Offer { chain, versions: rustls::ALL_VERSIONS, alpn }).await;
        let endpoint = receiver.endpoint("up.test", &authority.root());
        for _ in 0..10 {
            assert_eq!(answer_to(&endpoint, post("/", "x")).await, "ok");
            let connections = std::mem::take(&mut *receiver.connections.lock().unwrap());
            for connection in connections {
                connection.abort();
                while !connection.is_finished() {
                    tokio::task::yield_now().await;
                }
            }
        }
        assert_eq!(receiver.requests.lock().unwrap().len(), 10);
        assert_eq!(receiver.agreed.lock().unwrap().len(), 10);
    }
}

#[tokio::test]
async fn without_http_2_on_offer_http_1_connections_are_kept() {
    let authority = Authority::new();
    for alpn in [ONE, &[]] {
        let chain = authority.sign("up.test", false);
        let receiver = tls_receiver(Offer { chain, versions: rustls::ALL_VERSIONS, alpn }).await;
        let endpoint = receiver.endpoint("up.test", &authority.root());
        for call in 0..5 {
            let answer = endpoint.call(post("/", "x")).await.unwrap();
            assert_eq!(answer.timing.tls.is_some(), call == 0);
            answer.read_excerpt(10).await.unwrap();
        }
        assert_eq!(receiver.agreed.lock().unwrap().len(), 1);
        let requests = receiver.requests.lock().unwrap();
        assert!(requests.iter().all(|request| *request == (Version::HTTP_11, "up.test".to_owned(), true)));
    }
}

#[tokio::test]
async fn tls_1_2_and_tls_1_3_alone_are_both_spoken_and_sessions_resumed() {
    let authority = Authority::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let versions: &'static [_] = Box::leak(Box::new([version]));
        let chain = authority.sign("up.test", false);
        let receiver = tls_receiver(Offer { chain, versions, alpn: ONE }).await;
        let endpoint = receiver.endpoint("up.test", &authority.root());
        // The first answer is not read to its end, so its connection is not kept.
        assert_eq!(answer_to(&endpoint, get("/")).await, "ok");
        let held = endpoint.call(get("/")).await.unwrap();
        assert_eq!(answer_to(&endpoint, get("/")).await, "ok");
        drop(held);
        let kinds: Vec<_> = receiver.agreed.lock().unwrap().iter().map(|agreed| agreed.kind).collect();
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed], "{version:?}");
    }
}

#[tokio::test]
async fn a_certificate_not_to_believe_is_refused_before_anything_is_sent() {
    let (authority, impostor, stranger) =
        (Authority::new(), Authority::new(), Authority::called("Another Root"));
    let cases = [
        (authority.sign("other.test", false), &authority, "not for up.test"),
        (authority.sign("up.test", true), &authority, "expired"),
        (authority.sign("up.test", false), &stranger, "not signed by a trusted authority"),
        (authority.sign("up.test", false), &impostor, "not signed by a trusted authority"),
    ];
    for (chain, believed, sentence) in cases {
        let receiver = tls_receiver(Offer { chain, versions: rustls::ALL_VERSIONS, alpn: BOTH }).await;
        let error = receiver.endpoint("up.test", &believed.root()).call(post("/", "x")).await.err().unwrap();
        assert_eq!(error.failure, Failure::CertificateRefused);
        assert!(error.detail.contains(sentence), "{}", error.detail);
        assert_eq!(receiver.requests.lock().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn a_certificate_for_an_address_is_believed_at_that_address() {
    let authority = Authority::new();
    let chain = authority.sign("127.0.0.1", false);
    let receiver = tls_receiver(Offer { chain, versions: rustls::ALL_VERSIONS, alpn: BOTH }).await;
    let host = receiver.address.to_string();
    assert_eq!(answer_to(&receiver.endpoint(&host, &authority.root()), get("/")).await, "ok");
    assert_eq!(receiver.agreed.lock().unwrap()[0].sni, None);
}

#[tokio::test]
async fn a_handshake_that_is_cut_or_not_tls_is_a_tls_failure_and_a_silent_one_is_too_slow() {
    let authority = Authority::new();
    let cut = RawReceiver::start(|talk| async move { drop(talk) }).await;
    let plain = RawReceiver::start(|mut talk| async move {
        talk.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let silent = RawReceiver::start(|talk| async move {
        let _talk = talk;
        std::future::pending::<()>().await;
    })
    .await;
    let (failed, slow) = (Failure::TlsFailed, Failure::ConnectTimedOut);
    for (receiver, failure) in [(cut, failed), (plain, failed), (silent, slow)] {
        let mut config = config(&format!("https://{}", receiver.address), "up.test");
        config.extra_roots = vec![authority.root()];
        config.connect_timeout = Duration::from_millis(300);
        let error = outbound(&Names::new()).endpoint(config).unwrap().call(get("/")).await.err().unwrap();
        assert_eq!(error.failure, failure, "{}", error.detail);
    }
}

#[test]
fn a_ca_file_says_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    assert!(read_ca_file(&path).unwrap_err().to_string().contains("ca.pem"));
    std::fs::write(&path, "nothing here").unwrap();
    assert!(read_ca_file(&path).unwrap_err().to_string().contains("no certificate in this file"));
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(read_ca_file(&path).unwrap_err().to_string().contains("cannot be read"));
    let authority = Authority::new();
    std::fs::write(&path, authority.0.pem()).unwrap();
    assert_eq!(read_ca_file(&path).unwrap(), [authority.root()]);
}
