//! Reading the journal back, in order, up to what is synced: the one way from the journal to the ledger.
//!
//! Nothing is held in memory between the two, so that a writer that is far behind costs disk and no memory. What was
//! just written comes from the page cache.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::record::{ALIGNMENT, HEADER_BYTES, Header};
use super::{Journal, content};
use crate::Accept;
use crate::sqlite::identity::Identity;

/// What is read at once, where a record is not longer.
const CHUNK_BYTES: u64 = 256 * 1024;
/// Why a record that is whole cannot be applied.
const UNKNOWN_FORM: &str = "it is written in a form that this waypost does not know";

/// A record that was read back.
pub(in super::super) struct Record {
    pub(in super::super) sequence: u64,
    pub(in super::super) content: Content,
}

/// What a record holds.
pub(in super::super) enum Content {
    Accept(Box<Accept>, Vec<Identity>),
    /// Nothing to apply: whether the journal can be written was asked.
    Nothing,
    /// What cannot be applied: its bytes, and why.
    Unreadable(Vec<u8>, String),
}

pub(in super::super) struct Reader {
    journal: Arc<Journal>,
    segment: u64,
    offset: u64,
    /// The record to come.
    next: u64,
    chunk: Vec<u8>,
}

/// How far one reading goes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Measure {
    /// So many events or deliveries.
    pub(in super::super) weight: usize,
    /// So many bytes of records.
    pub(in super::super) bytes: usize,
}

impl Reader {
    /// Reads on after what is applied.
    pub(in super::super) fn new(journal: Arc<Journal>) -> Self {
        let next = journal.applied() + 1;
        Self { journal, segment: 0, offset: 0, next, chunk: Vec::new() }
    }

    /// The last record that was read, or passed over for good.
    pub(in super::super) fn position(&self) -> u64 {
        self.next - 1
    }

    /// Reads what comes next: one record at least if there is one, and no more than the measure.
    pub(in super::super) fn read(&mut self, into: &mut Vec<Record>, measure: Measure) -> std::io::Result<()> {
        // Asked before the segments are: they hold all of it by then.
        let synced = self.journal.synced();
        let (mut weight, mut bytes) = (0, 0);
        while self.next <= synced {
            let found = self
                .journal
                .shelf()
                .from(self.segment)
                .map(|(found, behind)| (found.number, Arc::clone(&found.file), found.end, behind));
            let Some((number, file, end, behind)) = found else {
                self.missing(synced + 1);
                break;
            };
            if number != self.segment {
                (self.segment, self.offset) = (number, 0);
            }
            if self.offset >= end {
                match behind {
                    Some(behind) => (self.segment, self.offset) = (behind, 0),
                    // The last one may be written on: what comes will be looked for here.
                    None => self.missing(synced + 1),
                }
                continue;
            }
            self.load(&file, (end - self.offset).min(CHUNK_BYTES))?;
            let mut at = 0;
            while self.next <= synced {
                let rest = self.chunk.get(at..).unwrap_or_default();
                let left = end.saturating_sub(self.offset + at as u64);
                let cut_short = rest.len() < HEADER_BYTES && left > rest.len() as u64;
                let header = Header::read(rest, self.journal.stamp).filter(|header| {
                    // Else it says that it goes on behind the segment's end.
                    header.segment == number && header.length() as u64 <= left
                });
                match header {
                    _ if rest.is_empty() || cut_short => break,
                    None => {
                        at += ALIGNMENT;
                        continue;
                    }
                    Some(header) if header.length() > rest.len() => {
                        if at > 0 {
                            break;
                        }
                        self.load(&file, header.length() as u64)?;
                        continue;
                    }
                    Some(header) => {
                        let wanted = header.sequence >= self.next;
                        let Some(payload) = header.payload(rest).filter(|_| wanted) else {
                            at += header.size();
                            continue;
                        };
                        let content = match content::decode(payload) {
                            _ if payload.is_empty() => Content::Nothing,
                            Some((accept, identities)) => Content::Accept(Box::new(accept), identities),
                            None => Content::Unreadable(payload.to_vec(), UNKNOWN_FORM.to_owned()),
                        };
                        (weight, bytes) = (weight + content.weight(), bytes + header.size());
                        if !into.is_empty() && (weight > measure.weight || bytes > measure.bytes) {
                            self.offset += at as u64;
                            return Ok(());
                        }
                        self.missing(header.sequence);
                        into.push(Record { sequence: header.sequence, content });
                        self.next = header.sequence + 1;
                        at += header.size();
                    }
                }
            }
            self.offset += at as u64;
        }
        self.chunk.clear();
        self.chunk.shrink_to(CHUNK_BYTES as usize);
        Ok(())
    }

    fn load(&mut self, file: &std::fs::File, bytes: u64) -> std::io::Result<()> {
        self.chunk.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        file.read_exact_at(&mut self.chunk, self.offset)
    }

    /// Goes on with this record; says so loudly where others should have come before it.
    fn missing(&mut self, found: u64) {
        if found > self.next {
            tracing::error!(
                first = self.next,
                records = found - self.next,
                "accepted requests are missing from the journal, whose disk has damaged them: they cannot be delivered"
            );
            self.next = found;
        }
    }
}

impl Content {
    /// A body of thousands of events is as much work as thousands of requests.
    pub(in super::super) fn weight(&self) -> usize {
        match self {
            Self::Accept(accept, _) => accept.events.len().max(accept.deliveries.len()).max(1),
            Self::Nothing | Self::Unreadable(..) => 1,
        }
    }
}
