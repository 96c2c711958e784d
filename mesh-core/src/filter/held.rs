//! What a request holds while it is served, and gives back once.

use super::adaptive_concurrency::CompiledAdaptiveConcurrency;
use super::admission_control::CompiledAdmissionControl;
use super::gauge::Gauge;
use super::pass::End;
use crate::time::Timestamp;
use http::response::Parts;
use smallvec::SmallVec;
use std::sync::Arc;

/// What a request holds, with the place of the filter that gave it. More than two are allocated.
#[derive(Debug, Default)]
pub(super) struct Holds(SmallVec<[(usize, Held); 2]>);

/// One thing that is held.
#[derive(Debug)]
pub(super) enum Held {
    /// A place among those that are inside.
    Place(Arc<Gauge>),
    /// A place below a bound that learns from how long it was held.
    Adaptive { control: Arc<CompiledAdaptiveConcurrency>, started: Timestamp, jitter: f64 },
    /// Whether it succeeds is to be counted.
    Admission(Arc<CompiledAdmissionControl>),
    /// Which bucket its token is from.
    RateKey(u64),
}

impl Holds {
    /// The filter at `at` gave this.
    pub(super) fn take(&mut self, at: usize, held: Held) {
        self.0.push((at, held));
    }

    /// Whether the filter at `at` gave something.
    pub(super) fn has(&self, at: usize) -> bool {
        self.0.iter().any(|(of, _)| *of == at)
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bucket that the filter at `at` looked at.
    pub(super) fn rate_key(&self, at: usize) -> Option<u64> {
        self.0.iter().find_map(|(of, held)| match held {
            Held::RateKey(key) if *of == at => Some(*key),
            _ => None,
        })
    }

    /// The head of the answer is there.
    pub(super) fn see_response(&mut self, response: &Parts, now: Timestamp) {
        self.0.retain(|(_, held)| match held {
            Held::Admission(control) => !control.record_head(response, now),
            Held::Place(_) | Held::Adaptive { .. } | Held::RateKey(_) => true,
        });
    }

    /// Gives everything back; `end` is `None` when nobody said how the request ended.
    #[inline]
    pub(super) fn release(&mut self, end: Option<&End>, now: Timestamp) {
        // Most requests hold nothing, and each is asked twice.
        if self.is_empty() {
            return;
        }
        for (_, held) in self.0.drain(..) {
            held.release(end, now);
        }
    }
}

impl Held {
    fn release(self, end: Option<&End>, now: Timestamp) {
        match self {
            Self::Place(gauge) => gauge.leave(),
            Self::Adaptive { control, started, jitter } => {
                let complete = end.is_some_and(|end| !end.cancelled);
                control.leave(started, complete, jitter, now);
            }
            Self::Admission(control) => control.record_end(end, now),
            Self::RateKey(_) => {}
        }
    }
}
