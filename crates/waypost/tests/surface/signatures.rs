//! Fail closed: only what the app secret signed gets in, over the bytes as they came.

use crate::harness::*;

/// Bodies and their digests under [`SECRET`], computed apart from the code under test.
const VECTORS: &[(&[u8], &str)] = &[
    (b"", "b4ead5be09066479b447140083ae1cb18a4e484a99bac07bbeea4d4984488cea"),
    (b"{}", "fbffdb8a7fcacfc1eedc8d0cfab3f8e81083611bcfcdbbae5f258f11d69e4c5e"),
    (
        br#"{"text":{"body":"\u00e4\u00f6\u00e5"}}"#,
        "4a4abbdae484c430b37c751448f021f7459f1e23de30a6ddfeaf3a0aaf8e4177",
    ),
    (
        "{\"text\":{\"body\":\"äöå\"}}".as_bytes(),
        "8098f07a6c1b221de9612d3ca45331cebd13932d6f7e8d2a59703ff57404b7fb",
    ),
    (
        br#"{"reaction":{"emoji":"\ud83d\udc4d\ud83c\udffd"}}"#,
        "73ad4524b3f899a859502bf5f3cd953909c4c044bfe81b0b07579da53c7c94b1",
    ),
    (
        b"{\r\n  \"object\": \"whatsapp_business_account\",\r\n  \"entry\": []\r\n}\r\n",
        "069a39144014c1d9c606493cfbe91eae66ff2883dc88ec159f77d7706aa4467a",
    ),
];

async fn house(keys: &str) -> (Gateway, Receiver) {
    let receiver = Receiver::willing().await;
    let relaying = format!("mode = \"relay\"\n{keys}");
    let gateway = Setup::new()
        .variable("NEW_SECRET", "the new secret")
        .upstream(HOST, &receiver.origin(), keys)
        .upstream("relay.example.com", &receiver.origin(), &relaying)
        .start()
        .await;
    (gateway, receiver)
}

#[tokio::test]
async fn what_the_secret_signed_is_taken() {
    let (gateway, receiver) = house(&format!("app_secrets = [\"{SECRET}\"]")).await;
    let mut number = 0;
    for (index, (body, digest)) in VECTORS.iter().enumerate() {
        for target in [format!("{CALLBACK}/{index}"), "/relay.example.com/x".to_owned()] {
            let upper = digest.to_uppercase();
            for line in [
                format!("X-Hub-Signature-256: sha256={digest}"),
                format!("x-HUB-signature-256: sha256={upper}"),
            ] {
                assert_eq!(ask(gateway.http(), &post(&target, &[&line], body)).await.status, 200, "{line}");
                number += 1;
            }
        }
    }
    // Stored ones are repeats the second time.
    receiver.hears(number - VECTORS.len()).await;
}

