//! The webhook that is sent: a WhatsApp text message, unique and signed, written in place.
//!
//! A template holds the whole HTTP request once. For each request only the message id, the
//! contact, the time of sending and the signature are written over; nothing is allocated.
//! The envelope's shape follows Meta's page "Webhooks: messages"; all values are invented.

use std::num::NonZeroU32;

use anyhow::{Context as _, ensure};
use aws_lc_rs::hmac;

use crate::stopwatch;

/// What a template is made from.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The request target, as it stands in the request line.
    pub(crate) path: String,
    /// The `Host` header.
    pub(crate) host: String,
    /// Size of the body; the text is padded to it.
    pub(crate) body_bytes: usize,
    /// The app secret that signs the body.
    pub(crate) secret: String,
    /// Ask the server to close after each response.
    pub(crate) close: bool,
    /// How many different contacts write, in turn: so many conversations.
    pub(crate) contacts: u32,
    /// Sources that take turns; none where there is but the path and the secret as given.
    pub(crate) sources: Option<NonZeroU32>,
}

/// Digits of a source's number, at the end of its path and of its secret.
const SOURCE_DIGITS: usize = 6;

/// The path or the secret of one of many sources: what they have in common, and the source's number.
pub(crate) fn of_source(common: &str, source: u32) -> String {
    format!("{common}{source:0SOURCE_DIGITS$}")
}

/// The size of a plain text message's webhook.
pub(crate) const BODY_BYTES: usize = 571;

const HEX_SLOT: &str = "0000000000000000";
const CONTACT_SLOT: &str = "000000";
const CONTACT_PREFIX: &str = "4915550";
/// What stands before the id in a wamid.
const WAMID_PREFIX: &str = "wamid.HBgNNDkxNTU1MDcwMDAxMhUCABIYFjNF";
/// What stands before the time of sending.
const SENT_PREFIX: &str = "\"body\":\"sent ";
/// How far into a body its marks may lie.
const MARKS_WITHIN_BYTES: usize = 1024;

/// One HTTP request, to be filled again and again.
#[derive(Debug)]
pub(crate) struct Template {
    request: Vec<u8>,
    body_at: usize,
    signature_at: usize,
    id_at: usize,
    sent_at: usize,
    contact_at: [usize; 2],
    contacts: u64,
    /// Where the source's number stands, if there are sources.
    source_at: Option<usize>,
    /// One for each source, or the only one.
    keys: Vec<hmac::Key>,
}

impl Template {
    /// Lays out the request. Fails if the body is too small to hold a message.
    pub(crate) fn new(spec: &Spec) -> anyhow::Result<Self> {
        let body = body(spec.body_bytes)?;
        let sources = spec.sources.map_or(0, NonZeroU32::get);
        let path = if sources > 0 { of_source(&spec.path, 0) } else { spec.path.clone() };
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let keys = match sources {
            0 => vec![key(&spec.secret)],
            many => (0..many).map(|source| key(&of_source(&spec.secret, source))).collect(),
        };
        let connection = if spec.close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nUser-Agent: facebookexternalua\r\n\
             Content-Type: application/json\r\n{connection}X-Hub-Signature-256: sha256={signature}\r\n\
             Content-Length: {length}\r\n\r\n",
            host = spec.host,
            signature = HEX_SLOT.repeat(4),
            length = body.len(),
        );
        let signature_at = position(head.as_bytes(), b"sha256=").context("no signature slot")? + 7;
        let body_at = head.len();
        let request = [head.into_bytes(), body].concat();
        let after = |mark: &str| {
            position(&request[body_at..], mark.as_bytes())
                .map(|at| body_at + at + mark.len())
                .with_context(|| format!("no {mark} in the body"))
        };
        let contact = after(&format!("\"wa_id\":\"{CONTACT_PREFIX}"))?;
        let from = after(&format!("\"from\":\"{CONTACT_PREFIX}"))?;
        Ok(Self {
            id_at: after(WAMID_PREFIX)?,
            sent_at: after(SENT_PREFIX)?,
            contact_at: [contact, from],
            contacts: u64::from(spec.contacts.clamp(1, 1_000_000)),
            source_at: spec.sources.map(|_| "POST ".len() + spec.path.len()),
            keys,
            request,
            body_at,
            signature_at,
        })
    }

    /// The request for one message, signed, sent at `sent_ns` of the process's clock.
    pub(crate) fn fill(&mut self, id: u64, sent_ns: u64) -> &[u8] {
        write_hex(&mut self.request[self.id_at..][..16], &id.to_be_bytes());
        write_hex(&mut self.request[self.sent_at..][..16], &sent_ns.to_be_bytes());
        for at in self.contact_at {
            write_digits(&mut self.request[at..][..CONTACT_SLOT.len()], id % self.contacts);
        }
        let source = id % self.keys.len() as u64;
        if let Some(at) = self.source_at {
            write_digits(&mut self.request[at..][..SOURCE_DIGITS], source);
        }
        let tag = hmac::sign(&self.keys[source as usize], &self.request[self.body_at..]);
        write_hex(&mut self.request[self.signature_at..][..64], tag.as_ref());
        &self.request
    }
}

