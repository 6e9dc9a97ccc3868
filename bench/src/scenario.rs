//! The scenarios: which servers, under which load, how often. All servers of a scenario take turns
//! round by round, each started afresh, so that what changes on the machine meets them alike.

mod answer;
mod deliver;
mod memory;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::interrupt;
use crate::peers::{
    Bare, FLOOR, Ground, Mode, NO_STORE, NginxRecipe, NginxTuned, Peer, RECIPE, Running, SECRET, TUNED,
    Waypost,
};
use crate::sender::{self, Pace, Plan};
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
    /// Scenarios that only a full run has.
    pub(crate) extras: bool,
}

impl Budget {
    /// Under three minutes.
    pub(crate) const SHORT: Self = Self {
        rounds: 3,
        rounds_few: 1,
        warmup: Duration::from_millis(300),
        measure: Duration::from_millis(1_500),
        patience: Duration::from_millis(600),
        repeats: 4,
        search_steps: 4,
        extras: false,
    };
    /// Under thirty.
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        rounds_few: 3,
        warmup: Duration::from_secs(1),
        measure: Duration::from_secs(5),
        patience: Duration::from_secs(3),
        repeats: 20,
        search_steps: 6,
        extras: true,
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
    side: bool,
}

enum Kind {
    /// Webhooks are sent and their answers timed.
    Answer(Load),
    /// Webhooks are followed to the receiver, at a fixed rate and at the highest that holds.
    Deliver,
    /// What the server holds when idle and with many webhooks owed.
    Memory,
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

/// All scenarios of a run.
pub(crate) fn all(budget: &Budget) -> Vec<Scenario> {
    let relay = |id, title: &str, load: Load| Scenario {
        id,
        title: title.into(),
        kind: Kind::Answer(load),
        peers: vec![Box::new(NginxRecipe), Box::new(NginxTuned), Box::new(Waypost(Mode::Relay))],
        against: vec![RECIPE, TUNED],
        side: false,
    };
    let accept = |id, title: String, load: Load| Scenario {
        id,
        title,
        kind: Kind::Answer(load),
        peers: vec![Box::new(Bare::Log), Box::new(Waypost(Mode::Store))],
        against: vec![FLOOR],
        side: true,
    };
    let fixed = |connections, rate| Load { connections, pace: Pace::Open(rate), ..Load::USUAL };
    let mut scenarios = vec![
        relay("relay", "relay, 64 kept connections", Load::USUAL),
        relay("close", "relay, a connection per request", Load { reconnect: true, ..Load::USUAL }),
        relay("relay-calm", "relay, 512/s", fixed(32, 512.0)),
        Scenario {
            peers: vec![
                Box::new(Bare::NoStore),
                Box::new(Bare::Log),
                Box::new(Waypost(Mode::Store)),
                Box::new(Waypost(Mode::StoreReceiverDown)),
            ],
            against: vec![NO_STORE, FLOOR],
            side: false,
            ..accept("accept", "acknowledge, 64 connections".into(), Load::USUAL)
        },
        accept("accept-calm", "acknowledge, 200/s".into(), fixed(64, 200.0)),
        accept("accept-calm", "acknowledge, 1,000/s".into(), fixed(64, 1_000.0)),
        accept("accept-calm", "acknowledge, 5,000/s".into(), fixed(64, 5_000.0)),
        own("deliver", "end to end", Kind::Deliver, Mode::Store),
        own("memory", "memory", Kind::Memory, Mode::StoreReceiverDown),
    ];
    if budget.extras {
        let resume = Load { reconnect: true, resume: true, ..Load::USUAL };
        scenarios.push(relay("resume", "relay, a resumed connection per request", resume));
        for connections in [1, 16, 256] {
            let title = format!("acknowledge, connections: {connections}");
            scenarios.push(accept("connections", title, Load { connections, ..Load::USUAL }));
        }
        for body_bytes in [4 * 1024, 64 * 1024, 3_000_000] {
            let title = format!("acknowledge, bodies of {body_bytes} bytes");
            scenarios.push(accept("bodies", title, Load { connections: 16, body_bytes, ..Load::USUAL }));
        }
    }
    scenarios
}

fn own(id: &'static str, title: &str, kind: Kind, mode: Mode) -> Scenario {
    let peers: Vec<Box<dyn Peer>> = vec![Box::new(Waypost(mode))];
    Scenario { id, title: title.into(), kind, peers, against: Vec::new(), side: true }
}

/// What a scenario brought.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Lines for the table.
    pub(crate) rows: Vec<Row>,
    /// Servers that are not installed, once each.
    pub(crate) missing: Vec<String>,
    /// Turns taken again because strangers used the machine.
    pub(crate) repeated: usize,
    /// Turns that went wrong.
    pub(crate) faults: Vec<String>,
}

