//! [`LiveCluster`]: what was learnt about a cluster, and the cell that its picker is published in.

use super::attention::Attention;
use super::{Attach, LiveEndpoint, Picker};
use crate::breaker::{Breaker, Resource};
use crate::call::RetryBudget;
use crate::lb::Sequence;
use crate::model::{Cluster, LbAlgorithm, RoutingPriority};
use crate::outcome::{Failure, Observation, Outcome};
use crate::outlier::Rules;
use crate::router::CompiledHashPolicy;
use crate::time::Timestamp;
use arc_swap::ArcSwap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Sender;
use std::task::Waker;
use std::time::Duration;

/// What was learnt about a cluster. It lives as long as its name is configured, whatever else of it
/// changes.
#[derive(Debug)]
pub struct LiveCluster<A: Attach> {
    name: Arc<str>,
    slot: u32,
    policy: ArcSwap<ClusterPolicy>,
    /// What of the policy there is at all: most calls find nothing, and need not ask for it.
    asks: AtomicU8,
    picker: ArcSwap<Picker<A>>,
    breaker: Arc<Breaker>,
    budget: RetryBudget,
    /// Where round robin stands; outlives every picker.
    sequence: Sequence,
    /// Something is for the writer to decide.
    attention: Arc<Attention>,
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
    /// It counts whatever the route says; never when it is empty.
    pub hash_policy_first: bool,
}

/// Bits of what a [`ClusterPolicy`] asks of the call path.
mod asks {
    /// Latency is measured.
    pub(super) const LATENCY: u8 = 1;
    /// Outcomes are counted.
    pub(super) const OUTCOMES: u8 = 2;
    /// Requests are hashed.
    pub(super) const HASH: u8 = 4;
}

impl ClusterPolicy {
    /// The bits of what is asked for.
    const fn asks(&self) -> u8 {
        let latency = if self.ewma.is_some() { asks::LATENCY } else { 0 };
        let outcomes = if self.rules.is_some() { asks::OUTCOMES } else { 0 };
        let hash = if self.hash_policy.is_empty() { 0 } else { asks::HASH };
        latency | outcomes | hash
    }

    pub(super) fn new(cluster: &Arc<Cluster>, hash_policy: CompiledHashPolicy) -> Self {
        let ewma = match &cluster.lb_policy.algorithm {
            LbAlgorithm::PeakEwma { decay, failure_penalty, .. } => {
                Some((*decay, *failure_penalty))
            }
            _ => None,
        };
        let rules = cluster.outlier_detection.as_ref().map(Rules::new);
        let hash_policy_first = cluster.lb_policy.hash_policy_first && !hash_policy.is_empty();
        Self { cluster: Arc::clone(cluster), rules, ewma, hash_policy, hash_policy_first }
    }

    /// What requests of a route with these inputs are hashed by: the route's, else the cluster's, unless
    /// the cluster's come first.
    pub(crate) const fn inputs<'a>(
        &'a self,
        route: &'a CompiledHashPolicy,
    ) -> &'a CompiledHashPolicy {
        if route.is_empty() || self.hash_policy_first { &self.hash_policy } else { route }
    }
}

