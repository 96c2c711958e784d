//! Ports that serve (Envoy: `config.listener.v3.Listener`; gRFC A36).

use super::Address;
use super::RouteConfiguration;
use super::filter_chain::{FilterChain, HttpConnectionManager};
use std::sync::Arc;
use std::time::Duration;

/// A port that serves.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Listener {
    /// Its name, by which a server asks for it: of `mesh.yaml` the key under `inbound`, of an xDS
    /// server what its template makes of the address (gRFC A36).
    pub name: Arc<str>,
    /// Where it listens; `None`: where the program says. A program that listens elsewhere must not
    /// serve by it (gRFC A36).
    pub address: Option<Address>,
    /// Where what passes is sent, when the program has no service of its own (`mesh proxy`); `None`: nowhere.
    pub forward: Option<Forward>,
    /// Whether each connection begins with a header of the PROXY protocol, of either version, which says where it
    /// comes from (Envoy: the listener filter `proxy_protocol`). One without is closed. Default: no.
    pub proxy_protocol: bool,
    /// Which connections are led to it that were made to others; `None`: those that are made to it alone (Envoy:
    /// `use_original_dst`).
    pub capture: Option<Capture>,
    /// What holds for which connections. The most specific one counts, as Envoy matches them.
    pub filter_chains: Vec<Arc<FilterChain>>,
    /// What holds for all others; `None`: they are closed.
    pub default_filter_chain: Option<Arc<FilterChain>>,
}

/// Which connections to others are led to a listener: what the rules say that `mesh iptables` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: some, or the rest")]
pub enum Capture {
    /// Those to these ports, of any address.
    Ports(Vec<u16>),
    /// Those to any port that no other listener captures.
    Rest,
}

/// Where `mesh proxy` sends what a listener takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forward {
    /// To whom.
    pub to: ForwardTo,
    /// Of byte streams, upgraded requests and tunnels: how long nothing may go over, in either direction, before they
    /// are closed; `None`: for ever. Default: one hour (Envoy: `TcpProxy.idle_timeout`).
    pub idle_timeout: Option<Duration>,
}

/// To whom `mesh proxy` sends what a listener takes: by which routes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "closed: here, there, or as each request or chain says"
)]
pub enum ForwardTo {
    /// The application beside the proxy: by the routes of this authority, whatever requests say.
    Application(Arc<str>),
    /// Others, for the application: by the routes of this authority, whatever requests say.
    Authority(Arc<str>),
    /// Others, for the application: by the authority of each request. Bytes have none; captured ones go by the address
    /// that they were meant for, in its place.
    EachAuthority,
    /// As the filter chain of the connection says: by routes of its own ([`FilterChain::forward`]), as in Envoy.
    Chain {
        /// Whether it is what the application calls, and not what calls it (Envoy: `traffic_direction`).
        outbound: bool,
    },
}

/// Where `mesh proxy` sends what a filter chain takes, when its listener leaves that to its chains.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChainForward {
    /// The routes, by the authority of each request. Bytes go by one that takes everything.
    pub routes: Arc<RouteConfiguration>,
    /// As [`Forward::idle_timeout`], of what this chain takes. Default: one hour.
    pub idle_timeout: Option<Duration>,
}

impl ChainForward {
    /// Sends it by these routes.
    #[must_use]
    pub const fn new(routes: Arc<RouteConfiguration>) -> Self {
        Self { routes, idle_timeout: Some(DEFAULT_IDLE_TIMEOUT) }
    }
}

/// Of byte streams (Envoy: `TcpProxy.idle_timeout`).
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

impl Forward {
    /// Sends it there.
    #[must_use]
    pub const fn new(to: ForwardTo) -> Self {
        Self { to, idle_timeout: Some(DEFAULT_IDLE_TIMEOUT) }
    }

    /// The authority whose routes take all of it; `None`: each request's own, by all routes or by those of its chain.
    #[must_use]
    pub const fn authority(&self) -> Option<&Arc<str>> {
        match &self.to {
            ForwardTo::Application(authority) | ForwardTo::Authority(authority) => Some(authority),
            ForwardTo::EachAuthority | ForwardTo::Chain { .. } => None,
        }
    }

    /// Whether it is what the application calls, and not what calls it.
    #[must_use]
    pub const fn is_outbound(&self) -> bool {
        self.to.is_outbound()
    }

    /// Whether its filter chains say where what they take goes.
    #[must_use]
    pub const fn is_by_chain(&self) -> bool {
        matches!(self.to, ForwardTo::Chain { .. })
    }
}

impl ForwardTo {
    /// Whether it is what the application calls, and not what calls it.
    #[must_use]
    pub const fn is_outbound(&self) -> bool {
        match self {
            Self::Application(_) => false,
            Self::Authority(_) | Self::EachAuthority => true,
            Self::Chain { outbound } => *outbound,
        }
    }
}

impl Listener {
    /// A listener of this name that closes every connection.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            address: None,
            forward: None,
            proxy_protocol: false,
            capture: None,
            filter_chains: Vec::new(),
            default_filter_chain: None,
        }
    }

    /// The names of the secrets that its chains need; one may be there several times.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        self.chains().filter_map(|chain| chain.tls.as_ref()).flat_map(|tls| tls.secrets())
    }

    /// The clusters that its filters ask somebody in; one may be there several times.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        let managers = self.chains().filter_map(|chain| chain.http.as_deref());
        managers.flat_map(HttpConnectionManager::clusters)
    }

    /// All chains, the default one last.
    pub fn chains(&self) -> impl Iterator<Item = &Arc<FilterChain>> {
        self.filter_chains.iter().chain(&self.default_filter_chain)
    }
}
