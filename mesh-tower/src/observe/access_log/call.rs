//! [`CallLine`]: the line of a call.

use super::line::{Came, Line, Logging, Received, VIA_UPSTREAM};
use super::stream::OfPort;
use crate::MeshBody;
use crate::error::Error;
use crate::inbound_context::Inbound;
use crate::observe::code::Code;
use crate::observe::{AttemptOutcome, AttemptReport, CallReport, Phase, Phases, TraceContext};
use http::{HeaderMap, Request, StatusCode};
use http_body::{Body as _, Frame};
use mesh_core::Timestamp;
use mesh_core::access_log::{Attempt, Side};
use mesh_core::local_reply::ResponseFlag;
use mesh_core::model::Address;
use mesh_core::outcome::Failure;
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// The line of a call that is not over; dropped, it is not written.
#[derive(Debug)]
pub(crate) struct CallLine {
    line: Box<Line>,
    grpc: bool,
    /// It is the connection of bytes that came on this one.
    bytes: Option<OfPort>,
}

/// Where a call went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way<'a> {
    pub(crate) virtual_host: Option<&'a str>,
    pub(crate) route: Option<&'a str>,
    /// The cluster of its last attempt, where no report says it.
    pub(crate) cluster: Option<&'a str>,
    /// Its endpoint.
    pub(crate) endpoint: Option<&'a Address>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended<'a> {
    pub(crate) way: Way<'a>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) flags: &'a [ResponseFlag],
    pub(crate) reason: Option<&'a str>,
    pub(crate) details: &'a str,
    pub(crate) attempts: u32,
    pub(crate) report: Option<&'a CallReport>,
    /// The status that stands for it, where none was received.
    pub(crate) stands_for: Option<StatusCode>,
}

impl CallLine {
    /// Keeps what the line of a call will say, and counts its body.
    #[cold]
    pub(crate) fn new(
        logging: &Arc<Logging>,
        request: &mut Request<MeshBody>,
        started: Timestamp,
    ) -> Box<Self> {
        let came = Came {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
        };
        let mut line = Line::new(logging, came, started);
        let of_program = || request.extensions().get::<TraceContext>().copied();
        let of_inbound = || Inbound::of_call(request.extensions())?.trace_context();
        line.trace_id = line
            .trace_id
            .or_else(|| of_program().or_else(of_inbound).map(|trace| trace.trace_id()));
        let grpc = mesh_core::head::is_grpc_content_type(request.headers());
        let body = std::mem::take(request.body_mut());
        line.received = match body.as_full() {
            Some(bytes) => Received::Known(bytes.map_or(0, |bytes| bytes.len() as u64)),
            None if body.is_end_stream() => Received::Known(0),
            None => Received::Counted(Arc::default()),
        };
        *request.body_mut() = match &line.received {
            Received::Counted(bytes) => MeshBody::counted(body, Arc::clone(bytes)),
            Received::Known(_) => body,
        };
        let bytes = request.extensions_mut().remove();
        Box::new(Self { line, grpc, bytes })
    }

    /// The head of the response.
    pub(crate) fn response(&mut self, status: StatusCode, headers: &HeaderMap, now: Timestamp) {
        self.line.response(status, headers, now);
    }

