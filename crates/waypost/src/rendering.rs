//! How records are shown: the JSON shapes of the API and of `--json`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use waypost_domain::{DeliveryState, UnixMillis};
use waypost_store::{AttemptRecord, DeliveryRecord, EventRecord, RequestRecord};

/// An event as shown.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct EventView {
    pub(crate) id: String,
    pub(crate) request_id: String,
    pub(crate) source: String,
    pub(crate) kind: String,
    pub(crate) field: String,
    pub(crate) r#type: String,
    pub(crate) class: String,
    pub(crate) phone_number_id: Option<String>,
    pub(crate) display_phone_number: Option<String>,
    pub(crate) waba_id: Option<String>,
    pub(crate) conversation: Option<String>,
    pub(crate) wamid: Option<String>,
    pub(crate) key: String,
    pub(crate) occurred_at: Option<String>,
    pub(crate) received_at: String,
    pub(crate) duplicate: bool,
    /// The event that this one repeats.
    pub(crate) duplicate_of: Option<String>,
    /// Whether no route took it: it is held until an operator says to whom it goes.
    #[serde(default)]
    pub(crate) quarantined: bool,
    pub(crate) deliveries: Vec<DeliveryView>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) request: Option<RequestView>,
}

/// A delivery as shown.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct DeliveryView {
    pub(crate) id: String,
    pub(crate) destination: String,
    pub(crate) state: String,
    /// Whether later deliveries of its conversation have gone before it.
    pub(crate) overtaken: bool,
    /// Attempts made.
    pub(crate) attempts: u32,
    /// When it is due, while it is owed.
    pub(crate) due_at: Option<String>,
    pub(crate) settled_at: Option<String>,
    /// How the last attempt ended, if it failed.
    pub(crate) last_code: Option<String>,
    pub(crate) last_status: Option<u16>,
    /// Why it is not on its way, where it is shown alone and is owed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) waits_for: Option<WaitsFor>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) log: Option<Vec<AttemptView>>,
}

/// What a delivery waits for.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct WaitsFor {
    /// `destination_gone`, `paused`, `destination_down`, `conversation`, `next_attempt` or `turn`.
    pub(crate) code: String,
    /// One sentence without its full stop.
    pub(crate) what: String,
    /// The delivery that goes first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) delivery: Option<String>,
    /// The moment that it waits for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) until: Option<String>,
}

/// An attempt as shown.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct AttemptView {
    pub(crate) at: String,
    pub(crate) address: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<String>,
    pub(crate) duration_ms: f64,
    pub(crate) resolve_ms: Option<f64>,
    pub(crate) connect_ms: Option<f64>,
    pub(crate) tls_ms: Option<f64>,
    pub(crate) first_byte_ms: Option<f64>,
    /// The beginning of the receiver's answer, or a sentence on why there was none.
    pub(crate) excerpt: Option<String>,
}

/// A request as shown.
#[derive(Serialize, Deserialize, Debug, Clone)]
pub(crate) struct RequestView {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) body_sha256: String,
    pub(crate) body_bytes: u64,
    pub(crate) body_kept: bool,
    pub(crate) proved_by: Option<String>,
}

impl EventView {
    /// The view of a record. `is_sending` says whether an attempt at a delivery is under way.
    pub(crate) fn of(record: &EventRecord, is_sending: impl Fn(&DeliveryRecord) -> bool) -> Self {
        let event = &record.event;
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        Self {
            id: record.id.to_string(),
            request_id: record.request.to_string(),
            source: record.source.to_string(),
            kind: event.kind.to_string(),
            field: event.field.to_string(),
            r#type: event.r#type.to_string(),
            class: event.class.to_string(),
            phone_number_id: text(&event.phone_number_id),
            display_phone_number: text(&event.display_phone_number),
            waba_id: text(&event.waba_id),
            conversation: text(&event.conversation),
            wamid: text(&event.wamid),
            key: event.key.to_string(),
            occurred_at: event.occurred_at.map(time),
            received_at: time(record.received_at),
            duplicate: record.repeats.is_some(),
            duplicate_of: record.repeats.map(|id| id.to_string()),
            quarantined: record.quarantined,
            deliveries: record.deliveries.iter().map(|d| DeliveryView::of(d, is_sending(d))).collect(),
            request: None,
        }
    }
}

