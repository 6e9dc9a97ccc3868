//! What follows once a kept request has its place in the ledger: its events are counted, its body is left ready for
//! those who are owed it, and they are woken.
//!
//! It is done on the store's own thread, between two commits, and is short: nothing waits, and whatever goes wrong is
//! made good, since everybody who is woken here also asks the store from time to time. It holds nothing that holds the
//! store: who is told by the store must not keep it open.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::Level;
use waypost_store::{Accepted, Applied, RequestBody};

use crate::bodies::{Bodies, Content};
use crate::dispatch::{DestinationHandle, Destinations};
use crate::metrics::{Metrics, NoveltyLabel};
use crate::stream::Waker;

pub(crate) struct Aftermath {
    pub(crate) destinations: Destinations,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) stream: Waker,
    pub(crate) metrics: Metrics,
}

/// The destinations that one group concerns, each looked up once: those at work, and whether what is accepted now will
/// be attempted soon.
type Concerned = HashMap<Arc<str>, Option<(DestinationHandle, bool)>>;

impl Aftermath {
    /// Of a group, in order.
    pub(crate) fn of(&self, group: Vec<Applied>) {
        let mut concerned = Concerned::new();
        for Applied { accept, accepted } in group {
            self.count(&accepted);
            tell(&accept.source, &accepted);
            let mut takes = 0;
            for owed in &accepted.owed {
                if !concerned.contains_key(&owed.destination) {
                    let found = self.destinations.find(&owed.destination);
                    let found = found.map(|destination| {
                        let is_live = destination.is_live();
                        (destination, is_live)
                    });
                    concerned.insert(owed.destination.clone(), found);
                }
                let is_live = matches!(concerned.get(&owed.destination), Some(Some((_, true))));
                takes += usize::from(is_live);
            }
            let is_followed = self.stream.is_followed();
            if takes > 0 || is_followed {
                let in_pieces = accepted.owed.iter().any(|owed| owed.event.is_some());
                let content = RequestBody {
                    source: accept.source,
                    target: accept.target,
                    headers: accept.headers,
                    body: accept.body,
                };
                let content = Arc::new(Content::new(content, in_pieces));
                if is_followed {
                    self.stream.bring(accepted.request, content.clone());
                }
                self.bodies.put(accepted.request, content, takes);
            }
        }
        for (destination, _) in concerned.into_values().flatten() {
            destination.owe();
        }
        self.stream.wake();
    }

    fn count(&self, accepted: &Accepted) {
        let repeats = accepted.events.iter().filter(|(_, repeats)| repeats.is_some()).count() as u64;
        let new = accepted.events.len() as u64 - repeats;
        for (novelty, number) in [("new", new), ("duplicate", repeats)] {
            if number > 0 {
                self.metrics.events.get_or_create(&NoveltyLabel { novelty }).inc_by(number);
            }
        }
    }
}

fn tell(source: &str, accepted: &Accepted) {
    if accepted.quarantined > 0 {
        tracing::warn!(source, request = %accepted.request, events = accepted.quarantined, "no route takes these events; they are quarantined until a route does and they are replayed");
    }
    if tracing::enabled!(Level::DEBUG) {
        for (event, repeats) in &accepted.events {
            // By its identifier alone: a key may hold a phone number.
            tracing::debug!(source, %event, duplicate = repeats.is_some(), "event received");
        }
    }
}
