//! What happens in a run: a mesh of some clusters, load, servers that misbehave, and edits.
//!
//! ```text
//! 0 s                         10 s                26 s           28 s        40 s
//! | load, misbehaviour, edits | load, all is well | all succeeds | calls end | quiet
//! ```

use super::network::Behaviour;
use super::setting::{address, host, retries};
use super::world::{Happening, Tally, World};
use mesh_core::model::cluster::RetryBudgetPolicy;
use mesh_core::model::outlier_detection::CapRule;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, Endpoint, HealthStatus, LbAlgorithm, LbPolicy, Locality,
    LocalityEndpoints, OutlierDetection, RouteConfiguration, SlowStart,
};
use mesh_core::random::SplitMix64;
use mesh_core::update::{ClusterUpdate, Origin};
use mesh_core::{ConfigUpdate, Random, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two steps of the script.
const STEP: Duration = Duration::from_millis(50);
const TROUBLE_ENDS: Timestamp = Timestamp::from_millis(10_000);
const ALL_SUCCEED_FROM: Timestamp = Timestamp::from_millis(26_000);
const CALLS_END: Timestamp = Timestamp::from_millis(28_000);
const QUIET_FROM: Timestamp = Timestamp::from_millis(40_000);
const CALLS_PER_STEP: u64 = 5;

/// A run.
#[derive(Debug)]
pub(super) struct Script {
    world: World,
    /// Of the script alone: what the calls draw does not change it.
    random: SplitMix64,
    clusters: BTreeMap<Arc<str>, Known>,
    /// Names that were removed; calls to them go on.
    gone: Vec<Arc<str>>,
    names: u32,
    ports: u16,
}

/// A cluster as the script has it configured.
#[derive(Clone, Debug)]
struct Known {
    cluster: Cluster,
    host: Arc<mesh_core::model::VirtualHost>,
    /// `None`: the endpoints are not known.
    localities: Option<Vec<LocalityEndpoints>>,
}

/// What happened in a run, to know that the properties were put to the test.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) tally: Tally,
    pub(super) unrouted: u64,
    pub(super) ejections: u64,
}

impl Seen {
    pub(super) fn and(self, other: &Self) -> Self {
        Self {
            tally: self.tally.and(&other.tally),
            unrouted: self.unrouted + other.unrouted,
            ejections: self.ejections + other.ejections,
        }
    }

    /// All seeds together have met everything.
    pub(super) fn is_enough(&self) {
        let Tally { calls, attempts, retries, succeeded, failed } = self.tally;
        assert!(calls > 50_000 && succeeded > calls / 2 && failed > calls / 100, "{self:?}");
        assert!(retries > 500 && attempts > calls + retries, "{self:?}");
        assert!(self.unrouted > 100 && self.ejections > 100, "{self:?}");
    }
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let world = World::new(1, SplitMix64::new(random.next_u64()));
        let clusters = BTreeMap::new();
        let mut script = Self { world, random, clusters, gone: Vec::new(), names: 0, ports: 0 };
        for _ in 0..2 + script.random.below(2) {
            script.add_cluster();
        }
        script.apply();
        script
    }

    pub(super) fn run(mut self) -> Seen {
        self.world.clock.plan(Timestamp::ZERO, Happening::Step);
        let mut healed = false;
        while self.world.run_to_step() {
            let now = self.world.clock.now();
            if now < TROUBLE_ENDS {
                self.trouble();
            } else if !healed {
                healed = true;
                self.heal();
            }
            if now < CALLS_END {
                self.load(now);
            } else if now >= QUIET_FROM {
                break;
            }
            self.world.clock.plan(now + STEP, Happening::Step);
        }
        self.world.is_quiet();
        self.check_budgets();
        self.check_recovery();
        let routed = self.world.hops[0].total();
        Seen {
            tally: routed,
            unrouted: self.world.ended.len() as u64 - routed.calls,
            ejections: self.world.ejections,
        }
    }

    fn load(&mut self, now: Timestamp) {
        for _ in 0..CALLS_PER_STEP {
            let after = Duration::from_micros(self.random.below(STEP.as_micros() as u64));
            let names: Vec<_> = self.clusters.keys().cloned().collect();
            let gone = now < TROUBLE_ENDS && self.random.below(20) == 0;
            let names = if gone && !self.gone.is_empty() { &self.gone } else { &names };
            let name = names[self.random.below(names.len() as u64) as usize].clone();
            self.world.clock.plan(now + after, Happening::Call(name));
        }
    }

    /// Retries over the whole run, cluster by cluster: names are never given twice.
    fn check_budgets(&self) {
        let seconds = QUIET_FROM.as_nanos() as f64 / 1e9;
        for (name, tally) in &self.world.hops[0].tally {
            let budget = budget();
            let reserve = f64::from(budget.min_per_second) * (seconds + 1.0);
            let most = budget.ratio * tally.calls as f64 + reserve;
            assert!(tally.retries as f64 <= most, "{name}: {tally:?}, at most {most}");
        }
    }

    fn check_recovery(&self) {
        let late = self.world.ended.iter().filter(|(at, _)| *at >= ALL_SUCCEED_FROM);
        let (succeeded, failed): (Vec<_>, Vec<_>) = late.copied().partition(|(_, well)| *well);
        assert!(succeeded.len() > 100, "calls went on");
        assert_eq!(failed.len(), 0, "all servers are well for 16 s");
    }
}

