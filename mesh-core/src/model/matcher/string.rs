//! String matchers (Envoy: `type.matcher.v3.StringMatcher`, `RegexMatcher`).

use std::sync::Arc;

/// How a string must look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StringMatcher {
    /// What is compared.
    pub pattern: StringPattern,
    /// Compares ASCII letters without case. Never applies to a regex (gRFC A63).
    pub ignore_case: bool,
}

impl StringMatcher {
    /// A matcher that respects case.
    #[must_use]
    pub const fn new(pattern: StringPattern) -> Self {
        Self { pattern, ignore_case: false }
    }

    /// The whole string equals `text`.
    #[must_use]
    pub fn exact(text: impl Into<Arc<str>>) -> Self {
        Self::new(StringPattern::Exact(text.into()))
    }
}

/// The five kinds of string comparison.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `StringMatcher`")]
pub enum StringPattern {
    /// The whole string.
    Exact(Arc<str>),
    /// The start of the string; not empty.
    Prefix(Arc<str>),
    /// The end of the string; not empty.
    Suffix(Arc<str>),
    /// Anywhere in the string; not empty.
    Contains(Arc<str>),
    /// The whole string, in RE2 syntax.
    Regex(RegexPattern),
}

/// The text of a regular expression in RE2 syntax, matched against a whole string.
///
/// Only text: the router compiles and checks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a text, nothing else")]
pub struct RegexPattern(pub Arc<str>);

impl RegexPattern {
    /// The pattern `text`, not checked yet.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}
