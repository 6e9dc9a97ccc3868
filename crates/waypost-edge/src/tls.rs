//! The gateway's own certificates, from files, swapped while connections live.

use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use waypost_domain::UnixMillis;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::{PEM_FILE_BYTES_MAX, SESSIONS_MAX};

/// TLS for a listener: a certificate chain and its key. Cheap to clone; a reload reaches all clones, and connections
/// that are open keep what they have.
#[derive(Clone)]
pub struct ServerTls(Arc<Parts>);

struct Parts {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
    files: Files,
    /// What the files held when they were last read, for better or worse.
    seen: Mutex<Fingerprint>,
}

struct Files {
    certificate: PathBuf,
    private_key: PathBuf,
}

impl ServerTls {
    /// Reads a chain and its key from PEM files.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or does not hold what it should, or the two do not belong together. A certificate
    /// outside its dates is no error; [`CertificateFacts::warning`] tells.
    pub fn from_files(certificate: &Path, private_key: &Path) -> Result<Self, ServerTlsError> {
        let files = Files { certificate: certificate.to_owned(), private_key: private_key.to_owned() };
        let seen = files.fingerprint();
        let pair = files.read()?;
        let certificate = Arc::new(Certificate { current: ArcSwap::from_pointee(pair) });
        let config = server_config(certificate.clone()).map_err(ServerTlsError::Tls)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self(Arc::new(Parts { acceptor, certificate, files, seen: Mutex::new(seen) })))
    }

    /// Reads the files again. New connections get the new certificate; if there is an error, they go on getting the one before.
    ///
    /// # Errors
    ///
    /// As [`ServerTls::from_files`].
    pub fn reload(&self) -> Result<CertificateFacts, ServerTlsError> {
        let fingerprint = self.0.files.fingerprint();
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
        let pair = self.0.files.read()?;
        let facts = pair.facts.clone();
        self.0.certificate.current.store(Arc::new(pair));
        Ok(facts)
    }

    /// Whether the files hold something else than when they were last read, well or badly. To be polled.
    pub fn changed(&self) -> bool {
        self.0.files.fingerprint() != *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the certificate in use says about itself.
    pub fn facts(&self) -> CertificateFacts {
        self.0.certificate.current.load().facts.clone()
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.0.acceptor
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

/// What a certificate says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFacts {
    /// The first moment it is valid.
    pub not_before: UnixMillis,
    /// The last moment it is valid.
    pub not_after: UnixMillis,
    /// Certificates in the chain, its own included.
    pub chain_length: usize,
}

impl CertificateFacts {
    /// What is wrong with its dates, if anything is.
    pub fn warning(&self, now: UnixMillis) -> Option<&'static str> {
        if now > self.not_after {
            Some("the certificate has expired; callers will refuse it until it is renewed")
        } else if now < self.not_before {
            Some("the certificate is not valid yet; callers will refuse it, or this machine's clock is wrong")
        } else {
            None
        }
    }
}

/// Picks the certificate for a handshake. Where certificates are got by ACME, this is the place that learns of them.
#[derive(Debug)]
struct Certificate {
    current: ArcSwap<Pair>,
}

#[derive(Debug)]
struct Pair {
    key: Arc<CertifiedKey>,
    facts: CertificateFacts,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

fn server_config(certificate: Arc<Certificate>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    Ok(config)
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

impl Files {
    fn read(&self) -> Result<Pair, ServerTlsError> {
        let text = read_pem(&self.certificate)?;
        let broken = |path: &Path, what: String| ServerTlsError::Broken { path: path.to_owned(), what };
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| broken(&self.certificate, error.to_string()))?;
        let Some(leaf) = chain.first() else {
            return Err(ServerTlsError::NoCertificate { path: self.certificate.clone() });
        };
        let facts = facts(leaf, chain.len()).ok_or_else(|| {
            broken(&self.certificate, "the first certificate is not an X.509 certificate".to_owned())
        })?;
        let text = read_pem(&self.private_key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => ServerTlsError::NoKey { path: self.private_key.clone() },
            error => broken(&self.private_key, error.to_string()),
        })?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => ServerTlsError::Mismatch {
                certificate: self.certificate.clone(),
                private_key: self.private_key.clone(),
            },
            error => broken(&self.private_key, error.to_string()),
        })?;
        Ok(Pair { key: Arc::new(key), facts })
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint([&self.certificate, &self.private_key].map(|path| {
            let content = read_pem(path).ok()?;
            let mut hasher = DefaultHasher::new();
            hasher.write(&content);
            Some(hasher.finish())
        }))
    }
}

/// A digest of what both files hold; none where a file cannot be read. Content rather than dates: a tool that renews
/// may keep the date, and one that touches the file need not change it.
#[derive(PartialEq, Eq, Debug)]
struct Fingerprint([Option<u64>; 2]);

fn read_pem(path: &Path) -> Result<Vec<u8>, ServerTlsError> {
    let unreadable = |source| ServerTlsError::Unreadable { path: path.to_owned(), source };
    let bytes_len = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes_len > PEM_FILE_BYTES_MAX {
        return Err(ServerTlsError::TooLarge { path: path.to_owned(), bytes_len });
    }
    std::fs::read(path).map_err(unreadable)
}

fn facts(leaf: &CertificateDer<'_>, chain_length: usize) -> Option<CertificateFacts> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let validity = certificate.validity();
    let moment = |seconds: i64| UnixMillis(seconds.saturating_mul(1_000));
    Some(CertificateFacts {
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
        chain_length,
    })
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
