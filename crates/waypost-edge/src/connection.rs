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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use waypost_outbound::{Listening, Socket};

use crate::counters::{count, discount};
use crate::limits::{CLOSE_TIME_MAX, LINGER_TIME_MAX};
use crate::listener::{ConnectionInfo, Door};
use crate::quota::Seat;
use crate::reply::Body;
use crate::watch::{Phase, Watch, WatchedService, WatchedStream};

/// Serves one accepted connection until it ends. The seat is given back then.
pub(crate) async fn serve_connection<S, F>(
    door: Arc<Door>,
    stream: TcpStream,
    peer: SocketAddr,
    seat: Seat,
    service: S,
) where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let counters = &door.edge.counters;
    count(&counters.accepted);
    count(&counters.open);
    if stream.set_nodelay(true).is_ok() {
        match &door.tls {
            None => drive(&door, stream, ConnectionInfo::new(peer, false), service).await,
            Some(tls) => {
                count(&counters.handshakes_open);
                let until = Instant::now() + door.edge.limits.handshake_time_max;
                let handshake = timeout_at(until, async {
                    // A client that has not said a word yet takes nobody's turn. Looking, since tokio may call a
                    // socket readable that has nothing to read.
                    stream.peek(&mut [0]).await.ok()?;
                    let _turn = seat.handshake().await.ok()?;
                    tls.acceptor().accept(Socket::new(stream)).await.ok()
                });
                let secured = tokio::select! {
                    secured = handshake => Some(secured),
                    // Nothing has been asked yet: there is nothing to finish.
                    () = door.stopping.soft.cancelled() => None,
                };
                discount(&counters.handshakes_open);
                match secured {
                    Some(Ok(Some(stream))) => {
                        drive(&door, stream, ConnectionInfo::new(peer, true), service).await;
                    }
                    Some(Ok(None)) => count(&counters.handshakes_failed),
                    Some(Err(_)) => count(&counters.handshakes_timed_out),
                    None => {}
                }
            }
        }
    }
    discount(&counters.open);
    drop(seat);
}

async fn drive<T, S, F>(door: &Door, stream: T, info: ConnectionInfo, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (counters, limits) = (&door.edge.counters, &door.edge.limits);
    let watch = Arc::new(Watch::default());
    let io = TokioIo::new(WatchedStream::new(Listening::new(stream), watch.clone()));
    let service = WatchedService { service, info, watch: watch.clone(), counters: counters.clone() };
    let builder: &auto::Builder<TokioExecutor> = &door.edge.http;
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut soft_stop = pin!(door.stopping.soft.cancelled());
    let mut hard_stop = pin!(door.stopping.hard.cancelled());

    let mut phase = watch.phase();
    let mut deadline = Instant::now() + limits.head_time_max;
    let mut alarm = pin!(sleep_until(deadline));
    let (mut listening, mut closing) = (false, false);
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
                if !closing && soft_stop.as_mut().poll(cx).is_ready() {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
            }
            let now_doing = watch.phase();
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
                Phase::FirstHead | Phase::Head(_) => count(&counters.heads_timed_out),
                Phase::Busy(..) => count(&counters.stalled),
                Phase::Idle(_) if closing => {}
                Phase::Idle(_) => {
                    count(&counters.idled_out);
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
