//! What filters ask of somebody outside, what comes back, and what a failure is.
//!
//! A [`Question`] holds all that whoever is asked has to know; an [`Answer`] is what became of it, a
//! failure too. What an answer does to the request is decided in [`Pass::handle_answer`].
//!
//! [`Pass::handle_answer`]: super::Pass::handle_answer

use super::ext_authz::{HttpAnswers, PARTIAL_BODY};
use super::jwt::{JwtError, TokenCheck};
use crate::model::http_filter::{AuthzBody, AuthzService, ExtAuthz, GrpcService};
use crate::model::{HeaderMutation, Metadata, MetadataValue};
use crate::time::WallTime;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a filter wants to know.
#[derive(Debug)]
#[non_exhaustive]
pub struct Question {
    /// The filter.
    pub filter: Arc<str>,
    /// What it asks.
    pub kind: QuestionKind,
}

/// What is asked of whom.
#[derive(Debug)]
#[non_exhaustive]
pub enum QuestionKind {
    /// Whether the signatures of these tokens are good: [`Answer::Tokens`], as soon as something is known of one.
    Tokens(Vec<TokenCheck>),
    /// Whether the request may go on: [`Answer::Check`].
    Check(Box<CheckQuestion>),
    /// Whether the request is over a limit: [`Answer::Limit`].
    Limit(Box<LimitQuestion>),
}

/// What an authorizer is told of a request (Envoy: `service.auth.v3.AttributeContext`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckQuestion {
    /// Who is asked, and how.
    pub filter: Arc<ExtAuthz>,
    /// What the answers of an HTTP service mean; `None`: it is a gRPC service.
    pub http: Option<Arc<HttpAnswers>>,
    /// The method.
    pub method: Method,
    /// `http` or `https`.
    pub scheme: Arc<str>,
    /// The authority, or the `host` header.
    pub authority: Arc<str>,
    /// Path and query.
    pub path: Arc<str>,
    /// The version of HTTP.
    pub version: Version,
    /// The headers that the authorizer may see.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What `content-length` says; `None`: nothing.
    pub size: Option<u64>,
    /// The other end.
    pub source: Option<SocketAddr>,
    /// Our end.
    pub destination: Option<SocketAddr>,
    /// The other end's name, as policies see it; empty: it has none.
    pub source_principal: Arc<str>,
    /// The server name of the TLS handshake; empty: none, or it is not sent.
    pub server_name: Arc<str>,
    /// What filters before wrote, of the namespaces that are sent.
    pub metadata: Metadata,
    /// When the request came.
    pub wall: WallTime,
}

/// What an authorizer said (Envoy: `service.auth.v3.CheckResponse`).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CheckAnswer {
    /// Whether the request may go on.
    pub allowed: bool,
    /// It is no answer but a failure of its own (Envoy: `error_response`), with what the caller is told
    /// where requests that nobody answers are refused.
    pub failed: bool,
    /// Yes: edits of the request's headers. No: edits of the answer's.
    pub headers: Vec<HeaderMutation>,
    /// Yes: edits of the service's answer.
    pub response_headers: Vec<HeaderMutation>,
    /// Yes: parameters of the query that are set.
    pub query_parameters_to_set: Vec<(Arc<str>, Arc<str>)>,
    /// Yes: parameters of the query that are removed.
    pub query_parameters_to_remove: Vec<Arc<str>>,
    /// No: the status of the answer; `None`: 403, of a failure the filter's `status_on_error`.
    pub status: Option<StatusCode>,
    /// No: the body of the answer.
    pub body: Bytes,
    /// What later filters may look at, under `envoy.filters.http.ext_authz`.
    pub metadata: BTreeMap<Arc<str>, MetadataValue>,
    /// Some edit can't be written, or must not be made: it was left out.
    pub invalid_mutation: bool,
}

/// What a request counts as (Envoy: `service.ratelimit.v3.RateLimitRequest`).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LimitQuestion {
    /// Who counts.
    pub service: GrpcService,
    /// Which of its configurations is meant.
    pub domain: Arc<str>,
    /// What the request counts as; at least one.
    pub descriptors: Vec<LimitDescriptor>,
}

/// One thing that a request counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `RateLimitDescriptor`")]
pub struct LimitDescriptor {
    /// Keys and values, in their order.
    pub entries: Vec<(Arc<str>, Arc<str>)>,
    /// What the request counts for; `None`: 1.
    pub hits_addend: Option<u64>,
}

/// What whoever counts said (Envoy: `service.ratelimit.v3.RateLimitResponse`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitAnswer {
    /// Whether a limit is passed.
    pub over_limit: bool,
    /// What is left of each limit, in the order of the descriptors.
    pub statuses: Vec<LimitStatus>,
    /// Edits of the request's headers, when it goes on.
    pub request_headers: Vec<HeaderMutation>,
    /// Edits of the answer's headers.
    pub response_headers: Vec<HeaderMutation>,
    /// The body of the answer when a limit is passed.
    pub body: Bytes,
}

