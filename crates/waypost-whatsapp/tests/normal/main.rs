//! What normalised events promise: every composed kind in its place, and nothing lost or made up.

#![expect(clippy::unwrap_used, reason = "clippy does not see that these are tests throughout")]

mod fitting;

use fitting::fits;
use proptest::prelude::*;
use serde_json::{Value, json};
use waypost_whatsapp::normal::{
    ContactChange, Data, LIST_MAX, NORMAL_VERSION, NormalEvent, Origin, Record, StatusState, TYPES, Told,
};
use waypost_whatsapp::{Advance, Compose, Cuts, Event, KINDS, MessageState, StatusUpdate, compose, split};

/// What every composed kind becomes, one line for each event: kind and normalised form.
const EXPECTED: &str = include_str!("composed.jsonl");

fn origin() -> Origin<'static> {
    Origin {
        id: "42",
        source: "main",
        received_at_ms: 1_790_000_001_500,
        conversation: None,
        evidence: "/api/v1/requests/41",
    }
}

/// The normalised forms of a body's events, each made from its own piece.
fn normal(body: &str) -> Vec<Value> {
    let cuts = Cuts::of(body.as_bytes());
    let pieces = (0..cuts.len()).map(|index| cuts.one(body.as_bytes(), index));
    pieces
        .map(|piece| {
            let events = split(&piece).events;
            assert_eq!(events.len(), 1);
            let normal = serde_json::to_value(NormalEvent::of(&piece, &events[0], origin())).unwrap();
            assert_eq!(fits(&normal), Ok(()), "{normal}");
            normal
        })
        .collect()
}

/// The only normalised form of a value under a field.
fn of(field: &str, members: &str) -> Value {
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"288","time":1790000000,"changes":[{{"field":"{field}","value":{{"metadata":{{"display_phone_number":"1555","phone_number_id":"301"}},{members}}}}}]}}]}}"#
    );
    let mut normal = normal(&body);
    assert_eq!(normal.len(), 1, "{normal:#?}");
    normal.remove(0)
}

#[test]
fn every_composed_kind_becomes_what_the_table_says() {
    let mut expected = EXPECTED.lines();
    for (kind, _) in KINDS {
        let body = compose(kind, &Compose { batch_size: 2, ..Compose::default() }).unwrap();
        for event in normal(&body) {
            let line = expected.next().unwrap_or_default();
            let made = json!({ "kind": kind, "event": event });
            if std::env::var_os("WAYPOST_GENERATE").is_some() {
                println!("LINE{made}");
                continue;
            }
            let wanted: Value = serde_json::from_str(line).unwrap();
            assert_eq!(made, wanted, "{kind}");
        }
    }
    assert_eq!(expected.next(), None);
}

