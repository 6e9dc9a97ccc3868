//! Gates: what holds a destination's deliveries back without changing them.
//!
//! **The promise:** a gate never touches a delivery. While it is shut, deliveries stay owed, no attempt is
//! charged, and the destination sees one probe at growing intervals. When it opens again, traffic
//! grows step by step, so that a receiver that has just risen is not knocked over.
//!
//! Pure: time comes in, decisions go out.

mod breaker;
mod concurrency;
mod rate;

use std::time::Duration;

use waypost_domain::{Blame, DeliveryId, Rate, Reply, Verdict, limits};

pub use breaker::{Breaker, BreakerState};
pub use concurrency::Concurrency;
pub use rate::RateLimit;

use crate::dispatch::Moment;

/// What a destination may do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Start an attempt.
    Go,
    /// Start one attempt that tells whether the destination is back; `number` counts those of this outage.
    Probe {
        /// From nought.
        number: usize,
    },
    /// Nothing until then, or until something happens.
    Wait(Option<Moment>),
}

/// All gates of one destination.
#[derive(Debug)]
pub struct Gate {
    paused: bool,
    breaker: Breaker,
    concurrency: Concurrency,
    rate: Option<RateLimit>,
    /// Until when the destination asked to be left alone.
    throttled_until: Moment,
}

impl Gate {
    /// An open gate that lets at most `concurrency_max` attempts go at once, and begins no more than `rate`.
    pub fn new(concurrency_max: usize, rate: Option<Rate>) -> Self {
        Self {
            paused: false,
            breaker: Breaker::new(),
            concurrency: Concurrency::new(concurrency_max),
            rate: rate.map(RateLimit::new),
            throttled_until: Moment::ZERO,
        }
    }

    /// Changes the limits, as a reload does, keeping all else.
    pub fn set_limits(&mut self, concurrency_max: usize, rate: Option<Rate>) {
        self.concurrency.set_max(concurrency_max);
        if self.rate.as_ref().map(RateLimit::rate) != rate {
            self.rate = rate.map(RateLimit::new);
        }
    }

    /// Holds everything, or lets go.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// What may be done at `now`, with `in_flight` attempts under way. [`Self::started`] must follow each
    /// attempt that is then started.
    pub fn admits(&mut self, now: Moment, in_flight: usize) -> Admission {
        if self.paused {
            return Admission::Wait(None);
        }
        if now < self.throttled_until {
            return Admission::Wait(Some(self.throttled_until));
        }
        match self.breaker.state() {
            BreakerState::Closed => {}
            BreakerState::Open if in_flight > 0 => return Admission::Wait(None),
            BreakerState::Open => {
                let at = self.breaker.probe_at();
                if now < at {
                    return Admission::Wait(Some(at));
                }
                return Admission::Probe { number: self.breaker.probes() };
            }
        }
        if in_flight >= self.concurrency.limit() {
            return Admission::Wait(None);
        }
        match self.rate.as_mut().map(|rate| rate.ready_at(now)) {
            Some(at) if at > now => Admission::Wait(Some(at)),
            _ => Admission::Go,
        }
    }

    /// An attempt was started at `now`; while the breaker is open it is a probe.
    pub fn started(&mut self, now: Moment) {
        if self.breaker.state() == BreakerState::Open {
            self.breaker.probed(now);
        }
        if let Some(rate) = &mut self.rate {
            rate.take(now);
        }
    }

    /// An attempt at `delivery` ended at `now`. Says whether the breaker changed.
    pub fn ended(
        &mut self,
        now: Moment,
        delivery: DeliveryId,
        reply: &Reply,
        verdict: &Verdict,
    ) -> BreakerChange {
        let before = self.breaker.state();
        self.heed(now, reply);
        match health(reply, verdict) {
            Health::Well => {
                self.breaker.success();
                self.concurrency.success();
            }
            Health::Overloaded => {
                self.concurrency.failure(now);
                self.breaker.failure(now, delivery, false);
            }
            Health::Unreachable => {
                self.concurrency.failure(now);
                self.breaker.failure(now, delivery, true);
            }
            Health::Unknown => {}
        }
        match (before, self.breaker.state()) {
            (BreakerState::Closed, BreakerState::Open) => BreakerChange::Opened,
            (BreakerState::Open, BreakerState::Closed) => {
                self.concurrency.restart();
                BreakerChange::Closed
            }
            _ => BreakerChange::None,
        }
    }

