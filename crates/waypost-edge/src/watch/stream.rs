//! A connection's bytes, on their way to and from hyper.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Watch;
use crate::body::{Budget, Share};
use crate::counters::count;
use crate::framing::{Framing, Since};
use crate::limits::{LINGER_BYTES_MAX, UNASKED_BYTES_MAX, UNBROKEN_BYTES_MAX, WAITING_BYTES_MAX};
use crate::refusal::Refusal;

pin_project! {
    /// A connection's bytes, watched: they are followed ([`Framing`]) before hyper sees them, and what hyper itself
    /// answers to a head it can make nothing of becomes a [`Refusal`]. In HTTP/2 such an answer is a reset of the stream or
    /// a bare 431, which cannot be given a name.
    ///
    /// After a request was refused unread, closing first says that nothing more will be sent and then reads on for a
    /// while: a close with unread bytes in the socket would make the kernel reset the connection and take the refusal
    /// away from the client (RFC 9112, section 9.6).
    ///
    /// Once the connection speaks another protocol nothing of this applies any more: its bytes pass as they are, until a
    /// hard stop, or until the client has not taken what was written for too long.
    pub(crate) struct WatchedStream<T> {
        #[pin]
        stream: T,
        watch: Arc<Watch>,
        framing: Framing,
        fault: Option<Refusal>,
        // What is read after the fault.
        end: &'static [u8],
        // What has come and was followed, and nobody has read.
        ahead: Ahead,
        // Of HTTP/2: what was read in one go, and what was read since there was a request.
        unbroken: usize,
        unasked: usize,
        // What is written in place of what hyper writes.
        substitute: Option<Bytes>,
        said_goodbye: bool,
        bytes_lingered: usize,
        // In another protocol: the hard stop, and the task that will hear of it.
        end_awaited: Option<(Pin<Box<WaitForCancellationFutureOwned>>, Waker)>,
        // In another protocol: how long the client may still not take what is written.
        patience: Option<Pin<Box<Sleep>>>,
    }
}

