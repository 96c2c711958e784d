//! A server with an identity, and clients of every kind.

use super::ca::{Ca, Pair};
use crate::fixture::{bounded, eventually};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::model::rbac::RbacFilter;
use mesh_core::model::secret::SecretSource;
use mesh_core::model::tls::DownstreamTls;
use mesh_core::model::{
    Domain, FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, Listener, Route,
    RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::Mesh;
use mesh_tower::identity::{FixedIdentity, IdentityUpdates};
use mesh_tower::server::{Connection, Incoming, MeshServer, RequestBody};
use mesh_tower::source::Updates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const OURS: &str = "spiffe://mesh.example/server";
pub(crate) const FRIEND: &str = "spiffe://mesh.example/friend";

pub(crate) struct World {
    pub(crate) ca: Ca,
    pub(crate) mesh: Mesh,
    pub(crate) server: MeshServer,
    pub(crate) address: SocketAddr,
    pub(crate) identity: IdentityUpdates,
    pub(crate) updates: Updates,
}

/// A configuration with this one listener, `web`.
pub(crate) fn serving(chains: Vec<FilterChain>) -> ConfigUpdate {
    let mut listener = Listener::new("web");
    listener.filter_chains = chains.into_iter().map(Arc::new).collect();
    let mut update = ConfigUpdate::in_code();
    update.listeners.insert("web".into(), Arc::new(listener));
    update
}

pub(crate) fn chain(name: &str, set: impl FnOnce(&mut FilterChain)) -> FilterChain {
    let mut chain =
        FilterChain::new(name, Some(Arc::new(HttpConnectionManager::serving(Vec::new()))));
    set(&mut chain);
    chain
}

/// A chain with mutual TLS.
pub(crate) fn mutual(set: impl FnOnce(&mut DownstreamTls)) -> FilterChain {
    let mut tls = DownstreamTls::mutual();
    set(&mut tls);
    chain("mutual", |chain| chain.tls = Some(Arc::new(tls)))
}

pub(crate) fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(text.as_bytes().into())
}

impl Pair {
    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        (chain.map(Result::unwrap).collect(), key)
    }
}

impl World {
    /// A server of `chains` that answers who called.
    pub(crate) async fn new(ca: Ca, chains: Vec<FilterChain>) -> Self {
        let material = ca.material(&ca.issue(OURS));
        let (source_of_us, identity) = FixedIdentity::new(Some(material));
        let (updates, source) = Updates::new();
        let builder = Mesh::builder().identity(source_of_us).config(serving(chains)).source(source);
        let mesh = builder.build().unwrap();
        let known = || mesh.identities().unwrap().current().is_ok();
        eventually("there is an identity", known).await;
        let server = mesh.server("web");
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(socket, tower::service_fn(who)).await });
        Self { ca, mesh, server, address, identity, updates }
    }

    /// Who the server thinks calls, or why nothing came of it.
    pub(crate) async fn call(&self, tls: Option<ClientConfig>) -> Result<String, String> {
        let io = bounded(TcpStream::connect(self.address)).await.unwrap();
        match tls {
            None => get(io, false).await,
            Some(tls) => get(secured(io, tls).await?, false).await,
        }
    }

    pub(crate) fn client(&self, shows: Option<&Pair>) -> ClientConfig {
        client(&self.ca, shows, &rustls::version::TLS13)
    }

    /// The series of this metric that are not zero, without its name.
    pub(crate) fn counts(&self, metric: &str) -> Vec<String> {
        let text = self.mesh.metrics().prometheus_text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
        let lines = lines.filter(|line| !line.ends_with(" 0"));
        lines.map(|line| line.replace("listener=\"web\"", "").replace("{,", "{")).collect()
    }
}

async fn who(request: Request<RequestBody<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let connection = request.extensions().get::<Arc<Connection>>();
    let name = connection.map_or("nobody knows", |connection| connection.peer.name());
    Ok(Response::new(Full::from(name.to_owned())))
}

fn roots(ca: &Ca) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    roots
}

pub(crate) fn client(
    ca: &Ca,
    shows: Option<&Pair>,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
    let builder = builder.unwrap().with_root_certificates(roots(ca));
    match shows.map(Pair::der) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    }
}

pub(crate) async fn secured(
    io: TcpStream,
    tls: ClientConfig,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let connected = connector.connect("localhost".try_into().unwrap(), io);
    bounded(connected).await.map_err(|error| error.to_string())
}

/// One request, over HTTP/1.1 or HTTP/2.
pub(crate) async fn get<I>(io: I, is_http2: bool) -> Result<String, String>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = TokioIo::new(io);
    let request = Request::get("http://localhost/").header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let text = |error: hyper::Error| format!("{error:?}");
    let response = if is_http2 {
        let (mut sender, driver) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(text)?;
        tokio::spawn(driver);
        bounded(sender.send_request(request)).await.map_err(text)?
    } else {
        let (mut sender, driver) = http1::handshake(io).await.map_err(text)?;
        tokio::spawn(driver);
        bounded(sender.send_request(request)).await.map_err(text)?
    };
    let body = bounded(response.into_body().collect()).await.map_err(text)?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

/// A chain whose one route is called `name`, and answers or refuses.
pub(crate) fn routed(name: &str, refuses: bool) -> FilterChain {
    let route = Route::new(name, RouteMatch::any(), RouteAction::NonForwarding);
    let host = VirtualHost::new("all", vec![Domain::Any]).route(route);
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));
    let mut rbac = RbacFilter::default();
    rbac.rules = Some(Arc::default());
    let rbac = HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(rbac)));
    let filters = if refuses { vec![rbac] } else { Vec::new() };
    let http = HttpConnectionManager::new(Arc::new(routes), filters);
    FilterChain::new("plain", Some(Arc::new(http)))
}
