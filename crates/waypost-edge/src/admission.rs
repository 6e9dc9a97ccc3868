//! What may pass: the allow-list, applied to a request's method and target. Pure.
//!
//! Refusals take this precedence: a target that is no path (400, `CONNECT` 405), too long (414); then the first
//! segment: none, reserved, or not followed by a slash (404), not on the allow-list (403); then the rest of the path:
//! a trick (400), not let through (403); then the method (405). So nobody learns from a 400 or a 405 which hosts are
//! on the list, other than by naming one.

use std::collections::HashMap;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Uri, Version, request};
use waypost_domain::UpstreamHost;
use waypost_domain::limits::TARGET_BYTES_MAX;

use crate::refusal::{Refusal, TargetFault};

/// First segments that no upstream can have: the sources' addresses, and what certificates are proved with.
pub const RESERVED: [&str; 2] = ["w", ".well-known"];

/// Longest first segment that is looked at: a host of 253 characters with its port, each character escaped.
const SEGMENT_BYTES_MAX: usize = 3 * 260;

/// The allow-list: hosts, the path prefixes let through on each, and what belongs to each.
#[derive(Debug)]
pub struct Table<U> {
    upstreams: HashMap<Box<str>, Upstream<U>>,
}

#[derive(Debug)]
struct Upstream<U> {
    host: UpstreamHost,
    /// Prefixes of paths; none lets every path through.
    paths: Box<[Box<str>]>,
    payload: Arc<U>,
}

impl<U> Default for Table<U> {
    fn default() -> Self {
        Self { upstreams: HashMap::new() }
    }
}

impl<U> Table<U> {
    /// A table of hosts, each with the path prefixes let through (none for every path) and its payload.
    ///
    /// # Errors
    ///
    /// When a host is reserved or named twice, or a prefix does not begin with a slash.
    pub fn new(
        upstreams: impl IntoIterator<Item = (UpstreamHost, Vec<String>, Arc<U>)>,
    ) -> Result<Self, TableError> {
        let mut table = Self::default();
        for (host, paths, payload) in upstreams {
            if RESERVED.contains(&host.as_str()) {
                return Err(TableError::Reserved { host });
            }
            if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
                return Err(TableError::Prefix { path: path.clone() });
            }
            let paths = paths.into_iter().map(String::into_boxed_str).collect();
            let key = host.as_str().into();
            if table.upstreams.insert(key, Upstream { host: host.clone(), paths, payload }).is_some() {
                return Err(TableError::Twice { host });
            }
        }
        Ok(table)
    }

    /// How many hosts are on the list.
    pub fn len(&self) -> usize {
        self.upstreams.len()
    }

    /// Whether no host is.
    pub fn is_empty(&self) -> bool {
        self.upstreams.is_empty()
    }

    /// The host is percent-decoded once and compared without regard to case (as nginx's `map` does), without
    /// allocation where it is written plainly.
    fn find(&self, segment: &str) -> Option<&Upstream<U>> {
        if segment.len() > SEGMENT_BYTES_MAX {
            return None;
        }
        if let Some(found) = self.upstreams.get(segment) {
            return Some(found);
        }
        if !segment.bytes().any(|byte| byte == b'%' || byte.is_ascii_uppercase()) {
            return None;
        }
        let mut plain = String::with_capacity(segment.len());
        let mut rest = segment.as_bytes();
        while let [first, more @ ..] = rest {
            let (byte, more) = match first {
                b'%' => (escaped(more)?, &more[2..]),
                byte => (*byte, more),
            };
            if !byte.is_ascii() {
                return None;
            }
            plain.push(char::from(byte.to_ascii_lowercase()));
            rest = more;
        }
        self.upstreams.get(plain.as_str())
    }
}

/// A table that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The host is a first segment that means something else.
    #[error("`{host}` cannot be an upstream: addresses under it are reserved")]
    Reserved {
        /// The host.
        host: UpstreamHost,
    },
    /// The host stands there already.
    #[error("`{host}` is on the allow-list twice")]
    Twice {
        /// The host.
        host: UpstreamHost,
    },
    /// A prefix that no path can begin with.
    #[error("the path prefix `{path}` must begin with a slash")]
    Prefix {
        /// The prefix.
        path: String,
    },
}

/// A request that may pass. Only [`admit`] makes one.
#[derive(Debug)]
pub struct Admitted<'t, U> {
    upstream: &'t Upstream<U>,
    path_and_query: PathAndQuery,
}

