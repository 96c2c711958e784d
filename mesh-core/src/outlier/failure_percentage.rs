//! Failure percentage: an endpoint whose share of failures reaches a fixed bound is an outlier.
//!
//! It finds what comparison can't: when half of a cluster fails, no endpoint is far from the
//! average.
//!
//! Rules (Envoy: `processSuccessRateEjections`; gRFC A50, "Failure Percentage Algorithm"): only
//! endpoints with `request_volume` calls in the interval count, and only if there are
//! `minimum_hosts` of them (so do the gRPC implementations, though A50 counts all addresses). Envoy
//! ejects at the threshold or above, gRPC above it; [`CapRule`] says whose rules are followed.
//!
//! The worst come first, so that a cap is spent on them.

use super::sweep::Sample;
use crate::event::Evidence;
use crate::model::outlier_detection::{CapRule, FailurePercentage};

/// The outliers among `samples`, the worst first.
pub(super) fn outliers(
    rule: &FailurePercentage,
    dialect: CapRule,
    samples: &[Sample],
) -> Vec<(u32, Evidence)> {
    let countable = || samples.iter().filter(|sample| sample.calls.total >= rule.request_volume);
    let count = countable().count();
    if count == 0 || count < rule.minimum_hosts as usize {
        return Vec::new();
    }
    let mut found: Vec<_> = countable()
        .filter(|sample| is_outlier(rule.threshold, dialect, sample))
        .map(|sample| (sample, 100.0 - sample.success_rate()))
        .collect();
    found.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let evidence = |(sample, percentage): (&Sample, f64)| {
        let (threshold, volume) = (rule.threshold, sample.calls.total);
        (sample.index, Evidence::FailurePercentage { percentage, threshold, volume })
    };
    found.into_iter().map(evidence).collect()
}

/// In whole numbers: 85 of 100 is exactly 85 percent.
fn is_outlier(threshold: u32, dialect: CapRule, sample: &Sample) -> bool {
    let failures = u64::from(sample.calls.failures()) * 100;
    let bound = u64::from(threshold) * u64::from(sample.calls.total);
    match dialect {
        CapRule::Envoy => failures >= bound,
        CapRule::Grpc => failures > bound,
    }
}

#[cfg(test)]
mod tests;
