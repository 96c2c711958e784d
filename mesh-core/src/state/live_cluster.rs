//! [`LiveCluster`]: what was learnt about a cluster, and the cell that its picker is published in.

use super::{Attach, LiveEndpoint, Picker};
use crate::breaker::{Breaker, Resource};
use crate::call::RetryBudget;
use crate::lb::Sequence;
use crate::model::{Cluster, LbAlgorithm, RoutingPriority};
use crate::outcome::{Failure, Observation, Outcome};
use crate::outlier::Rules;
use crate::router::CompiledHashPolicy;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::Timestamp;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use std::time::Duration;

/// What was learnt about a cluster. It lives as long as its name is configured, whatever else of it
/// changes.
#[derive(Debug)]
pub struct LiveCluster<A: Attach> {
    name: Arc<str>,
    slot: u32,
    policy: ArcSwap<ClusterPolicy>,
    picker: ArcSwap<Picker<A>>,
    breaker: Arc<Breaker>,
    budget: RetryBudget,
    /// Where round robin stands; outlives every picker.
    sequence: Sequence,
    /// An endpoint crossed a threshold; the writer decides.
    attention: AtomicBool,
    attached: A::Cluster,
}

/// What the call path reads of a cluster's configuration; replaced as a whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterPolicy {
    /// The configuration.
    pub cluster: Arc<Cluster>,
    /// The compiled rules of outlier detection; `None`: nothing is counted.
    pub rules: Option<Rules>,
    /// Decay and penalty of peak EWMA; `None`: latency is not measured.
    pub ewma: Option<(Duration, Duration)>,
    /// What requests are hashed by where the route says nothing.
    pub hash_policy: CompiledHashPolicy,
}

impl ClusterPolicy {
    pub(super) fn new(cluster: &Arc<Cluster>, hash_policy: CompiledHashPolicy) -> Self {
        let ewma = match &cluster.lb_policy.algorithm {
            LbAlgorithm::PeakEwma { decay, failure_penalty, .. } => {
                Some((*decay, *failure_penalty))
            }
            _ => None,
        };
        let rules = cluster.outlier_detection.as_ref().map(Rules::new);
        Self { cluster: Arc::clone(cluster), rules, ewma, hash_policy }
    }
}

