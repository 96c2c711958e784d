//! Who may do what (Envoy: `config.rbac.v3`, `extensions.filters.http.rbac.v3`).
//!
//! A policy matches when one of its permissions fits what is asked for *and* one of its principals fits
//! who asks, and its condition holds if it has one. What follows from a match, the action says. The names of policies give the order in which
//! they are looked at, and the first that matches is the one that is told.
//!
//! Where gRPC and Envoy differ, each item says what holds here (gRFC A41).

use super::cel::Condition;
use super::matcher::HeaderMatcherKind;
use super::metadata::{FilterStateMatcher, MetadataMatcher};
use super::{Cidr, SanMatcher, StringMatcher};
use http::HeaderName;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// One RBAC filter: what is enforced, and what is only told.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RbacFilter {
    /// What is enforced; `None`: nothing, so everything passes.
    pub rules: Option<Arc<Rbac>>,
    /// What is decided beside it and only told; `None`: nothing.
    pub shadow_rules: Option<Arc<Rbac>>,
    /// Put before the names of the metrics of `rules`.
    pub rules_stat_prefix: Arc<str>,
    /// Put before the names of the metrics of `shadow_rules`. Istio tells its dry runs by it.
    pub shadow_rules_stat_prefix: Arc<str>,
    /// Whether each policy is counted apart.
    pub track_per_rule_stats: bool,
}

/// Policies and what follows from a match.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Rbac {
    /// What follows from a match.
    pub action: RbacAction,
    /// The policies, by name, which is the order of evaluation.
    pub policies: BTreeMap<Arc<str>, Policy>,
    /// When a decision is audited (gRFC A59).
    pub audit: AuditCondition,
    /// Who is told then, by the type of its configuration; in order.
    pub audit_loggers: Vec<AuditLogger>,
}

/// What follows from a match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `RBAC.Action`")]
pub enum RbacAction {
    /// Allowed if and only if a policy matches; so without policies nothing is.
    #[default]
    Allow,
    /// Denied if and only if a policy matches.
    Deny,
    /// Allowed; a match is told (Envoy: `access_log_hint`).
    Log,
}

/// Which decisions are audited (gRFC A59). It is about what was decided, not about the action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by gRFC A59")]
pub enum AuditCondition {
    /// None.
    #[default]
    None,
    /// Denials.
    OnDeny,
    /// What is allowed.
    OnAllow,
    /// All.
    OnDenyAndAllow,
}

impl AuditCondition {
    /// Whether a decision is audited.
    #[must_use]
    pub const fn takes(self, allowed: bool) -> bool {
        match self {
            Self::None => false,
            Self::OnDeny => !allowed,
            Self::OnAllow => allowed,
            Self::OnDenyAndAllow => true,
        }
    }
}

/// Who is told of audited decisions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by gRFC A59: the loggers there are")]
pub enum AuditLogger {
    /// A line of JSON to standard output (gRFC A59: `stdout_logger`).
    Stdout,
}

/// One policy.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a policy is what, who and when, nothing else")]
pub struct Policy {
    /// What may be asked for: one of them has to fit; at least one.
    pub permissions: Vec<Permission>,
    /// Who may ask: one of them has to fit; at least one.
    pub principals: Vec<Principal>,
    /// What has to be true besides, in CEL; `None`: nothing.
    pub condition: Option<Condition>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `Permission`")]
pub enum Permission {
    /// Anything.
    Any,
    /// All of these fit; at least one.
    And(Vec<Self>),
    /// One of these fits; at least one.
    Or(Vec<Self>),
    /// This does not fit.
    Not(Box<Self>),
    /// A header, or pseudo header, of an HTTP request.
    Header(RbacHeader),
    /// The path of an HTTP request, without query and fragment.
    UrlPath(StringMatcher),
    /// The address that the peer connected to.
    DestinationIp(Cidr),
    /// The port that the peer connected to.
    DestinationPort(u16),
    /// The port that the peer connected to is in the half-open range, of which both ends are at most
    /// 65536.
    DestinationPortRange(Range<u32>),
    /// Something that a filter knows of the request.
    Metadata(MetadataMatcher),
    /// The server name of the TLS handshake (SNI); empty without one.
    RequestedServerName(StringMatcher),
    /// The path fits a template: `/v1/{shelf}/books/*`, `/static/**` (Envoy: `UriTemplateMatchConfig`).
    UriTemplate(Arc<str>),
}

/// Who asks.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `Principal`")]
pub enum Principal {
    /// Anybody.
    Any,
    /// All of these fit; at least one.
    And(Vec<Self>),
    /// One of these fits; at least one.
    Or(Vec<Self>),
    /// This does not fit.
    Not(Box<Self>),
    /// The connection is one of TLS and, if there is a matcher, a principal of the peer matches:
    /// a URI name; without any, a DNS name; without those, the subject; without a certificate, the
    /// empty text (gRFC A41). So without a matcher it fits peers *without* a certificate as well:
    /// prefer [`MtlsAuthenticated`](Self::MtlsAuthenticated).
    Authenticated(Option<StringMatcher>),
    /// The peer's certificate was verified and, if there is a matcher, has such a name
    /// (Envoy: `mtls_authenticated.v3.Config`).
    MtlsAuthenticated(Option<SanMatcher>),
    /// The address of the connection's other end, by the proxy protocol if that was read.
    SourceIp(Cidr),
    /// The address of the connection's other end, as the socket has it.
    DirectRemoteIp(Cidr),
    /// The address of whoever made the request, as far as it is trusted; gRPC: the socket's.
    RemoteIp(Cidr),
    /// A header, or pseudo header, of an HTTP request.
    Header(RbacHeader),
    /// The path of an HTTP request, without query and fragment.
    UrlPath(StringMatcher),
    /// Something that a filter knows of the request.
    Metadata(MetadataMatcher),
    /// Something that a filter knows of the connection or the request.
    FilterState(FilterStateMatcher),
}

/// A condition on one header of a request.
///
/// As [`HeaderMatcher`](super::HeaderMatcher), with pseudo headers: several values are joined with `,`;
/// one that is missing never matches, even inverted. Hop-by-hop headers always count as missing
/// (gRFC A41): they say something of the connection, and HTTP/2 has none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RbacHeader {
    /// Which.
    pub name: RbacHeaderName,
    /// What the value must be.
    pub kind: HeaderMatcherKind,
    /// Turns the result round.
    pub invert: bool,
    /// A missing header counts as one with an empty value.
    pub treat_missing_as_empty: bool,
}

