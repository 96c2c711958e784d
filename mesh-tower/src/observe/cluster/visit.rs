//! How the cells of a cluster are exported.
//!
//! Counters of events that never happened have no series: of the sixty that a cluster could have,
//! most never do. States have all theirs, so that "no healthy endpoint" is a zero and not a gap.

use super::super::cell::Sharded;
use super::super::events::{
    CloseReason, EjectionKind, EjectionOutcome, EndpointState, RetryOutcome, connect_failure_label,
    overflow_label,
};
use super::super::histogram::{Histogram, HistogramSnapshot};
use super::super::names::Metric;
use super::super::phases::Phase;
use super::super::registry::{Value, Visit};
use super::{ClusterBlock, ClusterCells, ClusterReading, PlaceCells};
use std::sync::Weak;
use std::sync::atomic::AtomicU64;

impl ClusterCells {
    /// Gives `visit` all series of `metric` that this cluster has.
    pub(in crate::observe) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        match metric {
            Metric::Attempts => self.visit_attempts(visit),
            Metric::Endpoints | Metric::Panic | Metric::AttemptsPending => {
                self.visit_state(metric, visit);
            }
            Metric::Drops => {
                for (category, count) in
                    self.lists.get().map(|l| l.drops.read()).unwrap_or_default()
                {
                    visit(&[&self.name, &category], Value::Number(count));
                }
            }
            Metric::ConnectionsSecured | Metric::AttemptsSecured => {
                for (with, counted) in self.lists.get().map(|l| l.peers.read()).unwrap_or_default()
                {
                    let count = match metric {
                        Metric::AttemptsSecured => counted.calls,
                        _ => counted.connections,
                    };
                    let labels = [&*self.name, with.as_str(), with.peer()];
                    visit(&labels, Value::Number(count));
                }
            }
            _ if self.shards.blocks().next().is_none() => {}
            Metric::AttemptDuration | Metric::PhaseDuration => {
                self.visit_durations(metric, visit);
            }
            Metric::AttemptsActive => visit(&[&self.name], Value::Number(self.active_attempts())),
            Metric::ConnectionsActive => {
                visit(&[&self.name], Value::Number(self.active_connections()));
            }
            _ => self.visit_events(metric, visit),
        }
    }

    fn visit_attempts(&self, visit: &mut Visit<'_>) {
        let mut place = |label: &str, cells: &PlaceCells| {
            cells.codes.visit(
                &cells.shards,
                |block| block,
                |[status, grpc_status, flag], count| {
                    let labels = [&self.name, label, status, grpc_status, flag];
                    visit(&labels, Value::Number(count));
                },
            );
        };
        place("", &self.unplaced);
        // Upgraded under the lock and let go of after it: the last owner takes the lock again.
        let localities: Vec<_> =
            self.localities.lock().values().filter_map(Weak::upgrade).collect();
        for locality in &localities {
            if let Some(own) = &locality.own {
                place(&locality.label, own);
            }
        }
    }

    fn visit_state(&self, metric: Metric, visit: &mut Visit<'_>) {
        let reading = self.reading.lock().as_ref().and_then(Weak::upgrade);
        let Some(ClusterReading { endpoints, is_panic, pending }) =
            reading.map(|reading| reading.read())
        else {
            return;
        };
        match metric {
            Metric::Endpoints => {
                for (state, number) in EndpointState::ALL.iter().zip(endpoints) {
                    visit(&[&self.name, state.as_str()], Value::Number(u64::from(number)));
                }
            }
            Metric::Panic => visit(&[&self.name], Value::Number(u64::from(is_panic))),
            _ => visit(&[&self.name], Value::Number(u64::from(pending))),
        }
    }

    fn visit_durations(&self, metric: Metric, visit: &mut Visit<'_>) {
        if metric == Metric::AttemptDuration {
            let snapshot = snapshot(&self.shards, |block| &block.duration);
            return visit(&[&self.name], Value::Histogram(&snapshot));
        }
        for phase in Phase::ALL {
            let snapshot = snapshot(&self.shards, |block| &block.phases[*phase as usize]);
            if snapshot.count() > 0 {
                visit(&[&self.name, phase.as_str()], Value::Histogram(&snapshot));
            }
        }
    }

    fn visit_events(&self, metric: Metric, visit: &mut Visit<'_>) {
        let mut series = |labels: &[&str], counter: &dyn Fn(&ClusterBlock) -> &AtomicU64| {
            let count = self.shards.sum(counter);
            if count > 0 {
                visit(labels, Value::Number(count));
            }
        };
        let name = &*self.name;
        match metric {
            Metric::Retries => RetryOutcome::ALL.iter().for_each(|outcome| {
                series(&[name, outcome.as_str()], &|block| &block.retries[*outcome as usize]);
            }),
            Metric::TransparentRetries => series(&[name], &|block| &block.transparent_retries),
            Metric::Hedges => series(&[name], &|block| &block.hedges),
            Metric::Overflows => (0..super::OVERFLOWS).for_each(|index| {
                series(&[name, overflow_label(index)], &|block| &block.overflows[index]);
            }),
            Metric::Ejections => ejections().for_each(|(kind, outcome)| {
                series(&[name, kind.as_str(), outcome.as_str()], &|block| {
                    &block.ejections[kind as usize][outcome as usize]
                });
            }),
            Metric::ConnectionsOpened => series(&[name], &|block| &block.opened),
            Metric::ConnectionsClosed => CloseReason::ALL.iter().for_each(|reason| {
                series(&[name, reason.as_str()], &|block| &block.closed[*reason as usize]);
            }),
            Metric::ConnectionsFailed => (0..super::CONNECT_FAILURES).for_each(|index| {
                series(&[name, connect_failure_label(index)], &|block| &block.failed[index]);
            }),
            _ => {}
        }
    }

    // Both read what ended before what began: what ends in between then counts as active, not as
    // less than none.

    fn active_attempts(&self) -> u64 {
        let finished = snapshot(&self.shards, |block| &block.duration).count();
        self.shards.sum(|block| &block.attempts_started).saturating_sub(finished)
    }

    fn active_connections(&self) -> u64 {
        let closed: u64 = (0..CloseReason::ALL.len())
            .map(|reason| self.shards.sum(|block| &block.closed[reason]))
            .sum();
        self.shards.sum(|block| &block.opened).saturating_sub(closed)
    }
}

fn ejections() -> impl Iterator<Item = (EjectionKind, EjectionOutcome)> {
    let outcomes = |kind| EjectionOutcome::ALL.iter().map(move |outcome| (kind, *outcome));
    EjectionKind::ALL.iter().copied().flat_map(outcomes)
}

fn snapshot(
    shards: &Sharded<ClusterBlock>,
    histogram: impl Fn(&ClusterBlock) -> &Histogram,
) -> HistogramSnapshot {
    let mut snapshot = HistogramSnapshot::default();
    shards.blocks().for_each(|block| histogram(block).add_to(&mut snapshot));
    snapshot
}
