//! Virtual time: what is due next, in one order for every run of a seed.

use mesh_core::Timestamp;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Events by their time; those of one instant in the order in which they were planned.
#[derive(Debug)]
pub(super) struct Clock<E> {
    now: Timestamp,
    planned: u64,
    queue: BinaryHeap<Due<E>>,
}

#[derive(Debug)]
struct Due<E> {
    at: Timestamp,
    order: u64,
    event: E,
}

impl<E> Clock<E> {
    pub(super) const fn new() -> Self {
        Self { now: Timestamp::ZERO, planned: 0, queue: BinaryHeap::new() }
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Plans `event`; what is planned for the past happens now.
    pub(super) fn plan(&mut self, at: Timestamp, event: E) {
        self.planned += 1;
        self.queue.push(Due { at: at.max(self.now), order: self.planned, event });
    }

    /// The next event, at which it now is.
    pub(super) fn next(&mut self) -> Option<E> {
        let due = self.queue.pop()?;
        self.now = due.at;
        Some(due.event)
    }
}

impl<E> Ord for Due<E> {
    /// The earliest is the greatest: a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<E> PartialOrd for Due<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Due<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Due<E> {}
