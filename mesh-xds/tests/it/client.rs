//! Our client as a program uses it, and what it hears first.

use mesh_xds::bootstrap::Bootstrap;
use mesh_xds::client::{Client, ClientEvent};
use mesh_xds::protocol::Variant;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a client hears.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Answer,
    Failure(String),
}

/// A client that asks for something.
pub(crate) fn client(uri: &str, channel_creds: &Value, call_creds: &Value) -> Client {
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": uri, "channel_creds": channel_creds, "call_creds": call_creds,
        }],
        "node": { "id": "test" },
    });
    let bootstrap = Bootstrap::parse(&bootstrap.to_string()).unwrap();
    let mut client = Client::new(&bootstrap, Variant::StateOfTheWorld);
    client.want(&"peer.example".into(), 80);
    client
}

/// The next thing that is said of the control plane.
pub(crate) async fn hear(client: &mut Client) -> Heard {
    let heard = timeout(PATIENCE, async {
        loop {
            match client.next().await {
                ClientEvent::Reachable { .. } => return Heard::Answer,
                ClientEvent::Unreachable { error, .. } => return Heard::Failure(error.to_string()),
                _ => {}
            }
        }
    });
    heard.await.expect("an answer or a failure")
}

/// A TLS server of `server.pem` in `directory`.
#[cfg(feature = "tls-aws-lc")]
pub(crate) fn acceptor(directory: &std::path::Path, alpn: &[&[u8]]) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(directory.join("server.pem")).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    std::sync::Arc::new(config).into()
}
