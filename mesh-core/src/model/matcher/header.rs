//! Header matchers (Envoy: `config.route.v3.HeaderMatcher`).

use super::StringMatcher;
use http::HeaderName;
use std::ops::Range;

/// A condition on one request header.
///
/// Several values of one name are joined with `,` before they are compared. A missing header never
/// matches, *even inverted*, except for [`HeaderMatcherKind::Present`] and with
/// [`treat_missing_as_empty`](Self::treat_missing_as_empty) (Envoy: `HeaderUtility::matchHeaders`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderMatcher {
    /// The header's name.
    pub name: HeaderName,
    /// What the value must be.
    pub kind: HeaderMatcherKind,
    /// Turns the result round.
    pub invert: bool,
    /// A missing header counts as one with an empty value.
    pub treat_missing_as_empty: bool,
}

impl HeaderMatcher {
    /// A matcher that is not inverted.
    #[must_use]
    pub const fn new(name: HeaderName, kind: HeaderMatcherKind) -> Self {
        Self { name, kind, invert: false, treat_missing_as_empty: false }
    }
}

/// What a header's value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `HeaderMatcher`")]
pub enum HeaderMatcherKind {
    /// The header is there (`true`) or not there (`false`).
    Present(bool),
    /// The value matches as a string.
    String(StringMatcher),
    /// The value is a base-10 integer within the half-open range.
    Range(Range<i64>),
}
