//! Shapes beside the usual one that Meta is known to send, and keys where parts are missing.

use serde_json::json;
use waypost_whatsapp::{Class, Kind, Part, split};

use crate::{body, hash, keys, only, value};

#[test]
fn several_arrays_in_one_value_are_all_read_in_the_order_they_stand_in() {
    let body = body(
        "messages",
        &value(
            r#""statuses":[{"id":"s1","status":"read","recipient_id":"1"}],"user_actions":[{"action_type":"a","timestamp":"5"}],"messages":[{"id":"m1","from":"1"},{"id":"m2","from":"1"}],"errors":[{"code":1}]"#,
        ),
    );
    let kinds: Vec<Kind> = split(body.as_bytes()).events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Kind::Status, Kind::Action, Kind::Message, Kind::Message, Kind::Error]);
}

#[test]
fn an_error_alone_may_come_again_and_one_beside_other_events_comes_once() {
    let alone = body("messages", &value(r#""errors":[{"code":131035},{"code":131035},{"code":1}]"#));
    let events = split(alone.as_bytes()).events;
    assert!(events.iter().all(|event| !event.once));
    assert_eq!(events[0].key, events[1].key);
    assert_ne!(events[0].key, events[2].key);

    let beside =
        body("calls", &value(r#""calls":[{"id":"c","event":"terminate"}],"errors":[{"code":138005}]"#));
    let events = split(beside.as_bytes()).events;
    assert_eq!(
        events.iter().map(|event| (event.kind, event.once)).collect::<Vec<_>>(),
        [(Kind::Call, true), (Kind::Error, true)]
    );
}

#[test]
fn both_echo_fields_share_one_namespace() {
    let value = value(r#""message_echoes":[{"id":"wamid.E","to":"1"}]"#);
    assert_eq!(keys(&body("message_echoes", &value)), keys(&body("smb_message_echoes", &value)));
}

#[test]
fn standby_copies_never_cancel_what_they_copy() {
    let element = r#""messages":[{"id":"wamid.M","from":"1"}]"#;
    let original = only(&body("messages", &value(element))).key;
    let nested = body(
        "standby",
        &value(&format!(r#""standby":{{{element},"statuses":[{{"id":"s","status":"read"}}]}}"#)),
    );
    assert_eq!(keys(&nested), [format!("standby:{original}"), "standby:st:301:s:read:".to_owned()]);
    let bare = body("standby", &value(element));
    assert_eq!(keys(&bare), [format!("standby:{original}")]);
}

#[test]
fn elements_that_share_the_values_hash_are_told_apart() {
    // Two people joined one group in one webhook: only the element's own content differs.
    let members = r#""groups":[{"group_id":"g","type":"group_participants_add","added_participants":[{"wa_id":"1"}]},{"group_id":"g","type":"group_participants_add","added_participants":[{"wa_id":"2"}]},{"group_id":"g","type":"group_participants_add","added_participants":[{"wa_id":"1"}]}]"#;
    let keys = keys(&body("group_participants_update", &value(members)));
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], keys[2], "the third is a copy of the first");
    let other = json!({"group_id":"g","type":"group_participants_add","added_participants":[{"wa_id":"2"}]});
    assert_eq!(keys[1], format!("{}:{}", keys[0], hash(&other)));
}

#[test]
fn a_missing_part_of_a_key_is_replaced_by_the_elements_hash() {
    let h = |value| hash(&value);
    for (field, members, key) in [
        ("messages", r#""messages":[{"from":"1"}]"#, format!("msg:301:{}", h(json!({"from":"1"})))),
        ("messages", r#""messages":[7]"#, format!("msg:301:{}", h(json!(7)))),
        ("messages", r#""messages":[null]"#, format!("msg:301:{}", h(json!(null)))),
        ("messages", r#""messages":[["id","x"]]"#, format!("msg:301:{}", h(json!(["id", "x"])))),
        ("messages", r#""messages":[{"id":{"a":1}}]"#, format!("msg:301:{}", h(json!({"id":{"a":1}})))),
        ("messages", r#""messages":[{"id":""}]"#, format!("msg:301:{}", h(json!({"id":""})))),
        ("messages", r#""messages":[{"id":null}]"#, format!("msg:301:{}", h(json!({"id":null})))),
        ("messages", r#""messages":[{"id":true}]"#, format!("msg:301:{}", h(json!({"id":true})))),
        ("messages", r#""statuses":[{"id":"s"}]"#, format!("st:301:s:{}:", h(json!({"id":"s"})))),
        (
            "messages",
            r#""statuses":[{"status":"read"}]"#,
            format!("st:301:{}:read:", h(json!({"status":"read"}))),
        ),
        (
            "messages",
            r#""user_actions":[{"action_type":"landing_page_view","timestamp":5}]"#,
            format!(
                "act:301:landing_page_view:{}:5",
                h(json!({"action_type":"landing_page_view","timestamp":5}))
            ),
        ),
        (
            "messages",
            r#""user_actions":[{"action_type":"v","timestamp":5,"v_data":{"tracking_token":"t"}}]"#,
            "act:301:v:t:5".to_owned(),
        ),
        ("calls", r#""calls":[{"id":"c"}]"#, format!("call:301:c:{}", h(json!({"id":"c"})))),
        ("smb_app_state_sync", r#""state_sync":[5]"#, format!("sync:301:{}::", h(json!(5)))),
        (
            "smb_app_state_sync",
            r#""state_sync":[{"action":"add","contact":{"user_id":"US.1"},"metadata":{"timestamp":9}}]"#,
            "sync:301:US.1:add:9".to_owned(),
        ),
        (
            "user_preferences",
            r#""user_preferences":[{"user_id":"US.1","category":"c","value":"stop","timestamp":9}]"#,
            "pref:301:US.1:c:stop:9".to_owned(),
        ),
    ] {
        assert_eq!(only(&body(field, &value(members))).key, key);
    }
}

#[test]
fn a_value_that_fits_nothing_is_one_event_of_its_fields_kind() {
    for (field, kind, prefix) in [
        ("messages", Kind::Message, "msg:"),
        ("message_echoes", Kind::Echo, "echo:"),
        ("smb_message_echoes", Kind::Echo, "echo:"),
        ("smb_app_state_sync", Kind::ContactSync, "sync:"),
        ("history", Kind::History, "hist:"),
        ("calls", Kind::Call, "call:"),
        ("group_lifecycle_update", Kind::Group, "grp:"),
        ("group_participant_update", Kind::Group, "grp:"),
        ("messaging_handovers", Kind::Handover, "ho:"),
        ("user_preferences", Kind::Preference, "pref:"),
        ("user_id_update", Kind::Identity, "uid:"),
        ("automatic_events", Kind::Automatic, "auto:"),
        ("tracking_events", Kind::Tracking, "trk:"),
        ("standby", Kind::Unknown, "standby:288:"),
        ("consumer_profile", Kind::Unknown, "consumer_profile:288:"),
        ("account_review_update", Kind::Account, "ar:288:"),
        ("flows", Kind::Account, "fl:"),
        ("partner_solutions", Kind::Account, "ps:"),
        ("security", Kind::Account, "sec:288:"),
        ("never_heard_of", Kind::Unknown, "unk:never_heard_of:288:"),
    ] {
        for value in ["null", "{}", "[]", "7", "\"text\"", "true", "-5", "[{}]", r#"{"messages":null}"#] {
            let body = body(field, value);
            let event = only(&body);
            assert_eq!(
                (event.kind, event.place.part, event.raw),
                (kind, Part::Value, value),
                "{field} {value}"
            );
            assert!(event.key.starts_with(prefix), "{}", event.key);
            assert!(event.key.contains(&hash(&serde_json::from_str(value).unwrap())), "{}", event.key);
            assert!(event.once);
        }
    }
    // The same with arrays of the wrong type, or none in them.
    for members in
        [r#""messages":"x""#, r#""messages":[]"#, r#""messages":7,"statuses":null"#, r#""contacts":[{}]"#]
    {
        let body = body("messages", &value(members));
        assert_eq!(only(&body).place.part, Part::Value, "{members}");
    }
}

#[test]
fn operational_keys_hold_the_hash_where_a_part_is_missing() {
    let ar = only(&body("account_review_update", r#"{"decision":null,"note":1}"#)).key;
    assert_eq!(ar, format!("ar:288:{}:1790000000", hash(&json!({"decision":null,"note":1}))));
    let alert =
        body("account_alerts", r#"{"alert_type":"OBA_APPROVED","entity_type":"BUSINESS","entity_id":"9"}"#);
    let event = only(&alert);
    assert_eq!((&*event.r#type, event.phone_number_id), ("OBA_APPROVED", None));
    // A quality change that came under the status field, as in one of Meta's samples.
    let misplaced =
        body("message_template_status_update", r#"{"new_quality_score":"RED","message_template_id":8}"#);
    assert!(only(&misplaced).key.starts_with("ts:288:8:"));
}

#[test]
fn the_account_is_the_entry_except_where_that_is_a_portfolio() {
    let waba = |field: &str, value: &str| only(&body(field, value)).waba_id.map(|id| id.into_owned());
    assert_eq!(waba("account_update", r#"{"event":"ACCOUNT_DELETED"}"#).as_deref(), Some("288"));
    let info = r#"{"event":"PARTNER_ADDED","waba_info":{"waba_id":119}}"#;
    assert_eq!(waba("account_update", info).as_deref(), Some("119"));
    for event in ["PARTNER_ADDED", "PARTNER_APP_INSTALLED", "AD_ACCOUNT_LINKED", "MM_LITE_TERMS_SIGNED"] {
        assert_eq!(waba("account_update", &format!(r#"{{"event":"{event}"}}"#)), None, "{event}");
    }
    assert_eq!(waba("partner_solutions", r#"{"solution_id":"1"}"#), None);
    let by_number = body("account_update", r#"{"event":"ACCOUNT_OFFBOARDED","phone_number":"15550001"}"#);
    assert_eq!(only(&by_number).display_phone_number.as_deref(), Some("15550001"));
}

#[test]
fn keys_fall_back_to_the_display_number_and_then_to_nothing() {
    let display = body(
        "messages",
        r#"{"metadata":{"display_phone_number":"1555"},"messages":[{"id":"m","from":"1"}]}"#,
    );
    let event = only(&display);
    assert_eq!((event.key.as_str(), event.conversation.as_deref()), ("msg:1555:m", Some("1555:1")));
    assert_eq!(event.phone_number_id, None);
    let none = body("messages", r#"{"messages":[{"id":"m","from":"1"}]}"#);
    assert_eq!(only(&none).key, "msg::m");
}

#[test]
fn ids_may_be_numbers_of_any_size() {
    let body = r#"{"entry":[{"id":18446744073709551617,"time":"1790000000","changes":[{"field":"message_template_status_update","value":{"event":"APPROVED","message_template_id":123456789012345678901234567890}}]}]}"#;
    let event = only(body);
    assert_eq!(event.key, "ts:18446744073709551617:123456789012345678901234567890:APPROVED:1790000000");
    assert_eq!((event.class, event.waba_id.as_deref()), (Class::Operational, Some("18446744073709551617")));
    let number = crate::body(
        "messages",
        r#"{"metadata":{"phone_number_id":9007199254740993},"messages":[{"id":1e400}]}"#,
    );
    assert_eq!(only(&number).key, "msg:9007199254740993:1e400");
}

#[test]
fn times_are_read_as_text_or_number_and_only_where_sane() {
    let at = |timestamp: &str| {
        only(&body("messages", &value(&format!(r#""messages":[{{"id":"m","timestamp":{timestamp}}}]"#))))
            .occurred_at_ms
    };
    let entry = Some(1_790_000_000_000);
    assert_eq!(at("\"1749416383\""), Some(1_749_416_383_000));
    assert_eq!(at("1749416383"), Some(1_749_416_383_000));
    for odd in [
        "\"soon\"",
        "0",
        "-1749416383",
        "99999999999999999999",
        "9223372036854775807",
        "1749416383.5",
        "1749416383000",
        "null",
        "{}",
        "[]",
    ] {
        assert_eq!(at(odd), entry, "{odd}");
    }
    let none = r#"{"entry":[{"changes":[{"field":"messages","value":{"messages":[{"id":"m"}]}}]}]}"#;
    assert_eq!(only(none).occurred_at_ms, None);
}

#[test]
fn what_bears_members_of_the_message_path_is_of_its_class_whatever_its_field() {
    for member in ["messages", "statuses", "contacts", "calls", "history", "standby"] {
        let body = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"account_update","value":{{"event":"X","{member}":[{{"text":"hello"}}]}}}}]}}]}}"#
        );
        let split = split(body.as_bytes());
        assert!(split.events.iter().all(|event| event.class == Class::Message), "{member}");
    }
}
