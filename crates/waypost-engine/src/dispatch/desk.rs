//! One destination's task: it reads what is owed, starts what may go, and minds how that ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;
use waypost_domain::{
    Clock, DeliveryId, EventId, Patience, RequestId, RetrySchedule, Rulings, UnixMillis, limits,
};
use waypost_store::{Store, Turn};

use super::attempt::{self, Ended, Job, Outcome};
use super::lanes::{Choice, Moment};
use super::reading::{Parked, Read};
use super::shares::Share;
use super::window::Window;
use super::{Destination, DestinationHandle, DestinationStatus};
use crate::bodies::Bodies;
use crate::gate::{Admission, BreakerChange, BreakerState, Gate};
use crate::metrics::{DestinationLabel, DestinationMetrics, Metrics};
use crate::pressure::Pressure;

/// How often the store is asked even if nobody said there was something new.
pub(super) const POLL: Duration = Duration::from_secs(30);
/// How long to wait before the store is asked again for what it could not read.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// How long a delivery waits whose attempt died of a defect.
const DIED_PAUSE: Duration = Duration::from_secs(60);
/// How soon to look again whether a rush is over.
const PRESSURE_PAUSE: Duration = Duration::from_millis(5);
/// How soon to look again whether others have left more to this destination.
const SHARE_PAUSE: Duration = Duration::from_millis(50);

/// What a destination's task works with.
pub(super) struct Environment {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) bodies: Arc<Bodies>,
    pub(super) pressure: Pressure,
    pub(super) metrics: Metrics,
    /// Its part of the places that owed deliveries may take in memory.
    pub(super) places: Share,
    /// Its part of the attempts that may be under way.
    pub(super) attempts: Share,
    pub(super) soft: CancellationToken,
    pub(super) hard: CancellationToken,
}

/// Where one destination's deliveries are worked on.
pub(super) struct Desk {
    pub(super) handle: DestinationHandle,
    pub(super) environment: Environment,
    pub(super) destination: Destination,
    pub(super) schedule: Arc<RetrySchedule>,
    rulings: Arc<Rulings>,
    pub(super) metrics: DestinationMetrics,
    pub(super) window: Window,
    /// What must be known of each delivery in the window besides its lanes.
    pub(super) held: HashMap<Turn, Held>,
    pub(super) gate: Gate,
    attempts: JoinSet<Ended>,
    /// Which delivery each attempt's task is about.
    tasks: HashMap<task::Id, Turn>,
    pub(super) parked: Parked,
    /// How much had been accepted when the store was last asked for what is new.
    pub(super) asked_at: u64,
    /// When the store is asked anew, whatever else happens.
    pub(super) poll_at: Moment,
    /// When to look for what has expired, while the destination is down.
    pub(super) expire_at: Moment,
    last_failure: Option<(&'static str, UnixMillis)>,
    /// When an attempt last succeeded.
    last_success: Option<Moment>,
    /// Since when there has been nothing to do.
    idle_since: Option<Moment>,
}

/// A delivery in the window.
pub(super) struct Held {
    pub(super) delivery: DeliveryId,
    pub(super) request: RequestId,
    pub(super) event: Option<EventId>,
    pub(super) accepted_at: UnixMillis,
    pub(super) attempts: u32,
    pub(super) overtaken: bool,
    /// Whether it waits for no other and no other for it.
    pub(super) free: bool,
    pub(super) standing: Standing,
}

/// What is known of a delivery in the window while it is being tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The store owes it as it is held.
    Sure,
    /// An operator has acted since the attempt began: perhaps it is owed no more.
    Unsure,
    /// The store owes it in another turn: it was replayed since the attempt began.
    Replayed,
}

impl Desk {
    pub(super) fn new(destination: Destination, environment: Environment, handle: DestinationHandle) -> Self {
        Self {
            schedule: Arc::new(destination.schedule.clone()),
            rulings: Arc::new(destination.rulings.clone()),
            metrics: environment.metrics.of(DestinationLabel { destination: destination.name.to_string() }),
            gate: Gate::new(destination.concurrency_max, destination.rate_max),
            window: Window::new(limits::LANE_WINDOW_MIN),
            held: HashMap::new(),
            attempts: JoinSet::new(),
            tasks: HashMap::new(),
            parked: Parked::default(),
            asked_at: 0,
            poll_at: Moment::ZERO,
            expire_at: Moment::ZERO,
            last_failure: None,
            last_success: None,
            idle_since: None,
            handle,
            environment,
            destination,
        }
    }

