//! [`Gate`]: the way of a request to its service: what `mesh_core` decides, done.

use super::body_limit::BodyLimit;
use super::filters::{Drive, Wait};
use super::observer::AuditSink;
use super::reply;
use super::scope::{RequestScope, trace};
use super::served::Listening;
use crate::clock;
use crate::inbound_context::Inbound;
use crate::net::Draw;
use crate::observe::TraceContext;
use crate::observe::access_log::Logging;
use crate::server::Connection;
use bytes::Bytes;
use http::header::{HOST, LOCATION};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, Version};
use http_body::SizeHint;
use mesh_core::Timestamp;
use mesh_core::head::{Peer, RequestHead, without_userinfo};
use mesh_core::identity::xfcc::{X_FORWARDED_CLIENT_CERT, XfccAction};
use mesh_core::inbound::client_address::{X_FORWARDED_FOR, client_address, forwarded_for};
use mesh_core::inbound::head::{HeadSurvey, HostAction};
use mesh_core::inbound::path::{NormalizedPath, PathRefused, normalize};
use mesh_core::inbound::{CompiledHttp, HandedOn, HostRefused, Refusal};
use mesh_core::local_reply::Reason;
use mesh_core::model::HttpConnectionManager;
use mesh_core::proxy::cookies;
use mesh_core::router::{Decision, RouteError};
use std::sync::Arc;

/// What requests of a listener go through.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) listening: Arc<Listening>,
    pub(super) audit: Arc<dyn AuditSink>,
    /// Whether responses say how long they took.
    pub(super) timing: bool,
    /// Who writes a line of each.
    pub(super) log: Option<Arc<Logging>>,
}

/// What to do with a request.
pub(super) enum Next {
    /// It goes to the service.
    Service,
    /// It is answered here.
    Reply(Box<Response<Bytes>>),
    /// A filter waits for something; then [`Gate::filters`] again.
    Wait(Wait),
}

impl Gate {
    /// Takes a request in, which has a body of this size.
    pub(super) fn enter(
        &self,
        parts: &mut Parts,
        size: &SizeHint,
        scope: &mut RequestScope,
    ) -> Next {
        let survey = HeadSurvey::new(&parts.uri, &parts.headers);
        scope.grpc = survey.grpc;
        let admitted = self.admit(parts, size, &survey, scope);
        scope.strip_line(&survey);
        scope.entered();
        match admitted {
            Ok(None) => self.filters(parts, scope, Drive::Start),
            Ok(Some(reply)) => Next::Reply(Box::new(reply)),
            Err(refusal) => Next::Reply(Box::new(scope.refuse(&refusal))),
        }
    }

    /// Everything before the filters. `Some`: it is answered by this.
    fn admit(
        &self,
        parts: &mut Parts,
        size: &SizeHint,
        survey: &HeadSurvey,
        scope: &mut RequestScope,
    ) -> Result<Option<Response<Bytes>>, Refusal> {
        let common = &scope.common;
        let connection = common.connection.as_ref().ok_or(Refusal::NoConnection)?;
        if self.listening.mesh.shared().registry.mesh().overload().refuses_requests() {
            return Err(Refusal::Overloaded);
        }
        if connection.over().is_over() {
            return Err(Refusal::ConnectionOver);
        }
        let chain = common.chain.as_ref().map_err(Refusal::clone)?;
        let http = chain.http().ok_or(Refusal::NotHttp)?;
        if chain.compiled.model().until.is_some_and(|until| until <= clock::wall()) {
            return Err(Refusal::ChainGone);
        }
        let model = http.model();
        survey.check(&model.limits)?;
        scope.body_limit = check_body(size, model)?;
        // Who proved who he is belongs to the mesh, and is believed about deadlines and the like.
        let trusted = connection.peer.certificate().is_some();
        set_host(parts, survey)?;
        scope.inbound = inbound(parts, survey, trusted, scope.started)?;
        if let Some(spans) = self.listening.mesh.shared().registry.spans() {
            scope.traced = trace(&mut scope.inbound, spans, parts, survey.grpc);
        }
        if survey.cookies > 1 && parts.version == Version::HTTP_2 {
            cookies::join(&mut parts.headers);
        }
        if let Some(path) = set_path(parts, survey, model)? {
            return Ok(Some(reply::redirect(path)));
        }
        survey.strip(&mut parts.headers, trusted);
        self.set_xfcc(parts, survey, model, connection);
        if let Some(access) = &mut scope.access {
            access.xfcc(&parts.headers);
        }
        scope.client = client_address(model, &parts.headers);
        if let Some(value) = forwarded_for(model, &parts.headers, connection.remote) {
            parts.headers.insert(X_FORWARDED_FOR, value);
        }
        if scope.inbound.deadline_at().is_some_and(|deadline| deadline <= scope.started) {
            return Err(Refusal::DeadlineExceeded);
        }
        // gRFC A36: a route of a server does not forward.
        if chain.hands_on() && !connection.passes_on() {
            return Err(Refusal::Route(RouteError::UnknownCluster));
        }
        let (target, answer) = route(parts, http, connection)?;
        scope.routed(target);
        scope.answer = answer.map(|answer| own_answer(answer, survey.grpc));
        Ok(None)
    }

