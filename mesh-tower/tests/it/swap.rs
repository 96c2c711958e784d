//! Configurations that change all the time under load: no call fails, and nothing that was counted is
//! forgotten.
//!
//! `MESH_SWAP_SECONDS` sets how long it goes on; 3 by default.

use crate::fixture::{Count, at, bounded, call, idle, metric, outcome, over_h2};
use crate::wire::{Act, OK, scripted};
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

    /// One of the changes that go on under load.
    fn change(&mut self, turn: usize) {
        let cluster = format!("c{}", turn % CLUSTERS);
        let odd = turn / 5 % 2 == 1;
        match turn % 5 {
            0 => self.endpoints(&cluster, &[(1, 1 + turn as u32 % 7), (2, 2)]),
            1 if odd => self.endpoints(&cluster, &[(1, 1), (2, 1)]),
            1 => self.endpoints(&cluster, &[(1, 1), (2, 1), (3, 1)]),
            2 if odd => drop(self.update.clusters.remove("passing")),
            2 => {
                self.cluster("passing", |_| {});
                self.endpoints("passing", &[(1, 1)]);
            }
            3 => self.retry(turn % ROUTES, odd.then_some(RetryOn::SERVER_ERROR)),
            _ => self.cluster(&cluster, |cluster| {
                cluster.circuit_breakers.default.max_requests = 1024 + turn as u32;
            }),
        }
    }
}

fn route(path: &str, cluster: ClusterSpecifier, on: Option<RetryOn>) -> Arc<Route> {
    let mut action = ForwardAction::new(cluster);
    action.retry_policy = on.map(|on| Arc::new(RetryPolicy::new(on)));
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
        if series.contains("passing") {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_fail_no_call_and_forget_nothing() {
    let seconds = std::env::var("MESH_SWAP_SECONDS").ok().and_then(|text| text.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(3));
    let network = MemoryNetwork::new();
    for number in 1..=3 {
        scripted(&network, number, &[OK]);
    }
    let mut draft = Draft::new();
    let (mesh, updates) = world(&network, &draft);
    let (end, calls) = (Instant::now() + duration, Count::default());
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8_usize {
        let (mesh, calls) = (mesh.clone(), calls.clone());
        workers.spawn(async move {
            let mut number = worker * 37;
            while Instant::now() < end {
                number = (number * 31 + 17) % ROUTES;
                let ended = outcome(&mesh, to(&format!("/r{number}"))).await;
                assert_eq!(ended.map(|(status, _)| status), Ok(200), "call {}", calls.get());
                calls.add();
            }
        });
    }
    let (mut turn, mut before, mut looked) = (0, counters(&mesh), Instant::now());
    let mut slowest = [Duration::ZERO; 5];
    while Instant::now() < end {
        draft.change(turn);
        turn += 1;
        let next = Instant::now() + Duration::from_millis(5);
        let begun = Instant::now();
        apply(&mesh, &updates, &draft).await;
        let slowest = &mut slowest[(turn - 1) % 5];
        *slowest = begun.elapsed().max(*slowest);
        if looked.elapsed() > Duration::from_millis(500) {
            let now = counters(&mesh);
            check_never_less(&before, &now);
            (before, looked) = (now, Instant::now());
        }
        tokio::time::sleep_until(next.into()).await;
    }
    bounded(workers.join_all()).await;
    idle(&mesh).await;
    let (calls, slowest) = (calls.get(), slowest.map(|time| time.as_millis()));
    println!(
        "{turn} swaps and {calls} calls in {duration:?}; the slowest of each kind: {slowest:?} ms"
    );
    assert!(turn as u64 > 2 * duration.as_secs(), "{turn} swaps only");
    assert_eq!(mesh.configuration().generation, turn as u64 + 1);
    check_never_less(&before, &counters(&mesh));
    assert_eq!(metric(&mesh, "mesh_calls_total", &[]), calls as u64);
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("status", "200")]), calls as u64);
}

/// How many of `count` calls each of the endpoints 1 to 3 got.
async fn shares(mesh: &Mesh, asked: &[Count; 3], path: &str, count: usize) -> [usize; 3] {
    let before = asked.each_ref().map(Count::get);
    for _ in 0..count {
        assert_eq!(outcome(mesh, to(path)).await.map(|(status, _)| status), Ok(200));
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
    // A cluster that a route names and that is gone.
    draft.update.clusters.remove("c7");
    let next = mesh.configuration().generation + 1;
    updates.apply(draft.update.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let now = mesh.configuration();
    if now.generation == next {
        assert_eq!(outcome(&mesh, to("/r7")).await, Err("unknown_cluster".to_owned()));
    } else {
        assert!(now.refused.is_some_and(|why| why.contains("c7")), "refused without a reason");
    }
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
        draft.change(turn);
        draft.endpoints("c5", &[(1, 1 + turn as u32 % 5)]);
        apply(&mesh, &updates, &draft).await;
    }
    assert_eq!(server.opened(), 1, "its connection is kept");
    assert_eq!(metric(&mesh, "mesh_calls_total", &[("route", "/r5")]), 200);
    assert_eq!(metric(&mesh, "mesh_attempts_total", &[("cluster", "c5")]), 200);
}
