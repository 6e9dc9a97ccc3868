//! What one try at a delivery came to.

use std::time::Duration;

/// How an attempt ended, before anybody judges it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The receiver answered, whole.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The receiver's `Retry-After`, as a duration from now.
        retry_after: Option<Duration>,
    },
    /// There was no whole answer.
    Failed(Failure),
}

/// Why there was no whole answer. Each has one stable code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// The receiver's name did not resolve.
    NameNotResolved,
    /// Every address of the receiver is in a range that only an explicit word admits.
    AddressForbidden,
    /// The receiver's machine refused the connection.
    ConnectRefused,
    /// No connection: unreachable, reset while connecting.
    ConnectFailed,
    /// No connection within the connect deadline, the TLS handshake included.
    ConnectTimedOut,
    /// The TLS handshake was cut or failed for another reason than the certificate.
    TlsFailed,
    /// The receiver's certificate is not one to believe: name, date, chain.
    CertificateRefused,
    /// The connection ended after the request was sent and before the answer was whole.
    ConnectionLost,
    /// No whole answer within the attempt's deadline.
    TimedOut,
    /// The answer was not HTTP, or its head was too large.
    AnswerUnreadable,
    /// The attempt could not be made for a reason of our own, such as too few file descriptors.
    Ours,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::NameNotResolved,
        Self::AddressForbidden,
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::ConnectTimedOut,
        Self::TlsFailed,
        Self::CertificateRefused,
        Self::ConnectionLost,
        Self::TimedOut,
        Self::AnswerUnreadable,
        Self::Ours,
    ];

    /// The stable code an operator sees and searches for.
    pub fn code(self) -> &'static str {
        match self {
            Self::NameNotResolved => "name_not_resolved",
            Self::AddressForbidden => "address_forbidden",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimedOut => "connect_timed_out",
            Self::TlsFailed => "tls_failed",
            Self::CertificateRefused => "certificate_refused",
            Self::ConnectionLost => "connection_lost",
            Self::TimedOut => "timed_out",
            Self::AnswerUnreadable => "answer_unreadable",
            Self::Ours => "gateway_fault",
        }
    }

    /// Whether the receiver may have seen the request.
    pub fn may_have_arrived(self) -> bool {
        matches!(self, Self::ConnectionLost | Self::TimedOut | Self::AnswerUnreadable)
    }
}

/// Where an attempt's time went. Connecting costs nothing on a kept connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AttemptTiming {
    /// Resolving the name.
    pub resolve: Option<Duration>,
    /// Opening the TCP connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From sending the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// All of it.
    pub total: Duration,
}

/// All that is kept of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttemptReport {
    /// How it ended.
    pub reply: Reply,
    /// Where the time went.
    pub timing: AttemptTiming,
    /// The address that was spoken to, where one was.
    pub address: Option<std::net::SocketAddr>,
    /// The first bytes of the answer's body, at most [`crate::limits::RESPONSE_EXCERPT_BYTES_MAX`].
    pub excerpt: Vec<u8>,
}
