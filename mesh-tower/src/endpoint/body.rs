//! [`MeshResponseBody`]: the response body, which holds what the attempt holds until it ends.
//!
//! "In flight" means until the body ends, so the guard lives here; so does the deadline, which the call
//! gave up at the head. A timer exists only once the body made the caller wait, and only when there is
//! a limit. The body is `Unpin`: `body.frame().await` compiles.

use super::AttemptScope;
use crate::body::BoxError;
use crate::call::{Activity, CallScope, Peeked};
use crate::clock;
use crate::connect::NetBodyError;
use crate::error::{Error, Station};
use crate::observe::access_log::CallLine;
use crate::route::Passing;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use mesh_core::Timestamp;
use mesh_core::call::Deadline;
use mesh_core::local_reply::Reason;
use mesh_core::model::Address;
use mesh_core::outcome::{Failure, Processed, ResetReason};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// A response body, or the text of a local reply.
///
/// Dropping it before its end gives the call up and releases everything.
pub struct MeshResponseBody<R>(Inner<R>);

#[expect(clippy::large_enum_variant, reason = "the large variant is the common path")]
enum Inner<R> {
    Upstream(Upstream<R>),
    Local(Option<Bytes>),
}

struct Upstream<R> {
    body: R,
    /// Frames that were looked at before the head was handed over.
    peeked: Option<Box<Peeked>>,
    limits: Limits,
    timer: Option<Pin<Box<Sleep>>>,
    attempt: Option<AttemptScope>,
    call: Option<CallScope>,
    /// What counts a call that passed by every policy. In a box, so that all others are not larger by it wherever they
    /// are moved.
    passing: Option<Box<Passing>>,
    /// Nothing comes any more: it ended, or failed.
    over: bool,
    /// It answers HEAD, so there is nothing in it (RFC 9110 section 9.3.2): who does not wait for its end gives up nothing.
    bodiless: bool,
    /// Frames so far, up to [`UNTIMED_FRAMES`].
    frames: u8,
}

/// A body that is always ready never comes to its timer, so the clock is read with each frame; but not
/// with the first ones, which are all that most calls have.
const UNTIMED_FRAMES: u8 = 2;

/// The time limits of a response body.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// When the call must have ended.
    pub(crate) deadline: Option<Deadline>,
    /// The longest silence.
    pub(crate) idle: Option<Duration>,
    /// What the request body tells, which may go on: a stream is silent when nothing goes either way (Envoy:
    /// `RouteAction.idle_timeout`).
    pub(crate) activity: Option<Activity>,
}

impl Limits {
    /// The earlier of the deadline and the end of silence, if nothing goes after `active`.
    fn earliest(&self, active: Timestamp) -> Timestamp {
        let silence = self.idle.map(|idle| active + idle);
        let deadline = self.deadline.map(|deadline| deadline.at);
        [deadline, silence].into_iter().flatten().min().unwrap_or(Timestamp::MAX)
    }

    /// When the request last gave a sign of life, if that is not too long ago at `now`.
    fn goes_on(&self, now: Timestamp) -> Option<Timestamp> {
        let (idle, active) = (self.idle?, self.activity.as_ref()?.last());
        (active + idle > now).then_some(active)
    }
}

impl<R> MeshResponseBody<R> {
    /// The text of a local reply.
    pub(crate) const fn local(text: Option<Bytes>) -> Self {
        Self(Inner::Local(text))
    }
}

impl<R> MeshResponseBody<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    /// The body of a call that passed by every policy.
    pub(crate) fn passthrough(body: R, deadline: Option<Deadline>, passing: Passing) -> Self {
        let mut upstream = Upstream::new(body, Limits { deadline, ..Limits::default() });
        upstream.passing = Some(Box::new(passing));
        upstream.complete_at_end();
        Self(Inner::Upstream(upstream))
    }

    /// The body of an endpoint's answer.
    pub(crate) fn upstream(
        body: R,
        peeked: Option<Box<Peeked>>,
        limits: Limits,
        attempt: AttemptScope,
        call: Option<CallScope>,
    ) -> Self {
        let mut upstream = Upstream::new(body, limits);
        (upstream.peeked, upstream.attempt, upstream.call) = (peeked, Some(attempt), call);
        upstream.complete_at_end();
        Self(Inner::Upstream(upstream))
    }
}

impl<R> MeshResponseBody<R> {
    /// Whether it answers HEAD: its end says nothing then, and over HTTP/2 may come in a later frame than the head.
    pub(crate) const fn answers_head(&mut self, is_head: bool) {
        if let Inner::Upstream(upstream) = &mut self.0 {
            upstream.bodiless = is_head;
        }
    }
}

