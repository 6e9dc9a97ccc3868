//! One destination's task: window, lanes, gates, attempts.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;
use waypost_domain::{
    Clock, DeliveryId, EventId, Lanes, RequestId, RetrySchedule, Rulings, UnixMillis, limits,
};
use waypost_store::{DuePage, OwedDelivery, OwedPage, Store, StoreError, Turn};

use super::attempt::{self, Ended, Job, Outcome};
use super::lanes::{Choice, LaneScheduler, Moment};
use super::{Destination, Patience};
use crate::bodies::Bodies;
use crate::gate::{Admission, BreakerChange, BreakerState, Gate};
use crate::metrics::{DestinationLabel, Metrics, OutcomeLabels};
use crate::pressure::Pressure;

/// Owed deliveries read from the store at once.
const PAGE: usize = 512;
/// How often the store is asked even if nobody said there was something new.
const POLL: Duration = Duration::from_secs(30);
/// How long to wait before the store is asked again for what it could not read.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// How long a delivery waits whose attempt died of a defect.
const DIED_PAUSE: Duration = Duration::from_secs(60);
/// How far off something must be due to be parked.
const PARK_BEYOND: Duration = Duration::from_secs(60);
/// Parked deliveries read at once.
const PARKED_PAGE: usize = 4_096;
/// How often the store is asked for what was parked, at most.
const PARK_LOOK: Duration = Duration::from_secs(1);
/// How soon to look again whether a rush is over.
const PRESSURE_PAUSE: Duration = Duration::from_millis(5);

/// What a destination's task works with.
pub(super) struct Environment {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) bodies: Arc<Bodies>,
    pub(super) pressure: Pressure,
    pub(super) metrics: Metrics,
    pub(super) soft: CancellationToken,
    pub(super) hard: CancellationToken,
}

/// How the rest of the house reaches a destination's task. Cheap to clone.
#[derive(Clone)]
pub struct DestinationHandle(Arc<Reach>);

struct Reach {
    name: Arc<str>,
    wake: Notify,
    stop: CancellationToken,
    /// Cancelled when the task has ended.
    ended: CancellationToken,
    /// Whether what is accepted now will be attempted soon.
    live: AtomicBool,
    paused: AtomicBool,
    /// How often something was accepted for it, and at which of those times nothing was owed any more.
    accepted: AtomicU64,
    clear: AtomicU64,
    /// Whether the window must be read anew: an operator has changed what is owed.
    stale: AtomicBool,
    changed: Mutex<Option<Destination>>,
    status: Mutex<DestinationStatus>,
    /// Deliveries with an attempt under way.
    sending: Mutex<HashSet<DeliveryId>>,
}

/// How a destination is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationStatus {
    /// Whether an operator holds it.
    pub paused: bool,
    /// Whether it counts as down.
    pub down: bool,
    /// Attempts under way.
    pub in_flight: usize,
    /// Attempts that may be under way, just now.
    pub concurrency: usize,
    /// Owed deliveries held in memory.
    pub window: usize,
    /// How the last failed attempt or probe ended, and when; none since the last success.
    pub last_failure: Option<(&'static str, UnixMillis)>,
}

impl DestinationHandle {
    /// The destination's name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Says that something new may be owed.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Says that something has been accepted for it.
    pub fn owe(&self) {
        self.0.accepted.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    /// Whether it may be owed something: false only once the store was found to owe it nothing since the last
    /// acceptance.
    pub fn is_owed(&self) -> bool {
        self.0.accepted.load(Ordering::SeqCst) != self.0.clear.load(Ordering::SeqCst)
    }

    /// Whether what is accepted now will be attempted soon: it is neither down, paused nor far behind.
    pub fn is_live(&self) -> bool {
        self.0.live.load(Ordering::Relaxed)
    }

    /// How it is doing.
    pub fn status(&self) -> DestinationStatus {
        self.status_slot().clone()
    }

    /// Whether an attempt at this delivery is under way.
    pub fn is_sending(&self, delivery: DeliveryId) -> bool {
        self.sending().contains(&delivery)
    }

    fn sending(&self) -> MutexGuard<'_, HashSet<DeliveryId>> {
        self.0.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds everything owed here, or lets it go.
    pub(super) fn pause(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Relaxed);
        self.wake();
    }

