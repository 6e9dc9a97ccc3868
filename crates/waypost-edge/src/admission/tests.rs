//! The answer table, row by row, and what must hold for any bytes.

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
    for target in ["/UP.TEST:18544/x", "/up%2Etest%3A18544/x", "/up%2etest%3a18544/x", "/%55P.test:18544/x"] {
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
        assert_eq!(judged(&format!("/chatwoot.example.com{path}")), Err(Refusal::PathNotAllowed), "{path}");
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
            "/", "//", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", "%00", "%", "%2", "?", "#", ";",
            "%3b", "%25", "%252e", "a", "%41", "webhooks", "\u{0}", "\n", " ", "\u{e9}", "%c0%ae", ":", "@",
            "+",
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
