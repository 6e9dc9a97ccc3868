//! A served listener, and clients for it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use waypost_edge::{Body, ConnectionInfo, ConnectionLimits, Edge, EdgeCounters, Listener, ServerTls, Stop};

pub(crate) struct Face {
    pub(crate) address: SocketAddr,
    pub(crate) edge: Edge,
    pub(crate) stop: Stop,
    pub(crate) served: JoinHandle<()>,
}

impl Face {
    pub(crate) fn open<S, F>(limits: ConnectionLimits, tls: Option<ServerTls>, service: S) -> Self
    where
        S: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::at(Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(), limits, tls, service)
    }

    pub(crate) fn at<S, F>(
        listener: Listener,
        limits: ConnectionLimits,
        tls: Option<ServerTls>,
        service: S,
    ) -> Self
    where
        S: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (edge, stop) = (Edge::new(limits), Stop::default());
        let (serving, ending) = (edge.clone(), stop.clone());
        let served = tokio::spawn(async move { serving.serve(listener, tls, service, ending).await });
        Self { address, edge, stop, served }
    }

    pub(crate) fn counters(&self) -> &EdgeCounters {
        self.edge.counters()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

pub(crate) async fn greet(_: Request<Incoming>, _: ConnectionInfo) -> Response<Body> {
    Response::new(Body::full("hello"))
}

/// The head and the body of the next answer; none at the end of the connection.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8(bytes[..head + 4].to_vec()).unwrap().to_ascii_lowercase();
            if text.starts_with("http/1.1 100") {
                return Some((text, Vec::new()));
            }
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= head + 4 + length {
                return Some((text, bytes[head + 4..].to_vec()));
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// Sends a request and gives the status of the answer, 0 if there is none.
pub(crate) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> u16 {
    stream.write_all(request.as_bytes()).await.unwrap();
    status(answer(stream).await)
}

pub(crate) fn status(answer: Option<(String, Vec<u8>)>) -> u16 {
    answer.map_or(0, |(head, _)| head.split(' ').nth(1).unwrap().parse().unwrap())
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Waits for the end of a connection.
pub(crate) async fn end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"", "more than the end came");
}

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it did not happen")
}
