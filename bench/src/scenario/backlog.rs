//! Many webhooks are owed to a receiver that is down; the server is stopped and started; the receiver is up again.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;

use super::answer::{Readings, mib};
use super::deliver::{saturated_rate, wait_for};
use super::{Budget, Load, Measured, plan};
use crate::machine;
use crate::peers::{Ground, Mode, Peer as _, Running, Waypost};
use crate::sender::{self, Moment};
use crate::stopwatch::now_ns;
use crate::table::Sample;

/// How long all may take to be acknowledged.
const BUILD_TIME_MAX: Duration = Duration::from_secs(300);

/// The gateway's turn: built up, started with it, drained, and then the same gateway's rate with none owed.
pub(super) fn measure(
    running: Running,
    ground: &Ground,
    folder: &Path,
    budget: &Budget,
) -> anyhow::Result<Vec<Measured>> {
    machine::wait_until_quiet(budget.patience);
    let line = |what: &str, sample| Measured {
        title: format!("backlog of {}, {what}", budget.backlog),
        paced: false,
        sample,
    };
    let mut plan = plan(&running, Load::USUAL);
    plan.measure = BUILD_TIME_MAX;
    plan.count_max = Some(budget.backlog);
    let id_base = sender::new_id_base();
    let mut readings = Readings::new(&running);
    let outcome = sender::run(&plan, id_base, |moment| readings.take(moment))?;
    readings.weigh();
    let owed = outcome.acknowledged.len();
    ensure!(owed > 0, "nothing was acknowledged");
    let built = readings.sample(&outcome);
    running.servers.stop()?;

    let sink = &ground.sink_http;
    sink.open_book(id_base);
    let start_ns = now_ns();
    let running = Waypost(Mode::Store).start(ground, folder)?;
    let ready_ms = (now_ns() - start_ns) as f64 / 1e6;
    // Its processes are new, so that from nothing on counts what it does at its start.
    let mut readings = Readings::since_start(&running);
    wait_for(sink, owed)?;
    readings.take(Moment::End);
    readings.weigh();
    let book = sink.close_book();
    let lost = outcome.acknowledged.missing_from(&book.arrived);
    ensure!(lost == 0, "{lost} of {owed} acknowledged webhooks never arrived");
    let seconds = (book.last_ns - book.first_ns).max(1) as f64 / 1e9;
    let note = format!(
        "ready {ready_ms:.0} ms after its start with {owed} owed, all delivered in {seconds:.1} s, {} repeated, at most {:.1} MiB on the way",
        book.repeated,
        mib(readings.held().peak_bytes),
    );
    let drained = Sample {
        per_second: Some(owed as f64 / seconds),
        unburdened_per_second: Some(saturated_rate(&running, sink, budget)?),
        note: Some(note),
        ..readings.costs(owed)
    };
    running.servers.stop()?;
    Ok(vec![line("built", built), line("drained", drained)])
}
