//! One certificate that is to be kept, and how it is doing.

use waypost_domain::UnixMillis;

use crate::certificate::{Certificate, Kept};
use crate::schedule::{Diary, renewal};

/// How one certificate is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateStatus {
    /// The names it is for.
    pub names: Vec<String>,
    /// The first moment it is valid, where there is one.
    pub not_before: Option<UnixMillis>,
    /// The last moment it is valid.
    pub not_after: Option<UnixMillis>,
    /// When the next attempt is due.
    pub next_attempt_at: UnixMillis,
    /// Whether an attempt is under way.
    pub busy: bool,
    /// Failures since the last success.
    pub failures: u32,
    /// The last failure, unless there was a success since.
    pub last_error: Option<LastError>,
}

impl CertificateStatus {
    /// Why nobody can be served under these names, if nobody can.
    pub fn unready(&self, now: UnixMillis) -> Option<String> {
        let names = self.names.join(", ");
        let trouble = match self.not_after {
            None => format!("there is no certificate for {names} yet"),
            Some(end) if end < now => format!("the certificate for {names} has expired"),
            Some(_) => return None,
        };
        match &self.last_error {
            Some(error) => Some(format!("{trouble}: {}", error.sentence)),
            None => Some(trouble),
        }
    }
}

/// A failure and its moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastError {
    /// When it happened.
    pub at: UnixMillis,
    /// What happened, in a sentence for the operator.
    pub sentence: String,
}

/// One certificate to be kept.
#[derive(Clone)]
pub(crate) struct Charge {
    pub(crate) names: Vec<String>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) diary: Diary,
    /// When it is to be renewed; at once where there is none.
    pub(crate) renew_at: UnixMillis,
    /// When the authority is to be asked when that is.
    pub(crate) ask_at: UnixMillis,
    pub(crate) busy: bool,
    /// Its certificate, while it is served but could not be kept.
    pub(crate) unkept: Option<Kept>,
}

impl Charge {
    pub(crate) fn of(names: Vec<String>) -> Self {
        Self {
            names,
            certificate: None,
            diary: Diary::default(),
            renew_at: UnixMillis::default(),
            ask_at: UnixMillis::default(),
            busy: false,
            unkept: None,
        }
    }

    /// This is its certificate now.
    pub(crate) fn hold(&mut self, certificate: Option<Certificate>, roll: u64) {
        self.renew_at = certificate
            .as_ref()
            .map_or(UnixMillis::default(), |held| renewal(held.not_before, held.not_after, roll));
        self.ask_at = UnixMillis::default();
        self.certificate = certificate;
    }

    pub(crate) fn attempt_at(&self) -> UnixMillis {
        self.renew_at.max(self.diary.allowed_at())
    }

    /// When there is something to do for it.
    pub(crate) fn next(&self) -> UnixMillis {
        match self.certificate {
            Some(_) => self.attempt_at().min(self.ask_at),
            None => self.attempt_at(),
        }
    }

    pub(crate) fn status(&self) -> CertificateStatus {
        CertificateStatus {
            names: self.names.clone(),
            not_before: self.certificate.as_ref().map(|certificate| certificate.not_before),
            not_after: self.certificate.as_ref().map(|certificate| certificate.not_after),
            next_attempt_at: self.attempt_at(),
            busy: self.busy,
            failures: self.diary.failures,
            last_error: self
                .diary
                .error
                .as_ref()
                .filter(|_| !self.busy)
                .map(|error| LastError { at: error.at, sentence: error.sentence.clone() }),
        }
    }
}
