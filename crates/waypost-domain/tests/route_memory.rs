//! What a full table of routes weighs. Alone in its process, so that nothing else is measured.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test, as it should")]

use waypost_domain::{Facts, Match, MatchKey, ROUTE_VALUES_MAX, ROUTES_MAX, Routes};

const MIB: usize = 1024 * 1024;

/// Bytes of this process in memory (proc(5), `VmRSS`).
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn a_full_table_weighs_little() {
    let before = resident();
    let values_each = ROUTE_VALUES_MAX / ROUTES_MAX - 1;
    let routes = Routes::new((0..ROUTES_MAX).map(|row| {
        let ids = (0..values_each).map(|n| format!("{}", 100_000_000_000_000 + row * values_each + n));
        let wanted = Match::new([
            (MatchKey::PhoneNumberId, ids.collect::<Vec<_>>()),
            (MatchKey::Field, vec!["messages".to_owned()]),
        ]);
        (wanted.unwrap(), row)
    }));
    let grown = resident().saturating_sub(before);
    assert!(grown < 20 * MIB, "{ROUTES_MAX} routes with {ROUTE_VALUES_MAX} values: {} KiB", grown / 1024);
    let id = (100_000_000_000_000 + 77 * values_each).to_string();
    let facts = Facts {
        phone_number_id: Some(&id),
        display_phone_number: None,
        waba_id: None,
        field: "messages",
        kind: "message",
        r#type: "text",
        class: "message",
    };
    assert_eq!(routes.of(&facts), [&77]);
}
