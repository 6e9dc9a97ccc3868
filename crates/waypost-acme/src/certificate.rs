//! A certificate as it came from the authority, with its key.

use std::sync::Arc;

use instant_acme::CertificateIdentifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use waypost_domain::UnixMillis;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A chain and its key, ready for handshakes.
#[derive(Clone)]
pub struct Certificate {
    /// The names it is for, in lower case.
    pub names: Vec<String>,
    /// The chain and the key.
    pub key: Arc<CertifiedKey>,
    /// The first moment it is valid.
    pub not_before: UnixMillis,
    /// The last moment it is valid.
    pub not_after: UnixMillis,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The form in which it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) directory: String,
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
}

impl Kept {
    /// Reads it and looks whether its parts belong together.
    pub(crate) fn open(&self) -> Result<Certificate, CertificateError> {
        let broken = |what: &dyn std::fmt::Display| CertificateError(what.to_string());
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| broken(&error))?;
        let Some(leaf) = chain.first() else {
            return Err(CertificateError("there is no certificate in it".to_owned()));
        };
        let (_, x509) = X509Certificate::from_der(leaf).map_err(|error| broken(&error))?;
        let moment = |seconds: i64| UnixMillis(seconds.saturating_mul(1_000));
        let (not_before, not_after) =
            (moment(x509.validity().not_before.timestamp()), moment(x509.validity().not_after.timestamp()));
        let names = names(&x509);
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|error| broken(&error))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| broken(&error))?;
        Ok(Certificate { names, key: Arc::new(key), not_before, not_after })
    }
}

impl Certificate {
    /// What the authority knows it by (RFC 9773, section 4.1); none where it lacks an authority key identifier.
    pub(crate) fn identifier(&self) -> Option<CertificateIdentifier<'static>> {
        CertificateIdentifier::try_from(self.key.cert.first()?).ok().map(CertificateIdentifier::into_owned)
    }

    /// Whether it is for all of these names.
    pub(crate) fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// A certificate that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the certificate cannot be used: {0}")]
pub struct CertificateError(pub(crate) String);
