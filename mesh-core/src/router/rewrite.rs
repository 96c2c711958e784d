//! Changes of the path and the authority before a request is sent (Envoy: `prefix_rewrite`,
//! `regex_rewrite`, `host_rewrite_*`).

use super::compile::{CompileErrorKind, Scope};
use super::regex::CompiledSubstitution;
use crate::head::RequestHead;
use crate::local_reply::Reason;
use crate::model::{HostRewrite, PathMatcher, PathRewrite};
use crate::outcome::{Failure, ProtocolFailure};
use http::HeaderName;
use http::uri::{Authority, PathAndQuery};
use std::borrow::Cow;
use std::sync::Arc;

/// A rewrite gave something that can't be sent: a path too long, or with bytes that a path can't have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten path or location can't be sent")]
#[expect(clippy::exhaustive_structs, reason = "there is nothing more to say")]
pub struct InvalidRewrite;

impl From<InvalidRewrite> for Reason {
    fn from(InvalidRewrite: InvalidRewrite) -> Self {
        Self::Attempt(Failure::Protocol(ProtocolFailure::InvalidRequest))
    }
}

/// What a path is rewritten for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RewritePlace {
    /// The request that is sent: without a fragment (RFC 9110 §7.1).
    Request,
    /// Where a caller is sent: a fragment may name a part of it (RFC 9110 §10.2.2).
    Redirect,
}

impl RewritePlace {
    const fn field(self) -> &'static str {
        match self {
            Self::Request => "path_rewrite",
            Self::Redirect => "redirect.path",
        }
    }
}

/// A change of the path, ready to run.
#[derive(Clone, Debug)]
pub(super) enum CompiledPathRewrite {
    /// The first `matched` bytes of path and query are replaced.
    Prefix { matched: usize, by: Arc<str>, segments: bool },
    /// The path is replaced; the query stays unless the text has its own.
    Whole(Arc<str>),
    /// Every match in the path is replaced; the query stays.
    Regex(CompiledSubstitution),
}

impl CompiledPathRewrite {
    /// The rewrite of a route that matches by `path`.
    pub(super) fn compile(
        rewrite: &PathRewrite,
        path: &PathMatcher,
        place: RewritePlace,
        scope: &mut Scope<'_>,
    ) -> Option<Self> {
        let field = place.field();
        // `PathAndQuery` would cut a fragment off in silence.
        let fits =
            |text: &Arc<str>, fragment: bool| match PathAndQuery::try_from(format!("/{text}")) {
                Ok(_) if fragment || !text.contains('#') => Ok(text.clone()),
                _ => Err(CompileErrorKind::InvalidPath(text.clone())),
            };
        match rewrite {
            PathRewrite::Full(text) => {
                let fits = fits(text, place == RewritePlace::Redirect);
                scope.check(format_args!("{field}.full"), fits).map(Self::Whole)
            }
            PathRewrite::Prefix(text) => {
                let by = scope.check(format_args!("{field}.prefix"), fits(text, false))?;
                Some(match path {
                    PathMatcher::Prefix(prefix) => {
                        Self::Prefix { matched: prefix.len(), by, segments: false }
                    }
                    PathMatcher::PathSeparatedPrefix(prefix) => {
                        Self::Prefix { matched: prefix.len(), by, segments: true }
                    }
                    PathMatcher::Path(_) | PathMatcher::Regex(_) => Self::Whole(by),
                })
            }
            PathRewrite::Regex { pattern, substitution } => scope
                .check(
                    format_args!("{field}.regex"),
                    CompiledSubstitution::new(pattern, substitution),
                )
                .map(Self::Regex),
        }
    }

    /// The path and query that `head` gets.
    pub(super) fn rewritten<'h>(&self, head: &RequestHead<'h>) -> Cow<'h, str> {
        let all = head.path_and_query;
        // `*` and CONNECT's empty path have nothing to replace.
        if !all.starts_with('/') {
            return Cow::Borrowed(all);
        }
        let path = head.path();
        let query = &all[path.len()..];
        let text = match self {
            Self::Prefix { matched, by, segments } => {
                let rest = all.get(*matched..).unwrap_or_default();
                let doubled = *segments && by.ends_with('/') && rest.starts_with('/');
                format!("{by}{}", &rest[usize::from(doubled)..])
            }
            Self::Whole(by) if by.contains('?') => by.to_string(),
            Self::Whole(by) => {
                let (path, fragment) = by.split_at(by.find('#').unwrap_or(by.len()));
                format!("{path}{query}{fragment}")
            }
            Self::Regex(substitution) => match substitution.replace_all(path.as_bytes()) {
                Cow::Borrowed(_) => return Cow::Borrowed(all),
                Cow::Owned(path) => format!("{}{query}", String::from_utf8_lossy(&path)),
            },
        };
        Cow::Owned(if text.starts_with('/') { text } else { format!("/{text}") })
    }

    /// Whether the rewrite brings a query of its own, which takes the place of the request's.
    pub(super) fn has_query(&self) -> bool {
        matches!(self, Self::Whole(by) if by.contains('?'))
    }
}

/// A change of the authority, ready to run.
#[derive(Clone, Debug)]
pub(super) enum CompiledHostRewrite {
    Literal(Authority),
    Header(HeaderName),
    Endpoint,
    PathRegex(CompiledSubstitution),
}

/// The authority that a request is sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by Envoy's `host_rewrite_specifier`")]
pub enum RewrittenHost {
    /// As it came.
    Unchanged,
    /// This one.
    To(Authority),
    /// The hostname of the endpoint that is picked, when it has one (Envoy: `auto_host_rewrite`).
    EndpointHostname,
}

impl CompiledHostRewrite {
    pub(super) fn compile(rewrite: &HostRewrite, scope: &mut Scope<'_>) -> Option<Self> {
        match rewrite {
            HostRewrite::Auto => Some(Self::Endpoint),
            HostRewrite::Header(name) => Some(Self::Header(name.clone())),
            HostRewrite::Literal(text) => {
                let authority = Authority::try_from(&**text)
                    .or(Err(CompileErrorKind::InvalidAuthority(text.clone())));
                scope.check(format_args!("host_rewrite.literal"), authority).map(Self::Literal)
            }
            HostRewrite::PathRegex { pattern, substitution } => scope
                .check(
                    format_args!("host_rewrite.path_regex"),
                    CompiledSubstitution::new(pattern, substitution),
                )
                .map(Self::PathRegex),
        }
    }

    /// The authority for `head`; unchanged when a header is missing or the text is no authority.
    pub(super) fn rewritten(&self, head: &RequestHead<'_>) -> RewrittenHost {
        let authority = match self {
            Self::Endpoint => return RewrittenHost::EndpointHostname,
            Self::Literal(authority) => Some(authority.clone()),
            Self::Header(name) => {
                let value = head.headers.get(name);
                value.and_then(|value| Authority::try_from(value.as_bytes()).ok())
            }
            Self::PathRegex(substitution) => {
                Authority::try_from(&*substitution.replace_all(head.path().as_bytes())).ok()
            }
        };
        authority.map_or(RewrittenHost::Unchanged, RewrittenHost::To)
    }
}

#[cfg(test)]
mod tests;
