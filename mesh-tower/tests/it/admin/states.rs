//! A mesh whose endpoints are in every state, and what pages say of it.

use super::{json, read};
use crate::fixture::{at, call, cluster, eventually, get, mesh, over_h2, text};
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction,
    HealthStatus, Listener, Locality, LocalityEndpoints, OutlierDetection, Route, Split,
    SplitCluster, VirtualHost,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::admin::Admin;
use mesh_tower::testing::MemoryNetwork;
use mesh_tower::{Mesh, MeshBody};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Cluster `a`: one endpoint healthy, one ejected, and those of which the configuration says something.
pub(super) fn states() -> ConfigUpdate {
    let mut rules = OutlierDetection::default();
    rules.max_ejection_percent = 50;
    rules.consecutive_5xx = Some(2);
    rules.base_ejection_time = Duration::from_secs(300);
    let a = cluster(|cluster| {
        cluster.outlier_detection = Some(rules);
        cluster.lb_policy.panic_threshold = 0;
    });
    let endpoint = |number, health| {
        let mut endpoint = Endpoint::from(at(number));
        endpoint.health = health;
        endpoint
    };
    let mut locality = LocalityEndpoints::new(Locality::new("eu", "eu-1", ""));
    locality.endpoints = vec![
        endpoint(1, HealthStatus::Healthy),
        endpoint(2, HealthStatus::Unknown),
        endpoint(3, HealthStatus::Unhealthy),
        endpoint(4, HealthStatus::Timeout),
        endpoint(5, HealthStatus::Draining),
        endpoint(6, HealthStatus::Degraded),
    ];
    locality.endpoints[0].weight = 3;
    let mut endpoints = ClusterLoadAssignment::default();
    endpoints.localities = vec![Arc::new(locality)];
    let mut action = ForwardAction::to("a");
    action.cluster = ClusterSpecifier::Split(Split::new(vec![
        SplitCluster::new("a", 100),
        SplitCluster::new("b", 0),
    ]));
    let mut route = Route::forward(action);
    route.name = "split".into();
    let host = VirtualHost::new("any", vec![Domain::Any]).route(route);
    let mut update = ConfigUpdate::in_code().virtual_host(host).assigned(a, Some(endpoints));
    update = update.assigned(Cluster::new("b"), None);
    let mut listener = Listener::new("web");
    listener.address = "127.0.0.1:8443".parse().ok().map(mesh_core::model::Address::Socket);
    update.listeners.insert("web".into(), Arc::new(listener));
    update
}

/// The second endpoint was ejected.
pub(super) async fn ejected() -> Mesh {
    let network = MemoryNetwork::new();
    for number in 1..=6 {
        let status = if number == 2 { 503 } else { 200 };
        network.serve_fn(at(number), move |_| async move {
            http::Response::builder().status(status).body(MeshBody::empty()).unwrap()
        });
    }
    let mesh = mesh(&network, states());
    let ejected = || {
        let text = mesh.metrics().prometheus_text();
        text.contains("mesh_endpoints{cluster=\"a\",state=\"ejected\"} 1")
    };
    for _ in 0..40 {
        let _answer = text(call(&mesh, over_h2(get("/"))).await.unwrap()).await;
        if ejected() {
            break;
        }
    }
    eventually("it is ejected", ejected).await;
    mesh
}

fn by_address<'a>(endpoints: &'a Value, address: &str) -> &'a Value {
    let found = endpoints.as_array().unwrap().iter().find(|one| one["address"] == address);
    found.unwrap_or_else(|| panic!("{address}: {endpoints}"))
}

#[tokio::test(start_paused = true)]
async fn endpoints_have_their_state_and_its_reason() {
    let admin = Admin::new(&ejected().await);
    let found = json(&admin, "/clusters?format=mesh").await;
    let a = &found["clusters"][0];
    assert_eq!(a["name"], "a");
    assert_eq!(
        a["counts"],
        serde_json::json!({
            "total": 6, "healthy": 1, "degraded": 1, "unhealthy": 2, "draining": 1, "ejected": 1,
        })
    );
    for (number, state, reason) in [
        (1, "healthy", ""),
        (2, "ejected", "outlier detection took it out"),
        (3, "unhealthy", "the configuration says that it is unhealthy"),
        (4, "unhealthy", "its health check timed out, says the configuration"),
        (5, "draining", "the configuration drains it"),
        (
            6,
            "degraded",
            "the configuration says that it is degraded: it takes what healthy ones can't",
        ),
    ] {
        let endpoint = by_address(&a["endpoints"], &format!("10.0.0.{number}:80"));
        assert_eq!(endpoint["state"], state);
        assert_eq!(endpoint["reason"].as_str().unwrap_or_default(), reason);
        assert_eq!(endpoint["ejections"], u32::from(number == 2));
        assert_eq!(endpoint["zone"], "eu-1");
    }
    let healthy = by_address(&a["endpoints"], "10.0.0.1:80");
    assert_eq!((&healthy["weight"], &healthy["connections"]["http2"]), (&3.into(), &1.into()));
    let limits = &a["circuit_breakers"][0]["limits"];
    let connections = limits.as_array().unwrap();
    let connections = connections.iter().find(|limit| limit["name"] == "max_connections").unwrap();
    assert!(connections["in_use"].as_u64().unwrap() >= 1, "{limits}");
    assert_eq!(connections["limit"], 1024);
    assert_eq!(found["clusters"][1]["endpoints"], Value::Null, "not known yet");
}

