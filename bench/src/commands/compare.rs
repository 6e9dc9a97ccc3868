//! The comparison: all scenarios, one table.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;

use crate::peers::{self, Ground};
use crate::scenario::{self, Budget, Findings};
use crate::stopwatch::now_ns;
use crate::{machine, table};

#[derive(Debug, Args)]
pub(super) struct Compare {
    /// Under three minutes instead of under thirty
    #[arg(long)]
    short: bool,
    /// Only these scenarios, by the names that --list gives
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Names the scenarios and ends
    #[arg(long)]
    list: bool,
    /// How often each server takes its turn
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: Option<u64>,
    /// The gateway's binary
    #[arg(long, value_name = "FILE", default_value = "target/release/waypost")]
    waypost: PathBuf,
    /// The folder of the peers on Node, its packages installed
    #[arg(long, value_name = "DIR", default_value = "bench/peers/node")]
    node_peers: PathBuf,
    /// Where servers keep their files meanwhile; it should be on the disk whose speed counts
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Where the table is written
    #[arg(long, value_name = "FILE", default_value = "bench/results/latest.md")]
    output: PathBuf,
}

impl Compare {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut budget = if self.short { Budget::SHORT } else { Budget::FULL };
        if let Some(rounds) = self.rounds {
            budget.rounds = usize::try_from(rounds)?;
            budget.rounds_few = budget.rounds;
        }
        let mut scenarios = scenario::all(&budget);
        if self.list {
            let mut output = io::stdout().lock();
            for scenario in &scenarios {
                writeln!(output, "{:12} {}", scenario.id, scenario.title)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(unknown) = self.only.iter().find(|id| !scenarios.iter().any(|known| known.id == **id)) {
            bail!("there is no scenario {unknown} in this mode; --list names them");
        }
        scenarios.retain(|scenario| self.only.is_empty() || self.only.iter().any(|id| id == scenario.id));

        let work = match &self.work {
            Some(folder) => folder.clone(),
            None => machine::work_folder(),
        };
        let work = tempfile::Builder::new()
            .prefix("waypost-bench-")
            .tempdir_in(&work)
            .with_context(|| format!("making a folder in {}", work.display()))?;
        let about = machine::describe(work.path());
        let waypost = std::path::absolute(&self.waypost)?;
        let ground = Ground::prepare(work.path(), waypost, std::path::absolute(&self.node_peers)?)?;
        let about = [about, vec![format!("Peers: {}", peers::versions(&ground))]].concat();
        let start_ns = now_ns();
        let findings = scenario::run(&scenarios, &ground, &budget)?;
        let text = report(&about, &budget, &findings, (now_ns() - start_ns) / 1_000_000_000);
        write!(io::stdout().lock(), "{text}")?;
        if let Some(folder) = self.output.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(&self.output, text).with_context(|| format!("writing {}", self.output.display()))?;
        Ok(if findings.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn report(about: &[String], budget: &Budget, findings: &Findings, seconds: u64) -> String {
    let mut text = String::from("# Benchmark\n\n");
    let turns = format!(
        "Turns of {:.1} s after {:.1} s of warm-up; up to {} rounds ({} for side scenarios), servers taking turns \
         within each; figures are medians (min–max), ratios medians of the ratios within rounds; {} turns were taken again because others used the machine. The whole took {seconds} s.",
        budget.measure.as_secs_f64(),
        budget.warmup.as_secs_f64(),
        budget.rounds,
        budget.rounds_few,
        findings.repeated,
    );
    let missing = findings.missing.iter().map(|missing| format!("Left out: {missing}"));
    let cut_short = (!findings.cut_short.is_empty())
        .then(|| format!("No time was left for all rounds of: {}", findings.cut_short.join("; ")));
    // Writing to a string does not fail.
    for line in about.iter().cloned().chain([turns]).chain(missing).chain(cut_short) {
        let _ = writeln!(text, "- {line}");
    }
    for fault in &findings.faults {
        let _ = writeln!(text, "- **Went wrong:** {}", fault.replace('\n', " "));
    }
    let _ = write!(text, "\n{}", table::markdown(&findings.rows));
    text
}
