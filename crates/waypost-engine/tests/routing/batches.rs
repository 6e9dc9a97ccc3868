//! Whole and split.

use waypost_domain::{Match, MatchKey};
use waypost_engine::routing::{Batches, Routing};
use waypost_engine::sender::Signing;
use waypost_whatsapp::{Compose, compose, split};

use crate::house::{House, SOURCE_SECRET, matching, number, secret, with};
use crate::receiver::{Receiver, Seen};

/// A change with these elements of one number, each told apart by its text.
pub(crate) fn change(number: &str, messages: &[(&str, &str)]) -> String {
    let element = |(id, text): &(&str, &str)| {
        format!(
            r#"{{"from":"1415555{number}","id":"wamid.{id}","timestamp":"1790000000","type":"text","text":{{"body":"{text}"}}}}"#
        )
    };
    let elements: Vec<String> = messages.iter().map(element).collect();
    format!(
        r#"{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"1555000{number}","phone_number_id":"{number}"}},"contacts":[{{"profile":{{"name":"Caf\u00e9 {number}"}},"wa_id":"1415555{number}"}}],"messages":[{}]}},"field":"messages"}}"#,
        elements.join(",")
    )
}

pub(crate) fn body_of(changes: &[String]) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"88","time":1790000000,"changes":[{}]}}]}}"#,
        changes.join(",")
    )
}

/// What of a body's events a receiver must find again: their own bytes, in order.
fn raws(body: &str) -> Vec<String> {
    split(body.as_bytes()).events.iter().map(|event| event.raw.to_owned()).collect()
}

