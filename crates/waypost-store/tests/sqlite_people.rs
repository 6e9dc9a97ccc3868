//! What events tell of people against a naive model: what everybody was called last, whatever came twice and
//! however often the store was closed.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{Clock, EventId};
use waypost_store::conformance::NOON;
use waypost_store::conformance::samples::{delivered, message, person, request};
use waypost_store::{AfterPage, NewContact, PersonFact, Prune, Retention, Store, StoreOptions};

const PEOPLE: usize = 3;

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

/// What an event shows of a person.
#[derive(Clone, Copy, Debug)]
struct Shown {
    who: usize,
    /// The user id, the phone number, or both.
    user: bool,
    phone: bool,
    name: Option<u8>,
    username: Option<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    /// One request: events, and whether each repeats the one before it.
    Accept(Vec<(Shown, bool)>),
    Reopen,
}

fn shown() -> impl Strategy<Value = Shown> {
    let called = || prop::option::of(0..3_u8);
    (0..PEOPLE, any::<(bool, bool)>(), called(), called()).prop_map(|(who, (user, phone), name, username)| {
        Shown { who, user, phone: phone || !user, name, username }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let event = || (shown(), prop::bool::weighted(0.2));
    prop_oneof![
        8 => prop::collection::vec(event(), 1..4).prop_map(Step::Accept),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Clone, Default)]
struct Known {
    heard_of: bool,
    user: bool,
    phone: bool,
    name: Option<u8>,
    username: Option<u8>,
}

impl Known {
    /// What is new of them with this, which is known from here on.
    fn hear(&mut self, shown: Shown) -> PersonFact {
        let before = self.clone();
        self.heard_of = true;
        self.user |= shown.user;
        self.phone |= shown.phone;
        self.name = shown.name.or(self.name);
        self.username = shown.username.or(self.username);
        let same = (self.user, self.phone, self.name, self.username)
            == (before.user, before.phone, before.name, before.username);
        match (before.heard_of, same) {
            (false, _) => PersonFact::New,
            (true, false) => PersonFact::Changed,
            (true, true) => PersonFact::Nothing,
        }
    }
}

fn contact(shown: Shown) -> NewContact {
    NewContact {
        number: "204".into(),
        user: shown.user.then(|| format!("US.{}", shown.who).into()),
        phone: shown.phone.then(|| format!("4915{}", shown.who).into()),
        name: shown.name.map(|name| format!("Name {name}").into()),
        username: shown.username.map(|name| format!("user.{name}").into()),
        ..NewContact::default()
    }
}

/// Everybody's identities are told to belong together first: whose is whose is another test's question.
async fn introduce(store: &Store, known: &mut [Known]) {
    for (who, known) in known.iter_mut().enumerate() {
        let shown = Shown { who, user: true, phone: true, name: None, username: None };
        assert_eq!(known.hear(shown), PersonFact::New);
        store.accept(request([person(message(&format!("first {who}")), contact(shown))])).await.unwrap();
    }
}

async fn run(place: &Path, steps: &[Step], introduced: bool) {
    let mut store = Some(open(place));
    let mut known = vec![Known::default(); PEOPLE];
    let mut written = 0;
    if introduced {
        introduce(store.as_ref().unwrap(), &mut known).await;
    }
    for step in steps {
        let Step::Accept(events) = step else {
            drop(store.take());
            store = Some(open(place));
            continue;
        };
        let store = store.as_ref().unwrap();
        let (mut told, mut expected, mut then) = (Vec::new(), Vec::new(), known.clone());
        for (shown, repeats) in events {
            // Where nobody was introduced, identities are shown together, so that they always are one person's.
            let shown = if introduced { *shown } else { Shown { user: true, phone: true, ..*shown } };
            let repeats = *repeats && written > 0;
            written += usize::from(!repeats);
            told.push(person(message(&format!("wamid {written}")), contact(shown)));
            if !repeats {
                expected.push(then[shown.who].hear(shown));
            }
        }
        let accepted = store.accept(request(told)).await.unwrap();
        let page = AfterPage { after: Some(EventId(accepted.request.0)), limit: 10 };
        let found = store.events_after(page).await.unwrap().events;
        assert_eq!(found.iter().map(|event| event.person).collect::<Vec<_>>(), expected);
        known = then;
    }
    let store = store.unwrap();
    for (who, known) in known.iter().enumerate().filter(|(_, known)| known.heard_of) {
        let found = store.contact(None, &format!("204:4915{who}")).await.unwrap().unwrap();
        assert_eq!(found.name.map(String::from), known.name.map(|name| format!("Name {name}")));
        assert_eq!(found.username.map(String::from), known.username.map(|name| format!("user.{name}")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn an_event_tells_exactly_what_is_new_of_its_person(
        steps in prop::collection::vec(step(), 1..30),
        introduced in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let place = tempfile::tempdir().unwrap();
        runtime.block_on(run(place.path(), &steps, introduced));
    }
}

#[tokio::test]
async fn what_a_person_was_called_is_nowhere_in_the_files_once_they_are_forgotten() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let name = "Wilhelmina Featherstonehaugh";
    let contact = NewContact {
        number: "204".into(),
        phone: Some("49155".into()),
        name: Some(name.into()),
        username: Some("wilhelmina.f".into()),
        ..NewContact::default()
    };
    let accepted = store.accept(request([person(message("a"), contact)])).await.unwrap();
    store.settle(delivered(accepted.owed[0].id)).await.unwrap();
    let is_there = || {
        let files = std::fs::read_dir(place.path()).unwrap();
        files
            .filter(|file| {
                let bytes = std::fs::read(file.as_ref().unwrap().path()).unwrap();
                [name, "wilhelmina.f"]
                    .iter()
                    .any(|name| bytes.windows(name.len()).any(|part| part == name.as_bytes()))
            })
            .count()
    };
    assert!(is_there() > 0);
    for pass in 0..2 {
        for call in 0.. {
            assert!(call < 1_000, "a pass that never ends");
            let now = NOON.plus(DAY * (100 + pass));
            let prune = Prune { now, retention: Retention::default(), steps: 100 };
            if !store.prune(prune).await.unwrap().more {
                break;
            }
        }
    }
    assert_eq!(store.contact(None, "204:49155").await.unwrap(), None);
    store.close().await;
    assert_eq!(is_there(), 0);
}
