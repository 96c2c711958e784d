//! Round robin: in turn, by weight, from a sequence number that all callers share.
//!
//! | weights | schedule | cost of a pick |
//! |---|---|---|
//! | equal | sequence mod n: any n picks in a row touch each endpoint once | one increment |
//! | unequal, up to 256 endpoints, ratio below 1024 | gRPC's static stride (gRFC A58): in 65,535 turns an endpoint comes up as often as its weight, scaled so that the greatest is 65,535 | at most 256 increments, on average max / mean |
//! | the rest | the golden-ratio sequence over running sums: point k is frac(k · φ) · Σ weights | one increment, O(log n) |
//!
//! The third row exists because a static stride rounds small weights away and passes over most of
//! them at each pick: with one weight of a million beside 99,999 of one, the endpoints of one would
//! never or far too often come up, after thousands of steps. Consecutive multiples of the golden ratio
//! split the circle as evenly as any sequence can, so this is a round robin too, not a draw.
//!
//! Envoy keeps an earliest-deadline-first heap per worker instead, which is a lock here.

use super::random::Cumulative;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Most endpoints, and greatest ratio of weights, that a static stride serves.
const STRIDE_ENDPOINTS: usize = 256;
const STRIDE_RATIO: u32 = 1024;

/// What the greatest weight is scaled to.
const MAX_WEIGHT: u64 = u16::MAX as u64;

/// 2^64 / φ.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where round robin stands, one for each cluster; it outlives configurations.
///
/// Several counters, because each pool (a priority, a locality) takes turns for itself. There are 16:
/// pools beyond that share, and take turns only in the long run.
#[derive(Debug)]
pub struct Sequence([AtomicU64; Self::COUNTERS]);

impl Sequence {
    pub(super) const COUNTERS: usize = 16;

    /// Starts at `start`: a random number, or all clients of an update begin with the same endpoint.
    #[must_use]
    pub fn new(start: u64) -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(start)))
    }

    /// The next number of a counter.
    pub(super) fn next(&self, counter: usize) -> u64 {
        self.0[counter % Self::COUNTERS].fetch_add(1, Ordering::Relaxed)
    }
}

impl Default for Sequence {
    fn default() -> Self {
        Self::new(0)
    }
}

/// Weights scaled to 16 bits (gRFC A58: "static stride scheduler").
#[derive(Clone, Debug)]
pub(super) struct Stride(Box<[u16]>);

impl Stride {
    /// `None` when the weights are not for a static stride. All weights are above 0.
    pub(super) fn new(weights: impl ExactSizeIterator<Item = u32> + Clone) -> Option<Self> {
        if weights.len() > STRIDE_ENDPOINTS {
            return None;
        }
        let (least, most) = (weights.clone().min()?, weights.clone().max()?);
        if most / STRIDE_RATIO >= least {
            return None;
        }
        let most = u64::from(most);
        let scaled = |weight| ((u64::from(weight) * MAX_WEIGHT + most / 2) / most) as u16;
        Some(Self(weights.map(scaled).collect()))
    }

    /// The next position whose turn it is.
    ///
    /// Ends within n steps when nobody else increments: the greatest weight comes up in each turn.
    pub(super) fn next(&self, mut sequence: impl FnMut() -> u64) -> usize {
        let len = self.0.len() as u64;
        loop {
            let number = sequence();
            let (turn, position) = (number / len % MAX_WEIGHT, number % len);
            let weight = u64::from(self.0[position as usize]);
            // The offset keeps neighbours from being passed over in the same turn.
            if (weight * turn + position * (MAX_WEIGHT / 2)) % MAX_WEIGHT >= MAX_WEIGHT - weight {
                return position as usize;
            }
        }
    }
}

/// The position at `number` of the golden-ratio sequence.
pub(super) fn golden(sums: &Cumulative, number: u64) -> usize {
    let fraction = u128::from(number.wrapping_mul(GOLDEN));
    sums.position_of(((fraction * u128::from(sums.total())) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(len: usize, picks: u64, mut next: impl FnMut() -> usize) -> Vec<u64> {
        let mut counts = vec![0; len];
        (0..picks).for_each(|_| counts[next()] += 1);
        counts
    }

    fn stride_counts(weights: &[u32], picks: u64) -> Vec<u64> {
        let (stride, mut number) = (Stride::new(weights.iter().copied()).unwrap(), 0..);
        counts(weights.len(), picks, || stride.next(|| number.next().unwrap()))
    }

    // gRPC: static_stride_scheduler_test, PicksAreWeightedExactly, LargestIsPickedEveryGeneration.
    #[test]
    fn stride_picks_are_weighted_exactly() {
        assert_eq!(stride_counts(&[1, 2, 3], 6), [1, 2, 3]);
        assert_eq!(stride_counts(&[1, 2, 3], 2 * MAX_WEIGHT)[2], MAX_WEIGHT);
        assert_eq!(stride_counts(&[100, 1], 101), [100, 1]);
    }

    #[test]
    fn what_a_stride_can_not_serve_is_refused() {
        let is_served = |weights: Vec<u32>| Stride::new(weights.into_iter()).is_some();
        assert!(!is_served(vec![]));
        assert!(!is_served(vec![1, 1024]));
        assert!(is_served(vec![1, 1023]));
        assert!(!is_served(vec![1, u32::MAX]));
        assert!(!is_served(vec![1; 257]));
    }

    proptest! {
        // A period is 65,535 turns.
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn a_whole_period_gives_each_its_scaled_weight(
            weights in prop::collection::vec(1u32..1000, 1..12),
        ) {
            let stride = Stride::new(weights.iter().copied()).unwrap();
            let total: u64 = stride.0.iter().map(|&weight| u64::from(weight)).sum();
            let expected: Vec<u64> = stride.0.iter().map(|&weight| u64::from(weight)).collect();
            prop_assert_eq!(stride_counts(&weights, total), expected);
        }
    }

    proptest! {
        #[test]
        fn the_golden_sequence_stays_within_a_few_of_its_share(
            weights in prop::collection::vec(1u32.., 1..40),
            start: u64,
        ) {
            let (sums, mut number, picks) = (Cumulative::new(weights.iter().copied()), start, 5000);
            let counts = counts(weights.len(), picks, || {
                number = number.wrapping_add(1);
                golden(&sums, number)
            });
            for (count, weight) in counts.iter().zip(&weights) {
                let share = picks as f64 * f64::from(*weight) / sums.total() as f64;
                // The discrepancy of the sequence over an interval is O(log N): below 10 for 5,000.
                prop_assert!((*count as f64 - share).abs() < 10.0, "{} of {}", count, share);
            }
        }
    }

    #[test]
    fn counters_of_a_sequence_are_apart() {
        let sequence = Sequence::new(7);
        assert_eq!((sequence.next(0), sequence.next(0), sequence.next(1)), (7, 8, 7));
        assert_eq!(sequence.next(Sequence::COUNTERS), 9, "shared beyond the last");
    }
}
