//! Bodies on their way: what was just accepted and is about to be attempted need not be read back from
//! the disk, and a request that is owed in pieces is read and taken apart once, not once a piece.
//!
//! A bounded, first-in-first-out memory. Whatever it has forgotten, the store still has.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::OnceCell;
use waypost_domain::RequestId;
use waypost_store::RequestBody;
use waypost_whatsapp::{AppSecret, AppSecrets, Cuts};

/// The header that Meta's signature comes in, as it is kept.
const SIGNATURE: &str = "x-hub-signature-256";

/// A body of this size or more is read on a thread of its own, so that the others' are not kept waiting.
pub const LARGE_BODY_BYTES: usize = 256 * 1024;

/// A request's bytes on their way, and where to cut them, which is found out once, when it is first asked.
#[derive(Debug)]
pub struct Content {
    request: Arc<RequestBody>,
    in_pieces: bool,
    cuts: OnceCell<Arc<Cuts>>,
    signer: OnceLock<Option<AppSecret>>,
}

impl Content {
    /// Of a request that is, or is not, owed in pieces.
    pub fn new(request: RequestBody, in_pieces: bool) -> Self {
        let request = Arc::new(request);
        Self { request, in_pieces, cuts: OnceCell::new(), signer: OnceLock::new() }
    }

    /// Which of these secrets the request came signed with, found out once.
    pub fn signer(&self, secrets: &AppSecrets) -> Option<AppSecret> {
        let look = || {
            let lines = self.request.headers.iter().filter(|(name, _)| *name == SIGNATURE);
            let label = secrets.verify(lines.map(|(_, value)| value), &self.request.body).ok()?;
            secrets.iter().find(|secret| secret.label() == label).cloned()
        };
        self.signer.get_or_init(look).clone()
    }

    /// The request as it came.
    pub fn request(&self) -> &Arc<RequestBody> {
        &self.request
    }

    /// Where its events stand.
    pub async fn cuts(&self) -> &Arc<Cuts> {
        self.cuts.get_or_init(|| cut(&self.request)).await
    }
}

async fn cut(request: &Arc<RequestBody>) -> Arc<Cuts> {
    if request.body.len() >= LARGE_BODY_BYTES {
        let body = request.body.clone();
        if let Ok(cuts) = tokio::task::spawn_blocking(move || Arc::new(Cuts::of(&body))).await {
            return cuts;
        }
        // It died, and will do so again where that is somebody's to notice.
    }
    Arc::new(Cuts::of(&request.body))
}

/// Requests that are being delivered, up to a number of bytes.
pub struct Bodies {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_request: HashMap<RequestId, Entry>,
    /// In order of arrival; may name some that were taken since.
    order: VecDeque<RequestId>,
    bytes: usize,
}

/// A request, there or being read.
struct Entry {
    content: Arc<OnceCell<Arc<Content>>>,
    weight: usize,
    /// How often it will be asked for; unknown for one that was read back.
    takes: Option<usize>,
}

impl Bodies {
    /// An empty memory that holds at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Remembers a request that will be taken so many times, forgetting the oldest ones to make room.
    pub fn put(&self, request: RequestId, content: Arc<Content>, takes: usize) {
        let weight = weight(&content);
        if weight > self.bytes_max || takes == 0 {
            return;
        }
        let content = Arc::new(OnceCell::new_with(Some(content)));
        let mut kept = self.lock();
        kept.add(request, Entry { content, weight, takes: Some(takes) });
        kept.shrink(self.bytes_max);
    }

    /// The request, if it is remembered; it is forgotten with the last time that was foreseen.
    pub fn take(&self, request: RequestId) -> Option<Arc<Content>> {
        let mut kept = self.lock();
        let entry = kept.by_request.get_mut(&request)?;
        let content = entry.content.get()?.clone();
        if let Some(left) = &mut entry.takes {
            *left = left.saturating_sub(1);
            if *left == 0 {
                kept.forget(request);
            }
        }
        Some(content)
    }

    /// The request, if it is remembered, for one who was not foreseen.
    pub fn peek(&self, request: RequestId) -> Option<Arc<Content>> {
        self.lock().by_request.get(&request)?.content.get().cloned()
    }

    /// Forgets all.
    pub fn clear(&self) {
        *self.lock() = Kept::default();
    }

    /// The request for one of its pieces: from memory, or else read, by one for all who ask meanwhile, and
    /// remembered for the pieces that follow. `None` if there is nothing to read any more.
    pub async fn share<R>(&self, request: RequestId, read: impl FnOnce() -> R) -> Option<Arc<Content>>
    where
        R: Future<Output = Option<Arc<Content>>>,
    {
        if let Some(content) = self.take(request) {
            return Some(content);
        }
        let content = self.place(request);
        let read = async || read().await.ok_or(());
        match content.get_or_try_init(read).await {
            Ok(found) => {
                self.weigh(request, &content, weight(found));
                Some(found.clone())
            }
            Err(()) => {
                self.lock().forget(request);
                None
            }
        }
    }

