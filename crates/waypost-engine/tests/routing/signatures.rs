//! What a receiver can prove.

use aws_lc_rs::hmac;
use waypost_domain::Match;
use waypost_engine::routing::{Batches, Routing};
use waypost_engine::sender::{PING_BODY, Ping, Signing, StandardSecret};
use waypost_whatsapp::{AppSecrets, sign, split};

use crate::batches::{body_of, change};
use crate::house::{House, SOURCE, SOURCE_SECRET, secret, with};
use crate::receiver::{Receiver, Seen};

/// 32 bytes, and the same as it is written.
pub(crate) const STANDARD: (&[u8], &str) =
    (b"0123456789abcdefghijklmnopqrstuv", "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY=");
pub(crate) const OLDER: (&[u8], &str) =
    (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345", "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU=");

/// Whether a receiver that knows this secret believes what it got, as Meta's and as nobody else's.
pub(crate) fn believes(by: &str, seen: &Seen) -> bool {
    let lines = seen.all("x-hub-signature-256");
    let legacy = sign(&secret(by), &seen.body).sha1;
    AppSecrets::from(secret(by)).verify(lines.into_iter().map(str::as_bytes), &seen.body).is_ok()
        && seen.all("x-hub-signature") == [legacy.as_str()]
}

/// The signature that the Standard Webhooks specification asks for, computed anew.
pub(crate) fn standard(key: &[u8], seen: &Seen) -> String {
    let (id, time) = (seen.one("webhook-id").unwrap(), seen.one("webhook-timestamp").unwrap());
    let signed = [id.as_bytes(), b".", time.as_bytes(), b".", &seen.body].concat();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &signed);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = tag.as_ref().iter().map(|byte| format!("{byte:08b}")).collect::<String>() + "00";
    let digits = bits.as_bytes().chunks(6).map(|six| {
        let value = usize::from_str_radix(std::str::from_utf8(six).unwrap(), 2).unwrap();
        char::from(alphabet[value])
    });
    format!("v1,{}=", digits.collect::<String>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_receiver_verifies_the_exact_bytes_it_got_with_its_own_secret() {
    let house = House::new();
    let receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let [own, others, none] = &receivers;
    let routing = Routing::new([(
        Match::everything(),
        [
            house.destination("own", own, Batches::Split, Signing::Source),
            house.destination("others", others, Batches::Whole, with("shop's")),
            house.destination("none", none, Batches::Split, Signing::Nothing),
        ],
    )]);
    let body =
        body_of(&[change("11", &[("a", r"caf\u00e9"), ("b", "two")]), change("22", &[("c", "three")])]);
    house.post(body.as_bytes(), &routing).await;
    let original = sign(&secret(SOURCE_SECRET), body.as_bytes()).sha256;
    for seen in own.hears(3).await {
        assert!(believes(SOURCE_SECRET, &seen));
        assert_eq!(seen.one("waypost-original-signature-256"), Some(&*original));
    }
    let whole = others.hears(1).await.remove(0);
    assert!(whole.text() == body && believes("shop's", &whole) && !believes(SOURCE_SECRET, &whole));
    assert_eq!(whole.one("waypost-original-signature-256"), Some(&*original));
    for seen in none.hears(3).await {
        assert!(seen.all("x-hub-signature-256").is_empty() && seen.all("x-hub-signature").is_empty());
        assert_eq!(seen.one("waypost-original-signature-256"), Some(&*original));
        assert_eq!(split(&seen.body).events.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_what_came_under_a_secret_that_is_gone_are_signed_with_the_newest() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let shop = house.destination("shop", &receiver, Batches::Split, Signing::Source);
    let routing = Routing::new([(Match::everything(), [shop])]);
    house.keyring.set([(SOURCE.into(), secret("rotated").into())].into());
    house.post(body_of(&[change("11", &[("a", "one"), ("b", "two")])]).as_bytes(), &routing).await;
    assert!(receiver.hears(2).await.iter().all(|seen| believes("rotated", seen)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standard_signature_is_of_the_bytes_the_delivery_and_the_moment_of_each_try() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let secrets = [STANDARD.1, OLDER.1].map(|text| StandardSecret::parse(text).unwrap()).to_vec();
    let shop = house.put("shop", house.sender(&receiver, Signing::Nothing, secrets), Batches::Split);
    let routing = Routing::new([(Match::everything(), [shop])]);
    receiver.answer_next(&[503]);
    house.post(body_of(&[change("11", &[("a", "one")])]).as_bytes(), &routing).await;
    receiver.hears(1).await;
    for _ in 0..400 {
        if receiver.count() == 2 {
            break;
        }
        house.advance(6 * crate::house::SECOND, "shop");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let seen = receiver.hears(2).await;
    for seen in &seen {
        let both = format!("{} {}", standard(STANDARD.0, seen), standard(OLDER.0, seen));
        assert_eq!(seen.one("webhook-signature"), Some(&*both));
        assert_eq!(seen.one("webhook-id"), seen.one("waypost-delivery-id"));
    }
    assert_eq!(seen[0].one("webhook-timestamp"), Some("1790000000"));
    assert!(seen[1].one("webhook-timestamp") > seen[0].one("webhook-timestamp"));
    assert_eq!(seen[0].one("webhook-id"), seen[1].one("webhook-id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_caller_says_in_our_name_goes_on() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let secrets = vec![StandardSecret::parse(STANDARD.1).unwrap()];
    let signed = house.put("signed", house.sender(&receiver, Signing::Source, secrets), Batches::Split);
    let plain = house.destination("plain", &receiver, Batches::Whole, Signing::Nothing);
    let routing = Routing::new([(Match::everything(), [signed, plain])]);
    let forged = [
        ("Waypost-Event", "ping"),
        ("waypost-event-id", "forged"),
        ("waypost-original-signature-256", "sha256=forged"),
        ("waypost-anything", "forged"),
        ("webhook-id", "forged"),
        ("Webhook-Timestamp", "forged"),
        ("webhook-signature", "v1,forged"),
        ("content-encoding", "forged"),
    ];
    let body = body_of(&[change("11", &[("a", "one"), ("b", "two")])]);
    house.post_with(body.as_bytes(), &forged, &routing).await;
    for seen in receiver.hears(3).await {
        let is_piece = seen.text() != body;
        for (name, value) in &seen.headers {
            let stays = name == "content-encoding" && !is_piece;
            assert!(stays || !value.contains("forged") && value != "ping", "{name}: {value}");
        }
        assert_eq!(seen.all("webhook-id").len(), usize::from(is_piece));
        assert!(seen.all("waypost-anything").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_comes_once_signed_as_deliveries_are_and_says_what_it_is() {
    let (house, receiver) = (House::new(), Receiver::start().await);
    let secrets = vec![StandardSecret::parse(STANDARD.1).unwrap()];
    let ping = Ping { source: Some(SOURCE.into()), target: None };
    let report = house.sender(&receiver, Signing::Source, secrets).ping(ping.clone()).await;
    assert_eq!(report.reply, waypost_domain::Reply::Answered { status: 200, retry_after: None });
    assert_eq!(report.address, Some(receiver.address));
    let seen = receiver.hears(1).await.remove(0);
    assert_eq!((&*seen.path, &*seen.body), ("/webhooks/whatsapp/%2B15550001?from=waypost", PING_BODY));
    assert_eq!(seen.one("waypost-event"), Some("ping"));
    assert!(believes(SOURCE_SECRET, &seen));
    assert_eq!(seen.one("webhook-signature"), Some(&*standard(STANDARD.0, &seen)));
    house.sender(&receiver, with("shop's"), Vec::new()).ping(ping.clone()).await;
    house.sender(&receiver, Signing::Nothing, Vec::new()).ping(ping).await;
    let seen = receiver.hears(3).await;
    assert!(believes("shop's", &seen[1]) && seen[2].one("x-hub-signature-256").is_none());
    assert!(house.events(Default::default()).await.is_empty(), "nothing of it is kept");
}
