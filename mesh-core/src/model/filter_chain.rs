//! What holds for the connections of a port (Envoy: `config.listener.v3.FilterChain`; gRFC A36).

use super::http_filter::{HttpFilter, HttpFilterOverride, RateLimitPolicy};
use super::rbac::RbacFilter;
use super::tls::DownstreamTls;
use super::{
    ChainForward, Cidr, Domain, Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost,
};
use crate::time::WallTime;
use std::sync::Arc;
use std::time::Duration;

/// What holds for some connections of a port.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FilterChain {
    /// Name for logs and metrics; unique within its listener.
    pub name: Arc<str>,
    /// Which connections.
    pub matcher: FilterChainMatch,
    /// How they are secured; `None`: plaintext.
    pub tls: Option<Arc<DownstreamTls>>,
    /// The longest time from accepting to the end of the TLS handshake, the wait for the first byte
    /// included (Envoy: `transport_socket_connect_timeout`, of which zero means none). Default 15 s.
    pub handshake_timeout: Duration,
    /// Who may connect at all (Envoy: `network.rbac.v3`), in order; the first denial closes the
    /// connection.
    pub network_rbac: Vec<Arc<RbacFilter>>,
    /// What is done with requests; `None`: bytes are passed on as they are.
    pub http: Option<Arc<HttpConnectionManager>>,
    /// With `http`, on a port that passes on what it takes: connections that are not HTTP are passed on as bytes, if what
    /// `http` asks for can be asked of them ([`Detection`](crate::inbound::Detection)). It is how long their first
    /// bytes are waited for. `None`: all of them are HTTP. Default `None` (Envoy: `http_inspector`, with chains by
    /// `application_protocols`; Istio: ports without a protocol).
    pub detect: Option<Duration>,
    /// Where a proxy sends what passes, if its listener leaves that to its chains
    /// ([`ForwardTo::Chain`](super::ForwardTo::Chain)); `None`: nowhere.
    pub forward: Option<Arc<ChainForward>>,
    /// When this chain ends by itself, after which it takes no connection and no request; `None`:
    /// never. Ours: what opens a port for a while (`mtls: permissive`) says until when.
    pub until: Option<WallTime>,
}

/// Which connections; everything that is said must hold (Envoy: `FilterChainMatch`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilterChainMatch {
    /// The port that was connected to, before any redirection. gRPC: such a chain never matches.
    pub destination_port: Option<u16>,
    /// One of these holds the address that was connected to; empty: any.
    pub prefix_ranges: Vec<Cidr>,
    /// One of these holds the socket's other end; empty: any.
    pub direct_source_prefix_ranges: Vec<Cidr>,
    /// Where the other end is.
    pub source_type: SourceType,
    /// One of these holds the other end, by the proxy protocol if that was read; empty: any.
    pub source_prefix_ranges: Vec<Cidr>,
    /// The other end's port is one of these; empty: any.
    pub source_ports: Vec<u16>,
    /// The server name of the TLS handshake is one of these, or falls under one that begins with
    /// `*.`; empty: any, and none.
    pub server_names: Vec<Arc<str>>,
    /// Whether the connection begins with a TLS ClientHello.
    pub transport_protocol: Option<TransportProtocol>,
    /// One of these is among the protocols that the client offers (ALPN); empty: any, and none.
    pub application_protocols: Vec<Arc<str>>,
}

/// Where a connection comes from (Envoy: `FilterChainMatch.ConnectionSourceType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `ConnectionSourceType`")]
pub enum SourceType {
    /// Anywhere.
    #[default]
    Any,
    /// The same address as ours, or loopback.
    SameIpOrLoopback,
    /// Anywhere else.
    External,
}

/// What a connection begins with (Envoy: `FilterChainMatch.transport_protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by what our acceptor tells apart")]
pub enum TransportProtocol {
    /// Anything but a TLS ClientHello: `raw_buffer`.
    RawBuffer,
    /// A TLS ClientHello: `tls`.
    Tls,
    /// What nothing here detects (`quic`): a chain that asks for it is for no connection. By its other fields it still
    /// narrows what is left, as any chain does.
    Undetected,
}

