//! Calls to real receivers on the loopback: raw sockets where bytes matter, rustls where trust does.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails this way")]

mod calls;
mod ends;
mod keeping;
mod receiver;
mod trust;
