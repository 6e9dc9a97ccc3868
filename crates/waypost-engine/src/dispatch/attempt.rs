//! One attempt: fetch the body, send it, judge the outcome, write it down.

use std::sync::Arc;
use std::time::Duration;

use waypost_domain::{
    AttemptReport, Blame, Clock, DeliveryId, Failure, Next, Reply, RequestId, RetrySchedule, Rulings,
    UnixMillis, Verdict, judge,
};
use waypost_store::{AttemptRecord, RequestBody, Settled, Settlement, Store, StoreError};

use crate::bodies::Bodies;
use crate::sender::{Parcel, Sender};

/// What an attempt works with.
pub(super) struct Job {
    pub(super) delivery: DeliveryId,
    pub(super) request: RequestId,
    pub(super) event: Option<waypost_domain::EventId>,
    pub(super) accepted_at: UnixMillis,
    /// Failed attempts before this one.
    pub(super) attempts: u32,
    pub(super) overtaken: bool,
    /// A probe that fails is not charged and not written down.
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
    let (report, verdict) = match content(&job, &store, &bodies).await {
        Some(content) => {
            let event = job.event.unwrap_or_else(|| job.request.event(0));
            let (delivery, request, attempt) = (job.delivery, job.request, job.attempts + 1);
            let report = job.sender.attempt(Parcel { delivery, request, event, attempt, content }).await;
            let verdict = judge(&report.reply, &job.rulings);
            (report, verdict)
        }
        None => gone(),
    };
    let outcome = decide(&job, &verdict, clock.wall());
    if let Some(settled) = settled(outcome) {
        let attempt = record(started, &report, &verdict);
        let settlement = Settlement { delivery: job.delivery, settled, overtaken: job.overtaken, attempt };
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

/// The request's bytes: from memory, else from the store, which is asked until it answers. `None` if the
/// store no longer has them.
async fn content(job: &Job, store: &Store, bodies: &Bodies) -> Option<Arc<RequestBody>> {
    if let Some(content) = bodies.take(job.request) {
        return Some(content);
    }
    let mut pause = STORE_RETRY.0;
    loop {
        match store.request_body(job.request).await {
            Ok(content) => return content.map(Arc::new),
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

/// An attempt that cannot even be made, now or ever.
fn gone() -> (AttemptReport, Verdict) {
    let report = AttemptReport {
        reply: Reply::Failed(Failure::Ours),
        timing: waypost_domain::AttemptTiming::default(),
        address: None,
        excerpt: b"the body of this request is no longer kept".to_vec(),
    };
    (report, Verdict { next: Next::Dead, blame: Some(Blame::Us), code: "body_gone" })
}

fn decide(job: &Job, verdict: &Verdict, now: UnixMillis) -> Outcome {
    match verdict.next {
        Next::Done => Outcome::Delivered,
        Next::Dead => Outcome::Dead,
        Next::Retry { .. } if job.probe => Outcome::Uncharged,
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
