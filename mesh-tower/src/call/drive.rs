//! [`Drive`]: a call's machine, and everything of the call that is not a future.

use super::activity::Activity;
use super::gate::{Gate, Slots};
use super::peek::Peeked;
use super::propagate::{ExpectedTimeout, Left, Propagation, Trace};
use super::saved::SavedRequest;
use super::scope::{CallScope, cluster_of, spent};
use crate::MeshBody;
use crate::body::BoxError;
use crate::clock;
use crate::endpoint::{Limits, MeshResponseBody};
use crate::error::{Error, Station};
use crate::inbound_context::{self, Inbound};
use crate::net::{Draw, Net, Settings};
use crate::observe::code::Code;
use crate::observe::connection::ConnectionSlots;
use crate::observe::events::RetryOutcome;
use crate::observe::report::BodyTime;
use crate::observe::{AttemptOutcome, AttemptReport, CallReport, Phase, ServerTime};
use crate::options::CallOptions;
use crate::routed::{Answer, Attempt, AttemptError, Place, Routed};
use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Method, Response};
use http_body::Body;
use mesh_core::Timestamp;
use mesh_core::call::{Action, AttemptId, Call, RequestFacts, RetryRefused, RetryStop, headers};
use mesh_core::lb::EndpointId;
use mesh_core::local_reply::Reason;
use mesh_core::model::Address;
use mesh_core::outcome::{Failure, Outcome, Overflow, Processed, ResetReason, ResponseOutcome};
use mesh_core::router::RequestHash;
use mesh_core::state::Target;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// A call in progress.
#[derive(Debug)]
pub(super) struct Drive {
    pub(super) machine: Call,
    scope: Option<CallScope>,
    saved: SavedRequest,
    slots: Slots,
    options: CallOptions,
    settings: Settings,
    hash: RequestHash,
    grpc: bool,
    is_head: bool,
    expected_timeout: ExpectedTimeout,
    trace: Option<Box<Trace>>,
    began: Timestamp,
    /// When the newest attempt began.
    attempt_began: Timestamp,
    /// Retries started so far, to tell them from attempts made elsewhere.
    retries: u32,
    /// How many attempts were made before the call, as of gRPC its first retry has looked.
    before: Option<u32>,
    /// When the wait before a retry began.
    backing_off: Option<Timestamp>,
    /// The signs of life of attempts that are limited in silence.
    activity: Vec<(AttemptId, Activity)>,
    previous: SmallVec<[EndpointId; 2]>,
    /// Who the last attempt went to, for errors.
    last: Option<Address>,
    report: Option<Box<CallReport>>,
    /// Where the attempts of a call that is reported are told what they are sent on.
    connections: Option<Box<ConnectionSlots>>,
}

impl Drive {
    pub(super) fn new(routed: Routed) -> Self {
        let Routed { mut request, target, options, settings, hash, started, span, line } = routed;
        let grpc = mesh_core::head::is_grpc_content_type(request.headers());
        let (overrides, strip) = if settings.trusted_overrides {
            headers::parse_overrides(request.headers(), true)
        } else {
            (None, headers::Strip::default())
        };
        strip.apply(request.headers_mut());
        let is_head = *request.method() == Method::HEAD;
        let mut facts = RequestFacts::default();
        facts.grpc = grpc;
        facts.retriable = target.is_retriable(request.headers());
        let inbound = Inbound::of_call(request.extensions());
        facts.incoming_deadline =
            super::propagate::caller_deadline(request.headers(), grpc, inbound, started);
        facts.overrides = overrides;
        facts.options.timeout = options.timeout;
        facts.options.no_retry = options.no_retry;
        facts.options.wait_for_ready = options.wait_for_ready;
        let expected_timeout = ExpectedTimeout::of(&settings, inbound, request.headers());
        let trace = Trace::of(&request, inbound, target.cluster().attached().spans());
        let machine = Call::new(&target.call_policy(), facts, started);
        target.cluster().budget().deposit();
        let slots = Slots::new(Arc::clone(&target));
        let is_reported = options.report || settings.report || line.is_some();
        let scope = CallScope::new(Arc::clone(&target), started, span, line);
        let report = is_reported.then(|| {
            let routed = clock::now().saturating_duration_since(started);
            let mut report = Box::new(CallReport::new());
            spent(&target, &mut report, Phase::Routing, routed);
            report
        });
        // The last expression, so that it is made where it is to be: it is large.
        Self {
            machine,
            scope: Some(scope),
            saved: SavedRequest::new(request),
            slots,
            options,
            settings,
            hash,
            grpc,
            is_head,
            expected_timeout,
            trace,
            began: started,
            attempt_began: started,
            retries: 0,
            before: None,
            backing_off: None,
            activity: Vec::new(),
            previous: SmallVec::new(),
            last: None,
            report,
            connections: None,
        }
    }

