//! A stream that is asked for bytes only when it may have some.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that, once it had no bytes, is not asked again before it has called.
///
/// hyper looks for bytes a handful of times around each request, and each look that finds none costs a way down through
/// TLS to the socket and two locks. Here it costs the look at a flag.
pub struct Listening<T> {
    stream: T,
    ear: Arc<Ear>,
    /// The ear, as the stream knows it.
    waker: Waker,
    /// The task that asked last.
    task: Waker,
    /// The stream had no bytes when it was asked last, and will call.
    silent: bool,
}

/// Hears the stream's call and passes it on to the task that asked.
struct Ear {
    called: AtomicBool,
    task: Mutex<Waker>,
}

impl<T> Listening<T> {
    /// Listens to a stream.
    pub fn new(stream: T) -> Self {
        let task = Waker::noop().clone();
        let ear = Arc::new(Ear { called: AtomicBool::new(false), task: Mutex::new(task.clone()) });
        let waker = Waker::from(ear.clone());
        Self { stream, ear, waker, task, silent: false }
    }
}

impl Ear {
    fn task(&self) -> MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.called.store(true, Ordering::SeqCst);
        self.task().wake_by_ref();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Listening<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.task.will_wake(cx.waker()) {
            this.task.clone_from(cx.waker());
            this.ear.task().clone_from(cx.waker());
        } else if this.silent && !this.ear.called.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        // Lowered before the stream is asked: a call from then on is heard.
        this.ear.called.store(false, Ordering::SeqCst);
        let outcome = Pin::new(&mut this.stream).poll_read(&mut Context::from_waker(&this.waker), buf);
        this.silent = outcome.is_pending();
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Listening<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// Counts how often it is asked.
    struct Counted<T>(T, Arc<AtomicUsize>);

    impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    async fn look<T: AsyncRead + Unpin>(stream: &mut T) -> Poll<usize> {
        let mut scratch = [0; 8];
        poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut scratch);
            let outcome = Pin::new(&mut *stream).poll_read(cx, &mut buf);
            Poll::Ready(outcome.map(|read| read.map_or(0, |()| buf.filled().len())))
        })
        .await
    }

    #[tokio::test]
    async fn a_silent_stream_is_asked_once_and_again_when_it_has_called() {
        let (mut far, near) = duplex(64);
        let asked = Arc::new(AtomicUsize::new(0));
        let mut stream = Listening::new(Counted(near, asked.clone()));
        for _ in 0..5 {
            assert_eq!(look(&mut stream).await, Poll::Pending);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        far.write_all(b"word").await.unwrap();
        assert_eq!(look(&mut stream).await, Poll::Ready(4));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(look(&mut stream).await, Poll::Pending);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn the_task_that_asks_now_is_the_one_that_hears() {
        let (mut far, near) = duplex(64);
        let mut stream = Listening::new(near);
        assert_eq!(look(&mut stream).await, Poll::Pending, "asked by this task");
        let reading = tokio::spawn(async move {
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.map(|_| word)
        });
        tokio::task::yield_now().await;
        far.write_all(b"word").await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), *b"word");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_call_is_missed_however_bytes_and_looks_fall_together() {
        let (mut far, near) = duplex(1);
        let mut stream = Listening::new(near);
        let writing = tokio::spawn(async move {
            for byte in 0..20_000_u32 {
                far.write_all(&[byte as u8]).await.unwrap();
            }
        });
        let mut read = 0;
        while let Ok(1) = stream.read(&mut [0]).await {
            read += 1;
        }
        assert_eq!(read, 20_000);
        writing.await.unwrap();
    }
}
