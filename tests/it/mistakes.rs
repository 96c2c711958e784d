//! What clients of xDS were seen to get wrong, from the resources of a control plane to where calls go.
//!
//! The list is in `docs/xds.md`, "Mistakes of others". What a machine or a decoder decides alone is tested
//! beside it; here is what only traffic shows.

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::{Cluster, cluster};
use envoy_types::pb::envoy::config::core::v3::{
    self as core, Address, ConfigSource, Locality, SocketAddress, address, config_source,
    socket_address,
};
use envoy_types::pb::envoy::config::endpoint::v3::{
    self as eds, ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint,
};
use envoy_types::pb::envoy::config::route::v3::{
    self as rds, HeaderMatcher, RouteConfiguration, RouteMatch, VirtualHost, header_matcher, route,
    route_action, route_match,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};
use envoy_types::pb::google::protobuf::UInt32Value;
use http::Request;
use http_body_util::BodyExt;
use mesh_tower::source::{Bootstrap, Variant, XdsSource};
use mesh_tower::{Mesh, MeshBody};
use mesh_xds::ResourceType;
use mesh_xds::encode::{Encoded, api_listener};
use mesh_xds::server::{AdsServer, Snapshot};
use prost::Message;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tower::ServiceExt;

const PATIENCE: Duration = Duration::from_secs(20);
const VARIANTS: [Variant; 2] = [Variant::StateOfTheWorld, Variant::Delta];

/// A control plane that serves what it is given, good or bad.
struct Plane {
    server: AdsServer,
    port: u16,
}

impl Plane {
    async fn serving(resources: Vec<Encoded>) -> Self {
        let server = AdsServer::new(Snapshot::new(resources));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serves = server.clone();
        // It ends with the runtime of the test.
        tokio::spawn(async move { serves.serve(listener, std::future::pending()).await.unwrap() });
        Self { server, port }
    }

