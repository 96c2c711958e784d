//! [`Sending`]: the future of one attempt, from the pool to the response head.

use super::h1::{self, InFlight};
use super::h2::{NotStarted, Started};
use super::lanes::{Answer, Grant, Refusal};
use super::net_body::NetBody;
use super::shared::{Place, Shared, Ticket};
use super::{Kind, PoolSettings, SendError};
use crate::MeshBody;
use crate::call::Left;
use crate::clock;
use http::{Request, Response};
use mesh_core::model::RoutingPriority;
use mesh_core::outcome::{Failure, Processed, ProtocolFailure, ResetReason};
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How often a call is put on another connection because the one it got was closing. A server that
/// closes every connection at once is its endpoint's failure in the end.
const MAX_MOVES: u8 = 3;

/// How a call asks for a connection.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    /// Who counts it while it waits.
    priority: RoutingPriority,
    /// How many connections it was put on before.
    moves: u8,
}

impl Asking {
    const fn once_more(self) -> Self {
        Self { moves: self.moves + 1, ..self }
    }
}

/// The future of one attempt. Dropping it cancels the attempt, and frees all that it holds.
///
/// Ready once: polled again, it is pending for ever.
pub(crate) struct Sending {
    state: State,
    phases: Option<Box<Phases>>,
}

/// Where an attempt's time went before its request was sent; only of those that had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Phases {
    /// From asking for a connection to having one.
    pub(crate) waited: Duration,
    /// Of that, making the connection, when it was made for waiting calls; else zero.
    pub(crate) connect: Duration,
    /// Of that, the TLS handshake; zero without.
    pub(crate) tls: Duration,
}

enum State {
    H2(Started),
    H1 { call: InFlight, asking: Asking },
    Waiting(Box<Waiting>),
    Failed(Box<SendError>),
    Done,
}

/// An attempt without a connection yet.
struct Waiting {
    request: Request<MeshBody>,
    receiver: oneshot::Receiver<Answer>,
    // Dropped after the receiver, which gives an unused grant back.
    ticket: Ticket,
    since: Instant,
    asking: Asking,
    /// What its head tells of the time that is left.
    left: Option<Left>,
}

impl Sending {
    /// A call that was put on no connection yet.
    pub(super) const fn first(priority: RoutingPriority) -> Asking {
        Asking { priority, moves: 0 }
    }

    /// Sends the request on a connection of HTTP/2 with room; else it comes back.
    pub(super) fn at_once(
        shared: &Shared,
        request: Request<MeshBody>,
        asking: Asking,
    ) -> ControlFlow<Self, (Request<MeshBody>, Asking)> {
        let Some(lease) = shared.lease() else { return ControlFlow::Continue((request, asking)) };
        let state = match lease.start(request) {
            Ok(started) => State::H2(started),
            Err(NotStarted::Gone(request)) => {
                return ControlFlow::Continue((*request, asking.once_more()));
            }
            Err(NotStarted::Failed(error)) => State::Failed(Box::new(error)),
        };
        ControlFlow::Break(Self { state, phases: None })
    }

    /// Sends the request on a connection of HTTP/2 with room, else asks the pool for one.
    pub(super) fn over_h2(
        shared: &Arc<Shared>,
        settings: &Arc<PoolSettings>,
        request: Request<MeshBody>,
        asking: Asking,
    ) -> Self {
        match Self::at_once(shared, request, asking) {
            ControlFlow::Break(sending) => sending,
            ControlFlow::Continue((request, asking)) => {
                Self::asking(Kind::H2, shared, settings, request, asking)
            }
        }
    }

    /// Asks the pool for a connection.
    pub(super) fn asking(
        kind: Kind,
        shared: &Arc<Shared>,
        settings: &Arc<PoolSettings>,
        request: Request<MeshBody>,
        asking: Asking,
    ) -> Self {
        Self { state: State::ask(kind, shared, settings, request, asking), phases: None }
    }

    /// The cluster speaks bytes, not HTTP.
    pub(super) fn not_http(request: Request<MeshBody>) -> Self {
        let failure = Failure::Protocol(ProtocolFailure::VersionUnsupported);
        let error = SendError::new(failure).with_request(request);
        Self { state: State::Failed(Box::new(error)), phases: None }
    }

    /// Whether the request has a connection.
    pub(crate) const fn is_sent(&self) -> bool {
        !matches!(self.state, State::Waiting(_))
    }

    /// A request that waits tells what is left when it is sent.
    pub(crate) fn waits(&mut self, left: Left) {
        if let State::Waiting(waiting) = &mut self.state {
            waiting.left = Some(left);
        }
    }

    /// Where the time went before the request was sent; `None` when it did not have to wait.
    pub(crate) fn phases(&self) -> Option<Phases> {
        self.phases.as_deref().copied()
    }
}

