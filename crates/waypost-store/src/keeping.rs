//! What is kept for how long, and how it is taken away.

use std::time::Duration;

use waypost_domain::UnixMillis;

/// How long is kept what is no longer owed. What is owed is always kept.
///
/// A request is kept as one: for as long as any of its deliveries is a reason to. A delivered or discarded one
/// is a reason for its body and its records for so long after it was settled; a dead one for both, for so long
/// after it died; a quarantined event for both, for so long after it came. A request that nobody was ever owed is kept whole, as a record, from when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Bodies of what was delivered or discarded. Zero: they go with the next prune.
    pub delivered_bodies: Duration,
    /// Everything else of it: requests, events, deliveries, attempts. One hour at least, since an outcome may
    /// still come in for what was discarded.
    pub records: Duration,
    /// Everything of a request with a dead delivery. One hour at least.
    pub dead: Duration,
    /// Everything of a request with a quarantined event. One hour at least.
    pub quarantined: Duration,
    /// Identity keys, from their event's acceptance; never less than the dedupe window, and never before their
    /// event is gone.
    pub keys: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            delivered_bodies: DAY * 3,
            records: DAY * 30,
            dead: DAY * 30,
            quarantined: DAY * 30,
            keys: waypost_domain::limits::DEDUPE_WINDOW,
        }
    }
}

/// A step of pruning.
#[derive(Debug, Clone, Copy)]
pub struct Prune {
    /// The moment from which ages are counted.
    pub now: UnixMillis,
    /// What is kept for how long.
    pub retention: Retention,
    /// At most so many rows, but that a request goes as a whole; the store takes 4,096 at most, and fewer where
    /// they would take longer than some milliseconds.
    pub steps: usize,
}

/// What a step of pruning took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Bodies whose records stay.
    pub bodies: u64,
    /// Requests with everything that belonged to them.
    pub records: u64,
    /// Identity keys.
    pub keys: u64,
    /// Everything else that nothing refers to any more: conversations, identities of people, operators' acts,
    /// names.
    pub others: u64,
    /// By how much the file shrinks once its log is folded.
    pub bytes_given_back: u64,
    /// Whether the pass goes on. After a pass that is over, nothing is left that could have gone at its
    /// beginning, but for identity keys, which are looked through every six hours.
    pub more: bool,
}
