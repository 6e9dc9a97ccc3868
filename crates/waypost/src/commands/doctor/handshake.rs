//! The handshake by which Meta takes an address on: a GET with a token and a challenge ("Create a webhook endpoint",
//! Verification requests).

use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::uri::PathAndQuery;
use http::{Method, StatusCode};
use waypost_domain::Clock;

use super::super::query::escaped;
use super::callback::META;
use super::finding::{Finding, Report, one_line};
use super::reach::millis;
use super::speak::{Heard, Said, Silence, Way};
use crate::chance;

const CHECK: &str = "handshake";
/// When Meta's verifier gave up: "Connection timed out after 6000 milliseconds" (Graph API error 2200). It is not
/// documented.
const PATIENCE: Duration = Duration::from_secs(6);
/// Half of it is too near.
const SLOW: Duration = Duration::from_secs(3);
/// As Meta's verifier calls itself.
const USER_AGENT: &str = "facebookplatform/1.0 (+http://developers.facebook.com)";
/// Of an answer that is shown.
const EXCERPT_CHARS_MAX: usize = 80;

/// Tries a token that cannot be right, at every address.
pub(super) async fn wrong(
    ways: &[Way],
    path_and_query: &PathAndQuery,
    clock: &Clock,
    report: &mut Report,
) -> anyhow::Result<()> {
    for way in ways {
        let token = chance::hex::<12>()?;
        let challenge = digits()?;
        let heard = ask(way, path_and_query, &token, &challenge, clock).await;
        report.say(judge_wrong(&way.address.to_string(), heard, &challenge));
    }
    Ok(())
}

/// Tries the right token, at every address, with a challenge as Meta sends it and with one as it may.
pub(super) async fn right(
    ways: &[Way],
    path_and_query: &PathAndQuery,
    token: &str,
    clock: &Clock,
    report: &mut Report,
) -> anyhow::Result<()> {
    for way in ways {
        let subject = way.address.to_string();
        let challenge = digits()?;
        let heard = ask(way, path_and_query, token, &challenge, clock).await;
        let findings = judge_right(&subject, heard, &challenge);
        let echoed = findings.iter().any(|finding| finding.severity == super::finding::Severity::Ok);
        report.say(findings);
        if !echoed {
            continue;
        }
        // Meta's pages call it "an int" in one place and "a random string" in another.
        let challenge = format!("00{}-Ab", digits()?);
        let heard = ask(way, path_and_query, token, &challenge, clock).await;
        let is_same = matches!(&heard, Ok(heard) if heard.body == challenge.as_bytes());
        if !is_same {
            report.say([Finding::warning(
                CHECK,
                &subject,
                "a challenge with letters or leading zeros does not come back as it is",
            )
            .why("Meta's pages call the challenge a random string; today it sends digits")
            .remedy("Let the receiver echo the challenge as text, without reading it as a number")]);
        }
    }
    Ok(())
}

/// Ten digits, as Meta's challenges have.
fn digits() -> anyhow::Result<String> {
    let number = u64::from_str_radix(&chance::hex::<7>()?, 16)?;
    Ok((1_000_000_000 + number % 9_000_000_000).to_string())
}

async fn ask(
    way: &Way,
    path_and_query: &PathAndQuery,
    token: &str,
    challenge: &str,
    clock: &Clock,
) -> Result<Heard, Silence> {
    let separator = if path_and_query.query().is_some() { '&' } else { '?' };
    let target = format!(
        "{path_and_query}{separator}hub.mode=subscribe&hub.challenge={}&hub.verify_token={}",
        escaped(challenge),
        escaped(token)
    );
    let path_and_query = PathAndQuery::try_from(target).map_err(|error| Silence::Cut(error.to_string()))?;
    let said = Said {
        method: Method::GET,
        path_and_query,
        headers: Vec::new(),
        user_agent: USER_AGENT,
        body: Bytes::new(),
    };
    way.ask(said, PATIENCE, clock).await
}

