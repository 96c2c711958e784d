//! [`RequestScope`]: what is known of a request until it has ended, wherever it ends.

use super::access::AccessLine;
use super::body_limit::BodyLimit;
use super::common::{Common, OwnOrShared};
use super::enter::Gate;
use super::reply::{self, Refused};
use super::served::ServedRoute;
use crate::clock;
use crate::inbound_context::{Inbound, Within};
use crate::net::Draw;
use crate::observe::ServerTime;
use crate::observe::code::Code;
use crate::observe::span::ThinSpan;
use crate::observe::spans::{BegunSpan, Spans};
use crate::server::streams::{poll_deadline, turn_began};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version, response};
use http_body::Frame;
use mesh_core::call::backoff::GRPC_RETRY_PUSHBACK_MS;
use mesh_core::filter::{Chain, End, FilterReply, Overrides, Pass};
use mesh_core::head::without_userinfo;
use mesh_core::identity::Peer;
use mesh_core::inbound::Refusal;
use mesh_core::inbound::head::HeadSurvey;
use mesh_core::outcome::{grpc, grpc_status};
use mesh_core::{Random as _, ResponseFlag, Timestamp};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;
use tracing::field::{Empty, display};
use tracing::span::Entered;

const X_MESH_RETRY: HeaderName = mesh_core::call::retry::X_MESH_RETRY;

/// A request in progress. Counted once: at the end of its response body, or when it is dropped before.
pub(super) struct RequestScope {
    /// Where it came, on what, and what it is served by.
    pub(super) common: OwnOrShared,
    /// The route that took it; `None`: none did, so far.
    pub(super) target: Option<u32>,
    /// Who made it, as proxies say that are believed; `None`: the connection's other end.
    pub(super) client: Option<IpAddr>,
    pub(super) pass: Pass,
    /// What the route answers by itself, once the filters let it.
    pub(super) answer: Option<Box<Response<Bytes>>>,
    pub(super) inbound: Inbound,
    pub(super) started: Timestamp,
    /// When the service was called.
    served: Option<Timestamp>,
    pub(super) grpc: bool,
    version: Version,
    /// An answer to HEAD has no content (RFC 9110 section 9.3.2).
    pub(super) is_head: bool,
    pub(super) body_limit: Option<BodyLimit>,
    pub(super) code: Code,
    /// What the log wants to know.
    pub(super) access: Option<Box<AccessLine>>,
    /// Until its end.
    pub(super) span: ThinSpan,
    /// What a collector is told of it, if it is sampled.
    pub(super) traced: Option<Box<BegunSpan>>,
    /// The policy that let it through, or did not, where the log wants it.
    pub(super) policy: Option<Arc<str>>,
    /// Until the caller's deadline; made once the service, or its body, made the caller wait.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Its answer did not come to its end.
    cancelled: bool,
    done: bool,
}

impl RequestScope {
    pub(super) fn new(common: OwnOrShared, parts: &Parts, started: Timestamp) -> Self {
        let (access, span) = {
            let gate = &common.gate;
            (AccessLine::of(gate, parts, started), span(gate, parts))
        };
        Self {
            common,
            target: None,
            client: None,
            pass: Pass::new(Draw.next_u64()),
            answer: None,
            inbound: Inbound::new(),
            started,
            served: None,
            grpc: false,
            version: parts.version,
            is_head: parts.method == Method::HEAD,
            body_limit: None,
            code: Code::default(),
            access,
            span,
            traced: None,
            policy: None,
            deadline: None,
            cancelled: false,
            done: false,
        }
    }

