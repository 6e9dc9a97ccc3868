//! Bodies on their way: what was just accepted and is about to be attempted need not be read back from
//! the disk.
//!
//! A bounded, first-in-first-out memory. Whatever it has forgotten, the store still has.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use waypost_domain::RequestId;
use waypost_store::RequestBody;

/// Bodies of requests just accepted, up to a number of bytes.
pub struct Bodies {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_request: HashMap<RequestId, Arc<RequestBody>>,
    /// In order of arrival; may name some that were taken since.
    order: VecDeque<RequestId>,
    bytes: usize,
}

impl Bodies {
    /// An empty memory that holds at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Remembers a body, forgetting the oldest ones to make room.
    pub fn put(&self, request: RequestId, body: Arc<RequestBody>) {
        let bytes = weight(&body);
        if bytes > self.bytes_max {
            return;
        }
        let mut kept = self.lock();
        kept.bytes += bytes;
        kept.order.push_back(request);
        if let Some(former) = kept.by_request.insert(request, body) {
            kept.bytes -= weight(&former);
        }
        while kept.bytes > self.bytes_max || kept.order.len() > 2 * kept.by_request.len() + 64 {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.forget(oldest);
        }
    }

    /// The body, if it is remembered; it is forgotten with that.
    pub fn take(&self, request: RequestId) -> Option<Arc<RequestBody>> {
        let mut kept = self.lock();
        let body = kept.forget(request)?;
        if kept.by_request.is_empty() {
            kept.order.clear();
        }
        Some(body)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here can panic half-way and leave it wrong.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget(&mut self, request: RequestId) -> Option<Arc<RequestBody>> {
        let body = self.by_request.remove(&request)?;
        self.bytes -= weight(&body);
        Some(body)
    }
}

/// What a body weighs in memory, roughly.
fn weight(body: &RequestBody) -> usize {
    body.body.len() + body.headers.as_bytes().len() + body.target.len() + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use waypost_domain::HeaderBlock;

    fn body(bytes: usize) -> Arc<RequestBody> {
        Arc::new(RequestBody {
            target: "/".to_owned(),
            headers: HeaderBlock::new(),
            body: Bytes::from(vec![0; bytes]),
        })
    }

    #[test]
    fn it_never_holds_more_than_its_bytes_and_forgets_the_oldest_first() {
        let bodies = Bodies::new(10_000);
        for id in 0..100 {
            bodies.put(RequestId(id), body(1_000));
            assert!(bodies.lock().bytes <= 10_000);
        }
        assert!(bodies.take(RequestId(0)).is_none());
        assert!(bodies.take(RequestId(99)).is_some());
        assert!(bodies.take(RequestId(99)).is_none(), "taken once");
        bodies.put(RequestId(1), body(20_000));
        assert!(bodies.take(RequestId(1)).is_none(), "too large to remember");
    }

    #[test]
    fn its_order_does_not_grow_while_bodies_are_taken() {
        let bodies = Bodies::new(1 << 20);
        bodies.put(RequestId(-1), body(1));
        for id in 0..10_000 {
            bodies.put(RequestId(id), body(1));
            bodies.take(RequestId(id));
        }
        assert!(bodies.lock().order.len() < 200);
    }
}
