//! The dispatcher: owes each destination its deliveries until it has them.
//!
//! **The promise:** what the store says is owed is attempted, in order within each lane, until it is
//! delivered, dead or discarded; a shutdown gives back what is unfinished, uncharged.
//!
//! One task a destination ([`desk`]) reads what is owed from the store in order of turns ([`reading`]), holds a
//! part of it in memory ([`window`]), and starts, lane by lane ([`lanes`]), what the gates admit ([`attempt`]).
//! Being woken is a hint: the store is always asked, so nothing depends on a message between tasks. What all
//! destinations draw on together is parted among them ([`shares`]).

mod attempt;
mod desk;
mod destination;
mod expiry;
mod lanes;
mod reading;
mod shares;
mod window;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waypost_domain::{Clock, Patience, Rate, RetrySchedule, Rulings, limits};
use waypost_store::Store;

pub use destination::{DestinationHandle, DestinationStatus};
pub use lanes::{Choice, Entrant, LaneScheduler, Moment};
pub use window::{Place, Reading, Window};

use self::shares::Common;
use crate::bodies::Bodies;
use crate::metrics::Metrics;
use crate::pressure::Pressure;
use crate::sender::Sender;
use crate::stream::Stream;

/// A destination as configured.
#[derive(Clone)]
pub struct Destination {
    /// Its name.
    pub name: Arc<str>,
    /// What tries deliveries there.
    pub sender: Arc<dyn Sender>,
    /// When to try again.
    pub schedule: RetrySchedule,
    /// What an operator has ruled of single statuses.
    pub rulings: Rulings,
    /// For how long a failing head may hold its lane while the destination is otherwise well.
    pub patience: Patience,
    /// Attempts at once, at most.
    pub concurrency_max: usize,
    /// Attempts per time, at most.
    pub rate_max: Option<Rate>,
}

/// Runs one task for each destination. Cheap to clone; all clones are the same dispatcher.
#[derive(Clone)]
pub struct Dispatcher(Arc<Shared>);

/// Destinations at work, by name.
type Running = Arc<Mutex<HashMap<Arc<str>, DestinationHandle>>>;

/// Finds destinations without keeping the dispatcher, or its store, alive.
#[derive(Clone)]
pub(crate) struct Destinations(Running);

impl Destinations {
    pub(crate) fn find(&self, name: &str) -> Option<DestinationHandle> {
        lock(&self.0).get(name).cloned()
    }
}

struct Shared {
    store: Store,
    clock: Clock,
    bodies: Arc<Bodies>,
    pressure: Pressure,
    stream: Stream,
    metrics: Metrics,
    /// Places for owed deliveries in memory.
    places: Arc<Common>,
    /// Attempts under way.
    attempts: Arc<Common>,
    running: Running,
    /// Destinations that were removed and may still have attempts under way.
    leaving: Mutex<HashMap<Arc<str>, DestinationHandle>>,
    tasks: TaskTracker,
    /// Destinations that operators hold, put or not.
    held: Mutex<HashSet<Arc<str>>>,
    /// Cancelled when a destination's task dies of a defect.
    died: CancellationToken,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Dispatcher {
    /// A dispatcher without destinations. `soft` stops new attempts, `hard` gives up those under way.
    pub fn new(
        store: Store,
        clock: Clock,
        metrics: Metrics,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> Self {
        let bodies = Arc::new(Bodies::new(limits::BODY_CACHE_BYTES_MAX));
        let (running, leaving, tasks) = (Running::default(), Mutex::default(), TaskTracker::new());
        let pressure = Pressure::default();
        let stream = Stream::new(store.clone(), bodies.clone(), clock.clone(), metrics.clone());
        Self(Arc::new(Shared {
            store,
            clock,
            bodies,
            pressure,
            stream,
            metrics,
            places: Common::new(limits::LANE_WINDOWS_MAX, limits::LANE_WINDOW_MIN),
            attempts: Common::new(limits::ATTEMPTS_MAX, limits::ATTEMPTS_MIN),
            running,
            leaving,
            tasks,
            held: Mutex::default(),
            died: CancellationToken::new(),
            soft,
            hard,
        }))
    }

    /// Adds a destination, or changes it: what it owes stays owed. Must be called within a tokio runtime.
    pub fn put(&self, destination: Destination) -> DestinationHandle {
        let mut running = lock(&self.0.running);
        if let Some(handle) = running.get(&destination.name) {
            handle.change(destination);
            return handle.clone();
        }
        let shared = &self.0;
        let name = destination.name.clone();
        let (handle, task) = destination::new(destination, self.clone());
        if lock(&shared.held).contains(&name) {
            handle.pause(true);
        }
        let former = lock(&shared.leaving).remove(&name);
        running.insert(name, handle.clone());
        drop(running);
        let alarm = shared.died.clone().drop_guard();
        // Boxed: the tracker would otherwise keep room for it twice.
        shared.tasks.spawn(Box::pin(async move {
            // Its former self finishes first: two tasks for one destination could send one lane twice.
            if let Some(former) = former {
                former.ended().await;
            }
            task.await;
            // A task that panics never gets here, and sounds the alarm.
            alarm.disarm();
        }));
        handle
    }

    /// Holds everything owed to a destination, or lets it go; one that is not there yet is held once it is put.
    pub fn pause(&self, name: &str, paused: bool) {
        let mut held = lock(&self.0.held);
        if paused {
            held.insert(name.into());
        } else {
            held.remove(name);
        }
        drop(held);
        if let Some(handle) = self.destination(name) {
            handle.pause(paused);
        }
    }

    /// Stops attempts at a destination. What it is owed stays in the store, and goes on when it is put
    /// again.
    pub fn remove(&self, name: &str) {
        if let Some(handle) = lock(&self.0.running).remove(name) {
            handle.stop();
            let mut leaving = lock(&self.0.leaving);
            leaving.retain(|_, handle| !handle.has_ended());
            leaving.insert(handle.name().clone(), handle);
        }
    }

    /// What finds destinations by name, now and later.
    pub(crate) fn finder(&self) -> Destinations {
        Destinations(self.0.running.clone())
    }

    /// The destination of that name, if there is one.
    pub fn destination(&self, name: &str) -> Option<DestinationHandle> {
        lock(&self.0.running).get(name).cloned()
    }

    /// All destinations, by name.
    pub fn destinations(&self) -> Vec<DestinationHandle> {
        let mut all: Vec<_> = lock(&self.0.running).values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Bodies on their way from intake to the senders.
    pub fn bodies(&self) -> Arc<Bodies> {
        self.0.bodies.clone()
    }

    /// How hard the gateway is written to.
    pub fn pressure(&self) -> Pressure {
        self.0.pressure.clone()
    }

    /// What shows events to those who follow them. It is at work once somebody runs it.
    pub fn stream(&self) -> Stream {
        self.0.stream.clone()
    }

    /// Waits until a destination's task dies of a defect; for ever, if all goes well.
    pub async fn died(&self) {
        self.0.died.cancelled().await;
    }

    /// Waits until every destination's task has ended, after the soft or the hard stop.
    pub async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn environment(&self, stop: CancellationToken) -> desk::Environment {
        let shared = &self.0;
        desk::Environment {
            store: shared.store.clone(),
            clock: shared.clock.clone(),
            bodies: shared.bodies.clone(),
            pressure: shared.pressure.clone(),
            metrics: shared.metrics.clone(),
            places: shared.places.share(),
            attempts: shared.attempts.share(),
            soft: stop,
            hard: shared.hard.clone(),
        }
    }
}

/// These maps are changed in single steps; a panic elsewhere cannot leave one half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
