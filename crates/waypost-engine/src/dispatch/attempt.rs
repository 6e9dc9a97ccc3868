//! One attempt: fetch the body, send it, judge the outcome, write it down.

use std::sync::Arc;
use std::time::Duration;

use waypost_domain::{
    AttemptReport, Blame, Clock, DeliveryId, EventId, Failure, Next, Reply, RequestId, RetrySchedule,
    Rulings, UnixMillis, Verdict, judge,
};
use waypost_store::{AttemptRecord, RequestBody, Settled, Settlement, Store, StoreError, Turn};

use crate::bodies::{Bodies, Content};
use crate::sender::{Parcel, Sender};

/// What an attempt works with.
pub(super) struct Job {
    pub(super) delivery: DeliveryId,
    pub(super) request: RequestId,
    pub(super) event: Option<EventId>,
    /// Its place in the order of what is owed, by which an outcome is known to be of this round.
    pub(super) turn: Turn,
    pub(super) accepted_at: UnixMillis,
    /// Failed attempts before this one.
    pub(super) attempts: u32,
    pub(super) overtaken: bool,
    /// A probe that fails is not charged and not written down, for as long as the schedule lasts.
    pub(super) probe: bool,
    pub(super) sender: Arc<dyn Sender>,
    pub(super) schedule: Arc<RetrySchedule>,
    pub(super) rulings: Arc<Rulings>,
}

/// How an attempt ended, once it is written down.
pub(super) struct Ended {
    pub(super) delivery: DeliveryId,
    pub(super) attempts: u32,
    pub(super) reply: Reply,
    pub(super) verdict: Verdict,
    pub(super) outcome: Outcome,
    pub(super) accepted_at: UnixMillis,
    pub(super) probe: bool,
}

/// What became of the delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Delivered,
    /// Due again then.
    Retry(UnixMillis),
    Dead,
    /// Nothing was charged: it is owed as before.
    Uncharged,
}

/// How long to wait before the store is asked again for what it could not do: at first, and at most.
const STORE_RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

pub(super) async fn run(job: Job, store: Store, bodies: Arc<Bodies>, clock: Clock) -> Ended {
    let started = clock.wall();
    let (report, verdict) = match parcel(&job, &store, &bodies).await {
        Ok(parcel) => {
            let report = job.sender.attempt(parcel).await;
            let verdict = judge(&report.reply, &job.rulings);
            (report, verdict)
        }
        Err(gone) => gone.report(),
    };
    let outcome = decide(&job, &verdict, clock.wall());
    if let Some(settled) = settled(outcome) {
        let attempt = record(started, &report, &verdict);
        let (delivery, turn, overtaken) = (job.delivery, job.turn, job.overtaken);
        let settlement = Settlement { delivery, turn, settled, overtaken, attempt };
        write_down(settlement, &store).await;
    }
    Ended {
        delivery: job.delivery,
        attempts: job.attempts + u32::from(matches!(outcome, Outcome::Retry(_))),
        reply: report.reply,
        verdict,
        outcome,
        accepted_at: job.accepted_at,
        probe: job.probe,
    }
}

/// Why an attempt cannot even be made, now or ever.
#[derive(Clone, Copy)]
enum Gone {
    /// The body is no longer kept, or cannot be read.
    Body,
    /// The body holds no such event.
    Event,
}

impl Gone {
    fn report(self) -> (AttemptReport, Verdict) {
        let why = match self {
            Self::Body => "the body of this request is no longer kept",
            Self::Event => "the body of this request no longer yields this event",
        };
        let report = AttemptReport {
            reply: Reply::Failed(Failure::Ours),
            timing: waypost_domain::AttemptTiming::default(),
            address: None,
            excerpt: why.as_bytes().to_vec(),
        };
        (report, Verdict { next: Next::Dead, blame: Some(Blame::Us), code: "body_gone" })
    }
}

