//! How the calls of an aggregate cluster divide among its children.
//!
//! The children stand in order, and the priorities of each are laid below those of the child before it
//! (Envoy: aggregate cluster, "Linearize Priority Set"; gRFC A37: "the priorities of the children
//! concatenated"). The arithmetic over the long list is the one of a single cluster
//! ([`PriorityState`](super::PriorityState)), so a child that can carry everything gets everything, and
//! one that can't hands over in proportion, without a jump:
//!
//! | together the children can carry | a child gets |
//! |---|---|
//! | 100 % or more | in order, what its healthy endpoints can carry of what is left; then, in order again, its degraded ones. Nobody panics, however few of one child are healthy |
//! | less, but something | its part of what all can carry; within it its own arithmetic, panic included |
//! | nothing | the first child whose own policy finds somebody: panic comes in the last instance |
//!
//! Within a child its own load balancing decides. What a child can carry is weighed with its own
//! overprovisioning factor, and judged by its own panic threshold (Envoy keeps the factor with each
//! priority, and lets the child's balancer judge panic; unlike Envoy, a child here does not panic while
//! others suffice).
//!
//! gRPC knows no health in percent: a child is used until it is in TRANSIENT_FAILURE (gRFC A56). That
//! nobody in a child can be connected to is known per pick: see
//! [`Target::pick_child`](crate::state::Target::pick_child).
//!
//! It does not do: waiting for a child (gRFC A56's failover timer). Whoever can serve, serves.

use super::eligibility::Eligibility;
use super::pool::Pool;
use std::fmt::Debug;

/// What the endpoints of a cluster can carry, in percent of the whole traffic; its priorities are added
/// up, so it may be more than 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capacity {
    /// Those that are healthy.
    pub healthy: u32,
    /// Those that are degraded.
    pub degraded: u32,
}

impl Capacity {
    /// `healthy` and `degraded` percent.
    #[must_use]
    pub const fn new(healthy: u32, degraded: u32) -> Self {
        Self { healthy, degraded }
    }

    const fn total(self) -> u64 {
        self.healthy as u64 + self.degraded as u64
    }
}

/// By which arithmetic a child chooses among its priorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// Its own, panic included.
    Own,
    /// It takes a part of the traffic, and others the rest.
    Calm(Calm),
}

/// A child's part of the traffic, of its healthy endpoints or of its degraded ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Calm {
    pub(super) degraded: bool,
    /// In percent, at least 1.
    pub(super) load: u32,
}

impl Calm {
    /// All of the traffic, to the best endpoints that there are; `None`: there are none.
    pub(crate) const fn all(capacity: Capacity) -> Option<Self> {
        match (capacity.healthy, capacity.degraded) {
            (0, 0) => None,
            (0, _) => Some(Self { degraded: true, load: 100 }),
            _ => Some(Self { degraded: false, load: 100 }),
        }
    }
}

/// Which pools of a cluster a pick may choose from.
pub(super) trait Within: Copy + Debug {
    /// The pool that `draw` chooses.
    fn pool<'a>(
        &self,
        eligibility: &'a Eligibility,
        draw: impl FnOnce() -> u64,
    ) -> Option<&'a Pool>;
}

/// The child that `draw` chooses, a random number or a request's hash, and how it is to choose in turn;
/// `None`: nobody can carry anything.
///
/// What the later children can carry is not asked for while the first can carry all.
pub(crate) fn choose(
    capacities: impl Iterator<Item = Capacity> + Clone,
    draw: u64,
) -> Option<(usize, Arithmetic)> {
    let mut total = 0;
    for capacity in capacities.clone() {
        total += capacity.total();
        if capacity.healthy >= 100 && total == capacity.total() {
            break;
        }
    }
    if total < 100 {
        let point = draw.checked_rem(total)?;
        let mut upto = 0;
        let child = capacities.map(Capacity::total).position(|part| {
            upto += part;
            point < upto
        });
        return child.map(|child| (child, Arithmetic::Own));
    }
    let (point, mut left) = ((draw % 100) as u32, 100);
    for degraded in [false, true] {
        for (child, capacity) in capacities.clone().enumerate() {
            let carries = if degraded { capacity.degraded } else { capacity.healthy };
            let load = carries.min(left);
            left -= load;
            if point < 100 - left {
                return Some((child, Arithmetic::Calm(Calm { degraded, load })));
            }
        }
    }
    None
}

/// The percents of the traffic that each child gets, to explain an aggregate to whoever asks. They add
/// up to 100, or to 0 when nobody can carry anything.
#[must_use]
pub fn shares(capacities: &[Capacity]) -> Vec<f64> {
    let parts = parts(capacities).into_iter();
    parts.map(|parts| parts.iter().map(|(_, percent)| percent).sum()).collect()
}

