//! One connection from its first byte to its last: handshake, HTTP, time limits, the end.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use waypost_outbound::{Listening, Socket};

use crate::counters::{count, discount};
use crate::desk::Desk;
use crate::limits::{CLOSE_TIME_MAX, FAREWELL_TIME, LINGER_TIME_MAX, PROXY_TIME_MAX};
use crate::listener::{ConnectionInfo, Door, Place};
use crate::proxied::read_header;
use crate::quota::Seat;
use crate::refusal::Refusal;
use crate::reply::Body;
use crate::tls::Handshake;
use crate::watch::{Phase, Watch, WatchedService, WatchedStream};

/// Serves one accepted connection until it ends, or speaks another protocol: then whoever has it has its place too.
pub(crate) async fn serve_connection<S, F>(mut place: Place, stream: TcpStream, peer: SocketAddr, service: S)
where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let door = place.door().clone();
    if let Some((stream, peer)) = introduced(&door, stream, peer, &mut place.seat).await {
        greet(&door, stream, peer, place, service).await;
    }
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
async fn greet<S, F>(door: &Door, stream: TcpStream, peer: SocketAddr, place: Place, service: S)
where
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let counters = &door.edge.counters;
    let Some(tls) = &door.tls else {
        return drive(door, stream, ConnectionInfo::new(peer, false), place, service).await;
    };
    count(&counters.handshakes_open);
    let until = Instant::now() + door.edge.limits.handshake_time_max;
    // Boxed, so that the room a handshake takes is given back when it is over: connections are kept for long.
    let handshake = Box::pin(timeout_at(until, async {
        // A client that has not said a word yet takes nobody's turn. Looking, since tokio may call a
        // socket readable that has nothing to read.
        stream.peek(&mut [0]).await.ok()?;
        let _turn = place.seat.handshake().await.ok()?;
        Some(tls.accept(Socket::new(stream), door.edge.is_easy()).await)
    }));
    let secured = tokio::select! {
        secured = handshake => Some(secured),
        () = farewell(door) => None,
    };
    discount(&counters.handshakes_open);
    match secured {
        Some(Ok(Some(Handshake::Session(stream, client)))) => {
            drive(door, stream, ConnectionInfo::new(peer, true).proved(client), place, service).await;
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
        () = sleep(door.stopping.farewell_time()) => {}
        () = door.stopping.hard.cancelled() => {}
    }
}

