//! Promises of the dispatcher, with a real store and a scripted receiver. Time is a manual clock: it moves
//! when the test says so, and destinations are woken to notice.

#![expect(clippy::unwrap_used, reason = "what cannot be unwrapped fails the test, as it should")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use waypost_domain::{
    AttemptReport, AttemptTiming, Clock, DeliveryId, DeliveryState, Failure, HeaderBlock, Lane, Lanes,
    Priority, Reply, RetrySchedule, Rulings, UnixMillis,
};
use waypost_engine::dispatch::{Destination, DestinationHandle, Dispatcher, Patience};
use waypost_engine::metrics::Metrics;
use waypost_engine::sender::{Attempt, Parcel, Sender};
use waypost_store::{
    Accept, Accepted, ActOn, Covers, EventFilter, NewDelivery, NewEvent, OwedPage, Page, Selection, Store,
    StoreOptions,
};

const NAME: &str = "receiver.test";
const SECOND: Duration = Duration::from_secs(1);

/// A receiver that answers by conversation, and remembers what it was sent.
#[derive(Default)]
struct Script {
    /// What each body is answered; 200 where nothing is said.
    answers: Mutex<HashMap<String, Reply>>,
    /// What everything is answered, over all else.
    down: Mutex<Option<Reply>>,
    /// Bodies in the order in which they were sent, with the number of the attempt.
    seen: Mutex<Vec<(String, u32)>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    pace: Mutex<Duration>,
}

impl Script {
    fn answer(&self, body: &str, status: u16) {
        self.answers.lock().unwrap().insert(body.to_owned(), answered(status));
    }

    fn go_down(&self, reply: Option<Reply>) {
        *self.down.lock().unwrap() = reply;
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(body, _)| body.clone()).collect()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn answered(status: u16) -> Reply {
    Reply::Answered { status, retry_after: None }
}

impl Sender for Script {
    fn attempt(&self, parcel: Parcel) -> Attempt<'_> {
        Box::pin(async move {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(now, Ordering::SeqCst);
            let body = String::from_utf8_lossy(&parcel.content.body).into_owned();
            self.seen.lock().unwrap().push((body.clone(), parcel.attempt));
            let pace = *self.pace.lock().unwrap();
            if pace > Duration::ZERO {
                tokio::time::sleep(pace).await;
            }
            let down = self.down.lock().unwrap().clone();
            let reply =
                down.or_else(|| self.answers.lock().unwrap().get(&body).cloned()).unwrap_or(answered(200));
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            AttemptReport { reply, timing: AttemptTiming::default(), address: None, excerpt: Vec::new() }
        })
    }
}

struct House {
    store: Store,
    clock: Clock,
    script: Arc<Script>,
    dispatcher: Dispatcher,
    soft: CancellationToken,
    hard: CancellationToken,
    folder: Arc<tempfile::TempDir>,
}

