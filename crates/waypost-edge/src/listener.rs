//! The doors: bound early, served late, closed gracefully.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use http::header::HeaderValue;
use http::{Request, Response};
use hyper::body::Incoming;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use waypost_domain::limits::{
    BODY_TIME_MAX, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, HANDSHAKE_TIME_MAX, HEAD_BYTES_MAX,
    HEAD_TIME_MAX, HEADERS_MAX, IDLE_TIME_MAX, STREAMS_PER_CONNECTION_MAX,
};

use crate::body::Budget;
use crate::client_certificates::ClientProof;
use crate::connection::serve_connection;
use crate::counters::{EdgeCounters, count, discount};
use crate::desk::Http;
use crate::limits::{
    ACCEPT_PAUSE, ALL_WAITING_BYTES_MAX, BACKLOG, CLOSE_TIME_MAX, EASILY_SERVED_MAX, FAREWELL_TIME,
    READY_TIME, STALL_TIME_MAX,
};
use crate::prefixes::Prefixes;
use crate::quota::{Full, Quota, Seat};
use crate::reply::Body;
use crate::tls::ServerTls;

/// A bound address. Connections wait in the kernel until it is served.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    /// Whose word is taken about on whose behalf they connect.
    proxies: Prefixes,
}

/// An address that cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl Listener {
    /// Binds an address. An IPv6 address takes IPv4 connections too where the system is set so.
    ///
    /// # Errors
    ///
    /// When the address is taken, not this machine's, or needs a privilege.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::open(address, false)
    }

    /// Binds addresses that belong together. `[::]:PORT` takes IPv4 connections too, unless an IPv4 address with the same
    /// port is among them: then it takes IPv6 only, so that both can be bound.
    ///
    /// # Errors
    ///
    /// As [`Listener::bind`], with the address.
    pub fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<Self>, BindError> {
        let bind = |address: &SocketAddr| {
            Self::open(*address, address.is_ipv6() && Self::meets_ipv4(*address, addresses))
                .map_err(|source| BindError { address: *address, source })
        };
        addresses.iter().map(bind).collect()
    }

    fn meets_ipv4(address: SocketAddr, addresses: &[SocketAddr]) -> bool {
        address.port() != 0 && addresses.iter().any(|other| other.is_ipv4() && other.port() == address.port())
    }

    fn open(address: SocketAddr, ipv6_only: bool) -> io::Result<Self> {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.set_reuseaddr(true)?;
        if ipv6_only {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        // Connections have it from the listener. A client that is gone and says nothing is noticed with the next that is
        // written to it.
        sockopt::set_tcp_user_timeout(
            &socket,
            u32::try_from(STALL_TIME_MAX.as_millis()).unwrap_or(u32::MAX),
        )?;
        socket.bind(address)?;
        Ok(Self { socket: socket.listen(BACKLOG)?, proxies: Prefixes::default() })
    }

    pub(crate) fn inherited(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket: TcpListener::from_std(socket)?, proxies: Prefixes::default() })
    }

    /// The same socket once more: it listens until both are gone.
    ///
    /// # Errors
    ///
    /// When the system has no more descriptors.
    pub fn duplicate(&self) -> io::Result<Self> {
        let socket = std::net::TcpListener::from(self.socket.as_fd().try_clone_to_owned()?);
        Ok(Self { proxies: self.proxies.clone(), ..Self::inherited(socket)? })
    }

    /// The same, where peers in these networks say on whose behalf they connect, by the PROXY protocol. They must; others
    /// must not.
    pub fn behind(self, proxies: Prefixes) -> Self {
        Self { proxies, ..self }
    }

    /// The address, with the port that was given out where 0 was asked for.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Limits of connections.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Connections open at once.
    pub connections_max: usize,
    /// Connections open at once from one address (IPv6: one network of 64 bits).
    pub connections_per_address_max: usize,
    /// Largest head of an HTTP/1 request, and largest header list of an HTTP/2 one; at most
    /// [`crate::limits::BUFFER_BYTES_MAX`].
    pub head_bytes_max: usize,
    /// Most header lines.
    pub headers_max: usize,
    /// How long a head may take: from the connection for the first, from its first byte for the others.
    pub head_time_max: Duration,
    /// How long a small body may take before its request is refused; that of a large one is limited by who reads it.
    pub body_time_max: Duration,
    /// How long a kept connection may stay without a request.
    pub idle_time_max: Duration,
    /// How long a kept connection without a request is kept ready for the next; after that it takes up less room.
    pub ready_time: Duration,
    /// Connections that may be served at once before requests, bodies included, are waited for whole and only then served,
    /// and HTTP/2 is not offered any more: its connections take up room even while they idle.
    pub easily_served_max: usize,
    /// How long a TLS handshake may take, waiting for its turn included.
    pub handshake_time_max: Duration,
    /// How long a request or answer may be under way without a step forward.
    pub stall_time_max: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub streams_max: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
            head_bytes_max: HEAD_BYTES_MAX,
            headers_max: HEADERS_MAX,
            head_time_max: HEAD_TIME_MAX,
            body_time_max: BODY_TIME_MAX,
            idle_time_max: IDLE_TIME_MAX,
            ready_time: READY_TIME,
            easily_served_max: EASILY_SERVED_MAX,
            handshake_time_max: HANDSHAKE_TIME_MAX,
            stall_time_max: STALL_TIME_MAX,
            streams_max: STREAMS_PER_CONNECTION_MAX,
        }
    }
}

