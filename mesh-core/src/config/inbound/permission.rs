//! `match` of a rule: what is asked for, as a permission of RBAC.
//!
//! The grammar is that of routes, without what depends on chance or on the query: a policy that a caller
//! can evade by another order of parameters is none. Paths are compared without the query.

use super::super::fields::Fields;
use super::super::node::Node;
use super::super::reader::Reader;
use super::super::route_match::{self, CONDITIONS, PATHS};
use super::super::shape::{Kind, Shape};
use super::super::{code, node::Span};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{
    HeaderMatcher, PathMatcher, Permission, RbacHeader, RbacHeaderName, RouteMatch, StringMatcher,
};
use http::HeaderName;
use std::sync::Arc;

/// `match` of a rule.
pub(super) static POLICY_MATCH: Shape = Shape::new("policy_match", &[CONDITIONS]);

/// One `match` of a rule.
#[derive(Debug)]
pub(super) struct PolicyMatch {
    /// In `allow`.
    pub(super) allowed: Permission,
    /// In `deny`: who names a service of gRPC's there refuses it whatever the content type says, which servers of gRPC
    /// need not look at.
    pub(super) denied: Permission,
}

/// Reads it.
pub(super) fn read(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
) -> Option<PolicyMatch> {
    let fields = Fields::open(reader, node, kind)?;
    let mut wanted = RouteMatch::any();
    route_match::conditions(reader, &fields, &mut wanted);
    let headers_at = fields.own("headers").map_or(node.span, |entry| entry.value.span);
    let mut all: Vec<Permission> = Vec::new();
    let has_path = wanted.path != PathMatcher::any();
    if has_path {
        all.push(path(&wanted.path, !wanted.case_sensitive));
    }
    if !wanted.methods.is_empty() {
        let method = |method: &http::Method| {
            header(RbacHeaderName::METHOD, StringMatcher::exact(method.as_str()))
        };
        all.push(one_of(wanted.methods.iter().map(method).collect()));
    }
    for matcher in &wanted.headers {
        all.push(of_header(reader, matcher, headers_at)?);
    }
    let of_grpc = |is_wanted: bool| {
        let mut all = all.clone();
        if is_wanted {
            all.insert(usize::from(has_path), grpc());
        }
        match all.len() {
            0 => Permission::Any,
            1 => all.remove(0),
            _ => Permission::And(all),
        }
    };
    // Without a path of its own beside it, `grpc` has named the path.
    let is_service = has_path && fields.present(&PATHS).is_empty();
    let (allowed, denied) = (of_grpc(wanted.grpc), of_grpc(wanted.grpc && !is_service));
    Some(PolicyMatch { allowed, denied })
}

fn one_of(mut these: Vec<Permission>) -> Permission {
    if these.len() == 1 { these.remove(0) } else { Permission::Or(these) }
}

fn header(name: RbacHeaderName, matcher: StringMatcher) -> Permission {
    Permission::Header(RbacHeader::new(name, HeaderMatcherKind::String(matcher)))
}

fn path(path: &PathMatcher, ignore_case: bool) -> Permission {
    let matcher = |pattern| {
        let mut matcher = StringMatcher::new(pattern);
        matcher.ignore_case = ignore_case && !matches!(matcher.pattern, StringPattern::Regex(_));
        matcher
    };
    let url = |pattern| Permission::UrlPath(matcher(pattern));
    match path {
        // A route's prefix goes on into the query.
        PathMatcher::Prefix(text) if text.contains(['?', '#']) => {
            header(RbacHeaderName::PATH, matcher(StringPattern::Prefix(Arc::clone(text))))
        }
        PathMatcher::Prefix(text) => url(StringPattern::Prefix(Arc::clone(text))),
        PathMatcher::Path(text) => url(StringPattern::Exact(Arc::clone(text))),
        PathMatcher::Regex(pattern) => url(StringPattern::Regex(pattern.clone())),
        PathMatcher::PathSeparatedPrefix(text) => Permission::Or(vec![
            url(StringPattern::Exact(Arc::clone(text))),
            url(StringPattern::Prefix(format!("{text}/").into())),
        ]),
    }
}

/// The content type of gRPC ([`is_grpc_content_type`](crate::head::is_grpc_content_type)).
fn grpc() -> Permission {
    let content_type = |pattern| {
        let name = RbacHeaderName::parse("content-type");
        name.map(|name| header(name, StringMatcher::new(pattern))).ok()
    };
    let patterns = [
        StringPattern::Exact("application/grpc".into()),
        StringPattern::Prefix("application/grpc+".into()),
        StringPattern::Prefix("application/grpc;".into()),
    ];
    Permission::Or(patterns.into_iter().filter_map(content_type).collect())
}

fn of_header(reader: &mut Reader<'_>, matcher: &HeaderMatcher, span: Span) -> Option<Permission> {
    let name: &HeaderName = &matcher.name;
    match RbacHeaderName::parse(name.as_str()) {
        Ok(known) if known.is_hop_by_hop() => {
            let message = format!(
                "a policy can't look at `{name}`: it is about a connection, and counts as missing in every request (gRFC A41)"
            );
            reader.report.add(code::INVALID_HEADER_NAME, span, message);
            None
        }
        Ok(known) => {
            let mut header = RbacHeader::new(known, matcher.kind.clone());
            header.invert = matcher.invert;
            header.treat_missing_as_empty = matcher.treat_missing_as_empty;
            Some(Permission::Header(header))
        }
        Err(refused) => {
            let message = format!("a policy can't look at `{name}`: {refused}");
            reader.report.add(code::INVALID_HEADER_NAME, span, message);
            None
        }
    }
}
