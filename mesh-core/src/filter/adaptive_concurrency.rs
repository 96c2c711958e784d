//! A bound on requests in service that follows their latency (Envoy: `adaptive_concurrency`,
//! `GradientController`).
//!
//! ```text
//!  gradient = clamp(minRTT · (1 + buffer) / sampleRTT, 0.5, 2)
//!  limit    = clamp(limit · gradient + √(limit · gradient), min, max)      each update interval
//! ```
//!
//! `minRTT` is measured again and again, with the bound at `min_concurrency` meanwhile; also when the
//! bound was the lowest five times in a row, for then the last measurement was likely wrong. Envoy has
//! timers for all this; here whoever passes when something is due does it, one at a time and nobody
//! waits for him. Only complete answers are samples. Another configuration goes on with what was
//! learnt.

use super::chain::FilterErrorKind;
use super::gauge::Gauge;
use super::held::Held;
use super::histogram::Histogram;
use super::pass::{Call, FilterContext, FilterObserver, Limit, Step, Told};
use super::reply::FilterReply;
use crate::model::AdaptiveConcurrency;
use crate::model::http_filter::MinRtt;
use crate::random::Random;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::time::{Timestamp, saturating_nanos};
use std::sync::Arc;
use std::time::Duration;

/// The parameters, and what was learnt.
#[derive(Debug)]
pub(super) struct CompiledAdaptiveConcurrency {
    model: Arc<AdaptiveConcurrency>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    inside: Arc<Gauge>,
    /// The bound, but for measurements: they do not change it.
    limit: AtomicU32,
    /// The least latency is being measured (Envoy: `deferred_limit_value_` is not 0).
    measuring: AtomicBool,
    /// Samples since the histogram was empty.
    samples: AtomicU32,
    /// How often in a row the bound was the lowest.
    lowest: AtomicU32,
    /// In nanoseconds; 0: not known yet.
    min_rtt: AtomicU64,
    /// Requests that began before are no samples.
    epoch: AtomicU64,
    /// When the next measurement begins.
    measure_at: AtomicU64,
    /// When the bound is calculated next.
    update_at: AtomicU64,
    /// Somebody is about a change.
    busy: AtomicBool,
    latencies: Histogram,
}

/// So many times at the lowest bound, and the least latency is measured again.
const LOWEST_IN_A_ROW: u32 = 5;

impl CompiledAdaptiveConcurrency {
    pub(super) fn new(
        model: &Arc<AdaptiveConcurrency>,
        before: Option<&Self>,
    ) -> Result<Self, FilterErrorKind> {
        check(model).map_err(|(field, rule)| FilterErrorKind::Value { field, rule })?;
        let state = match before {
            Some(before) => Arc::clone(&before.state),
            None => Arc::new(State::new(model)),
        };
        Ok(Self { model: Arc::clone(model), state })
    }

    pub(super) fn ask(
        self: &Arc<Self>,
        call: &mut Call<'_>,
        cx: &FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let model = &*self.model;
        if !model.enabled {
            return None;
        }
        self.do_what_is_due(cx.now);
        let fits = self.state.inside.enter(self.limit());
        if !fits && model.enforced.takes(call.random.next_u64()) {
            observer.told(call.name, Told::Limit(Limit::Limited));
            let reply = FilterReply::limited(
                call.name,
                model.status,
                "reached_concurrency_limit",
                "reached concurrency limit",
            );
            return Some(Step::Reply(Box::new(reply)));
        }
        if !fits {
            self.state.inside.enter_beyond();
        }
        let jitter = call.random.unit();
        let held = Held::Adaptive { control: Arc::clone(self), started: cx.now, jitter };
        call.holds.take(call.at, held);
        let limit = if fits { Limit::Allowed } else { Limit::WouldBeLimited };
        observer.told(call.name, Told::Limit(limit));
        None
    }

    /// The bound that holds.
    pub(super) fn limit(&self) -> u32 {
        if self.is_measuring() {
            return self.model.min_concurrency;
        }
        let limit = self.state.limit.load(Ordering::Relaxed);
        limit.clamp(self.lowest(), self.model.max_concurrency_limit)
    }

