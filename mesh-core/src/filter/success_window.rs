//! [`SuccessWindow`]: how many requests succeeded lately.
//!
//! A ring of buckets of a second or more, each one word: the number of its time slot, requests and
//! successes. So a count is never seen apart from its slot, and nothing has to be cleared. Envoy keeps
//! one such history for each of its threads; here there is one for the process.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::{Timestamp, saturating_nanos};
use std::time::Duration;

/// Requests and successes of the last while.
#[derive(Debug)]
pub(super) struct SuccessWindow {
    buckets: Box<[AtomicU64]>,
    /// How long a bucket is, in nanoseconds.
    width: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) successes: u64,
    /// From the beginning of the oldest bucket until now.
    pub(super) age: Duration,
}

/// A bucket: the number of the slot in the upper 20 bits, then 22 for requests, 22 for successes.
#[derive(Clone, Copy)]
struct Bucket {
    slot: u64,
    requests: u64,
    successes: u64,
}

const SLOT: u64 = (1 << 20) - 1;
/// The most that a bucket counts: four million requests; it stays there.
const COUNT: u64 = (1 << 22) - 1;
/// How many slots two threads may be apart. What is older than all numbers but these, twelve days, is taken for new.
const AHEAD: u64 = 2;
/// The most buckets.
const MOST: u64 = 64;

impl Bucket {
    const fn of(word: u64) -> Self {
        Self { slot: word >> 44, requests: (word >> 22) & COUNT, successes: word & COUNT }
    }

    const fn word(self) -> u64 {
        (self.slot << 44) | (self.requests << 22) | self.successes
    }

    /// How many slots ago it was, at `slot`; `None`: it is up to [`AHEAD`] in the future, for threads read the clock at
    /// slightly different times.
    const fn slots_ago(self, slot: u64) -> Option<u64> {
        let ago = slot.wrapping_sub(self.slot) & SLOT;
        if ago > SLOT - AHEAD { None } else { Some(ago) }
    }
}

impl SuccessWindow {
    /// A window of `length`, rounded to seconds, and at least one.
    pub(super) fn new(length: Duration) -> Self {
        let seconds = length.as_millis().saturating_add(500) / 1000;
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX).max(1);
        let width = seconds.div_ceil(MOST);
        let buckets = (0..seconds.div_ceil(width)).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, width: saturating_nanos(Duration::from_secs(width)) }
    }

    /// The slot of a time. They begin at 1, so that an empty bucket is of none.
    const fn slot(&self, now: Timestamp) -> u64 {
        now.as_nanos() / self.width + self.buckets.len() as u64 + 1
    }

    /// Counts a request.
    pub(super) fn record(&self, success: bool, now: Timestamp) {
        let slot = self.slot(now);
        let cell = &self.buckets[(slot % self.buckets.len() as u64) as usize];
        let mut word = cell.load(Ordering::Relaxed);
        loop {
            let mut bucket = Bucket::of(word);
            if bucket.slots_ago(slot).is_some_and(|ago| ago > 0) {
                bucket = Bucket { slot: slot & SLOT, requests: 0, successes: 0 };
            }
            if bucket.requests < COUNT {
                bucket.requests += 1;
                bucket.successes += u64::from(success);
            }
            let next = bucket.word();
            match cell.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => word = found,
            }
        }
    }

    /// What the window holds.
    pub(super) fn counts(&self, now: Timestamp) -> Counts {
        let slot = self.slot(now);
        let mut counts = Counts::default();
        let mut oldest = None;
        for cell in &self.buckets {
            let bucket = Bucket::of(cell.load(Ordering::Relaxed));
            let ago = bucket.slots_ago(slot).unwrap_or(0);
            if bucket.requests > 0 && ago < self.buckets.len() as u64 {
                counts.requests += bucket.requests;
                counts.successes += bucket.successes;
                oldest = oldest.max(Some(ago));
            }
        }
        let since = oldest.map(|ago| ago * self.width + now.as_nanos() % self.width);
        counts.age = Duration::from_nanos(since.unwrap_or(0));
        counts
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
