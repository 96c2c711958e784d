//! When files are read, and what a reading means.
//!
//! Pure: time and results are arguments.
//!
//! ```text
//!   event ──▶ burst: read 20 ms after the last event, 200 ms after the first at the latest
//!   nothing ─▶ read every few seconds anyway (network file systems and bind mounts send no events)
//!
//!   read: in force already ─▶ Unchanged, or Restored after a report
//!         good and new ─────▶ Publish
//!         bad and new ──────▶ Hold: read again every 50 ms; Report when still bad after 250 ms
//!         bad and reported ─▶ Unchanged
//!         good, but a file of what is in force is gone ─▶ Hold; Publish when still so after 250 ms
//! ```
//! The holding is for writers that truncate first and write then, or remove and create: what they
//! leave for a moment is no configuration, and no reason to cry. A half-written file that happens to
//! be valid can't be told from a whole one: write to the side and rename.

use mesh_core::Timestamp;
use std::time::Duration;

/// Reads after an event once nothing came for this long.
const QUIET: Duration = Duration::from_millis(20);
/// Reads this long after the first event of a burst, quiet or not.
const LONGEST_BURST: Duration = Duration::from_millis(200);
/// Time between two readings of something bad.
const RETRY: Duration = Duration::from_millis(50);
/// Something bad for this long is reported.
const GRACE: Duration = Duration::from_millis(250);

/// What a reading means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing new.
    Unchanged,
    /// Good and new.
    Publish,
    /// Bad, perhaps only for a moment.
    Hold,
    /// Bad and new.
    Report,
    /// What is in force, after something bad was reported.
    Restored,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It can be used, or is in force.
    Good,
    /// It can be used, but a file that is in force is not in its directory any more.
    Fewer,
    /// It can't be used.
    Bad,
}

/// The machine of one set of files.
#[derive(Debug)]
pub(crate) struct Reload {
    poll_interval: Duration,
    /// The fingerprint of what was published last.
    in_force: Option<u64>,
    /// The fingerprint of what was reported as bad since.
    reported: Option<u64>,
    /// First and last event that were not answered with a reading.
    burst: Option<(Timestamp, Timestamp)>,
    /// Since when what is read is bad and not reported, or less than what is in force.
    bad_since: Option<Timestamp>,
    next_read: (Timestamp, &'static str),
}

impl Reload {
    /// A machine that wants to read at `now`, and every `poll_interval` without events.
    pub(crate) const fn new(poll_interval: Duration, now: Timestamp) -> Self {
        Self {
            poll_interval,
            in_force: None,
            reported: None,
            burst: None,
            bad_since: None,
            next_read: (now, "start"),
        }
    }

    /// When to read, and why.
    pub(crate) fn poll_timeout(&self) -> (Timestamp, &'static str) {
        match self.burst {
            Some((first, last)) => {
                let burst = ((last + QUIET).min(first + LONGEST_BURST), "event");
                burst.min(self.next_read)
            }
            None => self.next_read,
        }
    }

    /// The file system says that something happened.
    pub(crate) fn handle_event(&mut self, now: Timestamp) {
        let first = self.burst.map_or(now, |(first, _)| first);
        self.burst = Some((first, now));
    }

    /// Whether what has this fingerprint was judged before: it needs no parsing.
    pub(crate) const fn judged(&self) -> [Option<u64>; 2] {
        [self.in_force, self.reported]
    }

    /// Reads at `at`, if nothing makes it read before.
    pub(crate) fn read_by(&mut self, at: Timestamp) {
        if at < self.next_read.0 {
            self.next_read = (at, "its time has come");
        }
    }

    /// They could not even be read: that says nothing about them.
    pub(crate) fn handle_no_read(&mut self, now: Timestamp) {
        self.burst = None;
        self.next_read = (now + self.poll_interval, "poll");
    }

    /// The files were read.
    pub(crate) fn handle_read(&mut self, fingerprint: u64, read: Read, now: Timestamp) -> Verdict {
        self.handle_no_read(now);
        let fewer = read == Read::Fewer && self.in_force != Some(fingerprint);
        if fewer && self.is_young(now) {
            return self.hold(now, "a file is gone, perhaps replaced");
        }
        if read != Read::Bad {
            self.bad_since = None;
            let was_reported = self.reported.take().is_some();
            if self.in_force.replace(fingerprint) != Some(fingerprint) {
                return Verdict::Publish;
            }
            return if was_reported { Verdict::Restored } else { Verdict::Unchanged };
        }
        if self.reported == Some(fingerprint) {
            self.bad_since = None;
            return Verdict::Unchanged;
        }
        if self.is_young(now) {
            return self.hold(now, "bad, perhaps half-written");
        }
        self.bad_since = None;
        self.reported = Some(fingerprint);
        Verdict::Report
    }

