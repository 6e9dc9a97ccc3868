//! What outlives its schedule while its destination is down.
//!
//! **The promise:** an outage longer than the schedule does not end in nothing. What is too old to be tried again
//! becomes dead, with a code of its own: kept, counted, and to be replayed at once, all of it. That happens in
//! small steps; a destination that an operator has paused loses nothing, however long.
//!
//! While the destination is up nothing is looked for: what is too old is tried once more, and given up if that
//! fails.

use std::time::Duration;

use tokio::task::JoinSet;
use waypost_domain::{AttemptTiming, UnixMillis, limits};
use waypost_store::{AttemptRecord, OwedDelivery, OwedPage, Settled, Settlement, Store, StoreError};

use super::desk::{Desk, POLL};
use super::reading::Read;
use crate::gate::BreakerState;

/// The error code of what expired.
const EXPIRED: &str = "expired";
/// How soon to go on when there may be more.
const NEXT_STEP: Duration = Duration::from_secs(1);

impl Desk {
    /// Gives up the oldest of what is owed, where the schedule is used up, while the destination is down.
    pub(super) async fn expire(&mut self) -> Read {
        let (now, wall) = (self.environment.clock.monotonic(), self.environment.clock.wall());
        let is_down = self.gate.breaker() == BreakerState::Open && !self.gate.is_paused();
        if !is_down || now < self.expire_at {
            return Read::Nothing;
        }
        // The first in turn were accepted first.
        let limit = limits::EXPIRED_AT_ONCE_MAX;
        let page = OwedPage { destination: self.destination.name.clone(), after: None, limit };
        let page = match self.environment.store.owed(page).await {
            Ok(page) => page,
            Err(error) => return self.unreadable(&error),
        };
        let is_expired = |owed: &OwedDelivery| self.schedule.is_used_up(owed.accepted_at, wall);
        let expired: Vec<&OwedDelivery> =
            page.iter().filter(|owed| is_expired(owed) && !self.handle.is_sending(owed.id)).collect();
        let first_to_stay = page.iter().find(|owed| !is_expired(owed));
        self.expire_at = now
            + first_to_stay.map_or(if page.len() < limit { POLL } else { NEXT_STEP }, |owed| {
                let at = owed.accepted_at.plus(self.schedule.give_up_after());
                at.since(wall).clamp(NEXT_STEP, POLL)
            });
        if expired.is_empty() {
            return Read::Nothing;
        }
        let settlements = expired.iter().map(|owed| settlement(owed, wall)).collect();
        if let Err(error) = settle_all(settlements, &self.environment.store).await {
            // Whatever part of them was written is found out by reading anew.
            self.read_anew();
            return self.unreadable(&error);
        }
        let count = expired.len();
        let all_were_held = expired.iter().all(|owed| self.window.lanes().holds(owed.turn));
        let turns: Vec<_> = expired.iter().map(|owed| owed.turn).collect();
        turns.into_iter().for_each(|turn| self.drop_from_memory(turn));
        if !all_were_held {
            self.read_anew();
        }
        self.metrics.dead.inc_by(count as u64);
        tracing::error!(destination = %self.destination.name, count, code = EXPIRED, "destination is down for longer than the schedule; deliveries are dead and kept");
        Read::Some
    }
}

/// Writes all of them down: together they share a commit.
async fn settle_all(settlements: Vec<Settlement>, store: &Store) -> Result<(), StoreError> {
    let mut settling = JoinSet::new();
    for settlement in settlements {
        let store = store.clone();
        settling.spawn(async move { store.settle(settlement).await });
    }
    let settled = settling.join_all().await;
    settled.into_iter().collect()
}

fn settlement(owed: &OwedDelivery, at: UnixMillis) -> Settlement {
    let attempt = AttemptRecord {
        at,
        timing: AttemptTiming::default(),
        address: None,
        status: None,
        code: EXPIRED.into(),
        excerpt: b"the destination was down until the schedule was used up".to_vec(),
    };
    let (delivery, turn, overtaken) = (owed.id, owed.turn, owed.overtaken);
    Settlement { delivery, turn, settled: Settled::Dead, overtaken, attempt }
}
