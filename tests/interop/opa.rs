//! OPA as the external authorization server: our server asks it about every request, over gRPC and over HTTP;
//! it allows, denies, hangs and is gone.
//!
//! `tests/interop/opa/test` runs it; `.ci/run interop` leaves it out, for OPA's build is too long.

#![expect(clippy::print_stdout, reason = "what it prints is the record in docs/filters.md")]

use crate::client::{self, Answer, get, request, send};
use crate::process::{free_ports, installed};
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use http::{Method, Request, Version};
use mesh_core::model::http_filter::{AuthzService, ExtAuthz, GrpcService, HttpAuthz, HttpUri};
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, Endpoint, FilterChain, HttpConnectionManager, HttpFilter,
    HttpFilterConfig, Listener,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::{Mesh, MeshBody};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);
/// How long OPA may take over one request. Long for a policy, and short beside `PATIENCE`.
const TIMEOUT: Duration = Duration::from_secs(1);
/// What a machine that is busy with other things adds to it.
const LATE: Duration = Duration::from_secs(3);

/// A process of OPA's, with `policy.rego` over gRPC and `http.rego` over HTTP. Ended when dropped.
struct Opa {
    child: Child,
    ports: [u16; 2],
}

impl Drop for Opa {
    fn drop(&mut self) {
        // SIGKILL: one that is stopped ends, too.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Opa {
    /// Starts it, and waits until it accepts on both ports.
    fn start(ports: [u16; 2]) -> Self {
        let [grpc, http] = ports;
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/opa");
        let mut command = Command::new(installed("opa-peer"));
        command.args(["run", "--server", "--authorization", "basic", "--log-level", "error"]);
        // Nobody is asked for newer versions.
        command.args(["--skip-version-check", "--addr", &format!("127.0.0.1:{http}")]);
        command.args(["--set", &format!("plugins.mesh_ext_authz.addr=127.0.0.1:{grpc}")]);
        command.args(["--set", "plugins.mesh_ext_authz.path=mesh/authz/decision"]);
        command.args([policies.join("policy.rego"), policies.join("http.rego")]);
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut opa = Self { child, ports };
        let begun = Instant::now();
        for port in opa.ports {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                let status = opa.child.try_wait().unwrap();
                assert!(status.is_none(), "{command:?} ended: {status:?}");
                assert!(begun.elapsed() < PATIENCE, "OPA does not listen on {port}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        opa
    }

    /// Sends it a signal, by its own id.
    #[track_caller]
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success(), "{name}");
    }
}

/// A mesh whose listeners ask OPA: `closed` over gRPC, `open` the same but for `failure_mode_allow`, `http`.
fn configuration([grpc, http]: [u16; 2]) -> ConfigUpdate {
    let mut update = ConfigUpdate::in_code();
    for (name, port) in [("opa", grpc), ("opa-http", http)] {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let endpoints = ClusterLoadAssignment::of([Endpoint::new(address.into())]);
        update = update.assigned(Cluster::new(name), Some(endpoints));
    }
    let over_grpc = || ExtAuthz::new(AuthzService::Grpc(GrpcService::new("opa", TIMEOUT)));
    let mut open = over_grpc();
    open.failure_mode_allow = true;
    open.failure_mode_allow_header_add = true;
    let mut over_http = HttpAuthz::new(HttpUri::new("http://opa", "opa-http", TIMEOUT));
    over_http.path_prefix = "/v1/data".into();
    let over_http = ExtAuthz::new(AuthzService::Http(over_http));
    for (name, filter) in [("closed", over_grpc()), ("open", open), ("http", over_http)] {
        let filter = HttpFilter::new("authz", HttpFilterConfig::ExtAuthz(Arc::new(filter)));
        let http = HttpConnectionManager::serving(vec![filter]);
        let mut listener = Listener::new(name);
        listener.filter_chains.push(Arc::new(FilterChain::new("any", Some(Arc::new(http)))));
        update.listeners.insert(name.into(), Arc::new(listener));
    }
    update
}

/// Our server, and a client for each of its listeners.
struct World {
    mesh: Mesh,
    /// How many requests reached the service.
    reached: Arc<AtomicUsize>,
    closed: Mesh,
    open: Mesh,
    http: Mesh,
}

/// Says what OPA made of the request's head.
async fn service(State(reached): State<Arc<AtomicUsize>>, headers: HeaderMap) -> String {
    reached.fetch_add(1, Ordering::SeqCst);
    let seen = |name: &'static str| headers.get(name).map_or("-", |value| value.to_str().unwrap());
    let unasked = seen("x-envoy-auth-failure-mode-allowed");
    format!("user {}, token {}, unasked {unasked}", seen("x-user"), seen("authorization"))
}

impl World {
    async fn new(ports: [u16; 2]) -> Self {
        let mesh = Mesh::builder().config(configuration(ports)).build().unwrap();
        let reached = Arc::new(AtomicUsize::new(0));
        let mut clients = Vec::new();
        for name in ["closed", "open", "http"] {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            clients.push(client::mesh(socket.local_addr().unwrap().port(), ""));
            let router = Router::new().fallback(service).with_state(Arc::clone(&reached));
            let server = mesh.server(name);
            tokio::spawn(async move { server.serve(socket, router).await });
        }
        let [closed, open, http] = clients.try_into().unwrap();
        Self { mesh, reached, closed, open, http }
    }

