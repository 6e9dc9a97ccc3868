//! The shape of a body: where the objects around its events begin and end.
//!
//! Walks as splitting does, which has said already what the events are, and notes what they stand
//! in. What holds one event only is not looked into.

use super::people::{self, Heed};
use super::{Cuts, Frame, Hole, Piece, Rest, SHARED_BYTES_MAX, Segment, Span};
use crate::envelope::{self, EVENTS_MAX};
use crate::event::{Event, Part, Split};
use crate::field::{self, Array};
use crate::json::{Container, Cursor, Value};

/// The members that say what a piece is and whose: those that identity keys, numbers and times are
/// read from, in the envelope, the entry, the change and the value.
const ESSENTIAL: [&str; 10] = [
    "object",
    "id",
    "time",
    "field",
    "messaging_product",
    "metadata",
    "recipient",
    "phone_number_settings",
    "display_phone_number",
    "phone_number",
];

/// The cuts of a body that was split.
pub(super) fn read(body: &[u8], split: &Split<'_>) -> Cuts {
    let cuts = Cuts {
        pieces: Vec::with_capacity(split.events.len()),
        frames: Vec::new(),
        segments: Vec::new(),
        owned: Vec::new(),
        contacts: Vec::new(),
        fields: Vec::new(),
        is_list: false,
    };
    let root = envelope::parse(body).filter(|_| split.events.len() > 1 && u32::try_from(body.len()).is_ok());
    let mut reader = Reader { root, body, events: &split.events, next: 0, entries: 0, cuts };
    reader.read();
    reader.cuts
}

/// A value at a place in the body's text.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
}

/// An element that may be an event, and where it stands.
struct Element {
    found: Found,
    hole: Hole,
}

/// The shape of a value of which several elements are events.
struct Elements {
    /// In the order in which splitting finds them.
    elements: Vec<Element>,
    /// The value's contacts, as a range of all contacts.
    contacts: Span,
    /// How splitting heeds each of them.
    heed: Vec<Heed>,
}

/// What an object that may hold arrays of elements is found to hold.
struct Findings<'f> {
    frame: u32,
    arrays: &'static [Array],
    parts: Parts,
    elements: &'f mut Vec<Element>,
    /// How splitting heeds the next contacts; `heed` says it of those that were found.
    contacts: Heed,
    heed: &'f mut Vec<Heed>,
}

struct Reader<'e, 'a> {
    /// `None` if the body is not to be cut.
    root: Option<Value<'a>>,
    body: &'a [u8],
    events: &'e [Event<'a>],
    /// The first event that has no piece yet.
    next: usize,
    /// Entries passed.
    entries: usize,
    cuts: Cuts,
}

