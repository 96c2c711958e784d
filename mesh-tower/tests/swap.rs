//! Configurations that change all the time under load: no call fails, and nothing that was counted is
//! forgotten.
//!
//! `MESH_SWAP_SECONDS` asks for two hundred swaps for each of so many seconds, at that pace where the
//! machine keeps up (`.ci/steps/swaps`, in release mode); without it there are eighty, as fast as they
//! come.
//!
//! A binary of its own: it is all that is built for that step.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what tests share fails and spawns as tests do, but stands outside of test functions"
)]

#[path = "it/fixture.rs"]
#[expect(dead_code, reason = "what other tests need of it")]
mod fixture;
#[path = "it/wire.rs"]
#[expect(dead_code, reason = "what other tests need of it")]
mod wire;

use crate::fixture::{Count, at, bounded, call, idle, metric, outcome, over_h2};
use crate::wire::{Act, OK, h2_server, perform, scripted};
use futures_util::future::join_all;
use http::Request;
use mesh_core::model::retry_policy::RetryPolicy;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction, PathMatcher,
    RetryOn, Route, RouteAction, RouteConfiguration, RouteMatch, Split, SplitCluster, VirtualHost,
};
use mesh_core::update::{ClusterUpdate, ConfigUpdate};
use mesh_tower::source::Updates;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUTES: usize = 1000;
const CLUSTERS: usize = 100;

fn to(path: &str) -> Request<MeshBody> {
    over_h2(Request::get(format!("http://shop{path}")).body(MeshBody::empty()).unwrap())
}

/// A configuration that is changed part by part; what is not changed stays the same pointer.
#[derive(Clone)]
struct Draft {
    update: ConfigUpdate,
}

impl Draft {
    /// `/r0` … `/r999` go to `c0` … `c99`, each with endpoints 1 and 2; `/split` to `c0` and `c1`.
    fn new() -> Self {
        let mut host = VirtualHost::new("shop", vec![Domain::Exact("shop".into())]);
        let split = Split::new(vec![SplitCluster::new("c0", 1), SplitCluster::new("c1", 1)]);
        host.routes.push(route("/split", ClusterSpecifier::Split(split), None));
        for number in 0..ROUTES {
            let cluster = ClusterSpecifier::Cluster(format!("c{}", number % CLUSTERS).into());
            host.routes.push(route(&format!("/r{number}"), cluster, None));
        }
        let mut routes = RouteConfiguration::default();
        routes.virtual_hosts.push(Arc::new(host));
        let mut update = ConfigUpdate::default();
        update.route_configuration = Arc::new(routes);
        let mut draft = Self { update };
        for number in 0..CLUSTERS {
            draft.cluster(&format!("c{number}"), |_| {});
            draft.endpoints(&format!("c{number}"), &[(1, 1), (2, 1)]);
        }
        draft
    }

    fn host(&mut self) -> &mut VirtualHost {
        let routes = Arc::make_mut(&mut self.update.route_configuration);
        Arc::make_mut(&mut routes.virtual_hosts[0])
    }

    fn cluster(&mut self, name: &str, change: impl FnOnce(&mut Cluster)) {
        let mut cluster = Cluster::new(name);
        change(&mut cluster);
        let known = self.update.clusters.get(name);
        let endpoints = known.map_or_else(|| Some(Arc::default()), |known| known.endpoints.clone());
        self.update.clusters.insert(name.into(), ClusterUpdate::new(Arc::new(cluster), endpoints));
    }

    /// Endpoints by number, with their weights.
    fn endpoints(&mut self, name: &str, endpoints: &[(u8, u32)]) {
        let endpoints = endpoints.iter().map(|(number, weight)| {
            let mut endpoint = Endpoint::new(at(*number).into());
            endpoint.weight = *weight;
            endpoint
        });
        let assignment = Arc::new(ClusterLoadAssignment::of(endpoints));
        self.update.clusters.get_mut(name).unwrap().endpoints = Some(assignment);
    }

