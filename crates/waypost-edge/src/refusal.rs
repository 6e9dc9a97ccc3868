//! Every way the public face says no: one enum, one mapping to status, code and sentence.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use waypost_domain::Failure;

use crate::reply::Body;

/// Names the refusal to programs; the value is [`Refusal::code`].
pub(crate) const ERROR_HEADER: HeaderName = HeaderName::from_static("waypost-error");

/// Why a request is not served.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// Nothing lives at this address.
    NotFound,
    /// The host in the path is not on the allow-list.
    HostNotAllowed,
    /// The host is, but not this path on it.
    PathNotAllowed,
    /// Neither GET nor POST.
    MethodNotAllowed,
    /// A target that is refused whatever it leads to.
    BadTarget(TargetFault),
    /// The target is longer than [`waypost_domain::limits::TARGET_BYTES_MAX`].
    TargetTooLong,
    /// The head is larger than it may be.
    HeadTooLarge,
    /// The head is not HTTP, or not to the letter.
    HeadMalformed,
    /// Not one `Host`, or one that names more than a host and a port.
    HostMalformed,
    /// The head says more than one thing, or nothing clear, about where the request ends.
    LengthAmbiguous,
    /// A transfer coding other than `chunked`.
    CodingUnknown,
    /// The body is larger than it may be.
    BodyTooLarge,
    /// The body did not come in time.
    BodyTimedOut,
    /// The body ended before its length, or is not HTTP.
    BodyBroken,
    /// The bodies of other requests fill the memory set aside for them.
    BodiesFull,
    /// No signature, and the source demands one.
    SignatureMissing,
    /// A signature that none of the source's secrets made.
    SignatureWrong,
    /// The handshake's verify token is not the source's.
    TokenWrong,
    /// Not a handshake.
    HandshakeMalformed,
    /// The event could not be made durable; the caller keeps it.
    NotStored,
    /// The caller did not prove by its certificate that it is Meta, and must.
    ClientNotProved,
    /// The caller's address is not one of those from which calls are taken.
    AddressNotAllowed,
    /// The receiver gave no answer.
    Receiver(Failure),
}

