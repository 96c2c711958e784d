//! External authorization: what an authorizer is told, and what its answer does (Envoy: `ext_authz`).
//!
//! - What is not answered is refused ([`ExtAuthz::status_on_error`]), unless the filter says otherwise.
//! - It is asked about the requests for which it is on ([`ExtAuthz::enabled`],
//!   [`ExtAuthz::enabled_metadata`]: both). The others go on, or are refused
//!   ([`ExtAuthz::deny_at_disable`]).
//! - An answer may not write `host`, nor what begins with a colon: routing and policies have looked at
//!   them (Envoy: `Mutation rules`). Nor may it write `content-length` and what else is of a connection
//!   (RFC 9110 §7.6.1): they are about its own message, and would cut another's or split it in two. What
//!   it may not write is left out. With [`ExtAuthz::validate_mutations`] a yes of that kind is refused (500,
//!   `ext_authz_invalid`), and so is a no with what is no header: as in Envoy whatever is said of failures.

use super::ask::{AskFailure, AskFailureKind, CheckAnswer, CheckQuestion};
use super::pass::FilterContext;
use super::query::is_of;
use super::reply::FilterReply;
use crate::head::{RequestHead, content_length};
use crate::identity::Peer;
use crate::model::http_filter::{AuthzService, ExtAuthz, HttpAuthz};
use crate::model::{
    AppendAction, Fraction, HeaderMutation, Metadata, MetadataValue, StringMatcher,
};
use crate::random::Random;
use crate::rbac::CompiledMetadata;
use crate::router::{CompiledStringMatcher, MatcherError, apply_edit};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;

/// The name of the filter in metadata (Envoy).
pub const EXT_AUTHZ_NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// Why a request is refused whose authorizer writes what can't be written (Envoy).
pub(super) const INVALID: &str = "ext_authz_invalid";

/// What an authorizer that is asked over HTTP has taken off the request (Envoy: `headers_to_remove`): names, separated
/// by commas, whatever it may have written.
const HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Tells an authorizer whether the body that it is sent is a part (Envoy).
pub(super) const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");

/// The filter, ready to ask.
#[derive(Debug)]
pub struct CompiledExtAuthz {
    pub(super) model: Arc<ExtAuthz>,
    allowed: Matchers,
    disallowed: Matchers,
    http: Option<Arc<HttpAnswers>>,
    enabled_metadata: Option<CompiledMetadata>,
}

/// What the answers of an HTTP service mean.
#[derive(Debug)]
pub struct HttpAnswers {
    cluster: Arc<str>,
    upstream: Matchers,
    upstream_to_append: Matchers,
    client: Matchers,
    client_on_success: Matchers,
    metadata: Matchers,
}

/// Any of these names.
#[derive(Clone, Debug)]
struct Matchers(Box<[CompiledStringMatcher]>);

impl Matchers {
    fn new(models: &[StringMatcher]) -> Result<Self, MatcherError> {
        models.iter().map(CompiledStringMatcher::new).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|matcher| matcher.matches(name.as_str().as_bytes()))
    }
}

impl CompiledExtAuthz {
    /// Compiles the filter.
    ///
    /// # Errors
    /// [`MatcherError`]: a pattern of header names, or of metadata.
    pub fn new(model: &Arc<ExtAuthz>) -> Result<Self, MatcherError> {
        let http = match &model.service {
            AuthzService::Grpc(_) => None,
            AuthzService::Http(service) => Some(Arc::new(HttpAnswers::new(service)?)),
        };
        Ok(Self {
            http,
            enabled_metadata: model
                .enabled_metadata
                .as_ref()
                .map(CompiledMetadata::new)
                .transpose()?,
            allowed: Matchers::new(&model.allowed_headers)?,
            disallowed: Matchers::new(&model.disallowed_headers)?,
            model: Arc::clone(model),
        })
    }

