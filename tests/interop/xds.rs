//! go-control-plane: what our xDS client asks it, and what becomes of what it answers.

use crate::client::{Answer, get, send, traffic};
use crate::go;
use crate::process::{Peer, installed};
use http::Version;
use mesh_tower::Mesh;
use mesh_tower::source::{Bootstrap, Variant, XdsSource};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// A control plane, and what it has said so far.
pub(crate) struct ControlPlane {
    child: Child,
    stdin: ChildStdin,
    pub(crate) port: u16,
    said: Arc<Mutex<Vec<Value>>>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl ControlPlane {
    fn start() -> Self {
        Self::with(&[])
    }

    /// One that is asked by name: a request without names asks for nothing.
    pub(crate) fn with(arguments: &[&OsStr]) -> Self {
        let by_name = [OsStr::new("-by-name")];
        Self::run(&[&by_name, arguments].concat())
    }

    /// One as it comes: a request without names asks for everything.
    pub(crate) fn run(arguments: &[&OsStr]) -> Self {
        let mut command = Command::new(installed("go-xds-peer"));
        let mut child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Arc::<Mutex<Vec<Value>>>::default();
        let hears = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                hears.lock().push(serde_json::from_str(&line).unwrap());
            }
        });
        let mut plane = Self { child, stdin, port: 0, said };
        let ready = plane.wait_for(|said| said["event"] == "ready");
        plane.port = u16::try_from(ready["port"].as_u64().unwrap()).unwrap();
        plane
    }

    pub(crate) fn command(&mut self, command: &Value) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    /// The first thing it said, or says, that `is_it`.
    pub(crate) fn wait_for(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let said = self.said.lock().iter().find(|said| is_it(said)).cloned();
            if let Some(said) = said {
                return said;
            }
            let all = || self.said.lock().iter().map(|s| format!("{s}\n")).collect::<String>();
            assert!(begun.elapsed() < PATIENCE, "it said only\n{}", all());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn requests(&self, kind: &str) -> Vec<Value> {
        let said = self.said.lock();
        let of_kind = |said: &&Value| {
            said["event"] == "request" && said["type"].as_str().is_some_and(|of| of.ends_with(kind))
        };
        said.iter().filter(of_kind).cloned().collect()
    }

    pub(crate) fn set(&mut self, version: &str, resources: &[Value]) {
        let set = json!({ "version": version, "node": "*", "resources": resources });
        self.command(&json!({ "set": set }));
        self.wait_for(|said| said["event"] == "set" && said["version"] == version);
    }
}

/// Our client of it.
fn client_of(plane: &ControlPlane, variant: Variant) -> Mesh {
    Mesh::builder().source(source_of(plane, variant)).build().unwrap()
}

pub(crate) fn source_of(plane: &ControlPlane, variant: Variant) -> XdsSource {
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": format!("127.0.0.1:{}", plane.port),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        "node": { "id": "mesh-interop", "cluster": "tests" },
    });
    let bootstrap = Bootstrap::parse(&bootstrap.to_string()).unwrap();
    XdsSource::new(bootstrap).variant(variant)
}

fn listener(authority: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": authority,
        "api_listener": { "api_listener": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "rds": { "route_config_name": "routes", "config_source": { "ads": {} } },
            "http_filters": [{
                "name": "router",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
            }],
        } },
    })
}

/// Routes to `one` and `two` by weight, and by the header `x-to: two`.
fn routes(one: u32, two: u32) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "routes",
        "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [
                {
                    "match": {
                        "prefix": "/",
                        "headers": [{ "name": "x-to", "string_match": { "exact": "two" } }],
                    },
                    "route": { "cluster": "two" },
                },
                {
                    "match": { "prefix": "/" },
                    "route": { "weighted_clusters": { "clusters": [
                        { "name": "one", "weight": one },
                        { "name": "two", "weight": two },
                    ] } },
                },
            ],
        }],
    })
}

