//! Every composed kind, checked against a table written by hand after Meta's reference.

use std::collections::HashSet;

use serde_json::Value;
use waypost_whatsapp::Kind::{self, *};
use waypost_whatsapp::{Class, Compose, KINDS, Part, compose, split};

use crate::hash;

/// One event: kind, type, key and contact. In a key, `{…}` is a JSON pointer into the value, or `P`,
/// `W`, `T` (the entry's time), `h`.
type Row = (Kind, &'static str, &'static str, &'static str);

const PHONE: &str = "14155550183";
const USER: &str = "US.13141555501837021";
const PARENT: &str = "US.ENT.118141555501834402";
const GROUP: &str = "Y2FwaV9ncm91cDoxNDE1NTU1MDE4MzoxMjAzNjMwNzc0MTI=";
const NOBODY: &str = "";

/// The single event of a composed kind with its field.
const SINGLE: &[(&str, &str, Row)] = &[
    ("text", "messages", (Message, "text", "msg:{P}:{/messages/0/id}", PHONE)),
    ("image", "messages", (Message, "image", "msg:{P}:{/messages/0/id}", PHONE)),
    ("video", "messages", (Message, "video", "msg:{P}:{/messages/0/id}", PHONE)),
    ("audio", "messages", (Message, "audio", "msg:{P}:{/messages/0/id}", PHONE)),
    ("document", "messages", (Message, "document", "msg:{P}:{/messages/0/id}", PHONE)),
    ("sticker", "messages", (Message, "sticker", "msg:{P}:{/messages/0/id}", PHONE)),
    ("location", "messages", (Message, "location", "msg:{P}:{/messages/0/id}", PHONE)),
    ("contacts", "messages", (Message, "contacts", "msg:{P}:{/messages/0/id}", PHONE)),
    ("interactive.button_reply", "messages", (Message, "interactive", "msg:{P}:{/messages/0/id}", PHONE)),
    ("interactive.list_reply", "messages", (Message, "interactive", "msg:{P}:{/messages/0/id}", PHONE)),
    ("interactive.nfm_reply", "messages", (Message, "interactive", "msg:{P}:{/messages/0/id}", PHONE)),
    ("interactive.call_permission", "messages", (Message, "interactive", "msg:{P}:{/messages/0/id}", PHONE)),
    ("button", "messages", (Message, "button", "msg:{P}:{/messages/0/id}", PHONE)),
    ("order", "messages", (Message, "order", "msg:{P}:{/messages/0/id}", PHONE)),
    ("reaction", "messages", (Message, "reaction", "msg:{P}:{/messages/0/id}", PHONE)),
    ("reaction.removed", "messages", (Message, "reaction", "msg:{P}:{/messages/0/id}", PHONE)),
    ("reply", "messages", (Message, "text", "msg:{P}:{/messages/0/id}", PHONE)),
    ("forwarded", "messages", (Message, "text", "msg:{P}:{/messages/0/id}", PHONE)),
    ("referral", "messages", (Message, "text", "msg:{P}:{/messages/0/id}", PHONE)),
    ("unsupported", "messages", (Message, "unsupported", "msg:{P}:{/messages/0/id}", PHONE)),
    ("edit", "messages", (Message, "edit", "msg:{P}:{/messages/0/id}", PHONE)),
    ("revoke", "messages", (Message, "revoke", "msg:{P}:{/messages/0/id}", PHONE)),
    ("request_welcome", "messages", (Message, "request_welcome", "msg:{P}:{/messages/0/id}", PHONE)),
    ("group", "messages", (Message, "text", "msg:{P}:{/messages/0/id}", GROUP)),
    ("unknown_type", "messages", (Message, "hologram", "msg:{P}:{/messages/0/id}", PHONE)),
    ("system", "messages", (Message, "system", "msg:{P}:{/messages/0/id}", PHONE)),
    ("system.user_id", "messages", (Message, "system", "msg:{P}:{/messages/0/id}", PHONE)),
    ("bsuid", "messages", (Message, "text", "msg:{P}:{/messages/0/id}", USER)),
    ("bsuid.parent", "messages", (Message, "text", "msg:{P}:{/messages/0/id}", PARENT)),
    ("status.sent", "messages", (Status, "sent", "st:{P}:{/statuses/0/id}:sent:", PHONE)),
    ("status.delivered", "messages", (Status, "delivered", "st:{P}:{/statuses/0/id}:delivered:", PHONE)),
    ("status.read", "messages", (Status, "read", "st:{P}:{/statuses/0/id}:read:", PHONE)),
    ("status.played", "messages", (Status, "played", "st:{P}:{/statuses/0/id}:played:", PHONE)),
    ("status.failed", "messages", (Status, "failed", "st:{P}:{/statuses/0/id}:failed:", PHONE)),
    ("error", "messages", (Error, "131035", "err:{P}:{h}", NOBODY)),
    (
        "action",
        "messages",
        (
            Action,
            "marketing_messages_link_click",
            "act:{P}:marketing_messages_link_click:{/user_actions/0/marketing_messages_link_click_data/click_id}:{/user_actions/0/timestamp}",
            NOBODY,
        ),
    ),
    ("echo", "smb_message_echoes", (Echo, "text", "echo:{P}:{/message_echoes/0/id}", PHONE)),
    ("echo.edit", "smb_message_echoes", (Echo, "edit", "echo:{P}:{/message_echoes/0/id}", PHONE)),
    ("echo.revoke", "smb_message_echoes", (Echo, "revoke", "echo:{P}:{/message_echoes/0/id}", PHONE)),
    ("echo.agent", "message_echoes", (Echo, "text", "echo:{P}:{/message_echoes/0/id}", PHONE)),
    (
        "app_state_sync",
        "smb_app_state_sync",
        (ContactSync, "add", "sync:{P}:14155550183:add:1790000000", PHONE),
    ),
    (
        "app_state_sync.remove",
        "smb_app_state_sync",
        (ContactSync, "remove", "sync:{P}:14155550183:remove:1790000000", PHONE),
    ),
    ("history", "history", (History, "threads", "hist:{P}:0:1:{h}", NOBODY)),
    ("history.media", "history", (History, "image", "hist:{P}:{/messages/0/id}", PHONE)),
    ("history.declined", "history", (History, "errors", "hist:{P}:::{h}", NOBODY)),
    ("call.connect", "calls", (Call, "connect", "call:{P}:{/calls/0/id}:connect", PHONE)),
    ("call.terminate", "calls", (Call, "terminate", "call:{P}:{/calls/0/id}:terminate", PHONE)),
    ("call.outbound", "calls", (Call, "connect", "call:{P}:{/calls/0/id}:connect", PHONE)),
    ("call.status", "calls", (CallStatus, "RINGING", "callst:{P}:{/statuses/0/id}:RINGING", PHONE)),
    (
        "group.lifecycle",
        "group_lifecycle_update",
        (
            Group,
            "group_create",
            "grp:{P}:{/groups/0/group_id}:group_create:{/groups/0/request_id}:{h}",
            GROUP,
        ),
    ),
    (
        "group.participants",
        "group_participants_update",
        (
            Group,
            "group_participants_add",
            "grp:{P}:{/groups/0/group_id}:group_participants_add:{/groups/0/request_id}:{h}",
            GROUP,
        ),
    ),
    (
        "group.settings",
        "group_settings_update",
        (
            Group,
            "group_settings_update",
            "grp:{P}:{/groups/0/group_id}:group_settings_update:{/groups/0/request_id}:{h}",
            GROUP,
        ),
    ),
    (
        "group.status",
        "group_status_update",
        (Group, "group_suspend", "grp:{P}:{/groups/0/group_id}:group_suspend:1790000000", GROUP),
    ),
    (
        "handover",
        "messaging_handovers",
        (Handover, "control_passed", "ho:{P}:14155550183:control_passed:1790000000", PHONE),
    ),
    ("standby", "standby", (Message, "text", "standby:msg:{P}:{/standby/messages/0/id}", PHONE)),
    ("standby.echo", "standby", (Echo, "text", "standby:echo:{P}:{/standby/message_echoes/0/id}", PHONE)),
    ("standby.status", "standby", (Status, "read", "standby:st:{P}:{/standby/statuses/0/id}:read:", PHONE)),
    (
        "preference",
        "user_preferences",
        (Preference, "stop", "pref:{P}:14155550183:marketing_messages:stop:1790000000", PHONE),
    ),
    (
        "user_id_update",
        "user_id_update",
        (Identity, "", "uid:{P}:US.9014155550183:US.13141555501837021", PARENT),
    ),
    ("consumer_profile", "consumer_profile", (Unknown, "", "consumer_profile:{W}:{h}", NOBODY)),
    (
        "automatic",
        "automatic_events",
        (Automatic, "LeadSubmitted", "auto:{P}:{/automatic_events/0/id}:LeadSubmitted", NOBODY),
    ),
    ("tracking", "tracking_events", (Tracking, "delivered", "trk:{P}:delivered:1790000000:{h}", NOBODY)),
    (
        "template.approved",
        "message_template_status_update",
        (Account, "APPROVED", "ts:{W}:1000000000000007:APPROVED:{T}", NOBODY),
    ),
    (
        "template.rejected",
        "message_template_status_update",
        (Account, "REJECTED", "ts:{W}:1000000000000007:REJECTED:{T}", NOBODY),
    ),
    (
        "template.quality",
        "message_template_quality_update",
        (Account, "YELLOW", "tq:{W}:1000000000000007:YELLOW:{T}", NOBODY),
    ),
    (
        "template.category",
        "template_category_update",
        (Account, "MARKETING", "tcat:{W}:1000000000000007:MARKETING:{T}", NOBODY),
    ),
    (
        "template.category_impending",
        "template_category_update",
        (Account, "UTILITY", "tcat:{W}:1000000000000007:UTILITY:1790086400", NOBODY),
    ),
    (
        "template.components",
        "message_template_components_update",
        (Account, "", "tc:{W}:1000000000000007:{T}:{h}", NOBODY),
    ),
    (
        "template.correct_category",
        "template_correct_category_detection",
        (Account, "MARKETING", "tcc:{W}:1000000000000007:MARKETING:{T}", NOBODY),
    ),
    ("template.metrics", "template_performance_metrics", (Account, "", "tpm:{W}:{h}", NOBODY)),
    (
        "account.update",
        "account_update",
        (Account, "ACCOUNT_RESTRICTION", "au:{W}:ACCOUNT_RESTRICTION:{T}:{h}", NOBODY),
    ),
    (
        "account.partner",
        "account_update",
        (Account, "PARTNER_REMOVED", "au:{/waba_info/waba_id}:PARTNER_REMOVED:{T}:{h}", NOBODY),
    ),
    ("account.alert", "account_alerts", (Account, "PROFILE_PICTURE_LOST", "aa:{W}:{T}:{h}", NOBODY)),
    ("account.review", "account_review_update", (Account, "APPROVED", "ar:{W}:APPROVED:{T}", NOBODY)),
    (
        "account.settings",
        "account_settings_update",
        (Account, "phone_number_settings", "set:{P}:1790000000:{h}", NOBODY),
    ),
    ("capability", "business_capability_update", (Account, "", "bc:{W}:{T}:{h}", NOBODY)),
    (
        "username",
        "business_username_updates",
        (Account, "approved", "bu:{W}:15550147720:garden_club:approved:{T}", NOBODY),
    ),
    (
        "flows",
        "flows",
        (Account, "FLOW_STATUS_CHANGE", "fl:1000000000000007:FLOW_STATUS_CHANGE:PUBLISHED:{T}", NOBODY),
    ),
    (
        "flows.alert",
        "flows",
        (Account, "ENDPOINT_LATENCY", "fl:1000000000000007:ENDPOINT_LATENCY:ACTIVATED+3000:{T}", NOBODY),
    ),
    (
        "partner",
        "partner_solutions",
        (Account, "SOLUTION_CREATED", "ps:1000000000000007:SOLUTION_CREATED:INITIATED:{T}", NOBODY),
    ),
    (
        "payment",
        "payment_configuration_update",
        (Account, "Active", "pay:{W}:main-desk:Active:1790000000", NOBODY),
    ),
    (
        "phone.name",
        "phone_number_name_update",
        (Account, "APPROVED", "pn:{W}:15550147720:APPROVED:{T}", NOBODY),
    ),
    (
        "phone.quality",
        "phone_number_quality_update",
        (Account, "THROUGHPUT_UPGRADE", "pq:{W}:15550147720:THROUGHPUT_UPGRADE:{T}", NOBODY),
    ),
    (
        "security",
        "security",
        (Account, "PIN_RESET_REQUEST", "sec:{W}:15550147720:PIN_RESET_REQUEST:{T}", NOBODY),
    ),
    ("unknown", "starlight_updates", (Unknown, "", "unk:starlight_updates:{W}:{h}", NOBODY)),
];

/// Composed kinds with several events or constant ids, which have their own tests.
const OTHERS: [&str; 4] = ["batch", "batch.mixed", "test", "status.group"];

fn parts() -> Compose<'static> {
    Compose { sequence: 7, ..Compose::default() }
}

