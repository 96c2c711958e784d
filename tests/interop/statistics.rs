//! Every gRPC as a client of `mesh ads`: calls follow the split that the file says, and what a client counts
//! is what the servers have counted.

use crate::client::mesh;
use crate::process::{Peer, Scratch, free_ports, installed, source};
use http::uri::PathAndQuery;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

const PATIENCE: Duration = Duration::from_secs(20);
/// Of `one` and `two`.
pub(crate) const WEIGHTS: [u32; 2] = [25, 75];
const CALLS: u32 = 400;

/// A `mesh ads` that splits what `authority` gets between two ports; `more` are routes before the split.
struct Split {
    _ads: Peer,
    admin: u16,
    bootstrap: PathBuf,
    _scratch: Scratch,
}

impl Split {
    fn start(name: &str, ports: [u16; 2], more: &str) -> Self {
        let scratch = Scratch::new(name);
        let ([one, two], [first, second]) = (WEIGHTS, ports);
        let yaml = format!(
            "version: 1\nvirtual_hosts:\n  peer.example:\n    routes:\n{more}      \
             - split: {{ one: {one}, two: {two} }}\nclusters:\n  \
             one: {{ endpoints: [\"127.0.0.1:{first}\"], protocol: http2 }}\n  \
             two: {{ endpoints: [\"127.0.0.1:{second}\"], protocol: http2 }}\n"
        );
        let file = scratch.path().join("mesh.yaml");
        std::fs::write(&file, yaml).unwrap();
        let [port, admin] = free_ports();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.env("RUST_LOG", "warn").arg("ads").arg(file);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--admin", &format!("127.0.0.1:{admin}")]);
        let ads = Peer::on_ports(&mut command, vec![port, admin]);
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": format!("127.0.0.1:{port}"),
                "channel_creds": [{ "type": "insecure" }],
                "server_features": ["xds_v3"],
            }],
            "node": { "id": "statistics", "cluster": "interop", "locality": { "region": "here" } },
        });
        let path = scratch.path().join("bootstrap.json");
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        Self { _ads: ads, admin, bootstrap: path, _scratch: scratch }
    }
}

/// Nothing was refused of the `mesh ads` with these admin's pages.
#[track_caller]
pub(crate) fn no_nack(admin: u16) {
    let (_, metrics) = crate::ads::get(admin, "admin", "/metrics");
    for kind in ["LDS", "RDS", "CDS", "EDS"] {
        let none = format!("mesh_ads_nacks_total{{type=\"{kind}\"}} 0\n");
        assert!(metrics.contains(&none), "{metrics}");
    }
}

/// `count` of so many calls is the share of `weight`, within four standard deviations.
#[track_caller]
fn follows(weight: u32, count: u32, calls: u32) {
    let share = f64::from(weight) / f64::from(WEIGHTS.iter().sum::<u32>());
    let deviation = (f64::from(calls) * share * (1.0 - share)).sqrt();
    let off = (f64::from(count) - f64::from(calls) * share).abs();
    assert!(off <= 4.0 * deviation, "{count} of {calls} at weight {weight} of {WEIGHTS:?}");
}

/// A client that makes calls to `mesh.interop.Peer` and says who answered: the file's split, and what the
/// servers counted, are what it says.
fn check(name: &str, client: &mut Command) {
    let servers =
        [(); 2].map(|()| Peer::that_says_its_ports(&mut Command::new(installed("go-peer"))));
    let split = Split::start(name, servers.each_ref().map(|server| server.ports[1]), "");
    client.args(["xds:///peer.example", &CALLS.to_string()]);
    let output = client.env("GRPC_XDS_BOOTSTRAP", &split.bootstrap).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(said["statuses"], json!({ "OK": CALLS }), "{said}");
    for (server, weight) in servers.iter().zip(WEIGHTS) {
        let [web, rpc] = [server.ports[0], server.ports[1]];
        let told = said["answers"][format!("127.0.0.1:{rpc}")].as_u64().unwrap_or_default();
        let (_, counted) = crate::ads::get(web, "peer", "/calls");
        assert_eq!(counted.trim().parse(), Ok(told), "the server counted {counted}: {said}");
        follows(weight, u32::try_from(told).unwrap(), CALLS);
    }
    no_nack(split.admin);
}

#[test]
#[ignore = "needs grpcio and Go: tests/interop/install"]
fn grpcio_follows_the_split_of_mesh_ads() {
    let mut client = Command::new(installed("venv/bin/python"));
    check("split-grpcio", client.arg(source("grpcio/xds_client.py")));
}

#[test]
#[ignore = "needs Node and Go: tests/interop/install"]
fn grpc_js_follows_the_split_of_mesh_ads() {
    let mut client = Command::new("node");
    client.env("NODE_XDS_MODULES", installed("node-xds"));
    check("split-node", client.arg(source("node-xds/client.mjs")));
}

#[test]
#[ignore = "needs Go: tests/interop/install"]
fn grpc_go_follows_the_split_of_mesh_ads() {
    check("split-go", &mut Command::new(installed("go-xds-client")));
}

// === grpc-go's own interop client and servers ===

/// `grpc.testing.LoadBalancerStatsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct StatsRequest {
    #[prost(int32, tag = "1")]
    num_rpcs: i32,
    #[prost(int32, tag = "2")]
    timeout_sec: i32,
}

/// `grpc.testing.LoadBalancerStatsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Stats {
    #[prost(btree_map = "string, int32", tag = "1")]
    rpcs_by_peer: BTreeMap<String, i32>,
    #[prost(int32, tag = "2")]
    num_failures: i32,
}

/// `grpc.testing.LoadBalancerAccumulatedStatsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct AccumulatedStats {
    #[prost(btree_map = "string, message", tag = "4")]
    stats_per_method: BTreeMap<String, MethodStats>,
}

