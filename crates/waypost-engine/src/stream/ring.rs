//! The frames that came last, in memory: what readers who keep up are served from.

use std::collections::VecDeque;
use std::sync::Arc;

use super::cursor::Cursor;
use super::filter::Filter;
use super::frame::Frame;

/// How far one look goes through frames that are not wanted.
const LOOKED_AT_MAX: usize = 1_024;

/// The frames between two cursors, without a gap. Plain data: it waits for nobody.
#[derive(Debug)]
pub(super) struct Ring {
    frames: VecDeque<Arc<Frame>>,
    weight: usize,
    /// Everything after this cursor, up to `head`, is here. `None` while nobody feeds it.
    span: Option<Span>,
    frames_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    floor: Cursor,
    head: Cursor,
}

/// What one look into the ring finds.
#[derive(Debug)]
pub(super) enum Look {
    /// These frames, perhaps none, and how far it was looked for them.
    Found {
        /// What is wanted.
        frames: Vec<Arc<Frame>>,
        /// Everything up to here was looked at.
        through: Cursor,
        /// Frames that are left after that.
        left: usize,
    },
    /// What comes next is there no more.
    Missed {
        /// From here on everything is there.
        floor: Cursor,
    },
    /// Nobody feeds it.
    Idle,
}

impl Ring {
    /// An idle one, which holds so many frames and bytes at most, but always the last frame.
    pub(super) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self { frames: VecDeque::new(), weight: 0, span: None, frames_max, bytes_max }
    }

    /// Begins anew with what comes after a cursor.
    pub(super) fn begin(&mut self, at: Cursor) {
        self.rest();
        self.span = Some(Span { floor: at, head: at });
    }

    /// Forgets everything, until it begins anew.
    pub(super) fn rest(&mut self) {
        self.frames = VecDeque::new();
        (self.weight, self.span) = (0, None);
    }

    /// How far it has come.
    pub(super) fn head(&self) -> Option<Cursor> {
        self.span.map(|span| span.head)
    }

    /// Whether everything after a cursor is here.
    pub(super) fn holds_after(&self, cursor: Cursor) -> bool {
        self.span.is_some_and(|span| cursor >= span.floor)
    }

    /// Adds frames that follow, in their order.
    pub(super) fn push(&mut self, frames: Vec<Arc<Frame>>) {
        let Some(span) = &mut self.span else { return };
        for frame in frames {
            span.head = frame.cursor();
            self.weight += frame.weight();
            self.frames.push_back(frame);
        }
        while self.frames.len() > 1 && (self.frames.len() > self.frames_max || self.weight > self.bytes_max) {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.weight -= oldest.weight();
            span.floor = oldest.cursor();
        }
    }

    /// Notes that nothing else comes up to a cursor.
    pub(super) fn reach(&mut self, head: Cursor) {
        if let Some(span) = &mut self.span {
            span.head = span.head.max(head);
        }
    }

    /// How many frames there are after a cursor.
    pub(super) fn left_after(&self, cursor: Cursor) -> usize {
        self.frames.len() - self.frames.partition_point(|frame| frame.cursor() <= cursor)
    }

    /// What is wanted of the frames after a cursor: so many at most, and of so many bytes, but for the first.
    pub(super) fn look(&self, after: Cursor, wants: [&Filter; 2], max: usize, bytes_max: usize) -> Look {
        let Some(span) = self.span else { return Look::Idle };
        if after < span.floor {
            return Look::Missed { floor: span.floor };
        }
        let first = self.frames.len() - self.left_after(after);
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut next = first;
        let mut through = after;
        for frame in self.frames.range(first..).take(LOOKED_AT_MAX) {
            if wants.iter().all(|filter| frame.is_admitted_by(filter)) {
                bytes += frame.weight();
                if found.len() >= max || bytes > bytes_max && !found.is_empty() {
                    break;
                }
                found.push(frame.clone());
            }
            through = frame.cursor();
            next += 1;
        }
        let left = self.frames.len() - next;
        if left == 0 {
            through = through.max(span.head);
        }
        Look::Found { frames: found, through, left }
    }
}
