//! [`EndpointPool`]: the connections of an endpoint.

use super::own::{self, Opening};
use super::sending::Sending;
use super::shared::Shared;
use super::{Kind, PoolSettings, Speaks};
use crate::MeshBody;
use crate::observe::events::CloseReason;
use http::Request;
use mesh_core::model::{Address, RoutingPriority};
use std::fmt;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;

/// The connections of one endpoint.
///
/// Idle it is one small allocation; queues and connections are made when they are needed. Dropping it
/// drains it.
pub(crate) struct EndpointPool {
    shared: Arc<Shared>,
}

/// How many connections there are, for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    /// HTTP/1.1 connections, attempts included.
    pub(crate) h1: usize,
    /// Of these, how many are idle.
    pub(crate) h1_idle: usize,
    /// HTTP/2 connections, attempts included.
    pub(crate) h2: usize,
    /// Connections of one caller each, attempts included.
    pub(crate) own: usize,
    /// Attempts under way.
    pub(crate) connecting: usize,
    /// HTTP/2 streams in use, on connections that take new calls.
    pub(crate) streams: usize,
    /// Calls that wait for a connection.
    pub(crate) waiting: usize,
}

impl EndpointPool {
    /// A pool without connections.
    #[must_use]
    pub(crate) fn new(address: Address) -> Self {
        Self { shared: Arc::new(Shared::new(address)) }
    }

    /// The endpoint's name from now on: what is asked for by SNI, if the cluster says so.
    pub(crate) fn set_hostname(&self, hostname: Option<&Arc<str>>) {
        self.shared.set_hostname(hostname);
    }

    /// Sends `request` on a connection with room, else waits for one.
    ///
    /// The head and what is there of the body are sent in this very call when there is room. A body
    /// that is not done then goes on by a task of its own, whether the response is polled or not.
    pub(crate) fn send(&self, settings: &Arc<PoolSettings>, request: Request<MeshBody>) -> Sending {
        self.send_by(settings.speaks, || settings, request, RoutingPriority::Default)
    }

    /// As [`send`](Self::send) with settings that are asked for only when there is no stream of HTTP/2 at once:
    /// they are for connections that are made. `speaks` is theirs, or was a moment ago; `priority` says who counts it while it
    /// waits.
    pub(crate) fn send_by<S>(
        &self,
        speaks: Speaks,
        settings: impl FnOnce() -> S,
        request: Request<MeshBody>,
        priority: RoutingPriority,
    ) -> Sending
    where
        S: Deref<Target = Arc<PoolSettings>>,
    {
        let asking = Sending::first(priority);
        let (request, asking) = match speaks.lane(&self.shared, &request) {
            Some(Kind::H2) => match Sending::at_once(&self.shared, request, asking) {
                ControlFlow::Break(sending) => return sending,
                ControlFlow::Continue(kept) => kept,
            },
            Some(Kind::H1) | None => (request, asking),
        };
        let settings = settings();
        match settings.speaks.lane(&self.shared, &request) {
            Some(kind) => Sending::asking(kind, &self.shared, &settings, request, asking),
            None => Sending::not_http(request),
        }
    }

    /// Makes a connection of the caller's own, in the runtime of who polls it. `request` comes back when there is none.
    pub(crate) fn open(
        &self,
        settings: &Arc<PoolSettings>,
        request: Request<MeshBody>,
        priority: RoutingPriority,
    ) -> Opening {
        own::open(Arc::clone(&self.shared), Arc::clone(settings), request, priority)
    }

    /// The endpoint is gone: no new calls, waiting ones come back unsent, connections end with their
    /// last call.
    pub(crate) fn drain(&self) {
        self.shared.drain();
    }

    /// Drains, and ends the calls in flight too: the mesh is shut down.
    pub(crate) fn close(&self) {
        self.shared.blame(CloseReason::ShutDown);
        self.shared.drain();
        for gate in self.shared.gates() {
            gate.close();
        }
    }

    /// How many connections there are.
    #[must_use]
    pub(crate) fn connections(&self) -> Connections {
        self.shared.connections()
    }
}

impl Drop for EndpointPool {
    fn drop(&mut self) {
        self.shared.drain();
    }
}

impl fmt::Debug for EndpointPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointPool")
            .field("address", self.shared.address())
            .field("connections", &self.connections())
            .finish()
    }
}
