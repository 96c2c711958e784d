//! Bodies byte by byte, by many libraries to many servers, through two proxies with mutual TLS between them.
//!
//! Both ends make the bytes by themselves (`peers/bodies/pattern.py`) and say the SHA-256 of what came.

use crate::process::{Peer, Scratch, free_ports, installed, source};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Around the sizes of frames, windows and buffers.
const SIZES: [usize; 6] = [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 1 << 20];

const LARGE: usize = 100 << 20;

/// Servers, and a proxy on each side of the way to them.
struct Way {
    /// The port that leads to each server, by its name.
    ports: Vec<(&'static str, u16)>,
    _servers: Vec<Peer>,
    _proxies: [Peer; 2],
    _scratch: Scratch,
}

impl Way {
    fn start(name: &str) -> Self {
        let python = script("venv/bin/python", "server.py");
        let node = script("node", "server.mjs");
        let go = Command::new(installed("go-peer"));
        let servers = [python, node, go].map(|mut server| Peer::that_says_its_ports(&mut server));
        let [python, node, go] = &servers;
        let applications = [
            ("python", python.ports[0]),
            ("node", node.ports[0]),
            ("go", go.ports[0]),
            ("rpc", go.ports[1]),
        ];
        let scratch = Scratch::new(name);
        let mut certs = mesh();
        certs.args(["certs", "new", "--out"]).arg(scratch.path().join("certs"));
        let made = certs.args(["app", "caller"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let (outer, inner) = (free_ports::<4>(), free_ports::<4>());
        let ports: Vec<_> =
            applications.iter().zip(outer).map(|((name, _), port)| (*name, port)).collect();
        let (mut inbound, mut outbound, mut clusters) = <(String, String, String)>::default();
        for ((name, port), (inner, outer)) in applications.iter().zip(inner.iter().zip(outer)) {
            inbound.push_str(&format!("  {name}: {{ listen: \"127.0.0.1:{inner}\", allow: [{{ from: \"spiffe://example.org/caller\" }}], forward: \"127.0.0.1:{port}\" }}\n"));
            outbound.push_str(&format!(
                "  {name}: {{ listen: \"127.0.0.1:{outer}\", cluster: {name}, timeout: 0s }}\n"
            ));
            clusters.push_str(&format!("  {name}: {{ endpoints: [\"127.0.0.1:{inner}\"] }}\n"));
        }
        let proxy = |who: &str, rest: String, ports: Vec<u16>| {
            let file = scratch.path().join(format!("{who}.yaml"));
            let identity = format!(
                "identity: {{ cert: certs/{who}.pem, key: certs/{who}-key.pem, roots: certs/ca.pem }}"
            );
            std::fs::write(&file, format!("version: 1\n{identity}\n{rest}")).unwrap();
            Peer::on_ports(mesh().arg("proxy").arg("--config").arg(file), ports)
        };
        let proxies = [
            proxy("app", format!("inbound:\n{inbound}"), inner.to_vec()),
            proxy("caller", format!("clusters:\n{clusters}outbound:\n{outbound}"), outer.to_vec()),
        ];
        Self { ports, _servers: servers.into(), _proxies: proxies, _scratch: scratch }
    }

    fn address(&self, server: &str) -> String {
        let (_, port) = self.ports.iter().find(|(name, _)| *name == server).unwrap();
        format!("127.0.0.1:{port}")
    }

    /// What `library` of a client in this language says of bodies of these sizes to `server`.
    fn bodies(&self, library: &str, server: &str, sizes: &[usize]) {
        let mut client = match library {
            "fetch" | "http" | "http2" => script("node", "client.mjs"),
            "grpcio" => script("venv/bin/python", "client_grpc.py"),
            _ => script("venv/bin/python", "client.py"),
        };
        match library {
            "grpcio" => client.arg(self.address(server)),
            _ => client.arg(library).arg(format!("http://{}", self.address(server))),
        };
        client.args(sizes.iter().map(ToString::to_string));
        let output = client.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<Value> =
            said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = format!("{library} to {server}");
        assert!(output.status.success(), "{of}: {output:?}");
        let ways = if library == "grpcio" { 1 } else { 2 };
        assert_eq!(lines.len(), ways * sizes.len(), "{of}: {said}");
        for line in lines {
            check(&of, &line);
        }
    }
}

/// Both ways all bytes came, and what follows them.
#[track_caller]
fn check(of: &str, line: &Value) {
    let sent = line["sent"].as_str().unwrap();
    let is_sent_with_trailers = of.starts_with("http to") && line["how"] == "chunked";
    let sum = if is_sent_with_trailers { "7" } else { "-" };
    let came = format!("{sent} {} {sum}", line["size"]);
    assert_eq!(
        (line["sink"].as_str(), line["got"].as_str()),
        (Some(&*came), Some(sent)),
        "{of}: {line}"
    );
    // Of those that read trailers.
    let reads = of.starts_with("http to") || of.starts_with("http2 to");
    if reads && line["how"] == "chunked" {
        assert_eq!(line["sum"], sent, "{of}: {line}");
    }
}

fn mesh() -> Command {
    let mut mesh = Command::new(env!("CARGO_BIN_EXE_mesh"));
    mesh.env("RUST_LOG", "error");
    mesh
}

/// A program of `peers/bodies`.
pub(crate) fn script(interpreter: &str, name: &str) -> Command {
    let interpreter = match interpreter {
        "node" => "node".into(),
        _ => installed(interpreter),
    };
    let mut command = Command::new(interpreter);
    command.arg(source("bodies").join(name)).stderr(Stdio::piped());
    // Nothing is left in the tree.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
#[ignore = "needs Python, Node and Go: tests/interop/install"]
fn bodies_pass_byte_by_byte_between_all_libraries_and_servers() {
    let way = Way::start("bodies");
    for library in ["requests", "httpx", "httpx-h2", "fetch", "http", "http2"] {
        for server in ["python", "node", "go"] {
            way.bodies(library, server, &SIZES);
        }
    }
    way.bodies("grpcio", "rpc", &SIZES);
    way.bodies("upgrade", "node", &SIZES);
}

#[test]
#[ignore = "needs Python, Node and Go: tests/interop/install"]
fn bodies_of_100_mib_pass_byte_by_byte() {
    let way = Way::start("bodies-large");
    for (library, server) in [("requests", "go"), ("http2", "node")] {
        way.bodies(library, server, &[LARGE]);
    }
}

/// By hand: `.ci/steps/interop` leaves it out.
#[test]
#[ignore = "needs Python and Go: tests/interop/install"]
fn bodies_of_a_gib_pass_byte_by_byte() {
    let way = Way::start("bodies-gib");
    way.bodies("requests", "go", &[1 << 30]);
}

#[test]
#[ignore = "needs Go: tests/interop/install"]
fn grpcurl_calls_through_both() {
    let way = Way::start("bodies-grpcurl");
    let long = "x".repeat(100_000);
    let mut command = Command::new(installed("grpcurl"));
    command.args(["-plaintext", "-max-time", "60", "-import-path"]).arg(source("grpcurl"));
    command.args(["-proto", "peer.proto", "-d", &format!("\"{long}\""), "-H", "x-a: b", "-v"]);
    command.args([&way.address("rpc"), "mesh.interop.Peer/Unary"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains(&long) && said.contains("x-trailing: seen"), "{} bytes", said.len());
    assert!(said.contains("\\\"x-a\\\":\\\"b\\\""), "what was sent is seen");

    // A status of the server's own is what its caller sees.
    let mut command = Command::new(installed("grpcurl"));
    command.args(["-plaintext", "-max-time", "60", "-import-path"]).arg(source("grpcurl"));
    command.args(["-proto", "peer.proto", "-d", "\"a\"", "-H", "x-fail: 5"]);
    let output = command.args([&way.address("rpc"), "mesh.interop.Peer/Unary"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Code: NotFound") && said.contains("über 100% of it"), "{output:?}");
}

#[test]
#[ignore = "needs wrk and Node: tests/interop/install"]
fn wrk_gets_nothing_but_whole_answers() {
    let way = Way::start("bodies-wrk");
    let mut command = Command::new(installed("debian/usr/bin/wrk"));
    command.env("LD_LIBRARY_PATH", installed("debian/usr/lib/x86_64-linux-gnu"));
    command.args(["-t", "1", "-c", "16", "-d", "2s", "--timeout", "30s"]);
    command.arg(format!("http://{}/source/10000", way.address("go")));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let total = said.lines().find(|line| line.contains(" requests in ")).unwrap_or_default();
    let requests: u64 = total.split_whitespace().next().unwrap_or_default().parse().unwrap_or(0);
    assert!(requests > 100, "{output:?}");
    // wrk says of these only when there are some.
    assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
}
