//! The lane scheduler: which owed delivery may be attempted next.
//!
//! **The promise:** within a lane, deliveries are started in order of their turns, one at a time; a
//! delivery waits for all its lanes and holds them all while it is tried; what failed holds its lanes
//! until it is done, dead or stepped over, and no other lane.
//!
//! A plain data structure: no I/O, no clock, no tasks. It is told what is owed and what happened, with
//! the time, and says what to start. Every step costs O(log n) in the deliveries held. Which of them it
//! holds is up to [`super::window`].
//!
//! ```text
//!   add ──► behind ──(head of all its lanes)──► waiting ──(due)──► ready ──start──► in flight
//!                                                  ▲                                   │
//!                                                  └──────── retry, give_back ─────────┤
//!                                                                                      ▼
//!                                                                        finish: leaves its lanes
//! ```

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use waypost_domain::{Lane, Lanes, Priority};
use waypost_store::Turn;

/// A point in monotonic time, as [`waypost_domain::Clock::monotonic`] gives it.
pub type Moment = Duration;

/// A delivery as it comes into the scheduler. It is known by its turn from then on.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Its place in the order.
    pub turn: Turn,
    /// What it waits for.
    pub lanes: Lanes,
    /// How urgent it is.
    pub priority: Priority,
    /// Not to be tried before; may be in the past.
    pub due: Moment,
    /// Whether an attempt at it has failed before.
    pub tried: bool,
}

/// Deliveries of one destination, by lane.
#[derive(Default)]
pub struct LaneScheduler {
    entries: HashMap<Turn, Entry>,
    /// Who is in each lane, in order; the first holds it.
    lanes: HashMap<Lane, VecDeque<Turn>>,
    /// Heads that are not due yet.
    waiting: BTreeSet<(Moment, Turn)>,
    /// Heads that were never tried, by urgency.
    fresh: BTreeSet<(Priority, Turn)>,
    /// Heads that failed before and are due again, by urgency.
    retries: BTreeSet<(Priority, Turn)>,
    /// Heads that failed, by when they began to hold their lanes.
    holding: BTreeSet<(Moment, Turn)>,
    /// What all of them weigh together.
    weight: usize,
    in_flight: usize,
    retries_in_flight: usize,
}

struct Entry {
    lanes: Lanes,
    priority: Priority,
    /// Whether an attempt at it has failed.
    tried: bool,
    holding_since: Option<Moment>,
    stand: Stand,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stand {
    /// Not the head of `lanes` of its lanes.
    Behind { lanes: usize, due: Moment },
    /// Head of all its lanes, and due then.
    Waiting { due: Moment },
    /// May be started.
    Ready,
    /// Being tried.
    InFlight,
}

/// Which of those that may be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The most urgent, retries included.
    Any,
    /// The most urgent of those that were never tried.
    Fresh,
    /// The last in turn among the least urgent of those that were never tried.
    Newest,
    /// The first in turn among the most urgent few, due or not; or, letting `skip` go by, one after it.
    Oldest {
        /// How many to let go by, as far as there are others.
        skip: usize,
    },
}

impl LaneScheduler {
    /// An empty scheduler.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a delivery behind all that its lanes hold; its turn must be after theirs. One that is held
    /// already is left as it is.
    pub fn add(&mut self, entrant: Entrant) {
        let Entrant { turn, lanes, priority, due, tried } = entrant;
        if self.entries.contains_key(&turn) {
            return;
        }
        let mut behind = 0;
        for lane in lanes.as_slice() {
            let queue = self.lanes.entry(*lane).or_default();
            debug_assert!(queue.back().is_none_or(|last| *last < turn), "a lane is filled in order of turns");
            behind += usize::from(!queue.is_empty());
            queue.push_back(turn);
        }
        let stand = if behind > 0 { Stand::Behind { lanes: behind, due } } else { Stand::Waiting { due } };
        if behind == 0 {
            self.waiting.insert((due, turn));
        }
        self.weight += weight(&lanes);
        self.entries.insert(turn, Entry { lanes, priority, tried, holding_since: None, stand });
    }

