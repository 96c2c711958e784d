//! [`Transport`]: our own connections as the stack's leaf.

use crate::MeshBody;
use crate::call::Left;
use crate::connect::{NetBody, SendError, Sending};
use crate::leaf::Leaf;
use crate::net::Net;
use crate::observe::{Phase, Phases};
use crate::passthrough::Passthrough;
use crate::tcp::OwnLeaf;
use http::{Request, Response};
use mesh_core::egress::CompiledEgress;
use mesh_core::state::InFlight;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Our own connections: HTTP/1.1 and HTTP/2 pools, one per endpoint.
///
/// Put [`MeshLayer`](crate::MeshLayer) over it, or take [`Mesh::client`](crate::Mesh::client), which is
/// both.
#[derive(Clone)]
pub struct Transport {
    passthrough: Arc<Passthrough>,
}

impl Transport {
    pub(crate) const fn new(passthrough: Arc<Passthrough>) -> Self {
        Self { passthrough }
    }

    /// The leaf whose attempts make a connection each.
    pub(crate) fn own_connections(&self) -> OwnLeaf {
        OwnLeaf::new(Arc::clone(&self.passthrough))
    }
}

impl Leaf for Transport {
    const IGNORES_EXTENSIONS: bool = true;
    const POOLS: bool = true;

    type Body = NetBody;
    type Future = TransportFuture;

    fn send(&self, to: &InFlight<Net>, request: Request<MeshBody>) -> TransportFuture {
        TransportFuture(State::Sending(to.endpoint().attached().send(request, to.priority())))
    }

    fn passthrough(
        &self,
        request: Request<MeshBody>,
        egress: &Arc<CompiledEgress>,
    ) -> TransportFuture {
        TransportFuture(match self.passthrough.send(request, egress) {
            Ok(sending) => State::Sending(sending),
            Err(error) => State::Failed(Some(error)),
        })
    }

    fn is_sent(sent: &TransportFuture) -> bool {
        match &sent.0 {
            State::Sending(sending) => sending.is_sent(),
            State::Failed(_) => true,
        }
    }

    fn waits(sent: &mut TransportFuture, left: Left) {
        if let State::Sending(sending) = &mut sent.0 {
            sending.waits(left);
        }
    }

    fn phases(sent: &TransportFuture) -> Option<Phases> {
        let State::Sending(sending) = &sent.0 else { return None };
        let waited = sending.phases()?;
        let mut phases = Phases::new();
        let connected = waited.connect + waited.tls;
        phases.add(Phase::Waiting, waited.waited.saturating_sub(connected));
        phases.add(Phase::Connect, waited.connect);
        phases.add(Phase::Tls, waited.tls);
        Some(phases)
    }
}

/// An attempt over our own connections.
pub struct TransportFuture(State);

enum State {
    Sending(Sending),
    Failed(Option<Box<SendError>>),
}

impl Future for TransportFuture {
    type Output = Result<Response<NetBody>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Sending(sending) => Pin::new(sending).poll(cx),
            State::Failed(error) => match error.take() {
                Some(error) => Poll::Ready(Err(*error)),
                None => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl fmt::Debug for TransportFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportFuture").finish_non_exhaustive()
    }
}
