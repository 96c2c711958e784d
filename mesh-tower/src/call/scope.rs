//! [`CallScope`]: what is counted of a call when it is over, wherever it ends.

use crate::endpoint::AttemptScope;
use crate::net::Net;
use crate::observe::access_log::{CallLine, Ended, Way};
use crate::observe::code::Code;
use crate::observe::events::RetryOutcome;
use crate::observe::report::BodyTime;
use crate::observe::span::ThinSpan;
use crate::observe::target::CallRecord;
use crate::observe::{CallReport, Phase, Phases};
use mesh_core::Timestamp;
use mesh_core::call::AttemptCounts;
use mesh_core::local_reply::ResponseFlag;
use mesh_core::outcome;
use mesh_core::state::Target;
use std::sync::Arc;
use std::time::Duration;

/// Counts a call once: at the end of its response body, at its failure, or when it is dropped.
#[derive(Debug)]
pub(crate) struct CallScope {
    target: Arc<Target<Net>>,
    started: Timestamp,
    attempts: u32,
    retries: u32,
    code: Code,
    done: bool,
    /// What the call went through before its answer; with `reported`, that answer too.
    report: Option<Box<CallReport>>,
    reported: bool,
    span: ThinSpan,
    line: Option<Box<CallLine>>,
}

impl CallScope {
    pub(super) fn new(
        target: Arc<Target<Net>>,
        started: Timestamp,
        span: ThinSpan,
        line: Option<Box<CallLine>>,
    ) -> Self {
        target.attached().call_started();
        if span.is_wanted() {
            span.record("virtual_host", &**target.route().virtual_host());
            span.record("route", &**target.route().name());
            span.record("cluster", &**target.cluster().name());
        }
        Self {
            target,
            started,
            attempts: 0,
            retries: 0,
            code: Code::default(),
            done: false,
            report: None,
            reported: false,
            span,
            line,
        }
    }

    /// A response head was accepted; its flag says why a retry of it was not made (Envoy: `URX`, `UO`).
    pub(super) fn head(&mut self, code: Code, counts: AttemptCounts) {
        self.code = code;
        (self.attempts, self.retries) = (counts.attempt, counts.retries);
    }

    /// The span of the call.
    pub(crate) const fn span(&self) -> &ThinSpan {
        &self.span
    }

    /// What the access log will say of it; `None`: nothing.
    pub(crate) fn line(&mut self) -> Option<&mut CallLine> {
        self.line.as_deref_mut()
    }

    /// Whether the access log will say something of it.
    pub(super) const fn is_logged(&self) -> bool {
        self.line.is_some()
    }

    /// The same, for who writes the line of a failure: then it is not written here.
    pub(crate) const fn take_line(&mut self) -> Option<Box<CallLine>> {
        self.line.take()
    }

    /// The caller gives up: what the call went through until then.
    #[cold]
    pub(super) fn give_up(&mut self, report: Option<Box<CallReport>>, counts: AttemptCounts) {
        self.report = report;
        (self.attempts, self.retries) = (counts.attempt, counts.retries);
    }

    /// Keeps what the call went through, for the error that the response body may end in.
    pub(super) fn keep_report(&mut self, report: Option<Box<CallReport>>, reported: bool) {
        (self.report, self.reported) = (report, reported);
    }

    /// How many attempts were made.
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The report of a call whose response body broke off at `now`, in the answer of `attempt`.
    pub(crate) fn report(&mut self, attempt: &AttemptScope, now: Timestamp) -> CallReport {
        let mut report = self.report.take().map_or_else(CallReport::new, |report| *report);
        if !self.reported
            && let Some(answer) = attempt.report(self.started)
        {
            report.attempts.push(answer);
        }
        report.duration = attempt.head_at().saturating_duration_since(self.started);
        report.body = BodyTime::expected();
        report.body.tell(now.saturating_duration_since(attempt.head_at()));
        report
    }

    /// The response body has ended, `after` its head.
    pub(crate) fn body_ended(&self, after: Duration) {
        if let Some(report) = &self.report {
            report.body.tell(after);
        }
    }

    /// Trailers came, with this status.
    pub(crate) const fn trailers(&mut self, grpc_status: Option<u32>) {
        if self.code.grpc_status.is_none() {
            self.code.grpc_status = grpc_status;
        }
    }

    /// The response is complete.
    pub(crate) fn complete(mut self, now: Timestamp) {
        self.finish(now);
    }

    /// The call ended without a (whole) response.
    pub(crate) fn failed(mut self, flag: ResponseFlag, attempts: Option<u32>, now: Timestamp) {
        self.code.flag = Some(flag);
        self.attempts = attempts.unwrap_or(self.attempts);
        self.finish(now);
    }

    fn finish(&mut self, now: Timestamp) {
        self.done = true;
        let duration = now.saturating_duration_since(self.started);
        if self.retries > 0 && self.is_good() {
            self.target.cluster().attached().cells.retry(RetryOutcome::Success);
        }
        let (code, attempts) = (self.code, self.attempts);
        code.record(&self.span);
        self.span.record("attempts", attempts);
        if let Some(line) = self.line.take() {
            self.log(*line, now);
        }
        self.target.attached().call_finished(&CallRecord { code, duration, attempts });
    }

    /// Writes the line of a call that did not fail.
    #[cold]
    fn log(&self, line: CallLine, now: Timestamp) {
        let (route, cluster) = (self.target.route(), self.target.cluster());
        let way = Way {
            virtual_host: Some(route.virtual_host()),
            route: Some(route.name()),
            cluster: Some(cluster.name()),
            endpoint: None,
        };
        let report = self.report.as_deref();
        let ended = Ended { way, attempts: self.attempts, report, ..Ended::default() };
        match self.code.flag {
            Some(ResponseFlag::DownstreamConnectionTermination) => {
                line.given_up(self.code, ended, now);
            }
            _ => line.answered(self.code, ended, now),
        }
    }

    fn is_good(&self) -> bool {
        self.code.flag.is_none()
            && self.code.status.is_some_and(|status| !status.is_server_error())
            && self.code.grpc_status.is_none_or(|status| status == outcome::grpc::OK)
    }
}

impl Drop for CallScope {
    /// The caller dropped the call, or the body before its end.
    fn drop(&mut self) {
        if !self.done {
            self.code.flag = Some(ResponseFlag::DownstreamConnectionTermination);
            self.finish(crate::clock::now());
        }
    }
}

/// The call itself spent time, which counts and is reported.
#[cold]
pub(super) fn spent(
    target: &Target<Net>,
    report: &mut CallReport,
    phase: Phase,
    duration: Duration,
) {
    let mut phases = Phases::new();
    phases.add(phase, duration);
    target.cluster().attached().cells.phases(&phases);
    report.phases.add(phase, duration);
}

pub(super) fn cluster_of(target: &Arc<Target<Net>>) -> Option<Arc<str>> {
    Some(Arc::clone(target.cluster().name()))
}