    /// Works until there has been nothing to do for a while, and says how the destination is configured by then; nothing
    /// once it must stop.
    pub(super) async fn run(mut self) -> Option<Destination> {
        let (soft, hard) = (self.environment.soft.clone(), self.environment.hard.clone());
        let handle = self.handle.clone();
        loop {
            let stopping = soft.is_cancelled();
            if stopping && self.attempts.is_empty() {
                return None;
            }
            let timer = if stopping { POLL } else { self.work().await };
            self.publish();
            if self.has_long_been_idle() {
                return Some(self.destination.clone());
            }
            tokio::select! {
                biased;
                () = hard.cancelled() => return None,
                () = soft.cancelled(), if !stopping => {}
                Some(ended) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => {
                    self.landed(ended);
                    while let Some(ended) = self.attempts.try_join_next_with_id() {
                        self.landed(ended);
                    }
                }
                () = handle.woken() => self.window.look_again(),
                () = tokio::time::sleep(timer) => {}
            }
        }
    }

    /// Does whatever can be done now; says how long nothing else can happen by itself.
    async fn work(&mut self) -> Duration {
        self.take_changes();
        let read = self.refill().await;
        let fetched = self.fetch_parked().await;
        let expired = self.expire().await;
        let timer = self.start_what_may_go().await;
        match read.max(fetched).max(expired) {
            Read::Failed => timer.min(STORE_RETRY),
            Read::Some => Duration::ZERO,
            Read::Nothing => timer,
        }
    }

    fn take_changes(&mut self) {
        if self.handle.take_stale() {
            self.read_anew();
        }
        self.gate.pause(self.handle.is_paused());
        if let Some(destination) = self.handle.take_changed() {
            self.gate.set_limits(destination.concurrency_max, destination.rate_max);
            self.schedule = Arc::new(destination.schedule.clone());
            self.rulings = Arc::new(destination.rulings.clone());
            self.destination = destination;
        }
    }

    /// How many attempts may be under way: what the gate says, as far as others leave room.
    pub(super) fn slots(&self) -> usize {
        self.gate.concurrency().min(self.share())
    }

    fn share(&self) -> usize {
        self.environment.pressure.ease(self.environment.attempts.limit())
    }

    /// Starts attempts for as long as the gates admit them; says how long nothing else can happen by
    /// itself.
    async fn start_what_may_go(&mut self) -> Duration {
        let now = self.environment.clock.monotonic();
        self.step_over(now).await;
        let mut until = self.poll_at;
        loop {
            let in_flight = self.window.lanes().in_flight();
            if in_flight >= self.share() {
                let rush = self.environment.pressure.is_high();
                until = until.min(now + if rush { PRESSURE_PAUSE } else { SHARE_PAUSE });
                break;
            }
            let choice = match self.gate.admits(now, in_flight) {
                Admission::Go => self.choice(),
                Admission::Probe { number } => probe(number),
                Admission::Wait(at) => {
                    until = until.min(at.unwrap_or(until));
                    break;
                }
            };
            let probing = self.gate.breaker() == BreakerState::Open;
            let lanes = self.window.lanes_mut();
            let started = lanes.start(now, choice);
            let started =
                started.or_else(|| probing.then(|| lanes.start(now, Choice::Oldest { skip: 0 }))?);
            let Some(turn) = started else { break };
            self.gate.started(now);
            self.attempt(turn, probing);
        }
        until = until.min(self.parked.until().unwrap_or(until));
        if self.gate.breaker() == BreakerState::Closed {
            until = until.min(self.window.lanes().next_due().unwrap_or(until));
            if let (Patience::For(patience), Some(since)) =
                (self.destination.patience, self.window.lanes().held_longest_since())
            {
                until = until.min(since.saturating_add(patience));
            }
        } else {
            until = until.min(self.expire_at);
        }
        until.saturating_sub(now).max(Duration::from_millis(1))
    }

    /// Retries may fill half the slots, so that what is fresh never waits for them.
    fn choice(&self) -> Choice {
        if self.window.lanes().retries_in_flight() * 2 >= self.slots() { Choice::Fresh } else { Choice::Any }
    }

