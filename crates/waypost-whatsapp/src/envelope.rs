//! The envelope: from a body's bytes to its events.
//!
//! Meta documents `{object, entry: [{id, time, changes: [{field, value}]}]}`, with up to a thousand
//! updates in any of the arrays and the order of members left open. Whatever differs from that is
//! read as far as it goes, since nothing in a body may be a reason to refuse it:
//!
//! - an object where an array should be counts as its one element, and a body that is an array
//!   counts as envelopes one after another;
//! - a `field` that is missing in the change is looked for in its entry, then at the top;
//! - of members with the same name, arrays are all read, and the first text that is not empty wins;
//! - a value that holds none of its field's arrays is one event, and so is one with more than a
//!   thousand members; so are an entry without changes and
//!   a body without entries;
//! - an envelope of another `object` than `whatsapp_business_account` holds only unknown events.
//!
//! Work is linear in the body's size, whatever its content, and memory is bounded by [`EVENTS_MAX`] and
//! [`EVENT_TEXT_BYTES_MAX`].

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;

use crate::canonical;
use crate::change::Change;
use crate::contact::Contact;
use crate::element::Reading;
use crate::event::{Class, Event, Kind, Part, Place, Split};
use crate::field::{self, Array};
use crate::json::{Cursor, Members, Value};

/// The `object` of every WhatsApp envelope.
const OBJECT: &str = "whatsapp_business_account";
/// Seconds that are believed to be a time: from September 2001 to the year 2100.
const SECONDS_SANE: std::ops::RangeInclusive<i64> = 1_000_000_000..=4_102_444_800;

/// Most events a body is split into: eight times the updates that Meta documents for one webhook, so
/// that no body costs more than some megabytes to look at. Beyond it, one more event of kind
/// `unknown` stands for the whole body, so that nothing is lost.
pub const EVENTS_MAX: usize = 8_192;

/// Most bytes of keys, conversations and unescaped texts that the events of one body may hold
/// together, with the same consequence: a long id in an envelope is repeated in each of its events.
/// Enough for [`EVENTS_MAX`] events with ids as long as Meta's longest.
pub const EVENT_TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Splits a body into its events. Never fails: what cannot be read is one event of kind `unknown`.
pub fn split(body: &[u8]) -> Split<'_> {
    let Some(root) = parse(body) else { return unreadable(body) };
    let mut reader = Reader::new(root);
    reader.read();
    if reader.events.is_empty() || reader.is_full() {
        let reading = field::nothing("", "", root);
        let place = Place { entry: 0, change: 0, part: Part::Body };
        reader.events.push(event(reading, place, root.raw()));
    }
    Split { events: reader.events, readable: true }
}

/// The body as a value. `None` if it is not JSON in UTF-8.
pub(crate) fn parse(body: &[u8]) -> Option<Value<'_>> {
    let text = std::str::from_utf8(body).ok()?;
    Value::parse(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn unreadable(body: &[u8]) -> Split<'_> {
    let reading = Reading::new(Kind::Unknown, format!("unk:::{}", canonical::hash_bytes(body)));
    let place = Place { entry: 0, change: 0, part: Part::Body };
    let raw = std::str::from_utf8(body).unwrap_or_default();
    Split { events: vec![event(reading, place, raw)], readable: false }
}

/// The class of an event with this value. What bears members of the message path is of its class, whatever its field.
fn class(kind: Kind, value: Value<'_>) -> Class {
    const OF_PEOPLE: [&str; 7] =
        ["messages", "statuses", "contacts", "message_echoes", "calls", "history", "standby"];
    match Class::of(kind) {
        Class::Operational if OF_PEOPLE.iter().any(|member| value.member(member).is_some()) => Class::Message,
        class => class,
    }
}

/// An event that belongs to no change.
fn event<'a>(reading: Reading<'a>, place: Place, raw: &'a str) -> Event<'a> {
    Event {
        kind: reading.kind,
        class: Class::of(reading.kind),
        field: Cow::Borrowed(""),
        r#type: reading.r#type.unwrap_or_default(),
        phone_number_id: None,
        display_phone_number: None,
        waba_id: None,
        conversation: None,
        contact: None,
        wamid: reading.wamid,
        key: reading.key,
        occurred_at_ms: None,
        once: true,
        place,
        raw,
    }
}

/// A change as it is found, before its entry's id and time are known.
struct Found<'a> {
    field: Option<Cow<'a, str>>,
    value: Value<'a>,
    members: Members<'a>,
}

struct Reader<'a> {
    root: Value<'a>,
    events: Vec<Event<'a>>,
    /// Bytes of text that the events own.
    text_bytes: usize,
    /// Whether the envelope is about another `object`.
    is_foreign: bool,
    entries: usize,
    /// The `field` at the top, where one was looked for.
    root_field: OnceCell<Option<Cow<'a, str>>>,
    /// The members of the element being read; kept to spare allocations.
    element: Members<'a>,
    /// Of the change being read: keys that hold the hash of the whole value, and whose they are.
    shared: HashMap<String, &'a str>,
}

