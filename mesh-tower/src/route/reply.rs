//! Redirects and direct responses: answers that a route gives by itself.
//!
//! They are calls like others: counted under their route, told in the span, and reported when that was
//! asked for. They have no cluster and no attempt.

use super::count;
use crate::clock;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use crate::net::Net;
use crate::observe::access_log::{CallLine, DIRECT_RESPONSE, Ended, Way};
use crate::observe::code::Code;
use crate::observe::span::ThinSpan;
use crate::observe::{CallReport, Phase};
use crate::options::CallOptions;
use bytes::Bytes;
use http::Response;
use mesh_core::Timestamp;
use mesh_core::local_reply::Reason;
use mesh_core::outcome::grpc_status;
use mesh_core::state::ReplyTarget;
use std::sync::Arc;

/// A call that is answered by its route.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) grpc: bool,
    pub(super) options: CallOptions,
    pub(super) started: Timestamp,
    /// What the access log will say of it.
    pub(super) line: Option<Box<CallLine>>,
}

impl Answered {
    /// Answers with what `target` replies.
    pub(super) fn by<R>(
        mut self,
        target: &ReplyTarget<Net>,
        reply: Result<Response<Bytes>, Reason>,
        span: &ThinSpan,
    ) -> Result<Response<MeshResponseBody<R>>, Error> {
        let route = target.route();
        if span.is_wanted() {
            span.record("virtual_host", &**route.virtual_host());
            span.record("route", &**route.name());
        }
        let mut reply = match reply {
            Ok(reply) => reply,
            Err(reason) => {
                let code = Code { flag: Some(reason.flag()), ..Code::default() };
                count(target.attached(), code, self.started);
                let station = Station {
                    virtual_host: Some(Arc::clone(route.virtual_host())),
                    route: Some(Arc::clone(route.name())),
                    ..Station::default()
                };
                let error = Error::new(reason, station).with_report(Some(self.report()));
                if let Some(line) = self.line {
                    line.failed(&error, clock::now());
                }
                return Err(error);
            }
        };
        if self.grpc {
            reply = crate::grpc::of_reply(reply);
        }
        let grpc_status = self.grpc.then(|| grpc_status(reply.headers())).flatten();
        let code = Code { status: Some(reply.status()), grpc_status, flag: None };
        code.record(span);
        count(target.attached(), code, self.started);
        if self.options.report {
            let report = self.report();
            if self.options.server_timing {
                reply.headers_mut().append(CallReport::SERVER_TIMING, report.server_timing());
            }
            reply.extensions_mut().insert(report);
        }
        if let Some(line) = self.line.take() {
            self.log(*line, target, code, &reply);
        }
        Ok(reply.map(|body| MeshResponseBody::local((!body.is_empty()).then_some(body))))
    }

    #[cold]
    fn log(
        &self,
        mut line: CallLine,
        target: &ReplyTarget<Net>,
        code: Code,
        reply: &Response<Bytes>,
    ) {
        let (now, route, report) = (clock::now(), target.route(), self.report());
        line.response(reply.status(), reply.headers(), now);
        line.sends_whole(reply.body().len());
        let way = Way {
            virtual_host: Some(route.virtual_host()),
            route: Some(route.name()),
            ..Way::default()
        };
        let details = DIRECT_RESPONSE;
        let ended = Ended { way, details, report: Some(&report), ..Ended::default() };
        line.answered(code, ended, now);
    }

    fn report(&self) -> CallReport {
        let mut report = CallReport::new();
        report.duration = clock::now().saturating_duration_since(self.started);
        report.phases.add(Phase::Routing, report.duration);
        report
    }
}
