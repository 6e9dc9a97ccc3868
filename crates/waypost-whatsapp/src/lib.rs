//! Meta's world, pure: bytes in, values out, with no clock, no tokio and no I/O.
//!
//! What is promised:
//!
//! - **Signatures** ([`AppSecrets::verify`]) are checked over the bytes as received, in constant time,
//!   against exactly one header, and never with an empty secret.
//! - **The handshake** ([`answer`]) echoes the challenge byte for byte, and only to a caller that knows
//!   a verify token.
//! - **Splitting** ([`split`]) never fails and never loses: any bytes become at least one [`Event`], in
//!   time linear in their number, and every event knows its kind, class, number, conversation,
//!   identity key and own bytes.
//! - **Cutting** ([`Cuts`]) makes each event a body of its own from the bytes of the body it came in.
//! - **Identity keys** are the same for every copy of an event Meta may send, and differ between any
//!   two events.
//! - **States** ([`MessageState`]) only move forward: in whatever order the statuses of a message arrive,
//!   they end in the same state.
//! - **Normalised events** ([`normal`]) have one documented, versioned shape for whatever Meta sends.
//! - **Composing** ([`compose()`]) makes payloads of every kind as Meta writes them, for tests and trials.

mod canonical;
mod change;
mod compose;
mod contact;
mod cut;
mod element;
mod envelope;
mod event;
mod field;
mod handshake;
mod json;
pub mod normal;
mod signature;
mod status;

pub use canonical::{CANONICAL_DEPTH_MAX, canonical_json};
pub use compose::{BATCH_MAX, Compose, KINDS, compose};
pub use contact::Contact;
pub use cut::{Cuts, SHARED_BYTES_MAX};
pub use envelope::{EVENT_TEXT_BYTES_MAX, EVENTS_MAX, split};
pub use event::{Class, Event, Kind, Part, Place, Split};
pub use handshake::{CHALLENGE_BYTES_MAX, HandshakeAnswer, QUERY_BYTES_MAX, VerifyToken, answer};
pub use json::TEXT_BYTES_MAX;
pub use signature::{AppSecret, AppSecrets, EmptySecret, SignatureError, SignatureHeaders, sign};
pub use status::{Advance, MessageState, MessageStatus, PARTICIPANTS_MAX, Progress, StatusUpdate};
