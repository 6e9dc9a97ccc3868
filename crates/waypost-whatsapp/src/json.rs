//! Walking JSON text that is known to be well formed, without building a tree.
//!
//! A body is checked once, as a whole, by `serde_json`'s skipping of values, which neither recurses
//! nor decodes strings: any depth passes, and so do halves of surrogate pairs. After that a
//! [`Cursor`] goes over it and hands out [`Value`]s, slices of the text. Walking never fails and
//! never panics; on text that is not well formed it would merely find nothing.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Longest text that counts as an id, a type or a token. Anything longer counts as absent. Meta's
/// longest are tracking tokens of some hundred bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// One JSON value as it stands in the body, without white space around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// The value a text consists of. `None` if the text is not JSON.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok().map(|raw| Self(raw.get()))
    }

    /// The value whose bytes are known to be these.
    pub(crate) fn of(raw: &'a str) -> Self {
        Self(raw)
    }

    /// The bytes it is written in.
    pub(crate) fn raw(self) -> &'a str {
        self.0
    }

    /// Whether it says anything: missing, `null` and `""` are alike.
    fn is_some(self) -> bool {
        !matches!(self.0, "null" | "\"\"")
    }

    /// Whether it counts as missing.
    pub(crate) fn is_silent(self) -> bool {
        !self.is_some()
    }

    /// A string's text, or a number's own digits: ids come as either, and may pass 2⁵³.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        let text = match self.0.as_bytes().first()? {
            b'"' => decode(self.0.strip_prefix('"')?.strip_suffix('"')?),
            b'-' | b'0'..=b'9' => Cow::Borrowed(self.0),
            _ => return None,
        };
        (!text.is_empty() && text.len() <= TEXT_BYTES_MAX).then_some(text)
    }

    /// A string's text of any length; not a number's digits.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(decode(inside)).filter(|text| !text.is_empty())
    }

    /// The first member of that name that says anything, in an object.
    pub(crate) fn member(self, name: &str) -> Option<Self> {
        let mut found = None;
        self.cursor().members(|key, cursor| {
            if found.is_none() && key == name {
                found = Some(cursor.value()).filter(|value| value.is_some());
            }
        });
        found
    }

    /// The text of [`Value::member`].
    pub(crate) fn text_at(self, name: &str) -> Option<Cow<'a, str>> {
        self.member(name)?.text()
    }

    pub(crate) fn cursor(self) -> Cursor<'a> {
        self.cursor_at(0)
    }

    /// A cursor at a place that another one of this value was at.
    pub(crate) fn cursor_at(self, at: usize) -> Cursor<'a> {
        Cursor { text: self.0, at }
    }
}

/// The members of an object, collected for several looks at them.
#[derive(Default)]
pub(crate) struct Members<'a> {
    list: Vec<(Cow<'a, str>, Value<'a>)>,
    is_partial: bool,
}

/// Most members of one object that are looked at. Meta's objects have about a dozen.
const MEMBERS_MAX: usize = 1024;

impl<'a> Members<'a> {
    /// Replaces what is here by the members of the object at the cursor, and passes it. Whether it
    /// was an object; if not, the cursor passes it all the same.
    pub(crate) fn read(&mut self, cursor: &mut Cursor<'a>) -> bool {
        self.list.clear();
        self.is_partial = false;
        let is_object = cursor.members(|key, cursor| {
            let value = cursor.value();
            if !value.is_some() {
                return;
            }
            self.is_partial = self.list.len() == MEMBERS_MAX;
            if !self.is_partial {
                self.list.push((key, value));
            }
        });
        if !is_object {
            cursor.skip();
        }
        is_object
    }

    /// Whether there were more than are looked at.
    pub(crate) fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// The first member of that name that says anything.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.list.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// Every member of that name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = Value<'a>> {
        self.list.iter().filter(move |(key, _)| key == name).map(|(_, value)| *value)
    }

    /// Every member, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.list.iter().map(|(key, value)| (&**key, *value))
    }

    /// Every member's value.
    pub(crate) fn values(&self) -> impl Iterator<Item = Value<'a>> {
        self.list.iter().map(|(_, value)| *value)
    }

    /// The text of [`Members::get`].
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.text()
    }

    /// The text at `object.name`.
    pub(crate) fn text_in(&self, object: &str, name: &str) -> Option<Cow<'a, str>> {
        self.get(object)?.text_at(name)
    }
}

/// What holds other values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Container {
    Array,
    Object,
}

