//! gRPC's C core and ours under mutual TLS, both sides by `mesh ads` (gRFC A29, A36) with certificate providers
//! of their bootstraps: each as a client of the other.

use crate::envoy_parts::{address, any, listener, manager, tls};
use crate::mtls::{Served, id, write};
use crate::process::{Peer, Scratch, free_ports, installed, source};
use crate::rpc::Rpc;
use crate::server_ca::Ca;
use crate::statistics::no_nack;
use crate::xds::until;
use mesh_tower::Mesh;
use mesh_tower::server::{AcceptError, ClientRefusal, ServeError};
use mesh_tower::source::{Bootstrap, XdsSource};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::net::TcpListener;
use tonic::{Code, Request, Status};

/// What `mesh ads` serves: `peer.example` is the server at `port`, which must be `server`, and takes `client`.
fn resources(port: u16, server: &str) -> Value {
    let provider = json!({ "instance_name": "files" });
    let common = |peers: Value| {
        let mut peers = peers;
        peers["ca_certificate_provider_instance"] = provider.clone();
        json!({ "tls_certificate_provider_instance": provider, "validation_context": peers })
    };
    let sans = json!({ "match_subject_alt_names": [{ "exact": id(server) }] });
    let upstream = tls("Upstream", &common(sans), json!({}));
    let mutual = json!({ "require_client_certificate": true });
    let downstream = tls("Downstream", &common(json!({})), mutual);
    let client = json!({ "authenticated": { "principal_name": { "exact": id("client") } } });
    let policy = json!({ "permissions": [{ "any": true }], "principals": [client] });
    let rules = json!({ "rules": { "action": "ALLOW", "policies": { "clients": policy } } });
    let rbac = any("extensions.filters.http.rbac.v3.RBAC", rules);
    let rbac = json!({ "name": "rbac", "typed_config": rbac });

    let there = json!([{ "match": { "prefix": "" }, "route": { "cluster": "peer" } }]);
    let here = json!([{ "match": { "prefix": "" }, "non_forwarding_action": {} }]);
    let name = format!("grpc/server?xds.resource.listening_address=127.0.0.1:{port}");
    let inbound = manager(&here, &[rbac], json!({}));
    let mut inbound = listener(&name, port, &inbound, Some(downstream));
    inbound["traffic_direction"] = "INBOUND".into();
    let api = json!({ "api_listener": manager(&there, &[], json!({})) });
    json!({ "resources": [
        any("config.listener.v3.Listener", json!({ "name": "peer.example", "api_listener": api })),
        any("config.listener.v3.Listener", inbound),
        any("config.cluster.v3.Cluster", json!({
            "name": "peer", "type": "EDS", "transport_socket": upstream,
            "eds_cluster_config": { "eds_config": { "ads": {}, "resource_api_version": "V3" } },
        })),
        any("config.endpoint.v3.ClusterLoadAssignment", json!({
            "cluster_name": "peer",
            "endpoints": [{
                "locality": { "region": "here" },
                "load_balancing_weight": 1,
                "lb_endpoints": [{ "endpoint": { "address": address(port) } }],
            }],
        })),
    ] })
}

/// A control plane, a server of either kind at `port`, and those who call it.
struct World {
    scratch: Scratch,
    ca: Ca,
    admin: u16,
    control: u16,
    port: u16,
    _ads: Peer,
}