// === Edits ===

fn budget() -> RetryBudgetPolicy {
    let mut budget = RetryBudgetPolicy::default();
    budget.ratio = 0.2;
    budget.min_per_second = 1;
    budget
}

impl Script {
    fn trouble(&mut self) {
        if self.random.below(4) == 0 {
            self.misbehave();
        }
        if self.random.below(4) == 0 {
            self.edit();
            self.apply();
        }
    }

    fn heal(&mut self) {
        self.world.hops[0].network.heal();
        let names: Vec<_> = self.clusters.keys().cloned().collect();
        for name in &names {
            if self.clusters[name].localities.is_none() {
                self.forget_endpoints(name);
            }
        }
        for known in self.clusters.values_mut() {
            let localities = known.localities.as_mut().unwrap();
            localities.iter_mut().flat_map(|locality| &mut locality.endpoints).for_each(|e| {
                e.health = HealthStatus::Healthy;
            });
        }
        for name in names {
            self.add_endpoint(&name);
        }
        self.apply();
    }

    fn misbehave(&mut self) {
        let port = 1 + self.random.below(self.ports.into()) as u16;
        let behaviour = match self.random.below(10) {
            0..3 => Behaviour::Well,
            3 => Behaviour::Slow(2 + self.random.below(30) as u32),
            4 => Behaviour::Erroring(10 + self.random.below(91)),
            5 => Behaviour::Down,
            6 => Behaviour::Hanging,
            7 => Behaviour::Breaking,
            8 => Behaviour::Refusing,
            _ => Behaviour::Flapping(Duration::from_millis(100 + self.random.below(900))),
        };
        self.world.hops[0].network.set(&address(port), behaviour);
    }

