//! Whom the doctor believes, and how it looks at those whom it does not.

use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion};
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

/// A configuration for looking only: whatever certificate is shown, the handshake goes on. Nothing may be said over it.
pub(super) fn looking(
    alpn: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ClientConfig>, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()))
}

/// Lets every certificate pass, so that it can be looked at. The peer must still hold its key.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