/// What is done with requests (Envoy: `HttpConnectionManager`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct HttpConnectionManager {
    /// The routes: they say which filters apply how. A route without a
    /// [`NonForwarding`](super::RouteAction::NonForwarding) action is no route of a server.
    pub route_configuration: Arc<RouteConfiguration>,
    /// The filters in their order, the router left out.
    pub http_filters: Vec<HttpFilter>,
    /// What a request may be like.
    pub limits: RequestLimits,
    /// How long connections and streams may be silent.
    pub timeouts: ConnectionTimeouts,
    /// What is done with the path before anything looks at it.
    pub path: PathNormalization,
    /// What is done with `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// How many proxies before us are believed in `x-forwarded-for`. Default: none.
    pub xff_num_trusted_hops: u32,
    /// Whose address is that of the client. Default: the connection's other end, or what the proxies say
    /// that are believed; nothing is appended.
    pub client_address: ClientAddress,
}

/// Whose address is that of the client ([`client_address`](crate::inbound::client_address), where the rules
/// are).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `use_remote_address`")]
pub enum ClientAddress {
    /// The connection's other end, if no proxy before us is believed (Envoy: `use_remote_address: true`).
    Connection {
        /// Appends the other end to `x-forwarded-for` (Envoy: not `skip_xff_append`).
        append: bool,
    },
    /// What `x-forwarded-for` says last, whoever sent it (Envoy: `use_remote_address: false`, of a server
    /// that only a proxy reaches which has written it).
    ForwardedFor,
}

impl Default for ClientAddress {
    fn default() -> Self {
        Self::Connection { append: false }
    }
}

/// What a request may be like. What is beyond is answered 431 or 413, with the limit in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestLimits {
    /// The most bytes of a head (Envoy: `max_request_headers_kb`). Default 60 KiB.
    pub max_header_bytes: u32,
    /// The most headers (Envoy: `max_headers_count`); more than [`MOST_HEADERS`](crate::head::MOST_HEADERS) are never
    /// taken. Default 100.
    pub max_headers: u32,
    /// The most bytes of a body; `None`: no limit. It is counted as it comes, and nothing is kept.
    pub max_body_bytes: Option<u64>,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { max_header_bytes: 60 * 1024, max_headers: 100, max_body_bytes: None }
    }
}

/// How long connections and streams may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionTimeouts {
    /// How long a connection may have no request (Envoy: `common_http_protocol_options.idle_timeout`). Default an hour,
    /// as Envoy's; `None`: no limit. It is seen within a second over HTTP/1.1, and within a twelfth of it over HTTP/2.
    pub idle: Option<Duration>,
    /// How long a client may take nothing of an answer over HTTP/2 by opening no window for it (Envoy:
    /// `stream_flush_timeout`), and a second more for each KiB that was sent before. Default five minutes, as Envoy's
    /// `stream_idle_timeout`, which it is by default; `None`: no limit.
    pub stream_flush: Option<Duration>,
}

impl Default for ConnectionTimeouts {
    fn default() -> Self {
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        Self { idle: minutes(60), stream_flush: minutes(5) }
    }
}

/// What is done with the path before anything looks at it.
///
/// The defaults are stricter than Envoy's, which are all off: a policy about `/admin` must not be
/// passed by `/x/../admin` or `//admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathNormalization {
    /// Removes `.` and `..`, decodes what need not be encoded (RFC 3986 section 6.2.2; Envoy:
    /// `normalize_path`). Default true.
    pub normalize: bool,
    /// Several slashes become one (Envoy: `merge_slashes`). Default true.
    pub merge_slashes: bool,
    /// What becomes of `%2f` and `%5c`. Default: refused.
    pub escaped_slashes: EscapedSlashes,
}

impl Default for PathNormalization {
    fn default() -> Self {
        Self { normalize: true, merge_slashes: true, escaped_slashes: EscapedSlashes::Reject }
    }
}

/// What becomes of `%2f`, `%2F`, `%5c` and `%5C` in a path (Envoy: `PathWithEscapedSlashesAction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `PathWithEscapedSlashesAction`")]
pub enum EscapedSlashes {
    /// Nothing.
    Keep,
    /// The request is answered 400; gRPC: INTERNAL.
    #[default]
    Reject,
    /// It is answered 307 to the path with slashes; gRPC: INTERNAL.
    UnescapeAndRedirect,
    /// They become slashes.
    UnescapeAndForward,
}

/// What is done with `x-forwarded-client-cert` (Envoy: `forward_client_cert_details`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `ForwardClientCertDetails`")]
pub enum ForwardClientCert {
    /// Removed.
    Sanitize,
    /// Passed on as it came, if the connection is mutual TLS.
    ForwardOnly,
    /// The peer is appended to what came, if the connection is mutual TLS.
    AppendForward,
    /// Only the peer. The default here (Envoy: `SANITIZE`), so that an application sees who calls it,
    /// and never what a caller claims.
    #[default]
    SanitizeSet,
    /// Passed on as it came, whatever the connection is.
    AlwaysForwardOnly,
}

