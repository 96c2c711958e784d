//! `mesh proxy` with an Envoy's bootstrap: its listeners are ports, each with routes of its own.

use crate::proxy::{PATIENCE, Running, server};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A directory with an `envoy.yaml`, whose listeners are sockets in it.
struct Place(TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.write(text);
        place
    }

    /// `DIR` in it is the directory.
    fn write(&self, text: &str) {
        let text = text.replace("DIR", &self.0.path().display().to_string());
        fs::write(self.path("envoy.new"), text).unwrap();
        fs::rename(self.path("envoy.new"), self.path("envoy.yaml")).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
        command.args(verb).arg(self.path("envoy.yaml")).current_dir(self.0.path());
        command
    }

    /// A proxy that has said that its ports are open: these.
    #[track_caller]
    fn run(&self, ports: &[&str]) -> Running {
        let running = Running::start(&mut self.command(&["proxy", "--config"]));
        for port in ports {
            let line = running.line();
            assert!(line.starts_with(&format!("{port} on unix:")), "{line}");
        }
        running
    }

    /// The head's first line and the body of what is answered at a port.
    fn ask(&self, port: &str, head: &str) -> (String, String) {
        let mut stream = UnixStream::connect(self.path(&format!("{port}.sock"))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let close = if head.contains("Connection:") { "" } else { "Connection: close\r\n" };
        stream.write_all(format!("{head}\r\n{close}\r\n").as_bytes()).unwrap();
        if port == "raw" {
            // The server behind it waits for more until it is told that there is none.
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut answer = String::new();
        if let Err(error) = stream.read_to_string(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{port}: {head}");
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    fn get(&self, port: &str, path: &str, host: &str) -> (String, String) {
        self.ask(port, &format!("GET {path} HTTP/1.1\r\nHost: {host}"))
    }
}

fn cluster(name: &str, at: SocketAddr) -> String {
    format!(
        "  - name: {name}\n    load_assignment: {{ cluster_name: {name}, endpoints: [{{ lb_endpoints: [{{ endpoint: \
         {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }} }}] }}] }}\n",
        at.port()
    )
}

fn listener(name: &str, filter: &str) -> String {
    format!(
        "  - name: {name}\n    address: {{ pipe: {{ path: DIR/{name}.sock }} }}\n    filter_chains: [{{ filters: [{filter}] }}]\n"
    )
}

/// A manager with filters before the router's, and the routes of one virtual host.
fn manager(filters: &str, domains: &str, routes: &str) -> String {
    format!(
        "{{ name: http, typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         http_filters: [{filters}{{ name: router, typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }} }}], \
         route_config: {{ virtual_hosts: [{{ name: all, domains: [{domains}], routes: [{routes}] }}] }} }} }}"
    )
}

fn to(prefix: &str, cluster: &str) -> String {
    format!("{{ match: {{ prefix: {prefix} }}, route: {{ cluster: {cluster} }} }}")
}

fn tcp(cluster: &str) -> String {
    format!(
        "{{ name: tcp, typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: {cluster} }} }}"
    )
}

fn bootstrap(listeners: &[String], clusters: &[String]) -> String {
    format!(
        "static_resources:\n  listeners:\n{}  clusters:\n{}",
        listeners.concat(),
        clusters.concat()
    )
}

fn clusters() -> [String; 2] {
    [("one", "1"), ("two", "2")].map(|(name, text)| cluster(name, server(text, Duration::ZERO)))
}

#[test]
fn each_listener_is_a_port_with_its_own_routes() {
    let answered = "{ match: { path: /ready }, direct_response: { status: 202, body: { inline_string: here } } }";
    let first = [answered.to_owned(), to("/special", "two"), to("/", "one")].join(", ");
    let listeners = [
        listener("first", &manager("", "a", &first)),
        listener("second", &manager("", "a", &to("/", "two"))),
        listener("raw", &tcp("two")),
    ];
    let place = Place::new(&bootstrap(&listeners, &clusters()));
    let mut running = place.run(&["first", "raw", "second"]);
    let ok = |body: &str| ("HTTP/1.1 200 OK".to_owned(), body.to_owned());
    assert_eq!(place.get("first", "/", "a"), ok("1"));
    assert_eq!(place.get("first", "/special/x", "a"), ok("2"));
    assert_eq!(place.get("second", "/", "a"), ok("2"));
    // Bytes have no host.
    assert_eq!(place.get("raw", "/", "nobody"), ok("2"));
    let (status, body) = place.get("first", "/ready", "a");
    assert_eq!((&*status, &*body), ("HTTP/1.1 202 Accepted", "here"));
    assert_eq!(place.get("first", "/", "b").0, "HTTP/1.1 404 Not Found");
    // No route says that it is for tunnels, whose bytes no filter would see.
    let (status, _) = place.ask("first", "CONNECT a:80 HTTP/1.1\r\nHost: a:80");
    assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0));
}

#[test]
fn an_edit_is_followed() {
    let clusters = clusters();
    let with =
        |cluster| bootstrap(&[listener("web", &manager("", "a", &to("/", cluster)))], &clusters);
    let place = Place::new(&with("one"));
    let _running = place.run(&["web"]);
    assert_eq!(place.get("web", "/", "a").1, "1");
    place.write(&with("two"));
    let until = Instant::now() + PATIENCE;
    while place.get("web", "/", "a").1 != "2" {
        assert!(Instant::now() < until, "the edit is not followed");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A filter is asked about the route that takes a request, and the request goes by that route, though a filter has taken
/// off what it was chosen by. What is the connection's chooses none.
#[test]
fn filters_and_routes_agree_on_the_way() {
    let rbac = "{ name: rbac, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, \
                rules: { action: DENY, policies: { all: { permissions: [{ any: true }], principals: [{ any: true }] } } } } }, \
                { name: edits, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation, \
                mutations: { request_mutations: [{ remove: x-open }] } } }, ";
    let open = "{ match: { prefix: /, headers: [{ name: x-open, string_match: { exact: \"1\" } }] }, route: { cluster: one }, \
                typed_per_filter_config: { rbac: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute } } }";
    let routes = [open.to_owned(), to("/", "two")].join(", ");
    let place =
        Place::new(&bootstrap(&[listener("web", &manager(rbac, "\"*\"", &routes))], &clusters()));
    let _running = place.run(&["web"]);
    assert_eq!(place.get("web", "/", "a").0, "HTTP/1.1 403 Forbidden");
    let open = "GET / HTTP/1.1\r\nHost: a\r\nx-open: 1";
    assert_eq!(place.ask("web", open).1, "1");
    let (status, _) = place.ask("web", &format!("{open}\r\nConnection: close, x-open"));
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
}

/// What the other end says first comes after who it is.
#[test]
fn the_proxy_protocol_is_read_where_a_listener_says_so() {
    let filter = "    listener_filters: [{ name: pp, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol } }]\n";
    let web = listener("web", &manager("", "\"*\"", &to("/", "one"))) + filter;
    let place = Place::new(&bootstrap(&[web], &clusters()));
    let _running = place.run(&["web"]);
    let head = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a";
    assert_eq!(place.ask("web", head).1, "1");
    assert_eq!(place.get("web", "/", "a"), (String::new(), String::new()));
}

fn checked(place: &Place) -> (String, Option<i32>) {
    let Output { stdout, status, .. } = place.command(&["check"]).output().unwrap();
    (String::from_utf8(stdout).unwrap(), status.code())
}

#[test]
fn one_that_can_be_no_port_is_told_and_the_others_are_opened() {
    let odd = listener(
        "odd",
        "{ name: echo, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector } }",
    );
    let web = listener("web", &manager("", "a", &to("/", "one")));
    let place = Place::new(&bootstrap(&[odd, web], &clusters()));
    let (told, code) = checked(&place);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("listener `odd`: no port is opened for it"), "{told}");
    assert!(told.contains("filter_chains[0].filters[0]: the network filter"), "{told}");
    assert!(told.contains(":5:"), "its own line: {told}");
    let _running = place.run(&["web"]);
    assert_eq!(place.get("web", "/", "a").1, "1");
    assert!(!place.path("odd.sock").exists());
}

#[test]
fn a_cluster_that_is_not_there_refuses_the_file() {
    let place = Place::new(&bootstrap(&[listener("raw", &tcp("three"))], &clusters()));
    let (told, code) = checked(&place);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("listener `raw`: there is no cluster `three`"), "{told}");
}

#[test]
fn without_a_port_there_is_nothing_to_do() {
    let place = Place::new(&bootstrap(&[], &clusters()));
    let ended = place.command(&["proxy", "--config"]).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && told.contains("no_ports"), "{told}");
}

