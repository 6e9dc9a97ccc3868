//! TLS on the public listeners: whom we answer as, and what we ask of callers.
//!
//! A handshake that names nobody of ours ends with the alert `unrecognized_name` (RFC 6066, section 3), one that names
//! nobody with the same, unless the certificate is for an address. A name of ours whose first certificate has not come yet
//! ends with `internal_error`: the caller did nothing wrong.

use std::fmt;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ServerSessionMemoryCache};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, ServerConfig, SupportedCipherSuite};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::{CertificateFacts, Certificates, Files, Found};
use crate::client_certificates::{ClientCertificates, ClientProof};
use crate::limits::{HANDSHAKE_STEPS_MAX, SESSIONS_MAX};

/// The protocol of a certificate authority that looks for a proof (RFC 8737, section 4).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// TLS for a listener. Cheap to clone; new certificates reach all clones, and connections that are open keep what they
/// have.
#[derive(Clone)]
pub struct ServerTls(Arc<Parts>);

type Proofs = Arc<dyn Fn(&str) -> Option<Arc<CertifiedKey>> + Send + Sync>;

#[derive(Clone)]
struct Parts {
    config: Configs,
    certificates: Certificates,
    files: Option<Files>,
    clients: Option<ClientCertificates>,
    proofs: Option<Proofs>,
    turns: Arc<Semaphore>,
}

#[derive(Clone)]
struct Configs {
    usual: Arc<ServerConfig>,
    /// The same without HTTP/2.
    plain: Arc<ServerConfig>,
}

/// How a handshake ended.
pub(crate) enum Handshake<T> {
    /// With a session, and what the client proved in it.
    Session(Box<TlsStream<T>>, ClientProof),
    /// A certificate authority saw a proof; there is nothing more to say.
    ProofShown,
    /// The client named nobody of ours, or somebody whose certificate has not come yet.
    NameRefused,
    /// It did not come to an end.
    Failed,
}

impl ServerTls {
    /// Shows these certificates.
    ///
    /// # Errors
    ///
    /// When TLS itself cannot be set up.
    pub fn new(certificates: Certificates) -> Result<Self, ServerTlsError> {
        Self::with(certificates, None)
    }

    /// Reads a chain and its key from PEM files, and shows them to clients that name one of the chain's names.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or does not hold what it should, or the two do not belong together. A certificate
    /// outside its dates is no error; [`CertificateFacts::warning`] tells.
    pub fn from_files(certificate: &Path, private_key: &Path) -> Result<Self, ServerTlsError> {
        let files = Files { certificate: certificate.to_owned(), private_key: private_key.to_owned() };
        let certificates = Certificates::of(files.read()?);
        Self::with(certificates, Some(files))
    }

    fn with(certificates: Certificates, files: Option<Files>) -> Result<Self, ServerTlsError> {
        let config = server_configs(&certificates, None).map_err(ServerTlsError::Tls)?;
        let turns = Arc::new(Semaphore::new(HANDSHAKE_STEPS_MAX));
        Ok(Self(Arc::new(Parts { config, certificates, files, clients: None, proofs: None, turns })))
    }

    /// The same, asking clients for certificates.
    ///
    /// # Errors
    ///
    /// When TLS itself cannot be set up.
    pub fn asking_clients(self, clients: ClientCertificates) -> Result<Self, ServerTlsError> {
        let config = server_configs(&self.0.certificates, Some(&clients)).map_err(ServerTlsError::Tls)?;
        let former = Parts::clone(&self.0);
        Ok(Self(Arc::new(Parts { config, clients: Some(clients), ..former })))
    }

    /// The same, showing a certificate authority the proof for a name where there is one (TLS-ALPN-01, RFC 8737).
    pub fn showing_proofs(
        self,
        proof: impl Fn(&str) -> Option<Arc<CertifiedKey>> + Send + Sync + 'static,
    ) -> Self {
        let former = Parts::clone(&self.0);
        Self(Arc::new(Parts { proofs: Some(Arc::new(proof)), ..former }))
    }

    /// Reads the files again, where there are any. New connections get the new certificate; if there is an error, they go on
    /// getting the one before.
    ///
    /// # Errors
    ///
    /// As [`ServerTls::from_files`].
    pub fn reload(&self) -> Result<Option<CertificateFacts>, ServerTlsError> {
        if let Some(files) = &self.0.files {
            self.0.certificates.take_over(files.read()?);
        }
        Ok(self.facts())
    }

