//! The public face: listeners, TLS, limits, admission by path, the relay.
//!
//! What is promised:
//!
//! - Everything a client can take is bounded and named: connections, handshakes, heads, bodies, time, memory.
//! - A request reaches a receiver only if its host is on the allow-list and its path holds no trick; the path and
//!   query that go on are the bytes that came ([`admission`]).
//! - What a caller says about itself in forwarding headers goes no further ([`forwarded`]).
//! - Every refusal is one [`Refusal`], with one status, one stable code and one sentence.

pub mod admission;
pub mod body;
mod connection;
mod counters;
pub mod forwarded;
pub mod limits;
mod listener;
mod quota;
mod refusal;
pub mod relay;
mod reply;
mod tls;
mod watch;

pub use counters::EdgeCounters;
pub use listener::{ConnectionInfo, ConnectionLimits, Edge, Listener, Stop};
pub use refusal::{Refusal, TargetFault};
pub use reply::Body;
pub use tls::{CertificateFacts, ServerTls, ServerTlsError};
