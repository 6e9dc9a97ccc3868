//! The state of a message, whatever the order its statuses arrive in.

use proptest::collection::vec;
use proptest::prelude::*;
use waypost_whatsapp::{
    Advance, Compose, MessageState, MessageStatus, PARTICIPANTS_MAX, StatusUpdate, compose, split,
};

use crate::{body, only, value};

fn update(status: &str, at_ms: i64) -> StatusUpdate<'_> {
    StatusUpdate { wamid: "w", status, at_ms: Some(at_ms), participant: None }
}

/// The state after some statuses, each a second later than the one before.
fn after(statuses: &[&str]) -> MessageState {
    let mut state = MessageState::default();
    for (at, status) in (1..).zip(statuses) {
        state.apply(&update(status, at * 1_000));
    }
    state
}

#[test]
fn a_message_goes_forward_and_never_back() {
    for (statuses, wanted) in [
        (&["sent", "delivered", "read", "played"][..], Some(MessageStatus::Played)),
        (&["played", "read", "delivered", "sent"], Some(MessageStatus::Played)),
        (&["read", "delivered"], Some(MessageStatus::Read)),
        (&["read"], Some(MessageStatus::Read)),
        (&["sent", "failed"], Some(MessageStatus::Failed)),
        (&["failed", "sent"], Some(MessageStatus::Failed)),
        // Only where nothing higher is known is failure the end.
        (&["failed", "delivered"], Some(MessageStatus::Delivered)),
        (&["delivered", "failed"], Some(MessageStatus::Delivered)),
        (&["READ", "Sent"], Some(MessageStatus::Read)),
        (&["sent", "deleted", "warning", ""], Some(MessageStatus::Sent)),
        (&["deleted"], None),
        (&[], None),
    ] {
        assert_eq!(after(statuses).progress().status(), wanted, "{statuses:?}");
    }
}

#[test]
fn an_update_says_whether_it_changed_the_state() {
    let mut state = MessageState::default();
    for (status, at, wanted, since) in [
        ("sent", 10, Advance::Forward, Some(10)),
        ("sent", 10, Advance::Nothing, Some(10)),
        ("sent", 20, Advance::Nothing, Some(10)),
        ("sent", 5, Advance::Noted, Some(5)),
        ("read", 40, Advance::Forward, Some(40)),
        ("delivered", 30, Advance::Noted, Some(40)),
        ("failed", 50, Advance::Noted, Some(40)),
        ("deleted", 60, Advance::Nothing, Some(40)),
    ] {
        assert_eq!(state.apply(&update(status, at)), wanted, "{status} {at}");
        assert_eq!(state.progress().since_ms(), since, "{status} {at}");
    }
    let reached: Vec<_> = state.progress().reached().collect();
    assert_eq!(
        reached,
        [
            (MessageStatus::Sent, Some(5)),
            (MessageStatus::Failed, Some(50)),
            (MessageStatus::Delivered, Some(30)),
            (MessageStatus::Read, Some(40)),
        ]
    );
    let timeless = StatusUpdate { at_ms: None, ..update("played", 0) };
    assert_eq!(state.apply(&timeless), Advance::Forward);
    assert_eq!((state.progress().since_ms(), state.apply(&timeless)), (None, Advance::Nothing));
    assert_eq!(state.apply(&update("played", 70)), Advance::Noted);
    assert_eq!(state.progress().since_ms(), Some(70));
}

#[test]
fn a_groups_participants_each_have_their_own_state() {
    let body = compose("status.group", &Compose::default()).unwrap();
    let mut state = MessageState::default();
    state.apply(&update("sent", 1));
    let events = split(body.as_bytes()).events;
    for event in &events {
        assert_eq!(state.apply(&StatusUpdate::of(event).unwrap()), Advance::Forward);
    }
    assert_eq!(state.progress().status(), Some(MessageStatus::Sent));
    let participants: Vec<_> =
        state.participants().map(|(id, progress)| (id, progress.status().unwrap())).collect();
    assert_eq!(
        participants,
        [("14155550122", MessageStatus::Delivered), ("14155550183", MessageStatus::Delivered)]
    );
}

