//! Putting into force what was built: pickers, then the snapshot, then what is gone is told so.

use super::attach::TargetLabels;
use super::prepare::Prepared;
use super::snapshot::Targets;
use super::updater::Entry;
use super::{Applied, Attach, LiveCluster, LiveEndpoint, Picker, Snapshot, Target, Updater};
use crate::router::Router;
use crate::time::Timestamp;
use crate::update::ConfigUpdate;
use std::collections::BTreeMap;
use std::sync::Arc;

impl<A: Attach> Updater<A> {
    /// Publishes what a cluster becomes, and says who is gone from it.
    pub(super) fn commit(
        &mut self,
        prepared: Prepared<A>,
        applied: &mut Applied,
        now: Timestamp,
    ) -> Vec<Arc<LiveEndpoint<A>>> {
        let Prepared { name, mut entry, policy, is_new, is_reconfigured, removed, added } =
            prepared;
        applied.clusters_added += usize::from(is_new);
        applied.clusters_changed += usize::from(is_reconfigured);
        applied.endpoints_added += added;
        applied.endpoints_removed += removed.len();
        if is_reconfigured {
            entry.live.reconfigure(policy, &self.attach);
        }
        let rules = entry.update.cluster.outlier_detection.as_ref();
        if let Some(before) = self.entries.remove(&name) {
            entry.detector = before.detector;
        }
        if is_reconfigured {
            let turn = entry.detector.set_config(rules, &*entry.set, now);
            if turn.has_changes() {
                entry.take_ejections(&turn.changed, now);
            }
            applied.events.extend(turn.events);
        }
        self.publish_picker(&entry);
        self.entries.insert(name, entry);
        removed
    }

    pub(super) fn tell_gone(&self, endpoints: &[Arc<LiveEndpoint<A>>]) {
        for endpoint in endpoints {
            self.attach.endpoint_removed(endpoint.attached());
        }
    }

    pub(super) fn publish_picker(&mut self, entry: &Entry<A>) {
        let picker = Picker { set: Arc::clone(&entry.set), balancer: entry.balancer.clone() };
        let old = entry.live.publish(picker, &self.attach);
        self.retire(old);
    }

    pub(super) fn publish_snapshot(
        &mut self,
        before: &Arc<Snapshot<A>>,
        router: Option<Router>,
        update: &ConfigUpdate,
        now: Timestamp,
    ) {
        let (router, targets, clusters) = match router {
            Some(router) => {
                let kept = update.clusters.keys().filter_map(|name| self.entries.get(name));
                let clusters: BTreeMap<_, _> = kept
                    .map(|entry| (Arc::clone(entry.live.name()), Arc::clone(&entry.live)))
                    .collect();
                let targets = self.targets(&router, &clusters);
                (router, targets, Arc::new(clusters))
            }
            None => {
                let targets = Arc::clone(&before.targets);
                (before.router.clone(), targets, Arc::clone(&before.clusters))
            }
        };
        let snapshot = Snapshot {
            router,
            targets,
            clusters,
            origin: update.origin.clone(),
            mode: update.mode,
            unknown_hosts: update.unknown_hosts,
            generation: before.generation + 1,
            applied_at: Some(now),
            ended: false,
        };
        let old = self.mesh.snapshot.swap(Arc::new(snapshot));
        self.retire(old);
    }

    fn targets(
        &self,
        router: &Router,
        clusters: &BTreeMap<Arc<str>, Arc<LiveCluster<A>>>,
    ) -> Targets<A> {
        let targets = router.targets().map(|target| {
            let (route, forward) = (target.route, Arc::clone(target.route.forward()?));
            let cluster = clusters.get(target.cluster)?;
            let labels = TargetLabels::new(route.virtual_host(), route.name(), target.cluster);
            let attached = self.attach.target(cluster.attached(), labels);
            let (route, cluster) = (Arc::clone(route), Arc::clone(cluster));
            Some(Arc::new(Target { route, forward, cluster, split: target.split, attached }))
        });
        targets.collect()
    }

    pub(super) fn remove_missing(&mut self, update: &ConfigUpdate, applied: &mut Applied) {
        let gone: Vec<_> =
            self.entries.keys().filter(|n| !update.clusters.contains_key(*n)).cloned().collect();
        for name in gone {
            let Some(entry) = self.entries.remove(&name) else { continue };
            applied.clusters_removed += 1;
            // Who waits, or still comes by a snapshot that was taken before, finds nobody.
            let old = entry.live.publish(Picker::nobody(), &self.attach);
            self.retire(old);
            let gone = entry.set.distinct();
            applied.endpoints_removed += gone.len();
            self.tell_gone(&gone);
            self.attach.cluster_removed(entry.live.attached());
            self.slots.give_back(entry.live.slot());
            self.retire(entry.live);
        }
    }
}
