//! The store against a naive model: whatever is done in whatever order, both say the same.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, DeliveryId, DeliveryState, UnixMillis};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{dead, delivered, message, owed, request, retry, single, whole};
use waypost_store::{Accept, EventFilter, Page, Store, StoreOptions};

#[derive(Clone, Debug)]
enum Step {
    /// Events by their keys, and to whom they are owed: whole or singly.
    Accept {
        keys: Vec<u8>,
        whole: Vec<u8>,
        single: Vec<(u8, u8)>,
        later_ms: i64,
    },
    /// Any delivery ever made, by its place, and what becomes of it.
    Settle {
        which: prop::sample::Index,
        outcome: u8,
    },
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = prop::collection::vec(0..12_u8, 0..4);
    let whole = prop::collection::vec(0..3_u8, 0..3);
    let single = prop::collection::vec((0..3_u8, 0..4_u8), 0..4);
    prop_oneof![
        6 => (keys, whole, single, -5_000..5_000_i64).prop_map(|(keys, whole, single, later_ms)| {
            let single = single.into_iter().filter(|(_, place)| usize::from(*place) < keys.len()).collect();
            Step::Accept { keys, whole, single, later_ms }
        }),
        6 => (any::<prop::sample::Index>(), 0..3_u8).prop_map(|(which, outcome)| Step::Settle { which, outcome }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    seen: BTreeSet<u8>,
    events: usize,
    /// Destination, state, failed attempts, attempts recorded.
    deliveries: BTreeMap<DeliveryId, (String, DeliveryState, u32, usize)>,
}

fn open(place: &Path) -> Store {
    let options = StoreOptions {
        path: place.join("waypost.db"),
        readers: 1,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
    };
    Store::open(options, Clock::manual(NOON)).unwrap()
}

impl Model {
    /// Does a step on both, and checks that they answer alike.
    async fn step(&mut self, store: &Store, step: &Step) {
        match step {
            Step::Reopen => {}
            Step::Accept { keys, whole: to_whole, single: to_single, later_ms } => {
                let events: Vec<_> = keys.iter().map(|key| message(&format!("wamid.{key}"))).collect();
                let mut accept = Accept { received_at: UnixMillis(NOON.0 + later_ms), ..request(events) };
                accept.deliveries = to_whole.iter().map(|to| whole(&format!("to{to}"))).collect();
                accept
                    .deliveries
                    .extend(to_single.iter().map(|(to, place)| single(&format!("to{to}"), (*place).into())));
                let accepted = store.accept(accept).await.unwrap();

                let new: Vec<bool> = keys.iter().map(|key| self.seen.insert(*key)).collect();
                let found: Vec<bool> = accepted.events.iter().map(|(_, repeats)| repeats.is_none()).collect();
                assert_eq!(found, new);
                let any_new = new.contains(&true);
                let mut expected: Vec<String> =
                    to_whole.iter().filter(|_| any_new).map(|to| format!("to{to}")).collect();
                expected.extend(
                    to_single
                        .iter()
                        .filter(|(_, place)| new[usize::from(*place)])
                        .map(|(to, _)| format!("to{to}")),
                );
                let destinations: Vec<_> =
                    accepted.owed.iter().map(|owed| owed.destination.to_string()).collect();
                assert_eq!(destinations, expected);
                self.events += keys.len();
                for owed in accepted.owed {
                    let earlier = self.deliveries.last_key_value().map(|(id, _)| *id);
                    assert!(earlier.is_none_or(|earlier| earlier < owed.id));
                    self.deliveries
                        .insert(owed.id, (owed.destination.to_string(), DeliveryState::Owed, 0, 0));
                }
            }
            Step::Settle { which, outcome } => {
                if self.deliveries.is_empty() {
                    return;
                }
                let ids: Vec<_> = self.deliveries.keys().copied().collect();
                let id = *which.get(&ids);
                let (settlement, after, failed) = match outcome {
                    0 => (delivered(id), DeliveryState::Delivered, 0),
                    1 => (retry(id, NOON), DeliveryState::Owed, 1),
                    _ => (dead(id), DeliveryState::Dead, 1),
                };
                store.settle(settlement).await.unwrap();
                let (_, state, attempts, recorded) = self.deliveries.get_mut(&id).unwrap();
                *recorded += 1;
                if *state == DeliveryState::Owed {
                    *state = after;
                    *attempts += failed;
                }
            }
        }
    }

    async fn check(&self, store: &Store) {
        let stats = store.stats().await.unwrap();
        let mut destinations = Vec::new();
        for to in ["to0", "to1", "to2"] {
            let in_state = |wanted| {
                self.deliveries
                    .iter()
                    .filter(move |(_, (destination, state, ..))| destination == to && *state == wanted)
                    .map(|(id, (.., attempts, _))| (*id, *attempts))
                    .collect::<Vec<_>>()
            };
            let expected = in_state(DeliveryState::Owed);
            let found: Vec<_> = owed(store, to).await.iter().map(|owed| (owed.id, owed.attempts)).collect();
            assert_eq!(found, expected);
            let counted =
                stats.owed.iter().find(|(name, ..)| &**name == to).map_or(0, |(_, count, _)| *count);
            assert_eq!(counted, expected.len() as u64);
            let buried = stats.dead.iter().find(|(name, _)| &**name == to).map_or(0, |(_, count)| *count);
            assert_eq!(buried, in_state(DeliveryState::Dead).len() as u64);
            if !expected.is_empty() {
                destinations.push(to);
            }
        }
        let owed_destinations = store.owed_destinations().await.unwrap();
        assert_eq!(owed_destinations.iter().map(|name| &**name).collect::<Vec<_>>(), destinations);
        let all = store.events(EventFilter::default(), Page { before: None, limit: 1_000 }).await.unwrap();
        assert_eq!(all.events.len(), self.events);
        for (id, (.., recorded)) in &self.deliveries {
            assert_eq!(store.attempts(*id).await.unwrap().len(), *recorded);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_the_model_agree(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = tempfile::tempdir().unwrap();
            let mut store = Some(open(place.path()));
            let mut model = Model::default();
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    drop(store.take());
                }
                let store = store.get_or_insert_with(|| open(place.path()));
                model.step(store, step).await;
            }
            if let Some(store) = &store {
                model.check(store).await;
            }
        });
    }
}
