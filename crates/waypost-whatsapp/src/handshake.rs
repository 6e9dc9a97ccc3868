//! The handshake: Meta's GET that proves a callback address.
//!
//! `GET <callback>?hub.mode=subscribe&hub.challenge=…&hub.verify_token=…`, unsigned, answered with
//! 200 and exactly the challenge once the token is known (Meta, "Create a webhook endpoint" and
//! Graph API "Webhooks: getting started"). The challenge is an opaque string: never parsed as a
//! number, never trimmed, and only echoed to a caller that knows the token.

use std::fmt;

use aws_lc_rs::{constant_time, digest};

use crate::signature::hex_digit;

/// Longest query that is read. Meta's is some 100 bytes plus the verify token, which Meta does not
/// limit; the listener's own limit on targets is the same.
pub const QUERY_BYTES_MAX: usize = 8 * 1024;
/// Longest challenge that is echoed. Meta's are some ten digits.
pub const CHALLENGE_BYTES_MAX: usize = 1024;

/// A verify token: what an operator typed into Meta's dashboard. Never empty.
///
/// Only its digest is kept, so it cannot be shown by mistake.
#[derive(Clone)]
pub struct VerifyToken([u8; 32]);

impl VerifyToken {
    /// `None` if the token is empty.
    pub fn new(token: impl AsRef<[u8]>) -> Option<Self> {
        let token = token.as_ref();
        (!token.is_empty()).then(|| Self(sha256(token)))
    }
}

impl fmt::Debug for VerifyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyToken(…)")
    }
}

/// What a handshake is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeAnswer {
    /// 200 with exactly these bytes, as `text/plain` (it is text of the caller's choosing).
    Challenge(Vec<u8>),
    /// 403: the token is none of ours, or the mode is not `subscribe`.
    WrongToken,
    /// 400: a `hub.*` parameter is missing, repeated, broken or too long.
    Malformed,
}

/// Answers the raw query of a GET, the part after `?`.
///
/// Names and values are percent-decoded once. `+` stays `+`: Meta documents percent-encoding only,
/// and a challenge must come back byte for byte. A token with spaces is an exception: form encoders
/// write them as `+`, so a token also matches when each `+` is read as a space. Parameters other
/// than Meta's three are passed over, since Meta appends its own to whatever the callback address
/// carries.
pub fn answer(query: &[u8], tokens: &[VerifyToken]) -> HandshakeAnswer {
    let Some(handshake) = parse(query) else { return HandshakeAnswer::Malformed };
    let known = is_known(&handshake.token, tokens);
    if known && handshake.mode == b"subscribe" {
        HandshakeAnswer::Challenge(handshake.challenge)
    } else {
        HandshakeAnswer::WrongToken
    }
}

/// The three parameters, decoded.
struct Handshake {
    mode: Vec<u8>,
    /// As decoded, and with `+` read as a space before decoding.
    token: [Vec<u8>; 2],
    challenge: Vec<u8>,
}

fn parse(query: &[u8]) -> Option<Handshake> {
    if query.len() > QUERY_BYTES_MAX {
        return None;
    }
    let (mut mode, mut token, mut challenge) = (None, None, None);
    for parameter in query.split(|byte| *byte == b'&') {
        let mut halves = parameter.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        let slot = match percent_decode(name).as_deref() {
            Some(b"hub.mode") => &mut mode,
            Some(b"hub.verify_token") => &mut token,
            Some(b"hub.challenge") => &mut challenge,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let (mode, token, challenge) = (mode?, token?, percent_decode(challenge?)?);
    if challenge.is_empty() || challenge.len() > CHALLENGE_BYTES_MAX {
        return None;
    }
    let spaced: Vec<u8> = token.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Some(Handshake {
        mode: percent_decode(mode)?,
        token: [percent_decode(token)?, percent_decode(&spaced)?],
        challenge,
    })
}

/// Whether a token is among ours. Takes the same time whichever it is, or none: every pair is
/// compared, as digests, without an early end.
fn is_known(spellings: &[Vec<u8>; 2], tokens: &[VerifyToken]) -> bool {
    let spellings = spellings.each_ref().map(|spelling| sha256(spelling));
    let mut known = false;
    for VerifyToken(token) in tokens {
        for spelling in &spellings {
            known |= constant_time::verify_slices_are_equal(token, spelling).is_ok();
        }
    }
    known
}

/// One round of percent-decoding. `None` where `%` is not followed by two hex digits.
fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex_digit(*bytes.next()?)? << 4 | hex_digit(*bytes.next()?)?,
            byte => *byte,
        });
    }
    Some(decoded)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    sum
}

#[cfg(test)]
mod tests {
    use super::HandshakeAnswer::{Challenge, Malformed, WrongToken};
    use super::*;
    use proptest::prelude::*;

    fn asked(query: &str) -> HandshakeAnswer {
        let tokens =
            ["vibecoding", "rotated in", "a+b", "naïve&=%"].map(|token| VerifyToken::new(token).unwrap());
        answer(query.as_bytes(), &tokens)
    }

