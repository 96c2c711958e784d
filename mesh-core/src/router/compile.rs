//! What can be wrong with a route configuration, and how all of it is collected.
//!
//! A configuration is checked as a whole: one bad field does not hide the next. So compiling goes on
//! after an error with `None` in the place of what could not be made, and the list of errors decides
//! at the end.

use super::matcher::MatcherError;
use super::regex::RegexError;
use crate::model::Domain;
use crate::model::virtual_host::InvalidDomain;
use http::HeaderName;
use std::fmt;
use std::sync::Arc;

/// One mistake in a route configuration: where it is and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompileError {
    /// The virtual host's name; `None`: the route configuration itself.
    pub virtual_host: Option<Arc<str>>,
    /// The route's index in its virtual host; `None`: the virtual host itself.
    pub route: Option<usize>,
    /// The field, in the model's words: `match.headers[0]`.
    pub field: Box<str>,
    /// What is wrong with it.
    pub kind: CompileErrorKind,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileErrorKind {
    /// The domain pattern is empty or too long.
    #[error(transparent)]
    Domain(#[from] InvalidDomain),
    /// Two virtual hosts (or one twice) claim a domain.
    #[error("the domain `{pattern}` is taken by virtual host `{first}`")]
    DuplicateDomain {
        /// The pattern.
        pattern: Domain,
        /// The virtual host that had it first.
        first: Arc<str>,
    },
    /// A matcher can't be used.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// A regular expression or its substitution can't be used.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// A path-separated prefix is empty, ends in `/`, or holds `?` or `#`.
    #[error("a path-separated prefix is not empty, holds no `?` or `#`, and does not end in `/`")]
    PathSeparatedPrefix,
    /// The weights of a split sum to zero.
    #[error("the weights of a split sum to zero")]
    SplitWithoutWeight,
    /// The weights of a split sum to more than `u32::MAX`.
    #[error("the weights of a split sum to {sum}, at most 4294967295 is allowed")]
    SplitTooHeavy {
        /// Their sum.
        sum: u64,
    },
    /// A text can't be (part of) a path.
    #[error("`{0}` can't stand in a path")]
    InvalidPath(Arc<str>),
    /// A text can't be an authority.
    #[error("`{0}` is no host, with or without a port")]
    InvalidAuthority(Arc<str>),
    /// A redirect's host has a port, and there is another beside it.
    #[error("`{host}` has a port, and {port} is another")]
    SecondPort {
        /// The host with its port.
        host: Arc<str>,
        /// The other port.
        port: u16,
    },
    /// A text can't be a scheme.
    #[error("`{0}` is no scheme")]
    InvalidScheme(Arc<str>),
    /// An edit names `host`, which only a host rewrite may change.
    #[error("the `host` header is changed by a host rewrite, not by an edit")]
    HostHeader,
    /// An edit [breaks the framing](crate::model::HeaderMutation::breaks_framing) of its message.
    #[error(
        "`{0}` says where a message ends, or what its connection does, which no edit may change (RFC 9112 section 6, RFC 9110 section 7.6.1)"
    )]
    FramingHeader(HeaderName),
    /// A redirect's status is none of 301, 302, 303, 307 and 308.
    #[error("a redirect answers with 301, 302, 303, 307 or 308, not with {0}")]
    RedirectStatus(u16),
    /// A direct response's status is not 200 to 599.
    #[error("a direct response answers with 200 to 599, not with {0}")]
    DirectResponseStatus(u16),
    /// A direct response's body is longer than 4096 bytes.
    #[error("a direct response has {len} bytes, 4096 are allowed")]
    DirectResponseBody {
        /// Its length in bytes.
        len: usize,
    },
    /// Routes times clusters are more than [`MAX_TARGETS`](super::MAX_TARGETS).
    #[error("routes and their clusters make more than {} pairs", super::MAX_TARGETS)]
    TooManyTargets,
}

impl CompileError {
    /// An error in a domain of a virtual host.
    pub(super) fn domain(host: &Arc<str>, domain: usize, kind: CompileErrorKind) -> Self {
        let field = format!("domains[{domain}]").into();
        Self { virtual_host: Some(host.clone()), route: None, field, kind }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.virtual_host {
            write!(f, "virtual host `{host}`, ")?;
        }
        if let Some(route) = self.route {
            write!(f, "routes[{route}].")?;
        }
        write!(f, "{}: {}", self.field, self.kind)
    }
}

impl std::error::Error for CompileError {}

/// The errors found so far.
pub(super) type Errors = Vec<CompileError>;

/// A place in the configuration that errors are reported for.
pub(super) struct Scope<'e> {
    pub(super) errors: &'e mut Errors,
    pub(super) virtual_host: Option<&'e Arc<str>>,
    pub(super) route: Option<usize>,
}

impl Scope<'_> {
    /// The same place, for a shorter time.
    pub(super) const fn at_route(&mut self, route: usize) -> Scope<'_> {
        Scope { errors: self.errors, virtual_host: self.virtual_host, route: Some(route) }
    }

    pub(super) fn report(&mut self, field: fmt::Arguments<'_>, kind: impl Into<CompileErrorKind>) {
        self.errors.push(CompileError {
            virtual_host: self.virtual_host.cloned(),
            route: self.route,
            field: field.to_string().into(),
            kind: kind.into(),
        });
    }

    /// The value, or `None` after the error was reported.
    pub(super) fn check<T>(
        &mut self,
        field: fmt::Arguments<'_>,
        result: Result<T, impl Into<CompileErrorKind>>,
    ) -> Option<T> {
        result.map_err(|kind| self.report(field, kind)).ok()
    }

    /// Compiles every item of a list, and reports every error in it.
    pub(super) fn check_all<'i, I: 'i, T, E: Into<CompileErrorKind>>(
        &mut self,
        field: &str,
        items: impl IntoIterator<Item = &'i I>,
        compile: impl Fn(&'i I) -> Result<T, E>,
    ) -> Option<Box<[T]>> {
        let compiled = items.into_iter().enumerate();
        let compiled: Vec<Option<T>> = compiled
            .map(|(at, item)| self.check(format_args!("{field}[{at}]"), compile(item)))
            .collect();
        compiled.into_iter().collect()
    }
}
