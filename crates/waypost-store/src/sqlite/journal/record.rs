//! The frame of a record on disk: whose it is, which one it is, and whether it is whole.
//!
//! ```text
//!   magic 4 · length 4 · sequence 8 · segment 8 · stamp 8 · payload's CRC 4 · the CRC of all that 4 · payload · zeros
//! ```
//!
//! Numbers are little-endian. Records begin at multiples of [`ALIGNMENT`], so that the next one can be found behind a
//! damaged stretch. The stamp is a number that the database drew once and that nothing ever shows: bytes of a
//! request's body that look like a record are not taken for one. The segment's number tells this use of a file from
//! the ones before.

use super::crc;

/// Where records may begin.
pub(super) const ALIGNMENT: usize = 64;
/// What stands before the payload.
pub(super) const HEADER_BYTES: usize = 40;
const MAGIC: u32 = u32::from_le_bytes(*b"WPaj");

/// A record that has not got its number yet: room for the header, the payload, zeros up to the next boundary.
#[derive(Debug)]
pub(in super::super) struct Draft {
    bytes: Vec<u8>,
    payload_bytes: u32,
    payload_crc: u32,
}

/// A payload that does not fit a record.
#[derive(Debug)]
pub(in super::super) struct TooLong;

impl Draft {
    /// Of bytes that begin with [`HEADER_BYTES`] of room.
    pub(super) fn new(mut bytes: Vec<u8>) -> Result<Self, TooLong> {
        let payload = bytes.get(HEADER_BYTES..).unwrap_or_default();
        let payload_bytes = u32::try_from(payload.len()).map_err(|_| TooLong)?;
        let payload_crc = crc::of(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        Ok(Self { bytes, payload_bytes, payload_crc })
    }

    /// What it takes up on disk.
    pub(in super::super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The payload alone.
    pub(in super::super) fn into_payload(mut self) -> Vec<u8> {
        self.bytes.truncate(HEADER_BYTES + self.payload_bytes as usize);
        self.bytes.drain(..HEADER_BYTES.min(self.bytes.len()));
        self.bytes
    }

    /// Appends the record to `to`, under its number.
    pub(super) fn write(&self, to: &mut Vec<u8>, sequence: u64, segment: u64, stamp: u64) {
        let begin = to.len();
        to.extend_from_slice(&MAGIC.to_le_bytes());
        to.extend_from_slice(&self.payload_bytes.to_le_bytes());
        to.extend_from_slice(&sequence.to_le_bytes());
        to.extend_from_slice(&segment.to_le_bytes());
        to.extend_from_slice(&stamp.to_le_bytes());
        to.extend_from_slice(&self.payload_crc.to_le_bytes());
        let sum = crc::of(to.get(begin..).unwrap_or_default());
        to.extend_from_slice(&sum.to_le_bytes());
        to.extend_from_slice(self.bytes.get(HEADER_BYTES..).unwrap_or_default());
    }
}

/// A header that is whole and bears the stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) sequence: u64,
    pub(super) segment: u64,
    payload_bytes: u32,
    payload_crc: u32,
}

impl Header {
    /// The header at the beginning of `bytes`, if there is one.
    pub(super) fn read(bytes: &[u8], stamp: u64) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let (told, sum) = header.split_last_chunk::<4>()?;
        let four = |at: usize| told.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let eight = |at: usize| told.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let whole = four(0)? == MAGIC && eight(24)? == stamp && crc::of(told) == u32::from_le_bytes(*sum);
        whole.then_some(Self {
            payload_bytes: four(4)?,
            sequence: eight(8)?,
            segment: eight(16)?,
            payload_crc: four(32)?,
        })
    }

    /// The stamp that a header at the beginning of `bytes` bears, if there is one.
    pub(super) fn stamp(bytes: &[u8]) -> Option<u64> {
        let stamp = bytes.get(24..)?.first_chunk().map(|stamp| u64::from_le_bytes(*stamp))?;
        Self::read(bytes, stamp).map(|_| stamp)
    }

    /// Its length, from the header's beginning to the payload's end.
    pub(super) fn length(&self) -> usize {
        HEADER_BYTES + self.payload_bytes as usize
    }

    /// What it takes up on disk: where the next record may begin.
    pub(super) fn size(&self) -> usize {
        self.length().next_multiple_of(ALIGNMENT)
    }

    /// The payload of the record that `bytes` begin with: `None` if it is damaged.
    pub(super) fn payload<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let payload = bytes.get(HEADER_BYTES..self.length())?;
        (crc::of(payload) == self.payload_crc).then_some(payload)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draft(payload: &[u8]) -> Draft {
        Draft::new([&[0; HEADER_BYTES], payload].concat()).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(payload in prop::collection::vec(any::<u8>(), 0..300), sequence: u64, segment: u64, stamp: u64) {
            let draft = draft(&payload);
            let mut bytes = Vec::new();
            draft.write(&mut bytes, sequence, segment, stamp);
            let header = Header::read(&bytes, stamp).unwrap();
            prop_assert_eq!((header.sequence, header.segment), (sequence, segment));
            prop_assert_eq!(header.size(), bytes.len());
            prop_assert_eq!(draft.size(), bytes.len());
            prop_assert_eq!(header.payload(&bytes).unwrap(), &payload[..]);
            prop_assert_eq!(Header::read(&bytes, stamp.wrapping_add(1)), None);
        }

        #[test]
        fn no_cut_and_no_flipped_bit_goes_unnoticed(payload in prop::collection::vec(any::<u8>(), 1..300), cut: prop::sample::Index, flip: prop::sample::Index, bit in 0..8_u8) {
            let mut whole = Vec::new();
            draft(&payload).write(&mut whole, 7, 3, 99);
            let told = HEADER_BYTES + payload.len();
            let read = |bytes: &[u8]| Header::read(bytes, 99).and_then(|header| header.payload(bytes).map(<[u8]>::to_vec));
            prop_assert_eq!(read(&whole[..cut.index(told)]), None);
            let mut damaged = whole.clone();
            damaged[flip.index(told)] ^= 1 << bit;
            prop_assert_eq!(read(&damaged), None);
        }

        #[test]
        fn any_bytes_may_stand_there(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(header) = Header::read(&bytes, 0) {
                header.payload(&bytes);
            }
        }
    }
}
