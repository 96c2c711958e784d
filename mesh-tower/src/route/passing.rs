//! Calls that pass by every policy: until when they may last, what they tell, and what is measured of them.
//!
//! No route says anything of them, so what their caller says is all there is: the timeout for the one call, and the
//! deadline and the trace of the request that it is made for. Both hold as for any other call, until the end of the
//! response's body.

use super::{RouteService, options_of};
use crate::MeshBody;
use crate::body::BoxError;
use crate::call::{Passed, Timer, caller_deadline};
use crate::clock;
use crate::connect::SendError;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use crate::inbound_context::Inbound;
use crate::leaf::Leaf;
use crate::observe::access_log::{CallLine, Ended};
use crate::observe::code::Code;
use crate::observe::connection::ConnectionSlot;
use crate::observe::spans::BegunSpan;
use crate::observe::target::{CallRecord, TargetCells};
use crate::observe::{AttemptOutcome, AttemptReport, CallReport};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use mesh_core::Timestamp;
use mesh_core::call::Deadline;
use mesh_core::egress::CompiledEgress;
use mesh_core::head::is_grpc_content_type;
use mesh_core::local_reply::{Reason, ResponseFlag};
use mesh_core::outcome::{Failure, Outcome, ResponseOutcome};
use pin_project::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A call that passes by every policy, until the head of its answer.
#[pin_project]
pub(crate) struct PassingFuture<P> {
    /// `None`: it is over.
    #[pin]
    sent: Option<P>,
    passing: Passing,
    asks: Asks,
    deadline: Option<Deadline>,
    #[pin]
    timer: Timer,
}

/// What it asks for, as far as it says what its answer is.
#[derive(Clone, Copy)]
struct Asks {
    grpc: bool,
    is_head: bool,
}

/// What is measured of a call that passes by every policy. Counted once: at the end of its response's body, at its
/// failure, or when it is dropped.
pub(crate) struct Passing {
    /// `None`: it is counted, or somewhere else.
    cells: Option<Arc<TargetCells>>,
    started: Timestamp,
    code: Code,
    line: Option<Box<CallLine>>,
    /// Where it is told what it is sent on, if its caller wants a report.
    connection: Option<ConnectionSlot>,
    /// What a collector is told of it, if it is sampled.
    traced: Option<Box<BegunSpan>>,
}

impl<S, L: Leaf> RouteService<S, L> {
    /// Sends a call past every policy.
    ///
    /// # Errors
    /// That its deadline has passed already.
    #[cold]
    pub(super) fn pass(
        &self,
        mut request: Request<MeshBody>,
        egress: &Arc<CompiledEgress>,
        (started, line): (Timestamp, Option<Box<CallLine>>),
    ) -> Result<PassingFuture<L::Future>, Error> {
        let shared = self.mesh.shared();
        let (options, settings) = (options_of(&request), &shared.settings);
        let mut passing = Passing::new(Arc::clone(self.mesh.unrouted()), started, line);
        let grpc = is_grpc_content_type(request.headers());
        let asks = Asks { grpc, is_head: *request.method() == Method::HEAD };
        let inbound = Inbound::of_call(request.extensions());
        let incoming = caller_deadline(request.headers(), grpc, inbound, started);
        let deadline = Deadline::without_route(options.timeout, incoming, started);
        // The source may have been asked before.
        let now = clock::now();
        if let Some(late) = deadline.filter(|deadline| deadline.at <= now) {
            return Err(passing.failed(late.limit.reason(), (None, None), now));
        }
        if options.report || settings.report {
            request.extensions_mut().insert(passing.reported());
        }
        let at = deadline.map(|deadline| deadline.at);
        let passed = Passed { grpc, inbound, deadline: at, now };
        let (left, traced) = passed.write(&mut request, settings, shared.registry.spans());
        passing.traced = traced;
        let mut sent = self.leaf.passthrough(request, egress);
        if let Some(left) = left.filter(|_| !L::is_sent(&sent)) {
            L::waits(&mut sent, left);
        }
        Ok(PassingFuture { sent: Some(sent), passing, asks, deadline, timer: Timer::new() })
    }
}

impl<P, R> Future for PassingFuture<P>
where
    P: Future<Output = Result<Response<R>, SendError>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshResponseBody<R>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(sent) = this.sent.as_mut().as_pin_mut() else { return Poll::Pending };
        if let Poll::Ready(result) = sent.poll(cx) {
            let answer = this.passing.ended(result, *this.asks, *this.deadline);
            this.sent.set(None);
            return Poll::Ready(answer);
        }
        let Some(Deadline { at, limit }) = *this.deadline else { return Poll::Pending };
        let now = ready!(this.timer.poll_until(Some(at), cx));
        this.sent.set(None);
        let silent = Some(Failure::PerTryTimeout);
        Poll::Ready(Err(this.passing.failed(limit.reason(), (silent, None), now)))
    }
}

impl Passing {
    fn new(cells: Arc<TargetCells>, started: Timestamp, line: Option<Box<CallLine>>) -> Self {
        cells.call_started();
        // Until more is known: its caller drops it.
        let flag = Some(ResponseFlag::DownstreamConnectionTermination);
        let code = Code { flag, ..Code::default() };
        Self { cells: Some(cells), started, code, line, connection: None, traced: None }
    }