impl<'a> Reader<'_, 'a> {
    fn read(&mut self) {
        if let Some(root) = self.root {
            let mut cursor = root.cursor();
            self.cuts.is_list = cursor.container() == Some(Container::Array);
            cursor.items(|cursor| self.envelope(cursor));
        }
        // What stands for the whole body has the whole body.
        while self.next < self.events.len() {
            self.push(Span::new(0, self.body.len()), None);
        }
    }

    fn envelope(&mut self, cursor: &mut Cursor<'a>) {
        let frame = self.frame(None);
        let mut parts = Parts::default();
        cursor.members_from(|start, name, cursor| {
            let value = cursor.mark();
            match cursor.container().filter(|_| name == "entry") {
                Some(container) => {
                    let number = parts.hole(self.span(start, value), container, Rest::Nothing);
                    cursor.items(|cursor| self.entry(cursor, Hole { frame, segment: number }));
                }
                None => {
                    cursor.skip();
                    parts.keep(&name, self.span(start, cursor.place()));
                }
            }
        });
        self.fill(frame, parts);
    }

    fn entry(&mut self, cursor: &mut Cursor<'a>, hole: Hole) {
        let index = self.entries;
        self.entries += 1;
        let mut parts = Parts::default();
        let mut changes: Vec<(Found, u32)> = Vec::new();
        let start = cursor.mark();
        let is_object = cursor.members_from(|start, name, cursor| {
            let value = cursor.mark();
            match cursor.container().filter(|_| name == "changes") {
                Some(container) => {
                    let number = parts.hole(self.span(start, value), container, Rest::Nothing);
                    cursor.items(|cursor| {
                        let found = pass(cursor);
                        if changes.len() < EVENTS_MAX {
                            changes.push((found, number));
                        }
                    });
                }
                None => {
                    cursor.skip();
                    parts.keep(&name, self.span(start, cursor.place()));
                }
            }
        });
        if !is_object {
            cursor.skip();
        }
        let whole = self.span(start, cursor.place());
        if !self.is_next(|event| event.place.entry == index) {
            return;
        }
        if changes.is_empty() {
            self.push(whole, Some(hole));
            return;
        }
        let frame = self.frame(Some(hole));
        if let [(change, number)] = changes.as_slice() {
            let number = *number;
            if !self.change(*change, index, 0, Hole { frame, segment: number }) {
                // The one event of the entry: the entry is kept to the letter.
                self.cuts.frames.truncate(frame as usize);
                self.push(whole, Some(hole));
                return;
            }
        } else {
            for (number, (change, segment)) in changes.into_iter().enumerate() {
                if !self.is_next(|event| (event.place.entry, event.place.change) == (index, number)) {
                    break;
                }
                let hole = Hole { frame, segment };
                if !self.change(change, index, number, hole) {
                    self.push(self.span(change.start, change.end), Some(hole));
                }
            }
        }
        self.fill(frame, parts);
    }

    /// A change of which at least one element is an event. `false`, and nothing done, if it holds no
    /// more than that one.
    fn change(&mut self, change: Found, entry: usize, index: usize, hole: Hole) -> bool {
        let events = self.events.get(self.next..).unwrap_or_default();
        let is_here = |event: &&Event<'_>| {
            (event.place.entry, event.place.change) == (entry, index) && event.place.part != Part::Body
        };
        let events = events.get(..events.iter().take_while(is_here).count()).unwrap_or_default();
        let Some(first) = events.first().filter(|event| matches!(event.place.part, Part::Element { .. }))
        else {
            return false;
        };
        let (frames, segments, contacts) =
            (self.cuts.frames.len(), self.cuts.segments.len(), self.cuts.contacts.len());
        let Some(found) = self.look_into(change, &first.field, hole) else { return false };
        if found.elements.len() <= 1 {
            self.cuts.frames.truncate(frames);
            self.cuts.segments.truncate(segments);
            self.cuts.contacts.truncate(contacts);
            return false;
        }
        let values = found.contacts.of(&self.cuts.contacts).iter().map(|contact| self.text(*contact));
        let values = found.heed.iter().copied().zip(values);
        let elements = events.iter().map(|event| event.raw);
        let mut owned = people::owned(values, elements).into_iter();
        let mut elements = found.elements.iter();
        for event in events {
            let start =
                event.raw.as_ptr() as usize - self.root.map_or(0, |root| root.raw().as_ptr() as usize);
            let begin = self.cuts.owned.len();
            let ids = owned.next().unwrap_or_default();
            self.cuts.owned.extend(ids.into_iter().map(|id| id + found.contacts.start));
            let (core, hole) = match elements.find(|element| element.found.start == start) {
                Some(element) => (element.found, element.hole),
                None => (change, hole),
            };
            self.push(self.span(core.start, core.end), Some(hole));
            if let Some(piece) = self.cuts.pieces.last_mut() {
                piece.contacts = Span::new(begin, self.cuts.owned.len());
            }
        }
        true
    }

    /// The frames of a change and its value, and the elements in it.
    fn look_into(&mut self, change: Found, field: &str, hole: Hole) -> Option<Elements> {
        let mut cursor = self.root?.cursor_at(change.start);
        let frame = self.frame(Some(hole));
        let contacts = self.cuts.contacts.len();
        let (mut parts, mut heed) = (Parts::default(), Vec::new());
        let mut found = None;
        cursor.members_from(|start, name, cursor| {
            let value = cursor.mark();
            if name == "value" && found.is_none() {
                let number = parts.hole(self.span(start, value), Container::Object, Rest::Nothing);
                found = Some(self.value(cursor, field, Hole { frame, segment: number }, &mut heed));
            } else {
                cursor.skip();
                parts.keep(&name, self.span(start, cursor.place()));
            }
        });
        self.fill(frame, parts);
        let contacts = Span::new(contacts, self.cuts.contacts.len());
        Some(Elements { elements: found?, contacts, heed })
    }

    /// The frame of a value, and the elements in it: in its own arrays, then in those of `standby`.
    fn value(
        &mut self,
        cursor: &mut Cursor<'a>,
        field: &str,
        hole: Hole,
        heed: &mut Vec<Heed>,
    ) -> Vec<Element> {
        let frame = self.frame(Some(hole));
        let (mut elements, mut in_standby) = (Vec::new(), Vec::new());
        let mut findings = Findings {
            frame,
            arrays: field::arrays(field),
            parts: Parts::default(),
            elements: &mut elements,
            contacts: Heed::First,
            heed,
        };
        cursor.members_from(|start, name, cursor| {
            let is_standby = field == "standby" && name == "standby";
            let Some(container) = cursor.container().filter(|_| is_standby) else {
                self.member(cursor, start, &name, &mut findings);
                return;
            };
            let rest = match container {
                Container::Object => Rest::Object(self.next_frame()),
                Container::Array => Rest::List,
            };
            let name = self.span(start, cursor.mark());
            let hole = Hole { frame, segment: findings.parts.hole(name, container, rest) };
            let heed = &mut *findings.heed;
            cursor.items(|cursor| self.standby(cursor, hole, container, &mut in_standby, heed));
        });
        self.fill(frame, findings.parts);
        elements.append(&mut in_standby);
        elements
    }

    /// The frame of an object in `standby`, and the elements in it.
    fn standby(
        &mut self,
        cursor: &mut Cursor<'a>,
        hole: Hole,
        container: Container,
        elements: &mut Vec<Element>,
        heed: &mut Vec<Heed>,
    ) {
        let frame = self.frame(Some(hole));
        let contacts = if container == Container::Object { Heed::Second } else { Heed::Never };
        let (arrays, parts) = (field::standby_arrays(), Parts::default());
        let mut findings = Findings { frame, arrays, parts, elements, contacts, heed };
        cursor.members_from(|start, name, cursor| {
            let value = cursor.mark();
            self.member(cursor, start, &name, &mut findings);
            let says_something = !cursor.since(value).is_silent();
            if name == "contacts" && says_something {
                // Of further ones splitting takes no notice.
                findings.contacts = Heed::Never;
            }
        });
        self.fill(frame, findings.parts);
    }

    /// A member of an object that may hold arrays of elements.
    fn member(&mut self, cursor: &mut Cursor<'a>, start: usize, name: &str, findings: &mut Findings<'_>) {
        let before = self.span(start, cursor.mark());
        let container = cursor.container();
        let is_array = findings.arrays.iter().any(|array| array.member == name);
        if let Some(container) = container.filter(|_| is_array) {
            let segment = findings.parts.hole(before, container, Rest::Nothing);
            cursor.items(|cursor| {
                let found = pass(cursor);
                if findings.elements.len() < EVENTS_MAX {
                    findings.elements.push(Element { found, hole: Hole { frame: findings.frame, segment } });
                }
            });
        } else if let Some(container) = container.filter(|_| name == "contacts") {
            let first = self.cuts.contacts.len();
            cursor.items(|cursor| {
                let found = pass(cursor);
                self.cuts.contacts.push(self.span(found.start, found.end));
                findings.heed.push(findings.contacts);
            });
            let stays = findings.contacts != Heed::First;
            findings.parts.contacts(before, container, stays, Span::new(first, self.cuts.contacts.len()));
        } else {
            cursor.skip();
            findings.parts.keep(name, self.span(start, cursor.place()));
        }
    }

    /// Whether the next event stands in the body and passes a check.
    fn is_next(&self, check: impl FnOnce(&Event<'_>) -> bool) -> bool {
        let next = self.events.get(self.next).filter(|event| event.place.part != Part::Body);
        next.is_some_and(check)
    }

    /// The piece of the next event.
    fn push(&mut self, core: Span, hole: Option<Hole>) {
        let Some(event) = self.events.get(self.next) else { return };
        if self.cuts.fields.last().is_none_or(|field| **field != *event.field) {
            self.cuts.fields.push(event.field.as_ref().into());
        }
        let field = u32::try_from(self.cuts.fields.len() - 1).unwrap_or(u32::MAX);
        let contacts = Span { start: 0, end: 0 };
        self.cuts.pieces.push(Piece { core, hole, contacts, field, class: event.class });
        self.next += 1;
    }

    fn next_frame(&self) -> u32 {
        u32::try_from(self.cuts.frames.len()).unwrap_or(u32::MAX)
    }

    /// A frame to be filled.
    fn frame(&mut self, hole: Option<Hole>) -> u32 {
        let frame = self.next_frame();
        let first = u32::try_from(self.next).unwrap_or(u32::MAX);
        self.cuts.frames.push(Frame { hole, full: Span { start: 0, end: 0 }, lean: None, first });
        frame
    }

    fn fill(&mut self, frame: u32, parts: Parts) {
        let mut append = |mut segments: Vec<Segment>| {
            let start = self.cuts.segments.len();
            self.cuts.segments.append(&mut segments);
            Span::new(start, self.cuts.segments.len())
        };
        let full = append(parts.full);
        let lean = (parts.kept_bytes > SHARED_BYTES_MAX).then(|| append(parts.lean));
        if let Some(frame) = self.cuts.frames.get_mut(frame as usize) {
            (frame.full, frame.lean) = (full, lean);
        }
    }

    /// Bytes of the body from their places in its text, which may begin after a byte order mark.
    fn span(&self, start: usize, end: usize) -> Span {
        let text = self.root.map_or(0, |root| root.raw().as_ptr() as usize - self.body.as_ptr() as usize);
        Span::new(text + start, text + end)
    }

    fn text(&self, span: Span) -> &'a str {
        std::str::from_utf8(span.of(self.body)).unwrap_or_default()
    }
}

