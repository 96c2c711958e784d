//! [`Announcer`]: what happened in clusters, counted in metrics and said in the log.
//!
//! Everything is counted. The log is for people: an outage of a thousand endpoints is not a thousand
//! lines a second, so a cluster says [`LINES`] of one kind in a [`WINDOW`], and then how many more there
//! were.

use crate::observe::events::EjectionOutcome;
use crate::observe::registry::Registry;
use mesh_core::Timestamp;
use mesh_core::event::{Event, Verdict};
use mesh_core::state::Turn;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Lines of one code in one cluster and window.
const LINES: u32 = 10;

/// How long that is.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts and says what happened.
pub(super) struct Announcer {
    registry: Arc<Registry>,
    quiet: Quiet,
}

impl Announcer {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, quiet: Quiet::default() }
    }

    /// Counts and says what a turn did.
    pub(super) fn announce(&mut self, turn: &Turn, now: Timestamp) {
        for (cluster, code, left_out) in self.quiet.end_windows(now) {
            tracing::warn!(target: "mesh", %cluster, code, "{left_out} more like it");
        }
        for (cluster, event) in &turn.events {
            self.count(cluster, event);
            let code = event.code();
            if self.quiet.admits(cluster, code, now) {
                tracing::warn!(target: "mesh", %cluster, code, "{event}");
            }
        }
        for (cluster, count) in &turn.suppressed {
            tracing::warn!(target: "mesh", %cluster, count, "more events than are told at once");
        }
    }

    fn count(&self, cluster: &Arc<str>, event: &Event) {
        let Event::Outlier { kind, verdict, .. } = event else { return };
        let outcome = match verdict {
            Verdict::Ejected { .. } => EjectionOutcome::Enforced,
            Verdict::NotEnforced { .. } => EjectionOutcome::Detected,
            _ => EjectionOutcome::Refused,
        };
        self.registry.cluster(cluster).ejection((*kind).into(), outcome);
    }
}

impl fmt::Debug for Announcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcer").field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

/// Who said how much of late. Pure; what is over is forgotten.
#[derive(Debug, Default)]
struct Quiet(BTreeMap<(Arc<str>, &'static str), Said>);

#[derive(Debug)]
struct Said {
    since: Timestamp,
    lines: u32,
    left_out: u32,
}

impl Quiet {
    /// Whether there is room for one more line.
    fn admits(&mut self, cluster: &Arc<str>, code: &'static str, now: Timestamp) -> bool {
        let key = (Arc::clone(cluster), code);
        let said = self.0.entry(key).or_insert(Said { since: now, lines: 0, left_out: 0 });
        if said.lines >= LINES {
            said.left_out = said.left_out.saturating_add(1);
            return false;
        }
        said.lines += 1;
        true
    }

    /// Ends the windows that are over; what was left out in them.
    fn end_windows(&mut self, now: Timestamp) -> Vec<(Arc<str>, &'static str, u32)> {
        let mut left_out = Vec::new();
        self.0.retain(|(cluster, code), said| {
            let goes_on = now.saturating_duration_since(said.since) < WINDOW;
            if !goes_on && said.left_out > 0 {
                left_out.push((Arc::clone(cluster), *code, said.left_out));
            }
            goes_on
        });
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_ten_lines_and_a_number() {
        let mut quiet = Quiet::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let at = Timestamp::from_millis;
        let said = |quiet: &mut Quiet, cluster, code, millis| {
            (0..1000).filter(|_| quiet.admits(cluster, code, at(millis))).count()
        };
        assert_eq!(said(&mut quiet, &a, "x", 0), 10);
        assert_eq!(said(&mut quiet, &a, "y", 5_000), 10, "another code");
        assert_eq!(said(&mut quiet, &b, "x", 5_000), 10, "another cluster");
        assert_eq!(said(&mut quiet, &a, "x", 9_000), 0);
        assert_eq!(quiet.end_windows(at(9_999)), []);
        assert_eq!(quiet.end_windows(at(10_000)), [(Arc::clone(&a), "x", 1990)]);
        assert_eq!(said(&mut quiet, &a, "x", 10_000), 10, "a new window");
        assert_eq!(quiet.end_windows(at(30_000)).len(), 3);
        assert!(quiet.0.is_empty(), "nothing is kept of what is over");
    }
}
