//! The handing over itself, once a successor is prepared.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use waypost_domain::Clock;
use waypost_store::Store;

use super::doors::OpenDoors;
use super::program::Program;
use super::successor::Successor;
use super::turnstile::Turnstile;
use super::{Prepared, UpgradeError};
use crate::exit::Exit;
use crate::lifecycle::Lifecycle;

/// Hands everything to the successor, and ends when the last connection has. Whatever becomes of the successor, somebody goes on:
/// this program itself, if need be. Asked to stop before the store is closed, we stop and the successor with us.
pub(crate) async fn hand_over(
    lifecycle: &mut Lifecycle,
    successor: Successor,
    store: &Store,
    turnstile: &Turnstile,
    clock: &Clock,
) -> Exit {
    let Some((program, doors)) = lifecycle.estate() else { return Exit::Failed };
    tracing::info!("upgrading: what is being delivered is finished first");
    if !lifecycle.rest().await {
        tracing::info!("stopping: the upgrade is given up");
        drop(successor);
        lifecycle.finish().await;
        store.close().await;
        return Exit::Done;
    }
    let successor = alive(successor, &program, &doors).await;
    let closing = clock.monotonic();
    let _closed = turnstile.close().await;
    store.close().await;
    let closed = clock.monotonic();
    match opened(successor, &program, &doors).await {
        Ok(successor) => {
            let Prepared { process, version } = successor.prepared.clone();
            let (close_ms, gap_ms) = (millis(closed, closing), millis(clock.monotonic(), closing));
            tracing::info!(
                process,
                version,
                close_ms,
                gap_ms,
                "the new process serves; ending with the last connection"
            );
            turnstile.lead_to(successor.let_go());
            if !lifecycle.is_supervised() && lifecycle.was_asked_to_stop().await {
                stop(process);
            }
            lifecycle.leave(process, turnstile.successor_gone()).await;
            Exit::Done
        }
        Err(error) => {
            tracing::error!("neither the new version nor this one can go on; ending: {error}");
            turnstile.lead_nowhere();
            lifecycle.finish().await;
            Exit::PartDied
        }
    }
}

/// The successor, or another of our own kind if it has died while it waited.
async fn alive(
    mut successor: Successor,
    program: &Program,
    doors: &OpenDoors,
) -> Result<Successor, UpgradeError> {
    match tokio::time::timeout(Duration::ZERO, successor.failed()).await {
        Err(_) => Ok(successor),
        Ok(error) => {
            successor.kill().await;
            former(&error, program, doors).await
        }
    }
}

/// The successor, with the store open; one of our own kind if it fails.
async fn opened(
    successor: Result<Successor, UpgradeError>,
    program: &Program,
    doors: &OpenDoors,
) -> Result<Successor, UpgradeError> {
    let mut successor = successor?;
    let Err(error) = successor.open().await else { return Ok(successor) };
    successor.kill().await;
    let mut former = former(&error, program, doors).await?;
    match former.open().await {
        Ok(()) => Ok(former),
        Err(error) => {
            former.kill().await;
            Err(error)
        }
    }
}

async fn former(
    error: &UpgradeError,
    program: &Program,
    doors: &OpenDoors,
) -> Result<Successor, UpgradeError> {
    tracing::error!("the upgrade has failed; the former version goes on in a process of its own: {error}");
    Successor::prepare_former(program, doors).await
}

/// Passes on that somebody asked us to stop when it was no longer ours to do.
fn stop(process: u32) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(process, Signal::TERM);
    }
}

fn millis(later: Duration, earlier: Duration) -> u64 {
    u64::try_from(later.saturating_sub(earlier).as_millis()).unwrap_or(u64::MAX)
}
