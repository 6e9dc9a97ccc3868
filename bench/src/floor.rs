//! The floor: what an acknowledgement costs at least on the gateway's HTTP stack.
//!
//! A server that verifies the signature over the raw body, appends the body to one file, syncs, and
//! answers 200; all bodies that arrived while the last sync ran share the next. Without a file it
//! answers at once: the stack alone. Neither parses, deduplicates, keeps headers or delivers.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use aws_lc_rs::hmac;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::{listening, webhook};

/// How a floor is set up.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// The app secret that bodies must be signed with.
    pub(crate) secret: String,
    /// The file that bodies are appended to; without one nothing is stored.
    pub(crate) log: Option<PathBuf>,
}

/// Largest body taken.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bodies that may wait for the writer.
const QUEUE_MAX: usize = 4_096;
/// Bodies that one sync takes along.
const GROUP_MAX: usize = 512;

/// Serves until the process ends. Tells its address once it accepts.
pub(crate) fn serve(setup: &Setup, tell: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let log = setup.log.as_deref().map(Log::open).transpose()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, setup.secret.as_bytes());
    let floor = Arc::new(Floor { key, log });
    runtime.block_on(async {
        let listener = listening::bind(setup.listen).context("binding the floor")?;
        tell(listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await.context("accepting")?;
            tokio::spawn(connection(socket, Arc::clone(&floor)));
        }
    })
}

struct Floor {
    key: hmac::Key,
    log: Option<Log>,
}

async fn connection(socket: TcpStream, floor: Arc<Floor>) {
    let service = service_fn(move |request| {
        let floor = Arc::clone(&floor);
        async move {
            let mut response = Response::new(Empty::<Bytes>::new());
            *response.status_mut() = floor.accept(request).await;
            Ok::<_, Infallible>(response)
        }
    });
    if socket.set_nodelay(true).is_ok() {
        let _ =
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
    }
}

impl Floor {
    async fn accept(&self, request: Request<Incoming>) -> StatusCode {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
            return StatusCode::PAYLOAD_TOO_LARGE;
        };
        let body = body.to_bytes();
        let signature = head.headers.get("x-hub-signature-256");
        if !signature.is_some_and(|header| webhook::is_signed(&self.key, header.as_bytes(), &body)) {
            return StatusCode::UNAUTHORIZED;
        }
        match &self.log {
            Some(log) if !log.append(body).await => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    }
}

/// A file that bodies are appended to, by one thread.
struct Log {
    queue: mpsc::Sender<(Bytes, oneshot::Sender<()>)>,
}

impl Log {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("opening {}", path.display()))?;
        let (queue, bodies) = mpsc::channel(QUEUE_MAX);
        thread::Builder::new().name("writer".into()).spawn(move || {
            // The file failed: the queue closes and every later request is answered 503.
            let _ = write(file, bodies);
        })?;
        Ok(Self { queue })
    }

    /// True once the body is on the disk.
    async fn append(&self, body: Bytes) -> bool {
        let (synced, done) = oneshot::channel();
        self.queue.send((body, synced)).await.is_ok() && done.await.is_ok()
    }
}

fn write(mut file: File, mut bodies: mpsc::Receiver<(Bytes, oneshot::Sender<()>)>) -> io::Result<()> {
    let mut group = Vec::with_capacity(GROUP_MAX);
    let mut bytes = Vec::new();
    while bodies.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        bytes.clear();
        group.iter().for_each(|(body, _)| bytes.extend_from_slice(body));
        file.write_all(&bytes)?;
        file.sync_data()?;
        for (_, synced) in group.drain(..) {
            // The client may have gone away.
            let _ = synced.send(());
        }
    }
    Ok(())
}
