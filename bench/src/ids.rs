//! Which of a run's webhooks were acknowledged, and which arrived: one bit each.

/// A set of ids that start near a base.
#[derive(Clone, Debug, Default)]
pub(crate) struct IdSet {
    base: u64,
    words: Vec<u64>,
    len: u64,
}

/// Ids a set will hold at most: 32 MiB of bits, more than any run sends.
const IDS_MAX: u64 = 1 << 28;

impl IdSet {
    /// An empty set for ids from `base` up.
    pub(crate) fn from_base(base: u64) -> Self {
        Self { base, words: Vec::new(), len: 0 }
    }

    /// Puts an id in; false if it was in already or lies outside the set's range.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let Some(offset) = id.checked_sub(self.base).filter(|offset| *offset < IDS_MAX) else {
            return false;
        };
        let (word, bit) = ((offset / 64) as usize, 1 << (offset % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += u64::from(fresh);
        fresh
    }

    /// Whether an id lies before all that this set is for: one of an earlier run.
    pub(crate) fn begins_after(&self, id: u64) -> bool {
        id < self.base
    }

    /// How many ids are in.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many of these ids are not in `other`, which has the same base.
    pub(crate) fn missing_from(&self, other: &Self) -> u64 {
        let others = other.words.iter().chain(std::iter::repeat(&0));
        self.words.iter().zip(others).map(|(ours, theirs)| u64::from((ours & !theirs).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_counted_and_repeats_are_seen() {
        let mut sent = IdSet::from_base(1_000);
        let mut arrived = IdSet::from_base(1_000);
        for id in 1_000..1_500 {
            assert!(sent.insert(id));
        }
        for id in (1_000..1_400).chain([1_250]) {
            assert_eq!(arrived.insert(id), id != 1_250 || arrived.len() < 300);
        }
        assert_eq!((sent.len(), arrived.len()), (500, 400));
        assert_eq!(sent.missing_from(&arrived), 100);
        assert_eq!(arrived.missing_from(&sent), 0);
        assert!(!arrived.insert(999), "below the base");
        assert!(arrived.begins_after(999) && !arrived.begins_after(1_000));
    }
}
