//! Speaking to a running gateway: through its socket, or at its admin address.

use std::io;
use std::path::PathBuf;
use std::pin::pin;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::cli::ServerArguments;
use crate::exit::{Ended, Exit, wrong_usage};
use crate::{installed, socket};

/// A running gateway's admin API.
pub(crate) struct ApiClient {
    way: Way,
    token: Option<String>,
}

enum Way {
    /// The socket in this data directory.
    Socket(PathBuf),
    /// `host:port`.
    Address(String),
}

impl ApiClient {
    /// The gateway that the arguments mean.
    ///
    /// # Errors
    ///
    /// When the address is none.
    pub(crate) fn new(arguments: &ServerArguments) -> anyhow::Result<Self> {
        let way = match &arguments.api {
            None => {
                let directory = arguments.data.clone().unwrap_or_else(installed::data_dir);
                Way::Socket(directory)
            }
            Some(url) => {
                let address = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
                let address = address.filter(|address| !address.is_empty() && !address.contains('/'));
                let address = address.ok_or_else(|| wrong_usage(format!("--api {url}: write it as http://HOST:PORT; the admin address speaks plain HTTP, so reach it from elsewhere through a tunnel")))?;
                let port =
                    if address.rsplit(']').next().is_some_and(|end| end.contains(':')) { "" } else { ":80" };
                Way::Address(format!("{address}{port}"))
            }
        };
        Ok(Self { way, token: arguments.token.clone() })
    }

    /// GETs a document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, None).await
    }

    /// GETs a page of text, of which no more than so many bytes may come.
    pub(crate) async fn get_text(&self, path: &str, bytes_max: usize) -> anyhow::Result<String> {
        let request = Request::builder().uri(path).header(HOST, "waypost").body(Full::default())?;
        let (head, body) = self.exchange(request).await?;
        if !head.status.is_success() || body.len() > bytes_max {
            bail!("the server answered {} with {} bytes", head.status, body.len());
        }
        String::from_utf8(body.into()).context("the server's answer is no text")
    }

    /// POSTs a document and reads the answer.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, document: &Value) -> anyhow::Result<T> {
        self.call(Method::POST, path, Some(document)).await
    }

    /// POSTs bytes as they are and reads the answer.
    pub(crate) async fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        bytes: Bytes,
    ) -> anyhow::Result<T> {
        self.send(Method::POST, path, bytes).await
    }

    /// The items of a list.
    pub(crate) async fn items(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut answer: Value = self.get(path).await?;
        match answer["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// DELETEs something.
    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        document: Option<&Value>,
    ) -> anyhow::Result<T> {
        let body = document.map(Value::to_string).unwrap_or_default();
        self.send(method, path, Bytes::from(body)).await
    }

    async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<T> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "waypost");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body))?;
        let (_, body) = succeeded(self.exchange(request).await?)?;
        let empty = if body.is_empty() { b"null".as_slice() } else { &body };
        serde_json::from_slice(empty).context("the server's answer makes no sense; is it another version?")
    }

    /// GETs something as it is, with the headers of the answer.
    pub(crate) async fn get_bytes(&self, path: &str) -> anyhow::Result<(HeaderMap, Bytes)> {
        let mut request = Request::builder().uri(path).header(HOST, "waypost");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let (head, body) = succeeded(self.exchange(request.body(Full::default())?).await?)?;
        Ok((head.headers, body))
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        match &self.way {
            Way::Socket(directory) => directory.join(socket::NAME).display().to_string(),
            Way::Address(address) => format!("http://{address}"),
        }
    }

    /// The token it shows.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> anyhow::Result<Box<dyn Connection>> {
        match &self.way {
            Way::Socket(directory) => match socket::connect(directory).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => {
                    let remedy = match error.kind() {
                        io::ErrorKind::PermissionDenied => "run this as its user or as root",
                        _ => "start one with `waypost serve`, or name its data directory with --data",
                    };
                    let path = directory.join(socket::NAME);
                    Err(unreachable(format!(
                        "no waypost is reachable at {} ({error}); {remedy}",
                        path.display()
                    )))
                }
            },
            Way::Address(address) => match TcpStream::connect(address).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(unreachable(format!(
                    "no waypost is reachable at {address} ({error}); is that its admin address?"
                ))),
            },
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(Parts, Bytes)> {
        let stream = self.connect().await?;
        let answered = spoken(TokioIo::new(stream), request).await;
        answered.map_err(|error| unreachable(format!("the server broke off: {error}")))
    }
}

/// Bytes both ways.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// An answer that is a success, or the sentence of one that is not.
fn succeeded((head, body): (Parts, Bytes)) -> anyhow::Result<(Parts, Bytes)> {
    if head.status.is_success() {
        return Ok((head, body));
    }
    let sentence = refusal(head.status, &body);
    // What cannot be read, such as a moment that is none, was typed.
    Err(if head.status == StatusCode::BAD_REQUEST { wrong_usage(sentence) } else { anyhow!(sentence) })
}

/// What an answer that is no success says.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    match problem["detail"].as_str() {
        Some(detail) => detail.to_owned(),
        None => format!("the server answered {status}"),
    }
}

async fn spoken<I>(io: I, request: Request<Full<Bytes>>) -> Result<(Parts, Bytes), hyper::Error>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let mut answer = pin!(async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        Ok((head, body.collect().await?.to_bytes()))
    });
    // In one task: where another one sees the connection's end just when the request is handed to it, the request is lost
    // without a word.
    let mut driven = pin!(async move { drop(connection.await) });
    let mut is_over = false;
    loop {
        tokio::select! {
            biased;
            answered = &mut answer => return answered,
            () = &mut driven, if !is_over => is_over = true,
        }
    }
}

fn unreachable(message: String) -> anyhow::Error {
    Ended::new(Exit::Unreachable, message).into()
}
