//! How scenarios are run: all servers of a scenario take turns, each started afresh, and the rounds of all
//! scenarios follow one another, so that what changes on the machine meets them alike.

mod answer;
mod backlog;
mod deliver;
mod idle;
mod list;
mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

pub(crate) use list::all;

use crate::interrupt;
use crate::peers::{CALLBACK_PATH, Ground, Peer, Running, SECRET, TUNED, WAYPOST};
use crate::sender::{self, Pace, Plan};
use crate::stopwatch::{nanos, now_ns};
use crate::table::{Row, Sample};
use crate::webhook::BODY_BYTES;

/// How much time a run may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Turns of each server.
    pub(crate) rounds: usize,
    /// Turns where a turn is long or the scenario a side one.
    pub(crate) rounds_few: usize,
    /// Time at the start of each turn that does not count.
    pub(crate) warmup: Duration,
    /// Time of each turn that counts.
    pub(crate) measure: Duration,
    /// How long a turn waits for a quiet machine.
    pub(crate) patience: Duration,
    /// Turns, in all, that are taken again because strangers used the machine.
    pub(crate) repeats: usize,
    /// Steps of the search for the highest rate.
    pub(crate) search_steps: usize,
    /// Webhooks owed in the scenario that has a backlog.
    pub(crate) backlog: u64,
    /// Readers of the stream.
    pub(crate) readers: usize,
    /// For how long a server is watched while it does nothing.
    pub(crate) idle: Duration,
    /// Servers that only a full run has.
    pub(crate) extras: bool,
    /// Time of the whole; no round begins that would not end within it.
    pub(crate) whole: Duration,
}

impl Budget {
    /// Under three minutes.
    pub(crate) const SHORT: Self = Self {
        rounds: 3,
        rounds_few: 1,
        warmup: Duration::from_millis(200),
        measure: Duration::from_millis(800),
        patience: Duration::from_millis(400),
        repeats: 4,
        search_steps: 4,
        backlog: 100_000,
        readers: 1_000,
        idle: Duration::from_millis(1_500),
        extras: false,
        whole: Duration::from_secs(170),
    };
    /// Under thirty.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        rounds_few: 3,
        warmup: Duration::from_millis(700),
        measure: Duration::from_secs(4),
        patience: Duration::from_secs(2),
        repeats: 20,
        search_steps: 6,
        backlog: 1_000_000,
        readers: 5_000,
        idle: Duration::from_secs(10),
        extras: true,
        whole: Duration::from_secs(28 * 60),
    };
}

/// A load, and the servers that bear it.
pub(crate) struct Scenario {
    /// Its short name, for choosing.
    pub(crate) id: &'static str,
    /// Its name in the table.
    pub(crate) title: String,
    kind: Kind,
    peers: Vec<Box<dyn Peer>>,
    against: Vec<&'static str>,
    rounds: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Webhooks are sent and their answers timed.
    Answer(Load),
    /// Webhooks are followed to the receiver, at a fixed rate and at the highest that holds.
    Deliver,
    /// Many webhooks are owed to a receiver that is down, and then delivered.
    Backlog,
    /// Nothing is sent.
    Idle,
    /// So many readers follow the stream.
    Stream(usize),
}

/// What one turn brought for one line of the table.
struct Measured {
    title: String,
    /// The rate was fixed.
    paced: bool,
    sample: Sample,
}

/// How webhooks come.
#[derive(Clone, Copy, Debug)]
struct Load {
    connections: usize,
    pace: Pace,
    reconnect: bool,
    resume: bool,
    body_bytes: usize,
}

impl Load {
    const USUAL: Self =
        Self { connections: 64, pace: Pace::Closed, reconnect: false, resume: false, body_bytes: BODY_BYTES };
}

/// A turn during which others had more of the machine is taken again. Write-back and interrupts
/// alone come near half of this.
const OTHERS_SHARE_MAX: f64 = 0.2;

/// Contacts that write: so many conversations, and lanes, there are.
const CONTACTS: u32 = 10_000;

/// What a run brought.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Lines for the table.
    pub(crate) rows: Vec<Row>,
    /// What was left out, and why, once each.
    pub(crate) missing: Vec<String>,
    /// Turns taken again because strangers used the machine.
    pub(crate) repeated: usize,
    /// Scenarios whose later rounds did not fit into the time.
    pub(crate) cut_short: Vec<String>,
    /// Turns that went wrong.
    pub(crate) faults: Vec<String>,
}

