//! What a large backlog costs: `backlog fill|drain|pace [--owed N] [--conversations N] [--destinations N] [--rate N] [--dir D]`.
//!
//! `fill` owes so many webhooks (571 bytes, one event each), spread over conversations and destinations. `drain`
//! delivers whatever is owed to receivers that take it at once, within the process. `pace` accepts so many webhooks at
//! so many a second and delivers them as they come. Printed: how long it took until all destinations were at work, the
//! rate, the time from when a webhook was due to be accepted to its delivery, and the most memory that the process had.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::expect_used, reason = "a measurement that fails may fail")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{
    AttemptReport, AttemptTiming, Clock, HeaderBlock, Patience, Priority, Reply, RetrySchedule, Rulings,
    UnixMillis,
};
use waypost_engine::dispatch::{Destination, Dispatcher};
use waypost_engine::metrics::Metrics;
use waypost_engine::sender::{Attempt, Parcel, Sender};
use waypost_store::{Accept, Covers, NewDelivery, NewEvent, Store, StoreOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY_BYTES: usize = 571;
/// Accepts under way at once while the backlog is made.
const ACCEPTS: u64 = 256;

struct Arguments {
    what: String,
    owed: u64,
    rate: u64,
    conversations: u64,
    destinations: u64,
    directory: PathBuf,
}

fn arguments() -> Arguments {
    let mut words = std::env::args().skip(1);
    let (what, rate) = (words.next().unwrap_or_default(), 500);
    let (owed, conversations, destinations, directory) = (1_000_000, 10_000, 200, "backlog-data".into());
    let mut found = Arguments { what, owed, rate, conversations, destinations, directory };
    while let (Some(word), Some(value)) = (words.next(), words.next()) {
        let number = value.parse().unwrap_or(1);
        match word.as_str() {
            "--rate" => found.rate = number,
            "--owed" => found.owed = number,
            "--conversations" => found.conversations = number,
            "--destinations" => found.destinations = number,
            "--dir" => found.directory = value.into(),
            _ => println!("passing over {word}"),
        }
    }
    found
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clock = Clock::system();
    let options = StoreOptions {
        path: arguments.directory.join("waypost.db"),
        readers: 2,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    let store = Store::open(options, clock.clone())?;
    println!("opened after           {:>10} ms", clock.monotonic().as_millis());
    runtime.block_on(async {
        match &*arguments.what {
            "fill" => fill(&store, &arguments, &clock).await,
            "pace" => pace(&store, &arguments, &clock).await,
            _ => drain(&store, &arguments, &clock).await,
        }
        store.close().await;
    });
    println!("most memory            {:>10} KiB", most_memory_kib());
    Ok(())
}

async fn fill(store: &Store, arguments: &Arguments, clock: &Clock) {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..ACCEPTS {
        let (store, next, clock) = (store.clone(), next.clone(), clock.clone());
        let Arguments { owed, conversations, destinations, .. } = *arguments;
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= owed {
                    return;
                }
                let conversation = number % conversations;
                let request = request(number, conversation, conversation % destinations, clock.wall());
                if let Err(error) = store.accept(request).await {
                    println!("not accepted: {error}");
                }
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
    println!("filled after           {:>10} ms", clock.monotonic().as_millis());
}

async fn drain(store: &Store, arguments: &Arguments, clock: &Clock) {
    let owed: u64 = store.stats().await.map_or(0, |stats| stats.owed.iter().map(|(_, owed, _)| owed).sum());
    let begun = clock.monotonic();
    let (dispatcher, receivers, soft) = dispatch(store, arguments, clock);
    let taken = || receivers.iter().map(|receiver| receiver.taken.load(Ordering::Relaxed)).sum::<u64>();
    let mut at_work = None;
    while taken() < owed {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let all = receivers.iter().all(|receiver| receiver.taken.load(Ordering::Relaxed) > 0);
        if all && at_work.is_none() {
            at_work = Some(clock.monotonic().saturating_sub(begun));
        }
    }
    let took = clock.monotonic().saturating_sub(begun);
    soft.cancel();
    dispatcher.stopped().await;
    println!("all at work after      {:>10} ms", at_work.unwrap_or_default().as_millis());
    println!("delivered              {owed:>10}");
    println!("a second               {:>10.0}", owed as f64 / took.as_secs_f64());
}

async fn pace(store: &Store, arguments: &Arguments, clock: &Clock) {
    let (dispatcher, receivers, soft) = dispatch(store, arguments, clock);
    let begun = clock.monotonic();
    for number in 0..arguments.owed {
        let due = begun + Duration::from_secs(1) * u32::try_from(number).unwrap_or(0) / arguments.rate as u32;
        tokio::time::sleep(due.saturating_sub(clock.monotonic())).await;
        let (store, dispatcher, at) = (store.clone(), dispatcher.clone(), clock.wall());
        let (conversation, destinations) = (number % arguments.conversations, arguments.destinations);
        tokio::spawn(async move {
            let mut request = request(number, conversation, conversation % destinations, at);
            request.target = format!("/{}", due.as_micros());
            match store.accept(request).await {
                Ok(accepted) => {
                    let name = accepted.owed.first().map(|owed| owed.destination.clone());
                    name.and_then(|name| dispatcher.destination(&name)).iter().for_each(|d| d.owe());
                }
                Err(error) => println!("not accepted: {error}"),
            }
        });
    }
    let mut waits: Vec<u64> = Vec::new();
    while (waits.len() as u64) < arguments.owed {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let taken =
            |receiver: &Arc<Receiver>| std::mem::take(&mut *receiver.waits_us.lock().expect("no panic"));
        waits.extend(receivers.iter().flat_map(taken));
    }
    soft.cancel();
    dispatcher.stopped().await;
    waits.sort_unstable();
    for (name, part) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        println!("{name:<22} {:>10} us", waits[(waits.len() * part / 1_000).min(waits.len() - 1)]);
    }
}

/// Puts the destinations to work.
fn dispatch(
    store: &Store,
    arguments: &Arguments,
    clock: &Clock,
) -> (Dispatcher, Vec<Arc<Receiver>>, CancellationToken) {
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let dispatcher = Dispatcher::new(store.clone(), clock.clone(), Metrics::new(), soft.clone(), hard);
    let receiver =
        |_| Arc::new(Receiver { clock: clock.clone(), taken: AtomicU64::new(0), waits_us: Mutex::default() });
    let receivers: Vec<Arc<Receiver>> = (0..arguments.destinations).map(receiver).collect();
    for (number, receiver) in receivers.iter().enumerate() {
        dispatcher.put(Destination {
            name: format!("inbox-{number}.test").into(),
            sender: receiver.clone(),
            schedule: RetrySchedule::default(),
            rulings: Rulings::default(),
            patience: Patience::default(),
            concurrency_max: 64,
            rate_max: None,
        });
    }
    (dispatcher, receivers, soft)
}

/// Takes everything at once.
struct Receiver {
    clock: Clock,
    taken: AtomicU64,
    /// How long after it was due each came, where its path says when that was.
    waits_us: Mutex<Vec<u64>>,
}

impl Sender for Receiver {
    fn attempt(&self, parcel: Parcel) -> Attempt<'_> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        if let Ok(due_us) = parcel.content.target[1..].parse::<u64>() {
            let waited_us = (self.clock.monotonic().as_micros() as u64).saturating_sub(due_us);
            self.waits_us.lock().expect("no panic").push(waited_us);
        }
        let reply = Reply::Answered { status: 200, retry_after: None };
        let timing = AttemptTiming::default();
        Box::pin(std::future::ready(AttemptReport { reply, timing, address: None, excerpt: Vec::new() }))
    }
}

