//! Clients that hold no failure good: each call must be answered 200, on a kept connection until the server says that it is
//! the last, and then on a new one. Nothing is tried again that may have been received.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{CALLBACK, SECRET, Wire, signature, signed, text_to, wamids, within};

/// What came of all calls so far.
#[derive(Default)]
struct Outcome {
    over: AtomicBool,
    calls: AtomicU64,
    connections: AtomicU64,
    longest_ms: AtomicU64,
    answered: Mutex<Vec<String>>,
    failures: Mutex<Vec<String>>,
}

/// Clients at work.
pub(crate) struct Load {
    outcome: Arc<Outcome>,
    clients: JoinSet<()>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Result {
    /// The messages whose calls were answered 200, in no order.
    pub(crate) answered: Vec<String>,
    /// What a client like these must never see.
    pub(crate) failures: Vec<String>,
    /// Connections that were opened.
    pub(crate) connections: u64,
    /// The longest that a call took.
    pub(crate) longest: Duration,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { outcome: Arc::default(), clients: JoinSet::new() }
    }

    /// So many clients that call in clear, with a pause after each answer.
    pub(crate) fn plain(mut self, number: u64, address: SocketAddr, pause: Duration) -> Self {
        for _ in 0..number {
            self.client(pause, move || Wire::plain(address));
        }
        self
    }

    /// The same over TLS.
    pub(crate) fn tls(mut self, number: u64, address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        for _ in 0..number {
            let config = config.clone();
            self.client(Duration::ZERO, move || Wire::tls(address, config.clone(), "localhost"));
        }
        self
    }

    /// So many clients that call over HTTP/2, with several calls at once on each connection.
    pub(crate) fn multiplexed(
        mut self,
        number: u64,
        address: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> Self {
        for _ in 0..number {
            let (outcome, config) = (self.outcome.clone(), config.clone());
            let client = self.clients.len() as u64;
            self.clients.spawn(async move {
                let mut sequence = 0;
                while !outcome.is_over() {
                    let sender = connected(address, config.clone()).await;
                    outcome.connections.fetch_add(1, Ordering::Relaxed);
                    while !outcome.is_over() {
                        let calls: Vec<_> = (0..4)
                            .map(|at| {
                                tokio::spawn(call(outcome.clone(), sender.clone(), client * 4 + at, sequence))
                            })
                            .collect();
                        sequence += 1;
                        let mut is_open = true;
                        for call in calls {
                            is_open &= call.await.unwrap();
                        }
                        if !is_open {
                            break;
                        }
                    }
                }
            });
        }
        self
    }

    fn client<F>(&mut self, pause: Duration, open: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Wire> + Send,
    {
        let outcome = self.outcome.clone();
        let client = self.clients.len() as u64;
        self.clients.spawn(async move {
            let mut sequence = 0;
            while !outcome.is_over() {
                let mut wire = open().await;
                outcome.connections.fetch_add(1, Ordering::Relaxed);
                loop {
                    let body = message(client * 4, sequence);
                    sequence += 1;
                    let began = outcome.begins();
                    wire.say(&signed(CALLBACK, &body)).await;
                    let answer = wire.try_answer().await;
                    let said = answer.as_ref().map(|answer| answer.status);
                    outcome.ends(&body, said.ok_or("no answer".to_owned()), began);
                    let is_last = answer.is_none_or(|answer| answer.header("connection") == Some("close"));
                    if is_last || outcome.is_over() {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.outcome.calls.load(Ordering::Relaxed)
    }

    /// Waits for so many more calls to be answered.
    pub(crate) async fn goes_on(&self, more: u64) {
        let until = self.calls() + more;
        within(20, "calls are answered", async {
            while self.calls() < until {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Ends it, each client after its answer.
    pub(crate) async fn end(mut self) -> Result {
        self.outcome.over.store(true, Ordering::Relaxed);
        while let Some(client) = within(30, "the clients end", self.clients.join_next()).await {
            client.unwrap();
        }
        let Outcome { answered, failures, connections, longest_ms, .. } = &*self.outcome;
        Result {
            answered: answered.lock().unwrap().clone(),
            failures: failures.lock().unwrap().clone(),
            connections: connections.load(Ordering::Relaxed),
            longest: Duration::from_millis(longest_ms.load(Ordering::Relaxed)),
        }
    }
}

impl Outcome {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn begins(&self) -> Instant {
        Instant::now()
    }

    fn ends(&self, body: &[u8], said: std::result::Result<u16, String>, began: Instant) {
        let took = began.elapsed();
        self.longest_ms.fetch_max(u64::try_from(took.as_millis()).unwrap(), Ordering::Relaxed);
        match said {
            Ok(200) => self.answered.lock().unwrap().extend(wamids(body)),
            other => self.failures.lock().unwrap().push(format!("{other:?} after {took:?}")),
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// The next message of a client: a contact of its own, numbers that ascend.
fn message(client: u64, sequence: u64) -> Vec<u8> {
    text_to(client * 1_000_000 + sequence, &format!("4915{client:08}"))
}

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

async fn connected(address: SocketAddr, config: Arc<ClientConfig>) -> Sender {
    let stream = within(5, "a connection", TcpStream::connect(address)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = within(10, "a handshake", TlsConnector::from(config).connect(name, stream)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// One call on a shared connection; whether that goes on. What was never sent (RFC 9113, section 6.8) is no call.
async fn call(outcome: Arc<Outcome>, mut sender: Sender, client: u64, sequence: u64) -> bool {
    let body = message(client, sequence);
    let request = http::Request::post(format!("https://localhost{CALLBACK}"))
        .header("content-type", "application/json")
        .header("x-hub-signature-256", signature(SECRET, &body))
        .body(Full::new(Bytes::from(body.clone())))
        .unwrap();
    if sender.ready().await.is_err() {
        return false;
    }
    let began = outcome.begins();
    match sender.try_send_request(request).await {
        Ok(answer) => outcome.ends(&body, Ok(answer.status().as_u16()), began),
        Err(mut error) => {
            if error.take_message().is_none() {
                outcome.ends(&body, Err(format!("{:?}", error.into_error())), began);
            }
            return false;
        }
    }
    true
}
