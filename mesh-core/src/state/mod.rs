//! What is learnt while running, and how it outlives a change of configuration.
//!
//! Three kinds of type are kept apart: [`crate::model`] is what the configuration says, the `Live*`
//! types here are what was learnt (atomics, carried over by key), and what the adapter hangs on them
//! (connections, metric cells) is its own business, behind the one parameter `A:` [`Attach`].
//!
//! ```text
//!  Updater (one, &mut)                         Mesh (many, Clone)
//!    | apply(ConfigUpdate) ── reconcile          | snapshot(): one load per call
//!    |    same key → same Arc                     v
//!    +──publish──> Snapshot ── targets ──> Target { route, LiveCluster, A::Target }
//!    +──publish──> LiveCluster.picker ──> Picker { EndpointSet, Balancer }   one load per attempt
//! ```
//!
//! Two cells, by rate of change: the [`Snapshot`] (routes and the set of clusters: rare) and each
//! cluster's [`Picker`] (endpoints and ejections: frequent). Writers own, readers borrow: there is one
//! [`Updater`], readers never block, and what was replaced is freed by the writer, never by a call.

mod address_filter;
mod aggregate;
mod applied;
mod attach;
mod attention;
mod chunks;
mod diff;
mod direct;
mod endpoint_set;
mod explain;
mod leaving;
mod listeners;
mod live_cluster;
mod live_endpoint;
mod maintenance;
mod mesh;
mod overflow;
mod picker;
mod prepare;
mod publish;
mod reconcile;
mod secrets;
mod securities;
mod slots;
mod snapshot;
mod tables;
mod target;
mod updater;

#[cfg(test)]
mod tests;

pub(crate) use aggregate::ChildShare;
pub use aggregate::{PickedChild, PickedIn};
pub use applied::{Applied, ApplyError};
pub use attach::{Attach, TargetLabels};
pub use direct::DirectRoute;
pub use endpoint_set::EndpointSet;
pub use live_cluster::{ClusterPolicy, LiveCluster};
pub use live_endpoint::{InFlight, LiveEndpoint};
pub use maintenance::Turn;
pub use mesh::Mesh;
pub use picker::{PickRequest, Picked, Picker};
pub(crate) use snapshot::reply;
pub use snapshot::{Listeners, Routing, Snapshot};
pub use target::{ReplyTarget, Target};
pub use updater::Updater;
