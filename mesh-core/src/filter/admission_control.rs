//! Refusing by the share of requests that succeed (Envoy: `admission_control`).
//!
//! ```text
//!  p = max(0, (requests − successes / sr_threshold) / (requests + 1)) ^ (1 / aggression)
//! ```
//!
//! and at most `max_rejection_probability`. What is refused here is not counted, or refusals would
//! call for more of them; a request without an answer is a failure. Another configuration goes on
//! with the counts, if its window is as long.

use super::chain::FilterErrorKind;
use super::held::Held;
use super::pass::{Call, End, FilterContext, FilterObserver, Limit, Step, Told};
use super::reply::FilterReply;
use super::success_window::{Counts, SuccessWindow};
use crate::head::is_grpc_content_type;
use crate::model::AdmissionControl;
use crate::outcome::grpc_status;
use crate::random::Random;
use crate::time::Timestamp;
use http::{StatusCode, response::Parts};
use std::sync::Arc;
use std::time::Duration;

/// The rules, and what was counted.
#[derive(Debug)]
pub(super) struct CompiledAdmissionControl {
    model: Arc<AdmissionControl>,
    window: Arc<SuccessWindow>,
}

/// The longest window: an hour.
const LONGEST: Duration = Duration::from_secs(3600);

impl CompiledAdmissionControl {
    pub(super) fn new(
        model: &Arc<AdmissionControl>,
        before: Option<&Self>,
    ) -> Result<Self, FilterErrorKind> {
        let value = |field, rule| Err(FilterErrorKind::Value { field, rule });
        if !(Duration::from_secs(1)..=LONGEST).contains(&model.sampling_window) {
            return value("sampling_window", "it is not within 1 s and 1 h");
        }
        if !(model.sr_threshold > 0.0 && model.sr_threshold <= 100.0) {
            return value("sr_threshold", "it is not more than 0 % and at most 100 %");
        }
        if !(0.0..=100.0).contains(&model.max_rejection_probability) {
            return value("max_rejection_probability", "it is not within 0 % and 100 %");
        }
        if !model.aggression.is_finite() {
            return value("aggression", "it is no number");
        }
        let same = |before: &&Self| before.model.sampling_window == model.sampling_window;
        let window = match before.filter(same) {
            Some(before) => Arc::clone(&before.window),
            None => Arc::new(SuccessWindow::new(model.sampling_window)),
        };
        Ok(Self { model: Arc::clone(model), window })
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
        let counts = self.window.counts(cx.now);
        let refused = requests_per_second(&counts) >= u64::from(model.rps_threshold)
            && call.random.unit() < odds(model, &counts);
        if refused && model.enforced.takes(call.random.next_u64()) {
            observer.told(call.name, Told::Limit(Limit::Limited));
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let reply = FilterReply::limited(call.name, status, "denied_by_admission_control", "");
            return Some(Step::Reply(Box::new(reply)));
        }
        call.holds.take(call.at, Held::Admission(Arc::clone(self)));
        let limit = if refused { Limit::WouldBeLimited } else { Limit::Allowed };
        observer.told(call.name, Told::Limit(limit));
        None
    }

    /// Counts by the head of an answer; `false`: only its end tells.
    pub(super) fn record_head(&self, response: &Parts, now: Timestamp) -> bool {
        let is_grpc = is_grpc_content_type(&response.headers) && response.status == StatusCode::OK;
        let success = match (is_grpc, grpc_status(&response.headers)) {
            (false, _) => self.is_http_success(response.status),
            (true, Some(status)) => self.is_grpc_success(status),
            (true, None) => return false,
        };
        self.window.record(success, now);
        true
    }

    /// Counts by the end of an answer whose head did not tell; `None`: it never ended.
    pub(super) fn record_end(&self, end: Option<&End>, now: Timestamp) {
        let success = end.is_some_and(|end| match (end.grpc_status, end.cancelled) {
            (Some(status), _) => self.is_grpc_success(status),
            (None, _) => false,
        });
        self.window.record(success, now);
    }

    fn is_http_success(&self, status: StatusCode) -> bool {
        self.model.http_success_status.iter().any(|range| range.contains(&status.as_u16()))
    }

    fn is_grpc_success(&self, status: u32) -> bool {
        self.model.grpc_success_status.contains(&status)
    }
}

/// Envoy: `ThreadLocalControllerImpl::averageRps`.
fn requests_per_second(counts: &Counts) -> u64 {
    counts.requests / counts.age.as_secs().max(1)
}

/// The odds of being refused (Envoy: `AdmissionControlFilter::shouldRejectRequest`).
fn odds(model: &AdmissionControl, counts: &Counts) -> f64 {
    let (requests, successes) = (counts.requests as f64, counts.successes as f64);
    let odds = (requests - successes / (model.sr_threshold / 100.0)) / (requests + 1.0);
    let odds = odds.max(0.0).powf(1.0 / model.aggression.max(1.0));
    odds.min(model.max_rejection_probability / 100.0)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
