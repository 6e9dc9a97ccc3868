//! Every event once, in order, whatever becomes of the readers.

use std::time::Duration;

use waypost_engine::stream::{
    Cursor, Filter, Frame, Since, StreamError, Subscription, TypePattern, View, Wanted,
};
use waypost_whatsapp::Compose;

use crate::house::{House, all, ids, next, read, seen};

/// Chance, the same for the same seed (Steele, Lea and Flood's SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// One in so many.
    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// Webhooks of several kinds, of one or more events each, some of them repeats.
async fn some_traffic(house: &House, count: u64, chance: &mut Chance) {
    const KINDS: [&str; 7] =
        ["text", "batch", "status.read", "image", "call.connect", "template.approved", "system"];
    for _ in 0..count {
        let contact = format!("1415555{:04}", chance.below(6));
        let kind = KINDS[chance.below(7) as usize];
        let sequence = chance.below(400);
        let parts = Compose { sequence, contact: &contact, batch_size: 3, ..Compose::default() };
        house.compose(kind, &parts).await;
    }
}

/// Reads for a while; is killed then, perhaps with frames that it had not looked at.
async fn read_a_while(reader: &mut Subscription, got: &mut Vec<String>, chance: &mut Chance) -> Cursor {
    let mut cursor = reader.cursor();
    for _ in 0..chance.below(12) {
        let max = 1 + chance.below(9) as usize;
        let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), reader.next(max)).await else {
            break;
        };
        let frames = batch.unwrap().frames;
        let read = if chance.is(5) { chance.below(frames.len() as u64 + 1) as usize } else { frames.len() };
        got.extend(ids(&frames[..read]));
        cursor = frames[..read].last().map_or(cursor, |frame| frame.cursor());
        if read < frames.len() {
            return cursor;
        }
    }
    cursor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_killed_and_resumed_at_random_see_every_event_once_and_in_order() {
    for (seed, ring) in (0..).zip([1, 2, 3, 7, 64, 1_000]) {
        let mut chance = Chance(seed);
        let mut house = House::with_ring(ring, 1 << 20);
        let mut readers = vec![(Vec::new(), None::<Cursor>); 4];
        for _ in 0..7 {
            some_traffic(&house, chance.below(20), &mut chance).await;
            if chance.is(4) {
                house.restarted(1 + chance.below(50) as usize);
            }
            for (got, cursor) in &mut readers {
                let mut reader = house.reader(cursor.map_or(Since::Oldest, Since::After)).await;
                let more = chance.below(8);
                some_traffic(&house, more, &mut chance).await;
                *cursor = Some(read_a_while(&mut reader, got, &mut chance).await);
            }
        }
        let expected = house.everything().await;
        assert!(expected.is_sorted_by(|a, b| a.cursor() < b.cursor()));
        let own = expected.iter().filter(|frame| !frame.cursor().is_companion()).count();
        assert_eq!(own, house.count().await, "one for each event");
        assert!(own > 50 && expected.len() > own, "{own}");
        for (mut got, cursor) in readers {
            let mut reader = house.reader(cursor.map_or(Since::Oldest, Since::After)).await;
            let left = expected.len() - got.len();
            got.extend(ids(&read(&mut reader, left).await));
            assert_eq!(got, ids(&expected), "seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_has_the_same_bytes_from_memory_and_from_the_store() {
    let mut house = House::new();
    house.text(0).await;
    let mut live = house.reader(Since::Now).await;
    let mut chance = Chance(9);
    some_traffic(&house, 60, &mut chance).await;
    let view = View { raw: true, ..View::WHOLE };
    let newest = house.store.ends().await.unwrap().newest.unwrap();
    let mut from_memory = Vec::new();
    while live.cursor().event() < newest {
        from_memory.extend(next(&mut live, 16).await.frames);
    }
    house.restarted(1);
    let from_store = house.everything().await;
    let from_store = &from_store[from_store.len() - from_memory.len()..];
    assert!(from_memory.len() > 30);
    for (memory, store) in from_memory.iter().zip(from_store) {
        assert!(!std::sync::Arc::ptr_eq(memory, store));
        assert_eq!(memory.encoded(view), store.encoded(view));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_readers_of_a_view_share_one_writing_of_each_frame() {
    let house = House::new();
    let mut readers = [house.reader(Since::Now).await, house.reader(Since::Now).await];
    house.text(1).await;
    let mut written = Vec::new();
    for reader in &mut readers {
        let frames = read(reader, 2).await;
        written.push(frames.iter().map(|frame| frame.encoded(View::WHOLE).unwrap()).collect::<Vec<_>>());
    }
    for (one, other) in written[0].iter().zip(&written[1]) {
        assert_eq!(one.as_ptr(), other.as_ptr());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stuck_reader_holds_a_cursor_and_no_frames() {
    let house = House::with_ring(4, 1 << 20);
    let mut stuck = house.reader(Since::Now).await;
    let mut quick = house.reader(Since::Now).await;
    let frames = {
        house.text(0).await;
        read(&mut quick, 2).await
    };
    let held: Vec<_> = frames.iter().map(std::sync::Arc::downgrade).collect();
    drop(frames);
    for sequence in 1..40 {
        house.text(sequence).await;
    }
    read(&mut quick, 39).await;
    assert!(held.iter().all(|frame| frame.upgrade().is_none()), "kept for nobody");
    assert_eq!(stuck.behind(), 4, "what is in memory; more is in the store");
    assert_eq!(read(&mut stuck, 41).await.len(), 41);
    assert_eq!(stuck.behind(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_or_made_while_nobody_listens() {
    let house = House::new();
    for sequence in 0..20 {
        house.text(sequence).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((house.metrics.stream_frames.get(), house.metrics.stream_readers.get()), (0, 0));
    let mut reader = house.reader(Since::Now).await;
    house.text(20).await;
    read(&mut reader, 1).await;
    assert_eq!((house.metrics.stream_frames.get(), house.metrics.stream_catch_ups.get()), (1, 0));
    drop(reader);
    assert_eq!(house.stream.readers(), 0);
}

fn typed(since: Since, types: &[&str]) -> Wanted {
    let types = types.iter().map(|pattern| TypePattern::parse(pattern).unwrap()).collect();
    Wanted { filter: Filter { types, ..Filter::default() }, ..all(since) }
}

fn types(frames: &[std::sync::Arc<Frame>]) -> Vec<&'static str> {
    frames.iter().map(|frame| frame.event_type()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_what_it_asked_for_of_what_it_may_see() {
    for is_live in [true, false] {
        let house = House::new();
        house.text(9_999).await;
        let start = house.reader(Since::Now).await.cursor();
        let mut live = match is_live {
            true => Some(house.reader(Since::Now).await),
            false => None,
        };
        house.text(1).await;
        house.compose("status.read", &Compose { sequence: 1, ..Compose::default() }).await;
        house.compose("call.connect", &Compose { sequence: 2, ..Compose::default() }).await;
        house.compose("template.approved", &Compose { sequence: 3, ..Compose::default() }).await;
        let other = Compose {
            sequence: 4,
            phone_number_id: "42",
            display_phone_number: "15550042",
            contact: "4912345",
            ..Compose::default()
        };
        house.compose("text", &other).await;
        let newest = Cursor::of(house.store.ends().await.unwrap().newest.unwrap());
        if let Some(live) = &mut live {
            read(live, 6).await;
        }
        let read_all = async |wanted: Wanted| {
            let mut reader = house.stream.subscribe(wanted).await.unwrap();
            let mut frames = Vec::new();
            while reader.cursor() < newest {
                frames.extend(reader.poll_now(2).await.unwrap().frames);
            }
            frames
        };
        let since = Since::After(start);
        let wanted = read_all(typed(since, &["message:*"])).await;
        assert_eq!(types(&wanted), ["message:new", "message:status", "message:new"]);
        let wanted = read_all(typed(since, &["account:*", "contact:new"])).await;
        assert_eq!(types(&wanted), ["account:template", "contact:new"]);
        let of = |numbers: &[&str], conversations: &[&str], sources: &[&str]| {
            let boxed = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect();
            Filter {
                numbers: boxed(numbers),
                conversations: boxed(conversations),
                sources: boxed(sources),
                ..Filter::default()
            }
        };
        for filter in
            [of(&["42"], &[], &[]), of(&["15550042"], &[], &[]), of(&[], &["42:4912345"], &["acme"])]
        {
            let wanted = read_all(Wanted { filter: filter.clone(), ..all(since) }).await;
            assert_eq!(types(&wanted), ["contact:new", "message:new"], "{filter:?}");
            let scoped = Wanted { scope: filter, ..typed(since, &["message:*"]) };
            assert_eq!(types(&read_all(scoped).await), ["message:new"]);
        }
        assert!(read_all(Wanted { scope: of(&[], &[], &["other"]), ..all(since) }).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_wants_little_goes_on_from_where_it_was_looked() {
    let house = House::with_ring(8, 1 << 20);
    let mut reader = house.stream.subscribe(typed(Since::Now, &["account:*"])).await.unwrap();
    for sequence in 0..30 {
        house.text(sequence).await;
    }
    house.compose("template.approved", &Compose { sequence: 31, ..Compose::default() }).await;
    let batch = next(&mut reader, 10).await;
    assert_eq!(types(&batch.frames), ["account:template"]);
    assert_eq!(batch.cursor, batch.frames[0].cursor());
    assert_eq!(seen(&batch.frames[0], View::WHOLE)["id"], batch.cursor.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_that_begins_between_the_frames_of_an_event_hides_neither() {
    let house = House::with_ring(1, 1 << 20);
    let mut reader = house.reader(Since::Now).await;
    for sequence in 0..20 {
        let contact = format!("49{sequence}");
        house.compose("text", &Compose { sequence, contact: &contact, ..Compose::default() }).await;
        assert_eq!(types(&read(&mut reader, 2).await), ["contact:new", "message:new"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_that_begins_at_a_repeat_is_joined() {
    let house = House::new();
    let first = Cursor::of(house.text(0).await);
    house.text(0).await;
    let mut reader = house.reader(Since::After(first)).await;
    let _other = house.reader(Since::Now).await;
    let second = house.text(1).await;
    let frames = next(&mut reader, 5).await.frames;
    assert_eq!((frames.len(), frames[0].cursor()), (1, Cursor::of(second)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_a_page_is_read_page_by_page() {
    let house = House::new();
    for sequence in 0..2 {
        let parts = Compose { sequence: 1_000 * sequence, batch_size: 300, ..Compose::default() };
        house.compose("batch", &parts).await;
    }
    house.compose("call.connect", &Compose { sequence: 9_000, ..Compose::default() }).await;
    let few = [(&["*"][..], 602), (&["message:new"], 600), (&["contact:new"], 1), (&["call:*"], 1)];
    for (types, count) in few {
        let mut reader = house.stream.subscribe(typed(Since::Oldest, types)).await.unwrap();
        let mut frames = Vec::new();
        while frames.len() < count {
            frames.extend(next(&mut reader, 1_000).await.frames);
        }
        assert_eq!(frames.len(), count);
        assert!(frames.is_sorted_by(|a, b| a.cursor() < b.cursor()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_waiting_loses_nothing() {
    let house = House::with_ring(2, 1 << 20);
    let mut reader = house.reader(Since::Now).await;
    let mut got = Vec::new();
    for sequence in 0..50 {
        house.text(sequence).await;
        let wait = Duration::from_micros(200 * (sequence % 7));
        if let Ok(batch) = tokio::time::timeout(wait, reader.next(3)).await {
            got.extend(ids(&batch.unwrap().frames));
        }
    }
    let expected = ids(&house.everything().await);
    let left = expected.len() - got.len();
    got.extend(ids(&read(&mut reader, left).await));
    assert_eq!(got, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_come_to_who_wants_them_and_move_nothing() {
    let house = House::new();
    let event = house.text(1).await;
    let mut wants = house.stream.subscribe(Wanted { replays: true, ..all(Since::Now) }).await.unwrap();
    let mut other = house.reader(Since::Now).await;
    let before = wants.cursor();
    house.stream.replayed([event]);
    let frames = read(&mut wants, 2).await;
    assert!(frames.iter().all(|frame| frame.is_replay()));
    let replay = seen(&frames[1], View::WHOLE);
    assert_eq!((&replay["type"], &replay["replay"]), (&"message:new".into(), &true.into()));
    assert_eq!(wants.cursor(), before);
    house.text(2).await;
    for reader in [&mut wants, &mut other] {
        let frames = read(reader, 1).await;
        let frame = seen(&frames[0], View::WHOLE);
        assert!(!frames[0].is_replay() && frame.get("replay").is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_told_when_the_stream_ends() {
    let mut house = House::new();
    let mut reader = house.reader(Since::Now).await;
    house.restarted(10);
    let end = tokio::time::timeout(Duration::from_secs(10), reader.next(1)).await.unwrap();
    assert_eq!(end.unwrap_err(), StreamError::Ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_are_woken_together_and_soon() {
    let house = House::new();
    let mut readers = Vec::new();
    for _ in 0..300 {
        readers.push(house.reader(Since::Now).await);
    }
    let tasks: Vec<_> = readers
        .into_iter()
        .map(|mut reader| tokio::spawn(async move { ids(&read(&mut reader, 41).await) }))
        .collect();
    for sequence in 0..40 {
        house.text(sequence).await;
    }
    let mut got = Vec::new();
    for task in tasks {
        got.push(tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap());
    }
    let expected = ids(&house.everything().await);
    assert!(got.iter().all(|got| *got == expected));
    assert_eq!(house.metrics.stream_frames.get(), 41);
}
