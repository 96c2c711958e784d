//! grpcdebug: what it reads of a mesh that a control plane configures.

use crate::process::installed;
use mesh_core::ConfigUpdate;
use mesh_core::model::{Cluster, ForwardAction, Route, VirtualHost};
use mesh_tower::Mesh;
use mesh_tower::source::{Bootstrap, Variant, XdsSource, XdsStatus};
use mesh_xds::ResourceType;
use mesh_xds::encode::{Encoded, resources};
use mesh_xds::server::{AdsServer, Snapshot};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// A cluster `v1` of a type that there is not.
const BROKEN: &[u8] = b"\x0a\x02v1\x10\x63";
const PATIENCE: Duration = Duration::from_secs(20);

/// A control plane, and a mesh that shows what it knows of it on `status`.
struct Running {
    plane: AdsServer,
    mesh: Mesh,
    status: XdsStatus,
    address: SocketAddr,
}

fn configuration() -> Vec<Encoded> {
    let route = Route::forward(ForwardAction::to("v1"));
    let endpoint = SocketAddr::from(([127, 0, 0, 1], 7));
    let update = ConfigUpdate::in_code()
        .virtual_host(VirtualHost::of("shop").unwrap().route(route))
        .cluster(Cluster::new("v1"), [endpoint]);
    resources(&update)
}

/// A source of the control plane at this address.
fn source(plane: SocketAddr) -> XdsSource {
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": plane.to_string(),
            "channel_creds": [{ "type": "insecure" }],
        }],
        "node": { "id": "mesh-interop", "cluster": "tests" },
    });
    let bootstrap = Bootstrap::parse(&bootstrap.to_string()).unwrap();
    // Delta: what is not there is said at once.
    XdsSource::new(bootstrap).variant(Variant::Delta).authority("shop")
}

async fn start() -> Running {
    let plane = AdsServer::new(Snapshot::new(configuration()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = source(listener.local_addr().unwrap()).authority("nowhere");
    let serving = plane.clone();
    tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let (mesh, status, address) = shown(source).await;
    Running { plane, mesh, status, address }
}

/// A mesh, and where its status is served.
async fn shown(source: XdsSource) -> (Mesh, XdsStatus, SocketAddr) {
    let status = source.status();
    let mesh = Mesh::builder().source(source).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().add_service(status.csds());
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (mesh, status, address)
}

impl Running {
    async fn grpcdebug(&self, words: &[&str]) -> String {
        let mut command = Command::new(installed("grpcdebug-peer"));
        command.arg(self.address.to_string()).args(words);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Status and version by the type's last word and the name.
    async fn table(&self) -> BTreeMap<String, (String, String)> {
        let text = self.grpcdebug(&["xds", "status"]).await;
        let mut lines = text.lines();
        let head: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(head, ["Name", "Status", "Version", "Type", "LastUpdated"]);
        lines
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                let at = words.iter().position(|word| word.starts_with("type.")).unwrap();
                let version = if at == 3 { words[2] } else { "" };
                let kind = words[at].rsplit('.').next().unwrap();
                (format!("{kind} {}", words[0]), (words[1].to_owned(), version.to_owned()))
            })
            .collect()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}", self.status.resources());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn has(&self, kind: ResourceType, state: &str) -> bool {
        let all = self.status.resources();
        all.iter().any(|of| of.kind == kind && format!("{:?}", of.state) == state)
    }
}

/// gRFC A40 has no word for it: acknowledged once, in force, and not sent since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn grpcdebug_reads_what_is_in_force_from_a_copy_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("last-good");
    let plane = AdsServer::new(Snapshot::new(configuration()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = plane.clone();
    let running =
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
    let (before, ..) = shown(source(at).last_good(&path)).await;
    before.ready().await.unwrap();
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE, "no copy: {:?}", before.configuration());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(before);
    running.abort();

    let (mesh, status, address) = shown(source(at).last_good(&path)).await;
    mesh.ready().await.unwrap();
    let running = Running { plane, mesh, status, address };
    let table = running.table().await;
    for of in ["Listener shop", "RouteConfiguration mesh/shop", "Cluster v1"] {
        let (state, version) = &table[of];
        assert!(state == "ACKED" && !version.is_empty(), "{of}: {table:?}");
    }
    let text = running.grpcdebug(&["xds", "config"]).await;
    assert!(text.contains("in force from the copy on disk"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn grpcdebug_reads_names_versions_states_and_contents() {
    let running = start().await;
    running.until("endpoints", |running| running.has(ResourceType::Endpoints, "Acked")).await;
    running.until("absence", |running| running.has(ResourceType::Listener, "DoesNotExist")).await;

    let table = running.table().await;
    for key in [
        "Listener shop:80",
        "RouteConfiguration mesh/shop",
        "Cluster v1",
        "ClusterLoadAssignment v1",
    ] {
        let Some((status, version)) = table.get(key) else { panic!("{key} in {table:?}") };
        assert_eq!(status, "ACKED", "{key}");
        assert!(!version.is_empty(), "{key}");
    }
    assert_eq!(table["Listener nowhere:80"], ("DOES_NOT_EXIST".to_owned(), String::new()));
    let good = table["Cluster v1"].1.clone();

    let mut broken = configuration();
    broken.retain(|resource| resource.kind != ResourceType::Cluster);
    broken.push(Encoded::new(ResourceType::Cluster, "v1", BROKEN));
    running.plane.publish(Snapshot::new(broken));
    running.until("a refusal", |running| running.has(ResourceType::Cluster, "Nacked")).await;
    assert_eq!(running.table().await["Cluster v1"], ("NACKED".to_owned(), good.clone()));

    let dump = running.grpcdebug(&["xds", "config"]).await;
    let dump: Value = serde_json::from_str(&dump).unwrap();
    let config = &dump["config"][0];
    assert_eq!(config["node"]["id"], "mesh-interop", "{dump:#}");
    assert_eq!(config["clientScope"], "#mesh", "{dump:#}");
    let all = config["genericXdsConfigs"].as_array().unwrap();
    let find = |name: &str, kind: ResourceType| {
        let mut all = all.iter();
        all.find(|of| of["name"] == name && of["typeUrl"] == kind.type_url()).unwrap()
    };
    let cluster = find("v1", ResourceType::Cluster);
    assert_eq!(cluster["versionInfo"], *good, "the last good one");
    assert_eq!(cluster["xdsConfig"]["name"], "v1", "{cluster:#}");
    assert!(cluster["errorState"]["details"].as_str().is_some_and(|why| !why.is_empty()));
    assert_ne!(cluster["errorState"]["versionInfo"], *good, "{cluster:#}");
    let endpoints = find("v1", ResourceType::Endpoints);
    let port = "/xdsConfig/endpoints/0/lbEndpoints/0/endpoint/address/socketAddress/portValue";
    assert_eq!(endpoints.pointer(port), Some(&json!(7)), "{endpoints:#}");

    let clusters = running.grpcdebug(&["xds", "config", "--type", "cds"]).await;
    let cluster: Value = serde_json::from_str(&clusters).unwrap();
    assert_eq!(cluster["name"], "v1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs promtool: tests/interop/install"]
async fn promtool_finds_nothing_wrong_with_the_metrics_of_xds() {
    let running = start().await;
    running.until("endpoints", |running| running.has(ResourceType::Endpoints, "Acked")).await;
    let text = running.mesh.metrics().prometheus_text();
    for name in ["grpc_xds_client_connected{", "mesh_xds_ack_duration_seconds_count{"] {
        assert!(text.contains(name), "{name} in\n{text}");
    }
    crate::promtool::check(&text);
}
