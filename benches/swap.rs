//! What a change of configuration costs, and what configuration weighs.
//!
//! Milliseconds by the clock, medians; memory by the resident set, from before the model is made, and
//! each measurement in a process of its own. No instructions: these are not on the way of a call.
#![expect(
    dead_code,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench is a program that fails loudly and prints"
)]

#[path = "support/tables.rs"]
mod tables;

use mesh_core::Timestamp;
use mesh_core::model::{
    Address, ClusterLoadAssignment, Domain, LbAlgorithm, PathMatcher, VirtualHost,
};
use mesh_core::random::SplitMix64;
use mesh_core::state::{LiveCluster, Mesh as State, PickRequest, Picked, Picker, Updater};
use mesh_core::update::{ClusterUpdate, ConfigUpdate};
use mesh_tower::Mesh;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, which] = &arguments[..]
        && flag == "--memory"
    {
        let [model, state] = if which == "clusters" { clusters() } else { endpoints() };
        println!("{model:>12}{state:>12}{:>12}", model + state);
        return;
    }
    println!("{:<64}{:>12}", "swap", "ms");
    for (name, algorithm) in [
        ("round robin", LbAlgorithm::RoundRobin),
        ("least request", LbAlgorithm::least_request()),
        ("ring hash", LbAlgorithm::ring_hash()),
        // A table of the usual size has no slot for a third of them.
        (
            "Maglev of 200,003 slots",
            LbAlgorithm::Maglev { table_size: 200_003, hash_balance_factor: None },
        ),
    ] {
        let median = one_of_many(&algorithm, 100_000);
        report(
            &format!("one endpoint changed among 100,000, to a pick that sees it: {name}"),
            median,
        );
    }
    report("1,000 routes and 100 clusters: one cluster's weights", many_routes());
    println!("{:<64}{:>12}{:>12}{:>12}", "memory, bytes each", "model", "state", "both");
    alone("clusters", "cluster with its route, host and endpoint, of 10,000");
    alone("endpoints", "idle endpoint, of 100,000 in one cluster");
}

/// Runs one memory measurement in a process of its own: what another freed would be used again.
fn alone(which: &str, name: &str) {
    let exe = std::env::current_exe().expect("this program");
    let output = Command::new(exe).args(["--memory", which]).output().expect("this program runs");
    println!("{name:<64}{}", String::from_utf8_lossy(&output.stdout).trim_end());
}

fn clusters() -> [u64; 2] {
    memory(10_000, || {
        let names: Vec<_> = (0..10_000).map(|number| format!("c{number}")).collect();
        let clusters =
            names.iter().map(|name| tables::cluster(name, LbAlgorithm::least_request(), 1));
        let hosts = names.iter().map(|name| {
            let mut host =
                VirtualHost::new(name.as_str(), vec![Domain::Exact(name.as_str().into())]);
            host.routes.push(tables::forward("all", PathMatcher::any(), name));
            host
        });
        tables::update(hosts.collect(), clusters, 1)
    })
}

fn endpoints() -> [u64; 2] {
    memory(100_000, || {
        tables::update(Vec::new(), [tables::cluster("a", LbAlgorithm::least_request(), 100_000)], 1)
    })
}

fn report(name: &str, duration: Duration) {
    println!("{name:<64}{:>12.3}", duration.as_secs_f64() * 1e3);
}

