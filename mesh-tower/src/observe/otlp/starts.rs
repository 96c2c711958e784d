//! [`Starts`]: since when each series counts.
//!
//! A cumulative sum means nothing without its start, and one that fell without another start is an error for whoever
//! reads it (OTLP data model, "Resets and Gaps"). Series of the mesh go with what they are of, and come anew, from
//! zero. So the start of a series is that of the export before the one that saw it first, or saw it fall.
//!
//! Memory: 32 bytes and what a tree needs for each series of the last export.

use std::collections::BTreeMap;

/// Since when each series counts; times in nanoseconds since the Unix epoch.
pub(super) struct Starts {
    series: BTreeMap<u64, Seen>,
    /// The last export, or the beginning.
    before: u64,
    round: u64,
}

struct Seen {
    start: u64,
    value: u64,
    round: u64,
}

impl Starts {
    /// Everything that is there at first counts since `begun`.
    pub(super) const fn new(begun: u64) -> Self {
        Self { series: BTreeMap::new(), before: begun, round: 0 }
    }

    /// Since when the series of this key counts, that has this value now.
    pub(super) fn of(&mut self, key: u64, value: u64) -> u64 {
        let (before, round) = (self.before, self.round);
        let seen = self.series.entry(key).or_insert(Seen { start: before, value, round });
        if value < seen.value {
            seen.start = before;
        }
        (seen.value, seen.round) = (value, round);
        seen.start
    }

    /// An export is complete, as of `now`: what it had not is gone.
    pub(super) fn end(&mut self, now: u64) {
        let round = self.round;
        self.series.retain(|_, seen| seen.round == round);
        self.before = now;
        self.round += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_begins_where_it_was_not_seen_before() {
        let mut starts = Starts::new(100);
        assert_eq!(starts.of(1, 5), 100);
        starts.end(200);
        // It goes on; another one is new.
        assert_eq!((starts.of(1, 5), starts.of(2, 7)), (100, 200));
        starts.end(300);
        // It fell, so it is another one; the other is gone for a while.
        assert_eq!(starts.of(1, 4), 300);
        starts.end(400);
        assert_eq!((starts.of(1, 9), starts.of(2, 8)), (300, 400));
        assert_eq!(starts.series.len(), 2);
        starts.end(500);
        starts.end(600);
        assert!(starts.series.is_empty());
    }
}
