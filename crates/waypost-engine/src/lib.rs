//! The engine: what was accepted gets delivered.
//!
//! - [`intake`] proves a request, reads it, and makes it durable with all that is owed for it.
//! - [`dispatch`] owes each destination its deliveries, in order within each conversation.
//! - [`pressure`] lets acceptance go before delivery.
//! - [`gate`] holds a destination back while it is down, paused or at its rate.
//! - [`sender`] tries a delivery once.

pub mod bodies;
pub mod dispatch;
pub mod gate;
pub mod intake;
pub mod metrics;
pub mod pressure;
pub mod sender;
