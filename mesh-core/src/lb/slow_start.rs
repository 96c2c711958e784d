//! Slow start: a new endpoint takes its share gradually.
//!
//! Its weight is multiplied by max(min, (age / window)^(1 / aggression)) (Envoy: `SlowStartConfig`),
//! with an age of at least 1 ms. Round robin, random, least request and peak EWMA heed it; consistent
//! hashing does not, as in Envoy.
//!
//! Nothing is rebuilt as time goes by: an endpoint that was drawn is *admitted* with the probability
//! of its factor, and another is drawn if it is not. That gives the same shares as smaller weights.
//! When nobody is admitted in [`DRAWS`] draws (nearly all are new, and very), up to [`COUNTED`]
//! candidates are weighed one by one, which gives the shares exactly. Beyond that many, draws go on up
//! to [`MOST_DRAWS`], and the last one is taken: with nearly all of thousands new and at one percent, an
//! old one then gets a few percent less than its share.

use super::error::{LbError, integer, number};
use super::{Loads, PickContext};
use crate::model::SlowStart;
use crate::random::Random;
use crate::time::saturating_nanos;

/// Draws for one candidate before anything else is done.
pub(super) const DRAWS: u32 = 32;

/// Most draws where candidates are too many to be weighed.
pub(super) const MOST_DRAWS: u32 = 256;

/// Most candidates that are weighed one by one.
pub(super) const COUNTED: usize = 512;

const MILLISECOND: u64 = 1_000_000;

/// A checked [`SlowStart`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    window: u64,
    exponent: f64,
    least: f64,
}

impl Curve {
    pub(super) fn new(slow_start: &SlowStart) -> Result<Self, LbError> {
        let SlowStart { window, aggression, min_weight_percent: least } = *slow_start;
        number(
            aggression > 0.0 && aggression.is_finite(),
            "slow_start.aggression",
            aggression,
            "must be above 0 and finite",
        )?;
        integer(
            least <= 100,
            "slow_start.min_weight_percent",
            u64::from(least),
            "must be at most 100",
        )?;
        let least = f64::from(least) / 100.0;
        Ok(Self { window: saturating_nanos(window), exponent: 1.0 / aggression, least })
    }

    /// What an endpoint's weight is multiplied by at this age in nanoseconds.
    fn factor_at(&self, age: u64) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let part = age.max(MILLISECOND) as f64 / self.window as f64;
        part.powf(self.exponent).max(self.least).min(1.0)
    }

    /// What the weight of the endpoint at `index` is multiplied by now.
    pub(super) fn factor<R>(&self, index: u32, cx: &PickContext<'_, R>, loads: &impl Loads) -> f64 {
        let since = loads.available_since(index);
        self.factor_at(cx.now.as_nanos().saturating_sub(since.as_nanos()))
    }

    /// Whether the endpoint at `index`, having been drawn, is taken.
    pub(super) fn admits<R: Random>(
        &self,
        index: u32,
        cx: &mut PickContext<'_, R>,
        loads: &impl Loads,
    ) -> bool {
        let factor = self.factor(index, cx, loads);
        factor >= 1.0 || cx.random.unit() < factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn curve(aggression: f64, least: u32) -> Result<Curve, LbError> {
        let mut slow_start = SlowStart::new(Duration::from_secs(10));
        slow_start.aggression = aggression;
        slow_start.min_weight_percent = least;
        Curve::new(&slow_start)
    }

    #[test]
    fn the_factor_grows_from_the_least_to_one() {
        for (aggression, seconds, factor) in [
            (1.0, 0, 0.1),
            (1.0, 1, 0.1),
            (1.0, 5, 0.5),
            (2.0, 4, 0.632_455_532),
            (0.5, 5, 0.25),
            (1.0, 10, 1.0),
            (1.0, 4000, 1.0),
        ] {
            let got = curve(aggression, 10).unwrap().factor_at(seconds * 1_000_000_000);
            assert!((got - factor).abs() < 1e-6, "{aggression} {seconds}: {got}");
        }
    }

    #[test]
    fn no_window_is_no_slow_start() {
        let curve = Curve::new(&SlowStart::new(Duration::ZERO)).unwrap();
        assert!(curve.factor_at(0) >= 1.0);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for (aggression, least) in [(0.0, 10), (-1.0, 10), (f64::NAN, 10), (f64::INFINITY, 10)] {
            let error = curve(aggression, least).unwrap_err();
            assert!(matches!(error, LbError::Number { field: "slow_start.aggression", .. }));
        }
        let error = curve(1.0, 101).unwrap_err();
        assert_eq!(error.to_string(), "slow_start.min_weight_percent is 101: must be at most 100");
    }
}
