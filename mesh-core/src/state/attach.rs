//! [`Attach`]: what an adapter hangs on clusters, endpoints and targets.

use crate::breaker::Breaker;
use crate::model::{Address, Cluster, Endpoint, Locality, TlsPolicy};
use crate::update::Secrets;
use std::fmt::Debug;
use std::sync::Arc;
use std::task::Waker;

/// What an adapter hangs on the live state, and how it makes it.
///
/// The value itself is the adapter's factory; it lives in the [`Updater`](super::Updater) and is only
/// called by the writer. `()` hangs nothing, for tests of decisions.
pub trait Attach: Debug + Send + Sync + 'static {
    /// On a cluster: for example a waker for calls that wait, connection settings, metric cells.
    type Cluster: Debug + Send + Sync;
    /// On an endpoint: for example its connections.
    type Endpoint: Debug + Send + Sync;
    /// On a locality of a cluster: for example metric cells.
    type Locality: Clone + Debug + Send + Sync;
    /// On a target (a route and one of its clusters, or a route that answers by itself): for example
    /// metric cells.
    type Target: Debug + Send + Sync;

    /// Woken when a call leaves something for the writer to decide: then
    /// [`Updater::handle_attention`](super::Updater::handle_attention) wants to be called. Default:
    /// nobody.
    fn writer(&self) -> Waker {
        Waker::noop().clone()
    }

    /// Other secrets are in force: connections that are made from now on are made with them. Those that
    /// are there go on as they are.
    ///
    /// Called before a cluster that names a new one is published, and after none names one that is gone,
    /// leaving clusters included. Default: nothing.
    fn secrets_changed(&self, secrets: &Arc<Secrets>) {
        let _nobody_asks = secrets;
    }

    /// A cluster appeared.
    fn cluster(&self, cluster: &Arc<Cluster>, breaker: &Arc<Breaker>) -> Self::Cluster;

    /// A cluster's configuration changed; its name is the same.
    fn cluster_changed(&self, attached: &Self::Cluster, cluster: &Arc<Cluster>);

    /// A cluster's picker was published: calls that wait for an endpoint may try again.
    fn picker_changed(&self, attached: &Self::Cluster);

    /// A cluster is no longer configured. Calls in flight may still hold it.
    fn cluster_removed(&self, attached: &Self::Cluster);

    /// An endpoint appeared in a cluster; `tls`: how its connections are secured, as long as it lives. One that
    /// is to be secured in another way is another endpoint.
    fn endpoint(
        &self,
        cluster: &Self::Cluster,
        address: &Address,
        tls: &TlsPolicy,
    ) -> Self::Endpoint;

    /// What is configured of an endpoint, told when it appeared and whenever it changed. An address that
    /// is listed twice is told twice: the last counts. Default: nothing.
    fn endpoint_listed(&self, attached: &Self::Endpoint, endpoint: &Endpoint) {
        let _nobody_asks = (attached, endpoint);
    }

    /// An endpoint is no longer configured: it takes no new calls, those in flight finish.
    fn endpoint_removed(&self, attached: &Self::Endpoint);

    /// A locality of a cluster.
    fn locality(&self, cluster: &Self::Cluster, locality: &Locality) -> Self::Locality;

    /// A target of the route table; one without a cluster is a route that answers by itself.
    fn target(&self, cluster: Option<&Self::Cluster>, labels: TargetLabels<'_>) -> Self::Target;
}

/// What names a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetLabels<'a> {
    /// The virtual host's name.
    pub virtual_host: &'a Arc<str>,
    /// The route's name.
    pub route: &'a Arc<str>,
    /// The cluster's name; `None`: the route answers by itself.
    pub cluster: Option<&'a Arc<str>>,
}

impl<'a> TargetLabels<'a> {
    pub(super) const fn new(
        virtual_host: &'a Arc<str>,
        route: &'a Arc<str>,
        cluster: Option<&'a Arc<str>>,
    ) -> Self {
        Self { virtual_host, route, cluster }
    }
}

impl Attach for () {
    type Cluster = ();
    type Endpoint = ();
    type Locality = ();
    type Target = ();

    fn cluster(&self, _: &Arc<Cluster>, _: &Arc<Breaker>) -> Self::Cluster {}
    fn cluster_changed(&self, (): &Self::Cluster, _: &Arc<Cluster>) {}
    fn picker_changed(&self, (): &Self::Cluster) {}
    fn cluster_removed(&self, (): &Self::Cluster) {}
    fn endpoint(&self, (): &Self::Cluster, _: &Address, _: &TlsPolicy) -> Self::Endpoint {}
    fn endpoint_removed(&self, (): &Self::Endpoint) {}
    fn locality(&self, (): &Self::Cluster, _: &Locality) -> Self::Locality {}
    fn target(&self, _: Option<&Self::Cluster>, _: TargetLabels<'_>) -> Self::Target {}
}
