//! Load balancing: candidates → the index of one.
//!
//! A [`Balancer`] is an immutable value, made when endpoints or policy change and read by every
//! attempt without a lock. It answers with an *index* into the assignment, so it knows neither
//! connections nor addresses; what changes while running (attempts in flight, latency, suspicion) is
//! asked for through [`Loads`].
//!
//! # The order of a pick
//!
//! ```text
//! hash or random number ──> priority ──> healthy | degraded | all (panic) ──> locality ──> endpoint
//!                           priority.rs  eligibility.rs                       locality.rs  algorithm
//! ```
//!
//! | algorithm | file | rule |
//! |---|---|---|
//! | round robin | `round_robin` | in turn; unequal weights by gRPC's static stride (gRFC A58) |
//! | random | `random` | by weight |
//! | least request | `least_request` | fewest in flight of `choice_count` drawn (gRFC A48, Envoy) |
//! | peak EWMA | `peak_ewma` | lowest expected latency of two drawn (Linkerd) |
//! | ring hash | `ring_hash` | consistent hashing (gRFC A42, A76, Envoy) |
//! | Maglev | `maglev` | consistent hashing with a table (Envoy) |
//! | custom | `custom` | [`Pick`] |
//!
//! An aggregate cluster has no endpoints: [`failover`] divides its calls among its children, whose own
//! balancers choose.
//!
//! # Who may be picked
//!
//! Configured `Healthy` or `Unknown` and not ejected: healthy. Configured `Degraded` and not ejected:
//! its own tier, used when the healthy ones do not suffice. Everything else is unavailable: only in
//! panic is it picked, and there *all* endpoints of the priority are, draining and ejected ones
//! included, as in Envoy, where draining is one way of being unhealthy.
//!
//! # What changes at which price
//!
//! | change | work |
//! |---|---|
//! | ejection, un-ejection ([`Balancer::with_ejected`]) | bits, one index table for each priority in use |
//! | health, with the same addresses and weights | the same, and one pass over the endpoints |
//! | membership or weights | in addition, the ring or the Maglev table |
//!
//! Bounds: 2^32 − 1 endpoints, rings of 8,388,608 points, Maglev tables of 5,000,011 slots, 16
//! counters of a [`Sequence`]. Tables of round robin and least request take at most 16 bytes for each
//! endpoint.
//!
//! It does not do: subsets, zone-aware routing (Envoy's `zone_aware_lb_config`), ORCA weights
//! (`client_side_weighted_round_robin`), connectivity states (gRPC's sticky TRANSIENT_FAILURE is
//! "suspect" here).

mod bits;
mod candidates;
mod columns;
mod consistent;
mod custom;
pub mod drop_overload;
mod eligibility;
mod error;
pub mod failover;
mod least_request;
mod locality;
mod maglev;
mod odds;
mod peak_ewma;
mod pick;
mod pool;
mod priority;
mod random;
mod ring_hash;
mod round_robin;
mod slow_start;

pub use bits::EjectedBits;
pub use custom::{Candidate, CandidateHealth, CustomPick, Pick};
pub use error::LbError;
pub use peak_ewma::PeakEwma;
pub use pick::{EndpointId, Loads, PickContext, PickResult};
pub use priority::PriorityState;
pub use round_robin::Sequence;

use crate::event::Panic;
use crate::model::{ClusterLoadAssignment, LbAlgorithm, LbPolicy};
use crate::outcome::NoEndpoint;
use columns::Columns;
use consistent::{Bound, Consistent, Kind};
use eligibility::{Eligibility, Rules};
use error::integer;
use least_request::LeastRequest;
use maglev::TableSize;
use peak_ewma::Latency;
use pool::Need;
use ring_hash::RingSize;
use slow_start::Curve;
use std::ops::Range;
use std::sync::Arc;

/// How one endpoint of a cluster is chosen: immutable, cheap to clone, read by many at once.
///
/// # Examples
///
/// ```
/// use mesh_core::lb::{Balancer, EjectedBits};
/// use mesh_core::model::{Address, ClusterLoadAssignment, Endpoint, LbPolicy};
///
/// let address = |port| Address::from(std::net::SocketAddr::from(([10, 0, 0, 1], port)));
/// let endpoints = [80, 81, 82].map(|port| Endpoint::new(address(port)));
/// let assignment = ClusterLoadAssignment::of(endpoints);
///
/// let none = EjectedBits::default();
/// let balancer = Balancer::build(&LbPolicy::default(), &assignment, &none, None, None)?;
/// let ejected = [1].into_iter().collect();
/// assert_eq!(balancer.with_ejected(&ejected).odds(), Some(vec![0.5, 0.0, 0.5]));
/// # Ok::<(), mesh_core::lb::LbError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Balancer {
    plan: Arc<Plan>,
    eligibility: Arc<Eligibility>,
}

