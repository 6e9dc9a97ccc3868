//! Test events, posted as Meta posts events: signed, signed wrongly, not signed, and as large as they come.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use waypost_domain::Clock;
use waypost_whatsapp::{AppSecret, Compose, compose, sign};

use super::callback::META;
use super::finding::{Finding, Report};
use super::handshake::{excerpt, redirected};
use super::reach::millis;
use super::speak::{Heard, Said, Silence, Way};
use crate::chance;

const CHECK: &str = "post";
/// How long an answer is waited for: the longest that anybody says Meta waits. Meta's pages name no time.
const PATIENCE: Duration = Duration::from_secs(20);
/// The shortest that anybody says Meta waits.
const SLOW: Duration = Duration::from_secs(3);
/// Meta's largest body ("Webhooks", Payload size).
const BODY_BYTES_MAX: usize = 3_000_000;
/// As Meta calls itself.
const USER_AGENT: &str = "facebookexternalua";
/// The ids of the test events of Meta's dashboard, which belong to nobody.
const NOBODY: Compose<'static> = Compose {
    phone_number_id: "123456123",
    display_phone_number: "16505551111",
    waba_id: "0",
    contact: "16315551181",
    sequence: 0,
    timestamp_s: 1_504_902_988,
    text: Some("a test by waypost doctor"),
    batch_size: 1,
};

/// How an event is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Signed {
    Right,
    Wrong,
    Not,
}

/// Posts, and judges the answers. `much` tells whether the largest is to be posted too.
pub(super) async fn examine(
    way: &Way,
    path_and_query: &PathAndQuery,
    secret: Option<&AppSecret>,
    much: bool,
    clock: &Clock,
    report: &mut Report,
) -> anyhow::Result<()> {
    let subject = way.address.to_string();
    let sequence = u64::from_str_radix(&chance::hex::<6>()?, 16)?;
    let compose = Compose { sequence, timestamp_s: clock.wall().0 / 1_000, ..NOBODY };
    let Some(event) = compose_text(&compose) else { return Ok(()) };
    let poster = Poster { way, path_and_query, secret, clock };
    let unsigned = poster.post(event.clone(), Signed::Not).await;
    let is_open = matches!(&unsigned, Ok(heard) if heard.status.is_success());
    match secret {
        Some(_) => {
            report.say(refused(&subject, "an unsigned event", &unsigned));
            let wrong = poster.post(event.clone(), Signed::Wrong).await;
            report.say(refused(&subject, "an event that is signed wrongly", &wrong));
            let right = poster.post(event.clone(), Signed::Right).await;
            report.say(taken(&subject, "the signed event", &right));
        }
        None => report.say(unproved(&subject, &unsigned)),
    }
    if !much {
        return Ok(());
    }
    if secret.is_none() && !is_open {
        report.say([Finding::note(
            "size",
            &subject,
            "a large event was not tried: unsigned ones are refused",
        )
        .remedy("Give --app-secret too")]);
        return Ok(());
    }
    let signed = if secret.is_some() { Signed::Right } else { Signed::Not };
    let heard = poster.post(padded(event), signed).await;
    report.say(large(&subject, &heard));
    Ok(())
}

fn compose_text(parts: &Compose<'_>) -> Option<String> {
    compose("text", parts)
}

/// The same event, as large as Meta's largest: JSON with space at its end is the same JSON.
fn padded(mut event: String) -> String {
    let missing = BODY_BYTES_MAX.saturating_sub(event.len());
    event.extend(std::iter::repeat_n(' ', missing));
    event
}

struct Poster<'a> {
    way: &'a Way,
    path_and_query: &'a PathAndQuery,
    secret: Option<&'a AppSecret>,
    clock: &'a Clock,
}

