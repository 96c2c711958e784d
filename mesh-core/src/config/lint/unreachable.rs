//! Routes that can't be reached, because an earlier one takes everything they would.

use crate::config::node::Span;
use crate::config::virtual_host::{HostSite, RouteSite};
use crate::config::{code, reader::Reader};
use crate::model::{PathMatcher, RouteMatch};
use std::collections::BTreeMap;

/// How an earlier route covers paths. The text is in lower case when letters' case does not count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cover {
    Prefix,
    Path,
    Separated,
}

pub(super) fn check(reader: &mut Reader<'_>, host: &HostSite<'_>, steps: &mut usize) {
    let mut covers: BTreeMap<(bool, Cover, String), Span> = BTreeMap::new();
    for site in &host.routes {
        if let Some(first) = covered(&site.route.matcher, &covers, steps) {
            reader
                .report
                .add(
                    code::UNREACHABLE_ROUTE,
                    site.node.span,
                    "no request gets as far as this route",
                )
                .suggest("put it first, or leave it out")
                .label(first, "this one takes them all");
        } else if let Some(cover) = cover(site) {
            covers.entry(cover).or_insert(site.node.span);
        }
    }
}

/// What a route covers when nothing but its path decides.
fn cover(site: &RouteSite<'_>) -> Option<(bool, Cover, String)> {
    let matcher = &site.route.matcher;
    let unconditional = matcher.headers.is_empty()
        && matcher.query_parameters.is_empty()
        && matcher.methods.is_empty()
        && !matcher.grpc
        && matcher.runtime_fraction.is_none();
    let (cover, text) = match &matcher.path {
        PathMatcher::Prefix(text) => (Cover::Prefix, text),
        PathMatcher::Path(text) => (Cover::Path, text),
        PathMatcher::PathSeparatedPrefix(text) => (Cover::Separated, text),
        PathMatcher::Regex(_) => return None,
    };
    let any_case = !matcher.case_sensitive;
    let text = if any_case { text.to_ascii_lowercase() } else { text.to_string() };
    unconditional.then_some((any_case, cover, text))
}

/// The earlier route that covers all paths of `matcher`.
fn covered(
    matcher: &RouteMatch,
    covers: &BTreeMap<(bool, Cover, String), Span>,
    steps: &mut usize,
) -> Option<Span> {
    let find = |any_case: bool, cover: Cover, text: &str| {
        covers.get(&(any_case, cover, text.to_owned())).copied()
    };
    if let Some(all) = find(false, Cover::Prefix, "/").or_else(|| find(true, Cover::Prefix, "/")) {
        return Some(all);
    }
    let (kind, text) = match &matcher.path {
        PathMatcher::Prefix(text) => (Cover::Prefix, text),
        PathMatcher::Path(text) => (Cover::Path, text),
        PathMatcher::PathSeparatedPrefix(text) => (Cover::Separated, text),
        PathMatcher::Regex(_) => return None,
    };
    *steps = steps.checked_sub(2 * text.len()).unwrap_or_default();
    if *steps == 0 {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let exact = matcher.case_sensitive.then_some((false, text.as_ref()));
    exact.into_iter().chain([(true, lower.as_str())]).find_map(|(any_case, text)| {
        let whole = (kind == Cover::Path).then(|| find(any_case, Cover::Path, text)).flatten();
        whole.or_else(|| {
            text.char_indices().map(|(at, c)| at + c.len_utf8()).find_map(|end| {
                let (start, rest) = text.split_at(end);
                // A plain prefix `/a` also takes `/ab`, which a separated `/a` does not.
                let separated = rest.starts_with('/') || (rest.is_empty() && kind != Cover::Prefix);
                find(any_case, Cover::Prefix, start).or_else(|| {
                    separated.then(|| find(any_case, Cover::Separated, start)).flatten()
                })
            })
        })
    })
}
