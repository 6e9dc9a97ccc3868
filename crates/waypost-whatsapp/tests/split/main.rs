//! What splitting promises, on composed, hostile and arbitrary bodies.

#![expect(clippy::unwrap_used, reason = "clippy does not see that these are tests throughout")]

mod composed;
mod conversations;
mod cutting;
mod hazards;
mod properties;
mod statuses;
mod variants;

use aws_lc_rs::digest;
use serde_json::Value;
use waypost_whatsapp::{Event, split};

/// SHA-256 of a value written anew by `serde_json`, which sorts members: a second opinion on
/// canonical writing, for values without exotic numbers.
fn hash(value: &Value) -> String {
    let sum = digest::digest(&digest::SHA256, value.to_string().as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A body with one change.
fn body(field: &str, value: &str) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"288","time":1790000000,"changes":[{{"field":"{field}","value":{value}}}]}}]}}"#
    )
}

/// A value with `metadata`.
fn value(members: &str) -> String {
    format!(r#"{{"metadata":{{"display_phone_number":"1555","phone_number_id":"301"}},{members}}}"#)
}

/// The one event of a body.
#[track_caller]
fn only(body: &str) -> Event<'_> {
    let mut events = split(body.as_bytes()).events;
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

/// The keys of a body's events.
fn keys(body: &str) -> Vec<String> {
    split(body.as_bytes()).events.into_iter().map(|event| event.key).collect()
}
