//! A client on a raw socket: says exact bytes, reads answers.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::within;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// One connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) lines: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Statuses of the interim answers before it.
    pub(crate) interim: Vec<u16>,
}

impl Answer {
    /// The one value of a header; none if it is missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.lines.iter().filter(|(line, _)| line.eq_ignore_ascii_case(name));
        let first = values.next()?;
        assert!(values.next().is_none(), "{name} stands twice in {self:?}");
        Some(&first.1)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Says a request on a connection of its own and reads the answer.
pub(crate) async fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut wire = Wire::plain(address).await;
    wire.say(request).await;
    wire.answer().await
}

impl Wire {
    pub(crate) async fn plain(address: SocketAddr) -> Self {
        let stream = within(5, "a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: Box::new(stream), read: Vec::new() }
    }

    pub(crate) async fn tls(address: SocketAddr, config: Arc<ClientConfig>, name: &'static str) -> Self {
        Self::try_tls(address, config, name).await.unwrap()
    }

    pub(crate) async fn try_tls(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        name: &'static str,
    ) -> std::io::Result<Self> {
        let stream = within(5, "a connection", TcpStream::connect(address)).await?;
        let name = ServerName::try_from(name).unwrap();
        let handshake = TlsConnector::from(config).connect(name, stream);
        let stream = within(10, "a TLS handshake", handshake).await?;
        Ok(Self { stream: Box::new(stream), read: Vec::new() })
    }

    /// Says bytes. A server that hung up meanwhile is found out by reading.
    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        let said = within(20, "bytes are taken", self.stream.write_all(bytes)).await;
        if said.is_ok() {
            let _ = self.stream.flush().await;
        }
    }

    /// The next answer, which must come.
    pub(crate) async fn answer(&mut self) -> Answer {
        within(30, "an answer", self.try_answer()).await.expect("the connection ended without an answer")
    }

    /// The next answer; none if the connection ends first.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        let mut interim = Vec::new();
        loop {
            let head_end = loop {
                if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at;
                }
                if !self.more().await {
                    return None;
                }
            };
            let head: Vec<u8> = self.read.drain(..head_end + 4).collect();
            let head = String::from_utf8_lossy(&head[..head_end]).into_owned();
            let mut texts = head.split("\r\n");
            let status_line = texts.next().unwrap();
            let status: u16 = status_line.split(' ').nth(1).unwrap().parse().unwrap();
            if status < 200 {
                interim.push(status);
                continue;
            }
            let lines: Vec<(String, String)> = texts
                .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no header line: {line:?}")))
                .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                .collect();
            let mut answer = Answer { status, lines, body: Vec::new(), interim };
            answer.body = self.body(&answer).await?;
            return Some(answer);
        }
    }

    async fn body(&mut self, answer: &Answer) -> Option<Vec<u8>> {
        if answer.header("transfer-encoding").is_some() {
            return self.chunks().await;
        }
        if let Some(length) = answer.header("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            return Some(self.read.drain(..length).collect());
        }
        if matches!(answer.status, 204 | 304) {
            return Some(Vec::new());
        }
        while self.more().await {}
        Some(std::mem::take(&mut self.read))
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                    break at;
                }
                if !self.more().await {
                    return None;
                }
            };
            let line: Vec<u8> = self.read.drain(..line_end + 2).collect();
            let length = usize::from_str_radix(std::str::from_utf8(&line[..line_end]).unwrap(), 16).unwrap();
            while self.read.len() < length + 2 {
                if !self.more().await {
                    return None;
                }
            }
            body.extend(self.read.drain(..length + 2).take(length));
            if length == 0 {
                return Some(body);
            }
        }
    }

    /// Whether the connection ends, or is reset, within so many seconds and without another byte.
    pub(crate) async fn ends_within(&mut self, seconds: u64) -> bool {
        let end = async { while self.more().await {} };
        tokio::time::timeout(std::time::Duration::from_secs(seconds), end).await.is_ok()
    }

    /// Says that nothing more will be said.
    pub(crate) async fn hang_up(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Everything until the connection ends.
    pub(crate) async fn rest(&mut self, seconds: u64) -> String {
        within(seconds, "the connection ends", async { while self.more().await {} }).await;
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.read).await.is_ok_and(|bytes| bytes > 0)
    }
}
