//! [`Writes`]: when the copy on disk is written.
//!
//! A control plane may change something many times a second, and the copy is for the next start. It is written
//! as a whole, so that what it costs is its size times how often; endpoints change most often and matter
//! least, because those that are gone are found out. The last change is always written. Time is an argument.
//!
//! | what changed | at the earliest after the last write began | on average at most |
//! |---|---|---|
//! | anything but endpoints | 5 s | 4 MiB/s |
//! | endpoints alone | 60 s | 1 MiB/s |
//! | anything, after a write that failed | 60 s, then twice as long each time, 32 min at most | – |
//!
//! Before that, 250 ms are waited for what comes together.

use mesh_core::Timestamp;
use std::time::Duration;

/// How long a change waits for others.
const SETTLE: Duration = Duration::from_millis(250);

/// The pause after a write that failed: a disk that is full is not full for a second.
const RETRY: Duration = Duration::from_secs(60);

/// The most times that the pause is doubled: to 32 min.
const MAX_DOUBLINGS: u32 = 5;

/// How often is written for a kind of change.
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval: Duration,
    bytes_per_second: u64,
}

const WHOLE: Pace = Pace { interval: Duration::from_secs(5), bytes_per_second: 4 << 20 };
const ENDPOINTS: Pace = Pace { interval: Duration::from_secs(60), bytes_per_second: 1 << 20 };

impl Pace {
    /// When the next write may begin after one of so many bytes that began then.
    fn after(self, begun: Timestamp, bytes: u64) -> Timestamp {
        begun + self.interval.max(Duration::from_secs(bytes / self.bytes_per_second))
    }
}

/// What is not written yet, by the time of the first change.
#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    whole: Option<Timestamp>,
    endpoints: Option<Timestamp>,
}

/// When to write next.
#[derive(Debug, Default)]
pub(super) struct Writes {
    changed: Changed,
    /// What is being written.
    writing: Option<Changed>,
    /// When the last write began, and how large it was.
    last: Option<(Timestamp, u64)>,
    failures: u32,
    retry_at: Option<Timestamp>,
}

impl Writes {
    /// Takes in that something else is in force; `is_whole`: not only its endpoints are.
    pub(super) fn handle_changed(&mut self, is_whole: bool, now: Timestamp) {
        let changed = &mut self.changed;
        let of = if is_whole { &mut changed.whole } else { &mut changed.endpoints };
        of.get_or_insert(now);
    }

    /// Takes in that writing begins.
    pub(super) fn handle_begun(&mut self, now: Timestamp) {
        self.writing = Some(std::mem::take(&mut self.changed));
        let bytes = self.last.map_or(0, |(_, bytes)| bytes);
        self.last = Some((now, bytes));
    }

    /// Takes in how writing ended: with how many bytes; `None`: it failed.
    pub(super) fn handle_ended(&mut self, bytes: Option<u64>, now: Timestamp) {
        let Some(written) = self.writing.take() else { return };
        if let Some(bytes) = bytes {
            self.last = self.last.map(|(begun, _)| (begun, bytes));
            (self.failures, self.retry_at) = (0, None);
            return;
        }
        self.changed.whole = written.whole.or(self.changed.whole);
        self.changed.endpoints = written.endpoints.or(self.changed.endpoints);
        self.retry_at = Some(now + RETRY * (1 << self.failures.min(MAX_DOUBLINGS)));
        self.failures = self.failures.saturating_add(1);
    }

