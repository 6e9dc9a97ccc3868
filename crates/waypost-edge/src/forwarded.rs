//! Which of a caller's header lines go on to a receiver, and what is added to them.
//!
//! One rule for both ways: a relayed request takes a [`HeaderMap`], a stored one keeps a [`HeaderBlock`].

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use waypost_domain::HeaderBlock;
use waypost_outbound::header_map_with_capacity;

use crate::listener::ConnectionInfo;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The lines for a receiver: first `Host`, to be filled in by the call, then the caller's that may go on, in their
/// order, then who the caller is.
pub fn relayed_headers(headers: HeaderMap, caller: &ConnectionInfo) -> HeaderMap {
    let mut onward = if goes_on_whole(&headers) { headers } else { only_travelling(&headers) };
    for (name, value) in added(caller) {
        onward.insert(name, value.clone());
    }
    onward
}

/// Whether the list can be used as it stands, as that of most callers can: all of it may go on, but for two lines that the
/// call fills in where they stand.
fn goes_on_whole(headers: &HeaderMap) -> bool {
    let mut names = headers.keys();
    names.next() == Some(&header::HOST) && names.all(|name| travels(name) || *name == header::CONTENT_LENGTH)
}

fn only_travelling(headers: &HeaderMap) -> HeaderMap {
    let mut onward = header_map_with_capacity(headers.len() + 3);
    for (name, value) in travelling(headers) {
        onward.append(name.clone(), value.clone());
    }
    onward
}

/// The same lines, to be kept with a request.
pub fn stored_headers(headers: &HeaderMap, caller: &ConnectionInfo) -> HeaderBlock {
    let mut block = HeaderBlock::new();
    for (name, value) in travelling(headers) {
        block.push(name.as_str(), value.as_bytes());
    }
    for (name, value) in added(caller) {
        block.push(name.as_str(), value.as_bytes());
    }
    block
}

fn added(caller: &ConnectionInfo) -> [(HeaderName, &HeaderValue); 3] {
    let address = caller.address_value();
    [(FOR, address), (PROTO, caller.proto_value()), (REAL_IP, address)]
}

fn travelling(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let names_lines = names_lines(headers);
    let goes = move |name: &HeaderName| !names_lines || is_of_the_body(name) || !is_named(headers, name);
    headers.iter().filter(move |(name, _)| travels(name) && goes(name))
}

/// Whether a line says what the body is and who signed it: that is no matter of a connection, whatever `Connection` says.
fn is_of_the_body(name: &HeaderName) -> bool {
    *name == header::CONTENT_TYPE
        || name.as_str() == "x-hub-signature-256"
        || name.as_str() == "x-hub-signature"
}

/// Whether a line of this name may go on. Hop-by-hop lines are those of RFC 9110, section 7.6.1; a name with an
/// underscore is dropped, since some receivers read it as one with a hyphen.
fn travels(name: &HeaderName) -> bool {
    let text = name.as_str();
    let stays = match text.as_bytes()[0] {
        b'c' => *name == header::CONNECTION || *name == header::CONTENT_LENGTH,
        b'e' => *name == header::EXPECT,
        b'f' => *name == header::FORWARDED,
        b'h' => *name == header::HOST,
        b'k' => text == "keep-alive",
        b'p' => text.starts_with("proxy-"),
        b't' => *name == header::TE || *name == header::TRAILER || *name == header::TRANSFER_ENCODING,
        b'u' => *name == header::UPGRADE,
        // What this gateway says of deliveries, in its own lines and in those of Standard Webhooks.
        b'w' => text.starts_with("waypost-") || text.starts_with("webhook-"),
        b'x' => text.starts_with("x-forwarded-") || text == "x-real-ip" || text == "x-http-method-override",
        _ => false,
    };
    !stays && !text.contains('_')
}

