//! Waypost's own world, pure: the words of the house as types, with no I/O, no clock and no tokio.
//!
//! Everything here is a value or a function from values to values, so that every other room can
//! speak the same words and tests need nothing but arguments. Time comes in as [`UnixMillis`];
//! the one door to the machine's clocks is [`Clock`], which tests replace.

mod attempt;
mod delivery;
mod headers;
mod host;
mod id;
mod judgement;
mod lane;
pub mod limits;
mod pacing;
mod retry_after;
mod route;
mod schedule;
mod time;

pub use attempt::{AttemptReport, AttemptTiming, Failure, Reply};
pub use delivery::{DeliveryEvent, DeliveryState, IllegalTransition, Priority};
pub use headers::HeaderBlock;
pub use host::{HostError, Origin, OriginError, Scheme, UpstreamHost};
pub use id::{DeliveryId, EventId, IdError, RequestId};
pub use judgement::{Blame, Next, Rulings, Verdict, judge};
pub use lane::{Lane, Lanes};
pub use pacing::{Patience, Rate};
pub use retry_after::retry_after;
pub use route::{
    Facts, MATCH_VALUE_BYTES_MAX, MATCH_VALUES_MAX, Match, MatchError, MatchKey, ROUTE_VALUES_MAX,
    ROUTES_MAX, Routes,
};
pub use schedule::{RetrySchedule, ScheduleError};
pub use time::{Clock, UnixMillis};
