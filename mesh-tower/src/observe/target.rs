//! [`TargetCells`]: the metrics of calls by one route to one cluster.

use super::cell::Sharded;
use super::cluster::ClusterCells;
use super::code::{Code, CodeCounters, CodeTable};
use super::histogram::{Histogram, HistogramSnapshot};
use super::names::Metric;
use super::registry::{Registry, Value, Visit};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The labels of a target. The cluster is empty for a route that answers by itself; all three are
/// empty for calls that no route matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TargetLabels {
    /// Name of the virtual host.
    pub(crate) virtual_host: Arc<str>,
    /// Name of the route, unique within the virtual host or else counted together.
    pub(crate) route: Arc<str>,
    /// Name of the cluster.
    pub(crate) cluster: Arc<str>,
}

/// A call that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallRecord {
    /// How it ended.
    pub(crate) code: Code,
    /// From the start to the end of the response body.
    pub(crate) duration: Duration,
    /// How many attempts were started; 0 when the mesh answered by itself.
    pub(crate) attempts: u32,
}

/// The cells of one route and cluster; 240 bytes until the first call.
#[expect(unnameable_types, reason = "what hangs on the live state is the mesh's own")]
pub struct TargetCells {
    labels: TargetLabels,
    cluster: Option<Arc<ClusterCells>>,
    registry: Weak<Registry>,
    codes: CodeTable,
    shards: Sharded<TargetBlock>,
}

#[derive(Default)]
struct TargetBlock {
    started: AtomicU64,
    extra_attempts: AtomicU64,
    codes: CodeCounters,
    duration: Histogram,
}

impl TargetCells {
    pub(super) fn new(
        labels: TargetLabels,
        cluster: Option<Arc<ClusterCells>>,
        registry: Weak<Registry>,
    ) -> Self {
        let (codes, shards) = (CodeTable::default(), Sharded::default());
        Self { labels, cluster, registry, codes, shards }
    }

    /// What it is registered under.
    pub(crate) const fn labels(&self) -> &TargetLabels {
        &self.labels
    }

    /// The cells of its cluster; `None` for a route that answers by itself.
    pub(crate) const fn cluster(&self) -> Option<&Arc<ClusterCells>> {
        self.cluster.as_ref()
    }

    /// A call starts. [`call_finished`](Self::call_finished) must follow, once.
    pub(crate) fn call_started(&self) {
        let block = self.shards.block();
        block.count(&block.started);
    }

    /// A call that was started ended, however it did.
    pub(crate) fn call_finished(&self, call: &CallRecord) {
        let block = self.shards.block();
        block.count(self.codes.counter(&block.codes, call.code));
        block.duration.record(block.access(), call.duration);
        if call.attempts > 1 {
            block.access().add(&block.extra_attempts, u64::from(call.attempts - 1));
        }
    }

    /// Gives `visit` all series of `metric` that this target has.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        let TargetLabels { virtual_host, route, cluster } = &self.labels;
        let labels: [&str; 3] = [virtual_host, route, cluster];
        if self.shards.blocks().next().is_none() {
            return;
        }
        match metric {
            Metric::Calls => self.codes.visit(
                &self.shards,
                |block| &block.codes,
                |[status, grpc_status, flag], count| {
                    let [virtual_host, route, cluster] = labels;
                    let labels = [virtual_host, route, cluster, status, grpc_status, flag];
                    visit(&labels, Value::Number(count));
                },
            ),
            Metric::CallDuration => visit(&labels, Value::Histogram(&self.duration())),
            Metric::CallExtraAttempts => {
                visit(&labels, Value::Number(self.shards.sum(|block| &block.extra_attempts)));
            }
            Metric::CallsActive => visit(&labels, Value::Number(self.active())),
            _ => {}
        }
    }

    /// How many calls were begun.
    pub(crate) fn calls(&self) -> u64 {
        self.shards.sum(|block| &block.started)
    }

    /// How many calls were begun, and whether any is in flight.
    pub(super) fn use_so_far(&self) -> (u64, bool) {
        (self.calls(), self.active() > 0)
    }

    fn duration(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        self.shards.blocks().for_each(|block| block.duration.add_to(&mut snapshot));
        snapshot
    }

    fn active(&self) -> u64 {
        // In this order: a call that ends in between then counts as active, not as less than none.
        let finished = self.duration().count();
        self.shards.sum(|block| &block.started).saturating_sub(finished)
    }
}

impl Drop for TargetCells {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.forget_target(self);
        }
    }
}