    const fn target(&self) -> &Arc<Target<Net>> {
        &self.slots.target
    }

    /// The call begins.
    pub(super) fn start(&mut self) -> Action {
        self.machine.start(self.began)
    }

    /// The attempt that the machine asked for; `None`: the request is gone.
    pub(super) fn attempt(&mut self, id: AttemptId) -> Option<Attempt> {
        let now = if id.number() == 1 { self.began } else { clock::now() };
        self.attempt_began = now;
        self.end_back_off(now);
        let save = self.machine.wants_saved_request();
        let mut request = self.saved.take(save, &self.settings)?;
        if self.target().forward().wants_endpoint_hostname() {
            self.saved.keep_authority(&mut request);
        }
        if self.machine.watches_activity() {
            let activity = Activity::new(now);
            request = request.map(|body| MeshBody::watched(body, activity.clone()));
            self.activity.push((id, activity));
        }
        if self.keeps_report() {
            let slots = self.connections.get_or_insert_default();
            request.extensions_mut().insert(slots.slot(id, now));
        }
        let counts = self.machine.counts();
        let deadline = self.machine.attempt_deadline(id);
        let target = self.target().clone();
        if counts.attempt > 1 {
            self.count_start(counts.retries);
        }
        // Of the first retry the headers are still those of the call.
        let before = || headers::previous_rpc_attempts(request.headers());
        let tells = self.grpc && counts.retries > 0;
        let before = if tells { *self.before.get_or_insert_with(before) } else { 0 };
        Propagation {
            grpc: self.grpc,
            counts,
            before,
            which: target.attempt_headers(),
            now,
            deadline,
            usual: target.usual_timeouts(),
            expected_timeout: self.expected_timeout,
            trace: self.trace.as_deref(),
        }
        .write(&mut request);
        let traced = self.trace.as_ref().and_then(|trace| trace.begin(&mut request, self.grpc));
        Some(Attempt {
            request,
            traced,
            hash: self.hash.hash,
            previous: self.previous.clone(),
            max_reselect: target.max_reselect(),
            wait_for_ready: self.options.wait_for_ready,
            drawn: false,
            grpc: self.grpc,
            number: id.number(),
            started: now,
            deadline,
            target,
        })
    }

    /// What the head of an attempt tells of the time that is left; `None`: nothing.
    pub(super) fn left(&self) -> Option<Left> {
        let deadline = self.machine.deadline().map(|deadline| deadline.at);
        Left::of(deadline, self.grpc, self.expected_timeout)
    }

    fn count_start(&mut self, retries: u32) {
        let cells = &self.target().cluster().attached().cells;
        if retries == self.retries {
            cells.transparent_retry();
        } else {
            cells.retry(RetryOutcome::Started);
        }
        self.retries = retries;
    }

    /// Whether the trailers of an answer decide about a retry, and may be looked for: `Some(true)` when
    /// they may be waited for.
    pub(super) fn peeks<R>(&self, answer: &Answer<R>) -> Option<bool> {
        let asked = self.machine.wants_trailers() && self.saved.is_complete();
        if !asked || answer.scope.grpc_status().is_some() {
            return None;
        }
        Some(self.target().forward().peek_trailers_wait)
    }

