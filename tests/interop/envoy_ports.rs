//! The listeners of one bootstrap as ports of Envoy and of `mesh proxy`: what each request becomes is the same.

use crate::envoy_parts::{any, envoy};
use crate::process::{Peer, Scratch, free_ports};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Says who it is, and what of a request reached it.
fn backend(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().take(500) {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0)
            {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let mut lines = head.lines();
            let mut body = format!("{name}: {}", lines.next().unwrap_or_default());
            let mut seen: Vec<_> = lines.map(str::to_lowercase).collect();
            seen.retain(|line| line.starts_with("host:") || line.starts_with("x-test-"));
            seen.sort_unstable();
            body.push_str(&format!(" [{}]", seen.join(", ")));
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Test-Gone: 1\r\nConnection: close\r\n\r\n{body}"
            );
            let _gone = stream.write_all(answer.as_bytes());
        }
    });
    port
}

fn route(matches: &Value, action: &Value, mut more: Value) -> Value {
    more["match"] = matches.clone();
    let kind = match action {
        Value::Object(fields) if fields.contains_key("status") => "direct_response",
        Value::Object(fields) if fields.keys().any(|key| key.ends_with("_redirect")) => "redirect",
        _ => "route",
    };
    more[kind] = action.clone();
    more
}

fn to(prefix: &str, cluster: &str) -> Value {
    route(&json!({ "prefix": prefix }), &json!({ "cluster": cluster }), json!({}))
}

/// Routes of every kind that a proxy has.
fn routes() -> Vec<Value> {
    let exact =
        |name: &str, value: &str| json!({ "name": name, "string_match": { "exact": value } });
    let none = || json!({});
    vec![
        route(
            &json!({ "path": "/direct" }),
            &json!({ "status": 202, "body": { "inline_string": "here" } }),
            none(),
        ),
        route(
            &json!({ "prefix": "/old" }),
            &json!({ "path_redirect": "/new", "response_code": "FOUND" }),
            none(),
        ),
        route(
            &json!({ "prefix": "/tls" }),
            &json!({ "https_redirect": true, "strip_query": true }),
            none(),
        ),
        route(
            &json!({ "prefix": "/cut/" }),
            &json!({ "cluster": "two", "prefix_rewrite": "/", "host_rewrite_literal": "inner" }),
            none(),
        ),
        route(
            &json!({ "safe_regex": { "regex": "/user/[0-9]+" } }),
            &json!({ "cluster": "two", "regex_rewrite": {
                "pattern": { "regex": "^/user/([0-9]+)" }, "substitution": "/u?id=\\1" } }),
            none(),
        ),
        route(
            &json!({ "prefix": "/post", "headers": [exact(":method", "POST")] }),
            &json!({ "cluster": "two" }),
            none(),
        ),
        route(
            &json!({ "prefix": "/h", "headers": [exact("x-test-to", "two")] }),
            &json!({ "cluster": "two" }),
            none(),
        ),
        route(
            &json!({ "prefix": "/q", "query_parameters": [{ "name": "to", "string_match": { "exact": "two" } }] }),
            &json!({ "cluster": "two" }),
            none(),
        ),
        route(
            &json!({ "path": "/split" }),
            &json!({ "weighted_clusters": { "clusters": [
                { "name": "one", "weight": 0 }, { "name": "two", "weight": 100 }] } }),
            none(),
        ),
        route(
            &json!({ "path_separated_prefix": "/part" }),
            &json!({ "cluster": "two" }),
            json!({
                "request_headers_to_add": [{ "header": { "key": "x-test-added", "value": "yes" } }],
                "request_headers_to_remove": ["x-test-secret"],
                "response_headers_to_add": [{ "header": { "key": "x-test-answer", "value": "late" } }],
                "response_headers_to_remove": ["x-test-gone"],
            }),
        ),
        to("/none", "nobody"),
        to("/", "one"),
    ]
}

/// Denies what is below `/secret`.
fn rbac() -> Value {
    let below = json!({ "url_path": { "path": { "prefix": "/secret" } } });
    let policy = json!({ "permissions": [below], "principals": [{ "any": true }] });
    let config = any(
        "extensions.filters.http.rbac.v3.RBAC",
        json!({ "rules": { "action": "DENY", "policies": { "secret": policy } } }),
    );
    json!({ "name": "rbac", "typed_config": config })
}

fn listener(name: &str, port: u16, filter: &Value) -> Value {
    json!({
        "name": name,
        "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } },
        "filter_chains": [{ "filters": [filter] }],
    })
}

fn manager(hosts: &Value) -> Value {
    let router = any("extensions.filters.http.router.v3.Router", json!({}));
    let config = any(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "port",
            "http_filters": [rbac(), { "name": "router", "typed_config": router }],
            "route_config": { "virtual_hosts": hosts },
        }),
    );
    json!({ "name": "http", "typed_config": config })
}

