//! What one connection is doing, seen from outside hyper, so that each state has its own time limit.
//!
//! hyper's `header_read_timeout` starts when a connection begins to wait for the next head, so it would limit idling
//! and reading a head alike. Here the two are told apart by whether a byte has come since the last request ended.
//!
//! An answer that comes as things happen may wait for hours for the next of them. That is told from a client which does not
//! take what was sent: only the latter is a stall.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;
use waypost_domain::Failure;
use waypost_outbound::BodyFault;

use crate::counters::{EdgeCounters, count};
use crate::framing::is_host;
use crate::limits::{STREAMS_MAX, STREAMS_MIN};
use crate::listener::{ConnectionInfo, Place};
use crate::refusal::{BodyLeftUnread, Refusal};
use crate::reply::Body;
use crate::upgrade::offers_websocket;

mod stream;

pub(crate) use stream::{Came, WatchedStream};

/// The state of one connection, written by its parts and read by its driver. The connection's place is held by it, and so
/// given back when the last part is gone: where a connection was handed over to another protocol, that is its end.
pub(crate) struct Watch {
    place: Place,
    begun: AtomicU32,
    in_flight: AtomicU32,
    /// Of those in flight, the answers that wait for something to happen.
    patient: AtomicU32,
    steps: AtomicU32,
    head_begun: AtomicBool,
    /// Whether a body is waited for before anybody is given the request.
    body_begun: AtomicBool,
    /// The requests whose answers have left altogether.
    flushed: AtomicU32,
    /// The requests that came whole, if nothing came after them.
    whole: AtomicU32,
    /// Whether the end was said.
    ended: AtomicBool,
    multiplexed: AtomicBool,
    lingering: AtomicBool,
    /// Whether the connection speaks another protocol now.
    upgraded: AtomicBool,
    /// Whether the client does not take what is written; changed only under `held`.
    blocked: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Answers that hold back what they have until the client takes what was written.
    answers: Vec<Waker>,
    /// What hyper leaves behind where it believes that the connection was handed over, and it was not.
    remains: Option<OnUpgrade>,
}

/// What a connection is doing; another value means that something happened since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// No request has come yet.
    FirstHead,
    /// A later head has begun to come.
    Head(u32),
    /// A body has begun to come, and its request waits for it.
    Body(u32),
    /// Nothing is asked.
    Idle(u32),
    /// A request or its answer is under way.
    Busy(u32, u32),
    /// Answers are under way that wait for something to happen, and nothing else.
    Patient(u32, u32),
}

impl Phase {
    /// Whether a request or its answer is under way.
    pub(crate) fn is_at_work(self) -> bool {
        matches!(self, Self::Busy(..) | Self::Patient(..))
    }
}

impl Watch {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            begun: AtomicU32::default(),
            in_flight: AtomicU32::default(),
            patient: AtomicU32::default(),
            steps: AtomicU32::default(),
            head_begun: AtomicBool::default(),
            body_begun: AtomicBool::default(),
            flushed: AtomicU32::default(),
            whole: AtomicU32::default(),
            ended: AtomicBool::default(),
            multiplexed: AtomicBool::default(),
            lingering: AtomicBool::default(),
            upgraded: AtomicBool::default(),
            blocked: AtomicBool::default(),
            held: Mutex::default(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        let begun = self.begun.load(Relaxed);
        let in_flight = self.in_flight.load(Relaxed);
        if in_flight > 0 {
            let steps = self.steps.load(Relaxed);
            let is_patient = self.patient.load(Relaxed) == in_flight && !self.blocked.load(Relaxed);
            if is_patient { Phase::Patient(begun, steps) } else { Phase::Busy(begun, steps) }
        } else if self.body_begun.load(Relaxed) {
            Phase::Body(begun)
        } else if begun == 0 {
            Phase::FirstHead
        } else if self.head_begun.load(Relaxed) && !self.multiplexed.load(Relaxed) {
            Phase::Head(begun)
        } else {
            Phase::Idle(begun)
        }
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
    }

