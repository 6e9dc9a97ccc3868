//! The window: which part of what a destination is owed is held in memory.
//!
//! **The promise:** memory is bounded, whatever is owed. Of each lane a beginning is held, without gaps, so
//! that order holds. A lane takes its share of the places that are free and no more, so that one that does
//! not move, however much waits in it, keeps no other from being read. Nothing is forgotten: what was left
//! in the store is read again when its lane has moved on.
//!
//! What is owed is read by turns, by two readers that the window sends to the store page by page:
//!
//! ```text
//!   turns ──────────────────────────────────────────────────────────────────────────►
//!              ▲ again: what was left out of           ▲ front: what was never
//!              │ lanes that have moved on              │ looked at begins here
//! ```
//!
//! A delivery that finds one of its lanes at its share is *left out*: the lane has a *gap* from that turn on,
//! as have all other lanes of the delivery, and whatever comes later in a lane with a gap is left out too. Once a
//! lane with a gap has room again it is *hungry*; the second reader goes back to the earliest such gap and on from
//! there, *open* lanes being filled as it passes, until each is at its share again or the front is reached.
//!
//! A plain data structure: no I/O, no clock, no tasks.

use std::collections::{BTreeSet, HashMap, HashSet};

use waypost_domain::{Lane, Lanes};
use waypost_store::Turn;

use super::lanes::{Entrant, LaneScheduler, Moment};

/// What a lane may take of the places that are free: one in so many.
const SHARE: usize = 8;
/// Deliveries read at once, at most and at least.
const PAGE: usize = 256;
const PAGE_MIN: usize = 32;
/// Gaps that take as much memory as a delivery.
const GAPS_PER_PLACE: usize = 4;
/// Pages that the second reader may read on before it goes back for another lane.
const PAGES_BEFORE_TURNING_BACK: u32 = 8;

/// What is held of what one destination is owed.
pub struct Window {
    lanes: LaneScheduler,
    /// How many places there are.
    capacity: usize,
    /// Everything up to here was looked at: what of it is owed is held, parked, or in a gap.
    front: Option<Turn>,
    /// Whether the store may owe more beyond the front.
    behind: bool,
    /// Lanes of which something was left in the store.
    gaps: HashMap<Lane, Gap>,
    /// Lanes with a gap that have room, by where it begins.
    hungry: BTreeSet<(Turn, Lane)>,
    /// Lanes whose gap is being closed.
    open: HashSet<Lane>,
    /// Where the second reader stands.
    again: Turn,
    /// How many pages it has read since it last went elsewhere.
    pages: u32,
    /// Whether it had the last page.
    again_was_last: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gap {
    /// From this turn on deliveries of the lane were left out; all before are held.
    From(Turn),
    /// The same, from where the second reader stands.
    Open,
}

/// A page of what is owed, to be read from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// From after this turn.
    pub after: Option<Turn>,
    /// At most so many.
    pub limit: usize,
    again: bool,
}

impl Reading {
    /// Whether it reads on, where nothing was read before.
    pub fn is_of_the_new(&self) -> bool {
        !self.again
    }
}

/// What becomes of a delivery that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// It is held now.
    Held,
    /// It is left in the store, to be read again.
    LeftOut,
    /// It was held already, or is kept track of elsewhere.
    Passed,
    /// There is no place for it yet: the rest of the page is to be read another time.
    Full,
}

impl Window {
    /// An empty window of so many places.
    pub fn new(capacity: usize) -> Self {
        Self {
            lanes: LaneScheduler::new(),
            capacity,
            front: None,
            behind: true,
            gaps: HashMap::new(),
            hungry: BTreeSet::new(),
            open: HashSet::new(),
            again: Turn(i64::MIN),
            pages: 0,
            again_was_last: false,
        }
    }

    /// The deliveries held, to ask.
    pub fn lanes(&self) -> &LaneScheduler {
        &self.lanes
    }

    /// The deliveries held, to start them and say how that went. What ends or is stepped over must be told to
    /// the window.
    pub fn lanes_mut(&mut self) -> &mut LaneScheduler {
        &mut self.lanes
    }

    /// Changes the number of places. What is held stays.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// How many places are taken: what the deliveries held weigh, and one for every few gaps.
    pub fn taken(&self) -> usize {
        self.lanes.weight() + self.gaps.len() / GAPS_PER_PLACE
    }

    /// Says that the store may owe more.
    pub fn look_again(&mut self) {
        self.behind = true;
    }

    /// Whether much of it is free, so that what comes in soon has a place.
    pub fn is_half_empty(&self) -> bool {
        self.room() * 2 >= self.capacity
    }