    /// A request is over that began at `started`; `complete`: it was answered to the end. `jitter` is
    /// drawn from `[0, 1)`.
    pub(super) fn leave(&self, started: Timestamp, complete: bool, jitter: f64, now: Timestamp) {
        let state = &*self.state;
        state.inside.leave();
        if !complete || started.as_nanos() < state.epoch.load(Ordering::Relaxed) {
            return;
        }
        let latency = saturating_nanos(now.saturating_duration_since(started));
        state.latencies.insert(latency);
        let samples = state.samples.fetch_add(1, Ordering::Relaxed) + 1;
        if let MinRtt::Sampled { interval, request_count, jitter: most } = self.model.min_rtt
            && samples >= request_count
            && self.is_measuring()
        {
            // However long it is: what is over the end of time is never.
            let more = interval.as_secs_f64() * (most / 100.0 * jitter);
            let more = Duration::try_from_secs_f64(more).unwrap_or(Duration::MAX);
            let wait = interval.saturating_add(more);
            state.one_at_a_time(|| self.end_measurement(wait, now));
        }
    }

    fn is_measuring(&self) -> bool {
        let measures = matches!(self.model.min_rtt, MinRtt::Sampled { .. });
        measures && self.state.measuring.load(Ordering::Relaxed)
    }

    /// In nanoseconds.
    fn min_rtt(&self) -> u64 {
        match self.model.min_rtt {
            MinRtt::Sampled { .. } => self.state.min_rtt.load(Ordering::Relaxed),
            MinRtt::Fixed(fixed) => saturating_nanos(fixed),
        }
    }

    fn lowest(&self) -> u32 {
        let lowest = self.model.min_concurrency_limit.unwrap_or(self.model.min_concurrency);
        lowest.min(self.model.max_concurrency_limit)
    }

    /// What Envoy's timers do. While the least latency is measured, nothing is due.
    fn do_what_is_due(&self, now: Timestamp) {
        let state = &*self.state;
        let nanos = now.as_nanos();
        let measures = matches!(self.model.min_rtt, MinRtt::Sampled { .. });
        let is_due = |at: &AtomicU64| nanos >= at.load(Ordering::Relaxed);
        if !(measures && is_due(&state.measure_at) || is_due(&state.update_at)) {
            return;
        }
        if self.is_measuring() {
            return;
        }
        state.one_at_a_time(|| {
            if self.is_measuring() {
                return;
            }
            if measures && is_due(&state.measure_at) {
                self.begin_measurement(now);
            } else if is_due(&state.update_at) {
                self.update_limit();
                let next = now + self.model.concurrency_update_interval;
                state.update_at.store(next.as_nanos(), Ordering::Relaxed);
                if state.lowest.load(Ordering::Relaxed) >= LOWEST_IN_A_ROW {
                    state.measure_at.store(nanos, Ordering::Relaxed);
                }
            }
        });
    }

    /// Envoy: `enterMinRTTSamplingWindow`.
    fn begin_measurement(&self, now: Timestamp) {
        let state = &*self.state;
        state.measuring.store(true, Ordering::Relaxed);
        state.lowest.store(0, Ordering::Relaxed);
        state.clear();
        state.epoch.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// Envoy: `updateMinRTT`.
    fn end_measurement(&self, wait: Duration, now: Timestamp) {
        let state = &*self.state;
        if !self.is_measuring() {
            return;
        }
        if let Some(rtt) = state.take_percentile(self.model.sample_aggregate_percentile) {
            state.min_rtt.store(rtt, Ordering::Relaxed);
        }
        let update = now + self.model.concurrency_update_interval;
        state.update_at.store(update.as_nanos(), Ordering::Relaxed);
        state.measure_at.store((now + wait).as_nanos(), Ordering::Relaxed);
        state.measuring.store(false, Ordering::Relaxed);
    }

    /// Envoy: `resetSampleWindow`, `updateConcurrencyLimit`.
    fn update_limit(&self) {
        let state = &*self.state;
        let percentile = self.model.sample_aggregate_percentile;
        let Some(sample) = state.take_percentile(percentile) else { return };
        let before = self.limit();
        let limit = self.next_limit(before, self.min_rtt(), sample);
        state.limit.store(limit, Ordering::Relaxed);
        let lowest = self.lowest();
        if before == lowest && limit == lowest {
            state.lowest.fetch_add(1, Ordering::Relaxed);
        } else {
            state.lowest.store(0, Ordering::Relaxed);
        }
    }

    /// Envoy: `calculateNewLimit`.
    fn next_limit(&self, limit: u32, min_rtt: u64, sample: u64) -> u32 {
        let buffered = min_rtt as f64 * (1.0 + self.model.buffer / 100.0);
        let gradient = (buffered / sample.max(1) as f64).clamp(0.5, 2.0);
        let limit = f64::from(limit) * gradient;
        // A fraction is cut off.
        let next = (limit + limit.sqrt()) as u32;
        next.clamp(self.lowest(), self.model.max_concurrency_limit)
    }

    #[cfg(test)]
    pub(super) fn inside(&self) -> u32 {
        self.state.inside.inside()
    }
}

impl State {
    fn new(model: &AdaptiveConcurrency) -> Self {
        Self {
            inside: Arc::default(),
            limit: AtomicU32::new(model.min_concurrency),
            // It begins with a measurement.
            measuring: AtomicBool::new(true),
            samples: AtomicU32::new(0),
            lowest: AtomicU32::new(0),
            min_rtt: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            measure_at: AtomicU64::new(0),
            update_at: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            latencies: Histogram::default(),
        }
    }

