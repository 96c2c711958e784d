//! What must hold, whatever happens.

use mesh_core::breaker::Resource;
use mesh_core::event::{Event, Verdict};
use mesh_core::lb::EndpointId;
use mesh_core::model::outlier_detection::CapRule;
use mesh_core::model::{Address, HealthStatus, OutlierDetection, RoutingPriority};
use mesh_core::state::{EndpointSet, LiveCluster, LiveEndpoint, Mesh, Picker};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// How many endpoints a priority may have for a fresh one to be found for certain.
const FOUND_FOR_CERTAIN: usize = 16;

/// Nobody is picked who is ejected or configured away, but in panic; and nobody twice in one call
/// while there is another.
pub(super) fn picked(picker: &Picker<()>, index: u32, previous: &[EndpointId]) {
    let (set, balancer) = (picker.set(), picker.balancer().unwrap());
    let priority = priority_of(set, index);
    let state = balancer.priorities().iter().find(|state| state.priority == priority).unwrap();
    let endpoint = set.endpoint(index).unwrap();
    let tier = tier(set, index);
    assert!(state.panic || tier.is_some(), "{} was picked out of panic", endpoint.address());
    if !previous.contains(&endpoint.id()) {
        return;
    }
    let alike = (0..set.len() as u32)
        .filter(|other| priority_of(set, *other) == priority)
        .filter(|other| state.panic || self::tier(set, *other) == tier);
    let alike: Vec<_> = alike.collect();
    // Consistent hashing looks at some of its table only.
    if alike.len() <= FOUND_FOR_CERTAIN && loads_one(picker) && !balancer.uses_hash() {
        let fresh =
            alike.iter().find(|other| !previous.contains(&set.endpoint(**other).unwrap().id()));
        assert_eq!(fresh, None, "{} was tried before", endpoint.address());
    }
}

/// Whether all traffic goes to one tier of one priority, so that a repeated pick is from it again.
fn loads_one(picker: &Picker<()>) -> bool {
    let states = picker.balancer().unwrap().priorities();
    states.iter().any(|state| state.load == 100 || state.degraded_load == 100)
}

fn priority_of(set: &EndpointSet<()>, index: u32) -> u32 {
    let mut end = 0;
    let localities = &set.assignment().localities;
    let holds = |locality: &&Arc<mesh_core::model::LocalityEndpoints>| {
        end += locality.endpoints.len();
        (index as usize) < end
    };
    localities.iter().find(holds).unwrap().priority
}

/// Healthy or degraded, and not ejected; `None`: takes calls in panic only.
fn tier(set: &EndpointSet<()>, index: u32) -> Option<&'static str> {
    if set.endpoint(index).unwrap().monitor().is_ejected() {
        return None;
    }
    match set.configured(index).unwrap().health {
        HealthStatus::Unknown | HealthStatus::Healthy => Some("healthy"),
        HealthStatus::Degraded => Some("degraded"),
        HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout => None,
    }
}

/// Whether it is an ejection. At most the configured share is out after one, and somebody is left.
pub(super) fn ejected(cluster: &LiveCluster<()>, event: &Event) -> bool {
    let Event::Outlier { verdict: Verdict::Ejected { left, .. }, .. } = event else {
        return false;
    };
    let policy = cluster.policy();
    let detection = policy.cluster.outlier_detection.as_ref().unwrap();
    let picker = cluster.picker();
    let (endpoints, len) = (picker.set().endpoints(), picker.set().len());
    let out = endpoints.filter(|endpoint| endpoint.monitor().is_ejected()).count();
    assert!(share_is_allowed(detection, out, len), "{out} of {len}");
    let indexes = 0..len as u32;
    let others = indexes.filter(|index| tier(picker.set(), *index).is_some()).count();
    assert!(*left > 0 || others == 0 || detection.max_ejection_percent == 100);
    true
}

fn share_is_allowed(detection: &OutlierDetection, out: usize, of: usize) -> bool {
    let limit = detection.max_ejection_percent as usize * of;
    match detection.cap_rule {
        _ if detection.always_eject_one_endpoint && out <= 1 => true,
        CapRule::Envoy => 100 * out <= limit,
        // One may go beyond the limit, not two.
        CapRule::Grpc => 100 * (out - 1) < limit,
    }
}