/// One that two want is opened by neither, as in Envoy.
#[test]
fn a_port_that_is_taken_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let web = listener("web", &tcp("one")).replace(
        "{ pipe: { path: DIR/web.sock } }",
        &format!("{{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}"),
    );
    let place = Place::new(&bootstrap(&[web], &clusters()));
    let ended = place.command(&["proxy", "--config"]).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && told.contains(&port.to_string()), "{told}");
}

/// In Envoy nobody without a certificate would get beyond the first route.
#[test]
fn one_whose_routes_would_let_in_more_than_envoy_is_no_port() {
    let routes = "{ match: { prefix: /, tls_context: { presented: false } }, direct_response: { status: 403 } }, "
        .to_owned()
        + &to("/", "one");
    let place = Place::new(&bootstrap(&[listener("web", &manager("", "a", &routes))], &clusters()));
    let (told, code) = checked(&place);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("no port is opened for it"), "{told}");
    assert!(told.contains("routes[0].match.tls_context: the route is skipped"), "{told}");
}

/// Calls by name don't mind it, for they ask no filters.
#[test]
fn a_route_that_speaks_of_a_filter_that_is_not_there_is_told() {
    let routes = "{ match: { prefix: / }, route: { cluster: one }, typed_per_filter_config: { rbac: { \"@type\": \
                  type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute } } }";
    let place = Place::new(&bootstrap(&[listener("web", &manager("", "a", routes))], &clusters()));
    let (told, code) = checked(&place);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("no port is opened for it") && told.contains("filter `rbac`"), "{told}");
}

/// Who does not limit goes by such routes, as in Envoy.
#[test]
fn one_that_limits_by_what_is_not_known_is_no_port() {
    let limits = "{ name: limit, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, \
                  domain: shop, rate_limit_service: { transport_api_version: V3, grpc_service: { envoy_grpc: { cluster_name: one } } } } }, ";
    for (filter, action, is_port) in [
        (limits, "remote_address", true),
        (limits, "source_cluster", false),
        ("", "source_cluster", true),
    ] {
        let route = format!(
            "{{ match: {{ prefix: / }}, route: {{ cluster: one, rate_limits: [{{ actions: [{{ {action}: {{}} }}] }}] }} }}"
        );
        let web = listener("web", &manager(filter, "a", &route));
        let (told, code) = checked(&Place::new(&bootstrap(&[web], &clusters())));
        assert_eq!(code, Some(0), "{told}");
        assert_eq!(told.contains("no port is opened for it"), !is_port, "{told}");
        let why = "filter `limit`: it would limit by what can't be evaluated: the route `all.routes[0]`: rate_limits[0].actions[0]";
        assert_eq!(told.contains(why), !is_port, "{told}");
    }
}
