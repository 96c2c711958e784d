//! Which names a certificate must have (Envoy: `SubjectAltNameMatcher`).

use super::StringMatcher;
use std::sync::Arc;

/// A condition on one alternative name of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `SubjectAltNameMatcher`")]
pub struct SanMatcher {
    /// Which names are looked at.
    pub kind: SanKind,
    /// How one of them must look. An exact DNS name is also matched by a wildcard in the certificate;
    /// IP addresses are compared as text in their canonical form (gRFC A29).
    pub matcher: StringMatcher,
}

impl SanMatcher {
    /// A name of any type but `otherName`.
    #[must_use]
    pub const fn any(matcher: StringMatcher) -> Self {
        Self { kind: SanKind::Any, matcher }
    }

    /// The URI `uri`, byte by byte: an exact SPIFFE id.
    #[must_use]
    pub fn uri(uri: impl Into<Arc<str>>) -> Self {
        Self { kind: SanKind::Uri, matcher: StringMatcher::exact(uri) }
    }
}

/// The types of alternative names (RFC 5280 section 4.2.1.6) that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `SanType`")]
pub enum SanKind {
    /// DNS, URI, e-mail and IP: the old list without types (Envoy: `match_subject_alt_names`).
    Any,
    /// `dNSName`.
    Dns,
    /// `uniformResourceIdentifier`.
    Uri,
    /// `rfc822Name`.
    Email,
    /// `iPAddress`.
    Ip,
    /// `otherName` of this type, as numbers with dots.
    OtherName(Arc<str>),
}