    /// An attempt brought an answer.
    pub(super) fn answered<R>(&mut self, id: AttemptId, answer: &mut Answer<R>) -> Action {
        let now = answer.scope.head_at();
        let trailers = answer.peeked.as_deref().and_then(Peeked::trailers);
        let mut grpc_status = answer.scope.grpc_status();
        if let Some(trailers) = trailers {
            let of_trailers = mesh_core::outcome::grpc_status(trailers);
            let came = answer.peeked.as_deref().and_then(Peeked::ended);
            answer.scope.trailers(of_trailers, came.unwrap_or(now));
            grpc_status = grpc_status.or(of_trailers);
        }
        let response = ResponseOutcome {
            status: answer.head.status,
            headers: &answer.head.headers,
            trailers,
            grpc: self.grpc,
            grpc_status,
            class: answer.class,
        };
        let outcome = Outcome::Response(response);
        let endpoint = answer.scope.in_flight().endpoint();
        self.previous.push(endpoint.id());
        let action = self.outcome(id, &outcome, now);
        if action != Action::Commit(id) || self.keeps_report() {
            let started = answer.scope.begun();
            let mut report = AttemptReport::new(AttemptOutcome::of(&outcome));
            report.cluster = cluster_of(answer.scope.in_flight().target());
            report.endpoint = Some(endpoint.address().clone());
            report.locality = answer.scope.locality();
            report.started = started.saturating_duration_since(self.began);
            report.duration = now.saturating_duration_since(started);
            report.phases = answer.phases;
            report.connection = self.connections.as_ref().and_then(|slots| slots.of(id));
            report.server = ServerTime::of(&answer.head.headers);
            self.report.get_or_insert_default().attempts.push(report);
        }
        action
    }

    /// An attempt failed without an answer.
    #[cold]
    pub(super) fn failed(
        &mut self,
        id: AttemptId,
        error: &mut AttemptError,
        now: Timestamp,
    ) -> Action {
        let address = error.endpoint.take().map(|(endpoint, address)| {
            self.avoid(endpoint);
            self.last = Some(address.clone());
            address
        });
        if let Some(request) = error.request.take() {
            self.saved.give_back(*request);
        }
        self.count_failure(error, address.as_ref());
        let outcome = Outcome::Failed(error.failure.clone());
        let action = self.outcome(id, &outcome, now);
        let mut report = AttemptReport::new(AttemptOutcome::of(&outcome));
        report.cluster = error.target.as_ref().and_then(cluster_of);
        report.endpoint = address;
        report.started = error.started.saturating_duration_since(self.began);
        report.duration = now.saturating_duration_since(error.started);
        report.phases = error.phases;
        report.connection = self.connections.as_ref().and_then(|slots| slots.of(id));
        self.report.get_or_insert_default().attempts.push(report);
        action
    }

    /// An attempt was ended at its per-try timeout; its endpoint was told so when it was dropped.
    #[cold]
    pub(super) fn timed_out(&mut self, id: AttemptId, place: Option<Place>) -> Action {
        let mut error = AttemptError::new(Failure::PerTryTimeout, self.attempt_began);
        if let Some(Place { endpoint, address, target, .. }) = place {
            (error.endpoint, error.target) = (Some((endpoint, address)), Some(target));
        }
        self.failed(id, &mut error, clock::now())
    }

    /// The next attempt goes elsewhere, if it can.
    pub(super) fn avoid(&mut self, endpoint: EndpointId) {
        if !self.previous.contains(&endpoint) {
            self.previous.push(endpoint);
        }
    }

