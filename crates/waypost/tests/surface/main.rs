//! The surface, driven from outside: the real binary as a child process, a scripted Meta before it and
//! scripted receivers behind it, all on the loopback.
//!
//! One file for each promise; [`harness`] holds what they share.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails this way")]

mod acts;
mod answers;
mod bytes;
mod cli;
mod duplicates;
mod durable;
mod handshake;
mod harness;
mod limits;
mod order;
mod redirect;
mod reload;
mod signatures;
mod stop;
