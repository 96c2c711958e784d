//! One pick: what it is given, and how an endpoint is found that is worth trying.
//!
//! Priority, then locality, then the algorithm. An endpoint that this call has tried before, or whose
//! last connect failed ("suspect"), is passed over: the choice is repeated, `max_reselect` times and at
//! least [`LEAST_RESELECT`] (Envoy: `host_selection_retry_max_attempts`), then the next [`SCAN`]
//! endpoints of the pool are looked at, so that one of a few is found for certain. If nobody better
//! turns up, a suspect is taken before one that was tried, and of those that were tried one that is no
//! suspect first.

use super::candidates::Candidates;
use super::eligibility::Own;
use super::failover::{Calm, Within};
use super::pool::{Part, Pool};
use super::round_robin::Sequence;
use super::{Algorithm, Balancer, PeakEwma};
use crate::outcome::NoEndpoint;
use crate::random::Random;
use crate::time::Timestamp;

/// How many neighbours of the chosen endpoint are looked at for a better one.
pub(super) const SCAN: u32 = 16;

/// How often a choice is repeated at most, whatever the caller asks for, and at least: the neighbour
/// of a suspect must not get its whole share.
const MOST_RESELECT: u32 = 64;
const LEAST_RESELECT: u32 = 3;

/// The identity of an endpoint: the same as long as its key is, never given twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u64);

impl EndpointId {
    /// The identity with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// What is learnt of endpoints while running, by their index in the assignment.
///
/// A pick reads these of a few endpoints only; they should be plain loads of atomics.
pub trait Loads {
    /// Its identity, which outlives the index.
    fn id(&self, index: u32) -> EndpointId;

    /// Attempts in flight, until their response bodies end.
    fn active(&self, index: u32) -> u32;

    /// Its latency estimate; asked for by peak EWMA only.
    fn ewma(&self, index: u32) -> &PeakEwma;

    /// Whether its last connect failed: it is passed over while another is available.
    ///
    /// Now and then the answer is no all the same, for one who asks: somebody has to try whether it is
    /// back.
    fn is_suspect(&self, index: u32, now: Timestamp) -> bool;

    /// When it appeared or was last un-ejected; asked for by slow start and peak EWMA only.
    fn available_since(&self, index: u32) -> Timestamp;
}

/// What one attempt brings to the choice of its endpoint.
#[derive(Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct PickContext<'a, R> {
    /// The time.
    pub now: Timestamp,
    /// Where random numbers come from.
    pub random: R,
    /// The request's hash, see [`Balancer::uses_hash`]; without one, consistent hashing is random.
    pub hash: Option<u64>,
    /// The endpoints that this call has tried.
    pub previous: &'a [EndpointId],
    /// How often the choice is repeated to find one not tried; at least 3 and at most 64.
    pub max_reselect: u32,
    /// Attempts in flight in the whole cluster; looked at by bounded load only.
    pub total_active: u64,
    /// Where round robin stands; the cluster keeps it from one configuration to the next.
    pub sequence: &'a Sequence,
}

/// What a pick gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: whoever picks must act on each")]
pub enum PickResult {
    /// The endpoint at this index of the assignment.
    Endpoint(u32),
    /// Nobody can be picked.
    Fail(NoEndpoint),
}

/// How good a choice an endpoint is; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    Fresh,
    /// Its last connect failed.
    Suspect,
    /// This call has tried it.
    Tried,
    /// This call has tried it, and its last connect failed.
    TriedSuspect,
}

impl Grade {
    pub(super) fn of<R>(index: u32, cx: &PickContext<'_, R>, loads: &impl Loads) -> Self {
        let tried = !cx.previous.is_empty() && cx.previous.contains(&loads.id(index));
        match (tried, loads.is_suspect(index, cx.now)) {
            (false, false) => Self::Fresh,
            (false, true) => Self::Suspect,
            (true, false) => Self::Tried,
            (true, true) => Self::TriedSuspect,
        }
    }
}

/// How often a choice is repeated.
pub(super) fn reselections<R>(cx: &PickContext<'_, R>) -> u32 {
    cx.max_reselect.clamp(LEAST_RESELECT, MOST_RESELECT)
}

