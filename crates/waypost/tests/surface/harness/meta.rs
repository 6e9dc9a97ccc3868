//! Meta's side: requests as bytes, bodies and their signatures.

use waypost_whatsapp::{AppSecret, Compose, compose, sign};

/// The app secret that most tests sign with.
pub(crate) const SECRET: &str = "dd1a2bc3e4f5061728394a5b6c7d8e9f";

/// `sha256=…` of a body under a secret.
pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    sign(&AppSecret::new("test", secret).unwrap(), body).sha256
}

/// A GET as bytes.
pub(crate) fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: proxy.example.com\r\nUser-Agent: facebookplatform/1.0 (+http://developers.facebook.com)\r\nAccept: */*\r\nAccept-Encoding: deflate, gzip\r\n\r\n").into_bytes()
}

/// A POST as bytes, with these further header lines.
pub(crate) fn post(target: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {target} HTTP/1.1\r\nHost: proxy.example.com\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
        body.len()
    );
    for line in lines {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// A POST signed with [`SECRET`].
pub(crate) fn signed(target: &str, body: &[u8]) -> Vec<u8> {
    post(target, &[&format!("X-Hub-Signature-256: {}", signature(SECRET, body))], body)
}

/// A text message; another number, another message.
pub(crate) fn text(sequence: u64) -> Vec<u8> {
    text_to(sequence, "14155550183")
}

/// A text message from a contact.
pub(crate) fn text_to(sequence: u64, contact: &str) -> Vec<u8> {
    compose("text", &Compose { sequence, contact, ..Compose::default() }).unwrap().into_bytes()
}

/// The message ids in a body.
pub(crate) fn wamids(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(body).into_owned();
    let parts = text.split("\"wamid.").skip(1);
    parts.map(|part| format!("wamid.{}", part.split('"').next().unwrap())).collect()
}