/// What ejections leave as it is.
#[derive(Debug)]
struct Plan {
    columns: Columns,
    algorithm: Algorithm,
    slow_start: Option<Curve>,
    rules: Rules,
}

/// A checked [`LbAlgorithm`] with its tables.
#[derive(Debug)]
enum Algorithm {
    RoundRobin,
    Random,
    LeastRequest(LeastRequest),
    PeakEwma(Latency),
    Consistent(Arc<Consistent>, Option<Bound>),
    Custom(Arc<dyn Pick>),
}

impl Balancer {
    /// Builds the tables that `policy` needs over the endpoints of `assignment`.
    ///
    /// Endpoints are numbered in the order of `assignment.localities`, then of their endpoints.
    /// `custom` is the policy that [`LbAlgorithm::Custom`] names; it is not looked at otherwise.
    /// `previous` gives its ring or Maglev table when it would be the same.
    ///
    /// # Errors
    ///
    /// [`LbError`] when a number of the policy is out of its range, or the custom policy is missing.
    pub fn build(
        policy: &LbPolicy,
        assignment: &ClusterLoadAssignment,
        ejected: &EjectedBits,
        custom: Option<Arc<dyn Pick>>,
        previous: Option<&Self>,
    ) -> Result<Self, LbError> {
        Self::with_columns(
            policy,
            assignment,
            ejected,
            custom,
            (previous, Columns::new(assignment)?),
        )
    }

    /// What [`build`](Self::build) gives, from this one of the endpoints before: where the localities
    /// are the same ones and only `changed` differs, nothing else of `assignment` is read.
    pub(crate) fn rebuild(
        &self,
        policy: &LbPolicy,
        assignment: &ClusterLoadAssignment,
        ejected: &EjectedBits,
        custom: Option<Arc<dyn Pick>>,
        changed: Option<Range<usize>>,
    ) -> Result<Self, LbError> {
        let columns = match changed {
            Some(changed) => {
                let changed = changed.start as u32..changed.end as u32;
                self.plan.columns.patched(assignment, changed)
            }
            None => Columns::new(assignment)?,
        };
        Self::with_columns(policy, assignment, ejected, custom, (Some(self), columns))
    }

    fn with_columns(
        policy: &LbPolicy,
        assignment: &ClusterLoadAssignment,
        ejected: &EjectedBits,
        custom: Option<Arc<dyn Pick>>,
        (previous, columns): (Option<&Self>, Columns),
    ) -> Result<Self, LbError> {
        let factor = policy.overprovisioning_factor;
        integer(factor > 0, "overprovisioning_factor", 0, "must be above 0")?;
        let slow_start = policy.slow_start.as_ref().map(Curve::new).transpose()?;
        let tables = Tables { policy, assignment, columns: &columns, previous };
        let algorithm = tables.algorithm(custom)?;
        let rules = Rules {
            factor,
            panic_threshold: policy.panic_threshold,
            fail_on_panic: policy.fail_traffic_on_panic,
            // A ring or table has the localities' weights in it.
            by_locality: policy.locality_weighted && algorithm.tables().is_none(),
            need: algorithm.need(),
        };
        let plan = Arc::new(Plan { columns, algorithm, slow_start, rules });
        Ok(Self { eligibility: plan.eligibility(ejected), plan })
    }

    /// The same with other endpoints ejected; everything else is shared.
    #[must_use]
    pub fn with_ejected(&self, ejected: &EjectedBits) -> Self {
        Self { plan: Arc::clone(&self.plan), eligibility: self.plan.eligibility(ejected) }
    }

