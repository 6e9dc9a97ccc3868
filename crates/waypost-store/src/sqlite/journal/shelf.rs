//! The journal's files: those in use, the oldest first, and those that may be used again.
//!
//! A file holds a *segment*: records with ascending numbers. Its room is reserved when it is made, so that a full disk
//! is met then and not between two records, and a file that was used before is written over, which spares the file
//! system most of its work. Segments are let go of from the oldest on, never out of turn.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Room in a segment, unless a single record needs more.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Least room in a segment, however little the journal may hold.
const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// Segments that a journal has at least: one is written while the one before it is being applied.
const SEGMENTS_MIN: u64 = 4;
/// Files kept for use again.
const SPARES_MAX: usize = 4;

/// How much the journal may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) segment_bytes: u64,
    pub(super) segments_max: usize,
}

impl Bounds {
    pub(super) fn of(bytes_max: u64) -> Self {
        let segment_bytes = (bytes_max / SEGMENTS_MIN).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES);
        let segments_max = usize::try_from((bytes_max / segment_bytes).max(SEGMENTS_MIN));
        Self { segment_bytes, segments_max: segments_max.unwrap_or(usize::MAX) }
    }
}

/// A stretch of records in a file of its own.
#[derive(Debug)]
pub(super) struct Segment {
    /// Ascends with each use of a file.
    pub(super) number: u64,
    pub(super) file: Arc<File>,
    pub(super) slot: u32,
    /// Room in the file.
    pub(super) bytes: u64,
    /// The last record that is synced, and where it ends.
    pub(super) last: u64,
    pub(super) end: u64,
    /// A sync of it failed: what the disk has of it is not known, and it is not used again.
    pub(super) suspect: bool,
}

/// A file that holds nothing that is needed.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) slot: u32,
    pub(super) file: Arc<File>,
}

#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    pub(super) bounds: Bounds,
    segments: VecDeque<Segment>,
    spares: Vec<Spare>,
    /// The one that is being written.
    writing: Option<u64>,
    next_number: u64,
    /// Never used twice: a file that is let go of is removed a moment later.
    next_slot: u32,
}

/// A file that is being made, outside the lock.
#[derive(Debug)]
pub(super) struct Making {
    number: u64,
    slot: u32,
    spare: Option<Arc<File>>,
    path: PathBuf,
    bytes: u64,
    /// What it must have room for.
    least: u64,
}

impl Shelf {
    pub(super) fn new(path: &Path, bounds: Bounds) -> Self {
        Self {
            path: path.to_owned(),
            bounds,
            segments: VecDeque::new(),
            spares: Vec::new(),
            writing: None,
            next_number: 1,
            next_slot: 1,
        }
    }

    /// The database's file, beside which the journal's are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a segment behind all others; its number must be greater than theirs.
    pub(super) fn add(&mut self, segment: Segment) {
        self.next_slot = self.next_slot.max(segment.slot.saturating_add(1));
        self.next_number = self.next_number.max(segment.number.saturating_add(1));
        self.segments.push_back(segment);
    }

    /// Has numbers go on after this one.
    pub(super) fn numbers_after(&mut self, number: u64) {
        self.next_number = self.next_number.max(number.saturating_add(1));
    }

    pub(super) fn add_spare(&mut self, spare: Spare) {
        self.next_slot = self.next_slot.max(spare.slot.saturating_add(1));
        self.spares.push(spare);
    }

    pub(super) fn has_room(&self) -> bool {
        self.segments.len() < self.bounds.segments_max
    }

    /// Whether a file is there that takes a record of `least` bytes.
    pub(super) fn has_spare_for(&self, least: u64) -> bool {
        least <= self.bounds.segment_bytes && !self.spares.is_empty()
    }

    /// Begins to begin a segment with room for a record of `least` bytes. A new file takes no more than `most`, unless
    /// it must.
    pub(super) fn make(&mut self, least: u64, most: u64) -> Making {
        let usual = self.bounds.segment_bytes;
        let spare = if self.has_spare_for(least) { self.spares.pop() } else { None };
        let bytes = match &spare {
            Some(_) => usual,
            None => usual.min(most.max(SEGMENT_BYTES_MIN)).max(least),
        };
        let slot = match &spare {
            Some(spare) => spare.slot,
            None => {
                let slot = self.next_slot;
                self.next_slot = slot.saturating_add(1);
                slot
            }
        };
        let number = self.next_number;
        self.next_number += 1;
        let path = path_of(&self.path, slot);
        Making { number, slot, spare: spare.map(|spare| spare.file), path, bytes, least }
    }

    /// The segment is ready, and is written from now on.
    pub(super) fn made(&mut self, segment: Segment) {
        self.writing = Some(segment.number);
        self.segments.push_back(segment);
    }

    /// The segment that is written, if there is one.
    pub(super) fn writing(&mut self) -> Option<&mut Segment> {
        let writing = self.writing?;
        self.segments.back_mut().filter(|segment| segment.number == writing)
    }

    /// The one that was written is written no more.
    pub(super) fn leave(&mut self, suspect: bool) {
        if let Some(segment) = self.writing() {
            segment.suspect |= suspect;
        }
        self.writing = None;
    }

    /// The first segment with this number or a greater one, and the number of the one behind it.
    pub(super) fn from(&self, number: u64) -> Option<(&Segment, Option<u64>)> {
        let mut segments = self.segments.iter().skip_while(|segment| segment.number < number);
        let first = segments.next()?;
        Some((first, segments.next().map(|next| next.number)))
    }