impl<A: Attach> LiveCluster<A> {
    /// A cluster that nothing is known of; round robin begins at `turn`.
    pub(super) fn new(
        (slot, turn): (u32, u64),
        policy: &ClusterPolicy,
        queue: &Sender<Arc<str>>,
        attach: &A,
    ) -> Self {
        let cluster = &policy.cluster;
        let name = Arc::clone(&cluster.name);
        let attention = Arc::new(Attention::new(name, queue.clone(), attach.writer()));
        let alarm = Waker::from(Arc::clone(&attention));
        let breaker = Arc::new(Breaker::with_alarm(&cluster.circuit_breakers, &alarm));
        let attached = attach.cluster(cluster, &breaker);
        Self {
            name: Arc::clone(&cluster.name),
            slot,
            policy: ArcSwap::from_pointee(policy.clone()),
            asks: AtomicU8::new(policy.asks()),
            picker: ArcSwap::from_pointee(Picker::unknown()),
            breaker,
            budget: RetryBudget::new(&cluster.retry_budget),
            sequence: Sequence::new(turn),
            attention,
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
    pub fn policy(&self) -> impl Deref<Target = Arc<ClusterPolicy>> + use<A> {
        self.policy.load()
    }

    /// Whether its configuration asks for any of these. A change is seen by calls that begin after it; by
    /// one that is under way, perhaps.
    fn asks_for(&self, any: u8) -> bool {
        self.asks.load(Ordering::Relaxed) & any != 0
    }

    /// Whether it hashes requests where the route says nothing.
    pub(crate) fn hashes(&self) -> bool {
        self.asks_for(asks::HASH)
    }

    /// The picker in force: load it afresh for each attempt.
    #[must_use]
    pub fn picker(&self) -> impl Deref<Target = Arc<Picker<A>>> + use<A> {
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
        let observation = outcome.observation();
        match outcome {
            Outcome::Failed(Failure::Connect(_)) if observation.is_some() => {
                endpoint.connect_failed(now);
            }
            Outcome::Response(_) => endpoint.answered(),
            Outcome::Failed(_) => {}
        }
        if !self.asks_for(asks::LATENCY | asks::OUTCOMES) {
            return false;
        }
        let policy = self.policy.load();
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
        crossed && self.attention.cross()
    }

    /// Records the head of a gRPC answer whose status is still to come: its latency.
    pub fn record_head(&self, endpoint: &LiveEndpoint<A>, elapsed: Duration, now: Timestamp) {
        endpoint.answered();
        if self.asks_for(asks::LATENCY)
            && let Some((decay, _)) = self.policy.load().ewma
        {
            endpoint.ewma().record(elapsed, now, decay);
        }
    }

    /// Records what became known of an attempt after its head: a gRPC status, a body that broke off.
    /// `elapsed` is the time from the attempt's start. True as for [`record`](Self::record).
    ///
    /// The head was measured when it came ([`record_head`](Self::record_head)); an answer that then
    /// turns out to be a failure must not go on looking fast.
    #[must_use]
    pub fn observe(
        &self,
        endpoint: &LiveEndpoint<A>,
        observation: Observation,
        elapsed: Duration,
        now: Timestamp,
    ) -> bool {
        if !self.asks_for(asks::LATENCY | asks::OUTCOMES) {
            return false;
        }
        let policy = self.policy.load();
        if let Some((decay, penalty)) = policy.ewma
            && is_failure(observation)
        {
            endpoint.ewma().record_failure(elapsed, penalty, now, decay);
        }
        let Some(rules) = &policy.rules else { return false };
        endpoint.monitor().record(rules, observation) && self.attention.cross()
    }

    /// Takes the cluster out of the queue of the writer; whether a threshold was crossed.
    pub(super) fn take_attention(&self) -> bool {
        self.attention.take()
    }

    /// Takes a changed configuration over; counts stay.
    pub(super) fn reconfigure(&self, policy: ClusterPolicy, attach: &A) {
        let cluster = Arc::clone(&policy.cluster);
        self.breaker.set_thresholds(&cluster.circuit_breakers);
        self.budget.set_policy(&cluster.retry_budget);
        let asks = policy.asks();
        self.policy.store(Arc::new(policy));
        self.asks.store(asks, Ordering::Relaxed);
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
        (Some(observation), _) if !is_failure(observation) => ewma.record(elapsed, now, decay),
        (Some(_), _) => ewma.record_failure(elapsed, penalty, now, decay),
        (None, Outcome::Failed(Failure::Cancelled { headers_seen: false, .. })) => {
            ewma.record_at_least(elapsed, now, decay);
        }
        _ => {}
    }
}

/// Whether it tells nothing of how fast an endpoint works: a failure, or "too many requests".
const fn is_failure(observation: Observation) -> bool {
    match observation {
        Observation::Code(code) => code >= 500 || code == 429,
        Observation::ConnectFailure | Observation::Reset | Observation::Timeout => true,
    }
}
