//! Receivers on raw sockets: they keep every byte of what they hear and answer by a script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{wamids, within};

/// What a receiver does with a request it has heard whole.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers with this status and no body.
    Status(u16),
    /// Says exactly these bytes.
    Say(Vec<u8>),
    /// Says exactly these bytes and ends the connection.
    SayAndClose(Vec<u8>),
    /// Answers 200 and resets the connection.
    OkThenReset,
    /// Resets the connection.
    Reset,
    /// Closes the connection.
    Close,
    /// Never answers.
    Hang,
    /// Does the other thing after a while.
    After(Duration, Box<Reply>),
}

impl Reply {
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self::After(wait, Box::new(self))
    }
}

/// A request as it came over the socket.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// The number of the connection, from 0.
    pub(crate) connection: usize,
    /// Request line and header lines, with their line ends, without the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
    /// The name asked for in the TLS handshake.
    pub(crate) sni: Option<String>,
    /// Whether the answer was a success.
    pub(crate) taken: bool,
}

impl Heard {
    pub(crate) fn request_line(&self) -> &str {
        self.head.split("\r\n").next().unwrap()
    }

    /// The header lines in order, names as they were written.
    pub(crate) fn lines(&self) -> Vec<(&str, &str)> {
        let lines = self.head.split("\r\n").skip(1);
        lines.map(|line| line.split_once(": ").or_else(|| line.split_once(':')).unwrap()).collect()
    }

    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.lines().into_iter();
        lines.filter(|(line, _)| line.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn wamids(&self) -> Vec<String> {
        wamids(&self.body)
    }
}

type Script = Box<dyn FnMut(&Heard) -> Reply + Send>;

struct Shared {
    heard: watch::Sender<Vec<Heard>>,
    script: Mutex<Script>,
}

/// A receiver, until it is dropped or stopped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) async fn willing() -> Self {
        Self::start(|_| Reply::Status(200)).await
    }

    /// One that follows a script.
    pub(crate) async fn start(script: impl FnMut(&Heard) -> Reply + Send + 'static) -> Self {
        Self::build(None, script).await
    }

    /// One with a certificate.
    pub(crate) async fn tls(
        config: Arc<ServerConfig>,
        script: impl FnMut(&Heard) -> Reply + Send + 'static,
    ) -> Self {
        Self::build(Some(config), script).await
    }

    async fn build(
        tls: Option<Arc<ServerConfig>>,
        script: impl FnMut(&Heard) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { heard: watch::Sender::new(Vec::new()), script: Mutex::new(Box::new(script)) });
        let task = tokio::spawn(serve(listener, tls.clone(), shared.clone()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self { address, scheme, tls, shared, task: Some(task) }
    }

    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Follows another script from now on.
    pub(crate) fn behave(&self, script: impl FnMut(&Heard) -> Reply + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// What came so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.borrow().clone()
    }

    /// Waits until what came is enough.
    pub(crate) async fn until(&self, what: &str, is_enough: impl FnMut(&Vec<Heard>) -> bool) -> Vec<Heard> {
        let mut watched = self.shared.heard.subscribe();
        within(25, what, watched.wait_for(is_enough)).await.unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn hears(&self, number: usize) -> Vec<Heard> {
        self.until(&format!("{number} requests at the receiver"), |heard| heard.len() >= number).await
    }

    /// Refuses connections from now on, and ends those it has.
    pub(crate) async fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Is back at its address.
    pub(crate) async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.task = Some(tokio::spawn(serve(listener, self.tls.clone(), self.shared.clone())));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        let (tls, shared) = (tls.clone(), shared.clone());
        connections.spawn(async move {
            match tls {
                None => converse(stream, None, number, &shared).await,
                Some(config) => {
                    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
                    let sni = stream.get_ref().1.server_name().map(str::to_owned);
                    converse(stream, sni, number, &shared).await;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What has a TCP connection at its bottom.
trait Socket: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for tokio_rustls::server::TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn converse(mut stream: impl Socket, sni: Option<String>, connection: usize, shared: &Shared) {
    let mut read = Vec::new();
    while let Some((head, body)) = hear(&mut stream, &mut read).await {
        let mut heard = Heard { connection, head, body, at: Instant::now(), sni: sni.clone(), taken: false };
        let mut reply = (shared.script.lock().unwrap())(&heard);
        while let Reply::After(wait, then) = reply {
            tokio::time::sleep(wait).await;
            reply = *then;
        }
        heard.taken = matches!(reply, Reply::Status(200..300) | Reply::OkThenReset);
        shared.heard.send_modify(|all| all.push(heard));
        const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (said, ends) = match reply {
            Reply::Status(status) => {
                (format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n").into_bytes(), None)
            }
            Reply::Say(bytes) => (bytes, None),
            Reply::SayAndClose(bytes) => (bytes, Some(false)),
            Reply::OkThenReset => (OK.to_vec(), Some(true)),
            Reply::Reset => (Vec::new(), Some(true)),
            Reply::Close => (Vec::new(), Some(false)),
            Reply::Hang => {
                std::future::pending::<()>().await;
                return;
            }
            Reply::After(..) => return,
        };
        if stream.write_all(&said).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match ends {
            None => {}
            Some(true) => {
                // What was said has a moment to be read before the reset takes it away.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = stream.tcp().set_zero_linger();
                return;
            }
            Some(false) => {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

async fn hear(stream: &mut impl Socket, read: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length = head
                .split("\r\n")
                .find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
                })
                .unwrap_or(0);
            if read.len() >= end + 4 + length {
                let body = read[end + 4..end + 4 + length].to_vec();
                read.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        if stream.read_buf(read).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}
