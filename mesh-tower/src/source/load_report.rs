//! [`Loads`]: what was counted of the clusters whose load a control plane wants to know.
//!
//! The cells of a cluster count for as long as they live, and live as long as something is configured or
//! in flight. Reports need more: totals that begin when the control plane asks, miss nothing when a cluster
//! leaves between two reports, and never fall. So the cells are held from the moment that a cluster is to
//! be reported until its last load was, and what they had counted before is taken off.
//!
//! It also runs the reports ([`Reporting`]): which stream and when, `mesh-xds` decides.

use super::Sink;
use crate::observe::cluster::ClusterCells;
use crate::observe::load;
use crate::observe::registry::Registry;
use mesh_xds::bootstrap::Bootstrap;
use mesh_xds::client::{Client, LoadReports, LoadReportsEvent};
use mesh_xds::load_report::{ClusterLoad, LoadKey, LocalityLoad};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::task::Poll;

/// The load reports of a source.
#[derive(Debug)]
pub(super) struct Reporting {
    bootstrap: Bootstrap,
    loads: Option<Loads>,
    /// One to each server that ever wanted to know the load of a cluster.
    streams: Vec<Stream>,
}

/// The reports to one server.
#[derive(Debug)]
struct Stream {
    reports: LoadReports,
    keys: BTreeSet<LoadKey>,
}

impl Reporting {
    /// None yet. A sink without a mesh behind it has nothing to report.
    pub(super) fn new(bootstrap: &Bootstrap, sink: &Sink) -> Self {
        let loads = sink.registry().map(|registry| Loads::new(Arc::clone(registry)));
        Self { bootstrap: bootstrap.clone(), loads, streams: Vec::new() }
    }

    /// Reports what the last configuration of `client` wants to be reported. Before that configuration is
    /// published: then its first calls count.
    pub(super) fn follow(&mut self, client: &Client) {
        let Some(loads) = &mut self.loads else { return };
        let wanted = client.load_reports();
        let all = wanted.iter().flat_map(|(_, keys)| keys).cloned().collect();
        loads.watch(&all);
        for stream in &mut self.streams {
            stream.keys.clear();
        }
        for (server, keys) in wanted {
            match self.streams.iter_mut().find(|stream| stream.reports.server() == server) {
                Some(stream) => stream.keys = keys,
                None => {
                    let reports = LoadReports::new(&self.bootstrap, server);
                    self.streams.push(Stream { reports, keys });
                }
            }
        }
        for stream in &mut self.streams {
            stream.reports.watch(&stream.keys);
        }
    }

    /// Reports, for as long as it is polled; never completes.
    ///
    /// # Cancel safety
    /// Cancel safe: whatever had begun goes on with the next call.
    pub(super) async fn run(&mut self) {
        let Some(loads) = &mut self.loads else { return std::future::pending().await };
        loop {
            let (at, event) = next(&mut self.streams, loads).await;
            let server = self.streams[at].reports.server().uri();
            match event {
                // Another server may have taken the cluster over.
                LoadReportsEvent::Forgotten(key) if is_reported(&self.streams, &key) => {}
                LoadReportsEvent::Forgotten(key) => loads.forget(&key),
                LoadReportsEvent::Reachable => {
                    tracing::info!(target: "mesh", %server, "load is reported");
                }
                LoadReportsEvent::Unreachable { error, failures } => {
                    tracing::warn!(
                        target: "mesh", %server, failures,
                        "load can't be reported, what was counted is kept: {error}"
                    );
                }
                _ => {}
            }
        }
    }
}

/// Whether a server wants to know the load of a cluster.
fn is_reported(streams: &[Stream], key: &LoadKey) -> bool {
    streams.iter().any(|stream| stream.keys.contains(key))
}

