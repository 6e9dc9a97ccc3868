//! The journal alone: what is synced comes back once, in order, whatever happens to the rest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::reader::{Content, Measure, Reader, Record};
use super::shelf::Bounds;
use super::{Appender, Journal, Setup, Waiting, encode};
use crate::StoreError;
use crate::conformance::samples::{message, request};
use crate::sqlite::gauges::Gauges;
use crate::sqlite::identity::Identity;
use crate::sqlite::queue::Queue;

/// Faults of the disk that tests ask for: how many of the next ones fail.
#[derive(Default)]
pub(super) struct Faults {
    makes: AtomicUsize,
    writes: AtomicUsize,
    syncs: AtomicUsize,
}

impl Faults {
    fn next(fails: &AtomicUsize) -> std::io::Result<()> {
        match fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(std::io::Error::other("a test asked for this")),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn make(&self) -> std::io::Result<()> {
        Self::next(&self.makes)
    }

    pub(super) fn write(&self) -> std::io::Result<()> {
        Self::next(&self.writes)
    }

    pub(super) fn sync(&self) -> std::io::Result<()> {
        Self::next(&self.syncs)
    }
}

const STAMP: u64 = 0x5eed;
const SMALL: Bounds = Bounds { segment_bytes: 4_096, segments_max: 1_000 };

struct Bench {
    place: tempfile::TempDir,
    journal: Arc<Journal>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn open(place: &Path, stamp: u64, applied: u64, bounds: Bounds) -> Arc<Journal> {
    let path = place.join("waypost.db");
    let setup =
        Setup { path: &path, stamp, applied, bytes_max: 0, queue_max: 1_000, queue_bytes_max: 1 << 30 };
    Arc::new(Journal::open_bounded(&setup, bounds).unwrap())
}

impl Bench {
    fn new(place: tempfile::TempDir, applied: u64, bounds: Bounds) -> Self {
        let journal = open(place.path(), STAMP, applied, bounds);
        let appender = Appender {
            journal: Arc::clone(&journal),
            queue: Arc::new(Queue::new(0)),
            gauges: Arc::new(Gauges::default()),
        };
        let thread = Some(std::thread::spawn(move || appender.run()));
        Self { place, journal, thread }
    }

    fn small() -> Self {
        Self::new(tempfile::tempdir().unwrap(), 0, SMALL)
    }

    /// Has the journal keep a request with this name.
    fn keep(&self, name: &str) -> Result<(), StoreError> {
        self.keep_of(name, 10)
    }

    fn keep_of(&self, name: &str, body: usize) -> Result<(), StoreError> {
        let (kept, is_kept) = oneshot::channel();
        self.journal.add(Waiting { draft: draft(name, body), kept, applied: None }).unwrap();
        is_kept.blocking_recv().unwrap()
    }

    /// The process ends, and another one begins where the database says.
    fn reopen(mut self, applied: u64) -> Self {
        self.end();
        let place = std::mem::replace(&mut self.place, tempfile::tempdir().unwrap());
        Self::new(place, applied, SMALL)
    }

    fn end(&mut self) {
        self.journal.shut();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = super::shelf::files(&self.place.path().join("waypost.db")).unwrap();
        files.into_iter().map(|(_, path)| path).collect()
    }

