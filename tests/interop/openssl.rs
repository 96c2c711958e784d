//! `openssl s_client` and curl against a server of ours: who gets in, and who does not.

use crate::mtls::{known, write};
use crate::process::Scratch;
use crate::server_ca::{Ca, Pair};
use http::{Request, Response};
use mesh_core::model::filter_chain::TransportProtocol;
use mesh_core::model::matcher::StringPattern;
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::DownstreamTls;
use mesh_core::model::{FilterChain, HttpConnectionManager, Listener, SanMatcher, StringMatcher};
use mesh_core::update::ConfigUpdate;
use mesh_tower::identity::FixedIdentity;
use mesh_tower::server::{Connection, Incoming, RequestBody};
use mesh_tower::{Mesh, MeshBody};
use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

const FRIEND: &str = "spiffe://mesh.example/friend";

struct Server {
    ca: Ca,
    port: u16,
    scratch: Scratch,
    _mesh: Mesh,
}

/// Mutual TLS for members of `mesh.example` that are not revoked, whose serial number is 66.
fn strict(ca: &Ca) -> FilterChain {
    let mut tls = DownstreamTls::mutual();
    let prefix = StringPattern::Prefix("spiffe://mesh.example/".into());
    tls.san = vec![SanMatcher::any(StringMatcher::new(prefix))];
    tls.crl = Some(SecretSource::Inline(ca.revoke(66, 3600).as_bytes().into()));
    let mut chain =
        FilterChain::new("strict", Some(Arc::new(HttpConnectionManager::serving(Vec::new()))));
    chain.tls = Some(Arc::new(tls));
    chain
}

impl Server {
    async fn new(name: &str, chains: impl FnOnce(&Ca) -> Vec<FilterChain>) -> Self {
        let ca = Ca::new("interop");
        let mut listener = Listener::new("web");
        listener.filter_chains = chains(&ca).into_iter().map(Arc::new).collect();
        let mut update = ConfigUpdate::in_code();
        update.listeners.insert("web".into(), Arc::new(listener));
        let ours = ca.material(&ca.issue("spiffe://mesh.example/server"));
        let (identity, _updates) = FixedIdentity::new(Some(ours));
        let mesh = Mesh::builder().identity(identity).config(update).build().unwrap();
        let mesh = known(mesh).await;
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let server = mesh.server("web");
        let service = tower::service_fn(|request: Request<RequestBody<Incoming>>| async move {
            let connection = request.extensions().get::<Arc<Connection>>().unwrap();
            let text = format!("peer={}\n", connection.peer.name());
            Ok::<_, Infallible>(Response::new(MeshBody::full(text)))
        });
        tokio::spawn(async move { server.serve(socket, service).await });
        let scratch = Scratch::new(name);
        std::fs::write(scratch.path().join("ca.pem"), ca.pem()).unwrap();
        Self { ca, port, scratch, _mesh: mesh }
    }

    fn write(&self, name: &str, pair: &Pair) -> [PathBuf; 2] {
        write(self.scratch.path(), name, pair)
    }

    /// What `openssl s_client` prints of one request.
    fn openssl(&self, version: &str, shows: Option<&[PathBuf; 2]>) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-ign_eof", version, "-connect"]);
        command.arg(format!("127.0.0.1:{}", self.port));
        command.arg("-CAfile").arg(self.scratch.path().join("ca.pem")).arg("-verify_return_error");
        if let Some([certificate, key]) = shows {
            command.arg("-cert").arg(certificate).arg("-key").arg(key);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is installed");
        let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        // Refused at the handshake, it may have gone by now.
        let _gone = child.stdin.take().unwrap().write_all(request);
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What curl says of one request, or its exit code.
    fn curl(
        &self,
        scheme: &str,
        arguments: &[&str],
        shows: Option<&[PathBuf; 2]>,
    ) -> Result<String, i32> {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "10"]).args(arguments);
        command.arg("--cacert").arg(self.scratch.path().join("ca.pem"));
        if let Some([certificate, key]) = shows {
            command.arg("--cert").arg(certificate).arg("--key").arg(key);
        }
        let resolve = format!("localhost:{}:127.0.0.1", self.port);
        command.args(["--resolve", &resolve]).arg(format!("{scheme}://localhost:{}/", self.port));
        let output = command.output().expect("curl is installed");
        match output.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            code => Err(code.unwrap_or(-1)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs openssl and curl"]
async fn openssl_and_curl_are_let_in_with_the_right_certificate_only() {
    let server = Server::new("openssl-strict", |ca| vec![strict(ca)]).await;
    let ca = &server.ca;
    let table = [
        ("friend", Some(ca.issue(FRIEND)), None),
        ("none", None, Some("certificate required|handshake failure")),
        ("expired", Some(ca.issue_for(FRIEND, (-7200, -3600), 2)), Some("certificate expired")),
        ("revoked", Some(ca.issue_for(FRIEND, (-60, 60), 66)), Some("certificate revoked")),
        ("domain", Some(ca.issue("spiffe://other.example/friend")), Some("access denied")),
        ("name", Some(ca.issue("https://mesh.example/friend")), Some("access denied")),
        ("stranger", Some(Ca::new("others").issue(FRIEND)), Some("unknown ca")),
    ];
    for (name, shows, refused) in table {
        let shows = shows.map(|pair| server.write(name, &pair));
        for version in ["-tls1_2", "-tls1_3"] {
            let said = server.openssl(version, shows.as_ref());
            let is_in = said.contains(&format!("peer={FRIEND}"));
            assert_eq!(is_in, refused.is_none(), "{name} {version}: {said}");
            let alerts = refused.unwrap_or_default().split('|');
            let told = alerts.into_iter().any(|alert| said.contains(alert));
            assert!(told, "{name} {version}: no alert `{refused:?}` in {said}");
        }
        for (tls, http) in [("--tls-max=1.2", "--http1.1"), ("--tlsv1.3", "--http2")] {
            let arguments = match tls.split_once('=') {
                Some((option, value)) => vec![option, value, http],
                None => vec![tls, http],
            };
            let said = server.curl("https", &arguments, shows.as_ref());
            match refused {
                None => assert_eq!(said, Ok(format!("peer={FRIEND}\n")), "{tls}"),
                Some(_) => assert!(said.is_err(), "{name} {tls}: {said:?}"),
            }
        }
    }
    assert!(server.curl("http", &[], None).is_err(), "plaintext");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs openssl and curl"]
async fn curl_is_let_into_a_permissive_port_both_ways() {
    let server = Server::new("openssl-permissive", |ca| {
        let mut tls = strict(ca);
        tls.matcher.transport_protocol = Some(TransportProtocol::Tls);
        let mut plain =
            FilterChain::new("plain", Some(Arc::new(HttpConnectionManager::serving(Vec::new()))));
        plain.matcher.transport_protocol = Some(TransportProtocol::RawBuffer);
        vec![tls, plain]
    })
    .await;
    let friend = server.write("friend", &server.ca.issue(FRIEND));
    let said = server.curl("https", &[], Some(&friend));
    assert_eq!(said, Ok(format!("peer={FRIEND}\n")));
    assert_eq!(server.curl("http", &[], None), Ok("peer=plaintext\n".to_owned()));
    let said = server.curl("http", &["--http2-prior-knowledge"], None);
    assert_eq!(said, Ok("peer=plaintext\n".to_owned()));
    assert!(server.curl("https", &[], None).is_err());
}
