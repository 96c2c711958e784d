//! The future of a call, from its route on.

use super::asking::Asking;
use crate::body::BoxError;
use crate::clock;
use crate::connect::SendError;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use crate::observe::access_log::{CallLine, Ended};
use crate::observe::code::Code;
use crate::observe::connection::ConnectionSlot;
use crate::observe::span::ThinSpan;
use crate::observe::target::{CallRecord, TargetCells};
use crate::observe::{AttemptOutcome, AttemptReport, CallReport};
use bytes::Bytes;
use http::Response;
use http_body::Body;
use mesh_core::Timestamp;
use mesh_core::local_reply::{Reason, ResponseFlag};
use pin_project::pin_project;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A call: routed, passed by, or answered here.
#[pin_project]
pub(crate) struct RouteFuture<C, P, R> {
    #[pin]
    state: State<C, P, R>,
    span: ThinSpan,
}

#[pin_project(project = StateProj)]
#[expect(clippy::large_enum_variant, reason = "the large variant is the common path")]
enum State<C, P, R> {
    Forward(#[pin] C),
    Passthrough(#[pin] P, Passing),
    Ready(Option<Result<Response<MeshResponseBody<R>>, Error>>),
    /// In a box: the first call to an authority is not the common path.
    Asking(Asking<C, P, R>),
}

/// What is measured of a call that passes by every policy: counted when it is dropped, which is at the
/// end of the response body, at a failure, or when the caller gives up.
pub(crate) struct Passing {
    cells: Option<Arc<TargetCells>>,
    started: Timestamp,
    code: Code,
    line: Option<Box<CallLine>>,
    /// Where it is told what it is sent on, if its caller wants a report.
    connection: Option<ConnectionSlot>,
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(cells) = self.cells.take() {
            let now = clock::now();
            let duration = now.saturating_duration_since(self.started);
            let code = self.code;
            cells.call_finished(&CallRecord { code, duration, attempts: 1 });
            if let Some(line) = self.line.take() {
                let ended = Ended { attempts: 1, ..Ended::default() };
                match code.flag {
                    Some(_) => line.given_up(code, ended, now),
                    None => line.answered(code, ended, now),
                }
            }
        }
    }
}

impl<C, P, R> RouteFuture<C, P, R> {
    pub(super) const fn forward(call: C, span: ThinSpan) -> Self {
        Self { state: State::Forward(call), span }
    }

    pub(super) const fn passthrough(sent: P, passing: Passing, span: ThinSpan) -> Self {
        Self { state: State::Passthrough(sent, passing), span }
    }

    pub(super) const fn asking(call: Asking<C, P, R>, span: ThinSpan) -> Self {
        Self { state: State::Asking(call), span }
    }

    pub(super) const fn ready(
        result: Result<Response<MeshResponseBody<R>>, Error>,
        span: ThinSpan,
    ) -> Self {
        Self { state: State::Ready(Some(result)), span }
    }
}

impl<C, P, R> Future for RouteFuture<C, P, R>
where
    C: Future<Output = Result<Response<MeshResponseBody<R>>, Error>>,
    P: Future<Output = Result<Response<R>, SendError>>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Output = Result<Response<MeshResponseBody<R>>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // An answer that is gone again when the call looks for it is asked for again.
        loop {
            let this = self.as_mut().project();
            let StateProj::Asking(asking) = this.state.project() else { break };
            let call = ready!(this.span.in_scope(|| asking.as_mut().poll(cx)));
            self.set(call);
        }
        let this = self.project();
        let polled = this.span.in_scope(|| match this.state.project() {
            StateProj::Forward(call) => call.poll(cx),
            StateProj::Passthrough(sent, passing) => {
                sent.poll(cx).map(|result| passing.ended(result))
            }
            StateProj::Ready(result) => result.take().map_or(Poll::Pending, Poll::Ready),
            StateProj::Asking(_) => Poll::Pending,
        });
        // It is not taken out of the poll: it is large.
        if let Poll::Ready(result) = &polled {
            if let Err(error) = result {
                this.span.record("response_flag", error.response_flag().as_str());
                this.span.record("error", tracing::field::display(error));
            }
            // What goes on is the response body, which has the span too.
            *this.span = ThinSpan::NONE;
        }
        polled
    }
}

impl Passing {
    pub(super) const fn new(
        cells: Arc<TargetCells>,
        started: Timestamp,
        line: Option<Box<CallLine>>,
    ) -> Self {
        let flag = Some(ResponseFlag::DownstreamConnectionTermination);
        let code = Code { status: None, grpc_status: None, flag };
        Self { cells: Some(cells), started, code, line, connection: None }
    }

    /// The one that counts from now on; what is left here counts nothing.
    fn take(&mut self) -> Self {
        let code =
            Code { flag: self.code.flag.filter(|_| self.code.status.is_none()), ..self.code };
        let (cells, line) = (self.cells.take(), self.line.take());
        Self { cells, started: self.started, code, line, connection: None }
    }

    /// There will be a report; the slot is for the request's extensions.
    #[cold]
    pub(super) fn reported(&mut self) -> ConnectionSlot {
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

    /// The body of the answer, or what it has become, ended before its end.
    #[cold]
    pub(crate) fn cut_off(mut self, reason: &Reason) {
        self.code.flag = Some(reason.flag());
        if let Some(line) = self.line.take() {
            let station = Station { attempts: 1, ..Station::default() };
            line.failed(&Error::new(reason.clone(), station), clock::now());
        }
    }

    /// What the access log will say of the call.
    pub(crate) fn line(&mut self) -> Option<&mut CallLine> {
        self.line.as_deref_mut()
    }

    fn ended<R>(
        &mut self,
        result: Result<Response<R>, SendError>,
    ) -> Result<Response<MeshResponseBody<R>>, Error> {
        match result {
            Ok(mut response) => {
                self.code.status = Some(response.status());
                if let Some(line) = &mut self.line {
                    line.response(response.status(), response.headers(), clock::now());
                }
                let outcome = || AttemptOutcome::Response {
                    status: response.status(),
                    grpc_status: mesh_core::outcome::grpc_status(response.headers()),
                };
                if let Some(report) = self.report(outcome) {
                    response.extensions_mut().insert(report);
                }
                let passing = self.take();
                Ok(response.map(|body| MeshResponseBody::passthrough(body, passing)))
            }
            Err(SendError { failure, source, .. }) => {
                self.code.flag = Some(failure.flag());
                if let Some(line) = self.line.take() {
                    line.unsent(&failure, clock::now());
                }
                let report = self.report(|| AttemptOutcome::Failed(failure.clone()));
                drop(self.take());
                let error = Error::new(Reason::Attempt(failure), Station::default());
                Err(error.with_source(source).with_report(report))
            }
        }
    }
}

impl<C, P, R> fmt::Debug for RouteFuture<C, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Forward(_) => "Forward",
            State::Passthrough(..) => "Passthrough",
            State::Ready(_) => "Ready",
            State::Asking(_) => "Asking",
        };
        f.debug_tuple("RouteFuture").field(&state).finish()
    }
}
