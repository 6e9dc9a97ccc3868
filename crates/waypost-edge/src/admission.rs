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

    /// What belongs to each host, in no order.
    pub fn payloads(&self) -> impl Iterator<Item = &Arc<U>> {
        self.upstreams.values().map(|upstream| &upstream.payload)
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table<&'static str> {
        let entry = |host: &str, paths: &[&str], payload| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            (host.parse().unwrap(), paths, Arc::new(payload))
        };
        Table::new([
            entry("chatwoot.example.com", &["/webhooks/"], "narrow"),
            entry("up.test:18544", &[], "wide"),
            entry("[2001:db8::1]:8443", &[], "six"),
        ])
        .unwrap()
    }

    fn judged(target: &str) -> Result<(&'static str, String), Refusal> {
        let table = table();
        admit_target(&Method::POST, target, &table)
            .map(|admitted| (**admitted.upstream(), admitted.path_and_query().as_str().to_owned()))
    }

    #[test]
    fn what_is_let_through_goes_on_byte_for_byte() {
        for (target, payload, onward) in [
            ("/chatwoot.example.com/webhooks/whatsapp/%2B1", "narrow", "/webhooks/whatsapp/%2B1"),
            (
                "/chatwoot.example.com/webhooks/whatsapp/%2b1?a=b%20c&",
                "narrow",
                "/webhooks/whatsapp/%2b1?a=b%20c&",
            ),
            ("/up.test:18544/", "wide", "/"),
            ("/up.test:18544/?", "wide", "/?"),
            ("/up.test:18544//a//b", "wide", "//a//b"),
            ("/up.test:18544/a.b/..c/d..;x/...", "wide", "/a.b/..c/d..;x/..."),
            ("/up.test:18544/a?x=/../%2f%00\\", "wide", "/a?x=/../%2f%00\\"),
            ("/up.test:18544/%252e%252e/", "wide", "/%252e%252e/"),
            ("/[2001:db8::1]:8443/x", "six", "/x"),
        ] {
            assert_eq!(judged(target), Ok((payload, onward.to_owned())), "{target}");
        }
    }

    #[test]
    fn hosts_are_compared_decoded_once_without_case_and_exactly() {
        for target in
            ["/UP.TEST:18544/x", "/up%2Etest%3A18544/x", "/up%2etest%3a18544/x", "/%55P.test:18544/x"]
        {
            assert_eq!(judged(target), Ok(("wide", "/x".to_owned())), "{target}");
        }
        for target in [
            "/up.test/x",
            "/up.test:18545/x",
            "/up.test:018544/x",
            "/up.test.:18544/x",
            "/chatwoot.example.com./webhooks/x",
            "/chatwoot.example.com:443/webhooks/x",
            "/user@up.test:18544/x",
            "/up%252Etest:18544/x",
            "/up.test:18544%2f/x",
            "/up.test%00:18544/x",
            "/up.test%:18544/x",
            "/up.test%2:18544/x",
            "/../x",
            "/./x",
            "/%2e%2e/x",
            "/evil.test/../up.test:18544/x",
            "/chatwoot.example.com%23/webhooks/x",
            "/xup.test:18544/x",
            "/\u{212a}/x",
            "/%FF/x",
        ] {
            assert_eq!(judged(target), Err(Refusal::HostNotAllowed), "{target}");
        }
        assert_eq!(judged(&format!("/{}/x", "a".repeat(5_000))), Err(Refusal::HostNotAllowed));
    }

    #[test]
    fn addresses_where_nothing_lives_are_not_found() {
        for target in [
            "/",
            "//",
            "//up.test:18544/x",
            "/up.test:18544",
            "/up.test:18544?x=/y/",
            "/favicon.ico",
            "/w/token",
            "/w/",
            "/.well-known/acme-challenge/x",
            "/?/x",
        ] {
            assert_eq!(judged(target), Err(Refusal::NotFound), "{target}");
        }
    }

    #[test]
    fn tricks_are_refused_on_hosts_that_are_allowed() {
        use TargetFault as T;
        for (path, fault) in [
            ("/..", T::DotSegment),
            ("/.", T::DotSegment),
            ("/../x", T::DotSegment),
            ("/a/../b", T::DotSegment),
            ("/a/./b", T::DotSegment),
            ("/%2e%2e/x", T::DotSegment),
            ("/%2E./x", T::DotSegment),
            ("/.%2e", T::DotSegment),
            ("/a/%2e/b", T::DotSegment),
            ("/a/..;x=1/b", T::DotSegment),
            ("/a/%2e%2e%3Bx/b", T::DotSegment),
            ("/a/..?x", T::DotSegment),
            ("/a%2fb", T::EncodedSlash),
            ("/a%2Fb", T::EncodedSlash),
            ("/..%2fx", T::EncodedSlash),
            ("/a%5cb", T::Backslash),
            ("/a%5Cb", T::Backslash),
            ("/a\\b", T::Backslash),
            ("/..\\x", T::Backslash),
            ("/a%00b", T::Control),
            ("/a%0d%0aX:%201", T::Control),
            ("/a%7f", T::Control),
            ("/a\u{7f}", T::Control),
            ("/a\tb", T::Control),
            ("/a\nb", T::Control),
            ("/a%zz", T::Escape),
            ("/a%", T::Escape),
            ("/a%2", T::Escape),
            ("/a%2/b", T::Escape),
            ("/%+1", T::Escape),
            ("/a b", T::Control),
            ("/a?b c", T::Control),
            ("/a?b\r\nc", T::Control),
            ("/a#b", T::Control),
        ] {
            for host in ["up.test:18544", "chatwoot.example.com"] {
                let outcome = judged(&format!("/{host}{path}"));
                let narrow_first = fault == T::Control
                    && host.starts_with("chatwoot")
                    && outcome == Err(Refusal::PathNotAllowed);
                assert!(narrow_first || outcome == Err(Refusal::BadTarget(fault)), "{path:?}: {outcome:?}");
            }
            assert_eq!(judged(&format!("/evil.test{path}")).err(), Some(Refusal::HostNotAllowed));
        }
    }

    #[test]
    fn only_named_prefixes_and_methods_are_let_through() {
        for path in ["/", "/webhooks", "/Webhooks/x", "//webhooks/x", "/%77ebhooks/x", "/super_admin"] {
            assert_eq!(
                judged(&format!("/chatwoot.example.com{path}")),
                Err(Refusal::PathNotAllowed),
                "{path}"
            );
        }
        let table = table();
        let outcome =
            |method: &str, target| admit_target(&method.parse().unwrap(), target, &table).map(|_| ()).err();
        for method in ["HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "get"] {
            assert_eq!(outcome(method, "/up.test:18544/x"), Some(Refusal::MethodNotAllowed), "{method}");
            assert_eq!(outcome(method, "/chatwoot.example.com/x"), Some(Refusal::PathNotAllowed));
            assert_eq!(outcome(method, "/evil.test/x"), Some(Refusal::HostNotAllowed));
        }
        for method in ["GET", "POST"] {
            assert_eq!(outcome(method, "/up.test:18544/x"), None);
        }
    }

    #[test]
    fn targets_that_are_no_paths_are_refused_in_http_1_only() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let form = Err(Refusal::BadTarget(TargetFault::Form));
        let full = uri("https://proxy.test/up.test:18544/x");
        assert_eq!(target(&Method::GET, Version::HTTP_11, &full), form);
        assert_eq!(target(&Method::GET, Version::HTTP_2, &full), Ok("/up.test:18544/x"));
        assert_eq!(target(&Method::GET, Version::HTTP_11, &uri("proxy.test:443")), form);
        assert_eq!(
            target(&Method::CONNECT, Version::HTTP_2, &uri("up.test:443")),
            Err(Refusal::MethodNotAllowed)
        );
        let table = table();
        let star = uri("*");
        let star = target(&Method::OPTIONS, Version::HTTP_11, &star).unwrap();
        assert_eq!(
            admit_target(&Method::OPTIONS, star, &table).map(|_| ()),
            Err(Refusal::BadTarget(TargetFault::Form))
        );
        let long = format!("/up.test:18544/{}", "a".repeat(TARGET_BYTES_MAX));
        assert_eq!(judged(&long), Err(Refusal::TargetTooLong));
    }

    #[test]
    fn a_table_with_a_reserved_or_repeated_host_is_refused() {
        let entry = |host: &str, path: &str| (host.parse().unwrap(), vec![path.to_owned()], Arc::new(()));
        assert!(matches!(Table::new([entry("w", "/")]), Err(TableError::Reserved { .. })));
        assert!(matches!(
            Table::new([entry("a.test", "/"), entry("A.test", "/")]),
            Err(TableError::Twice { .. })
        ));
        assert!(matches!(Table::new([entry("a.test", "webhooks/")]), Err(TableError::Prefix { .. })));
    }

    /// Text that comes near to tricks.
    fn near_tricks() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            prop::sample::select(vec![
                "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", "%00", "%", "%2", "?", "#",
                ";", "%3b", "%25", "%252e", "a", "%41", "webhooks", "\u{0}", "\n", " ", "\u{e9}", "%c0%ae",
                ":", "@", "+",
            ])
            .prop_map(str::to_owned),
            "[ -~]{0,3}",
            any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    /// What a lenient receiver makes of a path: decoded once.
    fn decoded(path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = path.as_bytes();
        while let [first, more @ ..] = rest {
            match (first, escaped(more)) {
                (b'%', Some(byte)) => (bytes.push(byte), rest = &more[2..]),
                _ => (bytes.push(*first), rest = more),
            };
        }
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn whatever_comes_what_goes_on_is_a_suffix_without_tricks(tail in near_tricks(), upper in any::<bool>()) {
            let host = if upper { "UP.test:18544" } else { "up.test:18544" };
            let target = format!("/{host}/{tail}");
            let table = table();
            if let Ok(admitted) = admit_target(&Method::GET, &target, &table) {
                let onward = admitted.path_and_query().as_str();
                prop_assert_eq!(onward, &target[host.len() + 1..]);
                prop_assert!(onward.starts_with('/'));
                let path = onward.split('?').next().unwrap();
                let plain = decoded(path);
                prop_assert!(!plain.iter().any(|byte| *byte < 0x20 || matches!(byte, 0x7f | b'\\')));
                prop_assert_eq!(plain.iter().filter(|byte| **byte == b'/').count(), path.matches('/').count());
                prop_assert!(!plain.split(|byte| *byte == b'/').any(|segment| matches!(segment, b"." | b"..")));
                prop_assert!(!onward.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#'));
            }
        }

        #[test]
        fn nothing_but_a_listed_host_is_ever_admitted(target in near_tricks()) {
            let table = table();
            if let Ok(admitted) = admit_target(&Method::GET, &target, &table) {
                let segment = target[1..].split('/').next().unwrap();
                let named = String::from_utf8(decoded(segment)).unwrap().to_ascii_lowercase();
                prop_assert_eq!(named, admitted.host().as_str());
            }
        }
    }
}
