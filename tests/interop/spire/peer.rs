//! Two services whose identities come from SPIRE: `server FILE ADDRESS` answers calls until its input
//! ends, `client FILE SECONDS` makes them. Both say on their output what they saw.
//!
//! All of it is the product: `FILE` is a `mesh.yaml`, the server is `Mesh::server`, the client `Mesh::client`.
//! Half of the workers call over HTTP/2, on connections that live until a certificate ends; the other half over
//! HTTP/1.1, on connections that live for a few calls, so that certificates of all ages meet. The file has no
//! retries: tried again is only what the server has not processed, and that is counted.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that owns its tasks, and whose output is what it is for"
)]

use axum::{Extension, Router, routing::get};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use mesh_tower::server::Connection;
use mesh_tower::{Client, Mesh, MeshBody};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tower::Service as _;

type Failure = Box<dyn Error + Send + Sync>;

/// How many clients call at once, and whom. The names are clusters of the client's file.
const WORKERS: [&str; 4] = ["short", "short", "long", "long"];
/// The cluster that wants somebody else than who answers.
const SOMEBODY_ELSE: &str = "somebody-else";
const PAUSE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);
/// The caller, as the server must see it.
const CALLER: &str = "spiffe://a.example/client";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[1..] {
        ["server", file, address] => server(file, address).await,
        ["client", file, seconds] => client(file, Duration::from_secs(seconds.parse()?)).await,
        _ => Err("usage: server FILE ADDRESS | client FILE SECONDS".into()),
    }
}