    fn edit(&mut self) {
        let names: Vec<_> = self.clusters.keys().cloned().collect();
        let name = names[self.random.below(names.len() as u64) as usize].clone();
        match self.random.below(12) {
            0..2 => self.add_endpoint(&name),
            2 => self.with_endpoints(&name, |endpoints, random| {
                if endpoints.len() > 1 {
                    endpoints.remove(random.below(endpoints.len() as u64) as usize);
                }
            }),
            3 => self.with_endpoints(&name, |endpoints, random| {
                for at in (1..endpoints.len()).rev() {
                    endpoints.swap(at, random.below(at as u64 + 1) as usize);
                }
            }),
            4 => self.with_endpoint(&name, |endpoint, random| {
                endpoint.weight = 1 + random.below(5) as u32;
            }),
            5 => self.with_endpoint(&name, |endpoint, random| {
                endpoint.health = health(random);
            }),
            6 => self.with_cluster(&name, |cluster, random| cluster.lb_policy = lb_policy(random)),
            7 => self.with_cluster(&name, |cluster, random| {
                cluster.outlier_detection = detection(random);
            }),
            8 => self.with_cluster(&name, |cluster, random| {
                cluster.circuit_breakers.default.max_requests = 20 + random.below(100) as u32;
            }),
            9 if self.clusters.len() < 4 => self.add_cluster(),
            10 if self.clusters.len() > 1 => {
                self.clusters.remove(&name);
                self.gone.push(name);
            }
            _ => self.forget_endpoints(&name),
        }
    }

    /// Endpoints that are known are not any more, until the next edit of this kind brings others.
    fn forget_endpoints(&mut self, name: &str) {
        let localities = match &self.clusters[name].localities {
            Some(_) => None,
            None => Some(self.localities()),
        };
        self.clusters.get_mut(name).unwrap().localities = localities;
    }

    fn add_cluster(&mut self) {
        self.names += 1;
        let name: Arc<str> = format!("c{}", self.names).into();
        let random = &mut self.random;
        let mut cluster = Cluster::new(name.clone());
        cluster.lb_policy = lb_policy(random);
        cluster.outlier_detection = detection(random);
        cluster.retry_budget = budget();
        let mut policy = retries(random.below(4) as u32, Duration::from_millis(5));
        if random.below(2) == 0 {
            policy.per_try_timeout = Some(Duration::from_millis(100 + random.below(200)));
        }
        let timeout = Duration::from_millis(400 + random.below(600));
        let hedged = policy.per_try_timeout.is_some() && random.below(3) == 0;
        let host = host(&name, |action| {
            action.timeout = timeout;
            action.retry_policy = Some(Arc::new(policy));
            let mut hedge = mesh_core::model::HedgePolicy::default();
            hedge.hedge_on_per_try_timeout = hedged;
            action.hedge_policy = Some(hedge);
        });
        let localities = Some(self.localities());
        self.clusters.insert(name, Known { cluster, host, localities });
    }

    /// One to three localities of one or two priorities with two to five new endpoints each.
    fn localities(&mut self) -> Vec<LocalityEndpoints> {
        let priorities = 1 + self.random.below(2);
        let locality = |zone: u64, script: &mut Self| {
            let name = Locality::new("", zone.to_string(), "");
            let mut locality = LocalityEndpoints::new(name);
            locality.priority = (zone % priorities) as u32;
            for _ in 0..2 + script.random.below(4) {
                script.ports += 1;
                locality.endpoints.push(Endpoint::new(address(script.ports)));
            }
            locality
        };
        (0..priorities + self.random.below(2)).map(|zone| locality(zone, self)).collect()
    }

    fn add_endpoint(&mut self, name: &str) {
        self.ports += 1;
        let endpoint = Endpoint::new(address(self.ports));
        self.with_endpoints(name, |endpoints, random| {
            endpoints.insert(random.below(endpoints.len() as u64 + 1) as usize, endpoint);
        });
    }

