//! A source that hands over other endpoints, and nothing else.

use crate::fixture::{at, call, cluster, get, over_h2, reply, text};
use futures_core::future::BoxFuture;
use mesh_core::model::{ClusterLoadAssignment, LbAlgorithm};
use mesh_core::update::{ConfigUpdate, EndpointsUpdate, Origin};
use mesh_tower::Mesh;
use mesh_tower::source::{Sink, Source};
use mesh_tower::testing::MemoryNetwork;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Hands its sink to the test.
#[derive(Debug)]
struct Handed(oneshot::Sender<Sink>);

impl Source for Handed {
    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.0.send(sink.clone()).expect("the test waits for it");
            sink.closed().await;
        })
    }
}

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
