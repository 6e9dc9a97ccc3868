//! Connections to one receiver, kept for the next call.
//!
//! HTTP/1.1 connections are lent to one call at a time and come back when its answer is whole; the
//! one used last is lent first, so that the others can idle away. An HTTP/2 connection is shared.
//!
//! This is a pool of our own, over hyper's connections, because three promises need to be kept where the
//! connection is known: a connection lives no longer than the receiver's name leads to its address; a
//! call knows which connection it used and whether it opened it; and nothing is spawned for a call.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::{Read, Write};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use waypost_domain::Failure;

use crate::alarm::Alarm;
use crate::connect::Wire;
use crate::failure::Fault;
use crate::limits::{
    ANSWER_HEAD_BYTES_MAX, ANSWER_HEADERS_MAX, CALLS_MAX, PING_INTERVAL, PING_TIME_MAX,
    POOL_IDLE_CONNECTIONS_MAX, SETTLE_TIME_MAX,
};
use crate::listening::Listening;

/// What a call sends.
pub(crate) type Payload = Full<Bytes>;

/// The connections of one endpoint.
pub(crate) struct Pool {
    state: Mutex<State>,
    /// Calls under way.
    calls: AtomicUsize,
    idle_time_max: Duration,
    /// One HTTP/2 connection is opened at a time, once a receiver is known to speak it.
    pub(crate) opening: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    idle: Vec<(Lent, Duration)>,
    shared: Option<(Shared, Duration)>,
    speaks_h2: bool,
    /// Connections whose task runs, lent and idle.
    open: usize,
    /// A keeper looks after this pool.
    kept: bool,
    /// Where the receiver's name leads; `None` until it was looked up a second time.
    admitted: Option<Arc<[IpAddr]>>,
}

impl State {
    fn admits(&self, address: SocketAddr) -> bool {
        self.admitted.as_ref().is_none_or(|admitted| admitted.contains(&address.ip()))
    }
}

/// A connection a call may use now.
pub(crate) enum Line {
    One(Lent),
    Many(Shared),
}

/// An HTTP/1.1 connection, for one call.
pub(crate) struct Lent {
    sender: http1::SendRequest<Payload>,
    pub(crate) address: SocketAddr,
    alarm: Alarm,
}

impl Lent {
    /// Sends a request and waits for the head of its answer; `None` if none has come by the deadline.
    pub(crate) fn exchange(
        &mut self,
        request: Request<Payload>,
        deadline: Instant,
    ) -> impl Future<Output = Option<Exchanged>> + Send + use<'_> {
        // Sent here, so that the future does not carry the request.
        let (sent, alarm) = (self.sender.try_send_request(request), &mut self.alarm);
        async move {
            let mut exchange = pin!(sent);
            poll_fn(|cx| match exchange.as_mut().poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending => alarm.poll(deadline, cx).map(|()| None),
            })
            .await
        }
    }
}

/// The head of an answer, or what became of the request.
pub(crate) type Exchanged = Result<Response<Incoming>, TrySendError<Request<Payload>>>;

/// An HTTP/2 connection, for many calls.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) sender: http2::SendRequest<Payload>,
    pub(crate) address: SocketAddr,
    /// As many clones as there are calls under way, and one in the pool.
    pub(crate) in_use: Arc<()>,
}

impl Pool {
    pub(crate) fn new(idle_time_max: Duration) -> Self {
        Self {
            state: Mutex::default(),
            calls: AtomicUsize::new(0),
            idle_time_max,
            opening: tokio::sync::Mutex::new(()),
        }
    }

    /// A connection that is open and free, if there is one.
    pub(crate) fn take(&self, now: Duration) -> Option<Line> {
        let mut state = self.state();
        if let Some((shared, used)) = &mut state.shared {
            if !shared.sender.is_closed() {
                *used = now;
                return Some(Line::Many(shared.clone()));
            }
            state.shared = None;
        }
        while let Some((lent, since)) = state.idle.pop() {
            let fresh = now.saturating_sub(since) < self.idle_time_max;
            if fresh && lent.sender.is_ready() {
                return Some(Line::One(lent));
            }
        }
        None
    }

    /// Keeps a connection whose answer is whole.
    pub(crate) fn put(self: &Arc<Self>, mut lent: Lent, now: Duration) {
        if lent.sender.is_ready() {
            self.keep(lent, now);
        } else if !lent.sender.is_closed() {
            // Its task has the last bytes of the answer in hand but has not said so yet.
            let pool = Arc::downgrade(self);
            tokio::spawn(async move {
                let settled = timeout(SETTLE_TIME_MAX, lent.sender.ready()).await;
                if let (Ok(Ok(())), Some(pool)) = (settled, pool.upgrade()) {
                    pool.keep(lent, now);
                }
            });
        }
    }

