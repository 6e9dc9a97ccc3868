//! Opening a connection: each permitted address in turn, TCP, then TLS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use waypost_domain::{AttemptTiming, Clock, Failure};

use crate::failure::Fault;
use crate::socket::Socket;
use crate::tls::ClientTls;

/// Where connections of one endpoint go.
pub(crate) struct Target {
    pub(crate) port: u16,
    /// None for plain HTTP.
    pub(crate) tls: Option<ClientTls>,
    /// The receiver's name in sentences.
    pub(crate) name: String,
    pub(crate) timeout: Duration,
}

/// An open connection, before HTTP is spoken on it.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    /// Whether the receiver chose HTTP/2 (ALPN, RFC 7301).
    pub(crate) fn speaks_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// How far a call has come, kept outside its future so that a deadline can say what it cut off.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    /// When the request was last given to a connection, by the clock.
    pub(crate) sent: Duration,
    pub(crate) timing: AttemptTiming,
    pub(crate) address: Option<SocketAddr>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Resolving,
    Connecting,
    Securing,
    Sent,
}

/// The first of `addresses` that can be connected to. Each has an even share of the time that is left. A
/// refused certificate ends the search, since it is an answer.
pub(crate) async fn open(
    target: &Target,
    addresses: &[IpAddr],
    clock: &Clock,
    progress: &mut Progress,
) -> Result<Wire, Fault> {
    let until = Instant::now() + target.timeout;
    let began = clock.monotonic();
    let mut last = Fault::new(Failure::NameNotResolved, format!("{} has no address", target.name));
    for (tried, ip) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let now = Instant::now();
        let share = now + until.saturating_duration_since(now) / left;
        let address = SocketAddr::new(*ip, target.port);
        match open_at(target, address, share, began, clock, progress).await {
            Ok(wire) => return Ok(wire),
            Err(fault) if matches!(fault.failure, Failure::CertificateRefused | Failure::Ours) => {
                return Err(fault);
            }
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

async fn open_at(
    target: &Target,
    address: SocketAddr,
    until: Instant,
    began: Duration,
    clock: &Clock,
    progress: &mut Progress,
) -> Result<Wire, Fault> {
    progress.stage = Stage::Connecting;
    progress.address = Some(address);
    let stream = match timeout_at(until, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(|error| Fault::of_connect(&error, address))?,
        Err(_) => return Err(Fault::of_connect(&std::io::ErrorKind::TimedOut.into(), address)),
    };
    stream.set_nodelay(true).map_err(|error| Fault::of_connect(&error, address))?;
    let connected = clock.monotonic();
    progress.timing.connect = Some(connected.saturating_sub(began));
    let Some(tls) = &target.tls else { return Ok(Wire::Plain(stream)) };

    progress.stage = Stage::Securing;
    let config = match &tls.config {
        Ok(config) => config.clone(),
        Err(sentence) => return Err(Fault::new(Failure::CertificateRefused, &**sentence)),
    };
    let handshake = TlsConnector::from(config).connect(tls.name.clone(), Socket::new(stream));
    let stream = match timeout_at(until, handshake).await {
        Ok(secured) => secured.map_err(|error| Fault::of_tls(&error, &target.name))?,
        Err(_) => {
            let name = &target.name;
            return Err(Fault::new(
                Failure::ConnectTimedOut,
                format!("the TLS handshake with {name} did not end in time"),
            ));
        }
    };
    progress.timing.tls = Some(clock.monotonic().saturating_sub(connected));
    Ok(Wire::Tls(Box::new(stream)))
}
