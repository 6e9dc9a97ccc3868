//! Promises for every body there can be. The fuzz targets run the same checks.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value};
use waypost_whatsapp::{Compose, KINDS, canonical_json, compose, split};

/// What holds for any bytes: at least one event, each with a key, its bytes inside the body, and
/// the same answer every time.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let first = split(body);
    prop_assert!(!first.events.is_empty());
    let range = body.as_ptr_range();
    for event in &first.events {
        prop_assert!(event.key.contains(':'));
        let raw = event.raw.as_bytes().as_ptr_range();
        let inside = range.start <= raw.start && raw.end <= range.end;
        prop_assert!(inside || (event.raw.is_empty() && !first.readable));
        if first.readable {
            prop_assert!(
                serde_json::from_str::<&serde_json::value::RawValue>(event.raw).is_ok(),
                "{}",
                event.raw
            );
        }
    }
    prop_assert_eq!(first, split(body));
    crate::cutting::check(body).map_err(TestCaseError::fail)
}

fn composed() -> impl Strategy<Value = String> {
    (0..KINDS.len(), any::<u64>(), 1..6_usize).prop_map(|(kind, sequence, batch_size)| {
        compose(KINDS[kind].0, &Compose { sequence, batch_size, ..Compose::default() }).unwrap()
    })
}