    /// Lets lanes pass heads by that have used up their patience; not while the destination is down, nor before it
    /// has taken something else since, since then nobody would fare better.
    async fn step_over(&mut self, now: Moment) {
        let since = match self.destination.patience {
            Patience::Forever => return,
            Patience::None => now,
            Patience::For(patience) => {
                let (Some(success), Some(since)) = (self.last_success, now.checked_sub(patience)) else {
                    return;
                };
                since.min(success)
            }
        };
        if self.gate.breaker() == BreakerState::Open {
            return;
        }
        let over = self.window.step_over(since);
        if over.is_empty() {
            return;
        }
        let deliveries =
            over.iter().filter_map(|turn| self.held.get(turn)).map(|held| held.delivery).collect();
        let marked = self.environment.store.mark_overtaken(deliveries).await;
        if let Err(error) = &marked {
            // It is written with the next outcome; until then a restart would let it hold its lane again.
            tracing::warn!(destination = %self.destination.name, %error, code = error.code(), "cannot mark what was overtaken");
        }
        for turn in over {
            let Some(held) = self.held.get_mut(&turn) else { continue };
            (held.overtaken, held.free) = (true, true);
            let delivery = held.delivery;
            self.metrics.overtaken.inc();
            tracing::warn!(destination = %self.destination.name, %delivery, "a delivery keeps failing; its conversation goes on without it");
            let due = self.window.lanes().due(turn);
            if marked.is_ok() && due.is_some_and(|due| self.parked.park(due, now)) {
                self.drop_from_memory(turn);
            }
        }
    }

    fn attempt(&mut self, turn: Turn, probe: bool) {
        let Some(held) = self.held.get(&turn) else { return };
        let delivery = held.delivery;
        let job = Job {
            delivery,
            turn,
            request: held.request,
            event: held.event,
            accepted_at: held.accepted_at,
            attempts: held.attempts,
            overtaken: held.overtaken,
            probe,
            sender: self.destination.sender.clone(),
            schedule: self.schedule.clone(),
            rulings: self.rulings.clone(),
        };
        if probe {
            self.metrics.probes.inc();
        }
        self.handle.sending().insert(delivery);
        let Environment { store, bodies, clock, .. } = &self.environment;
        let task = self.attempts.spawn(attempt::run(job, store.clone(), bodies.clone(), clock.clone()));
        self.tasks.insert(task.id(), turn);
        self.environment.attempts.take(self.window.lanes().in_flight());
    }

    fn landed(&mut self, landed: Result<(task::Id, Ended), task::JoinError>) {
        match landed {
            Ok((task, ended)) => {
                if let Some(turn) = self.tasks.remove(&task) {
                    self.ended(turn, &ended);
                }
            }
            // A defect of ours. The delivery is given back uncharged, so that it is neither lost nor stuck.
            Err(died) => {
                tracing::error!(destination = %self.destination.name, %died, "an attempt's task died");
                if let Some(turn) = self.tasks.remove(&died.id()) {
                    let due = self.environment.clock.monotonic() + DIED_PAUSE;
                    self.window.lanes_mut().give_back(turn, due);
                    if let Some(held) = self.held.get(&turn) {
                        self.handle.sending().remove(&held.delivery);
                    }
                }
            }
        }
        self.environment.attempts.take(self.window.lanes().in_flight());
    }

    fn ended(&mut self, turn: Turn, ended: &Ended) {
        self.handle.sending().remove(&ended.delivery);
        let (now, wall) = (self.environment.clock.monotonic(), self.environment.clock.wall());
        self.count(ended, wall);
        let is_done = matches!(ended.outcome, Outcome::Delivered | Outcome::Dead);
        if ended.outcome == Outcome::Delivered {
            self.last_success = Some(now);
        }
        match self.held.get(&turn).map_or(Standing::Sure, |held| held.standing) {
            Standing::Sure | Standing::Unsure if is_done => self.drop_from_memory(turn),
            Standing::Sure => self.goes_on(turn, ended, now, wall),
            // What became of it while it was being tried, the store knows.
            Standing::Unsure | Standing::Replayed => {
                self.drop_from_memory(turn);
                self.read_anew();
            }
        }
        match self.gate.ended(now, ended.delivery, &ended.reply, &ended.verdict) {
            BreakerChange::Opened => {
                self.metrics.down.set(1);
                tracing::warn!(destination = %self.destination.name, code = ended.verdict.code, "destination is down; holding its deliveries and probing");
            }
            BreakerChange::Closed => {
                self.window.lanes_mut().hold_from(now);
                self.metrics.down.set(0);
                tracing::info!(destination = %self.destination.name, "destination is back");
            }
            BreakerChange::None => {}
        }
    }

