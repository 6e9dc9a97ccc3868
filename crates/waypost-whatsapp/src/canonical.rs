//! One way of writing each JSON value, so that its hash can stand in for an id.
//!
//! Members sorted by their decoded names (a name's repeats keep their order), no white space,
//! numbers as they were written (an id may pass 2⁵³, and 1.0 is not 1 until someone says so),
//! strings with no more escapes than they need.

use std::borrow::Cow;
use std::ops::Range;

use aws_lc_rs::digest;

use crate::json::{Value, unescape};
use crate::signature::write_hex;

/// Deepest nesting that is rewritten; a deeper value is hashed as it stands. Meta's go to about 12.
pub const CANONICAL_DEPTH_MAX: usize = 128;

/// The canonical writing of a JSON text, in UTF-8 (but for halves of surrogate pairs, which stay
/// escaped). `None` if the text is not JSON or nested deeper than [`CANONICAL_DEPTH_MAX`].
pub fn canonical_json(text: &str) -> Option<Vec<u8>> {
    Value::parse(text).and_then(canonical)
}

/// The SHA-256 of a value's canonical writing, or of its bytes where it is too deep, in hex.
pub(crate) fn hash(value: Value<'_>) -> String {
    match canonical(value) {
        Some(bytes) => hash_bytes(&bytes),
        None => hash_bytes(value.raw().as_bytes()),
    }
}

/// The SHA-256 of bytes as they are, in hex.
pub(crate) fn hash_bytes(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    write_hex(&mut hex, digest::digest(&digest::SHA256, bytes).as_ref());
    hex
}

/// An object or array being written.
struct Frame<'a> {
    is_object: bool,
    /// Where its first member or element begins in the output.
    start: usize,
    /// An object's finished members: name, and where they are in the output.
    members: Vec<(Cow<'a, [u8]>, Range<usize>)>,
    /// The member being written: its name and where it begins.
    open: Option<(Cow<'a, [u8]>, usize)>,
}

impl Frame<'_> {
    /// Notes that a member ends here.
    fn end_member(&mut self, end: usize) {
        if let Some((name, start)) = self.open.take() {
            self.members.push((name, start..end));
        }
    }

    /// Puts the members in order, once all are written.
    fn sort(&mut self, output: &mut Vec<u8>) {
        if self.members.is_sorted_by(|a, b| a.0 <= b.0) {
            return;
        }
        self.members.sort_by(|a, b| a.0.cmp(&b.0));
        let mut sorted = Vec::with_capacity(output.len() - self.start);
        for (_, place) in &self.members {
            if !sorted.is_empty() {
                sorted.push(b',');
            }
            sorted.extend_from_slice(output.get(place.clone()).unwrap_or_default());
        }
        output.truncate(self.start);
        output.append(&mut sorted);
    }
}

fn canonical(value: Value<'_>) -> Option<Vec<u8>> {
    let text = value.raw();
    let bytes = text.as_bytes();
    let mut output = Vec::with_capacity(text.len());
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            b'{' | b'[' => {
                if frames.len() == CANONICAL_DEPTH_MAX {
                    return None;
                }
                output.push(*byte);
                let is_object = *byte == b'{';
                frames.push(Frame { is_object, start: output.len(), members: Vec::new(), open: None });
                at += 1;
            }
            b'}' | b']' => {
                if let Some(mut frame) = frames.pop() {
                    frame.end_member(output.len());
                    frame.sort(&mut output);
                }
                output.push(*byte);
                at += 1;
            }
            b',' => {
                if let Some(frame) = frames.last_mut() {
                    frame.end_member(output.len());
                }
                output.push(b',');
                at += 1;
            }
            b'"' => {
                let end = string_end(bytes, at + 1);
                let content = decoded(text.get(at + 1..end).unwrap_or_default());
                let start = output.len();
                write_string(&mut output, &content);
                if let Some(frame) = frames.last_mut()
                    && frame.is_object
                    && frame.open.is_none()
                {
                    frame.open = Some((content, start));
                }
                at = end + 1;
            }
            byte => {
                output.push(*byte);
                at += 1;
            }
        }
    }
    Some(output)
}

/// Where the string whose inside begins here has its closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn decoded(inside: &str) -> Cow<'_, [u8]> {
    if inside.contains('\\') { Cow::Owned(unescape(inside)) } else { Cow::Borrowed(inside.as_bytes()) }
}

/// Writes a string with only the escapes JSON asks for, and halves of surrogate pairs.
fn write_string(output: &mut Vec<u8>, content: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| HEX[usize::from(value & 0x0f)];
    output.push(b'"');
    let mut bytes = content.iter();
    while let Some(byte) = bytes.next().copied() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => {
                output.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
                continue;
            }
            // UTF-8 has no ED followed by A0 or more: half a surrogate pair, from `unescape`.
            0xed if bytes.as_slice().first().is_some_and(|second| *second >= 0xa0) => {
                let mut next = || bytes.next().copied().unwrap_or_default();
                let (second, third) = (next(), next());
                let unit = [
                    b'\\',
                    b'u',
                    b'd',
                    digit(second >> 2),
                    digit(second << 2 | third >> 4 & 3),
                    digit(third),
                ];
                output.extend_from_slice(&unit);
                continue;
            }
            byte => {
                output.push(byte);
                continue;
            }
        };
        output.extend_from_slice(&[b'\\', short]);
    }
    output.push(b'"');
}
