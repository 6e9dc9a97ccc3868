//! Signatures by the Standard Webhooks specification: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
//!
//! What is signed is the id, a dot, the seconds since 1970, a dot, and the body, so that a receiver can refuse what is
//! older than some minutes (Standard Webhooks, "Signature scheme").

use std::fmt;

use aws_lc_rs::hmac;

/// What stands before a secret's base 64.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, at least and at most (Standard Webhooks, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret as the specification writes them: `whsec_` and base 64.
#[derive(Clone)]
pub struct StandardSecret(Box<[u8]>);

impl StandardSecret {
    /// Reads a secret.
    ///
    /// # Errors
    ///
    /// When it does not begin with `whsec_`, or is not the base 64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, StandardSecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(StandardSecretError::Prefix)?;
        let secret = decode(encoded).ok_or(StandardSecretError::Encoding)?;
        if !SECRET_BYTES.contains(&secret.len()) {
            return Err(StandardSecretError::Length);
        }
        Ok(Self(secret.into_boxed_slice()))
    }

    fn sign(&self, id: &str, seconds: &str, body: &[u8]) -> String {
        let mut signed = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
            signed.update(part);
        }
        format!("v1,{}", encode(signed.sign().as_ref()))
    }
}

impl fmt::Debug for StandardSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StandardSecret")
    }
}

/// Why a text is no secret. Says nothing of the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StandardSecretError {
    /// It does not begin as they do.
    #[error("a Standard Webhooks secret begins with `whsec_`")]
    Prefix,
    /// What follows is not base 64.
    #[error("what follows `whsec_` is not base 64")]
    Encoding,
    /// Too short or too long.
    #[error("a Standard Webhooks secret is 24 to 64 bytes in base 64")]
    Length,
}

/// The value of `webhook-signature`: one signature for each secret. Empty without secrets.
pub(super) fn signatures(secrets: &[StandardSecret], id: &str, seconds: &str, body: &[u8]) -> String {
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, seconds, body)).collect();
    signatures.join(" ")
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base 64 (RFC 4648, section 4).
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The bytes of a base 64 text, with or without its padding.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 0 && (padding > 2 || !text.len().is_multiple_of(4)) || digits.len() % 4 == 1 {
        return None;
    }
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(digits.len() * 3 / 4), 0_u32, 0_u32);
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|known| *known == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 255) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_is_the_one_that_others_make() {
        // Computed with another implementation of HMAC-SHA256 and base 64.
        let secret = StandardSecret::parse("whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=").unwrap();
        let value = signatures(&[secret], "dlv_0000000000009", "1790000000", b"{\"entry\":[]}");
        assert_eq!(value, "v1,svOXB56+7EI4ybfP84m7/Smkfu8JxrS7o8nwXSsTjeg=");
    }

    #[test]
    fn several_secrets_sign_side_by_side() {
        let secrets = [
            "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=",
            "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=",
        ]
        .map(|text| StandardSecret::parse(text).unwrap());
        let both = signatures(&secrets, "id", "1", b"body");
        let each: Vec<String> = secrets
            .iter()
            .map(|secret| signatures(std::slice::from_ref(secret), "id", "1", b"body"))
            .collect();
        assert_eq!(both, each.join(" "));
        assert_ne!(each[0], each[1]);
        assert_eq!(signatures(&[], "id", "1", b"body"), "");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_never_shown() {
        let refused = |text: &str| StandardSecret::parse(text).unwrap_err();
        assert_eq!(refused("MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="), StandardSecretError::Prefix);
        for text in
            ["whsec_!!!!", "whsec_QUJD=", "whsec_Q", "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU==="]
        {
            assert_eq!(refused(text), StandardSecretError::Encoding, "{text}");
        }
        for text in ["whsec_", "whsec_c2hvcnQ="] {
            assert_eq!(refused(text), StandardSecretError::Length, "{text}");
        }
        let secret = StandardSecret::parse("whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=").unwrap();
        assert_eq!(format!("{secret:?}"), "StandardSecret");
    }

    #[test]
    fn published_encodings_hold() {
        // RFC 4648, section 10.
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes()), encoded);
            assert_eq!(decode(encoded).as_deref(), Some(plain.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn every_encoding_reads_back(bytes in any::<Vec<u8>>()) {
            let text = encode(&bytes);
            prop_assert_eq!(decode(text.trim_end_matches('=')), Some(bytes.clone()));
            prop_assert_eq!(decode(&text), Some(bytes));
        }
    }
}