    /// It is owed still, and waits for its next attempt.
    fn goes_on(&mut self, turn: Turn, ended: &Ended, now: Moment, wall: UnixMillis) {
        let Outcome::Retry(due_at) = ended.outcome else {
            self.window.lanes_mut().give_back(turn, now);
            return;
        };
        let due = now.saturating_add(due_at.since(wall));
        self.window.lanes_mut().retry(turn, now, due);
        let Some(held) = self.held.get_mut(&turn) else { return };
        held.attempts = ended.attempts;
        if held.free && self.parked.park(due, now) {
            self.drop_from_memory(turn);
        }
    }

    /// It is owed no more, or the store alone minds it from here on.
    pub(super) fn drop_from_memory(&mut self, turn: Turn) {
        self.window.finish(turn);
        self.held.remove(&turn);
    }

    /// Forgets what is held, but for what is being tried, and reads it again as the store has it now.
    pub(super) fn read_anew(&mut self) {
        self.window.forget_waiting();
        self.held.retain(|turn, _| self.window.lanes().holds(*turn));
        for held in self.held.values_mut().filter(|held| held.standing == Standing::Sure) {
            held.standing = Standing::Unsure;
        }
        self.parked = Parked::default();
    }

    fn count(&mut self, ended: &Ended, wall: UnixMillis) {
        let destination = &self.destination.name;
        let Ended { delivery, outcome, attempts, .. } = ended;
        let code = ended.verdict.code;
        self.metrics.attempt(if *outcome == Outcome::Delivered { "delivered" } else { code });
        match *outcome {
            Outcome::Delivered => {
                self.metrics.delivery_time.observe(wall.since(ended.accepted_at).as_secs_f64());
                self.last_failure = None;
                tracing::debug!(%destination, %delivery, "delivered");
                return;
            }
            Outcome::Dead => {
                self.metrics.dead.inc();
                tracing::error!(%destination, %delivery, code, "delivery is dead; it is kept");
            }
            Outcome::Retry(due_at) => {
                let wait_s = due_at.since(wall).as_secs();
                tracing::warn!(%destination, %delivery, code, attempts, wait_s, "attempt failed; it will be repeated");
            }
            Outcome::Uncharged => tracing::debug!(%destination, code, probe = ended.probe, "still down"),
        }
        self.last_failure = Some((code, wall));
    }

    /// Whether nothing is owed that the store was found to owe.
    fn has_nothing(&self) -> bool {
        self.window.is_complete() && self.held.is_empty() && self.parked.until().is_none()
    }

    /// Whether there has been nothing to do, nor to remember, for as long as the store is not asked.
    fn has_long_been_idle(&mut self) -> bool {
        let is_closed = self.gate.breaker() == BreakerState::Closed && !self.gate.is_paused();
        if !(self.has_nothing() && is_closed && !self.handle.is_owed()) {
            self.idle_since = None;
            return false;
        }
        let now = self.environment.clock.monotonic();
        now >= self.idle_since.get_or_insert(now).saturating_add(POLL)
    }

    /// Tells the rest of the house how this destination is doing.
    fn publish(&mut self) {
        let lanes = self.window.lanes();
        let status = DestinationStatus {
            paused: self.gate.is_paused(),
            down: self.gate.breaker() == BreakerState::Open,
            in_flight: lanes.in_flight(),
            concurrency: self.gate.concurrency(),
            window: lanes.len(),
            last_failure: self.last_failure,
        };
        if self.has_nothing() {
            self.handle.owes_nothing_of(self.asked_at);
        }
        self.metrics.in_flight.set(status.in_flight as i64);
        self.metrics.lanes_waiting.set(lanes.lanes() as i64);
        self.metrics.lanes_held.set(lanes.lanes_held() as i64);
        let live = !status.down && !status.paused && self.window.is_half_empty();
        self.handle.show(status, live);
        self.environment.places.take(self.window.taken());
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.metrics.rest();
    }
}

/// What to probe a destination with: by turns one of the oldest, the first of those that were never tried, and the
/// last of them, so that deliveries which fail for reasons of their own cannot keep the gate shut.
fn probe(number: usize) -> Choice {
    match number % 3 {
        0 => Choice::Oldest { skip: number / 3 },
        1 => Choice::Fresh,
        _ => Choice::Newest,
    }
}
