//! Reading a request's body whole, within limits of size, time and shared memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::time::sleep;
use waypost_domain::limits::{BODIES_IN_FLIGHT_BYTES_MAX, BODY_BYTES_MAX, BODY_TIME_MAX};

use crate::refusal::Refusal;

/// Reads request bodies. Cheap to clone; all clones share one budget of memory.
#[derive(Clone, Debug)]
pub struct BodyReader {
    bytes_max: usize,
    time_max: Duration,
    budget: Budget,
}

impl Default for BodyReader {
    fn default() -> Self {
        Self::new(BODY_BYTES_MAX, BODY_TIME_MAX, Budget::new(BODIES_IN_FLIGHT_BYTES_MAX))
    }
}

impl BodyReader {
    /// With these limits for each body, and this budget for all.
    pub fn new(bytes_max: usize, time_max: Duration, budget: Budget) -> Self {
        Self { bytes_max, time_max, budget }
    }

    /// The budget of all bodies.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Reads a body to its end. A declared length over the limit is refused before anything is read, so that a client
    /// waiting for `100 Continue` is never told to send it.
    ///
    /// # Errors
    ///
    /// When it is too large (413), too slow (408), ends early (400), or there is no memory left for it (503). Nothing of
    /// it is kept then.
    pub async fn read<B>(&self, headers: &HeaderMap, body: B) -> Result<WholeBody, Refusal>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let declared = declared_length(headers).or(body.size_hint().exact());
        if declared.is_some_and(|declared| declared > self.bytes_max as u64) {
            return Err(Refusal::BodyTooLarge);
        }
        if body.is_end_stream() {
            return Ok(WholeBody { bytes: Bytes::new(), share: Share::none(&self.budget) });
        }
        let declared = declared.and_then(|declared| usize::try_from(declared).ok());
        tokio::select! {
            biased;
            outcome = self.collect(declared, body) => outcome,
            // Begun with the first wait: most bodies came with their head, and need no timer.
            () = async { sleep(self.time_max).await } => Err(Refusal::BodyTimedOut),
        }
    }

    /// Memory is taken from the budget as bytes arrive: a client that only announces a large body takes none.
    async fn collect<B>(&self, declared: Option<usize>, body: B) -> Result<WholeBody, Refusal>
    where
        B: http_body::Body<Data = Bytes>,
    {
        let mut body = std::pin::pin!(body);
        let mut share = Share::none(&self.budget);
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let Ok(data) = frame.map_err(|_| Refusal::BodyBroken)?.into_data() else { continue };
            if share.bytes + data.len() > self.bytes_max {
                return Err(Refusal::BodyTooLarge);
            }
            share.grow(data.len())?;
            if first.is_empty() && whole.is_empty() {
                first = data;
                continue;
            }
            if whole.is_empty() {
                whole.reserve(first.len() + data.len());
                whole.extend_from_slice(&first);
            }
            let announced = declared.filter(|_| whole.len() >= BELIEVED_BYTES);
            whole.reserve(announced.map_or(0, |all| all.saturating_sub(whole.len())).max(data.len()));
            whole.extend_from_slice(&data);
        }
        let bytes = if whole.is_empty() { first } else { whole.freeze() };
        // The body's end was seen, but fewer bytes than announced: nobody vouches for them.
        if declared.is_some_and(|declared| declared != bytes.len()) {
            return Err(Refusal::BodyBroken);
        }
        Ok(WholeBody { bytes, share })
    }
}

/// What has to have come of a body before room is made for all that was announced.
const BELIEVED_BYTES: usize = 64 * 1024;

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    std::str::from_utf8(headers.get(CONTENT_LENGTH)?.as_bytes()).ok()?.trim().parse().ok()
}

/// A body that came whole, and its share of the budget, which is given back when both are dropped.
#[derive(Debug)]
pub struct WholeBody {
    bytes: Bytes,
    share: Share,
}

impl WholeBody {
    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, and what to keep for as long as they are kept.
    pub fn into_parts(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }
}

/// Memory that request bodies may hold at once, all connections together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    bytes_max: usize,
    bytes_taken: AtomicUsize,
}

impl Budget {
    /// This many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Account { bytes_max, bytes_taken: AtomicUsize::new(0) }))
    }

    /// How many bytes are taken now.
    pub fn bytes_taken(&self) -> usize {
        self.0.bytes_taken.load(Ordering::Relaxed)
    }

    /// How many bytes there are in all.
    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }
}

/// A share of a budget, given back when dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn none(budget: &Budget) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    pub(crate) fn grow(&mut self, by: usize) -> Result<(), Refusal> {
        let account = &*self.budget.0;
        let taken = account.bytes_taken.fetch_add(by, Ordering::Relaxed);
        if taken + by > account.bytes_max {
            account.bytes_taken.fetch_sub(by, Ordering::Relaxed);
            return Err(Refusal::BodiesFull);
        }
        self.bytes += by;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.bytes_taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