    fn set_xfcc(
        &self,
        parts: &mut Parts,
        survey: &HeadSurvey,
        model: &HttpConnectionManager,
        connection: &Connection,
    ) {
        let headers = &mut parts.headers;
        let own = || connection.xfcc(&self.listening.mesh);
        match XfccAction::of(model.forward_client_cert, &connection.peer) {
            XfccAction::Keep => {}
            XfccAction::Remove if !survey.xfcc => {}
            XfccAction::Remove => {
                headers.remove(X_FORWARDED_CLIENT_CERT);
            }
            XfccAction::Append if survey.xfcc => {
                if let Some(value) = own().and_then(|own| appended(headers, own)) {
                    headers.insert(X_FORWARDED_CLIENT_CERT, value);
                }
            }
            XfccAction::Set | XfccAction::Append => match own() {
                Some(own) => {
                    headers.insert(X_FORWARDED_CLIENT_CERT, own.clone());
                }
                // What came must not stay because ours can't be written.
                None => {
                    headers.remove(X_FORWARDED_CLIENT_CERT);
                }
            },
        }
    }
}

/// What follows the filters: the route's own answer, or the service.
pub(super) fn after(parts: &mut Parts, scope: &mut RequestScope) -> Next {
    if let Some(answer) = scope.answer.take() {
        return Next::Reply(answer);
    }
    if let Some(served) = scope.route()
        && served.route.edits_request(None)
    {
        served.route.edit_request(None, &mut parts.headers);
    }
    if let Ok(chain) = &scope.common.chain
        && chain.hands_on()
    {
        let handed = HandedOn::new(Arc::clone(&chain.compiled), scope.target);
        parts.extensions.insert(handed);
    }
    Next::Service
}

/// A body that is known to be too large is not read at all; of others the bytes are counted.
fn check_body(
    size: &SizeHint,
    model: &HttpConnectionManager,
) -> Result<Option<BodyLimit>, Refusal> {
    let Some(limit) = model.limits.max_body_bytes else { return Ok(None) };
    if size.lower() > limit {
        return Err(Refusal::BodyTooLarge { limit });
    }
    let is_counted = size.upper().is_none_or(|upper| upper > limit);
    Ok(is_counted.then(|| BodyLimit::new(limit)))
}

/// Makes the request have one host, in one place.
fn set_host(parts: &mut Parts, survey: &HeadSurvey) -> Result<(), Refusal> {
    let action = HostAction::of(survey, parts.version, &parts.uri, &parts.headers);
    match action.map_err(Refusal::Host)? {
        HostAction::Keep => {}
        HostAction::DropHeader => {
            parts.headers.remove(HOST);
        }
        HostAction::Rename(authority) => {
            parts.headers.remove(HOST);
            set_authority(&mut parts.uri, authority);
        }
        HostAction::FollowUri => {
            let authority = parts.uri.authority().map_or("", Authority::as_str);
            let host = HeaderValue::from_str(without_userinfo(authority));
            let host = host.ok().ok_or(Refusal::Host(HostRefused::Invalid))?;
            parts.headers.insert(HOST, host);
        }
    }
    Ok(())
}