fn request(number: u64, conversation: u64, destination: u64, at: UnixMillis) -> Accept {
    let wamid = format!("wamid.HBgLNDkxNTU1NTAxNxUCABIYFDNB{number:016X}AA==");
    let conversation = format!("204817163050918:49155550{conversation:06}");
    let mut headers = HeaderBlock::new();
    headers.push("content-type", b"application/json");
    headers.push("x-hub-signature-256", &[b'a'; 71]);
    let destination: Arc<str> = format!("inbox-{destination}.test").into();
    Accept {
        source: destination.clone(),
        scope: destination.clone(),
        received_at: at,
        target: "/webhooks/whatsapp/%2B4930555010".to_owned(),
        headers,
        body: vec![b'x'; BODY_BYTES].into(),
        body_sha256: [7; 32],
        proved_by: Some("current".into()),
        events: vec![NewEvent {
            kind: "message".into(),
            class: "message".into(),
            field: "messages".into(),
            r#type: "text".into(),
            phone_number_id: Some("204817163050918".into()),
            display_phone_number: Some("4930555010".into()),
            waba_id: Some("310298874421907".into()),
            conversation: Some(conversation.as_str().into()),
            key: format!("msg:204817163050918:{wamid}").into(),
            wamid: Some(wamid.into()),
            occurred_at: Some(at),
            once: true,
            quarantined: false,
            contact: None,
        }],
        deliveries: vec![NewDelivery { destination, covers: Covers::Request, priority: Priority::Message }],
    }
}

/// The most memory that this process had (proc(5), `status`).
fn most_memory_kib() -> u64 {
    let found = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = found.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
