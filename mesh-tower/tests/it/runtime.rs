//! Runtimes: where connections live is not where calls are made, and the end of one is told.

use crate::fixture::{
    at, bounded, call, cluster, config, eventually, get, outcome, over_h2, reply, text,
};
use crate::wire::{Act, channel, data, scripted};
use http_body_util::BodyExt;
use mesh_tower::source::Updates;
use mesh_tower::testing::{MemoryNetwork, one_cluster};
use mesh_tower::{Mesh, MeshBody};
use std::future::Future;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn run<F: Future>(future: F) -> F::Output {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(bounded(future))
}

fn network() -> MemoryNetwork {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async { reply(200, "hello") });
    network
}

fn build(network: &MemoryNetwork) -> Mesh {
    Mesh::builder().config(one_cluster("a", [at(1)])).connector(network.clone()).build().unwrap()
}

#[test]
fn a_mesh_built_without_a_runtime_has_its_own() {
    let mesh = build(&network());
    for _ in 0..2 {
        run(async {
            for request in [get("/"), over_h2(get("/"))] {
                assert_eq!(text(call(&mesh, request).await.unwrap()).await, "hello");
            }
        });
    }
}

#[test]
fn a_mesh_built_in_one_runtime_is_used_from_another() {
    let home = runtime();
    let network = network();
    let mesh = home.block_on(async { build(&network) });
    run(async {
        for request in [get("/"), over_h2(get("/"))] {
            assert_eq!(outcome(&mesh, request).await.map(|(status, _)| status), Ok(200));
        }
    });
    // Also by naming it.
    let update = one_cluster("a", [at(1)]);
    let named = Mesh::builder().config(update).connector(network).runtime(home.handle().clone());
    let named = named.build().unwrap();
    run(async { assert!(outcome(&named, get("/")).await.is_ok()) });
}

#[test]
fn when_its_runtime_is_gone_calls_fail_with_a_typed_error_and_never_hang() {
    for warm in [false, true] {
        let home = runtime();
        let network = network();
        let mesh = home.block_on(async { build(&network) });
        if warm {
            run(async {
                assert!(outcome(&mesh, get("/")).await.is_ok());
                assert!(outcome(&mesh, over_h2(get("/"))).await.is_ok());
            });
        }
        home.shutdown_timeout(Duration::from_secs(10));
        run(async {
            for request in [get("/"), over_h2(get("/"))] {
                let begun = std::time::Instant::now();
                let ended = outcome(&mesh, request).await;
                assert_eq!(ended, Err("connect_runtime_gone".to_owned()), "warm: {warm}");
                assert!(begun.elapsed() < Duration::from_secs(5));
            }
        });
    }
}

#[test]
fn a_runtime_that_ends_under_a_call_ends_the_call() {
    for h2 in [false, true] {
        let home = runtime();
        let network = MemoryNetwork::new();
        network.serve_fn(at(1), |_| async {
            std::future::pending::<http::Response<MeshBody>>().await
        });
        let mesh = home.block_on(async { build(&network) });
        let caller = runtime();
        let request = if h2 { over_h2(get("/")) } else { get("/") };
        let waiting = caller.spawn({
            let mesh = mesh.clone();
            async move { outcome(&mesh, request).await }
        });
        caller.block_on(eventually("it is out", || {
            crate::fixture::metric(&mesh, "mesh_attempts_active", &[]) == 1
        }));
        caller.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        home.shutdown_timeout(Duration::from_secs(10));
        let begun = std::time::Instant::now();
        let ended = caller.block_on(bounded(waiting)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "h2: {h2}: {ended:?}");
        assert!(ended.is_err());
    }
}

