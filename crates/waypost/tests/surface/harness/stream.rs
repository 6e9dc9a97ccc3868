//! Readers of the stream: an ordinary WebSocket client, and tokens.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Gateway, within};

/// One WebSocket.
pub(crate) struct Reader {
    socket: WebSocketStream<TcpStream>,
}

/// An answer that is no WebSocket.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reader {
    /// Opens one, which must succeed.
    pub(crate) async fn open(address: SocketAddr, query: &str) -> Self {
        Self::try_open(address, query, &[]).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// Opens one with these headers.
    pub(crate) async fn try_open(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over(stream, address, query, headers).await
    }

    /// Opens one whose system keeps little of what it has not read.
    pub(crate) async fn small(address: SocketAddr, query: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = socket.connect(address).await.unwrap();
        Self::over(stream, address, query, &[]).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    async fn over(
        stream: TcpStream,
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Refused> {
        let mut request = format!("ws://{address}/ws{query}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match within(10, "a WebSocket handshake", client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tungstenite::Error::Http(response)) => {
                let status = response.status().as_u16();
                let body = response.body().clone().unwrap_or_default();
                Err(Refused { status, body: String::from_utf8_lossy(&body).into_owned() })
            }
            // The server ended meanwhile.
            Err(error) => Err(Refused { status: 0, body: error.to_string() }),
        }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next message of words; how the connection was closed, if that comes first.
    pub(crate) async fn next(&mut self) -> Result<Value, (u16, String)> {
        within(15, "a frame", async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                    Some(Ok(Message::Close(Some(close)))) => {
                        return Err((close.code.into(), close.reason.to_string()));
                    }
                    Some(Ok(Message::Close(None))) => return Err((1005, String::new())),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Err((1006, String::new())),
                }
            }
        })
        .await
    }

    /// The next frame, which must come.
    pub(crate) async fn frame(&mut self) -> Value {
        self.next().await.unwrap_or_else(|close| panic!("closed: {close:?}"))
    }

    /// So many frames.
    pub(crate) async fn frames(&mut self, number: usize) -> Vec<Value> {
        let mut frames = Vec::new();
        while frames.len() < number {
            frames.push(self.frame().await);
        }
        frames
    }

    /// How the connection is closed, which must come next.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        match self.next().await {
            Err(close) => close,
            Ok(frame) => panic!("a frame instead of the end: {frame}"),
        }
    }

    /// Nothing comes for a while.
    pub(crate) async fn silent(&mut self, millis: u64) {
        let next = tokio::time::timeout(Duration::from_millis(millis), self.next()).await;
        assert!(next.is_err(), "{next:?}");
    }
}

impl Gateway {
    /// A token, issued with these arguments.
    pub(crate) async fn token(&self, arguments: &[&str]) -> String {
        let arguments = [&["token", "issue", "--json"], arguments].concat();
        self.run(&arguments).await.done().json()[0]["token"].as_str().unwrap().to_owned()
    }
}

/// The cursors of frames.
pub(crate) fn ids(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["id"].as_str().unwrap_or_default()).collect()
}

/// The types of frames.
pub(crate) fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap_or_default()).collect()
}
