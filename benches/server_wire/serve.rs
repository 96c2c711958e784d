//! The servers, in a thread of their own: one works at a time, so that the thread's CPU time is that of the one that
//! is called.

use crate::BoxError;
use crate::certificates::{Authority, Pair, provider};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_core::model::http_filter::{LocalRateLimit, TokenBucket};
use mesh_core::model::matcher::{Fraction, HeaderMatcherKind, StringPattern};
use mesh_core::model::rbac::{Rbac, RbacFilter};
use mesh_core::model::tls::DownstreamTls;
use mesh_core::model::{
    FilterChain, HttpConnectionManager, HttpFilter, HttpFilterConfig, Listener, Permission, Policy,
    Principal, RbacHeader, RbacHeaderName, StringMatcher,
};
use mesh_core::update::ConfigUpdate;
use mesh_tower::Mesh;
use mesh_tower::identity::{FixedIdentity, IdentityUpdates};
use mesh_tower::server::{Incoming, RequestBody};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

/// The thread, and where its servers listen.
pub(crate) struct Server {
    /// Raw hyper over rustls that asks for a certificate.
    pub(crate) hyper: SocketAddr,
    /// Ours with the same, and no filter.
    pub(crate) bare_mesh: SocketAddr,
    /// Ours with ten policies and a rate.
    pub(crate) mesh: SocketAddr,
    /// What a caller shows.
    pub(crate) caller: Pair,
    asked: mpsc::Sender<Question>,
}

type Question = oneshot::Sender<Result<Account, BoxError>>;

/// What was done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    /// Requests that reached a service.
    pub(crate) requests: u64,
    /// CPU time of the thread.
    pub(crate) cpu_nanos: u64,
}

/// Policies of the listener.
const POLICIES: usize = 10;

impl Server {
    /// Starts it; it ends with the process.
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let (started, ready) = oneshot::channel();
        std::thread::Builder::new().name("server".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(serve(started)),
                Err(error) => drop(started.send(Err(error.into()))),
            }
        })?;
        ready.await?
    }

    /// What was done so far.
    pub(crate) async fn account(&self) -> Result<Account, BoxError> {
        let (answer, answered) = oneshot::channel();
        self.asked.send(answer).await?;
        answered.await?
    }
}

async fn serve(started: oneshot::Sender<Result<Server, BoxError>>) {
    let served = Arc::new(AtomicU64::new(0));
    let (asked, mut questions) = mpsc::channel(1);
    match listen(&served, asked).await {
        Err(error) => drop(started.send(Err(error))),
        // Nobody issues another identity, and the mesh is not to think that its source ended.
        Ok((server, _updates)) => {
            drop(started.send(Ok(server)));
            while let Some(question) = questions.recv().await {
                // The kernel brings a thread's account up to date when it sleeps.
                tokio::time::sleep(Duration::from_millis(2)).await;
                let requests = served.load(Ordering::Relaxed);
                let account = cpu_nanos().map(|cpu_nanos| Account { requests, cpu_nanos });
                drop(question.send(account));
            }
        }
    }
}

/// CPU time of this thread.
fn cpu_nanos() -> Result<u64, BoxError> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_ascii_whitespace().next().ok_or("an empty schedstat")?.parse()?)
}

async fn listen(
    served: &Arc<AtomicU64>,
    asked: mpsc::Sender<Question>,
) -> Result<(Server, IdentityUpdates), BoxError> {
    let authority = Authority::new()?;
    let ours = authority.issue("spiffe://cluster.local/ns/shop/sa/server")?;
    let caller = format!("spiffe://cluster.local/ns/n{}/sa/caller", POLICIES - 1);
    let (mesh, updates) = configured(&ours)?;
    while mesh.identities().is_none_or(|known| known.current().is_err()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let server = Server {
        hyper: hyper(&ours, served).await?,
        bare_mesh: meshed(&mesh, "bare", served).await?,
        mesh: meshed(&mesh, "full", served).await?,
        caller: authority.issue(&caller)?,
        asked,
    };
    Ok((server, updates))
}

/// What all serve: the body comes back.
async fn answer<B>(
    served: Arc<AtomicU64>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, BoxError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let body = request.into_body().collect().await.map_err(Into::into)?.to_bytes();
    served.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Full::new(body)))
}

