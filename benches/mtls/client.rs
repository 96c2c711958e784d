//! Clients that post 100 bytes and read them back: hyper alone, and the mesh.

use crate::certificates::{Certificates, HOST, SERVER};
use crate::load::{Caller, Load, Run, drive};
use crate::serve::identified;
use crate::{BoxError, Http, Security};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::model::san::SanMatcher;
use mesh_core::model::tls::{TlsIdentity, TlsPolicy, TlsRoots, UpstreamTls};
use mesh_core::model::{
    Cluster, ClusterLoadAssignment, ClusterSpecifier, Domain, Endpoint, ForwardAction, LbAlgorithm,
    LbPolicy, OutlierDetection, Protocol, Route, RouteAction, RouteConfiguration, RouteMatch,
    VirtualHost,
};
use mesh_core::update::{ClusterUpdate, ConfigUpdate};
use mesh_tower::identity::FixedIdentity;
use mesh_tower::{Client, Mesh};
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt};

/// A client that can call.
#[derive(Clone)]
pub(crate) enum Calling {
    One(BareOne),
    Two(BareTwo),
    Mesh(Meshed),
}

impl Calling {
    /// Makes one that calls `to`, on the runtime that polls this.
    pub(crate) async fn connect(
        is_mesh: bool,
        (security, http): (Security, Http),
        to: SocketAddr,
        certificates: Certificates,
    ) -> Result<Self, BoxError> {
        if is_mesh {
            return Ok(Self::Mesh(Meshed::new(security, http, to, &certificates).await?));
        }
        let provider = aws_lc_rs::default_provider();
        let tls = match security {
            Security::Plaintext => None,
            Security::Mutual => Some(certificates.client(http.alpn(), provider, true)?.into()),
        };
        match http {
            Http::One => Ok(Self::One(BareOne { to, tls, idle: Arc::default(), own: None })),
            Http::Two => Ok(Self::Two(BareTwo(two(to, tls).await?))),
        }
    }

    /// Keeps `load` up.
    pub(crate) async fn drive(self, load: Load) -> Result<Run, BoxError> {
        match self {
            Self::One(caller) => drive(caller, load).await,
            Self::Two(caller) => drive(caller, load).await,
            Self::Mesh(caller) => drive(caller, load).await,
        }
    }
}

type SendOne = http1::SendRequest<Full<Bytes>>;
type SendTwo = http2::SendRequest<Full<Bytes>>;

/// hyper over HTTP/1.1: every task in flight has a connection, and leaves it to the next one.
pub(crate) struct BareOne {
    to: SocketAddr,
    tls: Option<TlsConnector>,
    idle: Arc<Mutex<Vec<SendOne>>>,
    own: Option<SendOne>,
}

impl BareOne {
    async fn connection(&mut self) -> Result<&mut SendOne, BoxError> {
        let own = match self.own.take().or_else(|| self.idle.lock().pop()) {
            Some(own) => own,
            None => one(self.to, self.tls.clone()).await?,
        };
        Ok(self.own.insert(own))
    }
}

impl Clone for BareOne {
    fn clone(&self) -> Self {
        let (tls, idle) = (self.tls.clone(), Arc::clone(&self.idle));
        Self { to: self.to, tls, idle, own: None }
    }
}

impl Drop for BareOne {
    fn drop(&mut self) {
        self.idle.lock().extend(self.own.take());
    }
}

impl Caller for BareOne {
    async fn call(&mut self) -> Result<(), BoxError> {
        let mut request = post();
        *request.uri_mut() = Uri::from_static("/echo");
        request.headers_mut().insert(header::HOST, HeaderValue::from_static(HOST));
        let connection = self.connection().await?;
        connection.ready().await?;
        expect_echo(connection.send_request(request).await?).await
    }
}

/// hyper over HTTP/2: one connection.
#[derive(Clone)]
pub(crate) struct BareTwo(SendTwo);

impl Caller for BareTwo {
    async fn call(&mut self) -> Result<(), BoxError> {
        let mut request = post();
        *request.uri_mut() = Uri::from_static(URI);
        *request.version_mut() = Version::HTTP_2;
        self.0.ready().await?;
        expect_echo(self.0.send_request(request).await?).await
    }
}

/// The mesh, with what a sidecar would do: a timeout, a breaker, outlier detection, least request, metrics.
#[derive(Clone)]
pub(crate) struct Meshed {
    client: Client,
    version: Version,
    _mesh: Mesh,
}

