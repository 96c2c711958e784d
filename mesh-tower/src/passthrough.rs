//! Calls that pass by every policy: `mode: observe`, and `unknown_hosts: passthrough`.
//!
//! They go where their URI points, over connections of our own, one pool per host and port; where it says `https`, to
//! whoever proves that name by roots that the system trusts (RFC 9110 section 4.3.4). The number of pools
//! is bounded, because they are the caller's to choose; what no call uses makes room. This is the one path
//! that takes a lock: it looks a host up, which a mesh call never does.

use crate::MeshBody;
use crate::connect::{
    Connect, Connecting, EndpointPool, Opening, PoolLimits, PoolSettings, SendError, Sending,
    Speaks, connect_any,
};
use crate::dns::Resolve;
use crate::net::Shared;
use crate::observe::events::{CloseReason, Security};
use crate::observe::registry::Registry;
use crate::proxy::Captured;
#[cfg(feature = "tls")]
use crate::tls::client::ClientTls;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri};
use mesh_core::egress::{CompiledEgress, EgressRefusal, EgressVerdict, destination};
use mesh_core::head::without_userinfo;
use mesh_core::model::tls::UpstreamTls;
use mesh_core::model::{Address, ConnectionOptions, RoutingPriority, TlsPolicy};
use mesh_core::outcome::{ConnectFailure, Failure, Overflow, ProtocolFailure};
use mesh_core::update::UnknownHosts;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The most hosts and ports with connections at one time; beyond it, those without calls are let go of, and
/// others are refused where there are none.
const MAX_AUTHORITIES: usize = 1024;

/// The connections to authorities that no route knows.
#[derive(Debug)]
pub(crate) struct Passthrough {
    shared: Arc<Shared>,
    resolver: Arc<dyn Resolve>,
    origins: Mutex<Origins>,
}

/// By [`key`], and where their names may lead.
#[derive(Debug, Default)]
struct Origins {
    pools: HashMap<Box<str>, Arc<OriginPool>>,
    egress: Arc<CompiledEgress>,
}

#[derive(Debug)]
struct OriginPool {
    pool: EndpointPool,
    settings: Arc<PoolSettings>,
}

impl Passthrough {
    pub(crate) fn new(shared: Arc<Shared>, resolver: Arc<dyn Resolve>) -> Self {
        Self { shared, resolver, origins: Mutex::default() }
    }

    /// Sends `request` where its URI points; where it is only a path, to its `Host`. `egress`: where names
    /// may lead. Connections that were made when they might lead elsewhere end with their calls.
    pub(crate) fn send(
        &self,
        mut request: Request<MeshBody>,
        egress: &Arc<CompiledEgress>,
    ) -> Result<Sending, Box<SendError>> {
        if let Some(uri) = with_host(&request) {
            *request.uri_mut() = uri;
        }
        match self.origin(&request, egress) {
            Ok(origin) => Ok(origin.pool.send(&origin.settings, request)),
            Err(failure) => Err(unsent(failure, request)),
        }
    }

    /// As [`send`](Self::send), on a connection of its own.
    pub(crate) fn open(
        &self,
        mut request: Request<MeshBody>,
        egress: &Arc<CompiledEgress>,
    ) -> Result<Opening, Box<SendError>> {
        if let Some(uri) = with_host(&request) {
            *request.uri_mut() = uri;
        }
        match self.origin(&request, egress) {
            Ok(origin) => Ok(origin.pool.open(&origin.settings, request, RoutingPriority::Default)),
            Err(failure) => Err(unsent(failure, request)),
        }
    }

    /// Whether calls are in flight on its connections.
    pub(crate) fn is_busy(&self) -> bool {
        self.origins.lock().pools.values().any(|origin| origin.is_busy())
    }

    /// Closes its connections, whatever is in flight on them.
    pub(crate) fn close(&self) {
        for (_, origin) in self.origins.lock().pools.drain() {
            origin.pool.close();
        }
    }