/// What a received body says about its sending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// The number in the message's wamid.
    pub(crate) id: u64,
    /// When it was sent, by the sender's clock.
    pub(crate) sent_ns: u64,
}

/// Reads the mark of a body that [`Template::fill`] wrote; `None` for any other body.
pub(crate) fn mark(body: &[u8]) -> Option<Mark> {
    let head = &body[..body.len().min(MARKS_WITHIN_BYTES)];
    let read = |prefix: &str| {
        let at = position(head, prefix.as_bytes())? + prefix.len();
        let digits = std::str::from_utf8(head.get(at..at + 16)?).ok()?;
        u64::from_str_radix(digits, 16).ok()
    };
    Some(Mark { id: read(WAMID_PREFIX)?, sent_ns: read(SENT_PREFIX)? })
}

/// Whether a signature header (`sha256=` and 64 hexadecimal digits) is that of the body.
pub(crate) fn is_signed(key: &hmac::Key, header: &[u8], body: &[u8]) -> bool {
    let Some(digits) = header.strip_prefix(b"sha256=").filter(|digits| digits.len() == 64) else {
        return false;
    };
    let mut tag = [0_u8; 32];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let (Some(high), Some(low)) = (hex_value(pair[0]), hex_value(pair[1])) else { return false };
        *byte = high << 4 | low;
    }
    hmac::verify(key, body, &tag).is_ok()
}

fn body(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let timestamp = stopwatch::unix_ns() / 1_000_000_000;
    let start = format!(
        "{{\"object\":\"whatsapp_business_account\",\"entry\":[{{\"id\":\"218847730915562\",\"changes\":[{{\
         \"value\":{{\"messaging_product\":\"whatsapp\",\"metadata\":{{\"display_phone_number\":\"15550172244\",\
         \"phone_number_id\":\"317755042981166\"}},\"contacts\":[{{\"profile\":{{\"name\":\"Ines Okafor\"}},\
         \"wa_id\":\"{CONTACT_PREFIX}{CONTACT_SLOT}\"}}],\"messages\":[{{\"from\":\"{CONTACT_PREFIX}{CONTACT_SLOT}\",\
         \"id\":\"{WAMID_PREFIX}{HEX_SLOT}AA==\",\"timestamp\":\"{timestamp}\",\"type\":\"text\",\"text\":{{{SENT_PREFIX}{HEX_SLOT}"
    );
    let end = "\"}}]},\"field\":\"messages\"}]}]}";
    let least = start.len() + end.len();
    ensure!(bytes >= least, "a webhook body has at least {least} bytes; {bytes} were asked for");
    let filler = " the quick answer is on its way";
    let padding = filler.bytes().cycle().take(bytes - least);
    Ok(start.bytes().chain(padding).chain(end.bytes()).collect())
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    (0..(haystack.len() + 1).checked_sub(needle.len())?)
        .find(|at| haystack[*at] == first && haystack[*at..].starts_with(needle))
}

