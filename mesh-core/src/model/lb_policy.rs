//! How an endpoint is chosen (Envoy: `load_balancing_policies`, `CommonLbConfig`).

use super::HashPolicy;
use std::time::Duration;

/// The load balancing of a cluster.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LbPolicy {
    /// The choice among the endpoints of one priority (and locality).
    pub algorithm: LbAlgorithm,
    /// A priority with less than this percentage of available endpoints spreads over all of them,
    /// healthy or not. Default 50; 0 never panics.
    pub panic_threshold: u32,
    /// In panic, fail instead of spreading. Default false.
    pub fail_traffic_on_panic: bool,
    /// Health counts this many percent, so that a few sick endpoints move no traffic to the next
    /// priority. Default 140; gRPC has none, which is 100.
    pub overprovisioning_factor: u32,
    /// Chooses a locality by weight first, then an endpoint in it. Default false: all endpoints of a
    /// priority are one pool.
    pub locality_weighted: bool,
    /// New endpoints take their share gradually; `None`: at once.
    pub slow_start: Option<SlowStart>,
    /// What ring hash and Maglev hash when the route says nothing.
    pub hash_policy: Vec<HashPolicy>,
    /// `hash_policy`, if there is any, counts before the route's (Envoy: `hash_policy` of a cluster's
    /// `HttpProtocolOptions` and of `ConsistentHashingLbConfig`). Default false.
    pub hash_policy_first: bool,
}

impl LbPolicy {
    /// `algorithm` with Envoy's defaults for the rest.
    #[must_use]
    pub const fn new(algorithm: LbAlgorithm) -> Self {
        Self {
            algorithm,
            panic_threshold: 50,
            fail_traffic_on_panic: false,
            overprovisioning_factor: 140,
            locality_weighted: false,
            slow_start: None,
            hash_policy: Vec::new(),
            hash_policy_first: false,
        }
    }
}

impl Default for LbPolicy {
    fn default() -> Self {
        Self::new(LbAlgorithm::RoundRobin)
    }
}

/// The choice among the endpoints of one priority (and locality).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum LbAlgorithm {
    /// In turn, by weight.
    RoundRobin,
    /// At random, by weight.
    Random,
    /// The least loaded of a few drawn at random.
    LeastRequest {
        /// How many are drawn, 2 to 100. Default 2.
        choice_count: u32,
        /// How much load counts where weights are unequal: of the drawn, the lowest activeᵇ / weight
        /// wins. 1: attempts in flight are held in proportion to weight; 0: load is ignored; above 1:
        /// load counts for more than weight. Default 1. (Envoy schedules by weight / (active + 1)ᵇ,
        /// which holds them by the square root of the weight and needs a heap under a lock.)
        active_request_bias: f64,
    },
    /// The one of two drawn at random with the lower expected latency: a decaying average of the time
    /// to the first byte, times the calls in flight. Failures never look fast.
    PeakEwma {
        /// Time for an old measurement to lose 63 % of its weight. Default 10 s.
        decay: Duration,
        /// What an endpoint without measurements is taken for. Default 30 ms.
        default_rtt: Duration,
        /// What a failure counts as, at least. Default 5 s.
        failure_penalty: Duration,
    },
    /// Consistent hashing on a ring.
    RingHash {
        /// Points on the ring, at least. Default 1024.
        minimum_ring_size: u32,
        /// Points on the ring, at most. Default 8,388,608.
        maximum_ring_size: u32,
        /// An endpoint with more than this percentage of the average load is passed over; `None`:
        /// load does not count. At least 100.
        hash_balance_factor: Option<u32>,
    },
    /// Consistent hashing with a lookup table.
    Maglev {
        /// Slots of the table: a prime, at most 5,000,011. Default 65,537.
        table_size: u32,
        /// As for ring hash.
        hash_balance_factor: Option<u32>,
    },
    /// A policy registered in code, by its name.
    Custom(std::sync::Arc<str>),
}

impl LbAlgorithm {
    /// What `mesh.yaml` calls it; of one that is registered in code, its own name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::LeastRequest { .. } => "least_request",
            Self::PeakEwma { .. } => "peak_ewma",
            Self::RingHash { .. } => "ring_hash",
            Self::Maglev { .. } => "maglev",
            Self::Custom(name) => name,
        }
    }

    /// Least request with Envoy's defaults.
    #[must_use]
    pub const fn least_request() -> Self {
        Self::LeastRequest { choice_count: 2, active_request_bias: 1.0 }
    }

    /// Peak EWMA with Linkerd's defaults.
    #[must_use]
    pub const fn peak_ewma() -> Self {
        Self::PeakEwma {
            decay: Duration::from_secs(10),
            default_rtt: Duration::from_millis(30),
            failure_penalty: Duration::from_secs(5),
        }
    }

    /// Ring hash with Envoy's defaults.
    #[must_use]
    pub const fn ring_hash() -> Self {
        Self::RingHash {
            minimum_ring_size: 1024,
            maximum_ring_size: 8_388_608,
            hash_balance_factor: None,
        }
    }

    /// Maglev with Envoy's defaults.
    #[must_use]
    pub const fn maglev() -> Self {
        Self::Maglev { table_size: 65_537, hash_balance_factor: None }
    }
}

/// A new endpoint's weight is multiplied by max(min, (age / window)^(1 / aggression)).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SlowStart {
    /// How long an endpoint counts as new.
    pub window: Duration,
    /// Shape of the curve; 1 is a line, more rises faster at first. Default 1.
    pub aggression: f64,
    /// The least share of its weight, in percent. Default 10.
    pub min_weight_percent: u32,
}

impl SlowStart {
    /// Envoy's defaults over `window`.
    #[must_use]
    pub const fn new(window: Duration) -> Self {
        Self { window, aggression: 1.0, min_weight_percent: 10 }
    }
}
