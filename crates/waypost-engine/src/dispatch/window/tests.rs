use std::time::Duration;

use proptest::prelude::*;
use waypost_domain::Priority;

use super::*;
use crate::dispatch::Choice;

const NOW: Moment = Duration::from_secs(1);

fn lanes(of: &[u64]) -> Lanes {
    of.iter().map(|lane| Lane(*lane)).collect()
}

/// The whole of what is owed, as the store has it, and the naive rule of who may go: a delivery with nothing
/// before it, in any of its lanes, that is owed still.
#[derive(Default)]
struct Model {
    owed: Vec<Owed>,
    last: i64,
}

#[derive(Clone)]
struct Owed {
    turn: Turn,
    lanes: Lanes,
    due: Moment,
    flying: bool,
    parked: bool,
}

impl Model {
    fn accept(&mut self, of: &[u64]) {
        self.last += 1;
        self.owed.push(Owed {
            turn: Turn(self.last),
            lanes: lanes(of),
            due: NOW,
            flying: false,
            parked: false,
        });
    }

    fn page(&self, reading: &Reading) -> Vec<Owed> {
        let after = reading.after.unwrap_or(Turn(i64::MIN));
        self.owed.iter().filter(|owed| owed.turn > after).take(reading.limit).cloned().collect()
    }

    fn is_free(&self, at: usize) -> bool {
        let this = &self.owed[at];
        let shares =
            |earlier: &Owed| this.lanes.as_slice().iter().any(|lane| earlier.lanes.as_slice().contains(lane));
        !this.flying && !self.owed[..at].iter().any(shares)
    }

    fn at(&self, turn: Turn) -> usize {
        self.owed.iter().position(|owed| owed.turn == turn).expect("started what is not owed")
    }

    fn flying(&self) -> Vec<Turn> {
        self.owed.iter().filter(|owed| owed.flying).map(|owed| owed.turn).collect()
    }
}

/// A window over a model, with how many deliveries were read for it.
struct Bench {
    model: Model,
    window: Window,
    read: usize,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        Self { model: Model::default(), window: Window::new(capacity), read: 0 }
    }

    fn accept(&mut self, of: &[u64]) {
        self.model.accept(of);
        self.window.look_again();
    }

    /// Reads one page, if the window wants one.
    fn read(&mut self, short: bool) -> bool {
        let Some(reading) = self.window.next_reading(short) else { return false };
        let page = self.model.page(&reading);
        self.read += page.len();
        let mut full = false;
        for owed in &page {
            let Owed { turn, lanes, due, parked, .. } = owed.clone();
            let entrant = Entrant { turn, lanes, priority: Priority::Message, due, tried: false };
            let place = match parked {
                true => self.window.pass(&reading, turn),
                false => self.window.offer(&reading, entrant, short, false),
            };
            if place == Place::Full {
                full = true;
                break;
            }
        }
        self.window.was_read(&reading, page.len(), full);
        true
    }

    /// Reads for as long as the window wants pages: never for ever.
    fn read_all(&mut self, short: bool) {
        let most = 64 + self.model.owed.len() * 4;
        let pages = (0..most).take_while(|_| self.read(short)).count();
        assert!(pages < most, "it reads on and on");
    }

    fn start(&mut self) -> Option<Turn> {
        let turn = self.window.lanes_mut().start(NOW, Choice::Any)?;
        let at = self.model.at(turn);
        assert!(self.model.is_free(at), "{turn:?} was started before something in its lanes");
        self.model.owed[at].flying = true;
        Some(turn)
    }

    fn finish(&mut self, turn: Turn) {
        self.model.owed.retain(|owed| owed.turn != turn);
        self.window.finish(turn);
    }

    /// Starts and finishes whatever there is, reading as a dispatcher would. Returns the turns in order.
    fn drain(&mut self) -> Vec<Turn> {
        let mut done = Vec::new();
        loop {
            let short = self.window.lanes_mut().ready(NOW) < 8;
            let read = self.read(short);
            match self.start() {
                Some(turn) => {
                    self.finish(turn);
                    done.push(turn);
                }
                None if !read => return done,
                None => {}
            }
        }
    }
}

