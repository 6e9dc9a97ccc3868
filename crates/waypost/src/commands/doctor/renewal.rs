//! The certificates that come by themselves: whether each is there, and whether its renewal goes well.

use serde_json::Value;
use waypost_domain::{Clock, UnixMillis};

use super::finding::Finding;
use super::running::Said;
use super::words::{number, span};
use crate::rendering::moment;

const CHECK: &str = "certificate";

/// Looks at each.
pub(super) fn examine(said: &Said, clock: &Clock) -> Vec<Finding> {
    let now = clock.wall();
    said.certificates.iter().map(|item| judge(item, now)).collect()
}

fn judge(item: &Value, now: UnixMillis) -> Finding {
    let at = |value: &Value| value.as_str().and_then(|text| moment(text, now).ok());
    let names: Vec<&str> = item["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let subject = names.join(", ");
    // An attempt counts as failed from its beginning, and has a reason at its end.
    let failures = item["failures"].as_u64().filter(|_| item["last_failure"].is_object()).unwrap_or(0);
    let last = item["last_failure"]["what"].as_str().unwrap_or_default();
    let next = match at(&item["next_attempt_at"]) {
        _ if item["busy"] == true => "an attempt is under way".to_owned(),
        Some(next) if next > now => format!("the next attempt is in {}", span(next.0.saturating_sub(now.0))),
        _ => "the next attempt is due now".to_owned(),
    };
    let tried = number(failures, "attempt");
    const REMEDY: &str = "See that the name leads here and that ports 80 and 443 can be reached from the internet; then `systemctl reload waypost` tries again at once";
    match at(&item["not_after"]) {
        None if failures == 0 => Finding::warning(CHECK, subject, format!("there is none yet; {next}"))
            .why("Until it is there, HTTPS is answered with an alert")
            .remedy("Wait half a minute, then ask again"),
        None => Finding::fault(
            CHECK,
            subject,
            format!("there is none: {tried} failed, the last with: {last}; {next}"),
        )
        .why("HTTPS is answered with an alert, so Meta cannot call")
        .remedy(REMEDY),
        Some(end) if end < now => Finding::fault(
            CHECK,
            subject,
            format!("it has expired, and {tried} to renew it failed, the last with: {last}; {next}"),
        )
        .why("Meta refuses the connection")
        .remedy(REMEDY),
        Some(end) if failures > 0 => {
            let left = span(end.0.saturating_sub(now.0));
            Finding::warning(
                CHECK,
                subject,
                format!("its renewal fails: {tried}, the last with: {last}; {next}"),
            )
            .why(format!("It expires in {left}, and then Meta refuses the connection"))
            .remedy(REMEDY)
        }
        Some(end) => {
            let left = span(end.0.saturating_sub(now.0));
            let next = at(&item["next_attempt_at"]).map_or(String::new(), |next| {
                format!(", renewal is due in {}", span(next.0.saturating_sub(now.0)))
            });
            Finding::ok(CHECK, subject, format!("renewed by itself: it holds for {left}{next}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Severity;
    use super::*;

    #[test]
    fn a_renewal_that_fails_is_told_before_and_after_the_certificate_has_expired() {
        let now = UnixMillis(1_790_000_000_000);
        let hour = |hours: i64| crate::rendering::time(UnixMillis(now.0 + hours * 3_600_000));
        for (not_after, failures, severity, words) in [
            (None, 0, Severity::Warning, "there is none yet; the next attempt is in 60 minutes"),
            (None, 2, Severity::Fault, "2 attempts failed, the last with: no route"),
            (Some(hour(-1)), 3, Severity::Fault, "expired"),
            (Some(hour(96)), 1, Severity::Warning, "its renewal fails: 1 attempt, the last with: no route"),
            (Some(hour(96)), 0, Severity::Ok, "it holds for 4 days, renewal is due in 60 minutes"),
        ] {
            let item = json!({
                "names": ["a.example"], "not_after": not_after, "next_attempt_at": hour(1), "busy": false,
                "failures": failures, "last_failure": { "at": hour(-1), "what": "no route" },
            });
            let finding = judge(&item, now);
            assert_eq!(finding.severity, severity, "{finding:?}");
            assert!(finding.what.contains(words), "{finding:?}");
        }
    }
}
