//! Composed payloads: webhooks of every kind, as Meta would write them, from nothing but arguments.
//!
//! For `waypost trigger`, the demo and tests. Compact JSON, everything beyond ASCII escaped and `/`
//! written `\/`, as on the wire. The same arguments give the same bytes; another
//! [`Compose::sequence`] gives other ids.

mod templates;

use std::fmt::Write as _;

use templates::{Envelope, TEMPLATES, Template};

/// Most messages in a composed batch: what Meta documents as its largest.
pub const BATCH_MAX: usize = 1_000;

/// Every kind that can be composed, with a line on what it is.
pub static KINDS: &[(&str, &str)] = &kinds();

const fn kinds() -> [(&'static str, &'static str); TEMPLATES.len()] {
    let mut kinds = [("", ""); TEMPLATES.len()];
    let mut index = 0;
    while index < kinds.len() {
        kinds[index] = (TEMPLATES[index].kind, TEMPLATES[index].about);
        index += 1;
    }
    kinds
}

/// Who a composed payload is from and to, and what sets it apart from the next.
#[derive(Clone, Copy, Debug)]
pub struct Compose<'a> {
    /// The business number's id.
    pub phone_number_id: &'a str,
    /// The business number in digits.
    pub display_phone_number: &'a str,
    /// The WhatsApp Business Account.
    pub waba_id: &'a str,
    /// The person's phone number in digits (`wa_id`).
    pub contact: &'a str,
    /// Makes ids unique: events composed with the same number share their ids, so that a `text` and
    /// a `status.read` of one number are about one message.
    pub sequence: u64,
    /// When it happens, in seconds since 1970.
    pub timestamp_s: i64,
    /// What is written, where something is.
    pub text: Option<&'a str>,
    /// How many messages a `batch` holds; at least 1, at most [`BATCH_MAX`].
    pub batch_size: usize,
}

impl Default for Compose<'_> {
    fn default() -> Self {
        Self {
            phone_number_id: "301944726605112",
            display_phone_number: "15550147720",
            waba_id: "288731059440016",
            contact: "14155550183",
            sequence: 0,
            timestamp_s: 1_790_000_000,
            text: None,
            batch_size: 10,
        }
    }
}

/// Composes a payload of one of [`KINDS`]. `None` for any other word.
pub fn compose(kind: &str, parts: &Compose<'_>) -> Option<String> {
    let template = TEMPLATES.iter().find(|template| template.kind == kind)?;
    let mut body = String::new();
    expand(&mut body, &template.envelope(), template, parts, 0);
    Some(as_on_the_wire(&body))
}

