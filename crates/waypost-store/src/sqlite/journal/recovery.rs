//! What is found in the journal when the store is opened: after a crash, what was acknowledged and is not in the
//! database yet.
//!
//! A last record that is cut short or damaged was never acknowledged, and ends it quietly. Behind a damaged stretch in
//! the middle every whole record counts; what is missing there is said loudly when the others are applied.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{ALIGNMENT, Header};
use super::shelf::{self, Segment, Shelf, Spare};

/// A record in a file.
struct Found {
    sequence: u64,
    end: u64,
}

/// Puts the segments that are there on the shelf, and gives back the last record's number, or 0.
pub(super) fn find(shelf: &mut Shelf, path: &Path, stamp: u64, applied: u64) -> std::io::Result<u64> {
    let mut segments: Vec<(Segment, Vec<Found>)> = Vec::new();
    for (slot, path) in shelf::files(path)? {
        let file = File::options().read(true).write(true).open(&path)?;
        let bytes = std::fs::read(&path)?;
        let Some((number, records)) = newest_use(&bytes, stamp) else {
            if is_foreign(&bytes, stamp) {
                set_aside(&path)?;
            } else if bytes.len() as u64 == shelf.bounds.segment_bytes {
                shelf.add_spare(Spare { slot, file: Arc::new(file) });
            } else {
                std::fs::remove_file(&path)?;
            }
            continue;
        };
        let segment = Segment {
            number,
            file: Arc::new(file),
            slot,
            bytes: bytes.len() as u64,
            last: 0,
            end: 0,
            suspect: false,
        };
        segments.push((segment, records));
    }
    segments.sort_by_key(|(segment, _)| segment.number);

    // Numbers that a later segment has again were refused where they are found first.
    let mut limit = u64::MAX;
    for (segment, records) in segments.iter_mut().rev() {
        let first = records.first().map_or(limit, |first| first.sequence);
        records.retain(|record| record.sequence < limit);
        if let Some(last) = records.last() {
            (segment.last, segment.end) = (last.sequence, last.end);
        }
        limit = limit.min(first);
    }
    let mut last = 0;
    for (segment, _) in segments {
        shelf.numbers_after(segment.number);
        last = last.max(segment.last);
        shelf.add(segment);
    }
    if last > applied {
        tracing::info!(records = last - applied, "the journal holds accepted requests that are applied now");
    }
    Ok(last)
}

/// The records of the file's latest use, in ascending order, and the number of that use.
fn newest_use(bytes: &[u8], stamp: u64) -> Option<(u64, Vec<Found>)> {
    let mut newest: Option<(u64, Vec<Found>)> = None;
    // Every place is looked at: a record of an earlier use may have been written over in its middle.
    for begin in (0..bytes.len()).step_by(ALIGNMENT) {
        let rest = bytes.get(begin..).unwrap_or_default();
        let Some(header) = Header::read(rest, stamp) else { continue };
        let number = newest.as_ref().map(|(number, _)| *number);
        if number.is_some_and(|number| header.segment < number) || header.payload(rest).is_none() {
            continue;
        }
        // A file that was cut may lack the zeros behind its last record.
        let end = begin.saturating_add(header.size()).min(bytes.len()) as u64;
        let found = Found { sequence: header.sequence, end };
        match &mut newest {
            Some((number, records)) if *number == header.segment => {
                if records.last().is_none_or(|last| last.sequence < found.sequence) {
                    records.push(found);
                }
            }
            _ => newest = Some((header.segment, vec![found])),
        }
    }
    newest
}

/// Whether the file holds records of another database.
fn is_foreign(bytes: &[u8], stamp: u64) -> bool {
    bytes.chunks(ALIGNMENT).filter_map(Header::stamp).any(|found| found != stamp)
}

/// Puts a file aside whose records belong to another database: they may be all that is left of it.
fn set_aside(path: &Path) -> std::io::Result<()> {
    for number in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".foreign-{number}"));
        let aside = PathBuf::from(name);
        if !aside.try_exists()? {
            std::fs::rename(path, &aside)?;
            tracing::error!(
                file = %aside.display(),
                "a journal belongs to another database than the one beside it; it was put aside"
            );
            break;
        }
    }
    Ok(())
}
