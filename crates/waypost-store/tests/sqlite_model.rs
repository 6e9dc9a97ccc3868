//! The store against a naive model: whatever is done in whatever order, both say the same.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, DeliveryId, DeliveryState, UnixMillis};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{
    act_on, acts, dead, delivered, due, message, owed, request, retry, single, whole,
};
use waypost_store::{
    Accept, DeliveryFilter, DeliveryPage, EventFilter, OwedDelivery, Page, Settlement, Store, StoreOptions,
    Turn,
};

const LATER: UnixMillis = UnixMillis(NOON.0 + 3_600_000);

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
        /// The attempt was under way when the delivery was replayed, or before.
        stale: bool,
    },
    /// Any delivery ever made, by its place, and what an operator does to it.
    Act {
        which: prop::sample::Index,
        what: u8,
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
        6 => (any::<prop::sample::Index>(), 0..3_u8, prop::bool::weighted(0.2))
            .prop_map(|(which, outcome, stale)| Step::Settle { which, outcome, stale }),
        5 => (any::<prop::sample::Index>(), 0..4_u8).prop_map(|(which, what)| Step::Act { which, what }),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    seen: BTreeSet<u8>,
    events: usize,
    deliveries: BTreeMap<DeliveryId, Modelled>,
    turns: usize,
    acts: usize,
}

struct Modelled {
    destination: String,
    state: DeliveryState,
    attempts: u32,
    recorded: usize,
    turn: usize,
    overtaken: bool,
    due_at: UnixMillis,
}

fn open(place: &Path) -> Store {
    let options = StoreOptions {
        path: place.join("waypost.db"),
        readers: 1,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
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
                    self.turns += 1;
                    let modelled = Modelled {
                        destination: owed.destination.to_string(),
                        state: DeliveryState::Owed,
                        attempts: 0,
                        recorded: 0,
                        turn: self.turns,
                        overtaken: false,
                        due_at: owed.due_at,
                    };
                    self.deliveries.insert(owed.id, modelled);
                }
            }
            Step::Settle { which, outcome, stale } => {
                if self.deliveries.is_empty() {
                    return;
                }
                let ids: Vec<_> = self.deliveries.keys().copied().collect();
                let id = *which.get(&ids);
                let (settlement, after, failed) = match outcome {
                    0 => (delivered(id), DeliveryState::Delivered, 0),
                    1 => (retry(id, LATER), DeliveryState::Owed, 1),
                    _ => (dead(id), DeliveryState::Dead, 1),
                };
                let now = store.delivery(id).await.unwrap().unwrap().delivery.owed.turn;
                let turn = if *stale { Turn(now.0 - 1) } else { now };
                store.settle(Settlement { turn, ..settlement }).await.unwrap();
                let found = self.deliveries.get_mut(&id).unwrap();
                found.recorded += 1;
                if found.state == DeliveryState::Owed && !stale {
                    found.state = after;
                    found.attempts += failed;
                    found.due_at = if *outcome == 1 { LATER } else { found.due_at };
                }
            }
            Step::Act { which, what } => {
                if self.deliveries.is_empty() {
                    return;
                }
                let ids: Vec<_> = self.deliveries.keys().copied().collect();
                self.act(store, *which.get(&ids), *what).await;
            }
        }
    }

    async fn act(&mut self, store: &Store, id: DeliveryId, what: u8) {
        use DeliveryState::{Dead, Discarded, Owed};
        let found = self.deliveries.get_mut(&id).unwrap();
        let on = act_on(id);
        let at = on.at;
        let (count, may) = match what {
            0 => (store.discard(on).await.unwrap().count, matches!(found.state, Owed | Dead)),
            1 => (store.replay(on).await.unwrap().count, found.state != Owed),
            2 => (store.retry(on).await.unwrap().count, found.state == Owed),
            _ => {
                store.mark_overtaken(vec![id]).await.unwrap();
                found.overtaken = true;
                return;
            }
        };
        assert_eq!(count, u64::from(may));
        if !may {
            return;
        }
        self.acts += 1;
        match what {
            0 => found.state = Discarded,
            1 => {
                self.turns += 1;
                let (turn, due_at) = (self.turns, at);
                (found.state, found.attempts, found.overtaken) = (Owed, 0, false);
                (found.turn, found.due_at) = (turn, due_at);
            }
            _ => found.due_at = found.due_at.min(at),
        }
    }

    async fn check(&self, store: &Store) {
        let stats = store.stats().await.unwrap();
        let mut destinations = Vec::new();
        for to in ["to0", "to1", "to2"] {
            let in_state = |wanted| {
                let all = self.deliveries.iter();
                all.filter(move |(_, found)| found.destination == to && found.state == wanted)
                    .map(|(id, found)| (found.turn, *id, found.attempts, found.overtaken, found.due_at))
                    .collect::<BTreeSet<_>>()
            };
            let told = |owed: &OwedDelivery| (owed.id, owed.attempts, owed.overtaken, owed.due_at);
            let expected: Vec<_> =
                in_state(DeliveryState::Owed).into_iter().map(|(_, a, b, c, d)| (a, b, c, d)).collect();
            let found: Vec<_> = owed(store, to).await.iter().map(told).collect();
            assert_eq!(found, expected);
            for until in [UnixMillis(0), UnixMillis(LATER.0 - 1), LATER] {
                let mut again: Vec<_> = expected
                    .iter()
                    .filter(|(_, attempts, _, at)| *attempts > 0 && *at <= until)
                    .copied()
                    .collect();
                again.sort_by_key(|(id, .., at)| (*at, *id));
                assert_eq!(due(store, to, until).await.iter().map(told).collect::<Vec<_>>(), again);
                let later = expected.iter().filter(|(_, attempts, _, at)| *attempts > 0 && *at > until);
                let next = later.map(|(.., at)| *at).min();
                assert_eq!(store.next_due(to, until).await.unwrap(), next);
            }
            for state in DeliveryState::ALL {
                let filter = DeliveryFilter {
                    destination: Some(to.to_owned()),
                    state: Some(state),
                    ..DeliveryFilter::default()
                };
                let page = DeliveryPage { before: None, limit: 1_000 };
                let list = store.deliveries(filter, page).await.unwrap();
                let found: Vec<_> = list.deliveries.iter().map(|detail| detail.delivery.owed.id).collect();
                let mut listed: Vec<_> = in_state(state).into_iter().map(|(_, id, ..)| id).collect();
                listed.sort_by(|a, b| b.cmp(a));
                assert_eq!((found, list.next), (listed, None));
            }
            let counted =
                stats.owed.iter().find(|(name, ..)| &**name == to).map_or(0, |(_, count, _)| *count);
            assert_eq!(counted, expected.len() as u64);
            let buried = stats.dead.iter().find(|(name, _)| &**name == to).map_or(0, |(_, count)| *count);
            assert_eq!(buried, in_state(DeliveryState::Dead).len() as u64);
            if !expected.is_empty() {
                destinations.push(to);
            }
        }
        assert_eq!(stats.owed.iter().map(|(name, ..)| &**name).collect::<Vec<_>>(), destinations);
        let all = store.events(EventFilter::default(), Page { before: None, limit: 1_000 }).await.unwrap();
        assert_eq!(all.events.len(), self.events);
        for (id, found) in &self.deliveries {
            assert_eq!(store.attempts(*id).await.unwrap().len(), found.recorded);
        }
        assert_eq!(acts(store).await.len(), self.acts);
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