impl Balancer {
    /// Chooses an endpoint for one attempt. Takes no lock and allocates nothing.
    pub fn pick<R: Random>(&self, cx: &mut PickContext<'_, R>, loads: &impl Loads) -> PickResult {
        self.pick_within(Own, cx, loads)
    }

    /// The same for a child of an aggregate that is to take a part of the traffic without panic.
    pub(crate) fn pick_calm<R: Random>(
        &self,
        calm: Calm,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> PickResult {
        self.pick_within(calm, cx, loads)
    }

    /// Whether a choice is worth trying: this call has not tried it, and its last connect did not fail.
    pub(crate) fn is_fresh<R>(index: u32, cx: &PickContext<'_, R>, loads: &impl Loads) -> bool {
        Grade::of(index, cx, loads) == Grade::Fresh
    }

    #[inline]
    fn pick_within<R: Random>(
        &self,
        within: impl Within,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> PickResult {
        let eligibility = &*self.eligibility;
        let index = match &self.plan.algorithm {
            Algorithm::Consistent(tables, bound) => {
                let hash = cx.hash.unwrap_or_else(|| cx.random.next_u64());
                within
                    .pool(eligibility, || hash)
                    .map(|pool| tables.pick((pool, eligibility), hash, *bound, cx, loads))
            }
            Algorithm::Custom(policy) => within
                .pool(eligibility, || cx.random.next_u64())
                .and_then(|pool| self.pick_custom(&**policy, pool, cx, loads)),
            _ => self.pick_fresh(within, cx, loads),
        };
        index.map_or_else(|| PickResult::Fail(eligibility.counts), PickResult::Endpoint)
    }

    /// Repeats the choice until it is worth trying, then looks at neighbours.
    fn pick_fresh<R: Random>(
        &self,
        within: impl Within,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> Option<u32> {
        let (mut pool, mut position) = self.choose(within, cx, loads)?;
        for _ in 0..reselections(cx) {
            if Grade::of(pool.members[position], cx, loads) == Grade::Fresh {
                return Some(pool.members[position]);
            }
            (pool, position) = self.choose(within, cx, loads)?;
        }
        if matches!(self.plan.algorithm, Algorithm::RoundRobin) {
            // Each of these picks took as many turns: in turn, they could all end at one endpoint.
            let part = pool.part(&mut cx.random);
            let drawn = self.candidates(pool, part).sample(cx, loads);
            position = part.range.start as usize + drawn;
        }
        let (after, before) = (&pool.members[position..], &pool.members[..position]);
        let mut neighbours = after.iter().chain(before).copied().take(1 + SCAN as usize);
        let first = neighbours.next()?;
        let mut best = (Grade::of(first, cx, loads), first);
        for index in neighbours {
            if best.0 == Grade::Fresh {
                break;
            }
            let grade = Grade::of(index, cx, loads);
            if grade < best.0 {
                best = (grade, index);
            }
        }
        Some(best.1)
    }

    /// Priority, locality, algorithm: a pool and a position in it.
    fn choose<R: Random>(
        &self,
        within: impl Within,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> Option<(&Pool, usize)> {
        let pool = within.pool(&self.eligibility, || cx.random.next_u64())?;
        let part = pool.part(&mut cx.random);
        let candidates = self.candidates(pool, part);
        let position = match &self.plan.algorithm {
            Algorithm::LeastRequest(policy) => policy.pick(&candidates, cx, loads),
            Algorithm::PeakEwma(policy) => policy.pick(&candidates, cx, loads),
            Algorithm::RoundRobin => candidates.next(cx, loads),
            Algorithm::Random | Algorithm::Consistent(..) | Algorithm::Custom(_) => {
                candidates.sample(cx, loads)
            }
        };
        Some((pool, part.range.start as usize + position))
    }

    pub(super) fn candidates<'a>(&'a self, pool: &'a Pool, part: &'a Part) -> Candidates<'a> {
        Candidates {
            members: pool.members_of(part),
            shape: &part.shape,
            weights: self.plan.columns.weights.as_deref(),
            slow_start: self.plan.slow_start.as_ref(),
            counter: part.counter,
        }
    }
}
