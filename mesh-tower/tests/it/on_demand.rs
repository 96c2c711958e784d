//! A source that is asked by name: the first call to an authority waits for its answer.

use crate::fixture::{at, call, cluster, get, metric, over_h2, reply, text};
use futures_core::future::BoxFuture;
use http::Request;
use mesh_core::model::{ForwardAction, Route, VirtualHost};
use mesh_core::update::{Answer, ConfigUpdate};
use mesh_tower::source::{Sink, Source};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh, MeshBody};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Answers after 100 ms: hosts that begin with `no` do not exist, those with `mute` get no answer.
#[derive(Debug)]
struct ByName;

impl Source for ByName {
    fn is_on_demand(&self) -> bool {
        true
    }

    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut demand = sink.on_demand();
            let mut answers = BTreeMap::new();
            let mut update = ConfigUpdate::in_code().cluster(cluster(|_| {}), [at(1)]);
            loop {
                let interest = demand.next().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                let authority = interest.authority;
                if authority.starts_with("mute") {
                    continue;
                }
                let answer = if authority.starts_with("no") {
                    Answer::Absent(
                        format!("no listener {authority}:{}", interest.default_port).into(),
                    )
                } else {
                    let host = VirtualHost::of(&authority).unwrap();
                    update =
                        update.virtual_host(host.route(Route::forward(ForwardAction::to("a"))));
                    Answer::Served
                };
                answers.insert(authority, answer);
                update.on_demand = Some(Arc::new(answers.clone()));
                sink.publish(update.clone());
            }
        })
    }
}

fn on_demand() -> (MemoryNetwork, Mesh) {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async { reply(200, "here") });
    let builder = Mesh::builder().connector(network.clone()).source(ByName);
    (network, builder.build().unwrap())
}

fn to(authority: &str) -> Request<MeshBody> {
    let mut request = over_h2(get("/"));
    *request.uri_mut() = format!("http://{authority}/").parse().unwrap();
    request
}

#[tokio::test(start_paused = true)]
async fn the_first_call_waits_for_the_answer_and_the_next_does_not() {
    let (_network, mesh) = on_demand();
    let begun = tokio::time::Instant::now();
    let calls = (0..10).map(|_| async { text(call(&mesh, to("Shop:80")).await.unwrap()).await });
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer, "here");
    }
    assert_eq!(begun.elapsed(), Duration::from_millis(100), "asked for once");
    assert_eq!(text(call(&mesh, to("shop:80")).await.unwrap()).await, "here");
    assert_eq!(text(call(&mesh, to("other")).await.unwrap()).await, "here");
    assert_eq!(begun.elapsed(), Duration::from_millis(200));
    let counted = metric(&mesh, "mesh_calls_total", &[("cluster", "a"), ("status", "200")]);
    assert_eq!(counted, 12);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_exist_is_refused_with_what_the_source_says() {
    let (_network, mesh) = on_demand();
    for _ in 0..2 {
        let error = call(&mesh, to("nowhere")).await.unwrap_err();
        assert_eq!(error.response_flag().as_str(), "NR");
        assert_eq!(error.why(), Some("no listener nowhere:80"));
        assert!(error.to_string().contains("authority: no listener nowhere:80"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_its_deadline() {
    let (_network, mesh) = on_demand();
    let begun = tokio::time::Instant::now();
    let mut request = to("mute");
    request.extensions_mut().insert(CallOptions::new().timeout(Duration::from_secs(2)));
    let error = call(&mesh, request).await.unwrap_err();
    assert_eq!(error.response_flag().as_str(), "NFCF");
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
    let error = call(&mesh, to("mute")).await.unwrap_err();
    assert_eq!(error.response_flag().as_str(), "NFCF");
    assert_eq!(begun.elapsed(), Duration::from_secs(32), "without a deadline of its own");
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_ends_tells_those_who_wait() {
    let (_network, mesh) = on_demand();
    let waiting = tokio::spawn({
        let mesh = mesh.clone();
        async move { call(&mesh, to("mute")).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    mesh.shutdown(Duration::ZERO).await;
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.code(), "shut_down", "{error}");
}
