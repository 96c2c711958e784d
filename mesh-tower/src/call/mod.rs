//! The layer that makes one call out of attempts: it drives [`mesh_core::call::Call`].
//!
//! Everything that is decided, is decided there: when to try again, where the deadline is, which answer
//! counts. Here is what that takes: one timer, the saved request (`replay`), the attempts that are out,
//! and the headers that tell the next hop (`propagate`).
//!
//! # Position
//! Below `route`, which chose the cluster once for the call; above `balance`, so that every attempt is
//! admitted and placed anew.
#![doc = include_str!("headers.md")]

mod activity;
mod drive;
mod future;
mod gate;
mod peek;
mod propagate;
mod replay;
mod saved;
mod saved_headers;
mod scope;
mod timer;

pub(crate) use activity::Activity;
pub(crate) use future::CallFuture;
pub(crate) use peek::Peeked;
pub(crate) use propagate::{Left, Passed, caller_deadline};
pub(crate) use replay::{DEFAULT_LIMIT as DEFAULT_REPLAY_LIMIT, ReplayBody};
pub(crate) use scope::CallScope;
pub(crate) use timer::Timer;

use crate::body::BoxError;
use crate::endpoint::MeshResponseBody;
use crate::error::Error;
use crate::routed::{Answer, Attempt, AttemptError, Placed, Routed};
use bytes::Bytes;
use drive::Drive;
use http::Response;
use http_body::Body;
use std::task::{Context, Poll};
use tower_service::Service;

/// Makes one call out of attempts.
#[derive(Clone, Debug)]
pub(crate) struct CallService<S> {
    inner: S,
}

impl<S> CallService<S> {
    /// Makes its attempts through `inner`.
    #[must_use]
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, R> Service<Routed> for CallService<S>
where
    S: Service<Attempt, Response = Answer<R>, Error = AttemptError> + Clone,
    S::Future: Placed,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Response = Response<MeshResponseBody<R>>;
    type Error = Error;
    type Future = CallFuture<S, R>;

    /// Always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, routed: Routed) -> Self::Future {
        CallFuture::new(self.inner.clone(), Drive::new(routed))
    }
}
