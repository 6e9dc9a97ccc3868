//! How a destination wants to be served: how patiently, and how fast.

use std::time::Duration;

/// For how long a failing delivery may hold those behind it in its lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Not at all: later deliveries pass it by at once.
    None,
    /// So long.
    For(Duration),
    /// Until it is delivered or dead.
    Forever,
}

impl Default for Patience {
    /// Two minutes.
    fn default() -> Self {
        Self::For(Duration::from_secs(120))
    }
}

/// So many attempts in so much time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many may begin; at least one.
    pub attempts: u32,
    /// In what time; more than nothing.
    pub per: Duration,
}
