//! The public face over real sockets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails this way")]

mod bodies;
mod certificates;
mod doors;
mod face;
mod hostile;
mod proxies;
mod relaying;
mod rests;
mod streams;
mod upgrades;
