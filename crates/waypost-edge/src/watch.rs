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

use bytes::{Buf, Bytes};
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use waypost_outbound::BodyFault;

use crate::counters::{EdgeCounters, count};
use crate::framing::{Framing, is_host};
use crate::limits::LINGER_BYTES_MAX;
use crate::listener::ConnectionInfo;
use crate::refusal::{BodyLeftUnread, Refusal};
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
    /// Whether the end has begun: then each answer says that it is the connection's last.
    stopping: Arc<AtomicBool>,
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
    pub(crate) fn new(stopping: Arc<AtomicBool>) -> Self {
        Self { stopping, ..Self::default() }
    }

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

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Relaxed)
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
        let in_flight = Some(self.watch.begin(request.version()));
        if names_two_hosts(&request) {
            return WatchedCall { future: None, in_flight };
        }
        WatchedCall { future: Some((self.service)(request, self.info.clone())), in_flight }
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
    /// The caller's future, watched; none where the request names two hosts.
    pub(crate) struct WatchedCall<F> {
        #[pin]
        future: Option<F>,
        in_flight: Option<InFlight>,
    }
}

impl<F: Future<Output = Response<Body>>> Future for WatchedCall<F> {
    type Output = Result<Response<WatchedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match this.future.as_pin_mut() {
            Some(future) => ready!(future.poll(cx)),
            None => Refusal::HostMalformed.response(),
        };
        if let Some(InFlight(watch)) = &this.in_flight {
            watch.step();
            if watch.stopping.load(Relaxed) && !watch.is_multiplexed() {
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
    /// A connection's bytes, watched: they are followed ([`Framing`]) before hyper sees them, and what hyper itself
    /// answers to a head it can make nothing of becomes a [`Refusal`]. In HTTP/2 such an answer is a reset of the stream or
    /// a bare 431, which cannot be given a name.
    ///
    /// After a request was refused unread, closing first says that nothing more will be sent and then reads on for a
    /// while: a close with unread bytes in the socket would make the kernel reset the connection and take the refusal
    /// away from the client (RFC 9112, section 9.6).
    pub(crate) struct WatchedStream<T> {
        #[pin]
        stream: T,
        watch: Arc<Watch>,
        framing: Framing,
        fault: Option<Refusal>,
        // What is read after the fault.
        end: &'static [u8],
        // The requests whose answers have left altogether.
        flushed: u32,
        // What is written in place of what hyper writes.
        substitute: Option<Bytes>,
        said_goodbye: bool,
        bytes_lingered: usize,
    }
}

impl<T> WatchedStream<T> {
    pub(crate) fn new(stream: T, watch: Arc<Watch>) -> Self {
        Self {
            stream,
            watch,
            framing: Framing::default(),
            fault: None,
            end: &[],
            flushed: 0,
            substitute: None,
            said_goodbye: false,
            bytes_lingered: 0,
        }
    }
}

impl<T: AsyncWrite> WatchedStream<T> {
    /// Writes a refusal where hyper writes one of its own: a bare status, when no answer of the service's is under way.
    /// `first` is the beginning of what hyper writes, `bytes` how much it is.
    fn substitute(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        first: &[u8],
        bytes: usize,
    ) -> Option<Poll<io::Result<usize>>> {
        let mut this = self.project();
        if this.substitute.is_none() {
            let is_idle =
                this.watch.in_flight.load(Relaxed) == 0 && this.watch.begun.load(Relaxed) == *this.flushed;
            let status = first.strip_prefix(b"HTTP/1.1 4").filter(|_| is_idle)?;
            let refusal = match status.get(..2) {
                Some(b"14") => Refusal::TargetTooLong,
                Some(b"31") => Refusal::HeadTooLarge,
                _ => this.fault.unwrap_or(Refusal::HeadMalformed),
            };
            this.watch.lingering.store(true, Relaxed);
            *this.substitute = Some(refusal.bytes());
        }
        let left = this.substitute.as_mut()?;
        while !left.is_empty() {
            match this.stream.as_mut().poll_write(cx, left) {
                Poll::Ready(Ok(0)) => return Some(Poll::Ready(Err(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(Ok(written)) => left.advance(written),
                Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
                Poll::Pending => return Some(Poll::Pending),
            }
        }
        *this.substitute = None;
        Some(Poll::Ready(Ok(bytes)))
    }
}

impl<T: AsyncRead> AsyncRead for WatchedStream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.fault.is_some() {
            // hyper reads a head only once its end has come; after that there is nothing more to read.
            let end = std::mem::take(this.end);
            buf.put_slice(&end[..end.len().min(buf.remaining())]);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let outcome = this.stream.poll_read(cx, buf);
        if buf.filled().len() > before && this.watch.in_flight.load(Relaxed) == 0 {
            this.watch.head_begun.store(true, Relaxed);
        }
        if let Err((place, refusal)) = this.framing.follow(&buf.filled()[before..]) {
            // A NUL is an error to hyper wherever a head or a chunk's frame may hold this byte.
            buf.filled_mut()[before + place] = 0;
            buf.set_filled(before + place + 1);
            (*this.fault, *this.end) = (Some(refusal), b"\r\n\r\n");
        }
        outcome
    }
}

impl<T: AsyncRead + AsyncWrite> AsyncWrite for WatchedStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.as_mut().substitute(cx, buf, buf.len()) {
            Some(outcome) => outcome,
            None => self.project().stream.poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
        let bytes = bufs.iter().map(|part| part.len()).sum();
        if let Some(outcome) = self.as_mut().substitute(cx, first, bytes) {
            return outcome;
        }
        self.project().stream.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        ready!(this.stream.poll_flush(cx))?;
        if this.watch.in_flight.load(Relaxed) == 0 {
            *this.flushed = this.watch.begun.load(Relaxed);
        }
        Poll::Ready(Ok(()))
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