/// What a mesh has learnt, to be compared after a swap.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    clusters: BTreeMap<Arc<str>, (Arc<LiveCluster<()>>, u64)>,
    endpoints: BTreeMap<(Arc<str>, Address), Facts>,
}

/// The endpoint, attempts in flight, whether it is ejected, and how often it was.
type Facts = (Arc<LiveEndpoint<()>>, u32, bool, u16);

impl Learnt {
    pub(super) fn of(mesh: &Mesh<()>) -> Self {
        let mut learnt = Self::default();
        for cluster in mesh.snapshot().clusters() {
            let name = cluster.name();
            learnt.clusters.insert(name.clone(), (cluster.clone(), cluster.active()));
            for endpoint in cluster.picker().set().endpoints() {
                let monitor = endpoint.monitor();
                let facts = (
                    endpoint.clone(),
                    endpoint.active(),
                    monitor.is_ejected(),
                    monitor.ejections(),
                );
                learnt.endpoints.insert((name.clone(), endpoint.address().clone()), facts);
            }
        }
        learnt
    }

    /// Whether one endpoint of a cluster takes calls, and no other.
    fn is_last(&self, cluster: &Arc<str>) -> bool {
        let picker = self.clusters[cluster].0.picker();
        let set = picker.set();
        (0..set.len() as u32).filter(|index| tier(set, *index).is_some()).count() == 1
    }

    /// A swap loses nothing of a key that stays, but that the last endpoint that is left is brought
    /// back.
    pub(super) fn is_kept_by(&self, mesh: &Mesh<()>) {
        let after = Self::of(mesh);
        for (name, (cluster, active)) in &after.clusters {
            let Some((before, active_before)) = self.clusters.get(name) else { continue };
            assert!(Arc::ptr_eq(before, cluster), "{name} is another cluster");
            assert_eq!(active_before, active, "{name} lost calls");
        }
        for (key, (endpoint, active, ejected, ejections)) in &after.endpoints {
            let Some(before) = self.endpoints.get(key) else { continue };
            assert!(Arc::ptr_eq(&before.0, endpoint), "{key:?} is another endpoint");
            assert_eq!((before.1, before.3), (*active, *ejections), "{key:?} lost something");
            let watched = after.clusters[&key.0].0.policy().rules.is_some();
            let kept = before.2 == *ejected || after.is_last(&key.0);
            assert!(!watched || kept, "{key:?} lost its ejection");
        }
    }
}

/// All that ever lived: it must be gone, or still configured, when no call is left.
#[derive(Debug, Default)]
pub(super) struct Graves {
    clusters: Vec<Weak<LiveCluster<()>>>,
    endpoints: Vec<Weak<LiveEndpoint<()>>>,
}

impl Graves {
    pub(super) fn remember(&mut self, mesh: &Mesh<()>) {
        self.clusters.retain(|cluster| cluster.strong_count() > 0);
        self.endpoints.retain(|endpoint| endpoint.strong_count() > 0);
        let learnt = Learnt::of(mesh);
        self.clusters.extend(learnt.clusters.values().map(|(cluster, _)| Arc::downgrade(cluster)));
        let endpoints = learnt.endpoints.values();
        self.endpoints.extend(endpoints.map(|(endpoint, ..)| Arc::downgrade(endpoint)));
    }

    /// Every call has ended and everything was freed that can be.
    pub(super) fn are_quiet(&self, mesh: &Mesh<()>) {
        let living = Learnt::of(mesh);
        for cluster in self.clusters.iter().filter_map(Weak::upgrade) {
            assert!(living.clusters.contains_key(cluster.name()), "{} leaks", cluster.name());
            for priority in [RoutingPriority::Default, RoutingPriority::High] {
                for resource in Resource::ALL {
                    let active = cluster.breaker().active(priority, resource);
                    assert_eq!(active, 0, "{resource:?} of {}", cluster.name());
                }
            }
        }
        for endpoint in self.endpoints.iter().filter_map(Weak::upgrade) {
            assert_eq!(endpoint.active(), 0, "in flight at {}", endpoint.address());
            let mut of = living.endpoints.values();
            assert!(of.any(|(known, ..)| Arc::ptr_eq(known, &endpoint)), "an endpoint leaks");
        }
    }
}
