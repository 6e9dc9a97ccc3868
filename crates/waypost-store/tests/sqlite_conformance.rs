//! The conformance suite on SQLite.

#![expect(clippy::unwrap_used, reason = "where a promise is broken, a test panics")]

use std::path::Path;

use waypost_store::conformance::Opening;
use waypost_store::{Store, StoreOptions};

fn open(place: &Path, opening: Opening) -> Store {
    let options = StoreOptions {
        path: place.join("data/waypost.db"),
        readers: 2,
        queue_max: opening.queue_max,
        queue_bytes_max: opening.queue_bytes_max,
        dedupe_window: opening.dedupe_window,
        bytes_max: opening.bytes_max,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: opening.free_bytes_min,
    };
    Store::open(options, opening.clock).unwrap()
}

waypost_store::conformance_suite!(crate::open);