impl Scenario {
    /// Runs it and adds what it found. Fails only if interrupted or the machine fails the bench.
    pub(crate) fn run(
        &self,
        ground: &Ground,
        budget: &Budget,
        findings: &mut Findings,
    ) -> anyhow::Result<()> {
        let mut there: Vec<&dyn Peer> = Vec::new();
        for peer in &self.peers {
            match peer.missing(ground) {
                None => there.push(peer.as_ref()),
                Some(text) if findings.missing.contains(&text) => {}
                Some(text) => findings.missing.push(text),
            }
        }
        let rounds = if self.side { budget.rounds_few } else { budget.rounds };
        let mut rows: Vec<Row> = Vec::new();
        for round in 0..rounds {
            for turn in 0..there.len() {
                interrupt::check()?;
                // Each round starts with another server.
                let peer = there[(turn + round) % there.len()];
                tell(&format!("{}: {}, round {} of {rounds}", self.title, peer.name(), round + 1));
                match self.quiet_turn(ground, budget, peer, &mut findings.repeated) {
                    Ok(samples) => self.note(&mut rows, &there, peer.name(), samples),
                    Err(error) => {
                        interrupt::check()?;
                        let text = format!("{}, {}: {error:#}", self.title, peer.name());
                        tell(&text);
                        findings.faults.push(text);
                    }
                }
            }
        }
        findings.rows.append(&mut rows);
        Ok(())
    }

    /// One server's turn; where strangers used much of the machine meanwhile, a second one, and of
    /// the two the one that was disturbed less, whatever it measured.
    fn quiet_turn(
        &self,
        ground: &Ground,
        budget: &Budget,
        peer: &dyn Peer,
        repeated: &mut usize,
    ) -> anyhow::Result<Vec<(String, Sample)>> {
        let first = self.turn(ground, budget, peer)?;
        if disturbance(&first) <= OTHERS_SHARE_MAX || *repeated >= budget.repeats {
            return Ok(first);
        }
        *repeated += 1;
        tell(&format!("  again: others used {:.0} % of the machine", disturbance(&first) * 100.0));
        let second = self.turn(ground, budget, peer)?;
        Ok(if disturbance(&second) < disturbance(&first) { second } else { first })
    }

    /// One server's turn, in a folder of its own that is removed after it.
    fn turn(
        &self,
        ground: &Ground,
        budget: &Budget,
        peer: &dyn Peer,
    ) -> anyhow::Result<Vec<(String, Sample)>> {
        let folder = fresh_folder(&ground.work)?;
        let result = (|| {
            let running = peer.start(ground, &folder)?;
            check(ground, &running, self.relays())?;
            let samples = match self.kind {
                Kind::Answer(load) => {
                    vec![(self.title.clone(), answer::measure(&running, load, budget)?)]
                }
                Kind::Deliver => deliver::measure(&running, &ground.sink_http, budget)?,
                Kind::Memory => memory::measure(&running, budget)?,
            };
            running.server.stop()?;
            Ok(samples)
        })();
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        result
    }

    fn relays(&self) -> bool {
        self.against.contains(&TUNED)
    }

    /// Files samples under their rows, which stand in the order of the scenario's servers.
    fn note(&self, rows: &mut Vec<Row>, there: &[&dyn Peer], peer: &str, samples: Vec<(String, Sample)>) {
        let place = |name: &str| there.iter().position(|peer| peer.name() == name);
        for (title, sample) in samples {
            match rows.iter_mut().find(|row| row.scenario == title && row.peer == peer) {
                Some(row) => row.samples.push(sample),
                None => {
                    rows.push(Row {
                        scenario: title,
                        peer: peer.into(),
                        samples: vec![sample],
                        against: self
                            .against
                            .iter()
                            .filter(|name| **name != peer)
                            .map(|name| (*name).into())
                            .collect(),
                        paced: matches!(&self.kind, Kind::Answer(load) if load.pace != Pace::Closed),
                    });
                    rows.sort_by_key(|row| place(&row.peer));
                }
            }
        }
    }
}

/// The largest share of the machine that others had during a turn.
fn disturbance(samples: &[(String, Sample)]) -> f64 {
    samples.iter().filter_map(|(_, sample)| sample.others).fold(0.0, f64::max)
}

/// Whether a server does its work at all: a webhook is acknowledged (and, where it relays, has
/// reached the receiver), and a host that is not on its list is refused.
fn check(ground: &Ground, running: &Running, relays: bool) -> anyhow::Result<()> {
    let once = |path: &str| {
        let mut plan = plan(running, Load { connections: 1, ..Load::USUAL });
        plan.target.path = path.into();
        plan.measure = Duration::from_secs(5);
        plan.count_max = Some(1);
        sender::run(&plan, sender::new_id_base(), |_| ()).context("the trial request")
    };
    let before = ground.sink_https.requests();
    let outcome = once(&running.target.path)?;
    ensure!(outcome.completed == 1, "the trial webhook was not acknowledged: {:?}", outcome.refused);
    ensure!(
        !relays || ground.sink_https.requests() == before + 1,
        "the trial webhook did not reach the receiver"
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
