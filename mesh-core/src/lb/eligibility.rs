//! [`Eligibility`]: who may be picked now, and how traffic divides among priorities and localities.
//!
//! This is all that an ejection changes. It is built from the columns in one pass over bits, so that a
//! cluster of 100,000 endpoints can eject and un-eject without a stall.

use super::bits::{Bits, EjectedBits};
use super::columns::{Columns, Group};
use super::failover::{Calm, Capacity, Within};
use super::locality::effective_weight;
use super::pool::{Need, Part, Pool, Shape, Tier};
use super::priority::{PriorityState, distribute};
use crate::outcome::NoEndpoint;

/// What the policy says, as far as eligibility depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) factor: u32,
    pub(super) panic_threshold: u32,
    pub(super) fail_on_panic: bool,
    /// Pools are divided into localities.
    pub(super) by_locality: bool,
    pub(super) need: Need,
}

/// Who may be picked now.
#[derive(Debug)]
pub(super) struct Eligibility {
    healthy: Bits,
    degraded: Bits,
    pub(super) priorities: Box<[PriorityState]>,
    pub(super) pools: Box<[Pool]>,
    choices: Box<[Choice]>,
    factor: u32,
    pub(super) counts: NoEndpoint,
}

/// One priority's part of 1..=100.
#[derive(Debug)]
struct Choice {
    /// Percents summed up to and including this one.
    upto: u32,
    /// `None`: in panic, and the policy wants failure.
    pool: Option<usize>,
}

impl Eligibility {
    /// `shares`: what each endpoint should hold of the load, for policies that bound it.
    pub(super) fn new(
        columns: &Columns,
        rules: Rules,
        ejected: &EjectedBits,
        shares: Option<&[f64]>,
    ) -> Self {
        let (healthy, degraded) = columns.available(ejected);
        let mut priorities = columns.priorities(&healthy, &degraded);
        distribute(&mut priorities, rules.factor, rules.panic_threshold);
        let counts = columns.counts(&healthy, &degraded);
        let mut filling =
            Filling { columns, rules, sets: [&healthy, &degraded], pools: Vec::new() };
        let mut choices = filling.choices(&priorities);
        let mut pools = filling.pools;
        if let Some(shares) = shares {
            for pool in &mut pools {
                pool.share = pool.members.iter().map(|&index| shares[index as usize]).sum();
            }
        }
        choices.shrink_to_fit();
        Self {
            priorities,
            pools: pools.into_boxed_slice(),
            choices: choices.into_boxed_slice(),
            factor: rules.factor,
            counts,
            healthy,
            degraded,
        }
    }

    /// The pool of the priority that `draw` chooses: a random number, or a request's hash.
    ///
    /// Envoy: `choosePriority`, draw mod 100 + 1 against the running percents, healthy before degraded.
    pub(super) fn pool(&self, draw: impl FnOnce() -> u64) -> Option<&Pool> {
        let choice = match &*self.choices {
            [] => return None,
            [choice] => choice,
            choices => {
                let point = (draw() % 100) as u32;
                choices.iter().find(|choice| point < choice.upto)?
            }
        };
        self.pools.get(choice.pool?)
    }

    /// What all priorities together can carry.
    pub(super) fn capacity(&self) -> Capacity {
        let sum = |degraded| self.priorities.iter().map(|p| p.carries(degraded, self.factor)).sum();
        Capacity { healthy: sum(false), degraded: sum(true) }
    }

    /// The pool of one tier where `calm.load` percent of the traffic fill the priorities in order.
    fn calm_pool(&self, calm: Calm, draw: u64) -> Option<&Pool> {
        let point = draw.checked_rem(u64::from(calm.load))?;
        let tier = if calm.degraded { Tier::Degraded } else { Tier::Healthy };
        let (mut upto, mut found) = (0, None);
        for (level, state) in self.priorities.iter().enumerate() {
            let carries = state.carries(calm.degraded, self.factor);
            let is_it = |pool: &&Pool| pool.level as usize == level && pool.tier == tier;
            let Some(pool) = self.pools.iter().find(is_it).filter(|_| carries > 0) else {
                continue;
            };
            upto += u64::from(carries);
            found = Some(pool);
            if point < upto {
                break;
            }
        }
        found
    }

    /// The pool of each percent of the load of `calm`.
    pub(super) fn calm_percents(&self, calm: Calm) -> impl Iterator<Item = &Pool> {
        (0..u64::from(calm.load)).filter_map(move |point| self.calm_pool(calm, point))
    }

    /// The pools in use, with their percents.
    pub(super) fn percents(&self) -> impl Iterator<Item = (u32, &Pool)> {
        let before = [0].into_iter().chain(self.choices.iter().map(|choice| choice.upto));
        self.choices
            .iter()
            .zip(before)
            .filter_map(|(choice, before)| Some((choice.upto - before, &self.pools[choice.pool?])))
    }

    /// Whether the endpoint at `index`, of a pool's priority, is in the pool's tier.
    pub(super) fn is_in(&self, tier: Tier, index: u32) -> bool {
        match tier {
            Tier::Healthy => self.healthy.contains(index),
            Tier::Degraded => self.degraded.contains(index),
            Tier::All => true,
        }
    }
}

