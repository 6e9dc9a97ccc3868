//! Promises of the stream: with a real store, and webhooks as Meta sends them.

#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test, as it should")]

mod ends;
mod following;
mod house;
mod people;
mod states;
mod views;
