//! The answers that the authority comes to see: on plain HTTP, or in a TLS handshake.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

/// How a name is proved.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChallengeKind {
    /// A file on port 80 (RFC 8555, section 8.3).
    Http01,
    /// A certificate in a handshake on port 443 (RFC 8737).
    TlsAlpn01,
}

impl ChallengeKind {
    pub(crate) fn on_the_wire(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

/// The answers to be given at the moment. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Challenges(Arc<Mutex<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    files: HashMap<String, String>,
    certificates: HashMap<String, Arc<CertifiedKey>>,
}

impl Challenges {
    /// What to answer, as plain text with status 200, to `GET /.well-known/acme-challenge/TOKEN`; nothing for a token that
    /// is not expected.
    pub fn file(&self, token: &str) -> Option<String> {
        self.answers().files.get(token).cloned()
    }

    /// The same by the request's path.
    pub fn file_at(&self, path: &str) -> Option<String> {
        self.file(path.strip_prefix("/.well-known/acme-challenge/")?)
    }

    /// What to show in a handshake for this name whose only protocol is `acme-tls/1`.
    pub fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.answers().certificates.get(name).cloned()
    }

    /// Gives an answer until what is returned is dropped.
    pub(crate) fn show(
        &self,
        kind: ChallengeKind,
        name: &str,
        token: &str,
        answer: &KeyAuthorization,
    ) -> Result<Shown, rcgen::Error> {
        let key = match kind {
            ChallengeKind::Http01 => {
                self.answers().files.insert(token.to_owned(), answer.as_str().to_owned());
                token.to_owned()
            }
            ChallengeKind::TlsAlpn01 => {
                let certificate = proof(name, answer.digest().as_ref())?;
                self.answers().certificates.insert(name.to_owned(), Arc::new(certificate));
                name.to_owned()
            }
        };
        Ok(Shown { challenges: self.clone(), kind, key })
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer being given.
pub(crate) struct Shown {
    challenges: Challenges,
    kind: ChallengeKind,
    key: String,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let mut answers = self.challenges.answers();
        match self.kind {
            ChallengeKind::Http01 => drop(answers.files.remove(&self.key)),
            ChallengeKind::TlsAlpn01 => drop(answers.certificates.remove(&self.key)),
        }
    }
}

/// The self-signed certificate of RFC 8737, section 3: the name, and the digest in a critical extension.
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, rcgen::Error> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    // Not looked at whether the two belong together: that refuses certificates with a critical extension of this kind.
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| rcgen::Error::CouldNotParseKeyPair)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}
