//! Every limit of the house, by name, units last. Those an operator may change are defaults here
//! and keys of `[limits]` or of an upstream in the configuration.

use std::time::Duration;

/// Largest request body accepted on the public listener. Meta sends up to 3 MB.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest request head: request line and headers together. Thousands of connections may hold one each.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header lines in a request.
pub const HEADERS_MAX: usize = 100;
/// Longest request target (path and query). Meta allows callback addresses of 200 characters.
pub const TARGET_BYTES_MAX: usize = 8 * 1024;
/// How long a client may take to send a request head.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to send a request body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a kept connection may stay without a request.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(75);
/// How long a TLS handshake with a client may take.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Connections open at once on the public listeners.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections open at once from one address.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 5_000;
/// Requests in progress at once on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 32;
/// Memory that request bodies may hold at once, all connections together.
pub const BODIES_IN_FLIGHT_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Accepts and settlements that may wait for the writer; beyond it accepts are refused with 503.
pub const WRITER_QUEUE_MAX: usize = 4_096;
/// Bytes of request bodies that may wait for the writer.
pub const WRITER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Operations that one commit may take along.
pub const COMMIT_OPERATIONS_MAX: usize = 512;
/// Bytes of bodies that one commit may take along.
pub const COMMIT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long an accept may wait for its commit before the caller is told 503.
pub const ACCEPT_TIME_MAX: Duration = Duration::from_secs(4);
/// How long an accepted identity key suppresses repeats. Meta retries for 7 days.
pub const DEDUPE_WINDOW: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// Bytes of a receiver's response kept with an attempt.
pub const RESPONSE_EXCERPT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a receiver's response passed on in relay mode.
pub const RELAY_RESPONSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Deadline of a relayed GET: Meta's verifier gives up after 6 s.
pub const RELAY_GET_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// Deadline of one attempt, unless the destination says otherwise.
pub const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(15);
/// Deadline for connecting, unless the destination says otherwise.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Attempts in flight at one destination, unless it says otherwise.
pub const CONCURRENCY_MAX: usize = 64;

/// Requests waiting to be made durable at which acceptance takes precedence over delivery.
pub const WAITING_HIGH: usize = 32;
/// Attempts that each destination may then have under way.
pub const ATTEMPTS_UNDER_PRESSURE: usize = 4;

/// Attempts in flight at all destinations together; beyond it each still has [`ATTEMPTS_MIN`].
pub const ATTEMPTS_MAX: usize = 1_024;
/// Attempts that every destination may have in flight, whatever others do.
pub const ATTEMPTS_MIN: usize = 4;

/// Owed deliveries of one destination held in memory; at a time, so many of its conversations at most can be held
/// up by a delivery that fails before others must wait for them.
pub const LANE_WINDOW_MAX: usize = 16_384;
/// Owed deliveries of all destinations together held in memory; beyond it each still has [`LANE_WINDOW_MIN`].
pub const LANE_WINDOWS_MAX: usize = 65_536;
/// Owed deliveries that every destination may hold in memory, whatever others do.
pub const LANE_WINDOW_MIN: usize = 256;
/// Deliveries that expire at once while their destination is down.
pub const EXPIRED_AT_ONCE_MAX: usize = 256;
/// Bytes of bodies kept in memory for deliveries about to be attempted.
pub const BODY_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long resolved addresses are used before they are looked up again.
pub const ADDRESS_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a pooled connection to a receiver may idle.
pub const POOL_IDLE_TIME_MAX: Duration = Duration::from_secs(50);

/// How long a graceful stop waits for requests and attempts in flight.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(20);

// A body must fit the budgets it passes through.
const _: () = assert!(BODY_BYTES_MAX <= WRITER_QUEUE_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX <= COMMIT_BYTES_MAX);
const _: () = assert!(WRITER_QUEUE_BYTES_MAX <= BODIES_IN_FLIGHT_BYTES_MAX);
// Accepting, and relaying a handshake, must end before Meta loses patience.
const _: () = assert!(ACCEPT_TIME_MAX.as_millis() < RELAY_GET_TIME_MAX.as_millis());
const _: () = assert!(RELAY_GET_TIME_MAX.as_millis() < 6_000);
const _: () = assert!(CONNECT_TIME_MAX.as_millis() <= ATTEMPT_TIME_MAX.as_millis());
// What every destination is sure of leaves room for more.
const _: () = assert!(LANE_WINDOW_MIN < LANE_WINDOW_MAX && LANE_WINDOW_MAX < LANE_WINDOWS_MAX);
const _: () = assert!(ATTEMPTS_MIN < CONCURRENCY_MAX && CONCURRENCY_MAX < ATTEMPTS_MAX);
