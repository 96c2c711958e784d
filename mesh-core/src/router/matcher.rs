//! Compiled conditions on strings, headers and query parameters.
//!
//! [`CompiledHeaderMatcher::matches`] takes any header list, so that routes, retry policies and
//! authorization read one matcher the same way. What Envoy and gRPC see differently in a request
//! (gRFC A28: for gRPC, `*-bin` headers count as absent and `content-type` is `application/grpc`;
//! Envoy: `host` is the authority) is settled by [`HeaderView`].

use super::regex::{CompiledRegex, RegexError};
use crate::head::RequestHead;
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{HeaderMatcher, QueryParameterMatcher, StringMatcher};
use http::{HeaderMap, HeaderName, header};
use smallvec::SmallVec;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Why a matcher was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// Its regular expression is refused.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// An empty prefix, suffix or contained text, which would match everything.
    #[error("an empty text would match everything")]
    Empty,
    /// A range that holds no number.
    #[error("the range {}..{} holds no number", .0.start, .0.end)]
    EmptyRange(Range<i64>),
}

/// A condition on a string, ready to run.
#[derive(Clone, Debug)]
pub struct CompiledStringMatcher {
    kind: StringKind,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum StringKind {
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Suffix(Arc<str>),
    Contains(Arc<str>),
    Regex(CompiledRegex),
}

impl CompiledStringMatcher {
    /// Compiles `matcher`.
    ///
    /// # Errors
    /// [`MatcherError`]: a bad regex, or an empty prefix, suffix or contained text.
    pub fn new(matcher: &StringMatcher) -> Result<Self, MatcherError> {
        let filled = |text: &Arc<str>| match text.is_empty() {
            true => Err(MatcherError::Empty),
            false => Ok(text.clone()),
        };
        let kind = match &matcher.pattern {
            StringPattern::Exact(text) => StringKind::Exact(text.clone()),
            StringPattern::Prefix(text) => StringKind::Prefix(filled(text)?),
            StringPattern::Suffix(text) => StringKind::Suffix(filled(text)?),
            StringPattern::Contains(text) => StringKind::Contains(filled(text)?),
            StringPattern::Regex(pattern) => StringKind::Regex(CompiledRegex::full_match(pattern)?),
        };
        Ok(Self { kind, ignore_case: matcher.ignore_case })
    }

    /// Whether `value` matches.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        let same = |a: &[u8], b: &[u8]| match self.ignore_case {
            true => a.eq_ignore_ascii_case(b),
            false => a == b,
        };
        match &self.kind {
            StringKind::Exact(text) => same(value, text.as_bytes()),
            StringKind::Prefix(text) => {
                value.get(..text.len()).is_some_and(|start| same(start, text.as_bytes()))
            }
            StringKind::Suffix(text) => {
                let start = value.len().checked_sub(text.len());
                start.is_some_and(|start| same(&value[start..], text.as_bytes()))
            }
            StringKind::Contains(text) => {
                value.windows(text.len()).any(|window| same(window, text.as_bytes()))
            }
            StringKind::Regex(regex) => regex.is_match(value),
        }
    }
}

/// A condition on one header, ready to run.
#[derive(Clone, Debug)]
pub struct CompiledHeaderMatcher {
    name: HeaderName,
    value: CompiledHeaderValue,
}

impl CompiledHeaderMatcher {
    /// Compiles `matcher`.
    ///
    /// # Errors
    /// [`MatcherError`]: a bad string matcher, or an empty range.
    pub fn new(matcher: &HeaderMatcher) -> Result<Self, MatcherError> {
        let value = CompiledHeaderValue::new(
            &matcher.kind,
            matcher.invert,
            matcher.treat_missing_as_empty,
        )?;
        Ok(Self { name: matcher.name.clone(), value })
    }

    /// The header that is looked at.
    #[must_use]
    pub const fn name(&self) -> &HeaderName {
        &self.name
    }

    /// Whether `headers` fulfil the condition.
    ///
    /// Several values are joined with `,`; beyond 256 bytes of them the joined text is allocated.
    #[must_use]
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        self.value.matches(HeaderValues::of(headers, &self.name).as_deref())
    }

    /// Whether a request fulfils the condition, as its protocol sees its headers.
    pub(crate) fn matches_head(&self, head: &RequestHead<'_>) -> bool {
        self.matches_request(&mut HeaderView::new(head))
    }

    /// Whether a request fulfils the condition, as filters of Envoy's see its headers: to them, those of gRPC are
    /// like any other (to routes they are not, gRFC A28).
    pub(crate) fn matches_sent(&self, head: &RequestHead<'_>) -> bool {
        let values = HeaderValues::of_request(head.headers, head.authority, &self.name);
        self.value.matches(values.as_deref())
    }

    /// The same, with what was found out about the headers already.
    pub(super) fn matches_request(&self, view: &mut HeaderView<'_>) -> bool {
        self.value.matches(view.values(&self.name).as_deref())
    }
}

