//! What a request holds while it is served, and gives back once.

use super::gauge::Gauge;
use super::pass::End;
use crate::time::Timestamp;
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
}

impl Holds {
    /// The filter at `at` gave this.
    pub(super) fn take(&mut self, at: usize, held: Held) {
        self.0.push((at, held));
    }

    /// Gives everything back; `end` is `None` when nobody said how the request ended.
    pub(super) fn release(&mut self, end: Option<&End>, now: Timestamp) {
        for (_, held) in self.0.drain(..) {
            held.release(end, now);
        }
    }
}

impl Held {
    fn release(self, _end: Option<&End>, _now: Timestamp) {
        match self {
            Self::Place(gauge) => gauge.leave(),
        }
    }
}
