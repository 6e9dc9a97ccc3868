//! What a server holds: idle, and with many webhooks owed to a receiver that is down.

use std::thread;
use std::time::Duration;

use super::answer::{Readings, mib};
use super::{Budget, Load, plan};
use crate::peers::Running;
use crate::sender::{self, Moment};
use crate::table::Sample;

/// Webhooks owed.
const OWED: u64 = 200_000;
/// How long they may take to be acknowledged.
const LOAD_TIME_MAX: Duration = Duration::from_secs(120);

/// One server's turn.
pub(super) fn measure(running: &Running, budget: &Budget) -> anyhow::Result<Vec<(String, Sample)>> {
    let mut readings = Readings::new(running);
    readings.take(Moment::Begin);
    thread::sleep(budget.measure);
    readings.take(Moment::End);
    let core_share = readings.server_cpu().as_secs_f64() / budget.measure.as_secs_f64();
    let idle = Sample {
        resident_mib: Some(mib(readings.server().resident().now_bytes)),
        others: Some(readings.others()),
        note: Some(format!("{:.2} % of one core", core_share * 100.0)),
        ..Sample::default()
    };

    let mut plan = plan(running, Load::USUAL);
    plan.measure = LOAD_TIME_MAX;
    plan.count_max = Some(OWED);
    let mut readings = Readings::new(running);
    let outcome = sender::run(&plan, sender::new_id_base(), |moment| readings.take(moment))?;
    let peak = mib(readings.server().resident().peak_bytes);
    let note = format!("{} acknowledged; at most {peak:.1} MiB on the way", outcome.acknowledged.len());
    let owed = Sample { note: Some(note), ..readings.sample(&outcome) };
    Ok(vec![("memory, idle".to_owned(), idle), (format!("memory, {OWED} owed"), owed)])
}
