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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use waypost_domain::EventId;

    use crate::stream::frame::samples::frame;

    /// What a reader would be given of all frames, were all of them kept.
    fn model(all: &[Arc<Frame>], after: Cursor, max: usize) -> Vec<Cursor> {
        let wanted = all.iter().map(|frame| frame.cursor()).filter(|cursor| *cursor > after);
        wanted.take(max).collect()
    }

    proptest! {
        #[test]
        fn it_gives_what_follows_or_says_that_it_has_it_no_more(
            frames_max in 1_usize..20,
            steps in prop::collection::vec((any::<bool>(), 1_i64..4, 0_i64..60, 1_usize..9), 1..60),
        ) {
            let filters = [Filter::default(), Filter::default()];
            let mut ring = Ring::new(frames_max, usize::MAX);
            prop_assert!(matches!(ring.look(Cursor::START, [&filters[0], &filters[1]], 1, 1), Look::Idle));
            let (mut all, mut last) = (Vec::new(), 100);
            ring.begin(Cursor::of(EventId(last)));
            for (has_companion, gap, back, max) in steps {
                last += gap;
                let pushed = frame(EventId(last), has_companion);
                all.extend(pushed.iter().cloned());
                ring.push(pushed);
                prop_assert!(ring.frames.len() <= frames_max);
                prop_assert_eq!(ring.weight, ring.frames.iter().map(|frame| frame.weight()).sum::<usize>());
                for after in [Cursor::of(EventId(last - back)), Cursor::companion_of(EventId(last - back))] {
                    match ring.look(after, [&filters[0], &filters[1]], max, usize::MAX) {
                        Look::Found { frames, through, left } => {
                            let given: Vec<_> = frames.iter().map(|frame| frame.cursor()).collect();
                            prop_assert_eq!(&given, &model(&all, after, max));
                            prop_assert_eq!(left + given.len(), model(&all, after, usize::MAX).len());
                            prop_assert_eq!(left, model(&all, through, usize::MAX).len());
                        }
                        Look::Missed { floor } => {
                            prop_assert!(after < floor);
                            prop_assert!(model(&all, after, 1).first().is_none_or(|next| *next <= floor)
                                || Cursor::of(EventId(100)) == floor);
                        }
                        Look::Idle => prop_assert!(false, "it is fed"),
                    }
                }
            }
        }
    }

    #[test]
    fn it_holds_so_many_bytes_and_always_the_last_frame() {
        let mut ring = Ring::new(100, 1);
        ring.begin(Cursor::START);
        for id in 1..10 {
            ring.push(frame(EventId(id), true));
            assert_eq!(ring.frames.len(), 1);
            assert!(ring.holds_after(Cursor::companion_of(EventId(id))));
        }
        ring.rest();
        assert!(ring.head().is_none() && ring.weight == 0);
    }

    #[test]
    fn one_look_goes_only_so_far_for_what_is_not_wanted() {
        let nobody = Filter { sources: vec!["nobody".into()], ..Filter::default() };
        let mut ring = Ring::new(10 * LOOKED_AT_MAX, usize::MAX);
        ring.begin(Cursor::START);
        (1..=LOOKED_AT_MAX as i64 + 10).for_each(|id| ring.push(frame(EventId(id), false)));
        let look = ring.look(Cursor::START, [&nobody, &nobody], 5, 5);
        let Look::Found { frames, through, left } = look else { panic!("{look:?}") };
        assert_eq!((frames.len(), through, left), (0, Cursor::of(EventId(LOOKED_AT_MAX as i64)), 10));
    }
}
