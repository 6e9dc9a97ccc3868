//! Certificates from an authority that really looks: one of our own with every fault there is, and Pebble where it is
//! installed.

#![expect(clippy::unwrap_used, reason = "a test fails this way")]

mod authority;
mod bench;
mod faults;
mod issuing;
mod pebble;