impl<A: Attach> LiveCluster<A> {
    pub(super) fn new(slot: u32, policy: &ClusterPolicy, attach: &A) -> Self {
        let cluster = &policy.cluster;
        let breaker = Arc::new(Breaker::new(&cluster.circuit_breakers));
        let attached = attach.cluster(cluster, &breaker);
        Self {
            name: Arc::clone(&cluster.name),
            slot,
            policy: ArcSwap::from_pointee(policy.clone()),
            picker: ArcSwap::from_pointee(Picker::unknown()),
            breaker,
            budget: RetryBudget::new(&cluster.retry_budget),
            sequence: Sequence::default(),
            attention: AtomicBool::new(false),
            attached,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its place in the cluster table, for life.
    #[must_use]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// Its configuration, as far as the call path needs it.
    #[must_use]
    pub fn policy(&self) -> Guard<Arc<ClusterPolicy>> {
        self.policy.load()
    }

    /// The picker in force: load it afresh for each attempt.
    #[must_use]
    pub fn picker(&self) -> Guard<Arc<Picker<A>>> {
        self.picker.load()
    }

    /// Its concurrency limits and counts.
    #[must_use]
    pub const fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// Attempts in flight, of both routing priorities.
    #[must_use]
    pub fn active(&self) -> u64 {
        let active = |priority| self.breaker.active(priority, Resource::Requests);
        u64::from(active(RoutingPriority::Default)) + u64::from(active(RoutingPriority::High))
    }

    /// Its retry budget.
    #[must_use]
    pub const fn budget(&self) -> &RetryBudget {
        &self.budget
    }

    /// What the adapter hung on it.
    #[must_use]
    pub const fn attached(&self) -> &A::Cluster {
        &self.attached
    }

    pub(super) const fn sequence(&self) -> &Sequence {
        &self.sequence
    }

    /// Records what an attempt says about its endpoint: latency, ejection counters, suspicion.
    ///
    /// `elapsed` is the time from the attempt's start to the response head, or to the failure. True:
    /// a threshold was crossed, and whoever drives the [`Updater`](super::Updater) must be woken.
    #[must_use]
    pub fn record(
        &self,
        endpoint: &LiveEndpoint<A>,
        outcome: &Outcome<'_>,
        elapsed: Duration,
        now: Timestamp,
    ) -> bool {
        let policy = self.policy.load();
        let observation = outcome.observation();
        match outcome {
            Outcome::Failed(Failure::Connect(_)) if observation.is_some() => {
                endpoint.set_suspect(true);
            }
            Outcome::Response(_) => endpoint.set_suspect(false),
            Outcome::Failed(_) => {}
        }
        if let Some((decay, penalty)) = policy.ewma {
            record_latency(endpoint, outcome, observation, elapsed, (decay, penalty), now);
        }
        let Some(rules) = &policy.rules else { return false };
        let crossed = match (observation, outcome) {
            (Some(observation), _) => endpoint.monitor().record(rules, observation),
            (None, Outcome::Failed(Failure::Cancelled { headers_seen: false, .. })) => {
                endpoint.monitor().record_cancelled(rules, elapsed)
            }
            _ => false,
        };
        crossed && !self.attention.swap(true, Ordering::AcqRel)
    }

    /// Records the head of a gRPC answer whose status is still to come: its latency.
    pub fn record_head(&self, endpoint: &LiveEndpoint<A>, elapsed: Duration, now: Timestamp) {
        endpoint.set_suspect(false);
        if let Some((decay, _)) = self.policy.load().ewma {
            endpoint.ewma().record(elapsed, now, decay);
        }
    }

    /// Records what became known of an attempt after its head. True as for [`record`](Self::record).
    #[must_use]
    pub fn observe(&self, endpoint: &LiveEndpoint<A>, observation: Observation) -> bool {
        let policy = self.policy.load();
        let Some(rules) = &policy.rules else { return false };
        endpoint.monitor().record(rules, observation)
            && !self.attention.swap(true, Ordering::AcqRel)
    }

    pub(super) fn take_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed) && self.attention.swap(false, Ordering::AcqRel)
    }

    /// Takes a changed configuration over; counts stay.
    pub(super) fn reconfigure(&self, policy: ClusterPolicy, attach: &A) {
        let cluster = Arc::clone(&policy.cluster);
        self.breaker.set_thresholds(&cluster.circuit_breakers);
        self.budget.set_policy(&cluster.retry_budget);
        self.policy.store(Arc::new(policy));
        attach.cluster_changed(&self.attached, &cluster);
    }

    /// Publishes a picker and returns the one before, for the writer to free.
    pub(super) fn publish(&self, picker: Picker<A>, attach: &A) -> Arc<Picker<A>> {
        let old = self.picker.swap(Arc::new(picker));
        attach.picker_changed(&self.attached);
        old
    }
}

/// Feeds the latency estimate. A failure never looks fast, and a call that was given up lasted *at
/// least* so long.
fn record_latency<A: Attach>(
    endpoint: &LiveEndpoint<A>,
    outcome: &Outcome<'_>,
    observation: Option<Observation>,
    elapsed: Duration,
    (decay, penalty): (Duration, Duration),
    now: Timestamp,
) {
    let ewma = endpoint.ewma();
    match (observation, outcome) {
        (Some(Observation::Code(code)), _) if code < 500 && code != 429 => {
            ewma.record(elapsed, now, decay);
        }
        (Some(_), _) => ewma.record_failure(elapsed, penalty, now, decay),
        (None, Outcome::Failed(Failure::Cancelled { headers_seen: false, .. })) => {
            ewma.record_at_least(elapsed, now, decay);
        }
        _ => {}
    }
}