    fn split(&mut self, first: u32, second: u32) {
        let split =
            Split::new(vec![SplitCluster::new("c0", first), SplitCluster::new("c1", second)]);
        self.host().routes[0] = route("/split", ClusterSpecifier::Split(split), None);
    }

    fn retry(&mut self, number: usize, on: Option<RetryOn>) {
        let cluster = ClusterSpecifier::Cluster(format!("c{}", number % CLUSTERS).into());
        self.host().routes[number + 1] = route(&format!("/r{number}"), cluster, on);
    }
}

fn route(path: &str, cluster: ClusterSpecifier, on: Option<RetryOn>) -> Arc<Route> {
    let mut action = ForwardAction::new(cluster);
    action.retry_policy = on.map(|on| {
        let mut policy = RetryPolicy::new(on);
        policy.back_off.base_interval = Duration::from_millis(1);
        Arc::new(policy)
    });
    let matcher = RouteMatch::new(PathMatcher::Path(path.into()));
    Arc::new(Route::new(path, matcher, RouteAction::Forward(action)))
}

fn world(network: &MemoryNetwork, draft: &Draft) -> (Mesh, Updates) {
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder()
        .connector(network.clone())
        .config(draft.update.clone())
        .source(source)
        .build()
        .unwrap();
    (mesh, updates)
}