async fn hyper(ours: &Pair, served: &Arc<AtomicU64>) -> Result<SocketAddr, BoxError> {
    let roots = Arc::new(ours.trusted()?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
    let (chain, key) = ours.own()?;
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (address, served) = (socket.local_addr()?, Arc::clone(served));
    drop(tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let (acceptor, served) = (acceptor.clone(), Arc::clone(&served));
            drop(tokio::spawn(async move {
                stream.set_nodelay(true)?;
                let io = TokioIo::new(acceptor.accept(stream).await?);
                let service = service_fn(move |request| answer(Arc::clone(&served), request));
                http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await?;
                Ok::<(), BoxError>(())
            }));
        }
    }));
    Ok(address)
}

async fn meshed(
    mesh: &Mesh,
    listener: &'static str,
    served: &Arc<AtomicU64>,
) -> Result<SocketAddr, BoxError> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (address, served) = (socket.local_addr()?, Arc::clone(served));
    let server = mesh.server(listener);
    let service = tower::service_fn(move |request: Request<RequestBody<Incoming>>| {
        answer(Arc::clone(&served), request)
    });
    drop(tokio::spawn(async move { server.serve(socket, service).await }));
    Ok(address)
}

fn configured(ours: &Pair) -> Result<(Mesh, IdentityUpdates), BoxError> {
    let (identity, updates) = FixedIdentity::new(Some(ours.material()?));
    let mut update = ConfigUpdate::in_code();
    for (name, filters) in [("bare", Vec::new()), ("full", filters())] {
        let http = Arc::new(HttpConnectionManager::serving(filters));
        let mut chain = FilterChain::new("mutual", Some(http));
        chain.tls = Some(Arc::new(DownstreamTls::mutual()));
        let mut listener = Listener::new(name);
        listener.filter_chains.push(Arc::new(chain));
        update.listeners.insert(name.into(), Arc::new(listener));
    }
    Ok((Mesh::builder().identity(identity).config(update).build()?, updates))
}

fn filters() -> Vec<HttpFilter> {
    let mut rules = Rbac::default();
    rules.policies.extend((0..POLICIES).map(|at| (Arc::from(format!("p{at}")), policy(at))));
    let mut rbac = RbacFilter::default();
    rbac.rules = Some(Arc::new(rules));
    let mut limit = LocalRateLimit::default();
    // Far above what comes: it is looked at, and never reached.
    limit.token_bucket = Some(TokenBucket::new(1 << 30, 1 << 30, Duration::from_secs(1)));
    (limit.filter_enabled, limit.filter_enforced) = (Fraction::ALL, Fraction::ALL);
    vec![
        HttpFilter::new("rbac", HttpFilterConfig::Rbac(Arc::new(rbac))),
        HttpFilter::new("limit", HttpFilterConfig::LocalRateLimit(Arc::new(limit))),
    ]
}

/// As Istio writes it: from a namespace, by POST, under a prefix. The last one is that of the requests.
fn policy(at: usize) -> Policy {
    let method = HeaderMatcherKind::String(StringMatcher::exact("POST"));
    let path = StringPattern::Prefix(format!("/shop.v{at}.").into());
    let permissions = [
        Permission::Header(RbacHeader::new(RbacHeaderName::METHOD, method)),
        Permission::UrlPath(StringMatcher::new(path)),
    ];
    let namespace = StringPattern::Prefix(format!("spiffe://cluster.local/ns/n{at}/").into());
    let principal = Principal::Authenticated(Some(StringMatcher::new(namespace)));
    Policy {
        permissions: vec![Permission::And(permissions.map(|one| Permission::Or(vec![one])).into())],
        principals: vec![Principal::And(vec![Principal::Or(vec![principal])])],
        condition: None,
    }
}