    /// As it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<ExtAuthz> {
        &self.model
    }

    /// Whether it is asked about a request of which filters know this.
    pub(super) fn is_enabled(&self, metadata: Option<&Metadata>, random: &mut impl Random) -> bool {
        let share = self.model.enabled;
        // Drawn only where it matters: filters that come later draw the same without it.
        (share == Fraction::ALL || share.takes(random.next_u64()))
            && self.enabled_metadata.as_ref().is_none_or(|matcher| matcher.matches(metadata))
    }

    /// What the authorizer is told.
    pub(super) fn question(
        &self,
        head: &RequestHead<'_>,
        cx: &FilterContext<'_>,
        metadata: Option<&Metadata>,
    ) -> CheckQuestion {
        let Parts { version, headers, .. } = &*cx.request;
        let connection = cx.connection;
        let model = &self.model;
        let tls = !matches!(connection.peer, Peer::Plaintext);
        let name = if model.include_tls_session { connection.requested_server_name } else { "" };
        CheckQuestion {
            filter: Arc::clone(model),
            http: self.http.clone(),
            method: head.method.clone(),
            scheme: head.scheme.unwrap_or(if tls { "https" } else { "http" }).into(),
            authority: head.authority.into(),
            path: head.path_and_query.into(),
            version: *version,
            headers: self.visible(headers),
            size: content_length(headers),
            source: cx.remote,
            destination: connection.local,
            source_principal: connection.peer.principals().next().unwrap_or_default().into(),
            server_name: name.into(),
            metadata: sent(model, metadata),
            wall: cx.wall,
        }
    }

    /// The headers that the authorizer sees. Those of several values are all there. What is ours to say of
    /// the body, no caller says.
    pub(super) fn visible(&self, headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let http = matches!(self.model.service, AuthzService::Http(_));
        let is_visible = |name: &HeaderName| {
            let allowed = match (self.allowed.0.is_empty(), http) {
                (true, false) => true,
                // Envoy: these always are, beside method, path and host.
                (_, true) => *name == AUTHORIZATION || self.allowed.has(name),
                (false, false) => self.allowed.has(name),
            };
            // Over HTTP the caller's connection is not that of the question: what it names would be taken off (RFC 9110
            // section 7.6.1).
            let is_ours = *name == PARTIAL_BODY || (http && is_of_the_connection(name));
            allowed && !self.disallowed.has(name) && !is_ours
        };
        let visible = headers.iter().filter(|(name, _)| is_visible(name));
        visible.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// An answer as it may be used.
    ///
    /// # Errors
    /// It is refused, also where failures let through: the authorizer was there, and may have said no.
    pub(super) fn checked(&self, answer: CheckAnswer) -> Result<CheckAnswer, AskFailure> {
        let mut answer = answer;
        if answer.allowed {
            let mut edits = answer.headers.iter().chain(&answer.response_headers);
            answer.invalid_mutation |= edits.any(is_invalid);
        }
        // A no with framing or a host of its own is one still.
        answer.headers.retain(may_be_written);
        answer.response_headers.retain(may_be_written);
        if answer.invalid_mutation && self.model.validate_mutations && !answer.failed {
            let wrong = AskFailureKind::Malformed("it edits a header that can't be written".into());
            return Err(AskFailure::new(self.model.service.cluster(), wrong));
        }
        Ok(answer)
    }

    /// Nobody answered, and the request goes on.
    pub(super) fn fail_open(&self, request: &mut Parts) {
        if self.model.failure_mode_allow_header_add {
            let name = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");
            request.headers.insert(name, HeaderValue::from_static("true"));
        }
    }

    /// Nobody answered, and the request is refused: by what the authorizer says of its failure, if it does.
    pub(super) fn fail_closed(&self, filter: &Arc<str>, said: Option<CheckAnswer>) -> FilterReply {
        let said = said.unwrap_or_default();
        reply(filter, self.model.status_on_error, "ext_authz_error", said)
    }
}

/// A yes, as far as it is about the request.
pub(super) fn allow(answer: &CheckAnswer, request: &mut Parts) {
    for edit in &answer.headers {
        apply_edit(edit, &mut request.headers);
    }
    let (set, remove) = (&answer.query_parameters_to_set, &answer.query_parameters_to_remove);
    if !set.is_empty() || !remove.is_empty() {
        edit_query(request, set, remove);
    }
}

/// A body that is longer than may be sent.
pub(super) fn too_large(filter: &Arc<str>) -> FilterReply {
    FilterReply::new(filter, StatusCode::PAYLOAD_TOO_LARGE, "request_payload_too_large")
}

/// An answer that can't be used, and is refused for it.
pub(super) fn invalid(filter: &Arc<str>) -> FilterReply {
    FilterReply::new(filter, StatusCode::INTERNAL_SERVER_ERROR, INVALID)
}

/// A no, as the caller gets it.
pub(super) fn deny(filter: &Arc<str>, answer: CheckAnswer) -> FilterReply {
    reply(filter, StatusCode::FORBIDDEN, "ext_authz_denied", answer)
}

