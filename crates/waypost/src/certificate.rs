//! The certificate that an address shows, for people to look at. Nothing is sent and nothing is believed by it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ALL_VERSIONS, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use waypost_domain::UnixMillis;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::rendering::time;

/// How long looking may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(5);

/// What a certificate says of itself.
#[derive(Serialize, Debug)]
pub(crate) struct Certificate {
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
}

/// The certificate that `address` shows to who asks for `name`; `None` where it shows none that can be read.
pub(crate) async fn shown_by(address: SocketAddr, name: &str) -> Option<Certificate> {
    tokio::time::timeout(LOOK_TIME_MAX, look(address, name)).await.ok()?
}

async fn look(address: SocketAddr, name: &str) -> Option<Certificate> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned()).ok()?;
    let stream = TcpStream::connect(address).await.ok()?;
    let config = looking(&[], ALL_VERSIONS).ok()?;
    let shown = TlsConnector::from(config).connect(name, stream).await.ok()?;
    let leaf = shown.get_ref().1.peer_certificates()?.first()?.clone();
    let (_, read) = X509Certificate::from_der(&leaf).ok()?;
    let moment = |seconds: i64| time(UnixMillis(seconds.saturating_mul(1_000)));
    Some(Certificate {
        subject: read.subject().to_string(),
        issuer: read.issuer().to_string(),
        not_before: moment(read.validity().not_before.timestamp()),
        not_after: moment(read.validity().not_after.timestamp()),
    })
}

/// A configuration for looking only: whatever certificate is shown, the handshake goes on. Nothing may be said over it.
///
/// # Errors
///
/// When these versions cannot be spoken.
pub(crate) fn looking(
    alpn: &[&[u8]],
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)?
        .dangerous() // the name of the builder's door; what is behind it believes nobody, and nothing is said
        .with_custom_certificate_verifier(Arc::new(OnlyLooking(provider)))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Lets every certificate pass, so that it can be looked at. The peer must still hold its key.
#[derive(Debug)]
struct OnlyLooking(Arc<CryptoProvider>);

impl ServerCertVerifier for OnlyLooking {
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
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
