//! The stand-in for Meta: signed traffic of many kinds, some of it twice, and again what was not
//! acknowledged.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use waypost_domain::Clock;
use waypost_whatsapp::{AppSecret, Compose, compose, split};

use super::receiver::Receiver;
use crate::synthetic::{Caller, Signing};

/// What is sent, over and over: messages and statuses above all, as in life.
const TRAFFIC: &[&str] = &[
    "text",
    "status.sent",
    "status.delivered",
    "image",
    "text",
    "status.read",
    "reaction",
    "batch",
    "text",
    "status.sent",
    "audio",
    "status.delivered",
    "interactive.button_reply",
    "text",
    "status.read",
    "location",
    "bsuid",
    "template.approved",
    "text",
    "echo",
];
/// Every so many webhooks, one is sent twice.
const REPEAT_EVERY: u64 = 15;
/// People who write.
const CONTACTS: u64 = 12;
/// Times that one webhook is sent, at most, while it is not acknowledged.
const TRIES: u32 = 50;
/// Events shown on the screen.
const RECENT: usize = 6;

/// Sends webhooks to one callback address.
pub(super) struct Meta {
    caller: Caller,
    secret: AppSecret,
    stopped: AtomicBool,
    sent: AtomicU64,
    repeated: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// Identity keys of acknowledged events.
    acknowledged: HashSet<String>,
    requests: u64,
    slowest: Duration,
    recent: VecDeque<String>,
}

impl Meta {
    pub(super) fn new(callback: &str, secret: &str, clock: &Clock) -> anyhow::Result<Self> {
        Ok(Self {
            caller: Caller::new(callback, None, clock)?,
            secret: AppSecret::new("demo", secret)?,
            stopped: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            book: Mutex::default(),
        })
    }

    /// Sends `rate` webhooks a second until told to stop; returns when all have been answered.
    pub(super) async fn send(self: Arc<Self>, rate: u32, clock: Clock) {
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        let mut under_way = tokio::task::JoinSet::new();
        let began_s = clock.wall().0 / 1_000;
        let mut number = 0;
        while !self.stopped.load(Ordering::Relaxed) {
            tick.tick().await;
            let kind = TRAFFIC[(number % TRAFFIC.len() as u64) as usize];
            let body = payload(kind, number, began_s);
            let copies = if number % REPEAT_EVERY == REPEAT_EVERY - 1 { 2 } else { 1 };
            let this = self.clone();
            let kind = kind.to_owned();
            under_way.spawn(async move {
                for copy in 0..copies {
                    this.repeated.fetch_add(u64::from(copy > 0), Ordering::Relaxed);
                    this.deliver(&kind, &body).await;
                }
            });
            number += 1;
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Sends one webhook until it is acknowledged.
    async fn deliver(&self, kind: &str, body: &str) {
        for _ in 0..TRIES {
            self.sent.fetch_add(1, Ordering::Relaxed);
            let heard = self.caller.post(body.to_owned(), Some((&self.secret, Signing::Right))).await;
            if let Ok(heard) = heard
                && heard.status == 200
            {
                return self.note(kind, body, heard.took);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn note(&self, kind: &str, body: &str, took: Duration) {
        let mut book = self.book();
        book.requests += 1;
        book.slowest = book.slowest.max(took);
        let split = split(body.as_bytes());
        let events = split.events.len();
        let first = split.events.first().map(|event| event.key.clone()).unwrap_or_default();
        book.acknowledged.extend(split.events.into_iter().map(|event| event.key));
        let more = if events > 1 { format!(" and {} more", events - 1) } else { String::new() };
        book.recent.push_front(format!("{kind:<26} {first:.48}{more}"));
        book.recent.truncate(RECENT);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Webhooks sent, repeats included.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Webhooks sent once more although they had been acknowledged.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Webhooks acknowledged, and the longest that took.
    pub(super) fn answered(&self) -> (u64, Duration) {
        let book = self.book();
        (book.requests, book.slowest)
    }

    /// Events acknowledged, each counted once.
    pub(super) fn acknowledged(&self) -> u64 {
        self.book().acknowledged.len() as u64
    }

    /// The latest webhooks acknowledged, the newest first.
    pub(super) fn recent(&self) -> Vec<String> {
        self.book().recent.iter().cloned().collect()
    }

    /// Events acknowledged that the receiver does not have.
    pub(super) fn missing(&self, receiver: &Receiver) -> u64 {
        self.missing_keys(receiver).len() as u64
    }

    /// Their identity keys.
    pub(super) fn missing_keys(&self, receiver: &Receiver) -> Vec<String> {
        self.book().acknowledged.iter().filter(|key| !receiver.has(key)).cloned().collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn payload(kind: &str, number: u64, began_s: i64) -> String {
    let contact = format!("1415555{:04}", 1_000 + number % CONTACTS);
    let parts = Compose {
        contact: &contact,
        // A message and the statuses that follow it in the traffic are about different messages: each
        // webhook stands for itself.
        sequence: number,
        timestamp_s: began_s + i64::try_from(number).unwrap_or_default(),
        batch_size: 5,
        ..Compose::default()
    };
    compose(kind, &parts).unwrap_or_default()
}
