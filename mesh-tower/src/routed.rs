//! What one layer hands to the next: typed, never through a map of extensions.
//!
//! ```text
//! Request<B> ── route ──> Routed ── call ──> Attempt ── balance ──> Picked ── endpoint ──> Leaf
//! ```

use crate::MeshBody;
use crate::body::BoxError;
use crate::call::{Left, Peeked};
use crate::endpoint::AttemptScope;
use crate::net::{Net, Settings};
use crate::observe::Phases;
use crate::observe::access_log::CallLine;
use crate::observe::cluster::LocalityCells;
use crate::observe::span::ThinSpan;
use crate::observe::spans::BegunSpan;
use crate::options::CallOptions;
use http::{Request, response};
use mesh_core::Timestamp;
use mesh_core::lb::EndpointId;
use mesh_core::model::Address;
use mesh_core::outcome::{Class, Failure};
use mesh_core::router::RequestHash;
use mesh_core::state::{InFlight, Target};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A call that knows its route and cluster.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) request: Request<MeshBody>,
    pub(crate) target: Arc<Target<Net>>,
    pub(crate) options: CallOptions,
    pub(crate) settings: Settings,
    /// What consistent hashing places the call by, and the cookies that came of it.
    pub(crate) hash: RequestHash,
    /// When the call began.
    pub(crate) started: Timestamp,
    /// The span of the call.
    pub(crate) span: ThinSpan,
    /// What the access log will say of it.
    pub(crate) line: Option<Box<CallLine>>,
}

/// One attempt of a call, before its endpoint is known.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) request: Request<MeshBody>,
    pub(crate) target: Arc<Target<Net>>,
    pub(crate) hash: Option<u64>,
    /// The endpoints that this call has tried.
    pub(crate) previous: SmallVec<[EndpointId; 2]>,
    /// How often a pick is repeated to find another; `None`: who was tried is as good as any.
    pub(crate) max_reselect: Option<u32>,
    pub(crate) wait_for_ready: bool,
    /// Whether it was drawn for among those that are dropped.
    pub(crate) drawn: bool,
    pub(crate) grpc: bool,
    /// Which attempt of its call it is, from 1.
    pub(crate) number: u32,
    /// When the attempt began.
    pub(crate) started: Timestamp,
    /// When the attempt is given up: a guard dropped at or after it reports a timeout.
    pub(crate) deadline: Option<Timestamp>,
    /// What a collector is told of it, if it is sampled.
    pub(crate) traced: Option<Box<BegunSpan>>,
}

/// One attempt with its endpoint.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) request: Request<MeshBody>,
    pub(crate) in_flight: InFlight<Net>,
    pub(crate) locality: Option<Arc<LocalityCells>>,
    pub(crate) grpc: bool,
    /// Which attempt of its call it is, from 1.
    pub(crate) number: u32,
    /// When the endpoint was picked.
    pub(crate) started: Timestamp,
    /// How long the attempt waited before that for an endpoint to be there.
    pub(crate) waited: Duration,
    pub(crate) deadline: Option<Timestamp>,
    /// What a collector is told of it, if it is sampled.
    pub(crate) traced: Option<Box<BegunSpan>>,
}

/// An attempt that is out, as its call sees it: where it is, so that another goes elsewhere, and so
/// that a call whose time is up can say who was silent.
pub(crate) trait Placed {
    /// Where it is; `None`: nowhere yet.
    fn place(&self) -> Option<Place>;

    /// Whether its request is on its way: it has an endpoint and a connection.
    fn is_sent(&self) -> bool;

    /// It is not sent yet: what its head tells of the time that is left has to be true when it is.
    fn waits(&mut self, left: Left);
}

/// Where an attempt is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) endpoint: EndpointId,
    pub(crate) address: Address,
    /// Whose attempt it is: of an aggregate, a child's.
    pub(crate) target: Arc<Target<Net>>,
    /// When the attempt began.
    pub(crate) started: Timestamp,
}

/// An attempt's response head, with the body still apart, and all that the attempt holds.
pub(crate) struct Answer<R> {
    pub(crate) head: response::Parts,
    pub(crate) body: R,
    /// What was taken from the body to see its trailers.
    pub(crate) peeked: Option<Box<Peeked>>,
    pub(crate) scope: AttemptScope,
    /// What the user's classifier says.
    pub(crate) class: Option<Class>,
    pub(crate) phases: Phases,
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.head.status)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// Why an attempt has no response head.
#[derive(Debug)]
pub(crate) struct AttemptError {
    pub(crate) failure: Failure,
    /// The request, when nothing of it was sent.
    pub(crate) request: Option<Box<Request<MeshBody>>>,
    /// Who it went to.
    pub(crate) endpoint: Option<(EndpointId, Address)>,
    /// Whose attempt it was; `None`: it came to nobody, so it is the call's own target's.
    pub(crate) target: Option<Arc<Target<Net>>>,
    pub(crate) source: Option<BoxError>,
    pub(crate) started: Timestamp,
    pub(crate) phases: Phases,
}

impl Attempt {
    /// Which set of circuit breakers counts it.
    pub(crate) fn priority(&self) -> mesh_core::model::RoutingPriority {
        self.target.priority()
    }

    /// Gives the request back: nothing of it was sent.
    pub(crate) fn unsent(self, failure: Failure) -> AttemptError {
        AttemptError {
            request: Some(Box::new(self.request)),
            ..AttemptError::new(failure, self.started)
        }
    }
}

impl AttemptError {
    /// A failure of an attempt that began at `started`.
    pub(crate) const fn new(failure: Failure, started: Timestamp) -> Self {
        let phases = Phases::new();
        Self { failure, request: None, endpoint: None, target: None, source: None, started, phases }
    }
}
