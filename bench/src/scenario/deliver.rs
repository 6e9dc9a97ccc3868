//! Webhooks are followed by id from the sender to the receiver.

use std::thread;
use std::time::Duration;

use anyhow::ensure;

use super::answer::Readings;
use super::{Budget, Load, Measured, plan};
use crate::peers::Running;
use crate::sender::{self, Moment, Outcome, Pace};
use crate::sink::{Book, Sink};
use crate::stopwatch::{nanos, now_ns};
use crate::table::Sample;
use crate::{interrupt, machine};

/// The fixed rate, a second.
const RATE: f64 = 5_000.0;
/// A backlog no older than this at the end of the load counts as none.
const BACKLOG_SECONDS_MAX: f64 = 0.1;
/// The highest rate that is tried, in parts of the one that was delivered when saturated.
const RATE_SOUGHT_MAX: f64 = 1.2;
/// The receiver gets nothing new for so long: the rest is not coming.
const STALL_TIME_MAX: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(2);

/// One server's turn: a fixed rate, as fast as it acknowledges, and the highest rate at which
/// nothing piles up.
pub(super) fn measure(running: &Running, sink: &Sink, budget: &Budget) -> anyhow::Result<Vec<Measured>> {
    machine::wait_until_quiet(budget.patience);
    let fixed = Run::new(running, sink, budget, Pace::Open(RATE))?;
    let saturated = Run::new(running, sink, budget, Pace::Closed)?;
    let saturated_rate = saturated.delivered_per_second();
    let line = |title: &str, paced, sample| Measured { title: format!("end to end, {title}"), paced, sample };
    let mut measured = vec![
        line("5,000/s", true, fixed.sample(fixed.outcome.per_second())),
        line("saturated", false, saturated.sample(saturated_rate)),
    ];
    if let Some((rate, run)) = highest_held(running, sink, budget, saturated_rate * RATE_SOUGHT_MAX)? {
        measured.push(line("sustained", false, run.sample(rate)));
    }
    Ok(measured)
}

/// As fast as it acknowledges, without looking, until all is delivered.
pub(super) fn run_in(running: &Running, sink: &Sink, time: Duration) -> anyhow::Result<()> {
    if time.is_zero() {
        return Ok(());
    }
    let id_base = sender::new_id_base();
    sink.open_book(id_base);
    let mut plan = plan(running, Load::USUAL);
    plan.measure = time;
    let outcome = sender::run(&plan, id_base, |_| ())?;
    wait_for(sink, outcome.acknowledged.len())?;
    sink.close_book();
    Ok(())
}

/// What a server delivers when a closed loop saturates it, a second, until all is delivered: the rate that it has
/// while nothing is owed from before.
pub(super) fn saturated_rate(running: &Running, sink: &Sink, budget: &Budget) -> anyhow::Result<f64> {
    Ok(Run::new(running, sink, budget, Pace::Closed)?.delivered_per_second())
}

/// Searches by halving for the highest rate at which every webhook is acknowledged and delivered
/// as it comes.
fn highest_held(
    running: &Running,
    sink: &Sink,
    budget: &Budget,
    rate_max: f64,
) -> anyhow::Result<Option<(f64, Run)>> {
    let (mut low, mut high) = (0.0, rate_max);
    let mut best = None;
    for _ in 0..budget.search_steps {
        let rate = f64::midpoint(low, high);
        let run = Run::new(running, sink, budget, Pace::Open(rate))?;
        if run.held(rate) {
            low = rate;
            best = Some((rate, run));
        } else {
            high = rate;
        }
    }
    Ok(best)
}

/// One load, until all of it is delivered.
struct Run {
    outcome: Outcome,
    book: Book,
    readings: Readings,
    start_ns: u64,
    /// Acknowledged and not yet delivered when the load stopped.
    backlog: u64,
}

