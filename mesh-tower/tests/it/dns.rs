//! Clusters that are names: what a call sees of their lookups.

use crate::fixture::{at, bounded, call, cluster, config_with, get, outcome, reply};
use futures_core::future::BoxFuture;
use mesh_core::ConfigUpdate;
use mesh_core::model::{Discovery, DnsOptions};
use mesh_tower::dns::{Answer, Resolve, ResolveError};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh};
use parking_lot::Mutex;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A name server with one entry; empty: no such name.
#[derive(Clone, Debug, Default)]
struct Zone(Arc<Mutex<Vec<IpAddr>>>);

impl Zone {
    fn set(&self, numbers: &[u8]) {
        *self.0.lock() = numbers.iter().map(|number| at(*number).ip()).collect();
    }
}

impl Resolve for Zone {
    fn resolve(&self, name: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
        let (addresses, name) = (self.0.lock().clone(), name.into());
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if addresses.is_empty() {
                return Err(ResolveError::NotFound { name, ttl: None });
            }
            Ok(Answer::new(addresses, None))
        })
    }
}

fn named(discovery: fn(DnsOptions) -> Discovery) -> ConfigUpdate {
    let cluster = cluster(|cluster| cluster.discovery = discovery(DnsOptions::new("db", 80)));
    config_with(cluster, None, |_| {})
}

fn mesh(network: &MemoryNetwork, zone: &Zone, update: ConfigUpdate) -> Mesh {
    let builder = Mesh::builder().connector(network.clone()).resolver(zone.clone());
    builder.config(update).build().unwrap()
}

fn network(numbers: &'static [u8]) -> MemoryNetwork {
    let network = MemoryNetwork::new();
    for number in numbers {
        network.serve_fn(at(*number), move |_| async move {
            reply(200, if *number == 2 { "2" } else { "1" })
        });
    }
    network
}

#[tokio::test(start_paused = true)]
async fn a_name_that_does_not_resolve_fails_its_calls_and_says_so() {
    let (network, zone) = (network(&[1]), Zone::default());
    let mesh = mesh(&network, &zone, named(Discovery::StrictDns));
    let begun = Instant::now();
    // Waits for the first lookup, and no longer.
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert_eq!(begun.elapsed(), Duration::from_millis(100));
    assert_eq!((error.code(), error.response_flag().as_str()), ("name_unresolved", "UH"));
    assert!(error.is_no_endpoint());
    assert_eq!(error.source().unwrap().to_string(), "no such name: `db`");
    // Who waits for readiness gets the first answer.
    let mut patient = get("/");
    patient.extensions_mut().insert(CallOptions::new().wait_for_ready());
    let waiting = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, patient).await.map(|(status, _)| status) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    zone.set(&[1]);
    assert_eq!(bounded(waiting).await.unwrap(), Ok(200));
    assert!(outcome(&mesh, get("/")).await.is_ok());
    // Later failures take nothing away.
    zone.set(&[]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(outcome(&mesh, get("/")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failed_name_stays_so_over_a_new_configuration() {
    let (network, zone) = (network(&[1]), Zone::default());
    let (updates, source) = mesh_tower::source::Updates::new();
    let builder = Mesh::builder().connector(network).resolver(zone).source(source);
    let mesh = builder.config(named(Discovery::StrictDns)).build().unwrap();
    assert_eq!(outcome(&mesh, get("/")).await, Err("name_unresolved".to_owned()));
    let mut update = named(Discovery::StrictDns);
    update.unknown_hosts = mesh_core::update::UnknownHosts::Passthrough;
    updates.apply(update);
    bounded(mesh.applied(2)).await.unwrap();
    let begun = Instant::now();
    assert_eq!(outcome(&mesh, get("/")).await, Err("name_unresolved".to_owned()));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

/// The address in use refuses: another of the same name takes the call.
#[tokio::test(start_paused = true)]
async fn a_logical_cluster_connects_to_whichever_address_answers() {
    let (network, zone) = (network(&[2]), Zone::default());
    zone.set(&[1, 2]);
    let mesh = mesh(&network, &zone, named(Discovery::LogicalDns));
    let (status, body) = outcome(&mesh, get("/")).await.unwrap();
    assert_eq!((status, &body[..]), (200, &b"2"[..]));
}
