//! The receiver: answers every request 200 with an empty body, counts, and where asked keeps book of
//! which webhooks arrived and how long they took from being sent.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::histogram::Histogram;
use crate::ids::IdSet;
use crate::stopwatch::now_ns;
use crate::{listening, webhook};

/// What a sink knows of the webhooks that arrived since its book was opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// Their ids.
    pub(crate) arrived: IdSet,
    /// Arrivals of an id that had arrived before. What earlier runs left is not counted.
    pub(crate) repeated: u64,
    /// Requests that were none of the sender's webhooks.
    pub(crate) unmarked: u64,
    /// From sending (in an open loop: from being due) to arrival: first arrivals of what was sent
    /// since timing began.
    pub(crate) latency: Histogram,
    timed_from_ns: u64,
    /// When the first of them arrived, by the process's clock.
    pub(crate) first_ns: u64,
    /// When the last of them arrived.
    pub(crate) last_ns: u64,
    /// The request target of the first request, byte for byte.
    pub(crate) first_target: Option<String>,
}

/// A receiver on its own thread; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: AtomicU64,
    book: Mutex<Option<Book>>,
}

impl Sink {
    /// Listens on a free port of loopback, with TLS where a configuration is given.
    pub(crate) fn start(tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), tls)
    }

    /// Listens on an address.
    pub(crate) fn start_at(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(async { listening::bind(address) }).context("binding the sink")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let service = Arc::clone(&shared);
        let thread = thread::Builder::new().name("sink".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(&listener, tls, &service) => {}
                    _ = ended => {}
                }
            });
        })?;
        Ok(Self { address, shared, end: Some(end), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests answered since the start.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Starts keeping book of webhooks numbered from `id_base`.
    pub(crate) fn open_book(&self, id_base: u64) {
        *self.shared.book() = Some(Book { arrived: IdSet::from_base(id_base), ..Book::default() });
    }

    /// Times only what is sent from now on.
    pub(crate) fn time_from_now(&self) {
        if let Some(book) = self.shared.book().as_mut() {
            book.timed_from_ns = now_ns();
            book.latency = Histogram::default();
        }
    }

    /// How many different webhooks the book holds.
    pub(crate) fn arrived(&self) -> u64 {
        self.shared.book().as_ref().map_or(0, |book| book.arrived.len())
    }

    /// Stops keeping book and hands it over.
    pub(crate) fn close_book(&self) -> Book {
        self.shared.book().take().unwrap_or_default()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Option<Book>> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self, target: &Uri, body: &[u8]) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut book = self.book();
        let Some(book) = book.as_mut() else { return };
        if book.first_target.is_none() {
            book.first_target = Some(target.to_string());
        }
        let Some(mark) = webhook::mark(body) else {
            book.unmarked += 1;
            return;
        };
        if book.arrived.begins_after(mark.id) {
            return;
        }
        if book.arrived.insert(mark.id) {
            book.last_ns = now_ns();
            if book.arrived.len() == 1 {
                book.first_ns = book.last_ns;
            }
            if mark.sent_ns >= book.timed_from_ns {
                book.latency.record(book.last_ns.saturating_sub(mark.sent_ns));
            }
        } else {
            book.repeated += 1;
        }
    }
}

async fn accept(listener: &TcpListener, tls: Option<Arc<ServerConfig>>, shared: &Arc<Shared>) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        // A connection that was gone before it was accepted, or no descriptor left for it.
        let Ok((socket, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(shared));
        tokio::spawn(async move {
            socket.set_nodelay(true)?;
            match acceptor {
                Some(acceptor) => serve(acceptor.accept(socket).await?, shared).await,
                None => serve(socket, shared).await,
            }
            io::Result::Ok(())
        });
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let shared = &shared;
        async move {
            // A request that breaks off is not counted; its connection is at its end anyway.
            let (head, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                shared.received(&head.uri, &body.to_bytes());
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}
