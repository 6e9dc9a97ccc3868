//! Everything between an arrival and the receivers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use waypost_domain::{
    Clock, HeaderBlock, Match, MatchKey, Patience, RequestId, RetrySchedule, Rulings, UnixMillis,
};
use waypost_engine::dispatch::{Destination, Dispatcher};
use waypost_engine::intake::{Arrival, Intake, prove};
use waypost_engine::metrics::Metrics;
use waypost_engine::routing::{Batches, Recipient, Routing};
use waypost_engine::sender::{HttpSender, HttpSenderConfig, Keyring, Signing, StandardSecret};
use waypost_outbound::{Endpoint, EndpointConfig, Outbound, OutboundConfig};
use waypost_store::{EventFilter, EventRecord, Page, Store, StoreOptions};
use waypost_whatsapp::{AppSecret, AppSecrets, sign};

use crate::receiver::Receiver;

pub(crate) const SOURCE: &str = "acme";
pub(crate) const SOURCE_SECRET: &str = "the app's secret";
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn secret(text: &str) -> AppSecret {
    AppSecret::new("test", text).unwrap()
}

/// Deliveries signed with this secret.
pub(crate) fn with(text: &str) -> Signing {
    Signing::With(secret(text))
}

pub(crate) fn matching(keys: &[(MatchKey, &[&str])]) -> Match {
    Match::new(keys.iter().map(|(key, values)| (*key, values.iter().copied()))).unwrap()
}

pub(crate) fn number(id: &str) -> Match {
    matching(&[(MatchKey::PhoneNumberId, &[id])])
}

/// What was accepted, and what became of it.
pub(crate) struct Receipt {
    pub(crate) request: RequestId,
    pub(crate) events: usize,
    pub(crate) duplicate: bool,
}

pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) keyring: Keyring,
    intake: Intake,
    outbound: Outbound,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(UnixMillis(1_790_000_000_000));
        let options = StoreOptions {
            path: folder.path().join("waypost.db"),
            readers: 1,
            queue_max: 1_000,
            queue_bytes_max: 1 << 26,
            dedupe_window: Duration::from_secs(86_400),
            bytes_max: None,
            journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
            free_bytes_min: 0,
        };
        let store = Store::open(options, clock.clone()).unwrap();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let metrics = Metrics::new();
        let dispatcher = Dispatcher::new(store.clone(), clock.clone(), metrics.clone(), soft, hard);
        let intake = Intake::new(store.clone(), &dispatcher, clock.clone(), metrics);
        let keyring = Keyring::default();
        keyring.set(HashMap::from([(SOURCE.into(), secret(SOURCE_SECRET).into())]));
        let outbound = Outbound::new(OutboundConfig::new(clock.clone()));
        Self { store, clock, dispatcher, keyring, intake, outbound, _folder: folder }
    }

    pub(crate) fn endpoint(&self, receiver: &Receiver) -> Endpoint {
        let config = EndpointConfig {
            origin: format!("http://{}", receiver.address).parse().unwrap(),
            host: "receiver.test".to_owned(),
            allow_private: true,
            extra_roots: Vec::new(),
            connect_timeout: 5 * SECOND,
        };
        self.outbound.endpoint(config).unwrap()
    }

    pub(crate) fn sender(
        &self,
        receiver: &Receiver,
        signing: Signing,
        standard: Vec<StandardSecret>,
    ) -> HttpSender {
        HttpSender::new(self.config(receiver, signing, standard))
    }

    /// The same for events in their normalised form.
    pub(crate) fn sender_of_events(
        &self,
        receiver: &Receiver,
        signing: Signing,
        standard: Vec<StandardSecret>,
    ) -> HttpSender {
        HttpSender::of_events(self.config(receiver, signing, standard), self.store.clone())
    }

    fn config(
        &self,
        receiver: &Receiver,
        signing: Signing,
        standard: Vec<StandardSecret>,
    ) -> HttpSenderConfig {
        HttpSenderConfig {
            endpoint: self.endpoint(receiver),
            deadline: 5 * SECOND,
            target: Some("/webhooks/whatsapp/%2B15550001?from=waypost".parse().unwrap()),
            signing,
            standard,
            keyring: self.keyring.clone(),
            clock: self.clock.clone(),
        }
    }

    /// A destination at this receiver, at work.
    pub(crate) fn destination(
        &self,
        name: &str,
        receiver: &Receiver,
        batches: Batches,
        signing: Signing,
    ) -> Arc<Recipient> {
        self.put(name, self.sender(receiver, signing, Vec::new()), batches)
    }

    pub(crate) fn put(&self, name: &str, sender: HttpSender, batches: Batches) -> Arc<Recipient> {
        let handle = self.dispatcher.put(Destination {
            name: name.into(),
            sender: Arc::new(sender),
            schedule: RetrySchedule::new(vec![5 * SECOND], 3_600 * SECOND).unwrap(),
            rulings: Rulings::default(),
            patience: Patience::Forever,
            concurrency_max: 16,
            rate_max: None,
        });
        Arc::new(Recipient::new(handle, batches))
    }

    /// A POST from Meta, signed with the source's secret.
    pub(crate) async fn post(&self, body: &[u8], routing: &Routing) -> Receipt {
        self.post_with(body, &[], routing).await
    }

    /// The same with more headers.
    pub(crate) async fn post_with(&self, body: &[u8], more: &[(&str, &str)], routing: &Routing) -> Receipt {
        let signed = sign(&secret(SOURCE_SECRET), body);
        let mut headers = HeaderBlock::new();
        let lines = [
            ("user-agent", "facebookexternalua"),
            ("content-type", "application/json"),
            ("x-hub-signature", &*signed.sha1),
            ("x-hub-signature-256", &*signed.sha256),
        ];
        for (name, value) in lines.iter().chain(more) {
            headers.push(name, value.as_bytes());
        }
        let secrets = AppSecrets::from(secret(SOURCE_SECRET));
        let lines = [signed.sha256.as_bytes()];
        let proved = prove(Some(&secrets), lines.into_iter(), Bytes::copy_from_slice(body)).unwrap();
        let arrival = Arrival {
            source: SOURCE.into(),
            scope: SOURCE.into(),
            target: "/w/a-secret-token".to_owned(),
            headers,
            proved,
        };
        let events = self.intake.accept(arrival, routing).await.unwrap().events;
        let found = self.events(EventFilter::default()).await;
        let request = found[0].request;
        let duplicate = found.iter().take(events).all(|event| event.repeats.is_some());
        Receipt { request, events, duplicate }
    }

    pub(crate) async fn events(&self, filter: EventFilter) -> Vec<EventRecord> {
        self.store.events(filter, Page { before: None, limit: 1_000 }).await.unwrap().events
    }

    /// Moves time and lets a destination notice.
    pub(crate) fn advance(&self, by: Duration, name: &str) {
        self.clock.advance(by);
        self.dispatcher.destination(name).unwrap().wake();
    }
}
