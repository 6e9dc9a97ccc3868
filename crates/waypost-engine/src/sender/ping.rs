//! A test ping: one POST that shows whether a destination can be reached and believes our signature.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use waypost_domain::AttemptReport;
use waypost_outbound::header_map_with_capacity;
use waypost_whatsapp::sign;

use super::http::HttpSender;

/// The body of a ping: an envelope as Meta writes it in which nothing has happened.
///
/// It is a `tracking_events` change, which Chatwoot acknowledges without queueing it, of a number that nobody has; older
/// ones find no inbox for it and drop it. pywa and whatsapp-api-js read the first change's metadata, find no message and
/// no status, and answer 200; an envelope without any change makes the latter fail.
pub const PING_BODY: &[u8] = br#"{"object":"whatsapp_business_account","entry":[{"id":"0","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"0","phone_number_id":"0"},"events":[]},"field":"tracking_events"}]}]}"#;

pub(super) const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("Waypost/", env!("CARGO_PKG_VERSION")));

/// How a ping is made up, where the destination leaves it open.
#[derive(Clone, Debug, Default)]
pub struct Ping {
    /// Whose secret signs it, where the destination has its sources' signatures.
    pub source: Option<std::sync::Arc<str>>,
    /// The path and query for a receiver that has none of its own, such as an upstream; `/` if none is given.
    pub target: Option<PathAndQuery>,
}

impl HttpSender {
    /// Sends one ping and reports how it ended. Nothing is kept and nothing is charged. It is signed as the destination's
    /// deliveries of single events are.
    pub async fn ping(&self, ping: Ping) -> AttemptReport {
        if self.sends_events() {
            return self.ping_event(ping).await;
        }
        let config = &self.config;
        let own = config.target.clone().or(ping.target);
        let target = own.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut headers = header_map_with_capacity(10);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static("waypost-event"), HeaderValue::from_static("ping"));
        let source = ping.source.as_deref().unwrap_or_default();
        if let Some(secret) = config.signing.secret(source, &config.keyring) {
            let made = sign(&secret, PING_BODY);
            put(&mut headers, "x-hub-signature", &made.sha1);
            put(&mut headers, "x-hub-signature-256", &made.sha256);
        }
        let id = format!("ping_{}", config.clock.wall());
        self.sign_by_standard(&mut headers, &id, PING_BODY);
        self.post(target, headers, Bytes::from_static(PING_BODY)).await
    }
}

pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
