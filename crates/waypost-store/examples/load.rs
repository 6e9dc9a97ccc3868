//! How fast the store takes requests in, alone: `load [--seconds N] [--tasks N] [--settle] [--prune] [--dir D]`.
//!
//! Tasks have one request after another kept (a body of 571 bytes, one event, one delivery); with `--settle` they wait
//! until each is applied and settle it at once; with `--prune` all that is settled is taken away as well, as if it were days later. Printed: operations a second, how long callers waited, bytes written, and how long the
//! log ever was.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use waypost_domain::limits::{DEDUPE_WINDOW, WRITER_QUEUE_BYTES_MAX, WRITER_QUEUE_MAX};
use waypost_domain::{AttemptTiming, Clock, HeaderBlock, Priority, UnixMillis};
use waypost_store::{
    Accept, AttemptRecord, Covers, NewContact, NewDelivery, NewEvent, Prune, Retention, Settled, Settlement,
    Store, StoreOptions, Turn,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY_BYTES: usize = 571;

struct Arguments {
    seconds: u64,
    tasks: u64,
    settle: bool,
    prune: bool,
    directory: PathBuf,
}

fn arguments() -> Arguments {
    let mut found =
        Arguments { seconds: 10, tasks: 64, settle: false, prune: false, directory: "load-data".into() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match word.as_str() {
            "--seconds" => found.seconds = value().parse().unwrap_or(10),
            "--tasks" => found.tasks = value().parse().unwrap_or(64),
            "--dir" => found.directory = value().into(),
            "--settle" => found.settle = true,
            "--prune" => found.prune = true,
            _ => println!("passing over {word}"),
        }
    }
    found
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let clock = Clock::system();
    let path = arguments.directory.join("waypost.db");
    let options = StoreOptions {
        path: path.clone(),
        readers: 2,
        queue_max: WRITER_QUEUE_MAX,
        queue_bytes_max: WRITER_QUEUE_BYTES_MAX,
        dedupe_window: DEDUPE_WINDOW,
        bytes_max: None,
        journal_bytes_max: waypost_store::JOURNAL_BYTES_MAX,
        free_bytes_min: 0,
    };
    let store = Store::open(options, clock.clone())?;
    let before = written_bytes();
    let waits = runtime.block_on(run(&store, &arguments, &clock, &path));
    let stats = store.writer_stats();
    println!("behind at the end      {:>10}", stats.journal_behind);
    report(&waits, &arguments, stats, written_bytes() - before);
    runtime.block_on(store.close());
    println!(
        "written, file folded   {:>10} bytes an accept",
        (written_bytes() - before) / waits.accepts.len() as u64
    );
    Ok(())
}

struct Waits {
    accepts: Vec<u32>,
    settles: Vec<u32>,
    prunes: Vec<u32>,
    pruned: u64,
    log_bytes_max: u64,
}

async fn run(store: &Store, arguments: &Arguments, clock: &Clock, path: &Path) -> Waits {
    let over = Arc::new(AtomicBool::new(false));
    let numbers = Arc::new(AtomicU64::new(u64::from(std::process::id()) << 32));
    let mut tasks = Vec::new();
    for _ in 0..arguments.tasks {
        let (store, clock, over, numbers) = (store.clone(), clock.clone(), over.clone(), numbers.clone());
        let settle = arguments.settle;
        tasks.push(tokio::spawn(async move {
            let (mut accepts, mut settles) = (Vec::new(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let request = request(number, clock.wall());
                let begun = clock.monotonic();
                if !settle {
                    if store.keep(request).await.is_ok() {
                        accepts.push(micros(clock.monotonic().saturating_sub(begun)));
                    }
                    continue;
                }
                let Ok(accepted) = store.accept(request).await else { continue };
                accepts.push(micros(clock.monotonic().saturating_sub(begun)));
                let settlement = success(accepted.owed[0].id, clock.wall());
                let begun = clock.monotonic();
                if store.settle(settlement).await.is_ok() {
                    settles.push(micros(clock.monotonic().saturating_sub(begun)));
                }
            }
            (accepts, settles)
        }));
    }
    let pruning = arguments.prune.then(|| tokio::spawn(prune(store.clone(), clock.clone(), over.clone())));
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let mut log_bytes_max = 0;
    for _ in 0..arguments.seconds * 20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        log_bytes_max = log_bytes_max.max(std::fs::metadata(&log).map_or(0, |found| found.len()));
    }
    over.store(true, Ordering::Relaxed);
    let mut waits =
        Waits { accepts: Vec::new(), settles: Vec::new(), prunes: Vec::new(), pruned: 0, log_bytes_max };
    if let Some(pruning) = pruning {
        (waits.prunes, waits.pruned) = pruning.await.unwrap_or_default();
    }
    for task in tasks {
        let (accepts, settles) = task.await.unwrap_or_default();
        waits.accepts.extend(accepts);
        waits.settles.extend(settles);
    }
    waits
}

/// Takes away whatever is settled, as a gateway does much later, until all is over.
async fn prune(store: Store, clock: Clock, over: Arc<AtomicBool>) -> (Vec<u32>, u64) {
    let (mut waits, mut pruned) = (Vec::new(), 0);
    while !over.load(Ordering::Relaxed) {
        let retention = Retention { records: Duration::ZERO, ..Retention::default() };
        let now = clock.wall().plus(Duration::from_secs(4 * 24 * 60 * 60));
        let begun = clock.monotonic();
        if let Ok(step) = store.prune(Prune { now, retention, steps: 256 }).await {
            waits.push(micros(clock.monotonic().saturating_sub(begun)));
            pruned += step.bodies + step.records + step.keys;
        }
        // As a gateway would pace it.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (waits, pruned)
}

fn report(waits: &Waits, arguments: &Arguments, stats: waypost_store::WriterStats, written: u64) {
    for (name, waits) in [("accept", &waits.accepts), ("settle", &waits.settles), ("prune ", &waits.prunes)] {
        let mut waits = waits.clone();
        waits.sort_unstable();
        let at = |part: f64| {
            let place = (waits.len() as f64 * part) as usize;
            waits.get(place.min(waits.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        println!(
            "{name}   {:>8}/s   p50 {:>7} us   p99 {:>7} us   p99.9 {:>7} us   max {:>7} us",
            waits.len() as u64 / arguments.seconds,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
    let commits = stats.commits.max(1);
    println!("rows pruned            {:>10}", waits.pruned);
    println!("commits                {commits:>10}");
    println!("operations a commit    {:>10}", stats.operations / commits);
    println!("a commit took          {:>10} us", stats.commit_time.as_micros() as u64 / commits);
    println!(
        "writer was committing  {:>10} %",
        stats.commit_time.as_millis() as u64 / (arguments.seconds * 10)
    );
    println!("written                {:>10} bytes an accept", written / (waits.accepts.len() as u64).max(1));
    println!("log at its longest     {:>10} KiB", waits.log_bytes_max / 1024);
}

fn request(number: u64, at: UnixMillis) -> Accept {
    let wamid = format!("wamid.HBgLNDkxNTU1NTAxNxUCABIYFDNB{number:016X}AA==");
    let conversation = format!("204817163050918:49155550{:04}", number % 5_000);
    let mut headers = HeaderBlock::new();
    headers.push("content-type", b"application/json");
    headers.push("user-agent", b"facebookexternalua");
    headers.push("x-hub-signature-256", &[b'a'; 71]);
    Accept {
        source: "acme".into(),
        scope: "acme".into(),
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
            contact: Some(NewContact {
                number: "204817163050918".into(),
                user: Some(format!("DE.{:020}", number % 5_000).into()),
                phone: Some(format!("49155550{:04}", number % 5_000).into()),
                name: Some(format!("Person Number {}", number % 5_000).into()),
                ..NewContact::default()
            }),
        }],
        deliveries: vec![NewDelivery {
            destination: "inbox".into(),
            covers: Covers::Request,
            priority: Priority::Message,
        }],
    }
}

fn success(delivery: waypost_domain::DeliveryId, at: UnixMillis) -> Settlement {
    let timing = AttemptTiming {
        first_byte: Some(Duration::from_millis(3)),
        total: Duration::from_millis(4),
        ..AttemptTiming::default()
    };
    let address = Some(([192, 0, 2, 41], 443).into());
    let attempt =
        AttemptRecord { at, timing, address, status: Some(200), code: "".into(), excerpt: Vec::new() };
    Settlement { delivery, turn: Turn(delivery.0), settled: Settled::Delivered, overtaken: false, attempt }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// Bytes this process had the disk write (proc(5), `io`).
fn written_bytes() -> u64 {
    let found = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = found.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}
