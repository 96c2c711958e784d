//! Putting into force what was built: pickers, then the snapshot, then what is gone is told so.

use super::address_filter::AddressFilter;
use super::attach::TargetLabels;
use super::prepare::Prepared;
use super::snapshot::{TargetSlot, Targets};
use super::tables::Tables;
use super::updater::{Built, Entry};
use super::{
    Applied, Attach, LiveCluster, LiveEndpoint, Picker, ReplyTarget, Snapshot, Target, Updater,
};
use crate::egress::CompiledEgress;
use crate::event::Event;
use crate::lb::Balancer;
use crate::model::Discovery;
use crate::outlier;
use crate::router::Router;
use crate::time::Timestamp;
use crate::update::{ConfigUpdate, Mode, UnknownHosts};
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
        let Prepared { name, mut entry, policy, is_new, is_reconfigured, removed, added, middle } =
            prepared;
        applied.clusters_added += usize::from(is_new);
        applied.clusters_changed += usize::from(is_reconfigured);
        applied.endpoints_added += added;
        applied.endpoints_removed += removed.len();
        if is_reconfigured {
            entry.live.reconfigure(policy, &self.attach);
        }
        let mut known = self.entries.remove(&name);
        if let Some(known) = &mut known {
            self.disarm(&name, known);
        }
        let mut filter = None;
        if let Some(before) = known {
            (entry.detector, entry.overflows) = (before.detector, before.overflows);
            filter = before.filter;
        }
        let new = entry.set.endpoints.range(middle).map(|endpoint| endpoint.address());
        entry.filter = AddressFilter::next(filter, &entry.set.assignment, new);
        let (mut events, mut suppressed) = (Vec::new(), 0);
        if is_reconfigured {
            let rules = entry.update.cluster.outlier_detection.as_ref();
            let turn = entry.detector.set_config(rules, &*entry.set, now);
            entry.take_turn(turn, (&mut events, &mut suppressed), now);
        }
        if entry.balancer.as_ref().is_some_and(Balancer::is_emptied_by_ejection) {
            // Others are gone, or unhealthy: what was ejected while there were others is the last.
            let turn = entry.detector.keep_one(&*entry.set, now);
            entry.take_turn(turn, (&mut events, &mut suppressed), now);
        }
        self.publish_picker(&entry, &mut events);
        applied.happened.add(&name, events, suppressed);
        self.arm(&name, &mut entry);
        self.entries.insert(name, entry);
        removed
    }

    pub(super) fn tell_gone(&mut self, endpoints: &[Arc<LiveEndpoint<A>>]) {
        for endpoint in endpoints {
            self.departed.push(Arc::downgrade(endpoint));
            self.attach.endpoint_removed(endpoint.attached());
        }
    }

    /// Says that no other picker comes, to whoever waits for one: the writer goes away. Endpoints that
    /// are known stay as they are.
    pub fn abandon(&mut self) {
        for entry in self.entries.values() {
            let picker = Picker::of(entry, true);
            self.retired.push(entry.live.publish(picker, &self.attach));
        }
        self.free_retired();
    }

    /// Publishes the picker of a cluster, and tells which priorities are in panic that were not, or
    /// the other way round.
    pub(super) fn publish_picker(&mut self, entry: &Entry<A>, events: &mut Vec<Event>) {
        let picker = Picker::of(entry, false);
        let old = entry.live.publish(picker, &self.attach);
        panic_edges(old.balancer(), entry.balancer.as_ref(), events);
        self.retire(old);
    }

    pub(super) fn publish_snapshot(
        &mut self,
        before: &Arc<Snapshot<A>>,
        Built { router, tables, listeners }: Built,
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
                (Arc::new(router), targets, Arc::new(clusters))
            }
            None => {
                let targets = Arc::clone(&before.targets);
                (Arc::clone(&before.router), targets, Arc::clone(&before.clusters))
            }
        };
        let tables = tables.map(|routers| {
            Arc::new(Tables::new(&routers, |router| self.targets(router, &clusters)))
        });
        let known = &before.egress;
        // Who only observes lets everything pass.
        let unknown_hosts = match update.mode {
            Mode::Observe => UnknownHosts::Passthrough,
            Mode::Enforce => update.unknown_hosts,
        };
        let egress = match known.is_of(&update.egress, unknown_hosts) {
            true => Arc::clone(known),
            false => Arc::new(CompiledEgress::new(&update.egress, unknown_hosts)),
        };
        let snapshot = Snapshot {
            router,
            targets,
            tables: tables.unwrap_or_else(|| Arc::clone(&before.tables)),
            clusters,
            origin: update.origin.clone(),
            mode: update.mode,
            egress,
            on_demand: update.on_demand.clone(),
            secrets: Arc::clone(&update.secrets),
            listeners: listeners.map_or_else(|| Arc::clone(&before.listeners), Arc::new),
            absent_listeners: Arc::clone(&update.absent_listeners),
            generation: before.generation + 1,
            applied_at: Some(now),
            ended: false,
        };
        let old = self.mesh.published.swap(snapshot);
        self.retire(old);
    }

    fn targets(
        &self,
        router: &Router,
        clusters: &BTreeMap<Arc<str>, Arc<LiveCluster<A>>>,
    ) -> Targets<A> {
        let targets = router.targets().map(|target| {
            let (route, split) = (target.route, target.split);
            let labels = TargetLabels::new(route.virtual_host(), route.name(), target.cluster);
            let Some((name, forward)) = target.cluster.zip(route.forward()) else {
                let attached = self.attach.target(None, labels);
                let route = Arc::clone(route);
                return TargetSlot::Reply(Arc::new(ReplyTarget { route, attached }));
            };
            let Some(cluster) = clusters.get(name) else { return TargetSlot::UnknownCluster };
            let target = |cluster: &Arc<LiveCluster<A>>, children| {
                let attached = self.attach.target(Some(cluster.attached()), labels);
                let (route, forward) = (Arc::clone(route), Arc::clone(forward));
                let cluster = Arc::clone(cluster);
                Arc::new(Target { route, forward, cluster, split, attached, children })
            };
            let Discovery::Aggregate(names) = &cluster.policy().cluster.discovery else {
                return TargetSlot::Forward(target(cluster, Box::default()));
            };
            let children: Box<[_]> =
                children(names, clusters).map(|child| target(child, Box::default())).collect();
            match children.is_empty() {
                true => TargetSlot::UnknownCluster,
                false => TargetSlot::Forward(target(cluster, children)),
            }
        });
        targets.collect()
    }

    /// Takes clusters that are no longer configured out of force. Calls that have chosen one finish
    /// with it ([`Leaving`](super::leaving::Leaving)).
    pub(super) fn remove_missing(
        &mut self,
        update: &ConfigUpdate,
        applied: &mut Applied,
        now: Timestamp,
    ) {
        let gone: Vec<_> =
            self.entries.keys().filter(|n| !update.clusters.contains_key(*n)).cloned().collect();
        for name in gone {
            let Some(mut entry) = self.entries.remove(&name) else { continue };
            self.disarm(&name, &mut entry);
            applied.clusters_removed += 1;
            applied.endpoints_removed += entry.set.distinct().len();
            self.leaving.begin(entry, &mut self.retired, &self.attach, now);
        }
    }
}

