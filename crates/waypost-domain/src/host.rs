//! Hosts and origins: what the allow-list holds and where a receiver really is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A host that may be on the allow-list: a name or address, with a port where one is meant.
///
/// Compared without regard to case and exactly otherwise: `chatwoot.example.com` does not admit
/// `chatwoot.example.com:443`, nor the other way round. Kept in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamHost {
    text: String,
    name_bytes: usize,
}

impl UpstreamHost {
    /// The host as written on the allow-list, in lower case, with its port if it has one.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host without its port: the name in the receiver's certificate.
    pub fn name(&self) -> &str {
        &self.text[..self.name_bytes]
    }

    /// The port, where one was written.
    pub fn port(&self) -> Option<u16> {
        self.text.get(self.name_bytes + 1..).and_then(|port| port.parse().ok())
    }
}

impl FromStr for UpstreamHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let text = text.to_ascii_lowercase();
        let name_bytes = match text.strip_prefix('[') {
            Some(rest) => {
                let end = rest.find(']').ok_or(HostError::Address)?;
                rest[..end].parse::<std::net::Ipv6Addr>().map_err(|_| HostError::Address)?;
                end + 2
            }
            None => text.find(':').unwrap_or(text.len()),
        };
        match text[name_bytes..].strip_prefix(':') {
            Some(port) => check_port(port)?,
            None if name_bytes == text.len() => {}
            None => return Err(HostError::Address),
        }
        if !text.starts_with('[') {
            check_name(&text[..name_bytes])?;
        }
        Ok(Self { text, name_bytes })
    }
}

impl fmt::Display for UpstreamHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for UpstreamHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn check_port(port: &str) -> Result<(), HostError> {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    if digits && port.parse::<u16>().is_ok() { Ok(()) } else { Err(HostError::Port) }
}

fn check_name(name: &str) -> Result<(), HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > 253 {
        return Err(HostError::TooLong);
    }
    if name.ends_with('.') {
        return Err(HostError::TrailingDot);
    }
    for label in name.split('.') {
        let good = !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !good {
            return Err(HostError::Label { label: label.to_owned() });
        }
    }
    if ends_in_a_number(name) && name.parse::<std::net::Ipv4Addr>().is_err() {
        return Err(HostError::Number);
    }
    Ok(())
}

/// Whether resolvers may take a name for an address: 2130706433, 0x7f.1 and 127.1 are all 127.0.0.1 to some of them. No
/// domain ends so (RFC 3696, section 2).
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || last.bytes().all(|byte| byte.is_ascii_digit())
}

/// A text that cannot be a host on the allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing before the port, or nothing at all.
    #[error("the host is empty")]
    Empty,
    /// Longer than DNS allows.
    #[error("the host is longer than 253 characters")]
    TooLong,
    /// `example.com.` instead of `example.com`.
    #[error("the host ends with a dot; write it without")]
    TrailingDot,
    /// A part between dots that no host name can have.
    #[error(
        "`{label}` is not a part of a host name; write a host like chatwoot.example.com or chatwoot.example.com:8443, without scheme or path, international names in their xn-- form"
    )]
    Label {
        /// The part.
        label: String,
    },
    /// `127.1`, `2130706433` or `0x7f.1`.
    #[error("an address is written in four numbers, like 203.0.113.7")]
    Number,
    /// Something after the colon that is no port.
    #[error("what follows the colon is not a port between 1 and 65535")]
    Port,
    /// Brackets around something that is no IPv6 address.
    #[error("the brackets do not hold an IPv6 address")]
    Address,
}

/// How a receiver is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scheme {
    /// TLS, the receiver's certificate verified.
    Https,
    /// Plain HTTP, for receivers on the same machine or network.
    Http,
}

/// Where a receiver really is: scheme, host and port, without a path.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Origin {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// A name to resolve or an address (IPv6 without brackets), in lower case.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Origin {
    /// `https://HOST`, the default origin of an upstream.
    pub fn of(host: &UpstreamHost) -> Self {
        let bare = host.name().trim_start_matches('[').trim_end_matches(']');
        Self { scheme: Scheme::Https, host: bare.to_owned(), port: host.port().unwrap_or(443) }
    }

    /// The address, where the host is one rather than a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest, default_port) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest, 443),
            Some(("http", rest)) => (Scheme::Http, rest, 80),
            _ => return Err(OriginError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(OriginError::Path);
        }
        if authority.contains('@') {
            return Err(OriginError::UserInfo);
        }
        let host: UpstreamHost = authority.parse()?;
        let port = host.port().unwrap_or(default_port);
        Ok(Self { scheme, port, ..Self::of(&host) })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// A text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// No `http://` or `https://` in front.
    #[error("an origin starts with https:// or http://")]
    Scheme,
    /// Something after the host and port.
    #[error("an origin has no path; the caller's path is used")]
    Path,
    /// A user name or password.
    #[error("an origin has no user name")]
    UserInfo,
    /// The host part is wrong.
    #[error(transparent)]
    Host(#[from] HostError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_in_lower_case_with_their_port() {
        let host: UpstreamHost = "Chatwoot.Example.COM:8443".parse().unwrap();
        assert_eq!(
            (host.as_str(), host.name(), host.port()),
            ("chatwoot.example.com:8443", "chatwoot.example.com", Some(8443))
        );
        let plain: UpstreamHost = "chatwoot.example.com".parse().unwrap();
        assert_eq!((plain.name(), plain.port()), ("chatwoot.example.com", None));
        assert_ne!(host, plain);
        let six: UpstreamHost = "[2001:db8::1]:8443".parse().unwrap();
        assert_eq!((six.name(), six.port()), ("[2001:db8::1]", Some(8443)));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ":80",
            "a..b",
            "a.",
            "-a",
            "a-",
            "a/b",
            "user@host",
            "host:0",
            "host:080",
            "host:99999",
            "host:",
            "[::1",
            "[::1]x",
            "[nonsense]",
            "bücher.example",
            "a b",
            "https://a",
            "2130706433",
            "127.1",
            "0x7f.0x1",
            "0x7f000001",
            "0177.0.0.1",
            "10.0.0.7.5",
        ] {
            assert!(text.parse::<UpstreamHost>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn origins_are_read_and_written() {
        let origin: Origin = "https://10.0.0.7:8443".parse().unwrap();
        assert_eq!((origin.scheme, origin.host.as_str(), origin.port), (Scheme::Https, "10.0.0.7", 8443));
        assert_eq!("http://Localhost/".parse::<Origin>().unwrap().to_string(), "http://localhost:80");
        let six: Origin = "http://[::1]:3000".parse().unwrap();
        assert_eq!(six.address(), Some("::1".parse().unwrap()));
        assert_eq!(six.to_string().parse::<Origin>(), Ok(six));
        for text in
            ["example.com", "ftp://a", "https://a/b", "https://a?b", "https://u@a", "https://", "https://a:0"]
        {
            assert!(text.parse::<Origin>().is_err(), "{text:?} was accepted");
        }
    }
}
