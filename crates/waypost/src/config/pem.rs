//! Certificates and keys in PEM files, checked here so that `waypost check` finds what serving would.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, RootCertStore};

use super::CaFile;
use super::finding::shown;
use super::fingerprint::Content;
use super::forms::Wrong;
use super::loading::Loading;

/// Largest certificate, key or bundle file.
const PEM_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// A certificate chain and its file.
pub(super) struct Chain {
    pub(super) path: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
}

/// A private key and its file.
pub(super) struct Key {
    pub(super) path: PathBuf,
    key: PrivateKeyDer<'static>,
}

/// The chain in the file that `text` names.
pub(super) fn chain(text: &str, loading: &mut Loading<'_>) -> Result<Chain, Wrong> {
    let (path, content) = read(text, loading)?;
    let certificates = certificates(&path, &content.bytes)?;
    Ok(Chain { path, certificates })
}

/// The first private key in the file that `text` names.
pub(super) fn key(text: &str, loading: &mut Loading<'_>) -> Result<Key, Wrong> {
    let (path, content) = read(text, loading)?;
    if content.world_readable {
        loading.world_readable_seen(&path);
    }
    let key = PrivateKeyDer::from_pem_slice(&content.bytes).map_err(|_| {
        Wrong::new(
            format!("{} holds no private key that could be read", shown(&path.to_string_lossy())),
            "Name a PEM file with BEGIN PRIVATE KEY, without a passphrase",
        )
    })?;
    Ok(Key { path, key })
}

/// The trusted roots in the file that `text` names.
pub(super) fn roots(text: &str, loading: &mut Loading<'_>) -> Result<CaFile, Wrong> {
    let (path, content) = read(text, loading)?;
    let mut store = RootCertStore::empty();
    let roots = certificates(&path, &content.bytes)?;
    for root in &roots {
        store.add(root.clone()).map_err(|_| {
            Wrong::new(
                format!("{} holds a certificate that could not be read", shown(&path.to_string_lossy())),
                "Name a PEM file of the certificates to trust",
            )
        })?;
    }
    Ok(CaFile { path, roots })
}

/// Whether the key is the certificate's.
pub(super) fn belong_together(chain: &Chain, key: &Key) -> Result<(), Wrong> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let (certificates, key) = (chain.certificates.clone(), key.key.clone_key());
    match rustls::sign::CertifiedKey::from_der(certificates, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(Wrong::new(
            "the private key is not that of the certificate",
            "Name the key that the certificate was made for; the certificate itself comes first in its file",
        )),
        Err(_) => Err(Wrong::new(
            "the certificate and its private key cannot be used",
            "Give an X.509 certificate with an ECDSA, RSA or Ed25519 key, in PEM",
        )),
    }
}

/// The first item of its kind in the file that `text` names.
pub(super) fn item<T: PemObject>(
    text: &str,
    loading: &mut Loading<'_>,
    name: &str,
) -> Result<(PathBuf, T), Wrong> {
    let (path, content) = read(text, loading)?;
    match T::from_pem_slice(&content.bytes) {
        Ok(item) => Ok((path, item)),
        Err(_) => Err(Wrong::new(
            format!("{} holds no {name} that could be read", shown(&path.to_string_lossy())),
            format!("Name a PEM file with BEGIN {}", name.to_ascii_uppercase()),
        )),
    }
}

fn read(text: &str, loading: &mut Loading<'_>) -> Result<(PathBuf, Content), Wrong> {
    if text.is_empty() {
        return Err(Wrong::new("no file is named", "Write the path of a PEM file"));
    }
    let path = loading.beside_the_file(text);
    match loading.disk.read(&path, PEM_BYTES_MAX) {
        Ok(content) => Ok((path, content)),
        Err(why) => Err(Wrong::new(
            format!("{} cannot be read: {why}", shown(&path.to_string_lossy())),
            "Name a PEM file that this user may read; relative paths begin at the configuration file's folder",
        )),
    }
}

fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(Wrong::new(
            format!("{} holds no certificate that could be read", shown(&path.to_string_lossy())),
            "Name a PEM file with BEGIN CERTIFICATE",
        )),
    }
}
