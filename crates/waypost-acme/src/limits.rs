//! Limits towards the authority, and of what is waited for.

use std::time::Duration;

/// Attempts for one certificate within [`BUDGET_TIME`]. Let's Encrypt forgives five failed validations of a name an
/// hour (its page "Rate Limits").
pub const ATTEMPTS_MAX: usize = 4;
/// The time within which attempts are counted.
pub const BUDGET_TIME: Duration = Duration::from_secs(60 * 60);
/// Certificates kept at once. Together with [`ATTEMPTS_MAX`] this stays within Let's Encrypt's 300 orders in three
/// hours.
pub const CERTIFICATES_MAX: usize = 25;
/// Names in one certificate, as most authorities have it.
pub const NAMES_MAX: usize = 100;
/// The wait after the first failure; each further one doubles it.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(60);
/// The longest wait after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// The longest `Retry-After` of the authority that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the authority is asked when to renew, unless it says otherwise (RFC 9773, section 4.3.3).
pub const RENEWAL_INFO_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// The bounds of what it may say otherwise (RFC 9773, section 4.3.2).
pub const RENEWAL_INFO_EVERY_BOUNDS: (Duration, Duration) =
    (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));
/// How long one call to the authority may take.
pub const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// How long one attempt may take, all calls and validations together.
pub const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// The first and the longest pause between two looks at an order under way.
pub const POLL_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Times an attempt goes on with its order after a momentary fault, such as a nonce that was not taken.
pub const RESUMES_MAX: usize = 8;
/// Largest answer of the authority.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Origins that one authority may spread its addresses over.
pub const ORIGINS_MAX: usize = 8;
/// How long the schedule sleeps at most before it looks at the wall clock again.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);

const _: () = assert!(ATTEMPTS_MAX * CERTIFICATES_MAX * 3 <= 300);
