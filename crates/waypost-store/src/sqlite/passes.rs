//! Where pruning stands: passes that go on where the last call ended, and what was settled meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use waypost_domain::UnixMillis;

use crate::Retention;

/// How often the tables are walked over that lie in no order, so that all of their rows must be looked at.
const REST_WALKED_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// Requests settled since the last call that are remembered; a pass finds the others.
const JUST_SETTLED_MAX: usize = 16_384;

/// What may go, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The body of a request, which was just settled or which the walk came by.
    Body { request: i64, walked: bool },
    /// Everything of a request, which one walk or the other came by.
    Record { request: i64, dead: bool },
    /// An identity key whose event is gone.
    Key { subject: i64, key: i64, event: i64 },
    /// A conversation of which no event is kept.
    Conversation { id: i64, seen: i64 },
    /// An identity that leads to no conversation any more.
    Contact { number: i64, identity: Box<str> },
    /// An act whose delivery or event is gone.
    Act { id: i64 },
}

/// Where the walks stand.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) bodies: Walk,
    pub(super) dead: Walk,
    pub(super) records: Walk,
    pub(super) rest: Rest,
}

/// Where the walks over all the rest stand, which follow each other: after which row to go on (of contacts, with
/// which).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    Keys(i64, i64),
    Conversations(i64),
    Contacts(i64, Box<str>),
    Acts(i64),
    Ended,
}

impl Rest {
    const BEGIN: Self = Self::Keys(i64::MIN, i64::MIN);
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    pub(super) after: i64,
    pub(super) ended: bool,
}

/// Passes, one after the other.
#[derive(Debug, Default)]
pub(super) struct Passes {
    under_way: Option<Pass>,
    rest_walked_at: Option<UnixMillis>,
}

impl Passes {
    /// The pass that is under way, or a new one.
    pub(super) fn pass(&mut self, now: UnixMillis) -> Pass {
        if let Some(pass) = &self.under_way {
            return pass.clone();
        }
        let walked = self.rest_walked_at.is_some_and(|at| {
            now.0.abs_diff(at.0) < u64::try_from(REST_WALKED_EVERY.as_millis()).unwrap_or(u64::MAX)
        });
        if !walked {
            self.rest_walked_at = Some(now);
        }
        let pass = Pass {
            bodies: Walk::default(),
            dead: Walk::default(),
            records: Walk::default(),
            rest: if walked { Rest::Ended } else { Rest::BEGIN },
        };
        self.under_way = Some(pass.clone());
        pass
    }

    /// To be told after the writer did the first `done` of `steps`.
    pub(super) fn did(&mut self, next: Option<Pass>, steps: &[Step], done: usize) {
        self.under_way = next;
        let Some(pass) = &mut self.under_way else { return };
        // From the last to the first, so that each walk ends up before the first that was not done.
        for step in steps.iter().skip(done).rev() {
            let before = |request: i64| Walk { after: request - 1, ended: false };
            match step {
                Step::Body { walked: false, .. } => {}
                Step::Body { request, walked: true } => pass.bodies = before(*request),
                Step::Record { request, dead: true } => pass.dead = before(*request),
                Step::Record { request, dead: false } => pass.records = before(*request),
                Step::Key { subject, key, .. } => pass.rest = Rest::Keys(*subject, key.saturating_sub(1)),
                Step::Conversation { id, .. } => pass.rest = Rest::Conversations(id - 1),
                Step::Contact { number, identity } => {
                    pass.rest = Rest::Contacts(*number, identity.clone());
                }
                Step::Act { id } => pass.rest = Rest::Acts(id - 1),
            }
        }
    }
}

/// Requests of which a delivery was just settled, for whoever wants bodies gone at once.
#[derive(Debug, Default)]
pub(super) struct JustSettled {
    wanted: AtomicBool,
    requests: Mutex<Vec<i64>>,
}

impl JustSettled {
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, requests: impl IntoIterator<Item = i64>) {
        let mut held = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let room = JUST_SETTLED_MAX.saturating_sub(held.len());
        held.extend(requests.into_iter().take(room));
    }

    /// Those since the last time, if bodies are to go at once.
    pub(super) fn take(&self, retention: &Retention) -> Vec<i64> {
        self.wanted.store(retention.delivered_bodies.is_zero(), Ordering::Relaxed);
        std::mem::take(&mut *self.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which of the steps came from those.
pub(super) fn just_settled(steps: &[Step]) -> impl Iterator<Item = i64> {
    steps.iter().filter_map(|step| match *step {
        Step::Body { request, walked: false } => Some(request),
        _ => None,
    })
}
