//! [`AccessLine`]: what the log says of a request: an event for the program's own, and a line of the access log.

use super::enter::Gate;
use super::reply::Refused;
use super::scope::RequestScope;
use crate::observe::access_log::{Came, DIRECT_RESPONSE, Line, Logging, Received, VIA_UPSTREAM};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response};
use http_body::Frame;
use mesh_core::access_log::Side;
use mesh_core::identity::PeerCertificate;
use mesh_core::identity::xfcc::X_FORWARDED_CLIENT_CERT;
use mesh_core::inbound::head::HeadSurvey;
use mesh_core::{ResponseFlag, Timestamp};
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// What is kept of a request for what is said of it.
pub(super) struct AccessLine {
    /// The program's log wants an event.
    event: bool,
    method: Method,
    path: String,
    details: Option<Arc<str>>,
    /// Why it was refused.
    refused: Option<&'static str>,
    /// The policy that denied it.
    denied: Option<Arc<str>>,
    /// When the service was called.
    served: Option<Timestamp>,
    /// The route answered by itself.
    is_direct: bool,
    /// The access log wants a line.
    line: Option<Box<Line>>,
}

impl AccessLine {
    /// `None`: nobody wants to know.
    pub(super) fn of(gate: &Gate, parts: &Parts, started: Timestamp) -> Option<Box<Self>> {
        let event = tracing::enabled!(target: "mesh::access", tracing::Level::DEBUG);
        if !event && gate.log.is_none() {
            return None;
        }
        Some(Box::new(Self {
            event,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            details: None,
            refused: None,
            denied: None,
            served: None,
            is_direct: false,
            line: gate.log.as_ref().map(|log| line(log, parts, started)),
        }))
    }

    /// What its caller may not say is not in its line either; `trusted`: see [`HeadSurvey::strip`].
    pub(super) fn strip(&mut self, survey: &HeadSurvey, trusted: bool) {
        if let Some(line) = &mut self.line {
            survey.strip(&mut line.headers, trusted);
        }
    }

    /// What the service is told of its callers' certificates; until it is known, the line has none of it.
    pub(super) fn xfcc(&mut self, headers: &HeaderMap) {
        let Some(line) = &mut self.line else { return };
        if line.names(&X_FORWARDED_CLIENT_CERT)
            && let Some(value) = headers.get(X_FORWARDED_CLIENT_CERT)
        {
            line.headers.insert(X_FORWARDED_CLIENT_CERT, value.clone());
        }
    }

    /// What is said of it, unless it is refused.
    pub(super) fn note(&mut self, details: Option<Arc<str>>) {
        if details.is_some() && self.refused.is_none() {
            self.details = details;
        }
    }

    /// It was refused.
    pub(super) fn refuse(&mut self, refused: &Refused) {
        self.details = Some(Arc::clone(&refused.details));
        self.refused = Some(refused.reason);
        if !refused.policy.is_empty() {
            self.denied = Some(Arc::clone(&refused.policy));
        }
    }

    /// The service is called now; `Some`: what counts the request's body.
    pub(super) fn serve(&mut self, now: impl FnOnce() -> Timestamp) -> Option<Arc<AtomicU64>> {
        let line = self.line.as_mut()?;
        let bytes = Arc::default();
        line.received = Received::Counted(Arc::clone(&bytes));
        self.served = Some(now());
        Some(bytes)
    }

    /// The layer's own answer goes out, with this body: that of its route, or a refusal.
    pub(super) fn answer_here(&mut self, body: &Bytes) {
        self.is_direct = true;
        if let Some(line) = &mut self.line {
            line.sent = body.len() as u64;
        }
    }

    /// A response head goes out.
    pub(super) fn head<B>(&mut self, response: &Response<B>, now: impl FnOnce() -> Timestamp) {
        if let Some(line) = &mut self.line {
            line.response(response.status(), response.headers(), now());
        }
    }

    /// A part of the response's body goes out.
    pub(super) fn sends(&mut self, frame: &Frame<Bytes>) {
        let Some(line) = &mut self.line else { return };
        if let Some(data) = frame.data_ref() {
            line.sent = line.sent.saturating_add(data.len() as u64);
        } else if let Some(trailers) = frame.trailers_ref() {
            line.trailers(trailers);
        }
    }