    fn origin(
        &self,
        request: &Request<MeshBody>,
        egress: &Arc<CompiledEgress>,
    ) -> Result<Arc<OriginPool>, Failure> {
        let uri = request.uri();
        self.rehearse(request, egress);
        let captured = captured(request, egress);
        let Some(authority) = captured.as_ref().or_else(|| uri.authority()) else {
            return Err(Failure::Protocol(ProtocolFailure::InvalidRequest));
        };
        let secured = match uri.scheme_str() {
            None | Some("http") => false,
            Some("https") if cfg!(feature = "tls") => true,
            Some("https") => return Err(Failure::Connect(ConnectFailure::TlsUnavailable)),
            Some(_) => return Err(Failure::Protocol(ProtocolFailure::InvalidRequest)),
        };
        let mut origins = self.origins.lock();
        if !Arc::ptr_eq(&origins.egress, egress) {
            origins.egress = Arc::clone(egress);
            for (_, origin) in origins.pools.drain() {
                origin.pool.drain();
            }
        }
        let origins = &mut origins.pools;
        let port = authority.port_u16().unwrap_or(if secured { 443 } else { 80 });
        let key = key(authority.host(), port, secured);
        if let Some(origin) = origins.get(key.as_str()) {
            return Ok(Arc::clone(origin));
        }
        if origins.len() >= MAX_AUTHORITIES {
            // Who holds one beside the map is about to send on it.
            origins.retain(|_, origin| Arc::strong_count(origin) > 1 || origin.is_busy());
        }
        if origins.len() >= MAX_AUTHORITIES {
            return Err(Failure::Overflow(Overflow::Connections));
        }
        let host = bare(authority.host());
        let origin = Arc::new(self.make((authority, host, port), secured, egress));
        origins.insert(key.into_boxed_str(), Arc::clone(&origin));
        Ok(origin)
    }

    /// Tells what `refuse` would refuse of a captured request. It goes to where its connection was meant to go, and would go
    /// to where its name leads; that is what its caller was told when he asked, so the one stands for the other.
    fn rehearse(&self, request: &Request<MeshBody>, egress: &CompiledEgress) {
        let (uri, captured) = (request.uri(), request.extensions().get());
        let (Some(Captured(original)), Some(authority)) = (captured, uri.authority()) else {
            return;
        };
        let is_name = bare(authority.host()).parse::<IpAddr>().is_err();
        if egress.unknown_hosts() == UnknownHosts::Log && is_name {
            let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
            let verdict = egress.admits(original.ip(), original.port());
            let against = (!matches!(verdict, EgressVerdict::Allowed(_))).then_some(verdict);
            let named = destination(without_userinfo(authority.as_str()), port);
            self.shared.registry.mesh().egress().leads_to(&named, against);
        }
    }

    fn make(
        &self,
        (authority, host, port): (&Authority, &str, u16),
        secured: bool,
        egress: &Arc<CompiledEgress>,
    ) -> OriginPool {
        let options = ConnectionOptions::default();
        let dial = NameConnector {
            authority: destination(without_userinfo(authority.as_str()), port).as_ref().into(),
            name: host.into(),
            port,
            resolver: Arc::clone(&self.resolver),
            dial: Arc::clone(&self.shared.dial),
            options,
            egress: Arc::clone(egress),
            registry: Arc::clone(&self.shared.registry),
        };
        let tls = if secured { TlsPolicy::On(Arc::new(proves(host))) } else { TlsPolicy::Off };
        #[cfg(feature = "tls")]
        let secure = match &tls {
            TlsPolicy::On(policy) if !self.shared.dial.secures() => Some(Arc::new(ClientTls::new(
                Arc::clone(policy),
                Arc::clone(&self.shared.secrets),
                self.shared.credentials.clone(),
            ))),
            _ => None,
        };
        let settings = PoolSettings {
            speaks: if secured { Speaks::AsAgreed } else { Speaks::AsCall },
            options,
            preserve_header_case: self.shared.settings.preserve_header_case,
            max_connections_per_endpoint: None,
            proxy_protocol: None,
            tls,
            #[cfg(feature = "tls")]
            secure,
            secrets: Arc::default(),
            dial: Arc::new(dial),
            runtime: self.shared.runtime.clone(),
            limits: Arc::new(Unlimited),
        };
        // The connector resolves names itself: of one, the address is only a place-holder.
        let ip = host.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let address = Address::Socket(SocketAddr::new(ip, port));
        OriginPool { pool: EndpointPool::new(address), settings: Arc::new(settings) }
    }
}

