//! A server of the tests: HTTP over TLS as rustls' own pieces do it.

use super::ca::{Ca, Pair};
use crate::fixture::Count;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use mesh_tower::identity::{Certificate, certificates, private_key};
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Answers with HTTP's version, the client's name and serial number, and the SNI; at `/slow` after 2 s.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) accepted: Count,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    task: JoinHandle<()>,
}

/// How a server is set up.
pub(super) struct Setup<'a> {
    pub(super) pair: Pair,
    /// Who signs for clients; with it they must show a certificate.
    pub(super) clients: Option<&'a Ca>,
    /// They need not.
    pub(super) optional: bool,
    /// The one scheme of signatures that is taken of them.
    pub(super) only: Option<SignatureScheme>,
    pub(super) alpn: &'a [&'a str],
    pub(super) version: &'static SupportedProtocolVersion,
    /// Who does not begin with TLS is served, too.
    pub(super) permissive: bool,
}

impl<'a> Setup<'a> {
    pub(super) fn new(pair: Pair) -> Self {
        let (alpn, version) = (&["h2", "http/1.1"], &rustls::version::TLS13);
        let (clients, optional, only) = (None, false, None);
        Self { pair, clients, optional, only, alpn, version, permissive: false }
    }

    pub(super) fn mutual(pair: Pair, clients: &'a Ca) -> Self {
        Self { clients: Some(clients), ..Self::new(pair) }
    }

    pub(super) fn config(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[self.version])
            .unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(ca.pem().as_bytes()).unwrap());
                let mut provider = CryptoProvider::clone(&provider);
                if let Some(only) = self.only {
                    let algorithms = &mut provider.signature_verification_algorithms;
                    let taken = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == only);
                    algorithms.mapping = taken.copied().collect::<Vec<_>>().leak();
                }
                let (roots, provider) = (Arc::new(roots), Arc::new(provider));
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier =
                    if self.optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = certificates(self.pair.chain.as_bytes()).unwrap();
        let key = private_key(self.pair.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

impl Server {
    pub(super) async fn start(setup: &Setup<'_>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(Arc::new(setup.config())));
        let (accepted, current) = (Count::default(), Arc::clone(&config));
        let (count, permissive) = (accepted.clone(), setup.permissive);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let config = Arc::clone(&current.lock());
                connections.spawn(serve(stream, config, permissive, count.clone()));
            }
        });
        Self { address, accepted, config, task }
    }

    /// From the next connection on.
    pub(super) fn becomes(&self, setup: &Setup<'_>) {
        *self.config.lock() = Arc::new(setup.config());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, config: Arc<ServerConfig>, permissive: bool, accepted: Count) {
    let mut first = [0];
    // RFC 8446 section 5.1: a handshake.
    if permissive && stream.peek(&mut first).await.is_ok() && first[0] != 22 {
        answer(stream, "plaintext".to_owned()).await;
        return;
    }
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    accepted.add();
    let (_, connection) = stream.get_ref();
    let client = connection.peer_certificates().and_then(<[_]>::first);
    let client = client.map(|der| {
        let read = Certificate::parse(der).unwrap();
        format!("{}#{}", read.names.uris.first().map_or("-", |uri| uri), read.serial)
    });
    let client = client.unwrap_or_else(|| "-".to_owned());
    let sni = connection.server_name().unwrap_or("-");
    let who = format!("{client} {sni}");
    answer(stream, who).await;
}

async fn answer(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, who: String) {
    let service = service_fn(move |request: Request<Incoming>| {
        let text = format!("{:?} {who}", request.version());
        async move {
            if request.uri().path() == "/slow" {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ended = builder.serve_connection(TokioIo::new(io), service).await;
}
