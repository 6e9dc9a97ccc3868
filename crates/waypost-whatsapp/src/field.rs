//! Every webhook field: the arrays its value may hold, and what a value is as a whole.
//!
//! After Meta's webhook reference, one page per field; `standby`, `message_echoes` and
//! `tracking_events` after what is seen on the wire.

use std::borrow::Cow;

use crate::canonical;
use crate::change::Change;
use crate::contact::{Person, Profile};
use crate::element::{Reading, Shape, join};
use crate::event::Kind;
use crate::json::Value;

/// An array that a value may hold.
pub(crate) struct Array {
    pub(crate) member: &'static str,
    /// The name in [`crate::Part::Element`].
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
}

const fn array(member: &'static str, shape: Shape) -> Array {
    Array { member, name: member, shape }
}

const fn in_standby(member: &'static str, name: &'static str, shape: Shape) -> Array {
    Array { member, name, shape }
}

static MESSAGES: [Array; 4] = [
    array("messages", Shape::Message),
    array("statuses", Shape::Status),
    array("errors", Shape::Error),
    array("user_actions", Shape::Action),
];
static ECHOES: [Array; 2] = [array("message_echoes", Shape::Echo), array("errors", Shape::Error)];
static STATE_SYNC: [Array; 2] = [array("state_sync", Shape::ContactSync), array("errors", Shape::Error)];
static HISTORY: [Array; 4] = [
    array("history", Shape::HistoryChunk),
    array("messages", Shape::HistoryMessage),
    array("message_echoes", Shape::HistoryMessage),
    array("errors", Shape::Error),
];
static CALLS: [Array; 3] =
    [array("calls", Shape::Call), array("statuses", Shape::CallStatus), array("errors", Shape::Error)];
static GROUPS: [Array; 2] = [array("groups", Shape::Group), array("errors", Shape::Error)];
static STANDBY: [Array; 3] = [
    in_standby("messages", "standby.messages", Shape::Message),
    in_standby("message_echoes", "standby.message_echoes", Shape::Echo),
    in_standby("statuses", "standby.statuses", Shape::Status),
];
static STANDBY_BARE: [Array; 4] = [
    array("messages", Shape::Message),
    array("message_echoes", Shape::Echo),
    array("statuses", Shape::Status),
    array("errors", Shape::Error),
];
static PREFERENCES: [Array; 2] =
    [array("user_preferences", Shape::Preference), array("errors", Shape::Error)];
static IDENTITIES: [Array; 2] = [array("user_id_update", Shape::Identity), array("errors", Shape::Error)];
static AUTOMATIC: [Array; 2] = [array("automatic_events", Shape::Automatic), array("errors", Shape::Error)];
static TRACKING: [Array; 3] = [
    array("events", Shape::Tracking),
    array("tracking_events", Shape::Tracking),
    array("errors", Shape::Error),
];

/// The arrays of a field's value, to be looked for among its members.
pub(crate) fn arrays(field: &str) -> &'static [Array] {
    match field {
        "messages" => &MESSAGES,
        "message_echoes" | "smb_message_echoes" => &ECHOES,
        "smb_app_state_sync" => &STATE_SYNC,
        "history" => &HISTORY,
        "calls" => &CALLS,
        "standby" => &STANDBY_BARE,
        "user_preferences" => &PREFERENCES,
        "user_id_update" => &IDENTITIES,
        "automatic_events" => &AUTOMATIC,
        "tracking_events" => &TRACKING,
        field if field.starts_with("group_") => &GROUPS,
        _ => &[],
    }
}

/// The arrays of `value.standby`.
pub(crate) fn standby_arrays() -> &'static [Array] {
    &STANDBY
}

/// What a value is as a whole: always, for the fields that hold no arrays; for the others when none
/// of theirs was found.
pub(crate) fn whole<'a>(change: &Change<'a>) -> Reading<'a> {
    let bare = |kind: Kind, prefix: &str, scope: &str| {
        Reading::new(kind, join(change, prefix, scope, &[Some(change.hash())], change.value))
    };
    match &*change.field {
        "messaging_handovers" => handover(change),
        "messages" => bare(Kind::Message, "msg", change.number()),
        "message_echoes" | "smb_message_echoes" => bare(Kind::Echo, "echo", change.number()),
        "smb_app_state_sync" => bare(Kind::ContactSync, "sync", change.number()),
        "history" => bare(Kind::History, "hist", change.number()),
        "calls" => bare(Kind::Call, "call", change.number()),
        "user_preferences" => bare(Kind::Preference, "pref", change.number()),
        "user_id_update" => bare(Kind::Identity, "uid", change.number()),
        "automatic_events" => bare(Kind::Automatic, "auto", change.number()),
        "tracking_events" => bare(Kind::Tracking, "trk", change.number()),
        "consumer_profile" => bare(Kind::Unknown, "consumer_profile", change.account()),
        // The prefix is already `standby:`.
        "standby" => Reading::new(Kind::Unknown, format!("standby:{}:{}", change.account(), change.hash())),
        field if field.starts_with("group_") => bare(Kind::Group, "grp", change.number()),
        _ => account(change),
    }
}

/// A change that nothing is known about.
pub(crate) fn unknown<'a>(change: &Change<'a>) -> Reading<'a> {
    let parts = [Some(change.account()), Some(change.hash())];
    Reading::new(Kind::Unknown, join(change, "unk", &change.field, &parts, change.value))
}

