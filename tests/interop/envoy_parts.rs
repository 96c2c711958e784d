//! Parts of Envoy's configuration, as JSON: what tests of mutual TLS put together.

use crate::process::{Peer, installed};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// A message with its type, which is below `envoy.`.
pub(crate) fn any(kind: &str, mut message: Value) -> Value {
    message["@type"] = format!("type.googleapis.com/envoy.{kind}").into();
    message
}

/// One that only Envoy sees (`Upstream`, `Downstream`), with `common` and more fields.
pub(crate) fn tls(side: &str, common: &Value, mut more: Value) -> Value {
    more["common_tls_context"] = common.clone();
    let kind = format!("extensions.transport_sockets.tls.v3.{side}TlsContext");
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": any(&kind, more) })
}

/// Who must come: this id, by these roots.
pub(crate) fn validation(roots: &Value, id: &str) -> Value {
    json!({
        "trusted_ca": roots,
        "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "exact": id } }],
    })
}

/// A cluster of one endpoint; a connection is for three requests.
pub(crate) fn cluster(name: &str, port: u16, version: &str, socket: &Value) -> Value {
    let protocol = any(
        "extensions.upstreams.http.v3.HttpProtocolOptions",
        json!({
            "explicit_http_config": { version: {} },
            "common_http_protocol_options": { "max_requests_per_connection": 3 },
        }),
    );
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "transport_socket": socket,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol,
        },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": address(port) },
        }] }] },
    })
}

pub(crate) fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

/// A connection manager of these routes to all domains; `more` are its other fields.
pub(crate) fn manager(routes: &Value, filters: &[Value], mut more: Value) -> Value {
    let router = any("extensions.filters.http.router.v3.Router", json!({}));
    let router = json!({ "name": "router", "typed_config": router });
    more["stat_prefix"] = "interop".into();
    more["http_filters"] = [filters, &[router]].concat().into();
    more["route_config"] = json!({
        "name": "all",
        "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
    });
    any("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", more)
}

/// A listener of one chain.
pub(crate) fn listener(name: &str, port: u16, manager: &Value, socket: Option<Value>) -> Value {
    let mut chain =
        json!({ "name": "all", "filters": [{ "name": "hcm", "typed_config": manager }] });
    if let Some(socket) = socket {
        chain["transport_socket"] = socket;
    }
    json!({ "name": name, "address": address(port), "filter_chains": [chain] })
}

/// A running Envoy of this configuration, which listens on `ports`.
pub(crate) fn envoy(config: &Path, ports: Vec<u16>) -> Peer {
    let mut command = Command::new(installed("venv/bin/envoy"));
    command.arg("-c").arg(config).args(["--use-dynamic-base-id", "--concurrency", "1"]);
    Peer::on_ports(command.args(["--log-level", "error"]), ports)
}
