//! Three services in a chain, the last one failing, all of them with retries armed: who retries what.
//!
//! Each hop has a budget of a fifth. With the layer, the middle one says that it has tried all there was to
//! try, and the first one leaves it at that; without it, the first one tries the middle one again, which
//! tries the last one again, and the fifths multiply.

use crate::fixture::{at, cluster, config, reply};
use crate::retry::retry;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use mesh_core::model::{FilterChain, HttpConnectionManager, Listener, RetryOn};
use mesh_core::update::ConfigUpdate;
use mesh_tower::server::{Connection, ServerLayer};
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tower::{Layer, ServiceExt, service_fn};

/// Calls made at the first service.
const CALLS: u64 = 2000;

/// A hop's configuration: a cluster `a` at endpoint `next` with retries, and a listener `web` for everything.
fn hop(next: u8) -> ConfigUpdate {
    let mut update = config(cluster(|_| {}), &[at(next)], |action| {
        retry(RetryOn::SERVER_ERROR | RetryOn::UNAVAILABLE, |policy| policy.num_retries = 3)(
            action,
        );
    });
    let http = HttpConnectionManager::serving(Vec::new());
    let mut listener = Listener::new("web");
    listener.filter_chains.push(Arc::new(FilterChain::new("any", Some(Arc::new(http)))));
    update.listeners.insert("web".into(), Arc::new(listener));
    update
}

/// Serves, as endpoint `own`, a service that passes each request on to the next one.
fn serve(network: &MemoryNetwork, own: u8, layered: bool) -> Mesh {
    let builder = Mesh::builder().seed(u64::from(own)).connector(network.clone());
    let mesh = builder.config(hop(own + 1)).build().unwrap();
    let client = mesh.client();
    let pass_on = move |path: String| {
        let client = client.clone();
        async move {
            let request = Request::get(format!("http://a{path}")).body(MeshBody::empty()).unwrap();
            let answer = match client.oneshot(request).await {
                Ok(response) => response.map(MeshBody::new),
                Err(error) => {
                    let status = error.http_status();
                    Response::builder().status(status).body(MeshBody::empty()).unwrap()
                }
            };
            // Headers are not passed on: what the caller is told is the layer's doing.
            let (head, body) = answer.into_parts();
            let answer = Response::builder().status(head.status).body(body).unwrap();
            Ok::<_, Infallible>(answer)
        }
    };
    if layered {
        let connection = Connection::plaintext(&mesh, "web", None, None).unwrap();
        let connection = Arc::new(connection);
        let pass = service_fn(move |request: Request<_>| pass_on(request.uri().path().to_owned()));
        let service = ServerLayer::new(&mesh, "web").layer(pass);
        network.serve(
            at(own),
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Arc::clone(&connection));
                service.clone().oneshot(request)
            }),
        );
    } else {
        let pass = move |request: Request<Incoming>| pass_on(request.uri().path().to_owned());
        network.serve(at(own), service_fn(pass));
    }
    mesh
}

/// Calls that arrive at the last service for each that is made at the first.
async fn amplification(layered: bool) -> f64 {
    let network = MemoryNetwork::new();
    let arrived = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&arrived);
    network.serve_fn(at(4), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { reply(503, "down") }
    });
    let _hops = [serve(&network, 2, layered), serve(&network, 3, layered)];
    let first = Mesh::builder().seed(1).connector(network.clone()).config(hop(2)).build().unwrap();
    let client = first.client();
    for _ in 0..CALLS {
        let client = client.clone();
        let request = Request::get("http://a/x").body(MeshBody::empty()).unwrap();
        let response = client.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 503);
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        assert_eq!(body.to_bytes(), Bytes::from("down"));
    }
    arrived.load(Ordering::SeqCst) as f64 / CALLS as f64
}

#[tokio::test(start_paused = true)]
async fn only_the_hop_nearest_the_failure_retries() {
    let (with, without) = (amplification(true).await, amplification(false).await);
    println!(
        "calls at the last service for each at the first: {with:.3}; without the layer {without:.3}"
    );
    assert!(with <= 1.3, "{with}");
    assert!(without > 1.3, "{without}");
}
