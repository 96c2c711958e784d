//! A bound on requests in service that follows their latency (Envoy:
//! `extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency`).

use crate::model::Fraction;
use http::StatusCode;
use std::time::Duration;

/// The gradient controller: the bound grows while latency stays near the least that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AdaptiveConcurrency {
    /// Whether it does anything. Default true.
    pub enabled: bool,
    /// Of the requests beyond the bound, how many are refused; the others are counted as those that
    /// would have been. Default all; none is the shadow mode. Ours.
    pub enforced: Fraction,
    /// What is answered (Envoy: `concurrency_limit_exceeded_status`, of which less than 400 is 503).
    /// Default 503.
    pub status: StatusCode,
    /// Which latency of a window counts, in percent. Default 50.
    pub sample_aggregate_percentile: f64,
    /// The highest bound; at least 1. Default 1000.
    pub max_concurrency_limit: u32,
    /// The lowest bound; `None`: as `min_concurrency`.
    pub min_concurrency_limit: Option<u32>,
    /// How often the bound is calculated; more than zero.
    pub concurrency_update_interval: Duration,
    /// How the least latency is learnt.
    pub min_rtt: MinRtt,
    /// The bound while the least latency is measured, and at the start; at least 1. Default 3.
    pub min_concurrency: u32,
    /// How much latency may exceed the least without the bound falling, in percent of it. Default 25.
    pub buffer: f64,
}

/// How the least latency is learnt (Envoy: `MinimumRTTCalculationParams`).
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy: sampled, or fixed")]
pub enum MinRtt {
    /// It is measured again and again.
    Sampled {
        /// How long after one measurement the next begins; at least 1 ms.
        interval: Duration,
        /// How many requests a measurement takes; at least 1. Envoy's default 50.
        request_count: u32,
        /// How much later it may begin, drawn evenly, in percent of the interval. Envoy's default 15.
        jitter: f64,
    },
    /// It is this (Envoy: `fixed_value`).
    Fixed(Duration),
}

impl AdaptiveConcurrency {
    /// Envoy's defaults, with the two intervals that have none.
    #[must_use]
    pub const fn new(concurrency_update_interval: Duration, min_rtt_interval: Duration) -> Self {
        Self {
            enabled: true,
            enforced: Fraction::ALL,
            status: StatusCode::SERVICE_UNAVAILABLE,
            sample_aggregate_percentile: 50.0,
            max_concurrency_limit: 1000,
            min_concurrency_limit: None,
            concurrency_update_interval,
            min_rtt: MinRtt::Sampled {
                interval: min_rtt_interval,
                request_count: 50,
                jitter: 15.0,
            },
            min_concurrency: 3,
            buffer: 25.0,
        }
    }
}