    /// A 429 speaks of all that comes from us (RFC 6585, section 4): where it says for how long, the whole
    /// destination waits, and traffic grows from one attempt again. Whatever else says so means this one delivery.
    fn heed(&mut self, now: Moment, reply: &Reply) {
        if let Reply::Answered { status: 429, retry_after: Some(wait) } = reply
            && !wait.is_zero()
        {
            self.throttled_until = self.throttled_until.max(now + (*wait).min(limits::RETRY_AFTER_MAX));
            self.concurrency.restart();
        }
    }

    /// Whether an operator holds everything.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Where the breaker stands.
    pub fn breaker(&self) -> BreakerState {
        self.breaker.state()
    }

    /// How many attempts may be under way at once, just now.
    pub fn concurrency(&self) -> usize {
        self.concurrency.limit()
    }
}

/// Whether an attempt's end changed the breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerChange {
    /// It did not.
    None,
    /// The destination counts as down from now on.
    Opened,
    /// The destination is back.
    Closed,
}

/// What an attempt says about the destination as a whole.
enum Health {
    /// It works: it answered, be it to refuse this one content.
    Well,
    /// It answered that it cannot, or too late.
    Overloaded,
    /// It did not even take the request, or is not what it should be.
    Unreachable,
    /// Nothing: the fault was ours.
    Unknown,
}

fn health(reply: &Reply, verdict: &Verdict) -> Health {
    match (verdict.blame, reply) {
        (None | Some(Blame::Content), _) => Health::Well,
        // An answer all the same: one wrong path or credential says nothing about the others' deliveries, and that
        // the destination can answer is all that a probe asks.
        (Some(Blame::Configuration), Reply::Answered { .. }) => Health::Well,
        (Some(Blame::Us), _) => Health::Unknown,
        (Some(_), Reply::Answered { .. }) => Health::Overloaded,
        (Some(_), Reply::Failed(failure)) if failure.may_have_arrived() => Health::Overloaded,
        (Some(_), Reply::Failed(_)) => Health::Unreachable,
    }
}

