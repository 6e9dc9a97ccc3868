//! One event's own body: what a receiver gets that takes events one by one.

use serde_json::Value;
use waypost_whatsapp::{
    Class, Compose, Cuts, EVENTS_MAX, Event, KINDS, Part, SHARED_BYTES_MAX, compose, split,
};

use crate::{body, value};

/// The pieces of a body, as text.
fn pieces(body: &str) -> Vec<String> {
    let cuts = Cuts::of(body.as_bytes());
    (0..cuts.len()).map(|index| String::from_utf8(cuts.one(body.as_bytes(), index)).unwrap()).collect()
}

/// Whether an event's key is made of the hash of a value that other events share.
fn shares_its_key(event: &Event<'_>, events: &[Event<'_>]) -> bool {
    const HASHED: [&str; 5] = ["errors", "groups", "history", "events", "tracking_events"];
    let place = |event: &Event<'_>| (event.place.entry, event.place.change);
    let has_company = events.iter().filter(|other| place(other) == place(event)).count() > 1;
    has_company && matches!(event.place.part, Part::Element { array, .. } if HASHED.contains(&array))
}

/// What holds for every body: each event's piece, split again, is that event and nothing else.
pub(crate) fn check(body: &[u8]) -> Result<(), String> {
    let whole = split(body);
    let cuts = Cuts::of(body);
    let ensure = |holds: bool, what: &str, index: usize, piece: &[u8]| {
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if holds { Ok(()) } else { Err(format!("{what} of {index}: {}\n{}", show(piece), show(body))) }
    };
    ensure(cuts.len() == whole.events.len(), "count", 0, b"")?;
    for (index, event) in whole.events.iter().enumerate() {
        let piece = cuts.one(body, index);
        ensure(cuts.field(index) == event.field && cuts.class(index) == event.class, "facts", index, &piece)?;
        ensure(cuts.is_alone(index) == (cuts.len() == 1), "company", index, &piece)?;
        if event.place.part == Part::Body {
            ensure(piece == body, "the whole", index, &piece)?;
            continue;
        }
        let again = split(&piece);
        let [cut] = again.events.as_slice() else {
            ensure(false, "events", index, &piece)?;
            continue;
        };
        let key = if shares_its_key(event, &whole.events) { &cut.key } else { &event.key };
        ensure(cut.key == *key, "key", index, &piece)?;
        ensure(cut.raw == event.raw, "bytes", index, &piece)?;
        ensure(cut.conversation == event.conversation, "conversation", index, &piece)?;
        ensure(cut.contact == event.contact, "contact", index, &piece)?;
        let of = |event: &Event<'_>| {
            let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
            (
                (event.kind, event.class, event.field.to_string(), event.r#type.to_string()),
                (text(&event.phone_number_id), text(&event.display_phone_number), text(&event.waba_id)),
                (text(&event.wamid), event.occurred_at_ms),
            )
        };
        ensure(of(cut) == of(event), "kind, type, ids and time", index, &piece)?;
    }
    Ok(())
}

#[track_caller]
fn holds(body: &str) {
    if let Err(what) = check(body.as_bytes()) {
        panic!("{what}");
    }
}

#[test]
fn every_composed_kind_is_cut_into_its_events() {
    for (kind, _) in KINDS {
        let body = compose(kind, &Compose::default()).unwrap();
        holds(&body);
        if split(body.as_bytes()).events.len() == 1 {
            assert_eq!(pieces(&body), [body.as_str()], "{kind}: alone, it is sent as it came");
        }
    }
}

