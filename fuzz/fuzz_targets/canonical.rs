//! Canonical writing is canonical: written again it does not change.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost_whatsapp::canonical_json;

fuzz_target!(|text: &str| {
    if let Some(canonical) = canonical_json(text) {
        let again = canonical_json(std::str::from_utf8(&canonical).expect("canonical writing is UTF-8"));
        assert_eq!(again, Some(canonical));
    }
});