fn judge_wrong(subject: &str, heard: Result<Heard, Silence>, challenge: &str) -> Vec<Finding> {
    let heard = match heard {
        Ok(heard) => heard,
        Err(silence) => return vec![silent(subject, &silence)],
    };
    let Heard { status, took, .. } = &heard;
    let mut findings = slow(subject, *took);
    findings.push(
        if heard.body.windows(challenge.len()).any(|part| part == challenge.as_bytes()) && status.is_success()
        {
            Finding::fault(CHECK, subject, "a wrong verify token is accepted")
                .why("Anybody can register this address with an app of their own, and send it what they like")
                .remedy("Let the receiver compare hub.verify_token, and answer 403 where it differs")
        } else if status.is_redirection() {
            redirected(subject, &heard)
        } else if status.is_success() {
            Finding::warning(
                CHECK,
                subject,
                format!(
                    "a wrong verify token is answered {status} and something else than the challenge: {}",
                    excerpt(&heard.body)
                ),
            )
            .why("Whatever answers here may not be a webhook receiver")
            .remedy(
                "Look whether the path is right, and whether a page or a login stands before the receiver",
            )
        } else if matches!(*status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            Finding::warning(
                CHECK,
                subject,
                format!("a wrong verify token is answered {status} in {}", millis(*took)),
            )
            .why("The receiver may refuse wrong tokens so; more often the path is wrong")
            .remedy("Give --verify-token to find out")
        } else if matches!(status.as_u16(), 502..=504) {
            Finding::fault(
                CHECK,
                subject,
                format!("answered {status}: the proxy does not get through to its receiver"),
            )
            .why(format!("{META} takes any status but 200 for a failure"))
            .remedy(
                "Look whether the receiver behind it runs; on a Waypost, `waypost doctor` there says more",
            )
        } else if status.is_server_error() {
            Finding::warning(CHECK, subject, format!("a wrong verify token is answered {status}"))
                .why("The receiver fails instead of refusing; it may fail for Meta's too")
                .remedy("Look at the receiver's log")
        } else {
            Finding::ok(
                CHECK,
                subject,
                format!("a wrong verify token is refused with {status} in {}", millis(*took)),
            )
        },
    );
    findings
}

fn judge_right(subject: &str, heard: Result<Heard, Silence>, challenge: &str) -> Vec<Finding> {
    let heard = match heard {
        Ok(heard) => heard,
        Err(silence) => return vec![silent(subject, &silence)],
    };
    let Heard { status, took, body, .. } = &heard;
    let mut findings = slow(subject, *took);
    let why = format!("{META} takes the address on only for status 200 and exactly the challenge");
    let text = String::from_utf8_lossy(body);
    findings.push(if *status == StatusCode::OK && body == challenge.as_bytes() {
        Finding::ok(CHECK, subject, format!("the challenge came back byte for byte in {}", millis(*took)))
    } else if status.is_redirection() {
        redirected(subject, &heard)
    } else if matches!(status.as_u16(), 401 | 403) {
        Finding::fault(CHECK, subject, format!("the verify token is refused with {status}"))
            .why(why)
            .remedy("Compare the token with the receiver's, in Chatwoot the inbox's own; or find the firewall or login that answers instead of it")
    } else if !status.is_success() {
        Finding::fault(CHECK, subject, format!("the right verify token is answered {status}"))
            .why(why)
            .remedy("Compare path and token with the receiver's configuration, and look at its log")
    } else if body == challenge.as_bytes() {
        Finding::fault(CHECK, subject, format!("the challenge came back with status {status}"))
            .why(why)
            .remedy("Answer 200")
    } else if text.trim_start_matches('\u{feff}').trim() == challenge {
        Finding::fault(CHECK, subject, format!("the challenge came back with spaces, a line break or a byte order mark around it: {}", excerpt(body)))
            .why(why)
            .remedy("Answer the challenge alone, without a line break")
    } else if text.trim().trim_matches('"') == challenge {
        Finding::fault(CHECK, subject, format!("the challenge came back as JSON text, in quotes: {}", excerpt(body)))
            .why(why)
            .remedy("Answer the challenge as plain text")
    } else {
        Finding::fault(CHECK, subject, format!("something else than the challenge came back: {}", excerpt(body)))
            .why(why)
            .remedy("Answer hub.challenge as it came, percent-decoded once, and nothing else")
    });
    findings
}