/// A place in well-formed JSON text.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Calls `each` at the value of every member of the object here, in order, and passes the
    /// object. A value that `each` leaves unread is passed over. `false`, standing still, if this
    /// is no object.
    pub(crate) fn members(&mut self, mut each: impl FnMut(Cow<'a, str>, &mut Self)) -> bool {
        self.members_from(|_, name, cursor| each(name, cursor))
    }

    /// As [`Cursor::members`], with the place where each member's name begins, at its quote.
    pub(crate) fn members_from(&mut self, mut each: impl FnMut(usize, Cow<'a, str>, &mut Self)) -> bool {
        if self.next() != b'{' {
            return false;
        }
        self.at += 1;
        loop {
            match self.next() {
                b'"' => {
                    let start = self.at;
                    let key = self.key();
                    if self.next() == b':' {
                        self.at += 1;
                    }
                    self.visit(|cursor| each(start, key, cursor));
                }
                b',' => self.at += 1,
                _ => break,
            }
        }
        self.at += 1;
        true
    }

    /// Calls `each` at every element of the array here, in order, and passes the array. An object
    /// where an array should be counts as its one element. `false`, standing still, if this is
    /// neither.
    pub(crate) fn items(&mut self, mut each: impl FnMut(&mut Self)) -> bool {
        match self.next() {
            b'[' => self.at += 1,
            b'{' => {
                self.visit(each);
                return true;
            }
            _ => return false,
        }
        loop {
            match self.next() {
                b',' => self.at += 1,
                b']' | b'}' | 0 => break,
                _ => self.visit(&mut each),
            }
        }
        self.at += 1;
        true
    }

    /// The value here, passed over.
    pub(crate) fn value(&mut self) -> Value<'a> {
        self.next();
        let start = self.at;
        self.skip();
        Value(self.slice(start))
    }

    /// Where the value here begins; to be given to [`Cursor::since`].
    pub(crate) fn mark(&mut self) -> usize {
        self.next();
        self.at
    }

    /// Where the value that has just been passed ends.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// What the value here is, if it holds others.
    pub(crate) fn container(&mut self) -> Option<Container> {
        match self.next() {
            b'[' => Some(Container::Array),
            b'{' => Some(Container::Object),
            _ => None,
        }
    }

    /// The value that began at a mark and has just been passed.
    pub(crate) fn since(&self, mark: usize) -> Value<'a> {
        Value(self.slice(mark))
    }

    /// Passes the value here.
    pub(crate) fn skip(&mut self) {
        match self.next() {
            b'"' => self.skip_string(),
            b'{' | b'[' => self.skip_nested(),
            _ => {
                let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                let end = rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t'));
                self.at += end.unwrap_or(rest.len());
            }
        }
    }

    /// Lets `each` read the value here, and passes it if that did not.
    fn visit(&mut self, each: impl FnOnce(&mut Self)) {
        self.next();
        let start = self.at;
        each(self);
        if self.at == start {
            self.skip();
        }
        if self.at == start {
            // Not well formed: go on, so that every loop ends.
            self.at = self.text.len();
        }
    }

    /// The first byte that is not white space, here or further on; 0 at the end.
    fn next(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return *byte,
            }
        }
        0
    }

    fn key(&mut self) -> Cow<'a, str> {
        let start = self.at + 1;
        self.skip_string();
        decode(self.slice(start).strip_suffix('"').unwrap_or_default())
    }

    /// Passes the string whose opening quote is here.
    fn skip_string(&mut self) {
        let bytes = self.text.as_bytes();
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    /// Passes the object or array that opens here, however deep it is.
    fn skip_nested(&mut self) {
        let bytes = self.text.as_bytes();
        let mut depth = 0_usize;
        while let Some(byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn slice(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }
}

/// The text of a string's inside. What cannot be kept as text everywhere (half a surrogate pair, a
/// NUL) stays in its escaped form.
fn decode(inside: &str) -> Cow<'_, str> {
    if !inside.as_bytes().contains(&b'\\') {
        return Cow::Borrowed(inside);
    }
    match String::from_utf8(unescape(inside)) {
        Ok(text) if !text.contains('\0') => Cow::Owned(text),
        _ => Cow::Borrowed(inside),
    }
}

/// The bytes a string's inside stands for: UTF-8, but for halves of surrogate pairs, which are
/// encoded as if they were characters (WTF-8).
pub(crate) fn unescape(inside: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let mut after = escaped.chars();
        let short = match after.next() {
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('u') => {
                let (unit, length) = code_point(escaped);
                push_code_point(&mut bytes, unit);
                rest = escaped.get(length..).unwrap_or_default();
                continue;
            }
            Some('"') => b'"',
            Some('/') => b'/',
            _ => b'\\',
        };
        bytes.push(short);
        rest = after.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// The code point of an escape whose `u` is the text's first character, and the bytes it takes:
/// two escapes where they are the halves of one pair.
fn code_point(text: &str) -> (u32, usize) {
    let unit = |digits: Option<&str>| digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let first = unit(text.get(1..5)).unwrap_or(0xfffd);
    if (0xd800..0xdc00).contains(&first)
        && text.get(5..7) == Some("\\u")
        && let Some(second @ 0xdc00..0xe000) = unit(text.get(7..11))
    {
        return (0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), 11);
    }
    (first, 5)
}

fn push_code_point(bytes: &mut Vec<u8>, code_point: u32) {
    match char::from_u32(code_point) {
        Some(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        // Only halves of surrogate pairs get here: three bytes each.
        None => {
            let six = |shift: u32| 0x80 | (code_point >> shift & 0x3f) as u8;
            bytes.extend_from_slice(&[0xe0 | (code_point >> 12 & 0x0f) as u8, six(6), six(0)]);
        }
    }
}
