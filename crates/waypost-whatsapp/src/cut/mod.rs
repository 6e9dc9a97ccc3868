//! One event's own body: what is sent where a receiver takes events one by one.
//!
//! A piece is the request's body without the other events. It is made of the body's own bytes, so
//! that escapes, numbers, unknown and repeated members and the order of members survive:
//!
//! - **around**: the envelope, the entry, the change and the value keep all their members; `entry`
//!   holds the one entry, `changes` the one change, the value's array the one element, and the arrays
//!   of other elements are absent. Where a change, or an entry, holds no other event it is kept to
//!   the letter;
//! - **`contacts`** holds those who are named in the element, by phone number, BSUID or parent
//!   BSUID, as in the body they are found for it, never by position. A contact whom no element of the
//!   value names goes with the elements that name no contact: the only such contact with each of
//!   them (most receivers drop a message that comes without one), several with one each where there
//!   are as many, else, so that nobody gets a stranger's, all with the first. It goes with the first
//!   element of all, behind its own, where every element has its own;
//! - a body that holds one event is that event's piece, byte for byte. An event that stands for the
//!   whole body (one that cannot be read; what follows more events than are looked for) has the
//!   whole body.
//!
//! Of a body that is an array of envelopes a piece is an array of one, and likewise in `standby`.
//! White space between what was kept and what was left out is dropped; so is a byte order mark.
//!
//! What the pieces of one body share is repeated in each of them, up to [`SHARED_BYTES_MAX`] at each
//! level. Where it is more, only the first of the pieces has all of it, and the others have the
//! members that say whose the event is; so all pieces together grow with the body and the number of
//! events, not with their product.
//!
//! Split again, a piece holds exactly one event, with the same kind, type, field, ids, time,
//! conversation, contact and bytes; and the same key, unless that is made of the hash of the whole
//! value (errors, groups, tracking events and chunks of history) and the value held other elements.

mod people;
mod shape;

use crate::envelope::split;
use crate::event::Class;

/// Most bytes of the members around an event that are repeated for each event of a body: in the
/// envelope, in the entry, in the change, in the value and in its contacts, each. Meta's are some
/// hundred bytes.
pub const SHARED_BYTES_MAX: usize = 16 * 1024;

/// Where to cut a body, so that each of its events becomes a body of its own.
///
/// It holds places in the body, not its bytes: some 40 bytes for each event, 12 for each contact, and
/// some hundred for each entry and change with several events. That is far less than the body, unless
/// that is made of the shortest elements there can be; then it is a few times the body.
///
/// ```
/// use waypost_whatsapp::{Compose, Cuts, compose, split};
///
/// let body = compose("batch", &Compose { batch_size: 3, ..Compose::default() }).unwrap();
/// let cuts = Cuts::of(body.as_bytes());
/// assert_eq!(cuts.len(), 3);
/// let piece = cuts.one(body.as_bytes(), 1);
/// let events = split(&piece).events;
/// assert_eq!(events.len(), 1);
/// assert_eq!(events[0].raw, split(body.as_bytes()).events[1].raw);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cuts {
    pieces: Vec<Piece>,
    /// The objects around events.
    frames: Vec<Frame>,
    segments: Vec<Segment>,
    /// The contacts that pieces hold: indexes into `contacts`.
    owned: Vec<u32>,
    contacts: Vec<Span>,
    /// The fields of the body, each once where it follows itself.
    fields: Vec<Box<str>>,
    /// Whether the body is an array of envelopes.
    is_list: bool,
}

/// Bytes of the body, from the one to before the other. Bodies are far below 4 GiB; of a longer one
/// every piece is the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    /// Its own bytes, or those of what holds nothing else.
    core: Span,
    /// Where these are put. `None`: they are the whole piece.
    hole: Option<Hole>,
    /// Its contacts, as a range of `owned`.
    contacts: Span,
    field: u32,
    class: Class,
}

/// A place in an object where one of several things goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Hole {
    frame: u32,
    /// Which of the frame's segments.
    segment: u32,
}

/// An object around events, as a range of `segments`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Frame {
    /// Where the object itself is put. `None` for an envelope.
    hole: Option<Hole>,
    full: Span,
    /// What is kept of it for all pieces but the first, where it is large.
    lean: Option<Span>,
    /// The first piece in it.
    first: u32,
}

/// A part of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Segment {
    /// Members that every piece has, and what is between them.
    Kept(Span),
    /// A member of which every piece has at most one element.
    Hole {
        /// Its name, and what follows up to its value.
        name: Span,
        is_array: bool,
        /// Which hole of the frame, by the number of its segment in `full`.
        number: u32,
        rest: Rest,
    },
    /// A member of which every piece has the contacts it owns.
    Contacts {
        /// Its name, and what follows up to its value.
        name: Span,
        is_array: bool,
        /// Whether it remains where none is left in it: of repeated members splitting reads one.
        stays: bool,
        /// Its range of `contacts`.
        items: Span,
    },
}

