//! Envoy as Istio configures its sidecars, and `mesh proxy`, before and behind the same application.

use crate::envoy_parts::{address, any, envoy};
use crate::process::{Peer, Scratch, free_ports};
use serde_json::{Value, json};
use std::process::Command;

/// The ports of one of the two.
pub(crate) struct Hops {
    ports: Vec<(&'static str, u16)>,
    _peer: Peer,
}

impl Hops {
    /// The port of this name.
    pub(crate) fn port(&self, name: &str) -> u16 {
        self.ports.iter().find(|(port, _)| *port == name).unwrap().1
    }

    /// Envoy, with one listener for each port: `in`, before an application; `gone`, the same without one; `out`,
    /// behind an application; `edge`, `in` as it is in gateways.
    pub(crate) fn envoy(scratch: &Scratch, application: u16, nobody: u16) -> Self {
        let [to_in, gone, out, edge] = free_ports();
        let deny = any(
            "extensions.filters.http.rbac.v3.RBAC",
            json!({ "rules": { "action": "DENY", "policies": { "denied": {
                "permissions": [{ "url_path": { "path": { "prefix": "/denied" } } }],
                "principals": [{ "any": true }],
            } } } }),
        );
        let filters = [json!({ "name": "rbac", "typed_config": deny })];
        let to_app = |app: &str| {
            json!([
                { "match": { "prefix": "/", "grpc": {} }, "route": { "cluster": format!("{app}-h2"), "timeout": "0s" } },
                { "match": { "prefix": "/" }, "route": { "cluster": app, "timeout": "0s" } },
            ])
        };
        let inner = |app| host(&json!(["*"]), &to_app(app), false);
        let outer = host(&json!(["site"]), &outbound_routes(), true);
        let listeners = json!([
            listener("in", to_in, &inner("app"), &filters, false),
            listener("gone", gone, &inner("gone"), &[], false),
            listener("out", out, &outer, &[], false),
            listener("edge", edge, &inner("app"), &filters, true),
        ]);
        let clusters = json!([
            cluster("app", &[application], "http_protocol_options"),
            cluster("app-h2", &[application], "http2_protocol_options"),
            cluster("gone", &[nobody], "http_protocol_options"),
            cluster("gone-h2", &[nobody], "http2_protocol_options"),
            cluster("as-asked", &[application], "as asked"),
            cluster("full", &[application], "full"),
            cluster("empty", &[], "as asked"),
        ]);
        let config =
            json!({ "static_resources": { "listeners": listeners, "clusters": clusters } });
        let path = scratch.path().join("envoy.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let peer = envoy(&path, vec![to_in, gone, out, edge]);
        let ports = vec![("in", to_in), ("gone", gone), ("out", out), ("edge", edge)];
        Self { ports, _peer: peer }
    }

    /// The same by `mesh proxy`, which is no gateway: `edge` is `in`.
    pub(crate) fn mesh(scratch: &Scratch, application: u16, nobody: u16) -> Self {
        let [to_in, gone, out] = free_ports();
        let inbound = |name: &str, port, app| {
            format!(
                "  {name}:
    listen: \"127.0.0.1:{port}\"
    mtls: off
    deny: [{{ match: {{ prefix: /denied }} }}]
    allow: [{{ from: anyone, match: {{ prefix: / }} }}]
    forward: \"127.0.0.1:{app}\"
"
            )
        };
        let text = format!(
            "version: 1
virtual_hosts:
  site:
    include_request_attempt_count: true
    routes:
      - {{ match: {{ prefix: /slow }}, cluster: app, timeout: 300ms }}
      - {{ match: {{ prefix: /retry }}, cluster: app, retry: {{ retry_on: [5xx] }} }}
      - {{ match: {{ prefix: /rewrite/ }}, cluster: app, rewrite: {{ prefix: /new/, host: other }} }}
      - {{ match: {{ prefix: /moved }}, redirect: {{ path: /there }} }}
      - {{ match: {{ prefix: /direct }}, direct_response: {{ status: 418, body: tea }} }}
      - {{ match: {{ prefix: /empty }}, direct_response: {{ status: 200 }} }}
      - {{ match: {{ prefix: /full }}, cluster: full }}
      - {{ match: {{ prefix: /nobody }}, cluster: empty }}
      - {{ match: {{ prefix: /dead }}, cluster: gone }}
      - {{ cluster: app }}
clusters:
  app: {{ endpoints: [\"127.0.0.1:{application}\"] }}
  full: {{ endpoints: [\"127.0.0.1:{application}\"], circuit_breakers: {{ max_requests: 0 }} }}
  empty: {{ endpoints: [] }}
  gone: {{ endpoints: [\"127.0.0.1:{nobody}\"] }}
outbound: {{ out: {{ listen: \"127.0.0.1:{out}\" }} }}
inbound:
{}{}",
            inbound("in", to_in, application),
            inbound("gone", gone, nobody)
        );
        let config = scratch.path().join("mesh.yaml");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.env("RUST_LOG", "error").arg("proxy").arg("--config").arg(config);
        let peer = Peer::on_ports(&mut command, vec![to_in, gone, out]);
        let ports = vec![("in", to_in), ("gone", gone), ("out", out), ("edge", to_in)];
        Self { ports, _peer: peer }
    }
}

fn outbound_routes() -> Value {
    let route = |prefix: &str, cluster: &str| json!({ "match": { "prefix": prefix }, "route": { "cluster": cluster } });
    let mut slow = route("/slow", "as-asked");
    slow["route"]["timeout"] = "0.3s".into();
    let mut retry = route("/retry", "as-asked");
    retry["route"]["retry_policy"] = json!({ "retry_on": "5xx" });
    let mut rewrite = route("/rewrite/", "as-asked");
    rewrite["route"]["prefix_rewrite"] = "/new/".into();
    rewrite["route"]["host_rewrite_literal"] = "other".into();
    json!([
        slow,
        retry,
        rewrite,
        { "match": { "prefix": "/moved" }, "redirect": { "path_redirect": "/there" } },
        { "match": { "prefix": "/direct" }, "direct_response": { "status": 418, "body": { "inline_string": "tea" } } },
        { "match": { "prefix": "/empty" }, "direct_response": { "status": 200 } },
        route("/full", "full"),
        route("/nobody", "empty"),
        route("/dead", "gone"),
        route("/", "as-asked"),
    ])
}

/// A virtual host of these domains.
fn host(domains: &Value, routes: &Value, counts: bool) -> Value {
    json!({ "name": "site", "domains": domains, "routes": routes, "include_request_attempt_count": counts })
}

/// A listener with Istio's settings: what came is believed but in gateways, paths are normalized, WebSocket passes.
fn listener(name: &str, port: u16, host: &Value, filters: &[Value], gateway: bool) -> Value {
    let router = any("extensions.filters.http.router.v3.Router", json!({}));
    let router = json!({ "name": "router", "typed_config": router });
    let filters = [filters, &[router]].concat();
    let manager = any(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": name,
            "use_remote_address": gateway,
            "normalize_path": true,
            "http_protocol_options": { "accept_http_10": true },
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "stream_idle_timeout": "0s",
            "http_filters": filters,
            "route_config": {
                "name": name,
                "ignore_port_in_host_matching": true,
                "virtual_hosts": [host],
            },
        }),
    );
    let chain = json!({ "filters": [{ "name": "hcm", "typed_config": manager }] });
    json!({ "name": name, "address": address(port), "filter_chains": [chain] })
}

/// A cluster that speaks `protocol`, or what it is asked in.
fn cluster(name: &str, ports: &[u16], protocol: &str) -> Value {
    let protocols = match protocol.ends_with("_options") {
        true => json!({ "explicit_http_config": { protocol: {} } }),
        false => json!({ "use_downstream_protocol_config": {
            "http_protocol_options": {},
            "http2_protocol_options": {},
        } }),
    };
    let protocols = any("extensions.upstreams.http.v3.HttpProtocolOptions", protocols);
    let endpoints: Vec<_> =
        ports.iter().map(|port| json!({ "endpoint": { "address": address(*port) } })).collect();
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocols,
        },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] },
    });
    if protocol == "full" {
        cluster["circuit_breakers"] =
            json!({ "thresholds": [{ "max_requests": 0, "max_pending_requests": 0 }] });
    }
    cluster
}
