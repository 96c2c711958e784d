//! Path and query matchers (Envoy: `RouteMatch.path_specifier`, `QueryParameterMatcher`).

use super::{RegexPattern, StringMatcher};
use std::sync::Arc;

/// How the path must look.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `RouteMatch.path_specifier`")]
pub enum PathMatcher {
    /// The start of path *and query*. `/` matches everything.
    Prefix(Arc<str>),
    /// The whole path, query stripped.
    Path(Arc<str>),
    /// A prefix that ends at the path's end or before a `/`, query stripped. The pattern holds no
    /// `?` or `#` and does not end in `/`.
    PathSeparatedPrefix(Arc<str>),
    /// The whole path, query stripped. Case sensitivity does not apply.
    Regex(RegexPattern),
}

impl PathMatcher {
    /// Matches every path.
    #[must_use]
    pub fn any() -> Self {
        Self::Prefix(Arc::from("/"))
    }
}

/// A condition on the first value of one query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryParameterMatcher {
    /// The parameter's name, as it stands in the query.
    pub name: Arc<str>,
    /// What its value must be; `None`: the parameter is there.
    pub value: Option<StringMatcher>,
}

impl QueryParameterMatcher {
    /// A matcher for the parameter `name`.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, value: Option<StringMatcher>) -> Self {
        Self { name: name.into(), value }
    }
}