/// All counters, by series.
fn counters(mesh: &Mesh) -> BTreeMap<String, u64> {
    let text = mesh.metrics().prometheus_text();
    let series = text.lines().filter(|line| line.contains("_total") && !line.starts_with('#'));
    series
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn check_never_less(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) {
    for (series, value) in before {
        // The cluster that comes and goes takes its series with it.
        if series.contains("cluster=\"c2\"") {
            continue;
        }
        let now = now.get(series);
        assert!(now.is_some_and(|now| now >= value), "{series} fell from {value} to {now:?}");
    }
}

async fn apply(mesh: &Mesh, updates: &Updates, draft: &Draft) {
    let next = mesh.configuration().generation + 1;
    updates.apply(draft.update.clone());
    bounded(mesh.applied(next)).await.unwrap();
}

/// Swaps in a second, and how many there are when nobody says for how long.
const PER_SECOND: u32 = 200;
const SWAPS: usize = 80;

/// The clusters that only the prober calls; the load has the others.
const PROBED: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_call_and_each_has_its_effect() {
    let seconds = std::env::var("MESH_SWAP_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse::<u32>().expect("MESH_SWAP_SECONDS is a number"));
    let swaps = seconds.map_or(SWAPS, |seconds| (PER_SECOND * seconds) as usize);
    // Two per cent early, so that whoever keeps up is not late.
    let pause = seconds.map_or(Duration::ZERO, |_| Duration::from_micros(4_900));
    let mut prober = Prober::new();
    let (end, calls) = (Arc::new(AtomicBool::new(false)), Count::default());
    let mut load = tokio::task::JoinSet::new();
    for worker in 0..8_usize {
        let (mesh, end, calls) = (prober.mesh.clone(), Arc::clone(&end), calls.clone());
        load.spawn(async move {
            let mut number = worker * 37;
            while !end.load(Ordering::Relaxed) {
                number = (number * 31 + 17) % ROUTES;
                if number % CLUSTERS < PROBED {
                    continue;
                }
                let ended = outcome(&mesh, to(&format!("/r{number}"))).await;
                assert_eq!(ended.map(|(status, _)| status), Ok(200), "call {}", calls.get());
                calls.add();
                // Some thousand calls in a second, all workers together: load, and not a race for the
                // processor.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    let (begun, mut before, mut looked) = (Instant::now(), counters(&prober.mesh), Instant::now());
    for turn in 0..swaps {
        prober.change_and_look(turn).await;
        if looked.elapsed() > Duration::from_millis(500) {
            let now = counters(&prober.mesh);
            check_never_less(&before, &now);
            (before, looked) = (now, Instant::now());
        }
        tokio::time::sleep_until((begun + pause * (turn as u32 + 1)).into()).await;
    }
    let took = begun.elapsed();
    end.store(true, Ordering::Relaxed);
    bounded(load.join_all()).await;
    let (mesh, loaded) = (&prober.mesh, calls.get());
    idle(mesh).await;
    let rate = swaps as f64 / took.as_secs_f64();
    // How many in a second is the machine's matter: it is printed, and docs/performance.md says it.
    println!("{swaps} swaps in {took:?}, {rate:.0} in a second, under {loaded} calls");
    assert!(loaded >= swaps, "{loaded} calls are no load for {swaps} swaps");
    assert_eq!(mesh.configuration().generation, swaps as u64 + 1);
    check_never_less(&before, &counters(mesh));
    // All but those of the cluster that comes and goes, which takes its series with it.
    let stayed = |labels: &[(&str, &str)]| {
        let gone = [labels, &[("cluster", "c2")]].concat();
        metric(mesh, "mesh_calls_total", labels) - metric(mesh, "mesh_calls_total", &gone)
    };
    let expected = loaded + prober.calls - prober.of_passing;
    assert_eq!(stayed(&[]), expected as u64);
    let well = expected - prober.refused - prober.failed;
    assert_eq!(stayed(&[("status", "200")]), well as u64);
    assert_eq!(metric(mesh, "mesh_retries_total", &[("outcome", "started")]), prober.retries);
}

/// The prober's own endpoints: three that are well, and one of which every other call fails.
const WELL: [u8; 3] = [11, 12, 13];
const HALF_WELL: u8 = 14;

/// Changes one thing after another, and looks by counts whether it is so from the next call on.
///
/// `/r0` to `/r3` are its own, with their clusters and endpoints: nobody else calls them.
struct Prober {
    mesh: Mesh,
    updates: Updates,
    draft: Draft,
    asked: [Count; 3],
    asked_half_well: Count,
    calls: usize,
    /// Of the calls, those to the cluster that comes and goes while it was there, those that were meant
    /// to be refused, and those that were meant to fail.
    of_passing: usize,
    refused: usize,
    failed: usize,
    retries: u64,
}

impl Prober {
    fn new() -> Self {
        let network = MemoryNetwork::new();
        for number in [1, 2] {
            scripted(&network, number, &[OK]);
        }
        let asked = WELL.map(|number| scripted(&network, number, &[OK]).1);
        let asked_half_well = Count::default();
        let count = asked_half_well.clone();
        h2_server(&network, HALF_WELL, move |_, respond| {
            let act = if count.add() % 2 == 0 { Act::Head(503, &[]) } else { OK };
            perform(act, respond)
        });
        let mut draft = Draft::new();
        for cluster in ["c0", "c1", "c2"] {
            draft.endpoints(cluster, &WELL.map(|number| (number, 1)));
        }
        // A third of its calls are retried: more than a budget allows.
        draft.cluster("c3", |cluster| cluster.retry_budget.enabled = false);
        draft.endpoints("c3", &[(HALF_WELL, 1)]);
        let (mesh, updates) = world(&network, &draft);
        Self {
            mesh,
            updates,
            draft,
            asked,
            asked_half_well,
            calls: 0,
            of_passing: 0,
            refused: 0,
            failed: 0,
            retries: 0,
        }
    }

    /// One change of each kind in turn, there and back.
    async fn change_and_look(&mut self, turn: usize) {
        let there = (turn / 4).is_multiple_of(2);
        match turn % 4 {
            0 => self.weights(there).await,
            1 => self.one_endpoint(there).await,
            2 => self.one_cluster(there).await,
            _ => self.retry_policy(there).await,
        }
    }

    async fn weights(&mut self, there: bool) {
        let [first, second, _] = WELL;
        let heavy = if there { 3 } else { 1 };
        self.draft.endpoints("c0", &[(first, heavy), (second, 1)]);
        self.apply().await;
        let shares = self.shares("/r0", 12).await;
        let expected = if there { 8..=10 } else { 5..=7 };
        assert!(expected.contains(&shares[0]) && shares[0] + shares[1] == 12, "{there} {shares:?}");
    }

    async fn one_endpoint(&mut self, there: bool) {
        let endpoints = WELL.map(|number| (number, 1));
        self.draft.endpoints("c1", if there { &endpoints[..2] } else { &endpoints });
        self.apply().await;
        let expected = if there { [3, 3, 0] } else { [2, 2, 2] };
        assert_eq!(self.shares("/r1", 6).await, expected, "{there}");
    }

    async fn one_cluster(&mut self, there: bool) {
        if there {
            self.draft.update.clusters.remove("c2");
        } else {
            self.draft.cluster("c2", |_| {});
            self.draft.endpoints("c2", &WELL.map(|number| (number, 1)));
        }
        self.apply().await;
        if there {
            assert_eq!(self.call("/r2").await, Err("unknown_cluster".to_owned()));
            self.refused += 1;
        } else {
            assert_eq!(self.shares("/r2", 3).await, [1, 1, 1]);
            self.of_passing += 3;
        }
    }

    async fn retry_policy(&mut self, there: bool) {
        self.draft.retry(3, there.then_some(RetryOn::SERVER_ERROR));
        self.apply().await;
        let before = self.asked_half_well.get();
        if there {
            assert_eq!(self.call("/r3").await, Ok(200));
            self.retries += 1;
        } else {
            assert_eq!(self.call("/r3").await, Ok(503));
            self.failed += 1;
            assert_eq!(self.call("/r3").await, Ok(200));
        }
        assert_eq!(self.asked_half_well.get() - before, 2, "{there}");
    }

    async fn apply(&self) {
        apply(&self.mesh, &self.updates, &self.draft).await;
    }

    async fn call(&mut self, path: &str) -> Result<u16, String> {
        self.calls += 1;
        outcome(&self.mesh, to(path)).await.map(|(status, _)| status)
    }

    async fn shares(&mut self, path: &str, count: usize) -> [usize; 3] {
        self.calls += count;
        shares(&self.mesh, &self.asked, path, count).await
    }
}

/// How many of `count` calls, twenty at once, each of three endpoints got.
async fn shares(mesh: &Mesh, asked: &[Count; 3], path: &str, count: usize) -> [usize; 3] {
    let before = asked.each_ref().map(Count::get);
    let numbers: Vec<_> = (0..count).collect();
    for some in numbers.chunks(20) {
        for ended in join_all(some.iter().map(|_| outcome(mesh, to(path)))).await {
            assert_eq!(ended.map(|(status, _)| status), Ok(200));
        }
    }
    std::array::from_fn(|index| asked[index].get() - before[index])
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_change_has_its_effect_at_once() {
    let network = MemoryNetwork::new();
    let asked = [1, 2, 3].map(|number| scripted(&network, number, &[OK]).1);
    let mut draft = Draft::new();
    let (mesh, updates) = world(&network, &draft);
    assert_eq!(shares(&mesh, &asked, "/r7", 100).await, [50, 50, 0]);
    // Weights.
    draft.endpoints("c7", &[(1, 3), (2, 1)]);
    apply(&mesh, &updates, &draft).await;
    let [first, second, _] = shares(&mesh, &asked, "/r7", 400).await;
    assert!((298..=302).contains(&first) && first + second == 400, "{first} {second}");
    assert_eq!(
        shares(&mesh, &asked, "/r8", 100).await,
        [50, 50, 0],
        "another cluster is as it was"
    );
    // One endpoint more, one less.
    draft.endpoints("c7", &[(1, 1), (2, 1), (3, 1)]);
    apply(&mesh, &updates, &draft).await;
    assert_eq!(shares(&mesh, &asked, "/r7", 99).await, [33, 33, 33]);
    draft.endpoints("c7", &[(3, 1)]);
    apply(&mesh, &updates, &draft).await;
    assert_eq!(shares(&mesh, &asked, "/r7", 50).await, [0, 0, 50]);
    // A split.
    draft.endpoints("c1", &[(3, 1)]);
    draft.split(0, 1);
    apply(&mesh, &updates, &draft).await;
    assert_eq!(shares(&mesh, &asked, "/split", 50).await, [0, 0, 50]);
    draft.split(3, 1);
    apply(&mesh, &updates, &draft).await;
    let [first, second, canary] = shares(&mesh, &asked, "/split", 2000).await;
    // Five standard deviations of 2000 draws.
    assert!((403..=597).contains(&canary) && first + second + canary == 2000, "{canary}");
    // A cluster's limits.
    draft.cluster("c7", |cluster| cluster.circuit_breakers.default.max_requests = 0);
    apply(&mesh, &updates, &draft).await;
    assert_eq!(outcome(&mesh, to("/r7")).await, Err("overflow_requests".to_owned()));
    // A cluster that a route names and that is gone: its calls are refused (Envoy: NC), others not.
    draft.update.clusters.remove("c7");
    apply(&mesh, &updates, &draft).await;
    assert_eq!(outcome(&mesh, to("/r7")).await, Err("unknown_cluster".to_owned()));
    assert_eq!(shares(&mesh, &asked, "/r8", 10).await, [5, 5, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_policy_counts_from_the_next_call_on() {
    static ACTS: &[Act] = &[Act::Head(503, &[]), Act::Head(503, &[]), OK];
    let network = MemoryNetwork::new();
    let (_, asked) = scripted(&network, 1, ACTS);
    let mut draft = Draft::new();
    draft.endpoints("c5", &[(1, 1)]);
    let (mesh, updates) = world(&network, &draft);
    assert_eq!(outcome(&mesh, to("/r5")).await.map(|(status, _)| status), Ok(503));
    draft.retry(5, Some(RetryOn::SERVER_ERROR));
    apply(&mesh, &updates, &draft).await;
    assert_eq!(outcome(&mesh, to("/r5")).await.map(|(status, _)| status), Ok(200));
    assert_eq!(asked.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_has_begun_ends_under_the_configuration_that_it_began_under() {
    let network = MemoryNetwork::new();
    scripted(&network, 1, &[Act::Slow(Duration::from_secs(5))]);
    scripted(&network, 2, &[OK]);
    let mut draft = Draft::new();
    draft.endpoints("c5", &[(1, 1)]);
    let (mesh, updates) = world(&network, &draft);
    let begun = tokio::spawn({
        let mesh = mesh.clone();
        async move { call(&mesh, to("/r5")).await.map(|response| response.status().as_u16()) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Its endpoint, its route and its cluster go.
    draft.endpoints("c5", &[(2, 1)]);
    apply(&mesh, &updates, &draft).await;
    let mut rest = draft.clone();
    rest.host().routes.clear();
    rest.update.clusters.clear();
    apply(&mesh, &updates, &rest).await;
    assert_eq!(bounded(begun).await.unwrap().unwrap(), 200);
    assert_eq!(call(&mesh, to("/r5")).await.unwrap_err().code(), "no_route");
    // Who comes back begins anew.
    apply(&mesh, &updates, &draft).await;
    assert_eq!(outcome(&mesh, to("/r5")).await.map(|(status, _)| status), Ok(200));
}

#[tokio::test(start_paused = true)]
async fn what_was_learnt_survives_every_change_that_keeps_its_key() {
    let network = MemoryNetwork::new();
    let (server, _) = scripted(&network, 1, &[OK]);
    let mut draft = Draft::new();
    draft.endpoints("c5", &[(1, 1)]);
    let (mesh, updates) = world(&network, &draft);
    for turn in 0..200 {
        assert!(outcome(&mesh, to("/r5")).await.is_ok());
        match turn % 4 {
            0 => draft.endpoints("c6", &[(1, 1), (3, 1)]),
            1 => draft.retry(turn % ROUTES, Some(RetryOn::SERVER_ERROR)),
            2 => draft.cluster("c5", |cluster| {
                cluster.circuit_breakers.default.max_requests = 1024 + turn as u32;
            }),
            _ => draft.split(1 + turn as u32, 1),
        }
        draft.endpoints("c5", &[(1, 1 + turn as u32 % 5)]);
        apply(&mesh, &updates, &draft).await;
    }
    assert_eq!(server.opened(), 1, "its connection is kept");
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("route", "/r5")]), 200);
    assert_eq!(metric(&mesh, "mesh_attempts_total", &[("cluster", "c5")]), 200);
}