    /// Does `change`, unless somebody else is about one.
    fn one_at_a_time(&self, change: impl FnOnce()) {
        if !self.busy.swap(true, Ordering::Acquire) {
            change();
            self.busy.store(false, Ordering::Release);
        }
    }

    fn take_percentile(&self, percent: f64) -> Option<u64> {
        self.samples.store(0, Ordering::Relaxed);
        // A request takes some time, whatever the clock can tell.
        self.latencies.take_percentile(percent).map(|nanos| nanos.max(1))
    }

    fn clear(&self) {
        self.samples.store(0, Ordering::Relaxed);
        self.latencies.clear();
    }
}

/// What the parameters have to be.
fn check(model: &AdaptiveConcurrency) -> Result<(), (&'static str, &'static str)> {
    let percent = 0.0..=100.0;
    if !percent.contains(&model.sample_aggregate_percentile) {
        return Err((
            "gradient_controller_config.sample_aggregate_percentile",
            "it is not within 0 and 100",
        ));
    }
    if !percent.contains(&model.buffer) {
        return Err((
            "gradient_controller_config.min_rtt_calc_params.buffer",
            "it is not within 0 % and 100 %",
        ));
    }
    if model.min_concurrency == 0 || model.min_concurrency_limit == Some(0) {
        return Err((
            "gradient_controller_config.min_rtt_calc_params.min_concurrency",
            "it is 0, and nothing would be learnt: at least 1",
        ));
    }
    if model.max_concurrency_limit == 0 {
        return Err((
            "gradient_controller_config.concurrency_limit_params.max_concurrency_limit",
            "it is 0, and nothing would pass: at least 1",
        ));
    }
    if model.concurrency_update_interval.is_zero() {
        return Err((
            "gradient_controller_config.concurrency_limit_params.concurrency_update_interval",
            "it is 0 s: more than that",
        ));
    }
    match model.min_rtt {
        MinRtt::Sampled { interval, .. } if interval < Duration::from_millis(1) => Err((
            "gradient_controller_config.min_rtt_calc_params.interval",
            "it is less than 1 ms; for none, say a fixed value",
        )),
        MinRtt::Sampled { request_count: 0, .. } => Err((
            "gradient_controller_config.min_rtt_calc_params.request_count",
            "it is 0, and nothing would be learnt: at least 1",
        )),
        MinRtt::Sampled { jitter, .. } if !percent.contains(&jitter) => Err((
            "gradient_controller_config.min_rtt_calc_params.jitter",
            "it is not within 0 % and 100 %",
        )),
        MinRtt::Fixed(fixed) if fixed.is_zero() => Err((
            "gradient_controller_config.min_rtt_calc_params.fixed_value",
            "it is 0 s: more than that",
        )),
        MinRtt::Sampled { .. } | MinRtt::Fixed(_) => Ok(()),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
