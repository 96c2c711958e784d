//! [`AttemptScope`]: everything that an attempt holds, and the one place that reports how it went.

use crate::clock;
use crate::error::Station;
use crate::net::Net;
use crate::observe::cluster::{AttemptRecord, LocalityCells};
use crate::observe::code::Code;
use crate::observe::span::ThinSpan;
use crate::observe::spans::BegunSpan;
use crate::observe::{AttemptOutcome, AttemptReport, Phase, Phases};
use crate::routed::Place;
use http::{StatusCode, response};
use mesh_core::Timestamp;
use mesh_core::local_reply::ResponseFlag;
use mesh_core::model::Locality;
use mesh_core::outcome::{
    self, Class, ConnectFailure, Failure, Observation, Outcome, ResponseOutcome,
};
use mesh_core::state::InFlight;
use std::sync::Arc;
use std::time::Duration;

/// Everything that an attempt holds until its response body ends. Dropping it releases all, and
/// reports what is not reported yet.
#[derive(Debug)]
pub(crate) struct AttemptScope {
    in_flight: InFlight<Net>,
    locality: Option<Arc<LocalityCells>>,
    times: Times,
    head_at: Timestamp,
    grpc: bool,
    /// Whether the load of its cluster is reported, and this attempt is counted for that.
    load: bool,
    report: Report,
    code: Code,
    /// When the attempt ended, when that is known: the clock need not be read again.
    ended: Option<Timestamp>,
    span: ThinSpan,
    /// What a collector is told of it, if it is sampled.
    traced: Option<Box<BegunSpan>>,
}

/// The times of an attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When the endpoint was picked.
    pub(super) started: Timestamp,
    /// How long the attempt waited before that for an endpoint to be there.
    pub(super) waited: Duration,
    /// When the attempt is given up.
    pub(super) deadline: Option<Timestamp>,
}

/// How far the endpoint's report has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// Nothing is known yet.
    Head,
    /// The head of a gRPC answer came; its status is in the trailers.
    Trailers,
    /// All is said.
    Done,
}

impl AttemptScope {
    pub(super) fn new(
        in_flight: InFlight<Net>,
        locality: Option<Arc<LocalityCells>>,
        grpc: bool,
        times: Times,
        (span, traced): (ThinSpan, Option<Box<BegunSpan>>),
    ) -> Self {
        let load = locality.as_ref().is_some_and(|locality| locality.attempt_started());
        let (head_at, report, code) = (times.started, Report::Head, Code::default());
        let ended = None;
        Self { in_flight, locality, times, head_at, grpc, load, report, code, ended, span, traced }
    }

    /// The span of the attempt.
    pub(super) const fn span(&self) -> &ThinSpan {
        &self.span
    }

    /// The guard of the attempt.
    pub(crate) const fn in_flight(&self) -> &InFlight<Net> {
        &self.in_flight
    }

    /// When the attempt began, before it waited for an endpoint.
    pub(crate) fn begun(&self) -> Timestamp {
        self.times.started - self.times.waited
    }

    /// The status that counts: what a classifier says, else what the response said.
    pub(crate) const fn counted_status(&self) -> Option<StatusCode> {
        self.code.status
    }

    /// Where its endpoint is.
    pub(crate) fn locality(&self) -> Locality {
        self.locality.as_ref().map(|cells| cells.locality().clone()).unwrap_or_default()
    }

    /// When the response head came.
    pub(crate) const fn head_at(&self) -> Timestamp {
        self.head_at
    }

    /// The attempt is over at `now`: everything is released.
    pub(crate) fn end(mut self, now: Timestamp) {
        self.ended = Some(now);
    }

    /// The attempt is over at `now`, before its body has ended.
    #[cold]
    pub(crate) fn cut_off(mut self, flag: ResponseFlag, now: Timestamp) {
        self.code.flag.get_or_insert(flag);
        self.ended = Some(now);
    }

    /// Where the attempt is, for its call.
    pub(crate) fn place(&self) -> Place {
        let endpoint = self.in_flight.endpoint();
        let (address, started) = (endpoint.address().clone(), self.begun());
        let target = Arc::clone(self.in_flight.target());
        Place { endpoint: endpoint.id(), address, target, started }
    }

    /// What is known of its answer, `None` before there is one; times count from `call_started`.
    #[cold]
    pub(crate) fn report(&self, call_started: Timestamp) -> Option<AttemptReport> {
        let (status, grpc_status) = (self.code.status?, self.code.grpc_status);
        let mut report = AttemptReport::new(AttemptOutcome::Response { status, grpc_status });
        report.cluster = Some(Arc::clone(self.in_flight.target().cluster().name()));
        report.endpoint = Some(self.in_flight.endpoint().address().clone());
        report.locality = self.locality();
        report.started = self.begun().saturating_duration_since(call_started);
        report.duration = self.head_at.saturating_duration_since(self.begun());
        Some(report)
    }

    /// Where the attempt is, for errors.
    pub(crate) fn station(&self) -> Station {
        let target = self.in_flight.target();
        Station {
            virtual_host: Some(Arc::clone(target.route().virtual_host())),
            route: Some(Arc::clone(target.route().name())),
            cluster: Some(Arc::clone(target.cluster().name())),
            endpoint: Some(self.in_flight.endpoint().address().clone()),
            attempts: 1,
            origin: None,
        }
    }

