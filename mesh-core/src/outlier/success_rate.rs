//! Success rate: an endpoint far below the cluster's average is an outlier.
//!
//! No fixed bound fits every cluster: 2 % of failures may be its normal state. Compared with the
//! others, one that is worse stands out whatever the normal state is.
//!
//! Rules (Envoy: `processSuccessRateEjections`, `successRateEjectionThreshold`; gRFC A50, "Success
//! Rate Algorithm"): only endpoints with `request_volume` calls in the interval are compared, and
//! only if there are `minimum_hosts` of them; threshold = mean − `stdev_factor` / 1000 · standard
//! deviation of the population; strictly below it is an outlier. Rounding makes nobody an outlier:
//! less than 10⁻⁹ percent below is not below.
//!
//! The worst come first, so that a cap is spent on them; Envoy and gRPC leave the order open.

use super::sweep::Sample;
use crate::event::Evidence;
use crate::model::outlier_detection::SuccessRate;

/// What rounding may add up to, in percent.
const EPSILON: f64 = 1e-9;

/// The outliers among `samples`, the worst first.
pub(super) fn outliers(rule: &SuccessRate, samples: &[Sample]) -> Vec<(u32, Evidence)> {
    let comparable = || samples.iter().filter(|sample| sample.calls.total >= rule.request_volume);
    let count = comparable().count();
    if count == 0 || count < rule.minimum_hosts as usize {
        return Vec::new();
    }
    let (average, threshold) =
        ejection_threshold(comparable().map(Sample::success_rate), rule.stdev_factor);
    let mut found: Vec<_> = comparable()
        .map(|sample| (sample, sample.success_rate()))
        .filter(|(_, rate)| *rate < threshold - EPSILON)
        .collect();
    found.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let evidence = |(sample, rate): (&Sample, f64)| {
        let volume = sample.calls.total;
        (sample.index, Evidence::SuccessRate { rate, average, threshold, volume })
    };
    found.into_iter().map(evidence).collect()
}

/// The mean of `rates`, which are not empty, and the rate below which an endpoint is an outlier.
fn ejection_threshold(rates: impl Iterator<Item = f64> + Clone, stdev_factor: u32) -> (f64, f64) {
    let count = rates.clone().count() as f64;
    let mean = rates.clone().sum::<f64>() / count;
    let variance = rates.map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, mean - f64::from(stdev_factor) / 1000.0 * variance.sqrt())
}

#[cfg(test)]
mod tests;
