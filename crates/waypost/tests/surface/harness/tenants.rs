//! Sections for one callback address with many behind it, and the batches that come to it.

use super::{post, signature};

/// A source's token.
pub(crate) const TOKEN: &str = "q7x0m2-opaque_token-of-43-characters-000000";
/// Its address.
pub(crate) const W: &str = "/w/q7x0m2-opaque_token-of-43-characters-000000";

/// The source `acme` at [`TOKEN`], with these app secrets.
pub(crate) fn source(secrets: &[&str]) -> String {
    format!(
        "[[source]]\nname = \"acme\"\ntoken = \"{TOKEN}\"\nverify_token = [\"first v\", \"second\"]\napp_secrets = {secrets:?}\n"
    )
}

/// A destination with quick retries and these further keys.
pub(crate) fn destination(name: &str, url: &str, keys: &str) -> String {
    format!(
        "[[destination]]\nname = \"{name}\"\nurl = \"{url}\"\nallow_private = true\nschedule = [\"1s\"]\n{keys}\n"
    )
}

/// A route of `acme`.
pub(crate) fn route(wanted: &str, to: &str) -> String {
    format!("[[route]]\nsource = \"acme\"\nmatch = {wanted}\nto = \"{to}\"\n")
}

/// A POST signed with a secret.
pub(crate) fn signed_with(secret: &str, target: &str, body: &[u8]) -> Vec<u8> {
    post(target, &[&format!("X-Hub-Signature-256: {}", signature(secret, body))], body)
}

/// One change with a text message to a number, written as nobody would write it again: escapes, a number with an
/// exponent, members that nobody knows.
pub(crate) fn message(number: &str, wamid: &str) -> String {
    format!(
        r#"{{ "field":"messages", "value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"1555{number}","phone_number_id":"{number}"}},"contacts":[{{"profile":{{"name":"Zo\u00eb \ud83d\udc4b"}},"wa_id":"4915550{number}"}}],"messages":[{{"from":"4915550{number}","id":"wamid.{wamid}","timestamp":"1790000000","type":"text","text":{{"body":"for \/{number} \u2028"}},"x_new":1.50e2}}],"x_unknown":[ 1,  2 ]}} }}"#
    )
}

/// One change of an account: a number's display name was reviewed.
pub(crate) fn name_change(number: &str) -> String {
    format!(
        r#"{{"value":{{"display_phone_number":"1555{number}","decision":"APPROVED","requested_verified_name":"Acme"}},"field":"phone_number_name_update"}}"#
    )
}

/// A webhook of these changes.
pub(crate) fn batch(changes: &[String]) -> Vec<u8> {
    let changes = changes.join(", ");
    format!(
        r#"{{"object":"whatsapp_business_account","x_env":"\u00fc","entry":[{{"id":"102290129340398","time":1790000001,"changes":[{changes}]}}]}}"#
    )
    .into_bytes()
}
