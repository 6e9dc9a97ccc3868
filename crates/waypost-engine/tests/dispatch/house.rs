//! A store, a dispatcher and a scripted receiver, put together.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use waypost_domain::{
    Clock, DeliveryId, HeaderBlock, Patience, Priority, RetrySchedule, Rulings, UnixMillis,
};
use waypost_engine::dispatch::{Destination, DestinationHandle, Dispatcher};
use waypost_engine::metrics::Metrics;
use waypost_store::{
    Accept, Accepted, Covers, DeliveryRecord, EventFilter, NewDelivery, NewEvent, OwedPage, Page, Store,
    StoreOptions,
};

use crate::script::Script;

pub(crate) const NAME: &str = "receiver.test";
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) script: Arc<Script>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) soft: CancellationToken,
    pub(crate) hard: CancellationToken,
    folder: Arc<tempfile::TempDir>,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::over(folder, Clock::manual(UnixMillis(1_790_000_000_000)), Arc::default())
    }

    /// Another process over the same store.
    pub(crate) fn over(folder: Arc<tempfile::TempDir>, clock: Clock, script: Arc<Script>) -> Self {
        let options = StoreOptions {
            path: folder.path().join("waypost.db"),
            readers: 1,
            queue_max: 1_000,
            queue_bytes_max: 1 << 24,
            dedupe_window: Duration::from_secs(86_400),
            bytes_max: None,
            journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
            free_bytes_min: 0,
        };
        let store = Store::open(options, clock.clone()).unwrap();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let dispatcher =
            Dispatcher::new(store.clone(), clock.clone(), Metrics::new(), soft.clone(), hard.clone());
        Self { store, clock, script, dispatcher, soft, hard, folder }
    }

    pub(crate) fn start(&self, patience: Patience) -> DestinationHandle {
        self.dispatcher.put(Destination { patience, ..self.destination() })
    }

    /// The receiver, tried after 5 s and then every minute, for an hour.
    pub(crate) fn destination(&self) -> Destination {
        Destination {
            name: NAME.into(),
            sender: self.script.clone(),
            schedule: RetrySchedule::new(vec![5 * SECOND, 60 * SECOND], 3_600 * SECOND).unwrap(),
            rulings: Rulings::default(),
            patience: Patience::default(),
            concurrency_max: 8,
            rate_max: None,
        }
    }

    /// Accepts one event in each of these conversations ("" for none), as one request with this body.
    pub(crate) async fn accept(&self, body: &str, conversations: &[&str]) -> Accepted {
        self.accept_for(NAME, body, conversations).await
    }

    pub(crate) async fn accept_for(&self, name: &str, body: &str, conversations: &[&str]) -> Accepted {
        let accepted = self.store.accept(accept(name, body, conversations, self.clock.wall())).await.unwrap();
        if let Some(handle) = self.dispatcher.destination(name) {
            handle.owe();
        }
        accepted
    }

    /// Accepts many requests of one event each, by body and conversation, in this order.
    pub(crate) async fn accept_all(&self, all: impl Iterator<Item = (String, String)>) {
        self.accept_all_for(NAME, all).await;
    }

    pub(crate) async fn accept_all_for(&self, name: &str, all: impl Iterator<Item = (String, String)>) {
        let all: Vec<_> = all.collect();
        for some in all.chunks(500) {
            let accept = |(body, conversation): &(String, String)| {
                let accept = accept(name, body, &[conversation], self.clock.wall());
                Box::pin(async move { self.store.accept(accept).await.map(drop) })
            };
            let mut accepting: Vec<_> = some.iter().map(accept).collect();
            // Each is polled in its turn, and so comes to the store in its turn; they share commits.
            std::future::poll_fn(|context| {
                accepting.retain_mut(|one| one.as_mut().poll(context).map(Result::unwrap).is_pending());
                if accepting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        if let Some(handle) = self.dispatcher.destination(name) {
            handle.owe();
        }
    }

    /// Moves time and lets the destination notice.
    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.dispatcher.destinations().iter().for_each(DestinationHandle::wake);
    }

    /// Moves time in steps, and gives the destination a moment after each.
    pub(crate) async fn advance_in_steps(&self, steps: u32, of: Duration) {
        for _ in 0..steps {
            self.advance(of);
            self.settle_down().await;
        }
    }

    /// A moment, for what is to happen at once. Used where nothing is to be waited for, since nothing may happen.
    pub(crate) async fn settle_down(&self) {
        tokio::time::sleep(Duration::from_millis(15)).await;
    }

    /// Waits, for a bounded time, until something is so.
    pub(crate) async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        for _ in 0..2_000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seen = self.script.seen();
        panic!("not within ten seconds: {what}; {} seen, {:?}", seen.len(), &seen[..seen.len().min(50)]);
    }

    pub(crate) async fn owed(&self) -> usize {
        let page = OwedPage { destination: NAME.into(), after: None, limit: 16_384 };
        self.store.owed(page).await.unwrap().len()
    }

    pub(crate) async fn until_owed(&self, number: usize) {
        for _ in 0..2_000 {
            if self.owed().await == number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seen = self.script.seen();
        panic!(
            "{} are owed, not {number}; {} seen, {:?}",
            self.owed().await,
            seen.len(),
            &seen[..seen.len().min(50)]
        );
    }

    pub(crate) async fn delivery(&self, id: DeliveryId) -> DeliveryRecord {
        let filter = EventFilter::default();
        let list = self.store.events(filter, Page { before: None, limit: 1_000 }).await.unwrap();
        let mut all = list.events.into_iter().flat_map(|event| event.deliveries);
        all.find(|delivery| delivery.owed.id == id).unwrap()
    }

    pub(crate) async fn stop(self) -> (Arc<tempfile::TempDir>, Clock, Arc<Script>) {
        self.soft.cancel();
        self.dispatcher.stopped().await;
        self.store.close().await;
        (self.folder, self.clock, self.script)
    }
}

fn accept(name: &str, body: &str, conversations: &[&str], at: UnixMillis) -> Accept {
    let events = conversations.iter().enumerate().map(|(index, conversation)| NewEvent {
        kind: "message".into(),
        class: "message".into(),
        field: "messages".into(),
        r#type: "text".into(),
        phone_number_id: Some("1".into()),
        display_phone_number: None,
        waba_id: None,
        conversation: Some((*conversation).into()).filter(|_| !conversation.is_empty()),
        contact: None,
        wamid: Some(format!("wamid.{name}.{body}.{index}").into()),
        key: format!("msg:1:{body}.{index}").into(),
        occurred_at: None,
        once: true,
        quarantined: false,
    });
    Accept {
        source: name.into(),
        scope: name.into(),
        received_at: at,
        target: "/webhooks/whatsapp/%2B1".to_owned(),
        headers: HeaderBlock::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        body_sha256: [0; 32],
        proved_by: None,
        events: events.collect(),
        deliveries: vec![NewDelivery {
            destination: name.into(),
            covers: Covers::Request,
            priority: Priority::Message,
        }],
    }
}

/// Asserts that the bodies of a conversation, named `CONVERSATION-NUMBER`, were first sent in order.
pub(crate) fn assert_in_order(seen: &[String], conversation: &str) {
    let prefix = format!("{conversation}-");
    let mut last = -1;
    for number in seen.iter().filter_map(|body| body.strip_prefix(&prefix)).map(|n| n.parse::<i64>().unwrap())
    {
        assert!(number <= last + 1, "{conversation}-{number} was sent before what comes before it");
        last = last.max(number);
    }
}
