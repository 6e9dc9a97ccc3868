//! Webhooks are sent and their answers timed.

use std::time::Duration;

use anyhow::ensure;

use super::{Budget, Load, plan};
use crate::machine::{self, Processor};
use crate::peers::Running;
use crate::process::{Held, Processes, Usage};
use crate::sender::{self, Moment, Outcome, Pace};
use crate::table::Sample;

/// One turn under a load.
pub(super) fn measure(running: &Running, load: Load, budget: &Budget) -> anyhow::Result<Sample> {
    machine::wait_until_quiet(budget.patience);
    let mut plan = plan(running, load);
    plan.warmup = budget.warmup;
    plan.measure = budget.measure;
    let mut readings = Readings::new(running);
    let outcome = sender::run(&plan, sender::new_id_base(), |moment| readings.take(moment))?;
    readings.weigh();
    ensure!(outcome.completed > 0, "nothing was acknowledged in time: {:?}", outcome.refused);
    Ok(readings.sample(&outcome))
}

/// The load that will be measured, as fast as it is answered, without looking.
pub(super) fn run_in(running: &Running, load: Load, time: Duration) -> anyhow::Result<()> {
    if time.is_zero() {
        return Ok(());
    }
    let mut plan = plan(running, Load { pace: Pace::Closed, ..load });
    plan.measure = time;
    sender::run(&plan, sender::new_id_base(), |_| ())?;
    Ok(())
}

/// What the machine says when measuring begins and ends.
pub(super) struct Readings {
    server: Processes,
    own: Processes,
    begin: Reading,
    end: Reading,
    held: Held,
}

#[derive(Clone, Copy, Default)]
struct Reading {
    server: Usage,
    own: Usage,
    processor: Processor,
}

impl Readings {
    /// Ready to read a server's processes and this program.
    pub(super) fn new(running: &Running) -> Self {
        let (begin, end, held) = Default::default();
        Self { server: running.servers.processes(), own: Processes::own(), begin, end, held }
    }

    /// The same, as if they had been read before the server was started.
    pub(super) fn since_start(running: &Running) -> Self {
        let mut readings = Self::new(running);
        readings.take(Moment::Begin);
        readings.begin.server = Usage::default();
        readings
    }

    /// Reads.
    pub(super) fn take(&mut self, moment: Moment) {
        let reading =
            Reading { server: self.server.usage(), own: self.own.usage(), processor: Processor::now() };
        match moment {
            Moment::Begin => self.begin = reading,
            Moment::End => self.end = reading,
        }
    }

    /// Reads what the server holds: apart from the rest, since it may take some milliseconds.
    pub(super) fn weigh(&mut self) {
        self.held = self.server.held();
    }

    /// What the server held when it was last weighed.
    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// Processor time of the server between the readings.
    pub(super) fn server_cpu(&self) -> Duration {
        self.end.server.cpu.saturating_sub(self.begin.server.cpu)
    }

    /// Bytes the server wrote between the readings.
    pub(super) fn written_bytes(&self) -> u64 {
        self.end.server.written_bytes.saturating_sub(self.begin.server.written_bytes)
    }

    /// The share of the machine between the readings that was neither the server's nor ours.
    pub(super) fn others(&self) -> f64 {
        let ours = self.server_cpu() + self.end.own.cpu.saturating_sub(self.begin.own.cpu);
        self.end.processor.share_of_others(self.begin.processor, ours)
    }

    /// A turn's figures per request answered.
    pub(super) fn sample(&self, outcome: &Outcome) -> Sample {
        let ms = |share| Some(outcome.latency.quantile(share) as f64 / 1e6);
        Sample {
            per_second: Some(outcome.per_second()),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            failed: outcome.failed(),
            ..self.costs(outcome.completed)
        }
    }

    /// What the server used, for so many requests.
    pub(super) fn costs(&self, requests: u64) -> Sample {
        let per = |total: f64| (requests > 0).then(|| total / requests as f64);
        Sample {
            cpu_per_10k: per(self.server_cpu().as_secs_f64() * 10_000.0),
            memory_mib: Some(mib(self.held.now_bytes)),
            written_per_request: per(self.written_bytes() as f64),
            others: Some(self.others()),
            ..Sample::default()
        }
    }
}

/// Bytes as MiB.
pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
