//! [`Eligibility`]: who may be picked now, and how traffic divides among priorities and localities.
//!
//! This is all that an ejection changes. It is built from the columns in one pass over bits, so that a
//! cluster of 100,000 endpoints can eject and un-eject without a stall.

use super::bits::{Bits, EjectedBits};
use super::columns::{Columns, Group};
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
