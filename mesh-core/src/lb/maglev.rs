//! The lookup table of Maglev: a prime number of slots, each owned by an endpoint.
//!
//! Eisenbud et al., "Maglev", listing 1, with Envoy's hashes and weights: an endpoint claims slots in
//! the order (offset + k · skip) mod size, where offset is XXH64 with seed 0 of its key and skip is
//! XXH64 with seed 1, plus one; endpoints take turns in the order of their keys, one of weight w in
//! every max / w turns. A request goes to the slot of its hash mod size.
//!
//! The table holds all endpoints of a priority, whatever their health. When a slot's owner may not be
//! picked, the hash is changed and looked up again, as Envoy does for retries, so what one endpoint
//! gives up spreads over all others.

use super::consistent::{Member, write_key};
use super::error::{LbError, integer};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use xxhash_rust::xxh64::xxh64;

/// Most slots (Envoy: `Maglev.table_size`).
const MAX_TABLE_SIZE: u32 = 5_000_011;

/// How often a pick looks up again, past endpoints that may not be picked.
const PROBES: usize = 64;

/// The owner of a slot that nobody has claimed yet.
const NOBODY: u32 = u32::MAX;

/// Slots with their owners.
#[derive(Debug, Default)]
pub(super) struct Maglev(Box<[u32]>);

/// A checked number of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableSize(u32);

impl TableSize {
    pub(super) fn new(size: u32) -> Result<Self, LbError> {
        let value = u64::from(size);
        integer(size <= MAX_TABLE_SIZE, "table_size", value, "must be at most 5000011")?;
        integer(is_prime(size), "table_size", value, "must be a prime number")?;
        Ok(Self(size))
    }
}

fn is_prime(number: u32) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}

impl Maglev {
    /// `members` with shares above 0.
    pub(super) fn new(size: TableSize, members: &[Member<'_>]) -> Self {
        let mut claims = claims(size, members);
        let mut table = vec![NOBODY; if members.is_empty() { 0 } else { size.0 as usize }];
        let most = members.iter().map(|member| member.share).fold(0.0, f64::max);
        let least = members.iter().map(|member| member.share).fold(1.0, f64::min);
        if least < most {
            claim_by_weight(&mut table, &mut claims, most);
        } else {
            let turns = (0..claims.len()).cycle().take(table.len());
            turns.for_each(|turn| claims[turn].claim(&mut table));
        }
        Self(table.into_boxed_slice())
    }

    /// How many steps a pick may take.
    pub(super) const fn steps(&self) -> usize {
        if self.0.is_empty() { 0 } else { PROBES }
    }

    /// The owner of `hash`; after the first step, of the hash that Envoy looks up at that retry.
    pub(super) fn owner(&self, hash: u64, step: usize) -> u32 {
        let hash = if step == 0 { hash } else { hash ^ (step as u64).wrapping_neg() };
        self.0[(hash % self.0.len() as u64) as usize]
    }

    /// Adds to `odds` the part of all hashes that goes to each endpoint, of those eligible; `false`
    /// when none of those has a slot.
    ///
    /// Where a hash goes when its owner is out depends on its slot alone; where it goes when that owner
    /// is out, too, on all of it: those are counted as going to each in proportion.
    pub(super) fn add_odds(
        &self,
        eligible: impl Fn(u32) -> bool,
        odds: &mut [f64],
        scale: f64,
    ) -> bool {
        let size = self.0.len() as u64;
        let second = |slot: u64| self.owner(u64::MAX % size + size - slot, 0);
        let owners = || {
            let slots = (0..size).zip(self.0.iter().copied());
            slots.map(|(slot, owner)| if eligible(owner) { owner } else { second(slot) })
        };
        let slots = owners().filter(|&owner| eligible(owner)).count();
        let placed = owners().filter(|&owner| eligible(owner));
        placed.for_each(|owner| odds[owner as usize] += scale / slots as f64);
        slots > 0
    }

    /// The slots, for tests.
    #[cfg(test)]
    pub(super) fn slots(&self) -> &[u32] {
        &self.0
    }
}

/// Where an endpoint stands in its order of slots.
struct Claim {
    index: u32,
    share: f64,
    next: u32,
    skip: u32,
}

impl Claim {
    /// Takes the next slot that is free.
    fn claim(&mut self, table: &mut [u32]) {
        loop {
            let slot = self.next as usize;
            let next = u64::from(self.next) + u64::from(self.skip);
            self.next = (next % table.len() as u64) as u32;
            if table[slot] == NOBODY {
                table[slot] = self.index;
                return;
            }
        }
    }
}

/// The members in the order of their keys.
fn claims(size: TableSize, members: &[Member<'_>]) -> Vec<Claim> {
    let mut keys: Vec<(String, &Member<'_>)> = members
        .iter()
        .map(|member| {
            let mut key = String::new();
            write_key(member.endpoint, &mut key);
            (key, member)
        })
        .collect();
    keys.sort_by(|(left, _), (right, _)| left.cmp(right));
    let size = u64::from(size.0);
    let claim = |(key, member): &(String, &Member<'_>)| Claim {
        index: member.index,
        share: member.share,
        next: (xxh64(key.as_bytes(), 0) % size) as u32,
        // A skip below the prime size reaches every slot; a table of two slots has only one skip.
        skip: (xxh64(key.as_bytes(), 1) % (size - 1) + 1) as u32,
    };
    keys.iter().map(claim).collect()
}

/// Fills the table with turns in proportion to shares.
///
/// Envoy goes over all endpoints in each iteration, and an endpoint claims its k-th slot in the first
/// iteration for which iteration · share ≥ k · most. A heap of those iterations gives the same order
/// without the idle ones, which one small share beside a great one would make billions of.
fn claim_by_weight(table: &mut [u32], claims: &mut [Claim], most: f64) {
    let mut turns: BinaryHeap<Reverse<(u64, usize)>> =
        (0..claims.len()).map(|position| Reverse((1, position))).collect();
    let mut targets = vec![0.0; claims.len()];
    for _ in 0..table.len() {
        let Some(Reverse((turn, position))) = turns.pop() else { return };
        claims[position].claim(table);
        targets[position] += most;
        // The greatest share always has a next turn, so the heap never runs out.
        if let Some(next) = first_turn(claims[position].share, targets[position]) {
            turns.push(Reverse((next.max(turn + 1), position)));
        }
    }
}

/// The least `turn` with turn · share ≥ target, in the arithmetic of `f64`; `None`: so late that a
/// number of this size is not exact any more, and no table has so many turns.
fn first_turn(share: f64, target: f64) -> Option<u64> {
    let turn = (target / share).ceil();
    if turn >= MOST_TURNS {
        return None;
    }
    let mut turn = turn as u64;
    while turn > 0 && (turn - 1) as f64 * share >= target {
        turn -= 1;
    }
    while (turn as f64) * share < target {
        turn += 1;
    }
    Some(turn)
}

/// Up to here, every whole number is an `f64`.
const MOST_TURNS: f64 = (1u64 << 53) as f64;

#[cfg(test)]
mod tests;