impl<A: Attach> Entry<A> {
    fn take_turn(
        &mut self,
        turn: outlier::Turn,
        (events, suppressed): (&mut Vec<Event>, &mut u32),
        now: Timestamp,
    ) {
        if turn.has_changes() {
            self.take_ejections(&turn.changed, now);
        }
        events.extend(turn.events);
        *suppressed = suppressed.saturating_add(turn.suppressed);
    }
}

/// The children of an aggregate that are there and are no aggregates themselves, each once.
pub(super) fn children<'a, A: Attach>(
    names: &'a [Arc<str>],
    clusters: &'a BTreeMap<Arc<str>, Arc<LiveCluster<A>>>,
) -> impl Iterator<Item = &'a Arc<LiveCluster<A>>> {
    let first = |at: usize, name| !names[..at].contains(name);
    let names = names.iter().enumerate().filter(move |(at, name)| first(*at, name));
    let found = names.filter_map(|(_, name)| clusters.get(name));
    found.filter(|child| !matches!(child.policy().cluster.discovery, Discovery::Aggregate(_)))
}

/// Which priorities entered panic, and which left it.
fn panic_edges(before: Option<&Balancer>, after: Option<&Balancer>, events: &mut Vec<Event>) {
    let was_in = |priority| {
        let mut states = before.map(Balancer::priorities).unwrap_or_default().iter();
        states.any(|state| state.priority == priority && state.panic)
    };
    let states = |balancer: &'_ Balancer| balancer.panics().collect::<Vec<_>>();
    for (panic, is_in) in after.map(states).unwrap_or_default() {
        match (was_in(panic.priority), is_in) {
            (false, true) => events.push(Event::PanicEntered(panic)),
            (true, false) => events.push(Event::PanicLeft(panic)),
            (true, true) | (false, false) => {}
        }
    }
}
