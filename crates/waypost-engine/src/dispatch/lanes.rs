//! The lane scheduler: which owed delivery may be attempted next.
//!
//! **The promise:** within a lane, deliveries are started in order of acceptance, one at a time; a
//! delivery waits for all its lanes and holds them all while it is tried; what failed holds its lanes
//! until it is done, dead or stepped over, and no other lane.
//!
//! A plain data structure: no I/O, no clock, no tasks. It is told what is owed and what happened, with
//! the time, and says what to start. Every step costs O(log n) in the deliveries held. Its caller keeps
//! it small: it holds a window of what the store owes, in order of acceptance.
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

use waypost_domain::{DeliveryId, Lane, Lanes, Priority};

/// A point in monotonic time, as [`waypost_domain::Clock::monotonic`] gives it.
pub type Moment = Duration;

/// Deliveries of one destination, by lane.
#[derive(Default)]
pub struct LaneScheduler {
    entries: HashMap<DeliveryId, Entry>,
    /// Who is in each lane, in order of acceptance; the first holds it.
    lanes: HashMap<Lane, VecDeque<DeliveryId>>,
    /// Heads that are not due yet.
    waiting: BTreeSet<(Moment, DeliveryId)>,
    /// Heads that were never tried, by urgency.
    fresh: BTreeSet<(Priority, DeliveryId)>,
    /// Heads that failed before and are due again, by urgency.
    retries: BTreeSet<(Priority, DeliveryId)>,
    /// Heads that failed, by when they began to hold their lanes.
    holding: BTreeSet<(Moment, DeliveryId)>,
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
    /// The last accepted among the least urgent of those that were never tried.
    Newest,
    /// The first accepted among the most urgent few, due or not; or, letting `skip` go by, one after it.
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

    /// Adds a delivery behind all that its lanes hold. `due` may be in the past; `tried` says whether an
    /// attempt at it has failed before. One that is already held is left as it is.
    pub fn add(&mut self, id: DeliveryId, lanes: Lanes, priority: Priority, due: Moment, tried: bool) {
        if self.entries.contains_key(&id) {
            return;
        }
        let mut behind = 0;
        for lane in lanes.as_slice() {
            let queue = self.lanes.entry(*lane).or_default();
            behind += usize::from(!queue.is_empty());
            queue.push_back(id);
        }
        let stand = if behind > 0 { Stand::Behind { lanes: behind, due } } else { Stand::Waiting { due } };
        if behind == 0 {
            self.waiting.insert((due, id));
        }
        self.entries.insert(id, Entry { lanes, priority, tried, holding_since: None, stand });
    }

    /// Starts one that may be tried at `now`. It holds its lanes until [`Self::retry`],
    /// [`Self::give_back`] or [`Self::finish`].
    pub fn start(&mut self, now: Moment, choice: Choice) -> Option<DeliveryId> {
        self.promote(now);
        let id = match choice {
            Choice::Fresh => self.fresh.first()?.1,
            Choice::Any => match (self.fresh.first(), self.retries.first()) {
                (Some(fresh), Some(retry)) => fresh.min(retry).1,
                (fresh, retry) => fresh.or(retry)?.1,
            },
            Choice::Newest => self.fresh.last()?.1,
            Choice::Oldest { skip } => self.oldest(skip)?,
        };
        self.leave_queues(id);
        let entry = self.entries.get_mut(&id)?;
        entry.stand = Stand::InFlight;
        self.in_flight += 1;
        self.retries_in_flight += usize::from(entry.tried);
        Some(id)
    }

    /// The attempt failed and another is due at `due`. It holds its lanes meanwhile, counted from its
    /// first failure.
    pub fn retry(&mut self, id: DeliveryId, now: Moment, due: Moment) {
        if !self.land(id, due) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.tried = true;
        if entry.holding_since.is_none() && !entry.lanes.as_slice().is_empty() {
            entry.holding_since = Some(now);
            self.holding.insert((now, id));
        }
    }

    /// The attempt did not count: a probe that failed, or a shutdown. It may be tried again from `due`.
    pub fn give_back(&mut self, id: DeliveryId, due: Moment) {
        self.land(id, due);
    }