fn only_event(seen: &Seen) -> String {
    let raws = raws(seen.text());
    assert_eq!(raws.len(), 1, "a piece holds one event: {}", seen.text());
    raws[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_request_arrives_byte_for_byte_under_the_headers_it_came_with() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Whole, with(SOURCE_SECRET));
    let routing = Routing::new([(number("11"), [shop])]);
    let body = body_of(&[change("11", &[("a", r"caf\u00e9 \/"), ("b", "second")])]);
    house.post_with(body.as_bytes(), &[("x-dup", "1"), ("x-dup", "2")], &routing).await;
    let seen = receiver.hears(1).await.remove(0);
    assert_eq!(seen.text(), body);
    assert_eq!(seen.path, "/webhooks/whatsapp/%2B15550001?from=waypost");
    let made = waypost_whatsapp::sign(&secret(SOURCE_SECRET), body.as_bytes());
    let of_the_call = ["waypost-event-id", "waypost-delivery-id", "waypost-attempt"];
    let came: Vec<_> =
        seen.headers.iter().filter(|(name, _)| !of_the_call.contains(&name.as_str())).collect();
    let expected = [
        ("host", "receiver.test"),
        ("user-agent", "facebookexternalua"),
        ("content-type", "application/json"),
        ("x-hub-signature", &made.sha1),
        ("x-hub-signature-256", &made.sha256),
        ("x-dup", "1"),
        ("x-dup", "2"),
        ("content-length", &body.len().to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(came, expected.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_split_into_one_post_for_each_event_in_order_with_nothing_changed() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Split, Signing::Source);
    let routing = Routing::new([(Match::everything(), [shop])]);
    let body = body_of(&[
        change("11", &[("a", r"caf\u00e9 \/"), ("b", "second"), ("c", "third")]),
        change("11", &[("d", "fourth")]),
    ]);
    let receipt = house.post(body.as_bytes(), &routing).await;
    assert_eq!(receipt.events, 4);
    let seen = receiver.hears(4).await;
    assert_eq!(seen.iter().map(only_event).collect::<Vec<_>>(), raws(&body));
    for (index, seen) in seen.iter().enumerate() {
        let (came, whole) = (split(&seen.body), split(body.as_bytes()));
        let (came, own) = (&came.events[0], &whole.events[index]);
        assert_eq!(
            (&came.key, &came.conversation, &came.contact),
            (&own.key, &own.conversation, &own.contact)
        );
        assert_eq!(seen.one("waypost-event"), Some("messages"));
        assert_eq!(seen.one("waypost-event-id"), Some(&*receipt.request.event(index).to_string()));
        assert_eq!(seen.one("content-type"), Some("application/json"));
        assert_eq!(seen.one("user-agent"), Some("facebookexternalua"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_one_event_goes_as_it_came_to_who_takes_events_one_by_one() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Split, Signing::Source);
    let routing = Routing::new([(Match::everything(), [shop])]);
    // White space and a member of its own kind, which no receiver may miss.
    let body =
        body_of(&[change("11", &[("a", "only")])]).replace("\"entry\"", "\n \"later\" : 1.50 ,\"entry\"");
    house.post(body.as_bytes(), &routing).await;
    let seen = receiver.hears(1).await.remove(0);
    assert_eq!(seen.text(), body);
    let made = waypost_whatsapp::sign(&secret(SOURCE_SECRET), body.as_bytes());
    assert_eq!(seen.one("x-hub-signature-256"), Some(&*made.sha256));
    assert_eq!(seen.one("waypost-original-signature-256"), None);
    assert_eq!(seen.one("waypost-event"), Some("messages"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_batch_is_split_for_those_who_take_batches_whole_too() {
    let (house, one, all) = (House::new(), Receiver::start().await, Receiver::start().await);
    let shop = house.destination("shop", &one, Batches::Whole, Signing::Source);
    let log = house.destination("log", &all, Batches::Whole, Signing::Source);
    let routing = Routing::new([(number("11"), [shop]), (Match::everything(), [log])]);
    let body = body_of(&[change("11", &[("a", "mine")]), change("22", &[("b", "theirs")])]);
    house.post(body.as_bytes(), &routing).await;
    let (shops, logs) = (one.hears(1).await.remove(0), all.hears(1).await.remove(0));
    assert_eq!(logs.text(), body, "it is to have all of it, and has it as it came");
    assert_eq!(only_event(&shops), raws(&body)[0]);
    assert!(!shops.text().contains("theirs") && !shops.text().contains("22"));
    assert_eq!(shops.one("waypost-event"), Some("messages"));
    assert_eq!(logs.one("waypost-event"), None, "it holds more than one event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_repeats_the_bytes_of_the_first_try() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Split, with("shop's"));
    let routing = Routing::new([(Match::everything(), [shop])]);
    receiver.answer_next(&[503, 200, 500]);
    let body = body_of(&[change("11", &[("a", "one")]), change("22", &[("b", "two")])]);
    house.post(body.as_bytes(), &routing).await;
    receiver.hears(2).await;
    for _ in 0..400 {
        if receiver.count() == 4 {
            break;
        }
        house.advance(6 * crate::house::SECOND, "shop");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let seen = receiver.seen();
    let tries =
        |id: &str| -> Vec<Seen> { seen.iter().filter(|seen| seen.text().contains(id)).cloned().collect() };
    let mut repeats = 0;
    for tries in [tries("wamid.a"), tries("wamid.b")] {
        let but_for_its_number = |seen: &Seen| {
            let lines = seen.headers.iter().filter(|(name, _)| name != "waypost-attempt");
            (seen.path.clone(), lines.cloned().collect::<Vec<_>>(), seen.body.clone())
        };
        for (number, repeat) in tries.iter().enumerate() {
            assert_eq!(but_for_its_number(repeat), but_for_its_number(&tries[0]));
            assert_eq!(repeat.one("waypost-attempt"), Some(&*(number + 1).to_string()));
        }
        repeats += tries.len() - 1;
    }
    assert_eq!(repeats, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_twice_is_delivered_once_within_a_request_and_across() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Split, Signing::Source);
    let routing = Routing::new([(Match::everything(), [shop.clone()]), (number("11"), [shop])]);
    let twice = body_of(&[change("11", &[("a", "one"), ("a", "one"), ("b", "two")])]);
    house.post(twice.as_bytes(), &routing).await;
    assert!(house.post(twice.as_bytes(), &routing).await.duplicate);
    let mixed = body_of(&[change("11", &[("b", "two"), ("c", "three")])]);
    house.post(mixed.as_bytes(), &routing).await;
    let seen = receiver.hears(3).await;
    let of = |id: &str| seen.iter().filter(|seen| seen.text().contains(id)).count();
    assert_eq!((of("wamid.a"), of("wamid.b"), of("wamid.c")), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_that_waited_on_disk_is_split_to_the_last_event() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Split, Signing::Source);
    let routing = Routing::new([(Match::everything(), [shop])]);
    let text = "x".repeat(2_000);
    let parts = Compose { batch_size: 500, text: Some(&text), ..Compose::default() };
    let body = compose("batch", &parts).unwrap();
    assert!(body.len() > 4 * 256 * 1024, "large enough to be read beside the others: {}", body.len());
    house.dispatcher.pause("shop", true);
    house.post(body.as_bytes(), &routing).await;
    house.dispatcher.pause("shop", false);
    let seen = receiver.hears(500).await;
    let mut came: Vec<String> = seen.iter().map(only_event).collect();
    let mut sent = raws(&body);
    came.sort();
    sent.sort();
    assert!(came == sent, "each event once, and nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_see_what_is_about_accounts_and_never_what_people_write() {
    let (house, ops, shop) = (House::new(), Receiver::start().await, Receiver::start().await);
    let to_ops = house.destination("ops", &ops, Batches::Whole, Signing::Nothing);
    let to_shop = house.destination("shop", &shop, Batches::Split, Signing::Source);
    let routing = Routing::new([
        (matching(&[(MatchKey::Class, &["operational"])]), [to_ops]),
        (matching(&[(MatchKey::Class, &["message"])]), [to_shop]),
    ]);
    let security =
        r#"{"value":{"display_phone_number":"15550001111","event":"PIN_CHANGED"},"field":"security"}"#;
    let unknown = r#"{"value":{"metadata":{"phone_number_id":"11"},"novelty":[{"said":"private words"}]},"field":"brand_new_field"}"#;
    let body = body_of(&[
        change("11", &[("a", "private words")]),
        security.to_owned(),
        unknown.to_owned(),
        change("11", &[("b", "private words")]),
    ]);
    house.post(body.as_bytes(), &routing).await;
    house.post(body_of(&[security.replace("CHANGED", "RESET_SUCCESS")]).as_bytes(), &routing).await;
    shop.hears(3).await;
    let seen = ops.hears(2).await;
    for seen in &seen {
        assert_eq!(seen.one("waypost-event"), Some("security"));
        assert!(!seen.text().contains("private") && !seen.text().contains("Caf"), "{}", seen.text());
        assert_eq!(seen.one("x-hub-signature-256"), None);
    }
}
