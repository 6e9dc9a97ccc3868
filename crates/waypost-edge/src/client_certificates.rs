//! Client certificates: asked for, looked at, and what they prove left for the service to judge.
//!
//! A listener is shared: browsers, probes and the certificate authority have no client certificate, and Meta has one only
//! where its dashboard says so. So no handshake fails for it; the service demands it on the paths where it must be.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use waypost_domain::Clock;
use waypost_outbound::{CaFileError, read_ca_file};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The name in the certificate with which Meta calls webhooks (Graph API, "Webhooks: Getting Started", mTLS).
pub const META_CLIENT_NAME: &str = "client.webhooks.fbclientcerts.com";

/// What a client's certificate proves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClientProof {
    /// None was asked for.
    NotAsked,
    /// None was shown.
    NotShown,
    /// It is the expected client.
    Proved,
    /// The chain does not lead to an authority in the file.
    UnknownAuthority,
    /// It is outside its dates.
    OutsideDates,
    /// It is somebody else's.
    OtherName,
    /// It is no certificate, or none for clients.
    Unusable,
}

impl ClientProof {
    /// What to say of it in a log.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::NotShown => "not_shown",
            Self::Proved => "proved",
            Self::UnknownAuthority => "unknown_authority",
            Self::OutsideDates => "outside_dates",
            Self::OtherName => "other_name",
            Self::Unusable => "unusable",
        }
    }
}

/// Whose certificates are believed, and which name must be in them. Cheap to clone.
#[derive(Clone)]
pub struct ClientCertificates(Arc<Expected>);

struct Expected {
    verifier: Arc<dyn ClientCertVerifier>,
    name: String,
    clock: Clock,
}

impl ClientCertificates {
    /// Certificates with this name from the authorities in this file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no certificate of an authority.
    pub fn from_file(ca_file: &Path, name: &str, clock: Clock) -> Result<Self, CaFileError> {
        let mut roots = RootCertStore::empty();
        let broken = |what: String| CaFileError::Broken { path: ca_file.to_owned(), what };
        for root in read_ca_file(ca_file)? {
            roots.add(root).map_err(|error| broken(error.to_string()))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| broken(error.to_string()))?;
        Ok(Self(Arc::new(Expected { verifier, name: name.to_ascii_lowercase(), clock })))
    }

    /// What a chain that was shown proves.
    pub(crate) fn judge(&self, chain: Option<&[CertificateDer<'_>]>) -> ClientProof {
        let Some((leaf, intermediates)) = chain.and_then(<[_]>::split_first) else {
            return ClientProof::NotShown;
        };
        let wall_ms = u64::try_from(self.0.clock.wall().0).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(Duration::from_millis(wall_ms));
        match self.0.verifier.verify_client_cert(leaf, intermediates, now) {
            Ok(_) if self.names(leaf) => ClientProof::Proved,
            Ok(_) => ClientProof::OtherName,
            Err(Error::InvalidCertificate(error)) => match error {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => ClientProof::OutsideDates,
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    ClientProof::UnknownAuthority
                }
                _ => ClientProof::Unusable,
            },
            Err(_) => ClientProof::Unusable,
        }
    }

    /// Among its alternative names; in its common name only where there are none (RFC 9525, section 2).
    fn names(&self, leaf: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
        let is_it = |name: &str| name.eq_ignore_ascii_case(&self.0.name);
        match certificate.subject_alternative_name() {
            Ok(Some(extension)) => extension
                .value
                .general_names
                .iter()
                .any(|name| matches!(name, GeneralName::DNSName(name) if is_it(name))),
            Ok(None) => certificate.subject().iter_common_name().any(|name| name.as_str().is_ok_and(is_it)),
            Err(_) => false,
        }
    }

    /// Asks for a certificate and takes any, or none.
    pub(crate) fn asking(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Asking(self.0.verifier.clone()))
    }
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificates").field("name", &self.0.name).finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// That the client has the key of the certificate it shows is verified; the certificate is judged later.
#[derive(Debug)]
struct Asking(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