#[test]
fn composed_kinds_in_one_body_are_cut_apart_to_the_letter() {
    let bodies: Vec<String> = (0_u64..)
        .zip(KINDS)
        .map(|(sequence, (kind, _))| {
            compose(kind, &Compose { sequence, batch_size: 3, ..Compose::default() }).unwrap()
        })
        .collect();
    // As the entries of one body.
    let entries = bodies.iter().map(|body| {
        let start = body.find("\"entry\":[").unwrap() + 9;
        &body[start..body.len() - 2]
    });
    let entries = entries.collect::<Vec<_>>().join(",");
    let all = format!(r#"{{"object":"whatsapp_business_account","entry":[{entries}]}}"#);
    holds(&all);
    let singles: Vec<&String> =
        bodies.iter().filter(|body| split(body.as_bytes()).events.len() == 1).collect();
    assert!(singles.len() > 80);
    let pieces = pieces(&all);
    for single in singles {
        assert!(pieces.contains(single), "{single}");
    }
}

#[test]
fn a_receiver_that_reads_the_first_element_sees_every_event() {
    let body = compose("batch", &Compose { batch_size: 200, ..Compose::default() }).unwrap();
    let whole: Value = serde_json::from_str(&body).unwrap();
    let messages = whole["entry"][0]["changes"][0]["value"]["messages"].as_array().unwrap();
    let pieces = pieces(&body);
    assert_eq!((messages.len(), pieces.len()), (200, 200));
    for (message, piece) in messages.iter().zip(&pieces) {
        let mut piece: Value = serde_json::from_str(piece).unwrap();
        let found = piece["entry"][0]["changes"][0]["value"]["messages"].as_array_mut().unwrap();
        assert_eq!(found, std::slice::from_ref(message));
        *found = messages.clone();
        assert_eq!(piece, whole, "everything around it is as it was");
    }
}

#[test]
fn what_is_kept_is_kept_byte_for_byte() {
    let body = concat!(
        "\u{feff} \r\n{ \"x\" : 1.50e+3 , \"\\u006fbject\":\"whatsapp_business_account\",\"entry\" : [ ",
        r#"{ "id" : 12345678901234567890 ,"#,
        r#""changes":[{"n":[1,{"a":1,"a":2}],"value": {"\u006dessages" : [ {"id":"a","text":{"body":"\ud83d\u0000\/ä"} } ,{"id":"b"}],"#,
        r#" "extra":{ "k" : "\u00e4" },"extra":0, "statuses":[{"id":"c","status":"read"}] ,"last":-0.0},"field":"messages"},"#,
        r#" {"field":"messages","value":{"messages":[{"id":"d"}],"statuses":[],"contacts":[{"wa_id":"9"}]} }],"time":0}"#,
        r#" ],"tail":null } "#,
    );
    let around = |change: &str| {
        format!(
            r#"{{"x" : 1.50e+3 , "\u006fbject":"whatsapp_business_account","entry" : [{{"id" : 12345678901234567890,"changes":[{change}],"time":0}}],"tail":null}}"#
        )
    };
    let of = |value: &str| {
        around(&format!(r#"{{"n":[1,{{"a":1,"a":2}}],"value": {{{value}}},"field":"messages"}}"#))
    };
    assert_eq!(
        pieces(body),
        [
            of(
                r#""\u006dessages" : [{"id":"a","text":{"body":"\ud83d\u0000\/ä"} }],"extra":{ "k" : "\u00e4" },"extra":0,"last":-0.0"#
            ),
            of(r#""\u006dessages" : [{"id":"b"}],"extra":{ "k" : "\u00e4" },"extra":0,"last":-0.0"#),
            of(r#""extra":{ "k" : "\u00e4" },"extra":0,"statuses":[{"id":"c","status":"read"}],"last":-0.0"#),
            // The only event of its change, which is kept to the letter.
            around(
                r#"{"field":"messages","value":{"messages":[{"id":"d"}],"statuses":[],"contacts":[{"wa_id":"9"}]} }"#
            ),
        ]
    );
    holds(body);
}

#[test]
fn repeated_containers_each_give_their_events() {
    for body in [
        r#"{"entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"id":"a"},{"id":"b"}],"messages":{"id":"c"}}}]}],"entry":[{"id":"2","changes":[{"field":"calls","value":{"calls":[{"id":"d"}]}}]}]}"#,
        r#"{"entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"id":"a"}]}}],"changes":{"field":"messages","value":{"messages":[{"id":"b"},{"id":"c"}]}}}]}"#,
        r#"[{"entry":[{"id":"1","changes":[7,null]}]},3,{"entry":{"changes":[{"value":{"messages":[{"id":"a"},{"id":"b"}]}}]},"field":"x"}]"#,
        r#"{"entry":[{"changes":[{"value":{"messages":[{"id":"a"},{"id":"b"}]},"value":{"messages":[{"id":"c"}]}}]}],"field":"messages"}"#,
        r#"{"entry":[{"field":"messages","changes":[{"value":{"messages":[0,"x",[],{}],"statuses":"none","errors":null}}]}]}"#,
        r#"{"entry":[null,7,"x",[],{"changes":[]}],"object":"page"}"#,
        r#"{"entry":[{"changes":[{"field":"messages","value":{"messages":[{"id":"a"},{"id":"b"}]}},{"field":"calls"}]}],"object":"page"}"#,
    ] {
        holds(body);
        assert!(pieces(body).len() > 1);
    }
    assert_eq!(
        pieces(r#"[{"entry":[7]},{"entry":{"id":"1"}}]"#),
        [r#"[{"entry":[7]}]"#, r#"[{"entry":{"id":"1"}}]"#]
    );
}

/// The contacts in the pieces of a value under `messages`.
fn contacts(members: &str) -> Vec<String> {
    let body = body("messages", &value(members));
    holds(&body);
    let pieces = pieces(&body);
    let contacts = pieces.iter().map(|piece| {
        let piece: Value = serde_json::from_str(piece).unwrap();
        match &piece["entry"][0]["changes"][0]["value"]["contacts"] {
            Value::Array(contacts) => {
                contacts.iter().map(|contact| contact["n"].as_str().unwrap()).collect::<String>()
            }
            Value::Null => "-".to_owned(),
            other => other["n"].as_str().unwrap().to_owned(),
        }
    });
    contacts.collect()
}

#[test]
fn each_piece_has_the_contacts_of_its_own_people_only() {
    let people = r#"{"n":"A","wa_id":"1"},{"n":"B","user_id":"US.2"},{"n":"C","parent_user_id":"US.ENT.3"}"#;
    let of = |elements: &str| contacts(&format!(r#""contacts":[{people}],{elements}"#));
    assert_eq!(
        of(
            r#""messages":[{"id":"b","from_user_id":"US.2"},{"id":"a","from":"1"},{"id":"c","from_parent_user_id":"US.ENT.3"}]"#
        ),
        ["B", "A", "C"]
    );
    assert_eq!(
        of(
            r#""statuses":[{"id":"a","recipient_id":"1"},{"id":"b","recipient_id":"2","recipient_user_id":"US.2"},{"id":"g","recipient_id":"group","recipient_type":"group","recipient_participant_parent_user_id":"US.ENT.3"},{"id":"x","recipient_id":"8"}]"#
        ),
        ["A", "B", "C", "-"]
    );
    assert_eq!(
        of(
            r#""messages":[{"id":"s","from":"0","type":"system","system":{"wa_id":"1","user_id":"US.2"}},{"id":"c","from_parent_user_id":"US.ENT.3"}],"errors":[{"code":1}]"#
        ),
        ["AB", "C", "-"]
    );
    let update = body(
        "user_id_update",
        &value(
            r#""contacts":[{"user_id":"US.1"},{"user_id":"US.9"}],"user_id_update":[{"user_id":{"previous":"US.1","current":"US.2"}},{"user_id":{"previous":"US.8","current":"US.9"}}]"#,
        ),
    );
    holds(&update);
    assert!(pieces(&update)[0].contains(r#""contacts":[{"user_id":"US.1"}]"#));
    let groups = body(
        "group_participants_update",
        &value(
            r#""contacts":[{"wa_id":"1"},{"wa_id":"2"}],"groups":[{"group_id":"g","removed_participants":[{"input":"2"}]},{"group_id":"h","added_participants":[{"wa_id":"1"}]}]"#,
        ),
    );
    holds(&groups);
    assert!(pieces(&groups)[0].contains(r#""contacts":[{"wa_id":"2"}]"#));
    assert!(pieces(&groups)[1].contains(r#""contacts":[{"wa_id":"1"}]"#));
}

#[test]
fn a_contact_whose_owner_is_not_clear_goes_where_it_is_missed() {
    for (members, wanted) in [
        // The only one, to whoever has none.
        (
            r#""contacts":[{"n":"X"},{"n":"A","wa_id":"1"}],"messages":[{"from":"1"},{"from":"2"},{"from":"3"}]"#,
            vec!["A", "X", "X"],
        ),
        // As many as there are who have none: in order.
        (
            r#""contacts":[{"n":"X"},{"n":"Y"},{"n":"A","wa_id":"1"}],"messages":[{"from":"2"},{"from":"1"},{"from":"3"}]"#,
            vec!["X", "A", "Y"],
        ),
        // Nobody gets a stranger's: all with the first.
        (
            r#""contacts":[{"n":"X"},{"n":"Y"}],"messages":[{"from":"2"},{"from":"1"},{"from":"3"}]"#,
            vec!["XY", "-", "-"],
        ),
        // Everybody has their own: with the first, behind its own.
        (
            r#""contacts":[{"n":"X"},{"n":"A","wa_id":"1"},{"n":"B","wa_id":"2"}],"messages":[{"from":"1"},{"from":"2"}]"#,
            vec!["AX", "B"],
        ),
        // One person's repeats: the first of them everywhere, all of them once.
        (
            r#""contacts":[{"n":"A","wa_id":"1"},{"n":"B","wa_id":"1"},{"n":"C","wa_id":"1","user_id":"US.1"},{"n":"D","wa_id":"1"}],"messages":[{"from":"1"},{"from":"1"}]"#,
            vec!["ABCD", "AC"],
        ),
        // One contact that is no array, and several arrays.
        (r#""contacts":{"n":"A","wa_id":"1"},"messages":[{"from":"1"},{"from":"1"}]"#, vec!["A", "A"]),
    ] {
        assert_eq!(contacts(members), wanted, "{members}");
    }
    holds(&body(
        "messages",
        &value(
            r#""contacts":[{"wa_id":"1"}],"messages":[{"from":"1"},{"from":"2"}],"contacts":[{"wa_id":"2","user_id":"US.2"},7]"#,
        ),
    ));
}

#[test]
fn a_standby_copy_stays_in_standby() {
    let standby = body(
        "standby",
        &value(
            r#""standby":{"role":"x","contacts":[{"wa_id":"1","user_id":"US.1"},{"wa_id":"2"}],"messages":[{"id":"a","from":"1"},{"id":"b","from":"2"}],"statuses":[{"id":"c","recipient_id":"1"}]},"errors":[{"code":1}]"#,
        ),
    );
    holds(&standby);
    let pieces = pieces(&standby);
    for (piece, inside) in pieces.iter().zip([
        r#""standby":{"role":"x"},"errors":[{"code":1}]"#,
        r#""standby":{"role":"x","contacts":[{"wa_id":"1","user_id":"US.1"}],"messages":[{"id":"a","from":"1"}]}}"#,
        r#""standby":{"role":"x","contacts":[{"wa_id":"2"}],"messages":[{"id":"b","from":"2"}]}}"#,
        r#""standby":{"role":"x","contacts":[{"wa_id":"1","user_id":"US.1"}],"statuses":[{"id":"c","recipient_id":"1"}]}}"#,
    ]) {
        assert!(piece.contains(&inside.replace(r#""role":"x"},"#, r#""role":"x","contacts":[]},"#)) || piece.contains(inside), "{piece}");
    }
    for standby in [
        r#"{"standby":{"metadata":{"phone_number_id":"7"},"messages":[{"id":"a"}]},"standby":{"metadata":{"phone_number_id":"8"},"messages":[{"id":"b"}]}}"#,
        r#"{"standby":{"messages":[{"id":"a"}]},"standby":{"metadata":{"phone_number_id":"8"},"messages":[{"id":"b"}]}}"#,
        r#"{"standby":[{"messages":[{"id":"a"}]},{"messages":[{"id":"b"}]}],"standby":{"metadata":{"phone_number_id":"8"},"messages":[{"id":"c"}]}}"#,
        r#"{"standby":{"contacts":[{"wa_id":"9"}],"contacts":[{"wa_id":"1","user_id":"US.1"}],"messages":[{"from":"1"},{"from":"2"}]}}"#,
        r#"{"standby":{"contacts":[{"wa_id":"1","user_id":"US.1"}],"messages":[{"from":"1"},{"from":"2"}]},"contacts":[{"wa_id":"1","user_id":"US.2"}]}"#,
        r#"{"messages":[{"id":"a"}],"standby":{"messages":[{"id":"b"}]},"statuses":[{"id":"c"}]}"#,
    ] {
        holds(&body("standby", standby));
    }
}

#[test]
fn history_chunks_and_groups_are_cut_apart() {
    for (field, members) in [
        (
            "history",
            r#""history":[{"metadata":{"phase":0,"chunk_order":1},"threads":[{"id":"1"}]},{"metadata":{"phase":0,"chunk_order":2}}],"messages":[{"id":"h","from":"1"}],"message_echoes":[{"id":"i"}],"contacts":[{"wa_id":"1"}]"#,
        ),
        ("group_status_update", r#""groups":[{"group_id":"g","type":"t"},{"group_id":"h","type":"t"}]"#),
        ("group_settings_update", r#""groups":[{"group_id":"g"},{"group_id":"h"}],"errors":[{"code":1}]"#),
        (
            "calls",
            r#""calls":[{"id":"a","event":"connect"},{"id":"b","event":"connect"}],"statuses":[{"id":"a","status":"RINGING"}]"#,
        ),
        ("tracking_events", r#""events":[{"event_name":"sent"},{"event_name":"read"}]"#),
        ("messages", r#""errors":[{"code":1},{"code":2}],"messages":[{"id":"m"}]"#),
    ] {
        let body = body(field, &value(members));
        assert!(pieces(&body).len() > 1);
        holds(&body);
    }
}

#[test]
fn what_cannot_be_cut_is_its_own_piece() {
    for bytes in [&b""[..], b"\xff\xfe", b"{", b"null", b"[]", b"\xef\xbb\xbf{}", b" {\"entry\":[]} "] {
        let cuts = Cuts::of(bytes);
        assert_eq!((cuts.len(), cuts.field(0), cuts.class(0)), (1, "", Class::Message));
        assert!(cuts.is_alone(0) && !cuts.is_alone(1));
        assert_eq!(cuts.one(bytes, 0), bytes);
        assert_eq!((cuts.one(bytes, 1), cuts.field(1), cuts.class(1)), (vec![], "", Class::Message));
    }
}

#[test]
fn another_body_than_the_one_that_was_cut_brings_nothing_down() {
    let cuts = Cuts::of(compose("batch.mixed", &Compose::default()).unwrap().as_bytes());
    for other in [&b""[..], b"{}", &[0xff; 900], &[b'['; 5_000]] {
        for index in 0..cuts.len() {
            assert!(cuts.one(other, index).len() <= other.len() + 100);
        }
    }
}

#[test]
fn all_pieces_together_grow_with_the_body_and_the_events() {
    let text = "x".repeat(2_900);
    let messages = |count: usize| {
        let message = |n| format!(r#"{{"id":"m{n}","from":"{n}","text":{{"body":"{text}"}}}}"#);
        (0..count).map(message).collect::<Vec<_>>().join(",")
    };
    let people = (0..1_000).map(|n| format!(r#"{{"wa_id":"{n}"}}"#)).collect::<Vec<_>>().join(",");
    let usual =
        body("messages", &value(&format!(r#""contacts":[{people}],"messages":[{}]"#, messages(1_000))));
    assert!(usual.len() > 2_900_000);
    let produced = |body: &str| pieces(body).iter().map(String::len).sum::<usize>();
    assert!(produced(&usual) < usual.len() + 1_000 * 300, "{}", produced(&usual));
    holds(&usual);
    // What is shared and large goes with one piece only, wherever it stands.
    let large = format!(r#""large":"{}""#, "y".repeat(1_000_000));
    let many_small = (0..900).map(|n| format!(r#""{n}":"{text}""#)).collect::<Vec<_>>().join(",");
    let one_contact = format!(r#"{{"wa_id":"1",{large}}}"#);
    let many_contacts = vec![r#"{"wa_id":"1"}"#; 50_000].join(",");
    let strangers = vec![r#"{"n":1}"#; 50_000].join(",");
    let list = vec![r#"{"id":"m","from":"1"}"#; 300].join(",");
    let list = format!(r#""messages":[{list}]"#);
    let change = |rest: &str| {
        format!(r#"{{"field":"messages",{rest}"value":{{"metadata":{{"phone_number_id":"301"}},{list}}}}}"#)
    };
    for body in [
        body("messages", &value(&format!("{large},{list}"))),
        body("messages", &value(&format!("{many_small},{list}"))),
        body("messages", &value(&format!(r#""contacts":[{one_contact}],{list}"#))),
        body("messages", &value(&format!(r#""contacts":[{many_contacts}],{list}"#))),
        body("messages", &value(&format!(r#""contacts":[{strangers}],{list}"#))),
        format!(r#"{{{large},"entry":[{{"id":"288","changes":[{}]}}]}}"#, change("")),
        format!(r#"{{"entry":[{{"id":"288",{large},"changes":[{}]}}]}}"#, change("")),
        format!(r#"{{"entry":[{{"id":"288","changes":[{}]}}]}}"#, change(&format!("{large},"))),
    ] {
        let pieces = pieces(&body);
        let produced = pieces.iter().map(String::len).sum::<usize>();
        assert!(produced < body.len() + 300 * (SHARED_BYTES_MAX + 500), "{produced} of {}", body.len());
        assert!(pieces[0].len() > 300_000, "the first has all of it");
        assert!(pieces[1].len() < SHARED_BYTES_MAX + 500);
        assert_eq!(split(pieces[1].as_bytes()).events[0].key, "msg:301:m");
    }
}

#[test]
fn what_is_remembered_of_a_body_is_small_and_grows_with_its_events() {
    let remembered = |count: usize| {
        let text = "x".repeat(2_900);
        let message = |n| format!(r#"{{"id":"m{n}","from":"{n}","text":{{"body":"{text}"}}}}"#);
        let messages = (0..count).map(message).collect::<Vec<_>>().join(",");
        let people = (0..count).map(|n| format!(r#"{{"wa_id":"{n}"}}"#)).collect::<Vec<_>>().join(",");
        let body = body("messages", &value(&format!(r#""contacts":[{people}],"messages":[{messages}]"#)));
        let mut cuts = None;
        let kept = allocation_counter::measure(|| cuts = Some(Cuts::of(body.as_bytes()))).bytes_current;
        let one = allocation_counter::measure(|| drop(cuts.as_ref().unwrap().one(body.as_bytes(), 1)));
        assert!(one.bytes_max < 8_000, "one piece takes {}", one.bytes_max);
        kept
    };
    let (hundred, thousand) = (remembered(100), remembered(1_000));
    assert!(thousand < 1_000 * 100, "{thousand} bytes for 1,000 events");
    assert!(thousand < 11 * hundred, "{hundred} and {thousand}");
}

#[test]
fn tens_of_thousands_of_tiny_events_are_cut_too() {
    let list = vec!["0"; EVENTS_MAX + 10].join(",");
    for body in [
        body("messages", &value(&format!(r#""messages":[{list}]"#))),
        body("messages", &value(&format!(r#""contacts":[{list}],"messages":[{list}]"#))),
        format!(r#"{{"entry":[{list}]}}"#),
        format!(r#"{{"entry":[{{"changes":[{list}]}}]}}"#),
        format!("[{}]", vec![r#"{"entry":[0]}"#; EVENTS_MAX + 10].join(",")),
    ] {
        let cuts = Cuts::of(body.as_bytes());
        assert_eq!(cuts.len(), EVENTS_MAX + 1);
        assert_eq!(cuts.one(body.as_bytes(), EVENTS_MAX), body.as_bytes(), "the last is the whole body");
        let last = cuts.one(body.as_bytes(), EVENTS_MAX - 1);
        assert_eq!(split(&last).events.len(), 1);
        assert!(last.len() < 300 || last.len() < SHARED_BYTES_MAX + 300);
    }
}

/// Prints how long cutting takes: `cargo test --release -p waypost-whatsapp -- --ignored --nocapture measure`.
#[test]
#[ignore = "a measure, not a check"]
#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn measure_cutting() {
    let text = "ä".repeat(700);
    for count in [10, 100, 1_000, 2_000] {
        let messages = (0..count)
            .map(|n| format!(r#"{{"id":"wamid.{n}","from":"{n}","timestamp":"1790000000","type":"text","text":{{"body":"{text}{text}"}}}}"#))
            .collect::<Vec<_>>()
            .join(",");
        let people = (0..count).map(|n| format!(r#"{{"wa_id":"{n}"}}"#)).collect::<Vec<_>>().join(",");
        let body = body("messages", &value(&format!(r#""contacts":[{people}],"messages":[{messages}]"#)));
        let start = std::time::Instant::now();
        let events = split(body.as_bytes()).events.len();
        let split = start.elapsed();
        let cuts = Cuts::of(body.as_bytes());
        let cut = start.elapsed() - split;
        let produced: usize = (0..cuts.len()).map(|index| cuts.one(body.as_bytes(), index).len()).sum();
        let all = start.elapsed() - split - cut;
        println!(
            "{events} events, {} bytes: split {split:?}, cuts {cut:?}, all pieces {all:?}, {produced} bytes",
            body.len()
        );
    }
}
