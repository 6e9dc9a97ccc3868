//! Normalised events: a receiver that need not know Meta's payloads gets each event in the one documented shape.
//!
//! The body is made from the event's evidence and its record, anew for each attempt, and from the same always in the
//! same bytes. Of Meta's headers none goes along: what they tell is not true of this body.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use waypost_domain::{AttemptReport, AttemptTiming, Failure};
use waypost_outbound::header_map_with_capacity;
use waypost_store::{Store, StoreError};
use waypost_whatsapp::{sign, split};

use super::http::{HttpSender, JSON, failed, mark};
use super::ping::{AGENT, put};
use super::{Parcel, Ping};
use crate::stream::{Normal, View};

/// The body of a ping for who takes normalised events: one that says nothing, of a type to be passed over.
const PING_EVENT: &[u8] =
    br#"{"version":1,"id":"ping","type":"unknown","data":{},"source":"","evidence":""}"#;
/// How long to wait before the store is asked again for what it could not do.
const STORE_RETRY: Duration = Duration::from_millis(250);

/// Why a delivery has no normalised form.
enum Without {
    /// It carries several events.
    Batch,
    /// The store does not know the event, or cannot say.
    Record,
}

impl HttpSender {
    /// Sends the normalised form of a delivery's one event.
    pub(super) async fn send_event(&self, parcel: Parcel, store: &Store) -> AttemptReport {
        let made = tokio::time::timeout(self.config.deadline, normal(&parcel, store)).await;
        let normal = match made.unwrap_or(Err(Without::Record)) {
            Ok(normal) => normal,
            Err(without) => {
                let why = match without {
                    Without::Batch => {
                        "this delivery is a whole batch, and the destination takes events one by one"
                    }
                    Without::Record => "the record of this event cannot be read",
                };
                return failed(Failure::Ours, AttemptTiming::default(), None, why);
            }
        };
        let mut headers = self.own_headers(&parcel.content.source, &normal.body);
        mark(&mut headers, &parcel);
        headers.insert(HeaderName::from_static("waypost-event"), HeaderValue::from_static(normal.event_type));
        self.sign_by_standard(&mut headers, &parcel.delivery.to_string(), &normal.body);
        match self.target_of(&parcel) {
            Some(target) => self.post(target, headers, normal.body).await,
            None => failed(Failure::Ours, AttemptTiming::default(), None, "the kept path is not one"),
        }
    }

    /// A ping in the shape of what deliveries carry.
    pub(super) async fn ping_event(&self, ping: Ping) -> AttemptReport {
        let mut headers = self.own_headers(ping.source.as_deref().unwrap_or_default(), PING_EVENT);
        headers.insert(HeaderName::from_static("waypost-event"), HeaderValue::from_static("ping"));
        let id = format!("ping_{}", self.config.clock.wall());
        self.sign_by_standard(&mut headers, &id, PING_EVENT);
        let target = self.config.target.clone().or(ping.target);
        let target = target.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
        self.post(target, headers, Bytes::from_static(PING_EVENT)).await
    }

    /// Headers of a body that is ours, signed as Meta would where there is a secret for it.
    fn own_headers(&self, source: &str, body: &[u8]) -> HeaderMap {
        let mut headers = header_map_with_capacity(12);
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONTENT_TYPE, JSON);
        if let Some(secret) = self.config.signing.secret(source, &self.config.keyring) {
            let made = sign(&secret, body);
            put(&mut headers, "x-hub-signature", &made.sha1);
            put(&mut headers, "x-hub-signature-256", &made.sha256);
        }
        headers
    }
}

/// The normalised form of a delivery's event. Asks the store until it answers.
async fn normal(parcel: &Parcel, store: &Store) -> Result<Normal, Without> {
    let body = &parcel.content.body;
    if parcel.piece_of.is_none() && split(body).events.len() > 1 {
        return Err(Without::Batch);
    }
    loop {
        let made = async {
            let Some(record) = store.event(parcel.event).await? else { return Ok(None) };
            Normal::of(store, record, body.clone(), View::WHOLE).await
        };
        match made.await {
            Ok(made) => return made.ok_or(Without::Record),
            Err(error @ (StoreError::Closed | StoreError::Corrupt(_))) => {
                tracing::error!(delivery = %parcel.delivery, %error, code = error.code(), "cannot read the record of an event");
                return Err(Without::Record);
            }
            Err(error) => {
                tracing::warn!(delivery = %parcel.delivery, %error, code = error.code(), "cannot read the record of an event; trying again");
                tokio::time::sleep(STORE_RETRY).await;
            }
        }
    }
}
