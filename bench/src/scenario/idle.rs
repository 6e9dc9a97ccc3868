//! What a server costs while nothing happens.

use std::thread;
use std::time::Duration;

use super::Budget;
use super::answer::Readings;
use crate::peers::Running;
use crate::sender::Moment;
use crate::table::Sample;

/// What starting left to do is done by then.
const SETTLE: Duration = Duration::from_secs(1);

/// One server's turn.
pub(super) fn measure(running: &Running, budget: &Budget) -> Sample {
    thread::sleep(SETTLE);
    let mut readings = Readings::new(running);
    readings.take(Moment::Begin);
    thread::sleep(budget.idle);
    readings.take(Moment::End);
    readings.weigh();
    let core_share = readings.server_cpu().as_secs_f64() / budget.idle.as_secs_f64();
    let note = format!("{:.3} % of one core over {:.1} s", core_share * 100.0, budget.idle.as_secs_f64());
    Sample { note: Some(note), ..readings.costs(0) }
}