/// What is to be sent: the request as it came, or one event of it. A request that holds nothing but the event is sent as it
/// came.
async fn parcel(job: &Job, store: &Store, bodies: &Bodies) -> Result<Parcel, Gone> {
    let (delivery, request, attempt) = (job.delivery, job.request, job.attempts + 1);
    let whole = |content: &Content, event, field| Parcel {
        delivery,
        request,
        event,
        attempt,
        content: content.request().clone(),
        piece_of: None,
        field,
    };
    let Some(event) = job.event else {
        let content = match bodies.take(request) {
            Some(content) => content,
            None => read(job, store, false).await.ok_or(Gone::Body)?,
        };
        let mut field = None;
        if job.sender.names_events() {
            let cuts = content.cuts().await;
            field = (cuts.len() == 1).then(|| cuts.field(0).into());
        }
        return Ok(whole(&content, request.event(0), field));
    };
    let content = bodies.share(request, || read(job, store, true)).await.ok_or(Gone::Body)?;
    let cuts = content.cuts().await;
    let index = place(request, event).filter(|index| *index < cuts.len()).ok_or(Gone::Event)?;
    let field: Option<Box<str>> = Some(cuts.field(index).into());
    if cuts.is_alone(index) {
        bodies.let_go(request);
        return Ok(whole(&content, event, field));
    }
    let RequestBody { source, target, headers, body } = &**content.request();
    let piece = RequestBody {
        source: source.clone(),
        target: target.clone(),
        headers: headers.clone(),
        body: cuts.one(body, index).into(),
    };
    Ok(Parcel { delivery, request, event, attempt, content: Arc::new(piece), piece_of: Some(content), field })
}

/// Which of its request's events this is: they bear the numbers that follow the request's own.
fn place(request: RequestId, event: EventId) -> Option<usize> {
    let offset = event.0.checked_sub(request.event(0).0)?;
    usize::try_from(offset).ok()
}

/// The request's bytes from the store, which is asked until it answers. `None` if it no longer has them.
async fn read(job: &Job, store: &Store, in_pieces: bool) -> Option<Arc<Content>> {
    let mut pause = STORE_RETRY.0;
    loop {
        match store.request_body(job.request).await {
            Ok(request) => return request.map(|request| Arc::new(Content::new(request, in_pieces))),
            Err(StoreError::Closed) => std::future::pending().await,
            Err(error @ StoreError::Corrupt(_)) => {
                tracing::error!(delivery = %job.delivery, %error, code = error.code(), "a request's body cannot be read, now or ever");
                return None;
            }
            Err(error) => {
                tracing::warn!(delivery = %job.delivery, %error, code = error.code(), "cannot read a request's body; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(STORE_RETRY.1);
            }
        }
    }
}

fn decide(job: &Job, verdict: &Verdict, now: UnixMillis) -> Outcome {
    match verdict.next {
        Next::Done => Outcome::Delivered,
        Next::Dead => Outcome::Dead,
        // A probe is not charged, unless it is what finds the schedule used up.
        Next::Retry { .. } if job.probe && !job.schedule.is_used_up(job.accepted_at, now) => {
            Outcome::Uncharged
        }
        Next::Retry { not_before } => {
            let seed = job.delivery.0 as u64;
            let due = job.schedule.next(job.accepted_at, job.attempts + 1, now, not_before, seed);
            due.map_or(Outcome::Dead, Outcome::Retry)
        }
    }
}

fn settled(outcome: Outcome) -> Option<Settled> {
    match outcome {
        Outcome::Delivered => Some(Settled::Delivered),
        Outcome::Retry(due_at) => Some(Settled::Retry { due_at }),
        Outcome::Dead => Some(Settled::Dead),
        Outcome::Uncharged => None,
    }
}

fn record(at: UnixMillis, report: &AttemptReport, verdict: &Verdict) -> AttemptRecord {
    let status = match report.reply {
        Reply::Answered { status, .. } => Some(status),
        Reply::Failed(_) => None,
    };
    let excerpt = if verdict.next == Next::Done { Vec::new() } else { report.excerpt.clone() };
    AttemptRecord {
        at,
        timing: report.timing,
        address: report.address,
        status,
        code: verdict.code.into(),
        excerpt,
    }
}

/// Writes an outcome down, however long the store takes to be able to: forgetting it would deliver
/// twice, or never again.
async fn write_down(settlement: Settlement, store: &Store) {
    let mut pause = STORE_RETRY.0;
    loop {
        match store.settle(settlement.clone()).await {
            Ok(()) => return,
            Err(StoreError::Closed) => std::future::pending().await,
            Err(error @ StoreError::Corrupt(_)) => {
                tracing::error!(delivery = %settlement.delivery, %error, code = error.code(), "an outcome cannot be written down; the delivery is owed again after a restart");
                return;
            }
            Err(error) => {
                tracing::warn!(delivery = %settlement.delivery, %error, code = error.code(), "cannot write an outcome down; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(STORE_RETRY.1);
            }
        }
    }
}
