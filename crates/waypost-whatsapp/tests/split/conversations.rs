//! Conversations: whose lane an event belongs to.

use waypost_whatsapp::{Event, split};

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

/// A contact as its number, parent, user, phone and former identities.
type Identities<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, Vec<&'a str>);

fn identities<'a>(event: &'a Event<'_>) -> Option<Identities<'a>> {
    let contact = event.contact.as_ref()?;
    Some((
        &contact.number,
        contact.parent.as_deref(),
        contact.user.as_deref(),
        contact.phone.as_deref(),
        contact.former.iter().map(|name| &**name).collect(),
    ))
}

/// The same without the number: it is always the same one.
type Names<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, &'a [&'a str]);

#[track_caller]
fn is_contact(field: &str, members: &str, wanted: Option<Names<'_>>) {
    let body = body(field, &value(members));
    let event = only(&body);
    let wanted = wanted.map(|(parent, user, phone, former)| ("301", parent, user, phone, former.to_vec()));
    assert_eq!(identities(&event), wanted, "{field} {members}");
}

#[test]
fn a_contact_is_called_what_they_call_themselves_and_never_what_another_does() {
    let contacts = r#""contacts":[
        {"wa_id":"1","profile":{"name":"Ana","username":"@ana"}},
        {"wa_id":"2","user_id":"US.2","profile":{"name":"Ben"},"username":"@ben"},
        {"wa_id":"3","profile":{"name":"First"}},{"wa_id":"3","user_id":"US.3","profile":{"name":"Third"}},
        {"wa_id":"4","profile":{"name":"","username":null}},
        {"wa_id":"5","user_id":"US.5","profile":{"name":"Other"}},
        {"profile":{"name":"Nobody"}}]"#;
    for (from, name, username) in [
        (r#""from":"1""#, Some("Ana"), Some("@ana")),
        (r#""from_user_id":"US.2""#, Some("Ben"), Some("@ben")),
        (r#""from":"3""#, Some("Third"), None),
        (r#""from":"4""#, None, None),
        (r#""from":"5","from_user_id":"US.9""#, None, None),
        (r#""from":"6""#, None, None),
    ] {
        let body = body("messages", &value(&format!(r#"{contacts},"messages":[{{"id":"m",{from}}}]"#)));
        let contact = only(&body).contact.unwrap();
        assert_eq!((contact.name.as_deref(), contact.username.as_deref()), (name, username), "{from}");
    }
    let system = r#""messages":[{"id":"m","from":"1","type":"system","system":{"type":"user_changed_number","wa_id":"7"}}]"#;
    let body = body("messages", &value(&format!("{contacts},{system}")));
    let contact = only(&body).contact.unwrap();
    assert_eq!((contact.phone.as_deref(), contact.name.as_deref()), (Some("7"), Some("Ana")));
}

#[test]
fn a_contact_has_every_identity_the_payload_gives() {
    let all = (Some("US.ENT.1"), Some("US.1"), Some("1"), &[][..]);
    for (field, members) in [
        ("messages", r#""messages":[{"from":"1","from_user_id":"US.1","from_parent_user_id":"US.ENT.1"}]"#),
        (
            "messages",
            r#""contacts":[{"wa_id":"1","user_id":"US.1","parent_user_id":"US.ENT.1"}],"messages":[{"from":"1"}]"#,
        ),
        (
            "messages",
            r#""contacts":[{"wa_id":"1","user_id":"US.1"}],"messages":[{"from_user_id":"US.1","from_parent_user_id":"US.ENT.1"}]"#,
        ),
        (
            "messages",
            r#""statuses":[{"recipient_id":"1","recipient_user_id":"US.1","recipient_parent_user_id":"US.ENT.1"}]"#,
        ),
        (
            "smb_message_echoes",
            r#""message_echoes":[{"from":"1555","to":"1","to_user_id":"US.1","to_parent_user_id":"US.ENT.1"}]"#,
        ),
        (
            "calls",
            r#""calls":[{"direction":"USER_INITIATED","to":"1555","from":"1","from_user_id":"US.1","from_parent_user_id":"US.ENT.1"}]"#,
        ),
        (
            "user_preferences",
            r#""user_preferences":[{"wa_id":"1","user_id":"US.1","parent_user_id":"US.ENT.1"}]"#,
        ),
        (
            "smb_app_state_sync",
            r#""state_sync":[{"contact":{"phone_number":"1","user_id":"US.1","parent_user_id":"US.ENT.1"}}]"#,
        ),
        (
            "messaging_handovers",
            r#""sender":{"phone_number":"1","user_id":"US.1","parent_user_id":"US.ENT.1"}"#,
        ),
        (
            "standby",
            r#""contacts":[{"wa_id":"1","user_id":"US.1","parent_user_id":"US.ENT.1"}],"standby":{"messages":[{"from":"1"}]}"#,
        ),
    ] {
        is_contact(field, members, Some(all));
    }
}

#[test]
fn nobody_is_the_contact_of_a_group_an_account_or_a_nameless_element() {
    for (field, members) in [
        ("messages", r#""messages":[{"from":"1","group_id":"g"}]"#),
        (
            "messages",
            r#""statuses":[{"recipient_id":"g","recipient_type":"group","recipient_participant_id":"1"}]"#,
        ),
        ("messages", r#""contacts":[{"wa_id":"1","user_id":"US.1"}],"messages":[{"id":"m"}]"#),
        ("messages", r#""errors":[{"code":1}]"#),
        ("group_settings_update", r#""groups":[{"group_id":"g"}]"#),
        ("history", r#""history":[{"threads":[{"id":"1"}]}]"#),
        ("history", r#""messages":[{"from":"1555"}]"#),
        ("security", r#""display_phone_number":"1555","requester":"1""#),
    ] {
        is_contact(field, members, None);
    }
}

#[test]
fn who_a_person_was_is_said_by_what_changes_them_and_by_nothing_else() {
    let system = |r#type: &str, from: &str, rest: &str| {
        format!(
            r#""messages":[{{"id":"m",{from},"type":"system","system":{{"type":"{type}","body":"b"{rest}}}}}]"#
        )
    };
    let from = r#""from":"1","from_user_id":"US.1""#;
    for (members, wanted) in [
        // A new number brings a new BSUID, even where it is not said.
        (
            system("user_changed_number", from, r#","wa_id":"2""#),
            (None, None, Some("2"), &["US.1", "1"][..]),
        ),
        (
            system("customer_changed_number", r#""from":"1""#, r#","new_wa_id":"2","customer":"1""#),
            (None, None, Some("2"), &["1"]),
        ),
        (
            system("user_changed_number", from, r#","wa_id":"2","user_id":"US.2","parent_user_id":"US.ENT.2""#),
            (Some("US.ENT.2"), Some("US.2"), Some("2"), &["US.1", "1"]),
        ),
        (
            system("user_changed_user_id", from, r#","user_id":"US.2""#),
            (None, Some("US.2"), Some("1"), &["US.1"]),
        ),
        (
            system("user_changed_user_id", from, r#","wa_id":"2","user_id":"US.2""#),
            (None, Some("US.2"), Some("2"), &["US.1", "1"]),
        ),
        // The new identities are those of the sender already.
        (system("user_changed_number", r#""from":"2""#, r#","wa_id":"2""#), (None, None, Some("2"), &[])),
        // Nothing new is said, or by nobody, or by something else.
        (system("user_changed_number", from, ""), (None, Some("US.1"), Some("1"), &[])),
        (
            system("customer_identity_changed", from, r#","wa_id":"2""#),
            (None, Some("US.1"), Some("1"), &[]),
        ),
        (system("group_renamed", from, r#","wa_id":"2""#), (None, Some("US.1"), Some("1"), &[])),
        (
            r#""messages":[{"id":"m","from":"1","type":"text","system":{"type":"user_changed_number","wa_id":"2"}}]"#
                .to_owned(),
            (None, None, Some("1"), &[]),
        ),
    ] {
        is_contact("messages", &members, Some(wanted));
    }
    is_contact("messages", &system("user_changed_number", r#""group_id":"g""#, r#","wa_id":"2""#), None);
    // The message itself still belongs to the conversation there was.
    let before = system("user_changed_number", from, r#","wa_id":"2","user_id":"US.2""#);
    assert_eq!(contact("messages", &before).as_deref(), Some("US.1"));
}

#[test]
fn a_user_id_update_names_both_ids_and_no_contact_brings_the_old_one_back() {
    let update = |ids: &str| format!(r#""user_id_update":[{{"wa_id":"1",{ids}}}]"#);
    let user = r#""user_id":{"previous":"US.1","current":"US.2"}"#;
    let parent = r#""parent_user_id":{"previous":"US.ENT.1","current":"US.ENT.2"}"#;
    is_contact("user_id_update", &update(user), Some((None, Some("US.2"), Some("1"), &["US.1"])));
    is_contact(
        "user_id_update",
        &update(&format!("{user},{parent}")),
        Some((Some("US.ENT.2"), Some("US.2"), Some("1"), &["US.ENT.1", "US.1"])),
    );
    let stale = r#""contacts":[{"wa_id":"1","user_id":"US.1","parent_user_id":"US.ENT.1"}]"#;
    is_contact(
        "user_id_update",
        &format!("{stale},{}", update(user)),
        Some((None, Some("US.2"), Some("1"), &["US.1"])),
    );
    is_contact(
        "user_id_update",
        &format!("{stale},{}", update(parent)),
        Some((Some("US.ENT.2"), Some("US.1"), Some("1"), &["US.ENT.1"])),
    );
    is_contact(
        "user_id_update",
        &update(r#""user_id":{"previous":"US.1","current":"US.1"}"#),
        Some((None, Some("US.1"), Some("1"), &[])),
    );
}

#[test]
fn a_number_that_went_to_someone_else_is_not_completed_with_their_ids() {
    is_contact(
        "messages",
        r#""contacts":[{"wa_id":"1","user_id":"US.2","parent_user_id":"US.ENT.2"}],"messages":[{"from":"1","from_user_id":"US.1"}]"#,
        Some((None, Some("US.1"), Some("1"), &[])),
    );
}

#[test]
fn a_contact_belongs_to_the_number_its_conversation_belongs_to() {
    for (metadata, number) in [
        (r#"{"phone_number_id":"301","display_phone_number":"1555"}"#, "301"),
        (r#"{"display_phone_number":"1555"}"#, "1555"),
        ("{}", ""),
    ] {
        let body = body("messages", &format!(r#"{{"metadata":{metadata},"messages":[{{"from":"1"}}]}}"#));
        let event = only(&body);
        assert_eq!(identities(&event), Some((number, None, None, Some("1"), vec![])));
        assert_eq!(event.conversation, Some(format!("{number}:1")));
    }
}
