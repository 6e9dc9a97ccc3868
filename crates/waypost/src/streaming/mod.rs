//! The real-time stream as it is served: who may read it, and over what.
//!
//! It is served on the admin address and the data directory's socket, and on the public listeners where the configuration
//! says so.

pub(crate) mod access;
mod ask;
pub(crate) mod evidence;
mod origins;
mod pace;
mod pages;
mod poll;
mod queries;
mod readers;
mod sse;
pub(crate) mod tokens;
mod ws;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use http::StatusCode;
use tokio_util::sync::CancellationToken;
use waypost_domain::Clock;
use waypost_engine::stream::{Cursor, Since, Stream, SubscribeError, Subscription, Wanted};
use waypost_store::Store;

use self::access::Caller;
use self::ask::Ask;
use self::readers::Readers;
use self::tokens::Tokens;
use crate::admin::{AdminToken, Problem};
use crate::config;

pub(crate) use access::Door;
pub(crate) use pages::{Served, events_or_else, is_page, pages, with_origins};

/// Frames that a reader is given at once.
const FRAMES_MAX: usize = 64;

/// The stream, ready to be served.
pub(crate) struct Streaming {
    stream: Stream,
    store: Store,
    clock: Clock,
    tokens: Tokens,
    admin_token: Arc<AdminToken>,
    settings: ArcSwap<config::Stream>,
    readers: Readers,
    stopping: CancellationToken,
}

/// Why a reader gets no stream.
pub(crate) enum NoStream {
    /// Some of what followed its cursor is kept no more; it may go on from that one.
    TooOld(Cursor),
    /// The store cannot be read just now.
    Failing,
    /// It asks for what it cannot have.
    Refused(Problem),
}

impl Streaming {
    /// The stream of a store, as the configuration has it. Readers are let go once `stopping` is cancelled.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub(crate) async fn new(
        stream: Stream,
        store: Store,
        clock: Clock,
        admin_token: Arc<AdminToken>,
        config: &config::Stream,
        stopping: CancellationToken,
    ) -> anyhow::Result<Self> {
        let tokens = Tokens::new(store.clone(), clock.clone(), config).await?;
        let (settings, readers) = (ArcSwap::from_pointee(config.clone()), Readers::default());
        Ok(Self { stream, store, clock, tokens, admin_token, settings, readers, stopping })
    }

    /// Takes over what the configuration now says.
    pub(crate) async fn configure(&self, config: &config::Stream) {
        self.tokens.configure(config).await;
        self.settings.store(Arc::new(config.clone()));
    }

    /// The tokens.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The engine's side of it.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether the public listeners serve it.
    pub(crate) fn is_public(&self) -> bool {
        self.settings.load().public
    }

    fn settings(&self) -> Guard<Arc<config::Stream>> {
        self.settings.load()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Begins to read for a caller.
    async fn subscribe(&self, since: Since, ask: &Ask, caller: &Caller) -> Result<Subscription, NoStream> {
        let wanted = Wanted {
            since,
            filter: ask.filter(caller)?,
            scope: ask::scope(caller)?,
            view: ask.view(caller)?,
            replays: ask.replays,
        };
        self.stream.subscribe(wanted).await.map_err(|error| match error {
            SubscribeError::TooOld { oldest } => NoStream::TooOld(oldest),
            SubscribeError::Unknown => {
                let detail = "the cursor is not one of this gateway; begin with since=oldest or since=now";
                NoStream::Refused(Problem::new(StatusCode::BAD_REQUEST, "cursor_unknown", detail))
            }
            SubscribeError::Store(error) => {
                tracing::warn!(%error, code = error.code(), "the stream cannot be read; a reader is sent away");
                NoStream::Failing
            }
        })
    }
}

impl From<Problem> for NoStream {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<NoStream> for Problem {
    fn from(why: NoStream) -> Self {
        match why {
            NoStream::Refused(problem) => problem,
            NoStream::TooOld(oldest) => {
                let detail = format!(
                    "some of what followed this cursor is kept no more; the oldest to go on from is {oldest}"
                );
                Self::new(StatusCode::GONE, "cursor_too_old", detail).with("oldest", oldest.to_string())
            }
            NoStream::Failing => {
                let detail = "the stream cannot be read just now; try again later";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stream_failing", detail)
            }
        }
    }
}
