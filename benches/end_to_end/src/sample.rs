//! Numbers: one turn's, and what many turns say together.

use crate::load::Run;
use serde::Serialize;
use std::time::Duration;

/// What one turn of one client measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Calls per second.
    pub rate: f64,
    /// Client CPU time per call, in microseconds.
    pub cpu: f64,
    /// Median latency, in microseconds.
    pub p50: f64,
    /// 99th percentile of latency, in microseconds.
    pub p99: f64,
}

impl Sample {
    /// Of a run that cost the client `cpu`.
    pub fn of(run: &mut Run, cpu: Duration) -> Self {
        run.latencies.sort_unstable();
        let calls = run.latencies.len() as f64;
        let percentile = |share: f64| {
            let rank = (share * calls).ceil().max(1.0) as usize;
            run.latencies.get(rank - 1).map_or(f64::NAN, |nanos| f64::from(*nanos) / 1e3)
        };
        Self {
            rate: calls / run.elapsed.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / calls,
            p50: percentile(0.50),
            p99: percentile(0.99),
        }
    }
}

/// One quantity of one client over all rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantity {
    /// Median of the measured values.
    pub median: f64,
    /// Median of the ratios to the base, each within its round.
    pub ratio: f64,
    /// Quartiles of those ratios: half of the rounds lie between them.
    pub quartiles: [f64; 2],
}

impl Quantity {
    /// `values` beside `base`, round by round.
    pub fn paired(values: &[f64], base: &[f64]) -> Self {
        let ratios: Vec<_> = values.iter().zip(base).map(|(value, base)| value / base).collect();
        Self {
            median: quantile(values, 0.5),
            ratio: quantile(&ratios, 0.5),
            quartiles: [quantile(&ratios, 0.25), quantile(&ratios, 0.75)],
        }
    }
}

/// The quantile of `values`, interpolated between neighbours.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual} is not {expected}");
    }

    #[test]
    fn quantiles_interpolate() {
        check(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        check(quantile(&[4.0, 1.0, 2.0, 3.0], 0.5), 2.5);
        check(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.25), 2.0);
        check(quantile(&[7.0], 0.75), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn ratios_are_paired_by_round() {
        // The machine slows down from round to round; the ratio does not.
        let quantity = Quantity::paired(&[110.0, 55.0, 22.0], &[100.0, 50.0, 20.0]);
        check(quantity.ratio, 1.1);
        check(quantity.median, 55.0);
        check(quantity.quartiles[0], 1.1);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let latencies = (1..=100).rev().map(|micros| micros * 1000).collect();
        let mut run = Run { elapsed: Duration::from_millis(10), latencies };
        let sample = Sample::of(&mut run, Duration::from_micros(500));
        check(sample.p50, 50.0);
        check(sample.p99, 99.0);
        check(sample.rate, 10_000.0);
        check(sample.cpu, 5.0);
    }
}