    /// Number of endpoints, available or not.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.plan.columns.len()
    }

    /// Whether there is no endpoint at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`PickContext::hash`] makes a difference, so that the request must be hashed.
    #[must_use]
    pub fn uses_hash(&self) -> bool {
        matches!(self.plan.algorithm, Algorithm::Consistent(..) | Algorithm::Custom(_))
    }

    /// The priorities that have endpoints or localities, highest first: load, panic and counts.
    ///
    /// The loads add up to 100, or to 0 when nobody can be picked.
    #[must_use]
    pub fn priorities(&self) -> &[PriorityState] {
        &self.eligibility.priorities
    }

    /// The numbers behind panic, for each priority in use, and whether it is in panic.
    pub(crate) fn panics(&self) -> impl Iterator<Item = (Panic, bool)> {
        let Rules { panic_threshold, fail_on_panic, .. } = self.plan.rules;
        self.priorities().iter().map(move |state| {
            let panic = Panic {
                priority: state.priority,
                healthy: state.healthy + state.degraded,
                total: state.total,
                threshold: panic_threshold.min(100),
                fails: fail_on_panic,
            };
            (panic, state.panic)
        })
    }

    /// Whether nobody is available, and somebody would be but for ejections.
    pub(crate) fn is_emptied_by_ejection(&self) -> bool {
        let counts = self.counts();
        counts.healthy + counts.degraded == 0 && counts.ejected > 0
    }

    /// What its endpoints can carry, in percent of the whole traffic: what decides how much of an
    /// aggregate's calls a child takes.
    #[must_use]
    pub fn capacity(&self) -> failover::Capacity {
        self.eligibility.capacity()
    }

    /// How many endpoints there are of each kind; they add up to `total`.
    #[must_use]
    pub fn counts(&self) -> NoEndpoint {
        self.eligibility.counts
    }
}

impl Plan {
    fn eligibility(&self, ejected: &EjectedBits) -> Arc<Eligibility> {
        let shares = self.algorithm.tables().map(|tables| &*tables.shares);
        Arc::new(Eligibility::new(&self.columns, self.rules, ejected, shares))
    }
}

impl Algorithm {
    const fn tables(&self) -> Option<&Arc<Consistent>> {
        match self {
            Self::Consistent(tables, _) => Some(tables),
            _ => None,
        }
    }

    const fn need(&self) -> Need {
        match self {
            Self::RoundRobin => Need::Turns,
            Self::Random | Self::LeastRequest(_) | Self::PeakEwma(_) => Need::Draws,
            Self::Consistent(..) | Self::Custom(_) => Need::Nothing,
        }
    }
}

/// What an algorithm is made from.
struct Tables<'a> {
    policy: &'a LbPolicy,
    assignment: &'a ClusterLoadAssignment,
    columns: &'a Columns,
    previous: Option<&'a Balancer>,
}

impl Tables<'_> {
    fn algorithm(&self, custom: Option<Arc<dyn Pick>>) -> Result<Algorithm, LbError> {
        Ok(match &self.policy.algorithm {
            LbAlgorithm::RoundRobin => Algorithm::RoundRobin,
            LbAlgorithm::Random => Algorithm::Random,
            LbAlgorithm::LeastRequest { choice_count, active_request_bias } => {
                Algorithm::LeastRequest(LeastRequest::new(*choice_count, *active_request_bias)?)
            }
            LbAlgorithm::PeakEwma { decay, default_rtt, .. } => {
                Algorithm::PeakEwma(Latency::new(*decay, *default_rtt)?)
            }
            LbAlgorithm::RingHash {
                minimum_ring_size: least,
                maximum_ring_size: most,
                hash_balance_factor,
            } => {
                self.consistent(Kind::Ring(RingSize::new(*least, *most)?), *hash_balance_factor)?
            }
            LbAlgorithm::Maglev { table_size, hash_balance_factor } => {
                self.consistent(Kind::Maglev(TableSize::new(*table_size)?), *hash_balance_factor)?
            }
            LbAlgorithm::Custom(name) => {
                let unregistered = || LbError::Unregistered { name: Arc::clone(name) };
                Algorithm::Custom(custom.ok_or_else(unregistered)?)
            }
        })
    }

    fn consistent(&self, kind: Kind, factor: Option<u32>) -> Result<Algorithm, LbError> {
        let bound = Bound::new(factor)?;
        let previous = self.previous.and_then(|previous| previous.plan.algorithm.tables());
        let by_locality = self.policy.locality_weighted;
        let tables = Consistent::build(kind, by_locality, self.assignment, self.columns, previous);
        Ok(Algorithm::Consistent(tables, bound))
    }
}

#[cfg(test)]
mod tests;