    /// Starts one that may be tried at `now`. It holds its lanes until [`Self::retry`],
    /// [`Self::give_back`] or [`Self::finish`].
    pub fn start(&mut self, now: Moment, choice: Choice) -> Option<Turn> {
        self.promote(now);
        let turn = match choice {
            Choice::Fresh => self.fresh.first()?.1,
            Choice::Any => match (self.fresh.first(), self.retries.first()) {
                (Some(fresh), Some(retry)) => fresh.min(retry).1,
                (fresh, retry) => fresh.or(retry)?.1,
            },
            Choice::Newest => self.fresh.last()?.1,
            Choice::Oldest { skip } => self.oldest(skip)?,
        };
        self.leave_queues(turn);
        let entry = self.entries.get_mut(&turn)?;
        entry.stand = Stand::InFlight;
        self.in_flight += 1;
        self.retries_in_flight += usize::from(entry.tried);
        Some(turn)
    }

    /// The attempt failed and another is due at `due`. It holds its lanes meanwhile, counted from its
    /// first failure.
    pub fn retry(&mut self, turn: Turn, now: Moment, due: Moment) {
        if !self.land(turn, due) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&turn) else { return };
        entry.tried = true;
        if entry.holding_since.is_none() && !entry.lanes.as_slice().is_empty() {
            entry.holding_since = Some(now);
            self.holding.insert((now, turn));
        }
    }

    /// The attempt did not count: a probe that failed, or a shutdown. It may be tried again from `due`.
    pub fn give_back(&mut self, turn: Turn, due: Moment) {
        self.land(turn, due);
    }

    /// It is delivered, dead or discarded: it leaves its lanes, which are returned, and is forgotten.
    pub fn finish(&mut self, turn: Turn) -> Lanes {
        if self.entries.get(&turn).is_some_and(|entry| entry.stand == Stand::InFlight) {
            self.land(turn, Duration::ZERO);
        }
        let lanes = self.leave_lanes(turn);
        self.leave_queues(turn);
        if self.entries.remove(&turn).is_some() {
            self.weight -= 1;
        }
        lanes
    }

    /// Steps over every head that began to hold its lanes at `since` or before and is not being tried:
    /// it goes on by its own schedule, without lanes. Returns those stepped over, with the lanes they left.
    pub fn step_over(&mut self, since: Moment) -> Vec<(Turn, Lanes)> {
        let late = self.holding.iter().take_while(|(held, _)| *held <= since).map(|(_, turn)| *turn);
        let over: Vec<Turn> =
            late.filter(|turn| self.entries.get(turn).is_some_and(|e| e.stand != Stand::InFlight)).collect();
        over.into_iter().map(|turn| (turn, self.leave_lanes(turn))).collect()
    }

    /// Lets all patience begin anew at `now`: while a destination is down nobody's patience runs out.
    pub fn hold_from(&mut self, now: Moment) {
        let held: Vec<Turn> = std::mem::take(&mut self.holding).into_iter().map(|(_, turn)| turn).collect();
        for turn in held {
            if let Some(entry) = self.entries.get_mut(&turn) {
                entry.holding_since = Some(now);
                self.holding.insert((now, turn));
            }
        }
    }

    /// Forgets everything that is not being tried, to be added anew in the order in which the store has it.
    pub fn forget_waiting(&mut self) {
        let waiting: Vec<Turn> =
            self.entries.iter().filter(|(_, e)| e.stand != Stand::InFlight).map(|(turn, _)| *turn).collect();
        for turn in waiting {
            self.finish(turn);
        }
    }

    /// When something becomes due that is not yet.
    pub fn next_due(&self) -> Option<Moment> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// When the longest-holding head began to hold its lanes.
    pub fn held_longest_since(&self) -> Option<Moment> {
        self.holding.first().map(|(since, _)| *since)
    }

    /// When it is due, if it waits for its time alone.
    pub fn due(&self, turn: Turn) -> Option<Moment> {
        match self.entries.get(&turn)?.stand {
            Stand::Waiting { due } => Some(due),
            _ => None,
        }
    }

    /// How many could be started at `now`.
    pub fn ready(&mut self, now: Moment) -> usize {
        self.promote(now);
        self.fresh.len() + self.retries.len()
    }

    /// How many deliveries are held, in whatever stand.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What those held weigh in memory: one each, and one more for every two lanes beyond the first.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// How many are being tried.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many of those being tried had failed before.
    pub fn retries_in_flight(&self) -> usize {
        self.retries_in_flight
    }

    /// How many lanes have something in them.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// How many heads have failed and hold their lanes.
    pub fn lanes_held(&self) -> usize {
        self.holding.len()
    }

    /// How many deliveries are held of that lane.
    pub fn depth(&self, lane: Lane) -> usize {
        self.lanes.get(&lane).map_or(0, VecDeque::len)
    }

    /// Whether it is held.
    pub fn holds(&self, turn: Turn) -> bool {
        self.entries.contains_key(&turn)
    }

    /// Moves those that have become due to the ready queues.
    fn promote(&mut self, now: Moment) {
        while let Some(&(due, turn)) = self.waiting.first() {
            if due > now {
                return;
            }
            self.waiting.pop_first();
            if let Some(entry) = self.entries.get_mut(&turn) {
                entry.stand = Stand::Ready;
                let queue = if entry.tried { &mut self.retries } else { &mut self.fresh };
                queue.insert((entry.priority, turn));
            }
        }
    }

    /// The head first in turn among the most urgent few of each queue, or one after it.
    fn oldest(&self, skip: usize) -> Option<Turn> {
        let few = skip.saturating_add(1);
        let fresh = self.fresh.iter().take(few).map(|(_, turn)| *turn);
        let retries = self.retries.iter().take(few).map(|(_, turn)| *turn);
        let waiting = self.waiting.iter().take(few).map(|(_, turn)| *turn);
        let mut heads: Vec<Turn> = fresh.chain(retries).chain(waiting).collect();
        heads.sort_unstable();
        heads.get(skip % heads.len().max(1)).copied()
    }

    /// An attempt at it is over: it waits again, head of its lanes as before. False if none was.
    fn land(&mut self, turn: Turn, due: Moment) -> bool {
        let Some(entry) = self.entries.get_mut(&turn) else { return false };
        if entry.stand != Stand::InFlight {
            return false;
        }
        self.in_flight -= 1;
        self.retries_in_flight -= usize::from(entry.tried);
        entry.stand = Stand::Waiting { due };
        self.waiting.insert((due, turn));
        true
    }

    fn leave_queues(&mut self, turn: Turn) {
        let Some(entry) = self.entries.get(&turn) else { return };
        match entry.stand {
            Stand::Waiting { due } => {
                self.waiting.remove(&(due, turn));
            }
            Stand::Ready => {
                let queue = if entry.tried { &mut self.retries } else { &mut self.fresh };
                queue.remove(&(entry.priority, turn));
            }
            Stand::Behind { .. } | Stand::InFlight => {}
        }
    }

    /// Takes it out of its lanes, wherever it stands in them; who thereby becomes head may go on.
    fn leave_lanes(&mut self, turn: Turn) -> Lanes {
        let Some(entry) = self.entries.get_mut(&turn) else { return Lanes::NONE };
        let lanes = std::mem::take(&mut entry.lanes);
        self.weight -= weight(&lanes) - 1;
        if let Some(since) = entry.holding_since.take() {
            self.holding.remove(&(since, turn));
        }
        if let Stand::Behind { due, .. } = entry.stand {
            entry.stand = Stand::Waiting { due };
            self.waiting.insert((due, turn));
        }
        for lane in lanes.as_slice() {
            let Some(queue) = self.lanes.get_mut(lane) else { continue };
            let was_head = queue.front() == Some(&turn);
            if was_head {
                queue.pop_front();
            } else if let Ok(place) = queue.binary_search(&turn) {
                queue.remove(place);
            }
            let new_head = queue.front().copied();
            if queue.is_empty() {
                self.lanes.remove(lane);
            }
            if let (true, Some(head)) = (was_head, new_head) {
                self.becomes_head(head);
            }
        }
        lanes
    }

    /// It has come to the head of one more of its lanes.
    fn becomes_head(&mut self, turn: Turn) {
        let Some(entry) = self.entries.get_mut(&turn) else { return };
        if let Stand::Behind { lanes, due } = entry.stand {
            if lanes > 1 {
                entry.stand = Stand::Behind { lanes: lanes - 1, due };
            } else {
                entry.stand = Stand::Waiting { due };
                self.waiting.insert((due, turn));
            }
        }
    }
}

/// What a delivery of these lanes weighs.
fn weight(lanes: &Lanes) -> usize {
    1 + lanes.as_slice().len() / 2
}

#[cfg(test)]
mod tests;
