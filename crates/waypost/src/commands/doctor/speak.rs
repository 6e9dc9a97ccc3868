//! One request over HTTP/1.1 on a connection of its own, and the answer. Nothing is followed, nothing repeated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderName, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use waypost_domain::Clock;

use super::reach::{Line, dial};

/// What of an answer's body is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where requests go.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) address: SocketAddr,
    /// How TLS is verified, and for which name; none for plain HTTP.
    pub(super) tls: Option<(Arc<ClientConfig>, String)>,
    /// `Host`.
    pub(super) authority: String,
}

/// A request.
pub(super) struct Said {
    pub(super) method: Method,
    pub(super) path_and_query: PathAndQuery,
    /// Besides `Host`, `Accept` and `User-Agent`.
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) user_agent: &'static str,
    pub(super) body: Bytes,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Its first [`ANSWER_BYTES_MAX`] bytes.
    pub(super) body: Bytes,
    /// From the first packet to the last byte, connecting included.
    pub(super) took: Duration,
}

/// Why there was no whole answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It did not come in time.
    TooSlow,
    /// One plain sentence.
    Cut(String),
}

impl Way {
    /// Says a request and waits for the whole answer, for so long at most.
    pub(super) async fn ask(&self, said: Said, patience: Duration, clock: &Clock) -> Result<Heard, Silence> {
        let began = clock.monotonic();
        let exchange = async {
            let request = self.request(said).map_err(|error| Silence::Cut(error.to_string()))?;
            let tls = self.tls.as_ref().map(|(config, name)| (config.clone(), name.as_str()));
            match dial(self.address, tls).await.map_err(Silence::Cut)? {
                Line::Plain(stream) => exchange(stream, request).await,
                Line::Tls(stream) => exchange(stream, request).await,
            }
        };
        let (status, headers, body) = timeout(patience, exchange).await.unwrap_or(Err(Silence::TooSlow))?;
        Ok(Heard { status, headers, body, took: clock.monotonic().saturating_sub(began) })
    }

    fn request(&self, said: Said) -> http::Result<Request<Full<Bytes>>> {
        let Said { method, path_and_query, headers, user_agent, body } = said;
        let request = Request::builder().method(method).uri(path_and_query.as_str());
        let request = request.header(HOST, &self.authority).header(ACCEPT, "*/*");
        let mut request = request.header(USER_AGENT, HeaderValue::from_static(user_agent));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Full::new(body))
    }
}

/// One request and its answer over an open connection.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, Bytes), Silence> {
    let cut = |error: hyper::Error| Silence::Cut(format!("the connection ended without an answer ({error})"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
    let connection = Connection(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(cut)?;
    let (head, mut incoming) = response.into_parts();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let data = frame.map_err(cut)?.into_data().unwrap_or_default();
        body.extend_from_slice(&data[..data.len().min(ANSWER_BYTES_MAX - body.len())]);
        if body.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    drop(connection);
    Ok((head.status, head.headers, body.into()))
}

/// A connection's task, ended with the conversation however that ends.
struct Connection<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Connection<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
