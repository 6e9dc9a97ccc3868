//! What it costs to say who goes next, and where to: `cargo bench -p waypost-engine`. Allocations of one run stand
//! above each time, on average.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use waypost_domain::{Lane, Lanes, Match, Priority, limits};
use waypost_engine::dispatch::{Choice, Entrant, LaneScheduler};
use waypost_engine::routing::{Batches, Recipient, Routing, facts};
use waypost_store::Turn;
use waypost_whatsapp::{Compose, compose, split};

/// Conversations at once.
const LANES: i64 = 10_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    scheduler(&mut criterion);
    routing(&mut criterion);
    criterion.final_summary();
}

/// A step in a scheduler that holds so many: one comes in, the next is started, and one is delivered.
fn scheduler(criterion: &mut Criterion) {
    for held in [1, 1_000, limits::LANE_WINDOW_MAX] {
        let mut scheduler = LaneScheduler::new();
        let mut last = 0;
        let mut add = |scheduler: &mut LaneScheduler| {
            last += 1;
            scheduler.add(entrant(last));
        };
        (1..held).for_each(|_| add(&mut scheduler));
        measure(criterion, &format!("scheduler/step with {held} held"), || {
            add(&mut scheduler);
            let started = scheduler.start(Duration::from_secs(1), Choice::Any);
            started.map(|turn| scheduler.finish(turn))
        });
    }
    let mut scheduler = LaneScheduler::new();
    (1..1_000).for_each(|turn| scheduler.add(entrant(turn)));
    let mut now = Duration::from_secs(1);
    measure(criterion, "scheduler/a failed attempt, 999 held", || {
        now += Duration::from_millis(1);
        let started = scheduler.start(now, Choice::Any);
        started.map(|turn| scheduler.retry(turn, now, now))
    });
}

fn entrant(turn: i64) -> Entrant {
    Entrant {
        turn: Turn(turn),
        lanes: Lanes::from_iter([Lane((turn % LANES).unsigned_abs())]),
        priority: Priority::Message,
        due: Duration::ZERO,
        tried: false,
    }
}

/// Who takes the events of a request, where one route takes everything to a receiver of single events.
fn routing(criterion: &mut Criterion) {
    let recipient = Recipient { name: "receiver".into(), destination: (), batches: Batches::Split };
    let routing = Routing::new([(Match::everything(), vec![Arc::new(recipient)])]);
    for batch_size in [1, 100] {
        let body = compose("batch", &Compose { batch_size, ..Compose::default() }).unwrap_or_default();
        let split = split(body.as_bytes());
        measure(criterion, &format!("routing/plan of {} events", split.events.len()), || {
            routing.plan(black_box(&split).events.iter().map(facts)).owed.len()
        });
    }
}

/// Runs over which allocations are counted: structures that grow now and then share the cost of growing.
const RUNS: u32 = 1_000;

/// Times the work, and says what one run of it allocates on average.
fn measure<T>(criterion: &mut Criterion, name: &str, mut work: impl FnMut() -> T) {
    // What the first run finds undone is not the work's.
    drop(black_box(work()));
    let runs = allocation_counter::measure(|| (0..RUNS).for_each(|_| drop(black_box(work()))));
    let each = |total: u64| total as f64 / f64::from(RUNS);
    eprintln!("{name}: {:.2} allocations, {:.0} bytes", each(runs.count_total), each(runs.bytes_total));
    criterion.bench_function(name, |bencher| bencher.iter(&mut work));
}
