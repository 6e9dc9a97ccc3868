//! Limits of calls to receivers that no other room needs to know.

use std::time::Duration;

/// Names looked up at once, all receivers together. A lookup blocks a thread.
pub const LOOKUPS_MAX: usize = 16;
/// How long one lookup may take before the name counts as not resolving.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a failed lookup answers for the calls that were waiting for it.
pub const LOOKUP_FAILURE_TIME_MAX: Duration = Duration::from_secs(1);
/// How long addresses that once resolved are used while the resolver fails.
pub const ADDRESS_STALE_TIME_MAX: Duration = Duration::from_secs(60);
/// Addresses of one name that are considered.
pub const ADDRESSES_MAX: usize = 32;
/// Connections to one receiver kept open without a call.
pub const POOL_IDLE_CONNECTIONS_MAX: usize = 256;
/// Calls to one receiver under way at once.
pub const CALLS_MAX: usize = 4_096;
/// Largest head of an answer.
pub const ANSWER_HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header lines in an answer.
pub const ANSWER_HEADERS_MAX: usize = 256;
/// Bytes read beyond an excerpt so that the connection can be used again; past them it is closed.
pub const DRAIN_BYTES_MAX: usize = 256 * 1024;
/// How long a connection may take to become ready again after its answer before it is closed.
pub const SETTLE_TIME_MAX: Duration = Duration::from_secs(1);
/// How often an HTTP/2 connection with calls under way is asked whether it still lives.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long that question may stay unanswered.
pub const PING_TIME_MAX: Duration = Duration::from_secs(10);
/// Largest file of extra roots.
pub const CA_FILE_BYTES_MAX: u64 = 1024 * 1024;
