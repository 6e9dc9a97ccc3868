//! Why a call had no whole answer: every error of the network, of TLS and of HTTP becomes one
//! [`Failure`] and one plain sentence.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;

use rustls::CertificateError;
use waypost_domain::{AttemptTiming, Failure};

/// A call without a whole answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct CallError {
    /// What kind of end it was.
    pub failure: Failure,
    /// One plain sentence for the operator. It holds no header, no path and no body.
    pub detail: String,
    /// Where the time went until then.
    pub timing: AttemptTiming,
    /// The address that was spoken to, where one was.
    pub address: Option<SocketAddr>,
}

/// A failure with its sentence, before the call adds time and address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }

    /// No TCP connection to `address`.
    pub(crate) fn of_connect(error: &io::Error, address: SocketAddr) -> Self {
        if is_ours(error) {
            return Self::new(Failure::Ours, format!("no socket could be opened: {error}"));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                Self::new(Failure::ConnectRefused, format!("{address} refused the connection"))
            }
            io::ErrorKind::TimedOut => Self::new(
                Failure::ConnectTimedOut,
                format!("{address} did not accept the connection in time"),
            ),
            _ => Self::new(Failure::ConnectFailed, format!("{address} could not be reached: {error}")),
        }
    }

    /// No TLS over a TCP connection.
    pub(crate) fn of_tls(error: &io::Error, name: &str) -> Self {
        if is_ours(error) {
            return Self::new(Failure::Ours, format!("no TLS session could be opened: {error}"));
        }
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(reason)) => {
                Self::new(Failure::CertificateRefused, certificate_sentence(reason, name))
            }
            Some(rustls::Error::NoCertificatesPresented) => {
                Self::new(Failure::CertificateRefused, format!("{name} presented no certificate"))
            }
            Some(other) => {
                Self::new(Failure::TlsFailed, format!("the TLS handshake with {name} failed: {other}"))
            }
            None => Self::new(Failure::TlsFailed, format!("the TLS handshake with {name} was cut: {error}")),
        }
    }

    /// No head of an answer after the request was handed to the connection.
    pub(crate) fn of_exchange(error: &hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return Self::new(Failure::AnswerUnreadable, "the head of the answer was too large");
        }
        if error.is_parse() || error.is_parse_status() || error.is_parse_version_h2() {
            return Self::new(Failure::AnswerUnreadable, "the answer was not HTTP");
        }
        Self::new(
            Failure::ConnectionLost,
            format!("the connection ended before the answer came: {}", innermost(error)),
        )
    }

    /// An answer whose body did not come whole.
    pub(crate) fn of_body(error: &hyper::Error) -> Self {
        let broken = source_io(error)
            .is_some_and(|io| matches!(io.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData));
        if broken || error.is_parse() {
            return Self::new(Failure::AnswerUnreadable, "the body of the answer was not HTTP");
        }
        Self::new(
            Failure::ConnectionLost,
            format!("the connection ended before the answer was whole: {}", innermost(error)),
        )
    }
}

fn certificate_sentence(reason: &CertificateError, name: &str) -> String {
    use CertificateError as E;
    match reason {
        E::Expired | E::ExpiredContext { .. } => format!("the certificate of {name} has expired"),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            format!("the certificate of {name} is not valid yet")
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            format!("the certificate presented is not for {name}")
        }
        E::UnknownIssuer | E::BadSignature => {
            format!(
                "the certificate of {name} is not signed by a trusted authority; name its root in ca_file"
            )
        }
        E::Revoked => format!("the certificate of {name} is revoked"),
        other => format!("the certificate of {name} is refused: {other}"),
    }
}

/// Whether an error says that this machine, not the receiver, lacks something: file descriptors
/// (`ENFILE` 23, `EMFILE` 24 on every Unix), memory, local ports.
fn is_ours(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
        || matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable)
}

fn source_io(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = inner.source();
    }
    None
}

fn innermost(error: &hyper::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_our_own_is_not_the_receivers_fault() {
        let address: SocketAddr = "203.0.113.1:443".parse().unwrap();
        for (code, failure) in [
            (24, Failure::Ours),
            (23, Failure::Ours),
            (111, Failure::ConnectRefused),
            (110, Failure::ConnectTimedOut),
            (113, Failure::ConnectFailed),
            (101, Failure::ConnectFailed),
            (104, Failure::ConnectFailed),
            (99, Failure::Ours),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(Fault::of_connect(&error, address).failure, failure, "{error}");
        }
    }
}