#[test]
fn every_kind_that_can_be_composed_is_in_the_table() {
    let listed: HashSet<&str> = SINGLE.iter().map(|(kind, ..)| *kind).chain(OTHERS).collect();
    let composed: HashSet<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(listed, composed);
    assert_eq!(composed.len(), KINDS.len(), "a kind is there twice");
    assert!(KINDS.iter().all(|(_, about)| !about.is_empty()));
    assert_eq!(compose("no such kind", &parts()), None);
}

#[test]
fn every_field_and_message_type_of_the_reference_can_be_composed() {
    let fields: HashSet<&str> = SINGLE.iter().map(|(_, field, _)| *field).collect();
    for field in [
        "messages",
        "message_echoes",
        "smb_message_echoes",
        "smb_app_state_sync",
        "history",
        "calls",
        "group_lifecycle_update",
        "group_participants_update",
        "group_settings_update",
        "group_status_update",
        "messaging_handovers",
        "standby",
        "consumer_profile",
        "user_preferences",
        "user_id_update",
        "automatic_events",
        "tracking_events",
        "account_settings_update",
        "account_alerts",
        "account_review_update",
        "account_update",
        "business_capability_update",
        "business_username_updates",
        "flows",
        "message_template_components_update",
        "message_template_quality_update",
        "message_template_status_update",
        "template_category_update",
        "template_correct_category_detection",
        "template_performance_metrics",
        "partner_solutions",
        "payment_configuration_update",
        "phone_number_name_update",
        "phone_number_quality_update",
        "security",
    ] {
        assert!(fields.contains(field), "{field}");
    }
}

