//! Certificates got and renewed by themselves, from an ACME authority (RFC 8555).
//!
//! What is promised:
//!
//! - A certificate that is served goes on being served while its renewal fails, however often.
//! - No misconfiguration and no crash loop uses up the authority's limits: every attempt is written down before the
//!   authority hears of it, and the budget and the waits between attempts are kept over restarts ([`limits`]).
//! - Renewal is when the authority says (RFC 9773), else at two thirds of the lifetime, however short that is.
//! - Why there is no certificate yet, and when the next attempt is, can always be shown ([`Acme::status`]).
//! - Keys leave this room only for the [`Keep`] and for the handshake; they are in no log and no error.

mod account;
mod certificate;
mod challenges;
mod charge;
mod keep;
mod keeper;
pub mod limits;
mod order;
mod schedule;
mod settings;
mod transport;

pub use certificate::{Certificate, CertificateError};
pub use challenges::{ChallengeKind, Challenges};
pub use charge::{CertificateStatus, LastError};
pub use keep::{Keep, KeepError, KeepFuture};
pub use keeper::{Acme, AcmeCounters};
pub use settings::{ExternalAccount, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Settings, SettingsError};
