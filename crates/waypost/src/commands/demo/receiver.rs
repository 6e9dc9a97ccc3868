//! The stand-in receiver: checks signatures, remembers what it got, and fails when told to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use waypost_domain::limits;
use waypost_edge::Body;
use waypost_whatsapp::{AppSecret, AppSecrets, split};

/// Answers 200 to what is signed, and 503 to everything while it fails.
pub(super) struct Receiver {
    secrets: AppSecrets,
    failing: AtomicBool,
    book: Mutex<Book>,
}

/// What it got.
#[derive(Default)]
struct Book {
    /// How often each event came, by identity key.
    events: HashMap<String, u64>,
    refused: u64,
    repeats: u64,
    /// The last sequence seen in each conversation.
    last: HashMap<String, i64>,
    disordered: u64,
}

impl Receiver {
    pub(super) fn new(secret: &str) -> anyhow::Result<Self> {
        let secrets = AppSecrets::from(AppSecret::new("demo", secret)?);
        Ok(Self { secrets, failing: AtomicBool::new(false), book: Mutex::default() })
    }

    pub(super) fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Events received, each counted once.
    pub(super) fn received(&self) -> u64 {
        self.book().events.len() as u64
    }

    /// Calls refused while failing.
    pub(super) fn refused(&self) -> u64 {
        self.book().refused
    }

    /// Events received more than once.
    pub(super) fn repeats(&self) -> u64 {
        self.book().repeats
    }

    /// Events that came after a later one of their conversation.
    pub(super) fn disordered(&self) -> u64 {
        self.book().disordered
    }

    /// Whether an event has come.
    pub(super) fn has(&self, key: &str) -> bool {
        self.book().events.contains_key(key)
    }

    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let status = self.take(request).await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    }

    async fn take(&self, request: Request<Incoming>) -> StatusCode {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, limits::BODY_BYTES_MAX).collect().await else {
            return StatusCode::BAD_REQUEST;
        };
        if self.is_failing() {
            self.book().refused += 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let body = body.to_bytes();
        let signatures = head.headers.get_all("x-hub-signature-256").iter().map(|value| value.as_bytes());
        if self.secrets.verify(signatures, &body).is_err() {
            return StatusCode::UNAUTHORIZED;
        }
        self.note(&body);
        StatusCode::OK
    }

    fn note(&self, body: &Bytes) {
        let mut book = self.book();
        for event in split(body).events {
            if let (Some(conversation), Some(at)) = (event.conversation, event.occurred_at_ms) {
                let last = book.last.entry(conversation).or_insert(at);
                let late = at < *last;
                *last = at.max(*last);
                book.disordered += u64::from(late);
            }
            let times = book.events.entry(event.key).or_insert(0);
            *times += 1;
            let again = *times > 1;
            book.repeats += u64::from(again);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