    /// Ready: the caller's deadline has passed.
    pub(super) fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.inbound.deadline_at() else { return Poll::Pending };
        if let Some(polled) = poll_deadline(cx, at).filter(|_| self.deadline.is_none()) {
            return polled;
        }
        let timer = || Box::pin(tokio::time::sleep_until(clock::instant(at)));
        self.deadline.get_or_insert_with(timer).as_mut().poll(cx)
    }

    /// Whether the caller's deadline has passed.
    pub(super) fn is_late(&self) -> bool {
        let now = || turn_began().unwrap_or_else(clock::now);
        self.inbound.deadline_at().is_some_and(|deadline| deadline <= now())
    }

    /// A collector is told of it.
    #[cold]
    fn tell_traced(&self, mut traced: BegunSpan, duration: Duration) {
        traced.tell("mesh.listener", &self.common.gate.listening.listener);
        if let Some(served) = self.route() {
            traced.tell("mesh.virtual_host", served.route.virtual_host());
            traced.tell("mesh.route", served.route.name());
        }
        traced.tell("mesh.peer", self.peer().name());
        traced.end(self.code, duration);
    }

    /// Who sent it, as far as it is proven.
    pub(super) fn peer(&self) -> &Peer {
        self.common.connection.as_ref().map_or(&Peer::Plaintext, |connection| &connection.peer)
    }

    /// The route that took it.
    pub(super) fn route(&self) -> Option<&ServedRoute> {
        self.common.chain.as_ref().ok()?.route(self.target?)
    }

    /// This route took it.
    pub(super) fn routed(&mut self, target: u32) {
        self.target = Some(target);
        if let Some(route) = self.route() {
            route.cells.started();
        }
    }

    /// Whether the log or the span wants to know what decided about it.
    pub(super) const fn wants_reasons(&self) -> bool {
        self.access.is_some() || self.span.is_wanted()
    }

    /// The line has no more of the head than the service: whatever becomes of the request, nobody writes
    /// there what they may not say.
    pub(super) fn strip_line(&mut self, survey: &HeadSurvey) {
        let trusted = self.access.is_some() && self.peer().certificate().is_some();
        if let Some(access) = &mut self.access {
            access.strip(survey, trusted);
        }
    }

    /// Tells the span what is known once the head was looked at.
    pub(super) fn entered(&self) {
        let span = &self.span;
        if !span.is_wanted() {
            return;
        }
        span.record("peer", self.peer().name());
        span.record("attempt", self.inbound.attempts());
        if let Some(trace) = self.inbound.trace_context() {
            let id = u128::from_be_bytes(trace.trace_id());
            span.record("trace_id", display(format_args!("{id:032x}")));
            // Of one that is sampled our own span is in there by now.
            let own = self.traced.as_ref().map(|traced| traced.parent().unwrap_or_default());
            let id = u64::from_be_bytes(own.unwrap_or_else(|| trace.span_id()));
            span.record("parent_id", display(format_args!("{id:016x}")));
        }
        if let Some(served) = self.route() {
            span.record("virtual_host", &**served.route.virtual_host());
            span.record("route", &**served.route.name());
        }
    }

    /// What is done until the guard is dropped is the service's: within its `Inbound`, and its span.
    #[inline(always)]
    pub(super) fn enter(&mut self) -> (Within<'_>, Option<Entered<'_>>) {
        (self.inbound.enter(), self.span.enter())
    }

    /// The service is called now.
    pub(super) fn served_from(&mut self, now: impl Fn() -> Timestamp) {
        if self.common.gate.timing {
            self.served = Some(now());
        }
        if let Some(bytes) = self.access.as_mut().and_then(|line| line.serve(now)) {
            // What counts bytes against a limit counts them for the log.
            let limit = self.body_limit.get_or_insert_with(|| BodyLimit::new(u64::MAX));
            bytes.store(limit.read(), Ordering::Relaxed);
            limit.counter = bytes;
        }
    }

    // === Answers of the layer's own ===

    /// Answers what the layer refuses.
    pub(super) fn refuse(&mut self, refusal: &Refusal) -> Response<Bytes> {
        self.code.flag = refusal.flag();
        let reply = reply::refusal(refusal, self.grpc, self.version);
        self.refused(reply, Refused::by_layer(refusal))
    }

    /// What the log is to say of it, whatever becomes of it.
    pub(super) fn noted(&mut self, policy: Option<Arc<str>>, details: Option<Arc<str>>) {
        if let Some(policy) = policy {
            self.span.record("policy", &*policy);
            self.policy = Some(policy);
        }
        if let Some(line) = &mut self.access {
            line.note(details);
        }
    }

    /// Answers what a filter refused, for `reason`; `denied`: by this policy.
    pub(super) fn refuse_by_filter(
        &mut self,
        filter: &FilterReply,
        reason: &'static str,
        denied: Option<Arc<str>>,
    ) -> Response<Bytes> {
        let refused = Refused::by_filter(filter, reason, denied);
        self.refused(reply::filter(filter, self.grpc), refused)
    }

    fn refused(&mut self, mut reply: Response<Bytes>, refused: Refused) -> Response<Bytes> {
        self.note_refused(&refused);
        reply.extensions_mut().insert(refused);
        reply
    }

    /// Metrics, span and log are told that it was refused.
    pub(super) fn note_refused(&mut self, refused: &Refused) {
        self.common.gate.listening.cells.refused(refused.reason, &refused.filter, &refused.policy);
        self.span.record("error", &*refused.details);
        if let Some(line) = &mut self.access {
            line.refuse(refused);
        }
    }

    /// Answers that the caller gave up by now.
    pub(super) fn deadline_passed(&mut self) -> Response<Bytes> {
        self.refuse(&Refusal::DeadlineExceeded)
    }

    // === The response ===

    /// The layer's own answer goes out. Filters see it as any other.
    pub(super) fn answered_here<B>(&mut self, response: &mut Response<B>) {
        self.filters_see(response);
        self.head(response);
    }

    /// The whole body of that goes out.
    pub(super) fn sends_here(&mut self, body: &Bytes) {
        if let Some(line) = &mut self.access {
            line.answer_here(body);
        }
    }

    /// A part of the service's body goes out.
    pub(super) fn sends(&mut self, frame: &Frame<Bytes>) {
        if let Some(line) = &mut self.access {
            line.sends(frame);
        }
    }

    /// The filters that saw the request see the head of its answer, and may change it.
    fn filters_see<B>(&mut self, response: &mut Response<B>) {
        let Some((chain, overrides)) = filters(&self.common, self.target) else { return };
        if !self.pass.sees_response(chain) {
            return;
        }
        let mut head = Response::new(()).into_parts().0;
        swap_head(&mut head, response);
        self.pass.handle_response(chain, overrides, &mut head, clock::now());
        swap_head(&mut head, response);
    }

    /// A response head goes out, of the service or of the layer.
    fn head<B>(&mut self, response: &Response<B>) {
        let status = response.status();
        let headers = response.headers();
        self.code.status = Some(status);
        self.code.grpc_status = self.grpc.then(|| grpc_status(headers)).flatten();
        if let Some(line) = &mut self.access {
            line.head(response, clock::now);
        }
    }

    /// What the service answered is made what it is to be. Filters that look at answers do so between the
    /// edits of the route and what is counted.
    pub(super) fn answered<B>(&mut self, response: &mut Response<B>) {
        if let Some(served) = self.route()
            && served.route.edits_response(None)
        {
            served.route.edit_response(None, response.headers_mut());
        }
        self.filters_see(response);
        self.head(response);
        if self.inbound.is_exhausted() {
            self.push_back(response);
        }
        if let Some(served) = self.served {
            let mesh = served.saturating_duration_since(self.started);
            let application = clock::now().saturating_duration_since(served);
            let time = ServerTime { application, mesh };
            response.headers_mut().insert(ServerTime::HEADER, time.header_value());
        }
    }

    /// A call that was made for it had nothing left to try: only the hop nearest a failure retries.
    #[cold]
    fn push_back<B>(&self, response: &mut Response<B>) {
        if self.grpc {
            if self.code.grpc_status == Some(grpc::UNAVAILABLE) {
                never_again(response.headers_mut());
            }
        } else if self.code.status.is_some_and(|status| status.is_server_error()) {
            response.headers_mut().insert(X_MESH_RETRY, HeaderValue::from_static("no"));
        }
    }

    /// Trailers go out.
    pub(super) fn trailers(&mut self, trailers: &mut HeaderMap) {
        if !self.grpc || self.code.grpc_status.is_some() {
            return;
        }
        self.code.grpc_status = grpc_status(trailers);
        if self.inbound.is_exhausted() && self.code.grpc_status == Some(grpc::UNAVAILABLE) {
            never_again(trailers);
        }
    }

    /// The trailers of a gRPC response that the caller's deadline cuts off; `None`: it is not gRPC.
    pub(super) fn cut_off(&mut self) -> Option<HeaderMap> {
        self.code.flag = Refusal::DeadlineExceeded.flag();
        if !self.grpc {
            self.cancelled = true;
            return None;
        }
        self.code.grpc_status = Some(grpc::DEADLINE_EXCEEDED);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", grpc::DEADLINE_EXCEEDED.into());
        let text = HeaderValue::from_static("the caller's deadline passed");
        trailers.insert("grpc-message", text);
        if let Some(line) = &mut self.access {
            line.trailers(&trailers);
        }
        Some(trailers)
    }

    /// The service failed without a response, or its body broke off.
    pub(super) const fn broken(&mut self) {
        self.cancelled = true;
        if self.code.flag.is_none() {
            self.code.flag = Some(ResponseFlag::LocalReset);
        }
    }

    /// The response is complete, or as complete as it gets.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        if self.is_body_too_large() || self.pass.counts_body().is_some() {
            self.tell_of_body();
        }
        let now = clock::now();
        self.end_pass(now);
        let duration = now.saturating_duration_since(self.started);
        match self.route() {
            Some(route) => route.cells.finished(self.code, duration),
            None => {
                self.common.gate.listening.unrouted.started();
                self.common.gate.listening.unrouted.finished(self.code, duration);
            }
        }
        if let Some(connection) = &self.common.connection {
            let cells = &self.common.gate.listening.cells;
            connection.cells(|| cells.peer(&connection.peer)).count(self.code);
        }
        if let Some(traced) = self.traced.take() {
            self.tell_traced(*traced, duration);
        }
        if let Some(line) = self.access.take() {
            self.span.in_scope(|| line.tell(self, now));
        }
        let span = std::mem::take(&mut self.span);
        self.code.record(&span);
    }

    /// Filters get back what they gave.
    fn end_pass(&mut self, now: Timestamp) {
        let Code { status, grpc_status, .. } = self.code;
        let end = End { status, grpc_status, cancelled: self.cancelled };
        self.pass.handle_end(end, now);
    }
}

