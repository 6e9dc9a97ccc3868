//! Calls to receivers: names resolved and checked, connections kept, certificates verified.
//!
//! What is promised:
//!
//! - Only permitted addresses are called, and the address that was checked is the one connected to.
//! - The path, the query and the body arrive byte for byte, always with a length and never in chunks.
//! - A request is written at most once. It goes to another connection only where hyper hands it back,
//!   which it does only for a request it never began to write ([`Endpoint::call`] says why).
//! - A kept connection is given up once the receiver's name no longer leads to its address.
//! - Every call ends by its deadline, and every end has one [`waypost_domain::Failure`] or an answer.

pub mod address;
mod alarm;
mod answer;
mod connect;
mod endpoint;
mod failure;
mod headers;
pub mod limits;
mod listening;
mod pool;
mod resolve;
mod socket;
mod tls;

pub use answer::{Answer, AnswerBody, BodyFault, Excerpt};
pub use endpoint::{Call, Endpoint, EndpointConfig, EndpointError, Outbound, OutboundConfig};
pub use failure::CallError;
pub use headers::{header_map, header_map_with_capacity};
pub use listening::Listening;
pub use resolve::{Names, Resolver};
pub use socket::Socket;
pub use tls::{CaFileError, read_ca_file};
