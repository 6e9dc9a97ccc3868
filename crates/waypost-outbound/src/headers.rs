//! Header lists for calls.

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use waypost_domain::HeaderBlock;

/// An empty list with room for `lines`, whose first line will be `Host`.
///
/// [`crate::Endpoint::call`] fills in the receiver's host where the list already has a `Host`; begun
/// this way, `Host` is the first line a receiver sees (RFC 9110, section 7.2).
pub fn header_map_with_capacity(lines: usize) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(lines + 2);
    map.insert(HOST, HeaderValue::from_static(""));
    map
}

/// The kept lines of a request as a list to call with, in order. A line that is not HTTP is passed over.
pub fn header_map(block: &HeaderBlock) -> HeaderMap {
    let mut map = header_map_with_capacity(block.iter().count());
    for (name, value) in block.iter() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_lines_become_a_list_in_order_behind_host() {
        let mut block = HeaderBlock::new();
        block.push("x-dup", b"1");
        block.push("Content-Type", b"application/json");
        block.push("x-dup", b"2");
        block.push("bad name", b"x");
        let map = header_map(&block);
        let lines: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(
            lines,
            [
                ("host", b"".as_slice()),
                ("x-dup", b"1"),
                ("x-dup", b"2"),
                ("content-type", b"application/json")
            ]
        );
    }
}
