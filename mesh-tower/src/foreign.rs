//! The stack over a user's own transport.
//!
//! The contract: `S: Service<Request<MeshBody>, Response = Response<R>> + Clone`, driven clone →
//! `poll_ready` → `call`. The endpoint arrives as the extension [`Endpoint`]; the URI's authority is the
//! caller's unless [`rewrite_authority`](crate::MeshLayer::rewrite_authority) asks for the endpoint's. A
//! cluster that wants TLS fails closed unless
//! [`transport_secures_itself`](crate::MeshLayer::transport_secures_itself) says that the transport sees
//! to it. Failures are classified by walking the error's sources (io, hyper, h2), or by the user.

use crate::MeshBody;
use crate::body::BoxError;
use crate::connect::SendError;
use crate::leaf::Leaf;
use crate::net::Net;
use bytes::Bytes;
use http::{Request, Response};
use mesh_core::egress::CompiledEgress;
use mesh_core::model::{Address, TlsPolicy};
use mesh_core::outcome::{ConnectFailure, Failure, Processed, ResetReason};
use mesh_core::state::InFlight;
use pin_project::pin_project;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// Where an attempt goes: in the extensions of the request that a user's transport receives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// The address to connect to.
    pub address: Address,
    /// The cluster that it belongs to.
    pub cluster: Arc<str>,
}

/// Says what an error of a user's transport means; `None`: the usual walk decides.
pub(crate) type FailureClassifier =
    Arc<dyn Fn(&(dyn StdError + 'static)) -> Option<Failure> + Send + Sync>;

/// How the stack treats a user's transport.
#[derive(Clone, Default)]
pub(crate) struct ForeignOptions {
    pub(crate) rewrite_authority: bool,
    pub(crate) secures_itself: bool,
    pub(crate) classify: Option<FailureClassifier>,
}

impl fmt::Debug for ForeignOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignOptions")
            .field("rewrite_authority", &self.rewrite_authority)
            .field("secures_itself", &self.secures_itself)
            .field("classify", &self.classify.is_some())
            .finish()
    }
}

/// A user's transport as the stack's leaf.
#[derive(Clone, Debug)]
pub struct Foreign<S> {
    service: S,
    options: ForeignOptions,
}

impl<S> Foreign<S> {
    pub(crate) const fn new(service: S, options: ForeignOptions) -> Self {
        Self { service, options }
    }

    fn dispatch(&self, request: Request<MeshBody>) -> ForeignFuture<S>
    where
        S: Service<Request<MeshBody>> + Clone,
    {
        let service = self.service.clone();
        let classify = self.options.classify.clone();
        ForeignFuture { state: State::NotReady(service, Some(request)), classify }
    }
}

impl<S, R> Leaf for Foreign<S>
where
    S: Service<Request<MeshBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes>,
{
    type Body = R;
    type Future = ForeignFuture<S>;

    fn send(&self, to: &InFlight<Net>, mut request: Request<MeshBody>) -> Self::Future {
        let cluster = to.target().cluster();
        let is_plaintext = to.endpoint().attached().settings().tls == TlsPolicy::Off;
        if !self.options.secures_itself && !is_plaintext {
            let failure = Failure::Connect(ConnectFailure::TlsUnavailable);
            let error = SendError { failure, request: Some(Box::new(request)), source: None };
            return ForeignFuture { state: State::Failed(Some(error)), classify: None };
        }
        let address = to.endpoint().address().clone();
        match (self.options.rewrite_authority, &address) {
            (false, _) => {}
            (true, Address::Socket(socket)) => {
                crate::route::set_authority(request.uri_mut(), &socket.to_string());
            }
            // No authority says it, and the transport would go where the name points.
            (true, Address::Unix(_)) => {
                let failure = Failure::Connect(ConnectFailure::Unreachable);
                let source = Some(UnixByAuthority.into());
                let error = SendError { failure, request: Some(Box::new(request)), source };
                return ForeignFuture { state: State::Failed(Some(error)), classify: None };
            }
        }
        let cluster = Arc::clone(cluster.name());
        request.extensions_mut().insert(Endpoint { address, cluster });
        self.dispatch(request)
    }

    /// The transport resolves names itself: where they lead is its matter.
    fn passthrough(&self, request: Request<MeshBody>, _: &Arc<CompiledEgress>) -> Self::Future {
        self.dispatch(request)
    }
}