/// How long the first probe waits after the breaker opened.
pub const PROBE_WAIT_MIN: Duration = Duration::from_secs(1);
/// How long any probe waits at most.
pub const PROBE_WAIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_domain::{Failure, Rulings, judge};

    fn throttled(seconds: u64) -> Reply {
        Reply::Answered { status: 429, retry_after: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn a_receiver_that_says_when_to_come_back_is_left_alone_until_then_and_then_asked_gently() {
        let mut gate = Gate::new(64, None);
        for delivery in 0..30 {
            end(&mut gate, 0, delivery, status(200));
        }
        end(&mut gate, 10, 1, throttled(30));
        end(&mut gate, 11, 2, throttled(5));
        let (wait, then) = (Duration::from_secs(39), Duration::from_secs(40));
        assert_eq!(gate.admits(wait, 0), Admission::Wait(Some(then)));
        assert_eq!(gate.admits(then, 0), Admission::Go);
        assert_eq!(gate.admits(then, 1), Admission::Wait(None));
        end(&mut gate, 100, 1, throttled(1_000_000));
        assert_eq!(gate.admits(then + wait + wait, 0), Admission::Wait(Some(Duration::from_secs(3_700))));
    }

    fn end(gate: &mut Gate, now: u64, delivery: i64, reply: Reply) -> BreakerChange {
        let verdict = judge(&reply, &Rulings::default());
        gate.ended(Duration::from_secs(now), DeliveryId(delivery), &reply, &verdict)
    }

    fn status(status: u16) -> Reply {
        Reply::Answered { status, retry_after: None }
    }

    #[test]
    fn an_outage_shuts_the_gate_and_probes_at_growing_intervals() {
        let mut gate = Gate::new(64, None);
        let refused = || Reply::Failed(Failure::ConnectRefused);
        assert_eq!(end(&mut gate, 0, 1, refused()), BreakerChange::None);
        assert_eq!(end(&mut gate, 0, 2, refused()), BreakerChange::Opened);
        assert_eq!(gate.admits(Duration::ZERO, 1), Admission::Wait(None), "what is under way ends first");
        let mut now = Duration::ZERO;
        let mut waits = Vec::new();
        for number in 0..9 {
            let Admission::Wait(Some(at)) = gate.admits(now, 0) else {
                panic!("no wait before probe {number}")
            };
            waits.push((at - now).as_secs());
            now = at;
            assert_eq!(gate.admits(now, 0), Admission::Probe { number });
            gate.started(now);
            end(&mut gate, now.as_secs(), 1, refused());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_probe_that_fails_for_our_own_fault_waits_too() {
        let mut gate = Gate::new(64, None);
        for delivery in 0..2 {
            end(&mut gate, 0, delivery, Reply::Failed(Failure::ConnectRefused));
        }
        let now = Duration::from_secs(1);
        assert_eq!(gate.admits(now, 0), Admission::Probe { number: 0 });
        gate.started(now);
        end(&mut gate, 1, 0, Reply::Failed(Failure::Ours));
        assert_eq!(gate.admits(now, 0), Admission::Wait(Some(Duration::from_secs(3))));
    }

    #[test]
    fn one_poison_event_never_shuts_the_gate() {
        let mut gate = Gate::new(64, None);
        for now in 0..100 {
            assert_eq!(end(&mut gate, now, 1, status(500)), BreakerChange::None);
            assert!(!matches!(gate.breaker(), BreakerState::Open));
        }
    }

    #[test]
    fn a_receiver_that_fails_everybody_shuts_the_gate() {
        let mut gate = Gate::new(64, None);
        let changes: Vec<_> = (1..=5).map(|delivery| end(&mut gate, 0, delivery, status(503))).collect();
        assert_eq!(changes[4], BreakerChange::Opened);
    }

    #[test]
    fn a_wrong_path_shuts_no_gate_and_opens_a_shut_one() {
        let mut gate = Gate::new(64, None);
        for delivery in 0..50 {
            assert_eq!(end(&mut gate, 0, delivery, status(404)), BreakerChange::None);
        }
        for delivery in 0..5 {
            end(&mut gate, 0, delivery, status(503));
        }
        assert_eq!(gate.breaker(), BreakerState::Open);
        gate.started(Duration::from_secs(1));
        assert_eq!(end(&mut gate, 1, 0, status(404)), BreakerChange::Closed);
    }

    #[test]
    fn a_receiver_that_refuses_a_content_is_well() {
        let mut gate = Gate::new(64, None);
        for delivery in 0..50 {
            assert_eq!(end(&mut gate, 0, delivery, status(422)), BreakerChange::None);
        }
        assert_eq!(gate.breaker(), BreakerState::Closed);
    }

    #[test]
    fn after_an_outage_traffic_grows_from_one_attempt() {
        let mut gate = Gate::new(64, None);
        for delivery in 0..2 {
            end(&mut gate, 0, delivery, Reply::Failed(Failure::ConnectRefused));
        }
        assert_eq!(gate.admits(Duration::from_secs(1), 0), Admission::Probe { number: 0 });
        gate.started(Duration::from_secs(1));
        assert_eq!(end(&mut gate, 1, 0, status(200)), BreakerChange::Closed);
        assert_eq!(gate.concurrency(), 1);
        assert_eq!(gate.admits(Duration::from_secs(1), 0), Admission::Go);
        assert_eq!(gate.admits(Duration::from_secs(1), 1), Admission::Wait(None));
        end(&mut gate, 1, 1, status(200));
        assert_eq!(gate.concurrency(), 2);
    }

    #[test]
    fn a_pause_holds_everything_and_forgets_nothing() {
        let mut gate = Gate::new(64, None);
        gate.pause(true);
        assert_eq!(gate.admits(Duration::MAX, 0), Admission::Wait(None));
        gate.pause(false);
        assert_eq!(gate.admits(Duration::ZERO, 0), Admission::Go);
    }

    #[test]
    fn a_rate_spaces_attempts_out() {
        let mut gate = Gate::new(64, Some(Rate { attempts: 2, per: Duration::from_secs(1) }));
        let mut started = 0;
        for tenth in 0..100 {
            let now = Duration::from_millis(tenth * 100);
            while gate.admits(now, 0) == Admission::Go {
                gate.started(now);
                started += 1;
            }
        }
        assert!((20..=22).contains(&started), "{started} in ten seconds at two a second");
    }
}
