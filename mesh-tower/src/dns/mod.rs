//! Clusters whose endpoints are what a name resolves to now.
//!
//! A name server is the discovery that everybody already has: a cluster may say
//! `dns: "reviews.internal:8080"` and needs no control plane. [`DnsClusters`] watches all such
//! clusters in one task and says what changed; it is the caller's to act on it.
//!
//! | part | does |
//! |---|---|
//! | [`Resolve`] | name → addresses: `HickoryResolver` (feature `dns`), [`SystemResolver`], or your own |
//! | `schedule` | when a name is looked up again; pure |
//! | `assignment` | answers → endpoints; pure |
//! | [`DnsClusters`] | drives both, for many clusters |
//!
//! Rules (Envoy: `STRICT_DNS` and `LOGICAL_DNS` of `config.cluster.v3.Cluster`):
//!
//! - Strict: every address of every name is an endpoint. Logical: one endpoint, at an address that it
//!   keeps while the newest answer has it; connections try all addresses (RFC 8305).
//! - Which addresses: [`DnsLookupFamily`](mesh_core::model::DnsLookupFamily).
//! - A name is looked up again after the answer's TTL when it has one and it is respected, but not
//!   before the least refresh rate; otherwise after the refresh rate; a little later than that, so that
//!   a fleet does not ask at once.
//! - Until the first answer, calls wait. A first lookup that fails ends that: the cluster has no
//!   endpoints, and calls say that its name did not resolve.
//! - A later failure takes no endpoint away, not even an authoritative "no such name": the last good
//!   answer stays, the failure is reported, and the wait grows to ten times the refresh rate.
//! - A cluster of several names publishes when each of them was answered or failed once (Envoy:
//!   warming), so that it does not start with all calls on the fastest name's endpoints.
//! - IP addresses are taken as they are.
//!
//! What it doesn't do: SRV records, and resolving per connection (Envoy's dynamic forward proxy).

mod any_address;
mod assignment;
mod clusters;
#[cfg(feature = "dns")]
mod deferred;
#[cfg(feature = "dns")]
mod hickory;
mod name;
mod resolve;
mod schedule;
mod system;
mod watched;

pub(crate) use any_address::AnyAddress;
pub use clusters::{DnsChange, DnsCluster, DnsClusters, DnsEvent, DnsKind};
#[cfg(feature = "dns")]
pub use hickory::HickoryResolver;
pub use name::MalformedName;
pub use resolve::{Answer, Resolve, ResolveError};
pub use system::SystemResolver;

use std::sync::Arc;

/// The resolver to use when none is chosen: `HickoryResolver` with the system's configuration under
/// feature `dns`, else [`SystemResolver`].
///
/// The system's configuration is read at the first lookup: a mesh of IP addresses needs none.
#[must_use]
pub fn default_resolver() -> Arc<dyn Resolve> {
    #[cfg(feature = "dns")]
    return Arc::new(deferred::Deferred::new(HickoryResolver::from_system));
    #[cfg(not(feature = "dns"))]
    return Arc::new(SystemResolver::new());
}