impl World {
    fn new(name: &str, port: u16) -> Self {
        let (scratch, ca) = (Scratch::new(name), Ca::new("interop"));
        let file = scratch.path().join("peer.yaml");
        std::fs::write(&file, resources(port, "server").to_string()).unwrap();
        std::fs::write(scratch.path().join("ca.pem"), ca.pem()).unwrap();
        let [control, admin] = free_ports();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.env("RUST_LOG", "warn").arg("ads").arg(file);
        command.args(["--listen", &format!("127.0.0.1:{control}")]);
        command.args(["--admin", &format!("127.0.0.1:{admin}")]);
        let ads = Peer::on_ports(&mut command, vec![control, admin]);
        Self { scratch, ca, admin, control, port, _ads: ads }
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Clients must find `server` from now on.
    fn expect(&self, server: &str) {
        let next = self.path().join("peer.next");
        std::fs::write(&next, resources(self.port, server).to_string()).unwrap();
        std::fs::rename(next, self.path().join("peer.yaml")).unwrap();
    }

    /// The bootstrap of `name`, who is signed by `ca` and believes ours.
    fn bootstrap(&self, ca: &Ca, name: &str, file: &str) -> PathBuf {
        let [certificate, key] = write(self.path(), file, &ca.issue(&id(name)));
        let bootstrap = json!({
            "xds_servers": [{
                "server_uri": format!("127.0.0.1:{}", self.control),
                "channel_creds": [{ "type": "insecure" }],
                "server_features": ["xds_v3"],
            }],
            "node": { "id": name, "locality": { "region": "here" } },
            "server_listener_resource_name_template":
                "grpc/server?xds.resource.listening_address=%s",
            "certificate_providers": { "files": { "plugin_name": "file_watcher", "config": {
                "certificate_file": certificate,
                "private_key_file": key,
                "ca_certificate_file": self.path().join("ca.pem"),
                "refresh_interval": "1s",
            } } },
        });
        let path = self.path().join(format!("{file}.json"));
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        path
    }

    /// A mesh of ours by this bootstrap.
    fn mesh(bootstrap: &Path) -> Mesh {
        let text = std::fs::read_to_string(bootstrap).unwrap();
        let source = XdsSource::new(Bootstrap::parse(&text).unwrap());
        Mesh::builder().source(source).build().unwrap()
    }

    /// What grpcio says of so many calls as `bootstrap`.
    fn grpcio(bootstrap: &Path, calls: usize) -> Value {
        let mut client = Command::new(installed("venv/bin/python"));
        client
            .arg(source("grpcio/xds_client.py"))
            .args(["xds:///peer.example", &calls.to_string()]);
        let client = client.arg("--secure").env("GRPC_XDS_BOOTSTRAP", bootstrap);
        let output = client.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// What the peer saw of a call of ours as `bootstrap`.
    async fn ours(bootstrap: &Path) -> Result<Value, Status> {
        let mut rpc = Rpc::over(Self::mesh(bootstrap).channel("peer.example").unwrap());
        let answer = rpc.unary(Request::new(String::new())).await?;
        Ok(serde_json::from_str(answer.get_ref()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs grpcio: tests/interop/install"]
async fn grpc_mtls_c_core_calls_a_server_of_ours() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let world = World::new("grpc-mtls-client", address.port());
    let mesh = World::mesh(&world.bootstrap(&world.ca, "server", "server"));
    let served = Served::new(mesh, &address.to_string(), socket);
    until("the listener comes", async || served.server.is_serving()).await;

    let client = world.bootstrap(&world.ca, "client", "client");
    let said = World::grpcio(&client, 20);
    assert_eq!(said["answers"][address.to_string()], 20, "{said}");
    assert!(served.refused.lock().is_empty(), "{:?}", served.refused.lock());
    // Who is not allowed, who is not ours, and a server that is not who it should be.
    let said = World::grpcio(&world.bootstrap(&world.ca, "other", "other"), 1);
    assert_eq!(said["statuses"], json!({ "PERMISSION_DENIED": 1 }), "{said}");
    assert!(served.refused.lock().is_empty(), "{:?}", served.refused.lock());
    let said = World::grpcio(&world.bootstrap(&Ca::new("others"), "client", "stranger"), 1);
    assert_eq!(said["statuses"], json!({ "UNAVAILABLE": 1 }), "{said}");
    let refused = std::mem::take(&mut *served.refused.lock());
    let is_why = refused.iter().any(|error| {
        let ServeError::Accept(AcceptError::Client { refused, .. }) = error else { return false };
        let came = refused.came.as_ref().is_some_and(|came| *came.name == *id("client"));
        came && refused.reason == ClientRefusal::UnknownIssuer && refused.roots.count == 1
    });
    assert!(is_why, "{refused:?}");
    world.expect("another");
    until("the next configuration is in force", async || {
        World::grpcio(&client, 1)["statuses"] == json!({ "UNAVAILABLE": 1 })
    })
    .await;
    no_nack(world.admin);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs grpcio: tests/interop/install"]
async fn grpc_mtls_a_client_of_ours_calls_c_core() {
    let [port] = free_ports();
    let world = World::new("grpc-mtls-server", port);
    let mut server = Command::new(installed("venv/bin/python"));
    server.arg(source("grpcio/server.py")).args(["--secure", "--xds", &port.to_string()]);
    server.env("GRPC_XDS_BOOTSTRAP", world.bootstrap(&world.ca, "server", "server"));
    let _server = Peer::that_says_its_ports(&mut server);

    let client = world.bootstrap(&world.ca, "client", "client");
    until("it serves", async || World::ours(&client).await.is_ok()).await;
    let seen = World::ours(&client).await.unwrap();
    assert_eq!(seen["peer"], json!([id("client")]), "{seen}");
    let status = World::ours(&world.bootstrap(&world.ca, "other", "other")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let stranger = world.bootstrap(&Ca::new("others"), "client", "stranger");
    let status = World::ours(&stranger).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    // It closes without an alert, so we can't say why.
    assert!(status.message().contains("[connect_handshake]"), "{status}");
    world.expect("another");
    until("the next configuration is in force", async || {
        let Err(status) = World::ours(&client).await else { return false };
        let is_name = status.message().contains("[connect_tls_name]");
        assert!(status.code() == Code::Unavailable && is_name, "{status}");
        true
    })
    .await;
    no_nack(world.admin);
}
