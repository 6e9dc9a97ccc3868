//! Any bytes are split into at least one event, each with a key and with its own bytes in the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost_whatsapp::split;

fuzz_target!(|body: &[u8]| {
    let first = split(body);
    assert!(!first.events.is_empty());
    let range = body.as_ptr_range();
    for event in &first.events {
        assert!(event.key.contains(':'));
        let raw = event.raw.as_bytes().as_ptr_range();
        let inside = range.start <= raw.start && raw.end <= range.end;
        assert!(inside || (event.raw.is_empty() && !first.readable));
    }
    assert_eq!(first, split(body));
});
