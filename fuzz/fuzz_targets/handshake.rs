//! No query brings the handshake down, and none is answered with a challenge it does not carry or
//! without the token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost_whatsapp::{CHALLENGE_BYTES_MAX, HandshakeAnswer, VerifyToken, answer};

fuzz_target!(|query: &[u8]| {
    let token = VerifyToken::new("t0ken").expect("the token is not empty");
    if let HandshakeAnswer::Challenge(challenge) = answer(query, &[token]) {
        assert!(!challenge.is_empty() && challenge.len() <= CHALLENGE_BYTES_MAX.min(query.len()));
    }
    assert!(!matches!(answer(query, &[]), HandshakeAnswer::Challenge(_)));
});