#[test]
fn a_blocked_conversation_with_many_followers_keeps_no_other_from_being_read() {
    let mut bench = Bench::new(256);
    for number in 0..5_000 {
        bench.accept(&[0]);
        if number % 100 == 0 {
            bench.accept(&[1 + number / 100]);
        }
    }
    bench.read(true);
    let blocked = bench.start().unwrap();
    bench.window.lanes_mut().retry(blocked, NOW, 1_000 * NOW);
    let at = bench.model.at(blocked);
    (bench.model.owed[at].flying, bench.model.owed[at].due) = (false, 1_000 * NOW);
    assert_eq!(bench.drain().len(), 50, "every other conversation is delivered whole");
    assert!(bench.window.taken() < 64, "{} places for one lane", bench.window.taken());
    assert!(bench.read < 6_500, "what waits is read about once: {} reads", bench.read);
    bench.window.lanes_mut().give_back(blocked, NOW);
    bench.window.finish(blocked);
    bench.model.owed.retain(|owed| owed.turn != blocked);
    assert_eq!(bench.drain().len(), 4_999, "nothing was forgotten");
    assert!(bench.read < 25_000, "{} reads", bench.read);
}

#[test]
fn a_deep_backlog_over_few_conversations_is_read_a_few_times_at_most() {
    let mut bench = Bench::new(512);
    for number in 0..8_000 {
        bench.accept(&[number % 50]);
    }
    assert_eq!(bench.drain().len(), 8_000);
    assert!(bench.read < 8_000 * 5, "{} reads", bench.read);
}

#[test]
fn conversations_of_all_sizes_end_together_with_what_comes_meanwhile() {
    let mut bench = Bench::new(300);
    for number in 0..3_000u64 {
        bench.accept(&[number.leading_zeros() as u64, 100 + number % 7][..1 + (number % 5 == 0) as usize]);
    }
    for number in 0..3_000u64 {
        bench.accept(&[number % 11]);
        bench.read(true);
        if let Some(turn) = bench.start() {
            bench.finish(turn);
        }
    }
    bench.drain();
    assert_eq!(bench.model.owed.len(), 0);
    assert!(bench.window.is_complete());
}

#[test]
fn what_is_barred_keeps_its_lane_closed_until_all_is_read_anew() {
    let mut bench = Bench::new(64);
    bench.accept(&[1]);
    bench.accept(&[1]);
    let reading = bench.window.next_reading(true).unwrap();
    for (turn, barred) in [(1, true), (2, false)] {
        let entrant = Entrant {
            turn: Turn(turn),
            lanes: lanes(&[1]),
            priority: Priority::Message,
            due: NOW,
            tried: false,
        };
        assert_eq!(bench.window.offer(&reading, entrant, true, barred), Place::LeftOut);
    }
    bench.window.was_read(&reading, 2, false);
    assert_eq!(bench.start(), None);
    bench.window.forget_waiting();
    assert_eq!(bench.drain(), [Turn(1), Turn(2)]);
}

#[test]
fn memory_is_bounded_by_the_places_and_a_batch() {
    let mut bench = Bench::new(100);
    for number in 0..5_000 {
        bench.accept(&[number, number + 1, number + 2]);
    }
    for _ in 0..200 {
        bench.read(true);
        assert!(bench.window.taken() <= 100 + 6, "{}", bench.window.taken());
    }
    assert_eq!(bench.drain().len(), 5_000);
}