/// The median time from `Updater::apply` to a pick that sees the new endpoint, and not the old one.
fn one_of_many(algorithm: &LbAlgorithm, size: u32) -> Duration {
    let (mut updater, mesh): (Updater<()>, State<()>) = Updater::new(());
    let base = tables::cluster("a", algorithm.clone(), size);
    let mut random = SplitMix64::new(1);
    updater.apply(of(base.clone(), 0), Timestamp::ZERO).expect("a good configuration");
    let rounds = (1..12u32).map(|round| {
        updater.free_retired();
        let numbers = (0..size)
            .map(|number| tables::endpoint(if number == size / 2 { size + round } else { number }));
        let assignment = Arc::new(ClusterLoadAssignment::of(numbers));
        let next = ClusterUpdate::new(Arc::clone(&base.cluster), Some(assignment));
        let update = of(next, u64::from(round));
        let old = tables::endpoint(if round == 1 { size / 2 } else { size + round - 1 }).address;
        let start = Instant::now();
        updater.apply(update, Timestamp::ZERO).expect("a good configuration");
        let cluster = mesh.snapshot().cluster("a").expect("the cluster").clone();
        let now = Timestamp::from_millis(1);
        let request = PickRequest { now, hash: Some(7), previous: &[], max_reselect: 0 };
        let picker = cluster.picker();
        assert!(matches!(picker.pick(&cluster, request, &mut random), Picked::Endpoint(..)));
        let elapsed = start.elapsed();
        let set = picker.set();
        let new = tables::endpoint(size + round).address;
        assert_eq!(set.endpoint(size / 2).map(|endpoint| endpoint.address()), Some(&new));
        assert!(set.endpoints().all(|endpoint| *endpoint.address() != old), "the old one is gone");
        // What the hashes of one of many are is not known here.
        let is_hashed = picker.balancer().is_some_and(|balancer| balancer.uses_hash());
        assert!(is_hashed || picks_reach(&cluster, &picker, &new, size), "the new one is picked");
        elapsed
    });
    median(rounds.collect())
}

/// Whether some of many picks go to `address`.
fn picks_reach(
    cluster: &LiveCluster<()>,
    picker: &Picker<()>,
    address: &Address,
    size: u32,
) -> bool {
    let mut random = SplitMix64::new(2);
    (0..40 * u64::from(size)).any(|_| {
        let now = Timestamp::from_millis(1);
        let request = PickRequest { now, hash: None, previous: &[], max_reselect: 0 };
        let picked = picker.pick(cluster, request, &mut random);
        matches!(picked, Picked::Endpoint(_, endpoint) if endpoint.address() == address)
    })
}

fn of(cluster: ClusterUpdate, version: u64) -> ConfigUpdate {
    tables::update(Vec::new(), [cluster], version)
}

fn many_routes() -> Duration {
    let clusters: Vec<_> = (0..100)
        .map(|number| tables::cluster(&format!("c{number}"), LbAlgorithm::least_request(), 10))
        .collect();
    let mut host = VirtualHost::new("h", vec![Domain::Any]);
    for number in 0..1000 {
        let path = PathMatcher::Prefix(format!("/r{number}/").into());
        host.routes.push(tables::forward(
            &format!("r{number}"),
            path,
            &format!("c{}", number % 100),
        ));
    }
    let mut update = tables::update(vec![host], clusters, 0);
    let (mut updater, _mesh): (Updater<()>, State<()>) = Updater::new(());
    updater.apply(update.clone(), Timestamp::ZERO).expect("a good configuration");
    let rounds = (1..100u32).map(|round| {
        let mut endpoints: Vec<_> = (0..10).map(tables::endpoint).collect();
        endpoints[0].weight = round;
        let cluster = update.clusters.values_mut().next().expect("a cluster");
        cluster.endpoints = Some(Arc::new(ClusterLoadAssignment::of(endpoints)));
        let next = update.clone();
        let start = Instant::now();
        updater.apply(next, Timestamp::ZERO).expect("a good configuration");
        start.elapsed()
    });
    median(rounds.collect())
}

fn median(mut rounds: Vec<Duration>) -> Duration {
    rounds.sort();
    rounds[rounds.len() / 2]
}

/// What the configuration adds to the resident set, and what a whole mesh of it (connections' places,
/// metric cells and all) adds to that, for each of `count` things.
fn memory(count: u64, make: impl FnOnce() -> ConfigUpdate) -> [u64; 2] {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _entered = runtime.enter();
    let before = resident();
    let update = make();
    let made = resident();
    // The mesh holds the configuration; nothing else does from here on.
    let mesh = Mesh::builder().config(update).build().expect("a mesh");
    let after = resident();
    drop(mesh);
    [made.saturating_sub(before) / count, after.saturating_sub(made) / count]
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(1).expect("pages").parse().expect("a number");
    pages * 4096
}