/// Runs scenarios, round by round. Fails only if interrupted or the machine fails the bench.
pub(crate) fn run(scenarios: &[Scenario], ground: &Ground, budget: &Budget) -> anyhow::Result<Findings> {
    let end_ns = now_ns() + nanos(budget.whole);
    let mut findings = Findings::default();
    let mut runs: Vec<Run<'_>> =
        scenarios.iter().map(|scenario| Run::new(scenario, ground, &mut findings)).collect();
    for round in 0..scenarios.iter().map(|scenario| scenario.rounds).max().unwrap_or(0) {
        for run in &mut runs {
            if round >= run.scenario.rounds || run.there.is_empty() {
                continue;
            }
            let start_ns = now_ns();
            if start_ns + run.longest_ns > end_ns {
                run.rounds_cut += 1;
                continue;
            }
            run.round(round, ground, budget, &mut findings)?;
            run.longest_ns = run.longest_ns.max(now_ns() - start_ns);
        }
    }
    let cut_short = runs.iter().filter(|run| run.rounds_cut > 0).map(|run| {
        let Scenario { title, rounds, .. } = run.scenario;
        format!("{title}, {} of {rounds} rounds", rounds - run.rounds_cut)
    });
    findings.cut_short = cut_short.collect();
    findings.rows = runs.into_iter().flat_map(|run| run.rows).collect();
    Ok(findings)
}

/// A scenario under way.
struct Run<'a> {
    scenario: &'a Scenario,
    /// Its servers, as far as they are installed.
    there: Vec<&'a dyn Peer>,
    rows: Vec<Row>,
    /// What its longest round took.
    longest_ns: u64,
    /// Rounds for which no time was left.
    rounds_cut: usize,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, ground: &Ground, findings: &mut Findings) -> Self {
        let mut there = Vec::new();
        for peer in &scenario.peers {
            match peer.missing(ground) {
                None => there.push(peer.as_ref()),
                Some(text) if findings.missing.contains(&text) => {}
                Some(text) => findings.missing.push(text),
            }
        }
        Self { scenario, there, rows: Vec::new(), longest_ns: 0, rounds_cut: 0 }
    }

    /// Every server takes its turn; each round starts with another.
    fn round(
        &mut self,
        round: usize,
        ground: &Ground,
        budget: &Budget,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        for turn in 0..self.there.len() {
            interrupt::check()?;
            let peer = self.there[(turn + round) % self.there.len()];
            let Scenario { title, rounds, .. } = self.scenario;
            tell(&format!("{title}: {}, round {} of {rounds}", peer.name(), round + 1));
            match self.scenario.quiet_turn(ground, budget, peer, &mut findings.repeated) {
                Ok(measured) => self.note(round, peer.name(), measured),
                Err(error) => {
                    interrupt::check()?;
                    let text = format!("{title}, {}: {error:#}", peer.name());
                    tell(&text);
                    findings.faults.push(text);
                }
            }
        }
        Ok(())
    }

    /// Files what was measured under its rows, which stand in the order of what is measured, then of servers.
    fn note(&mut self, round: usize, peer: &str, measured: Vec<Measured>) {
        for Measured { title, paced, sample } in measured {
            let sample = Sample { round, ..sample };
            let row = self.rows.iter_mut().find(|row| row.scenario == title && row.peer == peer);
            if let Some(row) = row {
                row.samples.push(sample);
                continue;
            }
            // Others are there to be compared with.
            let compared = peer.starts_with(WAYPOST);
            let against = self.scenario.against.iter().filter(|name| compared && **name != peer);
            self.rows.push(Row {
                scenario: title,
                peer: peer.into(),
                samples: vec![sample],
                against: against.map(|name| (*name).into()).collect(),
                paced,
            });
        }
        let mut titles: Vec<String> = Vec::new();
        for row in &self.rows {
            if !titles.contains(&row.scenario) {
                titles.push(row.scenario.clone());
            }
        }
        let place = |row: &Row| {
            let title = titles.iter().position(|title| *title == row.scenario);
            (title, self.there.iter().position(|peer| peer.name() == row.peer))
        };
        self.rows.sort_by_key(place);
    }
}

