//! Senders: one for each kind of destination, all of one shape.
//!
//! A sender tries a delivery once and reports what came of it. It does not judge, retry, wait or
//! remember: that is the dispatcher's.

mod event;
mod http;
mod ping;
mod signing;
mod standard;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use waypost_domain::{AttemptReport, DeliveryId, EventId, RequestId};
use waypost_store::RequestBody;

use crate::bodies::Content;

pub use http::{HttpSender, HttpSenderConfig};
pub use ping::{PING_BODY, Ping};
pub use signing::{Keyring, Signing};
pub use standard::{StandardSecret, StandardSecretError};

/// What is to be delivered, in one try.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The request it belongs to.
    pub request: RequestId,
    /// The event it carries; of a whole request, its first.
    pub event: EventId,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// What is to be sent, with the request's headers: the request, or the piece of it that is this event.
    pub content: Arc<RequestBody>,
    /// The request that the body is a piece of, where it is one: bytes that nobody has signed yet.
    pub piece_of: Option<Arc<Content>>,
    /// The webhook field of the one event it carries. Known for every delivery of an event, and where
    /// [`Sender::names_events`] for every request that holds just one.
    pub field: Option<Box<str>>,
}

/// A try under way.
pub type Attempt<'a> = Pin<Box<dyn Future<Output = AttemptReport> + Send + 'a>>;

/// Tries deliveries at one destination.
pub trait Sender: Send + Sync {
    /// Tries this delivery once and reports how it ended, within the sender's own deadline. Dropping the
    /// future gives the try up.
    fn attempt(&self, parcel: Parcel) -> Attempt<'_>;

    /// Whether it tells the receiver of a whole request what is in it.
    fn names_events(&self) -> bool {
        false
    }
}