/// A mesh whose identity is in force; says each that comes, and counts those after the first.
async fn mesh(file: &str) -> Result<(Mesh, Arc<AtomicU64>), Failure> {
    let mesh = Mesh::from_file(file)?;
    let identities = mesh.identities().ok_or("the file has no identity")?.clone();
    let (seen, rotations) = (identities.clone(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&rotations);
    tokio::spawn(async move {
        let mut last = None;
        loop {
            if let Ok(current) = seen.current() {
                let serial = Arc::clone(&current.certificate().serial);
                if last.as_ref().is_some_and(|last| *last != serial) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if last.as_ref() != Some(&serial) {
                    let end = current.certificate().validity.not_after.as_unix_seconds();
                    println!("identity {serial} until {end}, {} roots", current.roots().len());
                }
                last = Some(serial);
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let there = timeout(PATIENCE, async {
        while identities.current().is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    match there.await {
        Ok(()) => Ok((mesh, rotations)),
        Err(_) => Err(format!("no identity: {:?}", identities.current().err()).into()),
    }
}

/// What the server saw.
#[derive(Clone, Default)]
struct Answered {
    answers: Arc<AtomicU64>,
    /// The certificates that callers showed.
    certificates: Arc<Mutex<BTreeSet<Vec<u8>>>>,
}

async fn server(file: &str, address: &str) -> Result<(), Failure> {
    let (mesh, rotations) = mesh(file).await?;
    let answered = Answered::default();
    let router = Router::new().route("/", get(answer)).layer(Extension(answered.clone()));
    let listener = TcpListener::bind(address).await?;
    println!("listening {address}");
    let server = mesh.server("web");
    let serving = tokio::spawn(async move { server.serve(listener, router).await });
    let mut end = [0];
    let _ended = tokio::io::stdin().read(&mut end).await?;
    mesh.shutdown(PATIENCE).await;
    serving.await??;
    let text = mesh.metrics().prometheus_text();
    let accepted = |label| sum(&text, "mesh_server_connections_accepted_total", label);
    let secured = accepted("security=\"mutual_tls\"");
    println!(
        "server: {} answers, {} rotations, {} failures of the source",
        answered.answers.load(Ordering::Relaxed),
        rotations.load(Ordering::Relaxed),
        failures(&mesh)
    );
    println!(
        "server: {secured} connections of mutual TLS, {} others, {} certificates of callers, {} handshakes failed",
        accepted("") - secured,
        answered.certificates.lock().len(),
        sum(&text, "mesh_server_handshakes_failed_total", "")
    );
    Ok(())
}

/// Says who calls.
async fn answer(
    Extension(connection): Extension<Arc<Connection>>,
    Extension(answered): Extension<Answered>,
) -> String {
    answered.answers.fetch_add(1, Ordering::Relaxed);
    if let Some(certificate) = connection.certificates.first() {
        let mut certificates = answered.certificates.lock();
        if !certificates.contains(&**certificate) {
            certificates.insert(certificate.to_vec());
        }
    }
    connection.peer.name().to_string()
}

async fn client(file: &str, life: Duration) -> Result<(), Failure> {
    let (mesh, rotations) = mesh(file).await?;
    let (calls, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let end = Instant::now() + life;
    let workers = WORKERS.map(|cluster| {
        let (mut client, calls, failed) = (mesh.client(), Arc::clone(&calls), Arc::clone(&failed));
        tokio::spawn(async move {
            while Instant::now() < end {
                calls.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = call(&mut client, cluster).await {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("failed: {cluster}: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
                sleep(PAUSE).await;
            }
        })
    });
    for worker in workers {
        worker.await?;
    }
    let text = mesh.metrics().prometheus_text();
    let again = sum(&text, "mesh_call_extra_attempts_total", "");
    let somebody_else = wants_somebody_else(&mesh).await;
    let number = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
    let (calls, failed) = (number(&calls), number(&failed));
    println!(
        "client: {calls} calls, {failed} failed, {again} tried again, {} rotations, {} failures of the source",
        number(&rotations),
        failures(&mesh)
    );
    let secured = sum(&text, "mesh_connections_secured_total", "security=\"mutual_tls\"");
    let long = sum(&text, "mesh_connections_opened_total", "cluster=\"long\"");
    println!(
        "client: {secured} connections of mutual TLS, {long} of them over HTTP/2, {} ended with a certificate",
        sum(&text, "mesh_connections_closed_total", "reason=\"certificate_ended\"")
    );
    let secured_all = secured == sum(&text, "mesh_connections_secured_total", "");
    mesh.shutdown(PATIENCE).await;
    somebody_else?;
    match (failed, calls) {
        (0, 1..) if secured_all => Ok(()),
        _ => Err("calls failed, or were not by mutual TLS".into()),
    }
}

async fn call(client: &mut Client, cluster: &str) -> Result<(), Failure> {
    let request = Request::get(format!("http://{cluster}/")).body(MeshBody::empty())?;
    let (head, body) = timeout(PATIENCE, client.call(request)).await??.into_parts();
    let body = timeout(PATIENCE, body.collect()).await??.to_bytes();
    if head.status != StatusCode::OK || body != CALLER {
        let body = String::from_utf8_lossy(&body);
        return Err(format!("another answer: {} {body}", head.status).into());
    }
    Ok(())
}

/// A call of whoever is not there must fail, and say who came.
async fn wants_somebody_else(mesh: &Mesh) -> Result<(), Failure> {
    let request = Request::get(format!("http://{SOMEBODY_ELSE}/")).body(MeshBody::empty())?;
    match mesh.client().call(request).await {
        Ok(response) => Err(format!("{SOMEBODY_ELSE} answered: {}", response.status()).into()),
        Err(error) if error.code() == "connect_tls_name" => {
            println!("{SOMEBODY_ELSE}: {error}");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn failures(mesh: &Mesh) -> u64 {
    mesh.identities().map_or(0, |identities| identities.status().failures)
}

/// The sum of a metric's series that have a label.
fn sum(text: &str, metric: &str, label: &str) -> u64 {
    let series = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
    let values = series.filter_map(|series| series.rsplit_once("} "));
    let values = values.filter(|(labels, _)| labels.contains(label));
    values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
}
