//! A source that hands over other endpoints, and nothing else.

use crate::fixture::{Handed, at, call, cluster, get, over_h2, reply, text};
use mesh_core::model::{ClusterLoadAssignment, LbAlgorithm};
use mesh_core::update::{ConfigUpdate, EndpointsUpdate, Origin};
use mesh_tower::Mesh;
use mesh_tower::source::Sink;
use mesh_tower::testing::MemoryNetwork;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A mesh over endpoints 1 to 3, which answer with their numbers.
async fn handed() -> (Mesh, Sink) {
    let network = MemoryNetwork::new();
    for (number, name) in [(1, "1"), (2, "2"), (3, "3")] {
        network.serve_fn(at(number), move |_| async move { reply(200, name) });
    }
    let (sender, sink) = oneshot::channel();
    let mesh = Mesh::builder().connector(network).source(Handed(sender)).build().unwrap();
    (mesh, sink.await.unwrap())
}

fn whole(version: &str, number: u8) -> ConfigUpdate {
    let mut update = crate::fixture::config(cluster(|_| {}), &[at(number)], |_| {});
    update.origin = Origin::new("test", version);
    update
}

fn endpoints(version: &str, number: u8) -> EndpointsUpdate {
    let mut update = EndpointsUpdate::new(Origin::new("test", version));
    let one = ClusterLoadAssignment::of([at(number).into()]);
    update.clusters.insert("a".into(), Some(Arc::new(one)));
    update
}

async fn told(mesh: &Mesh) -> String {
    let answer = text(call(mesh, over_h2(get("/"))).await.unwrap()).await;
    let configuration = mesh.configuration();
    let refused = configuration.refused.map(|why| format!(", refused: {why}")).unwrap_or_default();
    format!("{answer} by {} ({}){refused}", configuration.version, configuration.generation)
}

#[tokio::test(start_paused = true)]
async fn they_are_applied_and_named() {
    let (mesh, sink) = handed().await;
    sink.publish(whole("v1", 1));
    mesh.applied(1).await.unwrap();
    assert_eq!(told(&mesh).await, "1 by v1 (1)");
    sink.publish_endpoints(endpoints("v2", 2));
    mesh.applied(2).await.unwrap();
    assert_eq!(told(&mesh).await, "2 by v2 (2)");
    // What is in force is what they were merged with: this is no change.
    sink.publish(whole("v2", 2));
    tokio::task::yield_now().await;
    assert_eq!(told(&mesh).await, "2 by v2 (2)");
}

#[tokio::test(start_paused = true)]
async fn those_of_a_refused_configuration_wait_with_it() {
    let (mesh, sink) = handed().await;
    sink.publish(whole("v1", 1));
    mesh.applied(1).await.unwrap();
    let mut bad = whole("v2", 2);
    let of_nobody = cluster(|a| a.lb_policy.algorithm = LbAlgorithm::Custom("nobody's".into()));
    bad.clusters.get_mut("a").unwrap().cluster = Arc::new(of_nobody);
    let why = "cluster `a`: no load-balancing policy `nobody's` is registered";
    sink.publish(bad);
    sink.publish_endpoints(endpoints("v3", 3));
    let is_told = async {
        while mesh.configuration().refused.is_none() {
            tokio::task::yield_now().await;
        }
    };
    is_told.await;
    assert_eq!(told(&mesh).await, format!("1 by v1 (1), refused: {why}"));
    sink.publish_endpoints(endpoints("v4", 2));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(told(&mesh).await, format!("1 by v1 (1), refused: {why}"));
    sink.publish(whole("v5", 3));
    mesh.applied(2).await.unwrap();
    assert_eq!(told(&mesh).await, "3 by v5 (2)");
}

/// The history, the newest first, without versions: they are numbered.
fn history(mesh: &Mesh) -> Vec<String> {
    let words = |text: String| text.split_once(": ").unwrap().1.to_owned();
    mesh.configurations().iter().map(|record| words(record.to_string())).collect()
}

async fn seen(mesh: &Mesh, sink: &Sink, version: &str) {
    // Time passes, so that a mesh that never sees it fails the test.
    for _ in 0..10_000 {
        let is_it =
            |origin: Option<Origin>| origin.is_some_and(|origin| &*origin.version == version);
        if is_it(sink.in_force()) || is_it(sink.refused()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("{version} was not judged: {:?}", history(mesh));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_them_pushes_nothing_else_out_of_the_history() {
    let (mesh, sink) = handed().await;
    sink.publish(whole("v1", 1));
    seen(&mesh, &sink, "v1").await;
    for number in 0..100_u8 {
        let version = format!("e{number}");
        sink.publish_endpoints(endpoints(&version, 1 + number % 3));
        seen(&mesh, &sink, &version).await;
    }
    let newest = &mesh.configurations()[0];
    assert_eq!((newest.count, &*newest.version), (100, "e99"));
    assert_eq!(newest.changes.to_string(), "endpoints ~1 (a)");
    assert!(newest.at <= newest.last);
    assert_eq!(history(&mesh).len(), 2);

    // What is refused has its place, and keeps it while its endpoints change.
    let mut bad = whole("bad", 2);
    let of_nobody = cluster(|a| a.lb_policy.algorithm = LbAlgorithm::Custom("nobody's".into()));
    bad.clusters.get_mut("a").unwrap().cluster = Arc::new(of_nobody);
    sink.publish(bad);
    seen(&mesh, &sink, "bad").await;
    for number in 0..50_u8 {
        let version = format!("b{number}");
        sink.publish_endpoints(endpoints(&version, 1 + number % 3));
        seen(&mesh, &sink, &version).await;
    }
    let newest = &mesh.configurations()[0];
    assert_eq!((newest.count, &*newest.version), (51, "b49"));
    assert_eq!(history(&mesh).len(), 3);
    assert_eq!(crate::fixture::metric(&mesh, "mesh_config_rejected_resources", &[]), 1);
    sink.publish(whole("v2", 3));
    seen(&mesh, &sink, "v2").await;
    assert_eq!(history(&mesh).len(), 4);
    assert_eq!(crate::fixture::metric(&mesh, "mesh_config_rejected_resources", &[]), 0);
}