#[test]
fn every_composed_kind_splits_into_the_event_of_the_table() {
    let parts = parts();
    for (name, field, (kind, r#type, key, contact)) in SINGLE {
        let body = compose(name, &parts).unwrap();
        let json: Value = serde_json::from_str(&body).unwrap();
        let split = split(body.as_bytes());
        assert!(split.readable);
        let [event] = split.events.as_slice() else { panic!("{name}: {split:#?}") };
        assert_eq!((event.kind, &*event.field, &*event.r#type), (*kind, *field, *r#type), "{name}");
        assert_eq!(event.key, expected(key, &json), "{name}");
        let conversation = (!contact.is_empty()).then(|| format!("301944726605112:{contact}"));
        assert_eq!(event.conversation, conversation, "{name}");
        let class = if *kind == Account { Class::Operational } else { Class::Message };
        assert_eq!(event.class, class, "{name}");
        assert_eq!(event.once, *kind != Error, "{name}");
        assert!(event.occurred_at_ms.is_some() || json.pointer("/entry/0/time").is_none(), "{name}");
        assert_eq!((event.place.entry, event.place.change), (0, 0));
        let own: Value = serde_json::from_str(event.raw).unwrap();
        let at = match event.place.part {
            Part::Value => String::new(),
            Part::Element { array, index } => format!("/{}/{index}", array.replace('.', "/")),
            part => panic!("{name}: {part:?}"),
        };
        assert_eq!(json.pointer(&format!("/entry/0/changes/0/value{at}")), Some(&own), "{name}");
    }
}

/// Fills in a key of the table.
fn expected(key: &str, json: &Value) -> String {
    let value = json.pointer("/entry/0/changes/0/value").unwrap();
    let mut filled = String::new();
    let mut rest = key;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}').unwrap();
        filled.push_str(before);
        filled.push_str(&match name {
            "P" => "301944726605112".to_owned(),
            "W" => json.pointer("/entry/0/id").unwrap().as_str().unwrap().to_owned(),
            "T" => json.pointer("/entry/0/time").unwrap().to_string(),
            "h" => hash(value),
            pointer => value.pointer(pointer).unwrap().as_str().unwrap().to_owned(),
        });
        rest = behind;
    }
    filled + rest
}

#[test]
fn numbers_and_accounts_are_found_wherever_a_field_has_them() {
    let parts = parts();
    for (name, field, _) in SINGLE {
        let body = compose(name, &parts).unwrap();
        let event = split(body.as_bytes()).events.remove(0);
        let number = event.phone_number_id.as_deref();
        let display = event.display_phone_number.as_deref();
        let both = (Some("301944726605112"), Some("15550147720"));
        let wanted = match *field {
            "account_settings_update" | "account_alerts" => (both.0, None),
            "phone_number_name_update"
            | "phone_number_quality_update"
            | "security"
            | "business_username_updates" => (None, both.1),
            _ if event.class == Class::Operational => (None, None),
            _ => both,
        };
        assert_eq!((number, display), wanted, "{name}");
        let account = (*field != "partner_solutions").then_some("288731059440016");
        assert_eq!(event.waba_id.as_deref(), account, "{name}");
    }
}

#[test]
fn a_batch_is_split_into_its_messages() {
    for batch_size in [1, 2, 250, 1_000] {
        let body = compose("batch", &Compose { batch_size, ..parts() }).unwrap();
        let events = split(body.as_bytes()).events;
        assert_eq!(events.len(), batch_size);
        let keys: HashSet<&str> = events.iter().map(|event| event.key.as_str()).collect();
        assert_eq!(keys.len(), batch_size);
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event.place.part, Part::Element { array: "messages", index });
            assert_eq!(event.conversation.as_deref(), Some("301944726605112:14155550183"));
        }
    }
}