fn handover<'a>(change: &Change<'a>) -> Reading<'a> {
    let value = &change.members;
    let sender = value.get("sender");
    let sender_text = |name: &str| sender.and_then(|sender| sender.text_at(name));
    let person = change.contacts.complete(Person {
        parent: sender_text("parent_user_id"),
        user: sender_text("user_id"),
        phone: sender_text("phone_number").or_else(|| sender_text("wa_id")),
        profile: Profile::default(),
    });
    let (r#type, timestamp) = (value.text("type"), value.text("timestamp"));
    let parts = [person.name().map(|name| &**name), r#type.as_deref(), timestamp.as_deref()];
    let key = join(change, "ho", change.number(), &parts, change.value);
    Reading { r#type, timestamp, ..Reading::new(Kind::Handover, key) }.with(person)
}

/// The operational fields; any other is unknown. Keys end in the entry's time wherever a state can come back: if Meta
/// stamps a retry anew the result is a harmless duplicate, while leaving the time out would drop
/// genuine repeats.
fn account<'a>(change: &Change<'a>) -> Reading<'a> {
    let value = &change.members;
    let text = |name: &str| value.text(name);
    let time = Some(change.time.as_deref().unwrap_or_default());
    let hash = || Some(change.hash());
    let reading = |prefix: &str, scope: &str, r#type: Option<Cow<'a, str>>, parts: &[Option<&str>]| {
        let timestamp = text("timestamp");
        let key = join(change, prefix, scope, parts, change.value);
        Reading { r#type, timestamp, ..Reading::new(Kind::Account, key) }
    };
    let of_account = |prefix: &str, r#type: Option<Cow<'a, str>>, parts: &[Option<&str>]| {
        reading(prefix, change.account(), r#type, parts)
    };
    let template = text("message_template_id");
    let template = template.as_deref();
    let display = text("display_phone_number");
    let display = display.as_deref();
    match &*change.field {
        "account_settings_update" => {
            let stamp = text("timestamp").unwrap_or_default();
            reading("set", change.number(), text("type"), &[Some(&stamp), hash()])
        }
        "account_alerts" => {
            let alert = value.text_in("alert_info", "alert_type").or_else(|| text("alert_type"));
            of_account("aa", alert, &[time, hash()])
        }
        "account_review_update" => {
            let decision = text("decision");
            of_account("ar", decision.clone(), &[decision.as_deref(), time])
        }
        "account_update" => {
            let named = value.text_in("waba_info", "waba_id");
            let scope = named.as_deref().unwrap_or_else(|| change.account());
            let event = text("event");
            reading("au", scope, event.clone(), &[Some(event.as_deref().unwrap_or_default()), time, hash()])
        }
        "business_capability_update" => of_account("bc", None, &[time, hash()]),
        "business_username_updates" | "phone_number_username_update" => {
            let (username, status) = (text("username"), text("status"));
            let parts = [display, username.as_deref(), status.as_deref(), time];
            of_account("bu", status.clone(), &parts)
        }
        "flows" => {
            let (flow, event) = (text("flow_id"), text("event"));
            let alert =
                || Some(format!("{}+{}", text("alert_state")?, text("threshold").unwrap_or_default()));
            let state = text("new_status").map(Cow::into_owned).or_else(alert);
            let scope = flow.as_deref().unwrap_or_else(|| change.hash());
            reading("fl", scope, event.clone(), &[event.as_deref(), state.as_deref(), time])
        }
        "message_template_components_update" => {
            of_account("tc", None, &[Some(template.unwrap_or_default()), time, hash()])
        }
        "message_template_quality_update" => {
            let score = text("new_quality_score");
            of_account("tq", score.clone(), &[template, score.as_deref(), time])
        }
        "message_template_status_update" => {
            let event = text("event");
            of_account("ts", event.clone(), &[template, event.as_deref(), time])
        }
        "template_category_update" => {
            let category = text("new_category");
            let stamp = text("category_update_timestamp");
            of_account("tcat", category.clone(), &[template, category.as_deref(), stamp.as_deref().or(time)])
        }
        "template_correct_category_detection" => {
            let category = text("correct_category");
            of_account("tcc", category.clone(), &[template, category.as_deref(), time])
        }
        "template_performance_metrics" => of_account("tpm", None, &[hash()]),
        "partner_solutions" => {
            let (solution, event, status) = (text("solution_id"), text("event"), text("solution_status"));
            let scope = solution.as_deref().unwrap_or_else(|| change.hash());
            reading("ps", scope, event.clone(), &[event.as_deref(), status.as_deref(), time])
        }
        "payment_configuration_update" => {
            let (name, status, stamp) =
                (text("configuration_name"), text("status"), text("updated_timestamp"));
            let parts = [name.as_deref(), status.as_deref(), stamp.as_deref()];
            of_account("pay", status.clone(), &parts)
        }
        "phone_number_name_update" => {
            let decision = text("decision");
            of_account("pn", decision.clone(), &[display, decision.as_deref(), time])
        }
        "phone_number_quality_update" => {
            let event = text("event");
            of_account("pq", event.clone(), &[display, event.as_deref(), time])
        }
        "security" => {
            let event = text("event");
            of_account("sec", event.clone(), &[display, event.as_deref(), time])
        }
        _ => unknown(change),
    }
}

/// An entry without changes, or a body without entries.
pub(crate) fn nothing<'a>(field: &str, account: &str, value: Value<'a>) -> Reading<'a> {
    let hash = canonical::hash(value);
    Reading::new(Kind::Unknown, format!("unk:{field}:{account}:{hash}"))
}