    fn echoed(query: &str) -> String {
        match asked(query) {
            Challenge(challenge) => String::from_utf8(challenge).unwrap(),
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn the_challenge_is_echoed_to_a_caller_with_the_token() {
        assert_eq!(
            echoed("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=vibecoding"),
            "1158201444"
        );
        // In any order, among other parameters, with names percent-encoded too.
        assert_eq!(
            echoed("hub.verify_token=vibecoding&tenant=7&&hub.challenge=c&x&hub.mode=subscribe&=y"),
            "c"
        );
        assert_eq!(echoed("hub%2Emode=subscribe&hub%2echallenge=c&hub.verify_token=vibe%63oding"), "c");
    }

    #[test]
    fn any_token_of_ours_will_do() {
        for token in [
            "vibecoding",
            "rotated%20in",
            "rotated+in",
            "a%2Bb",
            "a+b",
            "na%C3%AFve%26%3D%25",
            "naïve%26=%25",
        ] {
            echoed(&format!("hub.mode=subscribe&hub.challenge=c&hub.verify_token={token}"));
        }
    }

    #[test]
    fn the_challenge_comes_back_byte_for_byte_after_one_decoding() {
        let long = "x".repeat(200);
        for (written, meant) in [
            ("007", "007"),
            ("abcXYZ-_.~", "abcXYZ-_.~"),
            (long.as_str(), long.as_str()),
            ("a%20b%2Bc%26d%3De", "a b+c&d=e"),
            ("a+b", "a+b"),
            ("%252F", "%2F"),
            ("%22quoted%22%0A", "\"quoted\"\n"),
            ("a=b==", "a=b=="),
            ("-1", "-1"),
        ] {
            assert_eq!(
                echoed(&format!("hub.mode=subscribe&hub.challenge={written}&hub.verify_token=vibecoding")),
                meant
            );
        }
        let raw = answer(
            b"hub.mode=subscribe&hub.challenge=%FF%00\xfe&hub.verify_token=t",
            &[VerifyToken::new("t").unwrap()],
        );
        assert_eq!(raw, Challenge(vec![0xff, 0, 0xfe]));
    }

    #[test]
    fn a_wrong_token_or_mode_is_refused() {
        for query in [
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token=wrong",
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token=",
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token",
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token=Vibecoding",
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token=vibecoding%20",
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token=vibe%2563oding",
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token=a%2520b",
            "hub.mode=unsubscribe&hub.challenge=c&hub.verify_token=vibecoding",
            "hub.mode=Subscribe&hub.challenge=c&hub.verify_token=vibecoding",
            "hub.mode=&hub.challenge=c&hub.verify_token=vibecoding",
        ] {
            assert_eq!(asked(query), WrongToken, "{query}");
        }
        let query = b"hub.mode=subscribe&hub.challenge=c&hub.verify_token=";
        assert_eq!(answer(query, &[]), WrongToken);
        assert!(VerifyToken::new("").is_none());
    }

    #[test]
    fn missing_repeated_broken_and_endless_parameters_are_malformed() {
        let token = "hub.verify_token=vibecoding";
        for query in [
            String::new(),
            "hub.mode=subscribe&hub.challenge=c".to_owned(),
            format!("hub.mode=subscribe&{token}"),
            format!("hub.challenge=c&{token}"),
            format!("hub.mode=subscribe&hub.challenge=&{token}"),
            format!("hub.mode=subscribe&hub.mode=subscribe&hub.challenge=c&{token}"),
            format!("hub.mode=subscribe&hub.challenge=c&hub%2Echallenge=c&{token}"),
            format!("hub.mode=subscribe&hub.challenge=c&{token}&{token}"),
            format!("hub.mode=subscribe&hub.challenge=%zz&{token}"),
            format!("hub.mode=subscribe&hub.challenge=c%2&{token}"),
            "hub.mode=subscribe&hub.challenge=c&hub.verify_token=%".to_owned(),
            format!("hub.mode=subscribe&hub.challenge={}&{token}", "x".repeat(CHALLENGE_BYTES_MAX + 1)),
            format!("hub.mode=subscribe&hub.challenge=c&{token}&x={}", "x".repeat(QUERY_BYTES_MAX)),
            format!("hub_mode=subscribe&hub_challenge=c&{}", token.replace('.', "_")),
        ] {
            assert_eq!(asked(&query), Malformed, "{query}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        assert_eq!(format!("{:?}", VerifyToken::new("vibecoding").unwrap()), "VerifyToken(…)");
    }

    proptest! {
        #[test]
        fn any_query_is_survived(query in any::<Vec<u8>>()) {
            let tokens = [VerifyToken::new("t").unwrap()];
            prop_assert!(!matches!(answer(&query, &tokens), Challenge(_)));
        }

        #[test]
        fn any_challenge_comes_back(challenge in prop::collection::vec(any::<u8>(), 1..200)) {
            let encoded: String = challenge.iter().map(|byte| format!("%{byte:02X}")).collect();
            let query = format!("hub.mode=subscribe&hub.challenge={encoded}&hub.verify_token=t");
            let tokens = [VerifyToken::new("t").unwrap()];
            prop_assert_eq!(answer(query.as_bytes(), &tokens), Challenge(challenge));
        }
    }
}