fn slow(subject: &str, took: Duration) -> Vec<Finding> {
    if took <= SLOW {
        return Vec::new();
    }
    vec![
        Finding::warning(CHECK, subject, format!("the answer took {}", millis(took)))
            .why(format!("{META} was seen to give the handshake up after {} s", PATIENCE.as_secs()))
            .remedy(
                "Find out what takes so long; a verify_token on the upstream lets Waypost answer at once",
            ),
    ]
}

/// No whole answer.
fn silent(subject: &str, silence: &Silence) -> Finding {
    match silence {
        Silence::TooSlow => {
            Finding::fault(CHECK, subject, format!("no answer within {} s", PATIENCE.as_secs()))
                .why(format!("{META} was seen to give the handshake up by then"))
                .remedy(
                    "Find out what takes so long; a verify_token on the upstream lets Waypost answer at once",
                )
        }
        Silence::Cut(what) => Finding::fault(CHECK, subject, what)
            .why(format!("{META} takes it for a failure"))
            .remedy("Look at the log of whatever listens there"),
    }
}

/// An answer that leads elsewhere.
pub(super) fn redirected(subject: &str, heard: &Heard) -> Finding {
    let location = heard.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
    // Its query may hold the token.
    let location = location.split('?').next().unwrap_or_default();
    Finding::fault("redirect", subject, format!("answered {} to {location}", heard.status))
        .why(format!("{META} does not follow redirects of events, so none arrives"))
        .remedy("Give Meta the final address, or let the server answer under this one")
}

/// The beginning of an answer for people.
pub(super) fn excerpt(body: &[u8]) -> String {
    if body.is_empty() {
        return "nothing".to_owned();
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_CHARS_MAX)]).into_owned();
    let mut short: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    if short.len() < text.len() || body.len() > 4 * EXCERPT_CHARS_MAX {
        short.push('…');
    }
    format!("`{}`", one_line(&short))
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn heard(status: u16, body: &str) -> Result<Heard, Silence> {
        Ok(Heard {
            status: StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            took: Duration::from_millis(20),
        })
    }

    #[test]
    fn only_the_challenge_itself_with_200_is_right() {
        for (status, body, severity) in [
            (200, "1158201444", Severity::Ok),
            (201, "1158201444", Severity::Fault),
            (200, "1158201444\n", Severity::Fault),
            (200, "\u{feff}1158201444", Severity::Fault),
            (200, "\"1158201444\"", Severity::Fault),
            (200, "<html>", Severity::Fault),
            (200, "", Severity::Fault),
            (403, "1158201444", Severity::Fault),
            (302, "", Severity::Fault),
            (500, "", Severity::Fault),
        ] {
            let findings = judge_right("a", heard(status, body), "1158201444");
            assert_eq!(findings.last().unwrap().severity, severity, "{status} {body:?}: {findings:?}");
        }
    }

    #[test]
    fn a_wrong_token_must_be_refused() {
        for (status, body, severity) in [
            (403, "", Severity::Ok),
            (401, "no", Severity::Ok),
            (400, "no", Severity::Ok),
            (404, "", Severity::Warning),
            (200, "<html>", Severity::Warning),
            (500, "", Severity::Warning),
            (502, "", Severity::Fault),
            (200, "1158201444", Severity::Fault),
            (200, "{\"challenge\":\"1158201444\"}", Severity::Fault),
            (301, "", Severity::Fault),
        ] {
            let findings = judge_wrong("a", heard(status, body), "1158201444");
            assert_eq!(findings.last().unwrap().severity, severity, "{status} {body:?}: {findings:?}");
        }
    }

    #[test]
    fn challenges_are_ten_digits() {
        for _ in 0..50 {
            let challenge = digits().unwrap();
            assert!(
                challenge.len() == 10 && challenge.bytes().all(|byte| byte.is_ascii_digit()),
                "{challenge}"
            );
        }
    }
}
