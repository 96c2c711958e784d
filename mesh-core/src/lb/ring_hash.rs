//! The ring of ring hash: sorted points, each owned by an endpoint.
//!
//! The rules are Envoy's and gRPC's (gRFC A42): point `i` of an endpoint is XXH64 with seed 0 of
//! `key_i`, the key being its address or its `hash_key` (gRFC A76); the number of points is such that
//! the least weight gets a whole number, at least `minimum_ring_size` in all if it can be, and never
//! more than `maximum_ring_size`. A request goes to the first point at or after its hash, and round.
//!
//! The ring holds all endpoints of a priority, whatever their health. Walking past one that may not be
//! picked gives the endpoint that a ring without it would, so health changes rebuild nothing.

use super::consistent::{Member, write_key};
use super::error::{LbError, integer};
use std::fmt::Write;
use xxhash_rust::xxh64::xxh64;

/// Most points of a ring (Envoy: `RingHash.maximum_ring_size`).
pub(super) const MAX_RING_SIZE: u32 = 8_388_608;

/// Most points that a pick walks over, past endpoints that may not be picked.
const MAX_WALK: usize = 4096;

/// Points in ascending order, with their owners.
#[derive(Debug, Default)]
pub(super) struct Ring {
    hashes: Box<[u64]>,
    owners: Box<[u32]>,
}

/// How many points a ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingSize {
    least: u32,
    most: u32,
}

impl RingSize {
    pub(super) fn new(least: u32, most: u32) -> Result<Self, LbError> {
        let rule = "must be from 1 to 8388608";
        let fits = |size: u32| (1..=MAX_RING_SIZE).contains(&size);
        integer(fits(most), "maximum_ring_size", u64::from(most), rule)?;
        integer(fits(least), "minimum_ring_size", u64::from(least), rule)?;
        let rule = "must be at most maximum_ring_size";
        integer(least <= most, "minimum_ring_size", u64::from(least), rule)?;
        Ok(Self { least, most })
    }

    /// Points per unit of normalised weight (Envoy: `scale`).
    fn scale(self, members: &[Member<'_>]) -> f64 {
        let least = members.iter().map(|member| member.share).fold(1.0, f64::min);
        ((least * f64::from(self.least)).ceil() / least).min(f64::from(self.most))
    }
}

impl Ring {
    /// `members` with shares above 0 that add up to 1.
    pub(super) fn new(size: RingSize, members: &[Member<'_>]) -> Self {
        let scale = size.scale(members);
        let mut points: Vec<(u64, u32)> = Vec::with_capacity(scale.ceil() as usize);
        let (mut target, mut key) = (0.0, String::new());
        for member in members {
            key.clear();
            write_key(member.endpoint, &mut key);
            key.push('_');
            let prefix = key.len();
            target += scale * member.share;
            let mut number = 0u32;
            while (points.len() as f64) < target && points.len() < size.most as usize {
                key.truncate(prefix);
                let written = write!(key, "{number}");
                debug_assert!(written.is_ok(), "writing to a String does not fail");
                points.push((xxh64(key.as_bytes(), 0), member.index));
                number += 1;
            }
        }
        points.sort_unstable();
        let (hashes, owners): (Vec<u64>, Vec<u32>) = points.into_iter().unzip();
        Self { hashes: hashes.into_boxed_slice(), owners: owners.into_boxed_slice() }
    }

    /// The first point at or after `hash`, and round.
    pub(super) fn start(&self, hash: u64) -> usize {
        let point = self.hashes.partition_point(|&point| point < hash);
        if point == self.hashes.len() { 0 } else { point }
    }

    /// How many steps a pick may take.
    pub(super) fn steps(&self) -> usize {
        self.hashes.len().min(MAX_WALK)
    }

    /// The owner of the point `step` points after `start`; both are below the number of points.
    pub(super) fn owner(&self, start: usize, step: usize) -> u32 {
        let point = start + step;
        let len = self.owners.len();
        self.owners[if point >= len { point - len } else { point }]
    }

    /// Adds to `odds` the part of all hashes that goes to each endpoint, of those eligible; `false`
    /// when none of those has a point.
    pub(super) fn add_odds(
        &self,
        eligible: impl Fn(u32) -> bool,
        odds: &mut [f64],
        scale: f64,
    ) -> bool {
        let Some(mut owner) = self.owners.iter().copied().find(|&owner| eligible(owner)) else {
            return false;
        };
        // Backwards: what ends at a point goes to the next eligible owner after it.
        for (point, &hash) in self.hashes.iter().enumerate().rev() {
            if eligible(self.owners[point]) {
                owner = self.owners[point];
            }
            let before = if point == 0 {
                self.hashes[self.hashes.len() - 1]
            } else {
                self.hashes[point - 1]
            };
            let arc = if self.hashes.len() == 1 { u64::MAX } else { hash.wrapping_sub(before) };
            odds[owner as usize] += scale * (arc as f64 / u64::MAX as f64);
        }
        true
    }

    /// The points, for tests.
    #[cfg(test)]
    pub(super) fn points(&self) -> Vec<(u64, u32)> {
        self.hashes.iter().copied().zip(self.owners.iter().copied()).collect()
    }
}
