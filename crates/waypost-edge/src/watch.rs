//! What one connection is doing, seen from outside hyper, so that each state has its own time limit.
//!
//! hyper's `header_read_timeout` starts when a connection begins to wait for the next head, so it would limit idling
//! and reading a head alike. Here the two are told apart by whether a byte has come since the last request ended.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use waypost_outbound::BodyFault;

use crate::counters::{EdgeCounters, count};
use crate::limits::LINGER_BYTES_MAX;
use crate::listener::ConnectionInfo;
use crate::refusal::BodyLeftUnread;
use crate::reply::Body;

/// The state of one connection, written by its parts and read by its driver.
#[derive(Default)]
pub(crate) struct Watch {
    begun: AtomicU32,
    in_flight: AtomicU32,
    steps: AtomicU32,
    head_begun: AtomicBool,
    multiplexed: AtomicBool,
    lingering: AtomicBool,
}

/// What a connection is doing; another value means that something happened since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// No request has come yet.
    FirstHead,
    /// A later head has begun to come.
    Head(u32),
    /// Nothing is asked.
    Idle(u32),
    /// A request or its answer is under way.
    Busy(u32, u32),
}

impl Watch {
    pub(crate) fn phase(&self) -> Phase {
        let begun = self.begun.load(Relaxed);
        if self.in_flight.load(Relaxed) > 0 {
            Phase::Busy(begun, self.steps.load(Relaxed))
        } else if begun == 0 {
            Phase::FirstHead
        } else if self.head_begun.load(Relaxed) && !self.multiplexed.load(Relaxed) {
            Phase::Head(begun)
        } else {
            Phase::Idle(begun)
        }
    }

    fn begin(self: &Arc<Self>, version: Version) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.begun.fetch_add(1, Relaxed);
        self.head_begun.store(false, Relaxed);
        if version == Version::HTTP_2 {
            self.multiplexed.store(true, Relaxed);
        }
        InFlight(self.clone())
    }

    fn step(&self) {
        self.steps.fetch_add(1, Relaxed);
    }
}

/// A request under way, until its answer's body is dropped.
struct InFlight(Arc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.step();
        self.0.in_flight.fetch_sub(1, Relaxed);
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

    fn call(&self, request: Request<Incoming>) -> WatchedCall<F> {
        count(&self.counters.requests);
        let in_flight = self.watch.begin(request.version());
        WatchedCall { future: (self.service)(request, self.info.clone()), in_flight: Some(in_flight) }
    }
}

pin_project! {
    /// The caller's future, watched.
    pub(crate) struct WatchedCall<F> {
        #[pin]
        future: F,
        in_flight: Option<InFlight>,
    }
}

impl<F: Future<Output = Response<Body>>> Future for WatchedCall<F> {
    type Output = Result<Response<WatchedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx));
        if let Some(InFlight(watch)) = &this.in_flight {
            watch.step();
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
        let frame = ready!(this.body.poll_frame(cx));
        if let Some(InFlight(watch)) = this.in_flight {
            watch.step();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A connection's bytes, watched.
    ///
    /// After a request was refused unread, closing first says that nothing more will be sent and then reads on for a
    /// while: a close with unread bytes in the socket would make the kernel reset the connection and take the refusal
    /// away from the client (RFC 9112, section 9.6).
    pub(crate) struct WatchedStream<T> {
        #[pin]
        stream: T,
        watch: Arc<Watch>,
        said_goodbye: bool,
        bytes_lingered: usize,
    }
}

impl<T> WatchedStream<T> {
    pub(crate) fn new(stream: T, watch: Arc<Watch>) -> Self {
        Self { stream, watch, said_goodbye: false, bytes_lingered: 0 }
    }
}

impl<T: AsyncRead> AsyncRead for WatchedStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        let outcome = this.stream.poll_read(cx, buf);
        if buf.filled().len() > before && this.watch.in_flight.load(Relaxed) == 0 {
            this.watch.head_begun.store(true, Relaxed);
        }
        outcome
    }
}

impl<T: AsyncRead + AsyncWrite> AsyncWrite for WatchedStream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().stream.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if !*this.said_goodbye {
            ready!(this.stream.as_mut().poll_shutdown(cx))?;
            *this.said_goodbye = true;
        }
        if !this.watch.lingering.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = [0; 16 * 1024];
        while *this.bytes_lingered < LINGER_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(this.stream.as_mut().poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => *this.bytes_lingered += buf.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
