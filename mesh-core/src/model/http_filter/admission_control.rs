//! Refusing by the share of requests that succeed (Envoy:
//! `extensions.filters.http.admission_control.v3.AdmissionControl`).

use crate::model::Fraction;
use std::ops::Range;
use std::time::Duration;

/// Refuses some requests while too few succeed, so that what is overloaded recovers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdmissionControl {
    /// Whether it does anything. Default true.
    pub enabled: bool,
    /// Of the requests that are to be refused, how many are; the others are counted as those that
    /// would have been. Default all; none is the shadow mode. Ours.
    pub enforced: Fraction,
    /// Which statuses of HTTP are a success; half-open ranges. Default 100 to 499.
    pub http_success_status: Vec<Range<u16>>,
    /// Which statuses of gRPC are a success. Default: those that are no fault of the server, as Envoy
    /// lists them.
    pub grpc_success_status: Vec<u32>,
    /// How far back requests count, in whole seconds; at least 1 s. Up to 64 s it moves by the second,
    /// beyond by a 64th. Default 30 s.
    pub sampling_window: Duration,
    /// How steeply refusals grow; what is below 1 counts as 1. Default 1.
    pub aggression: f64,
    /// The share of successes in percent below which requests are refused; more than 0. Default 95.
    pub sr_threshold: f64,
    /// How many requests per second there must be for any to be refused. Default 0.
    pub rps_threshold: u32,
    /// The highest odds of being refused, in percent. Default 80.
    pub max_rejection_probability: f64,
}

impl Default for AdmissionControl {
    fn default() -> Self {
        Self {
            enabled: true,
            enforced: Fraction::ALL,
            http_success_status: std::iter::once(100..500).collect(),
            // Envoy: `SuccessCriteriaEvaluator`.
            grpc_success_status: vec![0, 1, 2, 3, 5, 6, 16, 9, 11, 12],
            sampling_window: Duration::from_secs(30),
            aggression: 1.0,
            sr_threshold: 95.0,
            rps_threshold: 0,
            max_rejection_probability: 80.0,
        }
    }
}
