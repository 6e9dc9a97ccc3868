//! How frames look.

use serde_json::{Value, json};
use waypost_engine::stream::{Dialect, Since, View};
use waypost_whatsapp::normal::TYPES;
use waypost_whatsapp::{Compose, KINDS};

use crate::house::{House, read, seen};

const BARE: View = View { content: false, raw: true, dialect: Dialect::Waypost };
const DOCS: View = View { content: true, raw: false, dialect: Dialect::WhatomateDocs };
const CODE: View = View { content: true, raw: false, dialect: Dialect::WhatomateCode };

/// Frames of all composed kinds.
async fn all_kinds(house: &House) -> Vec<std::sync::Arc<waypost_engine::stream::Frame>> {
    for (sequence, (kind, _)) in (0..).zip(KINDS) {
        let parts = Compose { sequence, text: Some("Zweiundvierzig"), batch_size: 2, ..Compose::default() };
        house.compose(kind, &parts).await;
    }
    house.everything().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_have_a_type_an_id_and_a_payload_which_is_the_event() {
    let house = House::new();
    for frame in all_kinds(&house).await {
        for view in [View::WHOLE, View { raw: true, ..View::WHOLE }, BARE] {
            let whole = seen(&frame, view);
            assert_eq!(whole["type"], frame.event_type());
            assert!(TYPES.contains(&frame.event_type()));
            assert_eq!(whole["id"], frame.cursor().to_string());
            let payload: Value = serde_json::from_slice(&frame.payload(view).unwrap()).unwrap();
            assert_eq!(payload, whole["payload"]);
            assert_eq!((&payload["type"], &payload["id"]), (&whole["type"], &whole["id"]));
            assert_eq!(payload["evidence"], format!("/api/v1/events/{}", frame.record().id));
            let has_raw = payload.get("raw").is_some();
            assert_eq!(has_raw, view.raw && view.content && !frame.cursor().is_companion());
            assert_eq!(payload.get("data").is_some(), view.content);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_see_content_sees_no_texts_names_and_files_in_any_dialect() {
    let house = House::new();
    let frames = all_kinds(&house).await;
    assert!(frames.len() > 50);
    let mut whole = String::new();
    let mut bare = String::new();
    for frame in &frames {
        let text = |view: View| frame.encoded(view).map(|text| String::from_utf8(text.to_vec()).unwrap());
        whole.extend(text(View::WHOLE));
        bare.extend(text(BARE));
        for dialect in [Dialect::WhatomateDocs, Dialect::WhatomateCode] {
            bare.extend(text(View { dialect, ..BARE }));
        }
    }
    for secret in
        ["Zweiundvierzig", "Ana Ferrer", "mime_type\":\"image", "\"contact\":{", "\"sdp\"", "\"caption\""]
    {
        assert!(whole.contains(secret), "{secret} is there to be seen");
        assert!(!bare.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_dialect_has_its_names() {
    let house = House::new();
    let mut live = house.reader(Since::Now).await;
    house.compose("text", &Compose { text: Some("Hello!"), ..Compose::default() }).await;
    let frames = read(&mut live, 2).await;
    let (contact, message) = (seen(&frames[0], DOCS), seen(&frames[1], DOCS));
    assert_eq!((&contact["type"], &message["type"]), (&json!("contact:new"), &json!("message:new")));
    assert_eq!(contact["payload"]["contact_id"], message["payload"]["contact_id"]);
    assert_eq!(contact["payload"]["contact_name"], "Ana Ferrer");
    let payload = &message["payload"];
    assert_eq!(payload["direction"], "incoming");
    assert_eq!(payload["type"], "text");
    assert_eq!(payload["content"], json!({ "text": "Hello!" }));
    assert_eq!(payload["timestamp"], "2026-09-21T14:13:20Z");
    for id in [&payload["id"], &payload["contact_id"]] {
        let id = id.as_str().unwrap();
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'8');
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
    }
    assert_eq!(message["id"], frames[1].cursor().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coded_dialect_has_its_names_and_one_id_for_one_message() {
    let house = House::new();
    let mut live = house.reader(Since::Now).await;
    for (kind, count) in
        [("echo", 2), ("status.delivered", 1), ("status.sent", 1), ("reaction", 1), ("call.connect", 1)]
    {
        house.compose(kind, &Compose::default()).await;
        let frames = read(&mut live, count).await;
        let frame = frames.last().unwrap();
        let Some(bytes) = frame.encoded(CODE) else {
            assert_eq!(kind, "status.sent", "an older status would set clients back");
            continue;
        };
        let said: Value = serde_json::from_slice(&bytes).unwrap();
        let payload = &said["payload"];
        match kind {
            "echo" => {
                assert_eq!(
                    (&said["type"], &payload["direction"]),
                    (&json!("new_message"), &json!("outgoing"))
                );
                for member in
                    ["id", "contact_id", "profile_name", "message_type", "wamid", "created_at", "is_reply"]
                {
                    assert!(!payload[member].is_null(), "{member}");
                }
                assert!(payload["content"]["body"].is_string());
            }
            "status.delivered" => {
                assert_eq!(
                    (&said["type"], &payload["status"]),
                    (&json!("status_update"), &json!("delivered"))
                );
                assert!(payload["message_id"].is_string() && payload["wamid"].is_string());
            }
            "reaction" => {
                assert_eq!(said["type"], "reaction_update");
                assert_eq!(payload["reactions"][0]["user"], "+14155550183");
            }
            _ => {
                assert_eq!(
                    (&said["type"], &payload["whatsapp_account"]),
                    (&json!("call_incoming"), &json!("acme"))
                );
            }
        }
    }
    // The same message has the same id, whatever tells of it.
    let body = |value: &str| {
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"88","changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"11"}},{value}}}}}]}}]}}"#
        )
    };
    let message = body(
        r#""messages":[{"id":"w","from":"491","type":"text","text":{"body":"x"},"context":{"id":"v"}}]"#,
    );
    let status = body(
        r#""statuses":[{"id":"w","status":"failed","recipient_id":"491","errors":[{"code":1,"title":"no"}]}]"#,
    );
    house.post(&message).await;
    let frames = read(&mut live, 2).await;
    let message = seen(&frames[1], CODE);
    house.post(&status).await;
    let status = seen(&read(&mut live, 1).await[0], CODE);
    assert_eq!(message["payload"]["id"], status["payload"]["message_id"]);
    assert_eq!(status["payload"]["error_message"], "no");
    assert_eq!(message["payload"]["is_reply"], true);
    assert_ne!(message["payload"]["reply_to_message_id"], message["payload"]["id"]);
}