/// What an authorizer has the caller told; `status`: where it says none.
fn reply(
    filter: &Arc<str>,
    status: StatusCode,
    details: &'static str,
    answer: CheckAnswer,
) -> FilterReply {
    let status = answer.status.unwrap_or(status);
    let mut reply = FilterReply::new(filter, status, details);
    for edit in &answer.headers {
        apply_edit(edit, &mut reply.headers);
    }
    if !answer.body.is_empty() && !reply.headers.contains_key(CONTENT_TYPE) {
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    reply.body = answer.body;
    reply
}

/// Headers of a denial that callers get whatever is listed (Envoy).
const ALWAYS_SENT: [HeaderName; 2] = [http::header::WWW_AUTHENTICATE, http::header::LOCATION];

impl HttpAnswers {
    fn new(service: &HttpAuthz) -> Result<Self, MatcherError> {
        Ok(Self {
            cluster: Arc::clone(&service.server.cluster),
            upstream: Matchers::new(&service.allowed_upstream_headers)?,
            upstream_to_append: Matchers::new(&service.allowed_upstream_headers_to_append)?,
            client: Matchers::new(&service.allowed_client_headers)?,
            client_on_success: Matchers::new(&service.allowed_client_headers_on_success)?,
            metadata: Matchers::new(&service.dynamic_metadata_from_headers)?,
        })
    }

    /// What an answer means: 200 is a yes, from 500 on it is a failure (Envoy), and the rest is a no; but for
    /// what is no answer to a request (101), or nothing that a caller could be answered (600).
    ///
    /// # Errors
    /// [`AskFailureKind::Status`].
    pub fn read(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<CheckAnswer, AskFailure> {
        if !(200..500).contains(&status.as_u16()) {
            let kind = AskFailureKind::Status(u32::from(status.as_u16()));
            return Err(AskFailure::new(&self.cluster, kind));
        }
        let mut answer =
            CheckAnswer { allowed: status == StatusCode::OK, ..CheckAnswer::default() };
        let edit = |name: &HeaderName, value: &HeaderValue, action| HeaderMutation::Append {
            name: name.clone(),
            value: value.clone(),
            action,
        };
        // Every answer has some, and whatever is listed: they are about itself.
        let all = || headers.iter().filter(|(name, _)| !is_of_the_connection(name));
        if answer.allowed {
            // The first value replaces what is there, the others come after it.
            let is_edit = |name: &&HeaderName| **name != HEADERS_TO_REMOVE;
            let names = headers.keys().filter(|name| !is_of_the_connection(name));
            for name in names.filter(is_edit).filter(|name| self.upstream.has(name)) {
                let mut action = AppendAction::OverwriteIfExistsOrAdd;
                for value in headers.get_all(name) {
                    answer.headers.push(edit(name, value, action));
                    action = AppendAction::AppendIfExistsOrAdd;
                }
            }
            for (name, value) in all().filter(|(name, _)| is_edit(name)) {
                let action = AppendAction::AppendIfExistsOrAdd;
                if self.upstream_to_append.has(name) {
                    answer.headers.push(edit(name, value, action));
                }
                if self.client_on_success.has(name) {
                    answer.response_headers.push(edit(name, value, action));
                }
                if let (true, Ok(text)) = (self.metadata.has(name), value.to_str()) {
                    let text = MetadataValue::Text(Arc::from(text));
                    answer.metadata.insert(Arc::from(name.as_str()), text);
                }
            }
            answer.headers.extend(removed(headers).map(HeaderMutation::Remove));
            return Ok(answer);
        }
        answer.status = Some(status);
        for (name, value) in all() {
            let sent = self.client.0.is_empty() || self.client.has(name);
            if sent || ALWAYS_SENT.contains(name) {
                answer.headers.push(edit(name, value, AppendAction::AppendIfExistsOrAdd));
            }
        }
        answer.body = body;
        Ok(answer)
    }
}

/// The headers that a yes takes off the request. What is no name can't be there.
fn removed(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    let lists = headers.get_all(HEADERS_TO_REMOVE).into_iter();
    let names = lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    names.flat_map(|name| HeaderName::from_bytes(name.trim_ascii()))
}

/// Headers that are about one connection or one framing (RFC 9110 §7.6.1).
fn is_of_the_connection(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
    [CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Whether somebody who was asked may make this edit.
pub(super) fn may_be_written(edit: &HeaderMutation) -> bool {
    let name = name_of(edit);
    *name != HOST && !is_of_the_connection(name)
}

/// Whether it writes what may not be written. To remove that is ignored (Envoy).
fn is_invalid(edit: &HeaderMutation) -> bool {
    matches!(edit, HeaderMutation::Append { .. }) && !may_be_written(edit)
}

const fn name_of(edit: &HeaderMutation) -> &HeaderName {
    match edit {
        HeaderMutation::Remove(name) | HeaderMutation::Append { name, .. } => name,
    }
}

/// The metadata that is sent.
fn sent(model: &ExtAuthz, metadata: Option<&Metadata>) -> Metadata {
    let Some(metadata) = metadata else { return Metadata::default() };
    let names = &model.metadata_context_namespaces;
    let known = metadata.0.iter().filter(|(name, _)| names.contains(name));
    Metadata(known.map(|(name, values)| (Arc::clone(name), values.clone())).collect())
}

/// Sets and removes parameters of the query (Envoy: `query_parameters_to_set`, removals last), in whatever way
/// their names are escaped there: what goes on would be read with its escapes decoded.
pub(super) fn edit_query(request: &mut Parts, set: &[(Arc<str>, Arc<str>)], remove: &[Arc<str>]) {
    let query = request.uri.query().unwrap_or_default();
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !set.iter().any(|(name, _)| is_of(pair, name)))
        .map(str::to_owned)
        .collect();
    pairs.extend(set.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))));
    pairs.retain(|pair| !remove.iter().any(|name| is_of(pair, name)));
    let path = request.uri.path();
    let text =
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) };
    let mut parts = std::mem::take(&mut request.uri).into_parts();
    // Everything that could not stand in a path is encoded.
    if let Ok(path) = PathAndQuery::try_from(text) {
        parts.path_and_query = Some(path);
    }
    if let Ok(uri) = http::Uri::from_parts(parts) {
        request.uri = uri;
    }
}

/// A text as a query has it (RFC 3986 §2.3: all but unreserved bytes are encoded).
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