impl Meshed {
    async fn new(
        security: Security,
        http: Http,
        to: SocketAddr,
        certificates: &Certificates,
    ) -> Result<Self, BoxError> {
        let mut builder = Mesh::builder().config(update(security, http, to));
        if security == Security::Mutual {
            let material = certificates.material(&certificates.client)?;
            builder = builder.identity(FixedIdentity::new(Some(material)).0);
        }
        let mesh = builder.build()?;
        identified(&mesh).await?;
        let version = match http {
            Http::One => Version::HTTP_11,
            Http::Two => Version::HTTP_2,
        };
        Ok(Self { client: mesh.client(), version, _mesh: mesh })
    }
}

impl Caller for Meshed {
    async fn call(&mut self) -> Result<(), BoxError> {
        let mut request = post();
        *request.uri_mut() = Uri::from_static(URI);
        *request.version_mut() = self.version;
        let service = ServiceExt::<Request<Full<Bytes>>>::ready(&mut self.client).await?;
        expect_echo(service.call(request).await?).await
    }
}

/// One endpoint, whose certificate has to have the server's id.
fn update(security: Security, http: Http, to: SocketAddr) -> ConfigUpdate {
    let mut forward = ForwardAction::new(ClusterSpecifier::Cluster(CLUSTER.into()));
    // Nothing is kept for a second try: that is no work of TLS.
    forward.transparent_retry = false;
    let route = Route::new("echo", RouteMatch::any(), RouteAction::Forward(forward));
    let mut host = VirtualHost::new("any", vec![Domain::Any]);
    host.routes.push(Arc::new(route));
    let mut routes = RouteConfiguration::default();
    routes.virtual_hosts.push(Arc::new(host));

    let mut cluster = Cluster::new(CLUSTER);
    cluster.protocol = match http {
        Http::One => Protocol::Http1,
        Http::Two => Protocol::Http2,
    };
    cluster.lb_policy = LbPolicy::new(LbAlgorithm::least_request());
    cluster.outlier_detection = Some(OutlierDetection::default());
    if security == Security::Mutual {
        let mut tls = UpstreamTls::default();
        (tls.identity, tls.roots) = (TlsIdentity::Mesh, TlsRoots::Mesh);
        tls.san = vec![SanMatcher::uri(SERVER)];
        cluster.tls = TlsPolicy::On(Arc::new(tls));
    }
    let endpoints = Arc::new(ClusterLoadAssignment::of([Endpoint::new(to.into())]));
    let mut update = ConfigUpdate::in_code();
    update.route_configuration = Arc::new(routes);
    update.clusters.insert(CLUSTER.into(), ClusterUpdate::new(Arc::new(cluster), Some(endpoints)));
    update
}

/// A connection of HTTP/1.1. What its driver is over is a type of its own in each case: nothing is boxed.
async fn one(to: SocketAddr, tls: Option<TlsConnector>) -> Result<SendOne, BoxError> {
    let stream = connected(to).await?;
    let sender = match tls {
        None => {
            let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
            drop(tokio::spawn(driver));
            sender
        }
        Some(tls) => {
            let io = TokioIo::new(tls.connect(HOST.try_into()?, stream).await?);
            let (sender, driver) = http1::handshake(io).await?;
            drop(tokio::spawn(driver));
            sender
        }
    };
    Ok(sender)
}

/// The same of HTTP/2.
async fn two(to: SocketAddr, tls: Option<TlsConnector>) -> Result<SendTwo, BoxError> {
    let (stream, executor) = (connected(to).await?, TokioExecutor::new());
    let sender = match tls {
        None => {
            let (sender, driver) = http2::handshake(executor, TokioIo::new(stream)).await?;
            drop(tokio::spawn(driver));
            sender
        }
        Some(tls) => {
            let io = TokioIo::new(tls.connect(HOST.try_into()?, stream).await?);
            let (sender, driver) = http2::handshake(executor, io).await?;
            drop(tokio::spawn(driver));
            sender
        }
    };
    Ok(sender)
}

pub(crate) async fn connected(to: SocketAddr) -> Result<TcpStream, BoxError> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn post() -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(&[b'm'; PAYLOAD])));
    *request.method_mut() = Method::POST;
    request
}

async fn expect_echo<B>(response: Response<B>) -> Result<(), BoxError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let status = response.status();
    let body = response.into_body().collect().await.map_err(Into::into)?.to_bytes();
    if status != StatusCode::OK || body.len() != PAYLOAD {
        return Err(format!("{status} with {} bytes came back", body.len()).into());
    }
    Ok(())
}

/// Bytes of a request, and of its answer.
const PAYLOAD: usize = 100;
const CLUSTER: &str = "echo";
const URI: &str = "http://localhost/echo";