fn set_authority(uri: &mut Uri, authority: Authority) {
    let mut parts = std::mem::take(uri).into_parts();
    parts.authority = Some(authority);
    parts.scheme.get_or_insert(Scheme::HTTP);
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    // Scheme, authority and path are all there, which is what a URI needs.
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// What the request passes on to the calls that are made for it.
fn inbound(
    parts: &mut Parts,
    survey: &HeadSurvey,
    trusted: bool,
    now: Timestamp,
) -> Result<Inbound, Refusal> {
    let mut inbound = Inbound::new().attempt(survey.attempt());
    if let Some(deadline) = survey.deadline(trusted, now)? {
        inbound = inbound.until(deadline);
    }
    if survey.trace
        && let Some((trace, state)) = TraceContext::extract(&parts.headers)
    {
        inbound = inbound.trace(trace);
        if let Some(state) = state {
            parts.extensions.insert(state);
        }
    }
    Ok(inbound)
}

/// Makes the path the one that everything sees. `Some`: the caller is sent to this.
fn set_path(
    parts: &mut Parts,
    survey: &HeadSurvey,
    model: &HttpConnectionManager,
) -> Result<Option<HeaderValue>, Refusal> {
    // For what can't be: what a normalized path consists of stands in a header, and in a URI.
    const INVALID: Refusal = Refusal::Path(PathRefused::InvalidEscape);
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let (path, redirects) = match normalize(path, &model.path)? {
        NormalizedPath::Unchanged => return Ok(None),
        NormalizedPath::Changed(path) => (path, false),
        NormalizedPath::Redirect(path) => (path, true),
    };
    if redirects {
        // Envoy: clients of gRPC follow nowhere. And what begins with two slashes is another host to all others, of
        // either kind to browsers.
        if survey.grpc || path.starts_with("//") || path.starts_with("/\\") {
            return Err(Refusal::Path(PathRefused::EscapedSlash));
        }
        return HeaderValue::try_from(path).ok().map(Some).ok_or(INVALID);
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(PathAndQuery::try_from(path).ok().ok_or(INVALID)?);
    parts.uri = Uri::from_parts(uri).ok().ok_or(INVALID)?;
    Ok(None)
}

/// What came, and `own` behind it.
fn appended(headers: &HeaderMap, own: &HeaderValue) -> Option<HeaderValue> {
    let mut value = Vec::new();
    for came in headers.get_all(X_FORWARDED_CLIENT_CERT) {
        value.extend_from_slice(came.as_bytes());
        value.push(b',');
    }
    value.extend_from_slice(own.as_bytes());
    HeaderValue::from_bytes(&value).ok()
}

/// What a route answers by itself, or why it can't.
type Answer = Result<Response<Bytes>, Reason>;

/// Finds the route, and what it answers by itself once the filters let it.
fn route(
    parts: &Parts,
    http: &CompiledHttp,
    connection: &Connection,
) -> Result<(u32, Option<Answer>), Refusal> {
    let head = head_of(parts, connection);
    let (decision, _) = http.route(&head, &mut Draw).map_err(Refusal::Route)?;
    match decision {
        Decision::NonForwarding { target, .. }
        | Decision::Redirect { target, .. }
        | Decision::DirectResponse { target, .. } => {
            Ok((target, CompiledHttp::answer(&decision, &head)))
        }
        _ => Err(Refusal::Route(RouteError::UnknownCluster)),
    }
}

/// What a route answers by itself.
#[cold]
fn own_answer(answer: Answer, grpc: bool) -> Box<Response<Bytes>> {
    let answer = answer.unwrap_or_else(|_unsendable| {
        let mut reply = Response::new(Bytes::new());
        *reply.status_mut() = StatusCode::BAD_REQUEST;
        reply.headers_mut().remove(LOCATION);
        reply
    });
    Box::new(if grpc { crate::grpc::of_reply(answer) } else { answer })
}

/// What the router may see of a request.
fn head_of<'a>(parts: &'a Parts, connection: &'a Connection) -> RequestHead<'a> {
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let authority = match parts.uri.authority() {
        Some(authority) => without_userinfo(authority.as_str()),
        None => {
            let host = parts.headers.get(HOST);
            host.and_then(|host| host.to_str().ok()).unwrap_or_default()
        }
    };
    let mut head = RequestHead::new(&parts.method, authority, path, &parts.headers);
    head.scheme = parts.uri.scheme_str();
    let identity = connection.peer.principals().next().filter(|name| !name.is_empty());
    head.peer = Peer { address: connection.remote, identity };
    head
}
