//! [`AttemptScope`]: everything that an attempt holds, and the one place that reports how it went.

use crate::clock;
use crate::error::Station;
use crate::net::Net;
use crate::observe::cluster::{AttemptRecord, LocalityCells};
use crate::observe::code::Code;
use crate::observe::{Phase, Phases};
use http::{HeaderMap, StatusCode, response};
use mesh_core::Timestamp;
use mesh_core::local_reply::ResponseFlag;
use mesh_core::outcome::{self, Class, Failure, Observation, Outcome, ResponseOutcome};
use mesh_core::state::InFlight;
use std::sync::Arc;

/// Everything that an attempt holds until its response body ends. Dropping it releases all, and
/// reports what is not reported yet.
#[derive(Debug)]
pub(crate) struct AttemptScope {
    in_flight: InFlight<Net>,
    locality: Option<Arc<LocalityCells>>,
    started: Timestamp,
    head_at: Timestamp,
    deadline: Option<Timestamp>,
    grpc: bool,
    report: Report,
    code: Code,
    /// When the attempt ended, when that is known: the clock need not be read again.
    ended: Option<Timestamp>,
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
        started: Timestamp,
        deadline: Option<Timestamp>,
    ) -> Self {
        if let Some(locality) = &locality {
            locality.attempt_started();
        }
        let (head_at, report, code) = (started, Report::Head, Code::default());
        let ended = None;
        Self { in_flight, locality, started, head_at, deadline, grpc, report, code, ended }
    }

    /// The guard of the attempt.
    pub(crate) const fn in_flight(&self) -> &InFlight<Net> {
        &self.in_flight
    }

    /// When the attempt began.
    pub(crate) const fn started(&self) -> Timestamp {
        self.started
    }

    /// When the response head came.
    pub(crate) const fn head_at(&self) -> Timestamp {
        self.head_at
    }

    /// The attempt is over at `now`: everything is released.
    pub(crate) fn end(mut self, now: Timestamp) {
        self.ended = Some(now);
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

    /// Reports the response head, and gives the phases back with the time to the first byte. A gRPC
    /// answer whose status is still to come in trailers is reported when they do: HTTP 200 says
    /// nothing of it.
    pub(super) fn head(
        &mut self,
        head: &response::Parts,
        class: Option<Class>,
        mut phases: Phases,
        now: Timestamp,
    ) -> Phases {
        let grpc = self.grpc;
        let (status, headers) = (head.status, &head.headers);
        let response = ResponseOutcome { status, headers, trailers: None, grpc, class };
        let grpc_status = response.grpc_status();
        let pending = grpc && class.is_none() && status == StatusCode::OK && grpc_status.is_none();
        self.report = if pending { Report::Trailers } else { Report::Done };
        self.head_at = now;
        self.code = Code { status: Some(status), grpc_status, flag: None };
        let elapsed = now.saturating_duration_since(self.started);
        let cluster = self.in_flight.target().cluster();
        let endpoint = self.in_flight.endpoint();
        let outcome = Outcome::Response(response);
        if pending {
            cluster.record_head(endpoint, elapsed, now);
        } else if cluster.record(endpoint, &outcome, elapsed, now) {
            cluster.attached().wake_driver();
        }
        let before: u128 = phases.iter().map(|(_, duration)| duration.as_nanos()).sum();
        let before = std::time::Duration::from_nanos(u64::try_from(before).unwrap_or(u64::MAX));
        phases.add(Phase::FirstByte, elapsed.saturating_sub(before));
        phases
    }

    /// Reports the gRPC status of the trailers, once.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.report == Report::Trailers {
            self.report = Report::Done;
            let status = outcome::grpc_status(trailers).unwrap_or(outcome::grpc::UNKNOWN);
            self.code.grpc_status = Some(status);
            self.observe(Observation::Code(outcome::grpc_to_http(status)));
        }
    }

    /// Reports that the body broke off.
    pub(crate) fn broken(&mut self, flag: ResponseFlag) {
        self.code.flag = Some(flag);
        if self.report == Report::Trailers {
            self.report = Report::Done;
            self.observe(Observation::Reset);
        }
    }

    /// Reports an attempt without a response head.
    pub(super) fn failed(&mut self, failure: &Failure, now: Timestamp) {
        self.report = Report::Done;
        self.code.flag = Some(failure.flag());
        let elapsed = now.saturating_duration_since(self.started);
        let cluster = self.in_flight.target().cluster();
        let outcome = Outcome::Failed(failure.clone());
        if cluster.record(self.in_flight.endpoint(), &outcome, elapsed, now) {
            cluster.attached().wake_driver();
        }
        if let (Failure::Connect(why), Some(cells)) = (failure, &self.locality) {
            cells.cluster().connection_failed(*why);
        }
    }

    fn observe(&self, observation: Observation) {
        let cluster = self.in_flight.target().cluster();
        if cluster.observe(self.in_flight.endpoint(), observation) {
            cluster.attached().wake_driver();
        }
    }
}

impl Drop for AttemptScope {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(clock::now);
        let elapsed = now.saturating_duration_since(self.started);
        if self.report == Report::Head {
            let timed_out = self.deadline.is_some_and(|deadline| deadline <= now);
            let failure = if timed_out {
                Failure::PerTryTimeout
            } else {
                Failure::Cancelled { elapsed, headers_seen: false }
            };
            self.failed(&failure, now);
        }
        if let Some(locality) = &self.locality {
            let (code, duration) = (self.code, elapsed);
            locality.attempt_finished(&AttemptRecord { code, duration, phases: None });
        }
    }
}
