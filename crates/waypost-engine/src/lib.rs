//! The engine: what was accepted gets delivered.
//!
//! - [`intake`] proves a request, reads it, and makes it durable with all that is owed for it.
//! - [`routing`] says who gets which of its events, and in what form.
//! - [`dispatch`] owes each destination its deliveries, in order within each conversation.
//! - [`pressure`] lets acceptance go before delivery.
//! - [`gate`] holds a destination back while it is down, paused or at its rate.
//! - [`bodies`] keeps what is on its way, so that it need not be read back.
//! - [`sender`] tries a delivery once.
//! - [`stream`] shows events to all who want to follow them.

mod aftermath;
pub mod bodies;
pub mod dispatch;
pub mod gate;
pub mod intake;
pub mod metrics;
pub mod pressure;
pub mod routing;
pub mod sender;
pub mod stream;