impl<'a> Reader<'a> {
    fn new(root: Value<'a>) -> Self {
        Self {
            root,
            events: Vec::new(),
            text_bytes: 0,
            is_foreign: false,
            entries: 0,
            root_field: OnceCell::new(),
            element: Members::default(),
            shared: HashMap::new(),
        }
    }

    fn read(&mut self) {
        self.root.cursor().items(|cursor| {
            let (events, text_bytes, entries) = (self.events.len(), self.text_bytes, self.entries);
            let mark = cursor.mark();
            self.is_foreign = false;
            self.envelope(cursor);
            if self.is_foreign {
                // `object` may follow `entry`: only now is it known that the fields mean something else.
                self.events.truncate(events);
                (self.text_bytes, self.entries) = (text_bytes, entries);
                self.envelope(&mut cursor.since(mark).cursor());
            }
        });
    }

    fn envelope(&mut self, cursor: &mut Cursor<'a>) {
        cursor.members(|name, cursor| match &*name {
            "object" => {
                let object = cursor.value();
                let is_other = |object: Cow<'_, str>| !object.eq_ignore_ascii_case(OBJECT);
                self.is_foreign |= object.raw().starts_with('"') && object.text().is_some_and(is_other);
            }
            "entry" => {
                cursor.items(|cursor| self.entry(cursor));
            }
            _ => {}
        });
    }

    fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX || self.text_bytes >= EVENT_TEXT_BYTES_MAX
    }

    fn entry(&mut self, cursor: &mut Cursor<'a>) {
        if self.is_full() {
            return;
        }
        let (mut id, mut time, mut field) = (None, None, None);
        let mut changes = Vec::new();
        let mark = cursor.mark();
        let is_object = cursor.members(|name, cursor| match &*name {
            "id" => keep_first(&mut id, cursor),
            "time" => keep_first(&mut time, cursor),
            "field" => keep_first(&mut field, cursor),
            "changes" => {
                cursor.items(|cursor| {
                    if changes.len() < EVENTS_MAX {
                        changes.push(find_change(cursor));
                    }
                });
            }
            _ => {}
        });
        if !is_object {
            cursor.skip();
        }
        let entry = cursor.since(mark);
        let place = Place { entry: self.entries, change: 0, part: Part::Entry };
        self.entries += 1;
        if changes.is_empty() {
            let field = field.unwrap_or_default();
            let reading = field::nothing(&field, id.as_deref().unwrap_or_default(), entry);
            let (waba_id, occurred_at_ms) = (id.filter(|id| id != "0"), milliseconds(time.as_deref()));
            let bare = event(reading, place, entry.raw());
            self.keep(Event { field, waba_id, occurred_at_ms, ..bare });
            return;
        }
        for (index, found) in changes.into_iter().enumerate() {
            let field =
                found.field.or_else(|| field.clone()).or_else(|| self.root_field()).unwrap_or_default();
            if self.is_full() {
                return;
            }
            let change = Change::new(field, id.clone(), time.clone(), found.value, found.members);
            self.change(&change, Place { change: index, ..place });
        }
    }

    /// A `field` at the top of the body, where Meta's samples sometimes have it.
    fn root_field(&self) -> Option<Cow<'a, str>> {
        self.root_field.get_or_init(|| self.root.text_at("field")).clone()
    }

    fn change(&mut self, change: &Change<'a>, place: Place) {
        let first = self.events.len();
        self.shared.clear();
        if !self.is_foreign {
            self.arrays(change, &change.members, field::arrays(&change.field), place);
            if change.field == "standby" {
                let mut standby = Members::default();
                for copies in change.members.all("standby") {
                    copies.cursor().items(|cursor| {
                        standby.read(cursor);
                        self.arrays(change, &standby, field::standby_arrays(), place);
                    });
                }
            }
        }
        if self.events.len() == first {
            let reading = if self.is_foreign { field::unknown(change) } else { field::whole(change) };
            self.push(change, reading, Place { part: Part::Value, ..place }, change.value);
        }
        // An error alone has no id, and may well come again. One that comes with other events is
        // part of what happened to them, and the hash in its key tells it apart.
        let events = self.events.get_mut(first..).unwrap_or_default();
        if events.iter().all(|event| event.kind == Kind::Error) {
            events.iter_mut().for_each(|event| event.once = false);
        }
    }

    /// Reads the arrays a field may have, in the order they stand in.
    fn arrays(&mut self, change: &Change<'a>, members: &Members<'a>, arrays: &'static [Array], place: Place) {
        if members.is_partial() {
            // Some of its elements might go unseen: it is taken as a whole.
            return;
        }
        let mut counts = [0_usize; 8];
        for (name, value) in members.iter() {
            let found = arrays.iter().zip(&mut counts).find(|(array, _)| array.member == name);
            let Some((array, count)) = found else { continue };
            let mut element = std::mem::take(&mut self.element);
            value.cursor().items(|cursor| {
                if self.is_full() {
                    return;
                }
                let mark = cursor.mark();
                element.read(cursor);
                let value = cursor.since(mark);
                let mut reading = array.shape.read(change, &element, value);
                if reading.is_shared {
                    self.tell_apart(&mut reading, value);
                }
                let part = Part::Element { array: array.name, index: *count };
                self.push(change, reading, Place { part, ..place }, value);
                *count += 1;
            });
            self.element = element;
        }
    }

    /// Adds the element's own hash to a key that a different element of this value has already.
    fn tell_apart(&mut self, reading: &mut Reading<'a>, value: Value<'a>) {
        let other = *self.shared.entry(reading.key.clone()).or_insert(value.raw());
        if other != value.raw() {
            reading.key.push(':');
            reading.key.push_str(&canonical::hash(value));
        }
    }

    fn push(&mut self, change: &Change<'a>, reading: Reading<'a>, place: Place, value: Value<'a>) {
        let number = change.number();
        let conversation = reading.contact.map(|contact| {
            let mut conversation = String::with_capacity(number.len() + 1 + contact.len());
            conversation.push_str(number);
            conversation.push(':');
            conversation.push_str(&contact);
            conversation
        });
        let number = change.phone_number_id.as_ref().or(change.display_phone_number.as_ref());
        let contact = reading.person.contact(number.cloned().unwrap_or_default(), reading.former);
        let happened = milliseconds(reading.timestamp.as_deref());
        self.keep(Event {
            kind: reading.kind,
            class: class(reading.kind, value),
            field: change.field.clone(),
            r#type: reading.r#type.unwrap_or_default(),
            phone_number_id: change.phone_number_id.clone(),
            display_phone_number: change.display_phone_number.clone(),
            waba_id: change.waba_id.clone(),
            conversation,
            contact,
            wamid: reading.wamid,
            key: reading.key,
            occurred_at_ms: happened.or_else(|| milliseconds(change.time.as_deref())),
            once: !change.is_test(),
            place,
            raw: value.raw(),
        });
    }

    fn keep(&mut self, event: Event<'a>) {
        let ids = [&event.phone_number_id, &event.display_phone_number, &event.waba_id, &event.wamid];
        let texts = ids.into_iter().flatten().chain([&event.field, &event.r#type]);
        let unescaped = texts.filter(|text| matches!(text, Cow::Owned(_))).map(|text| text.len());
        let conversation = event.conversation.as_ref().map_or(0, String::len);
        let contact = event.contact.as_ref().map_or(0, Contact::owned_bytes);
        self.text_bytes += event.key.len() + conversation + contact + unescaped.sum::<usize>();
        self.events.push(event);
    }
}

/// The value of the change in which an event stands; `None` where it stands in none.
pub(crate) fn value_around<'a>(body: &'a [u8], place: Place) -> Option<Value<'a>> {
    let mut found = None;
    let mut entries = 0;
    parse(body)?.cursor().items(|cursor| {
        cursor.members(|name, cursor| {
            if name != "entry" {
                return;
            }
            cursor.items(|cursor| {
                let mut changes = 0;
                cursor.members(|name, cursor| {
                    if name != "changes" || entries != place.entry {
                        return;
                    }
                    cursor.items(|cursor| {
                        if changes == place.change {
                            found = Some(find_change(cursor).value);
                        }
                        changes += 1;
                    });
                });
                entries += 1;
            });
        });
    });
    found
}

/// A change at the cursor, which passes it. Its value's members are taken along in the same pass.
fn find_change<'a>(cursor: &mut Cursor<'a>) -> Found<'a> {
    let mut field = None;
    let mut value = None;
    let mark = cursor.mark();
    let is_object = cursor.members(|name, cursor| match &*name {
        "field" => keep_first(&mut field, cursor),
        "value" if value.is_none() => {
            let mark = cursor.mark();
            let mut members = Members::default();
            members.read(cursor);
            value = Some((cursor.since(mark), members));
        }
        _ => {}
    });
    if !is_object {
        cursor.skip();
    }
    let (value, members) = value.unwrap_or_else(|| (cursor.since(mark), Members::default()));
    Found { field, value, members }
}

fn keep_first<'a>(slot: &mut Option<Cow<'a, str>>, cursor: &mut Cursor<'a>) {
    let text = cursor.value().text();
    if slot.is_none() {
        *slot = text;
    }
}

/// Milliseconds of a time written in seconds, as a string or a number.
fn milliseconds(seconds: Option<&str>) -> Option<i64> {
    let seconds: i64 = seconds?.parse().ok()?;
    SECONDS_SANE.contains(&seconds).then(|| seconds * 1_000)
}
