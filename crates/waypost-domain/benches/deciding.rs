//! What it costs to decide: `cargo bench -p waypost-domain`. Allocations of one run stand above each time.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use waypost_domain::{
    Facts, Lane, Lanes, Match, MatchKey, Reply, RetrySchedule, Routes, Rulings, UnixMillis, judge,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    lanes(&mut criterion);
    after_an_attempt(&mut criterion);
    routes(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

fn lanes(criterion: &mut Criterion) {
    let conversation = "301944726605112:14155550183";
    measure(criterion, "lane/of a conversation", || Lane::of(black_box(conversation)));
    let batch: Vec<Lane> = (0..1_000).map(|contact| Lane::of(&format!("1:{}", contact % 300))).collect();
    measure(criterion, "lane/lanes of a batch of 1000", || {
        black_box(&batch).iter().copied().collect::<Lanes>()
    });
}

fn after_an_attempt(criterion: &mut Criterion) {
    let rulings = Rulings { retry: vec![409], dead: vec![501] };
    let reply = Reply::Answered { status: 503, retry_after: Some(Duration::from_secs(30)) };
    measure(criterion, "attempt/judge", || judge(black_box(&reply), &rulings));
    let schedule = RetrySchedule::default();
    let accepted = UnixMillis(1_790_000_000_000);
    measure(criterion, "attempt/next on schedule", || {
        schedule.next(accepted, black_box(4), accepted.plus(Duration::from_secs(60)), None, 42)
    });
}

fn routes(criterion: &mut Criterion) -> Result<(), Box<dyn Error>> {
    for count in [1, 10_000_u64] {
        let rows = (0..count).map(|number| {
            let id = (301_944_726_605_112 + number).to_string();
            Ok((Match::new([(MatchKey::PhoneNumberId, [id])])?, number))
        });
        let routes = Routes::new(rows.collect::<Result<Vec<_>, Box<dyn Error>>>()?);
        let facts = Facts {
            phone_number_id: Some("301944726605112"),
            display_phone_number: Some("15550147720"),
            waba_id: Some("288731059440016"),
            field: "messages",
            kind: "message",
            r#type: "text",
            class: "message",
        };
        measure(criterion, &format!("route/by number, {count} routes"), || {
            routes.of(black_box(&facts)).len()
        });
    }
    Ok(())
}

/// Times the work, and says what one run of it allocates.
fn measure<T>(criterion: &mut Criterion, name: &str, mut work: impl FnMut() -> T) {
    let run = allocation_counter::measure(|| drop(black_box(work())));
    eprintln!("{name}: {} allocations, {} bytes", run.count_total, run.bytes_total);
    criterion.bench_function(name, |bencher| bencher.iter(&mut work));
}
