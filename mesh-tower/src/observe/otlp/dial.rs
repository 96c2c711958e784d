//! A connection to a collector, over TLS where its URL says `https`.
//!
//! Whom we believe is the system's roots (`SSL_CERT_FILE`, `SSL_CERT_DIR`), as of each connection. No certificate of
//! ours is shown: a collector of the mesh is reached by a port of `outbound`.

use crate::error::with_sources;
use mesh_core::otlp::OtlpEndpoint;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a dead peer of a connection is looked for. (No PINGs: servers of grpc-go end connections whose clients
/// send them.)
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects.
///
/// # Errors
/// Why not, in words.
pub(super) async fn channel(endpoint: &OtlpEndpoint) -> Result<Channel, String> {
    let authority = endpoint.authority();
    let uri = Endpoint::from_shared(format!("http://{authority}"));
    let agent = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    let dialed = uri
        .and_then(|uri| uri.user_agent(agent))
        .map_err(|error| with_sources(&error))?
        .connect_timeout(PATIENCE)
        .tcp_keepalive(Some(TCP_KEEPALIVE));
    if endpoint.is_secure() {
        return secure(dialed, endpoint).await;
    }
    dialed.connect().await.map_err(|error| with_sources(&error))
}

/// Whether TLS is built in.
pub(super) const HAS_TLS: bool = cfg!(feature = "tls");

#[cfg(not(feature = "tls"))]
async fn secure(_: Endpoint, endpoint: &OtlpEndpoint) -> Result<Channel, String> {
    std::future::ready(Err(format!("{endpoint}: built without TLS"))).await
}

#[cfg(feature = "tls")]
async fn secure(dialed: Endpoint, endpoint: &OtlpEndpoint) -> Result<Channel, String> {
    let authority = endpoint.authority();
    let origin = format!("https://{authority}").parse::<http::Uri>();
    let dialed = dialed.origin(origin.map_err(|error| error.to_string())?);
    let opened = tokio::time::timeout(PATIENCE, tls::open(endpoint, &authority)).await;
    let opened =
        opened.map_err(|_elapsed| format!("no connection within {} s", PATIENCE.as_secs()))?;
    let connector = tls::Opened::new(opened?);
    dialed.connect_with_connector(connector).await.map_err(|error| with_sources(&error))
}

#[cfg(feature = "tls")]
mod tls {
    use crate::identity::crypto;
    use hyper_util::rt::TokioIo;
    use mesh_core::otlp::OtlpEndpoint;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use std::future::{Ready, ready};
    use std::io;
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    type Stream = TokioIo<TlsStream<TcpStream>>;

    /// A connection that is there already, for who wants to make it.
    pub(super) struct Opened(Option<Stream>);

    impl Opened {
        pub(super) const fn new(stream: Stream) -> Self {
            Self(Some(stream))
        }
    }

    impl tower_service::Service<http::Uri> for Opened {
        type Response = Stream;
        type Error = io::Error;
        type Future = Ready<io::Result<Stream>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Uri) -> Self::Future {
            // Asked again when the connection is lost: the next request dials anew.
            ready(self.0.take().ok_or_else(|| io::ErrorKind::ConnectionReset.into()))
        }
    }

    pub(super) async fn open(endpoint: &OtlpEndpoint, authority: &str) -> Result<Stream, String> {
        let host = endpoint.host().to_owned();
        let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
        let roots = roots().await?;
        let provider = crypto::provider()
            .ok_or("nobody encrypts: build with the feature `tls-aws-lc` or `tls-ring`")?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
        let _as_good_without = stream.set_nodelay(true).is_err();
        let secured = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        secured.map(TokioIo::new).map_err(|error| format!("TLS: {error}"))
    }

    async fn roots() -> Result<RootCertStore, String> {
        let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let found = found.map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err("the system has no root certificates: set `SSL_CERT_FILE`".to_owned());
        }
        Ok(roots)
    }
}