    fn read(&self) -> Vec<(u64, String)> {
        read(&mut Reader::new(Arc::clone(&self.journal)))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.journal.shut();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn draft(name: &str, body: usize) -> super::record::Draft {
    let mut accept = request([message("wamid")]);
    accept.target = name.to_owned();
    accept.body = vec![b'x'; body].into();
    encode(&accept, &[Identity { subject: 1, key: -1 }]).unwrap()
}

fn name_of(record: &Record) -> String {
    match &record.content {
        Content::Accept(accept, _) => accept.target.clone(),
        Content::Nothing => String::new(),
        Content::Unreadable(bytes, _) => format!("unreadable: {} bytes", bytes.len()),
    }
}

/// Everything up to what is synced, in steps.
fn read(reader: &mut Reader) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    loop {
        let mut records = Vec::new();
        reader.read(&mut records, Measure { weight: 3, bytes: 3_000 }).unwrap();
        if records.is_empty() {
            return found;
        }
        found.extend(records.iter().map(|record| (record.sequence, name_of(record))));
    }
}

fn numbered(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    range.map(|number| (number, number.to_string())).collect()
}

#[test]
fn what_is_kept_reads_back_in_order_over_many_segments_and_after_reopening() {
    let bench = Bench::small();
    let mut reader = Reader::new(Arc::clone(&bench.journal));
    assert!(read(&mut reader).is_empty());
    for number in 1..=10_u64 {
        bench.keep(&number.to_string()).unwrap();
    }
    assert_eq!(read(&mut reader), numbered(1..=10));
    for number in 11..=40_u64 {
        bench.keep(&number.to_string()).unwrap();
    }
    assert_eq!(read(&mut reader), numbered(11..=40));
    assert!(bench.files().len() > 3);
    let bench = bench.reopen(0);
    assert_eq!((bench.journal.synced(), bench.read()), (40, numbered(1..=40)));
    bench.keep("41").unwrap();
    let bench = bench.reopen(25);
    assert_eq!(bench.read(), numbered(26..=41));
    // All of it is in the database: a clean end leaves nothing.
    let mut bench = bench.reopen(41);
    assert_eq!((bench.journal.behind(), bench.read().len()), (0, 0));
    bench.end();
    bench.journal.clear();
    assert!(bench.files().is_empty());
}

#[test]
fn a_record_of_any_length_finds_room() {
    let bench = Bench::small();
    for (number, body) in [(1, 10), (2, 3_000), (3, 100_000), (4, 10), (5, 2_000_000), (6, 1)] {
        bench.keep_of(&number.to_string(), body).unwrap();
    }
    assert_eq!(bench.read(), numbered(1..=6));
    let bench = bench.reopen(0);
    assert_eq!(bench.read(), numbered(1..=6));
}

#[test]
fn files_are_used_again_and_what_they_held_before_never_counts() {
    let bench = Bench::small();
    let mut reader = Reader::new(Arc::clone(&bench.journal));
    let mut most = 0;
    for number in 1..=200_u64 {
        bench.keep(&number.to_string()).unwrap();
        assert_eq!(read(&mut reader), numbered(number..=number));
        bench.journal.applied_is(number);
        bench.journal.durable_is(number);
        most = most.max(bench.files().len());
    }
    assert!(most <= 2, "{most} files");
    let bench = bench.reopen(200);
    assert_eq!((bench.journal.synced(), bench.read().len()), (200, 0));
    bench.keep("201").unwrap();
    let bench = bench.reopen(200);
    assert_eq!(bench.read(), numbered(201..=201));
}

#[test]
fn a_segment_is_kept_until_the_database_has_synced_what_it_holds() {
    let bench = Bench::small();
    for number in 1..=40_u64 {
        bench.keep(&number.to_string()).unwrap();
    }
    let files = bench.files().len();
    bench.journal.applied_is(40);
    assert_eq!(bench.files().len(), files);
    // The power fails here: the database's log was not synced, and it has but the first ten.
    let bench = bench.reopen(10);
    assert_eq!(bench.read(), numbered(11..=40));
}

#[test]
fn a_sync_that_failed_refuses_its_group_and_leaves_the_segment_for_good() {
    let bench = Bench::small();
    bench.keep("1").unwrap();
    for fault in [&bench.journal.faults.syncs, &bench.journal.faults.writes] {
        let files = bench.files().len();
        fault.store(1, Ordering::SeqCst);
        assert!(matches!(bench.keep("refused"), Err(StoreError::Disk(_))));
        let next = bench.journal.synced() + 1;
        bench.keep(&next.to_string()).unwrap();
        assert_eq!(bench.files().len(), files + 1, "another segment");
    }
    bench.journal.faults.makes.store(0, Ordering::SeqCst);
    assert_eq!(bench.read(), numbered(1..=3));
    // Though the disk has what was refused, whole, it does not count.
    let mut bench = bench.reopen(0);
    assert_eq!(bench.read(), numbered(1..=3));
    let held = bench.files().into_iter().filter(|file| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(7).any(|bytes| bytes == b"refused")
    });
    assert_eq!(held.count(), 2, "the test itself");
    bench.end();
}

#[test]
fn a_disk_that_fails_for_long_is_asked_again_and_again_and_uses_up_no_segments() {
    let bench = Bench::new(tempfile::tempdir().unwrap(), 0, Bounds { segments_max: 4, ..SMALL });
    bench.journal.faults.syncs.store(50, Ordering::SeqCst);
    for _ in 0..50 {
        assert!(matches!(bench.keep("refused"), Err(StoreError::Disk(_))));
        assert!(bench.files().len() <= 4);
    }
    bench.journal.faults.makes.store(1, Ordering::SeqCst);
    assert!(matches!(bench.keep("refused"), Err(StoreError::Disk(_))));
    bench.keep("1").unwrap();
    assert_eq!(bench.read(), numbered(1..=1));
}

#[test]
fn a_full_journal_waits_for_room_and_then_refuses() {
    let bench = Bench::new(tempfile::tempdir().unwrap(), 0, Bounds { segments_max: 4, ..SMALL });
    let mut kept = 0_u64;
    while bench
        .keep(&(kept + 1).to_string())
        .map_err(|error| assert!(matches!(error, StoreError::Busy)))
        .is_ok()
    {
        kept += 1;
        assert!(kept < 100);
    }
    assert_eq!(bench.files().len(), 4);
    // Where nothing can be applied, it refuses at once, and says why.
    bench.journal.stuck_is(Some(StoreError::Full));
    assert!(matches!(bench.keep("refused"), Err(StoreError::Full)));
    bench.journal.stuck_is(None);
    // Room comes while one waits.
    let journal = Arc::clone(&bench.journal);
    let applier = std::thread::spawn(move || {
        while journal.waiting() > 0 {
            std::thread::yield_now();
        }
        journal.applied_is(kept);
        journal.durable_is(kept);
    });
    bench.keep(&(kept + 1).to_string()).unwrap();
    applier.join().unwrap();
    let mut reader = Reader::new(Arc::clone(&bench.journal));
    assert_eq!(read(&mut reader), numbered(kept + 1..=kept + 1));
}

#[test]
fn a_journal_of_another_database_is_put_aside_and_not_applied() {
    let mut bench = Bench::small();
    bench.keep("1").unwrap();
    bench.end();
    let other = open(bench.place.path(), STAMP + 1, 0, SMALL);
    assert_eq!(other.synced(), 0);
    assert!(bench.files().is_empty());
    let aside = bench.place.path().join("waypost.db.journal-1.foreign-1");
    std::fs::rename(aside, bench.place.path().join("waypost.db.journal-1")).unwrap();
    assert_eq!(bench.reopen(0).read(), numbered(1..=1));
}

#[test]
fn bytes_of_a_body_that_look_like_a_record_are_none() {
    // A forger who knows everything but the stamp.
    let mut forged = Vec::new();
    draft("forged", 10).write(&mut forged, 2, 1, STAMP + 1);
    let mut bench = Bench::small();
    for shift in 0..64 {
        let mut accept = request([]);
        accept.target = (shift + 1).to_string();
        accept.body = [&vec![0; shift][..], &forged].concat().into();
        let (kept, is_kept) = oneshot::channel();
        let draft = encode(&accept, &[]).unwrap();
        bench.journal.add(Waiting { draft, kept, applied: None }).unwrap();
        is_kept.blocking_recv().unwrap().unwrap();
    }
    bench.end();
    // Damage the record's own header, so that the next one is searched for within the body.
    for file in bench.files() {
        let mut bytes = std::fs::read(&file).unwrap();
        for at in (0..bytes.len()).step_by(64) {
            if super::record::Header::read(&bytes[at..], STAMP).is_some() {
                bytes[at + 5] ^= 0x40;
                break;
            }
        }
        std::fs::write(&file, bytes).unwrap();
    }
    let bench = bench.reopen(0);
    assert!(bench.read().iter().all(|(_, name)| name != "forged"));
}

/// What a damaged stretch of a file takes with it.
#[derive(Clone, Debug)]
enum Damage {
    Flip { file: prop::sample::Index, at: prop::sample::Index, bit: u8 },
    Fill { file: prop::sample::Index, at: prop::sample::Index, length: usize, with: u8 },
    Cut { at: prop::sample::Index },
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    prop_oneof![
        (place(), 0..8_u8).prop_map(|((file, at), bit)| Damage::Flip { file, at, bit }),
        (place(), 1..3_000_usize, any::<u8>()).prop_map(|((file, at), length, with)| Damage::Fill {
            file,
            at,
            length,
            with
        }),
        any::<prop::sample::Index>().prop_map(|at| Damage::Cut { at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    /// Whatever becomes of the files: every record whose bytes are untouched comes back, once, in order, and nothing
    /// else does.
    #[test]
    fn all_that_is_undamaged_comes_back_once_and_in_order(
        bodies in prop::collection::vec(0..2_500_usize, 1..24),
        failures in prop::collection::vec(0..24_usize, 0..4),
        applied in 0..20_u64,
        damages in prop::collection::vec(damage(), 0..4),
    ) {
        let mut bench = Bench::small();
        let failures: BTreeSet<_> = failures.into_iter().collect();
        for (place, body) in bodies.iter().enumerate() {
            if failures.contains(&place) {
                bench.journal.faults.syncs.store(1, Ordering::SeqCst);
                prop_assert!(bench.keep_of("refused", *body).is_err());
            }
            bench.keep_of(&(place + 1).to_string(), *body).unwrap();
        }
        let count = bodies.len() as u64;
        let applied = applied.min(count);
        bench.end();
        let files = bench.files();
        let before: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        let mut after = before.clone();
        for damage in &damages {
            match damage {
                Damage::Flip { file, at, bit } => {
                    let file = &mut after[file.index(files.len())];
                    if !file.is_empty() {
                        let at = at.index(file.len());
                        file[at] ^= 1 << bit;
                    }
                }
                Damage::Fill { file, at, length, with } => {
                    let file = &mut after[file.index(files.len())];
                    let at = at.index(file.len() + 1);
                    let end = (at + length).min(file.len());
                    file[at..end].fill(*with);
                }
                Damage::Cut { at } => {
                    let last = after.last_mut().unwrap();
                    let length = at.index(last.len() + 1);
                    last.truncate(length);
                }
            }
        }
        // Which records are whole, found without the journal's own reading.
        let mut whole = BTreeSet::new();
        for (before, after) in before.iter().zip(&after) {
            for at in (0..before.len()).step_by(64) {
                let Some(header) = super::record::Header::read(&before[at..], STAMP) else { continue };
                let bytes = at..at + header.length();
                if before.get(bytes.clone()) == after.get(bytes) {
                    let payload = header.payload(&before[at..]).unwrap();
                    let (accept, _) = super::content::decode(payload).unwrap();
                    if accept.target != "refused" {
                        whole.insert(header.sequence);
                    }
                }
            }
        }
        for (file, bytes) in files.iter().zip(&after) {
            std::fs::write(file, bytes).unwrap();
        }
        let bench = bench.reopen(applied);
        let found = bench.read();
        let mut numbers: Vec<u64> = Vec::new();
        for (sequence, name) in &found {
            // Of what was refused, a record may come to light only where its successor is damaged.
            if name == "refused" {
                prop_assert!(!whole.contains(sequence));
            } else {
                prop_assert_eq!(&sequence.to_string(), name);
                numbers.push(*sequence);
            }
        }
        let expected: Vec<u64> = whole.into_iter().filter(|sequence| *sequence > applied).collect();
        prop_assert_eq!(numbers, expected);
        // And it goes on from there.
        let next = bench.journal.synced() + 1;
        prop_assert!(next > applied);
        bench.keep(&next.to_string()).unwrap();
        prop_assert_eq!(bench.read().last().cloned(), Some((next, next.to_string())));
    }
}
