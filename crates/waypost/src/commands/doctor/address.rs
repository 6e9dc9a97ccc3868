//! A callback address as one gives it to Meta, and what can be said about it without calling it.

use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::PathAndQuery;

use super::finding::Finding;

/// Meta's bound on the address of an override ("Override a callback URL": at most 200 characters).
const OVERRIDE_CHARS_MAX: usize = 200;

/// A callback address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CallbackUrl {
    text: String,
    pub(super) is_https: bool,
    /// The host without brackets.
    pub(super) host: String,
    /// What goes into `Host`.
    pub(super) authority: String,
    pub(super) port: u16,
    /// What follows the host, byte for byte.
    pub(super) path_and_query: PathAndQuery,
}

impl FromStr for CallbackUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const SHAPE: &str = "write it as Meta would be given it, such as https://proxy.example.com/chatwoot.example.com/webhooks/whatsapp/%2B15551234567";
        let uri: Uri = text.parse().map_err(|error| format!("not an address ({error}); {SHAPE}"))?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("it begins with neither https:// nor http://; {SHAPE}")),
        };
        let authority = uri.authority().ok_or_else(|| format!("it names no host; {SHAPE}"))?;
        if authority.as_str().contains('@') {
            return Err("a user or a password in the address is not part of a callback address".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(format!("it names no host; {SHAPE}"));
        }
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let path_and_query = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let authority = authority.as_str().to_owned();
        Ok(Self { text: text.to_owned(), is_https, host, authority, port, path_and_query })
    }
}

impl CallbackUrl {
    /// Whether the host is written as an address of this very machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What is wrong with the address itself.
    pub(super) fn judge(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.is_https {
            findings.push(
                Finding::fault("address", &self.text, "plain HTTP")
                    .why("Meta calls nothing but HTTPS (\"Create a webhook endpoint\")")
                    .remedy("Give Meta an https:// address; `waypost serve` with server.domain makes one"),
            );
        }
        if self.path_and_query.path().contains('+') {
            findings.push(
                Finding::warning("address", &self.text, "a literal + in the path")
                    .why("Meta's handshake has been seen to arrive with %20 in its place, which receivers such as Chatwoot answer with 401")
                    .remedy("Write %2B instead of +"),
            );
        }
        if self.path_and_query.query().is_some() {
            findings.push(
                Finding::warning("address", &self.text, "a query in the address")
                    .why("Meta appends its own parameters and does not say how it merges the two")
                    .remedy("Put what identifies the receiver into the path"),
            );
        }
        if self.text.chars().count() > OVERRIDE_CHARS_MAX {
            findings.push(
                Finding::warning(
                    "address",
                    &self.text,
                    format!("longer than {OVERRIDE_CHARS_MAX} characters"),
                )
                .why("Meta refuses it as the override of an account or a number")
                .remedy("Use a shorter address if it is to be an override"),
            );
        }
        if self.host.parse::<IpAddr>().is_ok() && !self.is_loopback() {
            findings.push(
                Finding::warning("address", &self.text, "an address of numbers instead of a name")
                    .why("Few authorities give certificates for addresses, and such last days only")
                    .remedy("Give Meta a name"),
            );
        }
        if findings.is_empty() {
            findings.push(Finding::ok("address", &self.text, "fit to be a callback address"));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_bytes_and_are_judged() {
        let url: CallbackUrl =
            "https://Proxy.example.com:8443/a.example/webhooks/whatsapp/%2B1?x=%41".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("proxy.example.com", 8443));
        assert_eq!(url.path_and_query.as_str(), "/a.example/webhooks/whatsapp/%2B1?x=%41");
        let six: CallbackUrl = "https://[::1]/w".parse().unwrap();
        assert_eq!((six.host.as_str(), six.authority.as_str(), six.port), ("::1", "[::1]", 443));
        assert!(six.is_loopback());
        let long = format!("https://a.example/{}", "x".repeat(200));
        for (text, findings) in [
            ("https://a.example/webhooks/%2B1", 1),
            ("http://a.example/webhooks/+1", 2),
            ("https://203.0.113.7/webhooks/1?a=b", 2),
            (&long, 1),
        ] {
            assert_eq!(text.parse::<CallbackUrl>().unwrap().judge().len(), findings, "{text}");
        }
        for text in [
            "",
            "a.example/w",
            "/w",
            "ftp://a.example/",
            "https://u:p@a.example/",
            "https:///w",
            "https://a example/",
        ] {
            assert!(text.parse::<CallbackUrl>().is_err(), "{text}");
        }
    }
}