    /// Whether everything owed is held, as far as the store was asked.
    pub fn is_complete(&self) -> bool {
        !self.behind && self.gaps.is_empty()
    }

    /// Forgets everything that is not being tried; all that is owed is to be read anew. Due whenever something has
    /// ended in the store otherwise than through [`Self::finish`].
    pub fn forget_waiting(&mut self) {
        self.lanes.forget_waiting();
        (self.front, self.behind) = (None, true);
        self.gaps.clear();
        self.hungry.clear();
        self.open.clear();
    }

    /// It is delivered, dead or discarded, or parked.
    pub fn finish(&mut self, turn: Turn) {
        let left = self.lanes.finish(turn);
        self.moved(&left);
    }

    /// Steps over every head that began to hold its lanes at `since` or before. Returns those stepped over.
    pub fn step_over(&mut self, since: Moment) -> Vec<Turn> {
        let over = self.lanes.step_over(since);
        for (_, left) in &over {
            self.moved(left);
        }
        over.into_iter().map(|(turn, _)| turn).collect()
    }

    /// What is to be read next, if anything. `short` says that more could be started than is ready. To be
    /// followed by [`Self::offer`] for each delivery of the page, and [`Self::was_read`].
    pub fn next_reading(&mut self, short: bool) -> Option<Reading> {
        let room = self.room();
        if room == 0 {
            return None;
        }
        let front = self.behind && (short || self.is_half_empty());
        let again = (short || room * 2 * SHARE >= self.capacity) && self.aim();
        if again && !(front && self.again_was_last) {
            self.again_was_last = true;
            // About as many as will find a place; more and more while it goes on past others.
            let wanted = (self.open.len() + self.hungry.len()).saturating_mul(self.share());
            let limit = wanted.min(PAGE) << self.pages.min(4);
            return Some(Reading { after: Some(self.again), limit: limit.clamp(PAGE_MIN, PAGE), again });
        }
        self.again_was_last = false;
        let limit = if short { PAGE } else { (room * 2).clamp(PAGE_MIN, PAGE) };
        front.then_some(Reading { after: self.front, limit, again: false })
    }

    /// Finds a place for the next delivery of a page. One that is `barred` is left out for now, whatever room
    /// there is: it waits for something that is not in its lanes.
    pub fn offer(&mut self, reading: &Reading, entrant: Entrant, short: bool, barred: bool) -> Place {
        let turn = entrant.turn;
        if !self.comes_to(reading, turn) {
            return Place::Full;
        }
        let place = self.place_of(reading, turn, &entrant.lanes, short, barred);
        match place {
            Place::Held => {
                self.open_gaps_of(&entrant.lanes);
                self.lanes.add(entrant);
            }
            Place::LeftOut => self.leave_out(reading, turn, &entrant.lanes),
            Place::Passed => {}
            Place::Full => return place,
        }
        self.went_past(reading, turn);
        place
    }

    /// Passes by the next delivery of a page, which waits for no other and is kept track of elsewhere.
    pub fn pass(&mut self, reading: &Reading, turn: Turn) -> Place {
        if !self.comes_to(reading, turn) {
            return Place::Full;
        }
        self.went_past(reading, turn);
        Place::Passed
    }

    /// A page was read, of `len` deliveries. `full` says that the last of them found no place.
    pub fn was_read(&mut self, reading: &Reading, len: usize, full: bool) {
        let over = len < reading.limit && !full;
        if !reading.again {
            self.behind = !over;
            return;
        }
        self.pages += 1;
        if over || self.front.is_none_or(|front| self.again >= front) {
            self.close_open_gaps();
        }
    }

    /// Sends the second reader where it is wanted. False if it is wanted nowhere.
    ///
    /// It goes upwards, from one hungry lane's gap to the next, and then back to the first of them; back too
    /// when it has read for long on behalf of some and others behind it wait.
    fn aim(&mut self) -> bool {
        let Some(&(first, _)) = self.hungry.first() else { return !self.open.is_empty() };
        if !self.open.is_empty() {
            if first > self.again || self.pages < PAGES_BEFORE_TURNING_BACK {
                return true;
            }
            let from = Turn(self.again.0 + 1);
            for lane in self.open.drain() {
                self.gaps.insert(lane, Gap::From(from));
                self.hungry.insert((from, lane));
            }
            self.again = before(first);
        } else {
            let next = self.hungry.range((Turn(self.again.0.saturating_add(1)), Lane(0))..).next();
            self.again = before(next.map_or(first, |(turn, _)| *turn));
        }
        self.pages = 0;
        true
    }