/// Who is calling.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
    /// What its client certificate proves, where one is asked for.
    pub client: ClientProof,
    address: HeaderValue,
}

impl ConnectionInfo {
    /// A caller at this address.
    pub fn new(peer: SocketAddr, tls: bool) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let text = peer.ip().to_string();
        let address = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { peer, tls, client: ClientProof::NotAsked, address }
    }

    /// The same with this proof.
    pub fn proved(self, client: ClientProof) -> Self {
        Self { client, ..self }
    }

    /// The caller's address.
    pub fn ip(&self) -> IpAddr {
        self.peer.ip()
    }

    pub(crate) fn address_value(&self) -> &HeaderValue {
        &self.address
    }

    pub(crate) fn proto_value(&self) -> &'static HeaderValue {
        static HTTP: HeaderValue = HeaderValue::from_static("http");
        static HTTPS: HeaderValue = HeaderValue::from_static("https");
        if self.tls { &HTTPS } else { &HTTP }
    }
}

/// How serving ends.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Accept no more, finish what is under way.
    pub soft: CancellationToken,
    /// End at once.
    pub hard: CancellationToken,
    /// Cancelled before `soft` where another process goes on with the same sockets: what waits is left to it, and kept
    /// connections stay until they have had one more answer, which says that it is the last, or have idled as long as ever.
    pub succession: CancellationToken,
}

/// All public listeners together: they share seats and counters. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<EdgeParts>);

pub(crate) struct EdgeParts {
    pub(crate) limits: ConnectionLimits,
    pub(crate) counters: Arc<EdgeCounters>,
    pub(crate) http: Http,
    /// Connections that hyper has.
    pub(crate) served: AtomicUsize,
    /// Requests under way over HTTP/2.
    pub(crate) streams: AtomicUsize,
    /// The room for requests that come in parts.
    pub(crate) waiting: Budget,
    pub(crate) quota: Arc<Quota>,
}

impl EdgeParts {
    /// Whether so few connections are served that each may take up the room it likes.
    pub(crate) fn is_easy(&self) -> bool {
        self.served.load(Ordering::Relaxed) < self.limits.easily_served_max
    }
}

impl Edge {
    /// With these limits.
    pub fn new(limits: ConnectionLimits) -> Self {
        let quota = Arc::new(Quota::new(limits.connections_max, limits.connections_per_address_max));
        let http = Http::new(&limits);
        let waiting = Budget::new(ALL_WAITING_BYTES_MAX);
        let (served, streams) = (AtomicUsize::default(), AtomicUsize::default());
        Self(Arc::new(EdgeParts { limits, counters: Arc::default(), http, served, streams, waiting, quota }))
    }

    /// What was seen so far.
    pub fn counters(&self) -> &Arc<EdgeCounters> {
        &self.0.counters
    }