async fn drive<T, S, F>(door: &Door, stream: T, info: ConnectionInfo, place: Place, service: S)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Request<Incoming>, ConnectionInfo) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (counters, limits) = (&door.edge.counters, &door.edge.limits);
    let watch = Arc::new(Watch::new(place));
    let stream = WatchedStream::new(Listening::new(stream), watch.clone());
    let service = WatchedService { service, info, watch: watch.clone(), counters: counters.clone() };
    let mut desk = Desk::new(&door.edge, stream, service);
    let mut soft_stop = pin!(door.stopping.soft.cancelled());
    let mut hard_stop = pin!(door.stopping.hard.cancelled());

    let mut phase = watch.phase();
    let mut deadline = Instant::now() + limits.head_time_max;
    let mut alarm = pin!(sleep_until(deadline));
    let (mut listening, mut closing, mut leaving) = (false, false, None);
    let mut idle_until = deadline;
    let unheard = poll_fn(|cx| {
        loop {
            if desk.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            // Asked once, which leaves this task's waker there, and then only once the flag is up: asking takes a
            // lock that all connections share.
            if !listening || door.stopping.is_flagged() {
                listening = true;
                if hard_stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                if leaving.is_none() && soft_stop.as_mut().poll(cx).is_ready() {
                    leaving = Some(Instant::now() + door.stopping.farewell_time());
                }
            }
            let now_doing = watch.phase();
            // Of HTTP/2 connections the client is told at once. In HTTP/1 the next answer says that it is the last: one whose
            // head has gone already has not said so, and another request may be on its way.
            if leaving.is_some() && !closing && watch.is_multiplexed() {
                closing = true;
                desk.graceful_shutdown();
                if !now_doing.is_at_work() {
                    deadline = deadline.min(Instant::now() + CLOSE_TIME_MAX);
                }
                continue;
            }
            // What has begun to come is under way: it is served although the end has begun.
            if leaving.is_some() && matches!(now_doing, Phase::Body(_)) && !desk.is_served() {
                desk.hand_over();
                continue;
            }
            if now_doing != phase {
                phase = now_doing;
                if matches!(phase, Phase::Idle(_)) {
                    idle_until = Instant::now() + limits.idle_time_max;
                    leaving = leaving.map(|leave_at| leave_at.max(Instant::now() + FAREWELL_TIME));
                }
                deadline = Instant::now()
                    + match phase {
                        Phase::FirstHead | Phase::Head(_) => limits.head_time_max,
                        Phase::Idle(_) if closing => CLOSE_TIME_MAX.max(LINGER_TIME_MAX),
                        Phase::Idle(_) if desk.is_served() => limits.ready_time.min(limits.idle_time_max),
                        Phase::Idle(_) => limits.idle_time_max,
                        Phase::Body(_) => limits.body_time_max,
                        Phase::Busy(..) | Phase::Patient(..) => limits.stall_time_max,
                    };
            }
            if let Some(leave_at) = leaving
                && !phase.is_at_work()
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
                Phase::Idle(_)
                    if !closing && now < idle_until && leaving.is_none_or(|leave_at| now < leave_at) =>
                {
                    if watch.is_at_rest() {
                        desk.take_back();
                    }
                    deadline = idle_until;
                    continue;
                }
                Phase::Body(_) => {
                    count(&counters.stalled);
                    return Poll::Ready(desk.leave());
                }
                Phase::FirstHead | Phase::Head(_) if leaving.is_some() => {}
                Phase::FirstHead | Phase::Head(_) => count(&counters.heads_timed_out),
                Phase::Busy(..) => count(&counters.stalled),
                Phase::Patient(..) => {
                    deadline = now + limits.stall_time_max;
                    alarm.as_mut().reset(deadline);
                    continue;
                }
                Phase::Idle(_) if closing => {}
                Phase::Idle(_) => {
                    if leaving.is_none() {
                        count(&counters.idled_out);
                    }
                    closing = true;
                    desk.graceful_shutdown();
                    deadline = now + CLOSE_TIME_MAX;
                    alarm.as_mut().reset(deadline);
                    continue;
                }
            }
            return Poll::Ready(None);
        }
    })
    .await;
    if let Some(stream) = unheard {
        let _ = timeout(LINGER_TIME_MAX, stream.refuse(Refusal::BodyTimedOut)).await;
    }
    if let Some(remains) = watch.take_remains() {
        let _ = timeout(CLOSE_TIME_MAX, close(remains)).await;
    }
}

/// Closes what hyper has let go of unasked, as it would have closed it.
async fn close(remains: OnUpgrade) {
    if let Ok(stream) = remains.await {
        let _ = TokioIo::new(stream).shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Context;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body::Frame;
    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::listener::{ConnectionLimits, Edge};
    use crate::prefixes::Prefixes;

    /// A kilobyte for each permit, and then the end.
    struct Permitted {
        permits: Arc<Semaphore>,
        told: Arc<AtomicUsize>,
        last: usize,
    }

    impl http_body::Body for Permitted {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            if self.told.load(Relaxed) == self.last {
                return Poll::Ready(None);
            }
            let Poll::Ready(permit) = pin!(self.permits.acquire()).poll(cx) else {
                // Asked again at once: whether it may be, is what is tested.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            permit.unwrap().forget();
            self.told.fetch_add(1, Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))))
        }
    }

    #[tokio::test]
    async fn what_happens_is_not_piled_up_for_a_client_that_does_not_read() {
        let door = Arc::new(Door::new(&Edge::new(ConnectionLimits::default()), None, Prefixes::default()));
        let (mut far, near) = duplex(64);
        let (permits, told) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (given, counted) = (permits.clone(), told.clone());
        let service = move |_: Request<Incoming>, _: ConnectionInfo| {
            let body = Permitted { permits: given.clone(), told: counted.clone(), last: 40 };
            ready(Response::new(Body::streaming(body)))
        };
        let info = ConnectionInfo::new("127.0.0.1:1".parse().unwrap(), false);
        let place = Place::new(door.clone(), door.edge.quota.seat().ok().unwrap());
        let served = tokio::spawn(async move { drive(&door, near, info, place, service).await });
        far.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        for _ in 0..40 {
            permits.add_permits(1);
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        assert!((1..3).contains(&told.load(Relaxed)), "{told:?} parts wait for the client");
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), far.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer.iter().filter(|byte| **byte == b'x').count(), 40 * 1024);
        served.await.unwrap();
    }
}