#[test]
fn a_mixed_batch_is_split_over_entries_changes_and_arrays() {
    let body = compose("batch.mixed", &parts()).unwrap();
    let events = split(body.as_bytes()).events;
    let seen: Vec<_> = events
        .iter()
        .map(|event| (event.kind, &*event.r#type, event.place.entry, event.place.change))
        .collect();
    let wanted = [
        (Message, "text", 0, 0),
        (Message, "text", 0, 0),
        (Status, "sent", 0, 1),
        (Status, "delivered", 0, 1),
        (Status, "read", 1, 0),
    ];
    assert_eq!(seen, wanted);
    assert_eq!(events[4].phone_number_id.as_deref(), Some("77301944726605112"));
    assert_eq!(events[4].waba_id.as_deref(), Some("77288731059440016"));
    assert_eq!(events[4].conversation.as_deref(), Some("77301944726605112:14155550122"));
    assert_eq!(events[0].occurred_at_ms, Some(1_790_000_000_000));
    assert_eq!(events[2].occurred_at_ms, Some(1_789_999_880_000));
}

#[test]
fn statuses_of_a_group_message_are_kept_apart_by_participant() {
    let body = compose("status.group", &parts()).unwrap();
    let events = split(body.as_bytes()).events;
    let wamid = events[0].wamid.clone().unwrap();
    let keys: Vec<&str> = events.iter().map(|event| event.key.as_str()).collect();
    let key = |participant| format!("st:301944726605112:{wamid}:delivered:{participant}");
    assert_eq!(keys, [key("14155550183"), key("14155550122")]);
    assert!(
        events.iter().all(|event| event.conversation.as_deref() == Some(&format!("301944726605112:{GROUP}")))
    );
}

#[test]
fn dashboard_test_payloads_are_never_suppressed() {
    let body = compose("test", &parts()).unwrap();
    let event = split(body.as_bytes()).events.remove(0);
    assert_eq!((event.key.as_str(), event.once, event.waba_id), ("msg:123456123:ABGGFlA5Fpa", false, None));
    let elsewhere = body.replace(r#""id":"0""#, r#""id":"288""#);
    assert!(!split(elsewhere.as_bytes()).events[0].once);
    let other_number = body.replace("123456123", "301");
    assert!(!split(other_number.as_bytes()).events[0].once);
    let real = elsewhere.replace("123456123", "301");
    assert!(split(real.as_bytes()).events[0].once);
}

#[test]
fn composing_is_deterministic_and_sequences_make_ids() {
    for (kind, _) in KINDS {
        assert_eq!(compose(kind, &parts()), compose(kind, &parts()));
    }
    let mut keys = HashSet::new();
    for sequence in (0..500).chain(u64::MAX - 500..=u64::MAX) {
        for kind in ["text", "call.connect", "flows"] {
            let body = compose(kind, &Compose { sequence, ..parts() }).unwrap();
            assert!(keys.insert(split(body.as_bytes()).events.remove(0).key));
        }
    }
    let text = compose("text", &parts()).unwrap();
    let read = compose("status.read", &parts()).unwrap();
    assert_eq!(split(text.as_bytes()).events[0].wamid, split(read.as_bytes()).events[0].wamid);
}

#[test]
fn composed_bodies_look_as_on_the_wire() {
    let text = "quote \" back\\slash / new\nline \u{1} ümlaut 🌿 $P";
    for (kind, _) in KINDS {
        let body = compose(kind, &Compose { text: Some(text), ..parts() }).unwrap();
        assert!(body.is_ascii(), "{kind}");
        assert!(!body.replace(" $P", "").contains('$'), "{kind}: a name is left unfilled");
        assert!(!body.replace("\\/", "").contains('/'), "{kind}");
        assert!(!body.contains("\": ") && !body.contains("\", \"") && !body.contains('\n'), "{kind}");
        serde_json::from_str::<Value>(&body).unwrap();
    }
    let body = compose("text", &Compose { text: Some(text), ..parts() }).unwrap();
    let json: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(json.pointer("/entry/0/changes/0/value/messages/0/text/body").unwrap(), text);
}
