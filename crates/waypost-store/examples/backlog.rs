//! How a large backlog is opened, paged and searched: `backlog [--deliveries N] [--dir D]`.
//!
//! Fills a store, if it is empty, with deliveries over 10,000 conversations and 200 destinations, most of them owed and
//! some of each other state; opens it anew; and prints how long that took and how long pages take, first ones and
//! last ones, with every filter.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::PathBuf;
use std::time::Duration;

use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{AttemptTiming, Clock, DeliveryState, HeaderBlock, Priority, UnixMillis};
use waypost_store::{
    Accept, AttemptRecord, Covers, DeliveryFilter, DeliveryPage, DuePage, EventFilter, NewDelivery, NewEvent,
    OwedDelivery, OwedPage, Page, Settled, Settlement, Store, StoreError, StoreOptions,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: u64 = 500;
const CONVERSATIONS: u64 = 10_000;
const DESTINATIONS: u64 = 200;
const BEGINNING: UnixMillis = UnixMillis(1_795_262_400_000);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut deliveries, mut directory) = (1_000_000_u64, PathBuf::from("backlog-data"));
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        match word.as_str() {
            "--deliveries" => deliveries = value.parse()?,
            "--dir" => directory = value.into(),
            _ => println!("passing over {word}"),
        }
    }
    let clock = Clock::system();
    let options = StoreOptions {
        path: directory.join("waypost.db"),
        readers: 2,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = Store::open(options.clone(), clock.clone())?;
    runtime.block_on(async {
        if store.stats().await?.owed.is_empty() {
            fill(&store, deliveries, &clock).await?;
        }
        store.close().await;
        Ok::<_, StoreError>(())
    })?;
    drop(store);
    let begun = clock.monotonic();
    let store = Store::open(options, clock.clone())?;
    println!("opened in {:>10} us", clock.monotonic().saturating_sub(begun).as_micros());
    runtime.block_on(look(&store, &clock))?;
    Ok(())
}

async fn fill(store: &Store, deliveries: u64, clock: &Clock) -> Result<(), StoreError> {
    let begun = clock.monotonic();
    for batch in 0..deliveries / BATCH {
        let accepted = store.accept(request(batch)).await?;
        let mut settles = Vec::new();
        for (place, owed) in (batch * BATCH..).zip(accepted.owed) {
            let settled = match place % 1_000 {
                0 => Settled::Delivered,
                1 => Settled::Dead,
                2..22 => Settled::Retry { due_at: BEGINNING.plus(Duration::from_millis(place)) },
                _ => continue,
            };
            let store = store.clone();
            let settlement = settlement(&owed, settled, place);
            settles.push(tokio::spawn(async move { store.settle(settlement).await }));
        }
        for settle in settles {
            settle.await.unwrap_or(Err(StoreError::Closed))?;
        }
    }
    println!("filled in {:>10} us", clock.monotonic().saturating_sub(begun).as_micros());
    Ok(())
}