impl RbacHeader {
    /// A matcher that is not inverted.
    #[must_use]
    pub const fn new(name: RbacHeaderName, kind: HeaderMatcherKind) -> Self {
        Self { name, kind, invert: false, treat_missing_as_empty: false }
    }
}

/// The name of a header that a policy may look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RbacHeaderName(HeaderTarget);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HeaderTarget {
    Method,
    /// Path *and* query.
    Path,
    /// `:authority`, or `host`: they are one (gRFC A41).
    Authority,
    /// Always missing (gRFC A41).
    HopByHop(HeaderName),
    Header(HeaderName),
}

/// Why a policy may not look at a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed by gRFC A41")]
pub enum RbacHeaderRefused {
    /// It is no name of a header.
    #[error("it is no name of a header")]
    Invalid,
    /// Another pseudo header than the three that a policy sees.
    #[error("of pseudo headers there are `:method`, `:path` and `:authority` (gRFC A41)")]
    Pseudo,
    /// gRPC's own headers.
    #[error("headers that begin with `grpc-` are gRPC's own, and no policy sees them (gRFC A41)")]
    Grpc,
}

impl RbacHeaderName {
    /// `:method`.
    pub const METHOD: Self = Self(HeaderTarget::Method);
    /// `:path`: with the query. [`Permission::UrlPath`] is without.
    pub const PATH: Self = Self(HeaderTarget::Path);
    /// `:authority`, which is `host` as well.
    pub const AUTHORITY: Self = Self(HeaderTarget::Authority);

    /// Reads a name; upper case is made lower.
    ///
    /// # Errors
    /// [`RbacHeaderRefused`]: it is none, or none that a policy may look at.
    pub fn parse(name: &str) -> Result<Self, RbacHeaderRefused> {
        match name {
            ":method" => return Ok(Self::METHOD),
            ":path" => return Ok(Self::PATH),
            ":authority" => return Ok(Self::AUTHORITY),
            name if name.starts_with(':') => return Err(RbacHeaderRefused::Pseudo),
            _ => {}
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        let Ok(name) = name else { return Err(RbacHeaderRefused::Invalid) };
        match name.as_str() {
            "host" => Ok(Self::AUTHORITY),
            grpc if grpc.starts_with("grpc-") => Err(RbacHeaderRefused::Grpc),
            hop if HOP_BY_HOP.contains(&hop) => Ok(Self(HeaderTarget::HopByHop(name))),
            _ => Ok(Self(HeaderTarget::Header(name))),
        }
    }

    /// The name as Envoy writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            HeaderTarget::Method => ":method",
            HeaderTarget::Path => ":path",
            HeaderTarget::Authority => ":authority",
            HeaderTarget::HopByHop(name) | HeaderTarget::Header(name) => name.as_str(),
        }
    }

    /// Whether the header counts as missing in every request.
    #[must_use]
    pub const fn is_hop_by_hop(&self) -> bool {
        matches!(self.0, HeaderTarget::HopByHop(_))
    }

    pub(crate) const fn target(&self) -> &HeaderTarget {
        &self.0
    }
}

/// RFC 9110 section 7.6.1.
const HOP_BY_HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
