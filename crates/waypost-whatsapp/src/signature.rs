//! Signatures: whether a body was signed with an app secret, and signing it anew.
//!
//! Meta sends `X-Hub-Signature-256: sha256=<hex>`, the HMAC-SHA256 of the body's bytes under the
//! app secret, and its legacy twin `X-Hub-Signature: sha1=<hex>` (Meta, "Create a webhook
//! endpoint"). Only the first is believed. The bytes are hashed as received: Meta signs what is on
//! the wire, escapes and all, so a body that was parsed and written again no longer matches.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;

/// What stands before the hex digits of an `X-Hub-Signature-256`.
const PREFIX: &[u8] = b"sha256=";
/// Bytes of an HMAC-SHA256.
const TAG_BYTES: usize = 32;

/// One app secret, ready to verify and sign, with the label an operator knows it by.
///
/// Never empty: anyone can compute a signature under an empty key.
///
/// Cheap to clone. The keys that are derived from it are made when they are used: kept, they would take kilobytes, which
/// counts where there are ten thousand sources.
#[derive(Clone)]
pub struct AppSecret {
    label: Arc<str>,
    secret: Arc<[u8]>,
}

impl AppSecret {
    /// A secret under a label. The label may appear in logs; the secret appears nowhere.
    pub fn new(label: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self, EmptySecret> {
        let (label, secret) = (label.into(), secret.as_ref());
        if secret.is_empty() {
            return Err(EmptySecret { label });
        }
        Ok(Self { label: label.into(), secret: secret.into() })
    }

    fn key(&self, algorithm: hmac::Algorithm) -> hmac::Key {
        hmac::Key::new(algorithm, &self.secret)
    }

    /// What an operator calls this secret.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Debug for AppSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppSecret").field("label", &self.label).finish_non_exhaustive()
    }
}

/// A secret without a single byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the app secret `{label}` is empty; copy it from the app's Basic settings in Meta's App Dashboard")]
pub struct EmptySecret {
    /// Which secret.
    pub label: String,
}

/// The secrets a source accepts, in the order they are tried; at least one.
///
/// More than one while a secret is being rotated, or where several apps call one address: the
/// payload does not say which app sent it.
#[derive(Clone, Debug)]
pub struct AppSecrets(Vec<AppSecret>);

impl AppSecrets {
    /// `None` if there is no secret at all.
    pub fn new(secrets: Vec<AppSecret>) -> Option<Self> {
        (!secrets.is_empty()).then_some(Self(secrets))
    }

    /// The secrets in order.
    pub fn iter(&self) -> impl Iterator<Item = &AppSecret> {
        self.0.iter()
    }

    /// The label of the secret that `body` was signed with.
    ///
    /// `signatures` are the values of every `X-Hub-Signature-256` header line as received; there
    /// must be exactly one. It is `sha256=` and 64 hex digits of either case, nothing before or
    /// after. Digests are compared as bytes, in constant time.
    pub fn verify<'h>(
        &self,
        signatures: impl IntoIterator<Item = &'h [u8]>,
        body: &[u8],
    ) -> Result<&str, SignatureError> {
        let mut signatures = signatures.into_iter();
        let signature = signatures.next().ok_or(SignatureError::Missing)?;
        if signatures.next().is_some() {
            return Err(SignatureError::Repeated);
        }
        let tag = parse(signature).ok_or(SignatureError::Malformed)?;
        let signer =
            self.0.iter().find(|secret| hmac::verify(&secret.key(hmac::HMAC_SHA256), body, &tag).is_ok());
        signer.map(AppSecret::label).ok_or(SignatureError::Mismatch)
    }
}

impl From<AppSecret> for AppSecrets {
    fn from(secret: AppSecret) -> Self {
        Self(vec![secret])
    }
}

/// Why a body is not believed to be Meta's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No `X-Hub-Signature-256` at all.
    #[error("the request has no X-Hub-Signature-256 header")]
    Missing,
    /// More than one value.
    #[error("the request has more than one X-Hub-Signature-256 header")]
    Repeated,
    /// Not `sha256=` and 64 hex digits.
    #[error("the X-Hub-Signature-256 header is not `sha256=` followed by 64 hex digits")]
    Malformed,
    /// No secret of this source made it.
    #[error(
        "the signature matches none of the app secrets; the secret is another app's, or the body was changed on its way"
    )]
    Mismatch,
}

impl SignatureError {
    /// A stable word for metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
        }
    }
}

/// Both signature headers' values for a body, as Meta writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// The value of `X-Hub-Signature-256`.
    pub sha256: String,
    /// The value of the legacy `X-Hub-Signature`.
    pub sha1: String,
}

/// Signs a body as Meta does, in lower-case hex: receivers compare the whole value as text.
pub fn sign(secret: &AppSecret, body: &[u8]) -> SignatureHeaders {
    let written = |prefix: &str, algorithm| {
        let tag = hmac::sign(&secret.key(algorithm), body);
        let mut value = String::with_capacity(prefix.len() + 2 * tag.as_ref().len());
        value.push_str(prefix);
        write_hex(&mut value, tag.as_ref());
        value
    };
    let sha1 = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
    SignatureHeaders { sha256: written("sha256=", hmac::HMAC_SHA256), sha1: written("sha1=", sha1) }
}