impl DeliveryView {
    /// The view of a record; `sending` says whether an attempt at it is under way.
    pub(crate) fn of(record: &DeliveryRecord, sending: bool) -> Self {
        let owed = record.state == DeliveryState::Owed;
        // The store counts failures, and people attempts.
        let succeeded = u32::from(record.state == DeliveryState::Delivered);
        Self {
            id: record.owed.id.to_string(),
            destination: record.owed.destination.to_string(),
            state: if owed && sending { "sending".to_owned() } else { record.state.to_string() },
            overtaken: record.owed.overtaken,
            attempts: record.owed.attempts + succeeded,
            due_at: owed.then(|| time(record.owed.due_at)),
            settled_at: record.settled_at.map(time),
            last_code: Some(record.last_code.to_string()).filter(|code| !code.is_empty()),
            last_status: record.last_status,
            waits_for: None,
            log: None,
        }
    }
}

impl AttemptView {
    /// The view of a record.
    pub(crate) fn of(record: &AttemptRecord) -> Self {
        let timing = &record.timing;
        let excerpt = String::from_utf8_lossy(&record.excerpt).into_owned();
        Self {
            at: time(record.at),
            address: record.address.map(|address| address.to_string()),
            status: record.status,
            code: Some(record.code.to_string()).filter(|code| !code.is_empty()),
            duration_ms: millis(timing.total),
            resolve_ms: timing.resolve.map(millis),
            connect_ms: timing.connect.map(millis),
            tls_ms: timing.tls.map(millis),
            first_byte_ms: timing.first_byte.map(millis),
            excerpt: Some(excerpt).filter(|excerpt| !excerpt.is_empty()),
        }
    }
}

impl RequestView {
    /// The view of a record.
    pub(crate) fn of(record: &RequestRecord) -> Self {
        Self {
            id: record.id.to_string(),
            target: record.target.clone(),
            body_sha256: record.body_sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            body_bytes: record.body_bytes,
            body_kept: record.body_kept,
            proved_by: record.proved_by.clone(),
        }
    }
}

/// A moment in RFC 3339, in UTC, to the millisecond.
pub(crate) fn time(at: UnixMillis) -> String {
    match Timestamp::from_millisecond(at.0) {
        Ok(timestamp) => format!("{timestamp:.3}"),
        // Beyond the years that have a date.
        Err(_) => at.to_string(),
    }
}

fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// A moment as people write it: RFC 3339, or how long before `now`, such as `2h`.
///
/// # Errors
///
/// When it is neither.
pub(crate) fn moment(text: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(UnixMillis(timestamp.as_millisecond()));
    }
    let ago = crate::config::parse_duration(text).map_err(|_| {
        format!("`{text}` is no time: write 2026-11-21T08:00:00Z, or how long ago, such as 2h")
    })?;
    Ok(now.minus(ago))
}

/// A number as Meta writes it, from one as people do: `+1 (555) 014-7720`. Anything else is left as it is.
pub(crate) fn digits(number: String) -> String {
    let written = |c: char| c.is_ascii_digit() || "+-(). ".contains(c);
    if number.chars().all(written) { number.chars().filter(char::is_ascii_digit).collect() } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        assert_eq!(time(UnixMillis(1_763_690_399_005)), "2025-11-21T01:59:59.005Z");
        assert_eq!(moment("2025-11-21T01:59:59.005Z", UnixMillis(0)), Ok(UnixMillis(1_763_690_399_005)));
        assert_eq!(moment("2h", UnixMillis(7_200_001)), Ok(UnixMillis(1)));
        assert!(moment("yesterday", UnixMillis(0)).is_err());
        time(UnixMillis(i64::MAX));
    }
}
