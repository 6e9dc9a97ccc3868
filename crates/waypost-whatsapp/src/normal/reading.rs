//! Reading Meta's objects leniently: what is missing, `null`, `""` or of another type is absent.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::{Container, Members, Value};

/// Most elements of one list that are read; the fragment has all. Meta's largest lists are the messages
/// of a chunk of history, which are thousands.
pub const LIST_MAX: usize = 16_384;

/// JSON as Meta wrote it, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment<'a>(Value<'a>);

impl<'a> Fragment<'a> {
    pub(super) fn new(value: Value<'a>) -> Self {
        Self(value)
    }

    /// The bytes it is written in.
    pub fn as_str(&self) -> &'a str {
        self.0.raw()
    }
}

impl Serialize for Fragment<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.0.raw()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// A number in Meta's own digits: ids may pass 2⁵³, and prices are decimals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number<'a>(Fragment<'a>);

impl<'a> Number<'a> {
    /// Its digits.
    pub fn as_str(&self) -> &'a str {
        self.0.as_str()
    }
}

impl Serialize for Number<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The members of one of Meta's objects.
pub(super) struct Object<'a>(Members<'a>);

impl<'a> Object<'a> {
    /// The members of a value; none, if it is no object.
    pub(super) fn of(value: Value<'a>) -> Self {
        let mut members = Members::default();
        members.read(&mut value.cursor());
        Self(members)
    }

    pub(super) fn members(&self) -> &Members<'a> {
        &self.0
    }

    /// An id, type or other short text; a number's digits count as one.
    pub(super) fn id(&self, name: &str) -> Option<Cow<'a, str>> {
        self.0.text(name)
    }

    /// A text of any length.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.0.get(name)?.string()
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name)?.raw() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<Number<'a>> {
        let value = self.0.get(name)?;
        let is_number = value.raw().starts_with(|c: char| c == '-' || c.is_ascii_digit());
        is_number.then_some(Number(Fragment(value)))
    }

    /// A time in seconds, as text or number, as RFC 3339.
    pub(super) fn time(&self, name: &str) -> Option<String> {
        let seconds: i64 = self.id(name)?.parse().ok()?;
        Timestamp::from_second(seconds).ok().map(|time| time.to_string())
    }

    pub(super) fn fragment(&self, name: &str) -> Option<Fragment<'a>> {
        self.0.get(name).map(Fragment)
    }

    pub(super) fn object(&self, name: &str) -> Option<Object<'a>> {
        let value = self.0.get(name)?;
        (value.cursor().container() == Some(Container::Object)).then(|| Object::of(value))
    }

    /// What an array's elements are, or an object that stands in its place; all arrays of that name.
    pub(super) fn list<T>(&self, name: &str, mut read: impl FnMut(Value<'a>) -> T) -> Vec<T> {
        let mut list = Vec::new();
        for array in self.0.all(name) {
            array.cursor().items(|cursor| {
                if list.len() < LIST_MAX {
                    list.push(read(cursor.value()));
                }
            });
        }
        list
    }
}

/// A time in milliseconds as RFC 3339; absent where it is beyond the year 9999.
pub(super) fn time(at_ms: i64) -> Option<String> {
    Timestamp::from_millisecond(at_ms).ok().map(|time| time.to_string())
}