#[test]
fn an_update_is_read_from_a_status_event_and_from_no_other() {
    let of = |id: &str| {
        body(
            "messages",
            &value(&format!(
                r#""statuses":[{{"id":"w","status":"read","timestamp":"1790000000","recipient_type":"group",{id}}}]"#
            )),
        )
    };
    for (members, participant) in [
        (r#""recipient_participant_id":"1","recipient_participant_user_id":"US.1""#, Some("1")),
        (r#""participant_recipient_id":"1""#, Some("1")),
        (r#""recipient_participant_id":"","recipient_participant_user_id":"US.1""#, Some("US.1")),
        (r#""recipient_id":"g""#, None),
    ] {
        let body = of(members);
        let event = only(&body);
        let update = StatusUpdate::of(&event).unwrap();
        assert_eq!((update.wamid, update.status, update.at_ms), ("w", "read", Some(1_790_000_000_000)));
        assert_eq!(update.participant.as_deref(), participant);
    }
    for kind in ["text", "echo", "call.status", "error", "unknown"] {
        let body = compose(kind, &Compose::default()).unwrap();
        assert_eq!(StatusUpdate::of(&only(&body)), None, "{kind}");
    }
    let nameless = body("messages", &value(r#""statuses":[{"status":"read"}]"#));
    assert_eq!(StatusUpdate::of(&only(&nameless)), None);
}

#[test]
fn what_an_update_says_is_read_from_its_key_as_from_its_body() {
    let status = |members: &str| format!(r#""statuses":[{{"id":"w:1","status":"read",{members}}}]"#);
    let participant = r#""recipient_type":"group","recipient_participant_id":"14:1""#;
    for (field, value) in [
        ("messages", value(&status(participant))),
        ("messages", value(&status(r#""recipient_id":"1""#))),
        ("messages", format!("{{{}}}", status(participant))),
        ("standby", format!(r#"{{"standby":{}}}"#, value(&status(participant)))),
    ] {
        let body = body(field, &value);
        let event = only(&body);
        let number = event.phone_number_id.as_deref().unwrap_or_default();
        let of_key = |key| StatusUpdate::of_key(key, number, "w:1", "read", event.occurred_at_ms);
        assert_eq!(of_key(&event.key), StatusUpdate::of(&event), "{}", event.key);
        assert!(of_key(&event.key).is_some());
    }
    for (key, number, status) in [
        ("st:301:w:sent:", "302", "sent"),
        ("st:301:w:sent:", "301", "read"),
        ("st:301:w:sent", "301", "sent"),
        ("msg:301:w", "301", "sent"),
        ("callst:301:w:sent:", "301", "sent"),
        ("", "", ""),
    ] {
        assert_eq!(StatusUpdate::of_key(key, number, "w", status, None), None, "{key}");
    }
}

fn updates() -> impl Strategy<Value = Vec<(&'static str, Option<i64>, Option<String>)>> {
    let status = prop::sample::select(&["sent", "delivered", "read", "played", "failed", "deleted"][..]);
    let participant = prop::option::of("[ab]");
    vec((status, prop::option::of(0..5_i64), participant), 0..12)
}

proptest! {
    #[test]
    fn any_order_with_any_repeats_ends_in_the_same_state(
        (updates, shuffled) in updates().prop_flat_map(|updates| {
            let repeated = [updates.clone(), updates.clone()].concat();
            (Just(updates), Just(repeated).prop_shuffle())
        }),
    ) {
        let state = |updates: &[(&'static str, Option<i64>, Option<String>)]| {
            let mut state = MessageState::default();
            let mut furthest = Vec::new();
            for (status, at_ms, participant) in updates {
                let before = state.clone();
                let participant = participant.as_deref().map(Into::into);
                let advance = state.apply(&StatusUpdate { wamid: "w", status, at_ms: *at_ms, participant });
                prop_assert_eq!(advance == Advance::Nothing, before == state);
                let all: Vec<_> = state.participants().map(|(_, progress)| progress.status()).collect();
                let statuses = (state.progress().status(), all.iter().flatten().map(|status| *status as usize + 1).sum::<usize>());
                furthest.push(statuses);
            }
            prop_assert!(furthest.is_sorted(), "{:?}", furthest.iter().map(|f| f.1).collect::<Vec<_>>());
            Ok(state)
        };
        prop_assert_eq!(state(&updates)?, state(&shuffled)?);
    }
}

#[test]
fn more_participants_than_any_group_has_are_bounded_in_any_order() {
    let ids: Vec<String> = (0..PARTICIPANTS_MAX + 50).map(|n| format!("{n:05}")).collect();
    let state = |ids: &mut dyn Iterator<Item = &String>| {
        let mut state = MessageState::default();
        for id in ids {
            let participant = Some(id.as_str().into());
            state.apply(&StatusUpdate { participant, ..update("read", 1) });
        }
        state
    };
    let forth = state(&mut ids.iter());
    assert_eq!(forth.participants().count(), PARTICIPANTS_MAX);
    assert_eq!(forth, state(&mut ids.iter().rev()));
}
