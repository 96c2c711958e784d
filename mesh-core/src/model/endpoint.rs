//! Endpoints and how they are grouped (Envoy: `config.endpoint.v3`).

use super::{Fraction, Locality, TlsLabels};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The endpoints of a cluster: localities in priorities.
///
/// Parts are shared: an update that changes one locality points to the same others, and what is the
/// same by pointer is not compared again.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClusterLoadAssignment {
    /// The localities, in any order of priority.
    pub localities: Vec<Arc<LocalityEndpoints>>,
    /// Shares of the attempts that are dropped, one category after the other (Envoy:
    /// `policy.drop_overloads`; gRFC A27). Default none.
    pub drop_overloads: Vec<DropOverload>,
}

/// A share of the attempts at a cluster that is dropped before anybody is picked, because its servers
/// are overloaded (Envoy: `ClusterLoadAssignment.Policy.DropOverload`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropOverload {
    /// Its category, for errors, metrics and load reports.
    pub category: Arc<str>,
    /// How much of what earlier categories leave.
    pub share: Fraction,
}

impl DropOverload {
    /// A share of a category.
    #[must_use]
    pub fn new(category: impl Into<Arc<str>>, share: Fraction) -> Self {
        Self { category: category.into(), share }
    }
}

impl ClusterLoadAssignment {
    /// One locality of priority 0 that holds `endpoints`.
    #[must_use]
    pub fn of(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let mut locality = LocalityEndpoints::new(Locality::default());
        locality.endpoints = endpoints.into_iter().collect();
        Self { localities: vec![Arc::new(locality)], drop_overloads: Vec::new() }
    }

    /// Number of endpoints in all localities.
    #[must_use]
    pub fn len(&self) -> usize {
        self.localities.iter().map(|locality| locality.endpoints.len()).sum()
    }

    /// Whether there is no endpoint at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.localities.iter().all(|locality| locality.endpoints.is_empty())
    }
}

/// The endpoints of one place with one priority.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LocalityEndpoints {
    /// The place.
    pub locality: Locality,
    /// Share of the priority's traffic, among localities; used when the cluster weighs localities.
    pub weight: u32,
    /// 0 is the highest; 1 takes over what 0 can't, and so on without gaps.
    pub priority: u32,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// What decides how connections to those are secured whose own labels fit no match
    /// ([`Cluster::tls_matches`](super::Cluster::tls_matches)). Default none.
    pub tls_labels: Option<Arc<TlsLabels>>,
}

impl LocalityEndpoints {
    /// A locality of priority 0 and weight 1 without endpoints.
    #[must_use]
    pub const fn new(locality: Locality) -> Self {
        Self { locality, weight: 1, priority: 0, endpoints: Vec::new(), tls_labels: None }
    }
}

/// One network address of a cluster, and what is known of it.
///
/// The address is the key, with how its connections are secured: everything else may change without the
/// endpoint losing its connections and statistics.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Share of the traffic among its neighbours, at least 1.
    pub weight: u32,
    /// What the configuration says of its health.
    pub health: HealthStatus,
    /// Its name, for host rewriting, SNI and hashing.
    pub hostname: Option<Arc<str>>,
    /// The key that consistent hashing places it by, instead of its address (gRFC A76).
    pub hash_key: Option<Arc<str>>,
    /// What decides how its connections are secured, where its cluster does that in several ways
    /// ([`Cluster::tls_matches`](super::Cluster::tls_matches)). Default none.
    pub tls_labels: Option<Arc<TlsLabels>>,
}

impl Endpoint {
    /// A healthy endpoint of weight 1.
    #[must_use]
    pub const fn new(address: Address) -> Self {
        Self {
            address,
            weight: 1,
            health: HealthStatus::Unknown,
            hostname: None,
            hash_key: None,
            tls_labels: None,
        }
    }
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "closed: what can be connected to")]
pub enum Address {
    /// An IP address and a TCP port.
    Socket(SocketAddr),
    /// A Unix-domain socket by its path.
    Unix(Arc<Path>),
}

impl Address {
    /// Whether connections to `other` certainly come to who listens here: the same address, or one of this machine's
    /// own where all are listened at. Which others are this machine's is not known.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let (Self::Socket(here), Self::Socket(other)) = (self, other) else { return self == other };
        let (ip, to) = (here.ip().to_canonical(), other.ip().to_canonical());
        // Connecting to "any" address is connecting to this machine.
        let is_here = |ip: IpAddr| ip.is_unspecified() || ip.is_loopback();
        let anywhere = (ip.is_unspecified() && is_here(to)) || (to.is_unspecified() && is_here(ip));
        here.port() == other.port() && (ip == to || anywhere)
    }
}

impl fmt::Display for Address {
    /// `127.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`: what `mesh.yaml` accepts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.into())
    }
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Self {
        Self::new(address)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

/// What the configuration says of an endpoint's health (Envoy: `config.core.v3.HealthStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `HealthStatus`")]
pub enum HealthStatus {
    /// Nothing said; counts as healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Takes no traffic, except in panic.
    Unhealthy,
    /// Going away: takes no new calls; those in flight finish.
    Draining,
    /// Its health check timed out; counts as unhealthy.
    Timeout,
    /// Usable when the healthy ones do not suffice.
    Degraded,
}
