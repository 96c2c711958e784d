//! istiod's discovery server: a mesh with the bootstrap that Istio's agent writes, and what becomes of
//! VirtualService, DestinationRule and ServiceEntry in real calls.
//!
//! `tests/interop/istiod/test` runs it; `.ci/run interop` leaves it out, for istiod's build is too long.

#![expect(clippy::print_stdout, reason = "what it prints is the record in docs/xds.md")]

use crate::go;
use crate::process::{Peer, Scratch, installed};
use http::uri::PathAndQuery;
use mesh_tower::source::{Bootstrap, Variant, XdsSource};
use mesh_tower::{Channel, Mesh};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

const PATIENCE: Duration = Duration::from_secs(20);
const SERVICE: &str = "peer.default.svc.cluster.local:7070";

/// istiod with `config.yaml`, on a Unix socket, as the agent offers it to gRPC.
struct Istiod {
    child: Child,
    stdin: ChildStdin,
    says: Box<dyn BufRead>,
}

impl Drop for Istiod {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Istiod {
    fn start(place: &Place) -> Self {
        let mut command = Command::new(installed("istiod-peer"));
        command.arg("-socket").arg(&place.socket).arg("-config").arg(&place.config);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let says = Box::new(BufReader::new(child.stdout.take().unwrap()));
        let mut istiod = Self { stdin: child.stdin.take().unwrap(), child, says };
        istiod.expect("listening ");
        istiod
    }

    #[track_caller]
    fn expect(&mut self, start: &str) {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        assert!(line.starts_with(start), "it said {line:?}");
    }