#[test]
fn every_event_says_where_it_came_from() {
    let event =
        of("messages", r#""messages":[{"id":"m","from":"1","timestamp":"1790000000","type":"ephemeral"}]"#);
    assert_eq!(
        event,
        json!({
            "version": NORMAL_VERSION,
            "id": "42",
            "type": "message:new",
            "data": { "id": "m", "content": { "type": "ephemeral" } },
            "source": "main",
            "number": { "id": "301", "display": "1555" },
            "waba_id": "288",
            "conversation": "301:1",
            "occurred_at": "2026-09-21T14:13:20Z",
            "received_at": "2026-09-21T14:13:21.5Z",
            "direction": "inbound",
            "contact": { "wa_id": "1" },
            "field": "messages",
            "evidence": "/api/v1/requests/41",
        })
    );
    let body = compose("text", &Compose::default()).unwrap();
    let event = &split(body.as_bytes()).events[0];
    let known = Origin { conversation: Some("301:first"), ..origin() };
    let normal = NormalEvent::of(body.as_bytes(), event, known);
    assert_eq!(normal.conversation.as_deref(), Some("301:first"), "what the gateway knows goes first");
}

#[test]
fn what_is_not_composed_has_its_place_too() {
    for (field, members, r#type, data) in [
        (
            "automatic_events",
            r#""automatic_events":[{"id":"m","event_name":"purchase","timestamp":1,"custom_data":{"currency":"EUR","value":12500}}]"#,
            "conversation:detection",
            json!({ "event": "purchase", "message_id": "m", "currency": "EUR", "value": 12500 }),
        ),
        (
            "group_participants_update",
            r#""groups":[{"type":"t","removed_participants":[{"input":"1"}],"failed_participants":[{"user_id":"US.1"}],"initiated_by":"business","errors":[{"code":7}]}]"#,
            "group:updated",
            json!({
                "change": "t",
                "initiated_by": "business",
                "participants": [{ "wa_id": "1" }, { "user_id": "US.1" }],
                "errors": [{ "code": "7" }],
                "details": { "type": "t", "removed_participants": [{ "input": "1" }], "failed_participants": [{ "user_id": "US.1" }], "initiated_by": "business", "errors": [{ "code": 7 }] },
            }),
        ),
        (
            "calls",
            r#""calls":[{"id":"c","event":"call_recording_available","recording":{"id":"r"}}]"#,
            "call:other",
            json!({
                "call_id": "c",
                "event": "call_recording_available",
                "details": { "id": "c", "event": "call_recording_available", "recording": { "id": "r" } },
            }),
        ),
        (
            "messages",
            r#""conversation_context":{"x":1},"messages":[{"id":"m","type":"interactive","context":{"referred_product":{"catalog_id":"c","product_retailer_id":"p"}},"identity":{"hash":"h"}}]"#,
            "message:new",
            json!({
                "id": "m",
                "content": { "type": "interactive" },
                "context": { "catalog_id": "c", "product_id": "p" },
                "identity": { "hash": "h" },
                "conversation_context": { "x": 1 },
            }),
        ),
        (
            "messages",
            r#""messages":[{"id":"m","type":"interactive","interactive":{"type":"shake","shake":{"n":1}}}]"#,
            "message:new",
            json!({ "id": "m", "content": { "type": "interactive", "details": { "type": "shake", "shake": { "n": 1 } } } }),
        ),
        (
            "messages",
            r#""messages":[{"id":"m","type":"system","system":{"type":"customer_identity_changed","body":"b"},"identity":{"hash":"h"}}]"#,
            "message:new",
            json!({ "id": "m", "content": { "type": "system", "event": "customer_identity_changed", "body": "b" }, "identity": { "hash": "h" } }),
        ),
        (
            "messages",
            r#""messages":[{"id":"m"}]"#,
            "message:new",
            json!({ "id": "m", "content": { "type": "other" } }),
        ),
        (
            "messages",
            r#""statuses":[{"id":"m","status":"delivered","biz_opaque_callback_data":"order-1"}]"#,
            "message:status",
            json!({ "message_id": "m", "status": "delivered", "callback_data": "order-1" }),
        ),
        (
            "account_alerts",
            r#""alert_type":"OBA_REJECTED","alert_description":"d""#,
            "account:alert",
            json!({
                "event": "OBA_REJECTED",
                "reason": "d",
                "details": { "metadata": { "display_phone_number": "1555", "phone_number_id": "301" }, "alert_type": "OBA_REJECTED", "alert_description": "d" },
            }),
        ),
    ] {
        let event = of(field, members);
        assert_eq!((event["type"].as_str().unwrap(), &event["data"]), (r#type, &data), "{members}");
    }
}

#[test]
fn a_contact_has_every_identity_and_nobody_elses() {
    let contacts = r#""contacts":[{"profile":{"name":"B"},"wa_id":"2"},{"profile":{"name":"A","username":"a.a"},"wa_id":"1","user_id":"US.1","identity_key_hash":"h"},{"profile":{"name":"C"},"wa_id":"1","user_id":"US.3"}]"#;
    let contact = |element: &str| of("messages", &format!("{contacts},{element}"))["contact"].clone();
    assert_eq!(
        contact(r#""messages":[{"from":"1","from_user_id":"US.1"}]"#),
        json!({ "wa_id": "1", "user_id": "US.1", "username": "a.a", "name": "A", "identity_key_hash": "h" })
    );
    assert_eq!(contact(r#""messages":[{"from":"2"}]"#), json!({ "wa_id": "2", "name": "B" }));
    assert_eq!(contact(r#""messages":[{"from":"9"}]"#), json!({ "wa_id": "9" }));
    assert_eq!(
        contact(r#""messages":[{"from":"1","from_user_id":"US.9"}]"#),
        json!({ "wa_id": "1", "user_id": "US.9" })
    );
    assert_eq!(
        contact(
            r#""statuses":[{"recipient_type":"group","recipient_id":"g","recipient_participant_user_id":"US.3"}]"#
        ),
        json!({ "wa_id": "1", "user_id": "US.3", "name": "C" })
    );
    assert_eq!(
        contact(r#""statuses":[{"recipient_id":"9","recipient_identity_key_hash":"i"}]"#),
        json!({ "wa_id": "9", "identity_key_hash": "i" })
    );
    assert_eq!(contact(r#""messages":[{"id":"m"}]"#), Value::Null);
}

#[test]
fn a_person_is_told_of_with_the_event_they_were_seen_with() {
    let body = compose("text", &Compose::default()).unwrap();
    let event = &split(body.as_bytes()).events[0];
    let normal = NormalEvent::of(body.as_bytes(), event, origin()).with_contact_change(ContactChange::New);
    assert_eq!(serde_json::to_value(&normal).unwrap()["contact_change"], "new");
    for (change, r#type, data) in [
        (ContactChange::New, "contact:new", json!({})),
        (ContactChange::Updated, "contact:updated", json!({ "change": "profile" })),
    ] {
        let told = normal.clone().with_raw(event).about_contact(change, "42.1");
        let told = serde_json::to_value(&told).unwrap();
        assert_eq!(fits(&told), Ok(()));
        assert_eq!((&told["type"], &told["id"], &told["data"]), (&json!(r#type), &json!("42.1"), &data));
        assert!(["raw", "contact_change", "direction"].iter().all(|member| told.get(member).is_none()));
        assert_eq!(told["contact"], json!({ "wa_id": "14155550183", "name": "Ana Ferrer" }));
    }
}

/// The record of an event.
fn record<'a>(event: &'a Event<'a>) -> Record<'a> {
    Record {
        event_type: None,
        kind: event.kind,
        word: &event.r#type,
        field: &event.field,
        phone_number_id: event.phone_number_id.as_deref(),
        display_phone_number: event.display_phone_number.as_deref(),
        waba_id: event.waba_id.as_deref(),
        wamid: event.wamid.as_deref(),
        participant: None,
        occurred_at_ms: event.occurred_at_ms,
        evidence_gone: true,
    }
}

#[test]
fn a_record_alone_tells_what_the_evidence_told_but_for_what_was_said() {
    for (kind, _) in KINDS {
        let body = compose(kind, &Compose { batch_size: 2, ..Compose::default() }).unwrap();
        let cuts = Cuts::of(body.as_bytes());
        for index in 0..cuts.len() {
            let piece = cuts.one(body.as_bytes(), index);
            let split = split(&piece);
            let event = &split.events[0];
            let conversation = event.conversation.as_deref();
            let origin = Origin { conversation, ..origin() };
            let whole = NormalEvent::of(&piece, event, origin);
            let bare = NormalEvent::of_record(&record(event), origin);
            // Only a system message and a value that is no change say nothing of it outside the evidence.
            if event.r#type != "system" {
                assert_eq!(bare.data.event_type(), whole.data.event_type(), "{kind}");
            }
            let (bare, whole) = (serde_json::to_value(&bare).unwrap(), serde_json::to_value(&whole).unwrap());
            assert_eq!(fits(&bare), Ok(()), "{bare}");
            assert!(bare.get("data").is_none() && bare["evidence_gone"] == true);
            for (name, value) in bare.as_object().unwrap() {
                if !["type", "summary", "evidence_gone"].contains(&name.as_str()) {
                    assert_eq!(whole.get(name), Some(value), "{kind}: {name}");
                }
            }
            assert_eq!(bare["summary"]["message_id"].as_str(), event.wamid.as_deref());
        }
    }
}

#[test]
fn a_status_tells_what_has_become_of_its_message() {
    let body = compose("status.delivered", &Compose::default()).unwrap();
    let split = split(body.as_bytes());
    let event = &split.events[0];
    let update = StatusUpdate::of(event).unwrap();
    let mut state = MessageState::default();
    let early = StatusUpdate { status: "read", at_ms: Some(1_790_000_000_000), ..update.clone() };
    assert_eq!(state.apply(&early), Advance::Forward);
    let advance = state.apply(&update);
    let wanted = json!({ "status": "read", "since": "2026-09-21T14:13:20Z", "changed": false });
    let state = StatusState::of(&state, &update, advance);
    let whole = NormalEvent::of(body.as_bytes(), event, origin()).with_state(state.clone());
    let bare = NormalEvent::of_record(&record(event), origin()).with_state(state);
    let (whole, bare) = (serde_json::to_value(whole).unwrap(), serde_json::to_value(bare).unwrap());
    assert_eq!((fits(&whole), fits(&bare)), (Ok(()), Ok(())));
    assert_eq!((&whole["data"]["state"], &bare["summary"]["state"]), (&wanted, &wanted));
}

#[test]
fn the_word_of_every_type_is_the_one_that_is_written() {
    let mut seen = Vec::new();
    for (kind, _) in KINDS {
        let body = compose(kind, &Compose { batch_size: 2, ..Compose::default() }).unwrap();
        let cuts = Cuts::of(body.as_bytes());
        for index in 0..cuts.len() {
            let piece = cuts.one(body.as_bytes(), index);
            let made = NormalEvent::of(&piece, &split(&piece).events[0], origin());
            let written = serde_json::to_value(&made.data).unwrap();
            assert_eq!(written["type"], made.data.event_type());
            assert!(TYPES.contains(&made.data.event_type()));
            seen.push(made.data.event_type());
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn numbers_and_what_is_not_understood_keep_their_own_bytes() {
    let message = r#"{"id":"m","type":"order","order":{"product_items":[{"quantity":1E+2,"item_price":14.50,"currency":"EUR"}],"x":"\ud83d\u0000\/"}}"#;
    let body =
        format!(r#"{{"entry":[{{"changes":[{{"field":"messages","value":{{"messages":[{message}]}}}}]}}]}}"#);
    let event = &split(body.as_bytes()).events[0];
    let normal = NormalEvent::of(body.as_bytes(), event, origin()).with_raw(event);
    let text = serde_json::to_string(&normal).unwrap();
    assert!(text.contains(r#""quantity":1E+2,"price":14.50"#), "{text}");
    assert!(text.ends_with(&format!(r#""raw":{message}}}"#)), "{text}");
    let unknown = r#"{"id": 12345678901234567890,"b":"\u00e4"}"#;
    let body = format!(r#"{{"entry":[{{"changes":[{{"field":"new","value":{unknown}}}]}}]}}"#);
    let event = &split(body.as_bytes()).events[0];
    let text = serde_json::to_string(&NormalEvent::of(body.as_bytes(), event, origin())).unwrap();
    assert!(text.contains(&format!(r#""data":{{"details":{unknown}}}"#)), "{text}");
}

#[test]
fn what_is_no_json_is_unknown_and_has_no_bytes_to_show() {
    for body in [&b"\xff"[..], b"", b"{"] {
        let event = &split(body).events[0];
        let normal = serde_json::to_value(NormalEvent::of(body, event, origin()).with_raw(event)).unwrap();
        assert_eq!(fits(&normal), Ok(()));
        assert_eq!(
            (normal["type"].as_str(), &normal["data"], &normal["raw"]),
            (Some("unknown"), &json!({}), &Value::Null)
        );
    }
}

#[test]
fn a_chunk_of_history_with_more_messages_than_are_listed_says_so() {
    let messages = vec!["{}"; LIST_MAX + 10].join(",");
    let body = format!(
        r#"{{"entry":[{{"changes":[{{"field":"history","value":{{"history":[{{"threads":[{{"id":"1","messages":[{messages}]}},{{"id":"2","messages":[{{}}]}}]}}]}}}}]}}]}}"#
    );
    let event = &split(body.as_bytes()).events[0];
    let normal = NormalEvent::of(body.as_bytes(), event, origin());
    let Told::Data(Data::HistoryChunk(chunk)) = normal.data else { panic!("{:?}", normal.data) };
    assert!(chunk.is_partial);
    assert_eq!(chunk.threads.iter().map(|thread| thread.messages.len()).collect::<Vec<_>>(), [LIST_MAX, 0]);
}

proptest! {
    #[test]
    fn whatever_stands_in_a_composed_webhook_its_normal_form_fits_the_schema(
        kind in 0..KINDS.len(),
        place in any::<prop::sample::Index>(),
        other in prop::sample::select(&["null", "true", "0", "-1.5e-3", "\"\"", "\"x\"", "[]", "{}", "[[{}],null]", "{\"a\":[1]}", "\"\\ud83d\\u0000\"", "99999999999999999999"][..]),
    ) {
        let body = compose(KINDS[kind].0, &Compose { batch_size: 2, ..Compose::default() }).unwrap();
        // One of the values in the body is replaced by another.
        let names = body.match_indices("\":").filter(|(at, _)| body.as_bytes()[at - 1] != b'\\');
        let starts: Vec<usize> = names.map(|(at, _)| at + 2).collect();
        let start = starts[place.index(starts.len())];
        let mut rest = serde_json::Deserializer::from_str(&body[start..]).into_iter::<Value>();
        prop_assert!(rest.next().is_some_and(|found| found.is_ok()));
        let body = format!("{}{other}{}", &body[..start], &body[start + rest.byte_offset()..]);
        for event in split(body.as_bytes()).events {
            let normal = NormalEvent::of(body.as_bytes(), &event, origin()).with_raw(&event);
            let text = serde_json::to_string(&normal).unwrap();
            prop_assert!(text.contains(event.raw), "nothing is lost");
            // What `serde_json` refuses to read again are halves of surrogate pairs, kept as Meta wrote them.
            if let Ok(normal) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(fits(&normal), Ok(()), "{}", normal);
            } else {
                prop_assert!(other.contains("ud83d"));
            }
        }
    }
}