impl Template {
    fn envelope(&self) -> String {
        let head = r#"{"object":"whatsapp_business_account","entry":[{"id":"#;
        let change = r#""changes":[{"value":$VALUE,"field":"$FIELD"}]}]}"#;
        match self.envelope {
            Envelope::Account => format!(r#"{head}"$WABA",{change}"#),
            Envelope::AccountTimed => format!(r#"{head}"$WABA","time":$TIME,{change}"#),
            Envelope::PortfolioTimed => format!(r#"{head}"$PORTFOLIO","time":$TIME,{change}"#),
            Envelope::Own => self.value.to_owned(),
        }
    }
}

/// Appends a template with every `$NAME` replaced.
fn expand(body: &mut String, text: &str, template: &Template, parts: &Compose<'_>, index: usize) {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        body.push_str(before);
        let length = after.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(after.len());
        let (name, behind) = after.split_at(length);
        rest = behind;
        match name {
            "VALUE" => expand(body, template.value, template, parts, index),
            "METADATA" => expand(body, templates::METADATA, template, parts, index),
            "CONTACTS" => expand(body, templates::CONTACTS, template, parts, index),
            "BATCH" => {
                for index in 0..parts.batch_size.clamp(1, BATCH_MAX) {
                    if index > 0 {
                        body.push(',');
                    }
                    expand(body, templates::BATCH_ELEMENT, template, parts, index);
                }
            }
            _ => scalar(body, name, template, parts, index),
        }
    }
    body.push_str(rest);
}

fn scalar(body: &mut String, name: &str, template: &Template, parts: &Compose<'_>, index: usize) {
    let Compose { contact, sequence, timestamp_s, .. } = *parts;
    match name {
        "FIELD" => body.push_str(template.field),
        "P" => escape(body, parts.phone_number_id),
        "DISPLAY" => escape(body, parts.display_phone_number),
        "WABA" => escape(body, parts.waba_id),
        "PORTFOLIO" => escape(body, &format!("77{}", parts.waba_id)),
        "FROM" => escape(body, contact),
        "BSUID" => escape(body, &format!("US.13{contact}7021")),
        "PARENT" => escape(body, &format!("US.ENT.118{contact}4402")),
        "GROUP" => body.push_str(&base64(format!("capi_group:{contact}:120363077412").as_bytes())),
        "TEXT" => escape(body, parts.text.unwrap_or("Do you have this in green? 🌿 Grüße, Ana")),
        "TEXT_INDEX" => match parts.text {
            Some(text) => escape(body, &format!("{text} {}", index + 1)),
            None => escape(body, &format!("Message {} of a batch", index + 1)),
        },
        "WAMID" => body.push_str(&wamid(contact, sequence, index)),
        "OTHER" => body.push_str(&wamid(contact, sequence, OTHER)),
        "WACID" => body.push_str(&format!("wacid.{}", base64(mixed(sequence).as_bytes()))),
        "REQUEST" => body.push_str(&mixed(sequence).to_lowercase()),
        // Writing to a string cannot fail.
        "NUMBER" => drop(write!(body, "{}", 1_000_000_000_000_000 + u128::from(sequence))),
        "TIME" => drop(write!(body, "{timestamp_s}")),
        "LATER" => drop(write!(body, "{}", timestamp_s.saturating_add(86_400))),
        "EARLIER" => drop(write!(body, "{}", timestamp_s.saturating_sub(120))),
        _ => {
            body.push('$');
            body.push_str(name);
        }
    }
}

/// The place of the message that another one refers to.
const OTHER: usize = 0xffff;

/// An id shaped like Meta's: base64 over the person's number and twenty hex digits.
fn wamid(contact: &str, sequence: u64, index: usize) -> String {
    let mut bytes = vec![0x1c, 0x18, 0x0b];
    bytes.extend(contact.bytes().chain(std::iter::repeat(b'0')).take(11));
    bytes.extend([0x15, 0x02, 0x00, 0x12, 0x18, 0x14]);
    bytes.extend(format!("{}{index:04X}", mixed(sequence)).bytes());
    bytes.push(0);
    format!("wamid.{}", base64(&bytes))
}

/// Sixteen hex digits that look like chance and differ for any two numbers: the finishing steps of
/// SplitMix64, each of which can be undone.
fn mixed(sequence: u64) -> String {
    let mut mixed = sequence.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016X}", mixed ^ (mixed >> 31))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 0x3f) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Appends text as the inside of a JSON string.
fn escape(body: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => body.push_str("\\\""),
            '\\' => body.push_str("\\\\"),
            '\n' => body.push_str("\\n"),
            '\r' => body.push_str("\\r"),
            '\t' => body.push_str("\\t"),
            '\0'..' ' => drop(write!(body, "\\u{:04x}", u32::from(character))),
            _ => body.push(character),
        }
    }
}

/// Escapes what Meta escapes beyond need: `/` and every character that is not ASCII.
fn as_on_the_wire(body: &str) -> String {
    let mut wire = String::with_capacity(body.len() + body.len() / 8);
    for character in body.chars() {
        match character {
            '/' => wire.push_str("\\/"),
            '\0'..='\x7f' => wire.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(wire, "\\u{unit:04x}");
                }
            }
        }
    }
    wire
}