/// Whether any `Connection` line names other lines, rather than only what to do with the connection.
fn names_lines(headers: &HeaderMap) -> bool {
    tokens(headers)
        .any(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
}

/// Whether a `Connection` line names this one.
pub(crate) fn is_named(headers: &HeaderMap, name: &HeaderName) -> bool {
    tokens(headers).any(|token| token.eq_ignore_ascii_case(name.as_str().as_bytes()))
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(header::CONNECTION).into_iter();
    lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// Takes out of a receiver's answer what concerns only the connection it came over, and what only this gateway may say.
pub(crate) fn strip_answer(headers: &mut HeaderMap) {
    let names_lines = names_lines(headers);
    let stay = |name: &&HeaderName| stays_behind(name) || (names_lines && is_named(headers, name));
    let staying: Vec<HeaderName> = headers.keys().filter(stay).cloned().collect();
    for name in staying {
        headers.remove(name);
    }
}

/// Whether an answer's line of this name concerns only its connection, or is this gateway's to say.
fn stays_behind(name: &HeaderName) -> bool {
    match name.as_str().as_bytes()[0] {
        b'c' => *name == header::CONNECTION,
        b'k' => name.as_str() == "keep-alive",
        b'p' => name.as_str() == "proxy-connection" || *name == header::PROXY_AUTHENTICATE,
        b't' => *name == header::TE || *name == header::TRAILER || *name == header::TRANSFER_ENCODING,
        b'u' => *name == header::UPGRADE,
        b'w' => *name == crate::refusal::ERROR_HEADER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn lines(map: &HeaderMap) -> Vec<(String, String)> {
        map.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    fn caller(tls: bool) -> ConnectionInfo {
        ConnectionInfo::new("[::ffff:203.0.113.9]:4444".parse().unwrap(), tls)
    }

    #[test]
    fn what_a_caller_may_not_say_stays_behind_and_the_rest_goes_on_in_order() {
        let from = map(&[
            ("user-agent", "facebookexternalua"),
            ("host", "proxy.example.com"),
            ("x-dup", "1"),
            ("connection", "keep-alive, X-Secret-Hop ,te, X-Hub-Signature-256"),
            ("x-secret-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("content-length", "9"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-connection", "keep-alive"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-proto", "ftp"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-http-method-override", "DELETE"),
            ("x_forwarded_for", "6.6.6.6"),
            ("waypost-event-id", "forged"),
            ("webhook-id", "forged"),
            ("webhook-signature", "v1,forged"),
            ("content-type", "application/json"),
            ("x-hub-signature-256", "sha256=bb"),
            ("x-dup", "2"),
            ("x-empty", ""),
            ("cookie", "a=b"),
        ]);
        let expected = [
            ("user-agent", "facebookexternalua"),
            ("x-dup", "1"),
            ("x-dup", "2"),
            ("content-type", "application/json"),
            ("x-hub-signature-256", "sha256=bb"),
            ("x-empty", ""),
            ("cookie", "a=b"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "203.0.113.9"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let relayed = lines(&relayed_headers(from.clone(), &caller(true)));
        assert_eq!(relayed[0], ("host".to_owned(), String::new()), "the receiver's host will stand first");
        assert_eq!(relayed[1..], expected);
        let stored: Vec<_> = stored_headers(&from, &caller(true))
            .iter()
            .map(|(name, value)| (name.to_owned(), String::from_utf8(value.to_vec()).unwrap()))
            .collect();
        assert_eq!(stored, expected);
    }

    #[test]
    fn a_list_that_may_go_on_whole_keeps_its_order_behind_host() {
        let from = map(&[
            ("host", "proxy.example.com"),
            ("x-dup", "1"),
            ("content-length", "9"),
            ("content-type", "application/json"),
            ("x-dup", "2"),
        ]);
        let relayed = relayed_headers(from, &caller(true));
        let names: Vec<_> = relayed.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "host",
            "x-dup",
            "x-dup",
            "content-length",
            "content-type",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-real-ip",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn host_stands_first_wherever_the_caller_put_it() {
        let from = map(&[("x-first", "1"), ("host", "proxy.example.com"), ("content-length", "9")]);
        let relayed = relayed_headers(from, &caller(true));
        assert_eq!(relayed.keys().next(), Some(&header::HOST));
        assert!(!relayed.contains_key(header::CONTENT_LENGTH));
    }

    #[test]
    fn the_scheme_is_the_connections_own() {
        let relayed = relayed_headers(HeaderMap::new(), &caller(false));
        assert_eq!(relayed["x-forwarded-proto"], "http");
    }

    #[test]
    fn an_answer_loses_what_concerns_only_its_connection() {
        let mut answer = map(&[
            ("content-type", "text/plain"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("waypost-error", "forged"),
            ("x-request-id", "7"),
        ]);
        strip_answer(&mut answer);
        let mut left = lines(&answer);
        left.sort();
        let expected = [
            ("content-type", "text/plain"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("x-request-id", "7"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(left, expected);
    }
}
