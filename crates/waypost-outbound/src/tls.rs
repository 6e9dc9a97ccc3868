//! Whom to believe: the operator's own trust store, and the extra roots a receiver was given.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;

use crate::limits::CA_FILE_BYTES_MAX;

/// How one endpoint's TLS sessions are opened.
#[derive(Clone)]
pub(crate) struct ClientTls {
    /// The configuration, or the sentence that says why there is none.
    pub(crate) config: Result<Arc<ClientConfig>, Arc<str>>,
    /// The name for SNI and the certificate.
    pub(crate) name: ServerName<'static>,
}

/// The configuration shared by every endpoint without roots of its own, so that the system's trust store is read
/// once, and only if a receiver is called over TLS at all.
#[derive(Default)]
pub(crate) struct SystemTrust(OnceLock<Result<Arc<ClientConfig>, Arc<str>>>);

impl SystemTrust {
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Arc<str>> {
        self.0.get_or_init(|| client_config(&[]).map_err(|error| no_roots(&error))).clone()
    }
}

fn no_roots(error: &rustls::Error) -> Arc<str> {
    format!("no certificate can be believed ({error}); install ca-certificates or name a ca_file").into()
}

/// A configuration that believes the system's roots and these. Works without any system roots where
/// there are extra ones.
pub(crate) fn client_config(
    extra_roots: &[CertificateDer<'static>],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let verifier = Verifier::new_with_extra_roots(extra_roots.iter().cloned(), provider.clone())?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // the name of the builder's door; the verifier behind it is the platform's own
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())).clone()
}

/// The certificates of a `ca_file`, to be believed besides the system's roots.
///
/// # Errors
///
/// When the file cannot be read, is not PEM, or holds no certificate that can be a root.
pub fn read_ca_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, CaFileError> {
    let unreadable = |source| CaFileError::Unreadable { path: path.to_owned(), source };
    let bytes_len = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes_len > CA_FILE_BYTES_MAX {
        return Err(CaFileError::TooLarge { path: path.to_owned(), bytes_len });
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    let broken = |what: String| CaFileError::Broken { path: path.to_owned(), what };
    let roots = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(error.to_string()))?;
    if roots.is_empty() {
        return Err(CaFileError::Empty { path: path.to_owned() });
    }
    let mut store = rustls::RootCertStore::empty();
    for root in &roots {
        store.add(root.clone()).map_err(|error| broken(error.to_string()))?;
    }
    Ok(roots)
}

/// A `ca_file` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaFileError {
    /// The file is not there or may not be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Far larger than any list of roots.
    #[error("{}: {bytes_len} bytes are too many for a file of certificates", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes_len: u64,
    },
    /// No certificate in it.
    #[error("{}: no certificate in this file; it should hold lines like -----BEGIN CERTIFICATE-----", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Something in it that is no certificate.
    #[error("{}: a certificate in this file cannot be read: {what}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}
