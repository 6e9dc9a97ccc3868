//! Durations counted in log-linear buckets: every value is kept to within 1/128 of itself.

/// Buckets per doubling.
const STEPS: u64 = 64;
/// `log2(STEPS)`.
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Enough buckets for every `u64`.
const BUCKETS: usize = ((64 - STEP_BITS as usize) + 1) * STEPS as usize;

/// A histogram of nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Counts what another has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (count, others) in self.counts.iter_mut().zip(&other.counts) {
            *count += others;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many values were counted.
    pub(crate) fn len(&self) -> u64 {
        self.total
    }

    /// The value that `share` (0 to 1) of all values do not exceed, in nanoseconds: the middle of
    /// its bucket, never above the largest value seen. Zero if nothing was counted.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "share is 0 to 1")]
        let rank = ((share * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(index).min(self.max);
            }
        }
        self.max
    }

    /// The largest value counted.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let doublings = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (u64::from(doublings) * STEPS + (value >> doublings)) as usize
}

fn middle(index: usize) -> u64 {
    let index = index as u64;
    let doublings = (index / STEPS).saturating_sub(1);
    let low = (index - doublings * STEPS) << doublings;
    low + ((1 << doublings) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_kept_to_within_one_part_in_128() {
        for shift in 0..63 {
            for add in [0, 1, 3, 7, 12_345] {
                let value = (1_u64 << shift) + add;
                let kept = middle(bucket(value));
                assert!(kept.abs_diff(value) <= value / 128, "{value} became {kept}");
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn buckets_rise_with_values_without_gaps() {
        let mut last = 0;
        for value in 0..100_000 {
            let now = bucket(value);
            assert!(now == last || now == last + 1, "{value} jumps from {last} to {now}");
            last = now;
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|value| histogram.record(value * 1_000));
        let near = |got: u64, want: u64| assert!(got.abs_diff(want) <= want / 100, "{got} for {want}");
        near(histogram.quantile(0.5), 500_000);
        near(histogram.quantile(0.99), 990_000);
        near(histogram.quantile(0.999), 999_000);
        assert_eq!(histogram.quantile(1.0), histogram.max());
        assert_eq!(histogram.len(), 1_000);
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }
}