/// The same, taken apart by how the child chooses.
pub(crate) fn parts(capacities: &[Capacity]) -> Vec<Vec<(Arithmetic, f64)>> {
    let mut parts = vec![Vec::new(); capacities.len()];
    let total: u64 = capacities.iter().map(|capacity| capacity.total()).sum();
    if total < 100 {
        for (parts, capacity) in parts.iter_mut().zip(capacities) {
            if capacity.total() > 0 {
                let percent = capacity.total() as f64 * 100.0 / total as f64;
                parts.push((Arithmetic::Own, percent));
            }
        }
        return parts;
    }
    for point in 0..100 {
        let Some((child, arithmetic)) = choose(capacities.iter().copied(), point) else { continue };
        match parts[child].iter_mut().find(|(known, _)| *known == arithmetic) {
            Some((_, percent)) => *percent += 1.0,
            None => parts[child].push((arithmetic, 1.0)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `children`: what each can carry, healthy and degraded; `expected`: percents, rounded.
    #[track_caller]
    fn check(children: &[(u32, u32)], expected: &[u32]) {
        let capacities: Vec<_> = children.iter().map(|&(h, d)| Capacity::new(h, d)).collect();
        let shares: Vec<_> = shares(&capacities).iter().map(|share| share.round() as u32).collect();
        assert_eq!(shares, expected, "{children:?}");
    }

    // Envoy: "Priority levels", the table of the documentation, a child for each priority.
    #[test]
    fn traffic_moves_over_in_proportion_to_what_is_lost() {
        check(&[(140, 0), (140, 0)], &[100, 0]);
        check(&[(100, 0), (100, 0)], &[100, 0]);
        check(&[(99, 0), (100, 0)], &[99, 1]);
        check(&[(70, 0), (100, 0)], &[70, 30]);
        check(&[(35, 0), (100, 0)], &[35, 65]);
        check(&[(0, 0), (100, 0)], &[0, 100]);
        check(&[(0, 0), (40, 0), (100, 0)], &[0, 40, 60]);
    }

    #[test]
    fn a_shortage_is_shared() {
        check(&[(35, 0), (35, 0)], &[50, 50]);
        check(&[(35, 0), (35, 0), (28, 0)], &[36, 36, 29]);
        check(&[(20, 20), (40, 0)], &[50, 50]);
        check(&[(0, 0), (1, 0)], &[0, 100]);
        check(&[(0, 0), (0, 0)], &[0, 0]);
        check(&[], &[]);
    }

    #[test]
    fn degraded_endpoints_come_after_the_healthy_ones_of_all() {
        check(&[(50, 100), (100, 0)], &[50, 50]);
        check(&[(50, 100), (20, 0)], &[80, 20]);
        check(&[(0, 100), (30, 100)], &[70, 30]);
        check(&[(0, 60), (0, 100)], &[60, 40]);
    }

    #[test]
    fn a_child_that_shares_a_shortage_uses_its_own_arithmetic_and_no_other_does() {
        let of = |children: &[(u32, u32)], draw| {
            choose(children.iter().map(|&(h, d)| Capacity::new(h, d)), draw)
        };
        assert_eq!(of(&[(20, 0), (40, 0)], 19), Some((0, Arithmetic::Own)));
        assert_eq!(of(&[(20, 0), (40, 0)], 20), Some((1, Arithmetic::Own)));
        let calm = |degraded, load| Arithmetic::Calm(Calm { degraded, load });
        assert_eq!(of(&[(20, 0), (100, 0)], 19), Some((0, calm(false, 20))));
        assert_eq!(of(&[(20, 0), (100, 0)], 20), Some((1, calm(false, 80))));
        assert_eq!(of(&[(20, 50), (50, 0)], 70), Some((0, calm(true, 30))));
        assert_eq!(of(&[(0, 0)], 5), None);
    }

    proptest! {
        #[test]
        fn somebody_who_can_carry_something_takes_every_call(
            children in prop::collection::vec((0u32..250, 0u32..250), 0..6),
            draw in any::<u64>(),
        ) {
            let capacities = children.iter().map(|&(h, d)| Capacity::new(h, d));
            match choose(capacities.clone(), draw) {
                Some((child, Arithmetic::Own)) => {
                    prop_assert!(children[child].0 + children[child].1 > 0);
                }
                Some((child, Arithmetic::Calm(calm))) => {
                    let (healthy, degraded) = children[child];
                    let carries = if calm.degraded { degraded } else { healthy };
                    prop_assert!(calm.load > 0 && calm.load <= carries);
                }
                None => prop_assert!(children.iter().all(|&(h, d)| h + d == 0)),
            }
            let sum: f64 = shares(&capacities.collect::<Vec<_>>()).iter().sum();
            let any = children.iter().any(|&(h, d)| h + d > 0);
            let expected = if any { 100.0 } else { 0.0 };
            prop_assert!((sum - expected).abs() < 1e-6);
        }
    }
}
