use super::*;
use proptest::prelude::*;

const SECOND: Moment = Duration::from_secs(1);

fn lanes(of: &[u64]) -> Lanes {
    of.iter().map(|lane| Lane(*lane)).collect()
}

fn entrant(turn: i64, lanes: Lanes, priority: Priority, due: Moment, tried: bool) -> Entrant {
    Entrant { turn: Turn(turn), lanes, priority, due, tried }
}

fn add(scheduler: &mut LaneScheduler, id: i64, of: &[u64]) {
    scheduler.add(entrant(id, lanes(of), Priority::Message, Duration::ZERO, false));
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
    scheduler.finish(Turn(1));
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
    scheduler.finish(Turn(1));
    assert_eq!(start(&mut scheduler, SECOND), Some(2));
    assert_eq!(start(&mut scheduler, SECOND), None);
    scheduler.finish(Turn(2));
    assert_eq!(start(&mut scheduler, SECOND), Some(3));
}

#[test]
fn a_failing_head_holds_its_lane_until_it_is_stepped_over() {
    let mut scheduler = LaneScheduler::new();
    add(&mut scheduler, 1, &[7]);
    add(&mut scheduler, 2, &[7]);
    assert_eq!(start(&mut scheduler, SECOND), Some(1));
    scheduler.retry(Turn(1), SECOND, 10 * SECOND);
    assert_eq!(start(&mut scheduler, 5 * SECOND), None);
    assert_eq!(scheduler.next_due(), Some(10 * SECOND));
    assert_eq!(scheduler.step_over(Duration::ZERO), []);
    assert_eq!(scheduler.step_over(SECOND), [(Turn(1), lanes(&[7]))]);
    assert_eq!(start(&mut scheduler, 5 * SECOND), Some(2));
    assert_eq!(start(&mut scheduler, 10 * SECOND), Some(1), "it goes on by its own schedule");
}

#[test]
fn patience_begins_anew_after_an_outage() {
    let mut scheduler = LaneScheduler::new();
    add(&mut scheduler, 1, &[7]);
    start(&mut scheduler, SECOND);
    scheduler.retry(Turn(1), SECOND, 2 * SECOND);
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
    scheduler.finish(Turn(1));
    assert_eq!(start(&mut scheduler, SECOND), Some(3));
}

#[test]
fn what_is_urgent_goes_first_and_fresh_slots_pass_retries_by() {
    let mut scheduler = LaneScheduler::new();
    for (id, priority) in
        [(1, Priority::History), (2, Priority::Status), (3, Priority::Message), (4, Priority::Call)]
    {
        scheduler.add(entrant(id, Lanes::NONE, priority, Duration::ZERO, id == 4));
    }
    assert_eq!(scheduler.start(SECOND, Choice::Fresh), Some(Turn(3)));
    assert_eq!(scheduler.start(SECOND, Choice::Any), Some(Turn(4)));
    assert_eq!(scheduler.retries_in_flight(), 1);
    assert_eq!(scheduler.start(SECOND, Choice::Any), Some(Turn(2)));
    assert_eq!(scheduler.start(SECOND, Choice::Any), Some(Turn(1)));
}

#[test]
fn a_probe_takes_the_oldest_even_before_it_is_due_and_the_next_probe_another() {
    let mut scheduler = LaneScheduler::new();
    for id in 1..=3 {
        scheduler.add(entrant(id, lanes(&[id as u64]), Priority::Message, 100 * SECOND, true));
    }
    assert_eq!(scheduler.start(SECOND, Choice::Oldest { skip: 0 }), Some(Turn(1)));
    scheduler.give_back(Turn(1), 100 * SECOND);
    assert_eq!(scheduler.start(SECOND, Choice::Oldest { skip: 1 }), Some(Turn(2)));
    scheduler.give_back(Turn(2), 100 * SECOND);
    assert_eq!(scheduler.start(SECOND, Choice::Oldest { skip: 4 }), Some(Turn(2)));
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
        let blocked = self.owed[..at]
            .iter()
            .any(|earlier| this.lanes.as_slice().iter().any(|lane| earlier.lanes.as_slice().contains(lane)));
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
                    scheduler.add(entrant(next_id, lanes(&of), Priority::from_number(priority), due, false));
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
                    scheduler.finish(Turn(id));
                    model.owed.retain(|owed| owed.id != id);
                },
                Step::Retry(at, wait) => if let Some(&id) = model.flying().get(at) {
                    let due = now + wait as u32 * SECOND / 4;
                    scheduler.retry(Turn(id), now, due);
                    let owed = model.owed(id);
                    (owed.flying, owed.due, owed.held) = (false, due, owed.held.or(Some(now)));
                },
                Step::GiveBack(at) => if let Some(&id) = model.flying().get(at) {
                    scheduler.give_back(Turn(id), now);
                    let owed = model.owed(id);
                    (owed.flying, owed.due) = (false, now);
                },
                Step::Overtake(ago) => {
                    let since = now.saturating_sub(ago as u32 * SECOND);
                    let mut over: Vec<Turn> = scheduler.step_over(since).into_iter().map(|(turn, _)| turn).collect();
                    over.sort_unstable();
                    let mut expected = Vec::new();
                    for owed in &mut model.owed {
                        if !owed.flying && owed.held.is_some_and(|held| held <= since) && !owed.lanes.as_slice().is_empty() {
                            expected.push(Turn(owed.id));
                            (owed.lanes, owed.held) = (Lanes::NONE, None);
                        }
                    }
                    prop_assert_eq!(over, expected);
                }
                Step::Discard(at) => if let Some(id) = model.owed.get(at).map(|owed| owed.id) {
                    scheduler.finish(Turn(id));
                    model.owed.retain(|owed| owed.id != id);
                },
                Step::Tick(quarters) => now += quarters as u32 * SECOND / 4,
            }
            prop_assert_eq!(scheduler.in_flight(), model.flying().len());
            prop_assert_eq!(scheduler.len(), model.owed.len());
            let queued = scheduler.waiting.len() + scheduler.fresh.len() + scheduler.retries.len();
            prop_assert!(queued + scheduler.in_flight() <= scheduler.len(), "a queue holds what is no longer owed");
            let weight: usize = model.owed.iter().map(|owed| 1 + owed.lanes.as_slice().len() / 2).sum();
            prop_assert_eq!(scheduler.weight(), weight);
        }
    }
}