fn write_digits(into: &mut [u8], mut number: u64) {
    for digit in into.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn write_hex(into: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in into.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(body_bytes: usize) -> Spec {
        Spec {
            path: "/up.test/webhooks/whatsapp/%2B15550172244".into(),
            host: "proxy.test".into(),
            body_bytes,
            secret: "a-secret".into(),
            close: false,
            contacts: 10_000,
            sources: None,
        }
    }

    fn parts(request: &[u8]) -> (String, Vec<u8>) {
        let split = position(request, b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(request[..split].to_vec()).unwrap(), request[split..].to_vec())
    }

    #[test]
    fn every_size_is_exact_signed_and_a_text_message() {
        for bytes in [BODY_BYTES, 4 * 1024, 64 * 1024, 3_000_000] {
            let mut template = Template::new(&spec(bytes)).unwrap();
            let (head, body) = parts(template.fill(7, 9));
            assert_eq!(body.len(), bytes);
            assert!(head.contains(&format!("Content-Length: {bytes}\r\n")), "{head}");
            let signature = head.lines().find_map(|line| line.strip_prefix("X-Hub-Signature-256: ")).unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"a-secret");
            assert!(is_signed(&key, signature.as_bytes(), &body));
            assert!(!is_signed(&key, signature.as_bytes(), &body[1..]));
            assert!(!is_signed(&key, signature.to_uppercase().as_bytes(), &body), "the prefix is lower case");
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let message = &value["entry"][0]["changes"][0]["value"]["messages"][0];
            assert_eq!(message["type"], "text");
            assert_eq!(message["from"], "4915550000007");
        }
    }

    #[test]
    fn the_mark_of_a_body_is_what_was_filled_in() {
        let mut template = Template::new(&spec(BODY_BYTES)).unwrap();
        for (id, sent_ns) in [(0, 0), (12_345_678, 1), (u64::MAX, u64::MAX)] {
            let (_, body) = parts(template.fill(id, sent_ns));
            assert_eq!(mark(&body), Some(Mark { id, sent_ns }));
        }
        assert_eq!(mark(b"{}"), None);
        assert_eq!(mark(WAMID_PREFIX.as_bytes()), None);
    }

    #[test]
    fn messages_differ_and_contacts_come_round() {
        let mut template = Template::new(&spec(BODY_BYTES)).unwrap();
        let (_, first) = parts(template.fill(3, 0));
        let (_, second) = parts(template.fill(10_003, 0));
        assert_ne!(first, second);
        let from = |body: &[u8]| {
            let value: serde_json::Value = serde_json::from_slice(body).unwrap();
            value["entry"][0]["changes"][0]["value"]["messages"][0]["from"].clone()
        };
        assert_eq!(from(&first), from(&second));
    }

    #[test]
    fn sources_take_turns_each_with_its_own_path_and_secret() {
        let common = Spec { path: "/w/token".into(), sources: NonZeroU32::new(3), ..spec(BODY_BYTES) };
        let mut template = Template::new(&common).unwrap();
        for (id, source) in [(0, "000000"), (4, "000001"), (5, "000002"), (6, "000000")] {
            let (head, body) = parts(template.fill(id, 0));
            assert!(head.starts_with(&format!("POST /w/token{source} HTTP/1.1\r\n")), "{head}");
            let signature = head.lines().find_map(|line| line.strip_prefix("X-Hub-Signature-256: ")).unwrap();
            let secret = format!("a-secret{source}");
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            assert!(is_signed(&key, signature.as_bytes(), &body));
        }
        assert_eq!(of_source("/w/token", 2), "/w/token000002");
    }

    #[test]
    fn a_body_too_small_for_a_message_is_refused() {
        assert!(Template::new(&spec(100)).is_err());
    }
}