impl<'t, U> Admitted<'t, U> {
    /// What belongs to the host.
    pub fn upstream(&self) -> &'t Arc<U> {
        &self.upstream.payload
    }

    /// The host as it stands on the allow-list.
    pub fn host(&self) -> &'t UpstreamHost {
        &self.upstream.host
    }

    /// The receiver's path and query: what followed the host, byte for byte.
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// The same, to keep.
    pub fn into_path_and_query(self) -> PathAndQuery {
        self.path_and_query
    }
}

/// Judges a request head by the allow-list.
///
/// # Errors
///
/// The refusal to answer with.
pub fn admit<'t, U>(head: &request::Parts, table: &'t Table<U>) -> Result<Admitted<'t, U>, Refusal> {
    admit_target(&head.method, target(&head.method, head.version, &head.uri)?, table)
}

/// The target of a request where it is a path. In HTTP/2 the scheme and authority beside the path are pseudo-headers
/// and mean nothing here; in HTTP/1 they make a target meant for a forward proxy.
///
/// # Errors
///
/// The refusal to answer with.
pub fn target<'u>(method: &Method, version: Version, uri: &'u Uri) -> Result<&'u str, Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::MethodNotAllowed);
    }
    if version < Version::HTTP_2 && (uri.scheme().is_some() || uri.authority().is_some()) {
        return Err(Refusal::BadTarget(TargetFault::Form));
    }
    uri.path_and_query().map(PathAndQuery::as_str).ok_or(Refusal::BadTarget(TargetFault::Form))
}

/// Judges a target that is a path, such as `/chatwoot.example.com/webhooks/whatsapp/%2B15550001111?x=y`.
///
/// # Errors
///
/// The refusal to answer with.
pub fn admit_target<'t, U>(
    method: &Method,
    target: &str,
    table: &'t Table<U>,
) -> Result<Admitted<'t, U>, Refusal> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(Refusal::TargetTooLong);
    }
    let rest = target.strip_prefix('/').ok_or(Refusal::BadTarget(TargetFault::Form))?;
    let path_bytes = rest.find('?').unwrap_or(rest.len());
    let slash = rest[..path_bytes].find('/').ok_or(Refusal::NotFound)?;
    let segment = &rest[..slash];
    if segment.is_empty() || RESERVED.contains(&segment) {
        return Err(Refusal::NotFound);
    }
    let upstream = table.find(segment).ok_or(Refusal::HostNotAllowed)?;
    let path = &rest[slash..path_bytes];
    check_path(path.as_bytes()).map_err(Refusal::BadTarget)?;
    if !upstream.paths.is_empty() && !upstream.paths.iter().any(|prefix| path.starts_with(&**prefix)) {
        return Err(Refusal::PathNotAllowed);
    }
    if !matches!(*method, Method::GET | Method::POST) {
        return Err(Refusal::MethodNotAllowed);
    }
    let onward = &rest[slash..];
    let path_and_query =
        PathAndQuery::try_from(onward).map_err(|_| Refusal::BadTarget(TargetFault::Control))?;
    if path_and_query.as_str() != onward {
        return Err(Refusal::BadTarget(TargetFault::Control));
    }
    Ok(Admitted { upstream, path_and_query })
}

/// Refuses what a receiver might read as another path than the one that was judged.
fn check_path(path: &[u8]) -> Result<(), TargetFault> {
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let meant = if byte == b'%' {
            at += 2;
            escaped(&path[at - 1..]).ok_or(TargetFault::Escape)?
        } else {
            byte
        };
        match meant {
            b'\\' => return Err(TargetFault::Backslash),
            b'/' if byte == b'%' => return Err(TargetFault::EncodedSlash),
            0..0x20 | 0x7f => return Err(TargetFault::Control),
            _ => {}
        }
        at += 1;
    }
    if path.split(|byte| *byte == b'/').any(is_dot_segment) { Err(TargetFault::DotSegment) } else { Ok(()) }
}

/// Whether a segment is `.` or `..` once decoded; what follows a semicolon is set aside, as servers with path
/// parameters do before they resolve dots.
fn is_dot_segment(segment: &[u8]) -> bool {
    let mut dots = 0;
    let mut rest = segment;
    loop {
        rest = match rest {
            [] | [b';', ..] | [b'%', b'3', b'b' | b'B', ..] => return matches!(dots, 1 | 2),
            [b'.', more @ ..] | [b'%', b'2', b'e' | b'E', more @ ..] => more,
            _ => return false,
        };
        dots += 1;
    }
}

/// The byte that two hexadecimal digits stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match digits {
        [high, low, ..] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