/// What happens next, and on which stream.
async fn next(streams: &mut [Stream], loads: &Loads) -> (usize, LoadReportsEvent) {
    let mut all: Vec<_> = streams
        .iter_mut()
        .map(|stream| Box::pin(stream.reports.next(|key| loads.read(key))))
        .collect();
    std::future::poll_fn(|cx| {
        for (at, next) in all.iter_mut().enumerate() {
            if let Poll::Ready(event) = next.as_mut().poll(cx) {
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// What was counted of clusters that are reported.
struct Loads {
    registry: Arc<Registry>,
    counted: BTreeMap<LoadKey, Counted>,
}

/// What is counted of one cluster.
struct Counted {
    cells: Arc<ClusterCells>,
    /// What the cells had counted before.
    before: load::ClusterLoad,
    /// What they had counted at the end, once others count on the same cells.
    end: Option<load::ClusterLoad>,
}

impl fmt::Debug for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.counted.keys()).finish()
    }
}

impl Loads {
    const fn new(registry: Arc<Registry>) -> Self {
        Self { registry, counted: BTreeMap::new() }
    }

    /// Counts for these from now on. What was counted of others is kept until it is forgotten.
    fn watch(&mut self, keys: &BTreeSet<LoadKey>) {
        let follows: BTreeSet<&str> = keys.iter().map(|key| &*key.cluster).collect();
        for (key, counted) in &mut self.counted {
            // The endpoints have another name now: what comes is counted under that.
            if !keys.contains(key) && follows.contains(&*key.cluster) && counted.end.is_none() {
                counted.end = Some(counted.cells.load());
            }
        }
        for key in keys {
            let known = self.counted.entry(key.clone());
            let counted = known.or_insert_with(|| {
                let cells = self.registry.cluster(&key.cluster);
                cells.report_load();
                Counted { before: cells.load(), cells, end: None }
            });
            if let Some(end) = counted.end.take() {
                // It is back before its end was reported: what came in between was the other's.
                let between = minus(&counted.cells.load(), &end);
                counted.before = plus(&counted.before, &between);
            }
        }
    }

    fn forget(&mut self, key: &LoadKey) {
        self.counted.remove(key);
    }

    fn read(&self, key: &LoadKey) -> ClusterLoad {
        let Some(counted) = self.counted.get(key) else { return ClusterLoad::default() };
        let now = counted.end.clone().unwrap_or_else(|| counted.cells.load());
        let new = minus(&now, &counted.before);
        let mut load = ClusterLoad::default();
        for (place, total) in new.localities {
            // In progress is what the cells say, whenever it began; at the end it is the successor's.
            let now = now.localities.get(&place).copied().unwrap_or_default();
            let in_progress = if counted.end.is_some() { 0 } else { now.in_progress() };
            let total = LocalityLoad::new(total.issued, total.succeeded, total.failed, in_progress);
            load.localities.insert(place, total);
        }
        load.drops = new.drops.into_iter().collect();
        load.refused = new.refused;
        load
    }
}

/// `after` without what was `before`.
fn minus(after: &load::ClusterLoad, before: &load::ClusterLoad) -> load::ClusterLoad {
    combine(after, before, u64::saturating_sub)
}

fn plus(one: &load::ClusterLoad, other: &load::ClusterLoad) -> load::ClusterLoad {
    let mut sum = combine(one, other, u64::saturating_add);
    for (place, reading) in &other.localities {
        sum.localities.entry(place.clone()).or_insert(*reading);
    }
    let missing = |(category, _): &&(Arc<str>, u64)| one.drops.iter().all(|(c, _)| c != category);
    sum.drops.extend(other.drops.iter().filter(missing).cloned());
    sum
}

/// Each number of `one` with that of `other` of the same place or category.
fn combine(
    one: &load::ClusterLoad,
    other: &load::ClusterLoad,
    with: fn(u64, u64) -> u64,
) -> load::ClusterLoad {
    let localities = one.localities.iter().map(|(place, a)| {
        let b = other.localities.get(place).copied().unwrap_or_default();
        let combined = load::LoadReading {
            issued: with(a.issued, b.issued),
            succeeded: with(a.succeeded, b.succeeded),
            failed: with(a.failed, b.failed),
        };
        (place.clone(), combined)
    });
    let drops = one.drops.iter().map(|(category, a)| {
        let b = other.drops.iter().find(|(other, _)| other == category);
        (Arc::clone(category), with(*a, b.map_or(0, |(_, count)| *count)))
    });
    load::ClusterLoad {
        localities: localities.collect(),
        drops: drops.collect(),
        refused: with(one.refused, other.refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::cluster::LocalityCells;
    use mesh_core::model::Locality;
    use mesh_core::outcome::Overflow;

    struct Setting {
        registry: Arc<Registry>,
        loads: Loads,
    }

    impl Setting {
        fn new() -> Self {
            let registry = Registry::new();
            Self { loads: Loads::new(Arc::clone(&registry)), registry }
        }

        fn watch(&mut self, keys: &[&LoadKey]) {
            self.loads.watch(&keys.iter().map(|key| (*key).clone()).collect());
        }

        fn locality(&self, cluster: &str) -> Arc<LocalityCells> {
            self.registry.cluster(&cluster.into()).locality(&place())
        }

        fn read(&self, key: &LoadKey) -> (u64, u64, u64, u64) {
            let load = self.loads.read(key);
            let load = load.localities.get(&place()).copied().unwrap_or_default();
            (load.issued, load.succeeded, load.failed, load.in_progress)
        }
    }

    fn place() -> Locality {
        Locality::new("r", "z", "")
    }

    fn succeed(locality: &LocalityCells, times: u32) {
        for _ in 0..times {
            if locality.attempt_started() {
                locality.load_ended(false);
            }
        }
    }

    #[test]
    fn a_cluster_counts_from_when_it_is_watched() {
        let (mut setting, key) = (Setting::new(), LoadKey::new("a"));
        let locality = setting.locality("a");
        succeed(&locality, 3);
        locality.cluster().overflow(Overflow::Requests);
        locality.cluster().dropped(&"lb".into());
        setting.watch(&[&key]);
        assert_eq!(setting.read(&key), (0, 0, 0, 0));
        succeed(&locality, 2);
        locality.cluster().overflow(Overflow::Requests);
        locality.cluster().dropped(&"lb".into());
        assert_eq!(setting.read(&key), (2, 2, 0, 0));
        let load = setting.loads.read(&key);
        assert_eq!((load.refused, load.drops.get("lb").copied()), (1, Some(1)));
    }

    #[test]
    fn what_leaves_with_its_cluster_is_there_until_it_is_forgotten() {
        let (mut setting, key) = (Setting::new(), LoadKey::new("a"));
        setting.watch(&[&key]);
        let locality = setting.locality("a");
        succeed(&locality, 5);
        assert!(locality.attempt_started());
        setting.watch(&[]);
        assert_eq!(setting.read(&key), (6, 5, 0, 1));
        locality.load_ended(true);
        drop(locality);
        assert_eq!(setting.read(&key), (6, 5, 1, 0));
        setting.loads.forget(&key);
        assert_eq!(setting.read(&key), (0, 0, 0, 0));
        // Watched again, it begins at zero.
        setting.watch(&[&key]);
        assert_eq!(setting.read(&key), (0, 0, 0, 0));
    }

    #[test]
    fn endpoints_of_another_name_count_apart() {
        let mut setting = Setting::new();
        let old = LoadKey::new("a").with_service("old");
        let new = LoadKey::new("a").with_service("new");
        setting.watch(&[&old]);
        let locality = setting.locality("a");
        succeed(&locality, 2);
        assert!(locality.attempt_started());
        setting.watch(&[&new]);
        succeed(&locality, 4);
        assert_eq!(setting.read(&old), (3, 2, 0, 0), "what is in progress is the other's");
        assert_eq!(setting.read(&new), (4, 4, 0, 1));
        locality.load_ended(false);
        assert_eq!(setting.read(&new), (4, 5, 0, 0));
        // The old name is back before its load was reported to the end.
        setting.watch(&[&old]);
        succeed(&locality, 1);
        assert_eq!(setting.read(&old), (4, 3, 0, 0));
        assert_eq!(setting.read(&new), (4, 5, 0, 0));
    }
}
