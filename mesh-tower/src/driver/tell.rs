//! Who is told of what became of a configuration: metrics, the history, the log, and whoever waits.
//!
//! Endpoints change often, and configurations seldom: under a steady stream of the former the log has a line
//! when it begins and one a minute ([`Lines`]); the history takes those in a row together.

use super::Driver;
use crate::clock;
use crate::observe::{Changes, ConfigurationOutcome};
use crate::source::Rejected;
use mesh_core::Timestamp;
use mesh_core::state::Applied;
use mesh_core::update::Origin;
use std::sync::Arc;
use std::time::Duration;

/// How often the log has a line of endpoints that change all the time.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// When the log had its last line of endpoints alone.
#[derive(Debug, Default)]
pub(super) struct Lines(Option<Timestamp>);

impl Lines {
    /// Whether a change of endpoints is a line: the first one after something else, and one a minute.
    pub(super) fn is_due(&mut self, is_first: bool, now: Timestamp) -> bool {
        let recent = |last: Timestamp| now.saturating_duration_since(last) < LINE_INTERVAL;
        let is_due = is_first || !self.0.is_some_and(recent);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

impl Driver {
    /// A configuration was applied; `before`: the snapshot before it.
    pub(super) fn applied_whole(
        &mut self,
        (origin, is_complete): (&Origin, bool),
        before: u64,
        applied: &Applied,
        changes: Changes,
    ) {
        log_applied(origin, applied, &changes);
        let (outcome, wall) = (ConfigurationOutcome::Applied, clock::wall());
        self.shared.registry.history().record(origin, outcome, changes, wall);
        self.applied((origin, is_complete), before, applied);
    }

    /// Other endpoints of these clusters were applied.
    pub(super) fn applied_endpoints<'a>(
        &mut self,
        origin: &Origin,
        before: u64,
        applied: &Applied,
        clusters: impl Iterator<Item = &'a Arc<str>> + Clone,
    ) {
        let history = self.shared.registry.history();
        let count = history.record_endpoints(origin, clusters.clone(), clock::wall());
        let changes = Changes::of_endpoints(clusters);
        if self.lines.is_due(count == 1, clock::now()) {
            log_applied(origin, applied, &changes);
        }
        tracing::debug!(
            target: "mesh", source = %origin.source, version = %origin.version, count, %changes,
            "endpoints applied"
        );
        self.applied((origin, false), before, applied);
    }

    fn applied(&mut self, (origin, is_complete): (&Origin, bool), before: u64, applied: &Applied) {
        let registry = &self.shared.registry;
        if self.state.snapshot().generation() != before {
            registry.mesh().snapshot_swapped();
        }
        registry.mesh().applied(origin, clock::wall());
        registry.mesh().rejected_resources(0);
        registry.source().live(&origin.version, clock::now());
        self.report(&applied.happened);
        self.progress.send_modify(|progress| {
            progress.generation += 1;
            progress.origin = origin.clone();
            progress.complete |= is_complete;
            progress.refused = None;
        });
    }

    /// What came is in force already.
    pub(super) fn unchanged(&self, origin: &Origin) {
        let registry = &self.shared.registry;
        registry.mesh().unchanged();
        registry.mesh().rejected_resources(0);
        registry.source().live(&origin.version, clock::now());
        self.source.in_force(origin.clone());
    }

    /// A source has something that it can't publish.
    pub(super) fn rejected(&self, rejected: &Rejected) {
        let registry = &self.shared.registry;
        // A source that knows how many of its resources are refused says so itself.
        if registry.source().refused().is_none() {
            registry.mesh().rejected_resources(rejected.count);
        }
        let why = rejected.to_string();
        self.record_refused(&rejected.origin, &why, Changes::default());
        self.refused(&rejected.origin.source, &why);
    }

    /// A source has again what is in force. Of another source's rejection that says nothing.
    pub(super) fn restored(&self, origin: &Origin) {
        let registry = &self.shared.registry;
        if self.refused.is_none() {
            registry.mesh().rejected_resources(0);
        }
        self.progress.send_modify(|progress| {
            if progress.refused_source == origin.source {
                progress.refused = None;
            }
        });
    }

    pub(super) fn record_refused(&self, origin: &Origin, why: &str, changes: Changes) {
        let outcome = ConfigurationOutcome::Refused(why.into());
        self.shared.registry.history().record(origin, outcome, changes, clock::wall());
    }

    /// What was refused before has other endpoints, and is refused for the same reason.
    pub(super) fn refused_again(&self, origin: &Origin, why: &str) {
        let registry = &self.shared.registry;
        registry.mesh().rejected();
        registry.history().record_again(origin, clock::wall());
        tracing::debug!(target: "mesh", "still refused with other endpoints: {why}");
    }

    pub(super) fn refused(&self, source: &Arc<str>, why: &str) {
        self.shared.registry.mesh().rejected();
        tracing::error!(target: "mesh", "configuration refused, the last good one stays: {why}");
        self.progress.send_modify(|progress| {
            progress.refused = Some(why.into());
            progress.refused_source = Arc::clone(source);
        });
    }
}

fn log_applied(origin: &Origin, applied: &Applied, changes: &Changes) {
    tracing::info!(
        target: "mesh",
        source = %origin.source,
        version = %origin.version,
        clusters_added = applied.clusters_added,
        clusters_changed = applied.clusters_changed,
        clusters_removed = applied.clusters_removed,
        endpoints_added = applied.endpoints_added,
        endpoints_removed = applied.endpoints_removed,
        routes_changed = applied.routes_changed,
        %changes,
        "configuration applied"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_change_all_the_time_are_a_line_a_minute() {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        for second in 0..200_u64 {
            // Something else comes between at 130 s.
            let is_first = matches!(second, 0 | 130);
            if lines.is_due(is_first, Timestamp::from_millis(second * 1000)) {
                told.push(second);
            }
        }
        assert_eq!(told, [0, 60, 120, 130, 190]);
    }
}
