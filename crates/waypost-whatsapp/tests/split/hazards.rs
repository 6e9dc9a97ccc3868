//! Bodies that break parsers: split takes them all.

use std::fmt::Write as _;

use waypost_whatsapp::{
    Class, EVENT_TEXT_BYTES_MAX, EVENTS_MAX, Kind, Part, TEXT_BYTES_MAX, canonical_json, split,
};

use crate::{body, hash, keys, only, value};

#[test]
fn what_is_not_json_is_one_unknown_event_on_the_message_path() {
    for bytes in [
        &b""[..],
        b" ",
        b"not json",
        b"{",
        b"{}}",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"{\"entry\":[{\"changes\":[",
        b"{\"entry\":[]} trailing",
        b"\xff\xfe{\x00}\x00",
        b"{\"entry\":[{\"id\":\"\xc3\x28\"}]}",
        b"\x1f\x8b\x08\x00",
        b"{\"a\":\"raw\x00nul\"}",
        b"{\"a\":\"line\nbreak\"}",
        b"{\"a\":\"\\x\"}",
        b"[1e]",
        b"nul",
        b"\xef\xbb\xbf",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
    ] {
        let split = split(bytes);
        assert!(!split.readable, "{bytes:?}");
        let [event] = split.events.as_slice() else { panic!("{split:?}") };
        assert_eq!((event.kind, event.class, event.place.part), (Kind::Unknown, Class::Message, Part::Body));
        assert!(event.key.starts_with("unk:::") && event.key.len() == 6 + 64, "{}", event.key);
        assert!(event.once);
    }
}

#[test]
fn json_without_an_envelope_is_one_unknown_event() {
    for text in [
        "{}",
        "[]",
        "null",
        "7",
        "\"entry\"",
        "[[],[]]",
        r#"{"entry":[]}"#,
        r#"{"entry":"x"}"#,
        r#"{"Entry":[{}]}"#,
    ] {
        let split = split(text.as_bytes());
        assert!(split.readable);
        let [event] = split.events.as_slice() else { panic!("{text}: {split:?}") };
        assert_eq!((event.kind, event.place.part, event.raw), (Kind::Unknown, Part::Body, text));
        assert_eq!(event.key, format!("unk:::{}", hash(&serde_json::from_str(text).unwrap())));
    }
}

