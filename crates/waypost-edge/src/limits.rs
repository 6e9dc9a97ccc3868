//! Limits of the public face that no other room needs to know.

use std::time::Duration;

use waypost_domain::limits::HEAD_BYTES_MAX;

/// Connections the kernel keeps waiting to be accepted.
pub const BACKLOG: u32 = 4_096;
/// TLS handshakes under way at once, all addresses together.
pub const HANDSHAKES_MAX: usize = 1_024;
/// TLS handshakes under way at once from one address; the others wait their turn within their time.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 128;
/// Handshakes that reckon at once: a few, since each keeps a processor busy.
pub const HANDSHAKE_STEPS_MAX: usize = 4;
/// How long a connection may go without any step forward while a request or its answer is under way. Longer than
/// any deadline within which an answer may come.
pub const STALL_TIME_MAX: Duration = Duration::from_secs(120);
/// How long a connection may take to end once it was told to, its requests done.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long what a refused client still sends is read and thrown away, so that it sees the refusal.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(5);
/// How much of it.
pub const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The first and the longest pause after the system refused to accept a connection.
pub const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// What is read of an HTTP/1 connection at once, and what waits to be written to it.
pub const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Connections that may be served at once before requests, bodies included, are waited for whole and only then served.
pub const EASILY_SERVED_MAX: usize = 1_024;
/// What is waited for then of one request.
pub const WAITING_BYTES_MAX: usize = 64 * 1024;
/// Memory for requests that come in parts, all connections together. What does not fit is given on as it is.
pub const ALL_WAITING_BYTES_MAX: usize = 96 * 1024 * 1024;
/// How long a connection without a request is kept ready for the next, unless told otherwise.
pub const READY_TIME: Duration = Duration::from_millis(500);
/// Streams a client may reset before they were worked on, per HTTP/2 connection.
pub const RESET_STREAMS_MAX: usize = 32;
/// Streams that may be reset for a client's errors, per HTTP/2 connection.
pub const ERROR_STREAMS_MAX: usize = 128;
/// Requests under way over HTTP/2, all connections together, beyond which a connection gets only a few: each takes some
/// seven kilobytes for as long as its client does not take the answer.
pub const STREAMS_MAX: usize = 8_192;
/// Those few.
pub const STREAMS_MIN: u32 = 4;
/// What is read of an HTTP/2 connection before others have their turn.
pub const UNBROKEN_BYTES_MAX: usize = 8 * 1024;
/// What an HTTP/2 client may send while it asks for nothing.
pub const UNASKED_BYTES_MAX: usize = 256 * 1024;
/// How often an HTTP/2 client is asked whether it still lives.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long that question may stay unanswered.
pub const PING_TIME_MAX: Duration = Duration::from_secs(10);
/// TLS sessions remembered for resumption, besides those in tickets.
pub const SESSIONS_MAX: usize = 4_096;
/// Largest certificate or key file.
pub const PEM_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Largest file of networks, and most networks in it. Meta announces some thousands.
pub const PREFIX_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most networks in one file.
pub const PREFIXES_MAX: usize = 100_000;
/// How long a named peer may take to say on whose behalf it connects.
pub const PROXY_TIME_MAX: Duration = Duration::from_secs(5);
/// Most that a header of the PROXY protocol's second version may carry besides addresses.
pub const PROXY_BYTES_MAX: usize = 4 * 1024;
/// How long connections without a request are kept at a soft stop: a request that is on its way when the stop begins is
/// still answered, with the word that the connection ends.
pub const FAREWELL_TIME: Duration = Duration::from_secs(1);

// hyper meets its own limit later than ours.
const _: () = assert!(HEAD_BYTES_MAX < BUFFER_BYTES_MAX);