/// A transport that goes by the authority was to go to a Unix socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "a Unix socket has no authority to rewrite to; read the extension `Endpoint` in the transport \
     instead of `rewrite_authority`"
)]
struct UnixByAuthority;

/// An attempt over a user's transport.
#[pin_project]
pub struct ForeignFuture<S: Service<Request<MeshBody>>> {
    #[pin]
    state: State<S>,
    classify: Option<FailureClassifier>,
}

#[pin_project(project = StateProj)]
#[expect(clippy::large_enum_variant, reason = "the large variant is the common path")]
enum State<S: Service<Request<MeshBody>>> {
    NotReady(S, Option<Request<MeshBody>>),
    Called(#[pin] S::Future),
    Failed(Option<SendError>),
}

impl<S, R> Future for ForeignFuture<S>
where
    S: Service<Request<MeshBody>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Output = Result<Response<R>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let called = match this.state.as_mut().project() {
                StateProj::NotReady(service, request) => {
                    let ready = ready!(service.poll_ready(cx));
                    let Some(taken) = request.take() else { return Poll::Pending };
                    match ready {
                        Ok(()) => service.call(taken),
                        Err(error) => {
                            let error = classified(error.into(), this.classify.as_ref());
                            return Poll::Ready(Err(SendError {
                                request: Some(Box::new(taken)),
                                ..error
                            }));
                        }
                    }
                }
                StateProj::Called(future) => {
                    let result = ready!(future.poll(cx));
                    let classify = this.classify.as_ref();
                    return Poll::Ready(result.map_err(|error| classified(error.into(), classify)));
                }
                StateProj::Failed(error) => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => return Poll::Pending,
                },
            };
            this.state.set(State::Called(called));
        }
    }
}

impl<S: Service<Request<MeshBody>>> fmt::Debug for ForeignFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignFuture").finish_non_exhaustive()
    }
}

fn classified(error: BoxError, classify: Option<&FailureClassifier>) -> SendError {
    let failure = classify.and_then(|classify| classify(&*error)).unwrap_or_else(|| walk(&*error));
    SendError { failure, request: None, source: Some(error) }
}

/// What an error of an unknown transport means, by the first source that is known.
fn walk(error: &(dyn StdError + 'static)) -> Failure {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(failure) = known(error) {
            return failure;
        }
        next = error.source();
    }
    // Nothing known: the request may have been processed.
    Failure::Reset { reason: ResetReason::ConnectionTermination, processed: Processed::Maybe }
}

fn known(error: &(dyn StdError + 'static)) -> Option<Failure> {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return Some(of_h2(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        // Anything else of hyper's says more in its sources.
        let canceled = error.is_canceled();
        let reason = ResetReason::ConnectionTermination;
        return canceled.then_some(Failure::Reset { reason, processed: Processed::No });
    }
    let error = error.downcast_ref::<io::Error>()?;
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
            Failure::Connect(ConnectFailure::Refused)
        }
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Failure::Connect(ConnectFailure::Unreachable),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Failure::Reset {
            reason: ResetReason::ConnectionTermination,
            processed: Processed::Maybe,
        },
        // An io error that wraps another (h2 in io in hyper) says more in its sources.
        _ if error.get_ref().is_some() => return None,
        _ => Failure::Reset {
            reason: ResetReason::ConnectionTermination,
            processed: Processed::Maybe,
        },
    })
}

fn of_h2(error: &h2::Error) -> Failure {
    let (reason, processed) = match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => (ResetReason::RefusedStream, Processed::No),
        Some(code) if error.is_reset() => (ResetReason::Remote(code.into()), Processed::Maybe),
        // h2 ends only the streams above the last one that a GOAWAY names: RFC 9113 section 6.8.
        _ if error.is_go_away() && error.is_remote() => (ResetReason::GoAway, Processed::No),
        _ if error.is_go_away() => (ResetReason::GoAway, Processed::Maybe),
        _ => (ResetReason::ConnectionTermination, Processed::Maybe),
    };
    Failure::Reset { reason, processed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_unknown_transports_are_read_by_their_sources() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let refused = Outer(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(walk(&refused), Failure::Connect(ConnectFailure::Refused));
        let stream = h2::Error::from(h2::Reason::REFUSED_STREAM);
        let unknown = Outer(io::Error::other("no idea"));
        assert!(!walk(&unknown).is_unprocessed());
        assert!(walk(&stream).is_unprocessed());
    }
}
