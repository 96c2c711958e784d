//! Consistent hashing: ring hash and Maglev, and what they have in common.
//!
//! A request's hash chooses the priority, then a start in the table of that priority; from there
//! endpoints come up in an order of preference that depends on the hash alone. The first that may be
//! picked, and that this call has not tried, is taken. Without a hash, a random number stands in.
//!
//! Where most endpoints are out, an order of preference may be cut short (see [`Table::steps`]); the
//! hash then chooses among the eligible ones directly, which is stable while they are the same.
//!
//! **Bounded load** (Mirrokni et al.; Envoy: `hash_balance_factor`): an endpoint that holds more than
//! factor % of its fair share is passed over for another in a pseudo-random order that the hash gives.
//! At most [`BOUND_PROBES`] are looked at; then the least overloaded of those is taken.
//!
//! Tables depend on keys, weights and sizes only. They are shared between versions of a cluster as
//! long as those are the same.

use super::PickContext;
use super::columns::Columns;
use super::eligibility::Eligibility;
use super::error::{LbError, integer};
use super::maglev::{Maglev, TableSize};
use super::pick::{Grade, Loads, SCAN, reselections};
use super::pool::Pool;
use super::ring_hash::{Ring, RingSize};
use crate::model::{Address, ClusterLoadAssignment, Endpoint, LocalityEndpoints};
use crate::random::{Random, SplitMix64};
use std::fmt::Write;
use std::sync::Arc;

/// Most endpoints that bounded load looks at.
const BOUND_PROBES: usize = 256;

/// The tables of a cluster, one for each priority.
#[derive(Debug)]
pub(super) struct Consistent {
    kind: Kind,
    by_locality: bool,
    /// What the tables were built from.
    inputs: Vec<Arc<LocalityEndpoints>>,
    tables: Box<[Table]>,
    /// By endpoint: its part of its priority's load; 0 when its locality has no weight.
    pub(super) shares: Box<[f64]>,
}

/// Which table, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ring(RingSize),
    Maglev(TableSize),
}

/// The greatest load of an endpoint, in percent of its fair share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound(u32);

impl Bound {
    pub(super) fn new(factor: Option<u32>) -> Result<Option<Self>, LbError> {
        let Some(factor) = factor else { return Ok(None) };
        let rule = "must be at least 100";
        integer(factor >= 100, "hash_balance_factor", u64::from(factor), rule)?;
        Ok(Some(Self(factor)))
    }
}

/// An endpoint on its way into a table.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) index: u32,
    /// Its part of the table, above 0.
    pub(super) share: f64,
    pub(super) endpoint: &'a Endpoint,
}

impl Consistent {
    /// Builds the tables, or takes those of `previous` when they would be the same.
    pub(super) fn build(
        kind: Kind,
        by_locality: bool,
        assignment: &ClusterLoadAssignment,
        columns: &Columns,
        previous: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        if let Some(previous) = previous
            && previous.is_built_from(kind, by_locality, assignment)
        {
            return Arc::clone(previous);
        }
        let mut shares = vec![0.0; columns.len() as usize];
        let tables = (0..columns.levels()).map(|level| {
            let members = members(columns, level, by_locality, assignment);
            for member in &members {
                shares[member.index as usize] = member.share;
            }
            match kind {
                Kind::Ring(size) => Table::Ring(Ring::new(size, &members)),
                Kind::Maglev(size) => Table::Maglev(Maglev::new(size, &members)),
            }
        });
        let tables = tables.collect();
        let inputs = assignment.localities.clone();
        Arc::new(Self { kind, by_locality, inputs, tables, shares: shares.into_boxed_slice() })
    }

    fn is_built_from(
        &self,
        kind: Kind,
        by_locality: bool,
        assignment: &ClusterLoadAssignment,
    ) -> bool {
        let is_same = |(left, right): (&Arc<LocalityEndpoints>, &Arc<LocalityEndpoints>)| {
            Arc::ptr_eq(left, right)
                || left.priority == right.priority
                    && (left.weight == right.weight || !by_locality)
                    && left.endpoints.len() == right.endpoints.len()
                    && left.endpoints.iter().zip(&right.endpoints).all(is_placed_alike)
        };
        self.kind == kind
            && self.by_locality == by_locality
            && self.inputs.len() == assignment.localities.len()
            && self.inputs.iter().zip(&assignment.localities).all(is_same)
    }

