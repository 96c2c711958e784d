//! How much of a priority's traffic each locality takes, when the cluster weighs localities.
//!
//! The effective weight is weight · min(100, factor · available / total): a locality keeps its share
//! until fewer than 1/1.4 of its endpoints are available, then gives it up in proportion (Envoy:
//! "Locality weighted load balancing"). Envoy takes localities in turn, here they are drawn: the
//! shares are the same. In panic the priority is one pool, as in Envoy.

/// The effective weight of a locality.
///
/// Availability is truncated to whole percents, as in the published vectors, but whoever is available
/// counts for one at least. At most 39 bits: sums of 2^25 localities fit `u64`, and saturate beyond.
pub(super) fn effective_weight(weight: u32, available: u32, total: u32, factor: u32) -> u64 {
    if available == 0 || total == 0 {
        return 0;
    }
    let availability = u64::from(factor) * u64::from(available) / u64::from(total);
    u64::from(weight) * availability.clamp(1, 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Envoy: "Locality weighted load balancing", weights 1 and 2, the second all healthy.
    #[test]
    fn effective_weights_follow_the_published_vectors() {
        for (percent, share) in [(100, 33), (70, 33), (69, 32), (50, 26), (25, 15), (0, 0)] {
            let first = effective_weight(1, percent, 100, 140) as f64;
            let second = effective_weight(2, 100, 100, 140) as f64;
            assert_eq!((100.0 * first / (first + second)).round() as u32, share, "{percent} %");
        }
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        assert_eq!(effective_weight(1, 0, 0, 140), 0);
        let most = effective_weight(u32::MAX, u32::MAX, u32::MAX, u32::MAX);
        assert_eq!(most, u64::from(u32::MAX) * 100);
        assert_eq!(effective_weight(7, 1, u32::MAX, 140), 7);
    }
}
