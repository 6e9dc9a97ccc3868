//! A receiver that does as it is told, and remembers what it was sent.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use waypost_domain::{AttemptReport, AttemptTiming, Reply};
use waypost_engine::sender::{Attempt, Parcel, Sender};

/// Answers 200 where nothing else is said.
pub(crate) struct Script {
    /// What each body is answered.
    answers: Mutex<HashMap<String, Reply>>,
    /// What everything is answered, over all else.
    down: Mutex<Option<Reply>>,
    /// What the next attempts are answered, one each, over all else.
    next: Mutex<Vec<Reply>>,
    /// Bodies in the order in which they were sent, with the number of the attempt.
    seen: Mutex<Vec<Seen>>,
    pub(crate) under_way: AtomicUsize,
    pub(crate) most_under_way: AtomicUsize,
    /// How often it answered 2xx.
    pub(crate) taken: AtomicUsize,
    pace: Mutex<Duration>,
    /// While it hangs, an answer takes a permit.
    hang: Mutex<bool>,
    permits: Semaphore,
}

/// A body as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) body: String,
    pub(crate) attempt: u32,
    /// How many attempts were under way then, this one included, and how many had been taken before.
    pub(crate) under_way: usize,
    pub(crate) taken: usize,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            answers: Mutex::default(),
            down: Mutex::default(),
            next: Mutex::default(),
            seen: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            pace: Mutex::default(),
            hang: Mutex::default(),
            permits: Semaphore::new(0),
        }
    }
}

impl Script {
    pub(crate) fn answer(&self, body: &str, status: u16) {
        self.answers.lock().unwrap().insert(body.to_owned(), answered(status));
    }

    pub(crate) fn go_down(&self, reply: Option<Reply>) {
        *self.down.lock().unwrap() = reply;
    }

    /// Answers the next attempts so, in this order.
    pub(crate) fn answer_next(&self, mut replies: Vec<Reply>) {
        replies.reverse();
        *self.next.lock().unwrap() = replies;
    }

    pub(crate) fn take_its_time(&self, pace: Duration) {
        *self.pace.lock().unwrap() = pace;
    }

    /// Accepts and does not answer, until [`Self::let_go`].
    pub(crate) fn hang(&self) {
        *self.hang.lock().unwrap() = true;
    }

    /// Answers so many of the attempts that hang.
    pub(crate) fn let_go(&self, number: usize) {
        self.permits.add_permits(number);
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.log().into_iter().map(|seen| seen.body).collect()
    }

    pub(crate) fn log(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn has_seen(&self, body: &str) -> bool {
        self.seen.lock().unwrap().iter().any(|seen| seen.body == body)
    }

    fn reply(&self, body: &str) -> Reply {
        let next = self.next.lock().unwrap().pop();
        let down = next.or_else(|| self.down.lock().unwrap().clone());
        down.or_else(|| self.answers.lock().unwrap().get(body).cloned()).unwrap_or(answered(200))
    }
}

pub(crate) fn answered(status: u16) -> Reply {
    Reply::Answered { status, retry_after: None }
}

impl Sender for Script {
    fn attempt(&self, parcel: Parcel) -> Attempt<'_> {
        Box::pin(async move {
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
            let body = String::from_utf8_lossy(&parcel.content.body).into_owned();
            let taken = self.taken.load(Ordering::SeqCst);
            let seen = Seen { body: body.clone(), attempt: parcel.attempt, under_way, taken };
            self.seen.lock().unwrap().push(seen);
            let pace = *self.pace.lock().unwrap();
            if pace > Duration::ZERO {
                tokio::time::sleep(pace).await;
            }
            if *self.hang.lock().unwrap() {
                self.permits.acquire().await.unwrap().forget();
            }
            let reply = self.reply(&body);
            if matches!(reply, Reply::Answered { status: 200..=299, .. }) {
                self.taken.fetch_add(1, Ordering::SeqCst);
            }
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            AttemptReport { reply, timing: AttemptTiming::default(), address: None, excerpt: Vec::new() }
        })
    }
}