/// If a request is sampled, what it leads to is a child of its span, which is this.
pub(super) fn trace(
    inbound: &mut Inbound,
    spans: &Arc<Spans>,
    parts: &mut Parts,
    grpc: bool,
) -> Option<Box<BegunSpan>> {
    let traced = spans.serve(inbound.trace_context(), parts, grpc)?;
    *inbound = inbound.trace(traced.context());
    Some(traced)
}

/// The span of a request, which nobody has looked at.
fn span(gate: &Gate, parts: &Parts) -> ThinSpan {
    ThinSpan::new(tracing::debug_span!(
        target: "mesh::request",
        "request",
        listener = &*gate.listening.listener,
        method = %parts.method,
        authority = authority(parts),
        path = parts.uri.path(),
        peer = Empty,
        trace_id = Empty,
        parent_id = Empty,
        attempt = Empty,
        virtual_host = Empty,
        route = Empty,
        policy = Empty,
        status = Empty,
        grpc_status = Empty,
        response_flag = Empty,
        error = Empty,
    ))
}

fn authority(parts: &Parts) -> &str {
    let host = || parts.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let authority = parts.uri.authority().map(|authority| without_userinfo(authority.as_str()));
    authority.or_else(host).unwrap_or_default()
}

impl Drop for RequestScope {
    /// The caller went away, or takes nothing of the answer for too long.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.cancelled = true;
        if self.code.flag.is_none() {
            self.code.flag = match self.is_late() {
                true => Refusal::DeadlineExceeded.flag(),
                false => Some(ResponseFlag::DownstreamConnectionTermination),
            };
        }
        self.finish();
    }
}

/// The filters of a request, as its route has them; `None`: it was refused before them.
fn filters(common: &Common, target: Option<u32>) -> Option<(&Chain, &Overrides)> {
    let http = common.chain.as_ref().ok()?.http()?;
    Some((http.chain(), http.overrides(target?)))
}

/// Exchanges the heads of two responses, of which one has no body.
fn swap_head<B>(head: &mut response::Parts, response: &mut Response<B>) {
    std::mem::swap(&mut head.status, response.status_mut());
    std::mem::swap(&mut head.version, response.version_mut());
    std::mem::swap(&mut head.headers, response.headers_mut());
    std::mem::swap(&mut head.extensions, response.extensions_mut());
}

/// gRFC A6: a negative pushback is "do not retry".
fn never_again(headers: &mut HeaderMap) {
    headers.insert(GRPC_RETRY_PUSHBACK_MS, HeaderValue::from_static("-1"));
}