    pub(crate) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Relaxed)
    }

    /// Whether hyper has nothing to do with the connection: every request that has begun to come was answered, and every
    /// answer has left.
    pub(crate) fn is_at_rest(&self) -> bool {
        let begun = self.begun.load(Relaxed);
        self.in_flight.load(Relaxed) == 0
            && self.flushed.load(Relaxed) == begun
            && self.whole.load(Relaxed) == begun
            && !self.ended.load(Relaxed)
            && !self.multiplexed.load(Relaxed)
            && self.held().remains.is_none()
    }

    /// What is left of a connection that hyper gave out of its hands without reason: it does so at the end of each one that
    /// was ever asked for another protocol, whatever the answer was.
    pub(crate) fn take_remains(&self) -> Option<OnUpgrade> {
        self.held().remains.take()
    }

    /// The connection is one of HTTP/2.
    pub(crate) fn multiply(&self) {
        self.multiplexed.store(true, Relaxed);
    }

    /// Whether so many requests are under way over HTTP/2 that this connection can have no more.
    fn is_full(&self) -> bool {
        self.is_multiplexed()
            && self.in_flight.load(Relaxed) > STREAMS_MIN
            && self.place.door().edge.streams.load(Relaxed) > STREAMS_MAX
    }

    fn begin(self: &Arc<Self>) -> InFlight {
        if self.is_multiplexed() {
            self.place.door().edge.streams.fetch_add(1, Relaxed);
        }
        self.in_flight.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        self.head_begun.store(false, Relaxed);
        self.body_begun.store(false, Relaxed);
        InFlight { watch: self.clone(), is_patient: false }
    }

    fn step(&self) {
        self.steps.fetch_add(1, Relaxed);
    }

    fn is_stopping(&self) -> bool {
        self.place.door().stopping.is_flagged()
    }

    /// The client takes nothing more for now.
    fn block(&self) {
        if !self.blocked.load(Relaxed) {
            let _held = self.held();
            self.blocked.store(true, Relaxed);
        }
    }

    /// The client has taken all that was written.
    fn unblock(&self) {
        if self.blocked.load(Relaxed) {
            let mut held = self.held();
            self.blocked.store(false, Relaxed);
            let answers = std::mem::take(&mut held.answers);
            drop(held);
            answers.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether an answer is to hold back what it has; then it will be woken.
    fn holds_back(&self, answer: &Waker) -> bool {
        if !self.blocked.load(Relaxed) {
            return false;
        }
        let mut held = self.held();
        let is_blocked = self.blocked.load(Relaxed);
        if is_blocked && !held.answers.iter().any(|known| known.will_wake(answer)) {
            held.answers.push(answer.clone());
        }
        is_blocked
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, until its answer's body is dropped.
struct InFlight {
    watch: Arc<Watch>,
    is_patient: bool,
}

impl InFlight {
    /// Whether the answer waits for something to happen.
    fn be_patient(&mut self, is_patient: bool) {
        match (self.is_patient, is_patient) {
            (false, true) => self.watch.patient.fetch_add(1, Relaxed),
            (true, false) => self.watch.patient.fetch_sub(1, Relaxed),
            _ => return,
        };
        self.is_patient = is_patient;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.be_patient(false);
        self.watch.step();
        self.watch.in_flight.fetch_sub(1, Relaxed);
        if self.watch.is_multiplexed() {
            self.watch.place.door().edge.streams.fetch_sub(1, Relaxed);
        }
    }
}

/// A connection's own service: the caller's, told who asks, and watched.
pub(crate) struct WatchedService<S> {
    pub(crate) service: S,
    pub(crate) info: ConnectionInfo,
    pub(crate) watch: Arc<Watch>,
    pub(crate) counters: Arc<EdgeCounters>,
}

impl<S, F> Service<Request<Incoming>> for WatchedService<S>
where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>>,
{
    type Response = Response<WatchedBody>;
    type Error = Infallible;
    type Future = WatchedCall<F>;

    fn call(&self, mut request: Request<Incoming>) -> WatchedCall<F> {
        count(&self.counters.requests);
        let in_flight = Some(self.watch.begin());
        let mut may_upgrade = false;
        if let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() {
            self.watch.held().remains = Some(upgrade.clone());
            may_upgrade = offers_websocket(&request) && !self.watch.is_stopping();
            if may_upgrade {
                request.extensions_mut().insert(upgrade);
            }
        }
        let refusal = if names_two_hosts(&request) {
            Some(Refusal::HostMalformed.response())
        } else if self.watch.is_full() {
            // Without a body, which would wait for the client to take it.
            Some(Refusal::BodiesFull.response().map(|_| Body::empty()))
        } else {
            None
        };
        let call = match refusal {
            Some(refusal) => Call::Refused { refusal: Some(refusal) },
            None => Call::Answering { future: (self.service)(request, self.info.clone()) },
        };
        WatchedCall { call, in_flight, may_upgrade }
    }
}

/// In HTTP/1 this was seen in the bytes. In HTTP/2 the authority is a field of its own, and `Host` may stand beside it only
/// to say the same (RFC 9113, section 8.3.1).
fn names_two_hosts<B>(request: &Request<B>) -> bool {
    if request.version() < Version::HTTP_2 {
        return false;
    }
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, second) = (hosts.next().map(HeaderValue::as_bytes), hosts.next());
    let differ = authority.zip(host).is_some_and(|(one, other)| !one.eq_ignore_ascii_case(other));
    second.is_some() || differ || !authority.into_iter().chain(host).all(is_host)
}

pin_project! {
    /// The caller's future, watched, or a refusal.
    pub(crate) struct WatchedCall<F> {
        #[pin]
        call: Call<F>,
        in_flight: Option<InFlight>,
        // Whether the service was let have the connection.
        may_upgrade: bool,
    }
}

pin_project! {
    #[project = CallProjection]
    enum Call<F> {
        Answering { #[pin] future: F },
        Refused { refusal: Option<Response<Body>> },
    }
}

impl<F: Future<Output = Response<Body>>> Future for WatchedCall<F> {
    type Output = Result<Response<WatchedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.call.project() {
            CallProjection::Answering { future } => ready!(future.poll(cx)),
            CallProjection::Refused { refusal } => match refusal.take() {
                Some(refusal) => refusal,
                None => return Poll::Pending,
            },
        };
        // To hyper this status means that HTTP is over, whoever asked for what.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && !*this.may_upgrade {
            response = Refusal::Receiver(Failure::AnswerUnreadable).response();
        }
        if let Some(InFlight { watch, .. }) = &this.in_flight {
            watch.step();
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                // The service has it now, and what it does not want is closed when it lets go.
                watch.held().remains = None;
                watch.upgraded.store(true, Relaxed);
            } else if watch.is_stopping() && !watch.is_multiplexed() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if response.extensions().get::<BodyLeftUnread>().is_some() {
                watch.lingering.store(true, Relaxed);
            }
        }
        let in_flight = this.in_flight.take();
        Poll::Ready(Ok(response.map(|body| WatchedBody { body, in_flight })))
    }
}

pin_project! {
    /// The answer's body, watched.
    pub(crate) struct WatchedBody {
        #[pin]
        body: Body,
        in_flight: Option<InFlight>,
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = self.project();
        let Some(in_flight) = this.in_flight else { return this.body.poll_frame(cx) };
        let is_streaming = this.body.is_streaming();
        // A client that does not read is owed one part, and not as much as fits into every buffer on the way.
        if is_streaming && in_flight.watch.holds_back(cx.waker()) {
            return Poll::Pending;
        }
        let Poll::Ready(frame) = this.body.poll_frame(cx) else {
            in_flight.be_patient(is_streaming);
            return Poll::Pending;
        };
        in_flight.be_patient(false);
        in_flight.watch.step();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