/// What is left of one limit (Envoy: `RateLimitResponse.DescriptorStatus`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitStatus {
    /// The limit; `None`: there is none.
    pub limit: Option<Limit>,
    /// How many more requests are within it.
    pub remaining: u32,
    /// When it begins anew.
    pub reset: Duration,
}

/// A limit of requests in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `RateLimit`")]
pub struct Limit {
    /// Its name; empty: none.
    pub name: Arc<str>,
    /// How many requests.
    pub requests: u32,
    /// In which time; zero: it was not said.
    pub unit: Duration,
}

/// What became of a question.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// Of each token, in the order of the question; `None`: its keys are still to come. If that of the others is not
    /// enough, the question about the rest is asked again. Where nothing is said of any, nothing will be.
    Tokens(Vec<Option<Result<(), JwtError>>>),
    /// What an authorizer said.
    Check(Result<CheckAnswer, AskFailure>),
    /// What whoever counts said.
    Limit(Result<LimitAnswer, AskFailure>),
    /// The request's body is longer than an authorizer may be sent.
    BodyTooLarge,
}

/// Why nobody answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster `{cluster}`: {kind}")]
#[non_exhaustive]
pub struct AskFailure {
    /// Who was asked.
    pub cluster: Arc<str>,
    /// What happened.
    pub kind: AskFailureKind,
}

/// What happened to a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskFailureKind {
    /// It could not be sent, or the answer broke off.
    #[error("{0}")]
    Call(Arc<str>),
    /// The answer took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Whoever was asked failed.
    #[error("it answered status {0}")]
    Status(u32),
    /// Whoever was asked said so (Envoy: `CheckResponse.error_response`).
    #[error("it answered that it failed")]
    Said,
    /// The answer can't be read.
    #[error("its answer can't be read: {0}")]
    Malformed(Arc<str>),
    /// The program can't ask.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl AskFailure {
    /// Nobody in `cluster` answered.
    #[must_use]
    pub fn new(cluster: &Arc<str>, kind: AskFailureKind) -> Self {
        Self { cluster: Arc::clone(cluster), kind }
    }
}

/// What a filter decided by an answer, or without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AskOutcome {
    /// The request goes on.
    Allowed,
    /// It is refused.
    Denied,
    /// Nobody answered, and it goes on.
    FailedOpen,
    /// Nobody answered, and it is refused.
    FailedClosed,
    /// Nobody was asked, for the filter is off for this request, and it goes on.
    NotAsked,
}

/// What a filter that asks decided, and why.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what was decided, whether it counts, and why")]
pub struct AskDecision<'a> {
    /// What was decided.
    pub outcome: AskOutcome,
    /// It only would have been: the request goes on whatever it is.
    pub shadow: bool,
    /// A stable name of the reason; empty: none.
    pub code: &'static str,
    /// Who was asked, where a service was.
    pub cluster: Option<&'a Arc<str>>,
    /// Why nobody answered.
    pub failure: Option<&'a AskFailure>,
}

impl Question {
    pub(super) fn new(filter: &Arc<str>, kind: QuestionKind) -> Self {
        Self { filter: Arc::clone(filter), kind }
    }

    /// The body that has to be sent along; `None`: none.
    #[must_use]
    pub fn body(&self) -> Option<AuthzBody> {
        match &self.kind {
            QuestionKind::Check(check) => check.filter.with_request_body,
            QuestionKind::Tokens(_) | QuestionKind::Limit(_) => None,
        }
    }

    /// The body that [`body`](Self::body) wants was read, and there may be `more`: the authorizer is told.
    /// Envoy: `x-envoy-auth-partial-body` is added to what it is sent, whichever headers it may see
    /// (`BufferSettings.allow_partial_message`).
    pub fn body_read(&mut self, more: bool) {
        if let QuestionKind::Check(check) = &mut self.kind
            && check.filter.with_request_body.is_some()
        {
            let value = HeaderValue::from_static(if more { "true" } else { "false" });
            check.headers.push((PARTIAL_BODY, value));
        }
    }

    /// The longest time to wait for an answer; zero: the request's own deadline. Keys have their own,
    /// each.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match &self.kind {
            QuestionKind::Tokens(_) => Duration::ZERO,
            QuestionKind::Check(check) => match &check.filter.service {
                AuthzService::Grpc(service) => service.timeout,
                AuthzService::Http(service) => service.server.timeout,
            },
            QuestionKind::Limit(limit) => limit.service.timeout,
        }
    }

    /// The answer that nobody could be asked: what [`Pass::handle_answer`](super::Pass::handle_answer)
    /// makes of it is the filter's to say.
    #[must_use]
    pub fn unanswered(&self, kind: AskFailureKind) -> Answer {
        match &self.kind {
            QuestionKind::Tokens(checks) => {
                Answer::Tokens(vec![Some(Err(JwtError::KeysUnavailable)); checks.len()])
            }
            QuestionKind::Check(check) => {
                Answer::Check(Err(AskFailure::new(check.filter.service.cluster(), kind)))
            }
            QuestionKind::Limit(limit) => {
                Answer::Limit(Err(AskFailure::new(&limit.service.cluster, kind)))
            }
        }
    }
}