/// Its `MethodStats`.
#[derive(Clone, PartialEq, prost::Message)]
struct MethodStats {
    #[prost(int32, tag = "1")]
    rpcs_started: i32,
    /// By gRPC status.
    #[prost(btree_map = "int32, int32", tag = "2")]
    result: BTreeMap<i32, i32>,
}

/// `grpc.testing.ClientConfigureRequest`; without types no more calls are made.
#[derive(Clone, PartialEq, prost::Message)]
struct ConfigureRequest {
    #[prost(int32, repeated, tag = "1")]
    types: Vec<i32>,
}

/// What `grpc.channelz.v1.GetServersResponse` says of one server.
#[derive(Clone, PartialEq, prost::Message)]
struct Servers {
    #[prost(message, repeated, tag = "1")]
    server: Vec<Server>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Server {
    #[prost(message, tag = "2")]
    data: Option<ServerData>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServerData {
    #[prost(int64, tag = "3")]
    calls_succeeded: i64,
}

/// One call, by a client of ours.
pub(crate) async fn ask<Q, A>(port: u16, path: &'static str, request: Q) -> A
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let answer = call(port, path, request).await;
    answer.unwrap_or_else(|status| panic!("{port}: {status}"))
}

/// One call, and how it ends.
pub(crate) async fn call<Q, A>(
    port: u16,
    path: &'static str,
    request: Q,
) -> Result<A, tonic::Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let mesh = mesh(port, "protocol: http2");
    let mut client = Grpc::new(mesh.channel("peer").unwrap());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(path);
    let mut request = tonic::Request::new(request);
    request.extensions_mut().insert(mesh_tower::CallOptions::new().timeout(PATIENCE));
    let codec = ProstCodec::<Q, A>::default();
    client.unary(request, path, codec).await.map(tonic::Response::into_inner)
}

const STATS: &str = "/grpc.testing.LoadBalancerStatsService/GetClientStats";
const ACCUMULATED: &str = "/grpc.testing.LoadBalancerStatsService/GetClientAccumulatedStats";
const CONFIGURE: &str = "/grpc.testing.XdsUpdateClientConfigureService/Configure";
const SERVERS: &str = "/grpc.channelz.v1.Channelz/GetServers";

async fn accumulated(port: u16) -> BTreeMap<String, MethodStats> {
    ask::<_, AccumulatedStats>(port, ACCUMULATED, ()).await.stats_per_method
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Go: tests/interop/install"]
async fn the_statistics_of_grpc_gos_interop_client_agree_with_the_split_and_the_servers() {
    let ports: [u16; 3] = free_ports();
    let [one, two, stats] = ports;
    let server = |port: u16, name: &str| {
        let mut command = Command::new(installed("go-interop-server"));
        command.args(["-port", &port.to_string(), "-host_name_override", name, "-server_id", name]);
        Peer::on_ports(&mut command, vec![port])
    };
    let _servers = [server(one, "one"), server(two, "two")];
    let empty = "      - { match: { grpc: grpc.testing.TestService/EmptyCall }, cluster: two }\n";
    let split = Split::start("split-go-interop", [one, two], empty);
    let mut client = Command::new(installed("go-interop-client"));
    client.args(["-server", "xds:///peer.example", "-qps", "200", "-rpc", "UnaryCall,EmptyCall"]);
    client.args(["-stats_port", &stats.to_string()]).env("GRPC_XDS_BOOTSTRAP", &split.bootstrap);
    let _client = Peer::on_ports(&mut client, vec![stats]);
    agree(stats, [one, two]).await;
    no_nack(split.admin);
}

/// What the interop client at `stats` sees and counts follows the split of `UnaryCall`, with `EmptyCall` at `two`
/// alone, and is what the servers count whose channelz is at `servers`. It makes no more calls then.
pub(crate) async fn agree(stats: u16, servers: [u16; 2]) {
    // Its own watch over calls to come: of both methods, and `EmptyCall` goes to `two` alone.
    let calls = i32::try_from(2 * CALLS).unwrap();
    let seen: Stats = ask(stats, STATS, StatsRequest { num_rpcs: calls, timeout_sec: 15 }).await;
    assert_eq!(seen.num_failures, 0, "{seen:?}");
    let by = |name: &str| u32::try_from(seen.rpcs_by_peer.get(name).copied().unwrap_or(0)).unwrap();
    assert_eq!(by("one") + by("two"), 2 * CALLS, "{seen:?}");
    follows(WEIGHTS[0], by("one"), CALLS);

    // It makes no more calls: what it has counted is what the servers have.
    let _: () = ask(stats, CONFIGURE, ConfigureRequest { types: Vec::new() }).await;
    let begun = Instant::now();
    let counted = loop {
        let counted = accumulated(stats).await;
        let ended =
            |method: &MethodStats| method.result.values().sum::<i32>() == method.rpcs_started;
        tokio::time::sleep(Duration::from_millis(50)).await;
        if counted.values().all(ended) && counted == accumulated(stats).await {
            break counted;
        }
        assert!(begun.elapsed() < PATIENCE, "{counted:?}");
    };
    assert!(counted.values().all(|method| method.result.keys().eq([&0])), "{counted:?}");
    let all: i64 = counted.values().map(|method| i64::from(method.rpcs_started)).sum();
    let mut served = 0;
    for port in servers {
        // `()` is the empty request: from the first server on.
        let servers: Servers = ask(port, SERVERS, ()).await;
        let data = servers.server.into_iter().find_map(|server| server.data);
        served += data.map_or(0, |data| data.calls_succeeded);
    }
    assert_eq!(served, all, "the servers, and the client: {counted:?}");
}