impl Scenario {
    /// One server's turn; where strangers used much of the machine meanwhile, a second one, and of
    /// the two the one that was disturbed less, whatever it measured.
    fn quiet_turn(
        &self,
        ground: &Ground,
        budget: &Budget,
        peer: &dyn Peer,
        repeated: &mut usize,
    ) -> anyhow::Result<Vec<Measured>> {
        let first = self.turn(ground, budget, peer)?;
        let repeatable = matches!(self.kind, Kind::Answer(_) | Kind::Idle);
        if disturbance(&first) <= OTHERS_SHARE_MAX || !repeatable || *repeated >= budget.repeats {
            return Ok(first);
        }
        *repeated += 1;
        tell(&format!("  again: others used {:.0} % of the machine", disturbance(&first) * 100.0));
        let second = self.turn(ground, budget, peer)?;
        Ok(if disturbance(&second) < disturbance(&first) { second } else { first })
    }

    /// One server's turn, in a folder of its own that is removed after it.
    fn turn(&self, ground: &Ground, budget: &Budget, peer: &dyn Peer) -> anyhow::Result<Vec<Measured>> {
        let folder = fresh_folder(&ground.work)?;
        let result = (|| {
            let running = peer.start(ground, &folder)?;
            check(ground, &running, self.against.contains(&TUNED))?;
            match self.kind {
                Kind::Answer(load) => {
                    answer::run_in(&running, load, peer.run_in())?;
                    let sample = answer::measure(&running, load, budget)?;
                    running.servers.stop()?;
                    Ok(vec![Measured { title: self.title.clone(), paced: load.pace != Pace::Closed, sample }])
                }
                Kind::Deliver => {
                    deliver::run_in(&running, &ground.sink_http, peer.run_in())?;
                    let measured = deliver::measure(&running, &ground.sink_http, budget)?;
                    running.servers.stop()?;
                    Ok(measured)
                }
                Kind::Idle => {
                    let sample = idle::measure(&running, budget);
                    running.servers.stop()?;
                    Ok(vec![Measured { title: self.title.clone(), paced: false, sample }])
                }
                Kind::Stream(readers) => {
                    let sample = stream::measure(&running, readers, budget)?;
                    running.servers.stop()?;
                    Ok(vec![Measured { title: self.title.clone(), paced: true, sample }])
                }
                Kind::Backlog => backlog::measure(running, ground, &folder, budget),
            }
        })();
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        result
    }
}

/// The largest share of the machine that others had during a turn.
fn disturbance(measured: &[Measured]) -> f64 {
    measured.iter().filter_map(|measured| measured.sample.others).fold(0.0, f64::max)
}

/// Whether a server does its work at all: a webhook is acknowledged (and, where it relays, has
/// reached the receiver at its own path, byte for byte), and a host that is not on its list is refused.
fn check(ground: &Ground, running: &Running, relays: bool) -> anyhow::Result<()> {
    let once = |path: &str| {
        let mut plan = plan(running, Load { connections: 1, ..Load::USUAL });
        plan.target.path = path.into();
        plan.measure = Duration::from_secs(5);
        plan.count_max = Some(1);
        sender::run(&plan, sender::new_id_base(), |_| ()).context("the trial request")
    };
    ground.sink_https.open_book(0);
    let outcome = once(&running.target.path)?;
    let book = ground.sink_https.close_book();
    ensure!(outcome.completed == 1, "the trial webhook was not acknowledged: {:?}", outcome.refused);
    ensure!(
        !relays || book.first_target.as_deref() == Some(CALLBACK_PATH),
        "the trial webhook reached the receiver at {:?}, not {CALLBACK_PATH}",
        book.first_target
    );
    if let Some(path) = &running.forbidden_path {
        let outcome = once(path)?;
        ensure!(outcome.refused.get(&403) == Some(&1), "a host that is not listed was not refused with 403");
    }
    Ok(())
}

/// The load as a sender's plan; the caller sets the times.
fn plan(running: &Running, load: Load) -> Plan {
    Plan {
        target: running.target.clone(),
        connections: load.connections,
        pace: load.pace,
        warmup: Duration::ZERO,
        measure: Duration::ZERO,
        count_max: None,
        reconnect: load.reconnect,
        resume: load.resume,
        body_bytes: load.body_bytes,
        secret: SECRET.into(),
        contacts: CONTACTS,
    }
}

fn fresh_folder(work: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new()
        .prefix("turn-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(work)
        .context("making a folder for a server")?;
    Ok(folder.keep())
}

/// Progress, for whoever waits.
fn tell(text: &str) {
    eprintln!("{text}");
}