/// What a header's value must be, ready to run: a header matcher without the name.
#[derive(Clone, Debug)]
pub(crate) struct CompiledHeaderValue {
    kind: HeaderKind,
    invert: bool,
    treat_missing_as_empty: bool,
}

#[derive(Clone, Debug)]
enum HeaderKind {
    Present(bool),
    String(CompiledStringMatcher),
    Range(Range<i64>),
}

impl CompiledHeaderValue {
    pub(crate) fn new(
        kind: &HeaderMatcherKind,
        invert: bool,
        treat_missing_as_empty: bool,
    ) -> Result<Self, MatcherError> {
        let kind = match kind {
            HeaderMatcherKind::Present(present) => HeaderKind::Present(*present),
            HeaderMatcherKind::String(string) => {
                HeaderKind::String(CompiledStringMatcher::new(string)?)
            }
            HeaderMatcherKind::Range(range) if range.is_empty() => {
                return Err(MatcherError::EmptyRange(range.clone()));
            }
            HeaderMatcherKind::Range(range) => HeaderKind::Range(range.clone()),
        };
        Ok(Self { kind, invert, treat_missing_as_empty })
    }

    /// Whether `value` fulfils the condition; `None`: the header is missing.
    pub(crate) fn matches(&self, value: Option<&[u8]>) -> bool {
        let value = match value {
            None if self.treat_missing_as_empty => Some(&[][..]),
            value => value,
        };
        // Envoy: `HeaderUtility::matchHeaders`: a missing header matches nothing but its absence.
        let matched = match (&self.kind, value) {
            (HeaderKind::Present(present), value) => value.is_some() == *present,
            (_, None) => return false,
            (HeaderKind::String(string), Some(value)) => string.matches(value),
            (HeaderKind::Range(range), Some(value)) => {
                decimal(value).is_some_and(|number| range.contains(&number))
            }
        };
        matched != self.invert
    }
}

/// A condition on the first value of a query parameter, ready to run.
#[derive(Clone, Debug)]
pub(super) struct CompiledQueryMatcher {
    name: Arc<str>,
    value: Option<CompiledStringMatcher>,
}

impl CompiledQueryMatcher {
    pub(super) fn new(matcher: &QueryParameterMatcher) -> Result<Self, MatcherError> {
        let value = matcher.value.as_ref().map(CompiledStringMatcher::new).transpose()?;
        Ok(Self { name: matcher.name.clone(), value })
    }

    pub(super) fn matches(&self, query: &str) -> bool {
        match (query_value(query, &self.name), &self.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(value), Some(matcher)) => matcher.matches(value.as_bytes()),
        }
    }
}

/// The first value of the parameter `name`, as it stands in the query; empty without a `=`.
pub(super) fn query_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name && !pair.is_empty()).then_some(value)
    })
}

/// A base-10 integer, with white space around it ignored.
fn decimal(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

/// The headers of a request as its protocol sees them.
pub(super) struct HeaderView<'a> {
    headers: &'a HeaderMap,
    authority: &'a str,
    /// Looked up when first needed.
    grpc: Option<bool>,
}

impl<'a> HeaderView<'a> {
    pub(super) const fn new(head: &RequestHead<'a>) -> Self {
        Self { headers: head.headers, authority: head.authority, grpc: None }
    }

    /// The request's content type is gRPC's.
    pub(super) fn is_grpc(&mut self) -> bool {
        *self.grpc.get_or_insert_with(|| crate::head::is_grpc_content_type(self.headers))
    }

    pub(super) fn values(&mut self, name: &HeaderName) -> Option<HeaderValues<'a>> {
        if name.as_str().ends_with("-bin") && self.is_grpc() {
            return None;
        }
        if *name == header::CONTENT_TYPE && self.is_grpc() {
            return Some(HeaderValues::One(b"application/grpc"));
        }
        HeaderValues::of_request(self.headers, self.authority, name)
    }
}

/// All values of one header, joined with `,`.
#[expect(clippy::large_enum_variant, reason = "lives on the stack for one comparison")]
pub(crate) enum HeaderValues<'a> {
    One(&'a [u8]),
    Joined(SmallVec<[u8; 256]>),
}

impl<'a> HeaderValues<'a> {
    /// Those of a request. Envoy: `host` is another name of `:authority`.
    fn of_request(headers: &'a HeaderMap, authority: &'a str, name: &HeaderName) -> Option<Self> {
        if *name == header::HOST && !authority.is_empty() {
            return Some(Self::One(authority.as_bytes()));
        }
        Self::of(headers, name)
    }

    /// `None` when the header is missing.
    pub(crate) fn of(headers: &'a HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?.as_bytes();
        let Some(second) = values.next() else { return Some(Self::One(first)) };
        let mut joined = SmallVec::from_slice(first);
        for value in std::iter::once(second).chain(values) {
            joined.push(b',');
            joined.extend_from_slice(value.as_bytes());
        }
        Some(Self::Joined(joined))
    }
}

impl Deref for HeaderValues<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::One(value) => value,
            Self::Joined(joined) => joined,
        }
    }
}

#[cfg(test)]
mod tests;
