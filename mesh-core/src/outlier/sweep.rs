//! The sweep: once per interval, over all endpoints of a cluster.
//!
//! ```text
//!  survey: back if its time is over · its interval is taken · out or in, counted
//!     │
//!  compare: success rate, then failure percentage; answers, then (split) local results
//!     │
//!  decay: who was in all along has one off its multiplier
//! ```
//!
//! The order is Envoy's (`onIntervalTimer`): an endpoint that comes back is compared at once, by what
//! it did in the interval, and one that goes out in this sweep keeps its multiplier. What is
//! compared is one full interval; who is out is not compared.

use super::ejection::{Ejector, Found};
use super::monitor::Calls;
use super::{Endpoints, failure_percentage, success_rate};
use crate::Random;
use crate::event::{Evidence, OutlierKind};
use crate::model::OutlierDetection;
use crate::model::outlier_detection::{FailurePercentage, SuccessRate};

/// What one endpoint did in one interval; at least one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) index: u32,
    pub(super) calls: Calls,
}

impl Sample {
    /// In percent.
    pub(super) fn success_rate(&self) -> f64 {
        f64::from(self.calls.successes) * 100.0 / f64::from(self.calls.total)
    }
}

/// What is compared: answers, or local results.
struct Comparison {
    success_rate: Option<SuccessRate>,
    success_rate_kind: OutlierKind,
    failure_percentage: Option<FailurePercentage>,
    failure_percentage_kind: OutlierKind,
}

impl Comparison {
    const fn external(config: &OutlierDetection) -> Self {
        Self {
            success_rate: config.success_rate,
            success_rate_kind: OutlierKind::SuccessRate,
            failure_percentage: config.failure_percentage,
            failure_percentage_kind: OutlierKind::FailurePercentage,
        }
    }

    const fn local(config: &OutlierDetection) -> Self {
        Self {
            success_rate: config.local_origin_success_rate,
            success_rate_kind: OutlierKind::LocalOriginSuccessRate,
            failure_percentage: config.local_origin_failure_percentage,
            failure_percentage_kind: OutlierKind::LocalOriginFailurePercentage,
        }
    }

    fn run<E: Endpoints, R: Random>(&self, samples: &[Sample], ejector: &mut Ejector<'_, E, R>) {
        if let Some(rule) = &self.success_rate {
            let found = success_rate::outliers(rule, samples);
            consider(ejector, self.success_rate_kind, found);
        }
        if let Some(rule) = &self.failure_percentage {
            let found = failure_percentage::outliers(rule, ejector.config.cap_rule, samples);
            consider(ejector, self.failure_percentage_kind, found);
        }
    }
}

/// Ends an interval.
pub(super) fn sweep<E: Endpoints, R: Random>(ejector: &mut Ejector<'_, E, R>) {
    let (external, local) = survey(ejector);
    Comparison::external(ejector.config).run(&external, ejector);
    if ejector.config.split_external_local_origin_errors {
        Comparison::local(ejector.config).run(&local, ejector);
    }
    decay(ejector);
}

fn survey<E: Endpoints, R: Random>(ejector: &mut Ejector<'_, E, R>) -> (Vec<Sample>, Vec<Sample>) {
    let (mut external, mut local) = (Vec::new(), Vec::new());
    for index in 0..ejector.endpoints.count() {
        ejector.uneject_if_served(index);
        ejector.survey(index);
        let monitor = ejector.endpoints.monitor(index);
        // Taken from those that are out as well: what they did then is not of the next interval.
        let (answers, connections) = (monitor.take_external(), monitor.take_local());
        if monitor.is_ejected() {
            continue;
        }
        if answers.total > 0 {
            external.push(Sample { index, calls: answers });
        }
        if connections.total > 0 {
            local.push(Sample { index, calls: connections });
        }
    }
    (external, local)
}

fn consider<E: Endpoints, R: Random>(
    ejector: &mut Ejector<'_, E, R>,
    kind: OutlierKind,
    found: Vec<(u32, Evidence)>,
) {
    for (index, evidence) in found {
        // One that another rule has just taken out is not found again.
        ejector.consider(Found { index, kind, evidence });
    }
}

fn decay<E: Endpoints, R: Random>(ejector: &Ejector<'_, E, R>) {
    for index in 0..ejector.endpoints.count() {
        let monitor = ejector.endpoints.monitor(index);
        let multiplier = monitor.multiplier();
        if multiplier > 0 && !monitor.is_ejected() && monitor.changed_at() < ejector.now {
            monitor.set_multiplier(multiplier - 1);
        }
    }
}
