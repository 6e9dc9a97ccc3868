//! Promises of routing, batches and signatures: with a real store, the real dispatcher, and receivers on real
//! sockets.

#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test, as it should")]

mod batches;
mod events;
mod house;
mod quarantine;
mod receiver;
mod signatures;
mod tenants;