/// What may happen.
#[derive(Debug, Clone)]
enum Step {
    Accept(Vec<u64>, usize),
    Read(bool),
    Start,
    Finish(usize),
    Retry(usize),
    GiveBack(usize),
    Overtake,
    Park,
    Discard(usize),
    Resize(usize),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::collection::vec(0u64..6, 0..3), 1usize..12).prop_map(|(of, times)| Step::Accept(of, times)),
        6 => any::<bool>().prop_map(Step::Read),
        8 => Just(Step::Start),
        8 => (0usize..8).prop_map(Step::Finish),
        1 => (0usize..8).prop_map(Step::Retry),
        1 => (0usize..8).prop_map(Step::GiveBack),
        1 => Just(Step::Overtake),
        1 => Just(Step::Park),
        1 => (0usize..40).prop_map(Step::Discard),
        1 => (1usize..64).prop_map(Step::Resize),
        1 => Just(Step::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn order_holds_and_nothing_is_forgotten_whatever_is_left_out_and_read_again(
        capacity in 1usize..40,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut bench = Bench::new(capacity);
        for step in steps {
            match step {
                Step::Accept(of, times) => (0..times).for_each(|_| bench.accept(&of)),
                Step::Read(short) => {
                    bench.read(short);
                }
                Step::Start => {
                    bench.start();
                }
                Step::Finish(at) => if let Some(&turn) = bench.model.flying().get(at) {
                    bench.finish(turn);
                },
                Step::Retry(at) => if let Some(&turn) = bench.model.flying().get(at) {
                    bench.window.lanes_mut().retry(turn, NOW, NOW);
                    let at = bench.model.at(turn);
                    bench.model.owed[at].flying = false;
                },
                Step::GiveBack(at) => if let Some(&turn) = bench.model.flying().get(at) {
                    bench.window.lanes_mut().give_back(turn, NOW);
                    let at = bench.model.at(turn);
                    bench.model.owed[at].flying = false;
                },
                Step::Overtake => for turn in bench.window.step_over(NOW) {
                    let at = bench.model.at(turn);
                    bench.model.owed[at].lanes = Lanes::NONE;
                },
                // What waits for nobody leaves the window, to be taken back when it is due.
                Step::Park => for owed in &mut bench.model.owed {
                    if owed.lanes.as_slice().is_empty() && !owed.flying && bench.window.lanes().holds(owed.turn) {
                        owed.parked = true;
                        bench.window.finish(owed.turn);
                    }
                },
                Step::Discard(at) => if let Some(turn) = bench.model.owed.get(at).map(|owed| owed.turn) {
                    // What ends in the store alone is followed by reading all anew.
                    if !bench.model.owed[at].flying {
                        bench.model.owed.remove(at);
                        if bench.window.lanes().holds(turn) {
                            bench.window.finish(turn);
                        } else {
                            bench.window.forget_waiting();
                        }
                    }
                },
                Step::Resize(capacity) => bench.window.resize(capacity),
                Step::Forget => bench.window.forget_waiting(),
            }
        }
        // Whatever happened: once all that is under way has ended, everything is delivered.
        bench.window.resize(capacity.max(24));
        for turn in bench.model.flying() {
            bench.finish(turn);
        }
        bench.drain();
        prop_assert!(bench.model.owed.iter().all(|owed| owed.parked));
        prop_assert!(bench.window.is_complete());
        prop_assert_eq!(bench.window.taken(), 0);
    }

    /// Whoever could go with everything in memory can go with a small window, once it has read what it wants: as
    /// long as there is a place for each lane.
    #[test]
    fn no_lane_waits_for_another(blocked in prop::collection::btree_set(0u64..8, 0..8), owed in prop::collection::vec(prop::collection::vec(0u64..8, 1..3), 1..300)) {
        let mut bench = Bench::new(64);
        for of in &owed {
            bench.accept(of);
        }
        // Heads of the blocked lanes fail and are due much later.
        loop {
            bench.read_all(true);
            let Some(turn) = bench.start() else { break };
            let at = bench.model.at(turn);
            let of = &bench.model.owed[at].lanes;
            if of.as_slice().iter().any(|lane| blocked.contains(&lane.0)) {
                bench.window.lanes_mut().retry(turn, NOW, 1_000 * NOW);
                (bench.model.owed[at].flying, bench.model.owed[at].due) = (false, 1_000 * NOW);
            } else {
                bench.finish(turn);
            }
        }
        let could = |at: &usize| bench.model.owed[*at].due <= NOW && bench.model.is_free(*at);
        let waiting: Vec<usize> = (0..bench.model.owed.len()).filter(could).collect();
        prop_assert_eq!(waiting, Vec::<usize>::new());
    }
}
