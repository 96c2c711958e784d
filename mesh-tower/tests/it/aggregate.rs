//! Aggregate clusters: the first child that can serve does, and each keeps what is its own.

use crate::fixture::{Server, at, call, eventually, get, idle, mesh, metric, outcome, reply, text};
use futures_core::future::BoxFuture;
use mesh_core::ConfigUpdate;
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, Discovery, DnsOptions, Domain, DropOverload, Endpoint,
    ForwardAction, Fraction, Route, VirtualHost,
};
use mesh_tower::dns::{Answer, Resolve, ResolveError};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{CallOptions, Mesh};
use std::net::SocketAddr;
use std::time::Duration;

/// Everything goes to `all`, which is `near` and then `far`.
fn config(change: impl FnOnce(ConfigUpdate) -> ConfigUpdate) -> ConfigUpdate {
    let route = Route::forward(ForwardAction::to("all"));
    let host = VirtualHost::new("any", vec![Domain::Any]).route(route);
    change(ConfigUpdate::in_code().virtual_host(host))
        .aggregate(Cluster::new("all"), ["near", "far"])
}

fn two(near: SocketAddr, far: SocketAddr) -> ConfigUpdate {
    config(|update| {
        update.cluster(Cluster::new("near"), [near]).cluster(Cluster::new("far"), [far])
    })
}

async fn body(mesh: &Mesh) -> String {
    text(call(mesh, get("/")).await.unwrap()).await
}

fn attempts(mesh: &Mesh, cluster: &str) -> u64 {
    metric(mesh, "mesh_attempts_total", &[("cluster", cluster)])
}

/// With real servers: no call fails when the first child dies, or when it comes back.
#[tokio::test]
async fn a_child_that_dies_is_left_and_taken_up_again_without_a_failed_call() {
    let (near, far) = (Server::text("near").await, Server::text("far").await);
    let address = near.address;
    let mesh = Mesh::builder().config(two(address, far.address)).build().unwrap();
    for _ in 0..5 {
        assert_eq!(body(&mesh).await, "near");
    }
    idle(&mesh).await;
    assert_eq!(
        (attempts(&mesh, "near"), attempts(&mesh, "far"), attempts(&mesh, "all")),
        (5, 0, 0)
    );
    drop(near);
    // Its connections end with it; what was not sent goes elsewhere.
    eventually("the connection is closed", || {
        metric(&mesh, "mesh_connections_active", &[("cluster", "near")]) == 0
    })
    .await;
    for _ in 0..20 {
        assert_eq!(body(&mesh).await, "far");
    }
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let back = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(reply(200, "back"))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            let builder = hyper::server::conn::http1::Builder::new();
            tokio::spawn(builder.serve_connection(io, service));
        }
    });
    // One call tries it, 1 s after it failed; from then on it takes all.
    let mut served = String::new();
    for _ in 0..400 {
        served = body(&mesh).await;
        if served == "back" {
            break;
        }
        assert_eq!(served, "far");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((served, body(&mesh).await), ("back".to_owned(), "back".to_owned()));
    back.abort();
    let failed = metric(&mesh, "mesh_calls_total", &[]);
    let fine = metric(&mesh, "mesh_calls_total", &[("response_flag", "")]);
    assert_eq!(failed, fine, "no call failed");
}

#[tokio::test(start_paused = true)]
async fn a_child_by_name_takes_over_once_it_is_resolved() {
    /// Everything is at endpoint 2, after a while.
    #[derive(Clone, Debug)]
    struct Late;
    impl Resolve for Late {
        fn resolve(&self, _: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(Answer::new(vec![at(2).ip()], None))
            })
        }
    }
    let network = MemoryNetwork::new();
    let near = network.serve_fn(at(1), |_| async { reply(200, "near") });
    let _far = network.serve_fn(at(2), |_| async { reply(200, "far") });
    let mut named = Cluster::new("far");
    named.discovery = Discovery::StrictDns(DnsOptions::new("far", 80));
    let update = config(|update| {
        update.cluster(Cluster::new("near"), [at(1)]).assigned(named.clone(), None)
    });
    let builder = Mesh::builder().connector(network.clone()).resolver(Late);
    let mesh = builder.config(update).build().unwrap();
    assert_eq!(body(&mesh).await, "near", "nobody waits for the name");
    near.refuse();
    near.close();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..10 {
        assert_eq!(body(&mesh).await, "far");
    }
    // With nobody else, the name is waited for.
    let none: [SocketAddr; 0] = [];
    let update = config(|update| update.cluster(Cluster::new("near"), none).assigned(named, None));
    let builder = Mesh::builder().connector(network.clone()).resolver(Late);
    let mesh = builder.config(update).build().unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(body(&mesh).await, "far");
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn drops_limits_and_errors_are_those_of_the_child() {
    let network = MemoryNetwork::new();
    let _near = network.serve_fn(at(1), |_| async { reply(200, "near") });
    let _far = network.serve_fn(at(2), |_| async { reply(200, "far") });
    let mut endpoints = ClusterLoadAssignment::of([Endpoint::from(at(1))]);
    endpoints.drop_overloads = vec![DropOverload::new("lb", Fraction::percent(100))];
    let update = config(|update| {
        update.assigned(Cluster::new("near"), Some(endpoints)).cluster(Cluster::new("far"), [at(2)])
    });
    let mesh_of_drops = mesh(&network, update);
    let error = call(&mesh_of_drops, get("/")).await.unwrap_err();
    assert!(error.is_dropped() && error.to_string().contains("near"), "{error}");
    let labels = [("cluster", "near"), ("category", "lb")];
    assert_eq!(metric(&mesh_of_drops, "mesh_drops_total", &labels), 1);
    assert_eq!(metric(&mesh_of_drops, "mesh_drops_total", &[("cluster", "all")]), 0);

    let mut full = Cluster::new("near");
    full.circuit_breakers.default.max_requests = 0;
    let update =
        config(|update| update.cluster(full, [at(1)]).cluster(Cluster::new("far"), [at(2)]));
    let full = mesh(&network, update);
    let error = call(&full, get("/")).await.unwrap_err();
    assert_eq!((error.code(), error.response_flag().as_str()), ("overflow_requests", "UO"));
    assert!(error.to_string().contains("near"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_by_any_child_and_nobody_is_told_as_all_of_them() {
    let network = MemoryNetwork::new();
    let _far = network.serve_fn(at(2), |_| async { reply(200, "far") });
    let none: [SocketAddr; 0] = [];
    let empty = || {
        config(|update| {
            update.cluster(Cluster::new("near"), none).cluster(Cluster::new("far"), none)
        })
    };
    let (updates, source) = mesh_tower::source::Updates::new();
    let builder = Mesh::builder().connector(network).source(source).config(empty());
    let mesh = builder.build().unwrap();
    assert_eq!(outcome(&mesh, get("/")).await, Err("no_endpoints".to_owned()));
    let mut patient = get("/");
    patient.extensions_mut().insert(CallOptions::new().wait_for_ready());
    let waiting = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, patient).await.map(|(status, _)| status) }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let update = config(|update| {
        update.cluster(Cluster::new("near"), none).cluster(Cluster::new("far"), [at(2)])
    });
    updates.apply(update);
    assert_eq!(crate::fixture::bounded(waiting).await.unwrap(), Ok(200));
    idle(&mesh).await;
}