impl House {
    fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::over(folder, Clock::manual(UnixMillis(1_790_000_000_000)), Arc::default())
    }

    fn over(folder: Arc<tempfile::TempDir>, clock: Clock, script: Arc<Script>) -> Self {
        let options = StoreOptions {
            path: folder.path().join("waypost.db"),
            readers: 1,
            queue_max: 1_000,
            queue_bytes_max: 1 << 24,
            dedupe_window: Duration::from_secs(86_400),
            bytes_max: None,
            free_bytes_min: 0,
        };
        let store = Store::open(options, clock.clone()).unwrap();
        let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
        let dispatcher =
            Dispatcher::new(store.clone(), clock.clone(), Metrics::new(), soft.clone(), hard.clone());
        Self { store, clock, script, dispatcher, soft, hard, folder }
    }

    fn start(&self, patience: Patience) -> DestinationHandle {
        self.dispatcher.put(Destination {
            name: NAME.into(),
            sender: self.script.clone(),
            schedule: RetrySchedule::new(vec![5 * SECOND, 60 * SECOND], 3_600 * SECOND).unwrap(),
            rulings: Rulings::default(),
            patience,
            concurrency_max: 8,
            rate_max: None,
        })
    }

    /// Accepts one event in each of these conversations ("" for none), as one request with this body.
    async fn accept(&self, body: &str, conversations: &[&str]) -> Accepted {
        let events = conversations.iter().enumerate().map(|(index, conversation)| NewEvent {
            kind: "message",
            class: "message",
            field: "messages".into(),
            r#type: "text".into(),
            phone_number_id: Some("1".into()),
            display_phone_number: None,
            waba_id: None,
            conversation: Some((*conversation).into()).filter(|_| !conversation.is_empty()),
            wamid: Some(format!("wamid.{body}.{index}").into()),
            key: format!("msg:1:{body}.{index}").into(),
            occurred_at: None,
            once: true,
        });
        let accept = Accept {
            source: NAME.into(),
            scope: NAME.into(),
            received_at: self.clock.wall(),
            target: "/webhooks/whatsapp/%2B1".to_owned(),
            headers: HeaderBlock::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            body_sha256: [0; 32],
            proved_by: None,
            events: events.collect(),
            deliveries: vec![NewDelivery {
                destination: NAME.into(),
                covers: Covers::Request,
                lanes: conversations.iter().filter(|c| !c.is_empty()).map(|c| Lane::of(c)).collect::<Lanes>(),
                priority: Priority::Message,
            }],
        };
        let accepted = self.store.accept(accept).await.unwrap();
        if let Some(handle) = self.dispatcher.destination(NAME) {
            handle.owe();
        }
        accepted
    }

    /// Moves time and lets the destination notice.
    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        if let Some(handle) = self.dispatcher.destination(NAME) {
            handle.wake();
        }
    }

    /// Waits, for a bounded time, until something is so.
    async fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        for _ in 0..1_000 {
            if so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not within five seconds: {what}; seen {:?}", self.script.seen());
    }

    async fn owed(&self) -> usize {
        let page = OwedPage { destination: NAME.into(), after: None, limit: 1_000 };
        self.store.owed(page).await.unwrap().len()
    }

    async fn until_owed(&self, number: usize) {
        for _ in 0..1_000 {
            if self.owed().await == number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} are owed, not {number}; seen {:?}", self.owed().await, self.script.seen());
    }

    async fn delivery(&self, id: DeliveryId) -> waypost_store::DeliveryRecord {
        let filter = EventFilter::default();
        let list = self.store.events(filter, Page { before: None, limit: 1_000 }).await.unwrap();
        let mut all = list.events.into_iter().flat_map(|event| event.deliveries);
        all.find(|delivery| delivery.owed.id == id).unwrap()
    }

    async fn stop(self) -> (Arc<tempfile::TempDir>, Clock, Arc<Script>) {
        self.soft.cancel();
        self.dispatcher.stopped().await;
        self.store.close().await;
        (self.folder, self.clock, self.script)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_is_delivered_in_order_of_acceptance_one_at_a_time() {
    let house = House::new();
    *house.script.pace.lock().unwrap() = Duration::from_millis(2);
    house.start(Patience::default());
    for number in 0..60 {
        house.accept(&format!("{}-{number:02}", number % 3), &[["a", "b", "c"][number % 3]]).await;
    }
    house.until_owed(0).await;
    for conversation in ["0-", "1-", "2-"] {
        let seen: Vec<_> =
            house.script.seen().into_iter().filter(|body| body.starts_with(conversation)).collect();
        assert!(seen.is_sorted(), "{seen:?}");
        assert_eq!(seen.len(), 20);
    }
    assert!(
        house.script.most_under_way.load(Ordering::SeqCst) <= 3,
        "three conversations, one attempt in each"
    );
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_over_two_conversations_keeps_the_order_of_both() {
    let house = House::new();
    house.start(Patience::default());
    house.script.answer("first of a", 503);
    house.accept("first of a", &["a"]).await;
    house.until("the first attempt", || house.script.count() == 1).await;
    house.accept("batch", &["a", "b"]).await;
    house.accept("last of b", &["b"]).await;
    house.accept("c", &["c"]).await;
    house.until("the free conversation", || house.script.seen().contains(&"c".to_owned())).await;
    assert_eq!(house.script.count(), 2, "batch and what is behind it wait");
    house.script.answer("first of a", 200);
    house.advance(6 * SECOND);
    house.until_owed(0).await;
    assert_eq!(house.script.seen()[2..], ["first of a", "batch", "last of b"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_poison_event_holds_its_conversation_for_its_patience_and_no_other() {
    let house = House::new();
    house.start(Patience::For(120 * SECOND));
    house.script.answer("poison", 500);
    let poison = house.accept("poison", &["a"]).await.owed[0].id;
    house.accept("behind", &["a"]).await;
    for number in 0..20 {
        house.accept(&format!("other {number}"), &["b"]).await;
    }
    house.until_owed(2).await;
    assert!(!house.script.seen().contains(&"behind".to_owned()));
    for _ in 0..13 {
        house.advance(10 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.until("the one behind", || house.script.seen().contains(&"behind".to_owned())).await;
    house.until_owed(1).await;
    house.script.answer("poison", 200);
    house.advance(70 * SECOND);
    house.until_owed(0).await;
    let record = house.delivery(poison).await;
    assert_eq!(record.state, DeliveryState::Delivered);
    assert!(record.owed.overtaken, "what was stepped over is marked so");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_costs_probes_not_attempts_and_drains_in_order() {
    let house = House::new();
    house.script.go_down(Some(Reply::Failed(Failure::ConnectRefused)));
    let handle = house.start(Patience::For(120 * SECOND));
    house.accept("00", &["a"]).await;
    house.accept("01", &["b"]).await;
    house.until("the breaker", || handle.status().down).await;
    for number in 2..50 {
        house.accept(&format!("{number:02}"), &["a"]).await;
    }
    let before = house.script.count();
    for _ in 0..10 {
        house.advance(60 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let probes = house.script.count() - before;
    assert!((3..=12).contains(&probes), "{probes} probes in ten minutes");
    assert_eq!(house.owed().await, 50);
    let page = OwedPage { destination: NAME.into(), after: None, limit: 100 };
    let owed = house.store.owed(page).await.unwrap();
    assert!(owed.iter().all(|delivery| delivery.attempts <= 1 && !delivery.overtaken), "{owed:?}");
    house.script.go_down(None);
    house.advance(61 * SECOND);
    house.until_owed(0).await;
    let seen = house.script.seen();
    let of_a: Vec<_> = seen[before + probes..].iter().filter(|body| *body != "01").collect();
    assert!(of_a.is_sorted(), "{of_a:?}");
    assert!(!handle.status().down);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_poison_events_cannot_keep_a_gate_shut() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..40 {
        let body = format!("poison {number}");
        house.script.answer(&body, 500);
        house.accept(&body, &[body.as_str()]).await;
    }
    house.until("the breaker", || handle.status().down).await;
    house.accept("good", &["good"]).await;
    for _ in 0..20 {
        house.advance(2 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.until("the good one", || house.script.seen().contains(&"good".to_owned())).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dead_path_keeps_nothing_else_from_its_receiver() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..20 {
        let body = format!("gone {number}");
        house.script.answer(&body, 404);
        house.accept(&body, &[body.as_str()]).await;
    }
    for number in 0..20 {
        house.accept(&format!("good {number}"), &["good"]).await;
    }
    house.until_owed(20).await;
    assert!(!handle.status().down);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_was_and_charges_nothing_for_the_stop() {
    let house = House::new();
    let handle = house.start(Patience::default());
    house.dispatcher.pause(NAME, true);
    house.until("the pause", || handle.status().paused).await;
    for number in 0..5 {
        house.accept(&format!("{number}"), &["a"]).await;
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(house.script.count(), 0, "a paused destination is sent nothing");
    let (folder, clock, script) = house.stop().await;
    let house = House::over(folder, clock, script);
    house.start(Patience::default());
    house.until_owed(0).await;
    assert_eq!(house.script.seen(), ["0", "1", "2", "3", "4"]);
    assert!(house.script.seen.lock().unwrap().iter().all(|(_, attempt)| *attempt == 1));
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_content_is_dead_at_once_and_lets_its_conversation_go_on() {
    let house = House::new();
    house.start(Patience::Forever);
    house.script.answer("bad", 422);
    let bad = house.accept("bad", &["a"]).await.owed[0].id;
    house.accept("good", &["a"]).await;
    house.until_owed(0).await;
    assert_eq!(house.delivery(bad).await.state, DeliveryState::Dead);
    assert_eq!(house.script.seen(), ["bad", "good"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_given_up_only_when_its_schedule_is_used_up() {
    let house = House::new();
    house.start(Patience::Forever);
    house.script.answer("never", 500);
    let never = house.accept("never", &["a"]).await.owed[0].id;
    let mut tries = 0;
    for _ in 0..80 {
        house.advance(67 * SECOND);
        tokio::time::sleep(Duration::from_millis(8)).await;
        tries = house.script.count();
    }
    house.until_owed(0).await;
    assert_eq!(house.delivery(never).await.state, DeliveryState::Dead);
    assert!((40..=62).contains(&tries), "{tries} attempts in an hour");
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_wall_clock_neither_stalls_nor_stampedes() {
    let house = House::new();
    house.start(Patience::Forever);
    house.script.answer("slow", 500);
    house.accept("slow", &["a"]).await;
    house.until("the first attempt", || house.script.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    house.clock.step_wall(UnixMillis(house.clock.wall().0 + 3_600_000));
    house.advance(SECOND);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(house.script.count(), 1, "an hour's step forward is no hour of waiting");
    house.clock.step_wall(UnixMillis(house.clock.wall().0 - 7_200_000));
    house.script.answer("slow", 200);
    house.advance(6 * SECOND);
    house.until_owed(0).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_put_again_waits_for_the_attempts_of_its_former_self() {
    let house = House::new();
    *house.script.pace.lock().unwrap() = Duration::from_millis(100);
    house.start(Patience::default());
    house.accept("once", &["a"]).await;
    house.until("the attempt", || house.script.count() == 1).await;
    house.dispatcher.remove(NAME);
    house.start(Patience::default());
    house.until_owed(0).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(house.script.count(), 1);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_long_and_waits_for_nobody_takes_no_place_and_comes_back_in_time() {
    let house = House::new();
    let handle = house.start(Patience::default());
    for number in 0..5 {
        house.script.answer(&format!("poison {number}"), 500);
        house.accept(&format!("poison {number}"), &[""]).await;
        house.accept(&format!("good {number}"), &["a"]).await;
    }
    house.until_owed(5).await;
    house.advance(6 * SECOND);
    house.until("the second attempts", || house.script.count() >= 15).await;
    house.until("an empty window", || handle.status().window == 0).await;
    for number in 0..5 {
        house.script.answer(&format!("poison {number}"), 200);
    }
    house.advance(67 * SECOND);
    house.until_owed(0).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_discards_and_replays_and_the_lane_keeps_its_order() {
    let house = House::new();
    let handle = house.start(Patience::Forever);
    house.script.answer("stuck", 500);
    let stuck = house.accept("stuck", &["a"]).await.owed[0].id;
    house.accept("behind", &["a"]).await;
    house.until("the first attempt", || house.script.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let act = |plan| ActOn {
        selection: Selection::One(stuck),
        who: "test".into(),
        at: house.clock.wall(),
        note: None,
        plan,
    };
    assert_eq!(house.store.discard(act(false)).await.unwrap().count, 1);
    handle.reread();
    house.until_owed(0).await;
    assert_eq!(house.script.seen(), ["stuck", "behind"]);
    house.script.answer("stuck", 200);
    assert_eq!(house.store.replay(act(true)).await.unwrap().count, 1, "a plan only counts");
    assert_eq!(house.owed().await, 0);
    assert_eq!(house.store.replay(act(false)).await.unwrap().count, 1);
    handle.reread();
    house.until_owed(0).await;
    assert_eq!(house.script.seen(), ["stuck", "behind", "stuck"]);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_is_owed_something_from_acceptance_until_the_last_delivery() {
    let house = House::new();
    let handle = house.start(Patience::default());
    house.until("the first look", || !handle.is_owed()).await;
    house.script.answer("late", 500);
    house.accept("late", &["a"]).await;
    assert!(handle.is_owed());
    house.until("the attempt", || house.script.count() == 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(handle.is_owed(), "it failed, and is owed still");
    house.script.answer("late", 200);
    house.advance(6 * SECOND);
    house.until("the end", || !handle.is_owed()).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_destination_keeps_what_it_is_owed() {
    let house = House::new();
    house.start(Patience::default());
    house.dispatcher.pause(NAME, true);
    house.accept("kept", &["a"]).await;
    house.dispatcher.remove(NAME);
    assert_eq!(house.owed().await, 1);
    house.start(Patience::default());
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(house.owed().await, 1, "it is held still");
    house.dispatcher.pause(NAME, false);
    house.until_owed(0).await;
    house.hard.cancel();
    house.stop().await;
}