/// Every pool may be picked from, by the shares of the cluster itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own;

impl Within for Own {
    #[inline]
    fn pool<'a>(
        &self,
        eligibility: &'a Eligibility,
        draw: impl FnOnce() -> u64,
    ) -> Option<&'a Pool> {
        eligibility.pool(draw)
    }
}

impl Within for Calm {
    fn pool<'a>(
        &self,
        eligibility: &'a Eligibility,
        draw: impl FnOnce() -> u64,
    ) -> Option<&'a Pool> {
        eligibility.calm_pool(*self, draw())
    }
}

/// Pools in the making.
struct Filling<'a> {
    columns: &'a Columns,
    rules: Rules,
    /// Healthy, degraded.
    sets: [&'a Bits; 2],
    pools: Vec<Pool>,
}

impl Filling<'_> {
    fn choices(&mut self, priorities: &[PriorityState]) -> Vec<Choice> {
        let mut choices = Vec::new();
        let mut upto = 0;
        for (tier, load) in [
            (Tier::Healthy, (|state| state.load) as fn(&PriorityState) -> u32),
            (Tier::Degraded, |state| state.degraded_load),
        ] {
            for (level, state) in priorities.iter().enumerate() {
                if load(state) == 0 {
                    continue;
                }
                upto += load(state);
                if state.panic && self.count_level(level, tier) > 0 {
                    // A child of an aggregate does not panic while others suffice: `calm_pool`.
                    self.pool(level, tier);
                }
                let tier = if state.panic { Tier::All } else { tier };
                let fails = state.panic && self.rules.fail_on_panic;
                let pool = if fails { None } else { Some(self.pool(level, tier)) };
                choices.push(Choice { upto, pool });
            }
        }
        choices
    }

    /// The position of the pool of `tier` of a priority, which is made if it is not there.
    fn pool(&mut self, level: usize, tier: Tier) -> usize {
        let is_it = |pool: &Pool| pool.level as usize == level && pool.tier == tier;
        self.pools.iter().position(is_it).unwrap_or_else(|| {
            let mut members = Vec::new();
            let parts = self.parts(level, tier, &mut members);
            self.pools.push(Pool {
                level: level as u32,
                tier,
                members: members.into_boxed_slice(),
                parts,
                share: 1.0,
            });
            self.pools.len() - 1
        })
    }

    fn parts(&self, level: usize, tier: Tier, members: &mut Vec<u32>) -> Box<[Part]> {
        let groups = self.columns.groups_of(level);
        let weights: Vec<u64> =
            groups.iter().map(|group| self.locality_weight(group, tier)).collect();
        // Without any effective weight the priority is one pool, as in Envoy.
        let by_locality = weights.iter().any(|&weight| weight > 0);
        let available =
            groups.iter().zip(&weights).filter(|(_, weight)| !by_locality || **weight > 0);
        members.reserve_exact(available.clone().map(|(group, _)| self.count(group, tier)).sum());
        let (mut parts, mut upto, mut start) = (Vec::new(), 0u64, 0);
        for (group, weight) in available {
            self.append(group, tier, members);
            if by_locality {
                upto = upto.saturating_add(*weight);
                parts.push(self.part(start, members, upto, (level, tier, parts.len())));
                start = members.len();
            }
        }
        if !by_locality {
            parts.push(self.part(0, members, 1, (level, tier, 0)));
        }
        parts.into_boxed_slice()
    }

    fn part(
        &self,
        start: usize,
        members: &[u32],
        upto: u64,
        (level, tier, part): (usize, Tier, usize),
    ) -> Part {
        let shape = Shape::new(self.columns.weights.as_deref(), &members[start..], self.rules.need);
        // Spread over the counters, and the same from one configuration to the next.
        let counter = part + 5 * level + 11 * (tier as usize);
        Part { range: start as u32..members.len() as u32, upto, shape, counter }
    }

    /// The effective weight of a locality; 0 for all when they are not weighed.
    fn locality_weight(&self, group: &Group, tier: Tier) -> u64 {
        if !self.rules.by_locality || tier == Tier::All {
            return 0;
        }
        let available = self.count(group, tier) as u32;
        let total = group.range.end - group.range.start;
        effective_weight(group.weight, available, total, self.rules.factor)
    }

    fn count_level(&self, level: usize, tier: Tier) -> usize {
        self.columns.groups_of(level).iter().map(|group| self.count(group, tier)).sum()
    }

    fn count(&self, group: &Group, tier: Tier) -> usize {
        let range = group.range.clone();
        match self.set(tier) {
            Some(set) => set.count_in(range) as usize,
            None => range.len(),
        }
    }

    fn append(&self, group: &Group, tier: Tier, members: &mut Vec<u32>) {
        match self.set(tier) {
            Some(set) => set.append_in(group.range.clone(), members),
            None => members.extend(group.range.clone()),
        }
    }

    const fn set(&self, tier: Tier) -> Option<&Bits> {
        match tier {
            Tier::Healthy => Some(self.sets[0]),
            Tier::Degraded => Some(self.sets[1]),
            Tier::All => None,
        }
    }
}