impl Poster<'_> {
    async fn post(&self, event: String, signed: Signed) -> Result<Heard, Silence> {
        let mut headers = vec![(CONTENT_TYPE, "application/json".to_owned())];
        let signature = match (signed, self.secret) {
            (Signed::Not, _) | (_, None) => None,
            (Signed::Right, Some(secret)) => Some(sign(secret, event.as_bytes())),
            (Signed::Wrong, Some(secret)) => Some(sign(secret, b"not these bytes")),
        };
        if let Some(signature) = signature {
            headers.push((HeaderName::from_static("x-hub-signature"), signature.sha1));
            headers.push((HeaderName::from_static("x-hub-signature-256"), signature.sha256));
        }
        let said = Said {
            method: Method::POST,
            path_and_query: self.path_and_query.clone(),
            headers,
            user_agent: USER_AGENT,
            body: Bytes::from(event),
        };
        self.way.ask(said, PATIENCE, self.clock).await
    }
}

/// What must have been refused.
fn refused(subject: &str, which: &str, heard: &Result<Heard, Silence>) -> Vec<Finding> {
    let heard = match heard {
        Ok(heard) => heard,
        Err(silence) => return vec![silent(subject, which, silence)],
    };
    let status = heard.status;
    vec![if status.is_success() {
        Finding::fault(CHECK, subject, format!("{which} is accepted with {status}"))
            .why("Anybody who knows the address can make up messages and statuses")
            .remedy("Let X-Hub-Signature-256 be verified: app_secrets on the upstream does it at the edge")
    } else if status.is_redirection() {
        redirected(subject, heard)
    } else if status.is_client_error() {
        Finding::ok(CHECK, subject, format!("{which} is refused with {status} in {}", millis(heard.took)))
    } else {
        Finding::warning(CHECK, subject, format!("{which} is answered {status}"))
            .why("It fails instead of being refused")
            .remedy("Look at the receiver's log")
    }]
}

/// What must have been taken.
fn taken(subject: &str, which: &str, heard: &Result<Heard, Silence>) -> Vec<Finding> {
    let heard = match heard {
        Ok(heard) => heard,
        Err(silence) => return vec![silent(subject, which, silence)],
    };
    let Heard { status, took, body, .. } = heard;
    let again = format!(
        "{META} takes it for a failure, and sends the event again for up to seven days, then drops it"
    );
    let mut findings = vec![if *status == StatusCode::OK {
        Finding::ok(CHECK, subject, format!("{which} is accepted in {}", millis(*took)))
    } else if status.is_success() {
        Finding::warning(CHECK, subject, format!("{which} is answered {status}"))
            .why("Meta's pages say that every status but 200 is tried again")
            .remedy("Answer exactly 200")
    } else if status.is_redirection() {
        redirected(subject, heard)
    } else if matches!(status.as_u16(), 401 | 403) {
        Finding::fault(CHECK, subject, format!("{which} is refused with {status}: {}", excerpt(body)))
            .why(again)
            .remedy("Compare the app secret with the receiver's (App Dashboard, Basic settings); else look for what changes the body on its way, or for a firewall")
    } else {
        Finding::fault(CHECK, subject, format!("{which} is answered {status}: {}", excerpt(body)))
            .why(again)
            .remedy("Look at the receiver's log")
    }];
    if *took > SLOW {
        findings.push(
            Finding::warning(CHECK, subject, format!("the answer took {}", millis(*took)))
                .why("Meta does not say how long it waits; from 3 s on there are reports that it does not, and slow answers make it slow down")
                .remedy("Answer before working: `mode = \"store\"` answers in milliseconds"),
        );
    }
    findings
}

/// An unsigned event where nobody said whether signatures are asked for.
fn unproved(subject: &str, heard: &Result<Heard, Silence>) -> Vec<Finding> {
    match heard {
        Ok(heard) if heard.status.is_success() => {
            let mut findings = taken(
                subject,
                "the unsigned event",
                &Ok(Heard {
                    status: heard.status,
                    headers: heard.headers.clone(),
                    body: heard.body.clone(),
                    took: heard.took,
                }),
            );
            findings.push(
                Finding::warning(CHECK, subject, "unsigned events are accepted")
                    .why("Anybody who knows the address can make up messages and statuses")
                    .remedy("Let X-Hub-Signature-256 be verified: app_secrets on the upstream does it at the edge"),
            );
            findings
        }
        heard => refused(subject, "an unsigned event", heard),
    }
}