impl FilterChain {
    /// Whether it lets in the same connections as `other`: by its name, what it is matched by, and its network filters.
    /// What secures them may differ. One with TLS lets in connections of TLS alone, whether or not it is matched by that:
    /// so those of a port stay while it is opened for plaintext, and when it is closed again.
    #[must_use]
    pub fn admits_as(&self, other: &Self) -> bool {
        self.name == other.name
            && self.network_rbac == other.network_rbac
            && (self.matcher == other.matcher
                || self.as_tls().is_some_and(|one| Some(one) == other.as_tls()))
    }

    /// What a chain with TLS is matched by.
    fn as_tls(&self) -> Option<FilterChainMatch> {
        let mut matcher = self.tls.as_ref().map(|_| self.matcher.clone())?;
        matcher.transport_protocol.get_or_insert(TransportProtocol::Tls);
        Some(matcher)
    }

    /// A chain for all connections: plaintext, without any rule, of HTTP.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, http: Option<Arc<HttpConnectionManager>>) -> Self {
        Self {
            name: name.into(),
            matcher: FilterChainMatch::default(),
            tls: None,
            handshake_timeout: Duration::from_secs(15),
            network_rbac: Vec::new(),
            http,
            detect: None,
            forward: None,
            until: None,
        }
    }
}

impl HttpConnectionManager {
    /// One that hands every request to the server that it came to, if these filters let it.
    #[must_use]
    pub fn serving(http_filters: Vec<HttpFilter>) -> Self {
        let all = Route::new("all", RouteMatch::any(), RouteAction::NonForwarding);
        let host = VirtualHost::new("all", vec![Domain::Any]).route(all);
        let routes = RouteConfiguration {
            name: "inbound".into(),
            virtual_hosts: vec![Arc::new(host)],
            ..RouteConfiguration::default()
        };
        Self::new(Arc::new(routes), http_filters)
    }

    /// The same before `routes`, by which what passes is sent on: it asks the filters, and leaves all else to them.
    ///
    /// Its own routes match as they do and say the same of filters; each hands on what it takes. What they add to
    /// headers, redirect or answer, they do themselves, after the filters.
    #[must_use]
    pub fn before(mut self, routes: &RouteConfiguration) -> Self {
        let hands_on = |route: &Arc<Route>| {
            let mut own = Route::new(
                Arc::clone(&route.name),
                route.matcher.clone(),
                RouteAction::NonForwarding,
            );
            own.filters = route.filters.clone();
            own.rate_limits = match route.action {
                RouteAction::Forward(_) | RouteAction::NonForwarding => route.rate_limits.clone(),
                RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => {
                    Some(Arc::new(RateLimitPolicy::nothing()))
                }
            };
            Arc::new(own)
        };
        let hosts = routes.virtual_hosts.iter().map(|host| {
            let mut own = VirtualHost::new(Arc::clone(&host.name), host.domains.clone());
            own.routes = host.routes.iter().map(hands_on).collect();
            own.filters = host.filters.clone();
            own.rate_limits.clone_from(&host.rate_limits);
            Arc::new(own)
        });
        let own = RouteConfiguration {
            name: Arc::clone(&routes.name),
            virtual_hosts: hosts.collect(),
            ..RouteConfiguration::default()
        };
        self.route_configuration = Arc::new(own);
        self
    }

    /// One with these routes and these filters.
    #[must_use]
    pub fn new(
        route_configuration: Arc<RouteConfiguration>,
        http_filters: Vec<HttpFilter>,
    ) -> Self {
        Self {
            route_configuration,
            http_filters,
            limits: RequestLimits::default(),
            timeouts: ConnectionTimeouts::default(),
            path: PathNormalization::default(),
            forward_client_cert: ForwardClientCert::default(),
            xff_num_trusted_hops: 0,
            client_address: ClientAddress::default(),
        }
    }

    /// The clusters that its filters ask somebody in, and those that routes send them to; one may be there
    /// several times.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let filters = self.http_filters.iter().flat_map(|filter| filter.config.clusters());
        let hosts = self.route_configuration.virtual_hosts.iter();
        let said = hosts
            .flat_map(|host| host.routes.iter().map(|route| &route.filters).chain([&host.filters]));
        filters.chain(said.flat_map(|said| said.values()).flat_map(HttpFilterOverride::clusters))
    }
}
