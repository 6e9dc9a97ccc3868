//! A receiver's answer, its body bounded in time and size.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use waypost_domain::limits::RELAY_RESPONSE_BYTES_MAX;
use waypost_domain::{AttemptTiming, Clock, Failure};

use crate::failure::{CallError, Fault};
use crate::limits::DRAIN_BYTES_MAX;
use crate::pool::{CallSlot, Lent};

/// An answer whose head has come.
pub struct Answer {
    /// The status; never one below 200.
    pub status: StatusCode,
    /// The protocol it came over.
    pub version: Version,
    /// The header lines as they came.
    pub headers: HeaderMap,
    /// The rest.
    pub body: AnswerBody,
    /// Where the time went until the head was there.
    pub timing: AttemptTiming,
    /// The address that was spoken to.
    pub address: Option<SocketAddr>,
    pub(crate) began: Duration,
}

/// The beginning of an answer's body, after the whole body has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Excerpt {
    /// The first bytes.
    pub bytes: Vec<u8>,
    /// Whether there were more.
    pub truncated: bool,
    /// Where the time went, body included.
    pub timing: AttemptTiming,
}

impl Answer {
    /// Reads the body and keeps its first `bytes_max` bytes. A modest remainder is read and thrown away so that
    /// the connection can be used again; after [`DRAIN_BYTES_MAX`] more the answer counts as heard and
    /// the connection is closed.
    ///
    /// # Errors
    ///
    /// When the connection ends before the body does, or the body has not ended by the call's deadline: then there was
    /// no whole answer.
    pub async fn read_excerpt(mut self, bytes_max: usize) -> Result<Excerpt, Box<CallError>> {
        let expected = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(expected.min(bytes_max));
        let mut left_over: usize = 0;
        let mut body = std::pin::pin!(self.body);
        let clock = body.clock.clone();
        let timing = |mut timing: AttemptTiming| {
            timing.total = clock.monotonic().saturating_sub(self.began);
            timing
        };
        while let Some(frame) = body.frame().await {
            let data = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(BodyFault { failure, detail }) => {
                    return Err(Box::new(CallError {
                        failure,
                        detail,
                        timing: timing(self.timing),
                        address: self.address,
                    }));
                }
            };
            let kept = data.len().min(bytes_max - bytes.len());
            bytes.extend_from_slice(&data[..kept]);
            left_over = left_over.saturating_add(data.len() - kept);
            if left_over > DRAIN_BYTES_MAX {
                break;
            }
        }
        self.timing = timing(self.timing);
        Ok(Excerpt { bytes, truncated: left_over > 0, timing: self.timing })
    }
}

/// Why a body did not come whole.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct BodyFault {
    /// What kind of end it was.
    pub failure: Failure,
    /// One plain sentence.
    pub detail: String,
}

impl From<Fault> for BodyFault {
    fn from(Fault { failure, detail }: Fault) -> Self {
        Self { failure, detail }
    }
}

/// What an answer holds until its body is whole.
pub(crate) enum Lease {
    One(Lent),
    Many { _in_use: Arc<()> },
}

pin_project! {
    /// An answer's body as it comes: at most [`RELAY_RESPONSE_BYTES_MAX`] bytes, by the call's deadline.
    /// Trailers are left out.
    ///
    /// Its connection goes back to the pool when the body has ended, and is closed when it is dropped before.
    pub struct AnswerBody {
        #[pin]
        incoming: Incoming,
        lease: Option<Lease>,
        slot: Option<CallSlot>,
        bytes_left: usize,
        ended: bool,
        until: Instant,
        #[pin]
        alarm: Option<Sleep>,
        clock: Clock,
    }
}

impl AnswerBody {
    pub(crate) fn new(
        incoming: Incoming,
        lease: Lease,
        slot: CallSlot,
        until: Instant,
        clock: Clock,
        now: Duration,
    ) -> Self {
        let mut body = Self {
            ended: incoming.is_end_stream(),
            incoming,
            lease: Some(lease),
            slot: Some(slot),
            bytes_left: RELAY_RESPONSE_BYTES_MAX,
            until,
            alarm: None,
            clock,
        };
        if body.ended {
            settle(&mut body.lease, &mut body.slot, now);
        }
        body
    }
}

/// The body is whole: its connection is free.
fn settle(lease: &mut Option<Lease>, slot: &mut Option<CallSlot>, now: Duration) {
    if let (Some(Lease::One(lent)), Some(slot)) = (lease.take(), slot.take()) {
        slot.pool().put(lent, now);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        loop {
            let frame = match this.incoming.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    if this.alarm.is_none() {
                        this.alarm.set(Some(sleep_until(*this.until)));
                    }
                    if let Some(alarm) = this.alarm.as_mut().as_pin_mut() {
                        ready!(alarm.poll(cx));
                    }
                    *this.ended = true;
                    *this.lease = None;
                    let fault = Fault::new(Failure::TimedOut, "the answer was not whole within the deadline");
                    return Poll::Ready(Some(Err(fault.into())));
                }
            };
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if data.len() > *this.bytes_left {
                        *this.ended = true;
                        *this.lease = None;
                        let sentence = format!("the answer is larger than {RELAY_RESPONSE_BYTES_MAX} bytes");
                        return Poll::Ready(Some(
                            Err(Fault::new(Failure::AnswerUnreadable, sentence).into()),
                        ));
                    }
                    *this.bytes_left -= data.len();
                    if this.incoming.is_end_stream() {
                        *this.ended = true;
                        settle(this.lease, this.slot, this.clock.monotonic());
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    *this.ended = true;
                    *this.lease = None;
                    return Poll::Ready(Some(Err(Fault::of_body(&error).into())));
                }
                None => {
                    *this.ended = true;
                    settle(this.lease, this.slot, this.clock.monotonic());
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