    /// Forgets a request that was read back and holds a single piece, of which nothing more will be asked.
    pub fn let_go(&self, request: RequestId) {
        let mut kept = self.lock();
        if kept.by_request.get(&request).is_some_and(|entry| entry.takes.is_none()) {
            kept.forget(request);
        }
    }

    /// Where a request is or will be.
    fn place(&self, request: RequestId) -> Arc<OnceCell<Arc<Content>>> {
        let mut kept = self.lock();
        if let Some(entry) = kept.by_request.get(&request) {
            return entry.content.clone();
        }
        let content = Arc::new(OnceCell::new());
        kept.add(request, Entry { content: content.clone(), weight: ENTRY_BYTES, takes: None });
        kept.shrink(self.bytes_max);
        content
    }

    /// Counts what has been read.
    fn weigh(&self, request: RequestId, content: &Arc<OnceCell<Arc<Content>>>, weight: usize) {
        let mut kept = self.lock();
        let Some(entry) = kept.by_request.get_mut(&request) else { return };
        if !Arc::ptr_eq(&entry.content, content) || entry.weight == weight {
            return;
        }
        let former = std::mem::replace(&mut entry.weight, weight);
        kept.bytes = kept.bytes + weight - former;
        kept.shrink(self.bytes_max);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing in here can panic half-way and leave it wrong.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, request: RequestId, entry: Entry) {
        self.bytes += entry.weight;
        self.order.push_back(request);
        if let Some(former) = self.by_request.insert(request, entry) {
            self.bytes -= former.weight;
        }
    }

    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max || self.order.len() > 2 * self.by_request.len() + 64 {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, request: RequestId) {
        if let Some(entry) = self.by_request.remove(&request) {
            self.bytes -= entry.weight;
        }
        if self.by_request.is_empty() {
            self.order.clear();
        }
    }
}

/// What an entry weighs without its request.
const ENTRY_BYTES: usize = 256;

/// What a request weighs in memory, roughly: where to cut it weighs no more than what is cut.
fn weight(content: &Content) -> usize {
    let request = &content.request;
    let copies = if content.in_pieces { 2 } else { 1 };
    copies * request.body.len() + request.headers.as_bytes().len() + request.target.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use bytes::Bytes;
    use waypost_domain::HeaderBlock;

    fn content(bytes: usize) -> Arc<Content> {
        let request = RequestBody {
            source: "acme".into(),
            target: "/".to_owned(),
            headers: HeaderBlock::new(),
            body: Bytes::from(vec![0; bytes]),
        };
        Arc::new(Content::new(request, true))
    }

    #[test]
    fn it_never_holds_more_than_its_bytes_and_forgets_the_oldest_first() {
        let bodies = Bodies::new(20_000);
        for id in 0..100 {
            bodies.put(RequestId(id), content(1_000), 1);
            assert!(bodies.lock().bytes <= 20_000);
        }
        assert!(bodies.take(RequestId(0)).is_none());
        assert!(bodies.take(RequestId(99)).is_some());
        assert!(bodies.take(RequestId(99)).is_none(), "taken once");
        bodies.put(RequestId(1), content(20_000), 1);
        assert!(bodies.take(RequestId(1)).is_none(), "too large to remember");
    }

    #[test]
    fn a_request_in_pieces_stays_until_its_last_piece_was_taken() {
        let bodies = Bodies::new(20_000);
        bodies.put(RequestId(1), content(1_000), 3);
        assert!((0..3).all(|_| bodies.take(RequestId(1)).is_some()));
        assert!(bodies.take(RequestId(1)).is_none());
        assert_eq!(bodies.lock().bytes, 0);
    }

    #[test]
    fn its_order_does_not_grow_while_bodies_are_taken() {
        let bodies = Bodies::new(1 << 20);
        bodies.put(RequestId(-1), content(1), 1);
        for id in 0..10_000 {
            bodies.put(RequestId(id), content(1), 1);
            bodies.take(RequestId(id));
        }
        assert!(bodies.lock().order.len() < 200);
    }

    #[tokio::test]
    async fn pieces_that_ask_at_once_have_their_request_read_once() {
        let (bodies, reads) = (Bodies::new(100_000), AtomicUsize::new(0));
        let read = || async {
            reads.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Some(content(1_000))
        };
        let ask = || bodies.share(RequestId(7), read);
        let (a, b, c) = tokio::join!(ask(), ask(), ask());
        assert!([a, b, c].iter().all(Option::is_some));
        assert!(ask().await.is_some(), "and those that ask later");
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        assert!(bodies.lock().bytes >= 2_000);
        bodies.let_go(RequestId(7));
        assert_eq!(bodies.lock().bytes, 0);
    }

    #[tokio::test]
    async fn what_is_gone_leaves_nothing_behind() {
        let bodies = Bodies::new(100_000);
        assert!(bodies.share(RequestId(7), || async { None }).await.is_none());
        assert!(bodies.lock().by_request.is_empty() && bodies.lock().bytes == 0);
    }
}