    /// It is delivered, dead or discarded: it leaves its lanes, and is forgotten.
    pub fn finish(&mut self, id: DeliveryId) {
        if self.entries.get(&id).is_some_and(|entry| entry.stand == Stand::InFlight) {
            self.land(id, Duration::ZERO);
        }
        self.leave_lanes(id);
        self.leave_queues(id);
        self.entries.remove(&id);
    }

    /// Steps over every head that began to hold its lanes at `since` or before and is not being tried:
    /// it goes on by its own schedule, without lanes. Returns those stepped over.
    pub fn step_over(&mut self, since: Moment) -> Vec<DeliveryId> {
        let late = self.holding.iter().take_while(|(held, _)| *held <= since).map(|(_, id)| *id);
        let over: Vec<DeliveryId> =
            late.filter(|id| self.entries.get(id).is_some_and(|e| e.stand != Stand::InFlight)).collect();
        for id in &over {
            self.leave_lanes(*id);
        }
        over
    }

    /// Lets all patience begin anew at `now`: while a destination is down nobody's patience runs out.
    pub fn hold_from(&mut self, now: Moment) {
        let held: Vec<DeliveryId> = std::mem::take(&mut self.holding).into_iter().map(|(_, id)| id).collect();
        for id in held {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.holding_since = Some(now);
                self.holding.insert((now, id));
            }
        }
    }

    /// Forgets everything that is not being tried, to be added anew in the order in which the store has it.
    pub fn forget_waiting(&mut self) {
        let waiting: Vec<DeliveryId> =
            self.entries.iter().filter(|(_, e)| e.stand != Stand::InFlight).map(|(id, _)| *id).collect();
        for id in waiting {
            self.finish(id);
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
    pub fn due(&self, id: DeliveryId) -> Option<Moment> {
        match self.entries.get(&id)?.stand {
            Stand::Waiting { due } => Some(due),
            _ => None,
        }
    }

    /// How many deliveries are held, in whatever stand.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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

    /// Whether it is held.
    pub fn holds(&self, id: DeliveryId) -> bool {
        self.entries.contains_key(&id)
    }

    /// Moves those that have become due to the ready queues.
    fn promote(&mut self, now: Moment) {
        while let Some(&(due, id)) = self.waiting.first() {
            if due > now {
                return;
            }
            self.waiting.pop_first();
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.stand = Stand::Ready;
                let queue = if entry.tried { &mut self.retries } else { &mut self.fresh };
                queue.insert((entry.priority, id));
            }
        }
    }

    /// The head accepted first among the most urgent few of each queue, or one after it.
    fn oldest(&self, skip: usize) -> Option<DeliveryId> {
        let few = skip.saturating_add(1);
        let fresh = self.fresh.iter().take(few).map(|(_, id)| *id);
        let retries = self.retries.iter().take(few).map(|(_, id)| *id);
        let waiting = self.waiting.iter().take(few).map(|(_, id)| *id);
        let mut heads: Vec<DeliveryId> = fresh.chain(retries).chain(waiting).collect();
        heads.sort_unstable();
        heads.get(skip % heads.len().max(1)).copied()
    }

    /// An attempt at it is over: it waits again, head of its lanes as before. False if none was.
    fn land(&mut self, id: DeliveryId, due: Moment) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if entry.stand != Stand::InFlight {
            return false;
        }
        self.in_flight -= 1;
        self.retries_in_flight -= usize::from(entry.tried);
        entry.stand = Stand::Waiting { due };
        self.waiting.insert((due, id));
        true
    }

    fn leave_queues(&mut self, id: DeliveryId) {
        let Some(entry) = self.entries.get(&id) else { return };
        match entry.stand {
            Stand::Waiting { due } => {
                self.waiting.remove(&(due, id));
            }
            Stand::Ready => {
                let queue = if entry.tried { &mut self.retries } else { &mut self.fresh };
                queue.remove(&(entry.priority, id));
            }
            Stand::Behind { .. } | Stand::InFlight => {}
        }
    }

    /// Takes it out of its lanes, wherever it stands in them; who thereby becomes head may go on.
    fn leave_lanes(&mut self, id: DeliveryId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let lanes = std::mem::take(&mut entry.lanes);
        if let Some(since) = entry.holding_since.take() {
            self.holding.remove(&(since, id));
        }
        if let Stand::Behind { due, .. } = entry.stand {
            entry.stand = Stand::Waiting { due };
            self.waiting.insert((due, id));
        }
        for lane in lanes.as_slice() {
            let Some(queue) = self.lanes.get_mut(lane) else { continue };
            let was_head = queue.front() == Some(&id);
            if was_head {
                queue.pop_front();
            } else {
                queue.retain(|other| *other != id);
            }
            let new_head = queue.front().copied();
            if queue.is_empty() {
                self.lanes.remove(lane);
            }
            if let (true, Some(head)) = (was_head, new_head) {
                self.becomes_head(head);
            }
        }
    }

    /// It has come to the head of one more of its lanes.
    fn becomes_head(&mut self, id: DeliveryId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Stand::Behind { lanes, due } = entry.stand {
            if lanes > 1 {
                entry.stand = Stand::Behind { lanes: lanes - 1, due };
            } else {
                entry.stand = Stand::Waiting { due };
                self.waiting.insert((due, id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Moment = Duration::from_secs(1);

    fn lanes(of: &[u64]) -> Lanes {
        of.iter().map(|lane| Lane(*lane)).collect()
    }

    fn add(scheduler: &mut LaneScheduler, id: i64, of: &[u64]) {
        scheduler.add(DeliveryId(id), lanes(of), Priority::Message, Duration::ZERO, false);
    }

    fn start(scheduler: &mut LaneScheduler, now: Moment) -> Option<i64> {
        scheduler.start(now, Choice::Any).map(|id| id.0)
    }

    #[test]
    fn a_lane_is_one_at_a_time_and_others_go_on() {
        let mut scheduler = LaneScheduler::new();
        add(&mut scheduler, 1, &[7]);
        add(&mut scheduler, 2, &[7]);
        add(&mut scheduler, 3, &[8]);
        add(&mut scheduler, 4, &[]);
        assert_eq!([start(&mut scheduler, SECOND), start(&mut scheduler, SECOND)], [Some(1), Some(3)]);
        assert_eq!(start(&mut scheduler, SECOND), Some(4));
        assert_eq!(start(&mut scheduler, SECOND), None);
        scheduler.finish(DeliveryId(1));
        assert_eq!(start(&mut scheduler, SECOND), Some(2));
    }

    #[test]
    fn a_batch_waits_for_all_its_lanes_and_holds_them() {
        let mut scheduler = LaneScheduler::new();
        add(&mut scheduler, 1, &[7]);
        add(&mut scheduler, 2, &[7, 8]);
        add(&mut scheduler, 3, &[8]);
        assert_eq!(start(&mut scheduler, SECOND), Some(1));
        assert_eq!(start(&mut scheduler, SECOND), None, "3 is behind the batch, the batch behind 1");
        scheduler.finish(DeliveryId(1));
        assert_eq!(start(&mut scheduler, SECOND), Some(2));
        assert_eq!(start(&mut scheduler, SECOND), None);
        scheduler.finish(DeliveryId(2));
        assert_eq!(start(&mut scheduler, SECOND), Some(3));
    }

    #[test]
    fn a_failing_head_holds_its_lane_until_it_is_stepped_over() {
        let mut scheduler = LaneScheduler::new();
        add(&mut scheduler, 1, &[7]);
        add(&mut scheduler, 2, &[7]);
        assert_eq!(start(&mut scheduler, SECOND), Some(1));
        scheduler.retry(DeliveryId(1), SECOND, 10 * SECOND);
        assert_eq!(start(&mut scheduler, 5 * SECOND), None);
        assert_eq!(scheduler.next_due(), Some(10 * SECOND));
        assert_eq!(scheduler.step_over(Duration::ZERO), []);
        assert_eq!(scheduler.step_over(SECOND), [DeliveryId(1)]);
        assert_eq!(start(&mut scheduler, 5 * SECOND), Some(2));
        assert_eq!(start(&mut scheduler, 10 * SECOND), Some(1), "it goes on by its own schedule");
    }

    #[test]
    fn patience_begins_anew_after_an_outage() {
        let mut scheduler = LaneScheduler::new();
        add(&mut scheduler, 1, &[7]);
        start(&mut scheduler, SECOND);
        scheduler.retry(DeliveryId(1), SECOND, 2 * SECOND);
        scheduler.hold_from(50 * SECOND);
        assert_eq!(scheduler.step_over(49 * SECOND), []);
        assert_eq!(scheduler.held_longest_since(), Some(50 * SECOND));
    }

    #[test]
    fn what_is_forgotten_can_be_added_anew_behind_what_is_being_tried() {
        let mut scheduler = LaneScheduler::new();
        for id in 1..=4 {
            add(&mut scheduler, id, &[7]);
        }
        assert_eq!(start(&mut scheduler, SECOND), Some(1));
        scheduler.forget_waiting();
        assert_eq!((scheduler.len(), scheduler.in_flight()), (1, 1));
        for id in [1, 3, 4] {
            add(&mut scheduler, id, &[7]);
        }
        assert_eq!(start(&mut scheduler, SECOND), None);
        scheduler.finish(DeliveryId(1));
        assert_eq!(start(&mut scheduler, SECOND), Some(3));
    }

    #[test]
    fn what_is_urgent_goes_first_and_fresh_slots_pass_retries_by() {
        let mut scheduler = LaneScheduler::new();
        for (id, priority) in
            [(1, Priority::History), (2, Priority::Status), (3, Priority::Message), (4, Priority::Call)]
        {
            scheduler.add(DeliveryId(id), Lanes::NONE, priority, Duration::ZERO, id == 4);
        }
        assert_eq!(scheduler.start(SECOND, Choice::Fresh), Some(DeliveryId(3)));
        assert_eq!(scheduler.start(SECOND, Choice::Any), Some(DeliveryId(4)));
        assert_eq!(scheduler.retries_in_flight(), 1);
        assert_eq!(scheduler.start(SECOND, Choice::Any), Some(DeliveryId(2)));
        assert_eq!(scheduler.start(SECOND, Choice::Any), Some(DeliveryId(1)));
    }

    #[test]
    fn a_probe_takes_the_oldest_even_before_it_is_due_and_the_next_probe_another() {
        let mut scheduler = LaneScheduler::new();
        for id in 1..=3 {
            scheduler.add(DeliveryId(id), lanes(&[id as u64]), Priority::Message, 100 * SECOND, true);
        }
        assert_eq!(scheduler.start(SECOND, Choice::Oldest { skip: 0 }), Some(DeliveryId(1)));
        scheduler.give_back(DeliveryId(1), 100 * SECOND);
        assert_eq!(scheduler.start(SECOND, Choice::Oldest { skip: 1 }), Some(DeliveryId(2)));
        scheduler.give_back(DeliveryId(2), 100 * SECOND);
        assert_eq!(scheduler.start(SECOND, Choice::Oldest { skip: 4 }), Some(DeliveryId(2)));
        assert_eq!(scheduler.in_flight(), 1);
    }

    /// What a test may do.
    #[derive(Debug, Clone)]
    enum Step {
        Add { lanes: Vec<u64>, priority: u8, due: u64 },
        Start,
        Finish(usize),
        Retry(usize, u64),
        GiveBack(usize),
        Overtake(u64),
        Discard(usize),
        Tick(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (prop::collection::vec(0u64..5, 0..4), 0u8..4, 0u64..20).prop_map(|(lanes, priority, due)| Step::Add { lanes, priority, due }),
            6 => Just(Step::Start),
            3 => (0usize..8).prop_map(Step::Finish),
            2 => (0usize..8, 1u64..20).prop_map(|(at, wait)| Step::Retry(at, wait)),
            1 => (0usize..8).prop_map(Step::GiveBack),
            1 => (0u64..10).prop_map(Step::Overtake),
            1 => (0usize..8).prop_map(Step::Discard),
            2 => (1u64..10).prop_map(Step::Tick),
        ]
    }

    /// The scheduler as one would write it without caring for time: a list, searched from its beginning.
    #[derive(Default)]
    struct Model {
        owed: Vec<Owed>,
    }

    struct Owed {
        id: i64,
        lanes: Lanes,
        due: Moment,
        flying: bool,
        held: Option<Moment>,
    }

    impl Model {
        fn may_start(&self, at: usize, now: Moment) -> bool {
            let this = &self.owed[at];
            let blocked = self.owed[..at].iter().any(|earlier| {
                this.lanes.as_slice().iter().any(|lane| earlier.lanes.as_slice().contains(lane))
            });
            !this.flying && this.due <= now && !blocked
        }

        fn flying(&self) -> Vec<i64> {
            self.owed.iter().filter(|owed| owed.flying).map(|owed| owed.id).collect()
        }

        fn owed(&mut self, id: i64) -> &mut Owed {
            self.owed
                .iter_mut()
                .find(|owed| owed.id == id)
                .expect("the scheduler started what the model does not know")
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn it_starts_exactly_what_a_naive_model_would_let_start(steps in prop::collection::vec(step(), 1..120)) {
            let (mut scheduler, mut model) = (LaneScheduler::new(), Model::default());
            let (mut now, mut next_id) = (Duration::ZERO, 1);
            for step in steps {
                match step {
                    Step::Add { lanes: of, priority, due } => {
                        let due = now + due as u32 * SECOND / 4;
                        scheduler.add(DeliveryId(next_id), lanes(&of), Priority::from_number(priority), due, false);
                        model.owed.push(Owed { id: next_id, lanes: lanes(&of), due, flying: false, held: None });
                        next_id += 1;
                    }
                    Step::Start => match start(&mut scheduler, now) {
                        Some(id) => {
                            let at = model.owed.iter().position(|owed| owed.id == id).unwrap();
                            prop_assert!(model.may_start(at, now), "{id} was started too early");
                            model.owed[at].flying = true;
                        }
                        None => prop_assert!(!(0..model.owed.len()).any(|at| model.may_start(at, now)), "something could start"),
                    },
                    Step::Finish(at) => if let Some(&id) = model.flying().get(at) {
                        scheduler.finish(DeliveryId(id));
                        model.owed.retain(|owed| owed.id != id);
                    },
                    Step::Retry(at, wait) => if let Some(&id) = model.flying().get(at) {
                        let due = now + wait as u32 * SECOND / 4;
                        scheduler.retry(DeliveryId(id), now, due);
                        let owed = model.owed(id);
                        (owed.flying, owed.due, owed.held) = (false, due, owed.held.or(Some(now)));
                    },
                    Step::GiveBack(at) => if let Some(&id) = model.flying().get(at) {
                        scheduler.give_back(DeliveryId(id), now);
                        let owed = model.owed(id);
                        (owed.flying, owed.due) = (false, now);
                    },
                    Step::Overtake(ago) => {
                        let since = now.saturating_sub(ago as u32 * SECOND);
                        let mut over = scheduler.step_over(since);
                        over.sort_unstable();
                        let mut expected = Vec::new();
                        for owed in &mut model.owed {
                            if !owed.flying && owed.held.is_some_and(|held| held <= since) && !owed.lanes.as_slice().is_empty() {
                                expected.push(DeliveryId(owed.id));
                                (owed.lanes, owed.held) = (Lanes::NONE, None);
                            }
                        }
                        prop_assert_eq!(over, expected);
                    }
                    Step::Discard(at) => if let Some(id) = model.owed.get(at).map(|owed| owed.id) {
                        scheduler.finish(DeliveryId(id));
                        model.owed.retain(|owed| owed.id != id);
                    },
                    Step::Tick(quarters) => now += quarters as u32 * SECOND / 4,
                }
                prop_assert_eq!(scheduler.in_flight(), model.flying().len());
                prop_assert_eq!(scheduler.len(), model.owed.len());
                let queued = scheduler.waiting.len() + scheduler.fresh.len() + scheduler.retries.len();
                prop_assert!(queued + scheduler.in_flight() <= scheduler.len(), "a queue holds what is no longer owed");
            }
        }
    }
}