fn cluster(name: &str, endpoints: &[u16]) -> Value {
    let endpoint = |port: &u16| json!({ "endpoint": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": port } } } });
    let endpoints: Vec<Value> = endpoints.iter().map(endpoint).collect();
    json!({ "name": name, "type": "STATIC", "load_assignment": {
        "cluster_name": name, "endpoints": [{ "lb_endpoints": endpoints }] } })
}

/// The same bootstrap, with these ports.
fn bootstrap([first, second, raw]: [u16; 3], [one, two]: [u16; 2]) -> Value {
    let tcp = any(
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        json!({ "stat_prefix": "raw", "cluster": "two" }),
    );
    let hosts = json!([
        { "name": "a", "domains": ["a", "*.a.example"], "routes": routes() },
        { "name": "b", "domains": ["b*"], "routes": [to("/", "two")] },
    ]);
    let others = json!([{ "name": "all", "domains": ["*"], "routes": [to("/", "two")] }]);
    json!({ "static_resources": {
        "listeners": [
            listener("first", first, &manager(&hosts)),
            listener("second", second, &manager(&others)),
            listener("raw", raw, &json!({ "name": "tcp", "typed_config": tcp })),
        ],
        "clusters": [cluster("one", &[one]), cluster("two", &[two]), cluster("nobody", &[])],
    } })
}

/// What became of a request: the status, two headers, and what the server behind saw.
fn ask(port: u16, head: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = head.replace('|', "\r\n");
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    let _gone = stream.shutdown(Shutdown::Both);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
    let mut told: Vec<_> = lines.map(str::to_lowercase).collect();
    told.retain(|line| line.starts_with("location:") || line.starts_with("x-test-"));
    told.sort_unstable();
    // What a proxy says by itself is in its own words, but for what it was told to say.
    let body = if status == "200" || status == "202" { body } else { "" };
    format!("{status} {told:?} {body}")
}

const REQUESTS: &[(usize, &str)] = &[
    (0, "GET / HTTP/1.1|Host: a"),
    (0, "GET / HTTP/1.1|Host: A"),
    (0, "GET / HTTP/1.1|Host: x.a.example"),
    (0, "GET / HTTP/1.1|Host: a.example"),
    (0, "GET / HTTP/1.1|Host: bcd"),
    (0, "GET / HTTP/1.1|Host: c"),
    (0, "GET /direct HTTP/1.1|Host: a"),
    (0, "GET /old/page HTTP/1.1|Host: a"),
    (0, "GET /tls/x?y=z HTTP/1.1|Host: a"),
    (0, "GET /cut/the/rest?q=1 HTTP/1.1|Host: a"),
    (0, "GET /user/17 HTTP/1.1|Host: a"),
    (0, "GET /user/x17 HTTP/1.1|Host: a"),
    (0, "GET /post HTTP/1.1|Host: a"),
    (0, "POST /post HTTP/1.1|Host: a|Content-Length: 0"),
    (0, "GET /h HTTP/1.1|Host: a|X-Test-To: two"),
    (0, "GET /h HTTP/1.1|Host: a|X-Test-To: three"),
    (0, "GET /q?to=two HTTP/1.1|Host: a"),
    (0, "GET /q?to=one HTTP/1.1|Host: a"),
    (0, "GET /split HTTP/1.1|Host: a"),
    (0, "GET /part/of HTTP/1.1|Host: a|X-Test-Secret: 1|X-Test-Kept: 1"),
    (0, "GET /parts HTTP/1.1|Host: a|X-Test-Secret: 1"),
    (0, "GET /secret/x HTTP/1.1|Host: a"),
    (0, "GET /none HTTP/1.1|Host: a"),
    (1, "GET / HTTP/1.1|Host: c"),
    (1, "GET /secret HTTP/1.1|Host: c"),
    (1, "GET /direct HTTP/1.1|Host: a"),
    (2, "GET /as/it/is HTTP/1.1|Host: whatever"),
];

/// What is not the same, with the status of each. Envoy asks filters about hosts that no route has; here filters are of
/// routes, and whoever has none is told so (docs/proxy.md).
const DIFFERENT: &[(&str, &str, &str)] = &[("GET /secret HTTP/1.1|Host: c", "403", "404")];

/// A proxy with this bootstrap.
fn proxy(scratch: &Scratch, name: &str, behind: [u16; 2]) -> (Peer, [u16; 3]) {
    let ports = free_ports::<3>();
    let config: PathBuf = scratch.path().join(format!("{name}.json"));
    fs::write(&config, bootstrap(ports, behind).to_string()).unwrap();
    let peer = match name {
        "envoy" => envoy(&config, ports.to_vec()),
        _ => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
            Peer::on_ports(command.args(["proxy", "--config"]).arg(&config), ports.to_vec())
        }
    };
    (peer, ports)
}

#[test]
#[ignore = "needs Envoy: tests/interop/install"]
fn one_bootstrap_means_the_same_to_both() {
    let scratch = Scratch::new("envoy-ports");
    let behind = [backend("one"), backend("two")];
    let (_envoy, of_envoy) = proxy(&scratch, "envoy", behind);
    let (_mesh, of_mesh) = proxy(&scratch, "mesh", behind);
    let mut differ = Vec::new();
    let mut statuses = std::collections::BTreeSet::new();
    for (port, request) in REQUESTS {
        let (envoy, mesh) = (ask(of_envoy[*port], request), ask(of_mesh[*port], request));
        println!("{request}\n  {envoy}");
        statuses.insert(envoy[..3].to_owned());
        if envoy != mesh {
            differ.push(format!("{port} {request}\n  envoy: {envoy}\n  mesh:  {mesh}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    for (request, in_envoy, in_mesh) in DIFFERENT {
        let both = (ask(of_envoy[0], request), ask(of_mesh[0], request));
        assert_eq!((&both.0[..3], &both.1[..3]), (*in_envoy, *in_mesh), "{request}");
    }
    assert_eq!(statuses.into_iter().collect::<Vec<_>>().join(" "), "200 202 301 302 403 404 503");
}