async fn look(store: &Store, clock: &Clock) -> Result<(), StoreError> {
    let text = |text: &str| Some(text.to_owned());
    let state = |state| DeliveryFilter { state: Some(state), ..DeliveryFilter::default() };
    let none = DeliveryFilter::default;
    let owed = || state(DeliveryState::Owed);
    let at = |part: u64| Some(BEGINNING.plus(Duration::from_secs(part)));
    let filters = [
        ("nothing", none()),
        ("owed", owed()),
        ("dead", state(DeliveryState::Dead)),
        ("delivered", state(DeliveryState::Delivered)),
        ("discarded (none)", state(DeliveryState::Discarded)),
        ("destination", DeliveryFilter { destination: text("to7"), ..none() }),
        ("owed, destination", DeliveryFilter { destination: text("to7"), ..owed() }),
        (
            "delivered, destination",
            DeliveryFilter { destination: text("to0"), ..state(DeliveryState::Delivered) },
        ),
        ("conversation", DeliveryFilter { conversation: text("204817163050918:491555500077"), ..none() }),
        (
            "owed, conversation",
            DeliveryFilter { conversation: text("204817163050918:491555500077"), ..owed() },
        ),
        ("message", DeliveryFilter { wamid: text("wamid.77"), ..none() }),
        ("number", DeliveryFilter { number: text("204817163050918"), ..none() }),
        ("number (another)", DeliveryFilter { number: text("acme"), ..none() }),
        ("source", DeliveryFilter { source: text("acme"), ..none() }),
        ("status 503", DeliveryFilter { last_status: Some(503), ..none() }),
        ("owed, status 503", DeliveryFilter { last_status: Some(503), ..owed() }),
        ("dead, status 410", DeliveryFilter { last_status: Some(410), ..state(DeliveryState::Dead) }),
        ("status 418 (none)", DeliveryFilter { last_status: Some(418), ..none() }),
        ("code", DeliveryFilter { last_code: text("receiver_failed"), ..none() }),
        ("owed, code", DeliveryFilter { last_code: text("receiver_failed"), ..owed() }),
        ("overtaken (none)", DeliveryFilter { overtaken: Some(true), ..none() }),
        ("a minute", DeliveryFilter { since: at(600), until: at(660), ..none() }),
        ("owed, a minute", DeliveryFilter { since: at(600), until: at(660), ..owed() }),
        (
            "a minute, destination",
            DeliveryFilter { since: at(600), until: at(660), destination: text("to7"), ..none() },
        ),
    ];
    for (name, filter) in filters {
        let (mut longest, mut pages, mut found, mut before) = (Duration::ZERO, 0, 0, None);
        let (mut first, mut first_full) = (Duration::ZERO, 0);
        for _ in 0..200 {
            let begun = clock.monotonic();
            let list = store.deliveries(filter.clone(), DeliveryPage { before, limit: 100 }).await?;
            let took = clock.monotonic().saturating_sub(begun);
            if pages == 0 {
                (first, first_full) = (took, list.deliveries.len());
            }
            longest = longest.max(took);
            pages += 1;
            found += list.deliveries.len();
            before = list.next;
            if before.is_none() {
                break;
            }
        }
        print("deliveries", name, (first, first_full), longest, pages, found);
    }
    let none = EventFilter::default;
    let filters = [
        ("nothing", none()),
        ("owed", EventFilter { state: Some(DeliveryState::Owed), ..none() }),
        ("dead", EventFilter { state: Some(DeliveryState::Dead), ..none() }),
        ("delivered", EventFilter { state: Some(DeliveryState::Delivered), ..none() }),
        ("destination", EventFilter { destination: text("to7"), ..none() }),
        ("conversation", EventFilter { conversation: text("204817163050918:491555500077"), ..none() }),
        ("message", EventFilter { wamid: text("wamid.77"), ..none() }),
        ("code", EventFilter { code: text("receiver_failed"), ..none() }),
        ("kind (none)", EventFilter { kind: text("inbox"), ..none() }),
        ("quarantined (none)", EventFilter { quarantined: Some(true), ..none() }),
        ("a minute", EventFilter { since: at(600), until: at(660), ..none() }),
    ];
    for (name, filter) in filters {
        let (mut longest, mut pages, mut found, mut before) = (Duration::ZERO, 0, 0, None);
        let (mut first, mut first_full) = (Duration::ZERO, 0);
        for _ in 0..200 {
            let begun = clock.monotonic();
            let list = store.events(filter.clone(), Page { before, limit: 100 }).await?;
            let took = clock.monotonic().saturating_sub(begun);
            if pages == 0 {
                (first, first_full) = (took, list.events.len());
            }
            longest = longest.max(took);
            pages += 1;
            found += list.events.len();
            before = list.next;
            if before.is_none() {
                break;
            }
        }
        print("events", name, (first, first_full), longest, pages, found);
    }
    let begun = clock.monotonic();
    let stats = store.stats().await?;
    println!("stats in {:>10} us", clock.monotonic().saturating_sub(begun).as_micros());
    println!(
        "destinations {}, owed {}",
        stats.owed.len(),
        stats.owed.iter().map(|(_, count, _)| count).sum::<u64>()
    );
    let begun = clock.monotonic();
    let page = OwedPage { destination: "to7".into(), after: None, limit: 10_000 };
    println!(
        "a window of {} in {:>10} us",
        store.owed(page).await?.len(),
        clock.monotonic().saturating_sub(begun).as_micros()
    );
    let begun = clock.monotonic();
    let mut after = None;
    let mut due = 0;
    loop {
        let until = UnixMillis(i64::MAX);
        let page = store.due(DuePage { destination: "to7".into(), until, after, limit: 64 }).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.due_at, last.id));
        due += page.len();
    }
    println!("{due} that are due, by 64, in {:>10} us", clock.monotonic().saturating_sub(begun).as_micros());
    Ok(())
}

fn print(
    what: &str,
    name: &str,
    (first, found_first): (Duration, usize),
    longest: Duration,
    pages: usize,
    found: usize,
) {
    println!(
        "{what:<10} {name:<24} first {:>8} us ({found_first:>3})   longest {:>8} us   {pages:>4} pages {found:>6} found",
        first.as_micros(),
        longest.as_micros()
    );
}

fn request(batch: u64) -> Accept {
    let events = (0..BATCH).map(|place| {
        let number = batch * BATCH + place;
        let who = (number * 7_919) % CONVERSATIONS;
        let wamid = format!("wamid.{number}");
        NewEvent {
            kind: "message".into(),
            class: "message".into(),
            field: "messages".into(),
            r#type: "text".into(),
            phone_number_id: Some("204817163050918".into()),
            display_phone_number: Some("4930555010".into()),
            waba_id: Some("310298874421907".into()),
            conversation: Some(format!("204817163050918:4915555{who:05}").into()),
            contact: None,
            key: format!("msg:204817163050918:{wamid}").into(),
            wamid: Some(wamid.into()),
            occurred_at: None,
            once: true,
            quarantined: false,
        }
    });
    let deliveries = (0..BATCH).map(|place| NewDelivery {
        destination: format!("to{}", (batch * BATCH + place) % DESTINATIONS).into(),
        covers: Covers::Event(u32::try_from(place).unwrap_or(0)),
        priority: Priority::Message,
    });
    Accept {
        source: "acme".into(),
        scope: "acme".into(),
        received_at: BEGINNING.plus(Duration::from_secs(batch)),
        target: "/w/1".to_owned(),
        headers: HeaderBlock::new(),
        body: vec![b'x'; 571].into(),
        body_sha256: [7; 32],
        proved_by: None,
        events: events.collect(),
        deliveries: deliveries.collect(),
    }
}

fn settlement(owed: &OwedDelivery, settled: Settled, place: u64) -> Settlement {
    let (status, code) = match settled {
        Settled::Delivered => (200, ""),
        Settled::Dead => (410, "receiver_refused"),
        Settled::Retry { .. } if place.is_multiple_of(2) => (503, "receiver_failed"),
        Settled::Retry { .. } => (429, "receiver_busy"),
    };
    let attempt = AttemptRecord {
        at: owed.accepted_at,
        timing: AttemptTiming::default(),
        address: None,
        status: Some(status),
        code: code.into(),
        excerpt: Vec::new(),
    };
    Settlement { delivery: owed.id, turn: owed.turn, settled, overtaken: false, attempt }
}
