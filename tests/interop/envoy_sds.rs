//! Envoy as a server for a client of ours under mutual TLS, with its certificates, roots and whom it takes from
//! `mesh ads` (SDS): they are rotated under load.

use crate::ads::{PATIENCE, get as page};
use crate::client::{Answer, get, read, try_send};
use crate::envoy_parts::{any, cluster, envoy, listener, manager, tls, validation};
use crate::mtls::{LIFE, Served, caller, document, id, known, write};
use crate::process::{Peer, Scratch, free_ports};
use crate::server_ca::Ca;
use http::{StatusCode, Version};
use mesh_tower::Mesh;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The secrets that the control plane serves, in a file of their own.
struct Secrets<'a> {
    ca: &'a Ca,
    directory: PathBuf,
}

impl Secrets<'_> {
    /// Envoy is `envoy` by a certificate of this serial number, and takes `callers`.
    fn rotate(&self, serial: u64, callers: &str) {
        let own = self.ca.issue_for(&id("envoy"), LIFE, serial);
        let roots = json!({ "inline_string": self.ca.pem() });
        let secret = |name: &str, kind: &str, content: Value| {
            any(
                "extensions.transport_sockets.tls.v3.Secret",
                json!({ "name": name, kind: content }),
            )
        };
        let certificate = json!({
            "certificate_chain": { "inline_string": own.chain },
            "private_key": { "inline_string": own.key },
        });
        let secrets = json!({ "resources": [
            secret("own", "tls_certificate", certificate),
            secret("callers", "validation_context", validation(&roots, &id(callers))),
            secret("servers", "validation_context", validation(&roots, &id("server"))),
        ] });
        // As a whole: what is half written is an edit, too.
        let next = self.directory.join("secrets.next");
        std::fs::write(&next, secrets.to_string()).unwrap();
        std::fs::rename(next, self.directory.join("secrets.yaml")).unwrap();
    }
}

/// A hop from `inbound` to `upstream`: both sides of it are secured by secrets.
fn hop(inbound: u16, upstream: u16) -> Value {
    let by_sds =
        |name| json!({ "name": name, "sds_config": { "ads": {}, "resource_api_version": "V3" } });
    let common = |peers| {
        json!({
            "tls_certificate_sds_secret_configs": [by_sds("own")],
            "validation_context_sds_secret_config": by_sds(peers),
        })
    };
    let routes = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "web" } }]);
    let mutual = json!({ "require_client_certificate": true });
    let socket = tls("Downstream", &common("callers"), mutual);
    let listener = listener("inbound", inbound, &manager(&routes, &[], json!({})), Some(socket));
    let socket = tls("Upstream", &common("servers"), json!({ "sni": "localhost" }));
    let cluster = cluster("web", upstream, "http2_protocol_options", &socket);
    json!({ "resources": [
        any("config.listener.v3.Listener", listener),
        any("config.cluster.v3.Cluster", cluster),
    ] })
}

/// The serial number of the certificate that `port` shows to `client`, in hexadecimal.
fn shown(port: u16, [certificate, key]: &[PathBuf; 2]) -> String {
    let mut client = Command::new("openssl");
    client.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    client.arg("-cert").arg(certificate).arg("-key").arg(key);
    let said = client.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap();
    let pem = String::from_utf8_lossy(&said.stdout).into_owned();
    let Some(begin) = pem.find("-----BEGIN CERTIFICATE-----") else { return pem };
    let mut reader = Command::new("openssl");
    let reader = reader.args(["x509", "-noout", "-serial"]).stdin(Stdio::piped());
    let mut reader = reader.stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut reader.stdin.take().unwrap(), &pem.as_bytes()[begin..]).unwrap();
    let said = reader.wait_with_output().unwrap().stdout;
    String::from_utf8_lossy(&said).trim().trim_start_matches("serial=").to_ascii_lowercase()
}

/// Calls without a pause until `is_over`; all must end well, and are counted.
async fn calls(mesh: Mesh, is_over: Arc<AtomicBool>, made: Arc<AtomicUsize>) {
    while !is_over.load(Relaxed) {
        let count = made.load(Relaxed);
        let answer = try_send(&mesh, get(Version::HTTP_11, "/x")).await;
        let answer = answer.unwrap_or_else(|error| panic!("call {count}: {error}"));
        assert_eq!(answer.status, StatusCode::OK, "call {count}: {:?}", answer.body);
        made.store(count + 1, Relaxed);
    }
}

