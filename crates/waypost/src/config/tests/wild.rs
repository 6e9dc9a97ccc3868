//! Whatever the file holds, the answer is a configuration or faults, never a panic.

use proptest::prelude::*;

use super::super::{Env, load};
use super::{Folder, upstream_of};

const VALID: &str = include_str!("../../../waypost.example.toml");

/// Loads the bytes; what is refused is refused with a reason.
fn answer(folder: &Folder, bytes: &[u8]) {
    match load(&folder.inputs(bytes)) {
        Ok(loaded) => assert!(loaded.warnings.iter().all(|warning| !warning.to_string().contains('\n'))),
        Err(refused) => {
            assert!(!refused.faults.is_empty());
            assert_eq!(
                refused.to_string().lines().count(),
                refused.faults.len() + usize::from(refused.faults_more > 0)
            );
        }
    }
}

/// Pieces from which nearly valid files are made.
fn piece() -> impl Strategy<Value = String> {
    let keys = prop::sample::select(vec![
        "domain",
        "http",
        "https",
        "admin",
        "certificate",
        "private_key",
        "acme_email",
        "url",
        "bytes_max",
        "delivered_bodies",
        "records",
        "fallback",
        "body_bytes_max",
        "connections_max",
        "bodies_in_flight_bytes_max",
        "host",
        "mode",
        "origin",
        "ca_file",
        "paths",
        "app_secrets",
        "verify_token",
        "allow_private",
        "timeout",
        "connect_timeout",
        "lane_patience",
        "concurrency_max",
        "rate_max",
        "schedule",
        "give_up_after",
        "upstream",
        "server",
        "a.b",
        "\"\"",
        "source",
    ]);
    let values = prop_oneof![
        prop::sample::select(vec![
            "1",
            "-1",
            "0x7fffffffffffffffffffffff",
            "1e400",
            "nan",
            "true",
            "1979-05-27",
            "[]",
            "[[]]",
            "{}",
            "{ a = 1 }",
            "\"\"",
            "'''\n'''",
            "\"127.0.0.1:0\"",
            "[\"127.0.0.1:0\", \"[::1]:0\"]",
            "\"a.example\"",
            "\"store\"",
            "\"env:X\"",
            "\"env:=\"",
            "\"env:\\u0000\"",
            "\"file:.\"",
            "\"file:\\u0000\"",
            "\"file:waypost.toml\"",
            "\"waypost.toml\"",
            "\"/\"",
            "[\"/\"]",
            "\"5s\"",
            "[\"5s\"]",
            "\"18446744073709551615d\"",
            "\"4294967295/h\"",
            "\"sqlite:x\"",
            "\"http://[::1]:1\"",
            "\"none\"",
            "\"forever\"",
            "\"8MiB\"",
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
    ];
    prop_oneof![
        8 => (keys, values).prop_map(|(key, value)| format!("{key} = {value}\n")),
        1 => prop::sample::select(vec!["[server]\n", "[tls]\n", "[storage]\n", "[retention]\n", "[limits]\n", "[[upstream]]\n", "[upstream]\n", "[[route]]\n"])
            .prop_map(str::to_owned),
        1 => ".{0,20}\n",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        answer(&Folder::new(), &bytes);
    }

    #[test]
    fn arbitrary_text_gets_an_answer(text in "\\PC{0,200}", lines in "[a-z\\[\\]=\"'.,#{} \\n\\r\\\\0-9]{0,200}") {
        let folder = Folder::new();
        answer(&folder, text.as_bytes());
        answer(&folder, lines.as_bytes());
        let _ = upstream_of(&lines, &Env::fixed([]));
        let _ = upstream_of(&format!("{{{lines}"), &Env::fixed([]));
    }

    #[test]
    fn nearly_valid_text_gets_an_answer(pieces in prop::collection::vec(piece(), 0..20)) {
        answer(&Folder::new(), pieces.concat().as_bytes());
    }

    #[test]
    fn mutated_valid_text_gets_an_answer(edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..8, any::<[u8; 3]>()), 1..6)) {
        let mut bytes = VALID.as_bytes().to_vec();
        for (at, cut, new) in edits {
            let start = at.index(bytes.len());
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, new);
        }
        answer(&Folder::new(), &bytes);
    }

    #[test]
    fn arbitrary_flags_and_variables_get_an_answer(texts in prop::collection::vec("[a-z0-9.:,=\\[\\]/ %-]{0,30}", 6)) {
        let mut inputs = super::nothing();
        inputs.allow = vec![texts[0].clone(), texts[1].clone()];
        inputs.listen = Some(texts[2].clone());
        inputs.data = Some(texts[3].clone().into());
        inputs.env = Env::fixed([("WAYPOST_ALLOW", &texts[4]), ("WAYPOST_HTTPS", &texts[5]), ("WAYPOST_DOMAIN", &texts[0])]);
        if let Err(refused) = load(&inputs) {
            prop_assert!(!refused.faults.is_empty());
        }
    }
}