/// For what is no body: a byte stream that an answer stands for.
impl<R> MeshResponseBody<R> {
    /// The endpoint that answered; `None`: it is a local reply, or passed by every policy.
    pub(crate) fn endpoint(&self) -> Option<&Address> {
        let Inner::Upstream(upstream) = &self.0 else { return None };
        Some(upstream.attempt.as_ref()?.in_flight().endpoint().address())
    }

    /// The endpoint's own body.
    pub(crate) const fn inner_mut(&mut self) -> Option<&mut R> {
        match &mut self.0 {
            Inner::Upstream(upstream) => Some(&mut upstream.body),
            Inner::Local(_) => None,
        }
    }

    /// It broke: the endpoint is told, and the call has failed.
    #[cold]
    pub(crate) fn broke(&mut self, failure: &Failure) {
        let Inner::Upstream(upstream) = &mut self.0 else { return };
        if let Some(attempt) = &mut upstream.attempt {
            attempt.broken(failure, clock::now());
        }
        let _told_by_whoever_reads = upstream.end(Reason::Attempt(failure.clone()));
    }

    /// So many bytes went over, to the endpoint and back: what the access log says.
    pub(crate) fn carried(&mut self, there: u64, back: u64) {
        let Inner::Upstream(upstream) = &mut self.0 else { return };
        if let Some(line) = upstream.line() {
            line.carried(there, back);
        }
    }

    /// It ends before its end, and the endpoint is not to blame.
    #[cold]
    pub(crate) fn cut_off(&mut self, reason: Reason) {
        let Inner::Upstream(upstream) = &mut self.0 else { return };
        if let Reason::Attempt(Failure::Cancelled { .. }) = reason {
            // As a body that is dropped.
            upstream.over = true;
            (upstream.attempt, upstream.call) = (None, None);
            if let Some(passing) = upstream.passing.take() {
                let _told_by_the_caller = passing.cut_off(reason);
            }
        } else {
            let _told_by_the_caller = upstream.end(reason);
        }
    }

    /// It is over, and nothing was wrong with it.
    pub(crate) fn ended(&mut self) {
        if let Inner::Upstream(upstream) = &mut self.0 {
            upstream.complete(clock::now());
        }
    }
}

impl<R> Upstream<R> {
    /// Of which nothing is told.
    fn new(body: R, limits: Limits) -> Self {
        let (peeked, timer, attempt, call, passing) = (None, None, None, None, None);
        let (over, bodiless, frames) = (false, false, 0);
        Self { body, peeked, limits, timer, attempt, call, passing, over, bodiless, frames }
    }

    /// What the access log will say of the call.
    fn line(&mut self) -> Option<&mut CallLine> {
        match (&mut self.call, &mut self.passing) {
            (Some(call), _) => call.line(),
            (None, Some(passing)) => passing.line(),
            (None, None) => None,
        }
    }

    /// Whether its call is not over yet.
    const fn is_counted(&self) -> bool {
        self.call.is_some() || self.passing.is_some()
    }

    fn complete(&mut self, now: Timestamp) {
        self.over = true;
        if let Some(passing) = self.passing.take() {
            passing.complete(now);
            self.timer = None;
        }
        let (Some(call), attempt) = (self.call.take(), self.attempt.take()) else { return };
        if let Some(attempt) = attempt {
            call.body_ended(now.saturating_duration_since(attempt.head_at()));
            attempt.end(now);
        }
        call.complete(now);
        self.timer = None;
    }

    /// The call is over before its body ended.
    #[cold]
    fn end(&mut self, reason: Reason) -> Error {
        self.over = true;
        self.timer = None;
        if let Some(passing) = self.passing.take() {
            return passing.cut_off(reason);
        }
        let (Some(mut call), Some(attempt)) = (self.call.take(), self.attempt.take()) else {
            return Error::new(reason, Station::default());
        };
        let now = clock::now();
        let report = call.report(&attempt, now);
        let station = Station { attempts: call.attempts(), ..attempt.station() };
        let line = call.take_line();
        call.failed(reason.flag(), None, now);
        attempt.cut_off(reason.flag(), now);
        let error = Error::new(reason, station).with_report(Some(report));
        if let Some(line) = line {
            line.failed(&error, now);
        }
        error
    }
}