    /// The endpoint for `hash`, among the members of `pool`, of which there is at least one.
    pub(super) fn pick<R>(
        &self,
        (pool, eligibility): (&Pool, &Eligibility),
        hash: u64,
        bound: Option<Bound>,
        cx: &PickContext<'_, R>,
        loads: &impl Loads,
    ) -> u32 {
        let table = &self.tables[pool.level as usize];
        let start = table.start(hash);
        let mut best: Option<(Grade, u32)> = None;
        let (mut before, mut passed) = (None, 0);
        for step in 0..table.steps() {
            let index = table.owner(start, step);
            if before == Some(index) || !eligibility.is_in(pool.tier, index) {
                continue;
            }
            before = Some(index);
            let grade = Grade::of(index, cx, loads);
            if best.is_none_or(|(best, _)| grade < best) {
                best = Some((grade, index));
            }
            passed += 1;
            if grade == Grade::Fresh || passed > reselections(cx) + SCAN {
                break;
            }
        }
        if !matches!(best, Some((Grade::Fresh, _))) {
            let others = self.placed(pool, hash).take(SCAN as usize);
            let others = others.map(|index| (Grade::of(index, cx, loads), index));
            // The first of the best; what the table prefers, of equals.
            best = best.into_iter().chain(others).min_by_key(|(grade, _)| *grade);
        }
        let index = best.map_or(0, |(_, index)| index);
        match bound {
            None => index,
            Some(bound) => self.within(bound, index, (pool, hash), cx, loads),
        }
    }

    /// `index`, or another when it holds too much.
    fn within<R>(
        &self,
        bound: Bound,
        index: u32,
        (pool, hash): (&Pool, u64),
        cx: &PickContext<'_, R>,
        loads: &impl Loads,
    ) -> u32 {
        let slots = (cx.total_active + 1).saturating_mul(u64::from(bound.0)).div_ceil(100) as f64;
        // Envoy: `hostOverloadFactor`. Shares are of all endpoints; of those in the pool they add up
        // to `pool.share`.
        let overload = |index: u32| {
            let share =
                if pool.share > 0.0 { self.shares[index as usize] / pool.share } else { 1.0 };
            // What rounding adds to a whole number must not become a slot.
            f64::from(loads.active(index)) / (slots * share - 1e-6).ceil().max(1.0)
        };
        let (mut best, mut least) = (index, overload(index));
        if least <= 1.0 {
            return index;
        }
        for other in self.placed(pool, hash).take(BOUND_PROBES) {
            if other == index || Grade::of(other, cx, loads) != Grade::Fresh {
                continue;
            }
            let overload = overload(other);
            if overload < least {
                (best, least) = (other, overload);
            }
            if overload <= 1.0 {
                break;
            }
        }
        best
    }

    /// The members of `pool` that have a part of the load, in an order that `hash` alone gives: an
    /// endpoint of a locality without weight gets nothing while there is another. When there is none,
    /// all members: better than nobody.
    fn placed(&self, pool: &Pool, hash: u64) -> impl Iterator<Item = u32> {
        let any = pool.share <= 0.0;
        jumps(pool, hash).filter(move |index| any || self.shares[*index as usize] > 0.0)
    }

    /// Adds to `odds` the part of the requests that each endpoint of `pool` gets.
    pub(super) fn add_odds(
        &self,
        (pool, eligibility): (&Pool, &Eligibility),
        odds: &mut [f64],
        scale: f64,
    ) {
        let eligible = |index| eligibility.is_in(pool.tier, index);
        let is_placed = match &self.tables[pool.level as usize] {
            Table::Ring(ring) => ring.add_odds(eligible, odds, scale),
            Table::Maglev(maglev) => maglev.add_odds(eligible, odds, scale),
        };
        if !is_placed {
            let is_placed = |index: u32| pool.share <= 0.0 || self.shares[index as usize] > 0.0;
            let members = || pool.members.iter().copied().filter(|index| is_placed(*index));
            let count = members().count() as f64;
            members().for_each(|index| odds[index as usize] += scale / count);
        }
    }
}