impl OriginPool {
    /// Whether calls are in flight on its connections, or wait for one.
    fn is_busy(&self) -> bool {
        let open = self.pool.connections();
        open.h1 > open.h1_idle || open.streams > 0 || open.waiting > 0 || open.own > 0
    }
}

/// An address of version 6 without its brackets; other hosts as they are.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// A host and its port, however they are written: names have no case (RFC 3986 section 3.2.2), and who asks
/// makes no difference to where they lead.
fn key(host: &str, port: u16, secured: bool) -> String {
    let tls = if secured { " by TLS" } else { "" };
    let mut key = format!("{host}:{port}{tls}");
    key.make_ascii_lowercase();
    key
}

/// What whoever answers for a host must prove: its name, or without one its address.
fn proves(host: &str) -> UpstreamTls {
    let mut tls = UpstreamTls::default();
    tls.sni = host.parse::<IpAddr>().is_err().then(|| host.trim_end_matches('.').into());
    tls.auto_host_sni = false;
    tls
}

/// Where a captured request goes that no rule of `egress` holds back: where its connection was meant to go (Envoy:
/// `ORIGINAL_DST`). With rules it is its name that was allowed, and so its name says where it goes.
fn captured(request: &Request<MeshBody>, egress: &CompiledEgress) -> Option<Authority> {
    let Captured(original) = request.extensions().get()?;
    let holds_back = egress.unknown_hosts() == UnknownHosts::Refuse;
    (!holds_back).then(|| Authority::try_from(original.to_string()).ok()).flatten()
}

#[cold]
fn unsent(failure: Failure, request: Request<MeshBody>) -> Box<SendError> {
    Box::new(SendError { failure, request: Some(Box::new(request)), source: None })
}

/// The URI of a request in origin form (RFC 9112 section 3.2.1), with the authority of its `Host`;
/// `None`: it has one, or there is none.
fn with_host(request: &Request<MeshBody>) -> Option<Uri> {
    if request.uri().authority().is_some() {
        return None;
    }
    let host: Authority = request.headers().get(HOST)?.to_str().ok()?.parse().ok()?;
    let mut parts = request.uri().clone().into_parts();
    (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(host));
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).ok()
}

/// Connects to a name: resolves it each time, and tries its addresses (RFC 8305).
struct NameConnector {
    /// As the calls wrote it, with its port: what they are counted under.
    authority: Box<str>,
    name: Box<str>,
    port: u16,
    resolver: Arc<dyn Resolve>,
    dial: Arc<dyn Connect>,
    options: ConnectionOptions,
    egress: Arc<CompiledEgress>,
    registry: Arc<Registry>,
}

impl NameConnector {
    /// Those of the addresses that the name may lead to. What is against the others is told once for all of them.
    ///
    /// # Errors
    /// There is none.
    fn admitted(&self, addresses: Vec<IpAddr>) -> io::Result<Vec<IpAddr>> {
        let mut against = None;
        let admitted = addresses.into_iter().filter(|address| {
            let verdict = self.egress.admits(*address, self.port);
            let is_allowed = matches!(verdict, EgressVerdict::Allowed(_));
            against = against.or_else(|| (!is_allowed).then_some(verdict));
            is_allowed || matches!(verdict, EgressVerdict::Logged(_))
        });
        let admitted: Vec<IpAddr> = admitted.collect();
        self.registry.mesh().egress().connects(&self.authority, against);
        match (admitted.is_empty(), against) {
            (true, Some(EgressVerdict::Refused(why))) => {
                Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
            }
            _ => Ok(admitted),
        }
    }
}