    fn keep(&self, lent: Lent, now: Duration) {
        let mut state = self.state();
        if state.idle.len() < POOL_IDLE_CONNECTIONS_MAX && state.admits(lent.address) {
            state.idle.push((lent, now));
        }
    }

    /// Whether the receiver chose HTTP/2 last time.
    pub(crate) fn speaks_h2(&self) -> bool {
        self.state().speaks_h2
    }

    /// Speaks HTTP on a new connection. An HTTP/2 connection is shared from now on, unless one already is.
    /// The second value says that a keeper has to be started.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        wire: Wire,
        address: SocketAddr,
        now: Duration,
    ) -> Result<(Line, bool), Fault> {
        let speaks_h2 = wire.speaks_h2();
        let (open, keeper_wanted) = self.opened(speaks_h2);
        let line = match (wire, speaks_h2) {
            (Wire::Plain(stream), _) => Line::One(lend(stream, address, open).await?),
            (Wire::Tls(stream), false) => Line::One(lend(stream, address, open).await?),
            (Wire::Tls(stream), true) => {
                let shared = share(stream, address, open).await?;
                let mut state = self.state();
                if state.shared.as_ref().is_none_or(|(other, _)| other.sender.is_closed()) {
                    state.shared = Some((shared.clone(), now));
                }
                Line::Many(shared)
            }
        };
        Ok((line, keeper_wanted))
    }

    fn opened(self: &Arc<Self>, speaks_h2: bool) -> (Open, bool) {
        let mut state = self.state();
        state.speaks_h2 = speaks_h2;
        state.open += 1;
        let keeper_wanted = !std::mem::replace(&mut state.kept, true);
        (Open(Arc::downgrade(self)), keeper_wanted)
    }

    /// Gives up what has idled too long. False once no connection is left: the keeper may go.
    pub(crate) fn sweep(&self, now: Duration) -> bool {
        let mut state = self.state();
        let fresh = |since: Duration| now.saturating_sub(since) < self.idle_time_max;
        state.idle.retain(|(lent, since)| fresh(*since) && !lent.sender.is_closed());
        if let Some((shared, used)) = &mut state.shared {
            let busy = Arc::strong_count(&shared.in_use) > 1;
            if busy {
                *used = now;
            }
            if shared.sender.is_closed() || !fresh(*used) {
                state.shared = None;
            }
        }
        state.kept = state.open > 0;
        state.kept
    }

    /// From now on only connections to these addresses are lent; the others are given up once the calls on them end.
    pub(crate) fn admit_only(&self, addresses: Arc<[IpAddr]>) {
        let mut state = self.state();
        state.admitted = Some(addresses);
        let mut idle = std::mem::take(&mut state.idle);
        idle.retain(|(lent, _)| state.admits(lent.address));
        state.idle = idle;
        if state.shared.as_ref().is_some_and(|(shared, _)| !state.admits(shared.address)) {
            state.shared = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the calls that may be under way.
pub(crate) struct CallSlot(Arc<Pool>);

impl CallSlot {
    pub(crate) fn take(pool: &Arc<Pool>) -> Option<Self> {
        let slot = Self(pool.clone());
        (pool.calls.fetch_add(1, Ordering::Relaxed) < CALLS_MAX).then_some(slot)
    }

    /// Where its connection came from.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts one running connection. It does not keep the pool alive: a pool that nobody calls through any more drops
/// its idle connections, and so ends their tasks.
struct Open(Weak<Pool>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(pool) = self.0.upgrade() {
            pool.state().open -= 1;
        }
    }
}

async fn lend<S>(stream: S, address: SocketAddr, open: Open) -> Result<Lent, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .max_headers(ANSWER_HEADERS_MAX)
        .max_header_size(ANSWER_HEAD_BYTES_MAX)
        .max_buf_size(2 * ANSWER_HEAD_BYTES_MAX)
        .handshake(TokioIo::new(Listening::new(stream)))
        .await
        .map_err(|error| Fault::new(Failure::ConnectFailed, format!("HTTP could not be begun: {error}")))?;
    tokio::spawn(async move {
        let _open = open;
        // How it ended was told to the call on it; an idle connection may end as it likes.
        let _ = connection.await;
    });
    Ok(Lent { sender, address, alarm: Alarm::new(Instant::now()) })
}

async fn share<S>(stream: S, address: SocketAddr, open: Open) -> Result<Shared, Fault>
where
    TokioIo<S>: Read + Write + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(true)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIME_MAX)
        .max_header_list_size(ANSWER_HEAD_BYTES_MAX as u32)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Fault::new(Failure::ConnectFailed, format!("HTTP/2 could not be begun: {error}")))?;
    tokio::spawn(async move {
        let _open = open;
        let _ = connection.await;
    });
    Ok(Shared { sender, address, in_use: Arc::default() })
}