    /// The one that counts from now on; what is left here counts nothing.
    fn take(&mut self) -> Self {
        Self {
            cells: self.cells.take(),
            started: self.started,
            code: self.code,
            line: self.line.take(),
            connection: None,
            traced: self.traced.take(),
        }
    }

    /// There will be a report; the slot is for the request's extensions.
    #[cold]
    fn reported(&mut self) -> ConnectionSlot {
        self.connection.get_or_insert_default().clone()
    }

    /// The report of its one attempt, if its caller wants one.
    fn report(&mut self, outcome: impl FnOnce() -> AttemptOutcome) -> Option<CallReport> {
        let connection = self.connection.take()?.told();
        let duration = clock::now().saturating_duration_since(self.started);
        let mut attempt = AttemptReport::new(outcome());
        (attempt.duration, attempt.connection) = (duration, connection);
        let mut report = CallReport::new();
        (report.duration, report.attempts) = (duration, vec![attempt]);
        Some(report)
    }

    /// What the access log will say of the call.
    pub(crate) fn line(&mut self) -> Option<&mut CallLine> {
        self.line.as_deref_mut()
    }

    /// Its one attempt brought an answer, or none.
    fn ended<R>(
        &mut self,
        result: Result<Response<R>, SendError>,
        Asks { grpc, is_head }: Asks,
        deadline: Option<Deadline>,
    ) -> Result<Response<MeshResponseBody<R>>, Error>
    where
        R: Body<Data = Bytes> + Unpin,
        R::Error: Into<BoxError>,
    {
        let now = clock::now();
        let ended = |outcome: &Outcome<'_>| Some(deadline?.ended(outcome, now)?.reason());
        let mut response = match result {
            Ok(response) => response,
            Err(SendError { failure, source, .. }) => {
                let late = ended(&Outcome::Failed(failure.clone()));
                let reason = late.unwrap_or_else(|| Reason::Attempt(failure.clone()));
                return Err(self.failed(reason, (Some(failure), source), now));
            }
        };
        let (status, headers) = (response.status(), response.headers());
        let outcome = ResponseOutcome::new(status, headers, None, grpc);
        let grpc_status = outcome.grpc_status;
        let late = ended(&Outcome::Response(outcome));
        (self.code.status, self.code.grpc_status) = (Some(status), grpc_status);
        if let Some(line) = &mut self.line {
            line.response(status, headers, now);
        }
        let report = self.report(|| AttemptOutcome::Response { status, grpc_status });
        if let Some(reason) = late {
            return Err(self.failed(reason, (None, None), now).with_report(report));
        }
        if let Some(report) = report {
            response.extensions_mut().insert(report);
        }
        let passing = self.take();
        let mut response =
            response.map(|body| MeshResponseBody::passthrough(body, deadline, passing));
        response.body_mut().answers_head(is_head);
        Ok(response)
    }

    /// It has failed, with this of its attempt, if there was one.
    #[cold]
    fn failed(
        &mut self,
        reason: Reason,
        (failure, source): (Option<Failure>, Option<BoxError>),
        now: Timestamp,
    ) -> Error {
        self.code.flag = Some(reason.flag());
        let attempts = u32::from(failure.is_some() || self.code.status.is_some());
        let report = failure.and_then(|failure| self.report(|| AttemptOutcome::Failed(failure)));
        let error = Error::new(reason, Station { attempts, ..Station::default() });
        let error = error.with_source(source).with_report(report);
        if let Some(line) = self.line.take() {
            line.failed(&error, now);
        }
        self.finish(now);
        error
    }

    /// The body of the answer, or what it has become, ended before its end.
    #[cold]
    pub(crate) fn cut_off(mut self, reason: Reason) -> Error {
        self.failed(reason, (None, None), clock::now())
    }

    /// Trailers came, with this status.
    pub(crate) const fn trailers(&mut self, grpc_status: Option<u32>) {
        if self.code.grpc_status.is_none() {
            self.code.grpc_status = grpc_status;
        }
    }

    /// The response is complete.
    pub(crate) fn complete(mut self, now: Timestamp) {
        self.code.flag = None;
        self.finish(now);
    }

    fn finish(&mut self, now: Timestamp) {
        let Some(cells) = self.cells.take() else { return };
        let (code, duration) = (self.code, now.saturating_duration_since(self.started));
        cells.call_finished(&CallRecord { code, duration, attempts: 1 });
        if let Some(traced) = self.traced.take() {
            traced.end(code, duration);
        }
        if let Some(line) = self.line.take() {
            let ended = Ended { attempts: 1, ..Ended::default() };
            match code.flag {
                Some(_) => line.given_up(code, ended, now),
                None => line.answered(code, ended, now),
            }
        }
    }
}

impl Drop for Passing {
    /// The caller dropped the call, or the body before its end.
    fn drop(&mut self) {
        if self.cells.is_some() {
            self.finish(clock::now());
        }
    }
}
