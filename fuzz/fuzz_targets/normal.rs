//! Whatever was split has a normalised form that can be written, with the event's own bytes in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost_whatsapp::normal::{ContactChange, NormalEvent, Origin};
use waypost_whatsapp::split;

fuzz_target!(|body: &[u8]| {
    let origin = Origin { id: "1", source: "s", received_at_ms: 0, conversation: None, evidence: "/1" };
    let split = split(body);
    // Each is read from the whole body, which is linear only for the pieces of a batch.
    for event in split.events.iter().take(16) {
        let normal = NormalEvent::of(body, event, origin).with_raw(event);
        let text = serde_json::to_string(&normal).expect("it can be written");
        assert!(!split.readable || text.contains(event.raw));
        let told = normal.about_contact(ContactChange::Updated, "1.1");
        serde_json::to_string(&told).expect("it can be written");
    }
});