    /// A reader comes to `turn`. False if the second one has come to the front, where it has no more to do.
    fn comes_to(&mut self, reading: &Reading, turn: Turn) -> bool {
        if !reading.again {
            return true;
        }
        if self.front.is_none_or(|front| turn > front) {
            self.close_open_gaps();
            return false;
        }
        self.open_gaps_up_to(turn);
        true
    }

    fn went_past(&mut self, reading: &Reading, turn: Turn) {
        if reading.again {
            self.again = turn;
        } else {
            self.front = Some(turn);
        }
    }

    fn place_of(&self, reading: &Reading, turn: Turn, lanes: &Lanes, short: bool, barred: bool) -> Place {
        // What has no lanes is never left out: if the second reader meets it, it is held or parked.
        if self.lanes.holds(turn) || (reading.again && lanes.as_slice().is_empty()) {
            Place::Passed
        } else if self.takes_no_place_if_left_out(reading, lanes) {
            Place::LeftOut
        } else if self.room() == 0 {
            Place::Full
        } else if barred || self.is_in_a_gap(reading, turn, lanes) {
            Place::LeftOut
        } else if !self.is_deep(lanes) {
            Place::Held
        } else if reading.again || short || self.is_half_empty() {
            Place::LeftOut
        } else {
            // To go on past it costs reading it again: that is worth while only to find work.
            Place::Full
        }
    }

    /// Opens the gaps of hungry lanes that begin between where the second reader stands and `turn`.
    fn open_gaps_up_to(&mut self, turn: Turn) {
        let from = (Turn(self.again.0.saturating_add(1)), Lane(0));
        while let Some(&(begins, lane)) = self.hungry.range(from..=(turn, Lane(u64::MAX))).next() {
            self.hungry.remove(&(begins, lane));
            self.gaps.insert(lane, Gap::Open);
            self.open.insert(lane);
        }
    }

    /// The first delivery of these gaps has found a place: they are open from here on.
    fn open_gaps_of(&mut self, lanes: &Lanes) {
        for lane in lanes.as_slice() {
            if let Some(gap) = self.gaps.get_mut(lane)
                && let Gap::From(begins) = std::mem::replace(gap, Gap::Open)
            {
                self.hungry.remove(&(begins, *lane));
                self.open.insert(*lane);
            }
        }
    }

    /// The second reader has come to the front: nothing is left out of the lanes that are open still.
    fn close_open_gaps(&mut self) {
        for lane in self.open.drain() {
            self.gaps.remove(&lane);
        }
    }

    /// Whether something before this delivery, in one of its lanes, was left out.
    fn is_in_a_gap(&self, reading: &Reading, turn: Turn, lanes: &Lanes) -> bool {
        lanes.as_slice().iter().any(|lane| match self.gaps.get(lane) {
            Some(Gap::From(begins)) => *begins < turn,
            Some(Gap::Open) => !reading.again,
            None => false,
        })
    }

    /// Whether all its lanes have gaps already.
    fn takes_no_place_if_left_out(&self, reading: &Reading, lanes: &Lanes) -> bool {
        let lanes = lanes.as_slice();
        !reading.again && !lanes.is_empty() && lanes.iter().all(|lane| self.gaps.contains_key(lane))
    }

    fn leave_out(&mut self, reading: &Reading, turn: Turn, lanes: &Lanes) {
        for lane in lanes.as_slice() {
            match self.gaps.get(lane) {
                Some(Gap::From(_)) => {}
                Some(Gap::Open) if !reading.again => {}
                _ => {
                    self.open.remove(lane);
                    self.gaps.insert(*lane, Gap::From(turn));
                }
            }
        }
    }

    /// Something has left these lanes: those with a gap may have become hungry.
    fn moved(&mut self, lanes: &Lanes) {
        for lane in lanes.as_slice() {
            if let Some(Gap::From(begins)) = self.gaps.get(lane)
                && self.lanes.depth(*lane) * 2 <= self.share()
            {
                self.hungry.insert((*begins, *lane));
            }
        }
    }

    /// Whether one of these lanes has its share of the places that are free.
    fn is_deep(&self, lanes: &Lanes) -> bool {
        let share = self.share();
        lanes.as_slice().iter().any(|lane| self.lanes.depth(*lane) >= share)
    }

    fn share(&self) -> usize {
        (self.room() / SHARE).max(1)
    }

    /// How many places are free; one at least where nothing is held, so that there is always a next one.
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.taken()).max(usize::from(self.lanes.is_empty()))
    }
}

/// To begin with `turn`, one reads from after this one.
fn before(turn: Turn) -> Turn {
    Turn(turn.0.saturating_sub(1))
}

#[cfg(test)]
mod tests;
