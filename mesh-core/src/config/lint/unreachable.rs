//! Routes that can't be reached, because an earlier one takes everything they would.
//!
//! An earlier route counts when its path covers the later one's, and it either has no other condition
//! or the same ones. What two different lists of conditions have in common is not looked for.

use crate::config::node::Span;
use crate::config::virtual_host::HostSite;
use crate::config::{code, reader::Reader};
use crate::model::{PathMatcher, RouteMatch};
use hashbrown::HashMap;
use std::collections::BTreeSet;

pub(super) fn check(reader: &mut Reader<'_>, host: &HostSite<'_>, steps: &mut usize) {
    let mut covers: HashMap<String, Paths> = HashMap::new();
    for site in &host.routes {
        let matcher = &site.route.matcher;
        let conditions = conditions(matcher);
        *steps = steps.saturating_sub(1 + conditions.len() / WORD);
        let mut find = |conditions: &str| covers.get(conditions)?.find(matcher, steps);
        let first = find("").or_else(|| find(&conditions).filter(|_| !conditions.is_empty()));
        if let Some(first) = first {
            reader
                .report
                .add(
                    code::UNREACHABLE_ROUTE,
                    site.node.span,
                    "no request gets as far as this route",
                )
                .suggest("put it first, or leave it out")
                .label(first, "this one takes them all");
        } else if matcher.runtime_fraction.is_none() && *steps > 0 {
            covers.entry(conditions).or_default().add(matcher, site.node.span);
        }
        if *steps == 0 {
            return;
        }
    }
}

/// Texts cost a step per so many bytes.
const WORD: usize = 64;

/// Everything but the path and the share of requests: equal texts, equal conditions.
fn conditions(matcher: &RouteMatch) -> String {
    let mut conditions: Vec<String> = Vec::new();
    conditions.extend(matcher.headers.iter().map(|header| format!("{header:?}")));
    conditions.extend(matcher.query_parameters.iter().map(|query| format!("{query:?}")));
    let mut methods: Vec<_> = matcher.methods.iter().map(|method| method.as_str()).collect();
    methods.sort_unstable();
    if !methods.is_empty() {
        conditions.push(format!("{methods:?}"));
    }
    if matcher.grpc {
        conditions.push("gRPC".to_owned());
    }
    conditions.sort_unstable();
    conditions.concat()
}

/// The paths that routes of the same conditions cover.
#[derive(Default)]
struct Paths {
    any_case: Texts,
    this_case: Texts,
    regexes: HashMap<Box<str>, Span>,
}

impl Paths {
    fn add(&mut self, matcher: &RouteMatch, span: Span) {
        let any_case = !matcher.case_sensitive;
        let texts = if any_case { &mut self.any_case } else { &mut self.this_case };
        let (texts, text) = match &matcher.path {
            PathMatcher::Prefix(text) => (&mut texts.prefixes, text),
            PathMatcher::Path(text) => (&mut texts.paths, text),
            PathMatcher::PathSeparatedPrefix(text) => (&mut texts.separated, text),
            PathMatcher::Regex(regex) => {
                self.regexes.entry((*regex.0).into()).or_insert(span);
                return;
            }
        };
        let text = if any_case { text.to_ascii_lowercase() } else { text.to_string() };
        texts.insert(text, span);
    }

    /// The route that covers all paths of `matcher`.
    fn find(&self, matcher: &RouteMatch, steps: &mut usize) -> Option<Span> {
        let everything = |texts: &Texts| texts.prefixes.spans.get("/").copied();
        if let Some(all) = everything(&self.this_case).or_else(|| everything(&self.any_case)) {
            return Some(all);
        }
        let (kind, text) = match &matcher.path {
            PathMatcher::Prefix(text) => (Kind::Prefix, text),
            PathMatcher::Path(text) => (Kind::Path, text),
            PathMatcher::PathSeparatedPrefix(text) => (Kind::Separated, text),
            PathMatcher::Regex(regex) => return self.regexes.get(&*regex.0).copied(),
        };
        let same = matcher.case_sensitive.then(|| self.this_case.find(kind, text, steps));
        same.flatten().or_else(|| self.any_case.find(kind, &text.to_ascii_lowercase(), steps))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Prefix,
    Path,
    Separated,
}

/// Texts that are compared in one way.
#[derive(Default)]
struct Texts {
    prefixes: ByLength,
    paths: ByLength,
    separated: ByLength,
}

#[derive(Default)]
struct ByLength {
    spans: HashMap<Box<str>, Span>,
    /// The lengths that occur.
    lengths: BTreeSet<usize>,
}

impl ByLength {
    fn insert(&mut self, text: String, span: Span) {
        self.lengths.insert(text.len());
        self.spans.entry(text.into()).or_insert(span);
    }

    /// The first that `text` starts with, where `allowed` takes what follows it.
    fn start_of(
        &self,
        text: &str,
        steps: &mut usize,
        allowed: impl Fn(&str) -> bool,
    ) -> Option<Span> {
        self.lengths.iter().take_while(|len| **len <= text.len()).find_map(|len| {
            *steps = steps.saturating_sub(1 + len / WORD);
            let (start, rest) = text.split_at_checked(*len).filter(|_| *steps > 0)?;
            self.spans.get(start).copied().filter(|_| allowed(rest))
        })
    }
}

impl Texts {
    fn find(&self, kind: Kind, text: &str, steps: &mut usize) -> Option<Span> {
        let path = self.paths.spans.get(text).filter(|_| kind == Kind::Path);
        // A plain prefix `/a` also takes `/ab`, which a separated `/a` does not.
        let ends = |rest: &str| rest.starts_with('/') || (rest.is_empty() && kind != Kind::Prefix);
        path.copied()
            .or_else(|| self.prefixes.start_of(text, steps, |_| true))
            .or_else(|| self.separated.start_of(text, steps, ends))
    }
}
