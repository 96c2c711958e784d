//! Servers that give back what was posted: hyper alone, hyper behind our acceptor, and our whole server.

use crate::certificates::Certificates;
use crate::{BoxError, Http, Security};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::model::tls::DownstreamTls;
use mesh_core::model::{FilterChain, HttpConnectionManager, Listener};
use mesh_core::update::ConfigUpdate;
use mesh_tower::Mesh;
use mesh_tower::identity::FixedIdentity;
use mesh_tower::server::{Accepted, Acceptor, Ends, MeshServer};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Who accepts connections and reads requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// tokio-rustls and hyper.
    Bare,
    /// Our acceptor and hyper.
    Acceptor,
    /// Our server, with its layer: a route that takes all, and no filter.
    Server,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

/// What a server has seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicU64,
    pub(crate) requests: AtomicU64,
}

#[derive(Clone)]
enum Server {
    Plain,
    Tls(TlsAcceptor),
    Acceptor(Acceptor),
    Mesh(MeshServer),
}

/// Starts one, on the runtime that polls this.
pub(crate) async fn start(
    kind: Kind,
    security: Security,
    http: Http,
    certificates: Certificates,
) -> Result<Serving, BoxError> {
    let server = match (kind, security) {
        (Kind::Bare, Security::Plaintext) => Server::Plain,
        (Kind::Bare, Security::Mutual) => Server::Tls(certificates.server(http.alpn())?.into()),
        (Kind::Acceptor, _) => {
            Server::Acceptor(mesh(security, &certificates).await?.acceptor(LISTENER))
        }
        (Kind::Server, _) => Server::Mesh(mesh(security, &certificates).await?.server(LISTENER)),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (address, seen) = (listener.local_addr()?, Arc::new(Seen::default()));
    let counts = Arc::clone(&seen);
    drop(tokio::spawn(async move {
        while let Ok((stream, remote)) = listener.accept().await {
            counts.connections.fetch_add(1, Ordering::Relaxed);
            let ends = Ends { local: Some(address), remote: Some(remote), ..Ends::default() };
            let (server, counts) = (server.clone(), Arc::clone(&counts));
            drop(tokio::spawn(async move {
                // Whoever called sees that there is no answer.
                let _seen_there = serve(server, stream, ends, http, counts).await;
            }));
        }
    }));
    Ok(Serving { address, seen })
}

async fn serve(
    server: Server,
    stream: TcpStream,
    ends: Ends,
    http: Http,
    seen: Arc<Seen>,
) -> Result<(), BoxError> {
    stream.set_nodelay(true)?;
    match server {
        Server::Plain => hyper(stream, http, seen).await,
        Server::Tls(acceptor) => hyper(acceptor.accept(stream).await?, http, seen).await,
        Server::Acceptor(acceptor) => {
            let Accepted { io, open, .. } = acceptor.accept(stream, ends).await?;
            let served = hyper(io, http, seen).await;
            drop(open);
            served
        }
        Server::Mesh(server) => {
            let service = tower::service_fn(move |request| echo(request, Arc::clone(&seen)));
            Ok(server.serve_connection(stream, ends, service).await?)
        }
    }
}

async fn hyper<I>(io: I, http: Http, seen: Arc<Seen>) -> Result<(), BoxError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| echo(request, Arc::clone(&seen)));
    let io = TokioIo::new(io);
    match http {
        Http::One => http1::Builder::new().serve_connection(io, service).await?,
        Http::Two => {
            http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await?;
        }
    }
    Ok(())
}

async fn echo<B: Body>(
    request: Request<B>,
    seen: Arc<Seen>,
) -> Result<Response<Full<Bytes>>, B::Error> {
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}

/// A mesh with one listener, and with an identity where that is needed.
async fn mesh(security: Security, certificates: &Certificates) -> Result<Mesh, BoxError> {
    let http = HttpConnectionManager::serving(Vec::new());
    let mut chain = FilterChain::new("all", Some(Arc::new(http)));
    let mut builder = Mesh::builder();
    if security == Security::Mutual {
        chain.tls = Some(Arc::new(DownstreamTls::mutual()));
        let material = certificates.material(&certificates.server)?;
        builder = builder.identity(FixedIdentity::new(Some(material)).0);
    }
    let mut listener = Listener::new(LISTENER);
    listener.filter_chains.push(Arc::new(chain));
    let mut update = ConfigUpdate::in_code();
    update.listeners.insert(LISTENER.into(), Arc::new(listener));
    let mesh = builder.config(update).build()?;
    identified(&mesh).await?;
    Ok(mesh)
}

/// Waits until the mesh has its identity, if it is to have one.
pub(crate) async fn identified(mesh: &Mesh) -> Result<(), BoxError> {
    let Some(identities) = mesh.identities() else { return Ok(()) };
    let known = async {
        while identities.current().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let late = |_| "the identity is not in force after 10 s";
    Ok(tokio::time::timeout(Duration::from_secs(10), known).await.map_err(late)?)
}

impl Http {
    /// Its name in ALPN.
    pub(crate) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::One => b"http/1.1",
            Self::Two => b"h2",
        }
    }
}

const LISTENER: &str = "echo";