    fn mesh(&self, variant: Variant, features: &str) -> Mesh {
        let port = self.port;
        let bootstrap = format!(
            r#"{{ "xds_servers": [{{ "server_uri": "127.0.0.1:{port}", "server_features": [{features}],
                                     "channel_creds": [{{ "type": "insecure" }}] }}],
                  "node": {{ "id": "mistakes" }} }}"#
        );
        let source = XdsSource::new(Bootstrap::parse(&bootstrap).unwrap()).variant(variant);
        Mesh::builder().source(source).build().unwrap()
    }

    /// Why the newest resources of a type were refused.
    async fn refusal(&self, kind: ResourceType) -> String {
        let begun = Instant::now();
        loop {
            for client in self.server.clients().connected() {
                let refusal = client.kinds.get(&kind).and_then(|kind| kind.nacked.clone());
                if let Some(refusal) = refusal {
                    return refusal.message;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no {kind} was refused");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Endpoints that say their names.
async fn endpoints<const N: usize>(names: [&'static str; N]) -> [u16; N] {
    let mut ports = [0; N];
    for (port, name) in ports.iter_mut().zip(names) {
        *port = crate::chaos::load::endpoint(name).await;
    }
    ports
}

// === Resources ===

fn listener(authority: &str) -> Encoded {
    Encoded::listener(&api_listener(authority, "routes"))
}

fn routes(routes: impl IntoIterator<Item = (RouteMatch, &'static str)>) -> Encoded {
    let route = |(matcher, cluster): (RouteMatch, &str)| rds::Route {
        r#match: Some(matcher),
        action: Some(route::Action::Route(rds::RouteAction {
            cluster_specifier: Some(route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
            ..rds::RouteAction::default()
        })),
        ..rds::Route::default()
    };
    let host = VirtualHost {
        name: "shop".to_owned(),
        domains: vec!["*".to_owned()],
        routes: routes.into_iter().map(route).collect(),
        ..VirtualHost::default()
    };
    let message = RouteConfiguration {
        name: "routes".to_owned(),
        virtual_hosts: vec![host],
        ..RouteConfiguration::default()
    };
    Encoded::new(ResourceType::RouteConfiguration, "routes", message.encode_to_vec())
}

fn any() -> RouteMatch {
    RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Prefix("/".to_owned())),
        ..RouteMatch::default()
    }
}

fn with_header(
    name: &str,
    specifier: header_matcher::HeaderMatchSpecifier,
    invert: bool,
) -> RouteMatch {
    let header = HeaderMatcher {
        name: name.to_owned(),
        invert_match: invert,
        header_match_specifier: Some(specifier),
        ..HeaderMatcher::default()
    };
    RouteMatch { headers: vec![header], ..any() }
}

fn exact(text: &str) -> header_matcher::HeaderMatchSpecifier {
    header_matcher::HeaderMatchSpecifier::StringMatch(StringMatcher {
        match_pattern: Some(string_matcher::MatchPattern::Exact(text.to_owned())),
        ..StringMatcher::default()
    })
}

fn cluster(name: &str) -> Encoded {
    let ads = config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource::default());
    let eds = cluster::EdsClusterConfig {
        eds_config: Some(ConfigSource {
            config_source_specifier: Some(ads),
            ..ConfigSource::default()
        }),
        ..cluster::EdsClusterConfig::default()
    };
    let message = Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(cluster::ClusterDiscoveryType::Type(
            cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(eds),
        ..Cluster::default()
    };
    Encoded::new(ResourceType::Cluster, name, message.encode_to_vec())
}

/// Localities of one endpoint: priority, weight, port.
fn assignment(cluster: &str, localities: &[(u32, u32, u16)]) -> Encoded {
    let locality = |(place, (priority, weight, port)): (usize, &(u32, u32, u16))| {
        let port = socket_address::PortSpecifier::PortValue((*port).into());
        let socket = SocketAddress {
            address: "127.0.0.1".to_owned(),
            port_specifier: Some(port),
            ..SocketAddress::default()
        };
        let endpoint = eds::Endpoint {
            address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
            ..eds::Endpoint::default()
        };
        let endpoint = LbEndpoint {
            host_identifier: Some(lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..LbEndpoint::default()
        };
        LocalityLbEndpoints {
            locality: Some(Locality { zone: format!("z{place}"), ..Locality::default() }),
            lb_endpoints: vec![endpoint],
            load_balancing_weight: Some(UInt32Value { value: *weight }),
            priority: *priority,
            ..LocalityLbEndpoints::default()
        }
    };
    let message = ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: localities.iter().enumerate().map(locality).collect(),
        ..ClusterLoadAssignment::default()
    };
    Encoded::new(ResourceType::Endpoints, cluster, message.encode_to_vec())
}

/// `shop` → `a` and, by a header, `b`.
fn two_clusters(matcher: RouteMatch, [a, b]: [u16; 2]) -> Vec<Encoded> {
    vec![
        listener("shop"),
        routes([(matcher, "b"), (any(), "a")]),
        cluster("a"),
        cluster("b"),
        assignment("a", &[(0, 1, a)]),
        assignment("b", &[(0, 1, b)]),
    ]
}

// === Calls ===

async fn call(mesh: &Mesh, headers: &[(&str, &str)]) -> Result<Bytes, mesh_tower::Error> {
    let mut request = Request::get("http://shop/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = mesh.client().oneshot(request.body(MeshBody::empty()).unwrap()).await?;
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Who answers so many calls.
async fn calls(mesh: &Mesh, count: u32, headers: &[(&str, &str)]) -> BTreeMap<Bytes, u32> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        *answers.entry(call(mesh, headers).await.unwrap()).or_default() += 1;
    }
    answers
}

fn all(name: &'static str, count: u32) -> BTreeMap<Bytes, u32> {
    BTreeMap::from([(Bytes::from_static(name.as_bytes()), count)])
}

// === Tests ===

#[tokio::test]
async fn the_first_priority_gets_all_calls_while_it_is_well() {
    let [first, second] = endpoints(["first", "second"]).await;
    let assigned = assignment("a", &[(0, 1, first), (1, 1, second)]);
    let plane =
        Plane::serving(vec![listener("shop"), routes([(any(), "a")]), cluster("a"), assigned])
            .await;
    for variant in VARIANTS {
        assert_eq!(calls(&plane.mesh(variant, ""), 200, &[]).await, all("first", 200));
    }
}

#[tokio::test]
async fn localities_get_calls_by_their_weights() {
    let [near, far] = endpoints(["near", "far"]).await;
    let assigned = assignment("a", &[(0, 99, near), (0, 1, far)]);
    let plane =
        Plane::serving(vec![listener("shop"), routes([(any(), "a")]), cluster("a"), assigned])
            .await;
    let answers = calls(&plane.mesh(Variant::StateOfTheWorld, ""), 1_000, &[]).await;
    let far = answers.get(&b"far"[..]).copied().unwrap_or_default();
    // 10 of 1000, and five standard deviations.
    assert!(far <= 26, "{answers:?}");
}

#[tokio::test]
async fn a_gap_in_the_priorities_is_refused() {
    let [a] = endpoints(["a"]).await;
    let gap = assignment("a", &[(3, 1, a)]);
    let good = [listener("shop"), routes([(any(), "a")]), cluster("a")];
    let plane = Plane::serving([&good[..], &[gap]].concat()).await;
    let mesh = plane.mesh(Variant::StateOfTheWorld, "");
    let waits = mesh.clone();
    let calling = tokio::spawn(async move { call(&waits, &[]).await });
    let refusal = plane.refusal(ResourceType::Endpoints).await;
    assert!(refusal.contains("priority"), "{refusal}");
    // Nothing good is known, so calls end at once and say so, and do not hang.
    let answer = tokio::time::timeout(PATIENCE, calling).await.unwrap().unwrap();
    assert_eq!(answer.unwrap_err().code(), "no_endpoints");
    plane.server.publish(Snapshot::new([&good[..], &[assignment("a", &[(0, 1, a)])]].concat()));
    until("it is mended", async || call(&mesh, &[]).await.is_ok()).await;
}

#[tokio::test]
async fn grpc_never_matches_a_binary_header_and_http_does() {
    let ports = endpoints(["a", "b"]).await;
    let plane =
        Plane::serving(two_clusters(with_header("x-id-bin", exact("AAE="), false), ports)).await;
    let mesh = plane.mesh(Variant::StateOfTheWorld, "");
    let grpc = [("x-id-bin", "AAE="), ("content-type", "application/grpc")];
    assert_eq!(calls(&mesh, 50, &grpc).await, all("a", 50));
    assert_eq!(calls(&mesh, 50, &grpc[..1]).await, all("b", 50));
}

#[tokio::test]
async fn an_inverted_condition_on_a_missing_header_does_not_hold() {
    let ports = endpoints(["a", "b"]).await;
    let plane = Plane::serving(two_clusters(with_header("x-user", exact("qa"), true), ports)).await;
    let mesh = plane.mesh(Variant::StateOfTheWorld, "");
    assert_eq!(calls(&mesh, 50, &[]).await, all("a", 50));
    assert_eq!(calls(&mesh, 50, &[("x-user", "qa")]).await, all("a", 50));
    assert_eq!(calls(&mesh, 50, &[("x-user", "other")]).await, all("b", 50));
}

#[tokio::test]
#[expect(deprecated, reason = "gRFC A28 lists it as supported")]
async fn a_deprecated_condition_is_taken() {
    let prefix = header_matcher::HeaderMatchSpecifier::PrefixMatch("qa-".to_owned());
    let ports = endpoints(["a", "b"]).await;
    let plane = Plane::serving(two_clusters(with_header("x-user", prefix, false), ports)).await;
    let mesh = plane.mesh(Variant::StateOfTheWorld, "");
    assert_eq!(calls(&mesh, 50, &[("x-user", "qa-1")]).await, all("b", 50));
    assert_eq!(calls(&mesh, 50, &[("x-user", "q")]).await, all("a", 50));
}

#[tokio::test]
async fn one_stream_is_enough_for_everything() {
    let [a] = endpoints(["a"]).await;
    let mut resources = vec![routes([(any(), "a")]), cluster("a"), assignment("a", &[(0, 1, a)])];
    resources.extend(["shop", "other", "third"].map(listener));
    let plane = Plane::serving(resources).await;
    let mesh = plane.mesh(Variant::StateOfTheWorld, "");
    for authority in ["shop", "other", "third"] {
        let request = Request::get(format!("http://{authority}/")).body(MeshBody::empty()).unwrap();
        assert_eq!(mesh.client().oneshot(request).await.unwrap().status(), 200);
        assert_eq!(calls(&mesh.clone(), 10, &[]).await, all("a", 10));
    }
    assert_eq!(plane.server.clients().connected().len(), 1, "istio#53532: one stream of an agent");
}

#[tokio::test]
async fn hundreds_of_clusters_are_no_more_than_one() {
    const COUNT: usize = 300;
    let [a] = endpoints(["a"]).await;
    let names: [&'static str; COUNT] =
        std::array::from_fn(|number| &*Box::leak(format!("c{number}").into_boxed_str()));
    let by_path = names.map(|name| {
        let path = route_match::PathSpecifier::Path(format!("/{name}"));
        (RouteMatch { path_specifier: Some(path), ..RouteMatch::default() }, name)
    });
    let mut resources = vec![listener("shop"), routes(by_path)];
    resources.extend(names.map(cluster));
    resources.extend(names.map(|name| assignment(name, &[(0, 1, a)])));
    let plane = Plane::serving(resources).await;
    for variant in VARIANTS {
        let mesh = plane.mesh(variant, "");
        for name in names {
            let uri = format!("http://shop/{name}");
            let request = Request::get(uri).body(MeshBody::empty()).unwrap();
            assert_eq!(mesh.client().oneshot(request).await.unwrap().status(), 200, "{name}");
        }
    }
}

#[tokio::test]
async fn a_deletion_takes_effect_where_it_is_asked_for_and_nowhere_else() {
    let [a] = endpoints(["a"]).await;
    let resources = || vec![routes([(any(), "a")]), cluster("a"), assignment("a", &[(0, 1, a)])];
    // Of a name without a port the other form is waited for, too.
    let served = || [resources(), vec![listener("shop"), listener("shop:80")]].concat();
    for variant in VARIANTS {
        let plane = Plane::serving(served()).await;
        let obeys = plane.mesh(variant, r#""fail_on_data_errors""#);
        let keeps = plane.mesh(variant, "");
        for mesh in [&obeys, &keeps] {
            assert_eq!(calls(mesh, 5, &[]).await, all("a", 5));
        }
        plane.server.publish(Snapshot::new(resources()));
        until("it is gone", async || call(&obeys, &[]).await.is_err()).await;
        let error = call(&obeys, &[]).await.unwrap_err();
        assert_eq!(error.response_flag().as_str(), "NR", "{variant:?}: {error}");
        assert_eq!(calls(&keeps, 50, &[]).await, all("a", 50), "{variant:?}: gRFC A88");
        // It comes back.
        plane.server.publish(Snapshot::new(served()));
        until("it came back", async || call(&obeys, &[]).await.is_ok()).await;
    }
}
