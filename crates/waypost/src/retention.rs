//! Retention: takes away, in small steps, what has been kept for long enough.

use std::time::Duration;

use waypost_domain::Clock;
use waypost_store::{Prune, Retention, Store, StoreError};

/// Between passes.
const PASS_EVERY: Duration = Duration::from_secs(60);
/// Between the steps of a pass: the writer has other things to do.
const STEP_EVERY: Duration = Duration::from_millis(20);
/// Rows that one step takes away at most.
const STEP_ROWS: usize = 512;

/// Prunes for as long as it is let.
pub(crate) async fn prune(store: Store, clock: Clock, retention: Retention) {
    loop {
        match store.prune(Prune { now: clock.wall(), retention, steps: STEP_ROWS }).await {
            Ok(pruned) if pruned.more => tokio::time::sleep(STEP_EVERY).await,
            Ok(_) => tokio::time::sleep(PASS_EVERY).await,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, code = error.code(), "cannot prune; trying again");
                tokio::time::sleep(PASS_EVERY).await;
            }
        }
    }
}
