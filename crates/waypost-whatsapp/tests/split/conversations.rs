//! Conversations: whose lane an event belongs to.

use waypost_whatsapp::split;

use crate::{body, only, value};

#[track_caller]
fn contact(field: &str, members: &str) -> Option<String> {
    let body = body(field, &value(members));
    let conversation = only(&body).conversation?;
    Some(conversation.strip_prefix("301:").unwrap().to_owned())
}

#[test]
fn the_most_lasting_name_of_a_sender_wins() {
    for (members, wanted) in [
        (r#""messages":[{"id":"m","from":"1"}]"#, Some("1")),
        (r#""messages":[{"id":"m","from":"1","from_user_id":"US.1"}]"#, Some("US.1")),
        (
            r#""messages":[{"id":"m","from":"1","from_user_id":"US.1","from_parent_user_id":"US.ENT.1"}]"#,
            Some("US.ENT.1"),
        ),
        (r#""messages":[{"id":"m","from":"1","from_user_id":"US.1","group_id":"g"}]"#, Some("g")),
        (r#""messages":[{"id":"m","from":"","from_user_id":null}]"#, None),
        (r#""messages":[{"id":"m","from":{}}]"#, None),
        (r#""messages":[{"id":"m","from":16505551234}]"#, Some("16505551234")),
        // What the contact adds, found by phone number or BSUID.
        (r#""contacts":[{"wa_id":"1","user_id":"US.1"}],"messages":[{"id":"m","from":"1"}]"#, Some("US.1")),
        (r#""messages":[{"id":"m","from":"1"}],"contacts":[{"wa_id":"1","user_id":"US.1"}]"#, Some("US.1")),
        (
            r#""contacts":[{"user_id":"US.1","parent_user_id":"US.ENT.1"}],"messages":[{"id":"m","from_user_id":"US.1"}]"#,
            Some("US.ENT.1"),
        ),
        (r#""contacts":{"wa_id":"1","user_id":"US.1"},"messages":[{"id":"m","from":"1"}]"#, Some("US.1")),
        // Never by position.
        (r#""contacts":[{"wa_id":"2","user_id":"US.2"}],"messages":[{"id":"m","from":"1"}]"#, Some("1")),
        (r#""contacts":[{"user_id":"US.2"}],"messages":[{"id":"m"}]"#, None),
        (r#""contacts":[7,null,"x",{"wa_id":["1"]}],"messages":[{"id":"m","from":"1"}]"#, Some("1")),
    ] {
        assert_eq!(contact("messages", members).as_deref(), wanted, "{members}");
    }
}

#[test]
fn other_kinds_name_the_person_and_not_the_business() {
    for (field, members, wanted) in [
        (
            "messages",
            r#""statuses":[{"id":"s","status":"read","recipient_id":"1","recipient_user_id":"US.1"}]"#,
            Some("US.1"),
        ),
        (
            "messages",
            r#""statuses":[{"id":"s","status":"read","recipient_id":"1","recipient_parent_user_id":"US.ENT.1"}]"#,
            Some("US.ENT.1"),
        ),
        (
            "messages",
            r#""contacts":[{"wa_id":"1","user_id":"US.1"}],"statuses":[{"id":"s","status":"read","recipient_id":"1"}]"#,
            Some("US.1"),
        ),
        (
            "messages",
            r#""statuses":[{"id":"s","status":"read","recipient_id":"g","recipient_type":"group","recipient_user_id":"US.1"}]"#,
            Some("g"),
        ),
        ("messages", r#""statuses":[{"id":"s","status":"failed"}]"#, None),
        ("smb_message_echoes", r#""message_echoes":[{"id":"e","from":"1555","to":"1"}]"#, Some("1")),
        (
            "smb_message_echoes",
            r#""message_echoes":[{"id":"e","from":"1555","to":"1","to_user_id":"US.1"}]"#,
            Some("US.1"),
        ),
        (
            "smb_message_echoes",
            r#""contacts":[{"wa_id":"1","parent_user_id":"US.ENT.1"}],"message_echoes":[{"id":"e","from":"1555","to":"1"}]"#,
            Some("US.ENT.1"),
        ),
        (
            "calls",
            r#""calls":[{"id":"c","event":"connect","direction":"USER_INITIATED","from":"1","to":"1555"}]"#,
            Some("1"),
        ),
        (
            "calls",
            r#""calls":[{"id":"c","event":"connect","direction":"BUSINESS_INITIATED","from":"1555","to":"1"}]"#,
            Some("1"),
        ),
        (
            "calls",
            r#""calls":[{"id":"c","event":"connect","direction":"BUSINESS_INITIATED","from":"1555","to_user_id":"US.1"}]"#,
            Some("US.1"),
        ),
        ("calls", r#""calls":[{"id":"c","event":"connect","from":"1555","to":"1"}]"#, Some("1")),
        ("calls", r#""calls":[{"id":"c","event":"connect","from":"1","to":"1555"}]"#, Some("1")),
        ("calls", r#""statuses":[{"id":"c","status":"RINGING","recipient_user_id":"US.1"}]"#, Some("US.1")),
        (
            "smb_app_state_sync",
            r#""state_sync":[{"contact":{"phone_number":"1","user_id":"US.1"},"action":"add"}]"#,
            Some("US.1"),
        ),
        ("user_preferences", r#""user_preferences":[{"user_id":"US.1","value":"stop"}]"#, Some("US.1")),
        (
            "user_preferences",
            r#""contacts":[{"wa_id":"1","user_id":"US.1"}],"user_preferences":[{"wa_id":"1","value":"stop"}]"#,
            Some("US.1"),
        ),
        (
            "user_id_update",
            r#""user_id_update":[{"wa_id":"1","user_id":{"previous":"US.1","current":"US.2"}}]"#,
            Some("US.2"),
        ),
        ("user_id_update", r#""user_id_update":[{"wa_id":"1"}]"#, Some("1")),
        ("group_settings_update", r#""groups":[{"group_id":"g","type":"t"}]"#, Some("g")),
        (
            "messaging_handovers",
            r#""sender":{"phone_number":"1","user_id":"US.1"},"type":"t","timestamp":"5""#,
            Some("US.1"),
        ),
        ("messaging_handovers", r#""type":"t","timestamp":"5""#, None),
        ("history", r#""messages":[{"id":"h","from":"1"}]"#, Some("1")),
        ("history", r#""messages":[{"id":"h","from":"1555","to":"1"}]"#, Some("1")),
        ("history", r#""messages":[{"id":"h","from":"1555"}]"#, None),
        ("history", r#""message_echoes":[{"id":"h","from":"1555","to_user_id":"US.1"}]"#, Some("US.1")),
        (
            "standby",
            r#""contacts":[{"wa_id":"1","user_id":"US.1"}],"standby":{"messages":[{"id":"m","from":"1"}]}"#,
            Some("US.1"),
        ),
        (
            "standby",
            r#""standby":{"contacts":[{"wa_id":"1","user_id":"US.1"}],"messages":[{"id":"m","from":"1"}]}"#,
            Some("US.1"),
        ),
    ] {
        assert_eq!(contact(field, members).as_deref(), wanted, "{field} {members}");
    }
}

#[test]
fn a_thousand_contacts_are_each_found_for_their_message() {
    let list = |element: &dyn Fn(usize) -> String, order: &mut dyn Iterator<Item = usize>| {
        order.map(element).collect::<Vec<_>>().join(",")
    };
    let contacts = list(&|n| format!(r#"{{"wa_id":"{n}","user_id":"US.{n}"}}"#), &mut (0..1_000).rev());
    let messages = list(&|n| format!(r#"{{"id":"m{n}","from":"{n}"}}"#), &mut (0..1_000));
    let body = body("messages", &value(&format!(r#""messages":[{messages}],"contacts":[{contacts}]"#)));
    let events = split(body.as_bytes()).events;
    assert_eq!(events.len(), 1_000);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.conversation.as_deref(), Some(format!("301:US.{n}").as_str()));
    }
}
