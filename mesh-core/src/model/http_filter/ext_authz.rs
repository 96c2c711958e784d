//! A service that is asked whether a request may go on (Envoy: `extensions.filters.http.ext_authz.v3`).

use super::{GrpcService, HttpUri};
use crate::model::{Fraction, HeaderMutation, MetadataMatcher, StringMatcher};
use http::StatusCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Who is asked about a request, with what, and what a failure means (Envoy: `ExtAuthz`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ExtAuthz {
    /// The share of requests that it is asked about (Envoy: `filter_enabled`). Default: all.
    pub enabled: Fraction,
    /// It is asked only about requests of which filters before it know this (Envoy:
    /// `filter_enabled_metadata`); `None`: about all. Istio's action CUSTOM asks for the policy that the
    /// shadow rules of an RBAC filter have matched.
    pub enabled_metadata: Option<MetadataMatcher>,
    /// Requests that it is not asked about are refused with [`status_on_error`](Self::status_on_error)
    /// (Envoy: `deny_at_disable`). Default false: they go on.
    pub deny_at_disable: bool,
    /// Who is asked. Envoy's default of its timeout is 200 ms.
    pub service: AuthzService,
    /// A request goes on when nobody answers. Default false: it is refused.
    pub failure_mode_allow: bool,
    /// A request that went on for that reason says so: `x-envoy-auth-failure-mode-allowed: true`.
    pub failure_mode_allow_header_add: bool,
    /// What a request is answered when nobody answered about it. Default 403.
    pub status_on_error: StatusCode,
    /// Sends the request's body as well; `None`: only its head.
    pub with_request_body: Option<AuthzBody>,
    /// Sends the peer's certificate. Default false.
    pub include_peer_certificate: bool,
    /// Sends the server name of the TLS handshake. Default false.
    pub include_tls_session: bool,
    /// The headers that are sent; empty: all over gRPC, and only the necessary ones over HTTP.
    pub allowed_headers: Vec<StringMatcher>,
    /// Headers that are never sent.
    pub disallowed_headers: Vec<StringMatcher>,
    /// Whose metadata is sent (Envoy: `metadata_context_namespaces`).
    pub metadata_context_namespaces: Vec<Arc<str>>,
    /// Headers of an answer that can't be written refuse the request (500), whatever
    /// [`failure_mode_allow`](Self::failure_mode_allow) says. Default false: they are left out.
    pub validate_mutations: bool,
    /// Nothing is refused: what would be is counted, and no edit is made. Ours; default false.
    pub shadow: bool,
    /// What is sent besides, as routes say it ([`ExtAuthzPerRoute`]).
    pub context_extensions: BTreeMap<Arc<str>, Arc<str>>,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthzService {
    /// A gRPC service: `envoy.service.auth.v3.Authorization`.
    Grpc(GrpcService),
    /// An HTTP service: 200 means yes, and anything else is the answer.
    Http(HttpAuthz),
}

impl AuthzService {
    /// The cluster that it is in.
    #[must_use]
    pub const fn cluster(&self) -> &Arc<str> {
        match self {
            Self::Grpc(service) => &service.cluster,
            Self::Http(service) => &service.server.cluster,
        }
    }
}

/// An HTTP service that is asked (Envoy: `HttpService`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpAuthz {
    /// Where; only cluster, authority and timeout count.
    pub server: HttpUri,
    /// What comes before the request's path.
    pub path_prefix: Arc<str>,
    /// Edits of the headers that are sent (Envoy: `headers_to_add`).
    pub headers_to_add: Vec<HeaderMutation>,
    /// Headers of a yes that replace those of the request (Envoy: `allowed_upstream_headers`).
    pub allowed_upstream_headers: Vec<StringMatcher>,
    /// Headers of a yes that are added to those of the request.
    pub allowed_upstream_headers_to_append: Vec<StringMatcher>,
    /// Headers of a no that the caller gets; empty: all but `host` (Envoy: and pseudo headers).
    pub allowed_client_headers: Vec<StringMatcher>,
    /// Headers of a yes that the caller gets.
    pub allowed_client_headers_on_success: Vec<StringMatcher>,
    /// Headers of a yes that become metadata of `envoy.filters.http.ext_authz`.
    pub dynamic_metadata_from_headers: Vec<StringMatcher>,
}

/// The body that is sent along (Envoy: `BufferSettings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `BufferSettings`")]
pub struct AuthzBody {
    /// The most bytes that are kept and sent; at most [`MAX_AUTHZ_BODY`].
    pub max_request_bytes: u32,
    /// A longer body is sent in part. Otherwise it is refused: 413.
    pub allow_partial_message: bool,
    /// As bytes, for bodies that are no UTF-8.
    pub pack_as_bytes: bool,
}

/// The most bytes of a body that may be sent to an authorizer: 4 MiB, the longest gRPC message that
/// servers take by default.
pub const MAX_AUTHZ_BODY: u32 = 4 << 20;

/// What a route says of the filter (Envoy: `CheckSettings`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtAuthzPerRoute {
    /// Sent along, with those of less specific levels; a more specific one wins (Envoy:
    /// `FilterConfigPerRoute::merge`). All else is said by the most specific level alone.
    pub context_extensions: BTreeMap<Arc<str>, Arc<str>>,
    /// No body is sent.
    pub disable_request_body_buffering: bool,
    /// This body is sent; `None`: as the filter says.
    pub with_request_body: Option<AuthzBody>,
    /// Somebody else is asked; `None`: as the filter says.
    pub service: Option<AuthzService>,
}

impl ExtAuthz {
    /// Asks `service`, with Envoy's defaults.
    #[must_use]
    pub const fn new(service: AuthzService) -> Self {
        Self {
            enabled: Fraction::ALL,
            enabled_metadata: None,
            deny_at_disable: false,
            service,
            failure_mode_allow: false,
            failure_mode_allow_header_add: false,
            status_on_error: StatusCode::FORBIDDEN,
            with_request_body: None,
            include_peer_certificate: false,
            include_tls_session: false,
            allowed_headers: Vec::new(),
            disallowed_headers: Vec::new(),
            metadata_context_namespaces: Vec::new(),
            validate_mutations: false,
            shadow: false,
            context_extensions: BTreeMap::new(),
        }
    }

    /// The filter as a route has it, of which the most specific level says this.
    #[must_use]
    pub fn for_route(&self, said: &ExtAuthzPerRoute) -> Self {
        let mut own = self.clone();
        own.context_extensions.clone_from(&said.context_extensions);
        if said.disable_request_body_buffering {
            own.with_request_body = None;
        }
        if let Some(body) = said.with_request_body {
            own.with_request_body = Some(body);
        }
        if let Some(service) = &said.service {
            own.service = service.clone();
        }
        own
    }
}

impl HttpAuthz {
    /// Asks `server`, with Envoy's defaults.
    #[must_use]
    pub fn new(server: HttpUri) -> Self {
        Self {
            server,
            path_prefix: Arc::from(""),
            headers_to_add: Vec::new(),
            allowed_upstream_headers: Vec::new(),
            allowed_upstream_headers_to_append: Vec::new(),
            allowed_client_headers: Vec::new(),
            allowed_client_headers_on_success: Vec::new(),
            dynamic_metadata_from_headers: Vec::new(),
        }
    }
}
