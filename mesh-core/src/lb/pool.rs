//! [`Pool`]: the endpoints that a pick may choose among once its priority is known, by locality.
//!
//! A pool is rebuilt at every ejection, so it is flat: one table of indexes, and per part what its
//! algorithm needs of the weights, which is nothing when they are equal.

use super::random::Cumulative;
use super::round_robin::Stride;
use crate::random::Random;
use std::ops::Range;

/// The endpoints of one priority that are in use, part by part.
#[derive(Debug)]
pub(super) struct Pool {
    /// Which priority, by its position in the list of priorities.
    pub(super) level: u32,
    /// Which of its endpoints.
    pub(super) tier: Tier,
    /// Indexes of endpoints, ascending.
    pub(super) members: Box<[u32]>,
    /// The localities, or one part for all. Never empty.
    pub(super) parts: Box<[Part]>,
    /// What the members' shares of a consistent hash add up to; 1 when nobody asks.
    pub(super) share: f64,
}

/// Which endpoints of a priority are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Healthy,
    Degraded,
    /// Panic: all, whatever their health.
    All,
}

/// One locality's run of a pool's members.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) range: Range<u32>,
    /// Effective weights summed up to and including this part.
    pub(super) upto: u64,
    pub(super) shape: Shape,
    /// Its counter of the sequence.
    pub(super) counter: usize,
}

/// What an algorithm keeps of the weights of a part.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// They are the same, or not needed.
    Equal,
    Stride(Stride),
    Cumulative(Cumulative),
}

/// What an algorithm needs of the weights of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Turns,
    Draws,
}

impl Shape {
    /// `weights` of the members in order; `None`: all equal.
    pub(super) fn new(weights: Option<&[u32]>, members: &[u32], need: Need) -> Self {
        let (Some(weights), true) = (weights, need != Need::Nothing) else { return Self::Equal };
        let weights = members.iter().map(|&index| weights[index as usize]);
        if weights.clone().is_sorted_by(|left, right| left == right) {
            return Self::Equal;
        }
        let stride = if need == Need::Turns { Stride::new(weights.clone()) } else { None };
        stride.map_or_else(|| Self::Cumulative(Cumulative::new(weights)), Self::Stride)
    }
}

impl Pool {
    /// Draws a part in proportion to its effective weight.
    pub(super) fn part(&self, random: &mut impl Random) -> &Part {
        if let [part] = &*self.parts {
            return part;
        }
        let total = self.parts.last().map_or(0, |part| part.upto);
        let point = random.below(total);
        &self.parts[self.parts.partition_point(|part| part.upto <= point)]
    }

    pub(super) fn members_of(&self, part: &Part) -> &[u32] {
        &self.members[part.range.start as usize..part.range.end as usize]
    }
}