impl Run {
    fn new(running: &Running, sink: &Sink, budget: &Budget, pace: Pace) -> anyhow::Result<Self> {
        let mut plan = plan(running, Load { pace, ..Load::USUAL });
        plan.warmup = budget.warmup;
        plan.measure = budget.measure;
        let id_base = sender::new_id_base();
        sink.open_book(id_base);
        let mut readings = Readings::new(running);
        let mut arrived_at_end = 0;
        let start_ns = now_ns();
        let outcome = sender::run(&plan, id_base, |moment| match moment {
            Moment::Begin => {
                readings.take(moment);
                sink.time_from_now();
            }
            Moment::End => arrived_at_end = sink.arrived(),
        })?;
        readings.weigh();
        wait_for(sink, outcome.acknowledged.len())?;
        readings.take(Moment::End);
        let book = sink.close_book();
        let lost = outcome.acknowledged.missing_from(&book.arrived);
        ensure!(lost == 0, "{lost} of {} acknowledged webhooks never arrived", outcome.acknowledged.len());
        let backlog = outcome.acknowledged.len().saturating_sub(arrived_at_end);
        Ok(Self { outcome, book, readings, start_ns, backlog })
    }

    fn delivered_per_second(&self) -> f64 {
        let nanos = self.book.last_ns.saturating_sub(self.start_ns).max(1);
        self.book.arrived.len() as f64 / (nanos as f64 / 1e9)
    }

    fn held(&self, rate: f64) -> bool {
        self.outcome.failed() == 0
            && self.outcome.per_second() >= rate * 0.98
            && self.backlog as f64 <= rate * BACKLOG_SECONDS_MAX
    }

    /// Latency is from sending to arrival; costs are until the last delivery, per delivery.
    fn sample(&self, per_second: f64) -> Sample {
        let ms = |share| Some(self.book.latency.quantile(share) as f64 / 1e6);
        let note = format!(
            "{} acknowledged and all delivered, {} repeated, {} acknowledged a second, {} owed when the load stopped",
            self.outcome.acknowledged.len(),
            self.book.repeated,
            self.outcome.per_second().round(),
            self.backlog,
        );
        Sample {
            per_second: Some(per_second),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            failed: self.outcome.failed(),
            note: Some(note),
            ..self.readings.costs(self.book.latency.len())
        }
    }
}

/// Waits until the receiver has so many, or gets nothing more.
pub(super) fn wait_for(sink: &Sink, count: u64) -> anyhow::Result<()> {
    let (mut seen, mut seen_ns) = (sink.arrived(), now_ns());
    while seen < count {
        interrupt::check()?;
        thread::sleep(POLL);
        let arrived = sink.arrived();
        if arrived > seen {
            (seen, seen_ns) = (arrived, now_ns());
        }
        if now_ns() - seen_ns > nanos(STALL_TIME_MAX) {
            break;
        }
    }
    ensure!(seen > 0 || count == 0, "nothing was delivered");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::{Ready, Server};
    use crate::sender::Target;

    #[test]
    fn what_reaches_the_receiver_directly_is_all_there_once_at_every_rate() {
        let folder = tempfile::tempdir().unwrap();
        let sink = Sink::start(None).unwrap();
        // A process to read figures of; the webhooks go straight to the sink.
        let mut command = Command::new("sh");
        command.args(["-c", "echo ready; exec sleep 600"]);
        let (server, _) = Server::start(command, &folder.path().join("log"), Ready::Line("ready")).unwrap();
        let target = Target {
            address: sink.address(),
            tls: false,
            host: "up.test".into(),
            path: "/hook".into(),
            sources: None,
        };
        let running = Running { servers: [server].into(), target, forbidden_path: None, stream: None };
        let budget = Budget {
            warmup: Duration::from_millis(20),
            measure: Duration::from_millis(150),
            search_steps: 2,
            ..Budget::SHORT
        };
        let measured = measure(&running, &sink, &budget).unwrap();
        assert!(measured.len() >= 2);
        for Measured { title, sample, .. } in measured {
            let note = sample.note.unwrap();
            assert!(note.contains("all delivered, 0 repeated"), "{title}: {note}");
            assert!(sample.per_second.unwrap() > 100.0, "{title}: {:?}", sample.per_second);
            assert!(sample.p50_ms.unwrap() > 0.0 && sample.failed == 0, "{title}");
        }
    }
}