    /// The trailers of the response.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.line.trailers(trailers);
    }

    /// A part of the response's body goes out.
    pub(crate) fn sends<T: AsRef<[u8]>>(&mut self, frame: &Frame<T>) {
        if let Some(data) = frame.data_ref() {
            self.line.sent = self.line.sent.saturating_add(data.as_ref().len() as u64);
        }
    }

    /// The whole body of a local reply goes out.
    pub(crate) const fn sends_whole(&mut self, bytes: usize) {
        self.line.sent = bytes as u64;
    }

    /// What it has become has carried so many bytes, to the endpoint and back.
    pub(crate) fn carried(&mut self, there: u64, back: u64) {
        (self.line.received, self.line.sent) = (Received::Known(there), back);
    }

    /// The call was answered, with this code.
    pub(crate) fn answered(self, code: Code, ended: Ended<'_>, now: Timestamp) {
        let flags: SmallVec<[_; 1]> = code.flag.into_iter().collect();
        let details = if ended.details.is_empty() { VIA_UPSTREAM } else { ended.details };
        let grpc_status = code.grpc_status;
        self.write(Ended { flags: &flags, details, grpc_status, ..ended }, now);
    }

    /// The caller gave the call up, or the body of its response.
    #[cold]
    pub(crate) fn given_up(self, code: Code, ended: Ended<'_>, now: Timestamp) {
        let flags = [ResponseFlag::DownstreamConnectionTermination];
        let failure = Failure::Cancelled { elapsed: Duration::ZERO, headers_seen: false };
        let details = failure.to_string();
        let reason = Some(failure.code());
        let grpc_status = code.grpc_status;
        self.write(Ended { flags: &flags, reason, details: &details, grpc_status, ..ended }, now);
    }

    /// The call has failed.
    #[cold]
    pub(crate) fn failed(self, error: &Error, now: Timestamp) {
        let station = error.station();
        let flags: SmallVec<[_; 2]> =
            [Some(error.response_flag()), error.extra_flag()].into_iter().flatten().collect();
        let details = match error.why() {
            Some(why) => format!("{}: {why}", error.reason()),
            None => error.reason().to_string(),
        };
        let way = Way {
            virtual_host: station.virtual_host.as_deref(),
            route: station.route.as_deref(),
            cluster: station.cluster.as_deref(),
            endpoint: station.endpoint.as_ref(),
        };
        let grpc_status = self.grpc.then(|| error.grpc_status());
        self.write(
            Ended {
                way,
                grpc_status,
                flags: &flags,
                reason: Some(error.code()),
                details: &details,
                attempts: station.attempts,
                report: error.report(),
                stands_for: Some(error.http_status()),
            },
            now,
        );
    }

    fn write(self, ended: Ended<'_>, now: Timestamp) {
        let Ended { way, grpc_status, flags, reason, details, attempts, report, stands_for } =
            ended;
        let line = &*self.line;
        let own = line.logging.own_uris();
        let own: SmallVec<[&str; 2]> = own.iter().map(|uri| &**uri).collect();
        let told = report.map(|report| report.attempts.as_slice()).unwrap_or_default();
        let last = told.last();
        let of_attempts: SmallVec<[_; 2]> = told.iter().map(|one| list(&one.phases)).collect();
        let listed = told.iter().zip(&of_attempts).map(|(one, phases)| attempt(one, phases));
        let listed: SmallVec<[Attempt<'_>; 2]> = listed.collect();
        let failure = last.and_then(transport_failure);
        let body = line.response_at().map(|head| now.saturating_duration_since(head));
        let phases = list(&all_phases(report, body));
        let mut record = line.record(Side::Client, now);
        record.status = record.status.or(stands_for);
        (record.grpc_status, record.flags) = (grpc_status, flags);
        (record.reason, record.details) = (reason, Some(details));
        (record.virtual_host, record.route) = (way.virtual_host, way.route);
        record.cluster = last.and_then(|last| last.cluster.as_deref()).or(way.cluster);
        record.endpoint = last.and_then(|last| last.endpoint.as_ref()).or(way.endpoint);
        (record.attempt, record.attempts) = (attempts, &listed);
        (record.transport_failure, record.phases) = (failure.as_deref(), &phases);
        (record.own_uris, record.own_identity) = (&own, own.first().copied());
        record.peer_identity = last.and_then(peer);
        if let Some(bytes) = &self.bytes {
            bytes.tell(&mut record);
        }
        line.logging.log.write(record);
    }
}

/// Who the endpoint of an attempt proved to be.
fn peer(report: &AttemptReport) -> Option<&str> {
    let tls = report.connection.as_ref()?.tls.as_ref()?;
    Some(&*tls.peer).filter(|peer| !peer.is_empty())
}

/// Phases by their names.
fn list(phases: &Phases) -> SmallVec<[(&'static str, Duration); 4]> {
    phases.iter().map(|(phase, duration)| (phase.as_str(), duration)).collect()
}

/// Those of the call, of all its attempts, and of the response's body.
fn all_phases(report: Option<&CallReport>, body: Option<Duration>) -> Phases {
    let mut phases = report.map_or_else(Phases::new, |report| report.phases);
    for attempt in report.map(|report| report.attempts.as_slice()).unwrap_or_default() {
        attempt.phases.iter().for_each(|(phase, duration)| phases.add(phase, duration));
    }
    if let Some(body) = body {
        phases.add(Phase::Body, body);
    }
    phases
}

fn attempt<'a>(report: &'a AttemptReport, phases: &'a [(&'a str, Duration)]) -> Attempt<'a> {
    let mut attempt = Attempt::new();
    attempt.cluster = report.cluster.as_deref();
    attempt.endpoint = report.endpoint.as_ref();
    (attempt.flag, attempt.reason) = (report.outcome.flag(), report.outcome.code());
    if let AttemptOutcome::Response { status, grpc_status } = report.outcome {
        (attempt.status, attempt.grpc_status) = (Some(status), grpc_status);
    }
    (attempt.started, attempt.duration) = (report.started, report.duration);
    attempt.phases = phases;
    attempt
}

/// Why an attempt had no connection.
fn transport_failure(report: &AttemptReport) -> Option<String> {
    match &report.outcome {
        AttemptOutcome::Failed(failure @ Failure::Connect(_)) => Some(failure.to_string()),
        AttemptOutcome::Failed(_) | AttemptOutcome::Response { .. } => None,
    }
}
