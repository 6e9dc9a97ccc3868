//! Who has a connection: nobody while it has no whole request, hyper while it is served.
//!
//! hyper keeps some sixteen kilobytes for each connection from its first byte to its last. Those that idle are kept here
//! instead, and where many are served, those too whose requests come in drops, at the cost of the bytes that have come: ten
//! thousand of them fit into a small server.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::limits::{BUFFER_BYTES_MAX, ERROR_STREAMS_MAX, PING_INTERVAL, PING_TIME_MAX, RESET_STREAMS_MAX};
use crate::listener::{ConnectionInfo, ConnectionLimits, EdgeParts};
use crate::reply::Body;
use crate::watch::{Came, WatchedService, WatchedStream};

/// What hyper is told of all connections.
#[derive(Clone)]
pub(crate) struct Http {
    one: http1::Builder,
    two: http2::Builder<TokioExecutor>,
}

impl Http {
    pub(crate) fn new(limits: &ConnectionLimits) -> Self {
        let (mut one, mut two) = (http1::Builder::new(), http2::Builder::new(TokioExecutor::new()));
        // The time of a head is limited by the connection's driver, which can tell it from idling.
        one.timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(limits.headers_max)
            .max_buf_size(BUFFER_BYTES_MAX);
        two.timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(64 * 1024)
            .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
            .max_local_error_reset_streams(ERROR_STREAMS_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIME_MAX);
        Self { one, two }
    }
}

type Io<T> = TokioIo<WatchedStream<T>>;
type One<T, S> = http1::UpgradeableConnection<Io<T>, WatchedService<S>>;
type Two<T, S> = http2::Connection<Io<T>, WatchedService<S>, TokioExecutor>;

/// A connection's place to be.
pub(crate) struct Desk<'a, T, S, F>
where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>>,
{
    edge: &'a EdgeParts,
    seated: Seated<'a, T, S, F>,
}

enum Seated<'a, T, S, F>
where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>>,
{
    /// No request has come whole. Boxed, as is what follows, so that those who wait take up no room for it.
    Waiting(WatchedStream<T>, Box<WatchedService<S>>),
    One {
        connection: Box<One<T, S>>,
        _served: Served<'a>,
    },
    Two {
        connection: Pin<Box<Two<T, S>>>,
        _served: Served<'a>,
    },
    Closing(WatchedStream<T>),
    Gone,
}

impl<'a, T, S, F> Desk<'a, T, S, F>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    pub(crate) fn new(edge: &'a EdgeParts, stream: WatchedStream<T>, service: WatchedService<S>) -> Self {
        Self { edge, seated: Seated::Waiting(stream, Box::new(service)) }
    }

    /// Goes on until the connection has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.seated {
                Seated::Waiting(stream, _) => match ready!(Pin::new(stream).poll_request(cx)) {
                    Came::Request => self.hand_over(),
                    Came::Preface => self.hand_over_to_two(),
                    Came::End => self.close(),
                },
                Seated::One { connection, .. } => return Pin::new(&mut **connection).poll(cx).map(drop),
                Seated::Two { connection, .. } => return connection.as_mut().poll(cx).map(drop),
                Seated::Closing(stream) => return Pin::new(stream).poll_shutdown(cx).map(drop),
                Seated::Gone => return Poll::Ready(()),
            }
        }
    }

    /// Lets what is under way end, and nothing more.
    pub(crate) fn graceful_shutdown(&mut self) {
        match &mut self.seated {
            Seated::Waiting(..) => self.close(),
            Seated::One { connection, .. } => Pin::new(&mut **connection).graceful_shutdown(),
            Seated::Two { connection, .. } => connection.as_mut().graceful_shutdown(),
            Seated::Closing(_) | Seated::Gone => {}
        }
    }

    /// Gives a waiting connection to hyper as it is.
    pub(crate) fn hand_over(&mut self) {
        self.seated = match mem::replace(&mut self.seated, Seated::Gone) {
            Seated::Waiting(stream, service) => {
                let connection = self.edge.http.one.serve_connection(TokioIo::new(stream), *service);
                let connection = Box::new(connection.with_upgrades());
                Seated::One { connection, _served: Served::new(self.edge) }
            }
            other => other,
        };
    }

    fn hand_over_to_two(&mut self) {
        self.seated = match mem::replace(&mut self.seated, Seated::Gone) {
            Seated::Waiting(stream, service) => {
                stream.watch().multiply();
                let connection = self.edge.http.two.serve_connection(TokioIo::new(stream), *service);
                Seated::Two { connection: Box::pin(connection), _served: Served::new(self.edge) }
            }
            other => other,
        };
    }

    /// Whether hyper has the connection.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.seated, Seated::One { .. } | Seated::Two { .. })
    }

    /// Takes a connection back from hyper that has nothing to do with it. What hyper has read and not used nobody can tell
    /// the beginning of: there is nothing, or the connection ends.
    pub(crate) fn take_back(&mut self) {
        self.seated = match mem::replace(&mut self.seated, Seated::Gone) {
            Seated::One { connection, .. } => match connection.into_parts() {
                Some(parts) if parts.read_buf.is_empty() => {
                    Seated::Waiting(parts.io.into_inner(), Box::new(parts.service))
                }
                _ => Seated::Gone,
            },
            other => other,
        };
    }

    /// The stream, where a request is coming; nobody has the connection then.
    pub(crate) fn leave(&mut self) -> Option<WatchedStream<T>> {
        match mem::replace(&mut self.seated, Seated::Gone) {
            Seated::Waiting(stream, _) => Some(stream),
            _ => None,
        }
    }

    fn close(&mut self) {
        self.seated = match mem::replace(&mut self.seated, Seated::Gone) {
            Seated::Waiting(stream, _) => Seated::Closing(stream),
            other => other,
        };
    }
}

/// Counts a connection that hyper has.
struct Served<'a>(&'a AtomicUsize);

impl<'a> Served<'a> {
    fn new(edge: &'a EdgeParts) -> Self {
        edge.served.fetch_add(1, Relaxed);
        Self(&edge.served)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