/// The digest that a header value claims.
fn parse(value: &[u8]) -> Option<[u8; TAG_BYTES]> {
    let (pairs, rest) = value.strip_prefix(PREFIX)?.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() != TAG_BYTES {
        return None;
    }
    let mut tag = [0; TAG_BYTES];
    for (byte, [high, low]) in tag.iter_mut().zip(pairs) {
        *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
    }
    Some(tag)
}

/// The value of one hex digit of either case.
pub(crate) fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Appends bytes in lower-case hex.
pub(crate) fn write_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for digit in [byte >> 4, byte & 0x0f] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "dd1a2bc3e4f5061728394a5b6c7d8e9f";

    /// Body, `sha256=` digits, `sha1=` digits, all under [`SECRET`].
    const VECTORS: [(&[u8], &str, &str); 9] = [
        (b"", "b4ead5be09066479b447140083ae1cb18a4e484a99bac07bbeea4d4984488cea", "6e28ca812598039c2420a184bdfd9c94e3f817cd"),
        (b"{}", "fbffdb8a7fcacfc1eedc8d0cfab3f8e81083611bcfcdbbae5f258f11d69e4c5e", "3e7b1e690c33c3e0272004a8a3487da25fb37986"),
        // A text message.
        (br#"{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"},"contacts":[{"profile":{"name":"Sheena Nelson"},"wa_id":"16505551234"}],"messages":[{"from":"16505551234","id":"wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA=","timestamp":"1749416383","type":"text","text":{"body":"Does it come in another color?"}}]},"field":"messages"}]}]}"#, "d1d0f36e66cb99b6c54025388eb2cf8444561f61e412e94a18eddde723bed63a", "30a570927f6cd6814c4fa3260fee1a8fa1475c26"),
        // Umlauts as they are on the wire, then as raw UTF-8.
        (br#"{"text":{"body":"\u00e4\u00f6\u00e5"}}"#, "4a4abbdae484c430b37c751448f021f7459f1e23de30a6ddfeaf3a0aaf8e4177", "f3a95ab3c46de1985757ab27a70291d2ce4bbdaa"),
        ("{\"text\":{\"body\":\"äöå\"}}".as_bytes(), "8098f07a6c1b221de9612d3ca45331cebd13932d6f7e8d2a59703ff57404b7fb", "1c1d83e8d64f02d82f545d0056f7ab5e2b590281"),
        // Surrogate pairs.
        (br#"{"reaction":{"emoji":"\ud83d\udc4d\ud83c\udffd"}}"#, "73ad4524b3f899a859502bf5f3cd953909c4c044bfe81b0b07579da53c7c94b1", "a6d489fcecc619b68f30d88f52d108f5db1395b3"),
        // Escaped slashes and at signs, then the same written anew without.
        (br#"{"image":{"mime_type":"image\/jpeg","url":"https:\/\/lookaside.fbsbx.com\/whatsapp_business\/attachments\/?mid=1"},"text":{"body":"me\u0040example.com"}}"#, "3359422f71b179b054b2412cda0e76ec3cae34c84e0fcec8c870abef5da74d7a", "3ff44c59d8ba5c4dcf3303da950b3c282cb2baf2"),
        (br#"{"image":{"mime_type":"image/jpeg","url":"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1"},"text":{"body":"me@example.com"}}"#, "3312fe5780f8f16895f2b0d26ef67ad26ed9271e926c0dea525e0f2d39cd50a7", "163869934ef22d19bc2dbb094e049e2a9223a9a4"),
        // White space counts.
        (b"{\r\n  \"object\": \"whatsapp_business_account\",\r\n  \"entry\": []\r\n}\r\n", "069a39144014c1d9c606493cfbe91eae66ff2883dc88ec159f77d7706aa4467a", "5571b8eecfb809915f886f5f5ba184d987dc122a"),
    ];

    fn secrets(texts: &[&str]) -> AppSecrets {
        let labelled = texts.iter().map(|text| AppSecret::new(format!("label of {text}"), text).unwrap());
        AppSecrets::new(labelled.collect()).unwrap()
    }

    fn verify<'s>(secrets: &'s AppSecrets, header: &str, body: &[u8]) -> Result<&'s str, SignatureError> {
        secrets.verify([header.as_bytes()], body)
    }

    #[test]
    fn every_vector_is_verified_and_signed_alike() {
        let accepted = secrets(&[SECRET]);
        for (body, sha256, sha1) in VECTORS {
            let header = format!("sha256={sha256}");
            assert!(verify(&accepted, &header, body).is_ok(), "{header}");
            let signed = sign(accepted.iter().next().unwrap(), body);
            assert_eq!(signed, SignatureHeaders { sha256: header, sha1: format!("sha1={sha1}") });
        }
    }

    #[test]
    fn no_vector_is_taken_for_another() {
        let accepted = secrets(&[SECRET]);
        for (index, (body, ..)) in VECTORS.into_iter().enumerate() {
            for (other, (_, sha256, _)) in VECTORS.into_iter().enumerate() {
                let is_ok = verify(&accepted, &format!("sha256={sha256}"), body).is_ok();
                assert_eq!(is_ok, index == other, "V{} under V{}'s signature", index + 1, other + 1);
            }
        }
    }

    #[test]
    fn published_vectors_hold() {
        // RFC 4231, test case 2.
        let header = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(verify(&secrets(&["Jefe"]), header, b"what do ya want for nothing?").is_ok());
        // From the tests of the JavaScript library whatsapp-api-js, whose text is hashed with its
        // characters escaped.
        let text = r"Let's pretend this body is equal to the message object and can handle unicode characters like \u307f\u3069\u308a\u3044\u308d and J'ai mang\u00e9 des p\u00e2tes";
        let header = "sha256=0363007aabdf1ab579f35936651a460fb5fa1aaf40df98b1264446b72cc96688";
        assert!(verify(&secrets(&["YOUR_APP_SECRET"]), header, text.as_bytes()).is_ok());
    }

    #[test]
    fn hex_of_either_case_is_accepted_and_nothing_else_is() {
        let accepted = secrets(&[SECRET]);
        let (body, digits, sha1) = VECTORS[1];
        assert!(verify(&accepted, &format!("sha256={}", digits.to_uppercase()), body).is_ok());
        for header in [
            String::new(),
            digits.to_owned(),
            "sha256=".to_owned(),
            format!("SHA256={digits}"),
            format!("Sha256={digits}"),
            format!("sha1={sha1}"),
            format!("sha1={digits}"),
            format!("sha256={}", &digits[1..]),
            format!("sha256={digits}0"),
            format!("sha256={digits} "),
            format!(" sha256={digits}"),
            format!("sha256= {digits}"),
            format!("sha256={digits}\n"),
            format!("\"sha256={digits}\""),
            format!("sha256={digits}, sha256={digits}"),
            format!("sha256={digits},sha1={sha1}"),
            format!("sha256={}", digits.replacen('b', "g", 1)),
            format!("sha256={}é", &digits[2..]),
            format!("sha256={}", "é".repeat(32)),
        ] {
            assert_eq!(verify(&accepted, &header, body), Err(SignatureError::Malformed), "{header:?}");
        }
        for header in [&b"sha256=\xff\xfe"[..], &[0xff; 71], b"\xe9sha256="] {
            assert_eq!(accepted.verify([header], body), Err(SignatureError::Malformed));
        }
    }

    #[test]
    fn exactly_one_header_is_wanted() {
        let accepted = secrets(&[SECRET]);
        let (body, digits, _) = VECTORS[1];
        let header = format!("sha256={digits}");
        assert_eq!(accepted.verify([], body), Err(SignatureError::Missing));
        let twice = [header.as_bytes(), header.as_bytes()];
        assert_eq!(accepted.verify(twice, body), Err(SignatureError::Repeated));
    }

    #[test]
    fn the_secret_that_signed_is_named_and_any_may_sign() {
        let accepted = secrets(&["old", "new", "third"]);
        for secret in ["old", "new", "third"] {
            let header = sign(&AppSecret::new("", secret).unwrap(), b"body").sha256;
            assert_eq!(verify(&accepted, &header, b"body"), Ok(format!("label of {secret}").as_str()));
        }
        let header = sign(&AppSecret::new("", "fourth").unwrap(), b"body").sha256;
        assert_eq!(verify(&accepted, &header, b"body"), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_changed_body_is_refused() {
        let accepted = secrets(&[SECRET]);
        let (body, digits, _) = VECTORS[2];
        let header = format!("sha256={digits}");
        // The same text compressed is other bytes; its first ones are those of any gzip stream.
        let compressed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
        for changed in
            [[body, b"\n"].concat(), body[1..].to_vec(), body.to_ascii_uppercase(), compressed.to_vec()]
        {
            assert_eq!(verify(&accepted, &header, &changed), Err(SignatureError::Mismatch));
        }
    }

    #[test]
    fn an_empty_secret_cannot_be_made() {
        assert_eq!(AppSecret::new("shop", "").unwrap_err(), EmptySecret { label: "shop".to_owned() });
        assert!(AppSecrets::new(Vec::new()).is_none());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let accepted = secrets(&[SECRET]);
        let printed = format!("{accepted:?}").replace("label of ", "").replacen(SECRET, "", 1);
        assert!(printed.contains("AppSecret") && !printed.contains(SECRET), "{printed}");
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_and_any_header_is_survived(secret in "[!-~]{1,40}", body in any::<Vec<u8>>(), header in any::<Vec<u8>>()) {
            let secret = AppSecret::new("a", secret).unwrap();
            let header_good = sign(&secret, &body).sha256;
            let accepted = AppSecrets::from(secret);
            prop_assert_eq!(accepted.verify([header_good.as_bytes()], &body), Ok("a"));
            prop_assert!(accepted.verify([header.as_slice()], &body).is_err());
        }
    }
}
