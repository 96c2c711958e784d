//! Which attempts are dropped before anybody is picked, because a cluster is overloaded.
//!
//! A control plane that sees a cluster beyond its capacity asks its clients to shed a share of the load:
//! what is never sent costs an overloaded server nothing.
//!
//! Rules (gRFC A27 "EDS", `drop_overloads`; grpc-go's `clusterimpl` picker):
//!
//! - Category after category, each with a draw of its own: of 10 % and 20 %, 28 % are dropped.
//! - Each *attempt* is drawn for, a retry and a hedge like a first one: gRPC does it in the picker, and
//!   every attempt is a request that the cluster would have to serve. An attempt that waits for an endpoint
//!   is drawn for once.
//! - Before the circuit breaker: what is dropped takes no place in it.
//! - A dropped attempt ends its call, also one that waits for endpoints, and is not retried.
//!
//! What it does not do: count. That is done where attempts end.

use crate::model::DropOverload;
use crate::random::Random;
use std::sync::Arc;

/// The category that drops an attempt; `None`: it goes on.
pub fn drawn<'a, R: Random>(drops: &'a [DropOverload], random: &mut R) -> Option<&'a Arc<str>> {
    let dropped = drops.iter().find(|drop| drop.share.takes(random.next_u64()));
    dropped.map(|drop| &drop.category)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Fraction;
    use crate::random::SplitMix64;

    /// Gives these numbers, one after the other.
    struct Given(Vec<u64>);

    impl Random for Given {
        fn next_u64(&mut self) -> u64 {
            self.0.remove(0)
        }
    }

    fn drops(shares: &[(&str, u32)]) -> Vec<DropOverload> {
        let drop = |(category, parts): &(&str, u32)| {
            DropOverload::new(*category, Fraction::per_million(*parts))
        };
        shares.iter().map(drop).collect()
    }

    /// With these draws, in tenths of all numbers, `expected` drops the attempt and `left` are not drawn.
    #[track_caller]
    fn check(shares: &[(&str, u32)], tenths: &[u64], expected: Option<&str>, left: usize) {
        let mut random = Given(tenths.iter().map(|tenth| u64::MAX / 10 * tenth).collect());
        let drops = drops(shares);
        let found = drawn(&drops, &mut random);
        assert_eq!(found.map(|category| &**category), expected, "{shares:?} {tenths:?}");
        assert_eq!(random.0.len(), left, "{shares:?} {tenths:?}");
    }

    #[test]
    fn categories_are_drawn_for_in_their_order_and_apart() {
        check(&[], &[0], None, 1);
        check(&[("a", 0)], &[0], None, 0);
        check(&[("a", 1_000_000)], &[10], Some("a"), 0);
        check(&[("a", 500_000)], &[4], Some("a"), 0);
        check(&[("a", 500_000)], &[6], None, 0);
        check(&[("a", 500_000), ("b", 500_000)], &[4, 0], Some("a"), 1);
        check(&[("a", 500_000), ("b", 500_000)], &[6, 4], Some("b"), 0);
        check(&[("a", 500_000), ("b", 500_000)], &[6, 6], None, 0);
        check(&[("a", 0), ("b", 1_000_000), ("c", 1_000_000)], &[0, 9, 0], Some("b"), 1);
    }

    #[test]
    fn shares_are_of_what_earlier_categories_leave() {
        let drops = drops(&[("a", 100_000), ("b", 200_000), ("c", 300_000)]);
        let mut random = SplitMix64::new(11);
        let mut counts = [0_i32; 4];
        for _ in 0..100_000 {
            let at = match drawn(&drops, &mut random).map(|category| &**category) {
                Some("a") => 0,
                Some("b") => 1,
                Some("c") => 2,
                _ => 3,
            };
            counts[at] += 1;
        }
        // 10 %, 20 % of 90 %, 30 % of 72 %. Four standard deviations are at most 640.
        for (count, expected) in counts.into_iter().zip([10_000, 18_000, 21_600, 50_400]) {
            assert!((count - expected).abs() < 640, "{counts:?}");
        }
    }
}
