//! Envoy's resources in a file, by way of `mesh ads`: Envoy takes them as they are written, what does nothing
//! in a client included.

use crate::ads::{PATIENCE, get};
use crate::process::{Peer, Scratch, free_ports, installed};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A listener of Envoy's with a filter that only Envoy has, and what it leads to.
fn resources(listen: u16, endpoint: u16) -> String {
    let url = |name| format!("type.googleapis.com/envoy.{name}");
    let address =
        |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let ads = json!({ "ads": {}, "resource_api_version": "V3" });
    let script = "function envoy_on_response(h) h:headers():add('x-lua', 'yes') end";
    let lua = json!({ "@type": url("extensions.filters.http.lua.v3.Lua"), "default_source_code": { "inline_string": script } });
    let router = json!({ "@type": url("extensions.filters.http.router.v3.Router") });
    let manager = json!({
        "@type": url("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "outbound",
        "rds": { "route_config_name": "all", "config_source": ads },
        "http_filters": [
            { "name": "lua", "is_optional": true, "typed_config": lua },
            { "name": "router", "typed_config": router },
        ],
    });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address(endpoint) } }] }]);
    let resources = json!([
        {
            "@type": url("config.listener.v3.Listener"),
            "name": "outbound",
            "address": address(listen),
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
        },
        {
            "@type": url("config.route.v3.RouteConfiguration"),
            "name": "all",
            "virtual_hosts": [{ "name": "web", "domains": ["*"], "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "web" } }] }],
        },
        {
            "@type": url("config.cluster.v3.Cluster"),
            "name": "web",
            "type": "EDS",
            "eds_cluster_config": { "eds_config": ads },
        },
        {
            "@type": url("config.endpoint.v3.ClusterLoadAssignment"),
            "cluster_name": "web",
            "endpoints": endpoints,
        },
    ]);
    resources.to_string()
}

#[test]
#[ignore = "needs Envoy and Go: tests/interop/install"]
fn envoy_takes_its_own_resources_as_they_are_written_in_both_variants() {
    let backend = Peer::that_says_its_ports(&mut Command::new(installed("go-peer")));
    let scratch = Scratch::new("envoy-files");
    let [port, admin, outbound] = free_ports();
    let file = scratch.path().join("envoy.json");
    std::fs::write(&file, resources(outbound, backend.ports[0])).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
    command.arg("ads").args(["--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--admin", &format!("127.0.0.1:{admin}")]).arg(file);
    let _ads = Peer::on_ports(&mut command, vec![port, admin]);
    for variant in ["DELTA_GRPC", "GRPC"] {
        let [envoy_admin] = free_ports();
        let words = [
            ("ADMIN", &*envoy_admin.to_string()),
            ("CONTROL", &*port.to_string()),
            ("NODE", "files"),
            ("VARIANT", variant),
        ];
        let config = scratch.fill("envoy/ads.yaml", &words);
        let mut envoy = Command::new(installed("venv/bin/envoy"));
        envoy.arg("-c").arg(config).args(["--log-level", "error", "--use-dynamic-base-id"]);
        let _envoy = Peer::on_ports(&mut envoy, vec![envoy_admin, outbound]);
        let begun = Instant::now();
        loop {
            let (head, _) = get(outbound, "web.example", "/seen");
            // Then it has taken the listener, its routes, the cluster and the endpoints.
            if head.starts_with("HTTP/1.1 200 ") {
                assert!(head.contains("x-lua: yes"), "{variant}: {head}");
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{variant}: {head}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What we read as a bootstrap of Envoy's is one.
#[test]
#[ignore = "needs Envoy: tests/interop/install"]
fn envoy_accepts_the_bootstraps_that_we_read() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good/envoy");
    let mut bootstraps = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !std::fs::read_to_string(&path).unwrap().contains("static_resources:") {
            continue;
        }
        let mut envoy = Command::new(installed("venv/bin/envoy"));
        let output = envoy.args(["--mode", "validate", "-c"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", path.display());
        bootstraps += 1;
    }
    assert_eq!(bootstraps, 4);
}