    /// The call ends while an attempt is out, at the end of its time or because the caller gave up: who was silent,
    /// and for how long.
    #[cold]
    pub(super) fn given_up(&mut self, place: Place, why: Failure, now: Timestamp) {
        let mut report = AttemptReport::new(AttemptOutcome::Failed(why));
        report.cluster = cluster_of(&place.target);
        report.endpoint = Some(place.address.clone());
        report.started = place.started.saturating_duration_since(self.began);
        report.duration = now.saturating_duration_since(place.started);
        report.connection =
            self.connections.as_ref().and_then(|slots| slots.of_begun(place.started));
        self.last = Some(place.address);
        self.report.get_or_insert_default().attempts.push(report);
    }

    /// Whether somebody wants to know where a call was when the caller dropped it.
    pub(super) fn is_logged(&self) -> bool {
        self.scope.as_ref().is_some_and(CallScope::is_logged)
    }

    /// The caller dropped the call.
    #[cold]
    pub(super) fn dropped(&mut self) {
        let (report, counts) = (self.report.take(), self.machine.counts());
        if let Some(scope) = &mut self.scope {
            scope.give_up(report, counts);
        }
    }

    fn count_failure(&self, error: &AttemptError, endpoint: Option<&Address>) {
        let target = error.target.as_ref().unwrap_or_else(|| self.target());
        let cells = &target.cluster().attached().cells;
        match &error.failure {
            Failure::Overflow(limit) => cells.overflow(*limit),
            Failure::Dropped { category } => cells.dropped(category),
            _ => {}
        }
        if endpoint.is_none() {
            cells.attempt_unplaced(Code { flag: Some(error.failure.flag()), ..Code::default() });
        }
    }

    fn outcome(&mut self, id: AttemptId, outcome: &Outcome<'_>, now: Timestamp) -> Action {
        let mut gate = Gate { saved: &self.saved, slots: &mut self.slots };
        let action = self.machine.handle_outcome(id, outcome, &mut gate, now, &mut Draw);
        self.count_stop(&action);
        if self.backing_off.is_none() && self.machine.is_backing_off() {
            self.backing_off = Some(now);
        }
        action
    }

    /// The wait before a retry is over, or cut off.
    fn end_back_off(&mut self, now: Timestamp) {
        if let Some(since) = self.backing_off.take() {
            self.phase(Phase::Backoff, now.saturating_duration_since(since));
        }
    }

    /// The call itself spent time.
    fn phase(&mut self, phase: Phase, duration: Duration) {
        spent(&self.slots.target, self.report.get_or_insert_default(), phase, duration);
    }

    const fn wants_report(&self) -> bool {
        self.options.report || self.settings.report
    }

    /// Whether what the answer's attempt went through is kept, too.
    fn keeps_report(&self) -> bool {
        self.wants_report() || self.is_logged()
    }

    fn count_stop(&self, action: &Action) {
        let (Action::Commit(_) | Action::Finish(_)) = action else { return };
        if self.machine.is_exhausted() {
            inbound_context::tell_exhausted();
        }
        let Some(stop) = self.machine.retry_stop() else { return };
        let cells = &self.target().cluster().attached().cells;
        match stop {
            RetryStop::Limit => cells.retry(RetryOutcome::LimitExceeded),
            RetryStop::Refused(RetryRefused::MaxRetries) => {
                cells.overflow(Overflow::Retries);
                cells.retry(RetryOutcome::Overflow);
            }
            RetryStop::Refused(_) => cells.retry(RetryOutcome::BudgetExhausted),
            _ => {}
        }
    }