fn large(subject: &str, heard: &Result<Heard, Silence>) -> Vec<Finding> {
    const CHECK: &str = "size";
    let which = "an event of 3 MB";
    let why = "Meta sends bodies of up to 3 MB, and sends a refused one again for up to seven days";
    let remedy =
        "Raise the limit of whatever stands before the receiver to 4 MiB (nginx: client_max_body_size)";
    match heard {
        Ok(heard) if heard.status.is_success() => {
            vec![Finding::ok(CHECK, subject, format!("{which} is accepted in {}", millis(heard.took)))]
        }
        Ok(heard) => vec![
            Finding::fault(CHECK, subject, format!("{which} is answered {}", heard.status))
                .why(why)
                .remedy(remedy),
        ],
        Err(Silence::TooSlow) => vec![silent(subject, which, &Silence::TooSlow)],
        Err(Silence::Cut(what)) => {
            vec![
                Finding::fault(CHECK, subject, format!("{which} is cut off: {what}")).why(why).remedy(remedy),
            ]
        }
    }
}

fn silent(subject: &str, which: &str, silence: &Silence) -> Finding {
    match silence {
        Silence::TooSlow => {
            Finding::fault(CHECK, subject, format!("{which}: no answer within {} s", PATIENCE.as_secs()))
                .why(format!("Nobody says that {META} waits longer"))
                .remedy("Answer before working: `mode = \"store\"` answers in milliseconds")
        }
        Silence::Cut(what) => Finding::fault(CHECK, subject, format!("{which}: {what}"))
            .why(format!("{META} takes it for a failure"))
            .remedy("Look at the log of whatever listens there"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn heard(status: u16, took: u64) -> Result<Heard, Silence> {
        Ok(Heard {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: Bytes::new(),
            took: Duration::from_millis(took),
        })
    }

    fn worst(findings: &[Finding]) -> Severity {
        findings.iter().map(|finding| finding.severity).max().unwrap()
    }

    #[test]
    fn answers_are_judged_as_meta_would() {
        for (status, took, severity) in [
            (200, 20, Severity::Ok),
            (200, 4_000, Severity::Warning),
            (202, 20, Severity::Warning),
            (301, 20, Severity::Fault),
            (401, 20, Severity::Fault),
            (500, 20, Severity::Fault),
        ] {
            assert_eq!(worst(&taken("a", "it", &heard(status, took))), severity, "{status} {took}");
        }
        for (status, severity) in [
            (401, Severity::Ok),
            (403, Severity::Ok),
            (200, Severity::Fault),
            (204, Severity::Fault),
            (500, Severity::Warning),
        ] {
            assert_eq!(worst(&refused("a", "it", &heard(status, 20))), severity, "{status}");
        }
        for (status, severity) in [(200, Severity::Warning), (401, Severity::Ok)] {
            assert_eq!(worst(&unproved("a", &heard(status, 20))), severity, "{status}");
        }
        for (status, severity) in [(200, Severity::Ok), (413, Severity::Fault)] {
            assert_eq!(worst(&large("a", &heard(status, 20))), severity, "{status}");
        }
        assert_eq!(worst(&large("a", &Err(Silence::Cut("reset".to_owned())))), Severity::Fault);
        assert_eq!(worst(&refused("a", "it", &Err(Silence::TooSlow))), Severity::Fault);
    }

    #[test]
    fn the_large_event_is_the_same_event_and_as_large_as_metas() {
        let event = compose_text(&NOBODY).unwrap();
        let large = padded(event.clone());
        assert_eq!(large.len(), BODY_BYTES_MAX);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&large).unwrap(),
            serde_json::from_str::<serde_json::Value>(&event).unwrap()
        );
    }
}