    /// Whether what is there may be there for a moment only.
    fn is_young(&mut self, now: Timestamp) -> bool {
        now.saturating_duration_since(*self.bad_since.get_or_insert(now)) < GRACE
    }

    fn hold(&mut self, now: Timestamp, why: &'static str) -> Verdict {
        self.next_read = (now + RETRY, why);
        Verdict::Hold
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Hold, Publish, Report, Restored, Unchanged};
    use super::*;

    const POLL: Duration = Duration::from_secs(3);
    const GOOD: Read = Read::Good;
    const FEWER: Read = Read::Fewer;
    const BAD: Read = Read::Bad;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Readings at a time, of a content, good or bad, with what they mean.
    #[track_caller]
    fn check(readings: &[(u64, u64, Read, Verdict)]) {
        let mut reload = Reload::new(POLL, at(0));
        for (millis, content, read, verdict) in readings {
            assert_eq!(reload.handle_read(*content, *read, at(*millis)), *verdict, "at {millis}");
        }
    }

    #[test]
    fn what_is_new_is_published_and_what_is_in_force_is_not() {
        check(&[(0, 1, GOOD, Publish), (9, 1, GOOD, Unchanged), (10, 2, GOOD, Publish)]);
        check(&[(0, 1, GOOD, Publish), (10, 2, GOOD, Publish), (20, 1, GOOD, Publish)]);
    }

    #[test]
    fn bad_content_has_a_grace_and_is_reported_once() {
        check(&[
            (0, 1, GOOD, Publish),
            (100, 2, BAD, Hold),
            (200, 3, BAD, Hold),
            (350, 3, BAD, Report),
            (3350, 3, BAD, Unchanged),
            (6000, 4, BAD, Hold),
            (6250, 4, BAD, Report),
            (7000, 1, GOOD, Restored),
            (8000, 1, GOOD, Unchanged),
        ]);
        // The grace starts anew when something good came between.
        check(&[(0, 1, BAD, Hold), (200, 2, GOOD, Publish), (300, 1, BAD, Hold)]);
        check(&[(0, 1, GOOD, Publish), (9, 2, BAD, Hold), (20, 1, GOOD, Unchanged)]);
    }

    #[test]
    fn a_file_that_is_gone_has_a_grace_as_well() {
        check(&[
            (0, 1, GOOD, Publish),
            (100, 2, FEWER, Hold),
            (150, 3, GOOD, Publish),
            (200, 2, FEWER, Hold),
            (300, 2, BAD, Hold),
            (450, 2, FEWER, Publish),
            (500, 2, FEWER, Unchanged),
        ]);
        check(&[
            (0, 1, GOOD, Publish),
            (9, 2, FEWER, Hold),
            (20, 1, GOOD, Unchanged),
            (900, 2, FEWER, Hold),
        ]);
    }

    #[test]
    fn a_burst_of_events_is_one_reading_soon_after_it() {
        let mut reload = Reload::new(POLL, at(0));
        assert_eq!(reload.poll_timeout().0, at(0));
        reload.handle_read(1, GOOD, at(0));
        assert_eq!(reload.poll_timeout(), (at(3000), "poll"));
        reload.handle_event(at(100));
        assert_eq!(reload.poll_timeout(), (at(120), "event"));
        reload.handle_event(at(115));
        assert_eq!(reload.poll_timeout().0, at(135));
        for millis in 116..290 {
            reload.handle_event(at(millis));
        }
        assert_eq!(reload.poll_timeout().0, at(300));
        reload.handle_read(1, GOOD, at(300));
        assert_eq!(reload.poll_timeout(), (at(3300), "poll"));
        reload.handle_event(at(3299));
        assert_eq!(reload.poll_timeout(), (at(3300), "poll"));
    }

    #[test]
    fn what_is_bad_is_read_again_soon() {
        let mut reload = Reload::new(POLL, at(0));
        reload.handle_read(1, BAD, at(10));
        assert_eq!(reload.poll_timeout(), (at(60), "bad, perhaps half-written"));
        reload.handle_read(1, BAD, at(260));
        assert_eq!(reload.poll_timeout(), (at(3260), "poll"));
        assert_eq!(reload.judged(), [None, Some(1)]);
    }
}