#[tokio::test]
async fn what_it_did_not_sign_is_401_and_leaves_no_trace() {
    let (gateway, receiver) = house(&format!("app_secrets = [\"{SECRET}\"]")).await;
    let body = text(1);
    let right = signature(SECRET, &body);
    let digest = right.strip_prefix("sha256=").unwrap();
    let wrong = signature("another secret", &body);
    let other_body = signature(SECRET, b"{}");
    let empty_key = format!("sha256={}", "0".repeat(64));
    let lines: Vec<Vec<String>> = vec![
        vec![],
        vec![format!("X-Hub-Signature: sha1={}", &digest[..40])],
        vec![format!("X-Hub-Signature: {right}")],
        vec![format!("X-Hub-Signature-256: {wrong}")],
        vec![format!("X-Hub-Signature-256: {other_body}")],
        vec![format!("X-Hub-Signature-256: {empty_key}")],
        vec![format!("X-Hub-Signature-256: sha256={}", &digest[..63])],
        vec![format!("X-Hub-Signature-256: sha256={digest}0")],
        vec![format!("X-Hub-Signature-256: SHA256={digest}")],
        vec![format!("X-Hub-Signature-256: {digest}")],
        vec![format!("X-Hub-Signature-256: sha256= {digest}")],
        vec![format!("X-Hub-Signature-256: sha256={digest},")],
        vec![format!("X-Hub-Signature-256: {right}, {right}")],
        vec!["X-Hub-Signature-256:".to_owned()],
        vec!["X-Hub-Signature-256: sha256=".to_owned()],
        vec![format!("X-Hub-Signature-256: sha256={}", "\u{e9}".repeat(64))],
        vec![format!("X-Hub-Signature-256: sha256={}", "\u{e9}".repeat(32))],
        vec![format!("X-Hub-Signature-256: {right}"), format!("X-Hub-Signature-256: {right}")],
        vec![format!("X-Hub-Signature-256: {right}"), format!("X-Hub-Signature-256: {wrong}")],
        vec![format!("X_Hub_Signature_256: {right}")],
    ];
    for target in [CALLBACK, "/relay.example.com/x"] {
        for lines in &lines {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let answer = ask(gateway.http(), &post(target, &lines, &body)).await;
            assert_eq!(answer.status, 401, "{lines:?}: {answer:?}");
            assert!(!answer.text().contains(digest), "the answer gives the signature away");
        }
        let line = format!("X-Hub-Signature-256: {right}");
        for body in [
            [&body[..], b"\n"].concat(),
            body[..body.len() - 1].to_vec(),
            [b"\xef\xbb\xbf", &body[..]].concat(),
        ] {
            assert_eq!(ask(gateway.http(), &post(target, &[&line], &body)).await.status, 401);
        }
        // The digest of the text does not prove its compressed form.
        let line = [line.as_str(), "Content-Encoding: gzip"];
        assert_eq!(ask(gateway.http(), &post(target, &line, b"\x1f\x8b\x08\0compressed")).await.status, 401);
    }
    assert!(gateway.events(&[]).await.is_empty());
    assert!(receiver.heard().is_empty());
    let log = gateway.log();
    assert!(!log.contains(SECRET) && !log.contains(digest), "the log gives secrets away");
    // Space around a header's value is not part of it (RFC 9110, section 5.5): this one is right.
    let line = format!("X-Hub-Signature-256: {right} ");
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[&line], &body)).await.status, 200);
}

#[tokio::test]
async fn during_a_rotation_any_of_the_secrets_proves_and_the_record_says_which() {
    let keys = format!("app_secrets = [\"{SECRET}\", \"env:NEW_SECRET\"]");
    let (gateway, receiver) = house(&keys).await;
    for (number, secret) in [(1, SECRET), (2, "the new secret")] {
        let body = text(number);
        let line = format!("X-Hub-Signature-256: {}", signature(secret, &body));
        assert_eq!(ask(gateway.http(), &post(CALLBACK, &[&line], &body)).await.status, 200);
        receiver.hears(number as usize).await;
        let shown = gateway.run(&["events", "show", &wamids(&body)[0], "--json"]).await.done();
        assert!(!shown.out.contains(SECRET) && !shown.out.contains("the new secret"), "{shown:?}");
        let by = shown.json()[0]["request"]["proved_by"].as_str().unwrap().to_owned();
        assert_eq!(by == "env:NEW_SECRET", number == 2, "{by}");
    }
    let body = text(3);
    let line = format!("X-Hub-Signature-256: {}", signature("env:NEW_SECRET", &body));
    assert_eq!(ask(gateway.http(), &post(CALLBACK, &[&line], &body)).await.status, 401);
}

#[tokio::test]
async fn an_empty_secret_is_no_configuration() {
    for value in
        ["\"\"", "\"env:NOT_SET_ANYWHERE\"", "\"env:EMPTY\"", "\"file:empty.txt\"", "\"file:missing.txt\""]
    {
        let setup = Setup::new().variable("EMPTY", "").upstream(
            HOST,
            "http://127.0.0.1:9",
            &format!("app_secrets = [{value}]"),
        );
        setup.home.write("empty.txt", "\n");
        let Err(ended) = setup.try_start().await else { panic!("{value} was accepted") };
        assert_eq!(ended.code, Some(64), "{value}: {ended:?}");
        assert!(ended.err.contains("app_secrets[0]"), "{ended:?}");
    }
}
