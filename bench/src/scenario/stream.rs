//! Many readers follow the stream while webhooks come at a fixed rate.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::answer::Readings;
use super::{Budget, Load, plan};
use crate::machine;
use crate::peers::Running;
use crate::readers::Readers;
use crate::sender::{self, Moment, Pace};
use crate::stopwatch::{nanos, now_ns};
use crate::table::Sample;

/// Webhooks a second: each becomes a frame for each reader.
const RATE: f64 = 200.0;
/// The readers have all there is, or get nothing more within it.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// One turn. Latency is from the moment a webhook was due until a reader had its frame; costs are per webhook.
pub(super) fn measure(running: &Running, readers: usize, budget: &Budget) -> anyhow::Result<Sample> {
    let stream = running.stream.as_ref().context("this server has no stream")?;
    let id_base = sender::new_id_base();
    let following = Readers::start(stream, readers, id_base)?;
    machine::wait_until_quiet(budget.patience);
    let mut plan = plan(running, Load { connections: 16, pace: Pace::Open(RATE), ..Load::USUAL });
    plan.warmup = budget.warmup;
    plan.measure = budget.measure;
    let mut readings = Readings::new(running);
    let outcome = sender::run(&plan, id_base, |moment| readings.take(moment))?;
    readings.weigh();
    let wanted = outcome.acknowledged.len() * readers as u64;
    let until_ns = now_ns() + nanos(DRAIN_TIME_MAX);
    while following.frames() < wanted && now_ns() < until_ns {
        thread::sleep(POLL);
    }
    readings.take(Moment::End);
    let seen = following.end()?;
    let (fewest, most) = seen.frames;
    ensure!(
        fewest == outcome.acknowledged.len() && most == fewest && seen.faults == 0,
        "{} webhooks were acknowledged; readers got {fewest} to {most} frames, and {} went wrong",
        outcome.acknowledged.len(),
        seen.faults,
    );
    let ms = |share| Some(seen.latency.quantile(share) as f64 / 1e6);
    let note = format!("{readers} readers, each with all {fewest} frames once");
    Ok(Sample {
        per_second: Some(outcome.per_second()),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        p999_ms: ms(0.999),
        failed: outcome.failed(),
        note: Some(note),
        ..readings.costs(outcome.completed)
    })
}