    /// The trailers that end a response before its end.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(line) = &mut self.line {
            line.trailers(trailers);
        }
    }

    /// It is over.
    #[cold]
    pub(super) fn tell(&self, scope: &RequestScope, now: Timestamp) {
        if self.event {
            self.event(scope, now.saturating_duration_since(scope.started));
        }
        if let (Some(line), Some(log)) = (&self.line, &scope.common.gate.log) {
            self.write(line, log, scope, now);
        }
    }

    fn event(&self, scope: &RequestScope, duration: Duration) {
        let route = scope.route().map_or("", |served| served.route.name());
        tracing::debug!(
            target: "mesh::access",
            listener = &*scope.common.gate.listening.listener,
            route,
            method = %self.method,
            path = self.path,
            peer = scope.peer().name(),
            attempt = scope.inbound.attempts(),
            status = scope.code.status.map_or(0, |status| status.as_u16()),
            grpc_status = scope.code.grpc_status,
            response_flag = scope.code.flag.map_or("-", ResponseFlag::as_str),
            policy = scope.policy.as_deref(),
            details = self.details.as_deref(),
            duration = ?duration,
            "request"
        );
    }

    fn write(&self, line: &Line, log: &Logging, scope: &RequestScope, now: Timestamp) {
        let flags: SmallVec<[_; 1]> = scope.code.flag.into_iter().collect();
        let connection = scope.common.connection.as_deref();
        let certificate = scope.peer().certificate();
        let peer_uris = certificate.map(uris).unwrap_or_default();
        let of_mesh;
        let own = match connection.and_then(|connection| connection.own_uris.as_deref()) {
            Some(own) => own,
            None => {
                of_mesh = log.own_uris();
                of_mesh.as_slice()
            }
        };
        let own: SmallVec<[&str; 2]> = own.iter().map(|uri| &**uri).collect();
        let phases = self.phases(line, scope.started, now);
        let own_words = if self.is_direct { DIRECT_RESPONSE } else { VIA_UPSTREAM };
        let words = Some(own_words).filter(|_| scope.code.status.is_some());
        let mut record = line.record(Side::Server, now);
        (record.grpc_status, record.flags) = (scope.code.grpc_status, &flags);
        (record.reason, record.details) = (self.refused, self.details.as_deref().or(words));
        if let Some(served) = scope.route() {
            record.virtual_host = Some(served.route.virtual_host());
            record.route = Some(served.route.name());
        }
        record.attempt = scope.inbound.attempts();
        record.phases = &phases;
        let client = scope.client.map(|client| SocketAddr::new(client, 0));
        record.remote = client.or_else(|| connection?.remote);
        record.local = connection.and_then(|connection| connection.local);
        record.server_name = connection.map(|connection| &*connection.server_name);
        record.peer_uris = &peer_uris;
        record.peer_subject = certificate.map(|certificate| &*certificate.subject);
        record.peer_identity = scope.peer().principals().next();
        (record.own_uris, record.own_identity) = (&own, own.first().copied());
        record.policy = self.denied.as_deref().or(scope.policy.as_deref());
        record.listener = Some(&scope.common.gate.listening.listener);
        let trace = scope.inbound.trace_context().map(|trace| trace.trace_id());
        record.trace_id = trace.or(record.trace_id);
        log.log.write(record);
    }

    /// Where the time went: `mesh` before the service, `application` until its answer, `body` after that.
    fn phases(
        &self,
        line: &Line,
        started: Timestamp,
        now: Timestamp,
    ) -> SmallVec<[(&'static str, Duration); 3]> {
        let head = line.response_at();
        let mut phases = SmallVec::new();
        let served = self.served.or(head).unwrap_or(now);
        phases.push(("mesh", served.saturating_duration_since(started)));
        if let Some(served) = self.served {
            let answered = head.unwrap_or(now);
            phases.push(("application", answered.saturating_duration_since(served)));
        }
        if let Some(head) = head {
            phases.push(("body", now.saturating_duration_since(head)));
        }
        phases
    }
}

fn line(log: &Arc<Logging>, parts: &Parts, started: Timestamp) -> Box<Line> {
    let Parts { method, uri, version, headers, .. } = parts;
    let mut line = Line::new(log, Came { method, uri, version: *version, headers }, started);
    line.headers.remove(X_FORWARDED_CLIENT_CERT);
    line
}

fn uris(certificate: &PeerCertificate) -> SmallVec<[&str; 2]> {
    certificate.uris.iter().map(|uri| &**uri).collect()
}