/// An error with all that is behind it: who came and who was expected is there.
fn told(error: &mesh_tower::Error) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let all = std::iter::successors(Some(first), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn is_good(ended: &Result<Answer, mesh_tower::Error>) -> bool {
    ended.as_ref().is_ok_and(|answer| answer.status == StatusCode::OK)
}

/// What becomes of calls in time: `is_it` says whether that is what is waited for.
async fn becomes(
    what: &str,
    mesh: &Mesh,
    is_it: impl Fn(&Result<Answer, mesh_tower::Error>) -> bool,
) -> Result<Answer, mesh_tower::Error> {
    let begun = Instant::now();
    loop {
        let ended = try_send(mesh, get(Version::HTTP_11, "/x")).await;
        if is_it(&ended) {
            return ended;
        }
        let told = ended.map(|answer| (answer.status, answer.body)).map_err(|e| e.to_string());
        assert!(begun.elapsed() < PATIENCE, "{what}: {told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The control plane of `directory`, and an Envoy that asks it in this variant.
fn planes(scratch: &Scratch, directory: &Path, inbound: u16, variant: &str) -> (u16, [Peer; 2]) {
    let [port, admin, admin_of_envoy] = free_ports();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh"));
    command.env("RUST_LOG", "warn").arg("ads").arg(directory);
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--admin", &format!("127.0.0.1:{admin}")]);
    let ads = Peer::on_ports(&mut command, vec![port, admin]);
    let (control, own) = (port.to_string(), admin_of_envoy.to_string());
    let words = [("ADMIN", &*own), ("CONTROL", &*control), ("NODE", "hop"), ("VARIANT", variant)];
    let config = scratch.fill("envoy/ads.yaml", &words);
    (admin, [ads, envoy(&config, vec![admin_of_envoy, inbound])])
}

async fn rotations(variant: &str) {
    let (ca, scratch) = (Ca::new("interop"), Scratch::new(&format!("envoy-sds-{variant}")));
    let (at, directory) = (scratch.path(), scratch.path().join("conf"));
    let allow = format!("inbound: {{ web: {{ allow: [{{ from: \"{}\" }}] }} }}\n", id("envoy"));
    let update = read(&document(at, &ca, "server", &allow));
    let ours = known(Mesh::builder().config(update).build().unwrap()).await;
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let served = Served::new(ours, "web", socket);
    std::fs::create_dir_all(&directory).unwrap();
    let [inbound] = free_ports();
    std::fs::write(directory.join("hop.yaml"), hop(inbound, served.port).to_string()).unwrap();
    let secrets = Secrets { ca: &ca, directory: directory.clone() };
    secrets.rotate(0x10, "client");
    let (admin, _planes) = planes(&scratch, &directory, inbound, variant);

    let (client, envoys) = (id("client"), id("envoy"));
    let mesh = caller((at, &ca), "client", (inbound, &envoys)).await;
    let files = write(at, "openssl", &ca.issue(&client));
    // Each side takes the other for who it is; Envoy hands on nothing of who called it.
    let first = becomes("the first call", &mesh, is_good).await.unwrap().json();
    assert_eq!((&first["peer"], &first["serial"]), (&json!(envoys), &json!("10")), "{first}");

    let is_over = Arc::<AtomicBool>::default();
    let made = [(); 4].map(|()| Arc::<AtomicUsize>::default());
    let least = || made.iter().map(|made| made.load(Relaxed)).min().unwrap();
    let call = |made| tokio::spawn(calls(mesh.clone(), Arc::clone(&is_over), Arc::clone(made)));
    let callers = made.each_ref().map(call);
    for serial in 0x11..0x15 {
        secrets.rotate(serial, "client");
        let wanted = format!("{serial:x}");
        // As a client of ours.
        let is_new = |ended: &Result<Answer, mesh_tower::Error>| {
            ended.as_ref().is_ok_and(|answer| answer.json()["serial"] == *wanted)
        };
        let _answer = becomes("the next certificate", &mesh, is_new).await.unwrap();
        // As a server of ours.
        let begun = Instant::now();
        while shown(inbound, &files) != wanted {
            assert!(
                begun.elapsed() < PATIENCE,
                "{} is shown, not {wanted}",
                shown(inbound, &files)
            );
        }
        // However fast that was: calls go on before the next.
        let (begun, enough) = (Instant::now(), least() + 10);
        while least() < enough {
            assert!(begun.elapsed() < PATIENCE, "{} calls, not {enough}", least());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    is_over.store(true, Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(least() > 20, "calls went on meanwhile");
    assert!(served.refused.lock().is_empty(), "{:?}", served.refused.lock());

    // Not whom we expect: told with who came.
    let other = caller((at, &ca), "client", (inbound, &id("another"))).await;
    let error = becomes("another server is expected", &other, Result::is_err).await.err().unwrap();
    let text = told(&error);
    assert_eq!(error.code(), "connect_tls_name", "{text}");
    for told in [&*envoys, "serial 14", &id("another"), "1 roots of"] {
        assert!(text.contains(told), "no `{told}` in {text}");
    }
    // Envoy takes another one only, by its next validation context.
    secrets.rotate(0x15, "nobody");
    let error = becomes("we are refused", &mesh, Result::is_err).await.err().unwrap();
    let text = told(&error);
    assert_eq!(error.code(), "connect_tls_refused", "{text}");
    assert!(text.contains("the peer refused us by the alert CertificateUnknown"), "{text}");
    assert!(text.contains(&format!("we showed `{client}`")), "{text}");
    let (_, clients) = page(admin, "admin", "/clients");
    let clients: Value = serde_json::from_str(&clients).unwrap();
    assert_eq!(clients[0]["types"]["SDS"]["nacks"], 0, "{clients}");
    assert!(!clients.to_string().contains("PRIVATE KEY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy and openssl: tests/interop/install"]
async fn envoy_mtls_server_has_its_secrets_from_mesh_ads_in_delta() {
    rotations("DELTA_GRPC").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Envoy and openssl: tests/interop/install"]
async fn envoy_mtls_server_has_its_secrets_from_mesh_ads_in_the_state_of_the_world() {
    rotations("GRPC").await;
}
