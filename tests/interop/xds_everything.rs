//! go-control-plane, asked for everything: what Envoy would be given, with listeners at ports.

use crate::client::{get, send};
use crate::go;
use crate::process::Peer;
use crate::xds::{ControlPlane, cluster, endpoints, reported, source_of, until, who_answers};
use http::Version;
use mesh_tower::Mesh;
use mesh_tower::source::Variant;
use serde_json::{Value, json};

/// A listener at a port whose routes are asked for by name.
fn listener(name: &str, port: u16) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": { "socket_address": { "address": "0.0.0.0", "port_value": port } },
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": name,
                "rds": { "route_config_name": name, "config_source": { "ads": {} } },
                "http_filters": [{
                    "name": "router",
                    "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                }],
            },
        }] }],
    })
}

/// One domain that leads to one cluster.
fn routes(name: &str, domain: &str, cluster: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": name,
        "virtual_hosts": [{
            "name": domain,
            "domains": [domain],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": cluster } }],
        }],
    })
}

/// `peer` at port 80 leads to `cluster`, whose endpoint is this one.
fn serving(cluster_name: &str, at: &Peer) -> Vec<Value> {
    vec![
        listener("web", 80),
        routes("web", "peer", cluster_name),
        cluster(cluster_name),
        endpoints(cluster_name, at.ports[0]),
    ]
}

/// `other` at port 81, beside it.
fn beside(mut resources: Vec<Value>, cluster: &str) -> Vec<Value> {
    resources.extend([listener("more", 81), routes("more", "other", cluster)]);
    resources
}

/// What a call to `host` comes to: the status, or the error's code.
async fn outcome(mesh: &Mesh, host: &str) -> String {
    let mut request = get(Version::HTTP_11, "/seen");
    *request.uri_mut() = format!("http://{host}/seen").parse().unwrap();
    match tower::ServiceExt::oneshot(mesh.client(), request).await {
        Ok(response) => response.status().as_u16().to_string(),
        Err(error) => error.code().to_owned(),
    }
}

async fn everything(variant: Variant) {
    let (one, two) = (go::start(), go::start());
    let backends = [&one, &two];
    let mut plane = ControlPlane::run(&[]);
    let mut begin = serving("one", &one);
    begin[2]["lrs_server"] = json!({ "self": {} });
    plane.set("v1", &begin);
    let mesh = Mesh::builder().source(source_of(&plane, variant).wildcard()).build().unwrap();
    mesh.ready().await.unwrap();

    // It is asked without names, and all that came is accepted.
    assert_eq!(send(&mesh, get(Version::HTTP_11, "/seen")).await.status, 200);
    assert_eq!(who_answers(&mesh, 64, backends).await, [64, 0]);
    for kind in ["Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment"] {
        let requests = plane.requests(kind);
        assert!(requests.iter().all(|request| request["error_detail"].is_null()), "{requests:?}");
        assert!(requests.len() >= 2, "{kind}: asked and acknowledged: {requests:?}");
    }
    for kind in ["Listener", "Cluster"] {
        let asked = plane.requests(kind)[0].to_string();
        assert!(!asked.contains("web") && !asked.contains("one"), "by the wildcard: {asked}");
    }
    assert_eq!(outcome(&mesh, "unknown").await, "no_virtual_host");
    let told = async || reported(&plane, "one", "total_successful_requests") == 65;
    until("the load is reported", told).await;

    // Everything behind the host is replaced at once, and the old cluster is gone: no call is lost.
    for round in 0..5 {
        plane.set(&format!("there{round}"), &serving("two", &two));
        until("the other cluster", async || who_answers(&mesh, 16, backends).await == [0, 16])
            .await;
        plane.set(&format!("back{round}"), &serving("one", &one));
        until("the first again", async || who_answers(&mesh, 16, backends).await == [16, 0]).await;
    }

    // One listener more, and one less.
    plane.set("more", &beside(serving("one", &one), "one"));
    until("another host", async || outcome(&mesh, "other:81").await == "200").await;
    assert_eq!(outcome(&mesh, "other").await, "200", "nobody else serves it");
    assert_eq!(who_answers(&mesh, 16, backends).await, [16, 0]);
    plane.set("less", &serving("one", &one));
    until("it is gone", async || outcome(&mesh, "other").await == "no_virtual_host").await;
    assert_eq!(who_answers(&mesh, 16, backends).await, [16, 0]);

    // A bad cluster is refused with its reason; the last good one stays.
    let mut broken = serving("one", &one);
    broken[2]["lb_policy"] = json!("RING_HASH");
    broken[2]["ring_hash_lb_config"] = json!({ "minimum_ring_size": 9_000_000 });
    plane.set("broken", &broken);
    plane.wait_for(|said| said["event"] == "request" && !said["error_detail"].is_null());
    assert_eq!(who_answers(&mesh, 16, backends).await, [16, 0]);

    // It goes away and comes back with something else: no call is lost.
    plane.set("good", &serving("one", &one));
    plane.command(&json!({ "stop_serving": 500 }));
    plane.wait_for(|said| said["event"] == "stopped");
    assert_eq!(who_answers(&mesh, 208, backends).await, [208, 0], "while it is away");
    plane.set("again", &serving("two", &two));
    until("what it has now", async || who_answers(&mesh, 16, backends).await == [0, 16]).await;

    // It has nothing more: nothing is served.
    plane.command(&json!({ "clear": { "version": "nothing", "node": "*" } }));
    until("it is gone", async || outcome(&mesh, "peer").await == "no_virtual_host").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn go_control_plane_gives_everything_in_the_state_of_the_world() {
    everything(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn go_control_plane_gives_everything_in_delta() {
    everything(Variant::Delta).await;
}
