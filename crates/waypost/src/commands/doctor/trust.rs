//! Whom the doctor believes.

use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, Error};
use rustls_platform_verifier::Verifier;

/// The system's authorities, and those that were named besides. Nothing that a chain lacks is fetched, as Meta fetches
/// nothing. Cheap to clone.
#[derive(Clone)]
pub(super) struct Trust {
    verifier: Arc<Verifier>,
    /// For conversations: verified, and HTTP/1.1, which is what Meta speaks.
    pub(super) verified: Arc<ClientConfig>,
}

impl Trust {
    /// # Errors
    ///
    /// When there is nobody to believe.
    pub(super) fn new(extra_roots: &[CertificateDer<'static>]) -> anyhow::Result<Self> {
        let verifier = Verifier::new_with_extra_roots(extra_roots.iter().cloned(), provider())
            .context("no certificate can be believed; install ca-certificates or name a --ca-file")?;
        let verifier = Arc::new(verifier);
        let mut verified = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous() // the name of the builder's door; the verifier behind it is the platform's own
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        verified.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each conversation shows the certificate anew.
        verified.resumption = rustls::client::Resumption::disabled();
        Ok(Self { verifier, verified: Arc::new(verified) })
    }

    /// Whether the chain, as it was sent, leads from its first certificate to somebody believed, and is for that name.
    pub(super) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        at: UnixTime,
    ) -> Result<(), Error> {
        let Some((leaf, rest)) = chain.split_first() else { return Err(Error::NoCertificatesPresented) };
        self.verifier.verify_server_cert(leaf, rest, name, &[], at).map(|_| ())
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()))
}