    /// What the certificate that ends first says about itself; nothing while there is none.
    pub fn facts(&self) -> Option<CertificateFacts> {
        self.0.certificates.facts()
    }

    /// Shakes hands; without offering HTTP/2, whose connections take up room for as long as they last, if so wanted.
    pub(crate) async fn accept<T>(&self, stream: T, with_http_2: bool) -> Handshake<T>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let Ok(mut start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else {
            return Handshake::Failed;
        };
        let hello = start.client_hello();
        if asks_for_a_proof(&hello) {
            let proof = self.0.proofs.as_ref().zip(hello.server_name()).and_then(|(proof, name)| proof(name));
            let Some(config) = proof.and_then(|proof| proof_config(proof).ok()) else {
                refuse(&mut start.io, AlertDescription::UnrecognisedName).await;
                return Handshake::NameRefused;
            };
            return match start.into_stream(Arc::new(config)).await {
                Ok(mut stream) => {
                    let _ = stream.shutdown().await;
                    Handshake::ProofShown
                }
                Err(_) => Handshake::Failed,
            };
        }
        let alert = match self.0.certificates.find(hello.server_name()) {
            Found::Key(_) => {
                let config = if with_http_2 { &self.0.config.usual } else { &self.0.config.plain };
                let Ok(stream) = self.by_turns(start.into_stream(config.clone())).await else {
                    return Handshake::Failed;
                };
                let proof = match &self.0.clients {
                    Some(clients) => clients.judge(stream.get_ref().1.peer_certificates()),
                    None => ClientProof::NotAsked,
                };
                return Handshake::Session(Box::new(stream), proof);
            }
            Found::Awaited => AlertDescription::InternalError,
            Found::Foreign => AlertDescription::UnrecognisedName,
        };
        refuse(&mut start.io, alert).await;
        Handshake::NameRefused
    }
}

impl ServerTls {
    /// Goes through the first step of a handshake, which is where nearly all of its reckoning is done, when it is its turn.
    /// A flood of handshakes then waits in its own line, and stands in front of nobody who has shaken hands already.
    async fn by_turns<F: Future>(&self, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        let turn = self.0.turns.acquire().await;
        let first = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
        drop(turn);
        match first {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => handshake.await,
        }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

fn asks_for_a_proof(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ACME_TLS))
}

/// A fatal alert before any key is agreed on is a plain record (RFC 8446, sections 5.1 and 6).
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), alert: AlertDescription) {
    let record = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, u8::from(alert)];
    let _ = stream.write_all(&record).await;
    let _ = stream.shutdown().await;
}

/// What is agreed on, the first that the client knows: whoever calls are servers with AES in their processors, to which the
/// short key costs least. None of them is weak, so the order is ours only because audits ask that it be somebody's.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

fn server_configs(
    certificates: &Certificates,
    clients: Option<&ClientCertificates>,
) -> Result<Configs, rustls::Error> {
    let provider = CryptoProvider { cipher_suites: SUITES.to_vec(), ..aws_lc_rs::default_provider() };
    let builder =
        ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.asking()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates.clone()));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    let mut usual = config.clone();
    usual.alpn_protocols.insert(0, b"h2".to_vec());
    Ok(Configs { usual: Arc::new(usual), plain: Arc::new(config) })
}

fn proof_config(proof: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(proof)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Certificate files that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// The file is not there or may not be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Far larger than a chain or a key.
    #[error("{}: {bytes_len} bytes are too many for a certificate or key", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes_len: u64,
    },
    /// No certificate in the certificate file.
    #[error("{}: no certificate in this file; it should hold the chain, beginning with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No key in the key file.
    #[error("{}: no private key in this file; it should hold a line like -----BEGIN PRIVATE KEY-----, without a passphrase", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Something that is not what it says.
    #[error("{}: {what}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The key belongs to another certificate.
    #[error("{} does not belong to the certificate in {}; the first certificate of the chain must be the server's own", private_key.display(), certificate.display())]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        private_key: PathBuf,
    },
    /// TLS itself could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(rustls::Error),
}