impl Connect for NameConnector {
    fn secures(&self) -> bool {
        self.dial.secures()
    }

    fn connect<'a>(&'a self, _: &'a Address) -> Connecting<'a> {
        Box::pin(async move {
            let addresses = match self.name.parse::<IpAddr>() {
                Ok(address) if !self.egress.admits_literal(address, self.port) => {
                    let why = EgressRefusal::AddressNotListed;
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
                }
                Ok(address) => vec![address],
                Err(_) => {
                    let answer = self.resolver.resolve(&self.name).await;
                    let answer =
                        answer.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
                    self.admitted(answer.addresses)?
                }
            };
            let sockets = addresses.into_iter().map(|ip| SocketAddr::new(ip, self.port).into());
            let sockets: Vec<Address> = sockets.collect();
            let delay = self.options.happy_eyeballs_delay;
            connect_any(&*self.dial, &sockets, delay).await.map(|(_, io)| io)
        })
    }
}

impl fmt::Debug for NameConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameConnector")
            .field("name", &self.name)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// No limits: nobody configured any.
#[derive(Debug)]
struct Unlimited;

impl PoolLimits for Unlimited {
    fn try_connection(&self, _: bool) -> bool {
        true
    }
    fn release_connection(&self) {}
    fn connection_opened(&self, _: &Security, _: &Arc<AtomicU64>) {}
    fn connection_failed(&self, _: ConnectFailure) {}
    fn connection_closed(&self, _: CloseReason) {}
    fn try_pending(&self, _: RoutingPriority) -> bool {
        true
    }
    fn release_pending(&self, _: RoutingPriority) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mesh;
    use crate::dns::{Answer, ResolveError};
    use futures_util::future::BoxFuture;
    use mesh_core::ConfigUpdate;
    use mesh_core::head::Peer;

    #[derive(Debug)]
    struct Nowhere;

    impl Resolve for Nowhere {
        fn resolve(&self, _: &str) -> BoxFuture<'static, Result<Answer, ResolveError>> {
            Box::pin(async { Ok(Answer::new(Vec::new(), None)) })
        }
    }

    /// What is learnt of a captured request that was meant for there.
    #[track_caller]
    fn check(unknown_hosts: UnknownHosts, to: &str, meant: &str, expected: Option<EgressRefusal>) {
        let mut update = ConfigUpdate::in_code();
        update.unknown_hosts = unknown_hosts;
        let mesh = Mesh::builder().config(update).resolver(Nowhere).build().unwrap();
        let log = mesh.shared().registry.mesh().egress();
        log.called(to, EgressVerdict::Allowed(None), Peer::default());
        let mut request = Request::get(format!("http://{to}/")).body(MeshBody::empty()).unwrap();
        request.extensions_mut().insert(Captured(meant.parse().unwrap()));
        let passthrough = Passthrough::new(Arc::clone(mesh.shared()), Arc::new(Nowhere));
        let egress = Arc::clone(mesh.snapshot().egress());
        drop(passthrough.send(request, &egress));
        assert_eq!(log.destinations()[0].refusal, expected, "{unknown_hosts:?} {to} {meant}");
    }

    /// `log` tells what `refuse` would refuse, which is where the name leads.
    #[tokio::test]
    async fn captured_requests_are_rehearsed() {
        let private = Some(EgressRefusal::PrivateAddress);
        check(UnknownHosts::Log, "a.example:80", "10.0.0.1:80", private);
        check(UnknownHosts::Log, "a.example:80", "192.0.1.1:80", None);
        check(UnknownHosts::Log, "10.0.0.1:80", "10.0.0.1:80", None);
        check(UnknownHosts::Passthrough, "a.example:80", "10.0.0.1:80", None);
    }
}