    /// Lets go of the segments all of whose records up to `durable` are safe elsewhere. Gives back the files that are
    /// to be removed.
    pub(super) fn let_go(&mut self, durable: u64) -> Vec<PathBuf> {
        let mut removed = Vec::new();
        while let Some(oldest) = self.segments.front()
            && oldest.last <= durable
            && self.writing != Some(oldest.number)
            && let Some(Segment { slot, file, bytes, suspect, .. }) = self.segments.pop_front()
        {
            if suspect || bytes != self.bounds.segment_bytes || self.spares.len() >= SPARES_MAX {
                removed.push(path_of(&self.path, slot));
            } else {
                self.spares.push(Spare { slot, file });
            }
        }
        while self.spares.len() > SPARES_MAX
            && let Some(spare) = self.spares.pop()
        {
            removed.push(path_of(&self.path, spare.slot));
        }
        removed
    }

    /// All files, which are to be removed.
    pub(super) fn clear(&mut self) -> Vec<PathBuf> {
        let segments = self.segments.drain(..).map(|segment| segment.slot);
        let slots: Vec<u32> = segments.chain(self.spares.drain(..).map(|spare| spare.slot)).collect();
        self.writing = None;
        slots.into_iter().map(|slot| path_of(&self.path, slot)).collect()
    }

    /// What is in the segments.
    pub(super) fn held_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// What the files take up.
    pub(super) fn file_bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        segments + self.spares.len() as u64 * self.bounds.segment_bytes
    }
}

impl Making {
    /// Makes the file, or takes the spare one. What it was is overwritten as it is written. A disk without room for a
    /// usual segment may have room for a smaller one.
    pub(super) fn run(self, after: u64) -> std::io::Result<Segment> {
        let Self { number, slot, spare, path, mut bytes, least } = self;
        let file = loop {
            if let Some(file) = &spare {
                break Arc::clone(file);
            }
            match reserve(&path, bytes) {
                Ok(file) => break Arc::new(file),
                Err(error) => {
                    // Half of it would be room that nobody uses.
                    let _ = std::fs::remove_file(&path);
                    if !is_lack_of_room(&error) || bytes / 2 < least.max(SEGMENT_BYTES_MIN) {
                        return Err(error);
                    }
                    bytes /= 2;
                }
            }
        };
        Ok(Segment { number, file, slot, bytes, last: after, end: 0, suspect: false })
    }
}

fn is_lack_of_room(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// A new file with so much room, owner-only, that is there after a crash as well.
fn reserve(path: &Path, bytes: u64) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.set_len(bytes)?,
        Err(errno) => return Err(errno.into()),
    }
    file.sync_all()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

/// The file of a slot. A rollback journal of SQLite's would be called `-journal`: a dot keeps the two apart.
fn path_of(database: &Path, slot: u32) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".journal-{slot}"));
    name.into()
}

/// The journal's files beside a database, and their slots.
pub(super) fn files(database: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Some(name) = database.file_name() else { return Ok(Vec::new()) };
    let mut begin = name.to_owned();
    begin.push(".journal-");
    let begin = begin.into_encoded_bytes();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let name = entry.file_name().into_encoded_bytes();
        let slot =
            name.strip_prefix(&begin[..]).and_then(|slot| std::str::from_utf8(slot).ok()?.parse().ok());
        if let Some(slot) = slot {
            found.push((slot, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_let_go_of_from_the_oldest_on_and_few_files_are_kept() {
        let place = tempfile::tempdir().unwrap();
        let bounds = Bounds { segment_bytes: 4_096, segments_max: 16 };
        let mut shelf = Shelf::new(&place.path().join("waypost.db"), bounds);
        for number in 1..=8 {
            let mut segment = shelf.make(100, u64::MAX).run(number * 10 - 10).unwrap();
            segment.last = number * 10;
            shelf.made(segment);
        }
        assert_eq!(shelf.file_bytes(), 8 * 4_096);
        assert!(shelf.let_go(9).is_empty() && shelf.from(0).unwrap().0.number == 1);
        assert!(shelf.let_go(25).is_empty() && shelf.from(0).unwrap().0.number == 3);
        assert_eq!(shelf.spares.len(), 2);
        // The last one is being written, and stays.
        let removed = shelf.let_go(1_000);
        assert_eq!((removed.len(), shelf.spares.len(), shelf.from(0).unwrap().0.number), (3, 4, 8));
        // One with more room than others is not kept.
        shelf.leave(false);
        let large = shelf.make(10_000, u64::MAX).run(80).unwrap();
        assert_eq!((large.bytes, large.file.metadata().unwrap().len()), (10_000, 10_000));
        shelf.made(large);
        shelf.leave(false);
        assert_eq!(shelf.let_go(1_000).len(), 2);
        assert_eq!(files(&place.path().join("waypost.db")).unwrap().len(), 9);
        assert_eq!(shelf.clear().len(), 4);
    }

    #[test]
    fn a_suspect_file_is_not_used_again() {
        let place = tempfile::tempdir().unwrap();
        let bounds = Bounds { segment_bytes: 4_096, segments_max: 16 };
        let mut shelf = Shelf::new(&place.path().join("waypost.db"), bounds);
        let segment = shelf.make(100, u64::MAX).run(0).unwrap();
        shelf.made(segment);
        shelf.leave(true);
        assert_eq!(shelf.let_go(0), [place.path().join("waypost.db.journal-1")]);
        assert!(shelf.spares.is_empty());
    }
}
