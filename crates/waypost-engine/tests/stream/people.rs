//! What frames tell of people.

use serde_json::{Value, json};
use waypost_engine::stream::{Since, View};

use crate::house::{House, read, seen};

/// A text by somebody with these ids, called so.
fn text(wamid: &str, from: &str, contact: &str) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"88","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550001","phone_number_id":"11"}},"contacts":[{contact}],"messages":[{{"id":"{wamid}","timestamp":"1790000000","type":"text","text":{{"body":"hello"}},{from}}}]}}}}]}}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_new_or_has_changed_is_told_of_before_what_they_say() {
    let house = House::new();
    let mut live = house.reader(Since::Now).await;
    let contact =
        |name: &str, more: &str| format!(r#"{{"wa_id":"491","profile":{{"name":"{name}"{more}}}}}"#);
    let from = r#""from":"491""#;
    for (wamid, contact, wanted) in [
        ("a", contact("Ana", ""), Some("new")),
        ("b", contact("Ana", ""), None),
        ("c", contact("Ana Ferrer", ""), Some("updated")),
        ("d", contact("Ana Ferrer", r#","username":"@ana""#), Some("updated")),
        ("e", contact("Ana Ferrer", ""), None),
        (
            "f",
            r#"{"wa_id":"491","user_id":"US.1","profile":{"name":"Ana Ferrer"}}"#.to_owned(),
            Some("updated"),
        ),
        ("g", contact("Ana Ferrer", r#","username":"@ana""#), None),
    ] {
        house.post(&text(wamid, from, &contact)).await;
        let frames = read(&mut live, 1 + usize::from(wanted.is_some())).await;
        let frames: Vec<Value> = frames.iter().map(|frame| seen(frame, View::WHOLE)).collect();
        let own = frames.last().unwrap();
        assert_eq!((&own["type"], &own["payload"]["data"]["id"]), (&json!("message:new"), &json!(wamid)));
        assert_eq!(own["payload"]["contact_change"], json!(wanted), "{wamid}");
        let Some(wanted) = wanted else { continue };
        let about = &frames[0];
        assert_eq!(about["type"], format!("contact:{wanted}"));
        assert_eq!(about["id"], format!("{}.1", own["id"].as_str().unwrap()));
        assert_eq!(about["payload"]["id"], about["id"]);
        assert_eq!(about["payload"]["contact"], own["payload"]["contact"]);
        let data = if wanted == "new" { json!({}) } else { json!({ "change": "profile" }) };
        assert_eq!(about["payload"]["data"], data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_itself_that_a_person_changed_is_not_told_twice() {
    let house = House::new();
    house.post(&text("a", r#""from":"491""#, r#"{"wa_id":"491","profile":{"name":"Ana"}}"#)).await;
    let mut live = house.reader(Since::Now).await;
    let system = r#""from":"491","type":"system","system":{"type":"user_changed_number","wa_id":"492","body":"moved"}"#;
    let body =
        text("b", system, r#"{"wa_id":"491"}"#).replace(r#""type":"text","text":{"body":"hello"},"#, "");
    house.post(&body).await;
    house.post(&text("c", r#""from":"492""#, r#"{"wa_id":"492","profile":{"name":"Ana"}}"#)).await;
    let frames = read(&mut live, 2).await;
    let types: Vec<_> = frames.iter().map(|frame| frame.event_type()).collect();
    assert_eq!(types, ["contact:updated", "message:new"]);
    assert!(!frames[0].cursor().is_companion());
    let conversation = |frame: usize| seen(&frames[frame], View::WHOLE)["payload"]["conversation"].clone();
    assert_eq!(conversation(0), conversation(1), "one person stays one conversation");
}
