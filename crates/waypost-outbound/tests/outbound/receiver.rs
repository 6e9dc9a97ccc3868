//! Receivers for tests.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use waypost_domain::Clock;
use waypost_outbound::{Call, Endpoint, EndpointConfig, Names, Outbound, OutboundConfig, Resolver};

pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(crate) const NEXT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A receiver on a raw socket, scripted by connection.
pub(crate) struct RawReceiver {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
}

impl RawReceiver {
    /// Runs `script` for each connection, with its number from 0.
    pub(crate) async fn start<F>(script: impl Fn(Conversation) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_at((HERE, 0).into(), script).await
    }

    pub(crate) async fn start_at<F>(
        address: SocketAddr,
        script: impl Fn(Conversation) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<(usize, String)>>> = Arc::default();
        let log = seen.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(script(Conversation { number, stream, seen: log.clone() }));
            }
        });
        Self { address, seen }
    }

    /// Answers every request on every connection with 200 and its connection's number.
    pub(crate) async fn friendly() -> Self {
        Self::start(Conversation::be_friendly).await
    }

    /// What came whole, with the number of the connection it came on.
    pub(crate) fn seen(&self) -> Vec<(usize, String)> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One connection as the receiver has it.
pub(crate) struct Conversation {
    pub(crate) number: usize,
    pub(crate) stream: TcpStream,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Conversation {
    pub(crate) async fn be_friendly(mut self) {
        while self.hear().await.is_some() {
            let body = self.number.to_string();
            self.say(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        }
    }

    /// The next request whole, head and body; none at the end of the connection.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        loop {
            if let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8(bytes.clone()).unwrap();
                let length = text
                    .lines()
                    .find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                    })
                    .map_or(0, |length| length.parse::<usize>().unwrap());
                if bytes.len() >= head + 4 + length {
                    assert_eq!(bytes.len(), head + 4 + length, "more came than one request");
                    self.seen.lock().unwrap().push((self.number, text.clone()));
                    return Some(text);
                }
            }
            if self.stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }
}

pub(crate) fn outbound(names: &Names) -> Outbound {
    outbound_with(names, Duration::from_secs(60), Duration::from_secs(60))
}

pub(crate) fn outbound_with(
    names: &Names,
    address_time_max: Duration,
    pool_idle_time_max: Duration,
) -> Outbound {
    let mut config = OutboundConfig::new(Clock::system());
    config.resolver = Resolver::names(names.clone());
    config.address_time_max = address_time_max;
    config.pool_idle_time_max = pool_idle_time_max;
    Outbound::new(config)
}

pub(crate) fn config(origin: &str, host: &str) -> EndpointConfig {
    EndpointConfig {
        origin: origin.parse().unwrap(),
        host: host.to_owned(),
        allow_private: true,
        extra_roots: Vec::new(),
        connect_timeout: Duration::from_secs(5),
    }
}

/// An endpoint of a plain receiver at its address.
pub(crate) fn endpoint(receiver: &RawReceiver) -> Endpoint {
    outbound(&Names::new()).endpoint(config(&receiver.origin(), "up.test:18544")).unwrap()
}

pub(crate) fn get(path: &str) -> Call {
    Call {
        method: Method::GET,
        path_and_query: path.parse().unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        deadline: Duration::from_secs(10),
    }
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Call {
    Call { method: Method::POST, body: body.into(), ..get(path) }
}

/// The call's whole answer as text.
pub(crate) async fn answer_to(endpoint: &Endpoint, call: Call) -> String {
    let answer = endpoint.call(call).await.unwrap();
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.read_excerpt(1024).await.unwrap().bytes).unwrap()
}