impl State {
    /// Asks the pool for a connection, and sends on it or waits for it.
    fn ask(
        kind: Kind,
        shared: &Arc<Shared>,
        settings: &Arc<PoolSettings>,
        request: Request<MeshBody>,
        asking: Asking,
    ) -> Self {
        if asking.moves > MAX_MOVES {
            let (reason, processed) = (ResetReason::GoAway, Processed::No);
            let error = SendError::new(Failure::Reset { reason, processed });
            return Self::Failed(Box::new(error.with_request(request)));
        }
        match shared.ask(kind, settings, asking.priority) {
            Place::Granted(grant) => Self::send(grant, shared, settings, request, asking),
            Place::Queued(ticket, receiver) => {
                let (since, left) = (Instant::now(), None);
                Self::Waiting(Box::new(Waiting { request, receiver, ticket, since, asking, left }))
            }
            Place::Refused(refusal) => Self::Failed(Box::new(SendError::refused(refusal, request))),
        }
    }

    fn send(
        grant: Grant,
        shared: &Arc<Shared>,
        settings: &Arc<PoolSettings>,
        request: Request<MeshBody>,
        asking: Asking,
    ) -> Self {
        match grant {
            Grant::H2(lease) => match lease.start(request) {
                Ok(started) => Self::H2(started),
                Err(NotStarted::Gone(request)) => {
                    Self::ask(Kind::H2, shared, settings, *request, asking.once_more())
                }
                Err(NotStarted::Failed(error)) => Self::Failed(Box::new(error)),
            },
            Grant::H1(checkout) => match checkout.take() {
                Some(connection) => match connection.start(request) {
                    Ok(call) => Self::H1 { call, asking },
                    Err(error) => Self::Failed(Box::new(error)),
                },
                None => Self::ask(Kind::H1, shared, settings, request, asking.once_more()),
            },
        }
    }
}

impl Waiting {
    /// What follows from the pool's answer.
    fn answered(self, answer: Option<Answer>) -> (State, Option<Box<Phases>>) {
        let Self { mut request, ticket, since, asking, left, .. } = self;
        match answer {
            Some(Ok(granted)) => {
                let waited = since.elapsed();
                let tls = granted.took.tls.min(waited);
                let connect = granted.took.connect.min(waited.saturating_sub(tls));
                let phases = Phases { waited, connect, tls };
                let (shared, settings) = (ticket.shared(), ticket.settings());
                if let Some(left) = left {
                    left.correct(request.headers_mut(), clock::now());
                }
                let mut state = State::send(granted.grant, shared, settings, request, asking);
                if let State::Waiting(again) = &mut state {
                    again.left = left;
                }
                (state, Some(Box::new(phases)))
            }
            Some(Err(refusal)) => (State::refused(refusal, request), None),
            // The endpoint went away.
            None => (State::refused(Refusal::gone(), request), None),
        }
    }
}

impl State {
    fn refused(refusal: Refusal, request: Request<MeshBody>) -> Self {
        Self::Failed(Box::new(SendError::refused(refusal, request)))
    }

    /// A stale connection failed before anything was sent: another one, once.
    fn after_h1(failed: h1::Failed, asking: Asking) -> Self {
        match failed {
            h1::Failed::Stale { request, shared, settings, .. } if asking.moves == 0 => {
                Self::ask(Kind::H1, &shared, &settings, *request, asking.once_more())
            }
            h1::Failed::Stale { request, error, .. } => {
                Self::Failed(Box::new(SendError::unsent(error, *request)))
            }
            h1::Failed::Error(error) => Self::Failed(Box::new(error)),
        }
    }
}

impl Future for Sending {
    type Output = Result<Response<NetBody>, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match &mut self.state {
                State::H2(started) => {
                    let ended = ready!(started.poll(cx));
                    self.state = State::Done;
                    return Poll::Ready(ended);
                }
                State::H1 { call, asking } => match ready!(call.poll(cx)) {
                    Ok(response) => {
                        self.state = State::Done;
                        return Poll::Ready(Ok(response));
                    }
                    Err(failed) => State::after_h1(failed, *asking),
                },
                State::Waiting(waiting) => {
                    let answer = ready!(Pin::new(&mut waiting.receiver).poll(cx)).ok();
                    let State::Waiting(waiting) = std::mem::replace(&mut self.state, State::Done)
                    else {
                        return Poll::Pending;
                    };
                    let (next, phases) = waiting.answered(answer);
                    if phases.is_some() {
                        self.phases = phases;
                    }
                    next
                }
                State::Failed(_) => {
                    let State::Failed(error) = std::mem::replace(&mut self.state, State::Done)
                    else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(Err(*error));
                }
                State::Done => return Poll::Pending,
            };
            self.state = next;
        }
    }
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::H2(_) => "H2",
            State::H1 { .. } => "H1",
            State::Waiting(_) => "Waiting",
            State::Failed(_) => "Failed",
            State::Done => "Done",
        };
        f.debug_struct("Sending").field("state", &state).finish_non_exhaustive()
    }
}