    /// When to write; `None`: there is nothing to write, or it is being written.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        if self.writing.is_some() {
            return None;
        }
        let due = |since: Option<Timestamp>, pace: Pace| {
            let settled = since? + SETTLE;
            let paced = self.last.map(|(begun, bytes)| pace.after(begun, bytes));
            Some(paced.map_or(settled, |paced| paced.max(settled)))
        };
        let whole = due(self.changed.whole, WHOLE);
        let endpoints = due(self.changed.endpoints, ENDPOINTS);
        let first = whole.into_iter().chain(endpoints).min()?;
        Some(self.retry_at.map_or(first, |retry_at| retry_at.max(first)))
    }

    /// Whether something is not on disk yet, as far as is known.
    pub(super) const fn is_pending(&self) -> bool {
        let Changed { whole, endpoints } = self.changed;
        whole.is_some() || endpoints.is_some() || self.writing.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Ten minutes of changes, whole ones and those of endpoints, and of writes of `mebibytes` that take 100 ms
    /// each and succeed as `is_ok` says; when writing begins, in milliseconds.
    #[track_caller]
    fn check(
        whole: impl Fn(u64) -> bool,
        endpoints: impl Fn(u64) -> bool,
        mebibytes: u64,
        is_ok: impl Fn(u64) -> bool,
        expected: &[u64],
    ) {
        let (mut writes, mut begun, mut ends) = (Writes::default(), Vec::new(), None);
        for now in (0..10 * MINUTE).step_by(10) {
            if ends == Some(now) {
                let bytes = is_ok(now).then_some(mebibytes << 20);
                writes.handle_ended(bytes, at(now));
            }
            for (happens, is_whole) in [(whole(now), true), (endpoints(now), false)] {
                if happens {
                    writes.handle_changed(is_whole, at(now));
                }
            }
            if writes.poll_timeout().is_some_and(|due| due <= at(now)) {
                writes.handle_begun(at(now));
                begun.push(now);
                ends = Some(now + 100);
            }
        }
        assert_eq!(begun, expected);
    }

    const NEVER: fn(u64) -> bool = |_| false;
    const ALWAYS: fn(u64) -> bool = |_| true;

    fn every(interval: u64, from: u64) -> Vec<u64> {
        (0..).map(|n| from + n * interval).take_while(|at| *at < 10 * MINUTE).collect()
    }

    #[test]
    fn a_change_waits_a_moment_and_the_last_one_is_written() {
        let among = |times: &'static [u64]| move |now| times.contains(&now);
        check(NEVER, NEVER, 1, ALWAYS, &[]);
        check(among(&[1000]), NEVER, 1, ALWAYS, &[1250]);
        check(among(&[1000, 1100, 1240]), NEVER, 1, ALWAYS, &[1250]);
        check(among(&[1000, 1300]), NEVER, 1, ALWAYS, &[1250, 6250]);
        check(among(&[1000, 9000]), NEVER, 1, ALWAYS, &[1250, 9250]);
        check(NEVER, among(&[1000, 1300]), 1, ALWAYS, &[1250, 61_250]);
        // What is written for one thing has the other with it.
        check(among(&[1000, 1300]), among(&[1300]), 1, ALWAYS, &[1250, 6250]);
        check(among(&[1000, 9000]), among(&[1300]), 1, ALWAYS, &[1250, 9250]);
    }

    #[test]
    fn steady_changes_are_written_by_their_kind_and_by_size() {
        check(ALWAYS, NEVER, 1, ALWAYS, &every(5000, 250));
        check(ALWAYS, NEVER, 64, ALWAYS, &every(16_000, 250));
        check(NEVER, ALWAYS, 1, ALWAYS, &every(60_000, 250));
        check(NEVER, ALWAYS, 60, ALWAYS, &every(60_000, 250));
        check(NEVER, ALWAYS, 240, ALWAYS, &every(240_000, 250));
    }

    #[test]
    fn what_fails_is_tried_again_more_and_more_seldom() {
        check(|now| now == 0, NEVER, 1, NEVER, &[250, 60_350, 180_450, 420_550]);
        // Nor sooner for what changes meanwhile.
        check(ALWAYS, ALWAYS, 1, NEVER, &[250, 60_350, 180_450, 420_550]);
        let mut writes = Writes::default();
        writes.handle_changed(false, at(0));
        for failures in 0..20 {
            writes.handle_begun(at(0));
            writes.handle_ended(None, at(0));
            let minutes = 1 << failures.min(5);
            assert_eq!(writes.poll_timeout(), Some(at(minutes * MINUTE)), "{failures}");
        }
        writes.handle_begun(at(0));
        assert!(writes.is_pending());
        writes.handle_ended(Some(1), at(0));
        assert!(!writes.is_pending());
        writes.handle_changed(true, at(0));
        assert_eq!(writes.poll_timeout(), Some(at(5000)));
    }
}