impl<R> Upstream<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match self.call.as_ref().map(CallScope::span).filter(|span| span.is_wanted()).cloned() {
            Some(span) => span.in_scope(|| self.poll_next(cx)),
            None => self.poll_next(cx),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(reason) = self.passed() {
            return Poll::Ready(Some(Err(self.end(reason))));
        }
        let next = match self.peeked.as_mut().and_then(|peeked| peeked.next()) {
            Some(next) => next,
            None => match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(next) => next.map(|frame| frame.map_err(Into::into)),
                Poll::Pending => {
                    return self.poll_limits(cx).map(|reason| Some(Err(self.end(reason))));
                }
            },
        };
        match next {
            Some(Ok(frame)) => {
                self.restart_idle();
                if let Some(line) = self.line() {
                    line.sends(&frame);
                }
                match frame.trailers_ref() {
                    // The clock is read once for both, or was when the trailers were looked at.
                    Some(trailers) => {
                        let ended = self.peeked.as_deref().and_then(Peeked::ended);
                        let now = ended.unwrap_or_else(clock::now);
                        self.trailers(trailers, now);
                        self.complete(now);
                    }
                    None => self.complete_at_end(),
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                let failure = failure_of(&error);
                if let Some(attempt) = &mut self.attempt {
                    attempt.broken(&failure, clock::now());
                }
                let reason = Reason::Attempt(failure);
                // An endpoint that was told the deadline ends the stream at it.
                let deadline = self.limits.deadline.filter(|deadline| deadline.at <= clock::now());
                let reason = deadline.map_or(reason, |deadline| deadline.limit.reason());
                Poll::Ready(Some(Err(self.end(reason).with_source(Some(error)))))
            }
            None => {
                self.complete(clock::now());
                Poll::Ready(None)
            }
        }
    }

    fn trailers(&mut self, trailers: &http::HeaderMap, now: Timestamp) {
        if let Some(line) = self.line() {
            line.trailers(trailers);
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.grpc_status().is_some()) {
            // In the head, or in these trailers, when they were looked at before the head was handed over.
            return;
        }
        let status = mesh_core::outcome::grpc_status(trailers);
        if let Some(passing) = &mut self.passing {
            passing.trailers(status);
        }
        if let Some(attempt) = &mut self.attempt {
            attempt.trailers(status, now);
        }
        if let Some(call) = &mut self.call {
            call.trailers(status);
        }
    }

    /// A reader who is told that nothing more comes does not ask for the end.
    fn complete_at_end(&mut self) {
        if self.is_end_stream() {
            self.complete(clock::now());
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.peeked {
            Some(peeked) if !peeked.is_read() => peeked.is_end(),
            _ => self.body.is_end_stream(),
        }
    }

    /// The deadline, when it has passed under a body that is always ready.
    fn passed(&mut self) -> Option<Reason> {
        let deadline = self.limits.deadline?;
        if self.frames < UNTIMED_FRAMES {
            self.frames += 1;
            return None;
        }
        (self.is_counted() && deadline.at <= clock::now()).then(|| deadline.limit.reason())
    }

    /// Waits for the earlier of the deadline and the end of silence.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        let has_limit = self.limits.deadline.is_some() || self.limits.idle.is_some();
        if !has_limit || !self.is_counted() {
            return Poll::Pending;
        }
        let limits = &self.limits;
        let timer = self.timer.get_or_insert_with(|| {
            let at = limits.earliest(clock::now());
            Box::pin(tokio::time::sleep_until(clock::instant(at)))
        });
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = clock::now();
            if let Some(deadline) = limits.deadline.filter(|deadline| deadline.at <= now) {
                return Poll::Ready(deadline.limit.reason());
            }
            let Some(active) = limits.goes_on(now) else { return Poll::Ready(Reason::IdleTimeout) };
            timer.as_mut().reset(clock::instant(limits.earliest(active)));
        }
    }

    fn restart_idle(&mut self) {
        // A frame came: the silence ends. The next wait makes a new timer.
        if self.limits.idle.is_some() {
            self.timer = None;
        }
    }
}

impl<R> Drop for Upstream<R> {
    fn drop(&mut self) {
        if self.bodiless && !self.over {
            self.complete(clock::now());
        }
    }
}

/// How a body broke off: our own connections know, of others nothing is known.
fn failure_of(error: &BoxError) -> Failure {
    let (reason, processed) = (ResetReason::ConnectionTermination, Processed::Maybe);
    let known = error.downcast_ref::<NetBodyError>().map(|error| error.failure().clone());
    known.unwrap_or(Failure::Reset { reason, processed })
}

impl<R> Body for MeshResponseBody<R>
where
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Inner::Upstream(upstream) => upstream.poll_frame(cx),
            Inner::Local(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Upstream(upstream) => upstream.over || upstream.is_end_stream(),
            Inner::Local(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Upstream(Upstream { peeked: None, body, .. }) => body.size_hint(),
            Inner::Upstream(_) => SizeHint::default(),
            Inner::Local(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}

impl<R> fmt::Debug for MeshResponseBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Upstream(upstream) => f
                .debug_struct("MeshResponseBody")
                .field("limits", &upstream.limits)
                .finish_non_exhaustive(),
            Inner::Local(text) => f.debug_tuple("MeshResponseBody").field(text).finish(),
        }
    }
}