    /// Edits the configuration while it runs.
    fn edit(&mut self, place: &Place, from: &str, to: &str) {
        let text = std::fs::read_to_string(&place.config).unwrap();
        assert!(text.contains(from), "{from} is not in it");
        std::fs::write(&place.config, text.replace(from, to)).unwrap();
        writeln!(self.stdin).unwrap();
        self.expect("read again");
    }
}

/// Where istiod is, and what it is told.
struct Place {
    _scratch: Scratch,
    socket: PathBuf,
    config: PathBuf,
}

impl Place {
    fn new(name: &str, peers: [&Peer; 2]) -> Self {
        let scratch = Scratch::new(name);
        let (socket, config) = (scratch.path().join("XDS"), scratch.path().join("config.yaml"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/istiod/config.yaml");
        let text = std::fs::read_to_string(file).unwrap();
        let text = text.replace("RPC_1", &peers[0].ports[1].to_string());
        let text = text.replace("RPC_2", &peers[1].ports[1].to_string());
        std::fs::write(&config, text).unwrap();
        Self { _scratch: scratch, socket, config }
    }

    /// As Istio's agent writes it.
    fn bootstrap(&self) -> String {
        format!(
            r#"{{
  "xds_servers": [{{ "server_uri": "unix://{}", "channel_creds": [{{ "type": "insecure" }}],
                     "server_features": ["xds_v3"] }}],
  "node": {{
    "id": "sidecar~127.0.0.1~checkout-1.default~default.svc.cluster.local",
    "metadata": {{ "GENERATOR": "grpc", "NAMESPACE": "default", "CLUSTER_ID": "Kubernetes",
                   "INSTANCE_IPS": "127.0.0.1", "METADATA_DISCOVERY": "false",
                   "PILOT_SAN": ["istiod.istio-system.svc"] }},
    "locality": {{}}, "UserAgentVersionType": null
  }},
  "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s"
}}"#,
            self.socket.display()
        )
    }
}

/// What one call came to: the port that answered, or the status.
async fn call(mesh: &Mesh, authority: &str, with: &[(&'static str, &str)]) -> Result<u16, Status> {
    let mut request = Request::new(String::new());
    for (name, value) in with {
        let value: AsciiMetadataValue = value.parse().unwrap();
        request.metadata_mut().insert(*name, value);
    }
    let mut grpc: Grpc<Channel> = Grpc::new(mesh.channel(authority).unwrap());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/mesh.interop.Peer/Unary");
    let answer = grpc.unary(request, path, ProstCodec::<String, String>::default());
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("a call ends");
    let seen: serde_json::Value = serde_json::from_str(&answer?.into_inner()).unwrap();
    let address = seen["address"].as_str().unwrap().to_owned();
    Ok(address.rsplit_once(':').unwrap().1.parse().unwrap())
}

/// Who answers so many calls; none may fail.
async fn split(mesh: &Mesh, calls: u32, with: &[(&'static str, &str)]) -> BTreeMap<u16, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..calls {
        let port = call(mesh, SERVICE, with).await.unwrap_or_else(|status| panic!("{status}"));
        *counts.entry(port).or_default() += 1;
    }
    counts
}

/// `seen` of `calls` is within 4 σ of the binomial with this share.
#[track_caller]
fn check_share(what: &str, counts: &BTreeMap<u16, u32>, port: u16, calls: u32, share: f64) {
    let seen = counts.get(&port).copied().unwrap_or_default();
    let (mean, calls) = (f64::from(calls) * share, f64::from(calls));
    let sigma = (calls * share * (1.0 - share)).sqrt();
    println!("{what}: {seen} of {calls}, {mean} expected, σ {sigma:.1}");
    assert!((f64::from(seen) - mean).abs() <= 4.0 * sigma, "{what}: {counts:?}");
}

/// How often `Unary` was called on a peer.
async fn attempts(peer: &Peer) -> u64 {
    let mesh = crate::client::mesh(peer.ports[0], "");
    let answer = crate::client::send(&mesh, crate::client::get(http::Version::HTTP_11, "/calls"));
    std::str::from_utf8(&answer.await.body).unwrap().trim().parse().unwrap()
}

async fn everything(name: &str, variant: Variant) {
    let (one, two) = (go::start(), go::start());
    let (first, second) = (one.ports[1], two.ports[1]);
    let place = Place::new(name, [&one, &two]);
    let mut istiod = Istiod::start(&place);
    let bootstrap = Bootstrap::parse(&place.bootstrap()).unwrap();
    let source = XdsSource::new(bootstrap).variant(variant);
    let mesh = Mesh::builder().source(source).build().unwrap();

    let counts = split(&mesh, 800, &[]).await;
    check_share("canary of 25 %", &counts, second, 800, 0.25);
    let by_header = split(&mesh, 40, &[("x-version", "v2")]).await;
    println!("by header, all to v2: {by_header:?}");
    assert_eq!(by_header, [(second, 40)].into());

    retries(&mesh, [&one, &two]).await;
    timeout(&mesh).await;
    edit(&mesh, &mut istiod, &place, first).await;

    // Killed, and started again with another configuration.
    drop(istiod);
    let away = split(&mesh, 200, &[]).await;
    println!("while istiod is away: {away:?}, none failed");
    let mut istiod = Istiod::start(&place);
    istiod.edit(&place, "weight: 0 }", "weight: 50 }");
    istiod.edit(&place, "weight: 100", "weight: 0");
    let begun = Instant::now();
    while split(&mesh, 16, &[]).await != [(second, 16)].into() {
        assert!(begun.elapsed() < PATIENCE, "the edit after the restart goes live");
    }
    println!("after its restart an edit goes live in {:?}, no call failed", begun.elapsed());

    let missing = call(&mesh, "missing.default.svc.cluster.local:7070", &[]).await.unwrap_err();
    println!("a name that istiod does not have: {missing}");
    assert_eq!(missing.code(), Code::Unavailable, "{missing}");
}

/// Three attempts of a call that fails with UNAVAILABLE each time, and one of another failure.
async fn retries(mesh: &Mesh, peers: [&Peer; 2]) {
    let total = async || attempts(peers[0]).await + attempts(peers[1]).await;
    for (code, expected) in [("14", 3), ("5", 1)] {
        let before = total().await;
        let status = call(mesh, SERVICE, &[("x-fail", code)]).await.unwrap_err();
        assert_eq!(status.code(), Code::from(code.parse::<i32>().unwrap()), "{status}");
        let seen = total().await - before;
        println!("status {code}: {seen} attempts");
        assert_eq!(seen, expected, "attempts of a call with status {code}");
    }
    // Succeeds at the second attempt.
    let before = total().await;
    call(mesh, SERVICE, &[("x-fail-first", "1")]).await.unwrap();
    let seen = total().await - before;
    println!("unavailable at first: {seen} attempts, and it ends well");
    assert_eq!(seen, 2);
}

/// The timeout of the VirtualService.
async fn timeout(mesh: &Mesh) {
    let begun = Instant::now();
    let status = call(mesh, SERVICE, &[("x-slow", "yes"), ("x-sleep-ms", "9000")]).await;
    let (status, took) = (status.unwrap_err(), begun.elapsed());
    println!("timeout of 1 s: {:?} after {took:?}", status.code());
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let bounds = Duration::from_millis(990)..Duration::from_secs(2);
    assert!(bounds.contains(&took), "{took:?}");
}

/// Other weights, while calls run.
async fn edit(mesh: &Mesh, istiod: &mut Istiod, place: &Place, first: u16) {
    let calls = async {
        let begun = Instant::now();
        loop {
            if split(mesh, 16, &[]).await == [(first, 16)].into() {
                // 16 of 16 at 75 % are one in a hundred: twice in a row is the edit.
                if split(mesh, 64, &[]).await == [(first, 64)].into() {
                    return begun.elapsed();
                }
            }
            assert!(begun.elapsed() < PATIENCE, "the edit goes live");
        }
    };
    istiod.edit(place, "weight: 75", "weight: 100");
    istiod.edit(place, "weight: 25", "weight: 0");
    println!("an edit of the weights: live in {:?}, no call failed", calls.await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod: tests/interop/istiod/test"]
async fn calls_follow_istiod_in_the_state_of_the_world() {
    everything("istiod-sotw", Variant::StateOfTheWorld).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs istiod: tests/interop/istiod/test"]
async fn calls_follow_istiod_in_delta() {
    everything("istiod-delta", Variant::Delta).await;
}
