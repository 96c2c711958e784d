//! [`Histogram`]: latencies, to a percentile.
//!
//! Buckets of a logarithmic scale, 32 to each doubling: a value is known to 3 %, from a nanosecond to
//! 39 hours, in 6 KiB (Envoy's has two decimal digits, so 1 to 10 %).

use crate::sync::atomic::{AtomicU32, Ordering};

/// Latencies in nanoseconds.
#[derive(Debug)]
pub(super) struct Histogram(Box<[AtomicU32]>);

/// Buckets to each doubling.
const FINE: u32 = 32;
const FINE_BITS: u32 = FINE.trailing_zeros();
/// What is above counts as this.
const HIGHEST: u64 = (1 << 47) - 1;

impl Default for Histogram {
    fn default() -> Self {
        Self((0..=index(HIGHEST)).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Histogram {
    pub(super) fn insert(&self, nanos: u64) {
        self.0[index(nanos.min(HIGHEST))].fetch_add(1, Ordering::Relaxed);
    }

    /// The value below which `percent` of all are, and none is left; `None`: there is none. What
    /// others insert meanwhile counts here or next time.
    pub(super) fn take_percentile(&self, percent: f64) -> Option<u64> {
        let counts: Vec<u32> =
            self.0.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().copied().map(u64::from).sum();
        let rank = ((total as f64 * percent / 100.0).ceil() as u64).clamp(1, total.max(1));
        let mut below = 0;
        let at = counts.iter().position(|count| {
            below += u64::from(*count);
            below >= rank
        });
        at.map(middle)
    }

    /// None is left.
    pub(super) fn clear(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

const fn index(value: u64) -> usize {
    if value < FINE as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - FINE_BITS;
    ((shift + 1) * FINE) as usize + ((value >> shift) as usize & (FINE as usize - 1))
}

/// The middle of a bucket.
const fn middle(index: usize) -> u64 {
    let (octave, fine) = (index as u32 / FINE, index as u32 % FINE);
    if octave == 0 {
        return fine as u64;
    }
    let shift = octave - 1;
    (((FINE + fine) as u64) << shift) + ((1 << shift) >> 1)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_to_three_percent() {
        let histogram = Histogram::default();
        for value in [0, 1, 31, 32, 33, 63, 64, 1000, 1_000_000, 123_456_789, HIGHEST, u64::MAX] {
            histogram.insert(value);
            let found = histogram.take_percentile(50.0).unwrap();
            let expected = value.min(HIGHEST);
            assert!(found.abs_diff(expected) <= expected / 32, "{value}: {found}");
        }
        assert_eq!(histogram.take_percentile(50.0), None);
    }

    #[test]
    fn percentiles_are_ranks() {
        for (percent, expected) in [(0.0, 1), (50.0, 10), (51.0, 11), (90.0, 18), (100.0, 20)] {
            let histogram = Histogram::default();
            (1..=20).for_each(|value| histogram.insert(value));
            assert_eq!(histogram.take_percentile(percent), Some(expected), "{percent}");
        }
    }
}