/// What remains of a member with events where the event is elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    Nothing,
    /// An empty array.
    List,
    /// The other members of the object in it.
    Object(u32),
}

impl Cuts {
    /// Finds where to cut. Never fails, in time linear in the body's size; the events are those of
    /// [`split()`], in the same order.
    pub fn of(body: &[u8]) -> Self {
        shape::read(body, &split(body))
    }

    /// How many events there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The webhook field of an event; empty where there is none, or no such event.
    pub fn field(&self, index: usize) -> &str {
        let piece = self.pieces.get(index);
        piece.and_then(|piece| self.fields.get(piece.field as usize)).map_or("", |field| field)
    }

    /// The class of an event; [`Class::Message`], the more careful one, where there is no such event.
    pub fn class(&self, index: usize) -> Class {
        self.pieces.get(index).map_or(Class::Message, |piece| piece.class)
    }

    /// Whether the body holds nothing but this event, so that it can be sent as it came.
    pub fn is_alone(&self, index: usize) -> bool {
        index == 0 && self.pieces.len() == 1
    }

    /// The body of one event, made from the body these cuts are of. Empty where there is no such
    /// event; of another body, whatever stands at these places.
    pub fn one(&self, body: &[u8], index: usize) -> Vec<u8> {
        let Some(piece) = self.pieces.get(index) else { return Vec::new() };
        let Some(hole) = piece.hole else { return piece.core.of(body).to_vec() };
        let mut path = vec![hole];
        while let Some(outer) = path.last().and_then(|hole| self.frames.get(hole.frame as usize)?.hole) {
            path.push(outer);
        }
        path.reverse();
        let output = Vec::with_capacity(piece.core.len() + 512);
        let mut writing = Writing { cuts: self, body, index, piece, output };
        if self.is_list {
            writing.output.push(b'[');
        }
        writing.path(&path);
        if self.is_list {
            writing.output.push(b']');
        }
        writing.output
    }
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: place(start), end: place(end) }
    }

    fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    fn of<T>(self, all: &[T]) -> &[T] {
        all.get(self.range()).unwrap_or_default()
    }
}

/// A piece being written.
struct Writing<'a> {
    cuts: &'a Cuts,
    body: &'a [u8],
    index: usize,
    piece: &'a Piece,
    output: Vec<u8>,
}

impl Writing<'_> {
    /// What is at the end of a path of holes, with the objects around it.
    fn path(&mut self, path: &[Hole]) {
        let Some((hole, rest)) = path.split_first() else {
            self.output.extend_from_slice(self.piece.core.of(self.body));
            return;
        };
        self.frame(hole.frame, Some((hole.segment, rest)));
    }

    /// An object, with what goes into one of its holes.
    fn frame(&mut self, frame: u32, inside: Option<(u32, &[Hole])>) {
        let Some(frame) = self.cuts.frames.get(frame as usize) else { return };
        let is_first = frame.first as usize == self.index;
        let segments = frame.lean.filter(|_| !is_first).unwrap_or(frame.full);
        self.output.push(b'{');
        let start = self.output.len();
        for segment in segments.of(&self.cuts.segments) {
            let before = self.output.len();
            if before > start {
                self.output.push(b',');
            }
            if !self.segment(segment, inside) {
                self.output.truncate(before);
            }
        }
        self.output.push(b'}');
    }

    /// A part of an object; whether there was anything to write.
    fn segment(&mut self, segment: &Segment, inside: Option<(u32, &[Hole])>) -> bool {
        match segment {
            Segment::Kept(span) => self.output.extend_from_slice(span.of(self.body)),
            Segment::Hole { name, is_array, number, rest } => match (inside, rest) {
                (Some((wanted, path)), _) if wanted == *number => {
                    self.member(*name, *is_array, |writing| writing.path(path));
                }
                (_, Rest::Object(rest)) => self.member(*name, false, |writing| writing.frame(*rest, None)),
                (_, Rest::List) => self.member(*name, true, |_| {}),
                (_, Rest::Nothing) => return false,
            },
            Segment::Contacts { name, is_array, stays, items } => {
                let owned = self.piece.contacts.of(&self.cuts.owned).iter().copied();
                let mut here =
                    owned.filter(|contact| items.range().contains(&(*contact as usize))).peekable();
                if here.peek().is_none() && !stays {
                    return false;
                }
                let is_array = *is_array || here.peek().is_none();
                self.member(*name, is_array, |writing| {
                    let start = writing.output.len();
                    for contact in here {
                        if writing.output.len() > start {
                            writing.output.push(b',');
                        }
                        let span = writing.cuts.contacts.get(contact as usize);
                        writing.output.extend_from_slice(span.map_or(&[], |span| span.of(writing.body)));
                    }
                });
            }
        }
        true
    }

    fn member(&mut self, name: Span, is_array: bool, inside: impl FnOnce(&mut Self)) {
        self.output.extend_from_slice(name.of(self.body));
        if is_array {
            self.output.push(b'[');
        }
        inside(self);
        if is_array {
            self.output.push(b']');
        }
    }
}