pub(crate) fn cluster(name: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": name,
        "type": "EDS",
        "eds_cluster_config": { "eds_config": { "ads": {} } },
        "lb_policy": "LEAST_REQUEST",
    })
}

pub(crate) fn endpoints(cluster: &str, port: u16) -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [{
            "locality": { "region": "here" },
            "load_balancing_weight": 1,
            "lb_endpoints": [{ "endpoint": { "address": { "socket_address": {
                "address": "127.0.0.1", "port_value": port,
            } } } }],
        }],
    })
}

pub(crate) fn all(backends: [&Peer; 2], weights: (u32, u32)) -> Vec<Value> {
    vec![
        listener("peer"),
        routes(weights.0, weights.1),
        cluster("one"),
        cluster("two"),
        endpoints("one", backends[0].ports[0]),
        endpoints("two", backends[1].ports[0]),
    ]
}

/// Who answered so many calls: the port of the backend's address that `/seen` tells.
pub(crate) async fn who_answers(mesh: &Mesh, calls: usize, backends: [&Peer; 2]) -> [usize; 2] {
    let who = |answer: &Answer| answer.json()["address"].as_str().unwrap_or_default().to_owned();
    let answers = traffic(mesh, calls, || get(Version::HTTP_11, "/seen"), who).await;
    let counts = backends.map(|backend| {
        let address = format!("127.0.0.1:{}", backend.ports[0]);
        answers.get(&address).copied().unwrap_or_default()
    });
    assert_eq!(counts.iter().sum::<usize>(), calls, "{answers:?}");
    counts
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn updates_deletions_and_restarts(variant: Variant) {
    let (one, two) = (go::start(), go::start());
    let backends = [&one, &two];
    let mut plane = ControlPlane::start();
    plane.set("v1", &all(backends, (3, 1)));
    let mesh = client_of(&plane, variant);

    // The first call asks for what it needs, and everything that came is accepted.
    assert_eq!(send(&mesh, get(Version::HTTP_11, "/seen")).await.status, 200);
    let [first, second] = who_answers(&mesh, 800, backends).await;
    assert!((150..=250).contains(&second), "{first} and {second} of 3:1");
    for kind in ["Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment"] {
        let requests = plane.requests(kind);
        assert!(requests.iter().all(|request| request["error_detail"].is_null()), "{requests:?}");
        assert!(requests.len() >= 2, "{kind}: asked and acknowledged: {requests:?}");
    }
    let node: Vec<_> = plane.said.lock().iter().map(|s| s["node_sent"].clone()).collect();
    assert_eq!(node.iter().filter(|sent| **sent == true).count(), 1, "the node is sent once");

    // An update goes live.
    plane.set("v2", &all(backends, (0, 1)));
    until("the new split", async || who_answers(&mesh, 16, backends).await == [0, 16]).await;

    // A broken update is refused with its reason, and changes nothing.
    let mut broken = all(backends, (1, 0));
    broken[1]["virtual_hosts"][0]["routes"][1]["match"] = json!({ "safe_regex": { "regex": "(" } });
    plane.set("v3", &broken);
    let nack = plane.wait_for(|said| said["event"] == "request" && !said["error_detail"].is_null());
    let detail = nack["error_detail"].to_string();
    assert!(detail.contains("virtual_hosts[0].routes[1].match"), "{detail}");
    assert_eq!(who_answers(&mesh, 16, backends).await, [0, 16], "the last good stays");

    // Of a response that is good in part, the good part goes live (gRFC A46).
    let mut part = all(backends, (0, 1));
    part[4]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["port_value"] =
        json!(0);
    part[5] = endpoints("two", one.ports[0]);
    plane.set("v3b", &part);
    until("the good part", async || who_answers(&mesh, 16, backends).await == [16, 0]).await;
    plane.set("v3c", &all(backends, (0, 1)));
    until("the whole", async || who_answers(&mesh, 16, backends).await == [0, 16]).await;

    // A deletion by the control plane changes nothing either (gRFC A88).
    plane.command(&json!({ "clear": { "version": "v4", "node": "*" } }));
    plane.wait_for(|said| said["event"] == "cleared");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(who_answers(&mesh, 16, backends).await, [0, 16]);

    // It goes away and comes back with something else: no call is lost.
    plane.set("v5", &all(backends, (1, 0)));
    until("the split of v5", async || who_answers(&mesh, 16, backends).await == [16, 0]).await;
    plane.command(&json!({ "stop_serving": 500 }));
    plane.wait_for(|said| said["event"] == "stopped");
    assert_eq!(who_answers(&mesh, 208, backends).await, [208, 0], "while it is away");
    plane.set("v6", &all(backends, (0, 1)));
    until("the split of v6", async || who_answers(&mesh, 16, backends).await == [0, 16]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn go_control_plane_in_the_state_of_the_world() {
    updates_deletions_and_restarts(Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn go_control_plane_in_delta() {
    updates_deletions_and_restarts(Variant::Delta).await;
}

/// The sum of a field of all locality stats that were reported of `cluster`. Proto-JSON writes 64 bits as
/// texts, and nothing for zero.
pub(crate) fn reported(plane: &ControlPlane, cluster: &str, field: &str) -> u64 {
    let said = plane.said.lock();
    let reports = said.iter().filter(|said| said["event"] == "load");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let clusters = reports.flat_map(|said| list(&said["report"]["cluster_stats"]));
    let places = clusters
        .filter(|stats| stats["cluster_name"] == cluster)
        .flat_map(|stats| list(&stats["upstream_locality_stats"]));
    places.filter_map(|place| place[field].as_str()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn go_control_plane_is_told_the_load() {
    let (one, two) = (go::start(), go::start());
    let backends = [&one, &two];
    let mut plane = ControlPlane::start();
    let mut resources = all(backends, (1, 1));
    for cluster in &mut resources[2..4] {
        cluster["lrs_server"] = json!({ "self": {} });
    }
    plane.set("v1", &resources);
    let mesh = client_of(&plane, Variant::StateOfTheWorld);
    let [first, second] = who_answers(&mesh, 320, backends).await;
    // The node comes first, and says that it takes `send_all_clusters`.
    let hello = plane.wait_for(|said| said["event"] == "load");
    let features = hello["report"]["node"]["client_features"].to_string();
    assert!(features.contains("envoy.lrs.supports_send_all_clusters"), "{hello}");
    let told = |cluster| reported(&plane, cluster, "total_successful_requests");
    let agrees = async || (told("one"), told("two")) == (first as u64, second as u64);
    until("the reports agree with the calls", agrees).await;
    let issued = |cluster| reported(&plane, cluster, "total_issued_requests");
    assert_eq!((issued("one"), issued("two")), (first as u64, second as u64));

    // The control plane sheds the load of one cluster (gRFC A27), over the wire and in the calls.
    resources[4]["policy"] = json!({ "drop_overloads": [{
        "category": "throttle", "drop_percentage": { "numerator": 100 },
    }] });
    plane.set("v2", &resources);
    until("calls to `one` are dropped", async || {
        let request = get(Version::HTTP_11, "/seen");
        let answer = tower::ServiceExt::oneshot(mesh.client(), request).await;
        answer.is_err_and(|error| error.is_dropped())
    })
    .await;
    let dropped = plane.wait_for(|said| {
        said["event"] == "load" && said["report"]["cluster_stats"].to_string().contains("throttle")
    });
    let stats = dropped["report"]["cluster_stats"].as_array().unwrap().clone();
    let stats = stats.iter().find(|stats| stats["cluster_name"] == "one").unwrap();
    assert_eq!(stats["total_dropped_requests"], stats["dropped_requests"][0]["dropped_count"]);
}
