//! Envoy's formats are read by Envoy's own types.

use super::states::ejected;
use super::{ask, json, read};
use envoy_types::pb::envoy::admin::v3 as admin_pb;
use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use http::{Method, StatusCode};
use mesh_tower::admin::Admin;
use mesh_xds::json::from_json;
use prost::{Message, Name};

/// A message of Envoy's, of its JSON.
pub(super) fn of_json<M: Message + Name + Default>(text: &str) -> M {
    let bytes =
        from_json(&M::full_name(), text).unwrap_or_else(|error| panic!("{error:?}: {text}"));
    M::decode(&*bytes).unwrap()
}

#[tokio::test(start_paused = true)]
async fn clusters() {
    let admin = Admin::new(&ejected().await);
    let found: admin_pb::Clusters = of_json(&read(&admin, "/clusters?format=json").await);
    let [a, b] = &*found.cluster_statuses else { panic!("{found:?}") };
    assert_eq!((&*a.name, &*b.name, a.added_via_api), ("a", "b", true));
    let limits = &a.circuit_breakers.as_ref().unwrap().thresholds;
    assert_eq!(limits[0].max_connections.unwrap().value, 1024);
    assert_eq!((limits[1].priority, limits[1].max_retries), (1, None));
    let told: Vec<_> = a
        .host_statuses
        .iter()
        .map(|host| {
            let Some(Address::SocketAddress(address)) =
                host.address.as_ref().and_then(|address| address.address.clone())
            else {
                panic!("{host:?}")
            };
            let health = host.health_status.as_ref().unwrap();
            assert_eq!(host.locality.as_ref().unwrap().region, "eu");
            (address.address, health.failed_outlier_check, health.eds_health_status)
        })
        .collect();
    let expected = [
        ("10.0.0.1", false, HealthStatus::Healthy),
        ("10.0.0.2", true, HealthStatus::Healthy),
        ("10.0.0.3", false, HealthStatus::Unhealthy),
        ("10.0.0.4", false, HealthStatus::Timeout),
        ("10.0.0.5", false, HealthStatus::Draining),
        ("10.0.0.6", false, HealthStatus::Degraded),
    ];
    let expected =
        expected.map(|(address, out, health)| (address.to_owned(), out, i32::from(health)));
    assert_eq!(told, expected);
    let first = &a.host_statuses[0];
    assert_eq!((first.weight, &*first.stats[0].name, first.stats[0].value), (3, "cx_active", 1));
}

#[tokio::test(start_paused = true)]
async fn config_dump() {
    let admin = Admin::new(&ejected().await);
    let types = |dump: &admin_pb::ConfigDump| -> Vec<String> {
        let types = dump.configs.iter().map(|any| any.type_url.rsplit('.').next().unwrap());
        types.map(str::to_owned).collect()
    };
    let dump: admin_pb::ConfigDump = of_json(&read(&admin, "/config_dump").await);
    let without =
        ["ClustersConfigDump", "ListenersConfigDump", "RoutesConfigDump", "SecretsConfigDump"];
    assert_eq!(types(&dump), without);
    let clusters = admin_pb::ClustersConfigDump::decode(&*dump.configs[0].value).unwrap();
    let clusters = clusters.dynamic_active_clusters;
    assert_eq!(clusters.len(), 2);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - clusters[0].last_updated.unwrap().seconds as f64;
    assert!((-2.0..3600.0).contains(&age), "{age}");
    let eds: admin_pb::ConfigDump = of_json(&read(&admin, "/config_dump?include_eds").await);
    assert_eq!(types(&eds)[1], "EndpointsConfigDump");
    let one = "/config_dump?resource=dynamic_listeners";
    let one: admin_pb::ConfigDump = of_json(&read(&admin, one).await);
    assert_eq!(types(&one), ["DynamicListener"]);
    let (status, text) = ask(&admin, Method::GET, "/config_dump?resource=nothing").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("dynamic_active_clusters"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn listeners() {
    let admin = Admin::new(&ejected().await);
    let found: admin_pb::Listeners = of_json(&read(&admin, "/listeners?format=json").await);
    let [web] = &*found.listener_statuses else { panic!("{found:?}") };
    assert_eq!(web.name, "web");
    let address = web.local_address.as_ref().and_then(|address| address.address.clone());
    let Some(Address::SocketAddress(address)) = address else { panic!("{web:?}") };
    assert_eq!(address.address, "127.0.0.1");
}

#[tokio::test]
async fn accept_chooses_json() {
    let admin = Admin::new(&super::nobody());
    let request = http::Request::get("/clusters").header("accept", "application/json");
    let response = admin.answer(request.body(()).unwrap());
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(json(&admin, "/certs").await, serde_json::json!({ "certificates": [] }));
}