/// All members of `pool`, in an order that `hash` alone gives.
fn jumps(pool: &Pool, hash: u64) -> impl Iterator<Item = u32> {
    let len = pool.members.len() as u64;
    let mut random = SplitMix64::new(hash);
    let mut position = random.below(len);
    // A stride without a common divisor visits everybody.
    let mut stride = 1 + random.below(len.saturating_sub(1));
    while stride > 1 && gcd(stride, len) != 1 {
        stride -= 1;
    }
    (0..len).map(move |_| {
        let index = pool.members[position as usize];
        position = (position + stride) % len;
        index
    })
}

const fn gcd(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

/// The table of one priority.
#[derive(Debug)]
enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    fn start(&self, hash: u64) -> u64 {
        match self {
            Self::Ring(ring) => ring.start(hash) as u64,
            Self::Maglev(_) => hash,
        }
    }

    /// How far an order of preference goes.
    fn steps(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.steps(),
            Self::Maglev(maglev) => maglev.steps(),
        }
    }

    /// The endpoint at `step` of the order of preference that begins at `start`.
    fn owner(&self, start: u64, step: usize) -> u32 {
        match self {
            Self::Ring(ring) => ring.owner(start as usize, step),
            Self::Maglev(maglev) => maglev.owner(start, step),
        }
    }
}

/// Whether two endpoints have the same place in a table.
fn is_placed_alike((left, right): (&Endpoint, &Endpoint)) -> bool {
    left.weight == right.weight && left.hash_key == right.hash_key && left.address == right.address
}

/// The endpoints of a priority with their parts of its table.
///
/// Envoy: `normalizeWeights`. An endpoint's part is its weight within its locality times its
/// locality's, or its weight within the priority when localities are not weighed (or weigh nothing).
fn members<'a>(
    columns: &Columns,
    level: usize,
    by_locality: bool,
    assignment: &'a ClusterLoadAssignment,
) -> Vec<Member<'a>> {
    let groups = columns.groups_of(level);
    let weight_of = |range: std::ops::Range<u32>| -> u64 {
        range.map(|index| u64::from(columns.weight(index))).sum()
    };
    let filled = groups.iter().filter(|group| !group.range.is_empty());
    let localities: u64 = filled.clone().map(|group| u64::from(group.weight)).sum();
    let by_locality = by_locality && localities > 0;
    let flat: u64 = groups.iter().map(|group| weight_of(group.range.clone())).sum();
    let mut members = Vec::new();
    for group in filled.filter(|group| !by_locality || group.weight > 0) {
        let (part, sum) = if by_locality {
            (f64::from(group.weight) / localities as f64, weight_of(group.range.clone()))
        } else {
            (1.0, flat)
        };
        let endpoints = &assignment.localities[group.locality].endpoints;
        members.extend(group.range.clone().zip(endpoints).map(|(index, endpoint)| Member {
            index,
            share: f64::from(columns.weight(index)) * part / sum as f64,
            endpoint,
        }));
    }
    members
}

/// Appends what an endpoint is hashed by: its `hash_key`, or its address in Envoy's form, in which a
/// Unix socket is its bare path.
pub(super) fn write_key(endpoint: &Endpoint, key: &mut String) {
    match (&endpoint.hash_key, &endpoint.address) {
        (Some(hash_key), _) if !hash_key.is_empty() => key.push_str(hash_key),
        (_, Address::Unix(path)) => key.push_str(&path.to_string_lossy()),
        (_, Address::Socket(address)) => {
            let written = write!(key, "{address}");
            debug_assert!(written.is_ok(), "writing to a String does not fail");
        }
    }
}

#[cfg(test)]
mod tests;
