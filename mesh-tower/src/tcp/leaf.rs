//! [`ByteLeaf`]: an attempt that makes a connection, and has it as the body of its answer.

use crate::MeshBody;
use crate::connect::{NetIo, Opened, Opening, SendError};
use crate::leaf::Leaf;
use crate::net::Net;
use crate::observe::{Phase, Phases};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use mesh_core::egress::CompiledEgress;
use mesh_core::outcome::{Failure, ProtocolFailure};
use mesh_core::state::InFlight;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Makes a connection for each attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByteLeaf;

impl Leaf for ByteLeaf {
    const IGNORES_EXTENSIONS: bool = true;
    const POOLS: bool = true;

    type Body = Tunnel;
    type Future = Tunnelling;

    fn send(&self, to: &InFlight<Net>, request: Request<MeshBody>) -> Tunnelling {
        Tunnelling(State::Opening(to.endpoint().attached().open(request)))
    }

    /// Never asked: who calls a cluster by its name has no unknown host.
    fn passthrough(&self, request: Request<MeshBody>, _: &Arc<CompiledEgress>) -> Tunnelling {
        Tunnelling(State::Unroutable(Some(Box::new(request))))
    }

    fn is_sent(sent: &Tunnelling) -> bool {
        !matches!(sent.0, State::Opening(_))
    }

    fn phases(sent: &Tunnelling) -> Option<Phases> {
        let State::Open { connect, tls } = sent.0 else { return None };
        let mut phases = Phases::new();
        phases.add(Phase::Connect, connect);
        phases.add(Phase::Tls, tls);
        Some(phases)
    }
}

/// An attempt until it is connected.
pub(super) struct Tunnelling(State);

enum State {
    Opening(Opening),
    Open { connect: Duration, tls: Duration },
    Failed,
    Unroutable(Option<Box<Request<MeshBody>>>),
}

impl Future for Tunnelling {
    type Output = Result<Response<Tunnel>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (next, answer) = match &mut self.0 {
            State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                Ok(Opened { stream, connect, tls }) => {
                    (State::Open { connect, tls }, Ok(Response::new(Tunnel(stream))))
                }
                Err(error) => (State::Failed, Err(error)),
            },
            State::Unroutable(request) => {
                let failure = Failure::Protocol(ProtocolFailure::VersionUnsupported);
                let error = SendError { failure, request: request.take(), source: None };
                (State::Failed, Err(error))
            }
            State::Open { .. } | State::Failed => return Poll::Pending,
        };
        self.0 = next;
        Poll::Ready(answer)
    }
}

/// The body of an answer that says that there is a connection: the connection. It has no frames.
pub(super) struct Tunnel(pub(super) NetIo);

impl Body for Tunnel {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        false
    }
}