/// What is wrong with a target.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TargetFault {
    /// `http://…` or `*` instead of a path.
    Form,
    /// A `.` or `..` segment, also one encoded.
    DotSegment,
    /// An encoded slash.
    EncodedSlash,
    /// A backslash, encoded or not.
    Backslash,
    /// A control character, encoded or not.
    Control,
    /// A `%` without two hexadecimal digits.
    Escape,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::HostNotAllowed
            | Self::PathNotAllowed
            | Self::TokenWrong
            | Self::ClientNotProved
            | Self::AddressNotAllowed => StatusCode::FORBIDDEN,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadTarget(_)
            | Self::HeadMalformed
            | Self::HostMalformed
            | Self::LengthAmbiguous
            | Self::BodyBroken
            | Self::HandshakeMalformed => StatusCode::BAD_REQUEST,
            Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::SignatureMissing | Self::SignatureWrong => StatusCode::UNAUTHORIZED,
            Self::BodiesFull | Self::NotStored => StatusCode::SERVICE_UNAVAILABLE,
            Self::Receiver(failure) => match failure {
                Failure::TimedOut | Failure::ConnectTimedOut => StatusCode::GATEWAY_TIMEOUT,
                Failure::Ours => StatusCode::SERVICE_UNAVAILABLE,
                Failure::NameNotResolved
                | Failure::AddressForbidden
                | Failure::ConnectRefused
                | Failure::ConnectFailed
                | Failure::TlsFailed
                | Failure::CertificateRefused
                | Failure::ConnectionLost
                | Failure::AnswerUnreadable => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// The stable code that programs and operators search for.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::HostNotAllowed => "host_not_allowed",
            Self::PathNotAllowed => "path_not_allowed",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BadTarget(TargetFault::Form) => "target_form",
            Self::BadTarget(TargetFault::DotSegment) => "target_dot_segment",
            Self::BadTarget(TargetFault::EncodedSlash) => "target_encoded_slash",
            Self::BadTarget(TargetFault::Backslash) => "target_backslash",
            Self::BadTarget(TargetFault::Control) => "target_control_character",
            Self::BadTarget(TargetFault::Escape) => "target_bad_escape",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadMalformed => "head_malformed",
            Self::HostMalformed => "host_malformed",
            Self::LengthAmbiguous => "length_ambiguous",
            Self::CodingUnknown => "coding_unknown",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTimedOut => "body_timed_out",
            Self::BodyBroken => "body_broken",
            Self::BodiesFull => "bodies_full",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureWrong => "signature_wrong",
            Self::TokenWrong => "verify_token_wrong",
            Self::HandshakeMalformed => "handshake_malformed",
            Self::NotStored => "not_stored",
            Self::ClientNotProved => "client_not_proved",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::Receiver(failure) => failure.code(),
        }
    }

    /// One sentence for whoever reads the answer. It says nothing about what is configured.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NotFound => "nothing lives at this address",
            Self::HostNotAllowed => "this host is not on the allow-list",
            Self::PathNotAllowed => "this path is not let through",
            Self::MethodNotAllowed => "only GET and POST are let through",
            Self::BadTarget(TargetFault::Form) => "the request target must be a path",
            Self::BadTarget(TargetFault::DotSegment) => "dot segments are refused",
            Self::BadTarget(TargetFault::EncodedSlash) => "encoded slashes are refused",
            Self::BadTarget(TargetFault::Backslash) => "backslashes are refused",
            Self::BadTarget(TargetFault::Control) => "control characters are refused",
            Self::BadTarget(TargetFault::Escape) => {
                "a percent sign must be followed by two hexadecimal digits"
            }
            Self::TargetTooLong => "the request target is too long",
            Self::HeadTooLarge => "the request head is too large",
            Self::HeadMalformed => "the request head is malformed",
            Self::HostMalformed => "there must be one Host, a name or address with a port or without",
            Self::LengthAmbiguous => "it is not clear where the request ends",
            Self::CodingUnknown => "the only transfer coding is chunked",
            Self::BodyTooLarge => "the request body is too large",
            Self::BodyTimedOut => "the request body did not come in time",
            Self::BodyBroken => "the request body did not come whole",
            Self::BodiesFull => "too much is under way; try again",
            Self::SignatureMissing => "the request is not signed",
            Self::SignatureWrong => "the signature does not match",
            Self::TokenWrong => "the verify token does not match",
            Self::HandshakeMalformed => "this is not a webhook handshake",
            Self::NotStored => "the event could not be kept; send it again",
            Self::ClientNotProved => "the client certificate is missing or not the expected one",
            Self::AddressNotAllowed => "calls are not taken from this address",
            Self::Receiver(failure) => match failure {
                Failure::NameNotResolved => "the receiver's name does not resolve",
                Failure::AddressForbidden => "the receiver's address may not be called",
                Failure::ConnectRefused => "the receiver refused the connection",
                Failure::ConnectFailed => "the receiver could not be reached",
                Failure::ConnectTimedOut => "the receiver could not be reached in time",
                Failure::TlsFailed => "no TLS connection to the receiver",
                Failure::CertificateRefused => "the receiver's certificate is refused",
                Failure::ConnectionLost => "the receiver ended the connection",
                Failure::TimedOut => "the receiver did not answer in time",
                Failure::AnswerUnreadable => "the receiver's answer could not be read",
                Failure::Ours => "the gateway could not call the receiver; try again",
            },
        }
    }

    /// Whether the connection cannot serve another request, because the rest of this one is not read.
    fn ends_connection(self) -> bool {
        matches!(
            self,
            Self::HeadTooLarge
                | Self::HeadMalformed
                | Self::HostMalformed
                | Self::LengthAmbiguous
                | Self::CodingUnknown
                | Self::BodyTooLarge
                | Self::BodyTimedOut
                | Self::BodyBroken
        )
    }

    /// The whole answer.
    pub fn response(self) -> Response<Body> {
        let text = format!("{}: {}\n", self.code(), self.sentence());
        let mut response = Response::new(Body::full(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ERROR_HEADER, HeaderValue::from_static(self.code()));
        if self.status() == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.ends_connection() {
            // Left out of HTTP/2 answers by hyper, as RFC 9113, section 8.2.2 demands.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(BodyLeftUnread);
        response
    }
}

impl Refusal {
    /// The whole answer as bytes of HTTP/1.1, for a request of which hyper made nothing.
    pub(crate) fn bytes(self) -> Bytes {
        let status = self.status();
        let text = format!("{}: {}\n", self.code(), self.sentence());
        let bytes = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
             waypost-error: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            self.code(),
            text.len(),
        );
        Bytes::from(bytes)
    }
}

/// Marks an answer that was given without reading the request's body: the connection is closed with care,
/// so that the client gets to see it.
#[derive(Clone, Copy)]
pub(crate) struct BodyLeftUnread;

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Refusal> {
        use Refusal as R;
        use TargetFault as T;
        let mut all = vec![
            R::NotFound,
            R::HostNotAllowed,
            R::PathNotAllowed,
            R::MethodNotAllowed,
            R::TargetTooLong,
            R::HeadTooLarge,
            R::HeadMalformed,
            R::HostMalformed,
            R::LengthAmbiguous,
            R::CodingUnknown,
            R::BodyTooLarge,
            R::BodyTimedOut,
            R::BodyBroken,
            R::BodiesFull,
            R::SignatureMissing,
            R::SignatureWrong,
            R::TokenWrong,
            R::HandshakeMalformed,
            R::NotStored,
            R::ClientNotProved,
            R::AddressNotAllowed,
        ];
        all.extend(
            [T::Form, T::DotSegment, T::EncodedSlash, T::Backslash, T::Control, T::Escape].map(R::BadTarget),
        );
        all.extend(Failure::ALL.map(R::Receiver));
        all
    }

    #[test]
    fn every_refusal_has_its_own_code_and_says_it() {
        let codes: std::collections::HashSet<_> = all().into_iter().map(Refusal::code).collect();
        assert_eq!(codes.len(), all().len());
        for refusal in all() {
            let response = refusal.response();
            assert_eq!(response.headers()[ERROR_HEADER], refusal.code());
            assert!(response.status().is_client_error() || response.status().is_server_error());
        }
    }

    #[test]
    fn a_405_names_what_is_allowed_and_a_503_when_to_come_back() {
        assert_eq!(Refusal::MethodNotAllowed.response().headers()[ALLOW], "GET, POST");
        for refusal in all().into_iter().filter(|refusal| refusal.status() == 503) {
            assert_eq!(refusal.response().headers()[RETRY_AFTER], "1");
        }
    }
}
