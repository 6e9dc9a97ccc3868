//! The breaker: tells an outage from a poison event.

use waypost_domain::DeliveryId;

use super::{PROBE_WAIT_MAX, PROBE_WAIT_MIN};
use crate::dispatch::Moment;

/// Failures in a row, answered or too late, after which a destination counts as down.
const FAILURES_MAX: u32 = 5;
/// Failures in a row that never reached the receiver, after which it counts as down.
const UNREACHABLE_MAX: u32 = 2;

/// Where a breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    /// Attempts go through.
    Closed,
    /// The destination counts as down: only probes go through.
    Open,
}

/// Opens when attempts at two deliveries or more have all failed, five in a row; or when two in a row did
/// not reach the receiver at all. One success closes it.
#[derive(Debug)]
pub struct Breaker {
    state: BreakerState,
    failures: u32,
    unreachable: u32,
    /// The delivery that failed first in this row, and whether another has failed since.
    first: Option<DeliveryId>,
    several: bool,
    probes: usize,
    probe_at: Moment,
    probe_wait: Moment,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: BreakerState::Closed,
            failures: 0,
            unreachable: 0,
            first: None,
            several: false,
            probes: 0,
            probe_at: Moment::ZERO,
            probe_wait: PROBE_WAIT_MIN,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// When the next probe may go, while open.
    pub(super) fn probe_at(&self) -> Moment {
        self.probe_at
    }

    /// How many probes this outage has seen.
    pub(super) fn probes(&self) -> usize {
        self.probes
    }

    pub(super) fn success(&mut self) {
        *self = Self::new();
    }

    pub(super) fn failure(&mut self, now: Moment, delivery: DeliveryId, unreachable: bool) {
        match self.state {
            BreakerState::Closed => self.failure_while_closed(now, delivery, unreachable),
            // Attempts that were under way when it opened fail too, and probes: both say nothing new.
            BreakerState::Open => {}
        }
    }

    /// A probe was started. The next one waits twice as long, however this one ends, unless it closes
    /// the breaker.
    pub(super) fn probed(&mut self, now: Moment) {
        self.probes += 1;
        self.probe_wait = (self.probe_wait * 2).min(PROBE_WAIT_MAX);
        self.probe_at = now + self.probe_wait;
    }

    fn failure_while_closed(&mut self, now: Moment, delivery: DeliveryId, unreachable: bool) {
        self.failures += 1;
        self.unreachable = if unreachable { self.unreachable + 1 } else { 0 };
        self.several |= *self.first.get_or_insert(delivery) != delivery;
        let failing = self.several && self.failures >= FAILURES_MAX;
        if failing || self.unreachable >= UNREACHABLE_MAX {
            self.state = BreakerState::Open;
            self.probe_at = now + PROBE_WAIT_MIN;
        }
    }
}
