//! Whose fault a failed attempt is, and what follows from it.

use std::time::Duration;

use crate::{Failure, Reply, limits};

/// Whose fault it is that a delivery is not done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Blame {
    /// The receiver is unwell or overloaded.
    Receiver,
    /// Something between us and the receiver.
    Network,
    /// A wrong address, name, certificate, path or credential: an operator can mend it.
    Configuration,
    /// The receiver looked at the content and refused it for good.
    Content,
    /// We ourselves.
    Us,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The receiver has it.
    Done,
    /// Try again by the schedule, and not before `not_before` has passed.
    Retry {
        /// What the receiver asked for, at most [`limits::RETRY_AFTER_MAX`].
        not_before: Option<Duration>,
    },
    /// Trying again cannot help.
    Dead,
}

/// A judged attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What follows.
    pub next: Next,
    /// Whose fault, where there is one.
    pub blame: Option<Blame>,
    /// The stable code; empty where the attempt succeeded.
    pub code: &'static str,
}

/// What an operator has ruled of single statuses, against the rule of the house.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rulings {
    /// Statuses that are to be tried again by the schedule.
    pub retry: Vec<u16>,
    /// Statuses after which trying again is of no use.
    pub dead: Vec<u16>,
}

/// Judges how an attempt ended.
///
/// Only what an operator cannot mend and a receiver will not change its mind about is dead at once;
/// all else is retried for as long as the schedule lasts. An operator's ruling on a status wins,
/// except that a 2xx is always done.
pub fn judge(reply: &Reply, rulings: &Rulings) -> Verdict {
    match *reply {
        Reply::Answered { status, retry_after } => {
            rule(status, judge_status(status, retry_after), retry_after, rulings)
        }
        Reply::Failed(failure) => Verdict {
            next: Next::Retry { not_before: None },
            blame: Some(blame(failure)),
            code: failure.code(),
        },
    }
}

fn rule(status: u16, verdict: Verdict, retry_after: Option<Duration>, rulings: &Rulings) -> Verdict {
    match verdict.next {
        Next::Retry { .. } if rulings.dead.contains(&status) => Verdict { next: Next::Dead, ..verdict },
        Next::Dead if rulings.retry.contains(&status) => {
            Verdict { next: retry(retry_after), blame: Some(Blame::Receiver), ..verdict }
        }
        _ => verdict,
    }
}

fn retry(retry_after: Option<Duration>) -> Next {
    Next::Retry { not_before: retry_after.map(|wait| wait.min(limits::RETRY_AFTER_MAX)) }
}

fn judge_status(status: u16, retry_after: Option<Duration>) -> Verdict {
    let retry = retry(retry_after);
    let verdict = |next, blame, code| Verdict { next, blame: Some(blame), code };
    match status {
        200..=299 => Verdict { next: Next::Done, blame: None, code: "" },
        300..=399 => verdict(retry, Blame::Configuration, "receiver_redirects"),
        400 | 413 | 422 => verdict(Next::Dead, Blame::Content, "receiver_refused_content"),
        401 | 403 => verdict(retry, Blame::Configuration, "receiver_denied"),
        404 | 405 | 410 => verdict(retry, Blame::Configuration, "receiver_path_unknown"),
        429 => verdict(retry, Blame::Receiver, "receiver_throttled"),
        500..=599 => verdict(retry, Blame::Receiver, "receiver_failed"),
        408 | 425 => verdict(retry, Blame::Receiver, "receiver_not_ready"),
        _ => verdict(retry, Blame::Receiver, "receiver_answered_oddly"),
    }
}

fn blame(failure: Failure) -> Blame {
    match failure {
        Failure::NameNotResolved | Failure::AddressForbidden | Failure::CertificateRefused => {
            Blame::Configuration
        }
        Failure::ConnectRefused | Failure::TimedOut | Failure::AnswerUnreadable => Blame::Receiver,
        Failure::ConnectFailed | Failure::ConnectTimedOut | Failure::TlsFailed | Failure::ConnectionLost => {
            Blame::Network
        }
        Failure::Ours => Blame::Us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(reply: &Reply) -> Verdict {
        super::judge(reply, &Rulings::default())
    }

    fn next(status: u16) -> Next {
        judge(&Reply::Answered { status, retry_after: None }).next
    }

    #[test]
    fn only_2xx_is_done_and_only_refused_content_is_dead() {
        for status in 100..=999 {
            match status {
                200..=299 => assert_eq!(next(status), Next::Done),
                400 | 413 | 422 => assert_eq!(next(status), Next::Dead),
                _ => assert!(matches!(next(status), Next::Retry { .. }), "{status}"),
            }
        }
    }

    #[test]
    fn what_an_operator_can_mend_is_called_configuration() {
        for status in [301, 401, 403, 404, 405, 410] {
            assert_eq!(
                judge(&Reply::Answered { status, retry_after: None }).blame,
                Some(Blame::Configuration),
                "{status}"
            );
        }
        for failure in [Failure::NameNotResolved, Failure::CertificateRefused, Failure::AddressForbidden] {
            assert_eq!(judge(&Reply::Failed(failure)).blame, Some(Blame::Configuration));
        }
    }

    #[test]
    fn retry_after_is_honoured_up_to_an_hour() {
        let asked = |seconds| {
            judge(&Reply::Answered { status: 429, retry_after: Some(Duration::from_secs(seconds)) }).next
        };
        assert_eq!(asked(7), Next::Retry { not_before: Some(Duration::from_secs(7)) });
        assert_eq!(asked(86_400), Next::Retry { not_before: Some(limits::RETRY_AFTER_MAX) });
    }

    #[test]
    fn every_failure_has_a_code_of_its_own() {
        let mut codes: Vec<_> = Failure::ALL.iter().map(|failure| failure.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Failure::ALL.len());
    }

    #[test]
    fn an_operators_ruling_wins_but_a_success_is_a_success() {
        let rulings = Rulings { retry: vec![422], dead: vec![404, 200] };
        let judged = |status| super::judge(&Reply::Answered { status, retry_after: None }, &rulings);
        assert!(matches!(judged(422).next, Next::Retry { .. }));
        assert_eq!(judged(404).next, Next::Dead);
        assert_eq!(judged(200).next, Next::Done);
        assert_eq!(judged(400).next, Next::Dead);
    }
}
