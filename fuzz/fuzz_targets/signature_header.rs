//! No header but the right one verifies, and none brings the verifier down.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use waypost_whatsapp::{AppSecret, AppSecrets, sign};

const BODY: &[u8] = b"{}";

static SECRET: LazyLock<AppSecret> =
    LazyLock::new(|| AppSecret::new("fuzzed", "5ecret").expect("the secret is not empty"));

fuzz_target!(|header: &[u8]| {
    let secrets = AppSecrets::from(SECRET.clone());
    let right = sign(&SECRET, BODY).sha256;
    let same_digits = header.starts_with(b"sha256=") && header.eq_ignore_ascii_case(right.as_bytes());
    assert_eq!(secrets.verify([header], BODY).is_ok(), same_digits);
    assert!(secrets.verify([header, header], BODY).is_err());
});