/// Passes the value here.
fn pass(cursor: &mut Cursor<'_>) -> Found {
    let start = cursor.mark();
    cursor.skip();
    Found { start, end: cursor.place() }
}

/// The parts of an object, as they are found.
#[derive(Default)]
struct Parts {
    full: Vec<Segment>,
    /// The same with only the essential members of those that are kept.
    lean: Vec<Segment>,
    kept_bytes: usize,
    lean_bytes: usize,
    holes: u32,
}

impl Parts {
    fn keep(&mut self, name: &str, member: Span) {
        self.kept_bytes += member.len();
        if ESSENTIAL.contains(&name) && self.lean_bytes + member.len() <= SHARED_BYTES_MAX {
            self.lean_bytes += member.len();
            self.lean.push(Segment::Kept(member));
        }
        match self.full.last_mut() {
            Some(Segment::Kept(run)) => run.end = member.end,
            _ => self.full.push(Segment::Kept(member)),
        }
    }

    /// Its number among the holes.
    fn hole(&mut self, name: Span, container: Container, rest: Rest) -> u32 {
        let number = self.holes;
        self.holes += 1;
        let is_array = container == Container::Array;
        self.push(Segment::Hole { name, is_array, number, rest });
        number
    }

    fn contacts(&mut self, name: Span, container: Container, stays: bool, items: Span) {
        self.push(Segment::Contacts { name, is_array: container == Container::Array, stays, items });
    }

    fn push(&mut self, segment: Segment) {
        self.lean.push(segment.clone());
        self.full.push(segment);
    }
}
