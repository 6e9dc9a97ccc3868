//! The surface, driven from outside: the real binary as a child process, a scripted Meta before it and
//! scripted receivers behind it, all on the loopback.
//!
//! One file for each promise; [`harness`] holds what they share.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails this way")]

mod acts;
mod ailing;
mod answers;
mod bytes;
mod callers;
mod certifying;
mod cli;
mod doctor;
mod duplicates;
mod durable;
mod handshake;
mod harness;
mod import;
mod limits;
mod listen;
mod many;
mod order;
mod quarantine;
mod redirect;
mod reload;
mod routing;
mod signatures;
mod sources;
mod stop;
mod stream_http;
mod stream_tokens;
mod streaming;
mod supervised;
mod upgrade;