    /// Reports the response head, and adds the time to the first byte to the phases. A gRPC answer whose status is still to come in trailers is reported when they do: HTTP 200 says
    /// nothing of it.
    pub(super) fn head(
        &mut self,
        head: &response::Parts,
        class: Option<Class>,
        phases: &mut Phases,
        now: Timestamp,
    ) {
        let grpc = self.grpc;
        let (status, headers) = (head.status, &head.headers);
        let response = ResponseOutcome::new(status, headers, None, grpc).with_class(class);
        let grpc_status = response.grpc_status;
        let pending = grpc && class.is_none() && status == StatusCode::OK && grpc_status.is_none();
        self.report = if pending { Report::Trailers } else { Report::Done };
        self.head_at = now;
        // What a classifier says counts, not what the status says.
        let counted = class.and_then(|_| StatusCode::from_u16(response.observed_code()).ok());
        self.code = Code { status: Some(counted.unwrap_or(status)), grpc_status, flag: None };
        let elapsed = now.saturating_duration_since(self.times.started);
        let cluster = self.in_flight.target().cluster();
        let endpoint = self.in_flight.endpoint();
        let outcome = Outcome::Response(response);
        if pending {
            cluster.record_head(endpoint, elapsed, now);
        } else if cluster.record(endpoint, &outcome, elapsed, now) {
            cluster.attached().wake_driver();
        }
        let before: u128 = phases.iter().map(|(_, duration)| duration.as_nanos()).sum();
        let before = Duration::from_nanos(u64::try_from(before).unwrap_or(u64::MAX));
        phases.add(Phase::FirstByte, elapsed.saturating_sub(before));
    }

    /// Counts the phases of the attempt so far, with its wait for an endpoint.
    pub(super) fn phases(&self, phases: &mut Phases) {
        if !self.times.waited.is_zero() {
            phases.add(Phase::Waiting, self.times.waited);
        }
        if let Some(locality) = &self.locality {
            locality.cluster().phases(phases);
        }
    }

    /// Counts a connection of somebody else's that was not made.
    #[cold]
    pub(super) fn connection_failed(&self, why: ConnectFailure) {
        if let Some(locality) = &self.locality {
            locality.cluster().connection_failed(why);
        }
    }

    /// Reports the gRPC status of the trailers, once.
    pub(crate) fn trailers(&mut self, grpc_status: Option<u32>, now: Timestamp) {
        if self.report == Report::Trailers {
            self.report = Report::Done;
            let status = grpc_status.unwrap_or(outcome::grpc::UNKNOWN);
            self.code.grpc_status = Some(status);
            self.observe(Observation::Code(outcome::grpc_to_http(status)), now);
        }
    }

    /// The gRPC status of the answer, as far as it is known.
    pub(crate) const fn grpc_status(&self) -> Option<u32> {
        self.code.grpc_status
    }

    /// Reports that the body broke off, whatever its head said (Envoy: `onUpstreamReset`); unless the
    /// caller's own request body did it.
    #[cold]
    pub(crate) fn broken(&mut self, failure: &Failure, now: Timestamp) {
        self.code.flag = Some(failure.flag());
        self.report = Report::Done;
        if let Some(observation) = failure.observation() {
            self.observe(observation, now);
        }
    }

    /// Reports an attempt without a response head.
    #[cold]
    pub(super) fn failed(&mut self, failure: &Failure, now: Timestamp) {
        self.report = Report::Done;
        self.code.flag = Some(failure.flag());
        let elapsed = now.saturating_duration_since(self.times.started);
        let cluster = self.in_flight.target().cluster();
        let outcome = Outcome::Failed(failure.clone());
        if cluster.record(self.in_flight.endpoint(), &outcome, elapsed, now) {
            cluster.attached().wake_driver();
        }
    }

    /// Whether the attempt counts as failed in load reports: it was not answered whole, or with a 5xx; of
    /// gRPC, with anything but OK.
    fn has_failed(&self) -> bool {
        let Code { status, grpc_status, flag } = self.code;
        flag.is_some()
            || status.is_none_or(|status| status.is_server_error())
            || (self.grpc && grpc_status != Some(outcome::grpc::OK))
    }

    fn observe(&self, observation: Observation, now: Timestamp) {
        let cluster = self.in_flight.target().cluster();
        let elapsed = now.saturating_duration_since(self.times.started);
        if cluster.observe(self.in_flight.endpoint(), observation, elapsed, now) {
            cluster.attached().wake_driver();
        }
    }
}

impl Drop for AttemptScope {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(clock::now);
        let elapsed = now.saturating_duration_since(self.times.started);
        if self.report != Report::Done {
            let timed_out = self.times.deadline.is_some_and(|deadline| deadline <= now);
            let headers_seen = self.report == Report::Trailers;
            let failure = if timed_out {
                Failure::PerTryTimeout
            } else {
                Failure::Cancelled { elapsed, headers_seen }
            };
            match (headers_seen, timed_out) {
                (false, _) => self.failed(&failure, now),
                (true, true) => self.broken(&failure, now),
                (true, false) => {}
            }
        }
        self.code.record(&self.span);
        if let Some(traced) = self.traced.take() {
            traced.end(self.code, elapsed);
        }
        if let Some(locality) = &self.locality {
            let body = now.saturating_duration_since(self.head_at);
            let body = self.code.status.map(|_| body);
            locality.attempt_finished(&AttemptRecord { code: self.code, duration: elapsed, body });
            if self.load {
                locality.load_ended(self.has_failed());
            }
        }
    }
}