#[test]
fn an_answer_outlives_the_handle_of_its_mesh() {
    let network = MemoryNetwork::new();
    network.serve_fn(at(1), |_| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if sender.send(data("part")).await.is_err() {
                    return;
                }
            }
        });
        http::Response::new(body)
    });
    for h2 in [false, true] {
        // On the mesh's own thread.
        let mesh = build(&network);
        run(async move {
            let request = if h2 { over_h2(get("/")) } else { get("/") };
            let response = call(&mesh, request).await.unwrap();
            drop(mesh);
            let body = bounded(response.into_body().collect()).await;
            assert_eq!(body.map(|body| body.to_bytes().len()).ok(), Some(80), "h2: {h2}");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_is_shut_down_refuses_new_calls_and_lets_those_in_flight_finish() {
    let network = MemoryNetwork::new();
    let (server, _) = scripted(&network, 1, &[Act::Slow(Duration::from_secs(3)), Act::Hang]);
    let mesh = build(&network);
    let spawn = || {
        let mesh = mesh.clone();
        tokio::spawn(async move { outcome(&mesh, over_h2(get("/"))).await })
    };
    let quick = spawn();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let hung = spawn();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let ending = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.shutdown(Duration::from_secs(5)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert_eq!((error.code(), error.grpc_status()), ("shut_down", 14));
    let begun = tokio::time::Instant::now();
    bounded(ending).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(6));
    assert_eq!(bounded(quick).await.unwrap().map(|(status, _)| status), Ok(200));
    let hung = tokio::time::timeout(Duration::from_secs(1), hung).await;
    assert!(hung.expect("a call outlives the end of its mesh").unwrap().is_err());
    assert_eq!(server.open(), 0);
    // It was configured, and will not be again: neither answer is waited for.
    bounded(mesh.ready()).await.unwrap();
    assert_eq!(bounded(mesh.applied(2)).await.unwrap_err().code(), "shut_down");
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_ends_before_its_first_configuration_never_gets_ready() {
    let (_updates, source) = Updates::new();
    let mesh = Mesh::builder().connector(network()).source(source).build().unwrap();
    let waiting = tokio::spawn({
        let mesh = mesh.clone();
        async move { mesh.ready().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    mesh.shutdown(Duration::from_secs(1)).await;
    assert_eq!(bounded(waiting).await.unwrap().unwrap_err().code(), "shut_down");
}

#[tokio::test(start_paused = true)]
async fn when_everything_is_dropped_connections_and_sources_end() {
    let network = network();
    let server = network.serve_fn(at(1), |_| async { reply(200, "") });
    let (updates, source) = Updates::new();
    let update = config(cluster(|_| {}), &[at(1)], |_| {});
    let builder = Mesh::builder().connector(network).config(update).source(source);
    let mesh = builder.build().unwrap();
    let client = mesh.client();
    assert!(outcome(&mesh, get("/")).await.is_ok());
    assert!(outcome(&mesh, over_h2(get("/"))).await.is_ok());
    drop(mesh);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.open(), 2, "the client is a handle too");
    drop(client);
    eventually("connections close", || server.open() == 0).await;
    updates.apply(mesh_core::ConfigUpdate::default());
}

#[tokio::test(start_paused = true)]
async fn before_the_first_configuration_calls_are_refused_with_a_reason() {
    let (updates, source) = Updates::new();
    let mesh = Mesh::builder().connector(network()).source(source).build().unwrap();
    let error = call(&mesh, get("/")).await.unwrap_err();
    assert_eq!((error.code(), error.http_status().as_u16()), ("not_configured", 503));
    updates.apply(one_cluster("a", [at(1)]));
    bounded(mesh.ready()).await.unwrap();
    assert!(outcome(&mesh, get("/")).await.is_ok());
}

/// Nobody will tell it that endpoints are there: whoever looked for them is gone.
#[test]
fn a_call_that_waits_for_endpoints_ends_with_the_runtime_that_would_bring_them() {
    let home = runtime();
    let unknown = crate::fixture::config_with(cluster(|_| {}), None, |action| {
        action.timeout = Duration::ZERO;
    });
    let mesh = home.block_on(async {
        Mesh::builder().connector(MemoryNetwork::new()).config(unknown).build().unwrap()
    });
    let caller = runtime();
    let waiting = caller.spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, get("/")).await }
    });
    let patient = caller.spawn({
        let mesh = mesh.clone();
        let mut request = get("/");
        request.extensions_mut().insert(mesh_tower::CallOptions::new().wait_for_ready());
        async move { outcome(&mesh, request).await }
    });
    caller.block_on(eventually("they wait", || {
        crate::fixture::metric(&mesh, "mesh_attempts_pending", &[]) == 2
    }));
    home.shutdown_timeout(Duration::from_secs(10));
    for call in [waiting, patient] {
        let ended = caller.block_on(bounded(call)).unwrap();
        assert_eq!(ended, Err("no_endpoints".to_owned()));
    }
    // And nobody waits from now on.
    assert_eq!(run(outcome(&mesh, get("/"))), Err("no_endpoints".to_owned()));
    assert!(run(mesh.applied(2)).is_err(), "nor for a configuration");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_a_deadline_waits_for_the_last_call() {
    let network = network();
    let mesh = build(&network);
    assert!(outcome(&mesh, get("/")).await.is_ok());
    bounded(mesh.shutdown(Duration::MAX)).await;
    assert_eq!(outcome(&mesh, get("/")).await, Err("shut_down".to_owned()));
}

/// An endpoint that was removed while it still served, and then the shutdown comes.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_endpoints_that_were_removed_before() {
    let network = MemoryNetwork::new();
    for number in [1, 2] {
        network.serve_fn(at(number), |_| async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            reply(200, "late")
        });
    }
    let (updates, source) = Updates::new();
    let builder = Mesh::builder().connector(network).source(source);
    let mesh = builder.config(config(cluster(|_| {}), &[at(1)], |_| {})).build().unwrap();
    let slow = tokio::spawn({
        let mesh = mesh.clone();
        async move { outcome(&mesh, get("/")).await.map(|(status, _)| status) }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    updates.apply(config(cluster(|_| {}), &[at(2)], |_| {}));
    bounded(mesh.applied(2)).await.unwrap();
    let begun = tokio::time::Instant::now();
    bounded(mesh.shutdown(Duration::from_secs(60))).await;
    assert_eq!(bounded(slow).await.unwrap(), Ok(200));
    assert!((3..6).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}
