//! [`Pick`]: a load-balancing policy of the user's own.
//!
//! Priorities, panic and localities are settled before it is asked; it chooses one of the candidates
//! that are left. It is the one trait object on the call path, and costs only those who use it.

use super::eligibility::Eligibility;
use super::pick::Loads;
use super::pool::{Pool, Tier};
use super::{Balancer, EndpointId, PickContext};
use crate::random::Random;
use crate::time::Timestamp;
use std::fmt::Debug;

/// A load-balancing policy of the user's own.
///
/// # Examples
///
/// ```
/// use mesh_core::lb::{CustomPick, Pick};
///
/// /// The endpoint with the fewest attempts in flight, of all.
/// #[derive(Debug)]
/// struct FullScan;
///
/// impl Pick for FullScan {
///     fn pick(&self, cx: &CustomPick<'_>) -> Option<u32> {
///         let least = cx.candidates().min_by_key(|candidate| candidate.active);
///         least.map(|candidate| candidate.index)
///     }
/// }
/// ```
pub trait Pick: Send + Sync + Debug {
    /// The [`index`](Candidate::index) of one of the candidates; `None`, or an index that is not one
    /// of theirs, fails the pick.
    ///
    /// It runs on the call path, at the same time on many threads: it should not wait or allocate.
    fn pick(&self, cx: &CustomPick<'_>) -> Option<u32>;
}

/// What a [`Pick`] sees.
#[derive(Clone, Copy)]
pub struct CustomPick<'a> {
    /// The time.
    pub now: Timestamp,
    /// The request's hash, by the cluster's or the route's hash policy.
    pub hash: Option<u64>,
    /// A random number, fresh for each pick.
    pub random: u64,
    /// The next number of the cluster's sequence, for policies that take turns.
    pub turn: u64,
    members: &'a [u32],
    previous: &'a [EndpointId],
    weights: Option<&'a [u32]>,
    tier: Tier,
    eligibility: &'a Eligibility,
    loads: &'a dyn Loads,
}

impl Debug for CustomPick<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomPick")
            .field("now", &self.now)
            .field("hash", &self.hash)
            .field("random", &self.random)
            .field("turn", &self.turn)
            .field("candidates", &self.members)
            .finish_non_exhaustive()
    }
}

/// One endpoint that a [`Pick`] may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// Its index in the assignment: the answer to give.
    pub index: u32,
    /// Its identity, which outlives the index.
    pub id: EndpointId,
    /// Its weight, relative to the others.
    pub weight: u32,
    /// What is known of its health; all candidates are alike, except in panic.
    pub health: CandidateHealth,
    /// Attempts in flight.
    pub active: u32,
    /// This call has tried it, or its last connect failed: better not, if there is another.
    pub is_passed_over: bool,
}

/// What is known of a candidate's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: what balancing tells apart")]
pub enum CandidateHealth {
    /// Configured healthy or unknown, and not ejected.
    Healthy,
    /// Configured degraded, and not ejected.
    Degraded,
    /// Anything else; a candidate in panic only.
    Unavailable,
}

impl<'a> CustomPick<'a> {
    /// Number of candidates; at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// The candidate at a position below [`len`](Self::len); positions ascend with indexes.
    #[must_use]
    pub fn candidate(&self, position: usize) -> Option<Candidate> {
        self.members.get(position).map(|&index| self.describe(index))
    }

    /// All candidates.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> + use<'_, 'a> {
        self.members.iter().map(|&index| self.describe(index))
    }

    fn describe(&self, index: u32) -> Candidate {
        let id = self.loads.id(index);
        let is_in = |tier| self.eligibility.is_in(tier, index);
        Candidate {
            index,
            id,
            weight: self.weights.map_or(1, |weights| weights[index as usize]),
            health: match self.tier {
                Tier::Healthy => CandidateHealth::Healthy,
                Tier::Degraded => CandidateHealth::Degraded,
                Tier::All if is_in(Tier::Healthy) => CandidateHealth::Healthy,
                Tier::All if is_in(Tier::Degraded) => CandidateHealth::Degraded,
                Tier::All => CandidateHealth::Unavailable,
            },
            active: self.loads.active(index),
            is_passed_over: self.previous.contains(&id) || self.loads.is_suspect(index, self.now),
        }
    }
}

impl Balancer {
    /// Asks the user's policy, and holds it to the candidates.
    pub(super) fn pick_custom<R: Random>(
        &self,
        policy: &dyn Pick,
        pool: &Pool,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> Option<u32> {
        let part = pool.part(&mut cx.random);
        let custom = CustomPick {
            now: cx.now,
            hash: cx.hash,
            random: cx.random.next_u64(),
            turn: cx.sequence.next(part.counter),
            members: pool.members_of(part),
            previous: cx.previous,
            weights: self.plan.columns.weights.as_deref(),
            tier: pool.tier,
            eligibility: &self.eligibility,
            loads,
        };
        policy.pick(&custom).filter(|index| custom.members.binary_search(index).is_ok())
    }
}