    /// Serves a listener until it is told to stop and every connection has ended. After `stop.soft` no connection is
    /// accepted but those that wait already; those without a request are closed within [`crate::limits::FAREWELL_TIME`], the others
    /// when their requests are answered; after `stop.hard` all are cut. In a succession ([`Stop::succession`]) what waits is left
    /// to the successor, and nobody who keeps a connection finds it closed earlier than ever without having been told.
    ///
    /// A request that offers to go on as a `WebSocket`, to the letter, bears a [`hyper::upgrade::OnUpgrade`] among its extensions;
    /// a service that answers 101 gets the connection from it, and must end it after `stop.soft`. No other request can be
    /// answered so.
    pub async fn serve<S, F>(&self, listener: Listener, tls: Option<ServerTls>, service: S, stop: Stop)
    where
        S: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let Listener { socket, proxies } = listener;
        let door = Arc::new(Door::new(self, tls, proxies));
        let mut pause = ACCEPT_PAUSE.0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.soft.cancelled() => break,
                () = stop.hard.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = ACCEPT_PAUSE.0;
                    door.admit(stream, peer, &service);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    count(&self.0.counters.accept_errors);
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted");
                    tokio::select! {
                        () = stop.soft.cancelled() => break,
                        () = stop.hard.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE.1);
                }
            }
        }
        let is_succeeded = stop.succession.is_cancelled();
        // What waits to be accepted would be reset with the socket: it is served as far as it goes.
        for _ in 0..if is_succeeded { 0 } else { BACKLOG } {
            let Some(Ok((stream, peer))) = waiting(&socket).await else { break };
            door.admit(stream, peer, &service);
        }
        drop(socket);
        door.connections.close();
        let farewell_time = if is_succeeded { self.0.limits.idle_time_max } else { FAREWELL_TIME };
        door.stopping.take_leave(farewell_time);
        tokio::select! {
            () = door.connections.wait() => {}
            () = stop.hard.cancelled() => {
                door.stopping.flag(&door.stopping.hard);
                // Those that were handed over to another protocol end when whoever has them looks.
                let _ = tokio::time::timeout(CLOSE_TIME_MAX, door.connections.wait()).await;
            }
        }
    }
}

/// One listener being served.
pub(crate) struct Door {
    pub(crate) edge: Arc<EdgeParts>,
    pub(crate) tls: Option<ServerTls>,
    pub(crate) proxies: Prefixes,
    pub(crate) stopping: Stopping,
    connections: TaskTracker,
}

impl Door {
    pub(crate) fn new(edge: &Edge, tls: Option<ServerTls>, proxies: Prefixes) -> Self {
        let (stopping, connections) = (Stopping::default(), TaskTracker::new());
        Self { edge: edge.0.clone(), tls, proxies, stopping, connections }
    }

    fn admit<S, F>(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, service: &S)
    where
        S: Fn(Request<Incoming>, ConnectionInfo) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        // Whose connection a proxy's is turns out later.
        let seat = self.edge.quota.seat().and_then(|mut seat| {
            if !self.proxies.contains(peer.ip()) {
                seat.count_for(peer.ip())?;
            }
            Ok(seat)
        });
        match seat {
            Ok(seat) => {
                let place = Place::new(self.clone(), seat);
                tokio::spawn(serve_connection(place, stream, peer, service.clone()));
            }
            Err(Full::House) => count(&self.edge.counters.refused_total),
            Err(Full::Address) => count(&self.edge.counters.refused_address),
        }
    }
}

/// What a connection holds until it is closed, whoever has it then: its seat, and the end of serving, which waits for it.
pub(crate) struct Place {
    door: Arc<Door>,
    pub(crate) seat: Seat,
    _connection: TaskTrackerToken,
}

impl Place {
    pub(crate) fn new(door: Arc<Door>, seat: Seat) -> Self {
        let _connection = door.connections.token();
        count(&door.edge.counters.accepted);
        count(&door.edge.counters.open);
        Self { door, seat, _connection }
    }

    pub(crate) fn door(&self) -> &Arc<Door> {
        &self.door
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        discount(&self.door.edge.counters.open);
    }
}

/// The end, as connections hear of it: a flag that costs nothing to read, raised before the token wakes them.
#[derive(Default)]
pub(crate) struct Stopping {
    flagged: AtomicBool,
    pub(crate) soft: CancellationToken,
    pub(crate) hard: CancellationToken,
    farewell_time: OnceLock<Duration>,
}

impl Stopping {
    fn take_leave(&self, farewell_time: Duration) {
        let _ = self.farewell_time.set(farewell_time);
        self.flag(&self.soft);
    }

    /// How long connections without a request are kept once the stop has begun.
    pub(crate) fn farewell_time(&self) -> Duration {
        self.farewell_time.get().copied().unwrap_or(FAREWELL_TIME)
    }

    fn flag(&self, token: &CancellationToken) {
        self.flagged.store(true, Ordering::SeqCst);
        token.cancel();
    }

    pub(crate) fn is_flagged(&self) -> bool {
        self.flagged.load(Ordering::Relaxed)
    }
}

/// The next connection that waits, if one does.
async fn waiting(socket: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    poll_fn(|cx| match socket.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// The errors of `accept` that say something about one connection, not about the listener (`accept(2)`).
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_is_gone_is_noticed_before_long() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.socket.accept().await.unwrap();
        assert_eq!(u128::from(sockopt::tcp_user_timeout(&stream).unwrap()), STALL_TIME_MAX.as_millis());
    }
}
