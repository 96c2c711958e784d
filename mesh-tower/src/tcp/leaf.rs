//! [`OwnLeaf`]: an attempt that makes a connection of its own.

use crate::MeshBody;
use crate::connect::{Opened, Opening, OwnBody, SendError};
use crate::leaf::Leaf;
use crate::net::Net;
use crate::observe::{Phase, Phases};
use crate::passthrough::Passthrough;
use http::{Request, Response};
use mesh_core::egress::CompiledEgress;
use mesh_core::state::InFlight;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Makes a connection for each attempt: of CONNECT it is the body of the answer, of an upgrade the server decides.
#[derive(Clone, Debug)]
pub(crate) struct OwnLeaf {
    passthrough: Arc<Passthrough>,
}

impl OwnLeaf {
    pub(crate) const fn new(passthrough: Arc<Passthrough>) -> Self {
        Self { passthrough }
    }
}

impl Leaf for OwnLeaf {
    const POOLS: bool = true;

    type Body = OwnBody;
    type Future = Connecting;

    fn send(&self, to: &InFlight<Net>, request: Request<MeshBody>) -> Connecting {
        Connecting(State::Opening(to.endpoint().attached().open(request, to.priority())))
    }

    fn passthrough(&self, request: Request<MeshBody>, egress: &Arc<CompiledEgress>) -> Connecting {
        Connecting(match self.passthrough.open(request, egress) {
            Ok(opening) => State::Opening(opening),
            Err(error) => State::Failed(Some(error)),
        })
    }

    fn is_sent(sent: &Connecting) -> bool {
        !matches!(sent.0, State::Opening(_))
    }

    fn phases(sent: &Connecting) -> Option<Phases> {
        let State::Open { connect, tls } = sent.0 else { return None };
        let mut phases = Phases::new();
        phases.add(Phase::Connect, connect);
        phases.add(Phase::Tls, tls);
        Some(phases)
    }
}

/// An attempt until it is connected, and, if it is for more than that, until it is answered.
pub(crate) struct Connecting(State);

enum State {
    Opening(Opening),
    Open { connect: Duration, tls: Duration },
    Failed(Option<Box<SendError>>),
}

impl Future for Connecting {
    type Output = Result<Response<OwnBody>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (next, answer) = match &mut self.0 {
            State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                Ok(Opened { response, connect, tls }) => {
                    (State::Open { connect, tls }, Ok(response))
                }
                Err(error) => (State::Failed(None), Err(error)),
            },
            State::Failed(error) => match error.take() {
                Some(error) => (State::Failed(None), Err(*error)),
                None => return Poll::Pending,
            },
            State::Open { .. } => return Poll::Pending,
        };
        self.0 = next;
        Poll::Ready(answer)
    }
}
