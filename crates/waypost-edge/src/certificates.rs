//! Which certificate is shown for which name, swapped while connections live.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use waypost_domain::UnixMillis;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::PEM_FILE_BYTES_MAX;
use crate::tls::ServerTlsError;

/// The certificates of a listener, by name. Cheap to clone; all clones are one, and connections that are open keep what
/// they have.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Arc<ArcSwap<Book>>);

#[derive(Clone, Debug, Default)]
struct Book {
    /// By name in lower case, `*.example.com` for all names one step below; empty while one is awaited.
    names: HashMap<Box<str>, Option<Shown>>,
    /// For clients that name nobody.
    unnamed: Option<Shown>,
    /// For every name: a certificate that names nobody itself.
    any: Option<Shown>,
}

#[derive(Clone, Debug)]
struct Shown {
    key: Arc<CertifiedKey>,
    facts: CertificateFacts,
}

/// What there is for the name in a handshake.
pub(crate) enum Found {
    /// A certificate.
    Key(Arc<CertifiedKey>),
    /// None yet: the name is ours, and its certificate is awaited.
    Awaited,
    /// Nothing: the name is not ours, or there is none.
    Foreign,
}

impl Certificates {
    /// No certificate yet, for these names.
    pub fn awaiting<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(|name| (name.as_ref().to_ascii_lowercase().into(), None)).collect();
        Self(Arc::new(ArcSwap::from_pointee(Book { names, ..Book::default() })))
    }

    /// Shows this certificate for these names from now on.
    pub fn install<N: AsRef<str>>(
        &self,
        names: impl IntoIterator<Item = N>,
        key: Arc<CertifiedKey>,
        facts: CertificateFacts,
    ) {
        let names: Vec<_> = names.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect();
        self.0.rcu(|book| {
            let mut book = Book::clone(book);
            for name in &names {
                let shown = Shown { key: key.clone(), facts: facts.clone() };
                book.names.insert(name.as_str().into(), Some(shown));
            }
            book
        });
    }

    /// What the certificate that ends first says about itself; nothing while there is none.
    pub fn facts(&self) -> Option<CertificateFacts> {
        let book = self.0.load();
        let all = book.names.values().flatten().chain(&book.unnamed).chain(&book.any);
        all.map(|shown| &shown.facts).min_by_key(|facts| facts.not_after).cloned()
    }

    /// The names that have no certificate yet.
    pub fn awaited(&self) -> Vec<String> {
        let book = self.0.load();
        let awaited = book.names.iter().filter(|(_, shown)| shown.is_none());
        awaited.map(|(name, _)| name.to_string()).collect()
    }

    pub(crate) fn of(pair: Pair) -> Self {
        let certificates = Self::default();
        certificates.take_over(pair);
        certificates
    }

    /// Shows what files hold now, in place of everything.
    pub(crate) fn take_over(&self, Pair { key, facts, names }: Pair) {
        let shown = Shown { key, facts };
        let mut book = Book::default();
        if names.dns.is_empty() && !names.addresses {
            book.any = Some(shown.clone());
        }
        if names.addresses || names.dns.is_empty() {
            book.unnamed = Some(shown.clone());
        }
        book.names = names.dns.into_iter().map(|name| (name.into_boxed_str(), Some(shown.clone()))).collect();
        self.0.store(Arc::new(book));
    }

    pub(crate) fn find(&self, name: Option<&str>) -> Found {
        let book = self.0.load();
        let found = match name {
            None => book.unnamed.as_ref().map(Some),
            Some(name) => {
                let name = name.to_ascii_lowercase();
                let exact = book.names.get(name.as_str());
                let wider = || book.names.get(format!("*{}", &name[name.find('.')?..]).as_str());
                exact.or_else(wider).map(Option::as_ref).or(book.any.as_ref().map(Some))
            }
        };
        match found {
            Some(Some(shown)) => Found::Key(shown.key.clone()),
            Some(None) => Found::Awaited,
            None => Found::Foreign,
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.find(hello.server_name()) {
            Found::Key(key) => Some(key),
            Found::Awaited | Found::Foreign => None,
        }
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

/// What two files hold.
pub(crate) struct Pair {
    key: Arc<CertifiedKey>,
    facts: CertificateFacts,
    names: Names,
}

/// Whom a certificate is for.
#[derive(Default)]
struct Names {
    dns: Vec<String>,
    addresses: bool,
}

/// A certificate file and a key file.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

impl Files {
    pub(crate) fn read(&self) -> Result<Pair, ServerTlsError> {
        let text = read_pem(&self.certificate)?;
        let broken = |path: &Path, what: String| ServerTlsError::Broken { path: path.to_owned(), what };
        let chain = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| broken(&self.certificate, error.to_string()))?;
        let Some(leaf) = chain.first() else {
            return Err(ServerTlsError::NoCertificate { path: self.certificate.clone() });
        };
        let (facts, names) = facts(leaf, chain.len()).ok_or_else(|| {
            broken(&self.certificate, "the first certificate is not an X.509 certificate".to_owned())
        })?;
        let text = read_pem(&self.private_key)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => ServerTlsError::NoKey { path: self.private_key.clone() },
            error => broken(&self.private_key, error.to_string()),
        })?;
        let key =
            CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(
                |error| match error {
                    rustls::Error::InconsistentKeys(_) => ServerTlsError::Mismatch {
                        certificate: self.certificate.clone(),
                        private_key: self.private_key.clone(),
                    },
                    error => broken(&self.private_key, error.to_string()),
                },
            )?;
        Ok(Pair { key: Arc::new(key), facts, names })
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, ServerTlsError> {
    let unreadable = |source| ServerTlsError::Unreadable { path: path.to_owned(), source };
    let bytes_len = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes_len > PEM_FILE_BYTES_MAX {
        return Err(ServerTlsError::TooLarge { path: path.to_owned(), bytes_len });
    }
    std::fs::read(path).map_err(unreadable)
}

fn facts(leaf: &CertificateDer<'_>, chain_length: usize) -> Option<(CertificateFacts, Names)> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let validity = certificate.validity();
    let moment = |seconds: i64| UnixMillis(seconds.saturating_mul(1_000));
    let facts = CertificateFacts {
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
        chain_length,
    };
    let mut names = Names::default();
    if let Ok(Some(extension)) = certificate.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(_) => names.addresses = true,
                _ => {}
            }
        }
    }
    Some((facts, names))
}
