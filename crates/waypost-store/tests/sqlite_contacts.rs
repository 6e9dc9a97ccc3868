//! Conversations against a naive model of the world: people with user ids and phone numbers, who move, are given
//! new ids, and get numbers that others had.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, EventId, Lane};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{message, person, request};
use waypost_store::{NewContact, Store, StoreOptions};

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

#[derive(Clone, Debug)]
enum Step {
    /// A person writes; the payload shows some of the identities.
    Write {
        who: usize,
        parent: bool,
        user: bool,
        phone: bool,
    },
    /// A person takes a number that nobody has now, and says so or not; then ids may be new, too.
    Move {
        who: usize,
        to: usize,
        said: bool,
        new_ids: bool,
        former: [bool; 2],
    },
    Reopen,
}

const PEOPLE: usize = 4;
const PHONES: usize = 12;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..PEOPLE, any::<(bool, bool, bool)>())
            .prop_map(|(who, (parent, user, phone))| Step::Write { who, parent, user, phone }),
        4 => (0..PEOPLE, 0..PHONES, any::<(bool, bool)>(), any::<[bool; 2]>())
            .prop_map(|(who, to, (said, new_ids), former)| Step::Move { who, to, said, new_ids, former }),
        1 => Just(Step::Reopen),
    ]
}

struct Person {
    phone: usize,
    /// How often the ids were new.
    ids: usize,
    /// Events that showed a user id, with the lanes that their deliveries wait for.
    known: Vec<(EventId, Vec<Lane>)>,
}

struct World {
    people: Vec<Person>,
    /// Numbers that somebody has or had.
    taken: BTreeSet<usize>,
    events: usize,
}

impl World {
    fn new() -> Self {
        let people = (0..PEOPLE).map(|phone| Person { phone, ids: 0, known: Vec::new() });
        Self { people: people.collect(), taken: (0..PEOPLE).collect(), events: 0 }
    }

    fn contact(&self, who: usize, (parent, user, phone): (bool, bool, bool)) -> NewContact {
        let Person { phone: number, ids, .. } = &self.people[who];
        NewContact {
            number: "204".into(),
            parent: parent.then(|| format!("US.ENT.{who}.{ids}").into()),
            user: user.then(|| format!("US.{who}.{ids}").into()),
            phone: phone.then(|| format!("49155{number}").into()),
            ..NewContact::default()
        }
    }

    async fn accept(&mut self, store: &Store, who: usize, contact: NewContact) {
        let shows_id = contact.parent.is_some() || contact.user.is_some();
        self.events += 1;
        let event = person(message(&format!("wamid.{}", self.events)), contact);
        let accepted = store.accept(request([event])).await.unwrap();
        if shows_id {
            let lanes = accepted.owed[0].lanes.as_slice().to_vec();
            self.people[who].known.push((accepted.events[0].0, lanes));
        }
    }

    async fn step(&mut self, store: &Store, step: &Step) {
        match *step {
            Step::Reopen => {}
            Step::Write { who, parent, user, phone } => {
                let phone = phone || !(parent || user);
                let contact = self.contact(who, (parent, user, phone));
                self.accept(store, who, contact).await;
            }
            Step::Move { who, to, said, new_ids, former } => {
                // Whoever gets a number that another had is heard of before moving on, or nobody could tell.
                let had = !self.taken.insert(to);
                if self.people.iter().any(|person| person.phone == to) || (had && !said) {
                    return;
                }
                let before = self.contact(who, (true, true, true));
                self.people[who].phone = to;
                if !said {
                    return;
                }
                self.people[who].ids += usize::from(new_ids);
                let mut contact = self.contact(who, (true, true, true));
                contact.former.extend(before.phone);
                // New ids are always said together with those they follow.
                if new_ids {
                    contact.former.extend(before.user);
                    contact.former.extend(before.parent);
                }
                if former[0] {
                    contact.former.reverse();
                }
                if former[1] && !new_ids {
                    (contact.parent, contact.user) = (None, None);
                }
                self.accept(store, who, contact).await;
            }
        }
    }

    /// Everybody shows everything; then all that is known to be one person's is one conversation, and no other's.
    async fn check(&mut self, store: &Store) {
        for who in 0..PEOPLE {
            let everything = self.contact(who, (true, true, true));
            self.accept(store, who, everything).await;
        }
        let mut owners = BTreeMap::new();
        for (who, person) in self.people.iter().enumerate() {
            let mut names = Vec::new();
            for (event, _) in &person.known {
                names.extend(store.event(*event).await.unwrap().unwrap().event.conversation);
            }
            names.dedup();
            assert_eq!(names.len(), 1, "person {who}: {names:?}");
            assert_eq!(owners.insert(names.remove(0), who), None, "person {who} is somebody else as well");
            // Whoever is one by now waits in order: the last one's lane is that of the conversation, and every
            // lane that was joined to it was waited for when it was.
            let mut lanes: Vec<_> = person.known.iter().flat_map(|(_, lanes)| lanes).collect();
            lanes.sort_unstable();
            lanes.dedup();
            let joined = person.known.iter().filter(|(_, lanes)| lanes.len() > 1);
            let joined: usize = joined.map(|(_, lanes)| lanes.len() - 1).sum();
            assert!(joined + 1 >= lanes.len(), "person {who}: {lanes:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn one_person_is_one_conversation_and_two_are_two(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = tempfile::tempdir().unwrap();
            let mut store = Some(open(place.path()));
            let mut world = World::new();
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    drop(store.take());
                }
                let store = store.get_or_insert_with(|| open(place.path()));
                world.step(store, step).await;
            }
            world.check(&store.unwrap_or_else(|| open(place.path()))).await;
        });
    }
}