    /// Says that an operator has changed what is owed: discarded, replayed or hurried it.
    pub fn reread(&self) {
        self.0.stale.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn change(&self, destination: Destination) {
        *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(destination);
        self.wake();
    }

    pub(super) fn stop(&self) {
        self.0.stop.cancel();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.is_cancelled()
    }

    pub(super) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    fn status_slot(&self) -> MutexGuard<'_, DestinationStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A destination's handle, and the task that must be spawned for it.
pub(super) fn new(
    destination: Destination,
    environment: Environment,
) -> (DestinationHandle, impl Future<Output = ()> + Send) {
    let status = DestinationStatus {
        paused: false,
        down: false,
        in_flight: 0,
        concurrency: destination.concurrency_max,
        window: 0,
        last_failure: None,
    };
    let handle = DestinationHandle(Arc::new(Reach {
        name: destination.name.clone(),
        wake: Notify::new(),
        stop: environment.soft.clone(),
        ended: CancellationToken::new(),
        live: AtomicBool::new(true),
        paused: AtomicBool::new(false),
        accepted: AtomicU64::new(1),
        clear: AtomicU64::new(0),
        stale: AtomicBool::new(false),
        changed: Mutex::new(None),
        status: Mutex::new(status),
        sending: Mutex::default(),
    }));
    let ended = handle.0.ended.clone().drop_guard();
    let desk = Desk::new(destination, environment, handle.clone());
    let task = async move {
        let _ended = ended;
        desk.run().await;
    };
    (handle, task)
}

/// Where one destination's deliveries are worked on.
struct Desk {
    handle: DestinationHandle,
    environment: Environment,
    destination: Destination,
    schedule: Arc<RetrySchedule>,
    rulings: Arc<Rulings>,
    label: DestinationLabel,
    lanes: LaneScheduler,
    held: HashMap<DeliveryId, Held>,
    gate: Gate,
    attempts: JoinSet<Ended>,
    /// Which delivery each attempt's task is about.
    tasks: HashMap<task::Id, DeliveryId>,
    /// Everything owed up to here has been read.
    cursor: Option<Turn>,
    /// How much had been accepted when the store was last asked.
    asked_at: u64,
    /// Whether the store may owe more beyond the cursor.
    behind: bool,
    /// When the store must be asked for what was parked: deliveries before the cursor that wait for nobody and are
    /// due only much later, and so are not held.
    parked_until: Option<Moment>,
    last_failure: Option<(&'static str, UnixMillis)>,
    /// When an attempt last succeeded.
    last_success: Option<Moment>,
    /// When the store is asked anew, whatever else happens.
    poll_at: Moment,
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

/// Whether a delivery waits for no other, and no other for it.
fn is_free(owed: &OwedDelivery) -> bool {
    owed.overtaken || owed.lanes.as_slice().is_empty()
}

/// What must be known of a delivery besides its lanes.
struct Held {
    request: RequestId,
    event: Option<EventId>,
    accepted_at: UnixMillis,
    attempts: u32,
    overtaken: bool,
    /// Whether it waits for no other and no other for it.
    free: bool,
}

impl Desk {
    fn new(destination: Destination, environment: Environment, handle: DestinationHandle) -> Self {
        Self {
            schedule: Arc::new(destination.schedule.clone()),
            rulings: Arc::new(destination.rulings.clone()),
            label: DestinationLabel { destination: destination.name.to_string() },
            gate: Gate::new(destination.concurrency_max, destination.rate_max),
            handle,
            environment,
            destination,
            lanes: LaneScheduler::new(),
            held: HashMap::new(),
            attempts: JoinSet::new(),
            tasks: HashMap::new(),
            cursor: None,
            asked_at: 0,
            behind: true,
            parked_until: None,
            last_failure: None,
            last_success: None,
            poll_at: Moment::ZERO,
        }
    }

    async fn run(mut self) {
        let (soft, hard) = (self.environment.soft.clone(), self.environment.hard.clone());
        let reach = self.handle.0.clone();
        loop {
            let stopping = soft.is_cancelled();
            if stopping && self.attempts.is_empty() {
                return;
            }
            let mut timer = POLL;
            if !stopping {
                self.take_changes();
                let readable = self.refill().await & self.fetch_parked().await;
                timer = self.start_what_may_go().await;
                if !readable {
                    timer = timer.min(STORE_RETRY);
                } else if self.behind && self.has_room() {
                    timer = Duration::ZERO;
                }
            }
            self.publish();
            tokio::select! {
                biased;
                () = hard.cancelled() => return,
                () = soft.cancelled(), if !stopping => {}
                Some(ended) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => {
                    self.landed(ended);
                    while let Some(ended) = self.attempts.try_join_next_with_id() {
                        self.landed(ended);
                    }
                }
                () = reach.wake.notified() => self.behind = true,
                () = tokio::time::sleep(timer) => {}
            }
        }
    }

    fn take_changes(&mut self) {
        let reach = &self.handle.0;
        if reach.stale.swap(false, Ordering::Relaxed) {
            self.lanes.forget_waiting();
            self.held.retain(|delivery, _| self.lanes.holds(*delivery));
            (self.cursor, self.behind, self.parked_until) = (None, true, None);
        }
        let changed = reach.changed.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.gate.pause(reach.paused.load(Ordering::Relaxed));
        if let Some(destination) = changed {
            self.gate.set_limits(destination.concurrency_max, destination.rate_max);
            self.schedule = Arc::new(destination.schedule.clone());
            self.rulings = Arc::new(destination.rulings.clone());
            self.destination = destination;
        }
    }

    fn has_room(&self) -> bool {
        self.lanes.len() < limits::LANE_WINDOW_MAX
    }

    /// Reads more of what is owed into the window. False if the store could not be read.
    async fn refill(&mut self) -> bool {
        let now = self.environment.clock.monotonic();
        if now >= self.poll_at {
            (self.behind, self.poll_at) = (true, now + POLL);
        }
        if !self.behind || !self.has_room() {
            return true;
        }
        let limit = PAGE.min(limits::LANE_WINDOW_MAX.saturating_sub(self.lanes.len()));
        self.asked_at = self.handle.0.accepted.load(Ordering::SeqCst);
        let page = OwedPage { destination: self.destination.name.clone(), after: self.cursor, limit };
        match self.environment.store.owed(page).await {
            Ok(page) => {
                self.behind = page.len() == limit;
                let now = (self.environment.clock.wall(), self.environment.clock.monotonic());
                for owed in page {
                    self.cursor = Some(owed.turn);
                    self.hold(owed, now);
                }
                true
            }
            Err(error) => self.unreadable(&error),
        }
    }

    /// Reads what was parked and has become due. False if the store could not be read.
    async fn fetch_parked(&mut self) -> bool {
        let now = (self.environment.clock.wall(), self.environment.clock.monotonic());
        if self.parked_until.is_none_or(|at| now.1 < at) {
            return true;
        }
        if !self.has_room() {
            self.parked_until = Some(now.1 + PARK_LOOK);
            return true;
        }
        let destination = self.destination.name.clone();
        let page = DuePage { destination: destination.clone(), until: now.0, limit: PARKED_PAGE };
        let due = match self.environment.store.due(page).await {
            Ok(due) => due,
            Err(error) => return self.unreadable(&error),
        };
        // What waits for others enters by its turn alone, lest it go before them.
        for owed in due.into_iter().filter(is_free) {
            if !self.lanes.holds(owed.id) && self.has_room() {
                self.hold(owed, now);
            }
        }
        match self.environment.store.next_due(&destination, now.0).await {
            Ok(next) => {
                // What found no room is still due: it is asked for again soon.
                let soon = now.1 + PARK_LOOK;
                let next = next.map(|at| (now.1 + at.since(now.0)).max(soon));
                self.parked_until = if self.has_room() { next } else { Some(soon) };
                true
            }
            Err(error) => self.unreadable(&error),
        }
    }

    fn unreadable(&self, error: &StoreError) -> bool {
        if matches!(error, StoreError::Closed) {
            return true;
        }
        tracing::error!(destination = %self.destination.name, %error, code = error.code(), "cannot read what is owed; trying again");
        false
    }

    fn hold(&mut self, owed: OwedDelivery, (wall, now): (UnixMillis, Moment)) {
        let free = is_free(&owed);
        // From here on the wall clock may step as it likes.
        let due = now + owed.due_at.since(wall).min(self.destination.schedule.give_up_after());
        if free && self.park(due, now) {
            return;
        }
        let lanes = if owed.overtaken { Lanes::NONE } else { owed.lanes };
        self.lanes.add(owed.id, lanes, owed.priority, due, owed.attempts > 0);
        let OwedDelivery { request, event, accepted_at, attempts, overtaken, .. } = owed;
        self.held.insert(owed.id, Held { request, event, accepted_at, attempts, overtaken, free });
    }

    /// Whether what is due at `due`, and waits for nobody, is not worth a place in the window; then the store is
    /// asked again in time.
    fn park(&mut self, due: Moment, now: Moment) -> bool {
        let far = due > now + PARK_BEYOND;
        if far {
            self.parked_until = Some(self.parked_until.map_or(due, |until| until.min(due)));
        }
        far
    }

    /// Starts attempts for as long as the gates admit them; says how long nothing else can happen by
    /// itself.
    async fn start_what_may_go(&mut self) -> Duration {
        let now = self.environment.clock.monotonic();
        self.step_over(now).await;
        let mut until = self.poll_at;
        loop {
            if self.lanes.in_flight() >= self.environment.pressure.ease(usize::MAX) {
                until = until.min(now + PRESSURE_PAUSE);
                break;
            }
            let choice = match self.gate.admits(now, self.lanes.in_flight()) {
                Admission::Go => self.choice(),
                Admission::Probe { number } => probe(number),
                Admission::Wait(at) => {
                    until = until.min(at.unwrap_or(until));
                    break;
                }
            };
            let probing = self.gate.breaker() == BreakerState::Open;
            let started = self.lanes.start(now, choice);
            let started =
                started.or_else(|| probing.then(|| self.lanes.start(now, Choice::Oldest { skip: 0 }))?);
            let Some(delivery) = started else { break };
            self.gate.started(now);
            self.attempt(delivery, probing);
        }
        until = until.min(self.parked_until.unwrap_or(until));
        if self.gate.breaker() == BreakerState::Closed {
            until = until.min(self.lanes.next_due().unwrap_or(until));
            if let (Patience::For(patience), Some(since)) =
                (self.destination.patience, self.lanes.held_longest_since())
            {
                until = until.min(since + patience);
            }
        }
        until.saturating_sub(now).max(Duration::from_millis(1))
    }

    /// Retries may fill half the slots, so that what is fresh never waits for them.
    fn choice(&self) -> Choice {
        if self.lanes.retries_in_flight() * 2 >= self.gate.concurrency() {
            Choice::Fresh
        } else {
            Choice::Any
        }
    }

    /// Lets lanes pass heads by that have used up their patience; not while the destination is down, nor before it
    /// has taken something else since, since then nobody would fare better.
    async fn step_over(&mut self, now: Moment) {
        let since = match self.destination.patience {
            Patience::Forever => return,
            Patience::None => now,
            Patience::For(patience) => {
                let Some(success) = self.last_success else { return };
                now.saturating_sub(patience).min(success)
            }
        };
        if self.gate.breaker() == BreakerState::Open
            || now < since
            || self.lanes.held_longest_since().is_none()
        {
            return;
        }
        if matches!(self.destination.patience, Patience::For(patience) if now < patience) {
            return;
        }
        let over = self.lanes.step_over(since);
        if over.is_empty() {
            return;
        }
        if let Err(error) = self.environment.store.mark_overtaken(over.clone()).await {
            // It is written with the next outcome; until then a restart would let it hold its lane again.
            tracing::warn!(destination = %self.destination.name, %error, code = error.code(), "cannot mark what was overtaken");
        }
        for delivery in over {
            if let Some(held) = self.held.get_mut(&delivery) {
                (held.overtaken, held.free) = (true, true);
            }
            if self.lanes.due(delivery).is_some_and(|due| self.park(due, now)) {
                self.lanes.finish(delivery);
                self.held.remove(&delivery);
            }
            self.environment.metrics.overtaken.get_or_create(&self.label).inc();
            tracing::warn!(destination = %self.destination.name, %delivery, "a delivery keeps failing; its conversation goes on without it");
        }
    }

    fn attempt(&mut self, delivery: DeliveryId, probe: bool) {
        let Some(held) = self.held.get(&delivery) else { return };
        let job = Job {
            delivery,
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
            self.environment.metrics.probes.get_or_create(&self.label).inc();
        }
        self.handle.sending().insert(delivery);
        let Environment { store, bodies, clock, .. } = &self.environment;
        let task = self.attempts.spawn(attempt::run(job, store.clone(), bodies.clone(), clock.clone()));
        self.tasks.insert(task.id(), delivery);
    }

    fn landed(&mut self, landed: Result<(task::Id, Ended), task::JoinError>) {
        match landed {
            Ok((task, ended)) => {
                self.tasks.remove(&task);
                self.ended(ended);
            }
            // A defect of ours. The delivery is given back uncharged, so that it is neither lost nor stuck.
            Err(died) => {
                tracing::error!(destination = %self.destination.name, %died, "an attempt's task died");
                if let Some(delivery) = self.tasks.remove(&died.id()) {
                    self.handle.sending().remove(&delivery);
                    self.lanes.give_back(delivery, self.environment.clock.monotonic() + DIED_PAUSE);
                }
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        self.handle.sending().remove(&ended.delivery);
        let (now, wall) = (self.environment.clock.monotonic(), self.environment.clock.wall());
        self.count(&ended, wall);
        match ended.outcome {
            Outcome::Delivered | Outcome::Dead => {
                if ended.outcome == Outcome::Delivered {
                    self.last_success = Some(now);
                }
                self.lanes.finish(ended.delivery);
                self.held.remove(&ended.delivery);
            }
            Outcome::Retry(due_at) => {
                let due = now + due_at.since(wall);
                self.lanes.retry(ended.delivery, now, due);
                let free = self.held.get_mut(&ended.delivery).is_some_and(|held| {
                    held.attempts = ended.attempts;
                    held.free
                });
                if free && self.park(due, now) {
                    self.lanes.finish(ended.delivery);
                    self.held.remove(&ended.delivery);
                }
            }
            Outcome::Uncharged => self.lanes.give_back(ended.delivery, now),
        }
        match self.gate.ended(now, ended.delivery, &ended.reply, &ended.verdict) {
            BreakerChange::Opened => {
                self.environment.metrics.down.get_or_create(&self.label).set(1);
                tracing::warn!(destination = %self.destination.name, code = ended.verdict.code, "destination is down; holding its deliveries and probing");
            }
            BreakerChange::Closed => {
                self.lanes.hold_from(now);
                self.environment.metrics.down.get_or_create(&self.label).set(0);
                tracing::info!(destination = %self.destination.name, "destination is back");
            }
            BreakerChange::None => {}
        }
    }

    fn count(&mut self, ended: &Ended, wall: UnixMillis) {
        let metrics = &self.environment.metrics;
        let destination = &self.destination.name;
        let outcome = match ended.outcome {
            Outcome::Delivered => "delivered",
            _ => ended.verdict.code,
        };
        let labels = OutcomeLabels { destination: self.label.destination.clone(), outcome };
        metrics.attempts.get_or_create(&labels).inc();
        match ended.outcome {
            Outcome::Delivered => {
                metrics.delivery_time.observe(wall.since(ended.accepted_at).as_secs_f64());
                self.last_failure = None;
                tracing::debug!(%destination, delivery = %ended.delivery, "delivered");
            }
            Outcome::Dead => {
                metrics.dead.get_or_create(&self.label).inc();
                self.last_failure = Some((ended.verdict.code, wall));
                tracing::error!(%destination, delivery = %ended.delivery, code = ended.verdict.code, "delivery is dead; it is kept");
            }
            Outcome::Retry(due_at) => {
                self.last_failure = Some((ended.verdict.code, wall));
                let wait_s = due_at.since(wall).as_secs();
                tracing::warn!(%destination, delivery = %ended.delivery, code = ended.verdict.code, attempts = ended.attempts, wait_s, "attempt failed; it will be repeated");
            }
            Outcome::Uncharged => {
                self.last_failure = Some((ended.verdict.code, wall));
                tracing::debug!(%destination, code = ended.verdict.code, probe = ended.probe, "still down");
            }
        }
    }

    /// Tells the rest of the house how this destination is doing.
    fn publish(&self) {
        let down = self.gate.breaker() == BreakerState::Open;
        let status = DestinationStatus {
            paused: self.gate.is_paused(),
            down,
            in_flight: self.lanes.in_flight(),
            concurrency: self.gate.concurrency(),
            window: self.lanes.len(),
            last_failure: self.last_failure,
        };
        if !self.behind && self.held.is_empty() && self.parked_until.is_none() {
            self.handle.0.clear.store(self.asked_at, Ordering::SeqCst);
        }
        let live = !down && !status.paused && self.has_room();
        self.handle.0.live.store(live, Ordering::Relaxed);
        self.environment.metrics.in_flight.get_or_create(&self.label).set(status.in_flight as i64);
        *self.handle.status_slot() = status;
    }
}