    fn with_endpoints(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Vec<Endpoint>, &mut SplitMix64),
    ) {
        let known = self.clusters.get_mut(name).unwrap();
        let Some(localities) = known.localities.as_mut().filter(|all| !all.is_empty()) else {
            return;
        };
        let at = self.random.below(localities.len() as u64) as usize;
        change(&mut localities[at].endpoints, &mut self.random);
    }

    fn with_endpoint(&mut self, name: &str, change: impl FnOnce(&mut Endpoint, &mut SplitMix64)) {
        self.with_endpoints(name, |endpoints, random| {
            let at = random.below(endpoints.len() as u64) as usize;
            if let Some(endpoint) = endpoints.get_mut(at) {
                change(endpoint, random);
            }
        });
    }

    fn with_cluster(&mut self, name: &str, change: impl FnOnce(&mut Cluster, &mut SplitMix64)) {
        change(&mut self.clusters.get_mut(name).unwrap().cluster, &mut self.random);
    }

    /// Publishes what the script has. What is the same keeps its pointer, as sources do it.
    fn apply(&mut self) {
        let before = self.world.hops[0].updater.config();
        let mut update = ConfigUpdate::default();
        update.origin = Origin::new("script", self.random.next_u64().to_string());
        for (name, known) in &self.clusters {
            let old = before.clusters.get(name);
            let assignment = known.localities.as_ref().map(|localities| {
                let mut assignment = ClusterLoadAssignment::default();
                assignment.localities = localities.iter().cloned().map(Arc::new).collect();
                let old = old.and_then(|old| old.endpoints.as_ref());
                old.filter(|old| ***old == assignment).cloned().unwrap_or_else(|| assignment.into())
            });
            let cluster = old.map(|old| &old.cluster).filter(|old| ***old == known.cluster);
            let cluster = cluster.cloned().unwrap_or_else(|| known.cluster.clone().into());
            update.clusters.insert(name.clone(), ClusterUpdate::new(cluster, assignment));
        }
        let mut routes = RouteConfiguration::default();
        // A route may outlive its cluster.
        routes.virtual_hosts = self.clusters.values().map(|known| known.host.clone()).collect();
        let same = *before.route_configuration == routes;
        let old = Some(&before.route_configuration).filter(|_| same);
        update.route_configuration = old.cloned().unwrap_or_else(|| routes.into());
        self.world.apply(0, update);
    }
}

fn lb_policy(random: &mut SplitMix64) -> LbPolicy {
    let mut policy = LbPolicy::new(match random.below(6) {
        0 => LbAlgorithm::RoundRobin,
        1 => LbAlgorithm::Random,
        2 => LbAlgorithm::least_request(),
        3 => LbAlgorithm::peak_ewma(),
        4 => LbAlgorithm::RingHash {
            minimum_ring_size: 64,
            maximum_ring_size: 256,
            hash_balance_factor: None,
        },
        _ => LbAlgorithm::Maglev { table_size: 251, hash_balance_factor: None },
    });
    policy.panic_threshold = [0, 50, 50, 100][random.below(4) as usize];
    policy.locality_weighted = random.below(3) == 0;
    if random.below(3) == 0 {
        policy.slow_start = Some(SlowStart::new(Duration::from_millis(500 + random.below(3_000))));
    }
    policy
}

fn detection(random: &mut SplitMix64) -> Option<OutlierDetection> {
    if random.below(4) == 0 {
        return None;
    }
    let mut detection = OutlierDetection::default();
    detection.interval = Duration::from_millis(200 + random.below(1_000));
    detection.base_ejection_time = Duration::from_millis(300 + random.below(1_000));
    detection.max_ejection_time = Duration::from_secs(3);
    detection.max_ejection_percent = [10, 30, 50, 90, 100][random.below(5) as usize];
    detection.always_eject_one_endpoint = random.below(4) == 0;
    detection.split_external_local_origin_errors = random.below(3) == 0;
    if random.below(2) == 0 {
        detection.cap_rule = CapRule::Grpc;
    }
    let mut rate = mesh_core::model::outlier_detection::SuccessRate::default();
    (rate.minimum_hosts, rate.request_volume) = (3, 5);
    detection.success_rate = Some(rate);
    Some(detection)
}

fn health(random: &mut SplitMix64) -> HealthStatus {
    match random.below(6) {
        0 => HealthStatus::Unhealthy,
        1 => HealthStatus::Draining,
        2 => HealthStatus::Degraded,
        3 => HealthStatus::Timeout,
        _ => HealthStatus::Healthy,
    }
}