    /// The sum of a metric's series with all of these labels.
    fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.mesh.metrics().prometheus_text();
        let series = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        let series = series.filter(|series| labels.iter().all(|label| series.contains(label)));
        series.map(|series| series.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// What the filter of a listener decided, and how often.
    fn decided(&self, listener: &str, outcome: &str) -> u64 {
        let labels = [format!("listener=\"{listener}\""), format!("outcome=\"{outcome}\"")];
        let labels = [&*labels[0], &*labels[1]];
        self.metric("mesh_server_filter_decisions_total", &labels)
    }

    fn failed_closed(&self) -> u64 {
        let labels = ["listener=\"closed\"", "reason=\"ext_authz_error\""];
        self.metric("mesh_server_refused_total", &labels)
    }
}

/// A request with the token of `who`, and with a name that OPA has not said.
fn asking(method: Method, path: &str, who: &str) -> Request<MeshBody> {
    let mut request = request(Version::HTTP_11, method, path);
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {who}").parse().unwrap());
    headers.insert("x-user", "root".parse().unwrap());
    request
}

fn told(answer: &Answer) -> String {
    format!("{} {}", answer.status.as_u16(), String::from_utf8_lossy(&answer.body))
}

/// What `reader` is told, and after how long.
async fn read(mesh: &Mesh) -> (String, Duration) {
    let begun = Instant::now();
    let answer = send(mesh, asking(Method::GET, "/orders", "reader")).await;
    (told(&answer), begun.elapsed())
}

const ALLOWED: &str = "200 user reader, token -, unasked -";
const UNASKED: &str = "200 user root, token Bearer reader, unasked true";

/// OPA says yes and no.
async fn allows_and_denies(world: &World) {
    for (method, path, who, expected) in [
        (Method::GET, "/orders", "reader", ALLOWED),
        (Method::POST, "/orders/7?x=1", "writer", "200 user writer, token -, unasked -"),
        (Method::POST, "/orders/7?x=1", "reader", "403 reader may not POST orders/7"),
        (Method::GET, "/orders", "nobody", "401 who are you?"),
        // The policy's decision is neither: the call of the plugin fails.
        (Method::GET, "/odd", "reader", "403 "),
    ] {
        let shown = format!("{method} {path} of {who}");
        let answer = send(&world.closed, asking(method, path, who)).await;
        println!("gRPC: {shown}: {}", told(&answer));
        assert_eq!(told(&answer), expected, "{shown}");
        let is_allowed = answer.status.is_success();
        let by = answer.headers.get("x-decided-by").map(|by| by.to_str().unwrap());
        assert_eq!(by, is_allowed.then_some("opa"), "{shown}");
        let ask_for = answer.headers.get("www-authenticate").map(|kind| kind.to_str().unwrap());
        assert_eq!(ask_for, (expected.starts_with("401")).then_some("Bearer"), "{shown}");
    }
    let mut call = get(Version::HTTP_2, "/shop.Orders/List");
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let answer = send(&world.closed, call).await;
    let [status, message] = ["grpc-status", "grpc-message"].map(|name| answer.header(name));
    println!("gRPC: a call of gRPC without a token: status {status}, {message}");
    assert_eq!(status, "16");
    assert!(message.starts_with("who"), "{message}");

    for (who, expected) in [("reader", "200 user root"), ("nobody", "401 {")] {
        let answer = send(&world.http, asking(Method::GET, "/orders", who)).await;
        println!("HTTP: GET /orders of {who}: {}", told(&answer));
        assert!(told(&answer).starts_with(expected), "{}", told(&answer));
        assert_eq!(told(&answer).contains("who are you?"), who == "nobody");
    }
    let counts = ["allowed", "denied", "failed_closed"].map(|of| world.decided("closed", of));
    assert_eq!(counts, [2, 3, 1], "allowed, denied, failed");
    assert_eq!(world.reached.load(Ordering::SeqCst), 3, "nobody else reached the service");
}

/// Its process is stopped: it takes connections, and says nothing.
async fn hangs(world: &World, opa: &Opa) {
    opa.signal("-STOP");
    let before = world.failed_closed();
    for (mesh, expected) in [(&world.closed, "403 "), (&world.http, "403 "), (&world.open, UNASKED)]
    {
        let (told, took) = read(mesh).await;
        println!("it hangs: {told} after {took:?}");
        assert_eq!(told, expected);
        assert!((TIMEOUT..TIMEOUT + LATE).contains(&took), "{took:?}");
    }
    assert_eq!(world.failed_closed() - before, 1);
    assert_eq!(world.decided("open", "failed_open"), 1);
    opa.signal("-CONT");
    println!("it goes on: a call passes after {:?}", passes(world).await);
}

/// Its process is killed, and started again; our server stays as it is.
async fn is_gone(world: &World, opa: Opa) {
    let ports = opa.ports;
    drop(opa);
    for (mesh, expected) in [(&world.closed, "403 "), (&world.http, "403 "), (&world.open, UNASKED)]
    {
        let (told, took) = read(mesh).await;
        println!("it is gone: {told} after {took:?}");
        assert_eq!(told, expected);
        assert!(took < TIMEOUT + LATE, "{took:?}");
    }
    let _opa = Opa::start(ports);
    println!("it is there again: a call passes after {:?}", passes(world).await);
    let (told, _) = read(&world.http).await;
    assert!(told.starts_with("200 "), "{told}");
}

/// Waits until a call passes where failures refuse; nothing but a refusal may be seen until then.
async fn passes(world: &World) -> Duration {
    let begun = Instant::now();
    loop {
        let (told, _) = read(&world.closed).await;
        if told == ALLOWED {
            return begun.elapsed();
        }
        assert_eq!(told, "403 ");
        assert!(begun.elapsed() < PATIENCE, "no call passes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs OPA: tests/interop/opa/test"]
async fn opa_allows_denies_hangs_and_is_gone() {
    let ports = free_ports();
    let opa = Opa::start(ports);
    let world = World::new(ports).await;
    allows_and_denies(&world).await;
    hangs(&world, &opa).await;
    is_gone(&world, opa).await;
}
