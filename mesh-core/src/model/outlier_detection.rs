//! When an endpoint is taken out for failing (Envoy: `config.cluster.v3.OutlierDetection`; gRFC A50).

use std::time::Duration;

/// The rules of ejection. Every `enforcing_*` is a percentage: the chance that a detected outlier is
/// really ejected; 0 detects, counts and reports without ejecting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlierDetection {
    /// Time between two sweeps. Default 10 s.
    pub interval: Duration,
    /// First ejection lasts this long, the nth n times as long. Default 30 s.
    pub base_ejection_time: Duration,
    /// No ejection lasts longer, jitter apart. Default 300 s, or the base when that is longer.
    pub max_ejection_time: Duration,
    /// Up to this much is added to each ejection, at random. Default 0.
    pub max_ejection_time_jitter: Duration,
    /// At most this share of the cluster is out at once, in percent. Default 10.
    pub max_ejection_percent: u32,
    /// How [`max_ejection_percent`](Self::max_ejection_percent) is read.
    pub cap_rule: CapRule,
    /// One endpoint may always go, whatever the percentage says. Default false.
    pub always_eject_one_endpoint: bool,
    /// Server errors in a row (HTTP 5xx, gRPC statuses that map to one, and local failures unless
    /// split). Default 5; `None`: not watched.
    pub consecutive_5xx: Option<u32>,
    /// Default 100.
    pub enforcing_consecutive_5xx: u32,
    /// 502, 503 and 504 in a row, and local failures unless split. Default 5.
    pub consecutive_gateway_failure: Option<u32>,
    /// Default 0.
    pub enforcing_consecutive_gateway_failure: u32,
    /// Local failures (connect, reset, timeout) are counted apart from what servers answer.
    /// Default false.
    pub split_external_local_origin_errors: bool,
    /// Local failures in a row; only when split. Default 5.
    pub consecutive_local_origin_failure: Option<u32>,
    /// Default 100.
    pub enforcing_consecutive_local_origin_failure: u32,
    /// Statistical comparison of success rates; `None`: not done.
    pub success_rate: Option<SuccessRate>,
    /// The same over local failures; only when split.
    pub local_origin_success_rate: Option<SuccessRate>,
    /// A fixed bound on the share of failures; `None`: not done.
    pub failure_percentage: Option<FailurePercentage>,
    /// The same over local failures; only when split.
    pub local_origin_failure_percentage: Option<FailurePercentage>,
    /// A call that its caller gave up after at least this long counts as a local failure; `None`: it
    /// counts as nothing. Finds an endpoint that hangs under the application's own timeout.
    pub count_cancelled_after: Option<Duration>,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            cap_rule: CapRule::Envoy,
            always_eject_one_endpoint: false,
            consecutive_5xx: Some(5),
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_failure: Some(5),
            enforcing_consecutive_gateway_failure: 0,
            split_external_local_origin_errors: false,
            consecutive_local_origin_failure: Some(5),
            enforcing_consecutive_local_origin_failure: 100,
            success_rate: Some(SuccessRate::default()),
            local_origin_success_rate: Some(SuccessRate::default()),
            failure_percentage: None,
            local_origin_failure_percentage: None,
            count_cancelled_after: None,
        }
    }
}

/// How the largest share of ejected endpoints is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: Envoy's rule or gRFC A50's")]
pub enum CapRule {
    /// The share *after* the ejection must be within the limit (Envoy: `ejectHost`): with 10 % no
    /// endpoint of a cluster of nine or fewer is ever ejected.
    #[default]
    Envoy,
    /// The share *before* the ejection must be below the limit (gRFC A50): one can always go.
    Grpc,
}

/// An endpoint whose success rate is below mean − factor · standard deviation is an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuccessRate {
    /// The factor, in thousandths. Default 1900.
    pub stdev_factor: u32,
    /// Endpoints with enough volume that are needed to compare at all. Default 5.
    pub minimum_hosts: u32,
    /// Requests within one interval that make an endpoint comparable. Default 100.
    pub request_volume: u32,
    /// Default 100.
    pub enforcing: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { stdev_factor: 1900, minimum_hosts: 5, request_volume: 100, enforcing: 100 }
    }
}

/// An endpoint that fails at least (Envoy; gRPC: more than) this share is an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailurePercentage {
    /// Percent of failures. Default 85.
    pub threshold: u32,
    /// Endpoints with enough volume that are needed. Default 5.
    pub minimum_hosts: u32,
    /// Requests within one interval that make an endpoint comparable. Default 50.
    pub request_volume: u32,
    /// Default 0, as in Envoy; 100 in gRPC.
    pub enforcing: u32,
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self { threshold: 85, minimum_hosts: 5, request_volume: 50, enforcing: 0 }
    }
}