#[tokio::test(start_paused = true)]
async fn lines_are_envoys() {
    let admin = Admin::new(&ejected().await);
    let text = read(&admin, "/clusters").await;
    for line in [
        "a::observability_name::a",
        "a::default_priority::max_connections::1024",
        "a::high_priority::max_retries::4294967295",
        "a::added_via_api::true",
        "a::10.0.0.1:80::cx_active::1",
        "a::10.0.0.1:80::rq_active::0",
        "a::10.0.0.1:80::health_flags::healthy",
        "a::10.0.0.1:80::weight::3",
        "a::10.0.0.1:80::region::eu",
        "a::10.0.0.2:80::health_flags::/failed_outlier_check",
        "a::10.0.0.3:80::health_flags::/failed_eds_health",
        "a::10.0.0.5:80::health_flags::/eds_status_draining",
        "a::10.0.0.6:80::health_flags::/degraded_eds_health",
        "b::added_via_api::true",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_overview_has_what_somebody_looks_for() {
    let admin = Admin::new(&ejected().await);
    let found = json(&admin, "/?format=json").await;
    assert_eq!(found["ready"], true);
    assert_eq!(found["configuration"]["source"], "code");
    assert_eq!(found["configuration"]["generation"], 1);
    let parts = &found["splits"][0]["parts"];
    assert_eq!(found["splits"][0]["route"], "split");
    assert_eq!((&parts[0]["configured"], &parts[0]["achieved"]), (&1.0.into(), &1.0.into()));
    assert!(parts[0]["calls"].as_u64().unwrap() >= 2);
    assert_eq!((&parts[1]["cluster"], &parts[1]["configured"]), (&"b".into(), &0.0.into()));
    assert_eq!(found["listeners"][0]["configured"], "127.0.0.1:8443");
    assert_eq!(found["listeners"][0]["serving"], false);
    let page = read(&admin, "/").await;
    for cell in [
        "<td class=\"good\">yes</td>",
        "<td class=\"bad\">ejected</td><td>outlier detection took it out (ejections so far: 1)</td>",
        "<td class=\"bad\">draining</td>",
        "<td>any</td><td>split</td><td>a</td><td>100.0 %</td><td>100.0 %</td>",
        "its endpoints are not known yet",
        "<td>web</td><td>127.0.0.1:8443</td>",
        "<a href=\"/clusters\">",
    ] {
        assert!(page.contains(cell), "{cell}: {page}");
    }
    // What is in trouble comes first.
    assert!(page.find(">ejected<") < page.find(">healthy<"));
}

#[tokio::test(start_paused = true)]
async fn the_configuration_is_told_by_name() {
    let admin = Admin::new(&ejected().await);
    let found = json(&admin, "/config_dump?format=mesh").await;
    let host = &found["virtual_hosts"][0];
    assert_eq!((&host["name"], &host["domains"][0]), (&"any".into(), &"*".into()));
    assert_eq!(host["routes"][0]["split"][0]["weight"], 100);
    assert_eq!(found["clusters"][0]["endpoints"], 6);
    assert_eq!(found["listeners"][0]["name"], "web");
    assert_eq!(read(&admin, "/listeners").await, "web::127.0.0.1:8443\n");
}

#[tokio::test]
async fn a_cluster_with_many_endpoints_is_cut_short_for_people_only() {
    let endpoints: Vec<_> = (1..=200).map(at).collect();
    let update = crate::fixture::config(Cluster::new("a"), &endpoints, |_| {});
    let admin = Admin::new(&mesh(&MemoryNetwork::new(), update));
    let page = read(&admin, "/").await;
    assert!(page.contains("and 150 more: see /clusters"));
    assert_eq!(page.matches(">healthy<").count(), 50);
    let found = json(&admin, "/?format=json").await;
    assert_eq!(found["clusters"][0]["endpoints"].as_array().unwrap().len(), 200);
}
