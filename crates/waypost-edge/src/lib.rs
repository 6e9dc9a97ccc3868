//! The public face: listeners, TLS, limits, admission by path, the relay.
//!
//! What is promised:
//!
//! - Everything a client can take is bounded and named: connections, handshakes, heads, bodies, time, memory.
//! - A request reaches a receiver only if its host is on the allow-list and its path holds no trick; the path and
//!   query that go on are the bytes that came ([`admission`]).
//! - What a caller says about itself in forwarding headers goes no further ([`forwarded`]).
//! - A request in which two readers could see two requests, or two hosts, is refused before it is read.
//! - Whom we answer as, and what a caller proved, is settled in the handshake ([`ServerTls`], [`ClientProof`]).
//! - A stop or an upgrade breaks off no request: what is on its way is answered, and what waits is handed on ([`handover`]).
//! - Every refusal is one [`Refusal`], with one status, one stable code and one sentence.

pub mod admission;
pub mod body;
mod certificates;
mod client_certificates;
mod connection;
mod counters;
mod desk;
pub mod forwarded;
mod framing;
pub mod handover;
pub mod limits;
mod listener;
mod prefixes;
mod proxied;
mod quota;
mod refusal;
pub mod relay;
mod reply;
mod supervisor;
mod tls;
mod upgrade;
mod watch;

pub use certificates::{CertificateFacts, Certificates};
pub use client_certificates::{ClientCertificates, ClientProof, META_CLIENT_NAME};
pub use counters::EdgeCounters;
pub use listener::{BindError, ConnectionInfo, ConnectionLimits, Edge, Listener, Stop};
pub use prefixes::{PrefixError, PrefixFileError, Prefixes};
pub use refusal::{Refusal, TargetFault};
pub use reply::Body;
pub use supervisor::{Inherited, Supervisor};
pub use tls::{ServerTls, ServerTlsError};
