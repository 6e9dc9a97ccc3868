//! What has become of a message, whatever the order in which it is told.

use serde_json::{Value, json};
use waypost_engine::stream::{MessageView, Since, View};
use waypost_store::{MessageFilter, MessagePage};
use waypost_whatsapp::MessageStatus;

use crate::house::{House, read, seen};

/// A status of a message, at a second, in a group at a participant.
fn status(wamid: &str, status: &str, second: i64, participant: Option<&str>) -> String {
    let group = participant.map_or(r#""recipient_id":"491""#.to_owned(), |participant| {
        format!(r#""recipient_type":"group","recipient_id":"G1","recipient_participant_id":"{participant}""#)
    });
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"88","changes":[{{"field":"messages","value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550001","phone_number_id":"11"}},"statuses":[{{"id":"{wamid}","status":"{status}","timestamp":"{}",{group}}}]}}}}]}}]}}"#,
        1_790_000_000 + second
    )
}

async fn message(house: &House, wamid: &str) -> MessageView {
    let filter = MessageFilter { wamid: Some(wamid.to_owned()), ..MessageFilter::default() };
    let list = house.store.messages(filter, MessagePage { from: None, limit: 10 }).await.unwrap();
    assert_eq!(list.messages.len(), 1);
    MessageView::of(&list.messages[0])
}

fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(rest) {
        for place in 0..=order.len() {
            let mut order = order.clone();
            order.insert(place, *first);
            all.push(order);
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_in_every_order_end_in_the_same_state_and_each_says_whether_it_moved_it() {
    const WORDS: [&str; 4] = ["sent", "failed", "delivered", "read"];
    let house = House::new();
    let mut live = house.reader(Since::Now).await;
    for (number, order) in orders(&[0, 1, 2, 3]).into_iter().enumerate() {
        let wamid = format!("wamid.{number}");
        let mut furthest = None;
        for word in order {
            house.post(&status(&wamid, WORDS[word], word as i64, None)).await;
            // A repeat says nothing.
            house.post(&status(&wamid, WORDS[word], word as i64, None)).await;
            let frame = loop {
                let frame = read(&mut live, 1).await.remove(0);
                if !frame.cursor().is_companion() {
                    break frame;
                }
            };
            let status = MessageStatus::parse(WORDS[word]);
            let moves = status > furthest;
            furthest = status.max(furthest);
            let state = json!({
                "status": furthest.unwrap().as_str(),
                "since": jiff(WORDS.iter().position(|word| furthest == MessageStatus::parse(word)).unwrap()),
                "changed": moves,
            });
            assert_eq!(seen(&frame, View::WHOLE)["payload"]["data"]["state"], state);
            let bare = seen(&frame, View { content: false, ..View::WHOLE });
            assert_eq!(bare["payload"]["summary"]["state"], state);
        }
        let view = message(&house, &wamid).await;
        assert_eq!((view.status, view.events.len(), view.whole), (Some("read"), 4, true));
        assert_eq!(view.direction, Some("outbound"));
        let reached: Vec<_> =
            view.reached.iter().map(|reached| (reached.status, reached.at.unwrap().0)).collect();
        let wanted: Vec<_> =
            (0..).zip(WORDS).map(|(second, word)| (word, 1_790_000_000_000 + second * 1_000)).collect();
        assert_eq!(reached, wanted);
    }
    // Made again by readers who were not there.
    let frames = house.everything().await;
    let changes = |frame: &Value| frame["payload"]["data"]["state"]["changed"].as_bool();
    let moved = frames.iter().filter_map(|frame| changes(&seen(frame, View::WHOLE))).filter(|moved| *moved);
    // Of all orders of four, a thing is furthest so far in 1 + 1/2 + 1/3 + 1/4 of its places.
    assert_eq!(moved.count(), 50);
}

fn jiff(second: usize) -> String {
    format!("2026-09-21T14:13:{:02}Z", 20 + second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_groups_each_participant_has_a_state() {
    let house = House::new();
    let mut live = house.reader(Since::Now).await;
    let mut states = Vec::new();
    for (word, participant) in
        [("read", "491"), ("delivered", "491"), ("delivered", "492"), ("read", "492"), ("sent", "491")]
    {
        house.post(&status("wamid.G", word, 5, Some(participant))).await;
        let frame = seen(&read(&mut live, 1).await[0], View::WHOLE);
        let data = &frame["payload"]["data"];
        assert_eq!(data["participant"], participant);
        states.push((data["state"]["status"].clone(), data["state"]["changed"].clone()));
    }
    let expected = [("read", true), ("read", false), ("delivered", true), ("read", true), ("read", false)];
    assert_eq!(states, expected.map(|(status, changed)| (json!(status), json!(changed))));
    let view = message(&house, "wamid.G").await;
    let participants: Vec<_> = view.participants.iter().map(|one| (&*one.id, one.status)).collect();
    assert_eq!(participants, [("491", Some("read")), ("492", Some("read"))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_two_sources_with_one_id_are_two_messages() {
    let house = House::new();
    let mut live = house.reader(Since::Now).await;
    let mut changed = Vec::new();
    for source in ["acme", "other"] {
        house.post_from(source, &status("wamid.A", "read", 1, None)).await;
        house.post_from(source, &status("wamid.A", "sent", 0, None)).await;
        for frame in read(&mut live, 3).await {
            let frame = seen(&frame, View::WHOLE);
            changed.extend(frame["payload"]["data"]["state"]["changed"].as_bool());
        }
    }
    assert_eq!(changed, [true, false, true, false]);
}