impl<T> WatchedStream<T> {
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn new(stream: T, watch: Arc<Watch>) -> Self {
        let framing = Framing::new(watch.place.door().edge.limits.head_bytes_max);
        Self {
            stream,
            watch,
            framing,
            fault: None,
            end: &[],
            ahead: Ahead::default(),
            unbroken: 0,
            unasked: 0,
            substitute: None,
            said_goodbye: false,
            bytes_lingered: 0,
            end_awaited: None,
            patience: None,
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
        if this.watch.is_upgraded() {
            return None;
        }
        if this.substitute.is_none() {
            let is_idle = this.watch.in_flight.load(Relaxed) == 0
                && this.watch.begun.load(Relaxed) == this.watch.flushed.load(Relaxed);
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

impl<T> WatchedStream<T> {
    /// Of HTTP/2: whether this much more may be read, with what was read before. Frames that ask for nothing (settings,
    /// pings, priorities, windows) cost their sender next to nothing and us the time to read them.
    fn is_bearable(self: Pin<&mut Self>, read: usize) -> bool {
        let this = self.project();
        if read == 0 {
            *this.unbroken = 0;
            return true;
        }
        *this.unbroken += read;
        let is_asked = this.watch.in_flight.load(Relaxed) > 0;
        *this.unasked = if is_asked { 0 } else { *this.unasked + read };
        if *this.unasked > UNASKED_BYTES_MAX {
            count(&this.watch.place.door().edge.counters.stalled);
            return false;
        }
        true
    }

    /// Follows what has come, and says how much of it is of use.
    fn follow(self: Pin<&mut Self>, bytes: &mut [u8]) -> usize {
        let this = self.project();
        if !bytes.is_empty() && this.watch.in_flight.load(Relaxed) == 0 {
            this.watch.head_begun.store(true, Relaxed);
        }
        let mut kept = bytes.len();
        if let Err((place, refusal)) = this.framing.follow(bytes) {
            // A NUL is an error to hyper wherever a head or a chunk's frame may hold this byte.
            bytes[place] = 0;
            kept = place + 1;
            (*this.fault, *this.end) = (Some(refusal), b"\r\n\r\n");
        }
        this.watch.whole.store(this.framing.whole(), Relaxed);
        kept
    }

    /// What has come, as far as it is of use by itself.
    fn came(self: Pin<&mut Self>) -> Option<Came> {
        let this = self.project();
        let known = this.watch.begun.load(Relaxed);
        let ahead = this.ahead.left();
        if known == 0 && !ahead.is_empty() && (ahead.starts_with(PREFACE) || PREFACE.starts_with(ahead)) {
            return (ahead.len() >= PREFACE.len()).then_some(Came::Preface);
        }
        let is_easy = this.watch.place.door().edge.is_easy();
        let came = this.fault.is_some()
            || match this.framing.since(known) {
                Since::Nothing => false,
                Since::PartOfHead => is_easy,
                Since::PartOfBody => {
                    let is_given = is_easy || ahead.len() >= WAITING_BYTES_MAX;
                    this.watch.body_begun.store(!is_given, Relaxed);
                    is_given
                }
                Since::More => true,
            };
        came.then_some(Came::Request)
    }
}

/// What HTTP/2 begins with where both sides know it (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What has come of a connection that nobody serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// A request, whole or as far as it is waited for, or one that breaks the form.
    Request,
    /// The beginning of HTTP/2.
    Preface,
    /// The end.
    End,
}

impl<T: AsyncRead> WatchedStream<T> {
    /// Waits until something has come that is of use by itself.
    pub(crate) fn poll_request(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Came> {
        loop {
            if let Some(came) = self.as_mut().came() {
                return Poll::Ready(came);
            }
            let mut scratch = [MaybeUninit::uninit(); 8 * 1024];
            let mut buf = ReadBuf::uninit(&mut scratch);
            let outcome = ready!(self.as_mut().project().stream.poll_read(cx, &mut buf));
            let bytes = buf.filled_mut();
            if outcome.is_err() || bytes.is_empty() {
                // What is there of a request is hyper's to judge.
                let is_end = self.ahead.is_empty();
                return Poll::Ready(if is_end { Came::End } else { Came::Request });
            }
            let kept = self.as_mut().follow(bytes);
            let came = {
                let this = self.as_mut().project();
                this.ahead.add(&bytes[..kept]);
                self.as_mut().came()
            };
            if came.is_none() && !self.as_mut().has_room() {
                return Poll::Ready(Came::Request);
            }
        }
    }

    /// Whether there is room for what waits here, with what waits elsewhere.
    fn has_room(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        this.ahead.count(&this.watch.place.door().edge.waiting)
    }
}

/// Bytes that have come and wait to be read.
#[derive(Default)]
struct Ahead {
    bytes: Vec<u8>,
    read: usize,
    /// Their share of the room for all of them, once they have had to wait.
    share: Option<Share>,
}

impl Ahead {
    fn left(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    fn add(&mut self, bytes: &[u8]) {
        self.bytes.reserve_exact(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn read(&mut self, buf: &mut ReadBuf<'_>) {
        let left = self.left();
        let part = &left[..left.len().min(buf.remaining())];
        buf.put_slice(part);
        self.read += part.len();
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Takes a share for what has come; none for those that came later if there is no room.
    fn count(&mut self, room: &Budget) -> bool {
        let share = self.share.get_or_insert_with(|| Share::none(room));
        let more = self.bytes.len().saturating_sub(share.bytes());
        share.grow(more).is_ok()
    }
}

impl<T> WatchedStream<T> {
    /// Whether the end has come for a connection that speaks another protocol.
    fn is_cut(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        let stopping = &this.watch.place.door().stopping;
        // Asked once for each task, as asking takes a lock that all connections share.
        if let Some((_, task)) = this.end_awaited
            && task.will_wake(cx.waker())
            && !stopping.is_flagged()
        {
            return false;
        }
        let end = Box::pin(stopping.hard.clone().cancelled_owned());
        let (end, task) = this.end_awaited.get_or_insert((end, cx.waker().clone()));
        task.clone_from(cx.waker());
        end.as_mut().poll(cx).is_ready()
    }

    /// Notes how a write or flush went. In another protocol nobody else limits how long a client may not read.
    fn judge<R>(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let this = self.project();
        if outcome.is_ready() {
            *this.patience = None;
            return outcome;
        }
        this.watch.block();
        if !this.watch.is_upgraded() {
            return outcome;
        }
        let edge = &this.watch.place.door().edge;
        let patience = this.patience.get_or_insert_with(|| Box::pin(sleep(edge.limits.stall_time_max)));
        if patience.as_mut().poll(cx).is_pending() {
            return outcome;
        }
        count(&edge.counters.stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead> AsyncRead for WatchedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.is_upgraded() {
            if self.as_mut().is_cut(cx) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            return self.project().stream.poll_read(cx, buf);
        }
        let this = self.as_mut().project();
        if !this.ahead.is_empty() {
            this.ahead.read(buf);
            return Poll::Ready(Ok(()));
        }
        if this.fault.is_some() {
            // hyper reads a head only once its end has come; after that there is nothing more to read.
            let end = std::mem::take(this.end);
            buf.put_slice(&end[..end.len().min(buf.remaining())]);
            return Poll::Ready(Ok(()));
        }
        let is_multiplexed = this.watch.is_multiplexed();
        if is_multiplexed && *this.unbroken >= UNBROKEN_BYTES_MAX {
            *this.unbroken = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let outcome = this.stream.poll_read(cx, buf);
        if is_multiplexed && !self.as_mut().is_bearable(buf.filled().len() - before) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let kept = self.follow(&mut buf.filled_mut()[before..]);
        buf.set_filled(before + kept);
        outcome
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WatchedStream<T> {
    /// Says a refusal to a request that nobody was given, and closes.
    pub(crate) async fn refuse(mut self, refusal: Refusal) -> io::Result<()> {
        self.watch.lingering.store(true, Relaxed);
        self.stream.write_all(&refusal.bytes()).await?;
        self.shutdown().await
    }
}

impl<T: AsyncRead + AsyncWrite> AsyncWrite for WatchedStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = match self.as_mut().substitute(cx, buf, buf.len()) {
            Some(outcome) => outcome,
            None => self.as_mut().project().stream.poll_write(cx, buf),
        };
        self.judge(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
        let bytes = bufs.iter().map(|part| part.len()).sum();
        let outcome = match self.as_mut().substitute(cx, first, bytes) {
            Some(outcome) => outcome,
            None => self.as_mut().project().stream.poll_write_vectored(cx, bufs),
        };
        self.judge(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.as_mut().project().stream.poll_flush(cx);
        ready!(self.as_mut().judge(cx, outcome))?;
        let this = self.project();
        this.watch.unblock();
        if this.watch.in_flight.load(Relaxed) == 0 {
            this.watch.flushed.store(this.watch.begun.load(Relaxed), Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch.ended.store(true, Relaxed);
        if !self.said_goodbye {
            let outcome = self.as_mut().project().stream.poll_shutdown(cx);
            ready!(self.as_mut().judge(cx, outcome))?;
            *self.as_mut().project().said_goodbye = true;
        }
        let mut this = self.project();
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
