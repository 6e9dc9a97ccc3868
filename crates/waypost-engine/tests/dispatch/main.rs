//! Promises of the dispatcher, with a real store and a scripted receiver. Time is a manual clock: it moves
//! when the test says so, and destinations are woken to notice.

#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test, as it should")]

mod acts;
mod backlog;
mod expiry;
mod house;
mod order;
mod outages;
mod recovery;
mod rest;
mod script;
mod sharing;
mod time;
