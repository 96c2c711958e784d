//! Random: each pick is drawn in proportion to weight, and knows nothing of the others.
//!
//! Running sums of the weights and a binary search: O(log n), eight bytes per endpoint, and built in
//! one pass, which an alias table is not. Sums are `u64`: 2^32 endpoints of the greatest weight fit.

use crate::random::Random;

/// Running sums of weights, all above 0.
#[derive(Clone, Debug)]
pub(super) struct Cumulative(Box<[u64]>);

impl Cumulative {
    pub(super) fn new(weights: impl ExactSizeIterator<Item = u32>) -> Self {
        let mut sum = 0;
        let sums = weights.map(|weight| {
            sum += u64::from(weight);
            sum
        });
        Self(sums.collect())
    }

    /// The sum of all weights; 0 when there are none.
    pub(super) fn total(&self) -> u64 {
        self.0.last().copied().unwrap_or(0)
    }

    /// The position whose part of `0..total` holds `point`.
    pub(super) fn position_of(&self, point: u64) -> usize {
        self.0.partition_point(|&sum| sum <= point)
    }

    /// A position drawn in proportion to weight.
    pub(super) fn sample(&self, random: &mut impl Random) -> usize {
        self.position_of(random.below(self.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn every_point_belongs_to_the_weight_that_covers_it() {
        let sums = Cumulative::new([1, 3, 2].into_iter());
        let positions: Vec<_> = (0..sums.total()).map(|point| sums.position_of(point)).collect();
        assert_eq!(positions, [0, 1, 1, 1, 2, 2]);
    }

    #[test]
    fn the_greatest_weights_do_not_overflow() {
        let sums = Cumulative::new(vec![u32::MAX; 100_000].into_iter());
        assert_eq!(sums.total(), 100_000 * u64::from(u32::MAX));
        let mut random = SplitMix64::new(1);
        assert!((0..1000).all(|_| sums.sample(&mut random) < 100_000));
    }
}
