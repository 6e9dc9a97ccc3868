//! Lanes: which deliveries must wait for which.

/// The order within one conversation at one destination.
///
/// A lane is named by a stable hash of its conversation. Two conversations that share a hash
/// (odds of one in 2⁶⁴ per pair) wait for each other and lose nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Lane(pub u64);

impl Lane {
    /// The lane of a conversation: FNV-1a over its name, mixed so that all bits matter.
    pub fn of(conversation: &str) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in conversation.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(hash ^ (hash >> 32))
    }
}

/// The lanes that one delivery waits for and holds: sorted, each once.
///
/// Empty for a delivery whose events belong to no conversation; one lane nearly always; many for
/// a batch delivered whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lanes(Repr);

#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Repr {
    #[default]
    None,
    One(Lane),
    Many(Box<[Lane]>),
}

impl Lanes {
    /// No lane: nothing to wait for.
    pub const NONE: Self = Self(Repr::None);

    /// The lanes as a slice.
    pub fn as_slice(&self) -> &[Lane] {
        match &self.0 {
            Repr::None => &[],
            Repr::One(lane) => std::slice::from_ref(lane),
            Repr::Many(lanes) => lanes,
        }
    }

    /// Eight bytes a lane, little endian: how the store keeps them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.as_slice().iter().flat_map(|lane| lane.0.to_le_bytes()).collect()
    }

    /// Reads what [`Lanes::to_bytes`] wrote. `None` if the length is not a multiple of eight.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lanes, rest) = bytes.as_chunks::<8>();
        rest.is_empty().then(|| lanes.iter().map(|lane| Lane(u64::from_le_bytes(*lane))).collect())
    }
}

impl FromIterator<Lane> for Lanes {
    fn from_iter<I: IntoIterator<Item = Lane>>(lanes: I) -> Self {
        let mut lanes = lanes.into_iter();
        let Some(first) = lanes.next() else { return Self::NONE };
        let Some(second) = lanes.next() else { return Self(Repr::One(first)) };
        let mut all = vec![first, second];
        all.extend(lanes);
        all.sort_unstable();
        all.dedup();
        match all.as_slice() {
            [only] => Self(Repr::One(*only)),
            _ => Self(Repr::Many(all.into_boxed_slice())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_sorted_and_each_once() {
        let lanes: Lanes = [Lane(3), Lane(1), Lane(3)].into_iter().collect();
        assert_eq!(lanes.as_slice(), [Lane(1), Lane(3)]);
        let same: Lanes = [Lane(7), Lane(7)].into_iter().collect();
        assert_eq!(same.as_slice(), [Lane(7)]);
        assert_eq!(Lanes::from_iter([]), Lanes::NONE);
    }

    #[test]
    fn lanes_read_back_from_bytes() {
        for lanes in [vec![], vec![Lane(u64::MAX)], vec![Lane(1), Lane(2), Lane(3)]] {
            let lanes: Lanes = lanes.into_iter().collect();
            assert_eq!(Lanes::from_bytes(&lanes.to_bytes()), Some(lanes));
        }
        assert_eq!(Lanes::from_bytes(&[1, 2, 3]), None);
    }

    #[test]
    fn a_lanes_name_never_changes() {
        // Kept on disk: a change here would let old and new deliveries of a conversation race.
        assert_eq!(Lane::of("106540352242922:16505551234"), Lane(2_082_382_961_324_079_218));
        assert_ne!(Lane::of("a:1"), Lane::of("a:2"));
    }
}
