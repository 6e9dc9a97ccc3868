//! One connection from its first byte to its last: handshake, HTTP, time limits, the end.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use waypost_outbound::{Listening, Socket};

use crate::counters::{count, discount};
use crate::limits::{CLOSE_TIME_MAX, FAREWELL_TIME, LINGER_TIME_MAX, PROXY_TIME_MAX};
use crate::listener::{ConnectionInfo, Door};
use crate::proxied::read_header;
use crate::quota::Seat;
use crate::refusal::Refusal;
use crate::reply::Body;
use crate::tls::Handshake;
use crate::watch::{Phase, Watch, WatchedService, WatchedStream};

/// Serves one accepted connection until it ends. The seat is given back then.
pub(crate) async fn serve_connection<S, F>(
    door: Arc<Door>,
    stream: TcpStream,
    peer: SocketAddr,
    mut seat: Seat,
    service: S,
) where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let counters = &door.edge.counters;
    count(&counters.accepted);
    count(&counters.open);
    if let Some((stream, peer)) = introduced(&door, stream, peer, &mut seat).await {
        greet(&door, stream, peer, &seat, service).await;
    }
    discount(&counters.open);
    drop(seat);
}

/// Finds out whose connection it is, where a proxy says so.
async fn introduced(
    door: &Door,
    mut stream: TcpStream,
    peer: SocketAddr,
    seat: &mut Seat,
) -> Option<(TcpStream, SocketAddr)> {
    stream.set_nodelay(true).ok()?;
    if !door.proxies.contains(peer.ip()) {
        return Some((stream, peer));
    }
    let counters = &door.edge.counters;
    let header = tokio::select! {
        header = timeout(PROXY_TIME_MAX, read_header(&mut stream)) => header,
        () = door.stopping.hard.cancelled() => return None,
    };
    let Ok(Ok(caller)) = header else {
        count(&counters.proxy_refused);
        if door.tls.is_none() {
            let _ = stream.write_all(&Refusal::HeadMalformed.bytes()).await;
        }
        return None;
    };
    let caller = caller.unwrap_or(peer);
    if seat.count_for(caller.ip()).is_err() {
        count(&counters.refused_address);
        return None;
    }
    Some((stream, caller))
}

/// Shakes hands where TLS is spoken, and serves.
async fn greet<S, F>(door: &Door, stream: TcpStream, peer: SocketAddr, seat: &Seat, service: S)
where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let counters = &door.edge.counters;
    let Some(tls) = &door.tls else {
        return drive(door, stream, ConnectionInfo::new(peer, false), service).await;
    };
    count(&counters.handshakes_open);
    let until = Instant::now() + door.edge.limits.handshake_time_max;
    // Boxed, so that the room a handshake takes is given back when it is over: connections are kept for long.
    let handshake = Box::pin(timeout_at(until, async {
        // A client that has not said a word yet takes nobody's turn. Looking, since tokio may call a
        // socket readable that has nothing to read.
        stream.peek(&mut [0]).await.ok()?;
        let _turn = seat.handshake().await.ok()?;
        Some(tls.accept(Socket::new(stream)).await)
    }));
    let secured = tokio::select! {
        secured = handshake => Some(secured),
        () = farewell(door) => None,
    };
    discount(&counters.handshakes_open);
    match secured {
        Some(Ok(Some(Handshake::Session(stream, client)))) => {
            drive(door, stream, ConnectionInfo::new(peer, true).proved(client), service).await;
        }
        Some(Ok(Some(Handshake::ProofShown))) => count(&counters.proofs_shown),
        Some(Ok(Some(Handshake::NameRefused))) => count(&counters.names_refused),
        Some(Ok(None | Some(Handshake::Failed))) => count(&counters.handshakes_failed),
        Some(Err(_)) => count(&counters.handshakes_timed_out),
        None => {}
    }
}

/// Waits until the stop has begun and nothing new is waited for any more.
async fn farewell(door: &Door) {
    door.stopping.soft.cancelled().await;
    tokio::select! {
        () = sleep(FAREWELL_TIME) => {}
        () = door.stopping.hard.cancelled() => {}
    }
}

async fn drive<T, S, F>(door: &Door, stream: T, info: ConnectionInfo, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (counters, limits) = (&door.edge.counters, &door.edge.limits);
    let watch = Arc::new(Watch::new(door.stopping.flagged.clone()));
    let io = TokioIo::new(WatchedStream::new(Listening::new(stream), watch.clone()));
    let service = WatchedService { service, info, watch: watch.clone(), counters: counters.clone() };
    let builder: &auto::Builder<TokioExecutor> = &door.edge.http;
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut soft_stop = pin!(door.stopping.soft.cancelled());
    let mut hard_stop = pin!(door.stopping.hard.cancelled());

    let mut phase = watch.phase();
    let mut deadline = Instant::now() + limits.head_time_max;
    let mut alarm = pin!(sleep_until(deadline));
    let (mut listening, mut closing, mut leaving) = (false, false, None);
    poll_fn(|cx| {
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            // Asked once, which leaves this task's waker there, and then only once the flag is up: asking takes a
            // lock that all connections share.
            if !listening || door.stopping.is_flagged() {
                listening = true;
                if hard_stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if leaving.is_none() && soft_stop.as_mut().poll(cx).is_ready() {
                    leaving = Some(Instant::now() + FAREWELL_TIME);
                }
            }
            let now_doing = watch.phase();
            // A request under way is the last one; of HTTP/2 connections the client is told at once.
            if leaving.is_some()
                && !closing
                && (watch.is_multiplexed() || matches!(now_doing, Phase::Busy(..)))
            {
                closing = true;
                connection.as_mut().graceful_shutdown();
                if !matches!(now_doing, Phase::Busy(..)) {
                    deadline = deadline.min(Instant::now() + CLOSE_TIME_MAX);
                }
                continue;
            }
            if now_doing != phase {
                phase = now_doing;
                deadline = Instant::now()
                    + match phase {
                        Phase::FirstHead | Phase::Head(_) => limits.head_time_max,
                        Phase::Idle(_) if closing => CLOSE_TIME_MAX.max(LINGER_TIME_MAX),
                        Phase::Idle(_) => limits.idle_time_max,
                        Phase::Busy(..) => limits.stall_time_max,
                    };
            }
            if let Some(leave_at) = leaving
                && !matches!(phase, Phase::Busy(..))
                && !closing
            {
                deadline = deadline.min(leave_at);
            }
            // Set forward only: an alarm that rings early is set anew, which is rarer than requests are.
            if deadline < alarm.deadline() {
                alarm.as_mut().reset(deadline);
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if now < deadline {
                alarm.as_mut().reset(deadline);
                continue;
            }
            match phase {
                Phase::FirstHead | Phase::Head(_) if leaving.is_some() => {}
                Phase::FirstHead | Phase::Head(_) => count(&counters.heads_timed_out),
                Phase::Busy(..) => count(&counters.stalled),
                Phase::Idle(_) if closing => {}
                Phase::Idle(_) => {
                    if leaving.is_none() {
                        count(&counters.idled_out);
                    }
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                    deadline = now + CLOSE_TIME_MAX;
                    alarm.as_mut().reset(deadline);
                    continue;
                }
            }
            return Poll::Ready(());
        }
    })
    .await;
}
