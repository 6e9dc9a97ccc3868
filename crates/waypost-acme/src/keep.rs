//! Where account, certificates and the diary of attempts are kept over restarts.

use std::future::Future;
use std::pin::Pin;

use aws_lc_rs::digest::{SHA256, digest};

/// A future of a [`Keep`].
pub type KeepFuture<'k, T> = Pin<Box<dyn Future<Output = Result<T, KeepError>> + Send + 'k>>;

/// Keeps values by key. Values hold private keys: only the owner may read them. A value that was put must survive a
/// crash.
pub trait Keep: Send + Sync + 'static {
    /// The value under a key, if there is one.
    fn get<'k>(&'k self, key: &'k str) -> KeepFuture<'k, Option<Vec<u8>>>;
    /// Puts a value under a key, in place of the former one.
    fn put<'k>(&'k self, key: &'k str, value: Vec<u8>) -> KeepFuture<'k, ()>;
    /// The keys that begin so, in no order.
    fn list<'k>(&'k self, prefix: &'k str) -> KeepFuture<'k, Vec<String>>;
}

/// Something that could not be kept or found again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeepError(
    /// One plain sentence.
    pub String,
);

pub(crate) const CERTIFICATES: &str = "acme/certificate/";
const DIARIES: &str = "acme/diary/";
const ACCOUNTS: &str = "acme/account/";

/// The key of the certificate for these names, in their order, from this authority.
pub(crate) fn certificate(directory: &str, names: &[String]) -> String {
    format!("{CERTIFICATES}{}", name_of(directory, names))
}

/// The key of what was tried for them.
pub(crate) fn diary(directory: &str, names: &[String]) -> String {
    format!("{DIARIES}{}", name_of(directory, names))
}

/// The key of the account at this authority, under this external account if any.
pub(crate) fn account(directory: &str, external: Option<&str>) -> String {
    let external: Vec<_> = external.map(str::to_owned).into_iter().collect();
    format!("{ACCOUNTS}{}", name_of(directory, &external))
}

fn name_of(directory: &str, parts: &[String]) -> String {
    let mut text = directory.to_owned();
    for part in parts {
        text.push('\n');
        text.push_str(part);
    }
    let hash = digest(&SHA256, text.as_bytes());
    hash.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}
