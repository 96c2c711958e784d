//! [`Writes`]: when the copy on disk is written.
//!
//! A control plane may change something many times a second, and the copy is for the next start: so a
//! change waits a moment for others, and the copy is written once in [`INTERVAL`] at most. The last change
//! is always written. Time is an argument.

use mesh_core::Timestamp;
use std::time::Duration;

/// The least time between two writes.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a change waits for others, and for the mesh to put it into force.
const SETTLE: Duration = Duration::from_millis(250);

/// The pause after a write that failed: a disk that is full is not full for a second.
const RETRY: Duration = Duration::from_secs(60);

/// When to write next.
#[derive(Debug, Default)]
pub(super) struct Writes {
    /// When what changed is due.
    due: Option<Timestamp>,
    writing: bool,
    not_before: Timestamp,
}

impl Writes {
    /// Takes in that something changed.
    pub(super) fn handle_changed(&mut self, now: Timestamp) {
        self.due.get_or_insert_with(|| self.not_before.max(now + SETTLE));
    }

    /// Takes in that writing begins.
    pub(super) fn handle_begun(&mut self, now: Timestamp) {
        (self.due, self.writing, self.not_before) = (None, true, now + INTERVAL);
    }

    /// Takes in that what changed could not be put into force: it is looked at again.
    pub(super) fn handle_refused(&mut self, now: Timestamp) {
        self.due = Some(now + INTERVAL);
    }

    /// Takes in how writing ended.
    pub(super) fn handle_ended(&mut self, ok: bool, now: Timestamp) {
        self.writing = false;
        if !ok {
            self.not_before = now + RETRY;
            self.due = Some(self.not_before);
        }
    }

    /// When to write; `None`: there is nothing to write, or it is being written.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.due.filter(|_| !self.writing)
    }

    /// Whether something is not written yet.
    pub(super) const fn is_due(&self) -> bool {
        self.due.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Changes at these times, and writes that take 100 ms; when writing begins.
    #[track_caller]
    fn check(changes: &[u64], expected: &[u64]) {
        let (mut writes, mut begun, mut ends) = (Writes::default(), Vec::new(), None);
        for now in 0..30_000 {
            if ends == Some(now) {
                writes.handle_ended(true, at(now));
            }
            if changes.contains(&now) {
                writes.handle_changed(at(now));
            }
            if writes.poll_timeout().is_some_and(|due| due <= at(now)) {
                writes.handle_begun(at(now));
                begun.push(now);
                ends = Some(now + 100);
            }
        }
        assert_eq!(begun, expected, "{changes:?}");
        assert!(!writes.is_due(), "the last change is written");
    }

    #[test]
    fn a_change_waits_a_moment_and_writes_are_apart() {
        check(&[], &[]);
        check(&[1000], &[1250]);
        check(&[1000, 1100, 1249], &[1250]);
        check(&[1000, 1300], &[1250, 6250]);
        check(&[1000, 9000], &[1250, 9250]);
        let always: Vec<u64> = (0..20_000).collect();
        check(&always, &[250, 5250, 10_250, 15_250, 20_250]);
    }

    #[test]
    fn a_write_that_fails_is_tried_again() {
        let mut writes = Writes::default();
        writes.handle_changed(at(0));
        writes.handle_begun(at(250));
        assert_eq!(writes.poll_timeout(), None);
        writes.handle_ended(false, at(300));
        assert_eq!(writes.poll_timeout(), Some(at(60_300)));
        writes.handle_changed(at(400));
        assert_eq!(writes.poll_timeout(), Some(at(60_300)), "nor sooner for a change");
    }

    #[test]
    fn what_is_refused_is_looked_at_again() {
        let mut writes = Writes::default();
        writes.handle_changed(at(0));
        writes.handle_refused(at(250));
        assert_eq!(writes.poll_timeout(), Some(at(5250)));
    }
}
