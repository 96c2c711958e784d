//! [`Rules`]: what the call path needs to know of the configuration, compiled and copied.
//!
//! Which of the counters are kept, and at which values the writer is woken. Everything else of
//! [`OutlierDetection`] is read by the sweep only.

use crate::model::OutlierDetection;
use std::time::Duration;

/// What [`Monitor::record`](super::Monitor::record) counts, and when it asks for attention.
///
/// Plain and small: a picker or a cluster holds a copy, and a call reads it without a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// 0: not watched.
    pub(super) consecutive_5xx: u32,
    /// 0: not watched.
    pub(super) consecutive_gateway_failure: u32,
    /// 0: not watched; only when split.
    pub(super) consecutive_local_origin_failure: u32,
    /// Local failures are counted apart.
    pub(super) split: bool,
    /// The sweep compares answers.
    pub(super) counts_external: bool,
    /// The sweep compares local failures; only when split.
    pub(super) counts_local: bool,
    pub(super) count_cancelled_after: Option<Duration>,
}

impl Rules {
    /// Nothing is watched; the default.
    pub const OFF: Self = Self {
        consecutive_5xx: 0,
        consecutive_gateway_failure: 0,
        consecutive_local_origin_failure: 0,
        split: false,
        counts_external: false,
        counts_local: false,
        count_cancelled_after: None,
    };

    /// The rules of `config`. A consecutive threshold of 0 is not watched (Envoy: a counter is
    /// compared after it was increased), and call counts that nothing compares are not kept
    /// (gRFC A50, "the picker should not do that counting").
    #[must_use]
    pub fn new(config: &OutlierDetection) -> Self {
        let split = config.split_external_local_origin_errors;
        let local = if split { config.consecutive_local_origin_failure } else { None };
        Self {
            consecutive_5xx: config.consecutive_5xx.unwrap_or(0),
            consecutive_gateway_failure: config.consecutive_gateway_failure.unwrap_or(0),
            consecutive_local_origin_failure: local.unwrap_or(0),
            split,
            counts_external: config.success_rate.is_some() || config.failure_percentage.is_some(),
            counts_local: split
                && (config.local_origin_success_rate.is_some()
                    || config.local_origin_failure_percentage.is_some()),
            count_cancelled_after: config.count_cancelled_after,
        }
    }

    /// Whether anything is watched at all.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        !(self.watches_streak()
            || self.consecutive_local_origin_failure > 0
            || self.counts_external
            || self.counts_local)
    }

    /// Whether server errors in a row are watched.
    pub(super) const fn watches_streak(&self) -> bool {
        self.consecutive_5xx > 0 || self.consecutive_gateway_failure > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_reads_is_off() {
        let mut config = OutlierDetection::default();
        assert!(!Rules::new(&config).is_off());
        config.consecutive_5xx = None;
        config.consecutive_gateway_failure = Some(0);
        config.success_rate = None;
        // Local kinds are left, and nothing is split.
        assert_eq!(Rules::new(&config), Rules::OFF);
        config.split_external_local_origin_errors = true;
        assert!(!Rules::new(&config).is_off());
        assert!(Rules::OFF.is_off());
        assert_eq!(Rules::default(), Rules::OFF);
    }
}