    /// When the machine's timer is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.machine.poll_timeout().map(|(at, _)| at)
    }

    /// The machine's timer is due.
    pub(super) fn timeout(&mut self, now: Timestamp) -> Action {
        for (id, activity) in &self.activity {
            self.machine.handle_activity(*id, activity.last());
        }
        let was_backing_off = self.machine.is_backing_off();
        let mut gate = Gate { saved: &self.saved, slots: &mut self.slots };
        let action = self.machine.handle_timeout(&mut gate, now);
        self.count_stop(&action);
        if matches!(action, Action::Start(_)) && !was_backing_off {
            self.target().cluster().attached().cells.hedge();
        }
        action
    }

    /// The call ends with this attempt's answer.
    pub(super) fn commit<R>(
        &mut self,
        id: AttemptId,
        answer: Answer<R>,
    ) -> Response<MeshResponseBody<R>>
    where
        R: Body<Data = Bytes> + Unpin,
        R::Error: Into<BoxError>,
    {
        let Answer { mut head, body, peeked, scope: attempt, .. } = answer;
        self.saved.clear();
        let target = &*self.slots.target;
        let idle = [target.forward().idle_timeout, self.machine.per_try_idle_timeout()];
        let idle = idle.into_iter().flatten().min();
        let activity = self.activity.iter().find(|(of, _)| *of == id);
        let activity = activity.map(|(_, activity)| activity.clone());
        let limits = Limits { deadline: self.machine.deadline(), idle, activity };
        let counts = self.machine.counts();
        let grpc_status = attempt.grpc_status();
        if let Some(call) = &mut self.scope {
            let status = Some(attempt.counted_status().unwrap_or(head.status));
            let flag = self.machine.retry_stop().and_then(RetryStop::flag);
            call.head(Code { status, grpc_status, flag }, counts);
        }
        target.route().edit_response(target.split(), &mut head.headers);
        for cookie in self.hash.set_cookies.drain(..) {
            head.headers.append(SET_COOKIE, cookie);
        }
        let kept = self.keeps_report();
        if kept {
            let mut report = self.finished_report(attempt.head_at());
            report.body = BodyTime::expected();
            if self.options.server_timing {
                head.headers.append(CallReport::SERVER_TIMING, report.server_timing());
            }
            if self.wants_report() {
                head.extensions.insert(report.clone());
            }
            self.report = Some(Box::new(report));
        }
        let mut call = self.scope.take();
        if let Some(call) = &mut call {
            call.keep_report(self.report.take(), kept);
            if let Some(line) = call.line() {
                line.response(head.status, &head.headers, attempt.head_at());
            }
        }
        let mut body = MeshResponseBody::upstream(body, peeked, limits, attempt, call);
        body.answers_head(self.is_head);
        Response::from_parts(head, body)
    }

    /// The call ends without an answer.
    #[cold]
    pub(super) fn finish(
        &mut self,
        reason: Reason,
        source: Option<BoxError>,
        now: Timestamp,
    ) -> Error {
        self.saved.clear();
        self.end_back_off(now);
        let counts = self.machine.counts();
        let mut line = None;
        if let Some(mut scope) = self.scope.take() {
            line = scope.take_line();
            scope.failed(reason.flag(), Some(counts.attempt), now);
        }
        let target = self.slots.target.clone();
        let last = self.report.as_ref().and_then(|report| report.attempts.last()?.cluster.clone());
        let station = Station {
            virtual_host: Some(target.route().virtual_host().clone()),
            route: Some(target.route().name().clone()),
            cluster: last.or_else(|| cluster_of(&target)),
            endpoint: self.last.clone(),
            attempts: counts.attempt,
            origin: None,
        };
        let flag = self.machine.retry_stop().and_then(RetryStop::flag);
        let report = self.finished_report(now);
        let error = Error::new(reason, station)
            .with_source(source)
            .with_extra_flag(flag)
            .with_report(Some(report));
        if let Some(line) = line {
            line.failed(&error, now);
        }
        error
    }

    /// The call ends because what the machine asked for is not there: a mistake of this layer, which
    /// must not become a panic of the caller's.
    #[cold]
    pub(super) fn lost(&mut self) -> Error {
        debug_assert!(false, "the machine asked for a request or an answer that is gone");
        let (reason, processed) = (ResetReason::Local, Processed::Maybe);
        self.finish(Reason::Attempt(Failure::Reset { reason, processed }), None, clock::now())
    }

    #[cold]
    fn finished_report(&mut self, now: Timestamp) -> CallReport {
        let mut report = self.report.take().map_or_else(CallReport::new, |report| *report);
        report.duration = now.saturating_duration_since(self.began);
        report.retry_stop = self.machine.retry_stop();
        report
    }
}
