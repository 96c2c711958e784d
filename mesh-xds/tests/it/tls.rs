//! Our client and our control plane over TLS: who proves what to whom, and what is said when it fails.

use crate::certificates::{Authority, Issued};
use crate::client::{Heard, client, hear};
use mesh_xds::bootstrap::{CertificateFiles, IdentityFiles};
use mesh_xds::client::Client;
use mesh_xds::server::{AdsServer, ServerTls, Snapshot};
use mesh_xds::tls::CertificateError;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const US: &str = "spiffe://mesh.example/ns/shop/sa/checkout";

/// A control plane over TLS, whose certificate is in `server.pem` of `directory`.
struct Plane {
    server: AdsServer,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Plane {
    /// With `ca`, clients must show a certificate of it.
    async fn start(directory: &Path, address: &str, client_ca: bool) -> Self {
        let at = |name: &str| directory.join(name);
        let identity = IdentityFiles::new(at("server.pem"), at("server.key"));
        let mut files = CertificateFiles::new().with_identity(identity);
        if client_ca {
            files = files.with_ca_certificate(at("ca.pem"));
        }
        let tls = ServerTls::new(files).unwrap();
        let server = AdsServer::new(Snapshot::default());
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn({
            let server = server.clone();
            async move {
                let stopped = async { stopped.await.unwrap_or_default() };
                server.serve_tls(listener, tls, stopped).await.unwrap();
            }
        });
        Self { server, address, stop, serving }
    }

    async fn stop(self) -> SocketAddr {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.address
    }

    /// Waits until it has refused so many connections.
    async fn refuses(&self, count: u64) {
        let refused = async {
            while self.server.clients().refused_connections() != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    }

    /// Waits until the client has come back, which it does not tell if it was not missed.
    async fn awaits(&self, client: &mut Client) {
        let back = async {
            while self.server.clients().connected().is_empty() {
                // What it hears meanwhile is that the server is away.
                let _heard = tokio::time::timeout(Duration::from_millis(5), client.next()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), back).await.unwrap();
    }

    /// The only client's identity.
    fn identity(&self) -> Option<String> {
        let connected = self.server.clients().connected();
        assert_eq!(connected.len(), 1, "{connected:?}");
        connected[0].identity.as_deref().map(str::to_owned)
    }
}

/// A directory with `ca.pem` and the certificate that the server gets.
fn directory(ca: &Authority, server: &Issued) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
    server.write(directory.path(), "server");
    directory
}

/// Channel credentials of files in `directory`.
fn creds(directory: &Path, files: &[(&str, &str)]) -> Value {
    let config = files.iter().map(|(field, file)| {
        ((*field).to_owned(), Value::from(directory.join(file).display().to_string()))
    });
    json!([{ "type": "tls", "config": config.collect::<serde_json::Map<_, _>>() }])
}

/// Fields of the channel credentials, and their files.
type Files = &'static [(&'static str, &'static str)];

const CA: (&str, &str) = ("ca_certificate_file", "ca.pem");
const CERTIFICATE: (&str, &str) = ("certificate_file", "client.pem");
const KEY: (&str, &str) = ("private_key_file", "client.key");

/// What a new client hears; it stays connected while it is kept.
async fn try_with(plane: &Plane, host: &str, creds: &Value) -> (Heard, Client) {
    let uri = format!("{host}:{}", plane.address.port());
    let mut client = client(&uri, creds, &json!([]));
    (hear(&mut client).await, client)
}

/// What is tried: the server's certificate, the target's host, our files, and what comes of it.
type Case = (&'static str, Issued, &'static str, Files, Result<(), &'static str>);

#[tokio::test]
async fn a_server_proves_that_it_is_the_host_of_the_target() {
    let (ca, other) = (Authority::new("ours"), Authority::new("another"));
    let good = &["localhost", "127.0.0.1"][..];
    let cases: [Case; 8] = [
        ("by name", ca.issue(good), "dns:///localhost", &[CA], Ok(())),
        ("by address", ca.issue(good), "127.0.0.1", &[CA], Ok(())),
        ("of another CA", other.issue(good), "localhost", &[CA], Err("no root of `")),
        ("the system's roots", ca.issue(good), "localhost", &[], Err("the system")),
        ("of another host", ca.issue(&["a.example"]), "localhost", &[CA], Err("`server_uri`")),
        ("no address", ca.issue(&["localhost"]), "127.0.0.1", &[CA], Err("`server_uri`")),
        ("expired", ca.issue_until(good, -3600), "localhost", &[CA], Err("renew")),
        (
            "no roots",
            ca.issue(good),
            "localhost",
            &[("ca_certificate_file", "missing.pem")],
            Err("missing.pem` can't be read"),
        ),
    ];
    for (what, server, host, files, expected) in cases {
        let directory = directory(&ca, &server);
        let plane = Plane::start(directory.path(), "127.0.0.1:0", false).await;
        let (heard, _client) = try_with(&plane, host, &creds(directory.path(), files)).await;
        match (&heard, expected) {
            (Heard::Answer, Ok(())) => assert_eq!(plane.identity(), None, "{what}"),
            (Heard::Failure(error), Err(expected)) => {
                assert!(error.contains(expected), "{what}: {error}");
                plane.refuses(u64::from(what != "no roots")).await;
            }
            _ => panic!("{what}: {heard:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_proves_who_it_is() {
    let (ca, other) = (Authority::new("ours"), Authority::new("another"));
    let cases: [(&str, Issued, Files, Result<(), &str>); 5] = [
        ("good", ca.issue(&[US]), &[CA, CERTIFICATE, KEY], Ok(())),
        ("without", ca.issue(&[US]), &[CA], Err("set `certificate_file`")),
        (
            "of another CA",
            other.issue(&[US]),
            &[CA, CERTIFICATE, KEY],
            Err("client.pem`: is it of a CA"),
        ),
        (
            "expired",
            ca.issue_until(&[US], -3600),
            &[CA, CERTIFICATE, KEY],
            Err("client.pem`: is it of a CA"),
        ),
        (
            "a key of another",
            Issued { key: ca.issue(&[US]).key, ..ca.issue(&[US]) },
            &[CA, CERTIFICATE, KEY],
            Err("client.key` does not fit the certificate of `"),
        ),
    ];
    for (what, ours, files, expected) in cases {
        let directory = directory(&ca, &ca.issue(&["localhost"]));
        ours.write(directory.path(), "client");
        let plane = Plane::start(directory.path(), "127.0.0.1:0", true).await;
        let (heard, _client) = try_with(&plane, "localhost", &creds(directory.path(), files)).await;
        match (&heard, expected) {
            (Heard::Answer, Ok(())) => {
                assert_eq!(plane.identity().as_deref(), Some(US));
                assert_eq!(plane.server.clients().to_json()[0]["identity"], US);
            }
            (Heard::Failure(error), Err(expected)) => {
                assert!(error.contains(expected), "{what}: {error}");
            }
            _ => panic!("{what}: {heard:?}"),
        }
    }
}

/// Who may read is asked again when the certificate is over.
#[tokio::test]
async fn a_stream_ends_with_its_clients_certificate() {
    let ca = Authority::new("ours");
    let directory = directory(&ca, &ca.issue(&["localhost"]));
    ca.issue_until(&[US], 3).write(directory.path(), "client");
    let plane = Plane::start(directory.path(), "127.0.0.1:0", true).await;
    let creds = creds(directory.path(), &[CA, CERTIFICATE, KEY]);
    let (heard, mut client) = try_with(&plane, "localhost", &creds).await;
    assert!(matches!(heard, Heard::Answer), "{heard:?}");
    assert_eq!(plane.identity().as_deref(), Some(US));
    let over = async {
        while !plane.server.clients().connected().is_empty() {
            let _heard = tokio::time::timeout(Duration::from_millis(5), client.next()).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.unwrap();
    ca.issue(&[US]).write(directory.path(), "client");
    plane.awaits(&mut client).await;
    assert_eq!(plane.identity().as_deref(), Some(US));
}

#[tokio::test]
async fn what_is_rotated_serves_the_next_connection_and_what_is_broken_none() {
    let ca = Authority::new("ours");
    let directory = directory(&ca, &ca.issue(&["localhost"]));
    let ours = |name: &str| ca.issue(&[&*format!("spiffe://mesh.example/{name}")]);
    ours("one").write(directory.path(), "client");
    let mut plane = Plane::start(directory.path(), "127.0.0.1:0", true).await;
    let uri = format!("localhost:{}", plane.address.port());
    let creds = creds(directory.path(), &[CA, CERTIFICATE, KEY]);
    let mut client = client(&uri, &creds, &json!([]));
    assert_eq!(hear(&mut client).await, Heard::Answer);
    assert_eq!(plane.identity().unwrap(), "spiffe://mesh.example/one");

    ours("two").write(directory.path(), "client");
    for change in [None, Some("client.key"), Some("ca.pem")] {
        if let Some(broken) = change {
            std::fs::write(directory.path().join(broken), "half a file").unwrap();
        }
        // The server's own copy of `ca.pem` must be good.
        let good = std::fs::read(directory.path().join("ca.pem")).unwrap();
        std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        let address = plane.stop().await.to_string();
        plane = Plane::start(directory.path(), &address, true).await;
        std::fs::write(directory.path().join("ca.pem"), good).unwrap();
        plane.awaits(&mut client).await;
        assert_eq!(plane.identity().unwrap(), "spiffe://mesh.example/two", "{change:?}");
    }
}

#[tokio::test]
async fn the_server_follows_its_files() {
    let (ca, next) = (Authority::new("ours"), Authority::new("next"));
    let directory = directory(&ca, &ca.issue(&["localhost"]));
    let plane = Plane::start(directory.path(), "127.0.0.1:0", false).await;
    let creds = creds(directory.path(), &[CA]);
    assert_eq!(try_with(&plane, "localhost", &creds).await.0, Heard::Answer);

    let pause = Duration::from_millis(1100);
    std::fs::write(directory.path().join("server.pem"), "half a file").unwrap();
    tokio::time::sleep(pause).await;
    assert_eq!(try_with(&plane, "localhost", &creds).await.0, Heard::Answer, "the last good stays");

    next.issue(&["localhost"]).write(directory.path(), "server");
    tokio::time::sleep(pause).await;
    let (heard, _) = try_with(&plane, "localhost", &creds).await;
    assert!(matches!(&heard, Heard::Failure(error) if error.contains("no root of")), "{heard:?}");
    std::fs::write(directory.path().join("ca.pem"), next.pem()).unwrap();
    assert_eq!(try_with(&plane, "localhost", &creds).await.0, Heard::Answer);
}

/// Whoever opens as many connections as there are places for, and says nothing, holds up nobody.
#[tokio::test]
async fn silent_connections_make_room_for_the_next() {
    let ca = Authority::new("ours");
    let directory = directory(&ca, &ca.issue(&["localhost"]));
    let plane = Plane::start(directory.path(), "127.0.0.1:0", false).await;
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(tokio::net::TcpStream::connect(plane.address).await.unwrap());
    }
    let creds = creds(directory.path(), &[CA]);
    let begun = std::time::Instant::now();
    let (heard, _client) = try_with(&plane, "localhost", &creds).await;
    assert_eq!(heard, Heard::Answer);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(plane.server.clients().crowded_out_connections(), 1);
    assert_eq!(plane.server.clients().refused_connections(), 0);
    drop(silent);
    plane.stop().await;
}

#[tokio::test]
async fn a_port_without_tls_or_http_2_is_told() {
    let ca = Authority::new("ours");
    let directory = directory(&ca, &ca.issue(&["localhost"]));
    let creds = creds(directory.path(), &[CA]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        AdsServer::new(Snapshot::default()).serve(listener, std::future::pending()).await
    });
    let heard = hear(&mut client(&uri, &creds, &json!([]))).await;
    let Heard::Failure(error) = heard else { panic!("{heard:?}") };
    assert!(error.contains("does the server speak TLS"), "{error}");

    let acceptor = crate::client::acceptor(directory.path(), &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _held = acceptor.accept(stream).await.unwrap();
        std::future::pending::<()>().await;
    });
    let heard = hear(&mut client(&uri, &creds, &json!([]))).await;
    let Heard::Failure(error) = heard else { panic!("{heard:?}") };
    assert!(error.contains("does not offer HTTP/2"), "{error}");
}

#[test]
fn files_that_cannot_be_used() {
    let ca = Authority::new("ours");
    let issued = ca.issue(&["localhost"]);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let [certificate, key] = issued.write(directory.path(), "good");
    let [_, other] = ca.issue(&["localhost"]).write(directory.path(), "other");
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("cut"), &issued.certificate[..issued.certificate.len() - 30]).unwrap();
    std::fs::write(path("star"), issued.certificate.replacen("\nM", "\n*", 1)).unwrap();
    std::fs::write(path("large"), "x".repeat((1 << 20) + 1)).unwrap();
    let der = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    std::fs::write(path("no root"), der).unwrap();
    let read = |certificate: &Path, key: &Path, ca: Option<&Path>| {
        let identity = IdentityFiles::new(certificate, key);
        let mut files = CertificateFiles::new().with_identity(identity);
        if let Some(ca) = ca {
            files = files.with_ca_certificate(ca);
        }
        ServerTls::new(files).map(|_| ()).unwrap_err()
    };
    use CertificateError as Error;
    let missing = read(&path("missing"), &key, None);
    assert!(
        matches!(&missing, Error::Unreadable { path: at, .. } if *at == path("missing")),
        "{missing}"
    );
    for (what, error, expected) in [
        (
            "a directory",
            read(directory.path(), &key, None),
            Error::NotAFile { path: directory.path().into() },
        ),
        ("empty", read(&path("empty"), &key, None), Error::NoCertificate { path: path("empty") }),
        (
            "a key for a certificate",
            read(&key, &key, None),
            Error::NoCertificate { path: key.clone() },
        ),
        (
            "a certificate for a key",
            read(&certificate, &certificate, None),
            Error::NoPrivateKey { path: certificate.clone() },
        ),
        ("too large", read(&path("large"), &key, None), Error::TooLarge { path: path("large") }),
        (
            "no root",
            read(&certificate, &key, Some(&path("no root"))),
            Error::NoRoot { path: path("no root") },
        ),
        (
            "another key",
            read(&certificate, &other, None),
            Error::KeyDoesNotFit { certificate: certificate.clone(), private_key: other.clone() },
        ),
    ] {
        assert_eq!(error, expected, "{what}");
    }
    for (name, expected) in [("cut", "it was cut off"), ("star", "no base64")] {
        let error = read(&path(name), &key, None);
        assert!(matches!(&error, Error::BrokenPem { .. }), "{name}: {error}");
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    assert_eq!(ServerTls::new(CertificateFiles::new()).unwrap_err(), Error::NoIdentity);
    let bundles = CertificateFiles::new().with_spiffe_trust_bundle_map(path("map"));
    assert!(matches!(ServerTls::new(bundles).unwrap_err(), Error::SpiffeBundles { .. }));
}