#[test]
fn an_entry_without_changes_is_one_unknown_event() {
    for entry in [
        r#"{"id":"288","time":1790000000}"#,
        r#"{"id":"288","changes":[]}"#,
        r#"{"id":"288","changes":null,"messaging":[{}]}"#,
    ] {
        let body = format!(r#"{{"object":"whatsapp_business_account","entry":[{entry}]}}"#);
        let event = only(&body);
        assert_eq!((event.kind, event.place.part, event.raw), (Kind::Unknown, Part::Entry, entry));
        assert!(event.key.starts_with("unk::288:"));
        assert_eq!(event.waba_id.as_deref(), Some("288"));
    }
    let odd = r#"{"entry":[null,7,"x",[]]}"#;
    assert_eq!(split(odd.as_bytes()).events.len(), 4);
}

#[test]
fn wrong_containers_are_read_as_far_as_they_go() {
    let element = r#"{"id":"m","from":"1"}"#;
    let value = format!(r#"{{"metadata":{{"phone_number_id":"301"}},"messages":{element}}}"#);
    let change = format!(r#"{{"field":"messages","value":{value}}}"#);
    for body in [
        format!(r#"{{"entry":{{"id":"288","changes":{change}}}}}"#),
        format!(r#"{{"entry":[{{"id":"288","changes":[{change}]}}]}}"#),
        format!(
            r#"[{{"entry":[{{"id":"288","changes":[{change}]}}],"object":"whatsapp_business_account"}}]"#
        ),
        // `field` outside its change, as in some of Meta's samples.
        format!(r#"{{"entry":[{{"id":"288","changes":[{{"value":{value}}}],"field":"messages"}}]}}"#),
        format!(r#"{{"entry":[{{"id":"288","changes":[{{"value":{value}}}]}}],"field":"messages"}}"#),
        // Repeats: the first text wins, every array is read.
        format!(
            r#"{{"entry":[{{"id":"288","id":"9","changes":null,"changes":[{{"field":"","field":"messages","field":"calls","value":{value}}}]}}]}}"#
        ),
        format!(
            "\u{feff} \r\n\t{{\"entry\" : [ {{ \"id\" : \"288\" , \"changes\" : [ {change} ] }} ] }}\r\n"
        ),
        format!(r#"{{"\u0065ntry":[{{"\u0069d":"288","change\u0073":[{change}]}}]}}"#),
    ] {
        let event = only(&body);
        assert_eq!(
            (event.kind, event.key.as_str(), event.raw),
            (Kind::Message, "msg:301:m", element),
            "{body}"
        );
        assert_eq!(event.waba_id.as_deref(), Some("288"), "{body}");
    }
    let change_of_none = r#"{"entry":[{"id":"288","changes":["x",{"field":"messages"},{"value":{}}]}]}"#;
    let events = split(change_of_none.as_bytes()).events;
    let seen: Vec<_> = events.iter().map(|event| (event.kind, event.place.change, event.raw)).collect();
    assert_eq!(
        seen,
        [
            (Kind::Unknown, 0, "\"x\""),
            (Kind::Message, 1, r#"{"field":"messages"}"#),
            (Kind::Unknown, 2, "{}")
        ]
    );
}

#[test]
fn repeated_arrays_are_all_read() {
    let body =
        body("messages", &value(r#""messages":[{"id":"a"}],"messages":[{"id":"b"},{"id":"c","id":"d"}]"#));
    assert_eq!(keys(&body), ["msg:301:a", "msg:301:b", "msg:301:c"]);
}

#[test]
fn another_object_holds_unknown_events_only() {
    let changes =
        r#""entry":[{"id":"288","changes":[{"field":"messages","value":{"messages":[{"id":"m"}]}}]}]"#;
    for body in
        [format!(r#"{{"object":"instagram",{changes}}}"#), format!(r#"{{{changes},"object":"page"}}"#)]
    {
        let event = only(&body);
        assert_eq!((event.kind, event.class, event.place.part), (Kind::Unknown, Class::Message, Part::Value));
        assert!(event.key.starts_with("unk:messages:288:"));
    }
    let beside = format!(r#"[{{{changes},"object":"page"}},{{{changes}}}]"#);
    let kinds: Vec<_> =
        split(beside.as_bytes()).events.iter().map(|event| (event.kind, event.place.entry)).collect();
    assert_eq!(kinds, [(Kind::Unknown, 0), (Kind::Message, 1)]);
    for object in ["null", "\"\"", "7", "{}", "\"WhatsApp_Business_Account\""] {
        let body = format!(r#"{{"object":{object},{changes}}}"#);
        assert_eq!(only(&body).kind, Kind::Message, "{object}");
    }
}

#[test]
fn half_surrogate_pairs_and_nuls_stay_escaped() {
    for (written, kept) in [
        (r"wamid.\ud83d", r"wamid.\ud83d"),
        (r"\udc4d\ud83d", r"\udc4d\ud83d"),
        (r"a\u0000b", r"a\u0000b"),
        (r"\ud83d\udc4d", "👍"),
        (r"a\/b\u0040\u00e9\t\\", "a/b@é\t\\"),
    ] {
        let body =
            body("messages", &value(&format!(r#""messages":[{{"id":"{written}","from":"{written}"}}]"#)));
        let event = only(&body);
        assert_eq!(event.key, format!("msg:301:{kept}"));
        assert_eq!(event.conversation, Some(format!("301:{kept}")));
        assert_eq!(event.wamid.as_deref(), Some(kept));
    }
    // Anywhere else they are of no consequence.
    let body = body(
        r"m\u0065ssages",
        &value(r#""\ud83d":"\udc00","messages":[{"id":"m","\ud83d":1,"text":{"body":"\ud83d\u0000"}}]"#),
    );
    assert_eq!(keys(&body), ["msg:301:m"]);
}

#[test]
fn a_text_too_long_to_be_an_id_counts_as_absent() {
    let long = "x".repeat(100_000);
    let body =
        body("messages", &value(&format!(r#""messages":[{{"id":"{long}","from":"{long}","type":"text"}}]"#)));
    let event = only(&body);
    assert!(event.key.len() < 100 && event.conversation.is_none() && event.wamid.is_none());
}

#[test]
fn nesting_of_any_depth_is_survived_everywhere() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_objects = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    for deep in [deep.as_str(), deep_objects.as_str()] {
        assert_eq!(split(deep.as_bytes()).events.len(), 1);
        assert!(!split(&deep.as_bytes()[..100_000]).readable);
        for field in ["messages", "unknown", "account_update", "messaging_handovers", "standby"] {
            let event = only(&body(field, deep)).key.len();
            assert!(event < 200);
        }
        for members in [
            format!(r#""messages":[{{"id":"m","text":{deep}}}]"#),
            format!(r#""messages":[{{"text":{deep}}}]"#),
            format!(r#""contacts":{deep},"messages":[{deep}]"#),
            format!(r#""errors":{deep},"messages":[{{"id":{deep}}}]"#),
        ] {
            assert!(!split(body("messages", &value(&members)).as_bytes()).events.is_empty());
        }
        assert_eq!(canonical_json(deep), None);
    }
}

#[test]
fn a_large_body_is_split_in_full() {
    let filling = "x".repeat(300);
    let mut list = String::new();
    let mut count = 0_usize;
    while list.len() < 3_000_000 {
        let _ = write!(
            list,
            r#"{}{{"from":"16505551234","id":"wamid.{count}","timestamp":"1749416383","type":"text","text":{{"body":"{{[\"]}}{filling}"}}}}"#,
            if count == 0 { "" } else { "," }
        );
        count += 1;
    }
    let events = body("messages", &value(&format!(r#""messages":[{list}]"#)));
    let events = split(events.as_bytes()).events;
    assert!(count > 6_000);
    assert_eq!(events.len(), count);
    assert_eq!(events[count - 1].key, format!("msg:301:wamid.{}", count - 1));
}

#[test]
fn more_events_than_any_webhook_has_are_closed_by_one_for_the_whole_body() {
    let list = vec!["0"; EVENTS_MAX + 10].join(",");
    for body in [
        body("messages", &value(&format!(r#""messages":[{list}]"#))),
        format!(r#"{{"entry":[{list}]}}"#),
        format!(r#"{{"entry":[{{"changes":[{list}]}}]}}"#),
    ] {
        let events = split(body.as_bytes()).events;
        assert_eq!(events.len(), EVENTS_MAX + 1);
        let last = events.last().unwrap();
        assert_eq!((last.kind, last.place.part, last.raw), (Kind::Unknown, Part::Body, body.as_str()));
    }
}

#[test]
fn a_long_id_repeated_in_every_event_cannot_fill_the_memory() {
    let id = "x".repeat(TEXT_BYTES_MAX - 1);
    let list = vec!["{}"; EVENTS_MAX - 1].join(",");
    let body = format!(r#"{{"entry":[{{"id":"{id}\u0020","changes":[{list}]}}]}}"#);
    let events = split(body.as_bytes()).events;
    let owned: usize =
        events.iter().map(|event| event.key.len() + event.waba_id.as_ref().map_or(0, |id| id.len())).sum();
    assert!(owned < EVENT_TEXT_BYTES_MAX + 4 * TEXT_BYTES_MAX, "{owned}");
    assert!(owned > EVENT_TEXT_BYTES_MAX / 2, "{owned}");
    assert_eq!(events.last().unwrap().place.part, Part::Body);
}

#[test]
fn every_level_may_have_any_type() {
    const ODD: [&str; 9] = ["null", "true", "0", "-1.5e-3", "\"\"", "\"x\"", "[]", "{}", "[[{}],null]"];
    for odd in ODD {
        for template in [
            r#"{"object":@,"entry":@}"#,
            r#"{"object":"whatsapp_business_account","entry":[@]}"#,
            r#"{"entry":[{"id":@,"time":@,"changes":@}]}"#,
            r#"{"entry":[{"id":"1","changes":[@]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":@,"value":@}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":@,"contacts":@,"messages":@,"statuses":@,"errors":@}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":@,"display_phone_number":@},"contacts":[@,{"wa_id":@,"user_id":@}],"messages":[@,{"id":@,"from":@,"from_user_id":@,"group_id":@,"timestamp":@,"type":@}],"statuses":[{"id":@,"status":@,"recipient_type":@,"recipient_id":@}],"user_actions":[{"action_type":@,"x_data":@}]}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"calls","value":{"calls":[{"id":@,"direction":@,"from":@}],"statuses":[@]}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"history","value":{"history":[{"metadata":@,"threads":@,"errors":@}],"messages":[@]}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"smb_app_state_sync","value":{"state_sync":[{"contact":@,"action":@,"metadata":@}]}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"user_id_update","value":{"user_id_update":[{"user_id":@,"parent_user_id":@}]}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"standby","value":{"standby":@}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"messaging_handovers","value":{"sender":@,"recipient":@,"type":@}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"account_update","value":{"event":@,"waba_info":@}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"flows","value":{"flow_id":@,"alert_state":@}}]}]}"#,
            r#"{"entry":[{"id":"1","changes":[{"field":"account_alerts","value":{"entity_type":"PHONE_NUMBER","entity_id":@,"alert_info":@}}]}]}"#,
        ] {
            let body = template.replace('@', odd);
            let split = split(body.as_bytes());
            assert!(split.readable && !split.events.is_empty(), "{body}");
            assert!(split.events.iter().all(|event| event.key.contains(':')), "{body}");
        }
    }
}

#[test]
fn a_value_with_more_members_than_any_has_is_one_event() {
    let filling = |count: usize| (0..count).map(|n| format!(r#""{n}":{n},"#)).collect::<String>();
    let of = |count: usize| {
        body("messages", &value(&format!(r#"{}"messages":[{{"id":"a"}},{{"id":"b"}}]"#, filling(count))))
    };
    assert_eq!(keys(&of(1_000)), ["msg:301:a", "msg:301:b"]);
    let many = of(2_000);
    let event = only(&many);
    assert_eq!((event.kind, event.place.part), (Kind::Message, Part::Value));
    assert!(event.raw.ends_with(r#"{"id":"b"}]}"#));
    let standby = format!(r#""standby":{{{}"messages":[{{"id":"a"}},{{"id":"b"}}]}}"#, filling(2_000));
    let standby = body("standby", &value(&standby));
    assert_eq!(only(&standby).place.part, Part::Value);
}
