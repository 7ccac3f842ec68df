//! Latencies, counted in buckets whose width grows with their value.
//!
//! Invariant: a figure read from here is at most 1/64 above what was recorded, and the largest
//! value is exact. Memory is fixed, so that a long run costs no more than a short one.

use std::time::Duration;

/// Each doubling is divided into so many buckets.
const PARTS: u64 = 64;
const PARTS_BITS: u32 = PARTS.trailing_zeros();
/// Up to 2^42 ns, which is more than an hour.
const DOUBLINGS: u32 = 36;

/// How often each latency was seen.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let buckets = usize::try_from(PARTS * u64::from(DOUBLINGS + 1)).expect("a few thousand");
        Self { counts: vec![0; buckets], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one latency.
    pub(crate) fn record(&mut self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket(nanos).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The largest one.
    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The latency that so many of a hundred thousand do not exceed.
    pub(crate) fn quantile(&self, per_hundred_thousand: u64) -> Duration {
        let rank = (u128::from(self.total) * u128::from(per_hundred_thousand)).div_ceil(100_000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank && *count > 0 {
                return Duration::from_nanos(upper(bucket).min(self.max));
            }
        }
        self.max()
    }
}

/// The bucket of a value: exact below `PARTS`, then `PARTS` of them per doubling.
fn bucket(nanos: u64) -> usize {
    let doubling = (u64::BITS - nanos.leading_zeros()).saturating_sub(PARTS_BITS + 1);
    let part = nanos >> doubling;
    usize::try_from(u64::from(doubling) * PARTS + part).expect("a few thousand")
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    let doubling = bucket / PARTS - 1;
    ((bucket - doubling * PARTS + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_sixty_fourth_above_the_truth() {
        let mut histogram = Histogram::default();
        for micros in 1..=100_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, micros) in [(50_000, 50_000), (99_000, 99_000), (99_900, 99_900)] {
            let truth = Duration::from_micros(micros);
            let read = histogram.quantile(quantile);
            assert!(read >= truth && read <= truth + truth / 64, "{read:?} for {truth:?}");
        }
        assert_eq!(histogram.quantile(100_000), Duration::from_millis(100));
        assert_eq!(histogram.total(), 100_000);
    }

    #[test]
    fn every_value_lies_in_its_bucket() {
        for nanos in (0..5000).chain((0..40).map(|bit| (1 << bit) + 1)) {
            let bucket = bucket(nanos);
            assert!(upper(bucket) >= nanos, "{nanos} in {bucket}");
            assert!(bucket == 0 || upper(bucket - 1) < nanos, "{nanos} in {bucket}");
        }
    }

    #[test]
    fn an_empty_one_answers_zero_and_a_merge_adds() {
        let mut all = Histogram::default();
        assert_eq!(all.quantile(99_000), Duration::ZERO);
        let mut one = Histogram::default();
        one.record(Duration::from_hours(10));
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.total(), all.max()), (2, Duration::from_hours(10)));
    }
}