/// Any JSON value, with members named as Meta's so that they are looked into.
fn json() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 16] = [
        "entry",
        "changes",
        "field",
        "value",
        "messages",
        "statuses",
        "id",
        "from",
        "metadata",
        "contacts",
        "phone_number_id",
        "errors",
        "standby",
        "timestamp",
        "history",
        "groups",
    ];
    let name = prop_oneof![prop::sample::select(&NAMES[..]).prop_map(str::to_owned), any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(&NAMES[..]).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Text that is nearly a webhook: the right members at the right places, but any of them repeated,
/// missing, out of order or of another type, with white space, and with few ids, so that they meet.
fn nearly_a_webhook() -> impl Strategy<Value = String> {
    fn object(members: impl Strategy<Value = String> + 'static, most: usize) -> BoxedStrategy<String> {
        vec(members, 1..most).prop_map(|members| format!("{{ {} }}", members.join(" ,\t"))).boxed()
    }
    fn list(items: BoxedStrategy<String>) -> BoxedStrategy<String> {
        let array = vec(items.clone(), 0..5).prop_map(|items| format!("[ {}]", items.join(" , ")));
        prop_oneof![6 => array, 1 => items, 1 => Just("null".to_owned()), 1 => Just("7".to_owned())].boxed()
    }
    fn member(name: &'static str, value: BoxedStrategy<String>) -> BoxedStrategy<String> {
        value.prop_map(move |value| format!("\"{name}\" :{value}")).boxed()
    }
    fn named(names: &'static [&'static str], value: BoxedStrategy<String>) -> BoxedStrategy<String> {
        (prop::sample::select(names), value).prop_map(|(name, value)| format!("\"{name}\":{value}")).boxed()
    }
    const IDS: &[&str] =
        &["\"1\"", "\"US.2\"", "\"US.ENT.3\"", "1", "\"4\"", "\"\"", "null", "{}", "\"\\u0031\""];
    const FIELDS: &[&str] = &[
        "\"messages\"",
        "\"messages\"",
        "\"messages\"",
        "\"standby\"",
        "\"standby\"",
        "\"calls\"",
        "\"history\"",
        "\"smb_message_echoes\"",
        "\"group_status_update\"",
        "\"user_id_update\"",
        "\"smb_app_state_sync\"",
        "\"tracking_events\"",
        "\"security\"",
        "\"\"",
        "0",
    ];
    const PEOPLE: &[&str] = &[
        "from",
        "from_user_id",
        "from_parent_user_id",
        "to",
        "to_user_id",
        "recipient_id",
        "recipient_user_id",
        "wa_id",
        "user_id",
        "parent_user_id",
    ];
    const ARRAYS: &[&str] = &[
        "messages",
        "statuses",
        "errors",
        "user_actions",
        "message_echoes",
        "calls",
        "history",
        "groups",
        "user_id_update",
        "state_sync",
        "events",
    ];
    let id = prop::sample::select(IDS).prop_map(str::to_owned).boxed();
    let field = member("field", prop::sample::select(FIELDS).prop_map(str::to_owned).boxed());
    let change_of_ids = object(named(&["previous", "current"], id.clone()), 3);
    let names = prop_oneof![
        6 => named(PEOPLE, id.clone()),
        2 => named(&["id", "type", "status", "timestamp", "group_id"], id.clone()),
        1 => Just(r#""type":"system""#.to_owned()),
        1 => named(&["user_id", "parent_user_id"], change_of_ids),
        1 => member("contact", object(named(&["phone_number", "user_id"], id.clone()), 3)),
        1 => Just(r#""system":{"type":"user_changed_number","wa_id":"4"}"#.to_owned()),
    ];
    let element = prop_oneof![8 => object(names, 5), 1 => Just("0".to_owned())].boxed();
    let contact = object(named(&["wa_id", "user_id", "parent_user_id", "profile"], id.clone()), 4);
    let metadata =
        member("metadata", object(named(&["phone_number_id", "display_phone_number"], id.clone()), 3));
    let in_value = prop_oneof![
        4 => named(ARRAYS, list(element.clone())),
        4 => named(&["messages", "statuses"], list(element)),
        5 => member("contacts", list(contact)),
        2 => metadata,
        1 => named(&["phone_number", "unknown"], id.clone()),
    ]
    .boxed();
    let standby = member("standby", list(object(in_value.clone(), 7)));
    let value = member("value", object(prop_oneof![5 => in_value, 1 => standby], 9));
    let further = prop_oneof![2 => value.clone(), 2 => field.clone(), 3 => member("x", id.clone())];
    let change = (field.clone(), value, vec(further, 0..2), any::<bool>());
    let change = change.prop_map(|(field, value, further, is_first)| {
        let mut members = if is_first { vec![field, value] } else { vec![value, field] };
        members.splice(1..1, further);
        format!("{{{}}}", members.join(","))
    });
    let change = prop_oneof![8 => change, 1 => Just("0".to_owned())].boxed();
    let in_entry = prop_oneof![
        6 => member("changes", list(change)),
        2 => named(&["id", "time"], id.clone()),
        1 => field.clone(),
    ];
    let entry = prop_oneof![8 => object(in_entry, 5), 1 => Just("0".to_owned())].boxed();
    let object_name = prop::sample::select(&["\"whatsapp_business_account\"", "\"page\"", "null"][..]);
    let in_envelope = prop_oneof![
        6 => member("entry", list(entry)),
        1 => field,
        1 => member("object", object_name.prop_map(str::to_owned).boxed()),
        1 => member("\\u0065ntry", id),
    ];
    let envelope = object(in_envelope, 4);
    prop_oneof![6 => envelope.clone(), 1 => list(envelope)]
}

/// A value written with white space, members turned round, and every character escaped: as unlike
/// its canonical writing as it can be.
fn write_oddly(text: &mut String, value: &Value) {
    let string = |text: &mut String, content: &str| {
        text.push('"');
        for unit in content.encode_utf16() {
            let _ = write!(text, "\\u{unit:04X}");
        }
        text.push('"');
    };
    match value {
        Value::String(content) => string(text, content),
        Value::Array(elements) => {
            text.push_str("[ ");
            for (index, element) in elements.iter().enumerate() {
                text.push_str(if index > 0 { "\t,\r\n" } else { "" });
                write_oddly(text, element);
            }
            text.push_str(" ]");
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, member)) in members.iter().rev().enumerate() {
                text.push_str(if index > 0 { " ,\n" } else { "\n" });
                string(text, name);
                text.push_str(" : ");
                write_oddly(text, member);
            }
            text.push_str("\n}");
        }
        other => {
            let _ = write!(text, " {other} ");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_split(body in any::<Vec<u8>>()) {
        check(&body)?;
    }

    #[test]
    fn what_is_nearly_a_webhook_is_split_and_cut(body in nearly_a_webhook()) {
        prop_assert!(split(body.as_bytes()).readable, "{}", body);
        check(body.as_bytes())?;
    }

    #[test]
    fn any_json_is_split(value in json()) {
        let body = value.to_string();
        prop_assert!(split(body.as_bytes()).readable);
        check(body.as_bytes())?;
        check(crate::body("messages", &body).as_bytes())?;
    }

    #[test]
    fn mutated_webhooks_are_split(
        mut body in composed().prop_map(String::into_bytes),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
    ) {
        for (place, byte, how) in changes {
            if body.is_empty() {
                break;
            }
            let at = place.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, b"{}[]\",:\\"[usize::from(byte) % 8]),
                2 => drop(body.remove(at)),
                _ => body.truncate(at),
            }
        }
        check(&body)?;
    }

    #[test]
    fn members_of_webhooks_may_be_swapped_for_anything(body in composed(), place in any::<prop::sample::Index>(), value in json()) {
        // One of the values in the body is replaced by another.
        let names = body.match_indices("\":").filter(|(at, _)| body.as_bytes()[at - 1] != b'\\');
        let starts: Vec<usize> = names.map(|(at, _)| at + 2).collect();
        let start = starts[place.index(starts.len())];
        let mut rest = serde_json::Deserializer::from_str(&body[start..]).into_iter::<Value>();
        prop_assert!(rest.next().is_some_and(|found| found.is_ok()));
        let end = start + rest.byte_offset();
        let body = format!("{}{value}{}", &body[..start], &body[end..]);
        prop_assert!(split(body.as_bytes()).readable);
        check(body.as_bytes())?;
    }

    #[test]
    fn there_are_as_many_events_as_elements(counts in vec(vec((0..4_usize, 0..4_usize, 0..4_usize), 0..4), 0..4)) {
        let mut expected = 0;
        let list = |count: usize, name: &str| {
            (0..count).map(|n| format!(r#"{{"id":"{name}{n}","status":"read","from":"1"}}"#)).collect::<Vec<_>>().join(",")
        };
        let entries = counts.iter().map(|changes| {
            // What holds nothing is still one event.
            expected += if changes.is_empty() { 1 } else { 0 };
            let changes = changes.iter().map(|(messages, statuses, actions)| {
                expected += (messages + statuses + actions).max(1);
                format!(
                    r#"{{"value":{{"messages":[{}],"statuses":[{}],"user_actions":[{}]}},"field":"messages"}}"#,
                    list(*messages, "m"), list(*statuses, "s"), list(*actions, "a"),
                )
            });
            format!(r#"{{"id":"288","changes":[{}]}}"#, changes.collect::<Vec<_>>().join(","))
        });
        let body = format!(r#"{{"entry":[{}]}}"#, entries.collect::<Vec<_>>().join(","));
        prop_assert_eq!(split(body.as_bytes()).events.len(), expected.max(1));
        check(body.as_bytes())?;
    }

    #[test]
    fn canonical_writing_heeds_neither_white_space_nor_order_nor_escapes(value in json()) {
        let mut odd = String::new();
        write_oddly(&mut odd, &value);
        let canonical = canonical_json(&odd);
        prop_assert_eq!(canonical.as_ref(), Some(&value.to_string().into_bytes()), "{}", odd);
        prop_assert_eq!(canonical_json(&value.to_string()), canonical);
    }

    #[test]
    fn canonical_writing_of_any_text_is_stable(text in any::<String>()) {
        if let Some(canonical) = canonical_json(&text) {
            let again = canonical_json(std::str::from_utf8(&canonical).unwrap());
            prop_assert_eq!(again, Some(canonical));
        }
    }

    #[test]
    fn keys_heed_neither_white_space_nor_order(body in composed()) {
        let value: Value = serde_json::from_str(&body).unwrap();
        let mut odd = String::new();
        write_oddly(&mut odd, &value);
        let mut keys = [crate::keys(&body), crate::keys(&odd)];
        keys.iter_mut().for_each(|keys| keys.sort());
        prop_assert_eq!(&keys[0], &keys[1]);
    }
}

#[test]
fn canonical_writing_keeps_numbers_repeats_and_halves_of_pairs() {
    for (text, canonical) in [
        ("1.0", "1.0"),
        ("-0", "-0"),
        ("1E+2", "1E+2"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (r#"{"b":1,"a":2,"b":0}"#, r#"{"a":2,"b":1,"b":0}"#),
        (r#"{"a":1,"\u0061":0,"A":2}"#, r#"{"A":2,"a":1,"a":0}"#),
        (r#"{"\ud83d":1,"\ue000":2,"\ud83d\ude00":3}"#, "{\"\\ud83d\":1,\"\u{e000}\":2,\"😀\":3}"),
        (
            r#"["\u001f\u007f\/\u00e9\uDFFF\"\\\b\f\n\r\t"]"#,
            "[\"\\u001f\u{7f}/é\\udfff\\\"\\\\\\b\\f\\n\\r\\t\"]",
        ),
        (" { } ", "{}"),
        ("[ [ ] , { \"x\" : [ 1 , true , null ] } ]", r#"[[],{"x":[1,true,null]}]"#),
        (r#"{"":{"":""}}"#, r#"{"":{"":""}}"#),
    ] {
        assert_eq!(canonical_json(text).as_deref(), Some(canonical.as_bytes()), "{text}");
    }
    for text in ["", "{", "[1,]", "tru"] {
        assert_eq!(canonical_json(text), None, "{text}");
    }
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let deepest = nested(waypost_whatsapp::CANONICAL_DEPTH_MAX);
    assert_eq!(canonical_json(&deepest), Some(deepest.into_bytes()));
    assert_eq!(canonical_json(&nested(waypost_whatsapp::CANONICAL_DEPTH_MAX + 1)), None);
}
