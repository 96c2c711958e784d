//! grpc-go's own interop server as an xDS server (gRFC A36) of `mesh ads`: its inbound listener is a file of
//! Envoy's in a directory, and the server serves as long as the file is there.

use crate::process::{Peer, Scratch, free_ports, installed};
use crate::statistics::{WEIGHTS, agree, call, no_nack};
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(20);
const EMPTY_CALL: &str = "/grpc.testing.TestService/EmptyCall";

/// The listener that a server asks for by `server_listener_resource_name_template`.
fn inbound(port: u16) -> String {
    const HCM: &str =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  \
         name: grpc/server?xds.resource.listening_address=0.0.0.0:{port}\n  \
         address: {{ socket_address: {{ address: 0.0.0.0, port_value: {port} }} }}\n  \
         traffic_direction: INBOUND\n  filter_chains:\n  - name: inbound\n    filters:\n    - name: hcm\n      \
         typed_config:\n        \"@type\": type.googleapis.com/{HCM}\n        http_filters:\n        \
         - {{ name: router, typed_config: {{ \"@type\": {ROUTER} }} }}\n        route_config:\n          \
         name: inbound\n          virtual_hosts:\n          \
         - {{ name: all, domains: [\"*\"], routes: [{{ match: {{ prefix: / }}, non_forwarding_action: {{}} }}] }}\n"
    )
}

/// What a client learns of `peer.example`: `EmptyCall` goes to `two`, all else is split.
fn outbound(ports: [u16; 2]) -> String {
    const HCM: &str =
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let [one, two] = WEIGHTS;
    let mut text = format!(
        "resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  name: peer.example\n  \
         api_listener:\n    api_listener:\n      \"@type\": type.googleapis.com/{HCM}\n      \
         rds: {{ route_config_name: split, config_source: {{ ads: {{}} }} }}\n      http_filters:\n      \
         - {{ name: router, typed_config: {{ \"@type\": {ROUTER} }} }}\n\
         - \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n  name: split\n  \
         virtual_hosts:\n  - name: peer\n    domains: [peer.example]\n    routes:\n    \
         - {{ match: {{ path: {EMPTY_CALL} }}, route: {{ cluster: two }} }}\n    \
         - match: {{ prefix: \"\" }}\n      route: {{ weighted_clusters: {{ clusters: \
         [{{ name: one, weight: {one} }}, {{ name: two, weight: {two} }}] }} }}\n"
    );
    for (name, port) in ["one", "two"].into_iter().zip(ports) {
        text += &format!(
            "- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name: {name}\n  type: EDS\n  \
             eds_cluster_config: {{ eds_config: {{ ads: {{}} }} }}\n\
             - \"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  \
             cluster_name: {name}\n  endpoints:\n  - locality: {{ region: here }}\n    \
             load_balancing_weight: 1\n    lb_endpoints:\n    - endpoint: {{ address: {{ socket_address: \
             {{ address: 127.0.0.1, port_value: {port} }} }} }}\n"
        );
    }
    text
}

/// A server of grpc-go's in its xDS mode, and what it has logged.
struct Served {
    _peer: Peer,
    port: u16,
    maintenance: u16,
    log: PathBuf,
}

impl Served {
    fn start(name: &str, port: u16, maintenance: u16, bootstrap: &Path, directory: &Path) -> Self {
        let log = directory.join(format!("{name}.log"));
        let mut command = Command::new(installed("go-interop-server"));
        command.args(["-secure_mode", "-host_name_override", name, "-server_id", name]);
        command.args(["-port", &port.to_string(), "-maintenance_port", &maintenance.to_string()]);
        command.env("GRPC_XDS_BOOTSTRAP", bootstrap).env("GRPC_GO_LOG_SEVERITY_LEVEL", "info");
        command.stderr(File::create(&log).unwrap());
        let peer = Peer::on_ports(&mut command, vec![port, maintenance]);
        Self { _peer: peer, port, maintenance, log }
    }

    /// Waits until it has changed to this mode last.
    #[track_caller]
    fn becomes(&self, mode: &str) {
        let begun = Instant::now();
        let wanted = format!("invoked with mode: \"{mode}\"");
        loop {
            let log = fs::read_to_string(&self.log).unwrap();
            let last = log.lines().rfind(|line| line.contains("invoked with mode: "));
            if last.is_some_and(|line| line.contains(&wanted)) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not {mode}: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How one call by a client of ours ends.
    async fn code(&self) -> Code {
        call::<(), ()>(self.port, EMPTY_CALL, ())
            .await
            .map_or_else(|status| status.code(), |()| Code::Ok)
    }
}

fn bootstrap(directory: &Path, port: u16) -> PathBuf {
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": format!("127.0.0.1:{port}"),
            "channel_creds": [{ "type": "insecure" }],
            "server_features": ["xds_v3"],
        }],
        "node": { "id": "interop", "locality": { "region": "here" } },
        "server_listener_resource_name_template": "grpc/server?xds.resource.listening_address=%s",
    });
    let path = directory.join("bootstrap.json");
    fs::write(&path, bootstrap.to_string()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn grpc_gos_interop_server_serves_as_long_as_mesh_ads_says_so() {
    let scratch = Scratch::new("go-server");
    let conf = scratch.path().join("conf");
    fs::create_dir_all(&conf).unwrap();
    let [port, admin, one, two, maintain_one, maintain_two, stats] = free_ports();
    fs::write(conf.join("client.yaml"), outbound([one, two])).unwrap();
    fs::write(conf.join("one.yaml"), inbound(one)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
    command.env("RUST_LOG", "warn").arg("ads").arg(&conf);
    command.args([
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--admin",
        &format!("127.0.0.1:{admin}"),
    ]);
    let _ads = Peer::on_ports(&mut command, vec![port, admin]);
    let bootstrap = bootstrap(scratch.path(), port);
    let served = |name, port, maintenance| {
        Served::start(name, port, maintenance, &bootstrap, scratch.path())
    };
    let servers = [served("one", one, maintain_one), served("two", two, maintain_two)];
    servers[0].becomes("SERVING");
    assert_eq!(servers[0].code().await, Code::Ok);
    // Its listener comes with a file that is added.
    assert_eq!(servers[1].code().await, Code::Unavailable);
    fs::write(conf.join("two.yaml"), inbound(two)).unwrap();
    servers[1].becomes("SERVING");

    // Anew, so that no call but the client's is counted.
    drop(servers);
    let servers = [served("one", one, maintain_one), served("two", two, maintain_two)];
    servers.iter().for_each(|server| server.becomes("SERVING"));
    let mut client = Command::new(installed("go-interop-client"));
    client.args(["-server", "xds:///peer.example", "-qps", "200", "-rpc", "UnaryCall,EmptyCall"]);
    client.args(["-stats_port", &stats.to_string()]).env("GRPC_XDS_BOOTSTRAP", &bootstrap);
    let _client = Peer::on_ports(&mut client, vec![stats]);
    agree(stats, servers.each_ref().map(|server| server.maintenance)).await;

    fs::remove_file(conf.join("one.yaml")).unwrap();
    servers[0].becomes("NOT_SERVING");
    assert_eq!(servers[0].code().await, Code::Unavailable);
    assert_eq!(servers[1].code().await, Code::Ok);
    fs::write(conf.join("one.yaml"), inbound(one)).unwrap();
    servers[0].becomes("SERVING");
    assert_eq!(servers[0].code().await, Code::Ok);
    no_nack(admin);
}
