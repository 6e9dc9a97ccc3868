//! Senders: one for each kind of destination, all of one shape.
//!
//! A sender tries a delivery once and reports what came of it. It does not judge, retry, wait or
//! remember: that is the dispatcher's.

mod http;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use waypost_domain::{AttemptReport, DeliveryId, EventId, RequestId};
use waypost_store::RequestBody;

pub use http::HttpSender;

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
    /// The request as it came.
    pub content: Arc<RequestBody>,
}

/// A try under way.
pub type Attempt<'a> = Pin<Box<dyn Future<Output = AttemptReport> + Send + 'a>>;

/// Tries deliveries at one destination.
pub trait Sender: Send + Sync {
    /// Tries this delivery once and reports how it ended, within the sender's own deadline. Dropping the
    /// future gives the try up.
    fn attempt(&self, parcel: Parcel) -> Attempt<'_>;
}
