//! Every event's own body, split again, is that event and nothing else, and all of them together
//! are no larger than the body and what is repeated for each event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost_whatsapp::{Cuts, Event, Part, SHARED_BYTES_MAX, split};

/// The objects whose members are repeated: envelope, entry, change, value and `standby`, and contacts.
const LEVELS: usize = 6;

/// Whether an event's key is made of the hash of a value that other events share.
fn shares_its_key(event: &Event<'_>, events: &[Event<'_>]) -> bool {
    const HASHED: [&str; 5] = ["errors", "groups", "history", "events", "tracking_events"];
    let place = |event: &Event<'_>| (event.place.entry, event.place.change);
    let has_company = events.iter().filter(|other| place(other) == place(event)).count() > 1;
    has_company && matches!(event.place.part, Part::Element { array, .. } if HASHED.contains(&array))
}

fuzz_target!(|body: &[u8]| {
    let whole = split(body);
    let cuts = Cuts::of(body);
    assert_eq!(cuts.len(), whole.events.len());
    let mut produced = 0;
    for (index, event) in whole.events.iter().enumerate() {
        assert_eq!((cuts.field(index), cuts.class(index)), (&*event.field, event.class));
        assert_eq!(cuts.is_alone(index), whole.events.len() == 1);
        let piece = cuts.one(body, index);
        if event.place.part == Part::Body {
            assert_eq!(piece, body);
            continue;
        }
        produced += piece.len();
        // Beyond this, what is repeated may be left out.
        if body.len() > SHARED_BYTES_MAX {
            continue;
        }
        let again = split(&piece);
        assert_eq!(again.events.len(), 1);
        let mut cut = again.events.into_iter().next().expect("there is one");
        assert_eq!(cut.raw, event.raw);
        if shares_its_key(event, &whole.events) {
            cut.key.clone_from(&event.key);
        }
        (cut.place, cut.once, cut.raw) = (event.place, event.once, event.raw);
        assert_eq!(cut, *event);
    }
    assert!(produced <= body.len() + whole.events.len() * LEVELS * (SHARED_BYTES_MAX + 16));
});
