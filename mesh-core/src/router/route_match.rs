//! Whether a request fulfils a route's conditions. First match wins; [`PathIndex`] says which routes
//! are asked.
//!
//! [`PathIndex`]: super::path_index::PathIndex

use super::compile::{CompileErrorKind, Scope};
use super::matcher::{CompiledHeaderMatcher, CompiledQueryMatcher, HeaderView};
use super::path_index::unconditional;
use super::regex::CompiledRegex;
use crate::head::RequestHead;
use crate::model::{Fraction, PathMatcher, RouteMatch};
use crate::random::Random;
use http::Method;

/// A route's conditions, ready to run. Prefixes and exact paths are the index's.
#[derive(Clone, Debug)]
pub(super) struct CompiledMatch {
    regex: Option<CompiledRegex>,
    methods: Box<[Method]>,
    grpc: bool,
    headers: Box<[CompiledHeaderMatcher]>,
    query_parameters: Box<[CompiledQueryMatcher]>,
    fraction: Option<Fraction>,
    unconditional: bool,
}

/// The first condition that a request does not fulfil, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    Path,
    Method,
    Grpc,
    Header(usize),
    QueryParameter(usize),
    Fraction,
}

/// A request on its way through the routes: what has been found out about it is kept.
pub(super) struct Request<'a, R> {
    pub(super) head: &'a RequestHead<'a>,
    view: HeaderView<'a>,
    random: &'a mut R,
    draw: Option<u64>,
}

impl<'a, R: Random> Request<'a, R> {
    pub(super) fn new(head: &'a RequestHead<'a>, random: &'a mut R) -> Self {
        Self { head, view: HeaderView::new(head), random, draw: None }
    }
}

impl CompiledMatch {
    pub(super) fn compile(matcher: &RouteMatch, scope: &mut Scope<'_>) -> Option<Self> {
        let regex = match &matcher.path {
            PathMatcher::Regex(pattern) => scope
                .check(format_args!("match.regex"), CompiledRegex::full_match(pattern))
                .map(Some),
            PathMatcher::PathSeparatedPrefix(text)
                if text.is_empty() || text.ends_with('/') || text.contains(['?', '#']) =>
            {
                let kind = CompileErrorKind::PathSeparatedPrefix;
                scope.report(format_args!("match.path_separated_prefix"), kind);
                None
            }
            _ => Some(None),
        };
        let headers =
            scope.check_all("match.headers", &matcher.headers, CompiledHeaderMatcher::new);
        let query_parameters = scope.check_all(
            "match.query_parameters",
            &matcher.query_parameters,
            CompiledQueryMatcher::new,
        );
        let regex = regex?;
        Some(Self {
            unconditional: regex.is_none() && unconditional(matcher),
            regex,
            methods: matcher.methods.as_slice().into(),
            grpc: matcher.grpc,
            headers: headers?,
            query_parameters: query_parameters?,
            fraction: matcher.runtime_fraction,
        })
    }

    /// The first condition that does not hold.
    #[inline]
    pub(super) fn first_failed<R: Random>(&self, request: &mut Request<'_, R>) -> Option<Failed> {
        if self.unconditional { None } else { self.first_failed_of_many(request) }
    }

    fn first_failed_of_many<R: Random>(&self, request: &mut Request<'_, R>) -> Option<Failed> {
        let Request { head, view, random, draw } = request;
        if self.regex.as_ref().is_some_and(|regex| !regex.is_match(head.path().as_bytes())) {
            return Some(Failed::Path);
        }
        if !self.methods.is_empty() && !self.methods.contains(head.method) {
            return Some(Failed::Method);
        }
        if self.grpc && !view.is_grpc() {
            return Some(Failed::Grpc);
        }
        if let Some(at) = self.headers.iter().position(|header| !header.matches_request(view)) {
            return Some(Failed::Header(at));
        }
        if !self.query_parameters.is_empty() {
            let query = head.query();
            let failed = self.query_parameters.iter().position(|query_| !query_.matches(query));
            if let Some(at) = failed {
                return Some(Failed::QueryParameter(at));
            }
        }
        // One draw per call: two routes of 50 % with one path take all requests or the same half.
        let taken = self
            .fraction
            .is_none_or(|fraction| fraction.takes(*draw.get_or_insert_with(|| random.next_u64())));
        if taken { None } else { Some(Failed::Fraction) }
    }
}
