//! A destination, as the rest of the house reaches it: its handle, and how it is doing.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waypost_domain::{DeliveryId, UnixMillis};
use waypost_store::OwedPage;

use super::desk::{Desk, POLL};
use super::{Destination, Dispatcher};

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

    /// Deliveries with an attempt under way.
    pub(super) fn sending(&self) -> MutexGuard<'_, HashSet<DeliveryId>> {
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

    pub(super) fn is_paused(&self) -> bool {
        self.0.paused.load(Ordering::Relaxed)
    }

    /// Whether an operator has changed what is owed since this was last asked.
    pub(super) fn take_stale(&self) -> bool {
        self.0.stale.swap(false, Ordering::Relaxed)
    }

    /// Another configuration, if there is one since this was last asked.
    pub(super) fn take_changed(&self) -> Option<Destination> {
        self.0.changed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until somebody says that there may be something new.
    pub(super) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    /// How often something was accepted for it.
    pub(super) fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::SeqCst)
    }

    /// Says that nothing is owed of what had been accepted by then.
    pub(super) fn owes_nothing_of(&self, accepted: u64) {
        self.0.clear.store(accepted, Ordering::SeqCst);
    }

    /// Shows how it is doing.
    pub(super) fn show(&self, status: DestinationStatus, live: bool) {
        self.0.live.store(live, Ordering::Relaxed);
        *self.status_slot() = status;
    }

    fn status_slot(&self) -> MutexGuard<'_, DestinationStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A destination's handle, and the task that must be spawned for it.
///
/// While nothing is owed, the task is at rest and takes little room: there may be thousands of destinations. A desk is
/// set up when something is.
pub(super) fn new(
    mut destination: Destination,
    dispatcher: Dispatcher,
) -> (DestinationHandle, impl Future<Output = ()> + Send) {
    let status = DestinationStatus {
        paused: false,
        down: false,
        in_flight: 0,
        concurrency: destination.concurrency_max,
        window: 0,
        last_failure: None,
    };
    let stop = dispatcher.0.soft.child_token();
    let handle = DestinationHandle(Arc::new(Reach {
        name: destination.name.clone(),
        wake: Notify::new(),
        stop: stop.clone(),
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
    let reach = handle.clone();
    let task = async move {
        let _ended = ended;
        while reach.is_called(&mut destination, &dispatcher).await {
            let Some(last) = at_a_desk(&destination, &dispatcher, &stop, &reach).await else { return };
            destination = last;
        }
    };
    (handle, task)
}

/// A desk's work, in room of its own: made here, so that the task at rest has none for it.
fn at_a_desk(
    destination: &Destination,
    dispatcher: &Dispatcher,
    stop: &CancellationToken,
    reach: &DestinationHandle,
) -> Pin<Box<dyn Future<Output = Option<Destination>> + Send>> {
    let desk = Desk::new(destination.clone(), dispatcher.environment(stop.clone()), reach.clone());
    Box::pin(desk.run())
}

impl DestinationHandle {
    /// Waits, at rest, until the destination may be owed something or is held by an operator. False once it must stop.
    async fn is_called(&self, destination: &mut Destination, dispatcher: &Dispatcher) -> bool {
        loop {
            let asked = self.accepted();
            let page = OwedPage { destination: self.name().clone(), after: None, limit: 1 };
            // Boxed: it is asked seldom, and would have to be given room by every destination at rest.
            match Box::pin(dispatcher.0.store.owed(page)).await {
                Ok(page) if page.is_empty() => self.owes_nothing_of(asked),
                // What cannot be read is for the desk to try again.
                Ok(_) | Err(_) => return !self.0.stop.is_cancelled(),
            }
            tokio::select! {
                () = self.0.stop.cancelled() => return false,
                () = dispatcher.0.hard.cancelled() => return false,
                () = self.woken() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            if let Some(changed) = self.take_changed() {
                *destination = changed;
            }
            if self.is_paused() || self.accepted() != asked {
                return true;
            }
        }
    }
}
